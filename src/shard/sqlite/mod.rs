//! SQLite as a shard: a file that many tenants share.
//!
//! ```text
//! facts    the catalog                          read     SELECTs on connections of the pool, query_only
//! journal  the table reinstate_journal          session  one transaction on the one connection that writes
//! ```
//!
//! A SQLite file has one writer at a time. Within a command the sessions queue for the one writing
//! connection, for as long as it takes; against other processes [`Shard::begin`] competes for the file's
//! write lock and says [`Claim::Held`] when it does not get it. While a session is open the neighbours'
//! writers wait: sessions are to be short, and what a session writes is to be at hand before it begins.

mod ask;
mod check;
mod event;
mod facts;
mod gate;
mod journal;
mod pointing;
mod probe;
mod queue;
mod read;
mod repair;
mod session;
mod trial;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqlitePoolOptions};
use tokio::sync::Mutex;

use super::{
    Answer, Claim, Climbs, EventRecord, Facts, Hits, JournalEntry, Probe, Question, Rows, Shard, Statistics,
    Tree, Trial, Wanted,
};
use crate::database::sqlite::{Database, values};
use crate::error::Result;
use crate::limits::READER_WAIT;
use crate::model::{DatabaseUrl, ForeignKey, OwnedTable, PlanHash, ShardName, Table, TenantId, TypeKind};

/// The writing connection between two sessions; none before the first, and after one that was dropped.
type WriterSlot = Arc<Mutex<Option<SqliteConnection>>>;

struct SqliteShard {
    database: Database,
    readers: SqlitePool,
    writer: WriterSlot,
}

/// Opens the file and reads its first page.
pub async fn open(name: &ShardName, url: &DatabaseUrl, connections_max: usize) -> Result<Arc<dyn Shard>> {
    let database = Database::find(name, url)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(u32::try_from(connections_max.max(1)).unwrap_or(u32::MAX))
        .acquire_timeout(READER_WAIT)
        .test_before_acquire(false)
        .connect_lazy_with(database.reader_options());
    sqlx::query("SELECT count(*) FROM sqlite_schema")
        .execute(&readers)
        .await
        .map_err(|error| database.unable("open", error))?;
    Ok(Arc::new(SqliteShard { database, readers, writer: WriterSlot::default() }))
}

#[async_trait]
impl Shard for SqliteShard {
    async fn facts(&self) -> Result<Facts> {
        facts::read(self).await
    }

    async fn statistics(&self, tables: &[Table]) -> Result<Statistics> {
        probe::statistics(self, tables).await
    }

    async fn values(&self, wanted: &[Wanted]) -> Result<Vec<Option<Vec<String>>>> {
        probe::values(self, wanted).await
    }

    async fn probe(&self, probes: &[Probe], _tables: &[Table]) -> Result<Vec<Option<Hits>>> {
        probe::probe(self, probes).await
    }

    async fn climb(&self, trees: &[Tree], _tables: &[Table]) -> Result<Vec<Option<Climbs>>> {
        probe::climb(self, trees).await
    }

    async fn live_rows(&self, table: &OwnedTable, tenants: &[TenantId]) -> Result<BTreeMap<TenantId, u64>> {
        read::live_rows(self, table, tenants).await
    }

    async fn ask(&self, rows: &Rows<'_>, question: &Question<'_>) -> Result<Vec<Answer>> {
        let unable = |error| self.database.unable("open", error);
        let mut connection = self.readers.acquire().await.map_err(unable)?;
        ask::ask(&mut connection, rows, question).await
    }

    async fn pointing(&self, rows: &Rows<'_>, key: &ForeignKey, parents: &Rows<'_>) -> Result<Vec<usize>> {
        pointing::pointing(&self.database, rows, key, parents).await
    }

    async fn trial(&self) -> Result<Option<Box<dyn Trial>>> {
        Ok(Some(Box::new(trial::SqliteTrial::open(&self.database).await?)))
    }

    async fn read(
        &self,
        table: &OwnedTable,
        tenant: &TenantId,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        read::stream(self, table, tenant)
    }

    /// SQLite has no domains.
    async fn refused_values(&self, _: (&str, TypeKind), _: &str, _: &[Option<&[u8]>]) -> Result<Vec<usize>> {
        Ok(Vec::new())
    }

    /// SQLite prints nothing.
    async fn misread_values(&self, _: &str, _: &[Option<&[u8]>]) -> Result<Vec<usize>> {
        Ok(Vec::new())
    }

    async fn read_value(&self, type_name: &str, text: &str) -> Result<(TypeKind, Vec<u8>)> {
        Ok(values::preferred(type_name, text))
    }

    async fn prepare_journal(&self) -> Result<()> {
        journal::prepare(self).await
    }

    async fn journal(&self, plan: &PlanHash) -> Result<Vec<JournalEntry>> {
        journal::entries(self, plan).await
    }

    async fn begin(&self, plan: &PlanHash, tenant: &TenantId) -> Result<Claim> {
        session::begin(self, Some(plan), tenant).await
    }

    async fn begin_again(&self, tenant: &TenantId) -> Result<Claim> {
        session::begin(self, None, tenant).await
    }

    async fn events(&self, plan: &PlanHash, after: Option<u64>) -> Result<Vec<EventRecord>> {
        event::read(self, plan, after).await
    }

    async fn append(&self, event: &EventRecord) -> Result<bool> {
        session::append(self, event).await
    }

    async fn check(&self, sql: &str, tenant: &TenantId) -> Result<Option<String>> {
        check::first_row(self, sql, tenant).await
    }
}
