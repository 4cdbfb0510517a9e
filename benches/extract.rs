//! A list of tenants' rows into memory, and nothing else: out of a snapshot store, or out of Parquet files in any order.
//! `scripts/bench` runs it beside other engines on the same rows. Prints rows and seconds, and of a store the tenants'
//! share of its row bytes.
//!
//! ```text
//! extract STORE SHARD TENANTS                    file:///srv/store shop tenants.txt
//! extract parquet FOLDER CONFIG SHARD TENANTS    types and keys are those of the live shard
//! ```

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use reinstate::config::Config;
use reinstate::extract::filter::by_tenant;
use reinstate::limits::{IMPORT_KEYS_DIVISOR, JOBS_DEFAULT, MEMORY_BYTES_DEFAULT};
use reinstate::model::{Rule, ShardName, TableName, TenantId};
use reinstate::shard;
use reinstate::snapshot::{self, Snapshot, Store};
use reinstate::source::parquet::{Origin, ParquetSource};
use reinstate::source::snapshot_store::SnapshotSource;
use reinstate::source::{Scan, Source};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["parquet", folder, config, shard, tenants] => unclustered(folder, config, shard, tenants).await,
        [store, shard, tenants] => stored(store, shard, tenants).await,
        _ => {
            println!("usage: extract STORE SHARD TENANTS (scripts/bench runs it)");
            Ok(())
        }
    }
}

fn listed(path: &str) -> Result<Vec<TenantId>, std::io::Error> {
    Ok(std::fs::read_to_string(path)?.lines().map(TenantId::new).collect())
}

/// Out of Parquet files: one pass for all tenants. Each table is held in memory as a whole, as the other engines do.
async fn unclustered(folder: &str, config: &str, shard: &str, tenants: &str) -> Result<(), Box<dyn Error>> {
    let config = Config::load(Path::new(config))?;
    let name = ShardName::new(shard);
    let settings = config.shard(&name)?;
    let facts = shard::open(&name, &settings.url, 1).await?.facts().await?;
    let origin = Origin {
        taken_at: Timestamp::now(),
        identity: facts.identity,
        server_version: facts.server_version,
        tables: facts.tables,
        observed: false,
    };
    let started = Instant::now();
    let source = ParquetSource::open(
        Path::new(folder),
        origin,
        &settings.tenancy,
        &listed(tenants)?,
        MEMORY_BYTES_DEFAULT / IMPORT_KEYS_DIVISOR,
    )?;
    let mut rows = 0;
    for table in &source.describe().tables {
        if settings.tenancy.rules.get(&table.name).is_some_and(Rule::is_owned) {
            let columns = table.stored_columns().map(|column| column.name.clone()).collect();
            let scan = Scan { tenants: None, columns: Some(columns) };
            let batches: Vec<RecordBatch> = source.scan(&table.name, &scan).await?.try_collect().await?;
            rows += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({ "rows": rows, "seconds": seconds }));
    Ok(())
}

/// Out of a snapshot store: all tenants together, as a restore reads small ones; some tables at a time.
async fn stored(store: &str, shard: &str, tenants: &str) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let (store, shard) = (Store::open(store)?, ShardName::new(shard));
    let newest = snapshot::list(&store, Some(&shard)).await?.pop().ok_or("the store holds no snapshot")?;
    let source = SnapshotSource::new(Snapshot::open(&store, &shard, &newest.id).await?);
    let tenants = listed(tenants)?;
    let rows: Vec<usize> = stream::iter(&source.snapshot().manifest().tables)
        .map(|entry| rows_of(&source, &entry.table.name, &tenants))
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

/// Reads the tenants' rows of a table, each tenant's apart.
async fn rows_of(
    source: &SnapshotSource,
    table: &TableName,
    tenants: &[TenantId],
) -> reinstate::Result<usize> {
    let scan = Scan { tenants: Some(tenants.to_vec()), columns: None };
    let batches: Vec<RecordBatch> = source.scan(table, &scan).await?.try_collect().await?;
    let mut apart = Vec::new();
    for batch in &batches {
        apart.extend(by_tenant(batch)?);
    }
    Ok(apart.iter().map(|(_, rows)| rows.num_rows()).sum())
}
