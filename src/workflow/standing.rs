//! Where a plan stands, as the shards' journals and the events tell: to whom asks from outside a run.

use std::collections::BTreeMap;

use super::event::Event;
use super::site::{Committed, Site};
use crate::config::Config;
use crate::error::Result;
use crate::model::{ShardName, TenantId};
use crate::plan::Plan;
use crate::shard::{self, JournalEntry};

/// Where a plan stands.
pub struct Standing {
    /// The journals, in the plan's order of shards.
    pub journals: Vec<(ShardName, Vec<JournalEntry>)>,
    /// What happened: to the run first, then by tenant.
    pub events: Vec<Event>,
    /// The tenants, in the plan's order.
    pub sites: Vec<Site>,
}

/// Reads journals and events; writes nothing.
pub async fn standing(config: &Config, plan: &Plan) -> Result<Standing> {
    let mut journals = Vec::with_capacity(plan.shards.len());
    let mut events = Vec::new();
    for planned in &plan.shards {
        let shard = shard::open(&planned.name, &config.shard(&planned.name)?.url, 1).await?;
        journals.push((planned.name.clone(), shard.journal(&plan.hash).await?));
        if planned.name == plan.root_shard()?.name {
            let records = shard.events(&plan.hash, None).await?;
            events = records.into_iter().map(Event::parse).collect::<Result<_>>()?;
        }
    }
    let sites = Site::all(plan, &plan.graph()?, &committed(&journals), &events);
    Ok(Standing { journals, events, sites })
}

/// What the journals say of each tenant.
pub fn committed(journals: &[(ShardName, Vec<JournalEntry>)]) -> BTreeMap<TenantId, Committed> {
    let mut committed: BTreeMap<TenantId, Committed> = BTreeMap::new();
    for (shard, entry) in
        journals.iter().flat_map(|(shard, entries)| entries.iter().map(move |it| (shard, it)))
    {
        let shards = committed.entry(entry.tenant.clone()).or_default();
        shards.insert(shard.clone(), (entry.recorded_at, entry.rows));
    }
    committed
}
