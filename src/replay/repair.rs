//! What a repair does beyond inserting: rows get the snapshot's values again, and extra rows go. Exactly those that the
//! plan has counted; the read-back and the write set look at the result.

use super::kept::{self, Found};
use super::prove::Proof;
use super::referrers::Gone;
use super::transaction::Steps;
use crate::error::{Error, Result};
use crate::model::{Fingerprint, OwnedTable};
use crate::plan::TenantTable;
use crate::shard::{Session, TableWrites};

/// What helps where the live rows are not those of the plan.
const AGAIN: &str = "make a new plan; it shows what is live now";

/// What was done beyond inserting.
#[derive(Default)]
pub(super) struct Repairs<'a> {
    /// Rows that somebody may point at, as they were before; only where triggers are off.
    pub gone: Gone<'a>,
}

/// What the database counts in a table. No UPDATE moves a row to another partition: its key, which holds the columns
/// that partition, stays.
pub(super) fn writes(rows: &TenantTable, inserted: u64) -> TableWrites {
    TableWrites {
        inserted,
        updated: rows.repaired().map_or(0, |repaired| repaired.updated),
        deleted: rows.repaired().map_or(0, |repaired| repaired.deleted.rows),
    }
}

impl Steps<'_> {
    /// Gives the changed rows of a table the snapshot's values.
    pub(super) async fn update<'r>(
        &self,
        session: &mut dyn Session,
        (owned, rows): (&'r OwnedTable, &TenantTable),
        found: &mut Found,
        proof: Option<&Proof<'_>>,
        repairs: &mut Repairs<'r>,
    ) -> Result<()> {
        let wanted = rows.repaired().map_or(0, |repaired| repaired.updated);
        if wanted == 0 {
            return Ok(());
        }
        let mut chunks = kept::only(self.rows_of(owned).await?, found.changed.copy()?);
        if let Some(proof) = proof {
            chunks = proof.watch(&owned.table.name, chunks);
        }
        let updated = session.update(owned, chunks, &mut found.live).await?;
        if updated == wanted {
            repairs.gone.push((owned, std::mem::take(&mut found.old)));
            return Ok(());
        }
        Err(Error::failed(format!(
            "unable to repair table '{}': {updated} of {wanted} rows took the snapshot's values",
            rows.table
        ))
        .hint("a trigger may refuse the UPDATE, or rows changed in this moment: make a new plan"))
    }

    /// Deletes the extra rows, children first. Only now does no row point at them any more that was to be changed.
    pub(super) async fn delete_extra<'r>(
        &self,
        session: &mut dyn Session,
        tables: &[(&'r OwnedTable, &TenantTable)],
        repairs: &mut Repairs<'r>,
    ) -> Result<()> {
        for (owned, rows) in tables.iter().rev() {
            let Some(wanted) = rows.repaired().map(|repaired| repaired.deleted).filter(|rows| rows.rows > 0)
            else {
                continue;
            };
            let mut known = self.row_hashes_of(owned).await?;
            for erased in rows.settled.iter().flat_map(|settled| &settled.erased) {
                known.take(erased.0)?;
            }
            let extra = session.extra(owned, &self.tenant.id, known, self.run.share).await?;
            let (_, extra) = self.unowned(owned).part(owned, &extra).await?;
            if Fingerprint::of(&extra) != wanted {
                return Err(Error::failed(format!(
                    "unable to repair table '{}': its extra rows are not those of the plan",
                    rows.table
                ))
                .hint(AGAIN));
            }
            let deleted = session.delete(owned, &self.tenant.id, &extra).await?;
            if deleted != wanted.rows {
                return Err(Error::failed(format!(
                    "unable to repair table '{}': {deleted} of {} extra rows were deleted",
                    rows.table, wanted.rows
                ))
                .hint("a trigger may refuse the DELETE, or rows changed in this moment: make a new plan"));
            }
            if self.triggers_off() {
                repairs.gone.push((owned, extra));
            }
        }
        Ok(())
    }
}
