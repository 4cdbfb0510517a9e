//! What became of every tenant of a run: data, to be reported.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::database::is_parent_missing;
use crate::error::{EXIT_OK, Error, Kind};
use crate::model::{PlanHash, ShardName, TableName, TenantId};
use crate::shard::JournalEntry;
use crate::verify::Verdict;

/// What became of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The plan.
    pub plan: PlanHash,
    /// This execution of it, as the journal names it.
    pub run: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Every tenant, in the plan's order.
    pub tenants: Vec<TenantOutcome>,
    /// Why the run went no further, if it ended before the last ring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

/// What became of one tenant.
#[derive(Clone, Debug, Serialize)]
pub struct TenantOutcome {
    /// The tenant.
    pub id: TenantId,
    /// What people call it.
    pub name: Option<String>,
    /// Shard by shard, in the order of the plan.
    pub shards: Vec<ShardOutcome>,
    /// The other steps, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepOutcome>,
    /// A person took it out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
}

/// What became of a step that is no shard's: media, a hook, a check, the gate.
#[derive(Clone, Debug, Serialize)]
pub struct StepOutcome {
    /// Its name.
    pub step: String,
    /// What became of it.
    #[serde(flatten)]
    pub status: StepStatus,
    /// How long it took.
    #[serde(rename = "elapsed_ms", serialize_with = "as_millis")]
    pub elapsed: Duration,
}

/// The states of such a step.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum StepStatus {
    /// Done by this run.
    Done {
        /// What came of it, in words.
        result: String,
    },
    /// An earlier run did it.
    AlreadyDone,
    /// Another process is at work on the tenant.
    Held {
        /// Who.
        by: String,
    },
    /// It failed.
    Failed {
        /// Why.
        problem: Problem,
    },
    /// Not begun: something before it failed, or the run was stopped.
    NotStarted,
}

impl StepStatus {
    /// Whether it is done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::AlreadyDone)
    }
}

/// What became of one tenant in one shard.
#[derive(Clone, Debug, Serialize)]
pub struct ShardOutcome {
    /// The shard.
    pub shard: ShardName,
    /// What became of it.
    #[serde(flatten)]
    pub status: ShardStatus,
    /// How long it took, claiming and waiting included.
    #[serde(rename = "elapsed_ms", serialize_with = "as_millis")]
    pub elapsed: Duration,
}

/// The states a tenant can be in, in one shard.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ShardStatus {
    /// Written, proved and committed by this run.
    Restored {
        /// Rows written.
        rows: u64,
        /// Bytes written, in wire form.
        bytes: u64,
        /// Entries that were taken out of deletion queues, by queue.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        cleared: BTreeMap<TableName, u64>,
        /// The comparison before commit; `None` if the verification was put off.
        verdict: Option<Verdict>,
        /// Files with the values of columns that are gone.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        dropped: Vec<PathBuf>,
    },
    /// The journal says that an earlier run of this plan committed it.
    AlreadyBack {
        /// The journal's row.
        entry: JournalEntry,
    },
    /// Another process is restoring it now.
    Held {
        /// Who.
        by: String,
    },
    /// Rolled back.
    Failed {
        /// Why.
        problem: Problem,
    },
    /// The server or the connection went away; rolled back, or its commit will be found in the journal.
    Interrupted {
        /// Why.
        problem: Problem,
    },
    /// Not begun: the run was stopped, or something before it failed.
    NotStarted,
}

/// An error as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The message and its causes.
    pub message: String,
    /// The next actions.
    pub hints: Vec<String>,
    /// Whether a row was missing that another tenant may bring.
    #[serde(skip)]
    pub parent_missing: bool,
}

impl Problem {
    /// The text of an error.
    pub fn of(error: &Error) -> Self {
        Self {
            message: error.chain(),
            hints: error.hints().to_vec(),
            parent_missing: is_parent_missing(error),
        }
    }
}

impl ShardStatus {
    /// Whether the tenant's rows are in the shard.
    pub fn is_back(&self) -> bool {
        matches!(self, Self::Restored { .. } | Self::AlreadyBack { .. })
    }
}

impl TenantOutcome {
    /// Whether the tenant is whole: back in every shard, and all other steps done.
    pub fn is_back(&self) -> bool {
        !self.skipped
            && self.shards.iter().all(|shard| shard.status.is_back())
            && self.steps.iter().all(|step| step.status.is_done())
    }

    /// Whether a step failed, so that a person must look at it.
    pub fn has_failed(&self) -> bool {
        self.shards.iter().any(|shard| matches!(shard.status, ShardStatus::Failed { .. }))
            || self.steps.iter().any(|step| matches!(step.status, StepStatus::Failed { .. }))
    }

    /// Whether all that this run wrote was read back.
    pub fn is_verified(&self) -> bool {
        !self.shards.iter().any(|shard| matches!(shard.status, ShardStatus::Restored { verdict: None, .. }))
    }

    /// Rows that this run wrote.
    pub fn rows_written(&self) -> u64 {
        let rows = |shard: &ShardOutcome| match shard.status {
            ShardStatus::Restored { rows, .. } => rows,
            _ => 0,
        };
        self.shards.iter().map(rows).sum()
    }

    /// Whether it may come back after another tenant, which brings a row that was missing.
    pub fn awaits_parent(&self) -> bool {
        self.problem().is_some_and(|(_, problem)| problem.parent_missing)
    }

    /// Whether this run brought something of it back.
    pub fn has_restored(&self) -> bool {
        self.shards.iter().any(|shard| matches!(shard.status, ShardStatus::Restored { .. }))
    }

    /// This attempt and an earlier one of the same run: what that one restored, this one has found done.
    pub fn after(mut self, earlier: Self) -> Self {
        for (now, before) in self.shards.iter_mut().zip(earlier.shards) {
            now.elapsed += before.elapsed;
            if matches!(before.status, ShardStatus::Restored { .. }) {
                now.status = before.status;
            }
        }
        for (now, before) in self.steps.iter_mut().zip(earlier.steps) {
            now.elapsed += before.elapsed;
            if matches!(before.status, StepStatus::Done { .. }) {
                now.status = before.status;
            }
        }
        self
    }

    /// Entries that this run took out of deletion queues.
    pub fn entries_cleared(&self) -> u64 {
        let entries = |shard: &ShardOutcome| match &shard.status {
            ShardStatus::Restored { cleared, .. } => cleared.values().sum(),
            _ => 0,
        };
        self.shards.iter().map(entries).sum()
    }

    /// The problem that kept it from coming back, if there is one, and where it was met: `shard 'x'`, `step 'y'`.
    pub fn problem(&self) -> Option<(String, &Problem)> {
        let of_shard = self.shards.iter().find_map(|shard| match &shard.status {
            ShardStatus::Failed { problem } | ShardStatus::Interrupted { problem } => {
                Some((format!("shard '{}'", shard.shard), problem))
            }
            _ => None,
        });
        of_shard.or_else(|| {
            self.steps.iter().find_map(|step| match &step.status {
                StepStatus::Failed { problem } => Some((format!("step '{}'", step.step), problem)),
                _ => None,
            })
        })
    }

    /// Who else is at work on it, if somebody is.
    fn held_by(&self) -> Option<&String> {
        let by_shard = self.shards.iter().find_map(|shard| match &shard.status {
            ShardStatus::Held { by } => Some(by),
            _ => None,
        });
        by_shard.or_else(|| {
            self.steps.iter().find_map(|step| match &step.status {
                StepStatus::Held { by } => Some(by),
                _ => None,
            })
        })
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let label = match &self.name {
            Some(name) => format!("{} ({name})", self.id),
            None => self.id.to_string(),
        };
        let elapsed: Duration = self.shards.iter().map(|shard| shard.elapsed).sum();
        if self.skipped {
            return format!("tenant {label}: skipped");
        }
        let did = |step: &StepOutcome| matches!(step.status, StepStatus::Done { .. });
        if self.is_back() && self.rows_written() == 0 && self.steps.iter().any(did) {
            return format!("tenant {label}: whole now, its rows were back already");
        }
        if self.is_back() && self.rows_written() == 0 {
            return format!("tenant {label}: back already");
        }
        if self.is_back() {
            let rows = self.rows_written();
            let entries = match self.entries_cleared() {
                0 => String::new(),
                entries => format!(", {entries} entries of deletion queues cleared"),
            };
            let verified = if self.is_verified() { " and verified" } else { "" };
            return format!(
                "tenant {label}: restored{verified}, {rows} rows in {:.2} s{entries}",
                elapsed.as_secs_f64()
            );
        }
        match self.problem() {
            Some((place, problem)) => {
                format!("tenant {label}: not restored, {place}: {}", problem.message)
            }
            None => match self.held_by() {
                Some(by) => format!("tenant {label}: being restored by {by}"),
                None => format!("tenant {label}: not started"),
            },
        }
    }
}

impl Outcome {
    /// Whether this tenant is back in every shard.
    pub fn is_back(&self, id: &TenantId) -> bool {
        self.tenants.iter().any(|tenant| tenant.id == *id && tenant.is_back())
    }

    /// Tenants that are whole.
    pub fn back(&self) -> usize {
        self.tenants.iter().filter(|tenant| tenant.is_back()).count()
    }

    /// Rows that this run wrote.
    pub fn rows_written(&self) -> u64 {
        self.tenants.iter().map(TenantOutcome::rows_written).sum()
    }

    /// Files with values of columns that are gone, which this run wrote.
    pub fn dropped(&self) -> impl Iterator<Item = &PathBuf> {
        self.tenants.iter().flat_map(|tenant| &tenant.shards).flat_map(|shard| match &shard.status {
            ShardStatus::Restored { dropped, .. } => dropped.as_slice(),
            _ => &[],
        })
    }

    /// How long it took.
    pub fn elapsed(&self) -> Duration {
        self.ended_at.duration_since(self.started_at).try_into().unwrap_or_default()
    }

    /// The exit code: failed before interrupted, because a failed tenant needs a person.
    pub fn exit_code(&self) -> u8 {
        if self.tenants.iter().any(TenantOutcome::has_failed) {
            Kind::Failed.exit_code()
        } else if self.tenants.iter().any(|tenant| !tenant.is_back()) {
            Kind::Interrupted.exit_code()
        } else {
            EXIT_OK
        }
    }
}

fn as_millis<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
