//! `reinstate status`: where the tenants of a plan stand, from the shards' own journals.

use std::path::{Path, PathBuf};

use super::output::Output;
use crate::config::Config;
use crate::error::{EXIT_OK, Result};
use crate::plan::Plan;
use crate::report;
use crate::workflow::{Standing, standing};

/// Show which tenants of a plan are restored, as the journals in the shards tell
#[derive(clap::Args)]
#[command(after_help = "Example:
  reinstate status plan.json --json")]
pub struct Args {
    /// The plan file
    plan: PathBuf,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let config = Config::load(config)?;
    let plan = Plan::load(&args.plan)?;
    let Standing { journals, sites, .. } = standing(&config, &plan).await?;
    let entries: Vec<_> = journals
        .iter()
        .map(|(name, entries)| serde_json::json!({ "shard": name, "restored": entries }))
        .collect();
    let value = serde_json::json!({ "format": 1, "plan": plan.hash, "tenants": plan.tenants.len(), "shards": entries,
        "sites": sites });
    output.result(|| report::text::status(&plan, &journals), &value)?;
    Ok(EXIT_OK)
}
