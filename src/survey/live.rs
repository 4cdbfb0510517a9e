//! A tenant's live rows of one table, to be compared with the snapshot's. Hashes are kept, and no values.

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::keys::{KeyOf, identity};
use crate::disputed::Unowned;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::memory::Share;
use crate::model::wire::{Tuples, encode};
use crate::model::{Fingerprint, OwnedTable, Table, TenantId, row_hash};
use crate::shard::Shard;

/// The tenant's live rows of one table: by key, or as a multiset where there is none.
pub(super) struct LiveRows {
    identity: Option<KeyOf>,
    /// The hash of the row with each key; where there is no key, how often each row is live.
    rows: Ledger,
    all: Fingerprint,
    share: Share,
}

/// How a row of the snapshot stands.
pub(super) enum Stand {
    Absent,
    Identical,
    /// Live with other values, which have this hash.
    Different(u128),
}

impl LiveRows {
    /// No rows.
    pub fn none(table: &Table, share: Share) -> Self {
        Self { identity: identity(table), rows: share.ledger(), all: Fingerprint::default(), share }
    }

    /// Reads them.
    pub async fn read(
        shard: &dyn Shard,
        owned: &OwnedTable,
        tenant: &TenantId,
        share: Share,
    ) -> Result<Self> {
        let mut rows = Self::none(&owned.table, share);
        let mut batches = shard.read(owned, tenant).await?;
        while let Some(batch) = batches.next().await {
            for tuple in encoded(&owned.table, &batch?)?.iter() {
                let hash = row_hash(tuple);
                rows.all.add(hash);
                match &rows.identity {
                    Some(key) => drop(rows.rows.change(key.whole(tuple)?, |_| hash)?),
                    None => rows.rows.add(hash)?,
                }
            }
        }
        Ok(rows)
    }

    /// Takes the live row out that is the same row.
    pub fn take(&mut self, tuple: &[u8], hash: u128) -> Result<Stand> {
        if self.all.rows == 0 {
            return Ok(Stand::Absent);
        }
        let Some(key) = &self.identity else {
            return Ok(if self.rows.take(hash)? { Stand::Identical } else { Stand::Absent });
        };
        Ok(match self.rows.change(key.whole(tuple)?, |_| 0)? {
            0 => Stand::Absent,
            live if live == hash => Stand::Identical,
            live => Stand::Different(live),
        })
    }

    /// The fingerprint of all that were read.
    pub fn all(&self) -> Fingerprint {
        self.all
    }

    /// Whether rows are told apart by a key.
    pub fn is_keyed(&self) -> bool {
        self.identity.is_some()
    }

    /// Whether two rows have the same key.
    pub fn is_same(&self, one: &[u8], other: &[u8]) -> Result<bool> {
        match &self.identity {
            Some(key) => Ok(key.whole(one)? == key.whole(other)?),
            None => Ok(false),
        }
    }

    /// Forgets, among the rows that nothing took, those that several tenants claimed in the snapshot; their number.
    pub async fn forget_disputed(
        &mut self,
        shard: &dyn Shard,
        owned: &OwnedTable,
        tenant: &TenantId,
        unowned: Unowned<'_>,
    ) -> Result<u64> {
        if !unowned.may_dispute(owned) || self.rows.is_empty()? {
            return Ok(0);
        }
        let mut left = self.left()?;
        let mut beyond = Tuples::default();
        let mut batches = shard.read(owned, tenant).await?;
        while let Some(batch) = batches.next().await {
            for tuple in encoded(&owned.table, &batch?)?.iter() {
                if left.take(row_hash(tuple))? {
                    self.share.hold(&mut beyond, tuple)?;
                }
            }
        }
        let (apart, _) = unowned.part(owned, &beyond).await?;
        for tuple in apart.iter() {
            let hash = row_hash(tuple);
            match &self.identity {
                Some(key) => drop(self.rows.change(key.whole(tuple)?, |_| 0)?),
                None => drop(self.rows.take(hash)?),
            }
            self.all.remove(hash);
        }
        Ok(apart.len() as u64)
    }

    /// The hashes of the rows that nothing took, and how often.
    pub fn left(&self) -> Result<Ledger> {
        let mut left = self.share.ledger();
        for entry in self.rows.entries() {
            let (key, number) = entry?;
            let (hash, times) = if self.is_keyed() { (number, 1) } else { (key, number) };
            left.change(hash, |before| before + times)?;
        }
        Ok(left)
    }
}

pub(super) fn encoded(table: &Table, batch: &RecordBatch) -> Result<Tuples> {
    encode(table, batch).map_err(|error| unfit(table, error))
}

fn unfit(table: &Table, error: crate::model::wire::WireError) -> Error {
    Error::failed(format!("unable to compare rows of table '{}'", table.name)).because(error)
}
