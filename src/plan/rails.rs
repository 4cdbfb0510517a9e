//! The rails: what refuses a restore that nobody can have meant. Only this file makes an [`ApprovedPlan`].

use super::{Findings, Plan, Request, ShardFindings};
use crate::error::{Error, Result};
use crate::limits::TENANTS_MAX_DEFAULT;

/// A plan that passed the rails. Replay takes nothing else.
#[derive(Clone, Debug)]
pub struct ApprovedPlan(Plan);

impl ApprovedPlan {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.0
    }
}

/// Checks the list: not empty, within the cap, and every id a tenant of the snapshot. One wrong id refuses the
/// whole list: in 2022 ids of another kind were deleted because nobody compared.
pub fn check_list(request: &Request, findings: &Findings) -> Result<()> {
    check_cap(request)?;
    let unknown: Vec<_> = request.tenants.iter().filter(|id| !findings.names.contains_key(id)).collect();
    let Some(first) = unknown.first() else { return Ok(()) };
    let root = findings.shards.iter().find(|shard| shard.name == findings.root_shard);
    let snapshot = root.map(|shard| shard.snapshot.to_string()).unwrap_or_default();
    let mut message = format!("unable to plan: '{first}' is not a tenant of snapshot '{snapshot}'");
    if let Some(places) = findings.other_kinds.get(first) {
        message.push_str(&format!(", it is an id of {}", places.join(" and ")));
    }
    if unknown.len() > 1 {
        message.push_str(&format!("; {} more ids of the list are no tenants either", unknown.len() - 1));
    }
    let hint = if findings.other_kinds.contains_key(first) {
        "the list mixes kinds of ids; list tenant ids only"
    } else {
        "check the id, or name a snapshot from before the deletion with --at or --snapshot"
    };
    Err(Error::refused(message).hint(hint))
}

/// Checks the number of tenants alone; needs no facts, so it can refuse before anything is read.
pub fn check_cap(request: &Request) -> Result<()> {
    let count = request.tenants.len();
    if count == 0 {
        return Err(Error::refused("unable to plan: the tenant list is empty")
            .hint("give one tenant id a line; `reinstate diff -o FILE` lists the tenants that are gone"));
    }
    if request.tenants_max > TENANTS_MAX_DEFAULT
        && request.reason.as_deref().is_none_or(|text| text.trim().is_empty())
    {
        return Err(Error::refused(format!(
            "unable to raise --max-tenants above {TENANTS_MAX_DEFAULT} without a reason"
        ))
        .hint("add --reason TEXT; it is kept in the plan"));
    }
    if count > request.tenants_max {
        return Err(Error::refused(format!(
            "unable to plan {count} tenants: the limit is {}",
            request.tenants_max
        ))
        .hint(format!(
            "if {count} is right, add --max-tenants {count} --reason TEXT; the reason is kept in the plan"
        )));
    }
    Ok(())
}

/// Checks that the live database is the one the snapshot came from.
pub fn check_target(request: &Request, found: &ShardFindings) -> Result<()> {
    if found.taken_from.is_same(&found.live) || request.into.contains(&found.name) {
        return Ok(());
    }
    Err(Error::refused(format!(
        "unable to plan for shard '{}': snapshot '{}' was taken from {}, but the target is {}",
        found.name, found.snapshot, found.taken_from, found.live
    ))
    .hint(format!("correct the shard's URL, or add --into {} if this other database is meant", found.name)))
}

/// Turns a plan into one that may be replayed: the operator must have said how many tenants it holds.
pub fn approve(plan: Plan, confirmed: Option<usize>) -> Result<ApprovedPlan> {
    check_kind(&plan, false)?;
    confirm(plan, confirmed)
}

/// The same for a repair.
pub fn approve_repair(plan: Plan, confirmed: Option<usize>) -> Result<ApprovedPlan> {
    check_kind(&plan, true)?;
    confirm(plan, confirmed)
}

/// A plan is for one verb: what overwrites is never run by the name of what only inserts.
pub fn check_kind(plan: &Plan, repair: bool) -> Result<()> {
    match (plan.repair.is_some(), repair) {
        (true, false) => Err(Error::refused(
            "unable to apply the plan: it is a repair, which overwrites live rows",
        )
        .hint("to repair: reinstate repair apply FILE; to restore, make a plan with `reinstate plan`")),
        (false, true) => Err(Error::refused("unable to repair: the plan is that of a restore")
            .hint("to restore: reinstate apply FILE; to repair, make a plan with `reinstate repair plan`")),
        _ => Ok(()),
    }
}

fn confirm(plan: Plan, confirmed: Option<usize>) -> Result<ApprovedPlan> {
    let count = plan.tenants.len();
    match confirmed {
        Some(said) if said == count => Ok(ApprovedPlan(plan)),
        Some(said) => Err(Error::refused(format!(
            "unable to apply the plan: it holds {count} tenants, but {said} were confirmed"
        ))
        .hint("read the plan again; confirm with the number of tenants it shows")),
        None => {
            Err(Error::refused(format!("unable to apply the plan: its {count} tenants were not confirmed"))
                .hint(format!("add --confirm {count} where no terminal can ask")))
        }
    }
}
