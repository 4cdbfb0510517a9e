//! `reinstate repair`: make live rows of damaged tenants equal to the snapshot's.

use std::path::{Path, PathBuf};

use super::apply;
use super::output::{Output, must_not_exist};
use super::plan::{self, parse_list, read_file};
use super::settings::{PickArgs, StoreArgs};
use crate::config::Config;
use crate::error::Result;
use crate::limits::{JOBS_DEFAULT, TENANTS_MAX_DEFAULT};
use crate::plan::{ConstraintsChoice, Policy, Prover, Repair, Request, Tombstones};

/// Make live rows of damaged, not deleted, tenants equal to the snapshot's: overwrites, and deletes if asked to
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Plan(PlanArgs),
    Apply(ApplyArgs),
}

/// Dry run: which rows would be inserted, updated, deleted. Writes nothing but the plan file
#[derive(clap::Args)]
#[command(
    after_help = "What the tenants themselves changed since the snapshot is undone as well: list only damaged tenants, and
read the counts. Tables without a primary key that differ need --delete-extra. Triggers stay on.

Examples:
  reinstate repair plan --tenants damaged.txt --at 2026-11-21T07:30:00Z -o repair.json
  reinstate repair plan --tenants damaged.txt --delete-extra -o repair.json"
)]
struct PlanArgs {
    /// Tenant ids, one a line; - for standard input. Empty lines and lines that begin with # are skipped
    #[arg(long, value_name = "FILE")]
    tenants: PathBuf,

    #[command(flatten)]
    pick: PickArgs,
    #[command(flatten)]
    store: StoreArgs,

    /// Most tenants this plan may hold; more than the default need --reason
    #[arg(long, value_name = "N", default_value_t = TENANTS_MAX_DEFAULT)]
    max_tenants: usize,

    /// Why so many; kept in the plan
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Delete live rows of the tenants that the snapshot does not have; without it they are counted and left
    #[arg(long)]
    delete_extra: bool,

    /// Rows that were lawfully erased since the snapshot and do not come back, one JSON object a line
    #[arg(long, value_name = "FILE")]
    tombstones: Option<PathBuf>,

    /// Where to write the plan
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Show every table of every tenant
    #[arg(long)]
    detail: bool,
}

/// Repair the tenants of a plan, each in one transaction a shard, read back and compared before its commit
#[derive(clap::Args)]
#[command(after_help = "Examples:
  reinstate repair apply repair.json                  asks for the number of tenants
  reinstate repair apply repair.json --confirm 3      where no terminal can ask")]
struct ApplyArgs {
    /// The plan file
    plan: PathBuf,

    /// Tenants at a time
    #[arg(long, value_name = "N", default_value_t = JOBS_DEFAULT, value_parser = apply::jobs)]
    jobs: usize,

    /// The number of tenants in the plan, as a confirmation
    #[arg(long, value_name = "COUNT")]
    confirm: Option<usize>,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    match args.command {
        Command::Plan(args) => dry_run(args, config, output).await,
        Command::Apply(ApplyArgs { plan, jobs, confirm }) => {
            let args = apply::Args { plan, jobs, confirm, dropped: None, verify: apply::Verify::Before };
            apply::execute(args, true, config, output).await
        }
    }
}

async fn dry_run(args: PlanArgs, config: &Path, output: &Output) -> Result<u8> {
    must_not_exist(&args.output)?;
    let config = Config::load(config)?;
    let request = Request {
        tenants: parse_list(&read_file(&args.tenants, "tenant list")?)?,
        tenants_max: args.max_tenants,
        reason: args.reason,
        on_conflict: Policy::Fail,
        tombstones: match &args.tombstones {
            Some(path) => Tombstones::parse(&read_file(path, "tombstones")?)?,
            None => Tombstones::default(),
        },
        // With triggers on the server proves the keys of all rows that are touched, the neighbours' too.
        constraints: ConstraintsChoice::Only(Prover::Server),
        repair: Some(Repair { delete_extra: args.delete_extra }),
        ..Request::default()
    };
    let store = args.store.open(&config)?;
    plan::make(&config, &store, &args.pick.pick(), &request, &args.output, args.detail, output).await
}
