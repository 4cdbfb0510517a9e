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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TenantShard;
    use crate::workflow::Workflow;

    const STEPS: [&str; 3] = ["catalogue", "product", "orphans"];

    fn workflow() -> Workflow {
        let text = "gate = { column = 'state', restoring = 'restoring' }\n\
                    [checks.orphans]\nshard = 'product'\nsql = 'SELECT 1'";
        toml::from_str(text).expect("a workflow")
    }

    fn shards() -> [ShardName; 2] {
        ["catalogue", "product"].map(ShardName::new)
    }

    fn tenant() -> TenantPlan {
        let shards = shards().map(|shard| TenantShard { shard, tables: vec![] });
        TenantPlan { id: TenantId::new("7"), name: None, shards: shards.to_vec() }
    }

    fn event(number: u64, of_tenant: bool, what: What) -> Event {
        let tenant = of_tenant.then(|| TenantId::new("7"));
        Event { tenant, number, at: Timestamp::UNIX_EPOCH, run: String::new(), who: "anna".to_owned(), what }
    }

    fn fold(committed: usize, events: &[Event]) -> Site {
        let (workflow, shards) = (workflow(), shards());
        let graph = Graph::new(&workflow, shards.iter(), &shards[0]).expect("a graph");
        let committed =
            shards.iter().take(committed).map(|shard| (shard.clone(), (Timestamp::UNIX_EPOCH, 3)));
        Site::fold(&tenant(), &graph, &committed.collect(), events.iter())
    }

    fn done() -> What {
        What::StepDone { step: "orphans".to_owned(), result: "no rows".to_owned() }
    }

    fn failed(step: &str) -> What {
        What::StepFailed { step: step.to_owned(), problem: "the service is away".to_owned() }
    }

    #[test]
    fn a_site_goes_its_way() {
        assert_eq!(fold(0, &[]).state, State::Planned);
        assert_eq!(fold(1, &[]).state, State::Restoring);
        assert_eq!(fold(2, &[event(1, true, failed("orphans"))]).state, State::Failed);
        let mended = [event(1, true, failed("orphans")), event(2, true, done())];
        assert_eq!(fold(2, &mended).state, State::Restoring);
        assert!(fold(2, &mended).is_complete());
        let opened = [event(1, true, done()), event(2, true, What::Opened)];
        assert_eq!(fold(2, &opened).state, State::Open);
        let accepted = What::Accepted { by: "Ana".to_owned(), note: String::new() };
        let signed = [&opened[..], &[event(3, true, accepted)]].concat();
        assert_eq!(fold(2, &signed).state, State::Accepted);
    }

    #[test]
    fn a_part_of_a_shard_is_back_when_its_journal_says_so() {
        let site =
            fold(1, &[event(1, true, What::StepDone { step: "product".to_owned(), result: String::new() })]);
        assert_eq!(site.step("product"), Some(&StepState::Waiting));
        let site = fold(2, &[event(1, true, failed("product"))]);
        assert!(matches!(site.step("product"), Some(StepState::Done { .. })), "it came back after all");
        assert_eq!(site.state, State::Restoring);
    }

    #[test]
    fn a_person_takes_a_site_out_and_in_again() {
        let skip = What::Skipped { tenants: vec![TenantId::new("7")], note: String::new() };
        let retry = What::Retried { tenants: vec![TenantId::new("7")] };
        assert_eq!(fold(1, &[event(1, false, skip.clone())]).state, State::Skipped);
        assert_eq!(fold(1, &[event(1, false, skip.clone()), event(2, false, retry)]).state, State::Restoring);
        let open = [event(1, false, skip), event(1, true, done()), event(2, true, What::Opened)];
        assert_eq!(fold(2, &open).state, State::Open, "who is back cannot be skipped");
    }

    /// Random events, each taken only if the site does not refuse it: whatever the order, a site is open only when all
    /// its steps are done, and signed off only after that.
    #[test]
    fn only_legal_ways_are_gone() {
        let by = || "Ana".to_owned();
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let committed = rng.usize(0..=2);
            let mut events: Vec<Event> = Vec::new();
            for _ in 0..rng.usize(0..12) {
                let step = STEPS[rng.usize(0..3)].to_owned();
                let what = match rng.u8(0..7) {
                    0 => What::StepBegun { step },
                    1 => done(),
                    2 => failed(&step),
                    3 => What::Opened,
                    4 => What::Accepted { by: by(), note: String::new() },
                    5 => What::Reopened { by: by(), note: String::new() },
                    _ => What::StepWaived { step: "orphans".to_owned(), note: String::new() },
                };
                if fold(committed, &events).refuses(&what).is_none() {
                    events.push(event(events.len() as u64 + 1, true, what));
                }
            }
            let site = fold(committed, &events);
            let place = |wanted: fn(&What) -> bool| events.iter().position(|event| wanted(&event.what));
            let opened = place(|what| matches!(what, What::Opened));
            if site.state >= State::Open {
                assert!(opened.is_some() && committed == 2 && site.is_complete(), "{events:?}");
            }
            if let Some(signed) = place(|what| matches!(what, What::Accepted { .. } | What::Reopened { .. }))
            {
                assert!(opened.is_some_and(|opened| opened < signed), "{events:?}");
            }
            if let Some(opened) = opened {
                assert!(events[opened + 1..].iter().all(|event| event.what.step().is_none()), "{events:?}");
            }
        }
    }
}
