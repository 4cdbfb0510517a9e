//! Reading live rows with ordinary SELECT statements: counts for the plan, rows for the independent
//! verification.
//!
//! This is another way than the session's COPY on purpose: the two must agree. An id that is no value of the
//! tenant column's type (`abc` where ids are numbers) has no rows; it is no error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row, ValueRef};

use crate::bridge::compute;
use crate::database::feed::{BatchSender, feed};
use crate::database::postgres::catalog::Relations;
use crate::database::postgres::error::{failure, in_words, is_invalid_value};
use crate::database::postgres::owner::{self, TENANT_FROM_SETTING, TENANT_SETTING};
use crate::database::postgres::pool::Pool;
use crate::error::{Error, Result};
use crate::limits::{BATCH_BYTES_MAX, BATCH_ROWS_MAX};
use crate::model::wire::{Decoder, Tuples, push_tuple};
use crate::model::{OwnedTable, Table, TenantId, TypeKind};

/// Live rows of each tenant. Ids are compared as values of the column's type, which an index can serve; only
/// if one of them is no such value, all are compared as text, which reads the whole table.
pub async fn live_rows(
    connection: &mut PgConnection,
    relations: &Relations,
    table: &OwnedTable,
    tenants: &[TenantId],
) -> Result<BTreeMap<TenantId, u64>> {
    let ids: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    let mut counted = count(connection, owner::live_counts(relations, table, false)?, &ids).await;
    if counted.as_ref().is_err_and(is_invalid_value) {
        counted = count(connection, owner::live_counts(relations, table, true)?, &ids).await;
    }
    let counted = counted.map_err(|error| {
        failure(format!("unable to count the live rows of '{}'", table.table.name), error)
    })?;
    // A cast may cut an id off and so find another tenant; that one was not asked for.
    let asked: BTreeSet<&str> = ids.into_iter().collect();
    let counted = counted.into_iter().filter(|(tenant, _)| asked.contains(tenant.as_str()));
    Ok(counted.map(|(tenant, rows)| (TenantId::new(tenant), rows.unsigned_abs())).collect())
}

async fn count(
    connection: &mut PgConnection,
    sql: String,
    ids: &[&str],
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    // Safe: quoted identifiers and a checked type name; the ids are bound.
    sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await
}

/// A text as a value of a type, in binary form. The kind does not matter here: the column's own is known.
pub async fn value(
    connection: &mut PgConnection,
    type_name: &str,
    text: &str,
) -> Result<(TypeKind, Vec<u8>)> {
    let unable = || Error::undecided(format!("unable to read it as {type_name}"));
    let type_name = owner::type_name(type_name).map_err(|error| unable().because(error))?;
    // Safe: a checked type name; the text is bound.
    let sql = sqlx::AssertSqlSafe(format!("SELECT ($1::text)::{type_name}"));
    let row = sqlx::query(sql).bind(text).fetch_one(connection).await.map_err(|error| {
        if is_invalid_value(&error) {
            unable().because(in_words(error))
        } else {
            failure("unable to read a value", error)
        }
    })?;
    let value = row.try_get_raw(0).map_err(|error| unable().because(error))?;
    let bytes = value.as_bytes().map_err(|error| unable().because(error))?;
    Ok((TypeKind::Opaque, bytes.to_vec()))
}

/// The live rows of one tenant, on a connection of their own.
pub fn rows(
    pool: Arc<Pool>,
    relations: &Relations,
    table: &OwnedTable,
    tenant: &TenantId,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let columns = owner::stored_columns(&table.table);
    let from = owner::rows(relations, &table.table.name)?;
    let predicate = owner::belongs_to(relations, &table.table.name, &table.owners, TENANT_FROM_SETTING)?;
    let select = format!("SELECT {columns} FROM {from} WHERE {predicate}");
    let (table, tenant) = (Arc::new(table.table.clone()), tenant.clone());
    Ok(feed(vec![Box::new(move |sender| {
        Box::pin(async move {
            let mut connection = pool.lease().await?;
            let unable = |error| failure(format!("unable to read table '{}'", table.name), error);
            let read = match open_cursor(&mut connection, &select, &tenant).await {
                Ok(()) => fetch(&mut connection, &table, &tenant, &sender).await?,
                // The planner has tried the id already: there is no such value, and so no row.
                Err(error) if is_invalid_value(&error) => true,
                Err(error) => return Err(unable(error)),
            };
            if read {
                sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.map_err(unable)?;
                connection.release();
            }
            Ok(())
        })
    })]))
}

/// A binary cursor gives the values of every type in binary form, without the driver having to know the type.
async fn open_cursor(
    connection: &mut PgConnection,
    select: &str,
    tenant: &TenantId,
) -> Result<(), sqlx::Error> {
    // All rows will be fetched: the plan for the first few would be the wrong one.
    let begin = "BEGIN TRANSACTION READ ONLY; SET LOCAL cursor_tuple_fraction = 1";
    sqlx::raw_sql(begin).execute(&mut *connection).await?;
    let set = sqlx::query("select set_config($1, $2, true)").bind(TENANT_SETTING).bind(tenant.as_str());
    set.execute(&mut *connection).await?;
    // Safe: quoted identifiers and a checked type name; the id came as a parameter.
    let declare = sqlx::AssertSqlSafe(format!("DECLARE live BINARY NO SCROLL CURSOR FOR {select}"));
    sqlx::raw_sql(declare).execute(connection).await.map(drop)
}

/// Sends the rows of the cursor; `false` if the connection still holds some that nobody wants.
async fn fetch(
    connection: &mut PgConnection,
    table: &Arc<Table>,
    tenant: &TenantId,
    sender: &BatchSender,
) -> Result<bool> {
    let mut rows = sqlx::raw_sql("FETCH FORWARD ALL FROM live").fetch(connection);
    let unable = |error| failure(format!("unable to read table '{}'", table.name), error);
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
        if full && !send(table, tenant, std::mem::take(&mut tuples), sender).await? {
            return Ok(false);
        }
    }
    Ok(tuples.is_empty() || send(table, tenant, tuples, sender).await?)
}

/// Appends a row of a binary cursor, whose values are in the same form as COPY's.
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
    let batch = compute(decode)
        .await?
        .map_err(|error| Error::failed(format!("unable to read table '{}'", table.name)).because(error))?;
    let is_wanted = sender.send(Ok(batch)).await.is_ok();
    sender.has_room().await;
    Ok(is_wanted)
}
