//! Entries of deletion queues about rows that come back. The rows travel along as a relation (`k`): an entry goes away
//! because it names one of them, whatever else the table holds by now.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::super::Rows;
use super::ask::RowTypes;
use crate::database::postgres::catalog::Relations;
use crate::database::postgres::error::failure;
use crate::database::postgres::owner::literal;
use crate::database::postgres::relation::PLACE;
use crate::error::{Error, Result};
use crate::model::{QueueLink, quote_identifier};

/// Deletes them; returns how many.
pub async fn delete(
    connection: &mut PgConnection,
    relations: &Relations,
    row_types: &RowTypes,
    rows: &Rows<'_>,
    link: &QueueLink,
) -> Result<u64> {
    let table = &rows.owned.table;
    if rows.tuples.is_empty() {
        return Ok(0);
    }
    let row_type = row_types.get(connection, relations, &table.name).await?;
    let queue = relations.from_item(&link.queue)?;
    let unfit = |error| Error::failed(format!("unable to look up rows of '{}'", table.name)).because(error);
    let unable = |error| failure(format!("unable to clear deletion queue '{}'", link.queue), error);
    let mut deleted = 0;
    for relation in row_type.relations(table, rows.tuples, Some(&link.key()), "k").map_err(unfit)? {
        let sql = format!("DELETE FROM {queue} q USING {} WHERE {}", relation.from_item, names(link));
        // Safe: quoted identifiers and a literal of the configuration; the rows are bound.
        let query = relation.bound(AssertSqlSafe(sql));
        deleted += query.execute(&mut *connection).await.map_err(unable)?.rows_affected();
    }
    Ok(deleted)
}

/// The rows of `asked` that an entry names, one result an entry.
pub fn queued(asked: &str, relations: &Relations, link: &QueueLink) -> Result<String> {
    Ok(format!(
        "SELECT k.{PLACE}::pg_catalog.int8, 0, NULL::pg_catalog.bytea, 0::pg_catalog.int8, ''::pg_catalog.text
         FROM {asked} JOIN {} q ON {}",
        relations.from_item(&link.queue)?,
        names(link)
    ))
}

/// Whether the entry `q` names the row `k`.
fn names(link: &QueueLink) -> String {
    let mut conditions: Vec<String> = link
        .columns
        .iter()
        .map(|pair| {
            let cast = if pair.as_text { "::pg_catalog.text" } else { "" };
            let (own, key) = (quote_identifier(&pair.column), quote_identifier(&pair.key));
            format!("q.{own}{cast} OPERATOR(pg_catalog.=) k.{key}{cast}")
        })
        .collect();
    conditions.extend(link.when.as_ref().map(|when| {
        let (column, value) = (quote_identifier(&when.column), literal(&when.equals));
        format!("q.{column}::pg_catalog.text OPERATOR(pg_catalog.=) {value}")
    }));
    conditions.join(" AND ")
}
