//! A database to test on, driven from outside the engine: SQL in, every row of every table out.

#![allow(dead_code)] // Each test binary uses its own part.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reinstate::model::{DatabaseUrl, TableName};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use tempfile::TempDir;

use crate::cluster::{Cluster, psql};

/// Every row of every user table as text, sorted; the engine's journal left out.
pub type Dump = BTreeMap<String, Vec<String>>;

/// One empty database of one kind.
#[async_trait]
pub trait Bench: Send + Sync {
    /// Where it is.
    fn url(&self) -> DatabaseUrl;

    /// The schema of its tables.
    fn schema(&self) -> &'static str;

    /// A template in the database's own dialect.
    fn dialect(&self, template: &str) -> String;

    /// A table `kinds` with a column `site`, where site 8 has the values that programs get wrong, in every
    /// type.
    fn kinds(&self) -> &'static str;

    /// A trigger on comments, by which each new row writes rows of the neighbours 7 and 9.
    fn meddling_trigger(&self) -> &'static str;

    /// Whether sessions are to have triggers off.
    fn is_quiet(&self) -> bool {
        false
    }

    /// Runs statements.
    async fn execute(&self, sql: &str);

    /// Reads everything.
    async fn dump(&self) -> Dump;

    /// Runs a template.
    async fn run(&self, template: &str) {
        self.execute(&self.dialect(template)).await;
    }

    /// A table of the database's one schema.
    fn table(&self, name: &str) -> TableName {
        TableName::new(self.schema(), name)
    }
}

fn replace(template: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(template.to_owned(), |text, (word, dialect)| text.replace(word, dialect))
}

/// A SQLite file.
pub struct Sqlite {
    folder: TempDir,
}

impl Sqlite {
    pub async fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("folder") };
        std::fs::File::create(bench.path()).expect("an empty file is an empty database");
        bench.execute("PRAGMA journal_mode = WAL").await;
        bench
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("shard.db")
    }

    /// A connection outside the engine, a neighbour's.
    pub async fn connect(&self) -> SqliteConnection {
        SqliteConnection::connect(&format!("sqlite:{}", self.path().display())).await.expect("connect")
    }
}

#[async_trait]
impl Bench for Sqlite {
    fn url(&self) -> DatabaseUrl {
        DatabaseUrl::parse(&format!("sqlite:{}", self.path().display())).expect("url")
    }

    fn schema(&self) -> &'static str {
        "main"
    }

    fn dialect(&self, template: &str) -> String {
        replace(
            template,
            &[
                ("{auto}", "INTEGER PRIMARY KEY AUTOINCREMENT"),
                ("{id}", "INTEGER PRIMARY KEY"),
                ("{int}", "INTEGER"),
                ("{real}", "REAL"),
                ("{blob}", "BLOB"),
                ("{hex:", "x'"),
                (":hex}", "'"),
            ],
        )
    }

    fn kinds(&self) -> &'static str {
        r#"CREATE TABLE kinds (site INTEGER REFERENCES sites (id), i INTEGER, r REAL, t TEXT, b BLOB,
             n NUMERIC, mixed, "odd "" name", never, twice AS (i * 2) STORED, length INT AS (length(t)) VIRTUAL);
         INSERT INTO kinds VALUES
             (8, -9223372036854775808, -1e999, '', x'', 1, NULL, 'a' || char(0) || 'b', NULL),
             (8, 9223372036854775807, 4.9e-324, char(0x10FFFF), x'00ff', 1.5, -0.0, '', NULL),
             (8, NULL, NULL, NULL, NULL, 'text', '42', NULL, NULL),
             (8, 0, 0.1, '42', CAST('text' AS BLOB), 9007199254740993, 42, '\N', NULL),
             (8, -1, 1e308, ' ', x'27', x'00', x'3432', '''', NULL),
             (7, 3, 2.0, 'x', x'07', 2, 2.5, 'y', NULL)"#
    }

    fn meddling_trigger(&self) -> &'static str {
        "CREATE TRIGGER meddle AFTER INSERT ON comments BEGIN
             UPDATE projects SET name = 'meddled' WHERE site = 7;
             DELETE FROM history WHERE site = 9 AND note IS NULL; END"
    }

    async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{error} in {sql}"));
        connection.close().await.expect("close");
    }

    async fn dump(&self) -> Dump {
        let mut connection = self.connect().await;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'
             AND name NOT LIKE 'sqlite_%' AND name not in ('reinstate_journal', 'reinstate_event', 'reinstate_gate')",
        )
        .fetch_all(&mut connection)
        .await
        .expect("tables");
        let mut dump = Dump::new();
        for table in tables {
            let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
            let columns = "SELECT name FROM pragma_table_xinfo(?)";
            let columns: Vec<String> =
                sqlx::query_scalar(columns).bind(&table).fetch_all(&mut connection).await.expect("columns");
            // quote() stops at a NUL, so such values are shown in hexadecimal.
            let value = |name: &String| {
                let name = quote(name);
                let has_nul = format!("instr(CAST({name} AS BLOB), x'00')");
                format!("CASE WHEN {has_nul} THEN typeof({name}) || hex({name}) ELSE quote({name}) END")
            };
            let values: Vec<String> = columns.iter().map(value).collect();
            let sql =
                format!("SELECT concat_ws(',', {}) FROM {} ORDER BY 1", values.join(", "), quote(&table));
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("rows");
            dump.insert(table, rows.iter().map(|row| row.get(0)).collect());
        }
        dump
    }
}

/// A database on the PostgreSQL server of this test binary.
pub struct Postgres {
    url: String,
    quiet: bool,
}

impl Postgres {
    pub async fn new() -> Self {
        let create = tokio::task::spawn_blocking(|| Cluster::start().new_database());
        Self { url: create.await.expect("database"), quiet: false }
    }

    /// One whose sessions have triggers off.
    pub async fn quiet() -> Self {
        Self { quiet: true, ..Self::new().await }
    }

    async fn psql(&self, sql: &str) -> String {
        let (url, sql) = (self.url.clone(), sql.to_owned());
        tokio::task::spawn_blocking(move || psql(&url, &sql)).await.expect("psql")
    }
}

#[async_trait]
impl Bench for Postgres {
    fn url(&self) -> DatabaseUrl {
        DatabaseUrl::parse(&self.url).expect("url")
    }

    fn is_quiet(&self) -> bool {
        self.quiet
    }

    fn schema(&self) -> &'static str {
        "public"
    }

    fn dialect(&self, template: &str) -> String {
        replace(
            template,
            &[
                ("{auto}", "bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"),
                ("{id}", "bigint PRIMARY KEY"),
                ("{int}", "bigint"),
                ("{real}", "double precision"),
                ("{blob}", "bytea"),
                ("{hex:", "'\\x"),
                (":hex}", "'::bytea"),
            ],
        )
    }

    fn kinds(&self) -> &'static str {
        r#"CREATE TYPE mood AS ENUM ('sad', 'so, so', 'it''s');
         CREATE DOMAIN positive AS int CHECK (value > 0);
         CREATE TABLE kinds (site bigint REFERENCES sites (id), b bool, i2 int2, i4 int4, f4 float4, f8 float8,
             t text, c char(5), v varchar, y bytea, d date, tm time, ts timestamp, tz timestamptz, u uuid, j json,
             jb jsonb, n numeric, a int[], m mood, p positive, ip inet, iv interval, r int4range,
             "odd "" name" text, twice int GENERATED ALWAYS AS (i2 * 2) STORED);
         INSERT INTO kinds VALUES
             (8, true, -16384, -2147483648, 'NaN', '-Infinity', '', 'ab', '\N', '', 'infinity', '24:00',
              '-infinity', 'infinity', '00000000-0000-0000-0000-000000000000', '{ "a":  1 }', '{"a": 1e100}',
              'NaN', '[2:3]={1,NULL}', 'so, so', 1, '::1/64', '1 year -1 day', '(,5]', 'x'),
             (8, false, 16383, 2147483647, '-0', '4.9e-324', e'\U0010FFFF', '', 'x', '\x00ff', '4713-01-01 BC',
              '00:00', '294276-12-31 23:59:59.999999', '4713-01-01 00:00:00+00 BC',
              'ffffffff-ffff-ffff-ffff-ffffffffffff', 'null', 'null', '1e-1000', '{}', 'it''s', 2, '10.0.0.0/8',
              '0', 'empty', '');
         INSERT INTO kinds (site) VALUES (8), (8);
         INSERT INTO kinds (site, t) VALUES (7, 'neighbour')"#
    }

    fn meddling_trigger(&self) -> &'static str {
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             UPDATE projects SET name = 'meddled' WHERE site = 7;
             DELETE FROM history WHERE site = 9 AND note IS NULL; RETURN NULL; END $$;
         CREATE TRIGGER meddle AFTER INSERT ON comments FOR EACH ROW EXECUTE FUNCTION meddle()"
    }

    async fn execute(&self, sql: &str) {
        self.psql(sql).await;
    }

    async fn dump(&self) -> Dump {
        let tables = self
            .psql(
                "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'",
            )
            .await;
        let mut dump = Dump::new();
        for table in tables.lines() {
            let sql =
                format!("set extra_float_digits = 3; select r::text from public.\"{table}\" r order by 1");
            let rows = self.psql(&sql).await;
            dump.insert(table.to_owned(), rows.lines().map(str::to_owned).collect());
        }
        dump
    }
}
