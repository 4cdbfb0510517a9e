//! When the rest will be back: what journals and events tell, as the estimate wants it. Pure.

use std::collections::BTreeMap;

use super::event::{Event, What};
use super::site::{Site, State, StepState};
use crate::limits::JOBS_DEFAULT;
use crate::model::ShardName;
use crate::plan::Plan;
use crate::plan::estimate::{Estimate, Remaining, Sample, estimate};
use crate::shard::JournalEntry;

/// Estimates the rest of a plan, as many tenants at a time as the last run.
pub fn forecast(
    plan: &Plan,
    journals: &[(ShardName, Vec<JournalEntry>)],
    events: &[Event],
    sites: &[Site],
) -> Estimate {
    let jobs = events.iter().rev().find_map(|event| match &event.what {
        What::RunBegun { jobs, .. } => Some(*jobs),
        _ => None,
    });
    estimate(&samples(journals, events), &remaining(plan, sites), jobs.unwrap_or(JOBS_DEFAULT))
}

/// What is done, and how long it took.
pub fn samples(journals: &[(ShardName, Vec<JournalEntry>)], events: &[Event]) -> Vec<Sample> {
    let entries =
        journals.iter().flat_map(|(shard, entries)| entries.iter().map(move |entry| (shard, entry)));
    let mut samples: Vec<Sample> = entries
        .map(|(shard, entry)| Sample {
            tenant: entry.tenant.clone(),
            step: shard.to_string(),
            bytes: entry.bytes,
            began_at: entry.started_at,
            ended_at: entry.recorded_at,
        })
        .collect();
    let mut begun = BTreeMap::new();
    for event in events {
        let (Some(tenant), Some(step)) = (&event.tenant, event.what.step()) else { continue };
        let before = begun.remove(&(tenant, step));
        match (&event.what, before) {
            (What::StepBegun { .. }, _) => {
                begun.insert((tenant, step), event.at);
            }
            (What::StepDone { .. }, Some(began_at)) => samples.push(Sample {
                tenant: tenant.clone(),
                step: step.to_owned(),
                bytes: 0,
                began_at,
                ended_at: event.at,
            }),
            _ => {}
        }
    }
    samples
}

/// The tenants that are not back, and what is left of them. Those that a person took out are not waited for.
pub fn remaining(plan: &Plan, sites: &[Site]) -> Vec<Remaining> {
    let rings = plan.by_ring();
    let of_ring =
        rings.iter().enumerate().flat_map(|(ring, (_, tenants))| tenants.iter().map(move |it| (ring, it)));
    let sites: BTreeMap<_, &Site> = sites.iter().map(|site| (&site.tenant, site)).collect();
    let left = of_ring.filter_map(|(ring, tenant)| {
        let site = sites.get(&tenant.id)?;
        let is_open = matches!(site.state, State::Planned | State::Restoring | State::Failed);
        let steps = site.steps.iter().filter(|(_, state)| !matches!(state, StepState::Done { .. }));
        let step = |name: &str| {
            let part = tenant.shards.iter().find(|part| part.shard.as_str() == name);
            (name.to_owned(), part.map_or(0, |part| part.bytes()))
        };
        let steps = steps.map(|(name, _)| step(name)).collect();
        is_open.then(|| Remaining { tenant: tenant.id.clone(), ring, steps })
    });
    left.collect()
}
