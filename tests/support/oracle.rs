//! The whole-database oracle: what a database holds, asked of it in plain SQL, outside the engine.
//!
//! ```text
//! table_hashes_*(url, …)          every user table ──► rows and an order-independent hash of them
//! rows_*(url, table, condition)   the rows themselves as sorted text, to look at a difference
//! ```
//!
//! A hash is a sum over the rows, so the order does not count and equal rows count as often as they occur. All
//! tables are read in one transaction, so that neighbours that go on writing cannot tear the picture. The engine's
//! own journal is left out. Nothing of the crate is used here; a failure is a panic, since this only runs in tests.

#![allow(dead_code, reason = "each test binary asks the oracle other questions")]

use std::collections::BTreeMap;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

/// What one table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableHash {
    /// Number of rows.
    pub rows: u64,
    /// Sum of the hashes of all rows.
    pub hash: String,
}

/// Table hashes by `schema.table` (PostgreSQL) or table (SQLite).
pub type TableHashes = BTreeMap<String, TableHash>;

/// A condition on the rows of each table, by the names of [`TableHashes`]; from the test itself, hence trusted SQL.
pub type Conditions = BTreeMap<String, String>;

/// Which rows count.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// All rows of all tables.
    All,
    /// Rows that meet their table's condition; tables without one are left out. The victims.
    Of(&'a Conditions),
    /// Rows that do not, and all rows of tables without a condition. The neighbours.
    AllBut(&'a Conditions),
}

impl Rows<'_> {
    /// The condition on `table`, or none if the table is left out. A condition that is NULL is not met.
    fn condition(self, table: &str) -> Option<String> {
        match self {
            Rows::All => Some("true".to_owned()),
            Rows::Of(conditions) => conditions.get(table).map(|condition| format!("({condition}) is true")),
            Rows::AllBut(conditions) => Some(match conditions.get(table) {
                Some(condition) => format!("({condition}) is not true"),
                None => "true".to_owned(),
            }),
        }
    }

    /// A condition on a table that does not exist would let a comparison pass for nothing.
    fn check_tables<'t>(self, tables: impl Iterator<Item = &'t str>) {
        if let Rows::Of(conditions) | Rows::AllBut(conditions) = self {
            let tables: Vec<&str> = tables.collect();
            let unknown: Vec<_> = conditions.keys().filter(|name| !tables.contains(&name.as_str())).collect();
            assert!(
                unknown.is_empty(),
                "conditions on tables that do not exist: {unknown:?}; there are {tables:?}"
            );
        }
    }
}

/// The tables in which two pictures differ, with both sides; empty if they are equal.
pub fn differences(before: &TableHashes, after: &TableHashes) -> Vec<String> {
    let tables: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = tables.into_iter().filter(|table| before.get(*table) != after.get(*table));
    differing.map(|table| format!("{table}: {:?} became {:?}", before.get(table), after.get(table))).collect()
}

/// Hashes of the tables of these PostgreSQL schemas, or of all user schemas if none is given. A partitioned table
/// counts once, under the name of its root.
pub async fn table_hashes_pg(url: &str, schemas: &[&str], rows: Rows<'_>) -> TableHashes {
    let mut connection = connect_pg(url).await;
    run_pg(&mut connection, "begin transaction isolation level repeatable read read only").await;
    let tables = "
        select n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname), c.relkind = 'p'
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
          and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'reinstate')
          and (cardinality($1::text[]) = 0 or n.nspname = any($1::text[]))";
    let schemas: Vec<String> = schemas.iter().map(|schema| (*schema).to_owned()).collect();
    let tables = sqlx::query(tables).bind(schemas).fetch_all(&mut connection).await.expect("the tables");
    let tables: Vec<(String, String, bool)> =
        tables.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    rows.check_tables(tables.iter().map(|(name, ..)| name.as_str()));

    let mut hashes = TableHashes::new();
    for (name, quoted, partitioned) in tables {
        let Some(condition) = rows.condition(&name) else { continue };
        let only = if partitioned { "" } else { "only " };
        // The alias is one that no column has: the name of a column would win over that of the row.
        let sql = format!(
            "select count(*), concat(sum(('x' || left(hash, 15))::bit(60)::bigint), ' ',
                                     sum(('x' || right(hash, 15))::bit(60)::bigint))
             from (select md5(\"oracle's row\"::text) as hash from {only}{quoted} as \"oracle's row\"
                   where {condition}) as hashes"
        );
        // Safe: names quoted by the server, conditions from the test.
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut connection).await;
        let row = row.unwrap_or_else(|error| panic!("unable to hash '{name}': {error}"));
        let count: i64 = row.get(0);
        hashes.insert(name, TableHash { rows: count.unsigned_abs(), hash: row.get(1) });
    }
    run_pg(&mut connection, "commit").await;
    connection.close().await.expect("the connection closes");
    hashes
}

/// The rows of a PostgreSQL table (its name as SQL) that meet a condition, as sorted text.
pub async fn rows_pg(url: &str, table: &str, condition: &str) -> Vec<String> {
    let mut connection = connect_pg(url).await;
    let sql = format!("select \"oracle's row\"::text from {table} as \"oracle's row\" where {condition}");
    // Safe: both parts come from the test.
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
    let rows = rows.unwrap_or_else(|error| panic!("unable to read '{table}': {error}"));
    connection.close().await.expect("the connection closes");
    sorted(rows.iter().map(|row| row.get(0)).collect())
}

/// A connection whose text form of values depends on nothing but the values.
async fn connect_pg(url: &str) -> PgConnection {
    let options = PgConnectOptions::from_str(url).expect("a URL").options([
        ("datestyle", "ISO, YMD"),
        ("timezone", "UTC"),
        ("intervalstyle", "postgres"),
        ("extra_float_digits", "3"),
        ("bytea_output", "hex"),
        ("row_security", "off"),
    ]);
    options.connect().await.expect("a connection of the oracle")
}

async fn run_pg(connection: &mut PgConnection, sql: &'static str) {
    sqlx::query(sql)
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("unable to run '{sql}': {error}"));
}

/// Hashes of all tables of a SQLite database.
pub async fn table_hashes_sqlite(url: &str, rows: Rows<'_>) -> TableHashes {
    let mut connection = connect_sqlite(url).await;
    sqlx::query("begin").execute(&mut connection).await.expect("a transaction");
    let tables = "select name from pragma_table_list where schema = 'main' and type = 'table'
                  and name not like 'sqlite\\_%' escape '\\' and name not in ('reinstate_journal', 'reinstate_event', 'reinstate_gate')";
    let tables = sqlx::query(tables).fetch_all(&mut connection).await.expect("the tables");
    let tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    rows.check_tables(tables.iter().map(String::as_str));

    let mut hashes = TableHashes::new();
    for name in tables {
        let Some(condition) = rows.condition(&name) else { continue };
        let texts = row_texts_sqlite(&mut connection, &name, &condition).await;
        // Half of the hash, so that the sum has room for 2^64 rows only where it wraps; wrapping is still a sum.
        let sum = texts.iter().fold(0_u128, |sum, text| {
            let hash = blake3::hash(text.as_bytes());
            let half: [u8; 16] = hash.as_bytes()[..16].try_into().expect("16 of 32 bytes");
            sum.wrapping_add(u128::from_le_bytes(half))
        });
        hashes.insert(name, TableHash { rows: texts.len() as u64, hash: format!("{sum:032x}") });
    }
    sqlx::query("commit").execute(&mut connection).await.expect("a commit");
    connection.close().await.expect("the connection closes");
    hashes
}

/// The rows of a SQLite table that meet a condition, as sorted text.
pub async fn rows_sqlite(url: &str, table: &str, condition: &str) -> Vec<String> {
    let mut connection = connect_sqlite(url).await;
    let texts = row_texts_sqlite(&mut connection, table, condition).await;
    connection.close().await.expect("the connection closes");
    sorted(texts)
}

/// Every column of every row as SQL would write it, which tells 1, 1.0, '1' and x'31' apart and keeps every bit of
/// a real. Text goes in hexadecimal, since `quote` ends it at a NUL.
async fn row_texts_sqlite(connection: &mut SqliteConnection, table: &str, condition: &str) -> Vec<String> {
    let columns = sqlx::query("select name from pragma_table_xinfo(?) where hidden <> 1 order by cid")
        .bind(table)
        .fetch_all(&mut *connection)
        .await
        .expect("the columns");
    assert!(!columns.is_empty(), "no table '{table}'");
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let values: Vec<String> = columns
        .iter()
        .map(|row| {
            let column = quote(row.get(0));
            format!("case typeof({column}) when 'text' then 't''' || hex({column}) || '''' else quote({column}) end")
        })
        .collect();
    let sql = format!("select {} from {} where {condition}", values.join(" || ',' || "), quote(table));
    // Safe: names are quoted, the condition comes from the test.
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await;
    let rows = rows.unwrap_or_else(|error| panic!("unable to read '{table}': {error}"));
    rows.iter().map(|row| row.get(0)).collect()
}

async fn connect_sqlite(url: &str) -> SqliteConnection {
    let options = SqliteConnectOptions::from_str(url).expect("a URL").read_only(true);
    options.connect().await.expect("a connection of the oracle")
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort_unstable();
    rows
}
