//! Questions about rows that are not in the database: the rows are bound as `VALUES`, some hundred a statement.
//!
//! The live row stands on the left of every comparison, so that its column's affinity and collation decide, as they do
//! in the index.

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Row};

use super::super::ask::unknown_default;
use super::super::{Answer, LiveRow, Question, Rows};
use super::queue;
use crate::database::sqlite::error::explain;
use crate::database::sqlite::owner;
use crate::database::sqlite::values::{Parameters, RowEncoder};
use crate::error::{Error, Result};
use crate::limits::{SQLITE_INSERT_ROWS_MAX, SQLITE_PARAMETERS_MAX};
use crate::model::wire::{Decoder, Tuples};
use crate::model::{ForeignKey, OwnedTable, Owners, Table, TenantId, UniqueKey, quote_identifier};

/// The column that counts the asked rows.
pub const PLACE: &str = "\"reinstate place\"";

/// Asks.
pub async fn ask(
    connection: &mut SqliteConnection,
    rows: &Rows<'_>,
    question: &Question<'_>,
) -> Result<Vec<Answer>> {
    let table = &rows.owned.table;
    let Some(select) = select(rows, question)? else { return Ok(Vec::new()) };
    let unable = |error| explain(format!("unable to ask about rows of '{}'", table.name), error);
    let mut answers = Vec::new();
    for query in over(rows, &select)? {
        for row in query.fetch_all(&mut *connection).await.map_err(unable)? {
            answers.push(read(table, question, &row)?);
        }
    }
    answers.sort_by_key(|answer: &Answer| (answer.row, answer.part));
    Ok(answers)
}

/// A statement over the rows as the relation `k`, as often as it takes.
pub fn over(rows: &Rows<'_>, sql: &str) -> Result<Vec<Query<'static, Sqlite, SqliteArguments>>> {
    let table = &rows.owned.table;
    let batch = decode(table, rows.tuples)?;
    let parameters = Parameters::new(table, &batch)?;
    let columns = table.stored_columns().count();
    let rows_max = (SQLITE_PARAMETERS_MAX / columns.max(1)).min(SQLITE_INSERT_ROWS_MAX);
    let mut queries = Vec::new();
    for first in (0..batch.num_rows()).step_by(rows_max) {
        let count = rows_max.min(batch.num_rows() - first);
        let mut arguments = SqliteArguments::default();
        for row in first..first + count {
            parameters.bind(row, &mut arguments)?;
        }
        let sql = format!("{} {sql}", asked(table, first, count));
        // Safe: names are quoted, expressions are the catalog's, values are bound.
        queries.push(sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(count == rows_max));
    }
    Ok(queries)
}

pub(super) fn decode(table: &Table, tuples: &Tuples) -> Result<arrow::array::RecordBatch> {
    let mut decoder = Decoder::new(std::sync::Arc::new(table.clone()));
    for tuple in tuples.iter() {
        decoder.push(None, tuple).map_err(|error| {
            Error::failed(format!("unable to ask about rows of '{}'", table.name)).because(error)
        })?;
    }
    Ok(decoder.finish())
}

/// The rows as a common table `k`.
pub(super) fn asked(table: &Table, first: usize, count: usize) -> String {
    let columns: Vec<String> = table.stored_columns().map(|column| quote_identifier(&column.name)).collect();
    let marks = ", ?".repeat(columns.len());
    let values: Vec<String> = (first..first + count).map(|row| format!("({row}{marks})")).collect();
    let names: String = columns.iter().map(|column| format!(", {column}")).collect();
    format!("WITH k({PLACE}{names}) AS (VALUES {})", values.join(", "))
}

/// The question over `k`: (place, part, owner, stored columns…). `None` if nothing can be asked.
fn select(rows: &Rows<'_>, question: &Question<'_>) -> Result<Option<String>> {
    match question {
        Question::Taken(key) => taken(rows, key),
        Question::NoParent { key, .. } => {
            let table = &rows.owned.table;
            let is_generated = |name: &String| table.column(name).is_some_and(|column| column.generated);
            if let Some(column) = key.columns.iter().find(|name| table.column(name).is_none()) {
                return Err(unknown_default(&table.name, column, key));
            }
            // Values alone are no rows of the table: what it computes is left to the write.
            Ok((!key.columns.iter().any(is_generated)).then(|| no_parent(key, &key.parent.quoted())))
        }
        Question::Detached => {
            let detached = owner::detached(&rows.owned.owners, "k");
            Ok(Some(format!("SELECT k.{PLACE}, 0, NULL FROM k WHERE {detached}")))
        }
        Question::Fails([]) => Ok(None),
        Question::Fails(conditions) => {
            let each = conditions.iter().enumerate().map(|(number, condition)| {
                format!("SELECT {PLACE}, {number}, NULL FROM k WHERE NOT ({condition})")
            });
            Ok(Some(each.collect::<Vec<_>>().join(" UNION ALL ")))
        }
        Question::Referrers { child, owners, key, orphaned } => {
            Ok(Some(referrers(child, *owners, key, *orphaned)))
        }
        Question::Queued(link) => Ok(Some(queue::queued(link))),
    }
}

/// Values alone are no rows of the table: an index on expressions or on some of the rows is left to the trial.
fn taken(rows: &Rows<'_>, key: &UniqueKey) -> Result<Option<String>> {
    if key.columns.is_empty() {
        return Ok(None);
    }
    let operators = key.terms.iter().map(|term| term.operator.as_deref().unwrap_or("="));
    let equal: Vec<String> = key
        .columns
        .iter()
        .map(|name| quote_identifier(name))
        .zip(operators.chain(std::iter::repeat("=")))
        .map(|(column, operator)| format!("t.{column} {operator} k.{column}"))
        .collect();
    Ok(Some(format!(
        "SELECT k.{PLACE}, 0, {} FROM k JOIN {} AS t ON {}",
        live_row(rows.owned),
        rows.owned.table.name.quoted(),
        equal.join(" AND ")
    )))
}

/// What [`read`] needs of a live row `t`.
pub(super) fn live_row(owned: &OwnedTable) -> String {
    let columns = owned.table.stored_columns();
    let columns: String = columns.map(|column| format!(", t.{}", quote_identifier(&column.name))).collect();
    format!("{}{columns}", owner::owners_as_json(&owned.owners))
}

/// Rows that point at none of the table of this name.
pub(super) fn no_parent(key: &ForeignKey, parent: &str) -> String {
    let quoted = |columns: &[String]| columns.iter().map(|name| quote_identifier(name)).collect::<Vec<_>>();
    let (own, theirs) = (quoted(&key.columns), quoted(&key.parent_columns));
    let set: Vec<String> = own.iter().map(|column| format!("k.{column} IS NOT NULL")).collect();
    let equal: Vec<String> =
        own.iter().zip(&theirs).map(|(own, theirs)| format!("p.{theirs} = k.{own}")).collect();
    format!(
        "SELECT k.{PLACE}, 0, NULL FROM k WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})",
        set.join(" AND "),
        parent,
        equal.join(" AND ")
    )
}

fn referrers(child: &Table, owners: Option<&Owners>, key: &ForeignKey, orphaned: bool) -> String {
    let points_at = |row: &str| {
        let pairs = key.columns.iter().zip(&key.parent_columns);
        let pairs = pairs
            .map(|(own, theirs)| format!("t.{} = {row}.{}", quote_identifier(own), quote_identifier(theirs)));
        pairs.collect::<Vec<_>>().join(" AND ")
    };
    let columns: String =
        child.stored_columns().map(|column| format!(", t.{}", quote_identifier(&column.name))).collect();
    let owners = owners.map_or_else(|| "NULL".to_owned(), owner::owners_as_json);
    let parent = key.parent.quoted();
    let orphaned = match orphaned {
        true => format!(" WHERE NOT EXISTS (SELECT 1 FROM {parent} AS p WHERE {})", points_at("p")),
        false => String::new(),
    };
    format!(
        "SELECT k.{PLACE}, 0, {owners}{columns} FROM k JOIN {} AS t ON {}{orphaned}",
        child.name.quoted(),
        points_at("k")
    )
}

/// An answer from a row of (place, part, owner, stored columns…).
pub(super) fn read(table: &Table, question: &Question<'_>, row: &sqlx::sqlite::SqliteRow) -> Result<Answer> {
    let unable = |error: crate::database::sqlite::values::ValueError| {
        Error::failed(format!("unable to ask about rows of '{}'", table.name)).because(error)
    };
    let number = |column: usize| -> Result<usize, sqlx::Error> {
        let number: i64 = row.try_get(column)?;
        Ok(usize::try_from(number).unwrap_or_default())
    };
    let (place, part) = (number(0).map_err(|e| unable(e.into()))?, number(1).map_err(|e| unable(e.into()))?);
    let shown = match question {
        Question::Taken(_) => Some(table),
        Question::Referrers { child, .. } => Some(*child),
        _ => None,
    };
    let live = if let Some(table) = shown {
        let owners: Option<String> = row.try_get(2).map_err(|error| unable(error.into()))?;
        let owners: Vec<String> =
            owners.and_then(|owners| serde_json::from_str(&owners).ok()).unwrap_or_default();
        let mut tuple = Tuples::default();
        RowEncoder::new(table, 3).push(row, &mut tuple).map_err(unable)?;
        Some(LiveRow { owners: owners.into_iter().map(TenantId::new).collect(), tuple: tuple.bytes })
    } else {
        None
    };
    Ok(Answer { row: place, part, live })
}
