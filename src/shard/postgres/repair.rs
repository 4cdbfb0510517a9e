//! What only repairs do to user tables: UPDATE by primary key, and DELETE. The rows travel as a relation of the
//! server's own (`k`), so that keys mean what they mean to the server.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;

use super::ask::RowTypes;
use crate::database::postgres::catalog::Relations;
use crate::database::postgres::error::failure;
use crate::database::postgres::owner::ROW;
use crate::database::postgres::relation::{self, Relation, RowType};
use crate::error::{Error, Result};
use crate::model::wire::Tuples;
use crate::model::{Table, TableName, quote_identifier};

/// Columns that take no value in an UPDATE.
const IDENTITIES: &str =
    "select attname::text from pg_catalog.pg_attribute where attrelid = $1 and attidentity = 'a'";

/// Gives the live rows of the same keys the values of these; the number of rows that were changed.
pub async fn update(
    connection: &mut PgConnection,
    relations: &Relations,
    row_types: &RowTypes,
    table: &Table,
    tuples: &Tuples,
) -> Result<u64> {
    let unable = |error| failure(format!("unable to update rows of table '{}'", table.name), error);
    let oid = Oid(relations.get(&table.name)?.oid);
    let identities: Vec<String> =
        sqlx::query_scalar(IDENTITIES).bind(oid).fetch_all(&mut *connection).await.map_err(unable)?;
    let row_type = row_types.get(connection, relations, &table.name).await?;
    let set: Vec<String> = table
        .stored_columns()
        .filter(|column| !table.primary_key.contains(&column.name) && !identities.contains(&column.name))
        .map(|column| quote_identifier(&column.name))
        .map(|column| format!("{column} = k.{column}"))
        .collect();
    if set.is_empty() || tuples.is_empty() {
        return Ok(0);
    }
    let (item, set, same_key) = (relations.from_item(&table.name)?, set.join(", "), same_key(table)?);
    let mut updated = 0;
    for relation in sendable(&row_type, table, tuples)? {
        let sql = format!("UPDATE {item} r SET {set} FROM {} WHERE {same_key}", relation.from_item);
        // Safe: quoted identifiers, and what the server itself gave; the rows are bound.
        let query = relation.bound(AssertSqlSafe(sql));
        updated += query.execute(&mut *connection).await.map_err(unable)?.rows_affected();
    }
    Ok(updated)
}

/// Deletes these rows, each once: by their keys, or by all that they hold, among the rows for which `predicate`, a
/// condition on [`ROW`], is true.
pub async fn delete(
    connection: &mut PgConnection,
    relations: &Relations,
    row_types: &RowTypes,
    table: &Table,
    predicate: &str,
    tuples: &Tuples,
) -> Result<()> {
    let unable = |error| failure(format!("unable to delete rows of table '{}'", table.name), error);
    if tuples.is_empty() {
        return Ok(());
    }
    let row_type = row_types.get(connection, relations, &table.name).await?;
    let item = relations.from_item(&table.name)?;
    for relation in sendable(&row_type, table, tuples)? {
        let wanted = &relation.from_item;
        let sql = if table.primary_key.is_empty() {
            by_content(table, &item, wanted, predicate)
        } else {
            format!("DELETE FROM {item} r USING {wanted} WHERE {}", same_key(table)?)
        };
        // Safe: as above.
        relation.bound(AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(unable)?;
    }
    Ok(())
}

/// Equal rows cannot be told apart: as many of them go as are wanted.
fn by_content(table: &Table, item: &str, wanted: &str, predicate: &str) -> String {
    let (live, asked) = (relation::sent(table, ROW), relation::sent(table, "k"));
    format!(
        "DELETE FROM {item} r USING (
           SELECT l.part, l.place
           FROM (SELECT {ROW}.tableoid AS part, {ROW}.ctid AS place, {live} AS content,
                        pg_catalog.row_number() OVER (PARTITION BY {live}) AS number
                 FROM {item} {ROW} WHERE {predicate}) l
           JOIN (SELECT {asked} AS content, pg_catalog.count(*) AS copies FROM {wanted} GROUP BY 1) w
             ON l.content OPERATOR(pg_catalog.=) w.content AND l.number OPERATOR(pg_catalog.<=) w.copies
         ) doomed
         WHERE r.tableoid OPERATOR(pg_catalog.=) doomed.part AND r.ctid OPERATOR(pg_catalog.=) doomed.place"
    )
}

fn sendable(row_type: &RowType, table: &Table, tuples: &Tuples) -> Result<Vec<Relation>> {
    let unfit = |error| Error::failed(format!("unable to send rows of '{}'", table.name)).because(error);
    row_type.relations(table, tuples, None, "k").map_err(unfit)
}

/// That `r` and `k` have the same primary key.
fn same_key(table: &Table) -> Result<String> {
    let key = table.primary().ok_or_else(|| no_key(&table.name))?;
    let operators = key.terms.iter().map(|term| term.operator.as_deref());
    let equal =
        table.primary_key.iter().zip(operators.chain(std::iter::repeat(None))).map(|(column, operator)| {
            let column = quote_identifier(column);
            format!("r.{column} {} k.{column}", operator.unwrap_or("OPERATOR(pg_catalog.=)"))
        });
    Ok(equal.collect::<Vec<_>>().join(" AND "))
}

/// The plan never asks for it.
fn no_key(name: &TableName) -> Error {
    Error::bug(format!("rows of table '{name}' cannot be updated: it has no primary key"))
}
