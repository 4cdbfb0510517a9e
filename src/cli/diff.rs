//! `reinstate diff`: who is gone? Answers it without a list.

use std::path::{Path, PathBuf};

use super::output::{Output, write_file};
use super::settings::{PickArgs, StoreArgs};
use crate::config::Config;
use crate::error::{EXIT_OK, Result};
use crate::report;
use crate::survey::Survey;

/// Compare the live shards with a snapshot by row counts: which tenants are gone, which have lost rows
#[derive(clap::Args)]
#[command(after_help = "Counts are compared, not contents: a changed row is not found here.

Examples:
  reinstate diff --at 2026-11-21T07:30:00Z -o tenants.txt     list the deleted tenants, ready for `reinstate plan`
  reinstate diff --detail                                     table by table")]
pub struct Args {
    #[command(flatten)]
    pick: PickArgs,
    #[command(flatten)]
    store: StoreArgs,

    /// Write the ids of the deleted tenants to this file, one a line
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Show every table
    #[arg(long)]
    detail: bool,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let config = Config::load(config)?;
    let store = args.store.open(&config)?;
    let survey = Survey::open(&config, &store, &args.pick.pick()).await?;
    let damaged = survey.damage().await?;
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
