//! Keys that the partitions of a table declare for themselves, and the table does not.
//!
//! A foreign key that every leaf has holds for every row, and so is one of the table. A unique key that every leaf has
//! is one of the table only if it holds the columns that rows are partitioned by: else two leaves may have the same
//! key. Any other key holds for the rows of its partition alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ForeignKey, PartitionKey, Table, UniqueKey};

/// How a table is partitioned.
pub struct Partitions {
    /// Number of leaves, of all levels.
    pub leaves: usize,
    /// Columns that rows are partitioned by, on all levels; an empty name stands for an expression.
    pub columns: Vec<String>,
}

/// A key of a partition.
pub struct OfPartition<K> {
    /// The key as it holds for all rows, if each leaf has it.
    pub key: K,
    /// The rows of the partition: SQL over the table's columns.
    pub rows: String,
    /// The leaves that have the key, by oid.
    pub leaves: Vec<i64>,
    /// A primary key.
    pub primary: bool,
}

/// Adds foreign keys of partitions to their table.
pub fn add_foreign_keys(table: &mut Table, partitions: &Partitions, keys: Vec<OfPartition<ForeignKey>>) {
    let shape = |one: &OfPartition<ForeignKey>| {
        let key = &one.key;
        (key.columns.clone(), key.parent.clone(), key.parent_columns.clone(), key.operators.clone())
    };
    for same in grouped(keys, shape) {
        if !is_everywhere(&same, partitions) {
            let part = |one: OfPartition<ForeignKey>| PartitionKey { key: one.key, rows: one.rows };
            table.partition_keys.extend(same.into_iter().map(part));
            continue;
        }
        // What one of the leaves demands, some rows must meet.
        let deferrable = same.iter().all(|one| one.key.deferrable);
        let validated = same.iter().all(|one| one.key.validated);
        let match_full = same.iter().any(|one| one.key.match_full);
        let first = same.into_iter().next();
        table.foreign_keys.extend(first.map(|one| ForeignKey {
            deferrable,
            validated,
            match_full,
            ..one.key
        }));
    }
    table.foreign_keys.sort_by(|a, b| a.name.cmp(&b.name));
    table.partition_keys.sort_by(|a, b| a.key.name.cmp(&b.key.name));
}

/// Adds unique keys of partitions to their table.
pub fn add_unique_keys(table: &mut Table, partitions: &Partitions, keys: Vec<OfPartition<UniqueKey>>) {
    let shape = |one: &OfPartition<UniqueKey>| {
        let UniqueKey { columns, terms, predicate, nulls_not_distinct, deferrable, exclusion, .. } = &one.key;
        let terms: Vec<_> = terms.iter().map(|term| (term.sql.clone(), term.operator.clone())).collect();
        let kind = (*nulls_not_distinct, *deferrable, *exclusion, one.primary);
        (columns.clone(), terms, predicate.clone(), kind)
    };
    for same in grouped(keys, shape) {
        let columns = same.first().map_or(&[][..], |one| &one.key.columns);
        let apart = !columns.is_empty() && partitions.columns.iter().all(|column| columns.contains(column));
        if apart && is_everywhere(&same, partitions) {
            let Some(one) = same.into_iter().next() else { continue };
            if one.primary && table.primary_key.is_empty() {
                table.primary_key = one.key.columns.clone();
                table.primary_index = Some(one.key);
            } else {
                table.unique_keys.push(one.key);
            }
            continue;
        }
        let of_rows = |one: OfPartition<UniqueKey>| {
            let all = one.key.predicate.into_iter().chain([one.rows]).collect::<Vec<_>>().join(" AND ");
            UniqueKey { columns: vec![], predicate: Some(all), ..one.key }
        };
        table.unique_keys.extend(same.into_iter().map(of_rows));
    }
    table.unique_keys.sort_by(|a, b| a.name.cmp(&b.name));
}

fn grouped<K, S: Ord>(
    keys: Vec<OfPartition<K>>,
    shape: impl Fn(&OfPartition<K>) -> S,
) -> Vec<Vec<OfPartition<K>>> {
    let mut groups: BTreeMap<S, Vec<OfPartition<K>>> = BTreeMap::new();
    for key in keys {
        groups.entry(shape(&key)).or_default().push(key);
    }
    groups.into_values().collect()
}

fn is_everywhere<K>(same: &[OfPartition<K>], partitions: &Partitions) -> bool {
    let leaves: BTreeSet<i64> = same.iter().flat_map(|one| one.leaves.iter().copied()).collect();
    leaves.len() == partitions.leaves
}
