//! `reinstate waive`: go on without a step that cannot be done.

use std::path::{Path, PathBuf};

use super::control::known;
use super::output::Output;
use super::record::{self, Record};
use crate::config::Config;
use crate::connect;
use crate::error::{EXIT_OK, Error, Result};
use crate::plan::Plan;
use crate::workflow::{Diary, What, Work, standing};

/// Count a media step, hook or check of some tenants as done, because a person looked after it
#[derive(clap::Args)]
#[command(after_help = "A shard's part cannot be waived. The next `apply` goes on behind the step.

Example:
  reinstate waive plan.json 4711 --step flags --note 'flags set by hand, INC-4711'")]
pub struct Args {
    /// The plan file
    plan: PathBuf,

    /// The tenants' ids
    #[arg(required = true, value_name = "TENANT")]
    tenants: Vec<String>,

    /// The step
    #[arg(long, value_name = "NAME")]
    step: String,

    /// Why; kept in the events and in the audit log
    #[arg(long, value_name = "TEXT")]
    note: String,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let config = Config::load(config)?;
    let plan = Plan::load(&args.plan)?;
    let can_be_waived = {
        let graph = plan.graph()?;
        let mut steps = graph.steps().iter();
        steps.any(|step| step.name == args.step && !matches!(step.work, Work::Shard(_)))
    };
    if !can_be_waived {
        return Err(Error::usage(format!(
            "unable to waive '{}': the plan has no such step",
            args.step.escape_debug()
        ))
        .hint("media, hooks and checks can be waived; `reinstate status PLAN --json` lists them"));
    }
    let mut facts = record::of_plan(&plan);
    facts.overrides(
        "waive",
        serde_json::json!({ "step": args.step, "tenants": args.tenants, "note": args.note }),
    );
    let record = Record::begin(&config, "waive", facts, output)?;
    let result = waive(&args, &config, &plan, output).await;
    record.end(result, output)
}

async fn waive(args: &Args, config: &Config, plan: &Plan, output: &Output) -> Result<u8> {
    let tenants = known(plan, &args.tenants)?;
    let what = || What::StepWaived { step: args.step.clone(), note: args.note.clone() };
    let mut sites = standing(config, plan).await?.sites;
    sites.retain(|site| tenants.contains(&site.tenant));
    if let Some((site, why)) = sites.iter().find_map(|site| Some((site, site.refuses(&what())?))) {
        return Err(Error::refused(format!("unable to waive a step of tenant '{}': {why}", site.tenant)));
    }
    let shard = connect::catalogue(config, plan).await?;
    shard.prepare_journal().await?;
    let diary = Diary::new(shard, plan.hash.clone(), "reinstate waive".to_owned(), record::who().user);
    for site in &mut sites {
        if !diary.add_to(site, what()).await? {
            return Err(Error::refused(format!(
                "unable to waive a step of tenant '{}': a run is at work on it",
                site.tenant
            ))
            .hint("wait for the run to end, or stop it"));
        }
    }
    let value = serde_json::json!({ "format": 1, "plan": plan.hash, "step": args.step, "tenants": tenants });
    output.result(|| format!("step '{}' of {} tenants counts as done", args.step, tenants.len()), &value)?;
    Ok(EXIT_OK)
}
