//! A repair: live rows of damaged, not deleted, tenants are made equal to the snapshot's. Another verb than a restore,
//! since it overwrites and, if asked to, deletes.
//!
//! ```text
//! snapshot's row:  absent ─► inserted     different ─► updated, by primary key     identical ─► left
//! extra live row:  left, and named in the plan, or deleted (`--delete-extra`)
//! ```
//!
//! Rows of a table without primary key cannot be updated: a changed one is an extra row and an absent one, so that
//! both decisions are one.

use serde::{Deserialize, Serialize};

use super::conflict::{Finding, Reason, Standing};
use super::{Constraints, ShardFindings};
use crate::model::{Fingerprint, Table, Trigger};

/// What kind of repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// Whether live rows of the tenant that the snapshot does not have are deleted.
    pub delete_extra: bool,
}

/// What a repair does to the live rows of a table of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repaired {
    /// Rows that get the snapshot's values.
    pub updated: u64,
    /// Rows that the snapshot does not have and that are deleted.
    pub deleted: Fingerprint,
    /// All live rows of the tenant before; any other ones stop the repair.
    pub before: Fingerprint,
}

impl Repair {
    /// Whether a tenant with such rows is not repaired.
    pub fn is_stopped_by(self, standing: &Standing, finding: &Finding) -> bool {
        match finding.reason {
            Reason::Identical | Reason::Different => false,
            Reason::Ghost => !self.delete_extra && !standing.is_keyed && standing.absent.rows > 0,
            Reason::Taken { .. } | Reason::NoParent { .. } | Reason::Unfit { .. } => true,
            Reason::Orphan { .. } => true,
            Reason::Fixed { .. } | Reason::Referenced { .. } => true,
            // As in a restore: only the whole list can tell.
            Reason::Awaits { .. } => false,
        }
    }

    /// What is done to the live rows.
    pub fn of(self, standing: &Standing) -> Repaired {
        Repaired {
            updated: standing.changed.rows,
            deleted: if self.delete_extra { standing.extra } else { Fingerprint::default() },
            before: standing.live,
        }
    }
}

/// Triggers that fire on what only repairs do.
pub(super) fn warnings(constraints: &Constraints, found: &ShardFindings, planned: &[Table]) -> Vec<String> {
    let replica = constraints.by_engine();
    let mut warnings = Vec::new();
    for table in planned {
        let tables = found.contents.values().flatten().filter(|rows| rows.table == table.name);
        let repaired: Vec<&Repaired> = tables.filter_map(|rows| rows.repaired()).collect();
        let updates = repaired.iter().any(|it| it.updated > 0);
        let deletes = repaired.iter().any(|it| it.deleted.rows > 0);
        let fires = |trigger: &&Trigger| updates && trigger.on_update || deletes && trigger.on_delete;
        let firing = table.triggers.iter().filter(fires).filter(|trigger| trigger.fires(replica));
        let names: Vec<&str> = firing.map(|trigger| trigger.name.as_str()).collect();
        if !names.is_empty() {
            warnings.push(format!(
                "triggers fire on update and delete of '{}': {}; one that changes values (updated_at) or writes elsewhere rolls its \
                 tenants back: disable it for the repair, or let the role turn triggers off (docs/privileges.md)",
                table.name,
                names.join(", ")
            ));
        }
    }
    warnings
}
