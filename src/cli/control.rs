//! `reinstate stop`, `pause`, `resume`, `skip`, `retry`, `note`: what is said to the run of a plan, from any terminal.

use std::path::{Path, PathBuf};

use super::output::Output;
use super::record::{self, Record};
use crate::config::Config;
use crate::connect;
use crate::error::{EXIT_OK, Error, Result};
use crate::model::TenantId;
use crate::plan::Plan;
use crate::workflow::{Diary, State, What, standing};

/// End the run of a plan when the tenants at work are done; `apply` goes on later
#[derive(clap::Args)]
#[command(after_help = "Example:
  reinstate stop plan.json         from any machine; the run ends within moments, with exit code 4")]
pub struct Stop {
    /// The plan file
    plan: PathBuf,
}

/// Begin no further tenant until `reinstate resume`
#[derive(clap::Args)]
pub struct Pause {
    /// The plan file
    plan: PathBuf,
}

/// Go on after `reinstate pause`
#[derive(clap::Args)]
pub struct Resume {
    /// The plan file
    plan: PathBuf,
}

/// Take tenants out: they are not begun, nor continued, until `reinstate retry`
#[derive(clap::Args)]
#[command(after_help = "Example:
  reinstate skip plan.json 4711 4712 --note 'their own restore is under way'")]
pub struct Skip {
    /// The plan file
    plan: PathBuf,

    /// Their ids
    #[arg(required = true, value_name = "TENANT")]
    tenants: Vec<String>,

    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

/// Try tenants again, in the run that is at work, or in the next one
#[derive(clap::Args)]
#[command(after_help = "Examples:
  reinstate retry plan.json 4711
  reinstate retry plan.json --failed       all that have failed")]
pub struct Retry {
    /// The plan file
    plan: PathBuf,

    /// Their ids
    #[arg(value_name = "TENANT", required_unless_present = "failed")]
    tenants: Vec<String>,

    /// All that have failed
    #[arg(long, conflicts_with = "tenants")]
    failed: bool,
}

/// Leave a note for the next shift; it stands in the report
#[derive(clap::Args)]
#[command(after_help = "Example:
  reinstate note plan.json 'held after the canary: support calls back at 14:00'")]
pub struct Note {
    /// The plan file
    plan: PathBuf,

    /// The note
    text: String,
}

pub async fn stop(args: Stop, config: &Path, output: &Output) -> Result<u8> {
    say(&args.plan, "stop", |_| Ok(What::StopRequested), config, output).await
}

pub async fn pause(args: Pause, config: &Path, output: &Output) -> Result<u8> {
    say(&args.plan, "pause", |_| Ok(What::Paused), config, output).await
}

pub async fn resume(args: Resume, config: &Path, output: &Output) -> Result<u8> {
    say(&args.plan, "resume", |_| Ok(What::Resumed), config, output).await
}

pub async fn skip(args: Skip, config: &Path, output: &Output) -> Result<u8> {
    let Skip { plan, tenants, note } = args;
    let what = |plan: &Plan| Ok(What::Skipped { tenants: known(plan, &tenants)?, note });
    say(&plan, "skip", what, config, output).await
}

pub async fn retry(args: Retry, config: &Path, output: &Output) -> Result<u8> {
    let Retry { plan, tenants, failed } = args;
    if failed {
        let loaded = Config::load(config)?;
        let sites = standing(&loaded, &Plan::load(&plan)?).await?.sites;
        let failed = sites.into_iter().filter(|site| site.state == State::Failed);
        let tenants: Vec<TenantId> = failed.map(|site| site.tenant).collect();
        if tenants.is_empty() {
            output.talk("no tenant of the plan has failed");
            return Ok(EXIT_OK);
        }
        return say(&plan, "retry", |_| Ok(What::Retried { tenants }), config, output).await;
    }
    say(&plan, "retry", |plan| Ok(What::Retried { tenants: known(plan, &tenants)? }), config, output).await
}

pub async fn note(args: Note, config: &Path, output: &Output) -> Result<u8> {
    let Note { plan, text } = args;
    if text.trim().is_empty() {
        return Err(Error::usage("unable to leave a note: it is empty"));
    }
    say(&plan, "note", |_| Ok(What::Note { text }), config, output).await
}

/// The tenants of these ids, all of which must be the plan's.
pub fn known(plan: &Plan, ids: &[String]) -> Result<Vec<TenantId>> {
    let find = |id: &String| {
        let tenant = plan.tenants.iter().find(|tenant| tenant.id.as_str() == id);
        tenant.map(|tenant| tenant.id.clone()).ok_or_else(|| {
            Error::usage(format!("unable to find tenant '{}' in the plan", id.escape_debug()))
                .hint("`reinstate status PLAN` lists its tenants")
        })
    };
    ids.iter().map(find).collect()
}

async fn say(
    plan: &Path,
    name: &'static str,
    what: impl FnOnce(&Plan) -> Result<What>,
    config: &Path,
    output: &Output,
) -> Result<u8> {
    let config = Config::load(config)?;
    let plan = Plan::load(plan)?;
    let what = what(&plan)?;
    let mut facts = record::of_plan(&plan);
    facts.overrides("event", serde_json::json!(what));
    let record = Record::begin(&config, name, facts, output)?;
    let result = add(&config, &plan, name, what, output).await;
    record.end(result, output)
}

async fn add(config: &Config, plan: &Plan, name: &str, what: What, output: &Output) -> Result<u8> {
    let shard = connect::catalogue(config, plan).await?;
    shard.prepare_journal().await?;
    let diary = Diary::new(shard, plan.hash.clone(), format!("reinstate {name}"), record::who().user);
    diary.events().await?;
    let number = diary.add(what.clone()).await?;
    let value = serde_json::json!({ "format": 1, "plan": plan.hash, "number": number, "event": what });
    output.result(
        || format!("recorded as event {number} of the run; a run at work sees it within a second"),
        &value,
    )?;
    Ok(EXIT_OK)
}
