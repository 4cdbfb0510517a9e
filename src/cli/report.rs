//! `reinstate report`: the whole of a restore, for those who were not there.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::output::{Output, must_not_exist, write_file};
use super::request::contacts;
use crate::config::Config;
use crate::error::{EXIT_OK, Result};
use crate::plan::Plan;
use crate::report::{html, incident};
use crate::workflow::standing;

/// Report on a plan: what came back and when, what did not and why, notes for the next shift, what to look after
#[derive(clap::Args)]
#[command(after_help = "Examples:
  reinstate report plan.json --html report.html --contacts contacts.csv
  reinstate report plan.json --json")]
pub struct Args {
    /// The plan file
    plan: PathBuf,

    /// Write the report as one HTML file, to be read and printed anywhere
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Whom to tell about each tenant: CSV, tenant,contact a line
    #[arg(long, value_name = "FILE")]
    contacts: Option<PathBuf>,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    if let Some(file) = &args.html {
        must_not_exist(file)?;
    }
    let contacts = contacts(args.contacts.as_deref())?;
    let config = Config::load(config)?;
    let plan = Plan::load(&args.plan)?;
    let standing = standing(&config, &plan).await?;
    let found = incident::incident(&plan, &standing, &contacts, Timestamp::now());
    if let Some(file) = &args.html {
        write_file(file, &html::report(&found), false)?;
        output.talk(&format!("report written to {}", file.display()));
    }
    output.result(|| incident::text(&found), &found)?;
    Ok(EXIT_OK)
}
