//! Replay: the only cause of writes to user tables. Takes an [`ApprovedPlan`]; one transaction a tenant and shard.
//!
//! ```text
//! ApprovedPlan ─► Replay::part(tenant, shard), as `workflow` asks for it
//!                    begin · write, clear queues · read back · close the gate · write set · journal · commit
//!                    (transaction.rs)   └─ where triggers are off: prove the keys    (references.rs, prove.rs)
//!                 Replay::open_gate(tenant), when all of it is back          (gate.rs)
//! ```
//!
//! A tenant that fails is rolled back and named. A shard that is gone stops the tenants that need it.

mod adapted;
mod ahead;
mod gate;
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

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::connect::Connected;
use crate::error::{Error, Kind, Result};
use crate::memory::{Memory, Share};
use crate::model::{PlanHash, ShardName};
use crate::plan::{ApprovedPlan, TenantPlan, TenantShard};
use crate::progress::Progress;

pub use ahead::Ahead;
pub use gate::Opened;
use groups::{Done, Groups};
pub use outcome::{Outcome, Problem, ShardOutcome, ShardStatus, StepOutcome, StepStatus, TenantOutcome};

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
    /// On whose behalf, for the record.
    pub who: String,
    /// The ring after which no further one is begun.
    pub hold_after: Option<String>,
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
pub struct Replay<'a> {
    plan: &'a ApprovedPlan,
    connected: &'a Connected,
    /// Tenants that are read ahead together.
    groups: Groups<'a>,
    /// Host, process and start: written to the journal, so that a person can tell executions apart.
    name: String,
    started_at: Timestamp,
    /// Folder for values that have no column any more.
    dropped: PathBuf,
    verify: VerifyAt,
    /// Of each tenant at work.
    share: Share,
    /// Shards that were lost on the way; written by the worker that met the loss, read before each tenant.
    lost: Mutex<BTreeSet<ShardName>>,
    progress: Arc<dyn Progress>,
}

fn run_name(started_at: Timestamp) -> String {
    format!("{} pid {} at {started_at:.0}", host_name(), std::process::id())
}

/// The name of this machine, as far as the system tells it.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

impl<'a> Replay<'a> {
    /// Prepares the journals, and passes over what they list as done.
    pub async fn begin(
        plan: &'a ApprovedPlan,
        connected: &'a Connected,
        options: &Options,
        progress: Arc<dyn Progress>,
    ) -> Result<Self> {
        let started_at = Timestamp::now();
        let mut done = Done::new();
        for (name, shard) in connected.iter() {
            shard.shard.prepare_journal().await?;
            let entries = shard.shard.journal(&plan.plan().hash).await?;
            done.extend(entries.into_iter().map(|entry| (name, entry.tenant)));
        }
        Ok(Self {
            plan,
            connected,
            groups: Groups::new(plan.plan(), connected, &done, options.memory.read_ahead_bytes()),
            name: run_name(started_at),
            started_at,
            dropped: options.dropped.clone(),
            verify: options.verify,
            share: options.memory.share(options.jobs),
            lost: Mutex::default(),
            progress,
        })
    }

    /// What the journals call this execution.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it began.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    fn hash(&self) -> &PlanHash {
        &self.plan.plan().hash
    }

    /// Begins to read a tenant's rows in a shard, before its turn. What goes wrong here goes wrong again, and is told,
    /// when the turn comes.
    pub async fn read_ahead<'s>(
        &'s self,
        tenant: &'s TenantPlan,
        part: &'s TenantShard,
    ) -> Option<Ahead<'s>> {
        if self.is_lost(&part.shard) {
            return None;
        }
        let planned = self.plan.plan().shard(&part.shard)?;
        let source = self.connected.get(&part.shard).ok()?.source.as_ref();
        let read = self.groups.take(&part.shard, &tenant.id).await.unwrap_or_default();
        Ahead::new(source, planned, part, &tenant.id, read).await.ok()
    }

    /// Brings a tenant's part in one shard back, unless the shard was lost.
    pub async fn part<'s>(
        &'s self,
        tenant: &'s TenantPlan,
        part: &'s TenantShard,
        mut ahead: Option<Ahead<'s>>,
    ) -> ShardStatus {
        if self.is_lost(&part.shard) {
            return ShardStatus::NotStarted;
        }
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
