//! `reinstate verify`: the independent second look.

use std::path::{Path, PathBuf};

use super::apply;
use super::output::Output;
use super::record::{self, Record};
use super::settings::MemoryArgs;
use crate::audit::Facts;
use crate::config::Config;
use crate::error::{EXIT_DIFFERENCES, EXIT_OK, Result};
use crate::limits::JOBS_DEFAULT;
use crate::plan::Plan;
use crate::{report, restore};

/// Compare every row of the plan's tenants with the snapshot, independently of what wrote them
#[derive(clap::Args)]
#[command(
    after_help = "Reads the snapshot's files and the live rows by ordinary SELECT statements, on connections of its own.
Exit code 0: equal in every row and column; 1: differences, named by key and column.

Examples:
  reinstate verify plan.json
  reinstate verify plan.json --certificates certificates/     one JSON file a tenant, to be handed on"
)]
pub struct Args {
    /// The plan file
    plan: PathBuf,

    /// Tenants at a time
    #[arg(long, value_name = "N", default_value_t = JOBS_DEFAULT, value_parser = apply::jobs)]
    jobs: usize,

    /// Write a certificate for each tenant into this folder
    #[arg(long, value_name = "FOLDER")]
    certificates: Option<PathBuf>,

    #[command(flatten)]
    memory: MemoryArgs,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let config = Config::load(config)?;
    let plan = Plan::load(&args.plan)?;
    let mut record = Record::begin(&config, "verify", record::of_plan(&plan), output)?;
    let result = prove(args, &config, &plan, &mut record.facts, output).await;
    record.end(result, output)
}

async fn prove(args: Args, config: &Config, plan: &Plan, facts: &mut Facts, output: &Output) -> Result<u8> {
    let progress = output.progress();
    let certificates =
        restore::prove(config, plan, |_| true, args.jobs, args.memory.memory(), progress.as_ref()).await?;
    record::verified(facts, &certificates);
    if let Some(folder) = &args.certificates {
        for certificate in &certificates {
            certificate.write(folder)?;
        }
    }
    let value = serde_json::json!({ "format": 1, "certificates": certificates });
    output.result(|| report::text::certificates(&certificates), &value)?;
    let equal = certificates.iter().all(|certificate| certificate.equal);
    Ok(if equal { EXIT_OK } else { EXIT_DIFFERENCES })
}
