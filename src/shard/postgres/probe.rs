//! What `init` asks beside the catalog: sizes, values, and whether supposed references resolve.
//!
//! Large tables are sampled (TABLESAMPLE), every statement has a time-out, and many questions share a statement.
//! One that the server refuses, or that takes too long, is asked again in halves: in the end the culprit alone
//! goes without an answer. The connection reads only, and is closed afterwards with its settings.

use std::collections::HashMap;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, FromRow};

use crate::database::postgres::catalog::{Relations, with_user_tables};
use crate::database::postgres::error::failure;
use crate::error::Result;
use crate::limits::{
    PROBE_LEVELS_MAX, PROBE_ROWS_MAX, PROBE_TIMEOUT, PROBES_ASKED_MAX, ROWS_COUNTED_MAX, TABLES_ASKED_MAX,
};
use crate::model::{Column, Link, Table, TableName, TypeKind, quote_identifier};
use crate::shard::{Climbs, Hits, Probe, Statistics, Tree, Wanted};

/// The planner's idea of each table's rows (-1: none yet), and the tables it inherits from.
const SIZES: &str = concat!(
    with_user_tables!(),
    "select u.schema, u.name,
            coalesce(case when u.partitioned then
                (select case when min(l.reltuples) < 0 then -1 else sum(l.reltuples) end
                 from pg_partition_tree(u.oid) p join pg_class l on l.oid = p.relid where p.isleaf)
              else c.reltuples end, -1)::int8,
            array(select n.nspname::text from pg_inherits i join pg_class p on p.oid = i.inhparent
                  join pg_namespace n on n.oid = p.relnamespace where i.inhrelid = u.oid order by i.inhseqno),
            array(select p.relname::text from pg_inherits i join pg_class p on p.oid = i.inhparent
                  where i.inhrelid = u.oid order by i.inhseqno)
     from user_tables u join pg_class c on c.oid = u.oid"
);

type SizeRow = (String, String, i64, Vec<String>, Vec<String>);
type Sizes = HashMap<TableName, i64>;

/// Makes a connection one that cannot hurt.
async fn prepare(connection: &mut PgConnection) -> Result<()> {
    let sql = format!(
        "SET default_transaction_read_only = on; SET statement_timeout = {}",
        PROBE_TIMEOUT.as_millis()
    );
    // Safe: a constant.
    let set = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    set.map(drop).map_err(|error| failure("unable to prepare a connection for probing", error))
}

async fn sizes(connection: &mut PgConnection) -> Result<Vec<SizeRow>> {
    let rows = sqlx::query_as(SIZES).fetch_all(connection).await;
    rows.map_err(|error| failure("unable to read the sizes of the tables", error))
}

/// The estimates, with a bounded count where the server has none.
pub async fn statistics(
    connection: &mut PgConnection,
    relations: &Relations,
    tables: &[Table],
) -> Result<Statistics> {
    prepare(connection).await?;
    let mut found = Statistics::default();
    for (schema, name, rows, schemas, parents) in sizes(connection).await? {
        let name = TableName::new(schema, name);
        if rows > 0 {
            found.rows.insert(name.clone(), rows.unsigned_abs());
        }
        if !parents.is_empty() {
            let parents = schemas.into_iter().zip(parents).map(|(schema, name)| TableName::new(schema, name));
            found.inherits.insert(name, parents.collect());
        }
    }
    let unknown: Vec<&TableName> =
        tables.iter().map(|table| &table.name).filter(|name| !found.rows.contains_key(name)).collect();
    let select = |at: usize, name: &&TableName| {
        let from = relations.from_item(name)?;
        Ok(format!("SELECT {at}, count(*) FROM (SELECT FROM {from} LIMIT {}) r", ROWS_COUNTED_MAX + 1))
    };
    let counted: Vec<Option<(i32, i64)>> = ask(connection, &unknown, TABLES_ASKED_MAX, &[], select).await?;
    for (name, rows) in unknown.into_iter().zip(counted) {
        if let Some((_, rows)) = rows {
            found.rows.insert(name.clone(), rows.unsigned_abs());
        }
    }
    Ok(found)
}

/// Distinct values of columns, as text.
pub async fn values(
    connection: &mut PgConnection,
    relations: &Relations,
    wanted: &[Wanted],
) -> Result<Vec<Option<Vec<String>>>> {
    prepare(connection).await?;
    let sizes = estimates(connection).await?;
    let select = |at: usize, wanted: &Wanted| {
        let column = quote_identifier(&wanted.column);
        // All values of a table of tenants are wanted; of any other column a sample will do.
        let rows = PROBE_ROWS_MAX.max(wanted.values_max as u64 + 1);
        let sample = sample(relations, &sizes, &wanted.table, rows)?;
        Ok(format!(
            "SELECT {at}, array(SELECT DISTINCT v.v FROM (SELECT r.{column}::text AS v FROM {sample}
                WHERE r.{column} IS NOT NULL LIMIT {rows}) v LIMIT {})",
            wanted.values_max + 1
        ))
    };
    let answers: Vec<Option<(i32, Vec<String>)>> =
        ask(connection, wanted, PROBES_ASKED_MAX, &[], select).await?;
    Ok(answers.into_iter().map(|answer| answer.map(|(_, values)| values)).collect())
}

/// How often supposed references resolve.
pub async fn probe(
    connection: &mut PgConnection,
    relations: &Relations,
    probes: &[Probe],
    tables: &[Table],
) -> Result<Vec<Option<Hits>>> {
    prepare(connection).await?;
    let sizes = estimates(connection).await?;
    let tables: HashMap<&TableName, &Table> = tables.iter().map(|table| (&table.name, table)).collect();
    let kinds: Vec<&str> =
        probes.iter().map(|probe| probe.link.when.as_ref().map_or("", |when| when.equals.as_str())).collect();
    let select = |at: usize, probe: &Probe| {
        let sample = sample(relations, &sizes, &probe.table, PROBE_ROWS_MAX)?;
        let parent = relations.from_item(&probe.link.parent)?;
        let types = Types { child: tables.get(&probe.table), parent: tables.get(&probe.link.parent) };
        Ok(resolve(at, &probe.link, &sample, &parent, &types))
    };
    let answers: Vec<Option<(i32, i64, i64)>> =
        ask(connection, probes, PROBES_ASKED_MAX, &kinds, select).await?;
    let hits =
        |(_, rows, found): (i32, i64, i64)| Hits { rows: rows.unsigned_abs(), found: found.unsigned_abs() };
    Ok(answers.into_iter().map(|answer| answer.map(hits)).collect())
}

/// What rows of trees say.
pub async fn climb(
    connection: &mut PgConnection,
    relations: &Relations,
    trees: &[Tree],
    tables: &[Table],
) -> Result<Vec<Option<Climbs>>> {
    prepare(connection).await?;
    let sizes = estimates(connection).await?;
    let tables: HashMap<&TableName, &Table> = tables.iter().map(|table| (&table.name, table)).collect();
    let select = |at: usize, tree: &Tree| {
        let sample = sample(relations, &sizes, &tree.table, PROBE_ROWS_MAX)?;
        let table = relations.from_item(&tree.table)?;
        let own = tables.get(&tree.table);
        Ok(climbing(at, tree, &sample, &table, &Types { child: own, parent: own }))
    };
    let answers: Vec<Option<ClimbRow>> = ask(connection, trees, PROBES_ASKED_MAX, &[], select).await?;
    let climbs = |(_, rows, below, reach, apart): ClimbRow| Climbs {
        rows: rows.unsigned_abs(),
        below: below.unsigned_abs(),
        reach: reach.unsigned_abs(),
        apart: apart.unsigned_abs(),
    };
    Ok(answers.into_iter().map(|answer| answer.map(climbs)).collect())
}

type ClimbRow = (i32, i64, i64, i64, i64);

async fn estimates(connection: &mut PgConnection) -> Result<Sizes> {
    let rows = sizes(connection).await?;
    Ok(rows.into_iter().map(|(schema, name, rows, ..)| (TableName::new(schema, name), rows)).collect())
}

/// Asks for all items, many in a statement: `select` makes the SELECT of one, whose first column is its number.
/// What is refused in company is asked again in halves; alone, it has no answer. `kinds` is `$1`, by number.
async fn ask<T, A>(
    connection: &mut PgConnection,
    items: &[T],
    together: usize,
    kinds: &[&str],
    select: impl Fn(usize, &T) -> Result<String>,
) -> Result<Vec<Option<A>>>
where
    A: for<'r> FromRow<'r, PgRow> + Numbered + Send + Unpin,
{
    let mut answers: Vec<Option<A>> = items.iter().map(|_| None).collect();
    let all = 0..items.len();
    let mut pieces: Vec<_> =
        all.clone().step_by(together).map(|start| start..items.len().min(start + together)).collect();
    while let Some(piece) = pieces.pop() {
        let selects: Result<Vec<String>> = piece.clone().map(|at| select(at, &items[at])).collect();
        // Safe: quoted identifiers and numbers; values are bound. Not kept: it runs once.
        let query =
            sqlx::query_as(AssertSqlSafe(format!("({})", selects?.join(") UNION ALL (")))).persistent(false);
        let query = if kinds.is_empty() { query } else { query.bind(kinds) };
        let rows: Result<Vec<A>, sqlx::Error> = query.fetch_all(&mut *connection).await;
        match rows {
            Ok(rows) => rows.into_iter().for_each(|row| {
                let number = row.number();
                answers[number] = Some(row);
            }),
            Err(sqlx::Error::Database(_)) if piece.len() > 1 => {
                let middle = piece.start + piece.len() / 2;
                pieces.extend([piece.start..middle, middle..piece.end]);
            }
            Err(sqlx::Error::Database(error)) => tracing::debug!("a probe has no answer: {error}"),
            Err(error) => return Err(failure("unable to look at the rows", error)),
        }
    }
    Ok(answers)
}

/// An answer that names its question.
trait Numbered {
    fn number(&self) -> usize;
}

impl<T> Numbered for (i32, T) {
    fn number(&self) -> usize {
        self.0.unsigned_abs() as usize
    }
}

impl<T, U> Numbered for (i32, T, U) {
    fn number(&self) -> usize {
        self.0.unsigned_abs() as usize
    }
}

impl Numbered for ClimbRow {
    fn number(&self) -> usize {
        self.0.unsigned_abs() as usize
    }
}

/// The table as `r` behind FROM: all of it, or blocks picked by chance that hold about three times the rows wanted.
fn sample(relations: &Relations, sizes: &Sizes, table: &TableName, rows: u64) -> Result<String> {
    let item = format!("{} r", relations.from_item(table)?);
    let known = sizes.get(table).copied().unwrap_or_default().unsigned_abs();
    if known <= rows * 10 {
        return Ok(item);
    }
    let percent = 300.0 * rows as f64 / known as f64;
    Ok(format!("{item} TABLESAMPLE SYSTEM ({percent:.6}) REPEATABLE (1)"))
}

struct Types<'a> {
    child: Option<&'a &'a Table>,
    parent: Option<&'a &'a Table>,
}

/// `SELECT at, references, references that resolve`.
fn resolve(at: usize, link: &Link, sample: &str, parent: &str, types: &Types) -> String {
    let column = |table: Option<&&Table>, name: &str| table.and_then(|table| table.column(name)).cloned();
    let mut values = Vec::new();
    let mut present = Vec::new();
    let mut equal = Vec::new();
    for (number, (child, above)) in link.columns.iter().zip(&link.parent_columns).enumerate() {
        let quoted = quote_identifier(child);
        values.push(format!("r.{quoted} AS v{number}"));
        present.push(format!("r.{quoted} IS NOT NULL"));
        let (below, over) = (column(types.child, child), column(types.parent, above));
        let above = format!("p.{}", quote_identifier(above));
        equal.push(equals(&format!("c.v{number}"), &above, below.as_ref(), over.as_ref(), link.each));
    }
    if let Some(when) = &link.when {
        let column = quote_identifier(&when.column);
        present.push(format!("r.{column}::text OPERATOR(pg_catalog.=) ($1::text[])[{}]", at + 1));
    }
    let rows = format!(
        "SELECT {} FROM {sample} WHERE {} LIMIT {PROBE_ROWS_MAX}",
        values.join(", "),
        present.join(" AND ")
    );
    let rows = if link.each {
        format!("SELECT e AS v0 FROM ({rows}) r, unnest(r.v0) e WHERE e IS NOT NULL LIMIT {PROBE_ROWS_MAX}")
    } else {
        rows
    };
    format!(
        "SELECT {at}, count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM {parent} p WHERE {})) FROM ({rows}) c",
        equal.join(" AND ")
    )
}

/// `SELECT at, rows, rows that only have a row above them, those below an owned one, rows apart from the one above`.
/// A row is followed upwards until one has a way of its own.
fn climbing(at: usize, tree: &Tree, sample: &str, table: &str, types: &Types) -> String {
    let column = |name: &str| types.child.and_then(|table| table.column(name)).cloned();
    let quoted: Vec<String> = tree.link.columns.iter().map(|name| quote_identifier(name)).collect();
    let hop = |row: &str| {
        let each = quoted.iter().enumerate().map(|(number, name)| format!("{row}.{name} AS v{number}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let owned = |row: &str| {
        let is_set = |columns: &Vec<String>| {
            let each = columns.iter().map(|name| format!("{row}.{} IS NOT NULL", quote_identifier(name)));
            each.collect::<Vec<_>>().join(" AND ")
        };
        let ways: Vec<String> = tree.own.iter().map(is_set).collect();
        format!("({}) AS owned", ways.join(" OR "))
    };
    let tenant = tree.tenant.as_ref().map(|name| quote_identifier(name));
    let set: Vec<String> = (0..quoted.len()).map(|number| format!("v{number} IS NOT NULL")).collect();
    let pairs = tree.link.columns.iter().zip(&tree.link.parent_columns).enumerate();
    let above = |row: &str| {
        let equal = pairs.clone().map(|(number, (child, parent))| {
            let (value, key) = (format!("{row}.v{number}"), format!("p.{}", quote_identifier(parent)));
            equals(&value, &key, column(child).as_ref(), column(parent).as_ref(), false)
        });
        format!("JOIN {table} p ON {}", equal.collect::<Vec<_>>().join(" AND "))
    };
    let held = tenant.as_ref().map_or("NULL".to_owned(), |name| format!("r.{name}"));
    let apart = tenant.as_ref().map_or("0".to_owned(), |name| {
        let differ = format!("p.{name}::text OPERATOR(pg_catalog.<>) s.t");
        format!("(SELECT count(*) FROM seen s {} WHERE {differ})", above("s"))
    });
    format!(
        "SELECT {at}, c.* FROM (
           WITH RECURSIVE seen AS MATERIALIZED (
             SELECT row_number() OVER () AS n, {own}, {held}::text AS t, {hop} FROM {sample} LIMIT {PROBE_ROWS_MAX}),
           up AS (
             SELECT n, 0 AS level, owned, {values} FROM seen WHERE NOT owned AND {set}
             UNION ALL
             SELECT u.n, u.level + 1, {above_owned}, {above_hop} FROM up u {above}
             WHERE NOT u.owned AND u.level < {PROBE_LEVELS_MAX})
           SELECT (SELECT count(*) FROM seen), count(*) FILTER (WHERE level = 0),
                  count(DISTINCT n) FILTER (WHERE owned), {apart} FROM up) c",
        own = owned("r"),
        hop = hop("r"),
        values = (0..quoted.len()).map(|number| format!("v{number}")).collect::<Vec<_>>().join(", "),
        set = set.join(" AND "),
        above_owned = owned("p"),
        above_hop = hop("p"),
        above = above("u"),
    )
}

/// How values of a type are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Integer,
    Text,
    Uuid,
    Other,
}

fn family(column: Option<&Column>, each: bool) -> Family {
    let Some(column) = column else { return Family::Other };
    if each {
        return match column.type_name.trim_end_matches("[]") {
            "smallint" | "integer" | "bigint" => Family::Integer,
            "uuid" => Family::Uuid,
            "text" | "character varying" => Family::Text,
            _ => Family::Other,
        };
    }
    match column.kind {
        TypeKind::Int16 | TypeKind::Int32 | TypeKind::Int64 => Family::Integer,
        TypeKind::Uuid => Family::Uuid,
        TypeKind::Text => Family::Text,
        _ => Family::Other,
    }
}

/// The two sides compared so that the parent's index serves; a text that is no value of its type equals nothing.
fn equals(child: &str, parent: &str, below: Option<&Column>, above: Option<&Column>, each: bool) -> String {
    const UUID: &str = "'^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'";
    let same_type =
        !each && below.zip(above).is_some_and(|(below, above)| below.type_name == above.type_name);
    let (left, right) = match (family(below, each), family(above, false)) {
        (Family::Integer, Family::Integer) | (Family::Uuid, Family::Uuid) => (parent.into(), child.into()),
        _ if same_type => (parent.into(), child.into()),
        (Family::Text, Family::Uuid) => {
            (parent.into(), format!("CASE WHEN {child}::text ~ {UUID} THEN {child}::text::uuid END"))
        }
        (Family::Text, Family::Integer) => (
            parent.into(),
            format!("CASE WHEN {child}::text ~ '^[0-9]{{1,18}}$' THEN {child}::text::int8 END"),
        ),
        _ => (format!("{parent}::text"), format!("{child}::text")),
    };
    format!("{left} OPERATOR(pg_catalog.=) {right}")
}
