//! SEAM 1: where rows come from at a restore point. Read-only.
//!
//! ```text
//! describe()  what instant, which database, which tables
//! scan()      a bounded stream of record batches of one table
//! ```
//!
//! Contract of [`Source::scan`]: batches have [`crate::model::Table::arrow_schema`] (a live source adds
//! [`crate::model::HASH_COLUMN`]); the first column names the owner of each row. A source may return rows of more
//! tenants than asked, never fewer rows of those asked; `extract` filters. Every row of the restore point comes
//! exactly once. A projection keeps the tenant column and the named columns, in the table's order.
//! Dropping the stream stops the work behind it.
//!
//! Nothing here writes, and nothing here knows a shard.

pub mod live;
pub mod parquet;
pub mod snapshot_store;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::error::Result;
use crate::model::{DatabaseIdentity, Doubts, Table, TableName, TenantId};

/// A stream of record batches; bounded by [`crate::limits::QUEUE_BATCHES_MAX`].
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// What a source holds.
#[derive(Clone, Debug)]
pub struct Description {
    /// The restore point.
    pub taken_at: Timestamp,
    /// The database it was taken from.
    pub identity: DatabaseIdentity,
    /// `server_version` or SQLite's library version.
    pub server_version: String,
    /// WAL position near the instant, where the database has one.
    pub position: Option<String>,
    /// All user tables.
    pub tables: Vec<Table>,
}

/// Which rows of a table are wanted.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Only rows of these tenants; `None` for all rows, shared and unowned ones included.
    pub tenants: Option<Vec<TenantId>>,
    /// Only these columns; `None` for all.
    pub columns: Option<Vec<String>>,
}

/// Anything rows can be read from at a restore point.
#[async_trait]
pub trait Source: Send + Sync {
    /// What this source holds.
    fn describe(&self) -> &Description;

    /// Rows whose owners a person should look at; with `ties`, rows that point at other tenants' too. Only a live
    /// source can tell.
    async fn doubts(&self, _ties: bool) -> Result<Doubts> {
        Ok(Doubts::default())
    }

    /// Reads one table.
    async fn scan(&self, table: &TableName, scan: &Scan) -> Result<BatchStream>;

    /// Whether some rows of a table led to several tenants.
    fn has_disputed(&self, _table: &TableName) -> bool {
        true
    }

    /// Reads the rows of one table that no tenant owns; as in `scan`, others may come along.
    async fn scan_unowned(&self, table: &TableName) -> Result<BatchStream> {
        self.scan(table, &Scan::default()).await
    }
}
