//! What `init` asks a shard beside its catalog: how large its tables are, which values a column holds, and whether
//! a supposed reference resolves. Every answer is bounded in rows and time, and may be missing.

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

impl Hits {
    /// Share of the references that resolve; `None` where there are none.
    pub fn rate(&self) -> Option<f64> {
        // Sampled rows are few enough to be exact as floating point.
        (self.rows > 0).then(|| self.found as f64 / self.rows as f64)
    }
}
