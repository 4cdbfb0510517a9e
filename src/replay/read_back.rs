//! What the transaction has made of the tenant, read back and compared before the commit.

use futures::StreamExt;

use super::referenced::Choice;
use super::transaction::Steps;
use crate::disputed::Unowned;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::model::{Belongs, Fingerprint, OwnedTable, TableName, row_hash};
use crate::plan::TenantTable;
use crate::shard::Session;
use crate::verify::{self, Verdict};

impl Steps<'_> {
    /// Reads the tenant's tables back, and asks about all others together: rows that appeared since the deletion
    /// would be found there, and none may be.
    pub(super) async fn read_back(&self, session: &mut dyn Session, choice: &Choice) -> Result<Verdict> {
        let expected = |name: &TableName| self.part.tables.iter().find(|rows| rows.table == *name);
        let (held, others): (Vec<&OwnedTable>, Vec<&OwnedTable>) = self
            .planned
            .tables
            .iter()
            .chain(&self.planned.others)
            .filter(|owned| owned.owners.belongs == Belongs::ToOne || choice.has(&owned.table.name))
            .partition(|owned| expected(&owned.table.name).is_some());
        let ghosts = session.tables_with_rows(&others, &self.tenant.id).await?;
        let haunted = others.into_iter().filter(|owned| ghosts.contains(&owned.table.name));
        let (by_key, whole): (Vec<&OwnedTable>, Vec<&OwnedTable>) =
            held.into_iter().chain(haunted).partition(|owned| choice.has(&owned.table.name));
        let mut found = Vec::with_capacity(by_key.len() + whole.len());
        for owned in by_key {
            if let Some((written, live)) = self.found_by_key(session, owned, choice).await? {
                found.push((owned.table.name.clone(), written, live));
            }
        }
        let read = session.read_back_all(&whole, &self.tenant.id).await?;
        for (owned, read) in whole.into_iter().zip(read) {
            let name = &owned.table.name;
            let expected = expected(name).map(TenantTable::expected).unwrap_or_default();
            let rest = self.settled(session, owned, expected, read).await?;
            found.push((name.clone(), expected, rest));
        }
        let verdict = verify::before_commit(found);
        let Some(wrong) = verdict.tables().iter().find(|table| !table.is_equal()) else { return Ok(verdict) };
        let (expected, found) = (wrong.expected.rows, wrong.found.rows);
        let what = if expected == found {
            format!("the {found} rows read back are not those of the snapshot")
        } else {
            format!("{found} rows were read back, the snapshot has {expected}")
        };
        Err(Error::failed(format!("unable to verify table '{}' before commit: {what}", wrong.table))
            .hint("rows may have been created for the tenant since the deletion, or a trigger changes values on INSERT"))
    }

    /// What was `read` of the tenant's rows of one table, without those that were disputed. Another tenant that comes
    /// back in this moment changes what looks like this one's: then it is read again.
    async fn settled(
        &self,
        session: &mut dyn Session,
        owned: &OwnedTable,
        expected: Fingerprint,
        mut read: Fingerprint,
    ) -> Result<Fingerprint> {
        let mut before = None;
        loop {
            let mut rest = read;
            if read != expected {
                let disputed = self.disputed(session, owned).await?;
                disputed.into_iter().for_each(|hash| rest.remove(hash));
            }
            if rest == expected || before == Some(read) {
                return Ok(rest);
            }
            before = Some(read);
            read = session.read_back(owned, &self.tenant.id).await?;
        }
    }

    /// The rows that this transaction sees as the tenant's, and that the snapshot gives to nobody: their hashes.
    pub(super) async fn disputed(&self, session: &mut dyn Session, owned: &OwnedTable) -> Result<Vec<u128>> {
        let unowned = self.unowned(owned);
        if !unowned.may_dispute(owned) {
            return Ok(Vec::new());
        }
        let known = self.row_hashes_of(owned).await?;
        let extra = session.extra(owned, &self.tenant.id, known, self.run.share).await?;
        let (apart, _) = unowned.part(owned, &extra).await?;
        Ok(apart.iter().map(row_hash).collect())
    }

    /// How often each row of the tenant's occurs in the snapshot, by its hash.
    pub(super) async fn row_hashes_of(&self, owned: &OwnedTable) -> Result<Ledger> {
        let mut known = self.run.share.ledger();
        let mut chunks = self.rows_of(owned).await?;
        while let Some(chunk) = chunks.next().await {
            chunk?.tuples.iter().try_for_each(|tuple| known.add(row_hash(tuple)))?;
        }
        Ok(known)
    }

    pub(super) fn unowned(&self, owned: &OwnedTable) -> Unowned<'_> {
        let adaptation = self.planned.adaptations.get(&owned.table.name);
        Unowned { source: self.connected.source.as_ref(), adaptation }
    }
}
