//! What happened, beside the rows: the body of an event, as it stands in the catalogue's shard.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{PlanHash, TenantId};
use crate::plan::estimate::Span;
use crate::shard::EventRecord;

/// An event of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The tenant; none for what concerns the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Counts from 1 for each tenant, and for the run.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Which execution of the plan, or which command, it was part of.
    pub run: String,
    /// On whose behalf.
    pub who: String,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    // Of the run.
    /// `apply` began.
    RunBegun {
        /// Of this reinstate.
        tool_version: String,
        /// Tenants at a time.
        jobs: usize,
    },
    /// `apply` ended.
    RunEnded {
        /// How.
        exit_code: u8,
        /// Tenants that are whole.
        back: usize,
        /// Those that failed.
        failed: usize,
        /// Those that were not begun, or not finished.
        open: usize,
    },
    /// The tenants of a ring are begun.
    RingBegun {
        /// Its name.
        ring: String,
    },
    /// All of them were tried.
    RingEnded {
        /// Its name.
        ring: String,
        /// Tenants of it that are whole.
        back: usize,
        /// Those that failed.
        failed: usize,
    },
    /// No further ring is begun: too many failures, or it was asked for.
    Held {
        /// The ring that was the last.
        ring: String,
        /// Why.
        why: String,
    },
    /// How long the rest was expected to take, from then on.
    Estimated {
        /// After which ring.
        ring: String,
        /// Until all is done.
        overall: Span,
        /// Until each ring is done, by name.
        rings: BTreeMap<String, Span>,
    },
    /// Somebody asked the run to end when what is at work is done.
    StopRequested,
    /// Somebody asked the run to begin no tenant until it is resumed.
    Paused,
    /// It goes on.
    Resumed,
    /// These tenants are not begun any more, nor continued.
    Skipped {
        /// Which.
        tenants: Vec<TenantId>,
        /// Why.
        note: String,
    },
    /// These are tried again.
    Retried {
        /// Which.
        tenants: Vec<TenantId>,
    },
    /// For the next shift.
    Note {
        /// Their words.
        text: String,
    },
    // Of a tenant.
    /// A step began that is not a shard's: those are in the shards' journals.
    StepBegun {
        /// Which.
        step: String,
    },
    /// It is done.
    StepDone {
        /// Which.
        step: String,
        /// What came of it, in words.
        result: String,
    },
    /// It failed, or a shard's did.
    StepFailed {
        /// Which.
        step: String,
        /// Why.
        problem: String,
    },
    /// A person decided to go on without it.
    StepWaived {
        /// Which.
        step: String,
        /// Why.
        note: String,
    },
    /// Everything is done, and the gate, if there is one, is open; committed with it.
    Opened,
    /// The customer's contact has signed it off.
    Accepted {
        /// By whom.
        by: String,
        /// Their words.
        note: String,
    },
    /// The customer's contact says that something is wrong.
    Reopened {
        /// By whom.
        by: String,
        /// Their words.
        note: String,
    },
}

impl What {
    /// The step that it is about, if it is about one.
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::StepBegun { step }
            | Self::StepDone { step, .. }
            | Self::StepFailed { step, .. }
            | Self::StepWaived { step, .. } => Some(step),
            _ => None,
        }
    }
}

impl Event {
    /// As the shard keeps it.
    pub fn record(&self, plan: &PlanHash) -> Result<EventRecord> {
        let body = serde_json::to_string(&self.what)
            .map_err(|error| Error::bug("an event cannot be written").because(error))?;
        Ok(EventRecord {
            plan: plan.clone(),
            tenant: self.tenant.clone(),
            number: self.number,
            at: self.at,
            run: self.run.clone(),
            who: self.who.clone(),
            body,
        })
    }

    /// From what the shard kept.
    pub fn parse(record: EventRecord) -> Result<Self> {
        let what = serde_json::from_str(&record.body).map_err(|error| {
            let of = record
                .tenant
                .as_ref()
                .map_or_else(|| "the run".to_owned(), |tenant| format!("tenant '{tenant}'"));
            Error::refused(format!("unable to read event {} of {of}", record.number))
                .because(error)
                .hint("a newer reinstate wrote it, or somebody changed it by hand")
        })?;
        let EventRecord { tenant, number, at, run, who, .. } = record;
        Ok(Self { tenant, number, at, run, who, what })
    }
}
