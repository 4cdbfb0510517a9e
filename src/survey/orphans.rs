//! Live rows that would become the tenant's only because rows come back: rows of others' making on ids that are used
//! again, or children that a deletion left behind. Where a validated foreign key says whose they are there can be none.

use super::standing::{Compared, Wanted, whose};
use crate::error::Result;
use crate::model::{Belongs, ForeignKey, OwnedTable, Owners, Table, TableName, tuple_name};
use crate::plan::conflict::Reason;
use crate::shard::{Question, Rows};

/// A hop by which rows of a table find their tenant, and which no foreign key enforces.
pub(super) struct Hop {
    child: TableName,
    owners: Owners,
    /// The hop as if it were a foreign key.
    key: ForeignKey,
}

/// The hops of all tables. Hops for rows of some kind, through arrays or between types that have to be cast are left
/// to the read-back.
pub(super) fn hops(tables: &[Table], involved: &[OwnedTable]) -> Vec<Hop> {
    let mut hops = Vec::new();
    // With several ways the row may be somebody else's, or was disputed: the read-back knows.
    let is_plain =
        |owned: &&OwnedTable| owned.owners.belongs == Belongs::ToOne && !owned.owners.may_disagree();
    for owned in involved.iter().filter(is_plain) {
        let name = &owned.table.name;
        let Some(live) = tables.iter().find(|table| table.name == *name) else { continue };
        for step in owned.owners.ways.iter().filter_map(|way| way.steps.first()) {
            let is_enforced = |key: &&ForeignKey| {
                key.validated
                    && key.parent == step.parent
                    && key.columns == step.columns
                    && key.parent_columns == step.parent_columns
            };
            let is_plain = step.when.is_none() && step.as_text.is_empty() && !step.each && !step.climb;
            if !is_plain || live.foreign_keys.iter().any(|key| is_enforced(&key)) {
                continue;
            }
            hops.push(Hop {
                child: name.clone(),
                owners: owned.owners.clone(),
                key: ForeignKey {
                    name: step.columns.join(", "),
                    columns: step.columns.clone(),
                    parent: step.parent.clone(),
                    parent_columns: step.parent_columns.clone(),
                    deferrable: false,
                    validated: false,
                    match_full: false,
                    follows: false,
                    operators: Vec::new(),
                },
            });
        }
    }
    hops
}

impl Compared<'_, '_> {
    /// Who points at rows that are not there, and come back.
    pub(super) async fn ask_for_orphans(&mut self, absent: &Wanted<'_>) -> Result<()> {
        let rows = Rows { owned: self.owned, tuples: &absent.tuples };
        for hop in self.of.hops.iter().filter(|hop| hop.key.parent == self.owned.table.name) {
            let Some(child) = self.of.tables.iter().find(|table| table.name == hop.child) else { continue };
            let question =
                Question::Referrers { child, owners: Some(&hop.owners), key: &hop.key, orphaned: true };
            for answer in self.of.shard.ask(&rows, &question).await? {
                let Some(live) = answer.live else { continue };
                let parent = absent.tuples.iter().nth(answer.row);
                let parent = parent.map(|tuple| tuple_name(&self.owned.table, tuple)).unwrap_or_default();
                let named =
                    || format!("{} {} at {parent}", tuple_name(child, &live.tuple), whose(&live.owners));
                self.tallies.add(Reason::Orphan { child: hop.child.clone() }, 1, named);
            }
        }
        Ok(())
    }
}
