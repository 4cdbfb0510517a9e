//! The journal: the table `reinstate_journal` of the file itself, so that its rows commit with the tenants'
//! rows. Beside it events ([`super::event`]) and what the gates held ([`super::gate`]).

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, SqliteExecutor};

use super::SqliteShard;
use crate::error::{Error, Result};
use crate::model::{PlanHash, SnapshotId, TenantId};
use crate::shard::JournalEntry;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS main.reinstate_journal (
    plan TEXT NOT NULL,
    tenant TEXT NOT NULL,
    snapshot TEXT NOT NULL,
    run TEXT NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    started_at TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    transaction_id TEXT,
    PRIMARY KEY (plan, tenant));
CREATE TABLE IF NOT EXISTS main.reinstate_event (
    plan TEXT NOT NULL,
    tenant TEXT NOT NULL,
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    run TEXT NOT NULL,
    who TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (plan, tenant, number));
CREATE TABLE IF NOT EXISTS main.reinstate_gate (
    plan TEXT NOT NULL,
    tenant TEXT NOT NULL,
    original,
    PRIMARY KEY (plan, tenant))";

const SELECT: &str = "SELECT plan, tenant, snapshot, run, rows, bytes, fingerprint, started_at, recorded_at,
    transaction_id FROM main.reinstate_journal
    WHERE plan = ?1 AND (?2 IS NULL OR tenant = ?2) ORDER BY tenant";

const INSERT: &str = "INSERT OR ABORT INTO main.reinstate_journal (plan, tenant, snapshot, run, rows, bytes,
    fingerprint, started_at, recorded_at, transaction_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Whether a table of the engine's own is there.
pub async fn exists(connection: impl SqliteExecutor<'_>, table: &str) -> Result<bool, sqlx::Error> {
    let sql = "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = ?";
    Ok(sqlx::query_scalar::<_, i64>(sql).bind(table).fetch_one(connection).await? > 0)
}

/// Creates the journal; asks for the write lock only if there is none yet.
pub async fn prepare(shard: &SqliteShard) -> Result<()> {
    let unable = |error| shard.database.unable("create the journal of", error);
    if exists(&shard.readers, "reinstate_gate").await.map_err(unable)? {
        return Ok(());
    }
    let mut writer = shard.writer.lock().await;
    let mut connection = match writer.take() {
        Some(connection) => connection,
        None => shard.database.connect_writer().await?,
    };
    sqlx::raw_sql(CREATE).execute(&mut connection).await.map_err(unable)?;
    *writer = Some(connection);
    Ok(())
}

/// The entries of a plan; none if there is no journal.
pub async fn entries(shard: &SqliteShard, plan: &PlanHash) -> Result<Vec<JournalEntry>> {
    let unable = |error| shard.database.unable("read the journal of", error);
    if !exists(&shard.readers, "reinstate_journal").await.map_err(unable)? {
        return Ok(Vec::new());
    }
    let query = sqlx::query(SELECT).bind(plan.as_str()).bind(None::<String>);
    let rows = query.fetch_all(&shard.readers).await.map_err(unable)?;
    rows.iter().map(|row| entry(row).map_err(unable)).collect()
}

/// The entry of one tenant, as the connection sees it.
pub async fn find(
    connection: &mut SqliteConnection,
    plan: &PlanHash,
    tenant: &TenantId,
) -> Result<Option<JournalEntry>, sqlx::Error> {
    let query = sqlx::query(SELECT).bind(plan.as_str()).bind(tenant.as_str());
    query.fetch_optional(connection).await?.map(|row| entry(&row)).transpose()
}

/// Writes an entry.
pub async fn insert(connection: &mut SqliteConnection, entry: &JournalEntry) -> Result<()> {
    let count = |count: u64| {
        i64::try_from(count)
            .map_err(|error| Error::bug("a count is too large for the journal").because(error))
    };
    let query = sqlx::query(INSERT)
        .bind(entry.plan.as_str())
        .bind(entry.tenant.as_str())
        .bind(entry.snapshot.as_str())
        .bind(&entry.run)
        .bind(count(entry.rows)?)
        .bind(count(entry.bytes)?)
        .bind(entry.fingerprint.to_string())
        .bind(entry.started_at.to_string())
        .bind(entry.recorded_at.to_string())
        .bind(&entry.transaction_id);
    let unable = || format!("unable to record tenant '{}' in the journal", entry.tenant);
    query
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| crate::database::sqlite::error::explain(unable(), error))
}

fn entry(row: &SqliteRow) -> Result<JournalEntry, sqlx::Error> {
    Ok(JournalEntry {
        plan: PlanHash::new(row.try_get::<String, _>(0)?),
        tenant: TenantId::new(row.try_get::<String, _>(1)?),
        snapshot: SnapshotId::new(row.try_get::<String, _>(2)?),
        run: row.try_get(3)?,
        rows: row.try_get::<i64, _>(4)?.try_into().map_err(decode)?,
        bytes: row.try_get::<i64, _>(5)?.try_into().map_err(decode)?,
        fingerprint: row.try_get::<&str, _>(6)?.parse().map_err(decode)?,
        started_at: row.try_get::<&str, _>(7)?.parse::<Timestamp>().map_err(decode)?,
        recorded_at: row.try_get::<&str, _>(8)?.parse::<Timestamp>().map_err(decode)?,
        transaction_id: row.try_get(9)?,
    })
}

fn decode(error: impl Into<sqlx::error::BoxDynError>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
