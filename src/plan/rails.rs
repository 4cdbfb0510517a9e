//! The rails: what refuses a restore that nobody can have meant. Only this file makes an [`ApprovedPlan`].

use super::{Findings, Plan, Policy, Request, ShardFindings};
use crate::approval::{Approval, Evidence, Judged, Rules};
use crate::error::{Error, Result};
use crate::limits::TENANTS_MAX_DEFAULT;
use crate::model::TenantId;

/// A plan that passed the rails. Replay takes nothing else.
#[derive(Clone, Debug)]
pub struct ApprovedPlan {
    plan: Plan,
    approvals: Vec<Approval>,
}

impl ApprovedPlan {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Who approved it.
    pub fn approvals(&self) -> &[Approval] {
        &self.approvals
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

/// Checks that a plan for such a list could be approved: its author is known, and so are enough others. Needs no
/// facts, so it can refuse before anything is read.
pub fn check_approvable(request: &Request, rules: Option<&Rules>) -> Result<()> {
    let needed = rules.map_or(0, |rules| rules.required.count(request.tenants.len()));
    check_author(request.author.as_deref(), needed, rules, "plan")
}

/// Where approvals are needed, an author whom nobody knows could be anybody, also one of those who approve.
pub fn check_author(author: Option<&str>, needed: usize, rules: Option<&Rules>, verb: &str) -> Result<()> {
    let Some(rules) = rules.filter(|_| needed > 0) else { return Ok(()) };
    let unable = |what: String| Error::refused(format!("unable to {verb}: {what}"));
    let author = author.unwrap_or("nobody");
    if !rules.signers.knows(author) {
        return Err(unable(format!(
            "the author '{author}' is no principal of '{}', so that nobody could tell who else must approve",
            rules.file
        ))
        .hint("make the plan with --author PRINCIPAL, or set REINSTATE_USER"));
    }
    let others = rules.signers.people(Some(author));
    if others < needed {
        return Err(unable(format!(
            "it needs {}, but '{}' has the keys of {others} besides the author '{author}'",
            approvals(needed),
            rules.file
        ))
        .hint("add the keys of those who are to approve"));
    }
    Ok(())
}

/// Turns a plan into one that may be replayed: enough others approved it, and the operator has said how many tenants
/// it holds.
pub fn approve(plan: Plan, confirmed: Option<usize>, evidence: &Evidence) -> Result<ApprovedPlan> {
    check_kind(&plan, false)?;
    seal(plan, confirmed, evidence)
}

/// The same for a repair.
pub fn approve_repair(plan: Plan, confirmed: Option<usize>, evidence: &Evidence) -> Result<ApprovedPlan> {
    check_kind(&plan, true)?;
    seal(plan, confirmed, evidence)
}

fn seal(plan: Plan, confirmed: Option<usize>, evidence: &Evidence) -> Result<ApprovedPlan> {
    let approvals = check_approvals(&plan, evidence)?;
    check_count(&plan, confirmed, "apply")?;
    Ok(ApprovedPlan { plan, approvals })
}

/// A plan is for the configuration and the reinstate that it was made with: both decide what it does.
pub fn check_unchanged(plan: &Plan, config: &str) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    if plan.tool_version != version {
        return Err(Error::refused(format!(
            "unable to apply the plan: reinstate {} made it, this is {version}",
            plan.tool_version
        ))
        .hint("make the plan again, or apply it with the reinstate that made it"));
    }
    if plan.config != config {
        return Err(Error::refused(
            "unable to apply the plan: the configuration was changed after the dry run",
        )
        .hint("make the plan again; only URLs, approvals, store and audit log may change meanwhile"));
    }
    Ok(())
}

/// Refuses a list with a tenant of whom every row is live: who is on it by mistake is not left out in silence. Those of
/// whom a part is live are a person's to decide, one by one.
pub fn check_deleted(request: &Request, findings: &Findings) -> Result<()> {
    if request.repair.is_some() || request.on_conflict != Policy::Fail {
        return Ok(());
    }
    let live: Vec<&TenantId> = request.tenants.iter().filter(|id| is_live(findings, id)).collect();
    let Some(first) = live.first() else { return Ok(()) };
    let name = findings.names.get(first).cloned().flatten();
    let label = name.map_or_else(|| first.to_string(), |name| format!("{first} ({name})"));
    let others = match live.len() - 1 {
        0 => String::new(),
        1 => "; so is 1 more of the list".to_owned(),
        more => format!("; so are {more} more of the list"),
    };
    Err(Error::refused(format!("unable to plan: tenant '{label}' is not deleted, all its rows are live{others}"))
        .hint("a list with a tenant that is not deleted is refused whole; `reinstate diff -o FILE` lists who is gone")
        .hint("to finish an interrupted restore, apply its own plan again: it repeats nothing"))
}

/// Whether the tenant has rows in the snapshot, and each of them was found live.
fn is_live(findings: &Findings, tenant: &TenantId) -> bool {
    let tables = findings.shards.iter().flat_map(|found| {
        let rows = found.contents.get(tenant).into_iter().flatten().filter(|rows| rows.rows > 0);
        rows.map(move |rows| (rows.rows, found.standings.get(&(tenant.clone(), rows.table.clone()))))
    });
    let mut found_live = tables.map(|(rows, standing)| {
        standing.is_some_and(|standing| standing.identical.rows + standing.different == rows)
    });
    found_live.next().is_some_and(|first| first && found_live.all(|live| live))
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

/// Approvals that a plan needs: as many as when it was made, or as are needed now, whichever is more.
pub fn approvals_needed(plan: &Plan, rules: Option<&Rules>) -> usize {
    rules.map_or(0, |rules| rules.required.count(plan.tenants.len())).max(plan.approvals_min)
}

/// Checks that enough people other than its author approved a plan; who they are.
pub fn check_approvals(plan: &Plan, evidence: &Evidence) -> Result<Vec<Approval>> {
    let needed = approvals_needed(plan, evidence.rules);
    check_author(plan.author.as_deref(), needed, evidence.rules, "apply the plan")?;
    let author = plan.author.as_deref().unwrap_or_default();
    let judged = match evidence.rules {
        Some(rules) => rules.judge(&plan.hash, author, &evidence.signatures, evidence.now),
        None if needed == 0 => Judged::default(),
        None => {
            let needed = approvals(needed);
            return Err(Error::refused(format!(
                "unable to apply the plan: it needs {needed}, but the configuration has no [approvals]"
            ))
            .hint("bring back the [approvals] that the plan was made with"));
        }
    };
    if judged.approvals.len() >= needed {
        return Ok(judged.approvals);
    }
    Err(Error::refused(format!(
        "unable to apply the plan: it needs {} by others than its author '{author}', and has {}",
        approvals(needed),
        counted(&judged)
    ))
    .hint("to approve it: reinstate approve FILE --key KEY; an approval is for one plan and dies with it"))
}

/// `1, by 'ben'; not counted: 'anna' is the author of the plan`.
fn counted(judged: &Judged) -> String {
    let names: Vec<String> = judged.approvals.iter().map(|it| format!("'{}'", it.principal)).collect();
    let mut text = match names.len() {
        0 => "none".to_owned(),
        count => format!("{count}, by {}", names.join(" and ")),
    };
    let rejected = judged.rejected.iter();
    let rejected: Vec<String> =
        rejected.map(|it| format!("'{}' {}", it.principal.escape_debug(), it.why)).collect();
    if !rejected.is_empty() {
        text.push_str(&format!("; not counted: {}", rejected.join("; ")));
    }
    text
}

fn approvals(count: usize) -> String {
    format!("{count} {}", if count == 1 { "approval" } else { "approvals" })
}

/// Checks that the operator knows how many tenants it is about.
pub fn check_count(plan: &Plan, confirmed: Option<usize>, verb: &str) -> Result<()> {
    let count = plan.tenants.len();
    match confirmed {
        Some(said) if said == count => Ok(()),
        Some(said) => Err(Error::refused(format!(
            "unable to {verb} the plan: it holds {count} tenants, but {said} were confirmed"
        ))
        .hint("read the plan again; confirm with the number of tenants it shows")),
        None => {
            Err(Error::refused(format!("unable to {verb} the plan: its {count} tenants were not confirmed"))
                .hint(format!("add --confirm {count} where no terminal can ask")))
        }
    }
}
