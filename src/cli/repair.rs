//! `reinstate repair`: make live rows of damaged tenants equal to the snapshot's.

use std::path::{Path, PathBuf};

use super::apply;
use super::output::Output;
use super::request::RequestArgs;
use super::settings::MemoryArgs;
use crate::config::Config;
use crate::error::Result;
use crate::limits::JOBS_DEFAULT;
use crate::plan::{Repair, Request};

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
read the counts. Tables without a primary key that differ need --delete-extra.

A tenant that cannot be repaired (a key of it is taken, a row that it points at is gone, others point at a row that
would go) is left out of the plan and named, with the rows; the plan holds the others. The exit code is then 6.

Examples:
  reinstate repair plan --tenants damaged.txt --at 2026-11-21T07:30:00Z -o repair.json
  reinstate repair plan --tenants damaged.txt --delete-extra -o repair.json
  reinstate diff --at 2026-11-21T07:30:00Z --detail       which tenants differ, and where"
)]
struct PlanArgs {
    #[command(flatten)]
    request: RequestArgs,

    /// Delete live rows of the tenants that the snapshot does not have; without it they are counted and left
    #[arg(long)]
    delete_extra: bool,
}

/// Repair the tenants of a plan, each in one transaction a shard, read back and compared before its commit
#[derive(clap::Args)]
#[command(after_help = "Run it again after any interruption, from any machine: what is done is not repeated.
A row that changed after the plan was made rolls its tenant back: make a new plan.

Examples:
  reinstate repair apply repair.json                   asks for the number of tenants
  reinstate repair apply repair.json --confirm 3       where no terminal can ask
  reinstate repair apply repair.json --jobs 4 --json   the report as JSON")]
struct ApplyArgs {
    /// The plan file
    plan: PathBuf,

    /// Tenants at a time
    #[arg(long, value_name = "N", default_value_t = JOBS_DEFAULT, value_parser = apply::jobs)]
    jobs: usize,

    /// The number of tenants in the plan, as a confirmation
    #[arg(long, value_name = "COUNT")]
    confirm: Option<usize>,

    #[command(flatten)]
    memory: MemoryArgs,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    match args.command {
        Command::Plan(args) => {
            let repair = Some(Repair { delete_extra: args.delete_extra });
            let request = Request { repair, ..args.request.request()? };
            args.request.plan(&Config::load(config)?, &request, output).await
        }
        Command::Apply(ApplyArgs { plan, jobs, confirm, memory }) => {
            let verify = apply::Verify::Before;
            let args = apply::Args { plan, jobs, confirm, dropped: None, verify, hold_after: None, memory };
            apply::execute(args, true, config, output).await
        }
    }
}
