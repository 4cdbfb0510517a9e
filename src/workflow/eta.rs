//! When the rest will be done, from what the steps of this run took.

use jiff::{SignedDuration, Timestamp};

use super::conduct::{Conductor, shard_of};
use crate::limits::ETA_TOLD_EVERY;
use crate::plan::TenantPlan;
use crate::plan::estimate::{Estimate, Remaining, Sample, Span, estimate as of_samples};

/// Estimates what is left but for the tenants that were tried.
pub(super) fn estimate(conductor: &Conductor<'_>) -> Estimate {
    let tried = conductor.tried.lock().map(|tried| tried.clone()).unwrap_or_default();
    let mut remaining = Vec::new();
    for (ring, (_, tenants)) in conductor.plan.by_ring().into_iter().enumerate() {
        let left = tenants
            .iter()
            .filter(|tenant| !tried.contains(&tenant.id) && !conductor.control.is_skipped(&tenant.id));
        remaining.extend(left.map(|tenant| Remaining {
            tenant: tenant.id.clone(),
            ring,
            steps: steps(conductor, tenant),
        }));
    }
    let samples = conductor.samples.lock().map(|samples| samples.clone()).unwrap_or_default();
    of_samples(&samples, &remaining, conductor.jobs)
}

/// Says every now and then how long the rest will take, for ever.
pub(super) async fn keep_telling(conductor: &Conductor<'_>) {
    loop {
        tokio::time::sleep(ETA_TOLD_EVERY).await;
        let estimate = estimate(conductor);
        if estimate.tenants_known > 0 && !estimate.tenants.is_empty() {
            let (left, words) = (estimate.tenants.len(), words(&estimate.overall));
            conductor
                .progress
                .note(&format!("{left} of {} tenants are left: {words}", conductor.plan.tenants.len()));
        }
    }
}

fn steps(conductor: &Conductor<'_>, tenant: &TenantPlan) -> Vec<(String, u64)> {
    let steps = conductor.graph.steps().iter().filter_map(|step| {
        let bytes = match shard_of(&step.work) {
            Some(shard) => tenant.shards.iter().find(|part| part.shard == *shard)?.bytes(),
            None => 0,
        };
        Some((step.name.to_owned(), bytes))
    });
    steps.collect()
}

/// Keeps what a step took.
pub(super) fn took(
    conductor: &Conductor<'_>,
    tenant: &TenantPlan,
    step: &str,
    bytes: u64,
    began_at: Timestamp,
) {
    let (tenant, step, ended_at) = (tenant.id.clone(), step.to_owned(), Timestamp::now());
    if let Ok(mut samples) = conductor.samples.lock() {
        samples.push(Sample { tenant, step, bytes, began_at, ended_at });
    }
}

/// `the rest takes about 4 min 10 s (3 min 2 s to 5 min 40 s)`.
pub(super) fn words(span: &Span) -> String {
    let shown = |ms: u64| {
        let seconds = i64::try_from(ms.div_ceil(1000)).unwrap_or(i64::MAX);
        let text = format!("{:#}", SignedDuration::from_secs(seconds));
        if text.is_empty() { "0s".to_owned() } else { text }
    };
    let (low, high) = (shown(span.low_ms), shown(span.high_ms));
    format!("the rest takes about {} ({low} to {high})", shown(span.expected_ms))
}
