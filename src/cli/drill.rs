//! `reinstate drill`: rehearse the accident and the rescue.

use super::output::Output;
use crate::drill::{self, Ground, Options};
use crate::error::{EXIT_DIFFERENCES, EXIT_OK, Error, Result};
use crate::limits::JOBS_DEFAULT;
use crate::model::DatabaseUrl;

/// Rehearse: build a fleet, delete tenants by accident, bring them back, prove it, measure it
#[derive(clap::Args)]
#[command(
    after_help = "Without --fleet and --shard everything happens in SQLite files in a temporary folder.
Exit code 0: everything came back and nothing else changed; 1: the drill's own proof found something wrong.

Examples:
  reinstate drill
  reinstate drill --fleet postgres        on PostgreSQL clusters that it starts, and removes at the end
  reinstate drill --shard postgres://postgres@localhost/postgres --scale 4
  reinstate drill --chaos --json          kills what restores meanwhile; for a monthly job
  reinstate drill --victims 5 --keep      leaves databases, plan and certificates to look at"
)]
pub struct Args {
    /// Databases of the fleet: SQLite files, or throwaway PostgreSQL clusters (the server must be installed)
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Fleet::Sqlite, conflicts_with = "shard")]
    fleet: Fleet,

    /// A PostgreSQL server on which the drill may create databases of its own
    #[arg(long, value_name = "URL")]
    shard: Option<String>,

    /// Tenants of the fleet
    #[arg(long, value_name = "N", default_value_t = 500)]
    tenants: usize,

    /// Tenants that the accident deletes
    #[arg(long, value_name = "N", default_value_t = 50)]
    victims: usize,

    /// Multiplies the rows: 1 is about 260,000
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    scale: f64,

    /// The same seed makes the same fleet and the same accident
    #[arg(long, value_name = "N", default_value_t = 2022)]
    seed: u64,

    /// Tenants restored at a time
    #[arg(long, value_name = "N", default_value_t = JOBS_DEFAULT)]
    jobs: usize,

    /// Kill the restore at random moments and start it again; with --fleet postgres, crash its databases too
    #[arg(long)]
    chaos: bool,

    /// Leave databases and files behind
    #[arg(long)]
    keep: bool,
}

/// Databases of the fleet.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Fleet {
    Sqlite,
    Postgres,
}

pub async fn run(args: Args, output: &Output) -> Result<u8> {
    if !(args.scale > 0.0 && args.scale <= 1000.0) {
        return Err(Error::usage(format!("unable to use --scale {}", args.scale))
            .hint("a number above 0, up to 1000"));
    }
    let ground = match (&args.shard, args.fleet) {
        (Some(url), _) => Ground::Server(DatabaseUrl::parse(url)?),
        (None, Fleet::Sqlite) => Ground::Files,
        (None, Fleet::Postgres) => Ground::Clusters,
    };
    let itself =
        || std::env::current_exe().map_err(|error| Error::failed("unable to find itself").because(error));
    let chaos = args.chaos.then(itself).transpose()?;
    let options = Options {
        ground,
        tenants: args.tenants,
        victims: args.victims,
        scale: args.scale,
        seed: args.seed,
        jobs: args.jobs,
        keep: args.keep,
        chaos,
    };
    let report = drill::run(&options, output.progress()).await?;
    output.result(|| drill::text(&report), &report)?;
    Ok(if report.good { EXIT_OK } else { EXIT_DIFFERENCES })
}
