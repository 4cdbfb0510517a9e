//! The state of a site: a pure fold over the shards' journals and its events.
//!
//! ```text
//! planned ─► restoring ◄─► failed          skipped ◄─► any of these
//!                └─► open ─► accepted ◄─► reopened
//! ```

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::event::{Event, What};
use super::graph::{Graph, Work};
use crate::model::{ShardName, TenantId};
use crate::plan::{Plan, TenantPlan};

/// Where a site stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing of it is back.
    Planned,
    /// Some of it is back.
    Restoring,
    /// A step failed, and nothing was done since.
    Failed,
    /// A person took it out.
    Skipped,
    /// All is back, and it is served.
    Open,
    /// The customer's contact said that it is well.
    Accepted,
    /// The customer's contact said that it is not.
    Reopened,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum StepState {
    /// Not begun.
    Waiting,
    /// Begun, and no end is known: at work, or killed.
    Begun {
        /// When.
        at: Timestamp,
    },
    /// Done.
    Done {
        /// When.
        at: Timestamp,
        /// What came of it, in words.
        result: String,
    },
    /// Failed.
    Failed {
        /// When.
        at: Timestamp,
        /// Why.
        problem: String,
    },
}

/// A tenant with all its steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Site {
    /// The tenant.
    pub tenant: TenantId,
    /// Where it stands.
    pub state: State,
    /// Its steps, by name, in the order of the graph.
    pub steps: Vec<(String, StepState)>,
    /// Since when it is open.
    pub opened_at: Option<Timestamp>,
    /// The last number of its events.
    #[serde(skip)]
    pub last: u64,
}

/// When a shard's part was committed, and how many rows.
pub type Committed = BTreeMap<ShardName, (Timestamp, u64)>;

impl Site {
    /// As nothing was done.
    pub fn new(tenant: &TenantPlan, graph: &Graph<'_>) -> Self {
        let steps = graph.steps().iter().map(|step| (step.name.to_owned(), StepState::Waiting)).collect();
        Self { tenant: tenant.id.clone(), state: State::Planned, steps, opened_at: None, last: 0 }
    }

    /// What the shards' journals and the events (of this tenant, and those of the run) tell.
    pub fn fold<'e>(
        tenant: &TenantPlan,
        graph: &Graph<'_>,
        committed: &Committed,
        events: impl Iterator<Item = &'e Event>,
    ) -> Self {
        let mut site = Self::new(tenant, graph);
        let mut skipped = false;
        for event in events {
            match (&event.tenant, &event.what) {
                (None, What::Skipped { tenants, .. }) if tenants.contains(&site.tenant) => skipped = true,
                (None, What::Retried { tenants }) if tenants.contains(&site.tenant) => skipped = false,
                (Some(of), _) if *of == site.tenant => site.take(event),
                _ => {}
            }
        }
        for step in graph.steps() {
            let Work::Shard(shard) = step.work else { continue };
            match (committed.get(shard), tenant.shards.iter().any(|part| part.shard == *shard)) {
                (Some((at, rows)), _) => {
                    let result = format!("{rows} rows");
                    site.set(step.name, StepState::Done { at: *at, result });
                    site.begin();
                }
                // Its journal alone decides; where the tenant has no rows there is nothing to do.
                (None, false) => {
                    site.set(
                        step.name,
                        StepState::Done { at: Timestamp::default(), result: "no rows".into() },
                    );
                }
                (None, true) => {
                    if let Some(StepState::Done { .. }) = site.step(step.name) {
                        site.set(step.name, StepState::Waiting);
                    }
                }
            }
        }
        if graph.is_plain() && site.is_complete() {
            // Without a gate the last commit opens it, whatever was said of it since.
            site.opened_at = committed.values().map(|(at, _)| *at).max();
            if site.state == State::Restoring {
                site.state = State::Open;
            }
        }
        let failed = site.steps.iter().any(|(_, step)| matches!(step, StepState::Failed { .. }));
        match site.state {
            State::Restoring if failed => site.state = State::Failed,
            State::Failed if !failed => site.state = State::Restoring,
            _ => {}
        }
        if skipped && site.state < State::Open {
            site.state = State::Skipped;
        }
        site
    }

    /// All sites of a plan.
    pub fn all(
        plan: &Plan,
        graph: &Graph<'_>,
        committed: &BTreeMap<TenantId, Committed>,
        events: &[Event],
    ) -> Vec<Self> {
        let mut of: BTreeMap<Option<&TenantId>, Vec<&Event>> = BTreeMap::new();
        for event in events {
            of.entry(event.tenant.as_ref()).or_default().push(event);
        }
        let none = Committed::new();
        let site = |tenant: &TenantPlan| {
            let committed = committed.get(&tenant.id).unwrap_or(&none);
            let events = [None, Some(&tenant.id)].into_iter().filter_map(|of_whom| of.get(&of_whom));
            Self::fold(tenant, graph, committed, events.flatten().copied())
        };
        plan.tenants.iter().map(site).collect()
    }

    /// Notes that a shard's part is back.
    pub fn is_back(&mut self, step: &str) {
        if !matches!(self.step(step), Some(StepState::Done { .. })) {
            self.set(step, StepState::Done { at: Timestamp::now(), result: String::new() });
        }
        if matches!(self.state, State::Planned | State::Failed) {
            self.state = State::Restoring;
        }
    }

    /// Takes an event of this tenant in.
    pub fn take(&mut self, event: &Event) {
        self.last = self.last.max(event.number);
        let at = event.at;
        match &event.what {
            What::StepBegun { step } => self.set(step, StepState::Begun { at }),
            What::StepDone { step, result } => self.set(step, StepState::Done { at, result: result.clone() }),
            What::StepFailed { step, problem } => {
                self.set(step, StepState::Failed { at, problem: problem.clone() });
            }
            What::StepWaived { step, note } => {
                let result = format!("waived by {}: {note}", event.who);
                self.set(step, StepState::Done { at, result });
            }
            What::Opened => {
                self.state = State::Open;
                self.opened_at = Some(at);
            }
            What::Accepted { .. } => self.state = State::Accepted,
            What::Reopened { .. } => self.state = State::Reopened,
            _ => return,
        }
        self.begin();
    }

    fn begin(&mut self) {
        if self.state == State::Planned {
            self.state = State::Restoring;
        }
    }

    fn set(&mut self, step: &str, state: StepState) {
        if let Some((_, known)) = self.steps.iter_mut().find(|(name, _)| name == step) {
            *known = state;
        }
    }

    /// What became of a step.
    pub fn step(&self, name: &str) -> Option<&StepState> {
        self.steps.iter().find(|(step, _)| step == name).map(|(_, state)| state)
    }

    /// The steps that are done.
    pub fn done(&self) -> BTreeSet<&str> {
        let done = self.steps.iter().filter(|(_, state)| matches!(state, StepState::Done { .. }));
        done.map(|(name, _)| name.as_str()).collect()
    }

    /// Whether all its steps are done.
    pub fn is_complete(&self) -> bool {
        self.done().len() == self.steps.len()
    }

    /// Why this may not happen to the site as it stands, if it may not.
    pub fn refuses(&self, what: &What) -> Option<String> {
        let wrong = |needed: &str| Some(format!("it is {}, not {needed}", self.state.name()));
        match (what, self.state) {
            (What::Accepted { .. }, State::Open | State::Reopened)
            | (What::Reopened { .. }, State::Open | State::Accepted) => None,
            (What::Accepted { .. }, _) => wrong("open or reopened"),
            (What::Reopened { .. }, _) => wrong("open or accepted"),
            (What::Opened, State::Restoring) if self.is_complete() => None,
            (What::Opened, State::Restoring) => Some("not all its steps are done".to_owned()),
            (What::Opened, _) => wrong("restoring"),
            (_, State::Planned | State::Restoring | State::Failed) if what.step().is_some() => None,
            _ if what.step().is_some() => wrong("being restored"),
            _ => Some("this is no event of a tenant".to_owned()),
        }
    }
}

impl State {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Restoring => "restoring",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Reopened => "reopened",
        }
    }
}
