//! From rules to ways: how to get from a row of a table to its tenant.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Link, Rule, Tenancy, Way, When, compare};
use crate::limits::OWNER_WAYS_MAX;
use crate::model::{Column, Table, TableName};

/// One hop of a way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Columns of the table before.
    pub columns: Vec<String>,
    /// The table that the hop leads to.
    pub parent: TableName,
    /// Its columns, in the same order.
    pub parent_columns: Vec<String>,
    /// Only rows of the table before for which this holds have the hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// The one column of the table before is an array, each element of which leads to a row.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub each: bool,
    /// Those of `columns` whose type has no operator for the other side's: both are compared as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub as_text: Vec<AsText>,
    /// The hop leads from a referenced row down to the rows that point at it, of which there may be many.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub many: bool,
    /// The hop stays in its table and may be taken again and again: it leads to the referenced row and to all above it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub climb: bool,
}

/// A referencing column that is compared with the other side as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsText {
    /// The referencing column.
    pub column: String,
    /// Its type, in the database's own spelling.
    pub from: String,
    /// The type of the column that it references.
    pub to: String,
}

impl Step {
    /// How a referencing column is compared, unless as it is.
    pub fn as_text(&self, column: &str) -> Option<&AsText> {
        self.as_text.iter().find(|pair| pair.column == column)
    }
}

/// One way from a row to its tenant: hops, then the tenant column of the last table. No hop for root and direct
/// tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerPath {
    /// Hops, from the table upwards.
    pub steps: Vec<Step>,
    /// Tenant column of the last table.
    pub column: String,
    /// The column's type, in the database's own spelling.
    pub column_type: String,
}

/// How the ways of a table decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Belongs {
    /// A row has one owner: the ways that are set lead to one tenant, or the row is disputed and has none.
    ToOne,
    /// A row belongs to every tenant that any way leads to; it is restored where it is missing.
    ToReferrers,
    /// As the row it hangs from, which belongs to its referrers: restored together with that row.
    WithParent,
}

/// All ways from a row of a table to its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owners {
    /// The ways, at least one.
    pub ways: Vec<OwnerPath>,
    /// How they decide.
    pub belongs: Belongs,
}

/// A table together with the ways from its rows to their tenant: all that a session needs to write or read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnedTable {
    /// The table as the snapshot has it.
    pub table: Table,
    /// The ways to the tenant.
    pub owners: Owners,
}

/// A rule that cannot be followed in the schema at hand.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenancyError {
    /// The table has no rule.
    #[error("table '{0}' has no rule")]
    Unclassified(TableName),
    /// A rule names a table that the database does not have.
    #[error("table '{0}' does not exist")]
    NoTable(TableName),
    /// A rule names a column that the table does not have.
    #[error("table '{table}' has no column '{column}'")]
    NoColumn {
        /// Table.
        table: TableName,
        /// Column.
        column: String,
    },
    /// The owner is derived from a table that no tenant owns.
    #[error("table '{table}' derives its owner from '{parent}', whose rule is '{rule}'")]
    OwnerlessParent {
        /// Table.
        table: TableName,
        /// Referenced table.
        parent: TableName,
        /// Rule of the referenced table.
        rule: &'static str,
    },
    /// The rules lead back to where they started.
    #[error("table '{0}' derives its owner from itself{way}", way = by_way_of(.1))]
    Cycle(TableName, Vec<TableName>),
    /// A tree has one reference to the row above.
    #[error(
        "table '{0}' derives its owner by several references to itself: only one can be followed upwards"
    )]
    SeveralTrees(TableName),
    /// A reference to the own table that cannot be climbed.
    #[error(
        "table '{0}' derives its owner by an array of references to itself, or as a tree of referenced rows"
    )]
    NoTree(TableName),
    /// The two sides of a link differ in length.
    #[error("table '{0}' links a different number of columns on the two sides")]
    Uneven(TableName),
    /// A rule with nothing to follow.
    #[error("the rule of table '{0}' names no way to an owner")]
    NoWay(TableName),
    /// Some ways lead to one owner, others to referenced rows of many.
    #[error(
        "table '{0}' derives its owner from rows of one tenant and from referenced rows: only one can be meant"
    )]
    Mixed(TableName),
    /// More ways than anybody can follow.
    #[error("table '{0}' has more than {OWNER_WAYS_MAX} ways to an owner")]
    TooManyWays(TableName),
}

fn by_way_of(tables: &[TableName]) -> String {
    let names: Vec<String> = tables.iter().map(|table| format!("'{table}'")).collect();
    if names.is_empty() { String::new() } else { format!(" by way of {}", names.join(", ")) }
}

impl Step {
    /// Whether several rows may answer for one: the elements of an array, the rows up a tree.
    pub fn forks(&self) -> bool {
        self.each || self.climb
    }
}

impl Owners {
    /// The only way of a row that has one owner at most; `None` if there are more or the row may have many.
    pub fn only(&self) -> Option<&OwnerPath> {
        match (self.belongs, self.ways.as_slice()) {
            (Belongs::ToOne, [way]) => Some(way),
            _ => None,
        }
    }

    /// Whether a row can lead to several tenants where it may have one only.
    pub fn may_disagree(&self) -> bool {
        let forks = |way: &OwnerPath| way.steps.iter().any(Step::forks);
        self.belongs == Belongs::ToOne && (self.ways.len() > 1 || self.ways.iter().any(forks))
    }
}

impl Tenancy {
    /// Checks every rule against the schema; the first thing wrong in each table.
    pub fn check(&self, tables: &[Table]) -> Vec<TenancyError> {
        let known = by_name(tables);
        let missing = self
            .rules
            .iter()
            .filter(|(name, rule)| !matches!(rule, Rule::Excluded { .. }) && !known.contains_key(name))
            .map(|(name, _)| TenancyError::NoTable(name.clone()));
        let wrong = tables.iter().filter_map(|table| self.owners_in(&table.name, &known).err());
        missing.chain(wrong).collect()
    }

    /// How to get from a row of `name` to its tenants; `None` for shared and excluded tables.
    pub fn owners(&self, name: &TableName, tables: &[Table]) -> Result<Option<Owners>, TenancyError> {
        self.owners_in(name, &by_name(tables))
    }

    /// [`Tenancy::owners`] of every table, for as much as the same of one.
    pub fn owners_of_all<'t>(
        &self,
        tables: &'t [Table],
    ) -> Vec<(&'t TableName, Result<Option<Owners>, TenancyError>)> {
        let known = by_name(tables);
        tables.iter().map(|table| (&table.name, self.owners_in(&table.name, &known))).collect()
    }

    fn owners_in(&self, name: &TableName, tables: &Tables) -> Result<Option<Owners>, TenancyError> {
        match self.rules.get(name) {
            None => Err(TenancyError::Unclassified(name.clone())),
            Some(Rule::Shared | Rule::Excluded { .. }) => Ok(None),
            Some(_) => self.follow(name, tables, &mut Vec::new()).map(Some),
        }
    }

    /// `trail`: the tables between the one that was asked for and this one.
    fn follow<'a>(
        &'a self,
        name: &'a TableName,
        tables: &Tables,
        trail: &mut Vec<&'a TableName>,
    ) -> Result<Owners, TenancyError> {
        if let Some(at) = trail.iter().position(|before| *before == name) {
            let between = trail[at + 1..].iter().map(|&table| table.clone()).collect();
            return Err(TenancyError::Cycle(name.clone(), between));
        }
        let table = find(tables, name)?;
        trail.push(name);
        let rule = self.rules.get(name).ok_or_else(|| TenancyError::Unclassified(name.clone()))?;
        let owners = match rule {
            Rule::Root { key: column, .. } | Rule::Direct { column } => here(table, column)?,
            Rule::Derived(link) => self.up(table, link, tables, trail)?,
            Rule::Either { ways } => {
                let above = |way: &&Way| matches!(way, Way::Derived(link) if link.parent == *name);
                let each = ways.iter().filter(|way| !above(way)).map(|way| match way {
                    Way::Direct(tenant) => here(table, &tenant.column),
                    Way::Derived(link) => self.up(table, link, tables, trail),
                });
                let trees = ways.iter().filter(above).filter_map(|way| match way {
                    Way::Derived(link) => Some(link),
                    Way::Direct(_) => None,
                });
                match (trees.collect::<Vec<_>>().as_slice(), ways.len()) {
                    ([], _) => join(name, each)?,
                    ([_], 1) => return Err(TenancyError::Cycle(name.clone(), vec![])),
                    ([link], _) => climbing(table, link, join(name, each)?)?,
                    _ => return Err(TenancyError::SeveralTrees(name.clone())),
                }
            }
            Rule::Referenced { by } => {
                let each = by.iter().map(|reference| {
                    let link =
                        Link::new(reference.key.clone(), reference.table.clone(), reference.columns.clone());
                    let step = Step { many: true, ..step(table, &link, find(tables, &reference.table)?)? };
                    let owners = self.hop(step, &reference.table, tables, trail)?;
                    Ok(Owners { belongs: Belongs::ToReferrers, ..owners })
                });
                join(name, each)?
            }
            Rule::Shared | Rule::Excluded { .. } => {
                let table = trail.iter().rev().nth(1).copied().unwrap_or(name).clone();
                return Err(TenancyError::OwnerlessParent { table, parent: name.clone(), rule: rule.name() });
            }
        };
        trail.pop();
        Ok(owners)
    }

    fn up<'a>(
        &'a self,
        table: &Table,
        link: &'a Link,
        tables: &Tables,
        trail: &mut Vec<&'a TableName>,
    ) -> Result<Owners, TenancyError> {
        let step = step(table, link, find(tables, &link.parent)?)?;
        let owners = self.hop(step, &link.parent, tables, trail)?;
        let belongs = match owners.belongs {
            Belongs::ToOne => Belongs::ToOne,
            Belongs::ToReferrers | Belongs::WithParent => Belongs::WithParent,
        };
        Ok(Owners { belongs, ..owners })
    }

    /// The ways of the table that a step leads to, with the step before each.
    fn hop<'a>(
        &'a self,
        step: Step,
        to: &'a TableName,
        tables: &Tables,
        trail: &mut Vec<&'a TableName>,
    ) -> Result<Owners, TenancyError> {
        let mut owners = self.follow(to, tables, trail)?;
        owners.ways.iter_mut().for_each(|way| way.steps.insert(0, step.clone()));
        Ok(owners)
    }
}

/// A link as a hop, after a look at its columns.
fn step(table: &Table, link: &Link, parent: &Table) -> Result<Step, TenancyError> {
    let Link { columns, parent_columns, when, each, .. } = link;
    if columns.is_empty() || columns.len() != parent_columns.len() || (*each && columns.len() != 1) {
        return Err(TenancyError::Uneven(table.name.clone()));
    }
    if let Some(when) = when {
        require(table, &when.column)?;
    }
    let mut as_text = Vec::new();
    for (column, parent_column) in columns.iter().zip(parent_columns) {
        let (child, parent) = (require(table, column)?, require(parent, parent_column)?);
        if !compare::fit(child, parent, *each) {
            let (from, to) = (child.type_name.clone(), parent.type_name.clone());
            as_text.push(AsText { column: column.clone(), from, to });
        }
    }
    Ok(Step {
        columns: columns.clone(),
        parent: link.parent.clone(),
        parent_columns: parent_columns.clone(),
        when: when.clone(),
        each: *each,
        as_text,
        many: false,
        climb: false,
    })
}

/// The ways of a row itself, and those of all rows above it in its tree.
fn climbing(table: &Table, link: &Link, mut owners: Owners) -> Result<Owners, TenancyError> {
    if link.each || owners.belongs != Belongs::ToOne {
        return Err(TenancyError::NoTree(table.name.clone()));
    }
    let step = Step { climb: true, ..step(table, link, table)? };
    owners.ways.extend(owners.ways.clone().into_iter().map(|mut way| {
        way.steps.insert(0, step.clone());
        way
    }));
    if owners.ways.len() > OWNER_WAYS_MAX {
        return Err(TenancyError::TooManyWays(table.name.clone()));
    }
    Ok(owners)
}

/// The tenant is in the row itself.
fn here(table: &Table, column: &str) -> Result<Owners, TenancyError> {
    let column_type = require(table, column)?.type_name.clone();
    let way = OwnerPath { steps: vec![], column: column.to_owned(), column_type };
    Ok(Owners { ways: vec![way], belongs: Belongs::ToOne })
}

/// All of several ways; they must decide in the same manner.
fn join(
    name: &TableName,
    each: impl Iterator<Item = Result<Owners, TenancyError>>,
) -> Result<Owners, TenancyError> {
    let mut joined: Option<Owners> = None;
    for owners in each {
        let owners = owners?;
        match &mut joined {
            None => joined = Some(owners),
            Some(joined) if joined.belongs != owners.belongs => {
                return Err(TenancyError::Mixed(name.clone()));
            }
            Some(joined) => joined.ways.extend(owners.ways),
        }
        if joined.as_ref().is_some_and(|joined| joined.ways.len() > OWNER_WAYS_MAX) {
            return Err(TenancyError::TooManyWays(name.clone()));
        }
    }
    joined.ok_or_else(|| TenancyError::NoWay(name.clone()))
}

/// Tables by name: a rule is followed from table to table.
type Tables<'t> = HashMap<&'t TableName, &'t Table>;

fn by_name(tables: &[Table]) -> Tables<'_> {
    tables.iter().map(|table| (&table.name, table)).collect()
}

fn find<'t>(tables: &Tables<'t>, name: &TableName) -> Result<&'t Table, TenancyError> {
    tables.get(name).copied().ok_or_else(|| TenancyError::NoTable(name.clone()))
}

fn require<'a>(table: &'a Table, column: &str) -> Result<&'a Column, TenancyError> {
    table
        .column(column)
        .ok_or_else(|| TenancyError::NoColumn { table: table.name.clone(), column: column.to_owned() })
}
