//! The second look: snapshot file against live rows, on a connection of its own, by ordinary SELECT statements. It
//! uses nothing of the writing path: no session, no COPY, no counter, no number that `apply` reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;

use super::differences::{Balance, pair};
use super::{Checked, Difference, TableVerdict, Verdict, What};
use crate::bridge;
use crate::disputed::Unowned;
use crate::error::{Error, Result};
use crate::extract;
use crate::limits::DIFFERENCES_NAMED_MAX;
use crate::memory::Share;
use crate::missing::primary_key;
use crate::model::adapt::Adaptation;
use crate::model::{Belongs, Fingerprint, OwnedTable, Table, TenantId, row_hash, row_name, wire};
use crate::progress::Progress;
use crate::shard::{LiveRow, Question, Rows, Shard};
use crate::source::{BatchStream, Source};

/// What one tenant is to have in one table.
pub struct Expected<'a> {
    /// The live table.
    pub owned: &'a OwnedTable,
    /// How the snapshot's rows get its shape, where it has changed since.
    pub adaptation: Option<&'a Adaptation>,
    /// The fingerprint of the rows in the snapshot.
    pub taken: Fingerprint,
    /// Their fingerprint in the shape of the live table.
    pub shaped: Fingerprint,
    /// The fingerprint of the rows that the live table is to hold.
    pub live: Fingerprint,
    /// Rows that the plan left alone, where rows belong to whoever points at them.
    pub left: u64,
}

impl Expected<'_> {
    /// The snapshot's rows in the shape of the live table.
    async fn rows(&self, source: &dyn Source, tenant: &TenantId) -> Result<BatchStream> {
        let table = &self.owned.table;
        match self.adaptation {
            None => extract::tenant_batches(source, table, tenant).await,
            Some(adaptation) => extract::adapted_batches(source, adaptation, table, tenant).await,
        }
    }

    /// Whether the snapshot still holds what the plan was made with.
    async fn is_whole(&self, source: &dyn Source, tenant: &TenantId) -> Result<bool> {
        let shaped = fingerprint(&self.owned.table, self.rows(source, tenant).await?).await?;
        let taken = match self.adaptation {
            None => shaped,
            Some(Adaptation { taken, .. }) => {
                fingerprint(taken, extract::tenant_batches(source, taken, tenant).await?).await?
            }
        };
        Ok(taken == self.taken && shaped == self.shaped)
    }
}

/// Compares one tenant's rows in these tables.
pub async fn independent(
    source: &dyn Source,
    shard: &dyn Shard,
    tables: &[Expected<'_>],
    tenant: &TenantId,
    share: Share,
    progress: &dyn Progress,
) -> Result<Verdict> {
    let mut verdicts = Vec::with_capacity(tables.len());
    for expected in tables {
        let owned = expected.owned;
        if !expected.is_whole(source, tenant).await? {
            return Err(Error::refused(format!(
                "unable to trust the snapshot: the rows of tenant '{tenant}' in table '{}' are not those that were fingerprinted",
                owned.table.name
            ))
            .hint("`reinstate snapshot verify` says which files are rotten"));
        }
        if owned.owners.belongs != Belongs::ToOne {
            verdicts.push(by_key(source, shard, expected, tenant, progress).await?);
            continue;
        }
        let mut found = fingerprint(&owned.table, shard.read(owned, tenant).await?).await?;
        let mut differences = Vec::new();
        if found != expected.live {
            let disputed = disputed(source, shard, expected, tenant, share).await?;
            disputed.iter().for_each(|hash| found.remove(*hash));
            if found != expected.live {
                differences = name_differences(source, shard, expected, tenant, share, &disputed).await?;
            }
        }
        progress.advance(found.rows, 0);
        verdicts.push(TableVerdict {
            table: owned.table.name.clone(),
            expected: expected.live,
            found,
            differences,
            changed_since: Vec::new(),
        });
    }
    Ok(Verdict { checked: Checked::Independent, tables: verdicts })
}

/// Rows that belong to whoever points at them: each must be live by its key. What others have changed in it since is
/// noted and no difference. Of what hangs from such rows, as many may be gone as the plan left alone.
async fn by_key(
    source: &dyn Source,
    shard: &dyn Shard,
    expected: &Expected<'_>,
    tenant: &TenantId,
    progress: &dyn Progress,
) -> Result<TableVerdict> {
    let (owned, table) = (expected.owned, &expected.owned.table);
    let key = primary_key(table)?;
    let (mut found, mut missing, mut changed) = (Fingerprint::default(), Vec::new(), Vec::new());
    let mut rows = extract::written_rows(source, expected.adaptation, table, tenant).await?;
    while let Some(chunk) = rows.next().await {
        let chunk = chunk?;
        let asked = Rows { owned, tuples: &chunk.tuples };
        let answers = shard.ask(&asked, &Question::Taken(&key)).await?;
        let live: BTreeMap<usize, LiveRow> =
            answers.into_iter().filter_map(|answer| Some((answer.row, answer.live?))).collect();
        for (row, tuple) in chunk.tuples.iter().enumerate() {
            match live.get(&row) {
                None => {
                    missing.push(Difference { row: row_name(table, &chunk.batch, row), what: What::Missing })
                }
                Some(live) => {
                    found.add(row_hash(tuple));
                    if live.tuple != tuple {
                        changed.push(row_name(table, &chunk.batch, row));
                    }
                }
            }
            missing.truncate(DIFFERENCES_NAMED_MAX);
            changed.truncate(DIFFERENCES_NAMED_MAX);
        }
    }
    progress.advance(found.rows, 0);
    let gone = expected.live.rows - found.rows;
    let is_right = gone == 0 || (owned.owners.belongs == Belongs::WithParent && gone <= expected.left);
    Ok(TableVerdict {
        table: table.name.clone(),
        expected: if is_right { found } else { expected.live },
        found,
        differences: if is_right { Vec::new() } else { missing },
        changed_since: changed,
    })
}

async fn fingerprint(table: &Table, mut rows: BatchStream) -> Result<Fingerprint> {
    let table = Arc::new(table.clone());
    let mut total = Fingerprint::default();
    while let Some(batch) = rows.next().await {
        let (batch, of) = (batch?, Arc::clone(&table));
        let counted =
            bridge::compute(move || wire::encode(&of, &batch).map(|tuples| Fingerprint::of(&tuples)));
        total += counted.await?.map_err(|error| {
            Error::failed(format!("unable to compare rows of table '{}'", table.name)).because(error)
        })?;
    }
    Ok(total)
}

/// The tenant's live rows that the snapshot gives to nobody: their hashes.
async fn disputed(
    source: &dyn Source,
    shard: &dyn Shard,
    expected: &Expected<'_>,
    tenant: &TenantId,
    share: Share,
) -> Result<Vec<u128>> {
    let (owned, table) = (expected.owned, &expected.owned.table);
    let unowned = Unowned { source, adaptation: expected.adaptation };
    if !unowned.may_dispute(owned) {
        return Ok(Vec::new());
    }
    let mut balance = Balance::new(share);
    balance.count(table, expected.rows(source, tenant).await?, 1).await?;
    let extra = balance.beyond(table, shard.read(owned, tenant).await?).await?;
    let (apart, _) = unowned.part(owned, &extra).await?;
    Ok(apart.iter().map(row_hash).collect())
}

async fn name_differences(
    source: &dyn Source,
    shard: &dyn Shard,
    expected: &Expected<'_>,
    tenant: &TenantId,
    share: Share,
    disputed: &[u128],
) -> Result<Vec<super::Difference>> {
    let (owned, table) = (expected.owned, &expected.owned.table);
    let mut balance = Balance::new(share);
    balance.count(table, expected.rows(source, tenant).await?, 1).await?;
    balance.count(table, shard.read(owned, tenant).await?, -1).await?;
    balance.discount(disputed, -1)?;
    let missing = balance.unmatched(table, expected.rows(source, tenant).await?, 1).await?;
    let extra = balance.unmatched(table, shard.read(owned, tenant).await?, -1).await?;
    Ok(pair(table, missing, extra))
}
