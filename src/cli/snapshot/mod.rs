//! `reinstate snapshot …`: take, import, list, show, verify and prune snapshots.

mod import;

use std::path::Path;

use clap::Subcommand;
use jiff::Timestamp;

use super::output::Output;
use super::record::Record;
use super::settings::{MemoryArgs, StoreArgs};
use crate::audit::Facts;
use crate::config::Config;
use crate::error::{EXIT_DIFFERENCES, EXIT_OK, Error, Result};
use crate::limits::{JOBS_DEFAULT, RETAIN_DAYS_DEFAULT};
use crate::model::{ShardName, SnapshotId};
use crate::report;
use crate::snapshot::{self, CreateOptions, Snapshot, Store};
use crate::source::live;

/// Take, import, list, show, verify and prune snapshots
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(Create),
    Import(import::Import),
    List(List),
    Show(Show),
    Verify(Verify),
    Prune(Prune),
}

/// Take a snapshot of every shard, or of some
#[derive(clap::Args)]
#[command(after_help = "Examples:
  reinstate snapshot create                                   every shard of the configuration
  reinstate snapshot create --shard product --retain-days 90")]
struct Create {
    #[command(flatten)]
    store: StoreArgs,
    /// Only this shard; may be given several times
    #[arg(long, value_name = "NAME")]
    shard: Vec<String>,
    /// Days during which the snapshot cannot be pruned
    #[arg(long, value_name = "DAYS", default_value_t = RETAIN_DAYS_DEFAULT)]
    retain_days: u32,
    #[command(flatten)]
    memory: MemoryArgs,
    /// Do not count the rows of one tenant that point at rows of another
    #[arg(long)]
    no_ties: bool,
    /// Parallel readers of one shard
    #[arg(long, value_name = "N", default_value_t = JOBS_DEFAULT)]
    jobs: usize,
}

/// List the snapshots of a store
#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    store: StoreArgs,
    /// Only this shard
    #[arg(long, value_name = "NAME")]
    shard: Option<String>,
}

/// Show what a snapshot holds: its manifest
#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    store: StoreArgs,
    /// The snapshot
    id: String,
}

/// Read a snapshot wholly again and say what is rotten, by file and tenant
#[derive(clap::Args)]
#[command(after_help = "Exit code 0: every byte is as it was written; 1: problems were found.

Examples:
  reinstate snapshot verify                        every snapshot of the store
  reinstate snapshot verify 20261121T084500Z-3f9a2c")]
struct Verify {
    #[command(flatten)]
    store: StoreArgs,
    /// The snapshots; all by default
    ids: Vec<String>,
}

/// Delete snapshots whose retention is over; never one inside it
#[derive(clap::Args)]
struct Prune {
    #[command(flatten)]
    store: StoreArgs,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let config = Config::load(config)?;
    match args.command {
        Command::Create(args) => create(args, &config, output).await,
        Command::Import(args) => args.run(&config, output).await,
        Command::List(args) => list(args, &config, output).await,
        Command::Show(args) => show(args, &config, output).await,
        Command::Verify(args) => verify(args, &config, output).await,
        Command::Prune(args) => prune(args, &config, output).await,
    }
}

async fn create(args: Create, config: &Config, output: &Output) -> Result<u8> {
    let wanted: Vec<ShardName> = if args.shard.is_empty() {
        config.shards.keys().cloned().collect()
    } else {
        args.shard.iter().map(ShardName::new).collect()
    };
    let facts = about(wanted.iter(), args.retain_days);
    let mut record = Record::begin(config, "snapshot create", facts, output)?;
    let result = take(args, config, &wanted, &mut record.facts, output).await;
    record.end(result, output)
}

/// What the audit log is told of snapshots of these shards that are to be made.
fn about<'s>(shards: impl Iterator<Item = &'s ShardName>, retain_days: u32) -> Facts {
    let snapshots = shards.map(|shard| (shard.clone(), Vec::new())).collect();
    let mut facts = Facts { snapshots, ..Facts::default() };
    if retain_days != RETAIN_DAYS_DEFAULT {
        facts.overrides("retain_days", retain_days);
    }
    facts
}

async fn take(
    args: Create,
    config: &Config,
    wanted: &[ShardName],
    facts: &mut Facts,
    output: &Output,
) -> Result<u8> {
    let store = args.store.open(config)?;
    let memory_bytes = args.memory.memory().bytes();
    let options = CreateOptions { memory_bytes, retain_days: args.retain_days, ties: !args.no_ties };
    let progress = output.progress();
    let mut summaries = Vec::new();
    for name in wanted {
        let settings = config.shard(name)?;
        let source = live::open(name, &settings.url, &settings.tenancy, args.jobs).await?;
        let manifest =
            snapshot::create(&store, name, source.as_ref(), &settings.tenancy, &options, progress.as_ref())
                .await?;
        facts.snapshots.entry(name.clone()).or_default().push(manifest.id.clone());
        report::text::doubts(&manifest).iter().for_each(|line| output.talk(&format!("note: {line}")));
        summaries.push(summary(&store, name, &manifest.id).await?);
    }
    let value = serde_json::json!({ "format": 1, "snapshots": summaries });
    output.result(|| report::text::snapshots(&summaries), &value)?;
    Ok(EXIT_OK)
}

async fn summary(store: &Store, shard: &ShardName, id: &SnapshotId) -> Result<snapshot::Summary> {
    let found = snapshot::list(store, Some(shard)).await?.into_iter().find(|summary| summary.id == *id);
    found.ok_or_else(|| Error::bug(format!("snapshot '{id}' was written but is not listed")))
}

async fn list(args: List, config: &Config, output: &Output) -> Result<u8> {
    let store = args.store.open(config)?;
    let summaries = snapshot::list(&store, args.shard.map(ShardName::new).as_ref()).await?;
    let value = serde_json::json!({ "format": 1, "snapshots": summaries });
    let text = || match summaries.is_empty() {
        true => format!("no snapshot in store '{}'", store.url()),
        false => report::text::snapshots(&summaries),
    };
    output.result(text, &value)?;
    Ok(EXIT_OK)
}

async fn show(args: Show, config: &Config, output: &Output) -> Result<u8> {
    let store = args.store.open(config)?;
    let id = SnapshotId::new(&args.id);
    let found = find(&store, &id).await?;
    let snapshot = Snapshot::open(&store, &found.shard, &id).await?;
    output.result(|| report::text::manifest(snapshot.manifest()), snapshot.manifest())?;
    Ok(EXIT_OK)
}

async fn find(store: &Store, id: &SnapshotId) -> Result<snapshot::Summary> {
    snapshot::list(store, None).await?.into_iter().find(|summary| summary.id == *id).ok_or_else(|| {
        Error::refused(format!("unable to find snapshot '{id}' in store '{}'", store.url()))
            .hint("`reinstate snapshot list` shows what there is")
    })
}

async fn verify(args: Verify, config: &Config, output: &Output) -> Result<u8> {
    let store = args.store.open(config)?;
    let progress = output.progress();
    let mut wanted = Vec::new();
    if args.ids.is_empty() {
        let all = snapshot::list(&store, None).await?;
        wanted
            .extend(all.into_iter().filter(|summary| !matches!(summary.state, snapshot::State::Incomplete)));
    }
    for id in &args.ids {
        wanted.push(find(&store, &SnapshotId::new(id)).await?);
    }
    let mut reports = Vec::new();
    for summary in wanted {
        let report = snapshot::verify(&store, &summary.shard, &summary.id, progress.as_ref()).await?;
        reports.push((summary.id, report));
    }
    let sound = reports.iter().all(|(_, report)| report.problems.is_empty());
    let values: Vec<_> =
        reports.iter().map(|(id, report)| serde_json::json!({ "snapshot": id, "report": report })).collect();
    let text = || reports.iter().map(|(id, r)| report::text::verified(id, r)).collect::<Vec<_>>().join("\n");
    output.result(text, &serde_json::json!({ "format": 1, "snapshots": values }))?;
    Ok(if sound { EXIT_OK } else { EXIT_DIFFERENCES })
}

async fn prune(args: Prune, config: &Config, output: &Output) -> Result<u8> {
    if args.dry_run {
        return delete(&args, config, &mut Facts::default(), output).await;
    }
    let mut record = Record::begin(config, "snapshot prune", Facts::default(), output)?;
    let result = delete(&args, config, &mut record.facts, output).await;
    record.end(result, output)
}

async fn delete(args: &Prune, config: &Config, facts: &mut Facts, output: &Output) -> Result<u8> {
    let store = args.store.open(config)?;
    let report = snapshot::prune(&store, Timestamp::now(), args.dry_run).await?;
    for gone in &report.pruned {
        facts.snapshots.entry(gone.shard.clone()).or_default().push(gone.id.clone());
    }
    output.result(|| report::text::pruned(&report), &report)?;
    Ok(EXIT_OK)
}
