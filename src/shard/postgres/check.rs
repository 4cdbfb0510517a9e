//! A check of the configuration: a query that must return no rows.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

use crate::database::postgres::error::failure;
use crate::error::{Error, Result};
use crate::limits::CHECK_TIMEOUT;
use crate::model::TenantId;

/// The first row that the query returns, as text.
pub async fn first_row(
    connection: &mut PgConnection,
    sql: &str,
    tenant: &TenantId,
) -> Result<Option<String>> {
    let unable = |error: sqlx::Error| -> Error { failure("unable to run the query", error) };
    let mut transaction = connection.begin().await.map_err(unable)?;
    let setting = format!(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL search_path TO DEFAULT; \
         SET LOCAL statement_timeout = {}",
        CHECK_TIMEOUT.as_millis()
    );
    // Safe: a number.
    sqlx::raw_sql(AssertSqlSafe(setting)).execute(&mut *transaction).await.map_err(unable)?;
    let body = sql.trim().trim_end_matches(';');
    // Safe: the query is the operator's own, in a transaction that cannot write; the tenant is bound.
    let sql = AssertSqlSafe(format!("SELECT found::text FROM (\n{body}\n) found LIMIT 1"));
    let row =
        sqlx::query(sql).bind(tenant.as_str()).fetch_optional(&mut *transaction).await.map_err(unable)?;
    transaction.rollback().await.map_err(unable)?;
    row.map(|row| row.try_get::<Option<String>, _>(0).map(Option::unwrap_or_default))
        .transpose()
        .map_err(unable)
}
