//! `reinstate status`: where the tenants of a plan stand, from the shards' own journals.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::output::Output;
use super::request::contacts;
use crate::config::Config;
use crate::error::{EXIT_OK, Result};
use crate::plan::Plan;
use crate::report::{self, incident, outside};
use crate::workflow::standing;

/// Show which tenants of a plan are restored, as the journals in the shards tell
#[derive(clap::Args)]
#[command(after_help = "Examples:
  reinstate status plan.json --json
  reinstate status plan.json --format csv --contacts contacts.csv > status.csv")]
pub struct Args {
    /// The plan file
    plan: PathBuf,

    /// For people outside, by customer contact, with the times that are expected
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// Whom to tell about each tenant: CSV, tenant,contact a line
    #[arg(long, value_name = "FILE")]
    contacts: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Csv,
    Json,
    Markdown,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let known = contacts(args.contacts.as_deref())?;
    let config = Config::load(config)?;
    let plan = Plan::load(&args.plan)?;
    let standing = standing(&config, &plan).await?;
    let found = incident::incident(&plan, &standing, &known, Timestamp::now());
    let told = outside::by_contact(&found);
    let entries: Vec<_> = standing
        .journals
        .iter()
        .map(|(name, entries)| serde_json::json!({ "shard": name, "restored": entries }))
        .collect();
    let value = serde_json::json!({ "format": 1, "plan": plan.hash, "tenants": plan.tenants.len(), "shards": entries,
        "sites": standing.sites, "contacts": told });
    match args.format {
        Some(Format::Csv) => output.text(&outside::csv(&told)?),
        Some(Format::Markdown) => output.text(&outside::markdown(&told)),
        Some(Format::Text) => output.text(&outside::text(&told)),
        Some(Format::Json) => Output::new(true).result(String::new, &value)?,
        None => output.result(|| report::sites::status(&plan, &standing), &value)?,
    }
    Ok(EXIT_OK)
}
