//! The journal: which tenant was restored here by which plan. Its row commits with the tenant's rows. Beside it, where
//! the catalogue is: events ([`super::event`]) and what the gates held ([`super::gate`]).
//!
//! The only DDL of the engine, and only while the journal is missing: a role without CREATE works where a DBA
//! has run [`DDL`]. Instants are text in ISO form, so that what is read is what was written, to the
//! nanosecond.

use jiff::Timestamp;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};

use super::super::JournalEntry;
use crate::database::postgres::error::{failure, sqlstate};
use crate::error::{Error, Kind, Result};
use crate::model::{PlanHash, SnapshotId, TenantId};

/// Creates the journal; shown to whoever must run it by hand.
const DDL: &str = "CREATE SCHEMA IF NOT EXISTS reinstate;
CREATE TABLE IF NOT EXISTS reinstate.journal (
  plan text NOT NULL,
  tenant text NOT NULL,
  snapshot text NOT NULL,
  run text NOT NULL,
  rows bigint NOT NULL,
  bytes bigint NOT NULL,
  fingerprint text NOT NULL,
  started_at text NOT NULL,
  recorded_at text NOT NULL,
  transaction_id text,
  PRIMARY KEY (plan, tenant)
);
CREATE TABLE IF NOT EXISTS reinstate.event (
  plan text NOT NULL,
  tenant text NOT NULL,
  number bigint NOT NULL,
  at text NOT NULL,
  run text NOT NULL,
  who text NOT NULL,
  body text NOT NULL,
  PRIMARY KEY (plan, tenant, number)
);
CREATE TABLE IF NOT EXISTS reinstate.gate (
  plan text NOT NULL,
  tenant text NOT NULL,
  original text,
  PRIMARY KEY (plan, tenant)
);";

/// Processes that create the journal at the same moment do it one after the other: IF NOT EXISTS alone may
/// fail then.
const CREATION_LOCK: &str = "select pg_advisory_xact_lock(hashtextextended('reinstate.journal', 0))";

const COLUMNS: &str =
    "plan, tenant, snapshot, run, rows, bytes, fingerprint, started_at, recorded_at, transaction_id";

/// Creates the journal if it is missing, and checks that the role may use it.
pub async fn prepare(connection: &mut PgConnection) -> Result<()> {
    if !exists(connection, "reinstate.gate").await? {
        create(connection).await.map_err(|error| {
            let denied = matches!(sqlstate(&error), Some("42501"));
            let error = failure("unable to create the journal 'reinstate.journal'", error);
            if denied { error.hint(format!("or let its owner run, once:\n{DDL}")) } else { error }
        })?;
    }
    let sql = "select bool_and(has_table_privilege(name, 'select') and has_table_privilege(name, 'insert'))
               from unnest(array['reinstate.journal', 'reinstate.event', 'reinstate.gate']) name";
    let unable = |error| failure("unable to check the journal 'reinstate.journal'", error);
    match sqlx::query_scalar::<_, bool>(sql).fetch_one(connection).await.map_err(unable)? {
        true => Ok(()),
        false => Err(Error::new(Kind::Refused, "unable to use the journal 'reinstate.journal'").hint(
            "GRANT SELECT, INSERT ON TABLE reinstate.journal, reinstate.event, reinstate.gate TO the role",
        )),
    }
}

async fn create(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(CREATION_LOCK).execute(&mut *transaction).await?;
    sqlx::raw_sql(DDL).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Whether a table of the engine's own schema is there.
pub async fn exists(connection: &mut PgConnection, table: &str) -> Result<bool> {
    sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(table)
        .fetch_one(connection)
        .await
        .map_err(|error| failure(format!("unable to look for the journal '{table}'"), error))
}

/// The entries of a plan, by tenant.
pub async fn read(connection: &mut PgConnection, plan: &PlanHash) -> Result<Vec<JournalEntry>> {
    if !exists(connection, "reinstate.journal").await? {
        return Ok(vec![]);
    }
    // Safe: constants.
    let sql = sqlx::AssertSqlSafe(format!(
        "select {COLUMNS} from reinstate.journal where plan = $1 order by tenant"
    ));
    let rows = sqlx::query(sql).bind(plan.as_str()).fetch_all(connection).await.map_err(unable_to_read)?;
    rows.iter().map(entry).collect()
}

/// The entry of one tenant.
pub async fn find(
    connection: &mut PgConnection,
    plan: &PlanHash,
    tenant: &TenantId,
) -> Result<Option<JournalEntry>> {
    // Safe: constants.
    let sql = sqlx::AssertSqlSafe(format!(
        "select {COLUMNS} from reinstate.journal where plan = $1 and tenant = $2"
    ));
    let query = sqlx::query(sql).bind(plan.as_str()).bind(tenant.as_str());
    let row = query.fetch_optional(connection).await.map_err(unable_to_read)?;
    row.as_ref().map(entry).transpose()
}

/// Writes an entry, with the id of this transaction.
pub async fn write(connection: &mut PgConnection, entry: &JournalEntry) -> Result<JournalEntry> {
    let count = |value: u64| {
        i64::try_from(value).map_err(|error| Error::bug("a count does not fit the journal").because(error))
    };
    // Safe: constants.
    let sql = sqlx::AssertSqlSafe(format!(
        "insert into reinstate.journal ({COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, pg_current_xact_id()::text)
         returning transaction_id"
    ));
    let transaction_id = sqlx::query_scalar(sql)
        .bind(entry.plan.as_str())
        .bind(entry.tenant.as_str())
        .bind(entry.snapshot.as_str())
        .bind(&entry.run)
        .bind(count(entry.rows)?)
        .bind(count(entry.bytes)?)
        .bind(entry.fingerprint.to_string())
        .bind(entry.started_at.to_string())
        .bind(entry.recorded_at.to_string())
        .fetch_one(connection)
        .await
        .map_err(|error| failure(format!("unable to record tenant '{}'", entry.tenant), error))?;
    Ok(JournalEntry { transaction_id, ..entry.clone() })
}

fn unable_to_read(error: sqlx::Error) -> Error {
    failure("unable to read the journal 'reinstate.journal'", error)
}

fn entry(row: &PgRow) -> Result<JournalEntry> {
    let damaged = |what: &str| {
        Error::refused(format!("unable to read the journal 'reinstate.journal': its {what} is damaged"))
            .hint("somebody changed the journal by hand; restore the row or ask who did")
    };
    let text = |index: usize| row.try_get::<String, _>(index).map_err(unable_to_read);
    let count = |index: usize| {
        let value: i64 = row.try_get(index).map_err(unable_to_read)?;
        u64::try_from(value).map_err(|_| damaged("count"))
    };
    let instant = |index: usize| text(index)?.parse::<Timestamp>().map_err(|_| damaged("instant"));
    Ok(JournalEntry {
        plan: PlanHash::new(text(0)?),
        tenant: TenantId::new(text(1)?),
        snapshot: SnapshotId::new(text(2)?),
        run: text(3)?,
        rows: count(4)?,
        bytes: count(5)?,
        fingerprint: text(6)?.parse().map_err(|_| damaged("fingerprint"))?,
        started_at: instant(7)?,
        recorded_at: instant(8)?,
        transaction_id: row.try_get(9).map_err(unable_to_read)?,
    })
}
