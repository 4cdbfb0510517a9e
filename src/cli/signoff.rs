//! `reinstate signoff`: what the customer's contact says of a tenant that is back.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::output::Output;
use super::record::{self, Record};
use crate::config::Config;
use crate::connect;
use crate::error::{EXIT_OK, Error, Result};
use crate::model::TenantId;
use crate::plan::Plan;
use crate::workflow::{Diary, What, standing};

/// Record whether the customer's contact found a restored tenant well
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The tenant is well
    Accept(Said),
    /// Something is wrong with it
    Reopen(Said),
}

#[derive(clap::Args)]
#[command(after_help = "Example:
  reinstate signoff accept plan.json 4711 --by 'Ana Lima, ana@example.net' --note 'checked by phone, 14:05'")]
struct Said {
    /// The plan file
    plan: PathBuf,

    /// The tenant's id
    tenant: String,

    /// Who said so
    #[arg(long, value_name = "NAME")]
    by: String,

    /// Their words
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let (name, accepted, said) = match args.command {
        Command::Accept(said) => ("signoff accept", true, said),
        Command::Reopen(said) => ("signoff reopen", false, said),
    };
    let Said { plan, tenant, by, note } = said;
    if by.trim().is_empty() {
        return Err(Error::usage("unable to record a sign-off by nobody").hint("--by says who it was"));
    }
    let what = if accepted { What::Accepted { by, note } } else { What::Reopened { by, note } };
    let config = Config::load(config)?;
    let plan = Plan::load(&plan)?;
    let mut facts = record::of_plan(&plan);
    facts.became(if accepted { "accepted" } else { "reopened" }, [TenantId::new(&tenant)].iter());
    let record = Record::begin(&config, name, facts, output)?;
    let result = add(&config, &plan, &tenant, what, output).await;
    record.end(result, output)
}

async fn add(config: &Config, plan: &Plan, tenant: &str, what: What, output: &Output) -> Result<u8> {
    let sites = standing(config, plan).await?.sites;
    let site = sites.into_iter().find(|site| site.tenant.as_str() == tenant);
    let mut site = site.ok_or_else(|| {
        Error::usage(format!("unable to find tenant '{}' in the plan", tenant.escape_debug()))
            .hint("`reinstate status PLAN` lists its tenants")
    })?;
    if let Some(why) = site.refuses(&what) {
        return Err(Error::refused(format!("unable to sign tenant '{tenant}' off: {why}"))
            .hint("`reinstate status PLAN` shows where it stands"));
    }
    let diary = diary(config, plan, "reinstate signoff").await?;
    if !diary.add_to(&mut site, what).await? {
        return Err(Error::refused(format!(
            "unable to sign tenant '{tenant}' off: it has changed meanwhile"
        ))
        .hint("look again with `reinstate status PLAN`"));
    }
    let value =
        serde_json::json!({ "format": 1, "plan": plan.hash, "tenant": site.tenant, "state": site.state });
    output.result(|| format!("tenant {tenant} is {}", site.state.name()), &value)?;
    Ok(EXIT_OK)
}

async fn diary(config: &Config, plan: &Plan, run: &str) -> Result<Diary> {
    let shard = connect::catalogue(config, plan).await?;
    Ok(Diary::new(shard, plan.hash.clone(), run.to_owned(), record::who().user))
}
