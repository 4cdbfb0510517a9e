//! The shards and snapshots of a plan, opened and checked to be those the plan was made for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::{ShardName, Table, TableName};
use crate::plan::{Plan, ShardPlan, schema_hash};
use crate::shard::{self, Facts, Shard};
use crate::snapshot::{Snapshot, Store};
use crate::source::Source;
use crate::source::snapshot_store::SnapshotSource;

/// What a plan needs, by shard.
pub struct Connected {
    shards: BTreeMap<ShardName, ConnectedShard>,
}

/// One live shard and the snapshot its tenants come from.
pub struct ConnectedShard {
    /// The live shard.
    pub shard: Arc<dyn Shard>,
    /// All its tables.
    pub tables: Vec<Table>,
    /// The snapshot.
    pub source: Arc<dyn Source>,
}

impl Connected {
    /// Opens the shards of `plan` and refuses what is not the plan's: another database, another snapshot, another
    /// schema.
    pub async fn open(config: &Config, plan: &Plan, connections_max: usize) -> Result<Self> {
        let mut shards = BTreeMap::new();
        for planned in &plan.shards {
            let settings = config.shard(&planned.name)?;
            let shard = shard::open(&planned.name, &settings.url, connections_max).await?;
            let facts = shard.facts().await?;
            check_target(planned, &facts)?;
            let tables = facts.tables;
            let source = Arc::new(open_source(planned).await?);
            shards.insert(planned.name.clone(), ConnectedShard { shard, tables, source });
        }
        Ok(Self { shards })
    }

    /// The shard of this name.
    pub fn get(&self, name: &ShardName) -> Result<&ConnectedShard> {
        self.shards.get(name).ok_or_else(|| Error::bug(format!("shard '{name}' is not in the plan")))
    }

    /// All shards.
    pub fn iter(&self) -> impl Iterator<Item = (&ShardName, &ConnectedShard)> {
        self.shards.iter()
    }
}

/// Opens the shard with the catalogue alone, where the events of a plan are; refuses another database.
pub async fn catalogue(config: &Config, plan: &Plan) -> Result<Arc<dyn Shard>> {
    let planned = plan.root_shard()?;
    let shard = shard::open(&planned.name, &config.shard(&planned.name)?.url, 1).await?;
    check_identity(planned, &shard.facts().await?)?;
    Ok(shard)
}

fn check_identity(planned: &ShardPlan, facts: &Facts) -> Result<()> {
    if planned.target.is_same(&facts.identity) {
        return Ok(());
    }
    Err(Error::refused(format!(
        "unable to restore into shard '{}': the plan is for {}, but the configuration leads to {}",
        planned.name, planned.target, facts.identity
    ))
    .hint("correct the shard's URL, or make a new plan for this database"))
}

fn check_target(planned: &ShardPlan, facts: &Facts) -> Result<()> {
    check_identity(planned, facts)?;
    let involved = planned.tables.iter().chain(&planned.others).map(|owned| &owned.table.name);
    let involved = involved.chain(planned.queues.iter().map(|link| &link.queue));
    if schema_hash(&facts.tables, involved) != planned.schema {
        return Err(Error::refused(format!(
            "unable to restore into shard '{}': its schema was changed after the dry run",
            planned.name
        ))
        .hint("make the plan again; it shows what differs"));
    }
    Ok(())
}

async fn open_source(planned: &ShardPlan) -> Result<SnapshotSource> {
    let store = Store::open(&planned.store)?;
    let snapshot = Snapshot::open(&store, &planned.name, &planned.snapshot).await?;
    if snapshot.manifest_hash() != planned.manifest {
        return Err(Error::refused(format!(
            "unable to trust snapshot '{}': its manifest is not the one the plan was made with",
            planned.snapshot
        ))
        .hint(
            "a snapshot never changes; find out who changed it, and make the plan again from another one",
        ));
    }
    let tables: Vec<TableName> = planned.tables.iter().map(|owned| owned.table.name.clone()).collect();
    snapshot.check_files(&tables).await?;
    Ok(SnapshotSource::new(snapshot))
}
