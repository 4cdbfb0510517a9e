//! Rows lawfully erased since the snapshot: they stay erased.
//!
//! One JSON object a line: `{"shard": "product", "table": "public.notes", "key": {"id": 42}}`. The key names every
//! column of the table's primary key.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::limits::TENANTS_LIST_MAX;
use crate::model::{ShardName, Table, TableName, TypeKind};

/// A key: its values as text, by column.
pub type Key = BTreeMap<String, String>;

/// Keys of erased rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones(BTreeMap<ShardName, BTreeMap<TableName, BTreeSet<Key>>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    shard: String,
    table: TableName,
    key: BTreeMap<String, serde_json::Value>,
}

impl Tombstones {
    /// Reads the lines; empty ones are skipped.
    pub fn parse(text: &str) -> Result<Self> {
        let mut tombstones = Self::default();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = || format!("line {} of the tombstones", number + 1);
            let unable = || {
                Error::usage(format!("unable to read {}", place())).hint(
                    "one JSON object a line: {\"shard\": \"NAME\", \"table\": \"SCHEMA.TABLE\", \"key\": {\"COLUMN\": VALUE}}",
                )
            };
            if number >= TENANTS_LIST_MAX {
                return Err(unable().hint(format!("there may be at most {TENANTS_LIST_MAX} lines")));
            }
            let line: Line = serde_json::from_str(line).map_err(|error| unable().because(error))?;
            let mut key = Key::new();
            for (column, value) in line.key {
                let text = match value {
                    serde_json::Value::String(text) => text,
                    serde_json::Value::Number(number) => number.to_string(),
                    serde_json::Value::Bool(value) => value.to_string(),
                    _ => {
                        return Err(unable()
                            .hint(format!("the value of '{column}' is no text, number or truth value")));
                    }
                };
                key.insert(column, text);
            }
            let shard = tombstones.0.entry(ShardName::new(line.shard)).or_default();
            shard.entry(line.table).or_default().insert(key);
        }
        Ok(tombstones)
    }

    /// The shards that are named.
    pub fn shards(&self) -> impl Iterator<Item = &ShardName> {
        self.0.keys()
    }

    /// The erased rows of one shard.
    pub fn of(&self, shard: &ShardName) -> BTreeMap<TableName, BTreeSet<Key>> {
        self.0.get(shard).cloned().unwrap_or_default()
    }
}

/// Checks that `keys` are keys of `table` whose values can be compared as text.
pub fn check(table: &Table, keys: &BTreeSet<Key>) -> Result<()> {
    let unable =
        |what: String| Error::usage(format!("unable to use the tombstones of '{}': {what}", table.name));
    if table.primary_key.is_empty() {
        return Err(unable("the table has no primary key".into()));
    }
    let named: BTreeSet<&String> = table.primary_key.iter().collect();
    if let Some(wrong) = keys.iter().find(|key| key.keys().collect::<BTreeSet<_>>() != named) {
        let given: Vec<&str> = wrong.keys().map(String::as_str).collect();
        return Err(unable(format!(
            "a key names ({}), the primary key is ({})",
            given.join(", "),
            table.primary_key.join(", ")
        )));
    }
    let is_text = |kind: TypeKind| {
        use TypeKind::{Bool, Date, Int16, Int32, Int64, Text, Uuid};
        matches!(kind, Bool | Date | Int16 | Int32 | Int64 | Text | Uuid)
    };
    match table.columns.iter().find(|column| named.contains(&column.name) && !is_text(column.kind)) {
        None => Ok(()),
        Some(column) => Err(unable(format!(
            "values of its key column '{}' ({}) cannot be told by their text",
            column.name, column.type_name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_or_refused_by_their_number() {
        let text = "{\"shard\":\"a\",\"table\":\"public.notes\",\"key\":{\"id\":42}}\n\n\
                    {\"shard\":\"a\",\"table\":\"public.notes\",\"key\":{\"id\":\"x\"}}\n";
        let tombstones = Tombstones::parse(text).expect("read");
        let keys = &tombstones.of(&ShardName::new("a"))[&TableName::new("public", "notes")];
        let values: Vec<&str> = keys.iter().map(|key| key["id"].as_str()).collect();
        assert_eq!(values, ["42", "x"]);
        for wrong in ["{}", "x", "{\"shard\":\"a\",\"table\":\"public.notes\",\"key\":{\"id\":[1]}}"] {
            let error = Tombstones::parse(&format!("\n{wrong}")).expect_err("refused");
            assert!(
                error.chain().starts_with("unable to read line 2 of the tombstones"),
                "{}",
                error.chain()
            );
        }
    }
}
