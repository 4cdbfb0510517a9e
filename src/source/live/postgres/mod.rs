//! A live PostgreSQL database as a source: one instant, many readers.
//!
//! ```text
//! leader  BEGIN REPEATABLE READ, exports its snapshot, reads the catalog, locks tables against DDL, waits
//! reader  BEGIN REPEATABLE READ, imports the snapshot, COPYs ranges of rows  (as many as connections allow)
//! ```
//!
//! Works on a primary, a standby and a recovered instance alike. Nothing here writes: every transaction is
//! READ ONLY.

mod doubts;
mod scan;
mod snapshot;

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;

use self::snapshot::Snapshot;
use super::super::{Description, Scan, Source};
use crate::database::feed::feed;
use crate::database::postgres::connect::Target;
use crate::database::postgres::owner;
use crate::error::{Error, Result};
use crate::model::{DatabaseUrl, Doubts, Owners, ShardName, TableName, Tenancy};

/// Opens the database at this instant.
pub async fn open(
    name: &ShardName,
    url: &DatabaseUrl,
    tenancy: &Tenancy,
    connections_max: usize,
) -> Result<Box<dyn Source>> {
    let target = Target::new(name, url)?;
    let snapshot = Snapshot::take(target, tenancy, connections_max).await?;
    Ok(Box::new(LivePostgres { snapshot: Arc::new(snapshot), tenancy: tenancy.clone(), connections_max }))
}

struct LivePostgres {
    snapshot: Arc<Snapshot>,
    tenancy: Tenancy,
    connections_max: usize,
}

impl LivePostgres {
    /// The ways to the owners of a table's rows; `None` for a shared table.
    fn owners(&self, table: &TableName) -> Result<Option<Owners>> {
        let tables = &self.snapshot.description.tables;
        let owners = self.tenancy.owners(table, tables).map_err(|error| {
            Error::undecided(format!("unable to decide who owns the rows of '{table}'")).because(error).hint(
                "correct the table's rule in reinstate.toml; `reinstate init --check` lists what is wrong",
            )
        })?;
        if let Some(owners) = &owners {
            owner::require_unique_hops(table, owners, tables)?;
        }
        Ok(owners)
    }
}

#[async_trait]
impl Source for LivePostgres {
    async fn doubts(&self, ties: bool) -> Result<Doubts> {
        self.look_for_doubts(ties).await
    }

    fn describe(&self) -> &Description {
        &self.snapshot.description
    }

    async fn scan(&self, table: &TableName, scan: &Scan) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let owners = self.owners(table)?;
        let plan = scan::Plan::new(&self.snapshot, table, owners.as_ref(), scan, self.connections_max)?;
        Ok(feed(plan.workers(&self.snapshot)))
    }
}
