//! The steps of a site in a plan, and where the sites stand, in words.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::format::count;
use super::table::table;
use super::text::plural;
use crate::plan::{Plan, TenantPlan};
use crate::workflow::{Graph, Site, Standing, State, StepState, Work};

/// What is done of each site, and in which order; nothing where a site is no more than its rows.
pub fn steps(plan: &Plan) -> String {
    let mut out = String::new();
    let Ok(graph) = plan.graph() else { return out };
    if !graph.is_plain() {
        let mut levels: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (level, step) in levels_of(&graph).into_iter().zip(graph.steps()) {
            levels.entry(level).or_default().push(match step.work {
                Work::Shard(_) => format!("shard '{}'", step.name),
                Work::Media(_) => format!("media '{}'", step.name),
                Work::Hook(_) => format!("hook '{}'", step.name),
                Work::Check(_) => format!("check '{}'", step.name),
            });
        }
        let _ = writeln!(out, "Each tenant, step by step:");
        let last = levels.len() + 1;
        for (place, steps) in levels.into_values().enumerate() {
            let _ = writeln!(out, "  {}. {}", place + 1, steps.join(", "));
        }
        if let (Some(gate), Some(root)) = (&plan.workflow.gate, &plan.root) {
            let _ = writeln!(
                out,
                "  {last}. its gate opens: column '{}' of its own row of table '{}', which is '{}' until then",
                gate.column, root.table, gate.restoring
            );
        }
    }
    for effect in &plan.workflow.side_effects {
        let _ = writeln!(out, "To look after, for each tenant: {effect}");
    }
    out
}

/// How many steps come before each.
fn levels_of(graph: &Graph<'_>) -> Vec<usize> {
    let mut levels: Vec<usize> = Vec::with_capacity(graph.steps().len());
    for step in graph.steps() {
        levels.push(step.after.iter().map(|before| levels[*before] + 1).max().unwrap_or_default());
    }
    levels
}

/// Where the tenants of a plan stand.
pub fn status(plan: &Plan, standing: &Standing) -> String {
    let rows = plan.tenants.iter().zip(&standing.sites).map(|(tenant, site)| {
        vec![
            tenant.id.to_string(),
            tenant.name.clone().unwrap_or_default(),
            state(tenant, site),
            count(tenant.rows()),
            site.opened_at.map(|at| format!("{at:.0}")).unwrap_or_default(),
        ]
    });
    let head = table(&["TENANT", "NAME", "STATE", "ROWS", "BACK AT"], &[3], rows.collect());
    let mut states: BTreeMap<State, usize> = BTreeMap::new();
    standing.sites.iter().for_each(|site| *states.entry(site.state).or_default() += 1);
    let states: Vec<String> =
        states.iter().map(|(state, tenants)| format!("{tenants} {}", state.name())).collect();
    let tenants = plan.tenants.len();
    format!("{head}\n\n{tenants} {}: {}", plural(tenants, "tenant"), states.join(", "))
}

/// The state, and how far it is on its way.
fn state(tenant: &TenantPlan, site: &Site) -> String {
    let failed = site.steps.iter().find(|(_, step)| matches!(step, StepState::Failed { .. }));
    match (site.state, failed) {
        (State::Failed, Some((step, _))) => format!("failed: {step}"),
        (State::Restoring, _) => {
            let is_nothing = |name: &str| {
                tenant.shards.iter().all(|part| part.shard.as_str() != name)
                    && matches!(site.step(name), Some(StepState::Done { result, .. }) if result == "no rows")
            };
            let steps = || site.steps.iter().filter(|(name, _)| !is_nothing(name));
            let done = steps().filter(|(_, step)| matches!(step, StepState::Done { .. })).count();
            format!("{done} of {} steps", steps().count())
        }
        (state, _) => state.name().to_owned(),
    }
}
