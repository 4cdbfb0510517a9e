//! Verification: what a shard holds against what the snapshot held. Judges, never writes.
//!
//! ```text
//! before commit    read-back fingerprints ─► before_commit() ─► Verdict       inside the tenant's transaction
//!                  write set              ─► check_write_set()
//! afterwards       snapshot rows, live rows ─► independent() ─► Verdict ─► certificate
//! ```
//!
//! A [`Verdict`] can only be made here. Replay commits with an equal one in its hands, unless it was told to put the
//! comparison off, and a report says "verified" only where there is one.

pub mod certificate;
mod differences;
mod independent;
mod write_set;

use serde::Serialize;

use crate::model::{Fingerprint, TableName};

pub use differences::{Difference, What};
pub use independent::{Expected, independent};
pub use write_set::check_write_set;

/// Which check a verdict comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    /// Read back inside the writing transaction.
    BeforeCommit,
    /// Read later by another connection and another way.
    Independent,
}

/// The comparison of one tenant's rows in one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    checked: Checked,
    tables: Vec<TableVerdict>,
}

/// The comparison of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableVerdict {
    /// The table.
    pub table: TableName,
    /// What the snapshot held, in the shape of the live table.
    pub expected: Fingerprint,
    /// What the shard holds.
    pub found: Fingerprint,
    /// Rows that differ, the first few by key (independent verification only).
    pub differences: Vec<Difference>,
    /// Rows that others point at too and have changed since, the first few by key: no difference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed_since: Vec<String>,
}

impl TableVerdict {
    /// Whether the table holds the snapshot's rows and no other ones of the tenant.
    pub fn is_equal(&self) -> bool {
        self.expected == self.found && self.differences.is_empty()
    }
}

impl Verdict {
    /// Which check this was.
    pub fn checked(&self) -> Checked {
        self.checked
    }

    /// Table by table.
    pub fn tables(&self) -> &[TableVerdict] {
        &self.tables
    }

    /// Whether every table is equal.
    pub fn is_equal(&self) -> bool {
        self.tables.iter().all(TableVerdict::is_equal)
    }

    /// Rows found in all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.found.rows).sum()
    }

    /// The fingerprint of all tables together.
    pub fn fingerprint(&self) -> Fingerprint {
        self.tables.iter().map(|table| table.found).sum()
    }
}

/// Judges what a session read back: (table, snapshot's fingerprint, fingerprint found).
pub fn before_commit(tables: Vec<(TableName, Fingerprint, Fingerprint)>) -> Verdict {
    let tables = tables
        .into_iter()
        .map(|(table, expected, found)| TableVerdict {
            table,
            expected,
            found,
            differences: Vec::new(),
            changed_since: Vec::new(),
        })
        .collect();
    Verdict { checked: Checked::BeforeCommit, tables }
}
