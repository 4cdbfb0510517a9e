//! A list of tenants' rows out of a snapshot store into memory, and nothing else; `scripts/bench` runs it beside other
//! engines on the same rows. Prints rows, seconds since the start, and the tenants' share of the store's row bytes.
//!
//! ```text
//! extract STORE SHARD TENANTS      file:///srv/store shop tenants.txt
//! ```

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use reinstate::extract::tenant_batches;
use reinstate::limits::JOBS_DEFAULT;
use reinstate::model::{ShardName, TableName, TenantId};
use reinstate::snapshot::{self, Snapshot, Store};
use reinstate::source::snapshot_store::SnapshotSource;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, shard, tenants] = arguments.as_slice() else {
        println!("usage: extract STORE SHARD TENANTS (scripts/bench runs it)");
        return Ok(());
    };
    let started = Instant::now();
    let (store, shard) = (Store::open(store)?, ShardName::new(shard));
    let newest = snapshot::list(&store, Some(&shard)).await?.pop().ok_or("the store holds no snapshot")?;
    let source = SnapshotSource::new(Snapshot::open(&store, &shard, &newest.id).await?);
    let tenants: Vec<TenantId> = std::fs::read_to_string(tenants)?.lines().map(TenantId::new).collect();
    let rows: Vec<usize> = stream::iter(&tenants)
        .map(|tenant| rows_of(&source, tenant))
        .buffer_unordered(JOBS_DEFAULT)
        .try_collect()
        .await?;
    let seconds = started.elapsed().as_secs_f64();
    let index = source.snapshot().index();
    let bytes: u64 = tenants.iter().flat_map(|tenant| index.of_tenant(tenant)).map(|entry| entry.bytes).sum();
    let total: u64 = index.entries().iter().map(|entry| entry.bytes).sum();
    let (rows, share) = (rows.iter().sum::<usize>(), bytes as f64 / total as f64);
    println!("{}", serde_json::json!({ "rows": rows, "seconds": seconds, "share": share }));
    Ok(())
}

/// Reads all rows of a tenant, table by table.
async fn rows_of(source: &SnapshotSource, tenant: &TenantId) -> reinstate::Result<usize> {
    let index = source.snapshot().index();
    let names: BTreeSet<&TableName> = index.of_tenant(tenant).iter().map(|entry| &entry.table).collect();
    let mut rows = 0;
    for entry in &source.snapshot().manifest().tables {
        if names.contains(&entry.table.name) {
            let mut batches = tenant_batches(source, &entry.table, tenant).await?;
            while let Some(batch) = batches.next().await {
                rows += batch?.num_rows();
            }
        }
    }
    Ok(rows)
}
