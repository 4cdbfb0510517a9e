//! Carries out a plan: ring by ring, N sites at a time, each along the graph of its steps.
//!
//! ```text
//! ApprovedPlan ─► rings ─► sites (in the plan's order) ─► steps whose predecessors are done ─► gate ─► Outcome
//!                            ▲                              shard: replay   media, hook, check: steps.rs
//!   stop, pause, skip, retry ┘ (control.rs)
//! ```
//!
//! A step that fails stops its site; the others go on. A site that lacked a row which another one may bring is tried
//! again after them. Stopping lets the transactions at work end and starts nothing new.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore};

use super::control::Control;
use super::diary::Diary;
use super::eta;
use super::event::{Event, What};
use super::graph::{Graph, Work};
use super::site::Site;
use super::standing::committed;
use crate::connect::Connected;
use crate::error::{Error, Result};
use crate::limits::SITES_BESIDE_MAX;
use crate::model::TenantId;
use crate::plan::estimate::Sample;
use crate::plan::{ApprovedPlan, Plan, TenantPlan};
use crate::progress::Progress;
use crate::replay::{Options, Outcome, Replay, TenantOutcome};

/// One execution of a plan.
pub(super) struct Conductor<'a> {
    pub plan: &'a Plan,
    pub connected: &'a Connected,
    pub replay: Replay<'a>,
    pub graph: &'a Graph<'a>,
    pub diary: Diary,
    pub control: Control,
    /// Where each site stands; locked by whoever adds an event to it.
    pub sites: BTreeMap<TenantId, Mutex<Site>>,
    /// One permit a site whose rows are being written.
    pub writing: Semaphore,
    /// One permit a part that is being written.
    pub slots: Semaphore,
    pub progress: Arc<dyn Progress>,
    /// Tenants that were tried by now.
    pub tried: std::sync::Mutex<BTreeSet<TenantId>>,
    /// What the steps took.
    pub samples: std::sync::Mutex<Vec<Sample>>,
    /// Sites in hand at a time.
    at_a_time: usize,
    /// Tenants whose rows are written at a time.
    pub jobs: usize,
    /// Tenants of this ring that failed, and how many may.
    failures: AtomicUsize,
    failures_max: AtomicUsize,
    halted: AtomicBool,
}

/// Restores every tenant of the plan that is not whole yet.
pub async fn conduct(
    approved: &ApprovedPlan,
    connected: &Connected,
    options: &Options,
    progress: Arc<dyn Progress>,
) -> Result<Outcome> {
    let plan = approved.plan();
    let graph = plan.graph()?;
    check_hold(plan, options)?;
    let replay = Replay::begin(approved, connected, options, progress.clone()).await?;
    let jobs = options.jobs.max(1);
    let catalogue = connected.get(&plan.root_shard()?.name)?.shard.clone();
    let diary = Diary::new(catalogue, plan.hash.clone(), replay.name().to_owned(), options.who.clone());
    let events = diary.events().await?;
    let control = Control::new(&events);
    let begun = What::RunBegun { tool_version: env!("CARGO_PKG_VERSION").to_owned(), jobs };
    let after = diary.add(begun).await?;
    let beside = if graph.is_plain() { 1 } else { SITES_BESIDE_MAX };
    let conductor = Conductor {
        plan,
        connected,
        replay,
        graph: &graph,
        diary,
        control,
        sites: sites(plan, &graph, connected, &events).await?,
        writing: Semaphore::new(jobs),
        slots: Semaphore::new(jobs),
        progress: progress.clone(),
        // One more than are at work: its rows are read meanwhile.
        at_a_time: jobs + beside,
        tried: std::sync::Mutex::default(),
        samples: std::sync::Mutex::default(),
        jobs,
        failures: AtomicUsize::new(0),
        failures_max: AtomicUsize::new(usize::MAX),
        halted: AtomicBool::new(false),
    };
    progress.begin("restoring", Some(plan.rows()));
    let outcome = tokio::select! {
        outcome = conductor.rings(options.hold_after.as_deref()) => Ok(outcome),
        () = conductor.control.listen(&conductor.diary, after, options.stop.clone(), progress.as_ref()) => {
            Err(Error::bug("the listener ended"))
        }
        () = eta::keep_telling(&conductor) => Err(Error::bug("the clock stopped")),
    };
    progress.finish();
    let outcome = outcome?;
    conductor.end(&outcome).await;
    Ok(outcome)
}

/// The ring to hold after must be one.
fn check_hold(plan: &Plan, options: &Options) -> Result<()> {
    if let Some(ring) = &options.hold_after
        && !plan.rings.iter().any(|known| known.name == *ring)
    {
        let known: Vec<&str> = plan.rings.iter().map(|ring| ring.name.as_str()).collect();
        return Err(Error::usage(format!("unable to hold after ring '{ring}': the plan has no such ring"))
            .hint(format!(
                "its rings: {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            )));
    }
    Ok(())
}

/// Where each site stands, as journals and events tell.
async fn sites(
    plan: &Plan,
    graph: &Graph<'_>,
    connected: &Connected,
    events: &[Event],
) -> Result<BTreeMap<TenantId, Mutex<Site>>> {
    let mut journals = Vec::new();
    for (name, there) in connected.iter() {
        journals.push((name.clone(), there.shard.journal(&plan.hash).await?));
    }
    Ok(Site::all(plan, graph, &committed(&journals), events)
        .into_iter()
        .map(|site| (site.tenant.clone(), Mutex::new(site)))
        .collect())
}

impl Conductor<'_> {
    async fn rings(&self, hold_after: Option<&str>) -> Outcome {
        let mut outcomes: BTreeMap<usize, TenantOutcome> = BTreeMap::new();
        let mut held = None;
        let mut first = 0;
        let rings = self.plan.by_ring();
        for (place, (name, tenants)) in rings.iter().enumerate() {
            let ring: Range<usize> = first..first + tenants.len();
            first = ring.end;
            let is_last = place + 1 == rings.len();
            // Who waits for a tenant of a later ring is no failure, and comes with that.
            let waiting =
                outcomes.iter().filter(|(_, outcome)| outcome.awaits_parent()).map(|(index, _)| *index);
            let open: Vec<usize> = waiting.chain(ring.clone()).collect();
            self.allow(self.plan.rings.get(place).map(|ring| ring.failures_max));
            if rings.len() > 1 && !self.is_halted() && !self.control.is_stopping() {
                self.progress.note(&format!("ring '{name}': {} tenants", tenants.len()));
                self.tell(What::RingBegun { ring: (*name).to_owned() }).await;
            }
            self.tenants(open, is_last, &mut outcomes).await;
            if rings.len() == 1 || held.is_some() || self.control.is_stopping() {
                continue;
            }
            let of_ring = || outcomes.range(ring.clone()).map(|(_, outcome)| outcome);
            let failed = of_ring().filter(|outcome| failed(outcome)).count();
            let back = of_ring().filter(|outcome| outcome.is_back()).count();
            self.tell(What::RingEnded { ring: (*name).to_owned(), back, failed }).await;
            if is_last && !self.is_halted() {
                continue;
            }
            held = self.hold(place, failed, tenants.len(), hold_after);
            if let Some(why) = &held {
                self.halted.store(true, Ordering::Relaxed);
                self.progress.note(&format!("held after ring '{name}': {why}"));
                self.tell(What::Held { ring: (*name).to_owned(), why: why.clone() }).await;
            } else {
                self.estimate(place, name).await;
            }
        }
        Outcome {
            plan: self.plan.hash.clone(),
            run: self.replay.name().to_owned(),
            started_at: self.replay.started_at(),
            ended_at: Timestamp::now(),
            tenants: outcomes.into_values().collect(),
            held,
        }
    }

    /// Why no ring is begun after this one, if none is.
    fn hold(&self, place: usize, failed: usize, tenants: usize, hold_after: Option<&str>) -> Option<String> {
        let ring = self.plan.rings.get(place)?;
        if failed > ring.failures_max {
            let most = ring.failures_max;
            return Some(format!(
                "{failed} of {tenants} tenants failed, at most {most} may (`reinstate skip` takes one out)"
            ));
        }
        (hold_after == Some(ring.name.as_str()))
            .then(|| "as it was asked for (`apply` again goes on)".to_owned())
    }

    /// How many tenants may fail before no further one is begun.
    fn allow(&self, failures_max: Option<usize>) {
        self.failures.store(0, Ordering::Relaxed);
        self.failures_max.store(failures_max.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Whether no further tenant is begun: too many failed.
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Says how long the rest will take, and keeps it, to be compared with what it took.
    async fn estimate(&self, place: usize, name: &str) {
        let estimate = eta::estimate(self);
        if estimate.tenants_known == 0 {
            return;
        }
        self.progress.note(&format!("after ring '{name}': {}", eta::words(&estimate.overall)));
        let names = self.plan.by_ring();
        let later = estimate.rings.iter().filter(|(ring, _)| **ring > place);
        let rings = later.filter_map(|(ring, span)| Some((names.get(*ring)?.0.to_owned(), *span))).collect();
        let what = What::Estimated { ring: name.to_owned(), overall: estimate.overall, rings };
        self.tell(what).await;
    }

    /// Tries tenants; those that lacked only a row that another one may bring are tried again when all others are
    /// done, as long as any of them came back meanwhile; so are those that somebody asked for again.
    async fn tenants(
        &self,
        mut open: Vec<usize>,
        is_last: bool,
        outcomes: &mut BTreeMap<usize, TenantOutcome>,
    ) {
        while !open.is_empty() {
            let tried: Vec<(usize, TenantOutcome)> = stream::iter(open)
                .map(|index| async move { (index, self.site(&self.plan.tenants[index]).await) })
                .buffer_unordered(self.at_a_time)
                .collect()
                .await;
            let stops = self.control.is_stopping() || self.is_halted();
            let goes_on = !stops && tried.iter().any(|(_, outcome)| outcome.has_restored());
            open = Vec::new();
            for (index, outcome) in tried {
                let again = !stops && !outcome.is_back() && self.control.again(&outcome.id);
                if outcome.awaits_parent() && !goes_on && !again && (is_last || stops) {
                    self.progress.note(&outcome.line());
                }
                if again || (outcome.awaits_parent() && goes_on) {
                    open.push(index);
                }
                let outcome = match outcomes.remove(&index) {
                    Some(earlier) => outcome.after(earlier),
                    None => outcome,
                };
                outcomes.insert(index, outcome);
            }
            open.sort_unstable();
        }
    }

    async fn site(&self, tenant: &TenantPlan) -> TenantOutcome {
        let outcome = super::steps::carry_out(self, tenant).await;
        if let Ok(mut tried) = self.tried.lock() {
            tried.insert(tenant.id.clone());
        }
        if failed(&outcome) {
            let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
            if failures > self.failures_max.load(Ordering::Relaxed) {
                self.halted.store(true, Ordering::Relaxed);
            }
        }
        // One that waits for another is told of when it is clear what became of it; whom a hold keeps back, not at all.
        let kept_back = self.is_halted() && !outcome.is_back() && outcome.problem().is_none();
        if !outcome.awaits_parent() && !kept_back {
            self.progress.note(&outcome.line());
        }
        outcome
    }

    /// Adds the end of the run to its events.
    async fn end(&self, outcome: &Outcome) {
        let failed = outcome.tenants.iter().filter(|tenant| tenant.has_failed()).count();
        let back = outcome.back();
        let open = outcome.tenants.len() - back - failed;
        self.tell(What::RunEnded { exit_code: outcome.exit_code(), back, failed, open }).await;
    }

    /// Adds an event of the run. If that cannot be done any more, what was done is done all the same.
    async fn tell(&self, what: What) {
        if let Err(error) = self.diary.add(what).await {
            self.progress.note(&format!("an event of the run could not be recorded: {}", error.chain()));
        }
    }
}

/// Whether a tenant failed, and not only because another one must come first.
fn failed(outcome: &TenantOutcome) -> bool {
    outcome.has_failed() && !outcome.awaits_parent()
}

/// The shard of a step, if it is one.
pub(super) fn shard_of<'w>(work: &Work<'w>) -> Option<&'w crate::model::ShardName> {
    match work {
        Work::Shard(name) => Some(name),
        _ => None,
    }
}
