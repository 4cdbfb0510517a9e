//! Gathers the facts that plans are made of: what the snapshots hold, what is live. Reads only.
//!
//! ```text
//! configuration ─► open shards and snapshots ─► findings()  for plan
//!                                             └► damage()   for diff
//! ```

mod awaited;
mod clashes;
mod damage;
mod drift;
pub(crate) mod keys;
mod live;
mod matched;
mod order;
mod orphans;
mod questions;
mod referrers;
mod standing;
mod tombstones;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;

use crate::config::Config;
use crate::disputed::Unowned;
use crate::error::{Error, Result};
use crate::extract;
use crate::memory::{Memory, Share};
use crate::missing::missing;
use crate::model::{
    Belongs, Fingerprint, OwnedTable, QueueLink, ShardName, Table, TableName, TenantId, TypeKind,
};
use crate::plan::{
    ConstraintsChoice, DISPUTED, Findings, Policies, Prover, Request, ShardFindings, Standing, TableDrift,
    TenantTable, constraints, queues, rails,
};
use crate::progress::Progress;
use crate::shard::{self, Facts, Shard, Trial};
use crate::snapshot::{self, Selector, Snapshot, Store, TableEntry};
use crate::source::snapshot_store::SnapshotSource;
use crate::source::{Scan, Source};
use clashes::Claimed;
pub use damage::{Damage, DamagedTenant, Look};
use order::Order;
use standing::{Comparison, Parents, Scope};
use tombstones::Erased;

/// Every shard of a configuration with its snapshot.
pub struct Survey {
    root_shard: ShardName,
    root_table: TableName,
    /// The column of the root table that tells who comes first.
    priority: Option<String>,
    shards: Vec<Surveyed>,
}

struct Surveyed {
    name: ShardName,
    store: String,
    config: crate::config::ShardConfig,
    shard: Arc<dyn Shard>,
    facts: Facts,
    source: SnapshotSource,
    /// Tenants are looked at one after the other.
    share: Share,
}

/// How the rows of each tenant and table stand.
type Standings = BTreeMap<(TenantId, TableName), Standing>;

/// Which snapshot of each shard.
#[derive(Clone, Debug)]
pub enum Pick {
    /// The newest not after an instant, or the newest of all.
    At(Option<jiff::Timestamp>),
    /// These; shards that none of them belongs to use the newest.
    Ids(Vec<crate::model::SnapshotId>),
}

impl Survey {
    /// Opens every shard of the configuration and its snapshot.
    pub async fn open(config: &Config, store: &Store, pick: &Pick, memory: Memory) -> Result<Self> {
        let (root_shard, root_table) = config.root()?;
        let picked = pick_ids(config, store, pick).await?;
        let mut shards = Vec::new();
        for (name, settings) in &config.shards {
            let selector = picked.get(name).cloned().unwrap_or(Selector::Latest);
            let snapshot = snapshot::select(store, name, &selector).await?;
            let shard = shard::open(name, &settings.url, 2).await?;
            let facts = shard.facts().await?;
            shards.push(Surveyed {
                name: name.clone(),
                store: store.url().to_owned(),
                config: settings.clone(),
                shard,
                facts,
                source: SnapshotSource::new(snapshot),
                share: memory.share(1),
            });
        }
        let (root_shard, root_table) = (root_shard.clone(), root_table.clone());
        Ok(Self { root_shard, root_table, priority: config.course.priority.column.clone(), shards })
    }

    /// The snapshots in use.
    pub fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.shards.iter().map(|shard| shard.source.snapshot())
    }

    fn root(&self) -> Result<&Surveyed> {
        let found = self.shards.iter().find(|shard| shard.name == self.root_shard);
        found.ok_or_else(|| Error::bug("the root's shard was not surveyed"))
    }

    /// All that a plan for these tenants depends on. The tenants' rows are read from the snapshot and compared with
    /// their fingerprints: a snapshot that cannot be restored is found now, not in the middle.
    pub async fn findings(&self, request: &Request, progress: &dyn Progress) -> Result<Findings> {
        rails::check_cap(request)?;
        for name in request.tombstones.shards() {
            if self.shards.iter().all(|surveyed| surveyed.name != *name) {
                return Err(Error::usage(format!(
                    "unable to use the tombstones: they name shard '{name}', which the configuration does not"
                )));
            }
        }
        let names = self.names().await?;
        let known = |id: &&TenantId| names.contains_key(*id);
        let (tenants, unknown): (Vec<&TenantId>, Vec<&TenantId>) = request.tenants.iter().partition(known);
        let tenants: Vec<TenantId> = tenants.into_iter().cloned().collect();
        let other_kinds = if unknown.is_empty() { BTreeMap::new() } else { self.find_ids(&unknown).await? };
        let mut shards = Vec::new();
        for surveyed in &self.shards {
            // Without a clean list there will be no plan: what the tenants hold is not worth reading.
            let wanted = if unknown.is_empty() { tenants.as_slice() } else { &[] };
            shards.push(surveyed.findings(wanted, request, progress).await?);
        }
        let priorities = self.priorities(&tenants).await?;
        let names = tenants.into_iter().map(|id| (id.clone(), names.get(&id).cloned().flatten())).collect();
        Ok(Findings { shards, root_shard: self.root_shard.clone(), names, other_kinds, priorities })
    }

    /// The tenants of the root's snapshot and what people call them.
    async fn names(&self) -> Result<BTreeMap<TenantId, Option<String>>> {
        let root = self.root()?;
        let (table, _, name) =
            root.config.tenancy.root().ok_or_else(|| Error::bug("the root table has no rule"))?;
        self.root_texts(table, name.and_then(|name| root.name_in_snapshot(table, name))).await
    }

    /// What the column that tells who comes first says of the tenants.
    async fn priorities(&self, tenants: &[TenantId]) -> Result<BTreeMap<TenantId, Option<String>>> {
        let Some(live) = &self.priority else { return Ok(BTreeMap::new()) };
        let column = self.root()?.name_in_snapshot(&self.root_table, live).ok_or_else(|| {
            Error::usage(format!(
                "unable to order the tenants by column '{live}': table '{}' of the snapshot has none of this name",
                self.root_table
            ))
            .hint("priority.column in the configuration is a column of the table that lists the tenants")
        })?;
        let mut values = self.root_texts(&self.root_table, Some(column)).await?;
        Ok(tenants.iter().filter_map(|id| values.remove_entry(id)).collect())
    }

    /// A column of the root's snapshot as text, by tenant.
    async fn root_texts(
        &self,
        table: &TableName,
        column: Option<&str>,
    ) -> Result<BTreeMap<TenantId, Option<String>>> {
        let columns = Some(column.map(str::to_owned).into_iter().collect());
        let root = self.root()?;
        let mut batches = root.source.scan(table, &Scan { tenants: None, columns }).await?;
        let mut found = BTreeMap::new();
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let ids = texts(&batch, crate::model::TENANT_COLUMN);
            let shown = column.map(|column| texts(&batch, column));
            for (row, id) in ids.into_iter().enumerate() {
                if let Some(id) = id {
                    let text = shown.as_ref().and_then(|shown| shown[row].clone());
                    found.insert(TenantId::new(id), text);
                }
            }
        }
        Ok(found)
    }

    /// Tables in which ids that are no tenants occur as a key: `'public.projects' of shard 'product'`.
    async fn find_ids(&self, ids: &[&TenantId]) -> Result<BTreeMap<TenantId, Vec<String>>> {
        let mut found: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
        for surveyed in &self.shards {
            for entry in &surveyed.source.snapshot().manifest().tables {
                let [key] = entry.table.primary_key.as_slice() else { continue };
                let scan = Scan { tenants: None, columns: Some(vec![key.clone()]) };
                let mut batches = surveyed.source.scan(&entry.table.name, &scan).await?;
                while let Some(batch) = batches.next().await {
                    let keys: std::collections::HashSet<String> = key_texts(&batch?, &entry.table, key);
                    for id in ids.iter().filter(|id| keys.contains(id.as_str())) {
                        let place = format!("table '{}' of shard '{}'", entry.table.name, surveyed.name);
                        found.entry((*id).clone()).or_default().push(place);
                    }
                }
            }
        }
        Ok(found)
    }
}

impl Surveyed {
    fn rows_in_snapshot(&self, tenant: &TenantId, table: &TableName) -> u64 {
        self.source.snapshot().index().of(tenant, table).iter().map(|entry| entry.rows).sum()
    }

    /// The policy of every table: its own in the configuration, or the command line's.
    fn policies(&self, request: &Request) -> Result<Policies> {
        let tables = self.config.conflicts.clone();
        match tables.keys().find(|name| self.facts.tables.iter().all(|table| table.name != **name)) {
            None => Ok(Policies { all: request.on_conflict, tables }),
            Some(name) => Err(Error::usage(format!(
                "unable to use the configuration of shard '{}': its conflicts name table '{name}', which the database does not have",
                self.name
            ))),
        }
    }

    /// The deletion queues of the configuration.
    fn queues(&self) -> Result<Vec<QueueLink>> {
        queues::resolve(&self.config.deletion_queues, &self.config.tenancy, &self.name, &self.facts.tables)
    }

    /// The tables that tenants own rows of, by today's rules and the snapshot's columns.
    fn owned_tables(&self) -> Result<Vec<OwnedTable>> {
        let unable =
            |error| Error::undecided(format!("unable to use the rules of shard '{}': {error}", self.name));
        let mut owned = Vec::new();
        for entry in &self.source.snapshot().manifest().tables {
            let name = &entry.table.name;
            let live = self.facts.tables.iter().any(|table| table.name == *name);
            if !live || !self.config.tenancy.rules.contains_key(name) {
                continue;
            }
            if let Some(owners) = self.config.tenancy.owners(name, &self.facts.tables).map_err(unable)? {
                owned.push(OwnedTable { table: entry.table.clone(), owners });
            }
        }
        Ok(owned)
    }

    async fn findings(
        &self,
        tenants: &[TenantId],
        request: &Request,
        progress: &dyn Progress,
    ) -> Result<ShardFindings> {
        let (policies, queues) = (self.policies(request)?, self.queues()?);
        let (snapshot, manifest) = (self.source.snapshot(), self.source.snapshot().manifest());
        let mut contents: BTreeMap<TenantId, Vec<TenantTable>> = BTreeMap::new();
        let involved: Vec<OwnedTable> = if tenants.is_empty() { Vec::new() } else { self.owned_tables()? };
        let names: Vec<TableName> = involved.iter().map(|owned| owned.table.name.clone()).collect();
        snapshot.check_files(&names).await?;
        let rows: u64 =
            tenants.iter().flat_map(|id| snapshot.index().of_tenant(id)).map(|entry| entry.rows).sum();
        progress.begin(&format!("reading the tenants' rows of shard '{}'", self.name), Some(rows));
        let mut drift = self.drift(&involved).await?;
        let live = self.live_rows(&involved, tenants).await?;
        // Where the schema alone stops the plan there is nothing to compare.
        let is_held = |owned: &OwnedTable| {
            tenants.iter().any(|tenant| self.rows_in_snapshot(tenant, &owned.table.name) > 0)
        };
        let is_refused =
            |owned: &OwnedTable| drift.get(&owned.table.name).is_some_and(|it| !it.drift.refused.is_empty());
        let comparable = !involved.iter().any(|owned| is_refused(owned) && is_held(owned));
        let mut erased = Erased::new(self, &request.tombstones, &involved)?;
        let strict = self.server_proves(request, involved.iter().filter(|owned| is_held(owned)));
        let (mut standings, mut parents, mut open) =
            (Standings::new(), Parents::new(strict, self.share), Vec::new());
        let scope = self.scope(&involved, &queues, request);
        let order = Order::new(&self.facts.tables, &involved);
        let (mut trial, mut claimed) = (self.shard.trial().await?, Claimed::new(self.share));
        for tenant in tenants {
            let trial = trial.as_deref_mut().map(|trial| -> &mut dyn Trial { trial });
            let mut comparison = comparable
                .then(|| Comparison::new(scope, tenant, &mut parents, &mut claimed, trial, &mut erased));
            if let Some(comparison) = &mut comparison {
                let early = order.early.iter().map(|at| &involved[*at]);
                self.note_early(early, tenant, &drift, comparison).await?;
            }
            for (owned, live) in order.tables.iter().map(|at| (&involved[*at], &live[*at])) {
                let changed = drift.entry(owned.table.name.clone()).or_default();
                let live_rows = live.get(tenant).copied().unwrap_or_default();
                let found =
                    self.tenant_table(owned, tenant, live_rows, changed, comparison.as_mut(), progress);
                if let Some((found, standing)) = found.await? {
                    standings.insert((tenant.clone(), found.table.clone()), standing);
                    contents.entry(tenant.clone()).or_default().push(found);
                }
            }
            let Some(comparison) = comparison else { continue };
            let (left, referrers) = comparison.finish().await?;
            open.push((tenant.clone(), left));
            for (table, finding) in referrers {
                standings.entry((tenant.clone(), table)).or_default().findings.push(finding);
            }
        }
        let place = |found: &TenantTable| names.iter().position(|name| *name == found.table);
        contents.values_mut().for_each(|tables| tables.sort_by_key(place));
        for (place, findings) in self.awaited(&involved, &drift, &mut erased, open).await? {
            standings.entry(place).or_default().findings.extend(findings);
        }
        progress.finish();
        Ok(ShardFindings {
            name: self.name.clone(),
            store: self.store.clone(),
            snapshot: manifest.id.clone(),
            manifest: snapshot.manifest_hash().to_owned(),
            taken_at: manifest.taken_at,
            taken_from: manifest.identity.clone(),
            taken_rules: manifest.tenancy.clone(),
            taken_tables: manifest.tables.iter().map(|entry| entry.table.clone()).collect(),
            rules: self.config.tenancy.clone(),
            live: self.facts.identity.clone(),
            live_tables: self.facts.tables.clone(),
            obstacles: self.obstacles(request),
            warnings: [self.facts.warnings.clone(), self.doubts(&contents), erased.warnings()].concat(),
            renamed: self.renamed(),
            drift,
            gone: self.gone(tenants),
            triggers_stay_on: self.facts.triggers_stay_on.clone(),
            unlockable: self.facts.unlockable.clone(),
            undeletable: self.facts.undeletable.clone(),
            queues,
            materialized: self.facts.materialized.clone(),
            contents,
            standings,
            policies,
            repair: request.repair,
        })
    }

    /// Live rows of each of the tenants, table by table; those of whoever points at them are not counted.
    async fn live_rows(
        &self,
        involved: &[OwnedTable],
        tenants: &[TenantId],
    ) -> Result<Vec<BTreeMap<TenantId, u64>>> {
        let mut live = Vec::with_capacity(involved.len());
        for owned in involved {
            live.push(match owned.owners.belongs {
                Belongs::ToOne => self.shard.live_rows(owned, tenants).await?,
                Belongs::ToReferrers | Belongs::WithParent => BTreeMap::new(),
            });
        }
        Ok(live)
    }

    /// Whether the server will check the keys of rows of these tables, as the plan will choose.
    fn server_proves<'a>(&self, request: &Request, held: impl Iterator<Item = &'a OwnedTable>) -> bool {
        let held: BTreeSet<&TableName> = held.map(|owned| &owned.table.name).collect();
        let tables = self.facts.tables.iter().filter(|table| held.contains(&table.name));
        request.constraints == ConstraintsChoice::Only(Prover::Server)
            || constraints::obstacle(self.facts.triggers_stay_on.as_deref(), &self.facts.unlockable, tables)
                .is_some()
    }

    /// What keeps the role from writing to a table; a repair needs more than a restore.
    fn obstacles(&self, request: &Request) -> BTreeMap<TableName, Vec<String>> {
        let mut obstacles = self.facts.obstacles.clone();
        let Some(repair) = request.repair else { return obstacles };
        let lacking =
            [("update", true, &self.facts.no_update), ("delete", repair.delete_extra, &self.facts.no_delete)];
        for (privilege, _, tables) in lacking.into_iter().filter(|(_, needed, _)| *needed) {
            for table in tables {
                let obstacle = format!("role '{}' has no {privilege} privilege on it", self.facts.role);
                obstacles.entry(table.clone()).or_default().push(obstacle);
            }
        }
        obstacles
    }

    /// What ties the tenants to others, and their tables with rows that several claim.
    fn doubts(&self, contents: &BTreeMap<TenantId, Vec<TenantTable>>) -> Vec<String> {
        let manifest = self.source.snapshot().manifest();
        let tenants: Vec<TenantId> = contents.keys().cloned().collect();
        let ties = manifest.ties.iter().flat_map(|ties| ties.lines(&tenants));
        let tables: BTreeSet<&TableName> = contents.values().flatten().map(|table| &table.table).collect();
        let is_disputed = |entry: &&TableEntry| entry.rows_disputed > 0 && tables.contains(&entry.table.name);
        let disputes = manifest.tables.iter().filter(is_disputed).map(|entry| {
            let (rows, table) = (entry.rows_disputed, &entry.table.name);
            format!(
                "{rows} rows of '{table}' {DISPUTED}: they are nobody's; live or not, they stay as they are"
            )
        });
        ties.chain(disputes).collect()
    }

    /// How many rows stay as they are, of those that belong to whoever points at them.
    async fn left(&self, owned: &OwnedTable, tenant: &TenantId, changed: &TableDrift) -> Result<u64> {
        let name = &owned.table.name;
        let is_keyed =
            self.facts.tables.iter().any(|live| live.name == *name && !live.primary_key.is_empty());
        // Without a key there will be no plan.
        if owned.owners.belongs == Belongs::ToOne || !is_keyed {
            return Ok(0);
        }
        let (table, owners) = (self.written(name, changed)?, owned.owners.clone());
        let live = OwnedTable { table, owners };
        let adaptation = changed.drift.adaptation.as_ref();
        let rows = extract::written_rows(&self.source, adaptation, &live.table, tenant).await?;
        let missing = missing(&mut self.shard.as_ref(), &live, rows).await?;
        Ok(missing.all.rows - missing.rows())
    }

    /// Notes the keys of the tenant's rows of some tables before any row is looked at. What belongs to whoever
    /// points at it may stay away, which is found out later.
    async fn note_early<'t>(
        &self,
        early: impl Iterator<Item = &'t OwnedTable>,
        tenant: &TenantId,
        drift: &BTreeMap<TableName, TableDrift>,
        comparison: &mut Comparison<'_>,
    ) -> Result<()> {
        let unchanged = TableDrift::default();
        for owned in early.filter(|owned| owned.owners.belongs == Belongs::ToOne) {
            let name = &owned.table.name;
            if self.rows_in_snapshot(tenant, name) == 0 {
                continue;
            }
            let changed = drift.get(name).unwrap_or(&unchanged);
            let table = self.written(name, changed)?;
            comparison.note_early(&table, self.rows_to_write(&table, changed, tenant).await?).await?;
        }
        Ok(())
    }

    fn scope<'a>(
        &'a self,
        involved: &'a [OwnedTable],
        queues: &'a [QueueLink],
        request: &Request,
    ) -> Scope<'a> {
        Scope {
            shard: self.shard.as_ref(),
            tables: &self.facts.tables,
            involved,
            queues,
            repair: request.repair,
            share: self.share,
        }
    }

    async fn tenant_table(
        &self,
        owned: &OwnedTable,
        tenant: &TenantId,
        live_rows: u64,
        changed: &mut TableDrift,
        comparison: Option<&mut Comparison<'_>>,
        progress: &dyn Progress,
    ) -> Result<Option<(TenantTable, Standing)>> {
        let table = &owned.table.name;
        let entries = self.source.snapshot().index().of(tenant, table);
        let fingerprint: Fingerprint = entries.iter().map(|entry| entry.fingerprint).sum();
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        if fingerprint.rows == 0 && live_rows == 0 {
            return Ok(None);
        }
        let mut read = Fingerprint::default();
        let mut adapted = None;
        let written = OwnedTable { table: self.written(table, changed)?, owners: owned.owners.clone() };
        let mut compared = match comparison {
            Some(comparison) => Some(comparison.table(&owned.table, &written, live_rows).await?),
            None => None,
        };
        if let Some(adaptation) = changed.drift.adaptation.clone() {
            (read, adapted) = self
                .read_adapted(&adaptation, &written, tenant, changed, compared.as_mut(), progress)
                .await?;
        } else if fingerprint.rows > 0 {
            let mut chunks = extract::tenant_rows(&self.source, &owned.table, tenant).await?;
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk?;
                read += chunk.fingerprint;
                let is_readable = self.check(owned, &chunk, changed).await?;
                if let Some(compared) = compared.as_mut().filter(|_| is_readable) {
                    compared.see(&chunk).await?;
                }
                progress.advance(chunk.tuples.len() as u64, chunk.tuples.bytes.len() as u64);
            }
        }
        if read != fingerprint {
            return Err(Error::refused(format!(
                "unable to trust snapshot '{}': the rows of tenant '{tenant}' in table '{table}' are not those that were fingerprinted",
                self.source.snapshot().manifest().id
            ))
            .hint("`reinstate snapshot verify` says which files are rotten")
            .hint("an older snapshot may be whole: --at TIME"));
        }
        let (mut standing, mut live_rows) = (Standing::default(), live_rows);
        if let Some(mut compared) = compared {
            let unowned = Unowned { source: &self.source, adaptation: changed.drift.adaptation.as_ref() };
            live_rows = live_rows.saturating_sub(compared.forget_disputed(unowned).await?);
            standing = compared.finish().await?;
        }
        if fingerprint.rows == 0 && live_rows == 0 {
            return Ok(None);
        }
        standing.findings.extend(changed.drift.take_unfit(&mut changed.found));
        let left = self.left(owned, tenant, changed).await?;
        let (table, rows) = (table.clone(), fingerprint.rows);
        let queued = std::mem::take(&mut standing.queued);
        let settled = None;
        let found =
            TenantTable { table, rows, bytes, fingerprint, adapted, live_rows, left, settled, queued };
        Ok(Some((found, standing)))
    }
}

/// A selector for each shard.
async fn pick_ids(config: &Config, store: &Store, pick: &Pick) -> Result<BTreeMap<ShardName, Selector>> {
    let ids = match pick {
        Pick::At(None) => return Ok(BTreeMap::new()),
        Pick::At(Some(time)) => {
            return Ok(config.shards.keys().map(|name| (name.clone(), Selector::At(*time))).collect());
        }
        Pick::Ids(ids) => ids,
    };
    let known = snapshot::list(store, None).await?;
    let mut picked = BTreeMap::new();
    for id in ids {
        let found =
            known.iter().find(|summary| summary.id == *id && config.shards.contains_key(&summary.shard));
        let found = found.ok_or_else(|| {
            Error::refused(format!("unable to find snapshot '{id}' in store '{}'", store.url()))
                .hint("`reinstate snapshot list` shows what there is")
        })?;
        picked.insert(found.shard.clone(), Selector::Id(id.clone()));
    }
    Ok(picked)
}

/// A column as texts, as people write the values.
fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let Some(array) = batch.column_by_name(column) else { return vec![None; batch.num_rows()] };
    let Ok(cells) = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default()) else {
        return vec![None; batch.num_rows()];
    };
    (0..batch.num_rows()).map(|row| (!array.is_null(row)).then(|| cells.value(row).to_string())).collect()
}

/// The keys of a batch in the text form that tenant ids have.
fn key_texts(batch: &RecordBatch, table: &Table, key: &str) -> std::collections::HashSet<String> {
    let is_uuid = table.column(key).is_some_and(|column| column.kind == TypeKind::Uuid);
    let plain = texts(batch, key).into_iter().flatten();
    if is_uuid { plain.map(|hex| hyphenated(&hex)).collect() } else { plain.collect() }
}

/// `3f9a…` as a UUID is written.
fn hyphenated(hex: &str) -> String {
    match (hex.get(..8), hex.get(8..12), hex.get(12..16), hex.get(16..20), hex.get(20..32)) {
        (Some(a), Some(b), Some(c), Some(d), Some(e)) => format!("{a}-{b}-{c}-{d}-{e}"),
        _ => hex.to_owned(),
    }
}
