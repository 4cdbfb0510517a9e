//! One tenant's transaction: BEGIN IMMEDIATE, inserts, cleared queues, read-back, the journal's row, COMMIT.
//!
//! What it wrote is counted twice. SQLite's update hook names the table of every row that is inserted,
//! updated or deleted, by triggers and cascades too; but it does not see WITHOUT ROWID tables.
//! `total_changes()` counts those too, but names nothing. What only the count saw is our own as far as we
//! wrote to such tables, and unattributed beyond. Neither sees rows that are deleted to make room (`OR
//! REPLACE`), so every insert says `OR ABORT`, which also overrides what triggers and constraints say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteOperation, UpdateHookResult};
use sqlx::{AssertSqlSafe, query};
use tokio::sync::OwnedMutexGuard;

use super::{SqliteShard, ask, event, gate, journal, queue, repair};
use crate::database::sqlite::catalog::{OWN_TABLES, SCHEMA, tables_without_rowid};
use crate::database::sqlite::error::{explain, is_busy};
use crate::database::sqlite::values::Parameters;
use crate::database::sqlite::{Database, owner, rows};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::limits::{
    RETRY_DELAY, SQLITE_CLAIM_ATTEMPTS_MAX, SQLITE_INSERT_ROWS_MAX, SQLITE_PARAMETERS_MAX, TABLES_ASKED_MAX,
};
use crate::memory::Share;
use crate::model::wire::Tuples;
use crate::model::{
    Fingerprint, Gate, OwnedTable, PlanHash, QueueLink, Sequence, Table, TableName, TenantId,
    quote_identifier,
};
use crate::shard::{
    Answer, Ask, Chunk, ChunkStream, Claim, EventRecord, JournalEntry, Question, Rows, Session, TableWrites,
    WriteSet,
};

/// What the update hook saw, by table; SQLite's thread writes, the session reads between statements.
#[derive(Default)]
struct Seen {
    tables: BTreeMap<String, TableWrites>,
    /// Changes outside the schema `main`, or of a kind that SQLite does not have yet.
    elsewhere: u64,
}

struct SqliteSession {
    database: Database,
    connection: SqliteConnection,
    /// Where the connection goes after a clean end. A dropped session closes it instead, which rolls back.
    slot: OwnedMutexGuard<Option<SqliteConnection>>,
    seen: Arc<Mutex<Seen>>,
    /// `total_changes()` when the transaction began.
    changes_before: i64,
    /// Tables that the hook is blind for, with what this session wrote there.
    unseen: BTreeMap<String, TableWrites>,
    /// Every insert so far came to its end. A statement that fails undoes itself but not those before it:
    /// only a sound session may commit.
    sound: bool,
}

/// Adds an event by itself.
pub async fn append(shard: &SqliteShard, added: &EventRecord) -> Result<bool> {
    let mut slot = shard.writer.clone().lock_owned().await;
    let mut connection = match slot.take() {
        Some(connection) => connection,
        None => shard.database.connect_writer().await?,
    };
    let unable = |error| shard.database.unable("add an event to", error);
    if !lock(&mut connection).await.map_err(unable)? {
        return Err(Error::failed(format!("unable to add an event to shard '{}'", shard.database.name()))
            .hint("other writers kept the file locked all the time; try again"));
    }
    let appended = event::insert(&mut connection, added).await?;
    query("COMMIT").execute(&mut connection).await.map_err(unable)?;
    *slot = Some(connection);
    Ok(appended)
}

/// Claims a tenant, unless it is done by the plan, if that is given: waits for this command's own writer, then for the
/// file's write lock.
pub async fn begin(shard: &SqliteShard, plan: Option<&PlanHash>, tenant: &TenantId) -> Result<Claim> {
    let mut slot = shard.writer.clone().lock_owned().await;
    let mut connection = match slot.take() {
        Some(connection) => connection,
        None => shard.database.connect_writer().await?,
    };
    let unable = |error| shard.database.unable("begin a transaction in", error);
    if !lock(&mut connection).await.map_err(unable)? {
        *slot = Some(connection);
        return Ok(Claim::Held { by: "another writer of the file".to_owned() });
    }
    let done = match plan {
        Some(plan) => journal::find(&mut connection, plan, tenant).await.map_err(unable)?,
        None => None,
    };
    if let Some(entry) = done {
        query("ROLLBACK").execute(&mut connection).await.map_err(unable)?;
        *slot = Some(connection);
        return Ok(Claim::Done(entry));
    }
    // All foreign keys wait for the commit: cycles and self references come in any order. Ends with the
    // transaction.
    query("PRAGMA defer_foreign_keys = ON").execute(&mut connection).await.map_err(unable)?;
    let blind = tables_without_rowid(&mut connection).await.map_err(unable)?;
    let seen = watch(&mut connection).await.map_err(unable)?;
    let changes_before = total_changes(&mut connection).await.map_err(unable)?;
    Ok(Claim::Session(Box::new(SqliteSession {
        database: shard.database.clone(),
        connection,
        slot,
        seen,
        changes_before,
        unseen: blind.into_iter().map(|table| (table, TableWrites::default())).collect(),
        sound: true,
    })))
}

/// Takes the write lock; `false` if others kept it all the time. Neighbours hold it for moments, so it is
/// worth asking again, each time for as long as the busy time-out.
async fn lock(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let mut pause: Duration = RETRY_DELAY;
    for attempt in 1..=SQLITE_CLAIM_ATTEMPTS_MAX {
        match query("BEGIN IMMEDIATE").execute(&mut *connection).await {
            Ok(_) => return Ok(true),
            Err(error) if !is_busy(&error) => return Err(error),
            Err(_) if attempt == SQLITE_CLAIM_ATTEMPTS_MAX => break,
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause *= 2;
    }
    Ok(false)
}

/// Sets the update hook, in place of the one of the session before.
async fn watch(connection: &mut SqliteConnection) -> Result<Arc<Mutex<Seen>>, sqlx::Error> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = seen.clone();
    connection.lock_handle().await?.set_update_hook(move |change: UpdateHookResult<'_>| {
        let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if change.database != SCHEMA {
            seen.elsewhere += 1;
            return;
        }
        if !seen.tables.contains_key(change.table) {
            seen.tables.insert(change.table.to_owned(), TableWrites::default());
        }
        let Some(writes) = seen.tables.get_mut(change.table) else { return };
        match change.operation {
            SqliteOperation::Insert => writes.inserted += 1,
            SqliteOperation::Update => writes.updated += 1,
            SqliteOperation::Delete => writes.deleted += 1,
            SqliteOperation::Unknown(_) => seen.elsewhere += 1,
        }
    });
    Ok(seen)
}

async fn total_changes(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT total_changes()").fetch_one(connection).await
}

#[async_trait]
impl Ask for SqliteSession {
    async fn ask(&mut self, rows: &Rows<'_>, question: &Question<'_>) -> Result<Vec<Answer>> {
        ask::ask(&mut self.connection, rows, question).await
    }
}

#[async_trait]
impl Session for SqliteSession {
    async fn write(&mut self, table: &OwnedTable, mut chunks: ChunkStream) -> Result<u64> {
        let table = &table.table;
        self.begin_step()?;
        let rows_max =
            (SQLITE_PARAMETERS_MAX / table.stored_columns().count().max(1)).min(SQLITE_INSERT_ROWS_MAX);
        let mut written = 0;
        while let Some(chunk) = chunks.next().await {
            written += self.insert(table, &chunk?, rows_max).await?;
        }
        if let Some(unseen) = self.unseen.get_mut(&table.name.table) {
            unseen.inserted += written;
        }
        self.sound = true;
        Ok(written)
    }

    async fn delete_queued(&mut self, rows: &Rows<'_>, link: &QueueLink) -> Result<u64> {
        self.begin_step()?;
        let deleted = queue::delete(&mut self.connection, rows, link).await?;
        if let Some(unseen) = self.unseen.get_mut(&link.queue.table) {
            unseen.deleted += deleted;
        }
        self.sound = true;
        Ok(deleted)
    }

    /// Nobody else writes since BEGIN IMMEDIATE: the rows are as they were read.
    async fn update(
        &mut self,
        table: &OwnedTable,
        mut chunks: ChunkStream,
        _live: &mut Ledger,
    ) -> Result<u64> {
        self.begin_step()?;
        let mut updated = 0;
        while let Some(chunk) = chunks.next().await {
            updated += repair::update(&mut self.connection, &table.table, &chunk?.batch).await?;
        }
        self.updated(table, updated);
        Ok(updated)
    }

    async fn extra(
        &mut self,
        table: &OwnedTable,
        tenant: &TenantId,
        known: Ledger,
        share: Share,
    ) -> Result<Tuples> {
        let select = owner::select_stored(table, tenant)?;
        rows::extra(&mut self.connection, &table.table, select, known, share).await
    }

    async fn delete(&mut self, table: &OwnedTable, _tenant: &TenantId, rows: &Tuples) -> Result<u64> {
        self.begin_step()?;
        let deleted = repair::delete(&mut self.connection, &table.table, rows).await?;
        if let Some(unseen) = self.unseen.get_mut(&table.table.name.table) {
            unseen.deleted += deleted;
        }
        self.sound = true;
        Ok(deleted)
    }

    /// Nothing to move: SQLite has no sequences, and AUTOINCREMENT follows the ids that are inserted.
    async fn advance_sequences(&mut self, _restored: &[(Sequence, i64)]) -> Result<()> {
        Ok(())
    }

    async fn read_back(&mut self, table: &OwnedTable, tenant: &TenantId) -> Result<Fingerprint> {
        rows::fingerprint(&mut self.connection, &table.table, owner::select_stored(table, tenant)?).await
    }

    async fn row_hashes(&mut self, table: &OwnedTable, tenant: &TenantId, share: Share) -> Result<Ledger> {
        let select = owner::select_stored(table, tenant)?;
        let mut hashes = share.ledger();
        rows::hashes(&mut self.connection, &table.table, select, |hash| hashes.add(hash)).await?;
        Ok(hashes)
    }

    async fn tables_with_rows(
        &mut self,
        tables: &[&OwnedTable],
        tenant: &TenantId,
    ) -> Result<Vec<TableName>> {
        let unable =
            |error| self.database.unable(&format!("look for other rows of tenant '{tenant}' in"), error);
        let mut found = Vec::new();
        for asked in tables.chunks(TABLES_ASKED_MAX) {
            let select = owner::select_held(asked, tenant)?;
            // Safe: all names in it are quoted, the id is bound.
            let ask = sqlx::query_scalar_with(AssertSqlSafe(select.sql), select.arguments);
            let mut numbers: Vec<i64> = ask.fetch_all(&mut self.connection).await.map_err(unable)?;
            numbers.sort_unstable();
            let named = numbers.into_iter().filter_map(|number| asked.get(usize::try_from(number).ok()?));
            found.extend(named.map(|owned| owned.table.name.clone()));
        }
        Ok(found)
    }

    async fn write_set(&mut self) -> Result<WriteSet> {
        let unable = |error| self.database.unable("count the changes in", error);
        let total = total_changes(&mut self.connection).await.map_err(unable)? - self.changes_before;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tables: BTreeMap<TableName, TableWrites> = BTreeMap::new();
        let mut named = 0;
        for (table, writes) in &seen.tables {
            named += writes.inserted + writes.updated + writes.deleted;
            tables.insert(TableName::new(SCHEMA, table), *writes);
        }
        for (table, own) in self.unseen.iter().filter(|(_, own)| **own != TableWrites::default()) {
            named += own.inserted + own.updated + own.deleted;
            let writes = tables.entry(TableName::new(SCHEMA, table)).or_default();
            writes.inserted += own.inserted;
            writes.updated += own.updated;
            writes.deleted += own.deleted;
        }
        tables.retain(|table, _| !OWN_TABLES.contains(&table.table.as_str()));
        // A negative difference would mean that the hook saw what the count did not: as unexplained as the
        // other way.
        let unattributed = (total - named as i64).unsigned_abs() + seen.elsewhere;
        Ok(WriteSet { tables, unattributed })
    }

    async fn close_gate(
        &mut self,
        root: &OwnedTable,
        gate: &Gate,
        plan: &PlanHash,
        tenant: &TenantId,
    ) -> Result<u64> {
        self.begin_step()?;
        let closed = gate::close(&mut self.connection, root, gate, plan, tenant).await?;
        self.updated(root, closed);
        Ok(closed)
    }

    async fn open_gate(
        &mut self,
        root: &OwnedTable,
        gate: &Gate,
        plan: &PlanHash,
        tenant: &TenantId,
    ) -> Result<u64> {
        self.begin_step()?;
        let opened = gate::open(&mut self.connection, root, gate, plan, tenant).await?;
        self.updated(root, opened);
        Ok(opened)
    }

    async fn append(&mut self, event: &EventRecord) -> Result<bool> {
        self.begin_step()?;
        let appended = event::insert(&mut self.connection, event).await?;
        self.sound = true;
        Ok(appended)
    }

    async fn record(&mut self, entry: &JournalEntry) -> Result<JournalEntry> {
        self.begin_step()?;
        journal::insert(&mut self.connection, entry).await?;
        self.sound = true;
        Ok(entry.clone())
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        self.begin_step()?;
        if let Err(error) = query("COMMIT").execute(&mut self.connection).await {
            let failed = self.database.unable("commit to", error);
            // A refused COMMIT leaves the transaction open.
            self.roll_back().await?;
            return Err(failed);
        }
        self.put_back();
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.roll_back().await
    }
}

impl SqliteSession {
    /// Begins a step that leaves the session unsound unless it comes to its end, by an error or by
    /// cancellation.
    fn begin_step(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.sound) {
            return Err(Error::bug(format!(
                "the transaction in shard '{}' has failed already",
                self.database.name()
            )));
        }
        Ok(())
    }

    /// Ends a step that updated rows.
    fn updated(&mut self, owned: &OwnedTable, rows: u64) {
        if let Some(unseen) = self.unseen.get_mut(&owned.table.name.table) {
            unseen.updated += rows;
        }
        self.sound = true;
    }

    /// Inserts the rows of one chunk by statements of at most `rows_max` rows.
    async fn insert(&mut self, table: &Table, chunk: &Chunk, rows_max: usize) -> Result<u64> {
        let unable = |error| explain(format!("unable to write rows of table '{}'", table.name), error);
        let rows = chunk.batch.num_rows();
        let mut written = 0;
        for first in (0..rows).step_by(rows_max) {
            let count = rows_max.min(rows - first);
            let mut arguments = SqliteArguments::default();
            {
                let parameters = Parameters::new(table, &chunk.batch)?;
                for row in first..first + count {
                    parameters.bind(row, &mut arguments)?;
                }
            }
            // Safe: names are quoted, values are bound. Only the statement of full size is worth keeping.
            let insert =
                sqlx::query_with(AssertSqlSafe(insert_sql(&table.name.quoted(), table, count)), arguments);
            let insert = insert.persistent(count == rows_max);
            written += insert.execute(&mut self.connection).await.map_err(unable)?.rows_affected();
        }
        Ok(written)
    }

    async fn roll_back(mut self) -> Result<()> {
        let rolled_back = query("ROLLBACK").execute(&mut self.connection).await;
        match rolled_back {
            Ok(_) => {
                self.put_back();
                Ok(())
            }
            // SQLite has rolled back by itself (disk full, out of memory): closing the connection is all that
            // is left.
            Err(_) => Ok(()),
        }
    }

    fn put_back(self) {
        let Self { connection, mut slot, .. } = self;
        *slot = Some(connection);
    }
}

/// Inserts rows of `table` into a table of this name.
pub(super) fn insert_sql(name: &str, table: &Table, rows: usize) -> String {
    let columns: Vec<String> = table.stored_columns().map(|column| quote_identifier(&column.name)).collect();
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    let values = vec![row; rows].join(", ");
    format!("INSERT OR ABORT INTO {name} ({}) VALUES {values}", columns.join(", "))
}
