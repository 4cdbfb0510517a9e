//! A check of the configuration: a query that must return no rows.

use sqlx::{AssertSqlSafe, Column, Row, ValueRef};

use super::SqliteShard;
use crate::error::{Error, Result};
use crate::model::TenantId;

/// The first row that the query returns, as `column=value` text.
pub async fn first_row(shard: &SqliteShard, sql: &str, tenant: &TenantId) -> Result<Option<String>> {
    let unable = |error| shard.database.unable("run the query of a check in", error);
    let body = sql.trim().trim_end_matches(';');
    // Safe: the query is the operator's own, over a connection that cannot write; the tenant is bound.
    let sql = AssertSqlSafe(format!("SELECT * FROM (\n{body}\n) LIMIT 1"));
    let row = sqlx::query(sql).bind(tenant.as_str()).fetch_optional(&shard.readers).await.map_err(unable)?;
    let text = |row: sqlx::sqlite::SqliteRow| -> Result<String, sqlx::Error> {
        let mut fields = Vec::new();
        for (index, column) in row.columns().iter().enumerate() {
            let value = match row.try_get_raw(index)?.is_null() {
                true => "NULL".to_owned(),
                false => row.try_get_unchecked::<String, _>(index)?,
            };
            fields.push(format!("{}={value}", column.name()));
        }
        Ok(fields.join(" "))
    };
    row.map(text)
        .transpose()
        .map_err(|error| Error::failed("unable to read what the query returned").because(error))
}
