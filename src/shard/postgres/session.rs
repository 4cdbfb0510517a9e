//! One tenant's transaction.
//!
//! ```text
//! begin   BEGIN ─► base line of the counters ─► advisory lock ─► journal look-up
//! write   COPY … FROM STDIN (FORMAT binary): the tuples as they are; INSERT where a column has no binary form
//! check   COPY (SELECT …) TO STDOUT ─► fingerprint;  EXISTS over all other tables;
//!         counters now − base line ─► write set
//! end     journal row ─► COMMIT
//! ```
//!
//! Triggers, defaults and checks of the tables run with the search path that the role has by default, as they
//! do for the application; the statements here name every schema. Deferrable keys are checked at commit, so
//! that rows may point at each other in a circle.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgCopyIn};

use super::super::{
    Answer, Ask, Broken, Chunk, ChunkStream, Claim, Collision, EventRecord, JournalEntry, Question, Rows,
    Session, TableWrites, WriteSet,
};
use super::{ask, constraints, event, gate, insert, journal, queue, repair, sequence};
use crate::bridge::{compute, compute_on};
use crate::database::postgres::catalog::Relations;
use crate::database::postgres::error::failure;
use crate::database::postgres::owner::{self, TENANT_FROM_SETTING, TENANT_SETTING};
use crate::database::postgres::pool::{Lease, Pool};
use crate::database::postgres::tuples::{HEADER, TRAILER, TupleReader};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_ROWS_MAX, LOCK_TIMEOUT, PIECE_BYTES_HELD_MAX, RETRY_DELAY, TABLES_ASKED_MAX,
};
use crate::memory::Share;
use crate::model::wire::Tuples;
use crate::model::{
    Fingerprint, ForeignKey, Gate, OwnedTable, PlanHash, QueueLink, Sequence, TableName, TenantId, UniqueKey,
    quote_identifier, row_hash,
};

/// Begins, and reads the base line in the same round trip: rows that earlier transactions of the connection wrote
/// and whose counters are not flushed yet. These are the columns of `pg_stat_xact_all_tables`; the view itself also
/// groups all indexes, which takes five times as long.
const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED;
                     SET LOCAL search_path TO DEFAULT;
                     SET CONSTRAINTS ALL DEFERRED;
                     select oid::int8, pg_stat_get_xact_tuples_inserted(oid), pg_stat_get_xact_tuples_updated(oid),
                            pg_stat_get_xact_tuples_deleted(oid) from pg_catalog.pg_class
                     where relkind in ('r', 't', 'm', 'p')
                       and pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid)
                           + pg_stat_get_xact_tuples_deleted(oid) > 0";

/// What triggers, defaults and checks find names by.
const DEFAULT_PATH: &str = "SET LOCAL search_path TO DEFAULT";

/// Rows written by name: leaves under their root, TOAST and the system's own tables left out, the engine's own too.
const COUNTERS_NAMED: &str =
    "select s.oid::int8, pg_stat_get_xact_tuples_inserted(s.oid), pg_stat_get_xact_tuples_updated(s.oid),
            pg_stat_get_xact_tuples_deleted(s.oid), n.nspname::text, c.relname::text
     from pg_catalog.pg_class s
     join pg_catalog.pg_class c on c.oid = coalesce(pg_partition_root(s.oid), s.oid)
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where s.relkind in ('r', 't', 'm', 'p')
       and pg_stat_get_xact_tuples_inserted(s.oid) + pg_stat_get_xact_tuples_updated(s.oid)
           + pg_stat_get_xact_tuples_deleted(s.oid) > 0
       and n.nspname !~ '^pg_toast' and n.nspname <> 'pg_catalog'
       and n.nspname <> 'reinstate'";

/// Who holds the advisory lock of a tenant.
const HOLDER: &str =
    "select a.pid, a.application_name, coalesce(host(a.client_addr), 'local socket'), a.usename::text
     from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a using (pid)
     where l.locktype = 'advisory' and l.granted and l.objsubid = 1
       and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
       and l.classid::int8 = $1 and l.objid::int8 = $2";

/// Claims the tenant, or says why not: it is done, if its plan is given.
pub async fn begin(
    pool: &Arc<Pool>,
    relations: Arc<Relations>,
    row_types: &Arc<ask::RowTypes>,
    plan: Option<&PlanHash>,
    tenant: &TenantId,
) -> Result<Claim> {
    let unable = |error| failure(format!("unable to begin with tenant '{tenant}'"), error);
    let mut connection = pool.lease().await?;
    let baseline = open(&mut connection).await.map_err(unable)?;
    let sql = "select pg_try_advisory_xact_lock($1), set_config($2, $3, true), pg_backend_pid(),
                      current_setting('track_counts')::bool";
    let (ours, _, pid, counts): (bool, String, i32, bool) = sqlx::query_as(sql)
        .bind(lock_key(tenant))
        .bind(TENANT_SETTING)
        .bind(tenant.as_str())
        .fetch_one(&mut *connection)
        .await
        .map_err(unable)?;
    if !counts {
        return Err(Error::refused(format!("unable to begin with tenant '{tenant}': 'track_counts' is off"))
            .hint("without it nobody can prove that neighbours were not written; turn it on"));
    }
    let done = match plan {
        Some(plan) if ours => journal::find(&mut connection, plan, tenant).await?,
        _ => None,
    };
    let claim = if !ours {
        Claim::Held { by: holder(&mut connection, tenant).await.map_err(unable)? }
    } else if let Some(entry) = done {
        Claim::Done(entry)
    } else {
        let pool = Arc::clone(pool);
        let tenant = tenant.clone();
        return Ok(Claim::Session(Box::new(PostgresSession {
            connection,
            pool,
            relations,
            row_types: Arc::clone(row_types),
            tenant,
            pid,
            baseline,
            sound: true,
        })));
    };
    sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.map_err(unable)?;
    connection.release();
    Ok(claim)
}

/// The advisory lock of a tenant: one 64-bit number (`objsubid` 1 in `pg_locks`) out of a hash that begins
/// with our name, so that other users of advisory locks are hit by accident only. Locks are the database's
/// own; the plan is no part of it, since two plans must not restore one tenant at a time either.
fn lock_key(tenant: &TenantId) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"reinstate tenant\0");
    hasher.update(tenant.as_str().as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    i64::from_be_bytes(first)
}

async fn holder(connection: &mut PgConnection, tenant: &TenantId) -> Result<String, sqlx::Error> {
    let key = lock_key(tenant) as u64;
    let found: Option<(i32, String, String, Option<String>)> = sqlx::query_as(HOLDER)
        .bind((key >> 32) as i64)
        .bind((key & 0xffff_ffff) as i64)
        .fetch_optional(connection)
        .await?;
    Ok(match found {
        Some((pid, application, client, role)) => {
            let role = role.unwrap_or_default();
            format!("'{application}' (pid {pid}, role '{role}', from {client})")
        }
        None => "a process that has just ended".to_owned(),
    })
}

/// Counters by relation.
type Counters = HashMap<i64, [i64; 3]>;

/// Opens the transaction; the base line of its counters.
async fn open(connection: &mut PgConnection) -> Result<Counters, sqlx::Error> {
    let rows = sqlx::raw_sql(BEGIN).fetch_all(connection).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, [row.try_get(1)?, row.try_get(2)?, row.try_get(3)?])))
        .collect()
}

struct PostgresSession {
    /// Dropped without `release` it is closed, and the server rolls back.
    connection: Lease,
    pool: Arc<Pool>,
    relations: Arc<Relations>,
    row_types: Arc<ask::RowTypes>,
    /// The tenant that [`TENANT_SETTING`] names.
    tenant: TenantId,
    /// The server's process, to see it gone.
    pid: i32,
    /// Counters as they were before the first statement.
    baseline: Counters,
    /// Every statement so far ended well. Only then may the transaction commit (COMMIT of a failed
    /// transaction rolls back and reports success) and the connection be used again.
    sound: bool,
}

#[async_trait]
impl Ask for PostgresSession {
    async fn ask(&mut self, rows: &Rows<'_>, question: &Question<'_>) -> Result<Vec<Answer>> {
        self.begin_step()?;
        let answers =
            ask::ask(&mut self.connection, &self.relations, &self.row_types, rows, question).await?;
        self.sound = true;
        Ok(answers)
    }
}

#[async_trait]
impl Session for PostgresSession {
    async fn write(&mut self, table: &OwnedTable, mut chunks: ChunkStream) -> Result<u64> {
        // The first chunk decides: most tenants have no rows in most tables, and those cost no statement.
        let Some(first) = chunks.next().await else { return Ok(0) };
        let first = first?;
        self.begin_step()?;
        let written = if insert::is_needed(&table.table) {
            self.insert(table, first, chunks).await?
        } else {
            self.copy_in(table, first, chunks).await?
        };
        self.sound = true;
        Ok(written)
    }

    async fn delete_queued(&mut self, rows: &Rows<'_>, link: &QueueLink) -> Result<u64> {
        self.begin_step()?;
        let (connection, relations) = (&mut self.connection, &self.relations);
        let deleted = queue::delete(connection, relations, &self.row_types, rows, link).await?;
        self.sound = true;
        Ok(deleted)
    }

    async fn update(
        &mut self,
        table: &OwnedTable,
        mut chunks: ChunkStream,
        live: &mut Ledger,
    ) -> Result<u64> {
        self.begin_step()?;
        let mut updated = 0;
        while let Some(chunk) = chunks.next().await {
            let tuples = chunk?.tuples;
            let (relations, row_types) = (&self.relations, &self.row_types);
            let repair = repair::Repair { relations, row_types, table: &table.table };
            updated += repair.update(&mut self.connection, &tuples, live).await?;
        }
        self.sound = true;
        Ok(updated)
    }

    async fn extra(
        &mut self,
        table: &OwnedTable,
        tenant: &TenantId,
        mut known: Ledger,
        share: Share,
    ) -> Result<Tuples> {
        self.begin_step()?;
        let mut extra = Tuples::default();
        self.copy_out(table, tenant, |hash, tuple| match known.take(hash)? {
            true => Ok(()),
            false => share.hold(&mut extra, tuple),
        })
        .await?;
        self.sound = true;
        Ok(extra)
    }

    async fn delete(&mut self, table: &OwnedTable, tenant: &TenantId, rows: &Tuples) -> Result<u64> {
        self.begin_step()?;
        let unable = |error| failure(format!("unable to name tenant '{tenant}'"), error);
        self.set_tenant(tenant).await.map_err(unable)?;
        let predicate = self.belongs_to(table)?;
        let (relations, row_types) = (&self.relations, &self.row_types);
        let repair = repair::Repair { relations, row_types, table: &table.table };
        let deleted = repair.delete(&mut self.connection, &predicate, rows).await?;
        self.sound = true;
        Ok(deleted)
    }

    async fn advance_sequences(&mut self, restored: &[(Sequence, i64)]) -> Result<()> {
        self.begin_step()?;
        sequence::advance(&mut self.connection, restored).await?;
        self.sound = true;
        Ok(())
    }

    async fn read_back(&mut self, table: &OwnedTable, tenant: &TenantId) -> Result<Fingerprint> {
        self.begin_step()?;
        let mut fingerprint = Fingerprint::default();
        let add = |hash, _: &[u8]| {
            fingerprint.add(hash);
            Ok(())
        };
        self.copy_out(table, tenant, add).await?;
        self.sound = true;
        Ok(fingerprint)
    }

    async fn read_back_all(&mut self, tables: &[&OwnedTable], tenant: &TenantId) -> Result<Vec<Fingerprint>> {
        self.begin_step()?;
        let mut reading = Vec::with_capacity(tables.len());
        for table in tables {
            let mut fingerprint = Fingerprint::default();
            let add = |hash, _: &[u8]| {
                fingerprint.add(hash);
                Ok(())
            };
            let last = self.copy_out_to_last(table, tenant, add).await?;
            // Hashed while the server works on the next table.
            let hashing = compute_on(last.bytes.len(), move || Fingerprint::of(&last));
            reading.push((fingerprint, tokio::spawn(hashing)));
        }
        let mut found = Vec::with_capacity(tables.len());
        for (fingerprint, last) in reading {
            let last = last.await.map_err(|error| Error::bug("rows were not hashed").because(error))?;
            found.push([fingerprint, last?].into_iter().sum());
        }
        self.sound = true;
        Ok(found)
    }

    async fn row_hashes(&mut self, table: &OwnedTable, tenant: &TenantId, share: Share) -> Result<Ledger> {
        self.begin_step()?;
        let mut hashes = share.ledger();
        self.copy_out(table, tenant, |hash, _| hashes.add(hash)).await?;
        self.sound = true;
        Ok(hashes)
    }

    async fn tables_with_rows(
        &mut self,
        tables: &[&OwnedTable],
        tenant: &TenantId,
    ) -> Result<Vec<TableName>> {
        self.begin_step()?;
        let mut found = Vec::new();
        for asked in tables.chunks(TABLES_ASKED_MAX) {
            self.ask(asked, tenant, &mut found).await?;
        }
        self.sound = true;
        Ok(found)
    }

    async fn disable_triggers(&mut self) -> Result<()> {
        self.begin_step()?;
        let set = sqlx::raw_sql(constraints::DISABLE_TRIGGERS).execute(&mut *self.connection).await;
        set.map_err(|error| failure("unable to turn triggers off", error))?;
        self.sound = true;
        Ok(())
    }

    async fn broken_reference(
        &mut self,
        table: &OwnedTable,
        tenant: &TenantId,
        key: &ForeignKey,
        only: Option<&str>,
    ) -> Result<Option<Broken>> {
        self.begin_step()?;
        let unable = |error| failure(format!("unable to name tenant '{tenant}'"), error);
        self.set_tenant(tenant).await.map_err(unable)?;
        let (connection, relations) = (&mut self.connection, &self.relations);
        let broken = constraints::broken_reference(connection, relations, table, key, only).await?;
        self.sound = true;
        Ok(broken)
    }

    async fn collision(
        &mut self,
        table: &OwnedTable,
        tenant: &TenantId,
        key: &UniqueKey,
    ) -> Result<Option<Collision>> {
        self.begin_step()?;
        let unable = |error| failure(format!("unable to name tenant '{tenant}'"), error);
        self.set_tenant(tenant).await.map_err(unable)?;
        let (connection, relations) = (&mut self.connection, &self.relations);
        constraints::wait_for_writers(connection, relations, &table.table.name).await?;
        let collision = constraints::collision(connection, relations, table, key).await?;
        self.sound = true;
        Ok(collision)
    }

    async fn write_set(&mut self) -> Result<WriteSet> {
        self.begin_step()?;
        let rows: Vec<(i64, i64, i64, i64, String, String)> =
            sqlx::query_as(COUNTERS_NAMED).fetch_all(&mut *self.connection).await.map_err(|error| {
                failure(format!("unable to count what was written for tenant '{}'", self.tenant), error)
            })?;
        let mut set = WriteSet::default();
        for (oid, inserted, updated, deleted, schema, table) in rows {
            let before = self.baseline.get(&oid).copied().unwrap_or_default();
            let name = TableName::new(schema, table);
            let delta = |now: i64, before: i64| {
                u64::try_from(now - before).map_err(|_| {
                    Error::failed(format!(
                        "unable to count what was written to '{name}': its counters went back"
                    ))
                    .hint("a trigger truncated the table, or its statistics were reset")
                })
            };
            let delta = TableWrites {
                inserted: delta(inserted, before[0])?,
                updated: delta(updated, before[1])?,
                deleted: delta(deleted, before[2])?,
            };
            if delta != TableWrites::default() {
                let total = set.tables.entry(name).or_default();
                total.inserted += delta.inserted;
                total.updated += delta.updated;
                total.deleted += delta.deleted;
            }
        }
        self.sound = true;
        Ok(set)
    }

    async fn close_gate(
        &mut self,
        root: &OwnedTable,
        gate: &Gate,
        plan: &PlanHash,
        tenant: &TenantId,
    ) -> Result<u64> {
        let (item, predicate) = self.place(root, tenant).await?;
        let place = gate::Place { root, item: &item, predicate: &predicate };
        let closed = gate::close(&mut self.connection, &place, gate, plan, tenant).await?;
        self.sound = true;
        Ok(closed)
    }

    async fn open_gate(
        &mut self,
        root: &OwnedTable,
        gate: &Gate,
        plan: &PlanHash,
        tenant: &TenantId,
    ) -> Result<u64> {
        let (item, predicate) = self.place(root, tenant).await?;
        let place = gate::Place { root, item: &item, predicate: &predicate };
        let opened = gate::open(&mut self.connection, &place, gate, plan, tenant).await?;
        self.sound = true;
        Ok(opened)
    }

    async fn append(&mut self, event: &EventRecord) -> Result<bool> {
        self.begin_step()?;
        let appended = event::write(&mut self.connection, event).await?;
        self.sound = true;
        Ok(appended)
    }

    async fn record(&mut self, entry: &JournalEntry) -> Result<JournalEntry> {
        self.begin_step()?;
        let recorded = journal::write(&mut self.connection, entry).await?;
        self.sound = true;
        Ok(recorded)
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        self.begin_step()?;
        sqlx::raw_sql("COMMIT").execute(&mut *self.connection).await.map_err(|error| {
            let lost = sqlx::Error::as_database_error(&error).is_none();
            let error = failure(format!("unable to commit tenant '{}'", self.tenant), error);
            let hint = "whether the server has committed is in its journal, which the next run reads first";
            if lost { error.hint(hint) } else { error }
        })?;
        self.connection.release();
        Ok(())
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        if self.sound && sqlx::raw_sql("ROLLBACK").execute(&mut *self.connection).await.is_ok() {
            self.connection.release();
            return Ok(());
        }
        let (pool, pid) = (self.pool, self.pid);
        // Closing makes the server roll back. The tenant's lock is free when its process is gone; a retry
        // that comes earlier would take our own past for somebody else.
        drop(self.connection);
        wait_until_gone(&pool, pid).await
    }
}

impl PostgresSession {
    /// Begins a step that leaves the session unsound unless it comes to its end, by an error or by
    /// cancellation.
    fn begin_step(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.sound) {
            return Err(Error::bug(format!(
                "the transaction of tenant '{}' has failed already",
                self.tenant
            )));
        }
        Ok(())
    }

    async fn copy_in(&mut self, table: &OwnedTable, first: Chunk, mut chunks: ChunkStream) -> Result<u64> {
        let name = &table.table.name;
        let unable = |error| failure(format!("unable to write rows of table '{name}'"), error);
        let columns: Vec<String> =
            table.table.stored_columns().map(|column| quote_identifier(&column.name)).collect();
        // Without stored columns there is no list to give; the default list is then empty as well.
        let list = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
        let sql = format!("COPY {}{list} FROM STDIN (FORMAT binary)", name.quoted());
        let mut copy = self.connection.copy_in_raw(&sql).await.map_err(unable)?;
        // What is sent is flushed: the rows of a small table go out in one piece.
        let mut piece = [HEADER.as_slice(), &first.tuples.bytes].concat();
        drop(first);
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => {
                    send(&mut copy, piece).await.map_err(unable)?;
                    piece = chunk.tuples.bytes;
                    if piece.len() > PIECE_BYTES_HELD_MAX {
                        send(&mut copy, std::mem::take(&mut piece)).await.map_err(unable)?;
                    }
                }
                Err(error) => {
                    give_up(copy).await;
                    return Err(error);
                }
            }
        }
        piece.extend_from_slice(&TRAILER);
        send(&mut copy, piece).await.map_err(unable)?;
        copy.finish().await.map_err(unable)
    }

    async fn insert(&mut self, table: &OwnedTable, first: Chunk, mut chunks: ChunkStream) -> Result<u64> {
        let mut next = Some(Ok(first));
        let mut written = 0;
        while let Some(chunk) = next {
            let (connection, relations, row_types) = (&mut self.connection, &self.relations, &self.row_types);
            written += insert::insert(connection, relations, row_types, &table.table, &chunk?.tuples).await?;
            next = chunks.next().await;
        }
        Ok(written)
    }

    /// Makes [`TENANT_SETTING`] name the tenant.
    async fn set_tenant(&mut self, tenant: &TenantId) -> Result<(), sqlx::Error> {
        if self.tenant != *tenant {
            let set =
                sqlx::query("select set_config($1, $2, true)").bind(TENANT_SETTING).bind(tenant.as_str());
            set.execute(&mut *self.connection).await?;
            self.tenant = tenant.clone();
        }
        Ok(())
    }

    /// Appends the tables that hold a row of the tenant. By the simple protocol: the statement is long and seldom
    /// the same, so a prepared one would only stay in the server's memory.
    async fn ask(
        &mut self,
        tables: &[&OwnedTable],
        tenant: &TenantId,
        found: &mut Vec<TableName>,
    ) -> Result<()> {
        let unable = |error| failure(format!("unable to look for other rows of tenant '{tenant}'"), error);
        self.set_tenant(tenant).await.map_err(unable)?;
        let mut questions = Vec::with_capacity(tables.len());
        for (number, owned) in tables.iter().enumerate() {
            let from = owner::rows(&self.relations, &owned.table.name)?;
            let predicate = self.belongs_to(owned)?;
            questions.push(format!("SELECT {number} WHERE EXISTS (SELECT FROM {from} WHERE {predicate})"));
        }
        // Safe: quoted identifiers, checked type names and numbers; the tenant's id is a setting.
        let sql = sqlx::AssertSqlSafe(questions.join(" UNION ALL "));
        let rows = sqlx::raw_sql(sql).fetch_all(&mut *self.connection).await.map_err(unable)?;
        let mut numbers = Vec::with_capacity(rows.len());
        for row in &rows {
            numbers.push(row.try_get::<i32, _>(0).map_err(unable)?);
        }
        numbers.sort_unstable();
        let named = numbers.into_iter().filter_map(|number| tables.get(usize::try_from(number).ok()?));
        found.extend(named.map(|owned| owned.table.name.clone()));
        Ok(())
    }

    /// Whether a row belongs to the tenant that [`TENANT_SETTING`] names.
    /// Begins a step about the tenant's own rows of a table: the table as an item of FROM, and which rows.
    async fn place(&mut self, owned: &OwnedTable, tenant: &TenantId) -> Result<(String, String)> {
        self.begin_step()?;
        let unable = |error| failure(format!("unable to name tenant '{tenant}'"), error);
        self.set_tenant(tenant).await.map_err(unable)?;
        Ok((self.relations.from_item(&owned.table.name)?, self.belongs_to(owned)?))
    }

    fn belongs_to(&self, owned: &OwnedTable) -> Result<String> {
        owner::belongs_to(&self.relations, &owned.table.name, &owned.owners, TENANT_FROM_SETTING)
    }

    /// Hands over all rows of the tenant in a table, with their hashes.
    async fn copy_out(
        &mut self,
        table: &OwnedTable,
        tenant: &TenantId,
        mut seen: impl FnMut(u128, &[u8]) -> Result<()> + Send,
    ) -> Result<()> {
        let last = self.copy_out_to_last(table, tenant, &mut seen).await?;
        let (tuples, hashes) = compute_on(last.bytes.len(), move || hashed(last)).await?;
        hashes.into_iter().zip(tuples.iter()).try_for_each(|(hash, tuple)| seen(hash, tuple))
    }

    /// The same but for the last rows, which it returns.
    async fn copy_out_to_last(
        &mut self,
        table: &OwnedTable,
        tenant: &TenantId,
        mut seen: impl FnMut(u128, &[u8]) -> Result<()> + Send,
    ) -> Result<Tuples> {
        let name = &table.table.name;
        let unable = |error| failure(format!("unable to read back table '{name}'"), error);
        self.set_tenant(tenant).await.map_err(unable)?;
        let columns = owner::stored_columns(&table.table);
        let from = owner::rows(&self.relations, name)?;
        let predicate = self.belongs_to(table)?;
        let sql = format!("COPY (SELECT {columns} FROM {from} WHERE {predicate}) TO STDOUT (FORMAT binary)");
        // Names in printed values have their schema, as they have in the snapshot.
        let is_printed = insert::is_needed(&table.table);
        if is_printed {
            let path = "SET LOCAL search_path TO pg_catalog";
            sqlx::raw_sql(path).execute(&mut *self.connection).await.map_err(unable)?;
        }
        let mut stream = self.connection.copy_out_raw(&sql).await.map_err(unable)?;
        let (mut framing, mut tuples) = (TupleReader::default(), Tuples::default());
        let broken = |error| Error::interrupted(format!("unable to read back table '{name}'")).because(error);
        while let Some(chunk) = stream.next().await {
            framing.read(&chunk.map_err(unable)?, &mut tuples).map_err(broken)?;
            if tuples.len() >= BATCH_ROWS_MAX || tuples.bytes.len() >= BATCH_BYTES_MAX {
                let full = std::mem::take(&mut tuples);
                let (full, hashes) = compute(move || hashed(full)).await?;
                hashes.into_iter().zip(full.iter()).try_for_each(|(hash, tuple)| seen(hash, tuple))?;
            }
        }
        framing.finish().map_err(broken)?;
        drop(stream);
        if is_printed {
            sqlx::raw_sql(DEFAULT_PATH).execute(&mut *self.connection).await.map_err(unable)?;
        }
        Ok(tuples)
    }
}

fn hashed(tuples: Tuples) -> (Tuples, Vec<u128>) {
    let hashes = tuples.iter().map(row_hash).collect();
    (tuples, hashes)
}

/// Sends rows of a COPY in messages of a bounded size, since the driver copies each one. They may end anywhere.
async fn send(copy: &mut PgCopyIn<&mut PgConnection>, rows: Vec<u8>) -> Result<(), sqlx::Error> {
    for message in rows.chunks(BATCH_BYTES_MAX) {
        copy.send(message).await?;
    }
    Ok(())
}

/// Ends a COPY whose rows cannot be had. The session is unsound from here on, so it does not matter how that
/// went.
async fn give_up(copy: PgCopyIn<&mut PgConnection>) {
    let _ = copy.abort("the rows cannot be read").await;
}

/// Waits until a server process has ended; not longer than anybody waits for a lock.
async fn wait_until_gone(pool: &Arc<Pool>, pid: i32) -> Result<()> {
    let deadline = tokio::time::Instant::now() + LOCK_TIMEOUT;
    let mut connection = pool.lease().await?;
    loop {
        let sql = "select exists (select from pg_stat_activity where pid = $1)";
        let there: bool = sqlx::query_scalar(sql)
            .bind(pid)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| failure("unable to see a transaction rolled back", error))?;
        if !there || tokio::time::Instant::now() > deadline {
            connection.release();
            return Ok(());
        }
        tokio::time::sleep(RETRY_DELAY / 20).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_have_locks_of_their_own() {
        assert_ne!(lock_key(&TenantId::new("1")), lock_key(&TenantId::new("2")));
        assert_eq!(lock_key(&TenantId::new("1")), lock_key(&TenantId::new("1")));
    }
}
