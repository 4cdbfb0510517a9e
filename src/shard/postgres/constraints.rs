//! With triggers off: what the server then leaves out, asked of it inside the tenant's transaction.
//!
//! Foreign keys are triggers, so rows that are referenced must be locked here against deletion, as the server
//! itself would do it (`FOR KEY SHARE`). Deferrable unique and exclusion constraints are rechecked by triggers, so
//! the tenant's rows are compared with all others here. A neighbour who wrote first and has not committed cannot be
//! seen, and does not know of our rows: those who were writing to the table when ours were there are waited for.
//! Whoever writes later finds our rows in the index and waits for us.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::super::{Broken, Collision, RowKey};
use crate::database::Transient;
use crate::database::postgres::catalog::Relations;
use crate::database::postgres::error::failure;
use crate::database::postgres::owner::{self, ROW, TENANT_FROM_SETTING};
use crate::error::{Error, Result};
use crate::limits::{LOCK_TIMEOUT, RETRY_DELAY};
use crate::model::{ForeignKey, OwnedTable, Table, TableName, UniqueKey, quote_identifier};

/// Turns off the triggers of this transaction, those of foreign keys and deferrable keys among them.
pub const DISABLE_TRIGGERS: &str = "SET LOCAL session_replication_role = replica";

/// Rows that this transaction wrote. What is live already is as it is, even where it breaks a key: whoever deleted
/// with triggers off left it so.
const WRITTEN: &str = "r.xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid";

/// Transactions that write to a table, or to a partition of it.
const WRITERS: &str = "select l.virtualtransaction from pg_catalog.pg_locks l
     where l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.granted
       and l.pid is distinct from pg_catalog.pg_backend_pid()
       and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
       and l.relation in (select $1::int8::oid union select t.relid from pg_partition_tree($1::int8::oid::regclass) t)";

/// Waits for those who are writing to the table now; not longer than for any lock.
pub async fn wait_for_writers(
    connection: &mut PgConnection,
    relations: &Relations,
    table: &TableName,
) -> Result<()> {
    let oid = i64::from(relations.get(table)?.oid);
    let deadline = tokio::time::Instant::now() + LOCK_TIMEOUT;
    let mut before: Option<Vec<String>> = None;
    loop {
        let now: Vec<String> = sqlx::query_scalar(WRITERS)
            .bind(oid)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| failure(format!("unable to see who writes to table '{table}'"), error))?;
        let waiting = before.get_or_insert_with(|| now.clone());
        waiting.retain(|writer| now.contains(writer));
        if waiting.is_empty() {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            let held = format!("{} transactions of neighbours are still writing to it", waiting.len());
            return Err(Error::failed(format!("unable to compare the keys of table '{table}'"))
                .because(Transient(held))
                .hint("deferrable keys can only be compared when they have ended; try again"));
        }
        tokio::time::sleep(RETRY_DELAY / 20).await;
    }
}

/// A row of the tenant, just written, that shares a key with another live row.
pub async fn collision(
    connection: &mut PgConnection,
    relations: &Relations,
    owned: &OwnedTable,
    key: &UniqueKey,
) -> Result<Option<Collision>> {
    let name = &owned.table.name;
    let unable =
        |error| failure(format!("unable to compare the keys '{}' of table '{name}'", key.name), error);
    let terms: Vec<String> =
        key.terms.iter().enumerate().map(|(at, term)| format!("{} AS t{at}", term.sql)).collect();
    let rows = format!(
        "{ROW}.ctid AS at, {ROW}.tableoid AS leaf, {} AS shown, {}",
        shown(&owned.table, ROW),
        terms.join(", ")
    );
    let held = key.predicate.as_ref().map(|sql| format!("({sql})"));
    let from = owner::rows(relations, name)?;
    let ours: Vec<String> = held.iter().cloned().chain([written(relations, owned)?]).collect();
    let others = held.map(|sql| format!(" WHERE {sql}")).unwrap_or_default();
    let equal: Vec<String> = key
        .terms
        .iter()
        .enumerate()
        .map(|(at, term)| {
            let operator = term.operator.as_deref().unwrap_or("=");
            let equal = format!("a.t{at} {operator} b.t{at}");
            let nulls = format!("({equal} OR a.t{at} IS NULL AND b.t{at} IS NULL)");
            if key.nulls_not_distinct { nulls } else { equal }
        })
        .collect();
    // Safe: quoted names, a checked type name, and expressions that the server itself has written.
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT a.shown, b.shown FROM (SELECT {rows} FROM {from} WHERE {}) a
         JOIN (SELECT {rows} FROM {from}{others}) b ON (a.at, a.leaf) <> (b.at, b.leaf) AND {} LIMIT 1",
        ours.join(" AND "),
        equal.join(" AND "),
    ));
    let found = sqlx::query(sql).fetch_optional(connection).await.map_err(unable)?;
    let read = |row: PgRow| -> Result<Collision, sqlx::Error> {
        Ok(Collision { row: row_key(&owned.table, &row, 0)?, other: row_key(&owned.table, &row, 1)? })
    };
    found.map(read).transpose().map_err(unable)
}

/// A row of the tenant, just written, whose key points at nothing; the rows that the others point at are locked.
pub async fn broken_reference(
    connection: &mut PgConnection,
    relations: &Relations,
    owned: &OwnedTable,
    key: &ForeignKey,
    only: Option<&str>,
) -> Result<Option<Broken>> {
    let name = &owned.table.name;
    let unable =
        |error| failure(format!("unable to prove foreign key '{}' of table '{name}'", key.name), error);
    let from = owner::rows(relations, name)?;
    let written: Vec<String> =
        only.iter().map(|sql| format!("({sql})")).chain([written(relations, owned)?]).collect();
    let written = written.join(" AND ");
    let parent = format!("{} p", relations.from_item(&key.parent)?);
    let points = points(key, "p", ROW);
    // Our own rows need no lock: nobody else sees them.
    let lock = sqlx::AssertSqlSafe(format!(
        "SELECT pg_catalog.count(*) FROM (SELECT FROM {parent}
         WHERE p.xmin <> pg_catalog.pg_current_xact_id()::pg_catalog.xid
           AND EXISTS (SELECT FROM {from} WHERE {points} AND {written}) FOR KEY SHARE OF p) locked"
    ));
    let columns = |glue: &str, test: &str| -> String {
        let tests: Vec<String> =
            key.columns.iter().map(|column| format!("{ROW}.{} {test}", quote_identifier(column))).collect();
        tests.join(glue)
    };
    let (set, partly) = (columns(" AND ", "IS NOT NULL"), columns(" OR ", "IS NOT NULL"));
    let refers = if key.match_full { format!("({partly})") } else { set };
    let broken = sqlx::AssertSqlSafe(format!(
        "SELECT {}, {} FROM {from} WHERE {refers} AND {written} AND NOT EXISTS (SELECT FROM {parent} WHERE {points})
         LIMIT 1",
        shown(&owned.table, ROW),
        array(&key.columns, ROW),
    ));
    sqlx::raw_sql(lock).execute(&mut *connection).await.map_err(unable)?;
    let found = sqlx::query(broken).fetch_optional(connection).await.map_err(unable)?;
    found.map(|row| broken_row(&owned.table, key, &row)).transpose().map_err(unable)
}

/// `p."id" OPERATOR(pg_catalog.=) r."project" AND …`, with the operators of the constraint itself.
pub fn points(key: &ForeignKey, parent: &str, child: &str) -> String {
    let pairs = key.columns.iter().zip(&key.parent_columns).enumerate();
    let equal = pairs.map(|(at, (column, parent_column))| {
        let operator = key.operators.get(at).map_or("OPERATOR(pg_catalog.=)", String::as_str);
        format!(
            "{parent}.{} {operator} {child}.{}",
            quote_identifier(parent_column),
            quote_identifier(column)
        )
    });
    equal.collect::<Vec<_>>().join(" AND ")
}

/// Which row it is and where it points, from a row of [`shown`] and the key's columns.
pub fn broken_row(table: &Table, key: &ForeignKey, row: &PgRow) -> Result<Broken, sqlx::Error> {
    let values: Vec<Option<String>> = row.try_get(1)?;
    Ok(Broken { row: row_key(table, row, 0)?, key: RowKey::new(&key.parent_columns, values) })
}

/// The tenant's rows that this transaction wrote.
fn written(relations: &Relations, owned: &OwnedTable) -> Result<String> {
    let belongs = owner::belongs_to(relations, &owned.table.name, &owned.owners, TENANT_FROM_SETTING)?;
    Ok(format!("{WRITTEN} AND {belongs}"))
}

/// The columns that tell a row from others: the primary key, or all that are stored.
fn telling(table: &Table) -> Vec<String> {
    if table.primary_key.is_empty() {
        table.stored_columns().map(|column| column.name.clone()).collect()
    } else {
        table.primary_key.clone()
    }
}

/// [`telling`] as an array of texts.
pub fn shown(table: &Table, alias: &str) -> String {
    array(&telling(table), alias)
}

fn array(columns: &[String], alias: &str) -> String {
    let texts: Vec<String> = columns
        .iter()
        .map(|column| format!("{alias}.{}::pg_catalog.text", quote_identifier(column)))
        .collect();
    format!("ARRAY[{}]::pg_catalog.text[]", texts.join(", "))
}

fn row_key(table: &Table, row: &PgRow, at: usize) -> Result<RowKey, sqlx::Error> {
    Ok(RowKey::new(&telling(table), row.try_get(at)?))
}
