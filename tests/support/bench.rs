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
             AND name NOT LIKE 'sqlite_%' AND name <> 'reinstate_journal'",
        )
        .fetch_all(&mut connection)
        .await
        .expect("tables");
        let mut dump = Dump::new();
        for table in tables {
            let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
            let columns = "SELECT name FROM pragma_table_info(?)";
            let columns: Vec<String> =
                sqlx::query_scalar(columns).bind(&table).fetch_all(&mut connection).await.expect("columns");
            let values: Vec<String> = columns.iter().map(|name| format!("quote({})", quote(name))).collect();
            let sql = format!("SELECT {} FROM {} ORDER BY 1", values.join(" || ',' || "), quote(&table));
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("rows");
            dump.insert(table, rows.iter().map(|row| row.get(0)).collect());
        }
        dump
    }
}

/// A database on the PostgreSQL server of this test binary.
pub struct Postgres {
    url: String,
}

impl Postgres {
    pub async fn new() -> Self {
        let create = tokio::task::spawn_blocking(|| Cluster::start().new_database());
        Self { url: create.await.expect("database") }
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
