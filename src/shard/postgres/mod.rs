//! A live PostgreSQL database as a shard.
//!
//! ```text
//! facts     what it is, what the role may do      read      ordinary SELECTs: counts, rows for verification
//! probe     what `init` asks of the rows
//! journal   schema `reinstate`, what is done      session   one tenant's transaction: COPY in, out, commit
//! constraints   what the server leaves out while triggers are off
//! ```
//!
//! Every connection is a [`Lease`](crate::database::postgres::pool::Lease): it goes back when its work ended
//! well and is closed otherwise, so that the server rolls back whatever was open.

mod ask;
mod check;
mod constraints;
mod event;
mod facts;
mod gate;
mod insert;
mod journal;
mod probe;
mod queue;
mod read;
mod repair;
mod sequence;
mod session;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::OnceCell;

use super::{
    Answer, Claim, Climbs, EventRecord, Facts, Hits, JournalEntry, Probe, Question, Rows, Shard, Statistics,
    Tree, Wanted,
};
use crate::database::postgres::catalog::{self, Relations};
use crate::database::postgres::connect::Target;
use crate::database::postgres::pool::Pool;
use crate::error::Result;
use crate::model::{
    DatabaseUrl, ForeignKey, OwnedTable, PlanHash, ShardName, Table, TenantId, TypeKind, UniqueKey,
};

/// Connects.
pub async fn open(name: &ShardName, url: &DatabaseUrl, connections_max: usize) -> Result<Arc<dyn Shard>> {
    let pool = Pool::new(Target::new(name, url)?, connections_max, vec![]);
    // A wrong password or a server that is away is told now, not in the middle of the work.
    pool.lease().await?.release();
    Ok(Arc::new(PostgresShard { pool, relations: OnceCell::new(), row_types: Arc::default() }))
}

struct PostgresShard {
    pool: Arc<Pool>,
    /// Which tables are partitioned: read once, it cannot change while a table keeps its name.
    relations: OnceCell<Arc<Relations>>,
    row_types: Arc<ask::RowTypes>,
}

impl PostgresShard {
    async fn relations(&self) -> Result<Arc<Relations>> {
        let read = || async {
            let mut connection = self.pool.lease().await?;
            let relations = catalog::relations(&mut connection).await?;
            connection.release();
            Ok(Arc::new(relations))
        };
        self.relations.get_or_try_init(read).await.cloned()
    }
}

#[async_trait]
impl Shard for PostgresShard {
    async fn facts(&self) -> Result<Facts> {
        let mut connection = self.pool.lease().await?;
        let facts = facts::read(&mut connection).await?;
        connection.release();
        Ok(facts)
    }

    // The leases of these three are dropped, and with them the settings of their connections.
    async fn statistics(&self, tables: &[Table]) -> Result<Statistics> {
        let relations = self.relations().await?;
        probe::statistics(&mut *self.pool.lease().await?, &relations, tables).await
    }

    async fn values(&self, wanted: &[Wanted]) -> Result<Vec<Option<Vec<String>>>> {
        let relations = self.relations().await?;
        probe::values(&mut *self.pool.lease().await?, &relations, wanted).await
    }

    async fn probe(&self, probes: &[Probe], tables: &[Table]) -> Result<Vec<Option<Hits>>> {
        let relations = self.relations().await?;
        probe::probe(&mut *self.pool.lease().await?, &relations, probes, tables).await
    }

    async fn climb(&self, trees: &[Tree], tables: &[Table]) -> Result<Vec<Option<Climbs>>> {
        let relations = self.relations().await?;
        probe::climb(&mut *self.pool.lease().await?, &relations, trees, tables).await
    }

    async fn live_rows(&self, table: &OwnedTable, tenants: &[TenantId]) -> Result<BTreeMap<TenantId, u64>> {
        let relations = self.relations().await?;
        let mut connection = self.pool.lease().await?;
        let rows = read::live_rows(&mut connection, &relations, table, tenants).await?;
        connection.release();
        Ok(rows)
    }

    async fn ask(&self, rows: &Rows<'_>, question: &Question<'_>) -> Result<Vec<Answer>> {
        let relations = self.relations().await?;
        let mut connection = self.pool.lease().await?;
        let answers = ask::ask(&mut connection, &relations, &self.row_types, rows, question).await?;
        connection.release();
        Ok(answers)
    }

    async fn pointing(&self, rows: &Rows<'_>, key: &ForeignKey, parents: &Rows<'_>) -> Result<Vec<usize>> {
        let relations = self.relations().await?;
        let mut connection = self.pool.lease().await?;
        let found = ask::pointing(&mut connection, &relations, &self.row_types, rows, key, parents).await?;
        connection.release();
        Ok(found)
    }

    async fn key_values(&self, rows: &Rows<'_>, key: &UniqueKey) -> Result<Vec<Option<String>>> {
        let relations = self.relations().await?;
        let mut connection = self.pool.lease().await?;
        let values = ask::key_values(&mut connection, &relations, &self.row_types, rows, key).await?;
        connection.release();
        Ok(values)
    }

    async fn read(
        &self,
        table: &OwnedTable,
        tenant: &TenantId,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        read::rows(Arc::clone(&self.pool), &*self.relations().await?, table, tenant)
    }

    async fn refused_values(
        &self,
        of: (&str, TypeKind),
        check: &str,
        values: &[Option<&[u8]>],
    ) -> Result<Vec<usize>> {
        let mut connection = self.pool.lease().await?;
        let refused = values::refused(&mut connection, of, check, values).await?;
        connection.release();
        Ok(refused)
    }

    async fn misread_values(&self, type_name: &str, values: &[Option<&[u8]>]) -> Result<Vec<usize>> {
        let mut connection = self.pool.lease().await?;
        let misread = values::misread(&mut connection, type_name, values).await?;
        connection.release();
        Ok(misread)
    }

    async fn read_value(&self, type_name: &str, text: &str) -> Result<(TypeKind, Vec<u8>)> {
        let mut connection = self.pool.lease().await?;
        let value = read::value(&mut connection, type_name, text).await?;
        connection.release();
        Ok(value)
    }

    async fn prepare_journal(&self) -> Result<()> {
        let mut connection = self.pool.lease().await?;
        journal::prepare(&mut connection).await?;
        connection.release();
        Ok(())
    }

    async fn journal(&self, plan: &PlanHash) -> Result<Vec<JournalEntry>> {
        let mut connection = self.pool.lease().await?;
        let entries = journal::read(&mut connection, plan).await?;
        connection.release();
        Ok(entries)
    }

    async fn begin(&self, plan: &PlanHash, tenant: &TenantId) -> Result<Claim> {
        let relations = self.relations().await?;
        session::begin(&self.pool, relations, &self.row_types, Some(plan), tenant).await
    }

    async fn begin_again(&self, tenant: &TenantId) -> Result<Claim> {
        let relations = self.relations().await?;
        session::begin(&self.pool, relations, &self.row_types, None, tenant).await
    }

    async fn events(&self, plan: &PlanHash, after: Option<u64>) -> Result<Vec<EventRecord>> {
        let mut connection = self.pool.lease().await?;
        let events = event::read(&mut connection, plan, after).await?;
        connection.release();
        Ok(events)
    }

    async fn append(&self, event: &EventRecord) -> Result<bool> {
        let mut connection = self.pool.lease().await?;
        let appended = event::write(&mut connection, event).await?;
        connection.release();
        Ok(appended)
    }

    async fn check(&self, sql: &str, tenant: &TenantId) -> Result<Option<String>> {
        // Dropped, and its connection closed: what a query of somebody else's leaves behind is nobody's.
        let mut connection = self.pool.lease().await?;
        check::first_row(&mut connection, sql, tenant).await
    }
}
