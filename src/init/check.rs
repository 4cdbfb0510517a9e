//! What the live schema has and the configuration does not classify: for `init --check`, and for the columns that
//! `init` records as seen.
//!
//! A column looks like an owner's if it references a table whose rows tenants own, or is named like a tenant's id.
//! One that is neither part of its table's rule nor recorded in `[shards.NAME.ignored]` is new: somebody must say
//! whether the rule still holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::guess::has_key_of_its_own;
use super::infer::columns_of;
use super::root::Root;
use crate::model::{Rule, ShardName, Table, TableName};

/// Columns that look like an owner's and are not part of their table's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerColumns {
    /// The columns; several if they reference together.
    pub columns: Vec<String>,
    /// What makes them look so.
    pub why: String,
}

/// Something that the configuration does not classify.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unclassified {
    /// The shard.
    pub shard: ShardName,
    /// The table.
    pub table: TableName,
    /// Its columns that look like an owner's.
    pub columns: Vec<String>,
    /// What makes them look so.
    pub why: String,
}

impl fmt::Display for Unclassified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, table, columns, why } = self;
        write!(
            f,
            "shard '{shard}': table '{table}': column '{}' looks like an owner's ({why}) and is neither part of the \
             rule nor ignored",
            columns.join("', '")
        )
    }
}

/// Owner's columns of the tables of a shard that the configuration neither uses nor ignores.
pub fn unclassified(
    shard: &ShardName,
    tables: &[Table],
    rules: &BTreeMap<TableName, Rule>,
    ignored: &BTreeMap<TableName, BTreeSet<String>>,
    root: &Root,
) -> Vec<Unclassified> {
    let of_table = |table: &Table| {
        let seen =
            rules.get(&table.name).map(|rule| owner_columns(table, rule, rules, root, *shard == root.shard));
        let known = ignored.get(&table.name);
        let is_new = move |seen: &OwnerColumns| {
            !seen.columns.iter().all(|column| known.is_some_and(|known| known.contains(column)))
        };
        let name = table.name.clone();
        seen.into_iter().flatten().filter(is_new).map(move |seen| Unclassified {
            shard: shard.clone(),
            table: name.clone(),
            columns: seen.columns,
            why: seen.why,
        })
    };
    tables.iter().flat_map(of_table).collect()
}

/// Columns of a table that look like an owner's and are not part of its rule. A reference to a referenced table
/// belongs to the rule of that table.
pub fn owner_columns(
    table: &Table,
    rule: &Rule,
    rules: &BTreeMap<TableName, Rule>,
    root: &Root,
    with_root: bool,
) -> Vec<OwnerColumns> {
    if matches!(rule, Rule::Excluded { .. }) || (with_root && table.name == root.table) {
        return Vec::new();
    }
    let used = columns_of(rule);
    let mut found = Vec::new();
    for key in table.foreign_keys.iter().filter(|key| key.parent != table.name) {
        let in_rule = key.columns.iter().all(|column| used.contains(column));
        let counted = match rules.get(&key.parent) {
            Some(Rule::Referenced { by }) => {
                let named = by.iter().any(|one| one.table == table.name && one.columns == key.columns);
                named || matches!(rule, Rule::Shared)
            }
            Some(parent) => !parent.is_owned(),
            None => true,
        };
        if !in_rule && !counted {
            let why = format!("foreign key {} to {}", key.name, key.parent);
            found.push(OwnerColumns { columns: key.columns.clone(), why });
        }
    }
    for column in &table.columns {
        let in_key = table.foreign_keys.iter().any(|key| key.columns.contains(&column.name));
        let named =
            root.is_named(&column.name, column.kind) && (!in_key || is_plain(root, table, &column.name));
        if named && !used.contains(&column.name) {
            let why = "named and typed like a reference to the root".to_owned();
            found.push(OwnerColumns { columns: vec![column.name.clone()], why });
        }
    }
    found
}

/// Called after the root, and part of a key of several columns only.
fn is_plain(root: &Root, table: &Table, column: &str) -> bool {
    root.is_plainly_named(column) && !has_key_of_its_own(table, column)
}
