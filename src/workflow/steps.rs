//! One site, along the graph of its steps: as many at a time as are ready.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::SemaphorePermit;

use super::conduct::{Conductor, shard_of};
use super::eta;
use super::event::What;
use super::graph::{Step, Work};
use super::site::Site;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::hooks::{self, Call, Check};
use crate::media;
use crate::plan::{TenantPlan, TenantShard};
use crate::progress::Notes;
use crate::replay::{
    Ahead, Opened, Problem, ShardOutcome, ShardStatus, StepOutcome, StepStatus, TenantOutcome,
};

/// The name of the gate among the steps of an outcome.
pub const GATE: &str = "gate";

/// What became of a step.
enum Done {
    Shard(ShardStatus),
    Other(StepStatus),
}

impl Done {
    fn is_done(&self) -> bool {
        match self {
            Self::Shard(status) => status.is_back(),
            Self::Other(status) => status.is_done(),
        }
    }
}

/// Does what is left to do of a site.
pub(super) async fn carry_out(conductor: &Conductor<'_>, tenant: &TenantPlan) -> TenantOutcome {
    let mut ahead = first_part(conductor, tenant).await;
    // Never closed; without a permit nothing is done.
    let mut writing = conductor.writing.acquire().await.ok();
    conductor.control.go().await;
    // Once begun, a site goes on whatever becomes of others.
    let begins = !conductor.is_halted();
    let mut site = OneSite { conductor, tenant, done: BTreeMap::new() };
    let mut begun = BTreeSet::new();
    let mut running: FuturesUnordered<BoxFuture<'_, (usize, Done, Duration)>> = FuturesUnordered::new();
    loop {
        let goes_on = begins && may_go_on(conductor, tenant);
        for (at, step) in conductor.graph.steps().iter().enumerate() {
            if goes_on && !begun.contains(&at) && site.is_ready(step) {
                begun.insert(at);
                let ahead = shard_of(&step.work).and_then(|_| ahead.take());
                running.push(Box::pin(run(conductor, tenant, at, step, ahead)));
            }
        }
        if !site.writes_more(&begun) {
            // The next site's rows need not wait for this one's hooks.
            drop(writing.take());
        }
        let Some((at, done, elapsed)) = running.next().await else { break };
        site.done.insert(at, (done, elapsed));
    }
    drop::<Option<SemaphorePermit<'_>>>(writing);
    site.finish().await
}

fn may_go_on(conductor: &Conductor<'_>, tenant: &TenantPlan) -> bool {
    !conductor.control.is_stopping() && !conductor.control.is_skipped(&tenant.id)
}

/// Begins to read the rows of the part that comes first, before the site's turn.
async fn first_part<'a>(conductor: &'a Conductor<'_>, tenant: &'a TenantPlan) -> Option<Ahead<'a>> {
    if conductor.is_halted() || !may_go_on(conductor, tenant) {
        return None;
    }
    let first =
        conductor.graph.steps().iter().find(|step| step.after.is_empty() && part(tenant, step).is_some())?;
    conductor.replay.read_ahead(tenant, part(tenant, first)?).await
}

fn part<'a>(tenant: &'a TenantPlan, step: &Step<'_>) -> Option<&'a TenantShard> {
    let name = shard_of(&step.work)?;
    tenant.shards.iter().find(|part| part.shard == *name)
}

async fn run<'a>(
    conductor: &'a Conductor<'_>,
    tenant: &'a TenantPlan,
    at: usize,
    step: &'a Step<'a>,
    ahead: Option<Ahead<'a>>,
) -> (usize, Done, Duration) {
    let begun_at = Instant::now();
    let done = match &step.work {
        Work::Shard(_) => Done::Shard(shard(conductor, tenant, step, ahead).await),
        _ => Done::Other(other(conductor, tenant, step).await),
    };
    (at, done, begun_at.elapsed())
}

async fn shard<'a>(
    conductor: &'a Conductor<'_>,
    tenant: &'a TenantPlan,
    step: &Step<'_>,
    ahead: Option<Ahead<'a>>,
) -> ShardStatus {
    // Where the tenant has no rows there is nothing to do: such a step is not in the outcome.
    let Some(part) = part(tenant, step) else { return ShardStatus::NotStarted };
    let ahead = match ahead.filter(|ahead| ahead.is_of(part)) {
        Some(ahead) => Some(ahead),
        None => conductor.replay.read_ahead(tenant, part).await,
    };
    let Ok(_slot) = conductor.slots.acquire().await else { return ShardStatus::NotStarted };
    let began_at = Timestamp::now();
    let status = conductor.replay.part(tenant, part, ahead).await;
    if let ShardStatus::Restored { .. } = status {
        eta::took(conductor, tenant, step.name, part.bytes(), began_at);
    }
    if let ShardStatus::AlreadyBack { .. } | ShardStatus::NotStarted = status {
        conductor.progress.advance(part.rows(), part.bytes());
    }
    if let ShardStatus::Failed { problem } = &status
        && !problem.parent_missing
    {
        let failed = What::StepFailed { step: step.name.to_owned(), problem: problem.message.clone() };
        // The outcome tells of it in any case.
        let _ = note(conductor, tenant, failed).await;
    }
    status
}

/// Media, hooks and checks: done once, recorded when they are.
async fn other(conductor: &Conductor<'_>, tenant: &TenantPlan, step: &Step<'_>) -> StepStatus {
    if let Some(known) = conductor.sites.get(&tenant.id)
        && known.lock().await.done().contains(step.name)
    {
        return StepStatus::AlreadyDone;
    }
    let name = step.name.to_owned();
    let held = || StepStatus::Held { by: "another process".to_owned() };
    let failed = |error: &Error| StepStatus::Failed { problem: Problem::of(error) };
    match note(conductor, tenant, What::StepBegun { step: name.clone() }).await {
        Ok(true) => {}
        Ok(false) => return held(),
        Err(error) => return failed(&error),
    }
    let began_at = Timestamp::now();
    let (status, what) = match work(conductor, tenant, step).await {
        Ok(result) => {
            eta::took(conductor, tenant, step.name, 0, began_at);
            (StepStatus::Done { result: result.clone() }, What::StepDone { step: name, result })
        }
        Err(error) => (failed(&error), What::StepFailed { step: name, problem: error.chain() }),
    };
    match note(conductor, tenant, what).await {
        Ok(true) => status,
        Ok(false) => held(),
        Err(error) => failed(&error.within(format!("unable to record what became of step '{}'", step.name))),
    }
}

/// Adds an event of a tenant; `false` if another process is at work on it.
async fn note(conductor: &Conductor<'_>, tenant: &TenantPlan, what: What) -> Result<bool> {
    let site = conductor.sites.get(&tenant.id);
    let site = site.ok_or_else(|| Error::bug(format!("tenant '{}' is no site of the plan", tenant.id)))?;
    conductor.diary.add_to(&mut *site.lock().await, what).await
}

/// What came of it, in words.
async fn work(conductor: &Conductor<'_>, tenant: &TenantPlan, step: &Step<'_>) -> Result<String> {
    let (stop, environment) = (conductor.control.stopping(), Environment::of_process());
    let call = || Call::new(&conductor.plan.hash, &tenant.id, tenant.name.as_deref(), step.name);
    match &step.work {
        Work::Shard(_) => Err(Error::bug("a shard's step is replayed")),
        Work::Media(settings) => {
            // Objects are no rows, of which the progress tells.
            let notes = Notes(conductor.progress.as_ref());
            let restored =
                media::restore(settings, step.name, &tenant.id, &environment, &stop, &notes).await?;
            Ok(restored.complete(step.name, &tenant.id)?.to_string())
        }
        Work::Hook(hook) => Ok(hooks::call(hook, step.name, &call(), &environment, &stop).await?.to_string()),
        Work::Check(Check { shard: Some(shard), sql: Some(sql), .. }) => {
            let found = conductor.connected.get(shard)?.shard.check(sql, &tenant.id).await;
            let unable = || format!("unable to pass check '{}' in shard '{shard}'", step.name);
            match found.map_err(|error| error.within(unable()))? {
                None => Ok("no rows".to_owned()),
                Some(row) => Err(Error::failed(format!("{}: its query returned {row}", unable()))),
            }
        }
        Work::Check(check) => {
            Ok(hooks::check(check, step.name, &call(), &environment, &stop).await?.to_string())
        }
    }
}

/// A site on its way.
struct OneSite<'a> {
    conductor: &'a Conductor<'a>,
    tenant: &'a TenantPlan,
    done: BTreeMap<usize, (Done, Duration)>,
}

impl OneSite<'_> {
    fn is_done(&self, at: usize) -> bool {
        self.done.get(&at).is_some_and(|(done, _)| done.is_done())
            || self.conductor.graph.steps().get(at).is_some_and(|step| self.is_nothing(step))
    }

    /// Whether a step has nothing to do for the tenant: a shard without rows of it.
    fn is_nothing(&self, step: &Step<'_>) -> bool {
        shard_of(&step.work).is_some() && part(self.tenant, step).is_none()
    }

    fn is_ready(&self, step: &Step<'_>) -> bool {
        !self.is_nothing(step) && step.after.iter().all(|before| self.is_done(*before))
    }

    /// Whether rows are being written, or may still be.
    fn writes_more(&self, begun: &BTreeSet<usize>) -> bool {
        let steps = self.conductor.graph.steps().iter().enumerate();
        let shards = steps.filter(|(_, step)| part(self.tenant, step).is_some());
        let blocked = self.done.values().any(|(done, _)| !done.is_done());
        shards.into_iter().any(|(at, _)| match begun.contains(&at) {
            true => !self.done.contains_key(&at),
            false => !blocked,
        })
    }

    async fn finish(mut self) -> TenantOutcome {
        let mut shards = Vec::with_capacity(self.tenant.shards.len());
        let mut steps = Vec::new();
        let places: BTreeMap<&str, usize> =
            self.conductor.graph.steps().iter().enumerate().map(|(at, step)| (step.name, at)).collect();
        for part in &self.tenant.shards {
            let done = places.get(part.shard.as_str()).and_then(|at| self.done.remove(at));
            let (status, elapsed) = match done {
                Some((Done::Shard(status), elapsed)) => (status, elapsed),
                _ => {
                    self.conductor.progress.advance(part.rows(), part.bytes());
                    (ShardStatus::NotStarted, Duration::ZERO)
                }
            };
            shards.push(ShardOutcome { shard: part.shard.clone(), status, elapsed });
        }
        for (at, step) in self.conductor.graph.steps().iter().enumerate() {
            if shard_of(&step.work).is_some() {
                continue;
            }
            let (status, elapsed) = match self.done.remove(&at) {
                Some((Done::Other(status), elapsed)) => (status, elapsed),
                _ => (StepStatus::NotStarted, Duration::ZERO),
            };
            steps.push(StepOutcome { step: step.name.to_owned(), status, elapsed });
        }
        let skipped = self.conductor.control.is_skipped(&self.tenant.id);
        let mut outcome = TenantOutcome {
            id: self.tenant.id.clone(),
            name: self.tenant.name.clone(),
            shards,
            steps,
            skipped,
        };
        if let Some(opening) = open(self.conductor, self.tenant, outcome.is_back()).await {
            outcome.steps.push(opening);
        }
        outcome
    }
}

/// Opens the gate of a site that is whole; without a gate, says that it is. Nothing to say where a site is no more than
/// its rows: the journals say it.
async fn open(conductor: &Conductor<'_>, tenant: &TenantPlan, is_back: bool) -> Option<StepOutcome> {
    if conductor.graph.is_plain() {
        return None;
    }
    let begun_at = Instant::now();
    let gated = conductor.replay.has_gate(tenant);
    let status = if is_back {
        opened(conductor, tenant, gated)
            .await
            .unwrap_or_else(|error| StepStatus::Failed { problem: Problem::of(&error) })
    } else {
        StepStatus::NotStarted
    };
    (gated || !status.is_done()).then(|| StepOutcome {
        step: GATE.to_owned(),
        status,
        elapsed: begun_at.elapsed(),
    })
}

async fn opened(conductor: &Conductor<'_>, tenant: &TenantPlan, gated: bool) -> Result<StepStatus> {
    let site = conductor.sites.get(&tenant.id);
    let site = site.ok_or_else(|| Error::bug(format!("tenant '{}' is no site of the plan", tenant.id)))?;
    let mut site = site.lock().await;
    if site.opened_at.is_some() {
        return Ok(StepStatus::AlreadyDone);
    }
    complete(&mut site, conductor);
    let held = |by: &str| StepStatus::Held { by: by.to_owned() };
    if !gated {
        return Ok(match conductor.diary.add_to(&mut site, What::Opened).await? {
            true => StepStatus::Done { result: "open".to_owned() },
            false => held("another process"),
        });
    }
    let event = conductor.diary.next(&site, What::Opened)?;
    Ok(match conductor.replay.open_gate(tenant, &event.record(conductor.diary.plan())?).await? {
        Opened::Now => {
            site.take(&event);
            StepStatus::Done { result: "open".to_owned() }
        }
        Opened::Held { by } => held(&by),
    })
}

/// The shards' parts are back by their journals, which the site was folded from before this run wrote to them.
fn complete(site: &mut Site, conductor: &Conductor<'_>) {
    for step in conductor.graph.steps() {
        if shard_of(&step.work).is_some() {
            site.is_back(step.name);
        }
    }
}
