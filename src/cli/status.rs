//! `reinstate status`: where the tenants of a plan stand, from the shards' own journals.

use std::path::{Path, PathBuf};

use super::output::Output;
use crate::config::Config;
use crate::error::{EXIT_OK, Result};
use crate::plan::Plan;
use crate::{report, shard};

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
    let mut done = Vec::new();
    for planned in &plan.shards {
        let settings = config.shard(&planned.name)?;
        let shard = shard::open(&planned.name, &settings.url, 1).await?;
        done.push((planned.name.clone(), shard.journal(&plan.hash).await?));
    }
    let entries: Vec<_> = done
        .iter()
        .map(|(name, entries)| serde_json::json!({ "shard": name, "restored": entries }))
        .collect();
    let value = serde_json::json!({ "format": 1, "plan": plan.hash, "tenants": plan.tenants.len(), "shards": entries });
    output.result(|| report::text::status(&plan, &done), &value)?;
    Ok(EXIT_OK)
}
