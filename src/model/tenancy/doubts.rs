//! Rows about which a person should know: those that tenants dispute, and those that tie tenants together.

use serde::{Deserialize, Serialize};

use super::{Belongs, Owners, Rule, Tenancy};
use crate::model::{ForeignKey, Table, TableName, TenantId};

/// Rows of a table whose ways lead to different tenants: they have no owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disputed {
    /// The table.
    pub table: TableName,
    /// How many.
    pub rows: u64,
    /// The first of them by key.
    pub named: Vec<String>,
}

/// Rows of tenants that point, by one foreign key, at rows of other tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ties {
    /// The table.
    pub table: TableName,
    /// The foreign key.
    pub key: String,
    /// The table that it points at.
    pub parent: TableName,
    /// How many rows.
    pub rows: u64,
    /// Between whom; the strongest ties.
    pub between: Vec<Between>,
}

/// Rows of one tenant that point at rows of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// Whose rows they are.
    pub tenant: TenantId,
    /// Whose rows they point at.
    pub other: TenantId,
    /// How many.
    pub rows: u64,
}

/// All doubts about a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// By table.
    pub disputed: Vec<Disputed>,
    /// By foreign key.
    pub ties: Vec<Ties>,
}

impl Ties {
    /// What the operator should know who restores these tenants.
    pub fn lines<'a>(&'a self, tenants: &'a [TenantId]) -> impl Iterator<Item = String> + 'a {
        let concerned =
            |between: &&Between| tenants.contains(&between.tenant) || tenants.contains(&between.other);
        self.between.iter().filter(concerned).map(|Between { tenant, other, rows }| {
            let Self { table, key, parent, .. } = self;
            format!(
                "{rows} rows of tenant '{tenant}' in '{table}' pointed (by {key}) at rows of tenant '{other}' in '{parent}'"
            )
        })
    }
}

impl Tenancy {
    /// Foreign keys that may tie two tenants together: between tables whose rows have one owner, and not a way to it.
    pub fn keys_between_tenants<'a>(&self, tables: &'a [Table]) -> Vec<(&'a Table, &'a ForeignKey)> {
        let mut found = Vec::new();
        for table in tables {
            let Some(owners) = self.one_owner(&table.name, tables) else { continue };
            for key in &table.foreign_keys {
                let parent = self.one_owner(&key.parent, tables);
                if parent.is_some_and(|parent| !same_owner(&owners, key, &parent)) {
                    found.push((table, key));
                }
            }
        }
        found
    }

    fn one_owner(&self, name: &TableName, tables: &[Table]) -> Option<Owners> {
        if !self.rules.get(name).is_some_and(Rule::is_owned) {
            return None;
        }
        self.owners(name, tables).ok().flatten().filter(|owners| owners.belongs == Belongs::ToOne)
    }
}

/// Whether a foreign key leads to a row of the same tenant by its nature: it is a way to the owner, or it holds the
/// tenant's id.
fn same_owner(owners: &Owners, key: &ForeignKey, parent: &Owners) -> bool {
    let is_way = |step: &super::Step| step.parent == key.parent && step.columns == key.columns;
    if owners.ways.iter().any(|way| way.steps.first().is_some_and(is_way)) {
        return true;
    }
    let (Some(own), Some(theirs)) = (owners.only(), parent.only()) else { return false };
    let mut pairs = key.columns.iter().zip(&key.parent_columns);
    own.steps.is_empty()
        && theirs.steps.is_empty()
        && pairs.any(|(child, parent)| *child == own.column && *parent == theirs.column)
}
