//! Rows on trial: inserted into a temporary copy of their table, made by the table's own CREATE TABLE and CREATE UNIQUE
//! INDEX. What SQLite says there of NOT NULL, CHECK, STRICT and of keys among the rows it would say of the table.
//!
//! An index on expressions or on some of the rows is computed from the row where it stands in the copy, with the types
//! and collations of its columns; live rows are then looked up by the same expressions.

use std::collections::BTreeSet;
use std::ops::Range;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, query, query_as, query_with, raw_sql};

use super::super::{Question, Refusal, Refused, Rows, Trial};
use super::ask;
use super::session::insert_sql;
use crate::database::sqlite::Database;
use crate::database::sqlite::error::{explain, refusal};
use crate::database::sqlite::values::{Parameters, rebind};
use crate::error::{Error, Result};
use crate::limits::{SQLITE_INSERT_ROWS_MAX, SQLITE_PARAMETERS_MAX};
use crate::model::{OwnedTable, Table, TableName, UniqueKey, quote_identifier};

/// The texts that a table and its unique indexes were made by. SQLite keeps them from the name onwards as they were
/// written, behind a beginning of its own and without a schema.
const MADE_BY: &str = "SELECT type, sql FROM main.sqlite_schema
     WHERE tbl_name = ? COLLATE NOCASE AND sql NOT NULL
       AND (type = 'table' OR type = 'index' AND sql LIKE 'CREATE UNIQUE INDEX %')
     ORDER BY type DESC, name";

/// One connection with the copies.
pub struct SqliteTrial {
    connection: SqliteConnection,
    copied: BTreeSet<TableName>,
}

/// What came of an insert.
enum Tried {
    Taken(Vec<SqliteRow>),
    Refused(String),
}

impl SqliteTrial {
    /// No copies yet.
    pub async fn open(database: &Database) -> Result<Self> {
        Ok(Self { connection: database.connect_trial().await?, copied: BTreeSet::new() })
    }

    /// Makes the copy of a table.
    async fn copy(&mut self, table: &Table) -> Result<()> {
        if self.copied.contains(&table.name) {
            return Ok(());
        }
        let unable = |error| explain(format!("unable to make a copy of '{}' for a trial", table.name), error);
        let made: Vec<(String, String)> = query_as(MADE_BY)
            .bind(&table.name.table)
            .fetch_all(&mut self.connection)
            .await
            .map_err(unable)?;
        for (kind, sql) in made {
            let (beginning, ours) = match kind.as_str() {
                "table" => ("CREATE TABLE ", "CREATE TEMP TABLE "),
                _ => ("CREATE UNIQUE INDEX ", "CREATE UNIQUE INDEX temp."),
            };
            let rest = sql.strip_prefix(beginning).ok_or_else(|| {
                Error::undecided(format!("unable to make a copy of '{}': it was made by {sql}", table.name))
            })?;
            // Safe: what the database itself was made by.
            raw_sql(AssertSqlSafe(format!("{ours}{rest}")))
                .execute(&mut self.connection)
                .await
                .map_err(unable)?;
        }
        self.copied.insert(table.name.clone());
        Ok(())
    }

    /// Inserts some rows; `returning` asks for what the copy makes of them.
    async fn insert(
        &mut self,
        table: &Table,
        batch: &RecordBatch,
        rows: Range<usize>,
        returning: &str,
    ) -> Result<Tried> {
        let mut arguments = SqliteArguments::default();
        let count = rows.len();
        let parameters = Parameters::new(table, batch)?;
        for row in rows {
            parameters.bind(row, &mut arguments)?;
        }
        let sql = format!("{}{returning}", insert_sql(&copy_name(table), table, count));
        // Safe: names are quoted, expressions are the catalog's, values are bound.
        let insert = query_with(AssertSqlSafe(sql), arguments).fetch_all(&mut self.connection).await;
        match insert {
            Ok(rows) => Ok(Tried::Taken(rows)),
            Err(error) => match refusal(&error) {
                Some((said, false)) => Ok(Tried::Refused(said)),
                Some((said, true)) => Ok(Tried::Refused(format!("{said}, among the rows that come back"))),
                None => Err(explain(format!("unable to try rows of '{}'", table.name), error)),
            },
        }
    }

    /// Inserts some rows, one by one if they are not taken together.
    async fn try_range(
        &mut self,
        rows: &Rows<'_>,
        batch: &RecordBatch,
        range: Range<usize>,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        let table = &rows.owned.table;
        let computed: Vec<&UniqueKey> = table.unique_keys.iter().filter(|key| is_computed(key)).collect();
        if computed.is_empty()
            && matches!(self.insert(table, batch, range.clone(), "").await?, Tried::Taken(_))
        {
            return Ok(());
        }
        let returning = returning(&computed);
        for row in range {
            match self.insert(table, batch, row..row + 1, &returning).await? {
                Tried::Refused(said) => refused.push(Refused { row, why: Refusal::Unfit(said) }),
                Tried::Taken(made) => {
                    for made in &made {
                        self.look_up(rows.owned, &computed, row, made, refused).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks for live rows with the keys that the copy has made of a row.
    async fn look_up(
        &mut self,
        owned: &OwnedTable,
        computed: &[&UniqueKey],
        row: usize,
        made: &SqliteRow,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        let name = &owned.table.name;
        let unable = |error| explain(format!("unable to look for keys of '{name}'"), error);
        let mut at = 0;
        for key in computed {
            let mut arguments = SqliteArguments::default();
            let mut is_set = true;
            for term in at..at + key.terms.len() {
                is_set &= rebind(made, term, &mut arguments).map_err(unable)?;
            }
            at += key.terms.len();
            // Not among the rows of the index, which are distinct where one is NULL.
            if !is_set {
                continue;
            }
            // Safe: names are quoted, expressions are the catalog's, values are bound.
            let found = query_with(AssertSqlSafe(with_key(owned, key)), arguments);
            for live in found.fetch_all(&mut self.connection).await.map_err(unable)? {
                let answer = ask::read(&owned.table, &Question::Taken(key), &live)?;
                let why = answer.live.map(|live| Refusal::Taken { key: key.name.clone(), live });
                refused.extend(why.map(|why| Refused { row, why }));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Trial for SqliteTrial {
    async fn try_rows(&mut self, rows: &Rows<'_>, keep: bool) -> Result<Vec<Refused>> {
        let table = &rows.owned.table;
        let mut refused = Vec::new();
        if rows.tuples.is_empty() {
            return Ok(refused);
        }
        self.copy(table).await?;
        let batch = ask::decode(table, rows.tuples)?;
        let columns = table.stored_columns().count();
        let rows_max = (SQLITE_PARAMETERS_MAX / columns.max(1)).min(SQLITE_INSERT_ROWS_MAX);
        for first in (0..batch.num_rows()).step_by(rows_max) {
            let range = first..batch.num_rows().min(first + rows_max);
            self.try_range(rows, &batch, range, &mut refused).await?;
        }
        if !keep {
            // Safe: a quoted name.
            let empty = query(AssertSqlSafe(format!("DELETE FROM {}", copy_name(table))));
            let unable = |error| explain(format!("unable to end a trial of rows of '{}'", table.name), error);
            empty.execute(&mut self.connection).await.map_err(unable)?;
        }
        Ok(refused)
    }
}

fn copy_name(table: &Table) -> String {
    format!("temp.{}", quote_identifier(&table.name.table))
}

/// Whether a key is on expressions or on some of the rows.
fn is_computed(key: &UniqueKey) -> bool {
    key.columns.is_empty()
}

/// The terms of all keys; NULL for a row that is not in the index.
fn returning(keys: &[&UniqueKey]) -> String {
    let term = |key: &UniqueKey, sql: &str| match &key.predicate {
        Some(predicate) => format!("CASE WHEN ({predicate}) THEN ({sql}) END"),
        None => format!("({sql})"),
    };
    let terms: Vec<String> =
        keys.iter().flat_map(|key| key.terms.iter().map(|each| term(key, &each.sql))).collect();
    if terms.is_empty() { String::new() } else { format!(" RETURNING {}", terms.join(", ")) }
}

/// Live rows of a key: its terms are the parameters.
fn with_key(owned: &OwnedTable, key: &UniqueKey) -> String {
    let terms: String = key
        .terms
        .iter()
        .enumerate()
        .map(|(at, term)| format!(", ({}) AS \"reinstate {at}\"", term.sql))
        .collect();
    let holds = key.predicate.as_ref().map_or_else(String::new, |sql| format!(" WHERE ({sql})"));
    let equal = key.terms.iter().enumerate().map(|(at, term)| {
        format!("t.\"reinstate {at}\" {} ?{}", term.operator.as_deref().unwrap_or("="), at + 1)
    });
    format!(
        "SELECT 0, 0, {} FROM (SELECT *{terms} FROM {}{holds}) AS t WHERE {}",
        ask::live_row(owned),
        owned.table.name.quoted(),
        equal.collect::<Vec<_>>().join(" AND ")
    )
}
