//! Entries of deletion queues about the rows that were written: taken out in the same transaction, where the
//! configuration says so.
//!
//! Entries that were added since the dry run go as well: such a row was not live then and is none but ours now, so that
//! whatever names it tells of a deletion before the restore.

use std::collections::BTreeMap;

use futures::StreamExt;

use super::kept::{self, Found};
use super::referenced::Choice;
use super::transaction::Steps;
use crate::error::{Error, Result};
use crate::model::{Fingerprint, OwnedTable, QueueLink, TableName};
use crate::plan::TenantTable;
use crate::shard::{Question, Rows, Session};

/// Entries that were deleted, by queue.
pub(super) type Cleared = BTreeMap<TableName, u64>;

impl Steps<'_> {
    /// Clears the queues of one table, and sees that no entry is left about a row that was written.
    pub(super) async fn clear_queues(
        &self,
        session: &mut dyn Session,
        (owned, rows): (&OwnedTable, &TenantTable),
        found: Option<&Found>,
        choice: &Choice,
        cleared: &mut Cleared,
    ) -> Result<()> {
        let links = self.planned.queues.iter().filter(|link| link.clear && link.table == owned.table.name);
        let links: Vec<&QueueLink> = links.collect();
        if links.is_empty() {
            return Ok(());
        }
        let mut read = Fingerprint::default();
        let mut chunks = choice.of(owned, kept::inserted(self.rows_of(owned).await?, found)?);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            read += chunk.fingerprint;
            let rows = Rows { owned, tuples: &chunk.tuples };
            for link in &links {
                *cleared.entry(link.queue.clone()).or_default() += session.delete_queued(&rows, link).await?;
                let left = session.ask(&rows, &Question::Queued(link)).await?.len();
                if left > 0 {
                    return Err(Error::failed(format!(
                        "unable to clear deletion queue '{}': {left} entries about restored rows of '{}' are left",
                        link.queue, owned.table.name
                    ))
                    .hint("a trigger or a rule may keep DELETE from taking them"));
                }
            }
        }
        if read == choice.written(rows) { Ok(()) } else { Err(self.distrust(rows)) }
    }
}
