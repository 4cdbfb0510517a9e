//! The drill's own hands on a database: plain SQL, nothing of the engine.

use futures::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Row};
use std::str::FromStr;
use std::time::Duration;

use super::fleet::Value;
use super::tables::TableSpec;
use crate::error::{Error, Result};
use crate::model::{DatabaseUrl, TenantId, row_hash};

/// How long a neighbour waits for SQLite's one write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);
/// Parameters of one SQLite statement.
const PARAMETERS_MAX: usize = 32_000;

/// A database of the drill.
#[derive(Clone)]
pub enum Database {
    /// PostgreSQL.
    Postgres(sqlx::PgPool),
    /// SQLite.
    Sqlite(sqlx::SqlitePool),
}

/// Rows of a table by an order-independent hash, taken by plain SQL.
pub type RowsHash = (u64, u128);

fn wrong(error: sqlx::Error) -> Error {
    Error::failed("unable to run the drill's own SQL").because(error)
}

impl Database {
    /// Connects; creates the file of a SQLite database.
    pub async fn open(url: &DatabaseUrl) -> Result<Self> {
        if url.is_postgres() {
            let options =
                PgConnectOptions::from_str(url.expose()).map_err(wrong)?.application_name("reinstate drill");
            Ok(Self::Postgres(
                PgPoolOptions::new().max_connections(2).connect_with(options).await.map_err(wrong)?,
            ))
        } else {
            let options = SqliteConnectOptions::from_str(url.expose())
                .map_err(wrong)?
                .create_if_missing(true)
                .busy_timeout(BUSY_TIMEOUT)
                .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
                .synchronous(sqlx::sqlite::SqliteSynchronous::Normal);
            Ok(Self::Sqlite(
                SqlitePoolOptions::new().max_connections(2).connect_with(options).await.map_err(wrong)?,
            ))
        }
    }

    /// Closes every connection.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite(pool) => pool.close().await,
        }
    }

    /// Runs statements that hold no data.
    pub async fn script(&self, sql: &str) -> Result<()> {
        // Safe: the drill's own schema files and names it made itself.
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
            Self::Sqlite(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
        }
        .map_err(wrong)
    }

    /// Runs one statement with `$1…` parameters; PostgreSQL's casts are taken off for SQLite. Returns the rows it
    /// touched.
    pub async fn execute(&self, sql: &str, values: &[Value]) -> Result<u64> {
        match self {
            Self::Postgres(pool) => {
                let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
                for value in values {
                    query = match value {
                        Value::Null => query.bind(None::<String>),
                        Value::Bool(v) => query.bind(*v),
                        Value::Int(v) => query.bind(*v),
                        Value::Real(v) => query.bind(*v),
                        Value::Text(v) => query.bind(v.clone()),
                        Value::Bytes(v) => query.bind(v.clone()),
                    };
                }
                query.execute(pool).await.map(|done| done.rows_affected()).map_err(wrong)
            }
            Self::Sqlite(pool) => {
                let mut plain = sql.to_owned();
                for cast in ["::timestamptz", "::uuid", "::date"] {
                    plain = plain.replace(cast, "");
                }
                let query = values.iter().fold(sqlx::query(AssertSqlSafe(plain)), bind_sqlite);
                query.execute(pool).await.map(|done| done.rows_affected()).map_err(wrong)
            }
        }
    }

    /// The databases of a server whose names begin with a prefix.
    pub async fn databases(&self, prefix: &str) -> Result<Vec<String>> {
        let Self::Postgres(pool) = self else { return Ok(vec![]) };
        let sql = "SELECT datname FROM pg_database WHERE starts_with(datname, $1)";
        sqlx::query_scalar(sql).bind(format!("{prefix}_")).fetch_all(pool).await.map_err(wrong)
    }

    /// Loads rows in bulk.
    pub async fn load(&self, table: &TableSpec, rows: &[Vec<Value>]) -> Result<()> {
        match self {
            Self::Postgres(pool) => {
                let mut connection = pool.acquire().await.map_err(wrong)?;
                let sql = format!("COPY {} ({}) FROM STDIN", table.name, table.columns.join(", "));
                let mut copy = connection.copy_in_raw(&sql).await.map_err(wrong)?;
                for chunk in rows.chunks(2_000) {
                    let text: String = chunk.iter().map(|row| copy_line(row)).collect();
                    copy.send(text.into_bytes()).await.map_err(wrong)?;
                }
                copy.finish().await.map(drop).map_err(wrong)
            }
            Self::Sqlite(pool) => {
                let mut transaction = pool.begin().await.map_err(wrong)?;
                for chunk in rows.chunks(PARAMETERS_MAX / table.columns.len() / 8) {
                    let group = format!("({})", vec!["?"; table.columns.len()].join(", "));
                    let groups = vec![group; chunk.len()].join(", ");
                    let sql =
                        format!("INSERT INTO {} ({}) VALUES {groups}", table.name, table.columns.join(", "));
                    let query = chunk.iter().flatten().fold(sqlx::query(AssertSqlSafe(sql)), bind_sqlite);
                    query.execute(&mut *transaction).await.map_err(wrong)?;
                }
                transaction.commit().await.map_err(wrong)
            }
        }
    }

    /// Deletes the tenants' rows of a table, as the accident did.
    pub async fn delete(&self, table: &TableSpec, tenants: &[TenantId]) -> Result<u64> {
        let Some(owned) = table.owned else { return Ok(0) };
        let sql = format!("DELETE FROM {} WHERE {}", table.name, self.of_tenants(owned));
        match self {
            Self::Postgres(pool) => {
                let query = sqlx::query(AssertSqlSafe(sql)).bind(texts(tenants));
                query.execute(pool).await.map(|done| done.rows_affected()).map_err(wrong)
            }
            Self::Sqlite(pool) => {
                let query = sqlx::query(AssertSqlSafe(sql)).bind(json(tenants));
                query.execute(pool).await.map(|done| done.rows_affected()).map_err(wrong)
            }
        }
    }

    /// The first column of a query's rows, which is text; `{tenants}` stands for the tenants in it.
    pub async fn texts(&self, sql: &str, tenants: &[TenantId]) -> Result<Vec<String>> {
        let sql = AssertSqlSafe(self.of_tenants(sql));
        match self {
            Self::Postgres(pool) => sqlx::query_scalar(sql).bind(texts(tenants)).fetch_all(pool).await,
            Self::Sqlite(pool) => sqlx::query_scalar(sql).bind(json(tenants)).fetch_all(pool).await,
        }
        .map_err(wrong)
    }

    /// Hash of the rows that belong to `tenants`, or of all other rows.
    pub async fn hash(&self, table: &TableSpec, tenants: &[TenantId], theirs: bool) -> Result<RowsHash> {
        let filter = match (table.owned, theirs) {
            (Some(owned), true) => self.of_tenants(owned),
            (Some(owned), false) => format!("NOT ({})", self.of_tenants(owned)),
            // Bound all the same, so that both forms take one parameter.
            (None, true) => format!("1 = 0 AND 'x' IN (SELECT 'x' FROM {} s)", self.of_tenants("{tenants}")),
            (None, false) => format!("1 = 1 OR 'x' IN (SELECT 'x' FROM {} s)", self.of_tenants("{tenants}")),
        };
        let mut found: RowsHash = (0, 0);
        let mut add = |text: &str| {
            found.0 += 1;
            found.1 = found.1.wrapping_add(row_hash(text.as_bytes()));
        };
        match self {
            Self::Postgres(pool) => {
                let sql = format!("SELECT t::text FROM {} t WHERE {filter}", table.name);
                let mut rows = sqlx::query(AssertSqlSafe(sql)).bind(texts(tenants)).fetch(pool);
                while let Some(row) = rows.try_next().await.map_err(wrong)? {
                    add(row.get::<&str, _>(0));
                }
            }
            Self::Sqlite(pool) => {
                let columns: Vec<String> =
                    table.columns.iter().map(|column| format!("quote({column})")).collect();
                let sql =
                    format!("SELECT {} FROM {} WHERE {filter}", columns.join(" || '|' || "), table.name);
                let mut rows = sqlx::query(AssertSqlSafe(sql)).bind(json(tenants)).fetch(pool);
                while let Some(row) = rows.try_next().await.map_err(wrong)? {
                    add(row.get::<&str, _>(0));
                }
            }
        }
        Ok(found)
    }

    fn of_tenants(&self, owned: &str) -> String {
        let list = match self {
            Self::Postgres(_) => "(SELECT unnest($1::text[])::uuid)",
            Self::Sqlite(_) => "(SELECT value FROM json_each($1))",
        };
        owned.replace("{tenants}", list)
    }
}

type SqliteQuery<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind_sqlite<'q>(query: SqliteQuery<'q>, value: &Value) -> SqliteQuery<'q> {
    match value {
        Value::Null => query.bind(None::<String>),
        Value::Bool(v) => query.bind(*v),
        Value::Int(v) => query.bind(*v),
        Value::Real(v) => query.bind(*v),
        Value::Text(v) => query.bind(v.clone()),
        Value::Bytes(v) => query.bind(v.clone()),
    }
}

fn texts(tenants: &[TenantId]) -> Vec<String> {
    tenants.iter().map(TenantId::to_string).collect()
}

fn json(tenants: &[TenantId]) -> String {
    serde_json::json!(texts(tenants)).to_string()
}

/// A line of COPY's text format.
fn copy_line(row: &[Value]) -> String {
    let fields: Vec<String> = row
        .iter()
        .map(|value| match value {
            Value::Null => "\\N".into(),
            Value::Bool(v) => if *v { "t" } else { "f" }.into(),
            Value::Int(v) => v.to_string(),
            Value::Real(v) => format!("{v:.2}"),
            Value::Text(v) => v.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n"),
            Value::Bytes(v) => v.iter().fold("\\\\x".to_owned(), |hex, byte| format!("{hex}{byte:02x}")),
        })
        .collect();
    format!("{}\n", fields.join("\t"))
}
