//! Whether the gate can be what the configuration says: found out before anything is written.

use super::Plan;
use crate::error::{Error, Result};
use crate::model::{OwnedTable, Table};

/// Refuses a gate column that is not there, or that says which row it is.
pub fn check(plan: &Plan) -> Result<()> {
    let (Some(gate), Some(root)) = (&plan.workflow.gate, &plan.root) else { return Ok(()) };
    let unable = |what: String| {
        Error::undecided(format!("unable to close the gate '{}' of table '{}': {what}", gate.column, root.table))
            .hint("[gate] names a column of the root table that says whether a tenant is served, and its value meanwhile")
    };
    let tables = plan.shard(&root.shard).into_iter().flat_map(|shard| &shard.tables);
    let Some(OwnedTable { table, .. }) = tables.into_iter().find(|owned| owned.table.name == root.table)
    else {
        return Ok(());
    };
    let Some(column) = table.column(&gate.column) else {
        return Err(unable("it has no such column".to_owned()));
    };
    if column.generated {
        return Err(unable("the column is generated".to_owned()));
    }
    match key_of(table, &gate.column) {
        Some(key) => Err(unable(format!("the column is part of {key}"))),
        None => Ok(()),
    }
}

/// A key that other rows, or the row itself, are known by.
fn key_of(table: &Table, column: &str) -> Option<&'static str> {
    let names = |columns: &[String]| columns.iter().any(|it| it == column);
    if names(&table.primary_key) {
        return Some("the primary key");
    }
    if table.unique_keys.iter().any(|key| names(&key.columns)) {
        return Some("a unique key");
    }
    table.foreign_keys.iter().any(|key| names(&key.columns)).then_some("a foreign key")
}
