//! References of which bytes do not tell whether a row of the list is the one they mean: numbers with a scale, padded
//! and caseless text, columns of different types. The database compares them with the rows that come back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::StreamExt;

use super::Surveyed;
use super::standing::{Open, Unanswered};
use super::tombstones::Erased;
use crate::error::Result;
use crate::limits::KEYS_ASKED_MAX;
use crate::model::wire::Tuples;
use crate::model::{OwnedTable, TableName, TenantId};
use crate::plan::TableDrift;
use crate::shard::Rows;

/// A reference: whose, of which table and foreign key, and its hash.
pub(super) type Reference = (TenantId, TableName, String, u128);
/// Who brings the rows that references point at.
pub(super) type Matched = HashMap<Reference, BTreeSet<TenantId>>;

/// Whose rows of which tables come back.
pub(super) struct Reading<'a> {
    pub involved: &'a [OwnedTable],
    pub drift: &'a BTreeMap<TableName, TableDrift>,
    pub tenants: &'a [TenantId],
}

/// References by one foreign key of one tenant, in questions of a bounded size.
struct Batch<'a> {
    open: Vec<&'a (u128, Open)>,
}

impl Surveyed {
    /// Who of the tenants brings what these references point at: the tenant itself, or else any of the others.
    pub(super) async fn matched(
        &self,
        reading: &Reading<'_>,
        erased: &mut Erased,
        open: &[(TenantId, Unanswered)],
    ) -> Result<Matched> {
        let mut matched = Matched::new();
        for (tenant, left) in open {
            for (table, open) in &left.0 {
                let asked: Vec<&(u128, Open)> =
                    open.iter().filter(|(_, open)| open.asked.is_some()).collect();
                for open in asked.chunks(KEYS_ASKED_MAX) {
                    let mut batch = Batch { open: open.to_vec() };
                    let place = (tenant, table);
                    self.match_with(reading, erased, place, tenant, &mut batch, &mut matched).await?;
                    for other in reading.tenants.iter().filter(|other| *other != tenant) {
                        self.match_with(reading, erased, place, other, &mut batch, &mut matched).await?;
                    }
                }
            }
        }
        Ok(matched)
    }

    /// Compares the references with the rows that `bringer` brings; those that mean the tenant's own rows are done.
    async fn match_with(
        &self,
        reading: &Reading<'_>,
        erased: &mut Erased,
        (tenant, table): (&TenantId, &TableName),
        bringer: &TenantId,
        batch: &mut Batch<'_>,
        matched: &mut Matched,
    ) -> Result<()> {
        let Some((_, first)) = batch.open.first() else { return Ok(()) };
        let key = first.key.clone();
        let parent = reading.involved.iter().find(|owned| owned.table.name == key.parent);
        let Some(parent) = parent.filter(|_| self.rows_in_snapshot(bringer, &key.parent) > 0) else {
            return Ok(());
        };
        let unchanged = TableDrift::default();
        let changed = reading.drift.get(&key.parent).unwrap_or(&unchanged);
        let written =
            OwnedTable { table: self.written(&key.parent, changed)?, owners: parent.owners.clone() };
        let mut chunks = self.rows_to_write(&written.table, changed, bringer).await?;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            let gone = erased.rows(&written.table, &chunk.batch);
            let staying = chunk.tuples.iter().enumerate().filter(|(row, _)| !gone.contains(row));
            let parents = tuples(staying.map(|(_, tuple)| tuple));
            let asked = batch.open.iter().filter_map(|(_, open)| open.asked.as_ref());
            let Some(shape) = asked.clone().next().map(|asked| asked.owned.clone()) else { break };
            let references = tuples(asked.map(|asked| &*asked.tuple));
            let rows = Rows { owned: &shape, tuples: &references };
            let parents = Rows { owned: &written, tuples: &parents };
            let found: BTreeSet<usize> =
                self.shard.pointing(&rows, &key, &parents).await?.into_iter().collect();
            for (hash, _) in found.iter().filter_map(|at| batch.open.get(*at)) {
                let reference = (tenant.clone(), table.clone(), key.name.clone(), *hash);
                matched.entry(reference).or_default().insert(bringer.clone());
            }
            if bringer == tenant {
                let mut at = 0..;
                batch.open.retain(|_| at.next().is_some_and(|at| !found.contains(&at)));
            }
        }
        Ok(())
    }
}

fn tuples<'a>(rows: impl Iterator<Item = &'a [u8]>) -> Tuples {
    let mut tuples = Tuples::default();
    for row in rows {
        tuples.bytes.extend_from_slice(row);
        tuples.ends.push(tuples.bytes.len());
    }
    tuples
}
