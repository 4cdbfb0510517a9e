//! What the file is: its tables, what keeps it from being written, and what is worth knowing before a plan.

use std::collections::{BTreeMap, BTreeSet};

use super::SqliteShard;
use crate::database::sqlite::catalog;
use crate::error::Result;
use crate::shard::Facts;

/// Reads the catalog. Column kinds are those of the declared types (see [`crate::database::sqlite::kinds`]).
pub async fn read(shard: &SqliteShard) -> Result<Facts> {
    let database = &shard.database;
    let unable = |error| database.unable("read the catalog of", error);
    let mut connection = shard.readers.acquire().await.map_err(unable)?;
    let tables = catalog::tables(&mut connection).await.map_err(unable)?;
    let virtual_tables = catalog::virtual_tables(&mut connection).await.map_err(unable)?;
    let (server_version, journal_mode): (String, String) =
        sqlx::query_as("SELECT sqlite_version(), journal_mode FROM pragma_journal_mode")
            .fetch_one(&mut *connection)
            .await
            .map_err(unable)?;
    let mut obstacles = BTreeMap::new();
    if database.is_read_only() {
        obstacles.extend(
            tables.iter().map(|table| (table.name.clone(), vec!["the file is read-only".to_owned()])),
        );
    }
    let undeletable =
        obstacles.keys().cloned().map(|table| (table, "the file is read-only".to_owned())).collect();
    let rebuild = |name| {
        format!("virtual table 'main.{name}' cannot be restored; rebuild it from the tables it was made of")
    };
    let mut warnings: Vec<String> = virtual_tables.iter().map(rebuild).collect();
    if journal_mode != "wal" {
        warnings.push(format!(
            "journal mode is '{journal_mode}': readers wait for each commit; `PRAGMA journal_mode = WAL` avoids it"
        ));
    }
    Ok(Facts {
        identity: database.identity()?,
        server_version,
        role: String::new(),
        tables,
        obstacles,
        warnings,
        triggers_stay_on: Some("SQLite cannot write without firing triggers".to_owned()),
        unlockable: BTreeSet::new(),
        undeletable,
        no_update: BTreeSet::new(),
        no_delete: BTreeSet::new(),
        materialized: BTreeMap::new(),
    })
}
