//! `reinstate plan`: the dry run, and the only road to a plan file.

use std::collections::BTreeSet;
use std::path::Path;

use super::output::Output;
use super::request::RequestArgs;
use crate::config::Config;
use crate::error::Result;
use crate::model::ShardName;
use crate::plan::{Policy, Request};

/// Dry run: what would be restored, from which snapshot, into which database. Writes nothing but the plan file
#[derive(clap::Args)]
#[command(
    after_help = "A tenant that cannot be restored as it is (rows of it are live, a key of it is taken, a row that it
points at is gone) is left out of the plan and named, with the rows; the plan holds the others. The exit code is
then 6: a person must look.

Examples:
  reinstate plan --tenants tenants.txt --at 2026-11-21T07:30:00Z -o plan.json
  reinstate diff --at 2026-11-21T07:30:00Z -o tenants.txt && reinstate plan --tenants tenants.txt \\
      --at 2026-11-21T07:30:00Z --max-tenants 50 --reason 'INC-4711: script deleted 50 sites' -o plan.json"
)]
pub struct Args {
    #[command(flatten)]
    request: RequestArgs,

    /// This shard's target may be another database than the one the snapshot was taken from
    #[arg(long, value_name = "SHARD")]
    into: Vec<String>,

    /// Restore without the values of columns that are gone; `apply` keeps them in Parquet files
    #[arg(long)]
    allow_dropped: bool,

    /// What to do where rows of a tenant are live: leave the tenant out (fail), leave live rows that are equal to the
    /// snapshot's (skip-identical), or leave all live rows as they are (keep-live). A table's own policy in the
    /// configuration ([shards.NAME.conflicts]) comes first
    #[arg(long, value_name = "POLICY", default_value = "fail", value_parser = Policy::parse)]
    on_conflict: Policy,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let request = args.request.request()?;
    let config = Config::load(config)?;
    let into: BTreeSet<ShardName> = args.into.iter().map(ShardName::new).collect();
    for name in &into {
        config.shard(name)?;
    }
    let request =
        Request { into, allow_dropped: args.allow_dropped, on_conflict: args.on_conflict, ..request };
    args.request.plan(&config, &request, output).await
}
