//! Which tenants can be restored, and which a person must look at first. A tenant that is blocked blocks nobody else.

use super::conflict::{BlockedTenant, Obstacle, Policy, Reason};
use super::make::listed;
use super::{Findings, ShardFindings, TenantPlan};
use crate::error::{Error, Result};
use crate::model::TenantId;

/// Takes the blocked tenants out of the findings, and writes down what was decided for the tables of the others.
pub(super) fn settle(mut findings: Findings) -> (Findings, Vec<BlockedTenant>) {
    let mut blocked = Vec::new();
    for (id, name) in &findings.names {
        let obstacles: Vec<Obstacle> =
            findings.shards.iter().flat_map(|found| obstacles(found, id)).collect();
        if !obstacles.is_empty() {
            blocked.push(BlockedTenant { id: id.clone(), name: name.clone(), obstacles });
        }
    }
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

fn obstacles(found: &ShardFindings, tenant: &TenantId) -> Vec<Obstacle> {
    let of_tenant = found.standings.iter().filter(|((id, _), _)| id == tenant);
    of_tenant
        .flat_map(|((_, table), standing)| {
            let blocking = standing.obstacles(found.policies.of(table), found.repair);
            blocking.map(|finding| Obstacle {
                shard: found.name.clone(),
                table: table.clone(),
                finding: finding.clone(),
            })
        })
        .collect()
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
    if reasons().any(|reason| matches!(reason, Reason::Taken { .. })) {
        hints.push("a taken key is free again when the live row named above gets another value");
    }
    if reasons().any(|reason| matches!(reason, Reason::NoParent { .. })) {
        hints.push("bring the missing rows back first, or take out what points at them");
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
