//! `reinstate snapshot import`: a snapshot of some tenants out of a folder of Parquet files.

use std::path::PathBuf;

use jiff::Timestamp;

use super::super::output::Output;
use super::super::record::Record;
use super::super::request::tenant_list;
use super::super::settings::{MemoryArgs, StoreArgs, instant};
use super::{about, summary};
use crate::audit::Facts;
use crate::config::Config;
use crate::error::{EXIT_OK, Error, Result};
use crate::limits::{IMPORT_KEYS_DIVISOR, RETAIN_DAYS_DEFAULT};
use crate::model::{ShardName, SnapshotId, TenantId};
use crate::snapshot::{self, CreateOptions, Snapshot, Store};
use crate::source::parquet::{Origin, ParquetSource};
use crate::{report, shard};

/// Make a snapshot of some tenants out of Parquet files: an export of the whole shard, whatever tool wrote it
#[derive(clap::Args)]
#[command(
    after_help = "The folder holds DIR/SCHEMA.TABLE.parquet or DIR/SCHEMA.TABLE/…/*.parquet for every table that is not excluded
(without the schema where only one table can be meant). Keys and types are those of the live shard.

Examples:
  reinstate snapshot import --from /srv/export/shop --shard product --at 2026-11-21T03:00:00Z --tenants gone.txt
  reinstate plan --tenants gone.txt -o plan.json"
)]
pub struct Import {
    /// The folder of the export
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The shard that was exported
    #[arg(long, value_name = "NAME")]
    shard: String,
    /// The instant that the export shows: the restore point (2026-11-21T03:00:00Z, or local time without the Z)
    #[arg(long, value_name = "TIME", value_parser = instant)]
    at: Timestamp,
    /// Tenant ids, one a line; - for standard input. No other tenant can be restored from the snapshot
    #[arg(long, value_name = "FILE")]
    tenants: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Days during which the snapshot cannot be pruned
    #[arg(long, value_name = "DAYS", default_value_t = RETAIN_DAYS_DEFAULT)]
    retain_days: u32,
    #[command(flatten)]
    memory: MemoryArgs,
}

impl Import {
    pub async fn run(self, config: &Config, output: &Output) -> Result<u8> {
        let (name, tenants) = (ShardName::new(&self.shard), tenant_list(&self.tenants)?);
        if self.at > Timestamp::now() {
            let message = format!("unable to import what was exported at {}: it is to come", self.at);
            return Err(Error::usage(message).hint("--at is the instant that the export shows"));
        }
        let mut facts = about([&name].into_iter(), self.retain_days);
        facts.tenants = Some(tenants.len());
        facts.overrides("from", self.from.display().to_string());
        facts.overrides("at", self.at.to_string());
        let mut record = Record::begin(config, "snapshot import", facts, output)?;
        let result = self.take(config, &name, &tenants, &mut record.facts, output).await;
        record.end(result, output)
    }

    async fn take(
        &self,
        config: &Config,
        name: &ShardName,
        tenants: &[TenantId],
        known: &mut Facts,
        output: &Output,
    ) -> Result<u8> {
        let (store, settings) = (self.store.open(config)?, config.shard(name)?);
        let facts = shard::open(name, &settings.url, 1).await?.facts().await?;
        let origin = Origin {
            taken_at: self.at,
            identity: facts.identity,
            server_version: facts.server_version,
            tables: facts.tables,
            observed: !settings.url.is_postgres(),
        };
        let memory_bytes = self.memory.memory().bytes();
        let keys_bytes_max = memory_bytes / IMPORT_KEYS_DIVISOR;
        let source = ParquetSource::open(&self.from, origin, &settings.tenancy, tenants, keys_bytes_max)?;
        let ignored = |entry: &String| {
            output.talk(&format!("note: '{entry}' is no table of shard '{name}' and is left out"))
        };
        source.ignored().iter().for_each(ignored);
        let options = CreateOptions {
            memory_bytes: memory_bytes - keys_bytes_max,
            retain_days: self.retain_days,
            ties: false,
        };
        let progress = output.progress();
        let manifest =
            snapshot::create(&store, name, &source, &settings.tenancy, &options, progress.as_ref()).await?;
        known.snapshots.entry(name.clone()).or_default().push(manifest.id.clone());
        report::text::doubts(&manifest).iter().for_each(|line| output.talk(&format!("note: {line}")));
        for tenant in absent(&store, name, &manifest.id, tenants).await? {
            output.talk(&format!("note: tenant '{tenant}' has no row in the export"));
        }
        let summaries = [summary(&store, name, &manifest.id).await?];
        let value = serde_json::json!({ "format": 1, "snapshots": summaries });
        output.result(|| report::text::snapshots(&summaries), &value)?;
        Ok(EXIT_OK)
    }
}

/// Those of the tenants that the snapshot does not know.
async fn absent<'t>(
    store: &Store,
    shard: &ShardName,
    id: &SnapshotId,
    tenants: &'t [TenantId],
) -> Result<Vec<&'t TenantId>> {
    let snapshot = Snapshot::open(store, shard, id).await?;
    let index = snapshot.index();
    Ok(tenants.iter().filter(|tenant| index.of_tenant(tenant).is_empty()).collect())
}
