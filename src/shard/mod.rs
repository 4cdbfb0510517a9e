//! SEAM 2: a live SQL database shared by many tenants. No policy inside: what to write, when to commit and what
//! counts as equal is decided by `plan` and `replay`.
//!
//! ```text
//! Shard     facts(), live_rows(), ask(rows), pointing(), trial(), read()   read-only
//!           statistics(), values(), probe(), climb()           for `init`: sampled, bounded
//!           prepare_journal(), journal(), events(), append()   the engine's own schema
//!           check(sql)                                         a query of the configuration, read-only
//!           begin(tenant) ──► Session   one transaction
//! Session   disable_triggers(), ask(rows), write(table)…, delete_queued(rows),
//!           update(table), extra(table), delete(rows), broken_reference(key), collision(key), read_back(table)…,
//!           tables_with_rows(), close_gate() | open_gate(), write_set(), record(entry), append(event),
//!           commit() | abort()
//! ```
//!
//! Invariants. A session issues only INSERT or COPY on user tables, and DELETE on declared deletion queues (P2), but
//! for update() and delete() of repairs, and the gate column of the tenant's own root row. Dropping a session without
//! commit rolls back. The journal row commits with the rows (P4). No lock above ROW EXCLUSIVE on user tables, and lock
//! time-outs on every statement (P7). The folders of the back ends hold files of the same names (`constraints`: only
//! where triggers can be turned off).

mod ask;
pub mod postgres;
mod probe;
pub mod sqlite;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::memory::Share;
use crate::model::wire::Tuples;
pub use crate::model::{Chunk, ChunkStream};
use crate::model::{
    DatabaseIdentity, DatabaseUrl, Fingerprint, ForeignKey, Gate, OwnedTable, PlanHash, QueueLink, Sequence,
    ShardName, SnapshotId, Table, TableName, TenantId, TypeKind, UniqueKey,
};
pub use ask::{Answer, Ask, LiveRow, Question, Rows};

pub use probe::{Climbs, Hits, Probe, Statistics, Tree, Wanted};
pub use trial::{Refusal, Refused, Trial};

/// What a shard is, as read from its catalog in a few queries.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which database this is.
    pub identity: DatabaseIdentity,
    /// `server_version` or SQLite's library version.
    pub server_version: String,
    /// The role that is connected (empty on SQLite).
    pub role: String,
    /// All user tables; the engine's own journal is left out.
    pub tables: Vec<Table>,
    /// What keeps the role from restoring rows of a table: a missing privilege, active row security. Empty is good.
    pub obstacles: BTreeMap<TableName, Vec<String>>,
    /// What may surprise, and settings behind which rows may hide; shown in the plan.
    pub warnings: Vec<String>,
    /// Why [`Session::disable_triggers`] cannot be had, if it cannot.
    pub triggers_stay_on: Option<String>,
    /// Tables whose rows the role may not lock, so that [`Session::broken_reference`] cannot be had for them.
    pub unlockable: BTreeSet<TableName>,
    /// Tables that [`Session::delete_queued`] cannot be had for, and why.
    pub undeletable: BTreeMap<TableName, String>,
    /// Tables whose rows the role may not update (every column), or not delete: repairs do.
    pub no_update: BTreeSet<TableName>,
    /// See above.
    pub no_delete: BTreeSet<TableName>,
    /// Materialised views and the tables that they are made of.
    pub materialized: BTreeMap<TableName, BTreeSet<TableName>>,
}

/// A tenant that was restored in this shard: the journal's row, committed together with the tenant's rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The plan.
    pub plan: PlanHash,
    /// The tenant.
    pub tenant: TenantId,
    /// The snapshot the rows came from.
    pub snapshot: SnapshotId,
    /// Which execution of the plan wrote it (host, process and start).
    pub run: String,
    /// Rows written.
    pub rows: u64,
    /// Bytes written, in wire form.
    pub bytes: u64,
    /// Fingerprint of the tenant's rows over all tables, as read back before commit; as handed over, where the
    /// verification was put off.
    pub fingerprint: Fingerprint,
    /// When the transaction began.
    pub started_at: Timestamp,
    /// When the journal row was written, just before commit.
    pub recorded_at: Timestamp,
    /// The transaction's id, where the database has one.
    pub transaction_id: Option<String>,
}

/// A line of the record that the catalogue's shard keeps beside its journal: what happened to a tenant, or to the run
/// as a whole. What it says is for `workflow` to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// The plan.
    pub plan: PlanHash,
    /// The tenant; none for what concerns the run.
    pub tenant: Option<TenantId>,
    /// Counts from 1 for each tenant, and for the run. Taken only once: who comes second has missed something.
    pub number: u64,
    /// When it was written.
    pub at: Timestamp,
    /// Which execution, or which command, wrote it.
    pub run: String,
    /// On whose behalf.
    pub who: String,
    /// JSON.
    pub body: String,
}

/// Rows that a transaction wrote in one table, by triggers and cascades too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableWrites {
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
}

/// All that a transaction wrote so far, the journal left out. Tables without writes are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteSet {
    /// Writes by table.
    pub tables: BTreeMap<TableName, TableWrites>,
    /// Writes that the database counted but could not attribute to a table.
    pub unattributed: u64,
}

/// Which row: `id=7`, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowKey(String);

impl RowKey {
    /// The key of these columns and values.
    pub fn new(columns: &[String], values: Vec<Option<String>>) -> Self {
        let pairs = columns.iter().zip(values);
        let pairs = pairs.map(|(column, value)| format!("{column}={}", value.as_deref().unwrap_or("NULL")));
        Self(pairs.collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A row that points at nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The row.
    pub row: RowKey,
    /// The parent that it points at.
    pub key: RowKey,
}

/// Two rows that share a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The tenant's.
    pub row: RowKey,
    /// The other one.
    pub other: RowKey,
}

/// The answer to [`Shard::begin`].
pub enum Claim {
    /// The tenant is ours: a transaction is open.
    Session(Box<dyn Session>),
    /// This plan has restored the tenant already.
    Done(JournalEntry),
    /// Another process is restoring the tenant now.
    Held {
        /// Who, as far as the database tells.
        by: String,
    },
}

/// A live database.
#[async_trait]
pub trait Shard: Send + Sync {
    /// Reads the catalog.
    async fn facts(&self) -> Result<Facts>;

    /// Sizes of the tables, and which inherit from which.
    async fn statistics(&self, tables: &[Table]) -> Result<Statistics>;

    /// Distinct values of each column as text, from a sample of its rows; `None` where the database did not answer
    /// in time or refused.
    async fn values(&self, wanted: &[Wanted]) -> Result<Vec<Option<Vec<String>>>>;

    /// How often each supposed reference resolves, in a sample of the rows; `None` as above. `tables` are those of
    /// [`Shard::facts`].
    async fn probe(&self, probes: &[Probe], tables: &[Table]) -> Result<Vec<Option<Hits>>>;

    /// What a sample of the rows of each of these trees says; `None` as above.
    async fn climb(&self, trees: &[Tree], tables: &[Table]) -> Result<Vec<Option<Climbs>>>;

    /// Live rows of each of these tenants in `table`; tenants without rows are absent.
    async fn live_rows(&self, table: &OwnedTable, tenants: &[TenantId]) -> Result<BTreeMap<TenantId, u64>>;

    /// What the live tables say about rows that may be missing there.
    async fn ask(&self, rows: &Rows<'_>, question: &Question<'_>) -> Result<Vec<Answer>>;

    /// Positions of the rows that point, by this key, at one of `parents`, none of which need be live.
    async fn pointing(&self, rows: &Rows<'_>, key: &ForeignKey, parents: &Rows<'_>) -> Result<Vec<usize>>;

    /// The value of a key in each row, as text; `None` where the key does not speak of the row. For databases without
    /// [`Shard::trial`], which looks for keys that rows share with each other by itself.
    async fn key_values(&self, rows: &Rows<'_>, _key: &UniqueKey) -> Result<Vec<Option<String>>> {
        Ok(vec![None; rows.tuples.len()])
    }

    /// Tries rows before they are written; none where the server can be asked for all that it demands.
    async fn trial(&self) -> Result<Option<Box<dyn Trial>>> {
        Ok(None)
    }

    /// Live rows of one tenant, with [`Table::arrow_schema_hashed`]. This is the independent verification's eye: it
    /// reads with ordinary SELECT statements on a connection of its own, and shares nothing with [`Session`].
    async fn read(
        &self,
        table: &OwnedTable,
        tenant: &TenantId,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>>;

    /// Positions of the values of a type for which a domain's check (SQL over `VALUE`) is false.
    async fn refused_values(
        &self,
        of: (&str, TypeKind),
        check: &str,
        values: &[Option<&[u8]>],
    ) -> Result<Vec<usize>>;

    /// Positions of printed values that the type does not read, or prints otherwise than they are.
    async fn misread_values(&self, type_name: &str, values: &[Option<&[u8]>]) -> Result<Vec<usize>>;

    /// A value as the database reads it from text as this type: how it travels, and its wire form.
    async fn read_value(&self, type_name: &str, text: &str) -> Result<(TypeKind, Vec<u8>)>;

    /// Creates the journal if it does not exist. The only DDL, and none on user tables.
    async fn prepare_journal(&self) -> Result<()>;

    /// The journal's entries of a plan; empty if there is no journal.
    async fn journal(&self, plan: &PlanHash) -> Result<Vec<JournalEntry>>;

    /// Claims a tenant for a plan and opens its transaction.
    async fn begin(&self, plan: &PlanHash, tenant: &TenantId) -> Result<Claim>;

    /// The same for a tenant that is back: never [`Claim::Done`].
    async fn begin_again(&self, tenant: &TenantId) -> Result<Claim>;

    /// The events of a plan, by tenant (the run's first) and number; those after a number, if `after` is given, of the
    /// run alone.
    async fn events(&self, plan: &PlanHash, after: Option<u64>) -> Result<Vec<EventRecord>>;

    /// Adds an event; `false` if its number is taken.
    async fn append(&self, event: &EventRecord) -> Result<bool>;

    /// Runs a query of the configuration for a tenant (`$1`, text), read-only; what it returned first, as text.
    async fn check(&self, sql: &str, tenant: &TenantId) -> Result<Option<String>>;
}

/// One tenant's transaction.
#[async_trait]
pub trait Session: Ask {
    /// Inserts the rows of one table; returns how many the database says it took. Called once a table, parents
    /// first.
    async fn write(&mut self, table: &OwnedTable, chunks: ChunkStream) -> Result<u64>;

    /// Deletes the entries of a deletion queue about these rows: the only DELETE of a restore. Returns how
    /// many.
    async fn delete_queued(&mut self, rows: &Rows<'_>, link: &QueueLink) -> Result<u64>;

    /// Gives live rows the values of these, found by primary key. Locks them first, and refuses one whose hash is not
    /// among `live`, from which it is taken: such a row has changed since it was read. Only for repairs.
    async fn update(&mut self, table: &OwnedTable, chunks: ChunkStream, live: &mut Ledger) -> Result<u64>;

    /// The rows of the tenant that this transaction sees in `table` and that are not among `known`, which says how
    /// often each hash may occur. All are held in memory, as far as `share` goes.
    async fn extra(
        &mut self,
        table: &OwnedTable,
        tenant: &TenantId,
        known: Ledger,
        share: Share,
    ) -> Result<Tuples>;

    /// Deletes these rows of the tenant, each once and only as long as it is as given; returns how many went. Only for
    /// repairs.
    async fn delete(&mut self, table: &OwnedTable, tenant: &TenantId, rows: &Tuples) -> Result<u64>;

    /// Moves each sequence forward if it stands before its restored maximum (the last value in its direction); never
    /// back. Sequences that stand there already, as nearly all do, cost one statement together.
    async fn advance_sequences(&mut self, restored: &[(Sequence, i64)]) -> Result<()>;

    /// Fingerprint of all rows of the tenant that this transaction sees in `table`.
    async fn read_back(&mut self, table: &OwnedTable, tenant: &TenantId) -> Result<Fingerprint>;

    /// [`Session::read_back`] of several tables, in their order.
    async fn read_back_all(&mut self, tables: &[&OwnedTable], tenant: &TenantId) -> Result<Vec<Fingerprint>> {
        let mut found = Vec::with_capacity(tables.len());
        for table in tables {
            found.push(self.read_back(table, tenant).await?);
        }
        Ok(found)
    }

    /// How often each row of the tenant that this transaction sees in `table` occurs, by the hash of its wire form.
    async fn row_hashes(&mut self, table: &OwnedTable, tenant: &TenantId, share: Share) -> Result<Ledger>;

    /// Those of `tables` in which this transaction sees a row of the tenant, in their order. Asked in statements of
    /// [`crate::limits::TABLES_ASKED_MAX`] tables, not one a table: most tenants have no rows in most tables.
    async fn tables_with_rows(&mut self, tables: &[&OwnedTable], tenant: &TenantId)
    -> Result<Vec<TableName>>;

    /// Turns triggers off for this transaction, and with them all that the server checks by triggers: foreign keys
    /// and deferrable unique and exclusion constraints. Before the first row. Those that are to fire always still do.
    async fn disable_triggers(&mut self) -> Result<()> {
        Err(unsupported())
    }

    /// A row of the tenant whose `key` points at nothing, among those for which `only` holds, if it is given. Locks
    /// the rows that all others point at against deletion until the end of the transaction.
    async fn broken_reference(
        &mut self,
        _table: &OwnedTable,
        _tenant: &TenantId,
        _key: &ForeignKey,
        _only: Option<&str>,
    ) -> Result<Option<Broken>> {
        Err(unsupported())
    }

    /// A row of the tenant that shares `key` with any other live row.
    async fn collision(
        &mut self,
        _table: &OwnedTable,
        _tenant: &TenantId,
        _key: &UniqueKey,
    ) -> Result<Option<Collision>> {
        Err(unsupported())
    }

    /// What this transaction wrote, against the base line taken when it began.
    async fn write_set(&mut self) -> Result<WriteSet>;

    /// Gives the gate of the tenant's root row its restoring value, and keeps the original one. The number of rows: 1,
    /// or the tenant has no such row.
    async fn close_gate(
        &mut self,
        root: &OwnedTable,
        gate: &Gate,
        plan: &PlanHash,
        tenant: &TenantId,
    ) -> Result<u64>;

    /// Gives the gate its original value again, if it still has the restoring one. The number of rows.
    async fn open_gate(
        &mut self,
        root: &OwnedTable,
        gate: &Gate,
        plan: &PlanHash,
        tenant: &TenantId,
    ) -> Result<u64>;

    /// Adds an event that is to be true with this commit; `false` if its number is taken.
    async fn append(&mut self, event: &EventRecord) -> Result<bool>;

    /// Writes the journal row; returns it with the transaction's id, where the database has one.
    async fn record(&mut self, entry: &JournalEntry) -> Result<JournalEntry>;

    /// Commits.
    async fn commit(self: Box<Self>) -> Result<()>;

    /// Rolls back.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// A plan never asks for this: [`Facts::triggers_stay_on`] says so.
fn unsupported() -> Error {
    Error::bug("triggers cannot be turned off in this database")
}

/// Opens a shard: connects and says which kind it is. `connections_max` bounds the connections held at a time.
pub async fn open(name: &ShardName, url: &DatabaseUrl, connections_max: usize) -> Result<Arc<dyn Shard>> {
    if url.is_postgres() {
        postgres::open(name, url, connections_max).await
    } else {
        sqlite::open(name, url, connections_max).await
    }
}

/// The tables of `facts` by name.
pub fn find_table<'a>(facts: &'a Facts, name: &TableName) -> Option<&'a Table> {
    facts.tables.iter().find(|table| table.name == *name)
}
