//! Questions to a live database about rows that need not be there: they travel along with the question, as a
//! relation of the server's own. So keys, expressions and checks mean to the plan exactly what they mean to the
//! server, and nothing is written.

use async_trait::async_trait;

use super::Shard;
use crate::error::{Error, Result};
use crate::model::wire::Tuples;
use crate::model::{ForeignKey, OwnedTable, Owners, QueueLink, Table, TableName, TenantId, UniqueKey};

/// Rows to ask about: in the shape of `owned.table`, at most one chunk of them.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Their table.
    pub owned: &'a OwnedTable,
    /// The rows, in wire form.
    pub tuples: &'a Tuples,
}

/// What to ask.
#[derive(Clone, Copy)]
pub enum Question<'a> {
    /// Live rows of the table that could not stand beside the row: they have the same key.
    Taken(&'a UniqueKey),
    /// Rows that point at nothing live. A reference with a NULL in it points at nothing and is none.
    NoParent {
        /// The key.
        key: &'a ForeignKey,
        /// Keeps the parents that are found from vanishing before the transaction ends (`FOR KEY SHARE`); for
        /// sessions.
        lock: bool,
    },
    /// Rows that reference, by a hop that their owner is found by, a row that is not live.
    Detached,
    /// Rows for which a condition is false: SQL over the table's columns, of the catalog or the configuration. NULL
    /// is not false, as in a CHECK.
    Fails(&'a [String]),
    /// Live rows that point at the row, whose table is the parent of `key`: one answer a pair.
    Referrers {
        /// Their table.
        child: &'a Table,
        /// The ways to their tenants, if tenants own any.
        owners: Option<&'a Owners>,
        /// The key.
        key: &'a ForeignKey,
        /// Only those that point at no live row, so that their parent is gone.
        orphaned: bool,
    },
    /// Rows that an entry of a deletion queue names: one answer an entry.
    Queued(&'a QueueLink),
}

/// A row that the question is answered with "yes" for; rows without an answer are not named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Position of the row among those asked about.
    pub row: usize,
    /// Which of several conditions; 0 otherwise.
    pub part: usize,
    /// The live row, for [`Question::Taken`] and [`Question::Referrers`].
    pub live: Option<LiveRow>,
}

/// A live row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRow {
    /// Its tenants; none for a shared or unowned row.
    pub owners: Vec<TenantId>,
    /// Its stored columns in wire form, in the order of its table.
    pub tuple: Vec<u8>,
}

/// Whoever can be asked: a shard, or a session, which sees its own transaction.
#[async_trait]
pub trait Ask: Send {
    /// The answers, in the order of the rows.
    async fn ask(&mut self, rows: &Rows<'_>, question: &Question<'_>) -> Result<Vec<Answer>>;
}

#[async_trait]
impl Ask for &dyn Shard {
    async fn ask(&mut self, rows: &Rows<'_>, question: &Question<'_>) -> Result<Vec<Answer>> {
        Shard::ask(*self, rows, question).await
    }
}

/// Where restored rows would point, nobody knows.
pub(super) fn unknown_default(table: &TableName, column: &str, key: &ForeignKey) -> Error {
    Error::undecided(format!(
        "unable to tell where rows of '{table}' would point by foreign key '{}': its column '{column}' is new, and its default is no constant",
        key.name
    ))
    .hint("declare a value for the column in [shards.NAME.drift] of the configuration")
}
