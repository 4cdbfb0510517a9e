//! Events: `reinstate.event`, append-only. A number is taken once, so that nobody builds on what has changed meanwhile.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::super::EventRecord;
use super::journal;
use crate::database::postgres::error::failure;
use crate::error::{Error, Result};
use crate::model::{PlanHash, TenantId};

const SELECT: &str = "select plan, tenant, number, at, run, who, body from reinstate.event
                      where plan = $1 and ($2::bigint is null or (tenant = '' and number > $2))
                      order by tenant, number";

const INSERT: &str = "insert into reinstate.event (plan, tenant, number, at, run, who, body)
                      values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing";

/// The events of a plan; those of the run after a number, if it is given. None if nothing was ever written here.
pub async fn read(
    connection: &mut PgConnection,
    plan: &PlanHash,
    after: Option<u64>,
) -> Result<Vec<EventRecord>> {
    if !journal::exists(connection, "reinstate.event").await? {
        return Ok(vec![]);
    }
    let query = sqlx::query(SELECT).bind(plan.as_str()).bind(after.map(number).transpose()?);
    let rows = query.fetch_all(connection).await.map_err(unable_to_read)?;
    rows.iter().map(event).collect()
}

/// Adds an event; `false` if its number is taken.
pub async fn write(connection: &mut PgConnection, event: &EventRecord) -> Result<bool> {
    let done = sqlx::query(INSERT)
        .bind(event.plan.as_str())
        .bind(event.tenant.as_ref().map_or("", TenantId::as_str))
        .bind(number(event.number)?)
        .bind(event.at.to_string())
        .bind(&event.run)
        .bind(&event.who)
        .bind(&event.body)
        .execute(connection)
        .await
        .map_err(|error| failure("unable to write to 'reinstate.event'", error))?;
    Ok(done.rows_affected() == 1)
}

fn number(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|error| Error::bug("there are too many events").because(error))
}

fn unable_to_read(error: sqlx::Error) -> Error {
    failure("unable to read 'reinstate.event'", error)
}

fn event(row: &PgRow) -> Result<EventRecord> {
    let damaged = |what: &str| {
        Error::refused(format!("unable to read 'reinstate.event': its {what} is damaged"))
            .hint("somebody changed it by hand; restore the row or ask who did")
    };
    let text = |index: usize| row.try_get::<String, _>(index).map_err(unable_to_read);
    let number: i64 = row.try_get(2).map_err(unable_to_read)?;
    Ok(EventRecord {
        plan: PlanHash::new(text(0)?),
        tenant: Some(text(1)?).filter(|tenant| !tenant.is_empty()).map(TenantId::new),
        number: u64::try_from(number).map_err(|_| damaged("number"))?,
        at: text(3)?.parse::<Timestamp>().map_err(|_| damaged("instant"))?,
        run: text(4)?,
        who: text(5)?,
        body: text(6)?,
    })
}
