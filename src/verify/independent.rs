//! The second look: snapshot file against live rows, on a connection of its own, by ordinary SELECT statements. It
//! uses nothing of the writing path: no session, no COPY, no counter, no number that `apply` reported.

use futures::StreamExt;

use super::differences::{Balance, pair};
use super::{Checked, TableVerdict, Verdict};
use crate::bridge;
use crate::error::{Error, Result};
use crate::extract;
use crate::model::{Fingerprint, OwnedTable, TenantId, wire};
use crate::progress::Progress;
use crate::shard::Shard;
use crate::source::{BatchStream, Source};

/// Compares one tenant's rows in these tables; `expected` is the plan's fingerprint of each.
pub async fn independent(
    source: &dyn Source,
    shard: &dyn Shard,
    tables: &[(&OwnedTable, Fingerprint)],
    tenant: &TenantId,
    progress: &dyn Progress,
) -> Result<Verdict> {
    let mut verdicts = Vec::with_capacity(tables.len());
    for (owned, expected) in tables {
        let snapshot =
            fingerprint(owned, extract::tenant_batches(source, &owned.table, tenant).await?).await?;
        if snapshot != *expected {
            return Err(Error::refused(format!(
                "unable to trust the snapshot: the rows of tenant '{tenant}' in table '{}' are not those that were fingerprinted",
                owned.table.name
            ))
            .hint("`reinstate snapshot verify` says which files are rotten"));
        }
        let found = fingerprint(owned, shard.read(owned, tenant).await?).await?;
        let differences = if found == snapshot {
            Vec::new()
        } else {
            name_differences(source, shard, owned, tenant).await?
        };
        progress.advance(found.rows, 0);
        verdicts.push(TableVerdict {
            table: owned.table.name.clone(),
            expected: snapshot,
            found,
            differences,
        });
    }
    Ok(Verdict { checked: Checked::Independent, tables: verdicts })
}

async fn fingerprint(owned: &OwnedTable, mut rows: BatchStream) -> Result<Fingerprint> {
    let mut total = Fingerprint::default();
    while let Some(batch) = rows.next().await {
        let (batch, table) = (batch?, owned.table.clone());
        let counted =
            bridge::compute(move || wire::encode(&table, &batch).map(|tuples| Fingerprint::of(&tuples)));
        total += counted.await?.map_err(|error| {
            Error::failed(format!("unable to compare rows of table '{}'", owned.table.name)).because(error)
        })?;
    }
    Ok(total)
}

async fn name_differences(
    source: &dyn Source,
    shard: &dyn Shard,
    owned: &OwnedTable,
    tenant: &TenantId,
) -> Result<Vec<super::Difference>> {
    let table = &owned.table;
    let mut balance = Balance::default();
    balance.count(table, extract::tenant_batches(source, table, tenant).await?, 1).await?;
    balance.count(table, shard.read(owned, tenant).await?, -1).await?;
    let missing = balance.unmatched(table, extract::tenant_batches(source, table, tenant).await?, 1).await?;
    let extra = balance.unmatched(table, shard.read(owned, tenant).await?, -1).await?;
    Ok(pair(table, missing, extra))
}
