//! What `init` asks beside the catalog: sizes, values, and whether supposed references resolve.
//!
//! SQLite has no statistics worth the name and no time-out for a statement: all is bounded by the rows it reads,
//! the first ones of a table. Many questions share a statement; one that SQLite refuses is asked again in halves.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::SqliteShard;
use crate::error::Result;
use crate::limits::{
    PROBE_LEVELS_MAX, PROBE_ROWS_MAX, PROBE_ROWS_READ_MAX, PROBES_ASKED_MAX, ROWS_COUNTED_MAX,
    TABLES_ASKED_MAX,
};
use crate::model::{Link, Table, quote_identifier};
use crate::shard::{Climbs, Hits, Probe, Statistics, Tree, Wanted};

/// Counts the tables' rows, up to a bound.
pub async fn statistics(shard: &SqliteShard, tables: &[Table]) -> Result<Statistics> {
    let select = |at: usize, table: &Table| {
        let name = table.name.quoted();
        format!("SELECT {at}, count(*), 0 FROM (SELECT 1 FROM {name} LIMIT {})", ROWS_COUNTED_MAX + 1)
    };
    let counted =
        ask(shard, tables, TABLES_ASKED_MAX, |_| None, select, |row| row.try_get::<i64, _>(1)).await?;
    let rows = tables.iter().zip(counted);
    let rows = rows.filter_map(|(table, rows)| Some((table.name.clone(), rows?.unsigned_abs())));
    Ok(Statistics { rows: rows.collect(), inherits: [].into() })
}

/// Distinct values of columns, as text.
pub async fn values(shard: &SqliteShard, wanted: &[Wanted]) -> Result<Vec<Option<Vec<String>>>> {
    let select = |at: usize, wanted: &Wanted| {
        let (column, table) = (quote_identifier(&wanted.column), wanted.table.quoted());
        let rows = PROBE_ROWS_READ_MAX.max(wanted.values_max as u64 + 1);
        format!(
            "SELECT {at}, (SELECT json_group_array(v) FROM (SELECT DISTINCT CAST({column} AS TEXT) AS v
                FROM (SELECT {column} FROM {table} LIMIT {rows}) WHERE {column} IS NOT NULL LIMIT {}))",
            wanted.values_max + 1
        )
    };
    let texts = |row: &SqliteRow| row.try_get::<String, _>(1);
    let found = ask(shard, wanted, PROBES_ASKED_MAX, |_| None, select, texts).await?;
    let parse = |text: String| serde_json::from_str(&text).ok();
    Ok(found.into_iter().map(|text| text.and_then(parse)).collect())
}

/// How often supposed references resolve.
pub async fn probe(shard: &SqliteShard, probes: &[Probe]) -> Result<Vec<Option<Hits>>> {
    let kind = |probe: &Probe| probe.link.when.as_ref().map(|when| when.equals.clone());
    let hits = |row: &SqliteRow| {
        let count = |index| row.try_get::<i64, _>(index).map(i64::unsigned_abs);
        Ok(Hits { rows: count(1)?, found: count(2)? })
    };
    ask(shard, probes, PROBES_ASKED_MAX, kind, resolve, hits).await
}

/// What rows of trees say.
pub async fn climb(shard: &SqliteShard, trees: &[Tree]) -> Result<Vec<Option<Climbs>>> {
    let climbs = |row: &SqliteRow| {
        let count = |index| row.try_get::<i64, _>(index).map(i64::unsigned_abs);
        Ok(Climbs { rows: count(1)?, below: count(2)?, reach: count(3)?, apart: count(4)? })
    };
    ask(shard, trees, PROBES_ASKED_MAX, |_| None, climbing, climbs).await
}

/// Asks for all items, many in a statement: `select` makes the SELECT of one, whose first column is its number;
/// `kind` is the parameter `?` of an item that has one. What is refused in company is asked again in halves; alone,
/// it has no answer.
async fn ask<T, A: Clone>(
    shard: &SqliteShard,
    items: &[T],
    together: usize,
    kind: impl Fn(&T) -> Option<String>,
    select: impl Fn(usize, &T) -> String,
    read: impl Fn(&SqliteRow) -> Result<A, sqlx::Error>,
) -> Result<Vec<Option<A>>> {
    let unable = |error| shard.database.unable("look at the rows of", error);
    let mut answers = vec![None; items.len()];
    let starts = (0..items.len()).step_by(together);
    let mut pieces: Vec<_> = starts.map(|start| start..items.len().min(start + together)).collect();
    while let Some(piece) = pieces.pop() {
        let selects: Vec<String> = piece.clone().map(|at| select(at, &items[at])).collect();
        // Safe: quoted identifiers and numbers; values are bound. Not kept: it runs once.
        let mut query = sqlx::query(AssertSqlSafe(selects.join(" UNION ALL "))).persistent(false);
        for kind in items[piece.clone()].iter().filter_map(&kind) {
            query = query.bind(kind);
        }
        match query.fetch_all(&shard.readers).await {
            Ok(rows) => {
                for row in rows {
                    let number: i64 = row.try_get(0).map_err(unable)?;
                    answers[number.unsigned_abs() as usize] = Some(read(&row).map_err(unable)?);
                }
            }
            Err(sqlx::Error::Database(_)) if piece.len() > 1 => {
                let middle = piece.start + piece.len() / 2;
                pieces.extend([piece.start..middle, middle..piece.end]);
            }
            Err(sqlx::Error::Database(error)) => tracing::debug!("a probe has no answer: {error}"),
            Err(error) => return Err(unable(error)),
        }
    }
    Ok(answers)
}

/// `SELECT at, references, references that resolve`. An array is a JSON text.
fn resolve(at: usize, probe: &Probe) -> String {
    let Link { columns, parent, parent_columns, when, each } = &probe.link;
    let table = probe.table.quoted();
    let quoted: Vec<String> = columns.iter().map(|column| quote_identifier(column)).collect();
    let mut present: Vec<String> = quoted.iter().map(|column| format!("r.{column} IS NOT NULL")).collect();
    if let Some(when) = when {
        present.push(format!("CAST(r.{} AS TEXT) = ?", quote_identifier(&when.column)));
    }
    let read = format!("(SELECT * FROM {table} LIMIT {PROBE_ROWS_READ_MAX}) r");
    let present = present.join(" AND ");
    let (rows, equal) = if *each {
        // Not every text is an array of ids: one that is none references nothing that exists.
        let array = format!("CASE WHEN json_valid(r.{0}) THEN r.{0} ELSE '[null]' END", quoted[0]);
        let rows = format!(
            "SELECT e.value AS v FROM {read}, json_each({array}) e WHERE {present} LIMIT {PROBE_ROWS_MAX}"
        );
        (rows, format!("p.{} = c.v", quote_identifier(&parent_columns[0])))
    } else {
        let pairs = quoted.iter().zip(parent_columns);
        let equal: Vec<String> =
            pairs.map(|(child, above)| format!("p.{} = c.{child}", quote_identifier(above))).collect();
        let rows = format!("SELECT r.* FROM {read} WHERE {present} LIMIT {PROBE_ROWS_MAX}");
        (rows, equal.join(" AND "))
    };
    format!(
        "SELECT {at}, count(*), coalesce(sum(EXISTS (SELECT 1 FROM {} p WHERE {equal})), 0) FROM ({rows}) c",
        parent.quoted()
    )
}

/// `SELECT at, rows, rows that only have a row above them, those below an owned one, rows apart from the one above`.
/// A row is followed upwards until one has a way of its own.
fn climbing(at: usize, tree: &Tree) -> String {
    let table = tree.table.quoted();
    let listed = |names: &[String], with: &dyn Fn(usize, String) -> String, between: &str| {
        let quoted = names.iter().map(|name| quote_identifier(name)).enumerate();
        quoted.map(|(number, name)| with(number, name)).collect::<Vec<_>>().join(between)
    };
    let Link { columns, parent_columns, .. } = &tree.link;
    let owned = |row: &str| {
        let is_set = |way: &Vec<String>| listed(way, &|_, name| format!("{row}.{name} IS NOT NULL"), " AND ");
        tree.own.iter().map(is_set).collect::<Vec<_>>().join(" OR ")
    };
    let hop = |row: &str| listed(columns, &|number, name| format!("{row}.{name} AS v{number}"), ", ");
    let above = |row: &str| {
        let equal = |number: usize, name: String| format!("p.{name} = {row}.v{number}");
        format!("JOIN {table} p ON {}", listed(parent_columns, &equal, " AND "))
    };
    let tenant = tree.tenant.as_ref().map(|name| quote_identifier(name));
    let held = tenant.as_ref().map_or("NULL".to_owned(), |name| format!("r.{name}"));
    let apart = tenant.as_ref().map_or("0".to_owned(), |name| {
        format!("(SELECT count(*) FROM seen s {} WHERE p.{name} <> s.t)", above("s"))
    });
    format!(
        "SELECT {at}, c.* FROM (
           WITH RECURSIVE seen AS MATERIALIZED (
             SELECT row_number() OVER () AS n, ({own}) AS owned, {held} AS t, {hop} FROM {table} r
             LIMIT {PROBE_ROWS_MAX}),
           up AS (
             SELECT n, 0 AS level, owned, {values} FROM seen WHERE NOT owned AND {set}
             UNION ALL
             SELECT u.n, u.level + 1, ({above_owned}), {above_hop} FROM up u {above}
             WHERE NOT u.owned AND u.level < {PROBE_LEVELS_MAX})
           SELECT (SELECT count(*) FROM seen), count(CASE WHEN level = 0 THEN 1 END),
                  count(DISTINCT CASE WHEN owned THEN n END), {apart} FROM up) c",
        own = owned("r"),
        hop = hop("r"),
        values = listed(columns, &|number, _| format!("v{number}"), ", "),
        set = listed(columns, &|number, _| format!("v{number} IS NOT NULL"), " AND "),
        above_owned = owned("p"),
        above_hop = hop("p"),
        above = above("u"),
    )
}
