//! Tenancy: which tenant owns a row. One rule a table; what a rule cannot decide is reported, never guessed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Table, TableName};

/// How the owner of a table's rows is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// The catalogue of tenants: one row a tenant.
    Root {
        /// The column that holds the tenant's id.
        key: String,
        /// The column that holds the tenant's human name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// A tenant column; where it is NULL the row is shared.
    Direct {
        /// The column that holds the tenant's id.
        column: String,
    },
    /// The owner of the row that this row references.
    Derived {
        /// Referencing columns.
        columns: Vec<String>,
        /// Referenced table.
        parent: TableName,
        /// Referenced columns, in the same order.
        parent_columns: Vec<String>,
    },
    /// Reference data of all tenants: kept for checking, never written.
    Shared,
    /// Left out, for a reason.
    Excluded {
        /// Why nobody will miss it.
        reason: String,
    },
}

impl Rule {
    /// The rule's name as it stands in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Root { .. } => "root",
            Self::Direct { .. } => "direct",
            Self::Derived { .. } => "derived",
            Self::Shared => "shared",
            Self::Excluded { .. } => "excluded",
        }
    }

    /// Whether a restore writes rows of this table.
    pub fn is_owned(&self) -> bool {
        matches!(self, Self::Root { .. } | Self::Direct { .. } | Self::Derived { .. })
    }
}

/// One hop from a table to the row it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Referencing columns of the table before.
    pub columns: Vec<String>,
    /// Referenced table.
    pub parent: TableName,
    /// Referenced columns.
    pub parent_columns: Vec<String>,
}

/// The way from a row to its tenant: hops, then the tenant column of the last table. No hop for root and direct
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

/// The rules of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenancy {
    /// Rule of each table.
    pub rules: BTreeMap<TableName, Rule>,
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
    #[error("table '{0}' derives its owner from itself")]
    Cycle(TableName),
    /// The two sides of a link differ in length.
    #[error("table '{0}' links a different number of columns on the two sides")]
    Uneven(TableName),
}

impl Tenancy {
    /// The root table of this shard, if it has one.
    pub fn root(&self) -> Option<(&TableName, &str, Option<&str>)> {
        self.rules.iter().find_map(|(table, rule)| match rule {
            Rule::Root { key, name } => Some((table, key.as_str(), name.as_deref())),
            _ => None,
        })
    }

    /// Checks every rule against the schema; the first thing wrong in each table.
    pub fn check(&self, tables: &[Table]) -> Vec<TenancyError> {
        let missing = self
            .rules
            .iter()
            .filter(|(name, rule)| {
                !matches!(rule, Rule::Excluded { .. }) && !tables.iter().any(|table| table.name == **name)
            })
            .map(|(name, _)| TenancyError::NoTable(name.clone()));
        let wrong = tables.iter().filter_map(|table| self.owner_path(&table.name, tables).err());
        missing.chain(wrong).collect()
    }

    /// How to get from a row of `name` to its tenant; `None` for shared and excluded tables.
    pub fn owner_path(&self, name: &TableName, tables: &[Table]) -> Result<Option<OwnerPath>, TenancyError> {
        let mut steps: Vec<Step> = Vec::new();
        let mut at = name.clone();
        loop {
            let rule = self.rules.get(&at).ok_or_else(|| TenancyError::Unclassified(at.clone()))?;
            let (column, step) = match rule {
                Rule::Root { key, .. } => (Some(key), None),
                Rule::Direct { column } => (Some(column), None),
                Rule::Derived { columns, parent, parent_columns } => (
                    None,
                    Some(Step {
                        columns: columns.clone(),
                        parent: parent.clone(),
                        parent_columns: parent_columns.clone(),
                    }),
                ),
                Rule::Shared | Rule::Excluded { .. } if steps.is_empty() => return Ok(None),
                Rule::Shared | Rule::Excluded { .. } => {
                    let table = steps.iter().rev().nth(1).map_or(name, |step| &step.parent).clone();
                    return Err(TenancyError::OwnerlessParent { table, parent: at, rule: rule.name() });
                }
            };
            let table = find(tables, &at)?;
            if let Some(column) = column {
                let found = require(table, column)?;
                return Ok(Some(OwnerPath {
                    steps,
                    column: column.clone(),
                    column_type: found.type_name.clone(),
                }));
            }
            let Some(step) = step else { return Err(TenancyError::Unclassified(at)) };
            if step.columns.is_empty() || step.columns.len() != step.parent_columns.len() {
                return Err(TenancyError::Uneven(at));
            }
            let parent = find(tables, &step.parent)?;
            for column in &step.columns {
                require(table, column)?;
            }
            for column in &step.parent_columns {
                require(parent, column)?;
            }
            if step.parent == *name || steps.iter().any(|seen| seen.parent == step.parent) {
                return Err(TenancyError::Cycle(name.clone()));
            }
            at = step.parent.clone();
            steps.push(step);
        }
    }
}

fn find<'a>(tables: &'a [Table], name: &TableName) -> Result<&'a Table, TenancyError> {
    tables.iter().find(|table| table.name == *name).ok_or_else(|| TenancyError::NoTable(name.clone()))
}

fn require<'a>(table: &'a Table, column: &str) -> Result<&'a super::Column, TenancyError> {
    table
        .column(column)
        .ok_or_else(|| TenancyError::NoColumn { table: table.name.clone(), column: column.to_owned() })
}

/// A table together with the way from its rows to their tenant: all that a session needs to write or read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnedTable {
    /// The table as the snapshot has it.
    pub table: Table,
    /// The way to the tenant.
    pub path: OwnerPath,
}
