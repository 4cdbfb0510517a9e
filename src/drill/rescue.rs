//! What an incident task force does, step by step, with the files it would have: who is gone, the plan, two signatures,
//! the restore, the contacts' word, the second look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::chaos::{self, Chaos};
use super::neighbours::{Phase, Working};
use super::{Scene, Times, rules};
use crate::approval::Key;
use crate::config::Config;
use crate::connect;
use crate::error::{Error, Result};
use crate::memory::Memory;
use crate::model::TenantId;
use crate::plan::{ApprovedPlan, Plan, Policy, Request, rails};
use crate::progress::Progress;
use crate::report::{contacts::Contacts, html, incident};
use crate::snapshot::Store;
use crate::survey::{Look, Pick, Survey};
use crate::verify::certificate::Certificate;
use crate::workflow::{Diary, Standing, State, What, standing};
use crate::{limits, replay, restore};

/// The tools of the task force.
pub struct Tools<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Where the snapshots are.
    pub store: &'a Store,
    /// Whose signatures count.
    pub keys: &'a [(&'static str, Key)],
    /// Victims that are served, as somebody else sees it.
    pub open: watch::Receiver<usize>,
    /// The neighbours.
    pub working: &'a Working,
    /// Whom it is told to.
    pub progress: Arc<dyn Progress>,
}

/// What the task force came to.
pub struct Rescue {
    /// Who was found to be gone.
    pub detected: Vec<TenantId>,
    /// What journals and events tell in the end.
    pub standing: Standing,
    /// The second look.
    pub certificates: Vec<Certificate>,
    /// When the task force began.
    pub begun_at: Timestamp,
    /// What was done to the engine and its databases meanwhile.
    pub chaos: Option<Chaos>,
    /// How long each part took.
    pub times: Times,
}

/// From "who is gone?" to the last certificate.
pub async fn rescue(scene: &Scene<'_>, tools: Tools<'_>, deleted_at: Timestamp) -> Result<Rescue> {
    let mut times = Times::default();
    let begun_at = Timestamp::now();
    tools.working.enter(Phase::Looking);
    let pick = Pick::At(Some(deleted_at));
    let detected = timed(&mut times.detect, detect(scene, &tools, &pick)).await?;
    let approved = timed(&mut times.plan, plan(scene, &tools, &pick, &detected)).await?;

    tools.progress.note("restoring, while the neighbours go on writing");
    tools.working.enter(Phase::Restoring);
    let chaos = timed(&mut times.apply, apply(scene, &tools, &approved)).await?;
    tools.working.enter(Phase::Looking);
    let plan = approved.plan();

    tools.progress.note("verifying, independently of what wrote");
    let certificates = timed(&mut times.verify, verify(scene, &tools, plan)).await?;
    sign_off(&tools, plan).await?;
    let standing = standing(tools.config, plan).await?;
    write_report(scene, plan, &standing)?;
    Ok(Rescue { detected, standing, certificates, begun_at, chaos, times })
}

/// Adds the time that something takes.
pub async fn timed<T>(time: &mut Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let begun_at = Instant::now();
    let result = work.await;
    *time += begun_at.elapsed();
    result
}

/// Nobody has a list: the live shards are compared with the snapshots.
async fn detect(scene: &Scene<'_>, tools: &Tools<'_>, pick: &Pick) -> Result<Vec<TenantId>> {
    tools.progress.note("detecting who is gone");
    let survey = Survey::open(tools.config, tools.store, pick, Memory::default()).await?;
    let damaged = survey.damage(Look::Counts).await?;
    let gone = damaged.into_iter().filter(|tenant| tenant.deleted).map(|tenant| tenant.id);
    let gone: Vec<TenantId> = gone.collect();
    let list: String = gone.iter().map(|id| format!("{id}\n")).collect();
    scene.stage.write_file("tenants.txt", &list)?;
    Ok(gone)
}

/// The dry run, and the signatures of two others.
async fn plan(
    scene: &Scene<'_>,
    tools: &Tools<'_>,
    pick: &Pick,
    tenants: &[TenantId],
) -> Result<ApprovedPlan> {
    tools.progress.note("planning");
    let request = Request {
        tenants: tenants.to_vec(),
        tenants_max: tenants.len().max(limits::TENANTS_MAX_DEFAULT),
        reason: Some("drill".into()),
        on_conflict: Policy::Fail,
        author: Some(rules::AUTHOR.to_owned()),
        memory: Memory::default(),
        ..Request::default()
    };
    let plan = restore::dry_run(tools.config, tools.store, pick, &request, tools.progress.as_ref()).await?;
    scene.stage.write_file("plan.json", &plan.to_json()?)?;
    tools.progress.note("two others than the author approve the plan");
    let signatures = rules::approve(scene.stage, &plan, tools.keys)?;
    rails::approve(plan, Some(tenants.len()), &rules::evidence(tools.config, signatures))
}

/// In this process, or in one that does not live long.
async fn apply(scene: &Scene<'_>, tools: &Tools<'_>, approved: &ApprovedPlan) -> Result<Option<Chaos>> {
    if let Some(program) = &scene.options.chaos {
        let tenants = approved.plan().tenants.len();
        return chaos::apply(scene, program, tenants, tools.open.clone(), tools.progress.as_ref())
            .await
            .map(Some);
    }
    let (_running, stop) = watch::channel(false);
    let settings = replay::Options {
        jobs: scene.options.jobs,
        memory: Memory::default(),
        verify: replay::VerifyAt::BeforeCommit,
        stop,
        hold_after: None,
        dropped: scene.stage.folder().join("plan.dropped"),
        who: rules::AUTHOR.to_owned(),
    };
    restore::restore(tools.config, approved, &settings, tools.progress.clone()).await?;
    Ok(None)
}

/// The second look, by SELECT alone.
async fn verify(scene: &Scene<'_>, tools: &Tools<'_>, plan: &Plan) -> Result<Vec<Certificate>> {
    let (jobs, memory) = (scene.options.jobs, Memory::default());
    let certificates =
        restore::prove(tools.config, plan, |_| true, jobs, memory, tools.progress.as_ref()).await?;
    let folder = scene.stage.folder().join("certificates");
    certificates.iter().try_for_each(|certificate| certificate.write(&folder).map(drop))?;
    Ok(certificates)
}

/// The report, as `reinstate report` writes it.
fn write_report(scene: &Scene<'_>, plan: &Plan, standing: &Standing) -> Result<()> {
    let contacts = Contacts::parse(scene.contacts)?;
    let found = incident::incident(plan, standing, &contacts, Timestamp::now());
    scene.stage.write_file("report.html", &html::report(&found))?;
    let json = serde_json::to_string_pretty(&found)
        .map_err(|error| Error::bug("the drill's report cannot be written").because(error))?;
    scene.stage.write_file("report.json", &json)
}

/// Each customer's contact says that the site is well.
async fn sign_off(tools: &Tools<'_>, plan: &Plan) -> Result<()> {
    tools.progress.note("the customers' contacts sign off");
    let shard = connect::catalogue(tools.config, plan).await?;
    let diary = Diary::new(shard, plan.hash.clone(), "the drill".to_owned(), rules::AUTHOR.to_owned());
    for mut site in standing(tools.config, plan).await?.sites {
        if site.state == State::Open {
            let by = super::contact(&site.tenant);
            diary.add_to(&mut site, What::Accepted { by, note: "checked in the drill".to_owned() }).await?;
        }
    }
    Ok(())
}
