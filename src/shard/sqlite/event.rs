//! Events: the table `reinstate_event` of the file itself, append-only. A number is taken once, so that nobody builds
//! on what has changed meanwhile.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::{SqliteShard, journal};
use crate::error::{Error, Result};
use crate::model::{PlanHash, TenantId};
use crate::shard::EventRecord;

const SELECT: &str = "SELECT plan, tenant, number, at, run, who, body FROM main.reinstate_event
    WHERE plan = ?1 AND (?2 IS NULL OR (tenant = '' AND number > ?2)) ORDER BY tenant, number";

const INSERT: &str = "INSERT OR IGNORE INTO main.reinstate_event (plan, tenant, number, at, run, who, body)
    VALUES (?, ?, ?, ?, ?, ?, ?)";

/// The events of a plan; those of the run after a number, if it is given. None if nothing was ever written here.
pub async fn read(shard: &SqliteShard, plan: &PlanHash, after: Option<u64>) -> Result<Vec<EventRecord>> {
    let unable = |error| shard.database.unable("read the events of", error);
    if !journal::exists(&shard.readers, "reinstate_event").await.map_err(unable)? {
        return Ok(Vec::new());
    }
    let query = sqlx::query(SELECT).bind(plan.as_str()).bind(after.map(number).transpose()?);
    let rows = query.fetch_all(&shard.readers).await.map_err(unable)?;
    rows.iter().map(|row| event(row).map_err(unable)).collect()
}

/// Adds an event; `false` if its number is taken.
pub async fn insert(connection: &mut SqliteConnection, event: &EventRecord) -> Result<bool> {
    let query = sqlx::query(INSERT)
        .bind(event.plan.as_str())
        .bind(event.tenant.as_ref().map_or("", TenantId::as_str))
        .bind(number(event.number)?)
        .bind(event.at.to_string())
        .bind(&event.run)
        .bind(&event.who)
        .bind(&event.body);
    let unable = |error| crate::database::sqlite::error::explain("unable to add an event".to_owned(), error);
    query.execute(connection).await.map(|done| done.rows_affected() == 1).map_err(unable)
}

fn number(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|error| Error::bug("there are too many events").because(error))
}

fn event(row: &SqliteRow) -> Result<EventRecord, sqlx::Error> {
    let decode = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    Ok(EventRecord {
        plan: PlanHash::new(row.try_get::<String, _>(0)?),
        tenant: Some(row.try_get::<String, _>(1)?).filter(|tenant| !tenant.is_empty()).map(TenantId::new),
        number: u64::try_from(row.try_get::<i64, _>(2)?).map_err(|error| decode(error.into()))?,
        at: row.try_get::<&str, _>(3)?.parse::<Timestamp>().map_err(|error| decode(error.into()))?,
        run: row.try_get(4)?,
        who: row.try_get(5)?,
        body: row.try_get(6)?,
    })
}
