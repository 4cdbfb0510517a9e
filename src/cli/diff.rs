//! `reinstate diff`: who is gone? Answers it without a list.

use std::path::{Path, PathBuf};

use super::output::{Output, write_file};
use super::settings::{MemoryArgs, PickArgs, StoreArgs};
use crate::config::Config;
use crate::error::{EXIT_OK, Result};
use crate::report;
use crate::survey::{Look, Survey};

/// Compare the live shards with a snapshot: which tenants are gone, which rows are missing, changed or extra
#[derive(clap::Args)]
#[command(
    after_help = "Every live row is read once and compared with the snapshot's fingerprints; only where they differ are rows compared one
by one. What tenants did themselves since the snapshot shows as well. --fast counts rows: a changed row is not found.

Examples:
  reinstate diff --at 2026-11-21T07:30:00Z -o tenants.txt     list the deleted tenants, ready for `reinstate plan`
  reinstate diff --detail                                     table by table"
)]
pub struct Args {
    #[command(flatten)]
    pick: PickArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    memory: MemoryArgs,

    /// Write the ids of the deleted tenants to this file, one a line
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Count rows instead of comparing them
    #[arg(long)]
    fast: bool,

    /// Show every table
    #[arg(long)]
    detail: bool,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let config = Config::load(config)?;
    let store = args.store.open(&config)?;
    let survey = Survey::open(&config, &store, &args.pick.pick(), args.memory.memory()).await?;
    let damaged = survey.damage(if args.fast { Look::Counts } else { Look::Contents }).await?;
    if let Some(path) = &args.output {
        let deleted = damaged.iter().filter(|tenant| tenant.deleted);
        let list: String = deleted.map(|tenant| format!("{}\n", tenant.id)).collect();
        write_file(path, &list, true)?;
    }
    let snapshots: Vec<_> = survey.snapshots().map(|snapshot| snapshot.manifest().id.clone()).collect();
    let value = serde_json::json!({ "format": 1, "snapshots": snapshots, "tenants": damaged });
    output.result(|| report::text::damage(&damaged, args.detail), &value)?;
    Ok(EXIT_OK)
}
