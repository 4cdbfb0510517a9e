//! Which rows point at which, when neither need be live: the parents stand in a temporary copy of their table, so that
//! its affinities and collations decide.

use std::collections::HashSet;

use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Row, query_scalar, query_with, raw_sql};

use super::super::Rows;
use super::ask;
use super::session::insert_sql;
use crate::database::sqlite::Database;
use crate::database::sqlite::error::explain;
use crate::database::sqlite::sql_text::behind_table_name;
use crate::database::sqlite::values::Parameters;
use crate::error::{Error, Result};
use crate::limits::{SQLITE_INSERT_ROWS_MAX, SQLITE_PARAMETERS_MAX};
use crate::model::ForeignKey;

/// The copy; no table of a user's is temporary here.
const COPY: &str = "temp.\"reinstate parents\"";

/// Positions of the rows that point at one of `parents`.
pub async fn pointing(
    database: &Database,
    rows: &Rows<'_>,
    key: &ForeignKey,
    parents: &Rows<'_>,
) -> Result<Vec<usize>> {
    let table = &parents.owned.table;
    let unable = |error| explain(format!("unable to make a copy of '{}'", table.name), error);
    let mut connection = database.connect_trial().await?;
    let made_by = "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE";
    let made_by = query_scalar::<_, String>(made_by).bind(&table.name.table);
    let sql = made_by.fetch_one(&mut connection).await.map_err(unable)?;
    let rest = behind_table_name(&sql)
        .ok_or_else(|| Error::undecided(format!("unable to make a copy of '{}': {sql}", table.name)))?;
    // Safe: what the database itself was made by. A parent that is not fit is found elsewhere.
    let copy = AssertSqlSafe(format!("PRAGMA ignore_check_constraints = ON; CREATE TABLE {COPY}{rest}"));
    raw_sql(copy).execute(&mut connection).await.map_err(unable)?;
    let batch = ask::decode(table, parents.tuples)?;
    let parameters = Parameters::new(table, &batch)?;
    let columns = table.stored_columns().count();
    let rows_max = (SQLITE_PARAMETERS_MAX / columns.max(1)).min(SQLITE_INSERT_ROWS_MAX);
    for first in (0..batch.num_rows()).step_by(rows_max) {
        let count = rows_max.min(batch.num_rows() - first);
        let mut arguments = SqliteArguments::default();
        for row in first..first + count {
            parameters.bind(row, &mut arguments)?;
        }
        // Safe: names are quoted, values are bound.
        let insert = insert_sql(COPY, table, count).replacen("OR ABORT", "OR IGNORE", 1);
        query_with(AssertSqlSafe(insert), arguments).execute(&mut connection).await.map_err(unable)?;
    }
    let mut lost = HashSet::new();
    for query in ask::over(rows, &ask::no_parent(key, COPY))? {
        for row in query.fetch_all(&mut connection).await.map_err(unable)? {
            let place: i64 = row.try_get(0).map_err(unable)?;
            lost.extend(usize::try_from(place));
        }
    }
    Ok((0..rows.tuples.len()).filter(|row| !lost.contains(row)).collect())
}
