//! Small tenants, read ahead together: what it takes to begin with a column of a data file is spent once for a group,
//! not once for each of its tenants.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::Mutex;

use super::ahead;
use crate::bridge;
use crate::connect::Connected;
use crate::error::Result;
use crate::extract;
use crate::model::{Chunk, ShardName, Table, TableName, TenantId};
use crate::plan::{Plan, ShardPlan, TenantShard};
use crate::source::Source;

/// A tenant's rows by table, as the snapshot has them.
pub(super) type TableRows = HashMap<TableName, Vec<Chunk>>;

/// Tenants that were restored in a shard before this run.
pub(super) type Done<'a> = BTreeSet<(&'a ShardName, TenantId)>;

/// The groups of a plan, shard by shard, in the order in which tenants are restored.
pub(super) struct Groups<'a> {
    groups: Vec<Group<'a>>,
    /// Where a tenant's part in a shard is.
    of: HashMap<(&'a ShardName, &'a TenantId), usize>,
}

/// Tenants of one shard, of a bounded size together.
struct Group<'a> {
    source: Arc<dyn Source>,
    planned: &'a ShardPlan,
    parts: Vec<(&'a TenantId, &'a TenantShard)>,
    bytes: u64,
    state: Mutex<State>,
}

enum State {
    Waiting,
    /// Ends after one item.
    Reading(BoxStream<'static, Result<HashMap<TenantId, TableRows>>>),
    /// What was not taken yet.
    Read(HashMap<TenantId, TableRows>),
}

impl<'a> Groups<'a> {
    /// Puts tenants of `bytes_max` together. One that is large, or done, is in no group; nor is the first one, which
    /// shall be back soon.
    pub fn new(plan: &'a Plan, connected: &Connected, done: &Done<'_>, bytes_max: u64) -> Self {
        let (mut groups, mut of): (Vec<Group>, _) = (Vec::new(), HashMap::new());
        for planned in &plan.shards {
            let Ok(there) = connected.get(&planned.name) else { continue };
            let mut open = None;
            for tenant in plan.tenants.iter().skip(1) {
                let Some(part) = tenant.shards.iter().find(|part| part.shard == planned.name) else {
                    continue;
                };
                let bytes = part.bytes();
                if bytes > bytes_max / 2 || done.contains(&(&planned.name, tenant.id.clone())) {
                    continue;
                }
                let fits = |at: &usize| groups[*at].bytes + bytes <= bytes_max;
                let at = open.filter(fits).unwrap_or_else(|| {
                    let source = Arc::clone(&there.source);
                    let state = Mutex::new(State::Waiting);
                    groups.push(Group { source, planned, parts: Vec::new(), bytes: 0, state });
                    groups.len() - 1
                });
                open = Some(at);
                groups[at].bytes += bytes;
                groups[at].parts.push((&tenant.id, part));
                of.insert((&planned.name, &tenant.id), at);
            }
        }
        Self { groups, of }
    }

    /// The rows of a tenant of a group, each time but the first nothing; begins to read the next group. Nothing either
    /// if the group cannot be read: who reads the tenant's rows alone finds out whether it is theirs that cannot be.
    pub async fn take(&self, shard: &ShardName, tenant: &TenantId) -> Option<TableRows> {
        let at = *self.of.get(&(shard, tenant))?;
        let group = &self.groups[at];
        group.begin();
        if let Some(next) = self.groups.get(at + 1).filter(|next| next.planned.name == *shard) {
            next.begin();
        }
        group.take(tenant).await
    }
}

impl Group<'_> {
    /// Begins to read, unless somebody did.
    fn begin(&self) {
        // Locked by somebody else: then it has begun.
        let Ok(mut state) = self.state.try_lock() else { return };
        if matches!(*state, State::Waiting) {
            let (source, wanted) = (Arc::clone(&self.source), self.wanted());
            *state = State::Reading(bridge::pipe(1, move |sender| async move {
                // Nobody wants it any more if that fails.
                let _ = sender.send(read(source.as_ref(), wanted).await?).await;
                Ok(())
            }));
        }
    }

    /// Which tenants' rows of which tables.
    fn wanted(&self) -> Vec<(Table, Vec<TenantId>)> {
        let mut wanted: Vec<(Table, Vec<TenantId>)> = Vec::new();
        for (tenant, part) in &self.parts {
            for (owned, _) in ahead::plain(self.planned, part) {
                match wanted.iter_mut().find(|(table, _)| table.name == owned.table.name) {
                    Some((_, tenants)) => tenants.push((*tenant).clone()),
                    None => wanted.push((owned.table.clone(), vec![(*tenant).clone()])),
                }
            }
        }
        wanted
    }

    async fn take(&self, tenant: &TenantId) -> Option<TableRows> {
        let mut state = self.state.lock().await;
        if let State::Reading(reading) = &mut *state {
            let read = match reading.next().await {
                Some(Ok(read)) => read,
                Some(Err(_)) | None => HashMap::new(),
            };
            *state = State::Read(read);
        }
        match &mut *state {
            State::Read(read) => read.remove(tenant),
            State::Waiting | State::Reading(_) => None,
        }
    }
}

async fn read(
    source: &dyn Source,
    wanted: Vec<(Table, Vec<TenantId>)>,
) -> Result<HashMap<TenantId, TableRows>> {
    let mut read: HashMap<TenantId, TableRows> = HashMap::new();
    for (table, tenants) in wanted {
        // A table without rows is a table that was read.
        for tenant in &tenants {
            read.entry(tenant.clone()).or_default().insert(table.name.clone(), Vec::new());
        }
        let mut chunks = extract::rows_of_tenants(source, &table, &tenants).await?;
        while let Some(chunk) = chunks.next().await {
            let (tenant, chunk) = chunk?;
            if let Some(rows) = read.get_mut(&tenant).and_then(|tables| tables.get_mut(&table.name)) {
                rows.push(chunk);
            }
        }
    }
    Ok(read)
}
