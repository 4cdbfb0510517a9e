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

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore};

use super::control::Control;
use super::diary::Diary;
use super::event::{Event, What};
use super::graph::{Graph, Work};
use super::site::Site;
use super::standing::committed;
use crate::connect::Connected;
use crate::error::{Error, Result};
use crate::limits::SITES_BESIDE_MAX;
use crate::model::TenantId;
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
    /// Sites in hand at a time.
    at_a_time: usize,
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
    };
    progress.begin("restoring", Some(plan.rows()));
    let outcome = tokio::select! {
        outcome = conductor.rings() => outcome,
        () = conductor.control.listen(&conductor.diary, after, options.stop.clone(), progress.as_ref()) => {
            Err(Error::bug("the listener ended"))
        }
    };
    progress.finish();
    let outcome = outcome?;
    conductor.end(&outcome).await;
    Ok(outcome)
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
    async fn rings(&self) -> Result<Outcome> {
        let mut outcomes: BTreeMap<usize, TenantOutcome> = BTreeMap::new();
        let all: Vec<usize> = (0..self.plan.tenants.len()).collect();
        self.tenants(all, &mut outcomes).await;
        Ok(Outcome {
            plan: self.plan.hash.clone(),
            run: self.replay.name().to_owned(),
            started_at: self.replay.started_at(),
            ended_at: Timestamp::now(),
            tenants: outcomes.into_values().collect(),
            held: None,
        })
    }

    /// Tries tenants; those that lacked only a row that another one may bring are tried again when all others are
    /// done, as long as any of them came back meanwhile; so are those that somebody asked for again.
    async fn tenants(&self, mut open: Vec<usize>, outcomes: &mut BTreeMap<usize, TenantOutcome>) {
        while !open.is_empty() {
            let tried: Vec<(usize, TenantOutcome)> = stream::iter(open)
                .map(|index| async move { (index, self.site(&self.plan.tenants[index]).await) })
                .buffer_unordered(self.at_a_time)
                .collect()
                .await;
            let stops = self.control.is_stopping();
            let goes_on = !stops && tried.iter().any(|(_, outcome)| outcome.has_restored());
            open = Vec::new();
            for (index, outcome) in tried {
                let again = !stops && !outcome.is_back() && self.control.again(&outcome.id);
                if outcome.awaits_parent() && !goes_on && !again {
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
        // One that waits for another is told of when it is clear what became of it.
        if !outcome.awaits_parent() {
            self.progress.note(&outcome.line());
        }
        outcome
    }

    /// Adds the end of the run to its events. If that cannot be done any more, the outcome is still what it is.
    async fn end(&self, outcome: &Outcome) {
        let failed = outcome.tenants.iter().filter(|tenant| tenant.has_failed()).count();
        let back = outcome.back();
        let open = outcome.tenants.len() - back - failed;
        if let Err(error) =
            self.diary.add(What::RunEnded { exit_code: outcome.exit_code(), back, failed, open }).await
        {
            self.progress.note(&format!("the end of the run could not be recorded: {}", error.chain()));
        }
    }
}

/// The shard of a step, if it is one.
pub(super) fn shard_of<'w>(work: &Work<'w>) -> Option<&'w crate::model::ShardName> {
    match work {
        Work::Shard(name) => Some(name),
        _ => None,
    }
}
