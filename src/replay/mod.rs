//! Replay: the only cause of writes. Takes an [`ApprovedPlan`], N tenants at a time, one transaction a tenant and
//! shard.
//!
//! ```text
//! ApprovedPlan ─► queue (in the plan's order) ─► workers ─► tenant: shard by shard, the catalogue last ─► Outcome
//!                                            │
//!                    begin · write, clear queues · read back · write set · journal · commit     (transaction.rs)
//!                              └─ where triggers are off: prove the keys    (references.rs, prove.rs)
//! ```
//!
//! A tenant that fails is rolled back and named; the others go on. One that lacked a row which another may bring is
//! tried again after them. A shard that is gone stops the tenants that need it. Stopping lets the transactions at work
//! end and starts no new ones.

mod adapted;
mod ahead;
mod groups;
mod kept;
mod outcome;
mod prove;
mod queued;
mod read_back;
mod referenced;
mod references;
mod referrers;
mod repair;
mod retry;
mod transaction;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};

use crate::connect::Connected;
use crate::error::{Error, Kind, Result};
use crate::memory::{Memory, Share};
use crate::model::{PlanHash, ShardName};
use crate::plan::{ApprovedPlan, TenantPlan, TenantShard};
use crate::progress::Progress;

use ahead::Ahead;
use groups::{Done, Groups};
pub use outcome::{Outcome, Problem, ShardOutcome, ShardStatus, TenantOutcome};

/// How to replay.
#[derive(Clone)]
pub struct Options {
    /// Tenants at a time.
    pub jobs: usize,
    /// What all of them together may use.
    pub memory: Memory,
    /// When rows are read back.
    pub verify: VerifyAt,
    /// Becomes true when no new tenant shall begin.
    pub stop: watch::Receiver<bool>,
    /// Folder for the values of columns that the live tables do not have any more.
    pub dropped: PathBuf,
}

/// When what was written is read back and compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyAt {
    /// Before each commit, inside the transaction: a tenant that is not equal never appears.
    #[default]
    BeforeCommit,
    /// When all have come back, by the independent verification: tenants are back sooner. What was handed over is the
    /// plan's all the same, and keys and write set are proved before the commit.
    After,
}

/// One execution of a plan, as the tasks share it.
struct Run<'a> {
    plan: &'a ApprovedPlan,
    connected: &'a Connected,
    /// Tenants that are read ahead together.
    groups: Groups<'a>,
    /// Host, process and start: written to the journal, so that a person can tell executions apart.
    name: String,
    /// Folder for values that have no column any more.
    dropped: PathBuf,
    verify: VerifyAt,
    /// Of each tenant at work.
    share: Share,
    stop: watch::Receiver<bool>,
    /// One permit a tenant at work.
    slots: Semaphore,
    /// Shards that were lost on the way; written by the worker that met the loss, read before each tenant.
    lost: Mutex<BTreeSet<ShardName>>,
    progress: Arc<dyn Progress>,
}

/// Restores every tenant of the plan that its journals do not list as done.
pub async fn replay(
    plan: &ApprovedPlan,
    connected: &Connected,
    options: &Options,
    progress: Arc<dyn Progress>,
) -> Result<Outcome> {
    let started_at = Timestamp::now();
    let mut done = Done::new();
    for (name, shard) in connected.iter() {
        shard.shard.prepare_journal().await?;
        let entries = shard.shard.journal(&plan.plan().hash).await?;
        done.extend(entries.into_iter().map(|entry| (name, entry.tenant)));
    }
    let run = Run {
        plan,
        connected,
        groups: Groups::new(plan.plan(), connected, &done, options.memory.read_ahead_bytes()),
        name: run_name(started_at),
        dropped: options.dropped.clone(),
        verify: options.verify,
        share: options.memory.share(options.jobs),
        stop: options.stop.clone(),
        slots: Semaphore::new(options.jobs.max(1)),
        lost: Mutex::default(),
        progress: progress.clone(),
    };
    progress.begin("restoring", Some(plan.plan().rows()));
    // Tenants are in the plan's order, so that no long one is left for the end.
    let tenants = run.all(options.jobs.max(1)).await;
    progress.finish();
    Ok(Outcome {
        plan: plan.plan().hash.clone(),
        run: run.name,
        started_at,
        ended_at: Timestamp::now(),
        tenants,
    })
}

fn run_name(started_at: Timestamp) -> String {
    format!("{} pid {} at {started_at:.0}", host_name(), std::process::id())
}

/// The name of this machine, as far as the system tells it.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

impl Run<'_> {
    fn hash(&self) -> &PlanHash {
        &self.plan.plan().hash
    }

    /// Tries every tenant; those that lacked only a row that another one may bring are tried again when all others
    /// are done, as long as any of them came back meanwhile.
    async fn all(&self, jobs: usize) -> Vec<TenantOutcome> {
        let mut outcomes: BTreeMap<usize, TenantOutcome> = BTreeMap::new();
        let mut open: Vec<usize> = (0..self.plan.plan().tenants.len()).collect();
        while !open.is_empty() {
            let tried: Vec<(usize, TenantOutcome)> = stream::iter(open)
                .map(|index| async move { (index, self.tenant(&self.plan.plan().tenants[index]).await) })
                // One more than are at work: its rows are read meanwhile.
                .buffer_unordered(jobs + 1)
                .collect()
                .await;
            let goes_on = !*self.stop.borrow() && tried.iter().any(|(_, outcome)| outcome.has_restored());
            open = Vec::new();
            for (index, outcome) in tried {
                if outcome.awaits_parent() {
                    if goes_on {
                        open.push(index);
                    } else {
                        self.progress.note(&outcome.line());
                    }
                }
                let outcome = match outcomes.remove(&index) {
                    Some(earlier) => outcome.after(earlier),
                    None => outcome,
                };
                outcomes.insert(index, outcome);
            }
            open.sort_unstable();
        }
        outcomes.into_values().collect()
    }

    async fn tenant(&self, tenant: &TenantPlan) -> TenantOutcome {
        let mut shards = Vec::with_capacity(tenant.shards.len());
        let mut first = match tenant.shards.first() {
            Some(part) if !*self.stop.borrow() => self.read_ahead(tenant, part).await,
            _ => None,
        };
        // Never closed; without a permit nothing is done.
        let slot = self.slots.acquire().await;
        let mut blocked = *self.stop.borrow() || slot.is_err();
        for part in &tenant.shards {
            let begun_at = std::time::Instant::now();
            let status = if blocked || self.is_lost(&part.shard) {
                ShardStatus::NotStarted
            } else {
                let ahead = match first.take() {
                    Some(ahead) => Some(ahead),
                    None => self.read_ahead(tenant, part).await,
                };
                self.shard(tenant, part, ahead).await
            };
            // What follows (in the end the catalogue's row) must not come back before this part is.
            blocked |= !status.is_back();
            if let ShardStatus::AlreadyBack { .. } | ShardStatus::NotStarted = status {
                self.progress.advance(part.rows(), part.bytes());
            }
            shards.push(ShardOutcome { shard: part.shard.clone(), status, elapsed: begun_at.elapsed() });
        }
        let outcome = TenantOutcome { id: tenant.id.clone(), name: tenant.name.clone(), shards };
        // One that waits for another is told of when it is clear what became of it.
        if !outcome.awaits_parent() {
            self.progress.note(&outcome.line());
        }
        outcome
    }

    /// Begins to read a tenant's rows in a shard, before its turn. What goes wrong here goes wrong again, and is told,
    /// when the turn comes.
    async fn read_ahead<'a>(&'a self, tenant: &'a TenantPlan, part: &'a TenantShard) -> Option<Ahead<'a>> {
        if self.is_lost(&part.shard) {
            return None;
        }
        let planned = self.plan.plan().shard(&part.shard)?;
        let source = self.connected.get(&part.shard).ok()?.source.as_ref();
        let read = self.groups.take(&part.shard, &tenant.id).await.unwrap_or_default();
        Ahead::new(source, planned, part, &tenant.id, read).await.ok()
    }

    async fn shard<'a>(
        &'a self,
        tenant: &'a TenantPlan,
        part: &'a TenantShard,
        mut ahead: Option<Ahead<'a>>,
    ) -> ShardStatus {
        let Some(planned) = self.plan.plan().shard(&part.shard) else {
            return ShardStatus::Failed {
                problem: Problem::of(&Error::bug("a tenant's shard is not in the plan")),
            };
        };
        let connected = match self.connected.get(&part.shard) {
            Ok(connected) => connected,
            Err(error) => return ShardStatus::Failed { problem: Problem::of(&error) },
        };
        let work = || transaction::restore(self, connected, planned, tenant, part, ahead.take());
        match retry::with_patience(work).await {
            Ok(status) => status,
            Err(error) if error.kind() == Kind::Interrupted => {
                self.lose(&part.shard);
                ShardStatus::Interrupted { problem: Problem::of(&error) }
            }
            Err(error) => ShardStatus::Failed { problem: Problem::of(&error) },
        }
    }

    fn is_lost(&self, shard: &ShardName) -> bool {
        self.lost.lock().map_or(true, |lost| lost.contains(shard))
    }

    fn lose(&self, shard: &ShardName) {
        if let Ok(mut lost) = self.lost.lock() {
            lost.insert(shard.clone());
        }
    }
}
