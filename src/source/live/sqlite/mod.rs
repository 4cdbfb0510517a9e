//! A live SQLite file as a source: one connection, one read transaction, until the source is dropped.
//!
//! The first read fixes what is seen: in WAL mode a snapshot beside which the neighbours go on writing; in
//! the rollback modes a shared lock, under which they can prepare but not commit, so keep such a source
//! short. SQLite cannot share a snapshot between connections, so scans run one after the other: a stream that
//! is neither drained nor dropped holds up the next one.

mod doubts;

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Mutex;

use super::super::{BatchStream, Description, Scan, Source};
use crate::database::sqlite::{Database, catalog, kinds, owner, rows};
use crate::error::{Error, Result};
use crate::model::{DatabaseUrl, Doubts, Owners, Rule, ShardName, Table, TableName, Tenancy};

struct SqliteSource {
    description: Description,
    tenancy: Tenancy,
    /// In its read transaction; a scan holds the lock from its first row to its last.
    connection: Arc<Mutex<SqliteConnection>>,
}

/// Opens the file and fixes the restore point.
pub async fn open(
    name: &ShardName,
    url: &DatabaseUrl,
    tenancy: &Tenancy,
    _connections_max: usize,
) -> Result<Box<dyn Source>> {
    let database = Database::find(name, url)?;
    let mut connection = database.connect_reader().await?;
    let unable = |error| database.unable("read", error);
    sqlx::query("BEGIN").execute(&mut connection).await.map_err(unable)?;
    // Everything that was committed at this instant is seen: the first read comes after it.
    let taken_at = Timestamp::now();
    let mut tables = catalog::tables(&mut connection).await.map_err(unable)?;
    for table in &mut tables {
        // Nobody will scan an excluded table, so its values need no look.
        if !matches!(tenancy.rules.get(&table.name), Some(Rule::Excluded { .. })) {
            kinds::observe(&mut connection, table).await.map_err(unable)?;
        }
    }
    let server_version =
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await.map_err(unable)?;
    let description =
        Description { taken_at, identity: database.identity()?, server_version, position: None, tables };
    Ok(Box::new(SqliteSource {
        description,
        tenancy: tenancy.clone(),
        connection: Arc::new(Mutex::new(connection)),
    }))
}

#[async_trait]
impl Source for SqliteSource {
    async fn doubts(&self, ties: bool) -> Result<Doubts> {
        self.look_for_doubts(ties).await
    }

    fn describe(&self) -> &Description {
        &self.description
    }

    async fn scan(&self, name: &TableName, scan: &Scan) -> Result<BatchStream> {
        let table = self.table(name)?;
        let owners = self.owners(table)?;
        let select_columns = match &scan.columns {
            None => table.clone(),
            Some(columns) => project(table, columns)?,
        };
        let select = owner::select_rows(&select_columns, owners.as_ref(), scan.tenants.as_deref())?;
        let connection = self.connection.clone();
        let acquire = async move { Ok(connection.lock_owned().await) };
        let batches = rows::stream(acquire, Arc::new(select_columns), select);
        Ok(match scan.columns {
            None => batches.boxed(),
            // The hash of a part of a row is the hash of nothing.
            Some(_) => batches.map_ok(without_hash).boxed(),
        })
    }
}

impl SqliteSource {
    fn table(&self, name: &TableName) -> Result<&Table> {
        self.description.tables.iter().find(|table| table.name == *name).ok_or_else(|| {
            let identity = &self.description.identity;
            Error::usage(format!("unable to read table '{name}': {identity} has no such table"))
        })
    }

    fn owners(&self, table: &Table) -> Result<Option<Owners>> {
        let tables = &self.description.tables;
        let owners = self.tenancy.owners(&table.name, tables).map_err(|error| {
            Error::undecided(format!("unable to tell the owner of the rows of '{}'", table.name))
                .because(error)
                .hint("give the table a rule that fits its columns in reinstate.toml")
        })?;
        if let Some(owners) = &owners {
            owner::require_unique_parents(owners, &table.name, tables)?;
        }
        Ok(owners)
    }
}

/// The table with the named columns alone, in its own order.
fn project(table: &Table, columns: &[String]) -> Result<Table> {
    if let Some(unknown) = columns.iter().find(|name| !table.stored_columns().any(|c| c.name == **name)) {
        return Err(Error::bug(format!(
            "unable to scan '{}': it has no stored column '{unknown}'",
            table.name
        )));
    }
    let mut projected = table.clone();
    projected.columns.retain(|column| !column.generated && columns.contains(&column.name));
    Ok(projected)
}

fn without_hash(mut batch: RecordBatch) -> RecordBatch {
    batch.remove_column(batch.num_columns() - 1);
    batch
}
