//! Which tenants can be restored, and which a person must look at first. A tenant that is blocked
//! blocks nobody else but those whose rows point at its own.

use std::collections::BTreeSet;

use super::conflict::{BlockedTenant, Finding, Obstacle, Policy, Reason, Standing};
use super::make::listed;
use super::rings::Waits;
use super::{Findings, ShardFindings, TenantPlan};
use crate::error::{Error, Result};
use crate::model::{TableName, TenantId};

/// Takes the blocked tenants out of the findings, and writes down what was decided for the tables of the others.
pub(super) fn settle(mut findings: Findings) -> (Findings, Vec<BlockedTenant>) {
    let mut blocked = Vec::new();
    for (id, name) in &findings.names {
        let of_shard = |found: &ShardFindings| {
            of(found, id, |standing, table| standing.obstacles(found.policies.of(table), found.repair))
        };
        let obstacles: Vec<Obstacle> = findings.shards.iter().flat_map(of_shard).collect();
        if !obstacles.is_empty() {
            blocked.push(BlockedTenant { id: id.clone(), name: name.clone(), obstacles });
        }
    }
    let waiting = waiting(&findings, &blocked);
    blocked.extend(waiting);
    for found in &mut findings.shards {
        let repair = found.repair;
        found.contents.retain(|id, _| blocked.iter().all(|tenant| tenant.id != *id));
        for (id, tables) in &mut found.contents {
            for rows in tables {
                let standing = found.standings.remove(&(id.clone(), rows.table.clone()));
                let policy = found.policies.of(&rows.table);
                rows.settled = standing.and_then(|standing| standing.settle(policy, repair));
            }
        }
    }
    (findings, blocked)
}

/// Which tenants each tenant waits for.
pub(super) fn waits(findings: &Findings) -> Waits {
    let mut waits = Waits::new();
    for ((id, _), standing) in findings.shards.iter().flat_map(|found| &found.standings) {
        for finding in standing.awaited() {
            if let Reason::Awaits { tenants, .. } = finding.reason {
                waits.entry(id.clone()).or_default().push(tenants);
            }
        }
    }
    waits
}

/// Some of the tenant's findings, with their places.
fn of(
    found: &ShardFindings,
    tenant: &TenantId,
    some: impl Fn(&Standing, &TableName) -> Vec<Finding>,
) -> Vec<Obstacle> {
    let of_tenant = found.standings.iter().filter(|((id, _), _)| id == tenant);
    of_tenant
        .flat_map(|((_, table), standing)| {
            let place = |finding| Obstacle { shard: found.name.clone(), table: table.clone(), finding };
            some(standing, table).into_iter().map(place)
        })
        .collect()
}

/// Tenants in whose way nothing is but each other, or a blocked one: rows of theirs point at rows that come back with
/// these only, and each tenant comes back by itself.
fn waiting(findings: &Findings, blocked: &[BlockedTenant]) -> Vec<BlockedTenant> {
    let mut waiting: Vec<BlockedTenant> = findings
        .names
        .iter()
        .filter(|(id, _)| blocked.iter().all(|tenant| tenant.id != **id))
        .map(|(id, name)| {
            let awaited =
                findings.shards.iter().flat_map(|found| of(found, id, |standing, _| standing.awaited()));
            BlockedTenant { id: id.clone(), name: name.clone(), obstacles: awaited.collect() }
        })
        .collect();
    let mut back: BTreeSet<&TenantId> = BTreeSet::new();
    loop {
        let is_next = |tenant: &BlockedTenant| {
            tenant.obstacles.iter().all(|obstacle| obstacle.finding.reason.is_met(&back))
        };
        let next: BTreeSet<TenantId> =
            waiting.iter().filter(|tenant| is_next(tenant)).map(|tenant| tenant.id.clone()).collect();
        if next.is_empty() {
            break;
        }
        waiting.retain(|tenant| !next.contains(&tenant.id));
        back.extend(findings.names.keys().filter(|id| next.contains(id)));
    }
    for tenant in &mut waiting {
        tenant.obstacles.retain(|obstacle| !obstacle.finding.reason.is_met(&back));
    }
    waiting
}

/// A plan must hold somebody.
pub(super) fn require_some(tenants: &[TenantPlan], blocked: &[BlockedTenant], repair: bool) -> Result<()> {
    if !tenants.is_empty() || blocked.is_empty() {
        return Ok(());
    }
    let conflicts: Vec<String> = blocked
        .iter()
        .flat_map(|tenant| {
            let obstacles = tenant.obstacles.iter();
            obstacles.map(move |obstacle| format!("tenant '{}': {obstacle}", tenant.label()))
        })
        .collect();
    let mut error = Error::undecided(format!("unable to plan: {}", listed(&conflicts, "conflict")));
    for hint in hints(blocked, repair) {
        error = error.hint(hint);
    }
    Err(error)
}

/// What a person can do about blocked tenants.
pub fn hints(blocked: &[BlockedTenant], repair: bool) -> Vec<&'static str> {
    let reasons =
        || blocked.iter().flat_map(|tenant| &tenant.obstacles).map(|obstacle| &obstacle.finding.reason);
    let mut hints = Vec::new();
    if repair {
        if reasons().any(|reason| matches!(reason, Reason::Ghost)) {
            hints.push("rows of a table without primary key cannot be updated: --delete-extra deletes those named above and inserts the snapshot's");
        }
    } else if reasons().any(|reason| matches!(reason, Reason::Identical | Reason::Different | Reason::Ghost))
    {
        hints.push("take these tenants off the list if they were not deleted or are back already (`reinstate diff` shows which are gone)");
        hints.push("to finish an interrupted restore, apply its own plan again: it repeats nothing");
        hints.push("where only a part was deleted: --on-conflict skip-identical, or keep-live, which leaves every live row as it is");
    }
    if reasons().any(|reason| matches!(reason, Reason::Fixed { .. })) {
        hints.push("delete the live rows named above by hand: they are inserted then, with the numbers that they had");
    }
    if reasons().any(|reason| matches!(reason, Reason::Orphan { .. })) {
        hints.push("rows that point at nothing were left behind by the deletion or made since: a person must decide whose they are");
    }
    if reasons().any(|reason| matches!(reason, Reason::Referenced { .. })) {
        hints.push("a row that others point at goes when these point elsewhere, or are gone; without --delete-extra extra rows stay");
    }
    if reasons().any(|reason| matches!(reason, Reason::Taken { .. })) {
        hints.push("a taken key is free again when the live row named above gets another value");
    }
    if reasons().any(|reason| matches!(reason, Reason::Unfit { .. })) {
        hints.push("bring the target to take these rows, restore from a snapshot taken since, or take the tenants off the list");
    }
    if reasons().any(|reason| matches!(reason, Reason::NoParent { .. })) {
        hints.push("bring the missing rows back first, or take out what points at them");
    }
    if reasons().any(|reason| matches!(reason, Reason::Awaits { .. })) {
        hints.push("tenants that point at each other's rows come back where the foreign key is NOT VALID and triggers are off; validate it afterwards");
    }
    hints
}

impl BlockedTenant {
    /// `id` or `id (name)`, for people.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({name})", self.id),
            None => self.id.to_string(),
        }
    }
}

impl Policy {
    /// Its name, as the command line and the configuration write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::SkipIdentical => "skip-identical",
            Self::KeepLive => "keep-live",
        }
    }

    /// The policy of this name, as the command line and the configuration write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "fail" => Ok(Self::Fail),
            "skip-identical" => Ok(Self::SkipIdentical),
            "keep-live" => Ok(Self::KeepLive),
            _ => Err("fail, skip-identical or keep-live".to_owned()),
        }
    }
}
