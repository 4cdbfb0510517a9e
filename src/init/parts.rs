//! Foreign keys that a table's parts declare and the table does not: partitions, and tables that inherit from it.
//!
//! A key that every partition has is the table's own by then (the catalog sees to it). What is left is evidence for
//! the rows of some parts, and a supposition for the others, which the rows confirm or refute.

use std::collections::{BTreeMap, BTreeSet};

use super::Schema;
use crate::model::{ForeignKey, Link, Table, TableName};

/// The tables that inherit from others.
pub struct Parts<'a>(BTreeMap<&'a TableName, Vec<&'a Table>>);

impl<'a> Parts<'a> {
    pub fn new(schema: &'a Schema) -> Self {
        let tables: BTreeMap<&TableName, &Table> =
            schema.tables.iter().map(|table| (&table.name, table)).collect();
        let mut children: BTreeMap<&TableName, Vec<&Table>> = BTreeMap::new();
        for (child, parents) in &schema.statistics.inherits {
            let Some(table) = tables.get(child) else { continue };
            parents.iter().for_each(|parent| children.entry(parent).or_default().push(table));
        }
        Self(children)
    }

    /// What the parts of a table reference by keys that the table does not have; each once.
    pub fn links(&self, table: &Table) -> Vec<Link> {
        let has = |key: &ForeignKey| table.foreign_keys.iter().any(|own| target(own) == target(key));
        let fits = |key: &&ForeignKey| key.columns.iter().all(|name| table.column(name).is_some());
        let of_partitions = table.partition_keys.iter().map(|part| &part.key);
        let children = self.0.get(&table.name).into_iter().flatten();
        let of_children = children.flat_map(|child| {
            child.foreign_keys.iter().filter(|key| key.parent != child.name && key.parent != table.name)
        });
        let mut seen = BTreeSet::new();
        of_partitions
            .chain(of_children)
            .filter(fits)
            .filter(|key| !has(key) && seen.insert(target(key)))
            .map(|key| Link::new(key.columns.clone(), key.parent.clone(), key.parent_columns.clone()))
            .collect()
    }
}

fn target(key: &ForeignKey) -> (&[String], &TableName, &[String]) {
    (&key.columns, &key.parent, &key.parent_columns)
}
