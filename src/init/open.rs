//! What a person must decide, the weightiest first: tables with many rows, and tables that others hang from.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::{Inferred, Schema, ShardInference};
use crate::limits::ROWS_COUNTED_MAX;
use crate::model::{Rule, ShardName, TableName};

/// A table that needs a person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Open {
    /// The shard.
    pub shard: ShardName,
    /// The table.
    pub table: TableName,
    /// The rule that was taken and should be looked at; none where there is none.
    pub rule: Option<&'static str>,
    /// How sure the rule is, from 0 to 1.
    pub confidence: f64,
    /// What is known.
    pub evidence: String,
    /// Rows of the table, as far as they were counted.
    pub rows: Option<u64>,
    /// Tables that reference it, directly or through others.
    pub hanging: usize,
    /// What a person could begin with.
    pub suggestion: Option<Rule>,
}

impl Open {
    /// One line.
    pub fn text(&self) -> String {
        let Self { shard, table, evidence, .. } = self;
        let rule =
            self.rule.map(|rule| format!(" taken as {rule} ({:.2})", self.confidence)).unwrap_or_default();
        let rows = self.rows.map(|rows| match rows {
            1 => "1 row".to_owned(),
            rows if rows > ROWS_COUNTED_MAX => format!("more than {ROWS_COUNTED_MAX} rows"),
            rows => format!("{rows} rows"),
        });
        let hanging = match self.hanging {
            0 => None,
            1 => Some("1 table hangs from it".to_owned()),
            many => Some(format!("{many} tables hang from it")),
        };
        let size: Vec<String> = rows.into_iter().chain(hanging).collect();
        let size = if size.is_empty() { String::new() } else { format!(" ({})", size.join(", ")) };
        format!("shard '{shard}': table '{table}'{rule}{size}: {evidence}")
    }
}

/// The tables of all shards that `wanted` picks, the weightiest first.
pub fn open(
    schemas: &[Schema],
    inferred: &[ShardInference],
    wanted: impl Fn(&Inferred) -> bool,
) -> Vec<Open> {
    let mut all = Vec::new();
    for (schema, shard) in schemas.iter().zip(inferred) {
        let mut children: HashMap<&TableName, Vec<&TableName>> = HashMap::new();
        for table in &schema.tables {
            for key in &table.foreign_keys {
                children.entry(&key.parent).or_default().push(&table.name);
            }
        }
        for (name, found) in shard.tables.iter().filter(|(_, found)| wanted(found)) {
            all.push(Open {
                shard: shard.shard.clone(),
                table: name.clone(),
                rule: found.rule.as_ref().map(Rule::name),
                confidence: found.confidence,
                evidence: found.evidence.clone(),
                rows: schema.statistics.rows.get(name).copied(),
                hanging: below(name, &children),
                suggestion: found.suggestion.clone(),
            });
        }
    }
    all.sort_by_key(|one| std::cmp::Reverse((one.rows.unwrap_or_default(), one.hanging)));
    all
}

/// Number of tables below one.
fn below<'a>(name: &'a TableName, children: &HashMap<&'a TableName, Vec<&'a TableName>>) -> usize {
    let mut seen = BTreeSet::from([name]);
    let mut next = vec![name];
    while let Some(name) = next.pop() {
        next.extend(children.get(name).into_iter().flatten().copied().filter(|child| seen.insert(child)));
    }
    seen.len() - 1
}
