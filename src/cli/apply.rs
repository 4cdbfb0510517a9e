//! `reinstate apply`: restore what was planned.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use super::output::Output;
use super::record::{self, Record};
use super::settings::MemoryArgs;
use super::{approve, ask};
use crate::audit::Facts;
use crate::config::Config;
use crate::error::{EXIT_DIFFERENCES, Kind, Result};
use crate::limits::{JOBS_DEFAULT, JOBS_MAX};
use crate::plan::{ApprovedPlan, Plan, TenantPlan, rails};
use crate::replay::{Options, VerifyAt};
use crate::report::{self, RunReport};
use crate::restore;

/// Restore the tenants of a plan, each in one transaction a shard, read back and compared before its commit
#[derive(clap::Args)]
#[command(after_help = "Run it again after any interruption, from any machine: what is done is not repeated.
Ctrl-C lets the transactions at work end and starts no new ones; a second Ctrl-C rolls them back.

Examples:
  reinstate apply plan.json                   asks for the number of tenants
  reinstate apply plan.json --confirm 50      where no terminal can ask
  reinstate apply plan.json --jobs 4 --json   the report as JSON
  reinstate apply plan.json --verify after    tenants are back sooner, and compared when all are
  reinstate apply plan.json --hold-after-ring canary    the first ring alone; `apply` again goes on")]
pub struct Args {
    /// The plan file
    pub plan: PathBuf,

    /// Tenants at a time
    #[arg(long, value_name = "N", default_value_t = JOBS_DEFAULT, value_parser = jobs)]
    pub jobs: usize,

    /// When each tenant's rows are read back and compared: before its commit, or after all commits, as `reinstate
    /// verify` does it. Keys and the write set are proved before each commit in any case
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Verify::Before)]
    pub verify: Verify,

    /// The number of tenants in the plan, as a confirmation
    #[arg(long, value_name = "COUNT")]
    pub confirm: Option<usize>,

    /// Where to keep the values of columns that are gone (see plan --allow-dropped): one Parquet file a tenant
    /// and table [default: beside the plan, with the ending .dropped]
    #[arg(long, value_name = "FOLDER")]
    pub dropped: Option<PathBuf>,

    /// Begin no further ring after this one (its name in the plan); `apply` again goes on
    #[arg(long = "hold-after-ring", value_name = "RING")]
    pub hold_after: Option<String>,

    #[command(flatten)]
    pub memory: MemoryArgs,
}

/// When to verify.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Verify {
    /// Inside the transaction: a tenant that is not equal never appears
    Before,
    /// When all tenants are back
    After,
}

pub fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs) if (1..=JOBS_MAX).contains(&jobs) => Ok(jobs),
        _ => Err(format!("a number from 1 to {JOBS_MAX}")),
    }
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    execute(args, false, config, output).await
}

/// Carries out a plan of a restore, or of a repair.
pub async fn execute(args: Args, repair: bool, config: &Path, output: &Output) -> Result<u8> {
    let config = Config::load(config)?;
    let plan = Plan::load(&args.plan)?;
    rails::check_kind(&plan, repair)?;
    let evidence = approve::evidence(&config, &args.plan)?;
    // Before somebody is asked in vain.
    rails::check_approvals(&plan, &evidence)?;
    let confirmed = args.confirm.or_else(|| confirmation(&plan, output));
    let approve = if repair { rails::approve_repair } else { rails::approve };
    let approved = approve(plan, confirmed, &evidence)?;
    let mut facts = record::of_plan(approved.plan());
    facts.approvals = approved.approvals().to_vec();
    if args.verify == Verify::After {
        facts.overrides("verify", "after");
    }
    let what = if repair { "repair apply" } else { "apply" };
    let mut record = Record::begin(&config, what, facts, output)?;
    let result = carry_out(args, &config, &approved, &mut record.facts, output).await;
    record.end(result, output)
}

async fn carry_out(
    args: Args,
    config: &Config,
    approved: &ApprovedPlan,
    facts: &mut Facts,
    output: &Output,
) -> Result<u8> {
    let verify = match args.verify {
        Verify::Before => VerifyAt::BeforeCommit,
        Verify::After => VerifyAt::After,
    };
    let dropped = args.dropped.unwrap_or_else(|| args.plan.with_extension("dropped"));
    let memory = args.memory.memory();
    let who = record::who().user;
    let options = Options {
        jobs: args.jobs,
        memory,
        verify,
        stop: stop_on_signal(),
        dropped,
        who,
        hold_after: args.hold_after,
    };
    let outcome = restore::restore(config, approved, &options, output.progress()).await?;
    record::replayed(facts, &outcome);
    let plan = approved.plan();
    let certificates = match verify {
        VerifyAt::BeforeCommit => vec![],
        VerifyAt::After => {
            output.talk(&report::text::outcome(plan, &outcome));
            let back = |tenant: &TenantPlan| outcome.is_back(&tenant.id);
            let progress = output.progress();
            let found = restore::prove(config, plan, back, args.jobs, memory, progress.as_ref()).await?;
            record::verified(facts, &found);
            found
        }
    };
    let text = || match verify {
        VerifyAt::BeforeCommit => report::text::outcome(plan, &outcome),
        VerifyAt::After => report::text::certificates(&certificates),
    };
    output.result(text, &RunReport::new(approved, &outcome, &certificates))?;
    let files = outcome.dropped().count();
    if files > 0 {
        output.talk(&format!(
            "values of dropped columns: {files} Parquet files in {}",
            options.dropped.display()
        ));
    }
    if certificates.iter().any(|certificate| !certificate.equal) {
        return Ok(EXIT_DIFFERENCES);
    }
    if outcome.back() == plan.tenants.len() && verify == VerifyAt::BeforeCommit {
        output.talk(&format!("look a second time, independently: reinstate verify {}", args.plan.display()));
    }
    Ok(outcome.exit_code())
}

/// Shows the plan and asks, where there is a terminal.
fn confirmation(plan: &Plan, output: &Output) -> Option<usize> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    output.talk(&report::text::plan(plan, false));
    ask::count(if plan.repair.is_some() { "repair" } else { "restore" }, output)
}

/// True after the first SIGINT or SIGTERM; the second one ends the process, and the databases roll back.
fn stop_on_signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
        loop {
            let terminated = async {
                match &mut terminate {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated => {}
            }
            if sender.send_replace(true) {
                std::process::exit(i32::from(Kind::Interrupted.exit_code()));
            }
        }
    });
    receiver
}

const _: () = assert!(JOBS_DEFAULT <= JOBS_MAX);
