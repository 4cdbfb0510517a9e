//! The whole of a restore for those who were not there: what the report, the status for customers and the next shift
//! are made of. Pure: plan, journals and events in, a value out.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::contacts::Contacts;
use super::lost::{Lost, lost};
use crate::model::{Fingerprint, ShardName, SnapshotId, TenantId};
use crate::plan::estimate::{Estimate, Span};
use crate::plan::{Plan, TenantPlan};
use crate::shard::JournalEntry;
use crate::workflow::{Event, Site, Standing, State, StepState, What, forecast};

/// The version of this format.
const INCIDENT_FORMAT: u32 = 1;

/// Everything about a plan and what became of it.
#[derive(Serialize)]
pub struct Incident<'a> {
    /// The version of this format.
    pub format: u32,
    /// The plan's hash.
    pub plan: &'a str,
    /// Why so many tenants.
    pub reason: Option<&'a str>,
    /// Who planned.
    pub author: Option<&'a str>,
    /// When.
    pub planned_at: Timestamp,
    /// When this was put together.
    pub as_of: Timestamp,
    /// How many tenants stand where.
    pub states: BTreeMap<State, usize>,
    /// Tenants that the plan leaves out.
    pub left_out: usize,
    /// Rows that came back.
    pub rows: u64,
    /// Ring by ring.
    pub rings: Vec<RingReport<'a>>,
    /// When the rest will be back, if it goes on now.
    pub rest: Option<Until>,
    /// What was foreseen, and what came.
    pub foreseen: Vec<Foreseen<'a>>,
    /// Tenant by tenant, those that the plan leaves out at the end.
    pub tenants: Vec<TenantReport<'a>>,
    /// What could not be brought back, and why.
    pub lost: Vec<Lost>,
    /// What was said when the plan was made: what else may differ, and what to look after.
    pub warnings: Vec<String>,
    /// What a person has to look after.
    pub side_effects: Vec<SideEffect<'a>>,
    /// For the next shift.
    pub notes: Vec<Moment>,
    /// What happened, in its order.
    pub timeline: Vec<Moment>,
}

/// A ring and what became of it.
#[derive(Serialize)]
pub struct RingReport<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its tenants.
    pub tenants: usize,
    /// Those that are back.
    pub back: usize,
    /// Those that failed.
    pub failed: usize,
    /// Failures that stop the run, if there are more of them.
    pub failures_max: Option<usize>,
    /// Why these tenants.
    pub why: &'a [String],
    /// When it will be done.
    pub rest: Option<Until>,
}

/// A time that is expected.
#[derive(Clone, Copy, Serialize)]
pub struct Until {
    /// The time.
    pub expected_at: Timestamp,
    /// Hardly before.
    pub earliest_at: Timestamp,
    /// Hardly after.
    pub latest_at: Timestamp,
}

/// An estimate of the run.
#[derive(Serialize)]
pub struct Foreseen<'a> {
    /// When.
    pub at: Timestamp,
    /// After which ring.
    pub after: &'a str,
    /// Until which one is done; none where it is all of them.
    pub of: Option<&'a str>,
    /// What was expected, from then on.
    #[serde(flatten)]
    pub expected: &'a Span,
    /// What it took, if it is done; a hold counts too.
    pub actual_ms: Option<u64>,
}

/// A tenant and what became of it.
#[derive(Serialize)]
pub struct TenantReport<'a> {
    /// Its id.
    pub id: &'a TenantId,
    /// What people call it.
    pub name: Option<&'a str>,
    /// Whom to tell.
    pub contact: &'a str,
    /// Its ring.
    pub ring: Option<&'a str>,
    /// Where it stands; nothing where the plan leaves it out.
    pub state: Option<State>,
    /// Since when it is open.
    pub opened_at: Option<Timestamp>,
    /// When it will be.
    pub rest: Option<Until>,
    /// Its steps.
    pub steps: Vec<StepReport<'a>>,
    /// What came back where, as its shards' journals have it.
    pub certificate: Vec<Part<'a>>,
    /// Who signed it off or opened it again, and what was said.
    pub signed: Vec<Moment>,
}

/// A step of a tenant.
#[derive(Serialize)]
pub struct StepReport<'a> {
    /// Its name.
    pub name: &'a str,
    /// What became of it.
    #[serde(flatten)]
    pub state: &'a StepState,
}

/// A tenant's rows in one shard.
#[derive(Serialize)]
pub struct Part<'a> {
    /// The shard.
    pub shard: &'a ShardName,
    /// The snapshot they came from.
    pub snapshot: &'a SnapshotId,
    /// Its instant: later changes are not in it.
    pub restore_point: Option<Timestamp>,
    /// Rows written.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Their fingerprint.
    pub fingerprint: Fingerprint,
    /// When they were committed.
    pub recorded_at: Timestamp,
}

/// What happened or was said at a time.
#[derive(Clone, Serialize)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// Who did it, or on whose behalf.
    pub who: String,
    /// The tenant, if it is about one.
    pub tenant: Option<TenantId>,
    /// What.
    pub text: String,
}

/// What a person has to look after, for one tenant or for all.
#[derive(Serialize)]
pub struct SideEffect<'a> {
    /// The tenant; none where it is the same for all.
    pub tenant: Option<&'a TenantId>,
    /// What.
    pub text: String,
}

/// Puts everything together.
pub fn incident<'a>(
    plan: &'a Plan,
    standing: &'a Standing,
    contacts: &'a Contacts,
    now: Timestamp,
) -> Incident<'a> {
    let Standing { journals, events, sites } = standing;
    let estimate = forecast::forecast(plan, journals, events, sites);
    let by_tenant: BTreeMap<&TenantId, &Site> = sites.iter().map(|site| (&site.tenant, site)).collect();
    let mut states = BTreeMap::new();
    sites.iter().for_each(|site| *states.entry(site.state).or_default() += 1);
    let tenants = tenants(plan, standing, contacts, &estimate, now);
    let whole_at = tenants.iter().filter(|tenant| tenant.state.is_some()).map(|tenant| tenant.opened_at);
    // When the last one was open, if all are.
    let whole_at = whole_at.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
    Incident {
        format: INCIDENT_FORMAT,
        plan: plan.hash.as_str(),
        reason: plan.reason.as_deref(),
        author: plan.author.as_deref(),
        planned_at: plan.created_at,
        as_of: now,
        states,
        left_out: plan.blocked.len(),
        rows: journals.iter().flat_map(|(_, entries)| entries).map(|entry| entry.rows).sum(),
        rings: rings(plan, &by_tenant, &estimate, now),
        rest: (!estimate.tenants.is_empty()).then(|| until(&estimate.overall, now)),
        foreseen: events.iter().flat_map(|event| foreseen(event, events, whole_at)).collect(),
        tenants,
        lost: lost(plan, sites, events),
        warnings: warnings(plan),
        side_effects: side_effects(plan, &by_tenant),
        notes: events.iter().filter_map(note).collect(),
        timeline: timeline(plan, events, sites),
    }
}

fn until(span: &Span, now: Timestamp) -> Until {
    let at = |ms: u64| now.saturating_add(SignedDuration::from_millis(ms as i64)).unwrap_or(Timestamp::MAX);
    Until { expected_at: at(span.expected_ms), earliest_at: at(span.low_ms), latest_at: at(span.high_ms) }
}

fn is_back(site: &Site) -> bool {
    site.state >= State::Open
}

fn rings<'a>(
    plan: &'a Plan,
    sites: &BTreeMap<&TenantId, &Site>,
    estimate: &Estimate,
    now: Timestamp,
) -> Vec<RingReport<'a>> {
    let ring = |(index, (name, tenants)): (usize, (&'a str, &'a [TenantPlan]))| {
        let count = |of: fn(&Site) -> bool| {
            tenants.iter().filter_map(|tenant| sites.get(&tenant.id)).filter(|site| of(site)).count()
        };
        let declared = plan.rings.get(index);
        RingReport {
            name,
            tenants: tenants.len(),
            back: count(is_back),
            failed: count(|site| site.state == State::Failed),
            failures_max: declared.map(|ring| ring.failures_max),
            why: declared.map(|ring| ring.why.as_slice()).unwrap_or_default(),
            rest: estimate.rings.get(&index).map(|span| until(span, now)),
        }
    };
    plan.by_ring().into_iter().enumerate().map(ring).collect()
}

fn tenants<'a>(
    plan: &'a Plan,
    standing: &'a Standing,
    contacts: &'a Contacts,
    estimate: &Estimate,
    now: Timestamp,
) -> Vec<TenantReport<'a>> {
    let sites: BTreeMap<&TenantId, &Site> = standing.sites.iter().map(|site| (&site.tenant, site)).collect();
    let mut parts: BTreeMap<&TenantId, Vec<Part<'a>>> = BTreeMap::new();
    for (shard, entry) in
        standing.journals.iter().flat_map(|(shard, all)| all.iter().map(move |it| (shard, it)))
    {
        parts.entry(&entry.tenant).or_default().push(part(plan, shard, entry));
    }
    let mut signed: BTreeMap<&TenantId, Vec<Moment>> = BTreeMap::new();
    for event in &standing.events {
        if let (Some(tenant), What::Accepted { .. } | What::Reopened { .. }) = (&event.tenant, &event.what) {
            signed.entry(tenant).or_default().extend(moment(event));
        }
    }
    let mut all = Vec::with_capacity(plan.tenants.len() + plan.blocked.len());
    for (ring, tenant) in
        plan.by_ring().into_iter().flat_map(|(ring, all)| all.iter().map(move |it| (ring, it)))
    {
        let site = sites.get(&tenant.id).copied();
        let steps = site.map(|site| site.steps.as_slice()).unwrap_or_default();
        all.push(TenantReport {
            id: &tenant.id,
            name: tenant.name.as_deref(),
            contact: contacts.of(&tenant.id),
            ring: (!plan.rings.is_empty()).then_some(ring),
            state: site.map(|site| site.state),
            opened_at: site.and_then(|site| site.opened_at),
            rest: estimate.tenants.get(&tenant.id).map(|span| until(span, now)),
            steps: steps.iter().map(|(name, state)| StepReport { name, state }).collect(),
            certificate: parts.remove(&tenant.id).unwrap_or_default(),
            signed: signed.remove(&tenant.id).unwrap_or_default(),
        });
    }
    all.extend(plan.blocked.iter().map(|tenant| TenantReport {
        id: &tenant.id,
        name: tenant.name.as_deref(),
        contact: contacts.of(&tenant.id),
        ring: None,
        state: None,
        opened_at: None,
        rest: None,
        steps: Vec::new(),
        certificate: Vec::new(),
        signed: Vec::new(),
    }));
    all
}

fn part<'a>(plan: &Plan, shard: &'a ShardName, entry: &'a JournalEntry) -> Part<'a> {
    Part {
        shard,
        snapshot: &entry.snapshot,
        restore_point: plan.shard(shard).map(|planned| planned.taken_at),
        rows: entry.rows,
        bytes: entry.bytes,
        fingerprint: entry.fingerprint,
        recorded_at: entry.recorded_at,
    }
}

/// An estimate for all and for each ring, beside what came.
fn foreseen<'a>(event: &'a Event, events: &[Event], whole_at: Option<Timestamp>) -> Vec<Foreseen<'a>> {
    let What::Estimated { ring: after, overall, rings } = &event.what else { return Vec::new() };
    let ended = |name: &str| {
        let later = events.iter().filter(|later| later.tenant.is_none() && later.at >= event.at);
        later
            .filter(|it| matches!(&it.what, What::RingEnded { ring, .. } if ring == name))
            .map(|it| it.at)
            .next()
    };
    let one = |of: Option<&'a str>, expected: &'a Span, ended_at: Option<Timestamp>| {
        let took = ended_at.map(|ended_at| ended_at.duration_since(event.at).as_millis());
        let actual_ms = took.and_then(|took| u64::try_from(took).ok());
        Foreseen { at: event.at, after, of, expected, actual_ms }
    };
    let mut all = vec![one(None, overall, whole_at)];
    all.extend(rings.iter().map(|(ring, span)| one(Some(ring), span, ended(ring))));
    all
}

/// `12.3 s`.
pub(super) fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1e3)
}

fn warnings(plan: &Plan) -> Vec<String> {
    let of_shard = |shard: &'_ crate::plan::ShardPlan| {
        let name = shard.name.clone();
        let all = shard.drift.iter().chain(&shard.warnings);
        all.map(move |text| format!("shard '{name}': {text}")).collect::<Vec<_>>()
    };
    plan.shards.iter().flat_map(of_shard).collect()
}

fn side_effects<'a>(plan: &'a Plan, sites: &BTreeMap<&TenantId, &Site>) -> Vec<SideEffect<'a>> {
    let mut all = Vec::new();
    for text in &plan.workflow.side_effects {
        if !text.contains("{tenant}") {
            all.push(SideEffect { tenant: None, text: text.clone() });
            continue;
        }
        // Only what is back has side effects.
        let back =
            plan.tenants.iter().filter(|tenant| sites.get(&tenant.id).is_some_and(|site| is_back(site)));
        all.extend(back.map(|tenant| SideEffect {
            tenant: Some(&tenant.id),
            text: text.replace("{tenant}", tenant.id.as_str()),
        }));
    }
    all
}

fn note(event: &Event) -> Option<Moment> {
    let What::Note { text } = &event.what else { return None };
    Some(Moment { at: event.at, who: event.who.clone(), tenant: event.tenant.clone(), text: text.clone() })
}

/// What happened, without the many steps that went well.
fn timeline(plan: &Plan, events: &[Event], sites: &[Site]) -> Vec<Moment> {
    let by = plan.author.clone().unwrap_or_default();
    let planned = Moment { at: plan.created_at, who: by, tenant: None, text: "planned".into() };
    let opened = sites.iter().filter_map(|site| {
        let text = "back".to_owned();
        Some(Moment { at: site.opened_at?, who: String::new(), tenant: Some(site.tenant.clone()), text })
    });
    let mut all: Vec<Moment> =
        [planned].into_iter().chain(opened).chain(events.iter().filter_map(moment)).collect();
    all.sort_by_key(|moment| moment.at);
    all
}

fn moment(event: &Event) -> Option<Moment> {
    let many = |tenants: &[TenantId]| match tenants {
        [one] => format!("tenant {one}"),
        _ => format!("{} tenants", tenants.len()),
    };
    let noted = |text: String, note: &str| if note.is_empty() { text } else { format!("{text}: {note}") };
    let text = match &event.what {
        What::StepBegun { .. } | What::StepDone { .. } | What::Opened => return None,
        What::RunBegun { jobs, tool_version } => {
            format!("apply began, {jobs} tenants at a time (reinstate {tool_version})")
        }
        What::RunEnded { exit_code, back, failed, open } => {
            format!(
                "apply ended with exit code {exit_code}: {back} tenants back, {failed} failed, {open} open"
            )
        }
        What::RingBegun { ring } => format!("ring '{ring}' began"),
        What::RingEnded { ring, back, failed } => {
            format!("ring '{ring}' ended: {back} tenants back, {failed} failed")
        }
        What::Held { ring, why } => format!("held after ring '{ring}': {why}"),
        What::Estimated { overall, .. } => {
            let Span { expected_ms, low_ms, high_ms } = *overall;
            let [expected, low, high] = [expected_ms, low_ms, high_ms].map(seconds);
            format!("the rest is expected to take {expected} ({low} to {high})")
        }
        What::StopRequested => "asked the run to stop".into(),
        What::Paused => "paused".into(),
        What::Resumed => "resumed".into(),
        What::Skipped { tenants, note } => noted(format!("skipped {}", many(tenants)), note),
        What::Retried { tenants } => format!("asked to try {} again", many(tenants)),
        What::Note { text } => format!("note: {text}"),
        What::StepFailed { step, problem } => format!("step '{step}' failed: {problem}"),
        What::StepWaived { step, note } => noted(format!("goes on without step '{step}'"), note),
        What::Accepted { by, note } => noted(format!("accepted by {by}"), note),
        What::Reopened { by, note } => noted(format!("reopened by {by}"), note),
    };
    Some(Moment { at: event.at, who: event.who.clone(), tenant: event.tenant.clone(), text })
}

/// The heart of it for a terminal.
pub fn text(incident: &Incident<'_>) -> String {
    let states: Vec<String> =
        incident.states.iter().map(|(state, tenants)| format!("{tenants} {}", state.name())).collect();
    let mut lines = vec![format!("plan {}", incident.plan), format!("tenants: {}", states.join(", "))];
    if incident.left_out > 0 {
        lines.push(format!("left out of the plan: {}", incident.left_out));
    }
    if let Some(rest) = incident.rest {
        let Until { expected_at, earliest_at, latest_at } = rest;
        lines.push(format!(
            "all back, if work goes on: {expected_at:.0} ({earliest_at:.0} to {latest_at:.0})"
        ));
    }
    let whose =
        |tenant: Option<&TenantId>| tenant.map_or("all tenants".into(), |tenant| format!("tenant {tenant}"));
    let mut section = |title: &str, all: Vec<String>| {
        if !all.is_empty() {
            lines.push(format!("\n{title}:"));
            lines.extend(all.into_iter().map(|line| format!("  {line}")));
        }
    };
    let lost = incident.lost.iter().map(|it| format!("{}: {}", whose(it.tenant.as_ref()), it.what));
    section("what did not come back", lost.collect());
    let effects = incident.side_effects.iter().map(|it| format!("{}: {}", whose(it.tenant), it.text));
    section("to look after", effects.collect());
    let notes = incident.notes.iter().map(|it| format!("{:.0} {}: {}", it.at, it.who, it.text));
    section("notes for the next shift", notes.collect());
    lines.join("\n")
}
