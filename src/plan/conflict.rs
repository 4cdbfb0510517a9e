//! What is live already: how a tenant's rows stand against the live ones, and what a policy makes of it. Pure.
//!
//! ```text
//! snapshot's row:  absent ─► inserted      identical ─┐
//!                                          different ─┴► policy: block the tenant, or leave the live row
//! live row:        of the tenant, not in the snapshot (a ghost) ─► policy
//!                  of anybody, with the same key (taken)        ─► blocks the tenant
//! no live row:     for a foreign key to point at                ─► blocks the tenant
//!                  unless another tenant of the list brings it  ─► that one comes first; each the other's: blocks both
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::repair::{Repair, Repaired};
use crate::model::{Fingerprint, ShardName, TableName, TenantId};

/// Rows that one line of text names; the plan file names more.
const SHOWN_MAX: usize = 3;

/// What to do where rows of a tenant are live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The tenant is not restored.
    #[default]
    Fail,
    /// Live rows that are equal to the snapshot's stay; anything else keeps the tenant from being restored.
    SkipIdentical,
    /// Live rows of the tenant stay as they are, whatever the snapshot says.
    KeepLive,
}

/// The policies of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Of every table without one of its own.
    pub all: Policy,
    /// Of single tables.
    pub tables: BTreeMap<TableName, Policy>,
}

impl Policies {
    /// The policy of a table.
    pub fn of(&self, table: &TableName) -> Policy {
        self.tables.get(table).copied().unwrap_or(self.all)
    }
}

/// How a tenant's rows of one table stand against the live ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Rows that are not live.
    pub absent: Fingerprint,
    /// Their bytes, in wire form.
    pub absent_bytes: u64,
    /// Rows that are live with the same values.
    pub identical: Fingerprint,
    /// Rows whose key is live with other values, as the snapshot has them.
    pub different: u64,
    /// The same rows, as the snapshot has them.
    pub changed: Fingerprint,
    /// Live rows of the tenant that the snapshot does not have.
    pub ghosts: u64,
    /// The same rows.
    pub extra: Fingerprint,
    /// Whether a primary key tells rows apart.
    pub is_keyed: bool,
    /// All live rows of the tenant.
    pub live: Fingerprint,
    /// Rows that stay erased (`--tombstones`), by their hashes.
    pub erased: Vec<RowHash>,
    /// What may stop the tenant.
    pub findings: Vec<Finding>,
    /// Entries of deletion queues about the absent rows, by queue.
    pub queued: BTreeMap<TableName, u64>,
}

/// Hash of a row's wire form, in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowHash(pub u128);

impl Serialize for RowHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for RowHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Rows that may stop a tenant, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The reason.
    pub reason: Reason,
    /// Rows.
    pub rows: u64,
    /// The first of them by name.
    pub named: Vec<String>,
}

/// Why a row may stop its tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reason {
    /// The row is live already.
    Identical,
    /// The row is live with other values.
    Different,
    /// A live row of the tenant that the snapshot does not have.
    Ghost,
    /// Another live row has the row's key.
    Taken {
        /// The primary key, unique key or exclusion constraint.
        key: String,
    },
    /// The row points at one that neither is live nor comes back with the tenant.
    NoParent {
        /// The foreign key.
        key: String,
        /// Where it points to.
        parent: TableName,
    },
    /// The row is live with another value in a column that no UPDATE can set.
    Fixed {
        /// The column.
        column: String,
    },
    /// A live row that stays as it is points at this one, which would go or get another key.
    Referenced {
        /// The foreign key.
        key: String,
        /// The table that has it.
        child: TableName,
    },
    /// A live row that points at this one, which is not there, would become the tenant's.
    Orphan {
        /// The table of the live row.
        child: TableName,
    },
    /// The live table does not take the row.
    Unfit {
        /// What it demands.
        what: String,
    },
    /// The row points at one that comes back with other tenants of the list, and only after one of them.
    Awaits {
        /// The foreign key.
        key: String,
        /// Where it points to.
        parent: TableName,
        /// Any of them brings the row that it points at.
        tenants: Vec<TenantId>,
    },
}

impl Reason {
    /// Whether a tenant with such rows is not restored.
    fn blocks(&self, policy: Policy) -> bool {
        match self {
            Self::Identical => policy == Policy::Fail,
            Self::Different | Self::Ghost => policy != Policy::KeepLive,
            Self::Taken { .. } | Self::NoParent { .. } | Self::Unfit { .. } | Self::Orphan { .. } => true,
            // Only repairs ask for these.
            Self::Fixed { .. } | Self::Referenced { .. } => true,
            // Whether these come back first, only the whole list can tell.
            Self::Awaits { .. } => false,
        }
    }

    /// Whether nothing is left to wait for once these tenants are back.
    pub(super) fn is_met(&self, back: &BTreeSet<&TenantId>) -> bool {
        match self {
            Self::Awaits { tenants, .. } => tenants.iter().any(|tenant| back.contains(tenant)),
            _ => true,
        }
    }
}

/// Why a tenant is not restored: rows of one table, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Obstacle {
    /// The shard.
    pub shard: ShardName,
    /// The table.
    pub table: TableName,
    /// The rows.
    pub finding: Finding,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, place) = (self.finding.rows, format!("'{}' of shard '{}'", self.table, self.shard));
        match &self.finding.reason {
            Reason::Identical => write!(f, "{rows} rows are live already in {place}")?,
            Reason::Different => write!(f, "{rows} rows are live with other values in {place}")?,
            Reason::Ghost => write!(f, "{rows} live rows in {place} are not in the snapshot")?,
            Reason::Unfit { what } => write!(f, "{rows} rows of {place} do not fit: {what}")?,
            Reason::Orphan { child } => write!(
                f,
                "{rows} live rows of '{child}' point at rows of {place} that are not there, and would become the tenant's"
            )?,
            Reason::Fixed { column } => write!(
                f,
                "{rows} rows are live in {place} with another value in column '{column}', which no UPDATE can set (GENERATED ALWAYS AS IDENTITY)"
            )?,
            Reason::Referenced { key, child } => write!(
                f,
                "{rows} live rows of '{child}' point ('{key}') at rows of {place} that would go or get another key, and stay"
            )?,
            Reason::Taken { key } => write!(f, "{rows} rows of {place} have a key ('{key}') that is taken")?,
            Reason::NoParent { key, parent } => write!(
                f,
                "{rows} rows of {place} point ('{key}') at rows of '{parent}' that are neither live nor come back"
            )?,
            Reason::Awaits { key, parent, tenants } => {
                let named: Vec<&str> = tenants.iter().take(SHOWN_MAX).map(TenantId::as_str).collect();
                let more = if tenants.len() > named.len() { ", …" } else { "" };
                let named = named.join(", ");
                write!(
                    f,
                    "{rows} rows of {place} point ('{key}') at rows of '{parent}' of tenant {named}{more}, which cannot come back before"
                )?;
            }
        }
        let named = &self.finding.named[..self.finding.named.len().min(SHOWN_MAX)];
        let more = rows.saturating_sub(named.len() as u64);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        write!(f, ": {}{more}", named.join("; "))
    }
}

/// A tenant of the list that the plan leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockedTenant {
    /// The tenant.
    pub id: TenantId,
    /// What people call it.
    pub name: Option<String>,
    /// Why.
    pub obstacles: Vec<Obstacle>,
}

/// What was decided for a table of a tenant of which not everything is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// The policy.
    pub policy: Policy,
    /// Rows that are live with the same values, and stay.
    pub identical: u64,
    /// Rows that are live with other values, and stay.
    pub different: u64,
    /// Live rows that the snapshot does not have, and stay.
    pub ghosts: u64,
    /// Rows that stay erased, by their hashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub erased: Vec<RowHash>,
    /// The rows that are inserted.
    pub inserted: Fingerprint,
    /// Their bytes, in wire form.
    pub bytes: u64,
    /// All rows that the tenant has afterwards.
    pub expected: Fingerprint,
    /// What a repair does to the live rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repaired: Option<Repaired>,
}

impl Standing {
    /// What keeps the tenant from being restored under `policy`, or from being repaired.
    pub fn obstacles(&self, policy: Policy, repair: Option<Repair>) -> Vec<Finding> {
        let is_obstacle = |finding: &&Finding| match repair {
            Some(repair) => repair.is_stopped_by(self, finding),
            None => finding.reason.blocks(policy),
        };
        self.findings.iter().filter(is_obstacle).cloned().collect()
    }

    /// What it waits for, whatever the policy.
    pub fn awaited(&self) -> Vec<Finding> {
        let is_awaited = |finding: &&Finding| matches!(finding.reason, Reason::Awaits { .. });
        self.findings.iter().filter(is_awaited).cloned().collect()
    }

    /// The decision for a tenant without obstacles; none is needed where every row is absent.
    pub fn settle(self, policy: Policy, repair: Option<Repair>) -> Option<Settled> {
        if self.live.rows == 0 && self.erased.is_empty() {
            return None;
        }
        let repaired = repair.map(|repair| repair.of(&self));
        let expected = match repaired {
            None => [self.live, self.absent].into_iter().sum(),
            Some(Repaired { deleted, .. }) => {
                let left = if deleted.rows > 0 { Fingerprint::default() } else { self.extra };
                [self.identical, self.changed, self.absent, left].into_iter().sum()
            }
        };
        let deleted = repaired.map_or(0, |repaired| repaired.deleted.rows);
        Some(Settled {
            policy,
            identical: self.identical.rows,
            different: if repaired.is_some() { 0 } else { self.different },
            ghosts: self.ghosts - deleted,
            erased: self.erased,
            inserted: self.absent,
            bytes: self.absent_bytes,
            expected,
            repaired,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: u64) -> Fingerprint {
        Fingerprint { rows, sum: u128::from(rows) * 7 }
    }

    #[test]
    fn a_policy_decides_what_blocks() {
        let taken = Reason::Taken { key: "host".into() };
        let parent = TableName::new("public", "labels");
        let awaited = Reason::Awaits { key: "fk".into(), parent, tenants: vec![TenantId::new("7")] };
        let orphan = Reason::NoParent { key: "fk".into(), parent: TableName::new("public", "labels") };
        let cases = [
            (Reason::Identical, [true, false, false]),
            (Reason::Different, [true, true, false]),
            (Reason::Ghost, [true, true, false]),
            (taken, [true; 3]),
            (orphan, [true; 3]),
            (Reason::Unfit { what: "check".into() }, [true; 3]),
            (awaited, [false; 3]),
        ];
        for (reason, blocks) in cases {
            let policies = [Policy::Fail, Policy::SkipIdentical, Policy::KeepLive];
            assert_eq!(policies.map(|policy| reason.blocks(policy)), blocks, "{reason:?}");
        }
    }

    #[test]
    fn what_stays_and_what_comes_add_up() {
        let standing = Standing { absent: rows(5), ..Standing::default() };
        assert_eq!(standing.settle(Policy::Fail, None), None, "nothing is live, nothing to decide");
        let standing = Standing {
            absent: rows(5),
            identical: rows(2),
            different: 1,
            ghosts: 1,
            live: rows(4),
            ..Standing::default()
        };
        let settled = standing.settle(Policy::KeepLive, None).expect("a decision");
        assert_eq!((settled.inserted, settled.expected), (rows(5), rows(9)));
    }

    #[test]
    fn a_repair_leaves_the_snapshots_rows_and_the_extra_ones_that_it_was_not_asked_to_delete() {
        let standing = Standing {
            absent: rows(5),
            identical: rows(2),
            different: 1,
            changed: rows(1),
            ghosts: 2,
            extra: rows(2),
            live: rows(5),
            is_keyed: true,
            ..Standing::default()
        };
        for (delete_extra, deleted, ghosts, expected) in [(false, 0, 2, 10), (true, 2, 0, 8)] {
            let settled = standing.clone().settle(Policy::Fail, Some(Repair { delete_extra }));
            let settled = settled.expect("a decision");
            let repaired = settled.repaired.expect("a repair");
            assert_eq!((repaired.updated, repaired.deleted, repaired.before), (1, rows(deleted), rows(5)));
            assert_eq!((settled.ghosts, settled.expected), (ghosts, rows(expected)));
        }
    }
}
