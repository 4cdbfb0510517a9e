//! The plan: what a restore would do, decided without touching anything. Pure: facts in, a value out.
//!
//! ```text
//! Request + Findings ──► make() ──► Plan ──► rails::approve() ──► ApprovedPlan ──► replay
//! ```
//!
//! A [`Plan`] can be printed, compared, saved and hashed, and binds snapshot, target, tenants and counts. Only
//! [`rails`] can make an [`ApprovedPlan`], and only that can be replayed.

pub mod conflict;
pub mod constraints;
mod document;
pub mod drift;
pub mod estimate;
mod gate;
mod make;
mod order;
pub mod priority;
pub mod queues;
pub mod rails;
mod repair;
pub mod rings;
pub mod settle;
pub mod tombstones;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::memory::Memory;
use crate::model::adapt::Adaptation;
use crate::model::{
    DatabaseIdentity, Fingerprint, OwnedTable, PlanHash, QueueLink, ShardName, SnapshotId, Table, TableName,
    Tenancy, TenantId,
};
use crate::workflow::{Graph, Workflow};

pub use conflict::{BlockedTenant, Policies, Policy, Settled, Standing};
pub use constraints::{Constraints, ConstraintsChoice, Prover};
pub use drift::schema_hash;
pub use make::{Settings, make};
pub use priority::Priority;
pub use rails::ApprovedPlan;
pub use repair::{Repair, Repaired};
pub use rings::{Ring, Rings};
pub use tombstones::Tombstones;

/// The version of the plan file's format.
pub const PLAN_FORMAT: u32 = 2;

/// How a plan's warnings tell of rows that nobody owns.
pub const DISPUTED: &str = "led to different tenants when the snapshot was taken";

/// What the operator asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Tenants, in the order of the list, each once.
    pub tenants: Vec<TenantId>,
    /// Those of them that come before all others, in this order. The rest comes largest first; where nothing is urgent,
    /// the smallest one comes before them.
    pub urgent: Vec<TenantId>,
    /// Most tenants this plan may hold.
    pub tenants_max: usize,
    /// Why more than the default are needed.
    pub reason: Option<String>,
    /// Shards whose target may be another database than the snapshot's.
    pub into: BTreeSet<ShardName>,
    /// Whether rows may come back without the values of columns that are gone; those go to files.
    pub allow_dropped: bool,
    /// What to do about live rows of a tenant, where the configuration gives a table no policy of its own.
    pub on_conflict: Policy,
    /// Rows that stay erased.
    pub tombstones: Tombstones,
    /// Who shall prove the keys of restored rows.
    pub constraints: ConstraintsChoice,
    /// Whether the tenants are damaged instead of deleted.
    pub repair: Option<Repair>,
    /// Who asks, and cannot approve.
    pub author: Option<String>,
    /// What looking at them may use.
    pub memory: Memory,
}

/// What was found in the snapshots and in the live shards; gathered by `survey`.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Each shard of the configuration.
    pub shards: Vec<ShardFindings>,
    /// The shard that lists the tenants.
    pub root_shard: ShardName,
    /// Human names, by tenant, of the requested tenants that the root snapshot has.
    pub names: BTreeMap<TenantId, Option<String>>,
    /// Tables (`shard schema.table.column`) in which a requested id that is no tenant was found.
    pub other_kinds: BTreeMap<TenantId, Vec<String>>,
    /// What the column that tells who comes first says of the requested tenants, if there is one.
    pub priorities: BTreeMap<TenantId, Option<String>>,
}

/// In what order a restore goes, as the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// Tenants come back in rings.
    pub rings: Option<Rings>,
    /// Who and what comes first.
    pub priority: Priority,
}

/// What was found about one shard.
#[derive(Clone, Debug)]
pub struct ShardFindings {
    /// The shard.
    pub name: ShardName,
    /// URL of the store the snapshot is in.
    pub store: String,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// BLAKE3 of its manifest.
    pub manifest: String,
    /// Its instant.
    pub taken_at: Timestamp,
    /// The database it was taken from.
    pub taken_from: DatabaseIdentity,
    /// The rules when it was taken.
    pub taken_rules: Tenancy,
    /// The tables when it was taken.
    pub taken_tables: Vec<Table>,
    /// The rules of the configuration.
    pub rules: Tenancy,
    /// The live database.
    pub live: DatabaseIdentity,
    /// The live tables.
    pub live_tables: Vec<Table>,
    /// What keeps the role from restoring rows of a table.
    pub obstacles: BTreeMap<TableName, Vec<String>>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// Columns that have another name than in the snapshot, as declared.
    pub renamed: BTreeMap<TableName, BTreeMap<String, String>>,
    /// How the tables that tenants own rows of have changed since the snapshot.
    pub drift: BTreeMap<TableName, TableDrift>,
    /// Rows of the requested tenants in tables of the snapshot that are not live.
    pub gone: BTreeMap<TableName, u64>,
    /// Why triggers cannot be turned off, if they cannot.
    pub triggers_stay_on: Option<String>,
    /// Tables whose rows the role may not lock.
    pub unlockable: BTreeSet<TableName>,
    /// Tables that the role may not delete rows of, and why.
    pub undeletable: BTreeMap<TableName, String>,
    /// The declared deletion queues.
    pub queues: Vec<QueueLink>,
    /// Materialised views and the tables that they are made of.
    pub materialized: BTreeMap<TableName, BTreeSet<TableName>>,
    /// The requested tenants' rows in the snapshot.
    pub contents: BTreeMap<TenantId, Vec<TenantTable>>,
    /// How these rows stand against the live ones.
    pub standings: BTreeMap<(TenantId, TableName), Standing>,
    /// What to do about rows that are live.
    pub policies: Policies,
    /// Whether they are repaired instead.
    pub repair: Option<Repair>,
}

/// How a table has changed since the snapshot, and what the requested tenants' rows say about that.
#[derive(Clone, Debug, Default)]
pub struct TableDrift {
    /// The differences.
    pub drift: drift::Drift,
    /// What decides those that depend on the rows.
    pub found: drift::Found,
}

/// One table of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantTable {
    /// The table.
    pub table: TableName,
    /// Rows in the snapshot.
    pub rows: u64,
    /// Their bytes, in wire form.
    pub bytes: u64,
    /// Their fingerprint.
    pub fingerprint: Fingerprint,
    /// Their fingerprint in the shape of the live table, where that has changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapted: Option<Fingerprint>,
    /// Rows of the tenant that are live already.
    pub live_rows: u64,
    /// Where rows belong to whoever points at them: those of the snapshot's rows that are live and stay as they are, or
    /// hang from such rows and stay away. The others are written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left: u64,
    /// What was decided, where not every row is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// Entries of deletion queues about rows that come back, by queue.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub queued: BTreeMap<TableName, u64>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_none_needed(approvals: &usize) -> bool {
    *approvals == 0
}

impl TenantTable {
    /// Rows that are written.
    pub fn written(&self) -> u64 {
        self.inserted().rows.saturating_sub(self.left)
    }

    /// The fingerprint of the snapshot's rows in the shape of the live table.
    pub fn shaped(&self) -> Fingerprint {
        self.adapted.unwrap_or(self.fingerprint)
    }

    /// The fingerprint of the rows that are inserted.
    pub fn inserted(&self) -> Fingerprint {
        self.settled.as_ref().map_or(self.shaped(), |settled| settled.inserted)
    }

    /// The bytes of the rows that are inserted, in wire form.
    pub fn inserted_bytes(&self) -> u64 {
        self.settled.as_ref().map_or(self.bytes, |settled| settled.bytes)
    }

    /// What a repair does to the live rows.
    pub fn repaired(&self) -> Option<&Repaired> {
        self.settled.as_ref()?.repaired.as_ref()
    }

    /// The fingerprint of all rows that the tenant has afterwards.
    pub fn expected(&self) -> Fingerprint {
        self.settled.as_ref().map_or(self.shaped(), |settled| settled.expected)
    }
}

/// A dry run's result, and all that `apply` needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    /// BLAKE3 of everything else in the plan.
    pub hash: PlanHash,
    /// The reinstate that made it.
    pub tool_version: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Most tenants it was allowed to hold.
    pub tenants_max: usize,
    /// Why more than the default were allowed.
    pub reason: Option<String>,
    /// Who made it, and cannot approve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Approvals that the configuration asked for when it was made; one that asks for fewer since changes nothing.
    #[serde(default, skip_serializing_if = "is_none_needed")]
    pub approvals_min: usize,
    /// A repair, not a restore: live rows are overwritten, perhaps deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repair>,
    /// The table that lists the tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<RootTable>,
    /// Hash of what the configuration said beside URLs, when it was made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config: String,
    /// What belongs to a site beside its rows.
    #[serde(default, skip_serializing_if = "Workflow::is_plain")]
    pub workflow: Workflow,
    /// The shards in which tenants have rows; the one with the root table is the last.
    pub shards: Vec<ShardPlan>,
    /// The tenants, in the order in which they are restored.
    pub tenants: Vec<TenantPlan>,
    /// The rings that the tenants are divided into, in their order; none where they are one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rings: Vec<Ring>,
    /// Tenants of the list that are left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<BlockedTenant>,
}

/// Where the tenants are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootTable {
    /// The shard.
    pub shard: ShardName,
    /// The table.
    pub table: TableName,
}

/// One shard of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardPlan {
    /// The shard.
    pub name: ShardName,
    /// URL of the snapshot store.
    pub store: String,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// BLAKE3 of its manifest.
    pub manifest: String,
    /// Its instant.
    pub taken_at: Timestamp,
    /// The database to write to.
    pub target: DatabaseIdentity,
    /// Hash of the live schema of `tables` and `others`.
    pub schema: String,
    /// The tables of the plan's tenants, parents first.
    pub tables: Vec<OwnedTable>,
    /// All other tables that tenants own rows of: nothing is written there, and no row of a tenant may be found
    /// there.
    pub others: Vec<OwnedTable>,
    /// How the live schema differs from the snapshot's, with the rule that copes with it.
    pub drift: Vec<String>,
    /// How rows of `tables` get the shape of the live table, where that has changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub adaptations: BTreeMap<TableName, Adaptation>,
    /// The deletion queues that name rows of `tables`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueLink>,
    /// Who proves the keys of the restored rows.
    pub constraints: Constraints,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// One tenant of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantPlan {
    /// The tenant.
    pub id: TenantId,
    /// What people call it.
    pub name: Option<String>,
    /// Its rows, in the order of [`Plan::shards`].
    pub shards: Vec<TenantShard>,
}

/// One tenant's rows in one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantShard {
    /// The shard.
    pub shard: ShardName,
    /// Tables that hold rows of the tenant, parents first.
    pub tables: Vec<TenantTable>,
}

impl TenantShard {
    /// Rows that are written in all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(TenantTable::written).sum()
    }

    /// Bytes to be inserted in all tables.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(TenantTable::inserted_bytes).sum()
    }
}

impl TenantPlan {
    /// Rows in all shards.
    pub fn rows(&self) -> u64 {
        self.shards.iter().map(TenantShard::rows).sum()
    }

    /// Bytes in all shards.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(TenantShard::bytes).sum()
    }

    /// `id` or `id (name)`, for people.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({name})", self.id),
            None => self.id.to_string(),
        }
    }
}

impl Plan {
    /// Rows of all tenants.
    pub fn rows(&self) -> u64 {
        self.tenants.iter().map(TenantPlan::rows).sum()
    }

    /// Bytes of all tenants.
    pub fn bytes(&self) -> u64 {
        self.tenants.iter().map(TenantPlan::bytes).sum()
    }

    /// Rows that a repair updates, and rows that it deletes.
    pub fn repaired(&self) -> (u64, u64) {
        let tables = self.tenants.iter().flat_map(|tenant| &tenant.shards).flat_map(|shard| &shard.tables);
        tables
            .filter_map(TenantTable::repaired)
            .fold((0, 0), |(updated, deleted), it| (updated + it.updated, deleted + it.deleted.rows))
    }

    /// The steps of each site.
    pub fn graph(&self) -> Result<Graph<'_>> {
        let root = &self.root_shard()?.name;
        let planned = self.shards.iter().map(|shard| &shard.name);
        let others = self.workflow.shards.iter().filter(|name| self.shard(name).is_none());
        Graph::new(&self.workflow, planned.chain(others), root).map_err(|what| {
            Error::refused(format!("unable to use the plan: {what}")).hint("make the plan again")
        })
    }

    /// The shard with the catalogue: the last one.
    pub fn root_shard(&self) -> Result<&ShardPlan> {
        self.shards.last().ok_or_else(|| Error::refused("unable to use the plan: it has no shards"))
    }

    /// The shard of this name.
    pub fn shard(&self, name: &ShardName) -> Option<&ShardPlan> {
        self.shards.iter().find(|shard| shard.name == *name)
    }
}
