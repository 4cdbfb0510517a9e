//! A tenant's live rows of one table, to be compared with the snapshot's. 32 bytes a row are held, and no values.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::keys::{KeyOf, identity};
use crate::disputed::Unowned;
use crate::error::{Error, Result};
use crate::model::wire::{Tuples, encode};
use crate::model::{Fingerprint, OwnedTable, Table, TenantId, row_hash};
use crate::shard::Shard;

/// The tenant's live rows of one table: by key, or as a multiset where there is none.
#[derive(Default)]
pub(super) struct LiveRows {
    identity: Option<KeyOf>,
    by_key: HashMap<u128, u128>,
    bag: HashMap<u128, u64>,
    all: Fingerprint,
}

/// How a row of the snapshot stands.
pub(super) enum Stand {
    Absent,
    Identical,
    Different,
}

impl LiveRows {
    /// No rows.
    pub fn none(table: &Table) -> Self {
        Self { identity: identity(table), ..Self::default() }
    }

    /// Reads them.
    pub async fn read(shard: &dyn Shard, owned: &OwnedTable, tenant: &TenantId) -> Result<Self> {
        let mut rows = Self::none(&owned.table);
        let mut batches = shard.read(owned, tenant).await?;
        while let Some(batch) = batches.next().await {
            for tuple in encoded(&owned.table, &batch?)?.iter() {
                let hash = row_hash(tuple);
                rows.all.add(hash);
                match &rows.identity {
                    Some(key) => drop(rows.by_key.insert(key.whole(tuple)?, hash)),
                    None => *rows.bag.entry(hash).or_default() += 1,
                }
            }
        }
        Ok(rows)
    }

    /// Takes the live row out that is the same row.
    pub fn take(&mut self, tuple: &[u8], hash: u128) -> Result<Stand> {
        if let Some(key) = &self.identity {
            if self.by_key.is_empty() {
                return Ok(Stand::Absent);
            }
            return Ok(match self.by_key.remove(&key.whole(tuple)?) {
                None => Stand::Absent,
                Some(live) if live == hash => Stand::Identical,
                Some(_) => Stand::Different,
            });
        }
        Ok(match self.bag.get_mut(&hash).filter(|left| **left > 0) {
            None => Stand::Absent,
            Some(left) => {
                *left -= 1;
                Stand::Identical
            }
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
        let mut left = self.left();
        if left.is_empty() || !unowned.may_dispute(owned) {
            return Ok(0);
        }
        let mut beyond = Tuples::default();
        let mut batches = shard.read(owned, tenant).await?;
        while let Some(batch) = batches.next().await {
            for tuple in encoded(&owned.table, &batch?)?.iter() {
                if let Some(count) = left.get_mut(&row_hash(tuple)).filter(|count| **count > 0) {
                    *count -= 1;
                    beyond.bytes.extend_from_slice(tuple);
                    beyond.ends.push(beyond.bytes.len());
                }
            }
        }
        let (apart, _) = unowned.part(owned, &beyond).await?;
        for tuple in apart.iter() {
            let hash = row_hash(tuple);
            match &self.identity {
                Some(key) => drop(self.by_key.remove(&key.whole(tuple)?)),
                None => *self.bag.entry(hash).or_default() -= 1,
            }
            self.all.remove(hash);
        }
        Ok(apart.len() as u64)
    }

    /// The hashes of the rows that nothing took.
    pub fn left(&self) -> HashMap<u128, u64> {
        let keyed = self.by_key.values().map(|hash| (*hash, 1));
        let bag = self.bag.iter().map(|(hash, left)| (*hash, *left)).filter(|(_, left)| *left > 0);
        keyed.chain(bag).collect()
    }
}

pub(super) fn encoded(table: &Table, batch: &RecordBatch) -> Result<Tuples> {
    encode(table, batch).map_err(|error| unfit(table, error))
}

fn unfit(table: &Table, error: crate::model::wire::WireError) -> Error {
    Error::failed(format!("unable to compare rows of table '{}'", table.name)).because(error)
}
