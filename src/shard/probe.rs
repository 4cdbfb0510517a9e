//! What `init` asks a shard beside its catalog: how large its tables are, which values a column holds, whether a
//! supposed reference resolves, and whether rows without an owner are below one that has one. Every answer is bounded
//! in rows and time, and may be missing.

use std::collections::BTreeMap;

use crate::model::{Link, TableName};

/// What a database tells about its tables at no cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Rows: counted up to [`crate::limits::ROWS_COUNTED_MAX`], or estimated by the server.
    pub rows: BTreeMap<TableName, u64>,
    /// Tables that inherit from others, and from which.
    pub inherits: BTreeMap<TableName, Vec<TableName>>,
}

/// A supposed reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The table that is supposed to reference.
    pub table: TableName,
    /// What it is supposed to reference.
    pub link: Link,
}

/// Values of a column that are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The table.
    pub table: TableName,
    /// Its column.
    pub column: String,
    /// Distinct values at the most; the answer has one more where there are more.
    pub values_max: usize,
}

/// How often a supposed reference leads to a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Rows that reference something, or distinct values where the other table is in another shard.
    pub rows: u64,
    /// Those that lead to a row of the parent.
    pub found: u64,
}

/// A table whose rows reference others of it, and may have their owner from above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The table.
    pub table: TableName,
    /// From a row to the one above it.
    pub link: Link,
    /// Columns that lead a row to its owner by itself: several ways, each of all its columns.
    pub own: Vec<Vec<String>>,
    /// The one of them that holds the tenant's id.
    pub tenant: Option<String>,
}

/// What the rows of a tree say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Climbs {
    /// Rows that were looked at.
    pub rows: u64,
    /// Those that have no way to an owner of their own, but a row above them.
    pub below: u64,
    /// Those of them that are below a row that has one.
    pub reach: u64,
    /// Rows that hold another tenant's id than the row above them.
    pub apart: u64,
}

impl Hits {
    /// Share of the references that resolve; `None` where there are none.
    pub fn rate(&self) -> Option<f64> {
        // Sampled rows are few enough to be exact as floating point.
        (self.rows > 0).then(|| self.found as f64 / self.rows as f64)
    }
}
