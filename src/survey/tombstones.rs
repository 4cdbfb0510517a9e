//! Which rows of the snapshot stay erased.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use arrow::array::RecordBatch;

use super::{Surveyed, hyphenated, texts};
use crate::error::{Error, Result};
use crate::model::{Belongs, OwnedTable, Table, TableName, TypeKind};
use crate::plan::tombstones::{Key, Tombstones, check};

/// Unmatched tombstones that a warning names.
const NAMED_MAX: usize = 5;

/// The tombstones of one shard, and which of them were found.
#[derive(Default)]
pub(super) struct Erased {
    keys: BTreeMap<TableName, BTreeSet<Key>>,
    found: BTreeMap<TableName, BTreeSet<Key>>,
}

impl Erased {
    /// Those of `surveyed`; refuses tables and keys that cannot be.
    pub fn new(surveyed: &Surveyed, tombstones: &Tombstones, involved: &[OwnedTable]) -> Result<Self> {
        let keys = tombstones.of(&surveyed.name);
        for (name, keys) in &keys {
            let unable = |what: &str| {
                Error::usage(format!(
                    "unable to use the tombstones of '{name}' in shard '{}': {what}",
                    surveyed.name
                ))
            };
            let Some(owned) = involved.iter().find(|owned| owned.table.name == *name) else {
                return Err(unable("tenants own no rows of such a table"));
            };
            if owned.owners.belongs != Belongs::ToOne {
                return Err(unable("its rows belong to whoever points at them, not to one tenant"));
            }
            let live = surveyed.facts.tables.iter().find(|table| table.name == *name);
            check(live.ok_or_else(|| unable("it does not exist any more"))?, keys)?;
        }
        Ok(Self { keys, found: BTreeMap::new() })
    }

    /// Positions of the rows that stay erased.
    pub fn rows(&mut self, table: &Table, batch: &RecordBatch) -> HashSet<usize> {
        let Some(keys) = self.keys.get(&table.name) else { return HashSet::new() };
        let columns: Vec<(&String, Vec<Option<String>>)> = table
            .primary_key
            .iter()
            .map(|name| {
                let is_uuid = table.column(name).is_some_and(|column| column.kind == TypeKind::Uuid);
                let texts = texts(batch, name).into_iter();
                (
                    name,
                    texts
                        .map(|text| text.map(|text| if is_uuid { hyphenated(&text) } else { text }))
                        .collect(),
                )
            })
            .collect();
        let mut rows = HashSet::new();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|(name, cells)| Some(((*name).clone(), cells[row].clone()?)));
            let Some(key) = cells.collect::<Option<Key>>() else { continue };
            if keys.contains(&key) {
                rows.insert(row);
                self.found.entry(table.name.clone()).or_default().insert(key);
            }
        }
        rows
    }

    /// What the operator should know: tombstones without a row of these tenants in the snapshot.
    pub fn warnings(&self) -> Vec<String> {
        let none = BTreeSet::new();
        let warning = |(table, keys): (&TableName, &BTreeSet<Key>)| {
            let found = self.found.get(table).unwrap_or(&none);
            let missed: Vec<String> = keys.difference(found).map(shown).collect();
            let named = missed.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
            let dots = if missed.len() > NAMED_MAX { "; …" } else { "" };
            (!missed.is_empty()).then(|| {
                format!(
                    "{} tombstones of '{table}' match no row of these tenants in the snapshot: {named}{dots}",
                    missed.len()
                )
            })
        };
        self.keys.iter().filter_map(warning).collect()
    }
}

fn shown(key: &Key) -> String {
    key.iter().map(|(column, value)| format!("{column}={value}")).collect::<Vec<_>>().join(" ")
}
