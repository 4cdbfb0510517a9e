//! Tenancy: which tenant owns a row, decided row by row. One rule a table; what a rule cannot decide is reported,
//! never guessed.
//!
//! ```text
//! rules (reinstate.toml) ──► owners of a table: ways to a tenant column ──► SQL, in `database`
//! ```

mod compare;
mod doubts;
mod owners;
mod renamed;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TableName;

pub use doubts::{Between, Disputed, Doubts, Ties};
pub use owners::{AsText, Belongs, OwnedTable, OwnerPath, Owners, Step, TenancyError};

/// How the owner of a table's rows is found, row by row.
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
    Derived(Link),
    /// Several ways to the owner: those that are set must agree; where none is, the row is shared.
    Either {
        /// The ways, in the order in which they are tried.
        ways: Vec<Way>,
    },
    /// Nobody's by itself: each row belongs to all tenants whose rows point at it, and is restored where it is
    /// missing.
    Referenced {
        /// Who points at it.
        by: Vec<Reference>,
    },
    /// Reference data of all tenants: kept for checking, never written.
    Shared,
    /// Left out, for a reason.
    Excluded {
        /// Why nobody will miss it.
        reason: String,
    },
}

/// One of several ways to the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Way {
    /// The owner of the row that this row references.
    Derived(Link),
    /// A tenant column.
    Direct(TenantColumn),
}

/// A column that holds the tenant's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantColumn {
    /// Its name.
    pub column: String,
}

/// From a row to the row that it references; a foreign key, or what the application takes for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Referencing columns.
    pub columns: Vec<String>,
    /// Referenced table.
    pub parent: TableName,
    /// Referenced columns, in the same order.
    pub parent_columns: Vec<String>,
    /// The link holds only for rows of this kind (polymorphic references).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// The one referencing column is an array, each element of which references a row.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub each: bool,
}

/// A condition on a row: a column has a value, compared as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The column.
    pub column: String,
    /// Its value.
    pub equals: String,
}

/// Rows of another table that point at rows of this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The table that points here.
    pub table: TableName,
    /// Its referencing columns.
    pub columns: Vec<String>,
    /// The columns of this table that they reference.
    pub key: Vec<String>,
}

impl Link {
    /// A link without conditions.
    pub fn new(columns: Vec<String>, parent: TableName, parent_columns: Vec<String>) -> Self {
        Self { columns, parent, parent_columns, when: None, each: false }
    }
}

impl Rule {
    /// The rule's name as it stands in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Root { .. } => "root",
            Self::Direct { .. } => "direct",
            Self::Derived(_) => "derived",
            Self::Either { .. } => "either",
            Self::Referenced { .. } => "referenced",
            Self::Shared => "shared",
            Self::Excluded { .. } => "excluded",
        }
    }

    /// Whether a restore may write rows of this table.
    pub fn is_owned(&self) -> bool {
        !matches!(self, Self::Shared | Self::Excluded { .. })
    }
}

/// The rules of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenancy {
    /// Rule of each table.
    pub rules: BTreeMap<TableName, Rule>,
}

impl Tenancy {
    /// The root table of this shard, if it has one.
    pub fn root(&self) -> Option<(&TableName, &str, Option<&str>)> {
        self.rules.iter().find_map(|(table, rule)| match rule {
            Rule::Root { key, name } => Some((table, key.as_str(), name.as_deref())),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
