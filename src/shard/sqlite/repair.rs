//! What only repairs do to user tables: UPDATE by primary key, and DELETE. The rows are bound as `VALUES` (`k`), some
//! hundred a statement; the live row stands on the left, so that its column's affinity and collation decide.

use arrow::array::RecordBatch;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};

use super::ask::{asked, decode};
use crate::database::sqlite::error::explain;
use crate::database::sqlite::values::Parameters;
use crate::error::{Error, Result};
use crate::limits::{SQLITE_INSERT_ROWS_MAX, SQLITE_PARAMETERS_MAX};
use crate::model::wire::Tuples;
use crate::model::{Table, quote_identifier};

/// Gives the live rows of the same keys the values of these; the number of rows that were changed.
pub async fn update(connection: &mut SqliteConnection, table: &Table, batch: &RecordBatch) -> Result<u64> {
    let set: Vec<String> = table
        .stored_columns()
        .filter(|column| !table.primary_key.contains(&column.name))
        .map(|column| quote_identifier(&column.name))
        .map(|column| format!("{column} = k.{column}"))
        .collect();
    if set.is_empty() || table.primary_key.is_empty() {
        return Ok(0);
    }
    let same: Vec<String> = key(table).iter().map(|column| format!("r.{column} = k.{column}")).collect();
    let sql = format!(
        "UPDATE OR ABORT {} AS r SET {} FROM k WHERE {}",
        table.name.quoted(),
        set.join(", "),
        same.join(" AND ")
    );
    run(connection, table, batch, &sql).await
}

/// Deletes these rows, each once: by their keys, or by all that they hold. The number of rows that went.
pub async fn delete(connection: &mut SqliteConnection, table: &Table, rows: &Tuples) -> Result<u64> {
    let batch = decode(table, rows)?;
    if table.primary_key.is_empty() {
        return by_content(connection, table, &batch).await;
    }
    let columns = key(table).join(", ");
    let live: Vec<String> = key(table).iter().map(|column| format!("r.{column}")).collect();
    let sql = format!(
        "DELETE FROM {} AS r WHERE ({}) IN (SELECT {columns} FROM k)",
        table.name.quoted(),
        live.join(", ")
    );
    run(connection, table, &batch, &sql).await
}

/// Runs a statement over `k`.
async fn run(
    connection: &mut SqliteConnection,
    table: &Table,
    batch: &RecordBatch,
    sql: &str,
) -> Result<u64> {
    let parameters = Parameters::new(table, batch)?;
    let rows_max =
        (SQLITE_PARAMETERS_MAX / table.stored_columns().count().max(1)).min(SQLITE_INSERT_ROWS_MAX);
    let mut changed = 0;
    for first in (0..batch.num_rows()).step_by(rows_max) {
        let count = rows_max.min(batch.num_rows() - first);
        let mut arguments = SqliteArguments::default();
        for row in first..first + count {
            parameters.bind(row, &mut arguments)?;
        }
        changed +=
            execute(connection, table, format!("{} {sql}", asked(table, first, count)), arguments).await?;
    }
    Ok(changed)
}

/// Equal rows cannot be told apart: for each that is wanted, one goes.
async fn by_content(connection: &mut SqliteConnection, table: &Table, batch: &RecordBatch) -> Result<u64> {
    let is_free = |name: &&str| table.columns.iter().all(|column| !column.name.eq_ignore_ascii_case(name));
    let Some(rowid) = ["rowid", "oid", "_rowid_"].into_iter().find(is_free) else {
        return Err(Error::failed(format!("unable to delete rows of table '{}'", table.name))
            .hint("its columns hide the row's number; delete these rows by hand"));
    };
    let same: Vec<String> = table
        .stored_columns()
        .enumerate()
        .map(|(place, column)| (place + 1, quote_identifier(&column.name)))
        .map(|(place, column)| {
            format!("{column} IS ?{place} COLLATE BINARY AND typeof({column}) = typeof(?{place})")
        })
        .collect();
    let name = table.name.quoted();
    let sql = format!(
        "DELETE FROM {name} WHERE {rowid} = (SELECT {rowid} FROM {name} WHERE {} LIMIT 1)",
        same.join(" AND ")
    );
    let parameters = Parameters::new(table, batch)?;
    let mut deleted = 0;
    for row in 0..batch.num_rows() {
        let mut arguments = SqliteArguments::default();
        parameters.bind(row, &mut arguments)?;
        deleted += execute(connection, table, sql.clone(), arguments).await?;
    }
    Ok(deleted)
}

async fn execute(
    connection: &mut SqliteConnection,
    table: &Table,
    sql: String,
    arguments: SqliteArguments,
) -> Result<u64> {
    // Safe: names are quoted, values are bound.
    let done = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(false).execute(connection).await;
    let unable = |error| explain(format!("unable to repair rows of table '{}'", table.name), error);
    Ok(done.map_err(unable)?.rows_affected())
}

fn key(table: &Table) -> Vec<String> {
    table.primary_key.iter().map(|column| quote_identifier(column)).collect()
}
