//! Whoever points at a row that a repair deletes, or at a key that it changes. With triggers on the server looks after
//! them; with triggers off they are asked for, over every foreign key of the database.
//!
//! Nobody can begin to point there meanwhile: such a writer waits for the lock on the row that goes, and fails.

use super::prove::pieces;
use super::transaction::Steps;
use crate::error::{Error, Result};
use crate::model::wire::Tuples;
use crate::model::{ForeignKey, OwnedTable, Table, TableName, tuple_name};
use crate::shard::{Question, Rows, Session};

/// Rows as they were before, by table.
pub(super) type Gone<'a> = Vec<(&'a OwnedTable, Tuples)>;

impl Steps<'_> {
    /// Whether triggers are off.
    pub(super) fn triggers_off(&self) -> bool {
        self.planned.constraints.by_engine()
    }

    /// The foreign keys that lead to a table.
    fn keys_to<'t>(&'t self, parent: &'t TableName) -> impl Iterator<Item = (&'t Table, &'t ForeignKey)> {
        let of = |child: &'t Table| child.all_foreign_keys().map(move |key| (child, key));
        self.connected.tables.iter().flat_map(of).filter(move |(_, key)| key.parent == *parent)
    }

    /// Whether rows may point at another key of the table than the primary one: the only ones that an UPDATE changes.
    pub(super) fn has_referenced_keys(&self, owned: &OwnedTable) -> bool {
        let primary = &owned.table.primary_key;
        self.keys_to(&owned.table.name)
            .any(|(_, key)| key.parent_columns.iter().any(|column| !primary.contains(column)))
    }

    /// Proves that no row points at one that is gone.
    pub(super) async fn prove_referrers(&self, session: &mut dyn Session, gone: Gone<'_>) -> Result<()> {
        for (owned, rows) in &gone {
            for (child, key) in self.keys_to(&owned.table.name) {
                for tuples in pieces(rows) {
                    let question = Question::Referrers { child, owners: None, key, orphaned: true };
                    let found = session.ask(&Rows { owned, tuples: &tuples }, &question).await?;
                    let Some(row) = found.into_iter().find_map(|answer| answer.live) else { continue };
                    let row = tuple_name(child, &row.tuple);
                    return Err(Error::failed(format!(
                        "unable to repair table '{}': row {row} of '{}' points by foreign key '{}' at a row that would go",
                        owned.table.name, child.name, key.name
                    ))
                    .hint("make a new plan; it shows what is live now"));
                }
            }
        }
        Ok(())
    }
}
