//! Rows that belong to whoever points at them: decided anew inside the transaction, since another tenant of the plan
//! may have brought the same row back since the dry run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::transaction::Steps;
use crate::database::{Transient, is_key_taken};
use crate::error::{Error, Result};
use crate::extract;
use crate::missing::{self, Chosen};
use crate::model::{Belongs, ChunkStream, Fingerprint, OwnedTable, TableName};
use crate::plan::TenantTable;
use crate::shard::Session;

/// The choice in every table whose rows belong to their referrers.
#[derive(Default)]
pub(super) struct Choice(BTreeMap<TableName, Part>);

/// The choice in one table.
#[derive(Default)]
struct Part {
    chosen: Chosen,
    /// All rows that went by on their way to the shard, and those of them that were written.
    passed: Arc<Mutex<Fingerprint>>,
    written: Fingerprint,
}

impl Choice {
    /// How many rows are to be written; all of them where there is no choice.
    pub fn rows(&self, rows: &TenantTable) -> u64 {
        self.0.get(&rows.table).map_or(rows.written(), |part| part.chosen.rows())
    }

    /// Whether there is one for a table.
    pub fn has(&self, table: &TableName) -> bool {
        self.0.contains_key(table)
    }

    /// What was written in a table.
    pub fn written(&self, rows: &TenantTable) -> Fingerprint {
        self.0.get(&rows.table).map_or(rows.inserted(), |part| part.written)
    }

    /// The chosen ones of the rows.
    pub fn of(&self, owned: &OwnedTable, rows: ChunkStream) -> ChunkStream {
        match self.0.get(&owned.table.name) {
            None => rows,
            Some(part) => missing::choose(&owned.table, &part.chosen, rows, Arc::clone(&part.passed)),
        }
    }

    /// Takes note of what was written; returns what went by before the choice.
    pub fn wrote(&mut self, table: &TableName, written: Fingerprint) -> Result<Fingerprint> {
        let Some(part) = self.0.get_mut(table) else { return Ok(written) };
        part.written = written;
        Ok(*part.passed.lock().map_err(|_| Error::bug("a writer stopped in the middle of a batch"))?)
    }
}

impl Steps<'_> {
    /// Decides what is missing, before anything is written.
    pub(super) async fn choose(
        &self,
        session: &mut dyn Session,
        tables: &[(&OwnedTable, &TenantTable)],
    ) -> Result<Choice> {
        let mut choice = Choice::default();
        for (owned, rows) in tables.iter().filter(|(owned, _)| owned.owners.belongs != Belongs::ToOne) {
            let chosen = missing::missing(session, owned, self.rows_of(owned).await?).await?;
            if chosen.all != rows.expected() {
                return Err(self.distrust(rows));
            }
            if chosen.rows() > rows.written() {
                return Err(Error::failed(format!(
                    "unable to restore table '{}': {} rows are missing there, the plan found {}",
                    rows.table,
                    chosen.rows(),
                    rows.written()
                ))
                .hint("rows were deleted since the dry run; make the plan again"));
            }
            choice.0.insert(rows.table.clone(), Part { chosen, ..Part::default() });
        }
        Ok(choice)
    }

    /// Leaves out what hangs from rows that have not come back; the tables above are written.
    pub(super) async fn settle(
        &self,
        session: &mut dyn Session,
        owned: &OwnedTable,
        choice: &mut Choice,
    ) -> Result<()> {
        match choice.0.get_mut(&owned.table.name) {
            Some(part) if owned.owners.belongs == Belongs::WithParent && part.chosen.rows() > 0 => {
                let rows = self.rows_of(owned).await?;
                missing::attached(session, owned, &mut part.chosen, rows).await
            }
            _ => Ok(()),
        }
    }

    /// What was written in a table and what is live under the same keys; `None` where there was no choice.
    pub(super) async fn found_by_key(
        &self,
        session: &mut dyn Session,
        owned: &OwnedTable,
        choice: &Choice,
    ) -> Result<Option<(Fingerprint, Fingerprint)>> {
        let Some(part) = choice.0.get(&owned.table.name) else { return Ok(None) };
        let rows = choice.of(owned, self.rows_of(owned).await?);
        Ok(Some((part.written, missing::live_by_key(session, owned, rows).await?)))
    }

    pub(super) async fn rows_of(&self, owned: &OwnedTable) -> Result<ChunkStream> {
        let adaptation = self.planned.adaptations.get(&owned.table.name);
        let source = self.connected.source.as_ref();
        extract::written_rows(source, adaptation, &owned.table, &self.tenant.id).await
    }

    /// A row that was missing a moment ago has come back with another tenant: the next attempt finds it live.
    pub(super) fn came_back(owned: &OwnedTable, error: Error) -> Error {
        if owned.owners.belongs == Belongs::ToOne || !is_key_taken(&error) {
            return error;
        }
        let message = error.to_string();
        let said = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        error
            .hints()
            .iter()
            .fold(Error::failed(message).because(Transient(said)), |error, hint| error.hint(hint))
    }
}
