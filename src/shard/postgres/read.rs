//! Reading live rows with ordinary SELECT statements: counts for the plan, rows for the independent verification.
//!
//! This is another way than the session's COPY on purpose: the two must agree. An id that is no value of the tenant
//! column's type (`abc` where ids are numbers) has no rows; it is no error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row, ValueRef};

use crate::bridge::compute;
use crate::database::postgres::catalog::Relations;
use crate::database::postgres::error::{failure, is_invalid_value};
use crate::database::postgres::feed::{BatchSender, feed};
use crate::database::postgres::owner;
use crate::database::postgres::pool::{Lease, Pool};
use crate::error::{Error, Result};
use crate::limits::{BATCH_BYTES_MAX, BATCH_ROWS_MAX};
use crate::model::wire::{Decoder, Tuples, push_tuple};
use crate::model::{OwnedTable, Table, TenantId};

/// Live rows of each tenant. Ids are compared as values of the column's type, which an index can serve; only if one
/// of them is no such value, all are compared as text, which reads the whole table.
pub async fn live_rows(
    connection: &mut PgConnection,
    relations: &Relations,
    table: &OwnedTable,
    tenants: &[TenantId],
) -> Result<BTreeMap<TenantId, u64>> {
    let owner = owner::owner(&table.path);
    let type_name = owner::type_name(&table.path.column_type)?;
    let from = owner::from_clause(relations, &table.table.name, Some(&table.path))?;
    let ids: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    let as_values = format!("{owner} OPERATOR(pg_catalog.=) ANY ($1::text[]::{type_name}[])");
    let as_text = format!("{owner}::text OPERATOR(pg_catalog.=) ANY ($1::text[])");
    let mut counted = count(connection, &from, &owner, &as_values, &ids).await;
    if counted.as_ref().is_err_and(is_invalid_value) {
        counted = count(connection, &from, &owner, &as_text, &ids).await;
    }
    let counted = counted
        .map_err(|error| failure(format!("unable to count the live rows of '{}'", table.table.name), error))?;
    // A cast may cut an id off and so find another tenant; that one was not asked for.
    let asked: BTreeSet<&str> = ids.into_iter().collect();
    let counted = counted.into_iter().filter(|(tenant, _)| asked.contains(tenant.as_str()));
    Ok(counted.map(|(tenant, rows)| (TenantId::new(tenant), rows.unsigned_abs())).collect())
}

async fn count(
    connection: &mut PgConnection,
    from: &str,
    owner: &str,
    predicate: &str,
    ids: &[&str],
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    // Safe: quoted identifiers and a checked type name; the ids are bound.
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {owner}::text, count(*) FROM {from} WHERE {predicate} GROUP BY 1"
    ));
    sqlx::query_as(sql).bind(ids).fetch_all(connection).await
}

/// The live rows of one tenant, on a connection of their own.
pub fn rows(
    pool: Arc<Pool>,
    relations: &Relations,
    table: &OwnedTable,
    tenant: &TenantId,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let columns = owner::stored_columns(&table.table);
    let from = owner::from_clause(relations, &table.table.name, None)?;
    let predicate = owner::belongs_to(relations, &table.path, "$1::text")?;
    let sql = format!("SELECT {columns} FROM {from} WHERE {predicate}");
    let (table, tenant) = (Arc::new(table.table.clone()), tenant.clone());
    Ok(feed(vec![Box::new(move |sender| {
        Box::pin(async move {
            let mut connection = pool.lease().await?;
            if select(&mut connection, sql, table, tenant, &sender).await? {
                connection.release();
            }
            Ok(())
        })
    })]))
}

/// Sends the rows of a query; `false` if the connection still holds some that nobody wants.
async fn select(
    connection: &mut Lease,
    sql: String,
    table: Arc<Table>,
    tenant: TenantId,
    sender: &BatchSender,
) -> Result<bool> {
    let unable = |error| failure(format!("unable to read table '{}'", table.name), error);
    // Safe: quoted identifiers and a checked type name; the id is bound.
    let sql = sqlx::AssertSqlSafe(sql);
    let mut rows = sqlx::query(sql).bind(tenant.as_str()).fetch(&mut **connection);
    let mut tuples = Tuples::default();
    loop {
        let row = match rows.try_next().await {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error) if is_invalid_value(&error) => return Ok(true),
            Err(error) => return Err(unable(error)),
        };
        push_row(&mut tuples, &row).map_err(unable)?;
        let full = tuples.len() >= BATCH_ROWS_MAX || tuples.bytes.len() >= BATCH_BYTES_MAX;
        if full && !send(&table, &tenant, std::mem::take(&mut tuples), sender).await? {
            return Ok(false);
        }
    }
    Ok(tuples.is_empty() || send(&table, &tenant, tuples, sender).await?)
}

/// Appends a row of the extended protocol, whose values are in the same binary form as COPY's.
fn push_row(tuples: &mut Tuples, row: &PgRow) -> Result<(), sqlx::Error> {
    let mut fields = Vec::with_capacity(row.len());
    for index in 0..row.len() {
        let value = row.try_get_raw(index)?;
        let bytes = if value.is_null() { None } else { Some(value.as_bytes().map_err(sqlx::Error::Decode)?) };
        fields.push(bytes);
    }
    push_tuple(tuples, &fields);
    Ok(())
}

/// Decodes and hands over; `false` if nobody reads any more.
async fn send(table: &Arc<Table>, tenant: &TenantId, tuples: Tuples, sender: &BatchSender) -> Result<bool> {
    let (of, owner) = (Arc::clone(table), tenant.clone());
    let decode = move || {
        let mut decoder = Decoder::new(of);
        for tuple in tuples.iter() {
            decoder.push(Some(owner.as_str()), tuple)?;
        }
        Ok::<_, crate::model::wire::WireError>(decoder.finish())
    };
    let batch = compute(decode).await?.map_err(|error| {
        Error::failed(format!("unable to read table '{}'", table.name)).because(error)
    })?;
    Ok(sender.send(Ok(batch)).await.is_ok())
}
