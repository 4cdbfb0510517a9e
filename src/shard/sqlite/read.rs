//! Reading without a session: the independent verification's eye. Ordinary SELECTs on connections that cannot
//! write.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::BoxStream;
use sqlx::AssertSqlSafe;

use super::SqliteShard;
use crate::database::sqlite::{owner, rows};
use crate::error::{Error, Result};
use crate::model::{OwnedTable, TenantId};

/// The live rows of one tenant.
pub fn stream(
    shard: &SqliteShard,
    owned: &OwnedTable,
    tenant: &TenantId,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let select = owner::select_rows(&owned.table, Some(&owned.owners), Some(std::slice::from_ref(tenant)))?;
    let (readers, database) = (shard.readers.clone(), shard.database.clone());
    let acquire = async move { readers.acquire().await.map_err(|error| database.unable("open", error)) };
    Ok(rows::stream(acquire, Arc::new(owned.table.clone()), select).boxed())
}

/// Number of live rows of each tenant that has any.
pub async fn live_rows(
    shard: &SqliteShard,
    owned: &OwnedTable,
    tenants: &[TenantId],
) -> Result<BTreeMap<TenantId, u64>> {
    let unable = |error| {
        let name = &owned.table.name;
        crate::database::sqlite::error::explain(format!("unable to count the live rows of '{name}'"), error)
    };
    let select = owner::select_counts(owned, tenants)?;
    // Safe: all names in it are quoted, the ids are bound.
    let query = sqlx::query_as_with(AssertSqlSafe(select.sql), select.arguments);
    let rows: Vec<(String, i64)> = query.fetch_all(&shard.readers).await.map_err(unable)?;
    rows.into_iter()
        .map(|(tenant, count)| {
            let count = u64::try_from(count).map_err(|_| Error::bug("a count is negative"))?;
            Ok((TenantId::new(tenant), count))
        })
        .collect()
}
