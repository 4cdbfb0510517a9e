//! One instant of a live database, held open: the leader's transaction, and readers that see what it sees.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::Mutex;

use crate::database::postgres::catalog::{self, Catalog, Relations};
use crate::database::postgres::connect::Target;
use crate::database::postgres::error::failure;
use crate::database::postgres::pool::Pool;
use crate::error::{Error, Result};
use crate::model::{Rule, TableName, Tenancy};
use crate::source::Description;

const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// What the leader's transaction holds.
pub struct Snapshot {
    pub description: Description,
    pub relations: Relations,
    /// Blocks of each ordinary table, by oid; what grew later is not visible anyway.
    pub blocks: HashMap<u32, u64>,
    /// Connections that have imported the snapshot.
    pub readers: Arc<Pool>,
    /// Keeps snapshot and locks; dropping it lets go of both.
    leader: Mutex<PgConnection>,
}

/// What the first query of the leader learns.
struct Instant {
    snapshot_id: String,
    taken_at: Timestamp,
    position: Option<String>,
}

impl Snapshot {
    /// Takes the snapshot, and locks every table that the tenancy does not exclude against DDL.
    pub async fn take(target: Target, tenancy: &Tenancy, connections_max: usize) -> Result<Self> {
        let unable =
            |error| failure(format!("unable to take a snapshot of shard '{}'", target.name()), error);
        let mut leader = target.connect().await?;
        sqlx::raw_sql(BEGIN).execute(&mut leader).await.map_err(unable)?;
        let instant = export(&mut leader).await.map_err(unable)?;
        let mut catalog = catalog::read(&mut leader).await?;
        let wanted = wanted(&catalog, tenancy);
        lock(&mut leader, &wanted).await.map_err(unable)?;
        refuse_replaced_files(&mut leader, &catalog.relations, &wanted).await?;
        let relations = &catalog.relations;
        catalog::large_objects::read(&mut leader, relations, &mut catalog.tables).await?;
        let blocks = blocks(&mut leader).await.map_err(unable)?;
        let (identity, server_version) = catalog::identity(&mut leader).await?;

        // The id is hexadecimal digits and dashes, from the server.
        let import = format!("SET TRANSACTION SNAPSHOT '{}'", instant.snapshot_id.replace('\'', ""));
        let readers = Pool::new(target, connections_max, vec![BEGIN.to_owned(), import]);
        let description = Description {
            taken_at: instant.taken_at,
            identity,
            server_version,
            position: instant.position,
            tables: catalog.tables,
        };
        let leader = Mutex::new(leader);
        Ok(Self { description, relations: catalog.relations, blocks, readers, leader })
    }

    /// Checks that the locks are still held. Readers keep the instant by themselves, but without the locks a
    /// table could be truncated before its turn comes, and would be read as empty.
    pub async fn require_locks(&self) -> Result<()> {
        let mut leader = self.leader.lock().await;
        leader.ping().await.map_err(|error| {
            let name = self.readers.target().name();
            failure(format!("unable to keep the snapshot of shard '{name}' open"), error)
        })
    }
}

/// Fixes the instant. The clock is read when the statement arrives, before the snapshot is taken: whatever
/// was committed until then is in it. That holds for the simple protocol alone, where one message is one
/// statement.
async fn export(leader: &mut PgConnection) -> Result<Instant, sqlx::Error> {
    let sql = "select pg_export_snapshot(), (extract(epoch from statement_timestamp()) * 1000000)::int8,
                      case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
                           else pg_current_wal_lsn() end::text";
    let row = sqlx::raw_sql(sql).fetch_one(leader).await?;
    let micros: i64 = sqlx::Row::try_get(&row, 1)?;
    Ok(Instant {
        snapshot_id: sqlx::Row::try_get(&row, 0)?,
        taken_at: Timestamp::from_microsecond(micros).map_err(|error| sqlx::Error::Decode(error.into()))?,
        position: sqlx::Row::try_get(&row, 2)?,
    })
}

/// The tables that may be scanned.
fn wanted(catalog: &Catalog, tenancy: &Tenancy) -> Vec<TableName> {
    let is_wanted = |name: &TableName| !matches!(tenancy.rules.get(name), Some(Rule::Excluded { .. }));
    catalog.tables.iter().map(|table| table.name.clone()).filter(is_wanted).collect()
}

/// The weakest lock there is: it lets everybody read and write, and keeps DDL from replacing what is being
/// read.
async fn lock(leader: &mut PgConnection, tables: &[TableName]) -> Result<(), sqlx::Error> {
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = tables.iter().map(TableName::quoted).collect();
    // Safe: quoted identifiers from the catalog.
    let sql = sqlx::AssertSqlSafe(format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", ")));
    sqlx::raw_sql(sql).execute(leader).await.map(drop)
}

/// TRUNCATE and rewrites replace a table's file and respect no snapshot: one that came between the snapshot
/// and the lock would make rows vanish without a word. The catalog shows the file as of the snapshot, the
/// function as of now.
async fn refuse_replaced_files(
    leader: &mut PgConnection,
    relations: &Relations,
    tables: &[TableName],
) -> Result<()> {
    let mut oids = Vec::with_capacity(tables.len());
    for table in tables {
        oids.push(i64::from(relations.get(table)?.oid));
    }
    let sql = "select c.oid::regclass::text from unnest($1::int8[]) root(oid)
               join lateral (select root.oid::oid as oid union
                             select relid from pg_partition_tree(root.oid::oid::regclass)) leaf on true
               join pg_class c on c.oid = leaf.oid
               where c.relkind = 'r' and c.relfilenode <> 0
                 and c.relfilenode is distinct from pg_relation_filenode(c.oid) limit 1";
    let replaced: Option<(String,)> = sqlx::query_as(sql)
        .bind(oids)
        .fetch_optional(leader)
        .await
        .map_err(|error| failure("unable to check that no table was replaced", error))?;
    match replaced {
        None => Ok(()),
        Some((name,)) => Err(Error::interrupted(format!(
            "unable to take a snapshot: table '{name}' was truncated or rewritten at this moment"
        ))
        .hint("run the same command again")),
    }
}

async fn blocks(leader: &mut PgConnection) -> Result<HashMap<u32, u64>, sqlx::Error> {
    let sql = concat!(
        catalog::with_user_tables!(),
        "select oid::int8, pg_relation_size(oid::regclass) / current_setting('block_size')::int8
         from user_tables where not partitioned"
    );
    // A table that is not locked may be dropped meanwhile: then there is no size.
    let rows: Vec<(i64, Option<i64>)> = sqlx::query_as(sql).fetch_all(leader).await?;
    Ok(rows.into_iter().map(|(oid, blocks)| (oid as u32, blocks.unwrap_or(0).max(0) as u64)).collect())
}
