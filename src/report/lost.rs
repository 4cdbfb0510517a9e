//! The unrecoverable ledger: what did not come back, and why, in plain words.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::TenantId;
use crate::plan::{DISPUTED, Plan, TenantPlan};
use crate::workflow::{Event, Site, State, StepState, What};

/// Something that did not come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Whose it is; none where it concerns every tenant.
    pub tenant: Option<TenantId>,
    /// What, and why.
    pub what: String,
}

/// The ledger of a plan.
pub fn lost(plan: &Plan, sites: &[Site], events: &[Event]) -> Vec<Lost> {
    let mut all = of_all(plan);
    let sites: BTreeMap<&TenantId, &Site> = sites.iter().map(|site| (&site.tenant, site)).collect();
    for tenant in &plan.blocked {
        for obstacle in &tenant.obstacles {
            let what = format!("nothing of this tenant was restored, a person must decide: {obstacle}");
            all.push(Lost { tenant: Some(tenant.id.clone()), what });
        }
    }
    all.extend(events.iter().filter_map(waived));
    for tenant in &plan.tenants {
        let of = |what| Lost { tenant: Some(tenant.id.clone()), what };
        if let Some(site) = sites.get(&tenant.id) {
            all.extend(not_back(site).into_iter().map(of));
        }
        all.extend(decided(tenant).into_iter().map(of));
    }
    all
}

/// What every tenant lost.
fn of_all(plan: &Plan) -> Vec<Lost> {
    let mut all = Vec::new();
    for shard in &plan.shards {
        let (name, at) = (&shard.name, shard.taken_at);
        let mut add = |what: String| all.push(Lost { tenant: None, what });
        if plan.repair.is_none() {
            add(format!(
                "what was changed in shard '{name}' after {at} and before the deletion: no snapshot has it"
            ));
        } else {
            add(format!(
                "what was changed in shard '{name}' after {at}: the repair put the snapshot's rows in its place"
            ));
        }
        for (table, adaptation) in shard.adaptations.iter().filter(|(_, it)| !it.dropped.is_empty()) {
            let columns: Vec<String> =
                adaptation.dropped.iter().map(|column| format!("'{column}'")).collect();
            add(format!(
                "the values of {} of table '{table}' of shard '{name}', which the live table does not have any more: they are in Parquet files beside the plan",
                columns.join(", ")
            ));
        }
        // The only notes of a plan that tell of rows that nobody owns.
        for warning in shard.warnings.iter().filter(|warning| warning.contains(DISPUTED)) {
            add(format!("shard '{name}': {warning}"));
        }
    }
    all
}

/// What a person decided to do without.
fn waived(event: &Event) -> Option<Lost> {
    let What::StepWaived { step, note } = &event.what else { return None };
    let what =
        format!("what step '{step}' does or checks: {} decided to go on without it: {note}", event.who);
    Some(Lost { tenant: event.tenant.clone(), what })
}

/// Why a tenant is not back, if it is not.
fn not_back(site: &Site) -> Vec<String> {
    let failed = site.steps.iter().filter_map(|(step, state)| match state {
        StepState::Failed { problem, .. } => Some(format!("it is not back: step '{step}' failed: {problem}")),
        _ => None,
    });
    let mut all = Vec::new();
    match site.state {
        State::Open | State::Accepted | State::Reopened => {}
        State::Skipped => all.push("it is not back: a person took it out".into()),
        State::Planned => all.push("it is not back yet: its turn has not come".into()),
        State::Restoring | State::Failed => {
            let before = all.len();
            all.extend(failed);
            if all.len() == before {
                all.push("it is not back yet: some of its steps are open".into());
            }
        }
    }
    all
}

/// Rows that stay away by decision.
fn decided(tenant: &TenantPlan) -> Vec<String> {
    let tables = tenant.shards.iter().flat_map(|shard| shard.tables.iter().map(move |table| (shard, table)));
    let mut all = Vec::new();
    for (shard, table) in tables {
        let Some(settled) = &table.settled else { continue };
        let place = format!("'{}' of shard '{}'", table.table, shard.shard);
        if settled.different > 0 {
            all.push(format!(
                "{} rows of {place} as they were: they are live with other values, which stay ({})",
                settled.different,
                settled.policy.name()
            ));
        }
        if !settled.erased.is_empty() {
            all.push(format!(
                "{} rows of {place}: they were lawfully erased, and stay so",
                settled.erased.len()
            ));
        }
    }
    all
}
