//! One tenant's rows of one table, as a shard takes them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::filter;
use crate::bridge;
use crate::error::{Error, Result};
use crate::model::{Chunk, ChunkStream, Fingerprint, Table, TenantId, wire};
use crate::source::{BatchStream, Scan, Source};

/// The rows of `tenant` in `table`, as the source has them. The stream works one chunk ahead of its reader;
/// rows of others, which a source may return, are left out.
pub async fn tenant_rows(source: &dyn Source, table: &Table, tenant: &TenantId) -> Result<ChunkStream> {
    let scan = Scan { tenants: Some(vec![tenant.clone()]), columns: None };
    let mut batches = source.scan(&table.name, &scan).await?;
    let table = Arc::new(table.clone());
    let tenant = tenant.clone();
    Ok(bridge::pipe(1, move |sender| async move {
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let (table, tenant) = (Arc::clone(&table), tenant.clone());
            let bytes = batch.get_array_memory_size();
            let work = move || chunk(&table, filter::of_tenant(batch, &tenant)?);
            let chunk = bridge::compute_on(bytes, work).await??;
            if !chunk.tuples.is_empty() && sender.send(chunk).await.is_err() {
                break;
            }
            sender.has_room().await;
        }
        Ok(())
    }))
}

/// The rows of several tenants in `table`, each chunk with its tenant; those of others, which a source may return, too.
pub async fn rows_of_tenants(
    source: &dyn Source,
    table: &Table,
    tenants: &[TenantId],
) -> Result<BoxStream<'static, Result<(TenantId, Chunk)>>> {
    let scan = Scan { tenants: Some(tenants.to_vec()), columns: None };
    let batches = source.scan(&table.name, &scan).await?;
    let table = table.clone();
    let chunks = move |batch: Result<RecordBatch>| -> Result<Vec<Result<(TenantId, Chunk)>>> {
        let runs = filter::by_tenant(&batch?)?;
        Ok(runs.into_iter().map(|(tenant, rows)| Ok((tenant, chunk(&table, rows)?))).collect())
    };
    let flat = |chunks: Result<Vec<_>>| stream::iter(chunks.unwrap_or_else(|error| vec![Err(error)]));
    Ok(batches.map(chunks).flat_map(flat).boxed())
}

/// The rows of `table` that no tenant owns.
pub async fn nobodys_rows(source: &dyn Source, table: &Table) -> Result<ChunkStream> {
    let batches = source.scan_unowned(&table.name).await?;
    let table = table.clone();
    Ok(batches.map(move |batch| chunk(&table, filter::of_nobody(batch?)?)).boxed())
}

/// The same rows as Arrow batches alone, for whoever compares instead of writing.
pub async fn tenant_batches(source: &dyn Source, table: &Table, tenant: &TenantId) -> Result<BatchStream> {
    let scan = Scan { tenants: Some(vec![tenant.clone()]), columns: None };
    let batches = source.scan(&table.name, &scan).await?;
    let tenant = tenant.clone();
    Ok(batches.map(move |batch| filter::of_tenant(batch?, &tenant)).boxed())
}

fn chunk(table: &Table, batch: RecordBatch) -> Result<Chunk> {
    let unfit = || Error::bug(format!("the source's batch does not fit table '{}'", table.name));
    // A live source adds the rows' hashes; a shard wants the table's columns and nothing else.
    let schema = table.arrow_schema();
    let columns = schema.fields().iter().map(|field| batch.column_by_name(field.name()).cloned());
    let columns: Vec<_> = columns.collect::<Option<_>>().ok_or_else(unfit)?;
    let batch = RecordBatch::try_new(schema, columns).map_err(|error| unfit().because(error))?;
    let tuples = wire::encode(table, &batch).map_err(|error| unfit().because(error))?;
    let fingerprint = Fingerprint::of(&tuples);
    Ok(Chunk { batch, tuples, fingerprint })
}
