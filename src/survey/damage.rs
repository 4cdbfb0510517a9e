//! Damage assessment without a list: which tenants, tables and how many rows are missing, changed or extra.
//!
//! ```text
//! live tables, each read once ─► fingerprint of each tenant ─► equal to the snapshot's index?
//!                                                              └► no: the tenant's rows of both sides, by key
//! ```

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, RecordBatch};
use futures::StreamExt;
use serde::Serialize;

use super::live::{LiveRows, Stand};
use super::{Survey, Surveyed};
use crate::disputed::Unowned;
use crate::error::{Error, Result};
use crate::extract;
use crate::model::{
    Belongs, Fingerprint, HASH_COLUMN, OwnedTable, ShardName, TENANT_COLUMN, TableName, TenantId, row_hash,
};
use crate::source::{Scan, Source, live};

/// Connections that read a live shard.
const READERS: usize = 2;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Rows are counted: a changed row is not seen, and one that is gone is not where another is new.
    Counts,
    /// Every row is compared.
    Contents,
}

/// What became of a tenant's rows in one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The shard.
    pub shard: ShardName,
    /// The table.
    pub table: TableName,
    /// Rows in the snapshot.
    pub snapshot_rows: u64,
    /// Live rows.
    pub live_rows: u64,
    /// Rows of the snapshot that are not live.
    pub missing: u64,
    /// Rows that are live with other values.
    pub changed: u64,
    /// Live rows that the snapshot does not have.
    pub extra: u64,
    /// Whether the rows were only counted: the columns are not those of the snapshot any more, or no more was asked.
    pub counted: bool,
}

/// A tenant of the snapshot whose rows are not what they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamagedTenant {
    /// The tenant.
    pub id: TenantId,
    /// What people call it.
    pub name: Option<String>,
    /// Whether its row in the root table is gone.
    pub deleted: bool,
    /// The tables that differ.
    pub tables: Vec<Damage>,
}

impl Survey {
    /// Tenants of the snapshot whose rows differ, and where, in the order of their ids. By counts, only those that have
    /// fewer rows.
    pub async fn damage(&self, look: Look) -> Result<Vec<DamagedTenant>> {
        let names = self.names().await?;
        let tenants: Vec<TenantId> = names.keys().cloned().collect();
        let mut damaged: BTreeMap<TenantId, Vec<Damage>> = BTreeMap::new();
        for surveyed in &self.shards {
            let source = match look {
                Look::Counts => None,
                Look::Contents => Some(surveyed.live_source().await?),
            };
            // Rows of whoever points at them are not compared: those who pointed are gone.
            let owned = surveyed.owned_tables()?;
            for owned in owned.into_iter().filter(|owned| owned.owners.belongs == Belongs::ToOne) {
                let source = source.as_deref().filter(|_| surveyed.has_same_columns(&owned));
                let found = match source {
                    None => surveyed.counted(&owned, &tenants).await?,
                    Some(source) => surveyed.compared(source, &owned, &tenants).await?,
                };
                for (tenant, damage) in found {
                    damaged.entry(tenant).or_default().push(damage);
                }
            }
        }
        let is_root = |damage: &Damage| {
            damage.shard == self.root_shard && damage.table == self.root_table && damage.missing > 0
        };
        Ok(damaged
            .into_iter()
            .map(|(id, tables)| DamagedTenant {
                name: names.get(&id).cloned().flatten(),
                deleted: tables.iter().any(is_root),
                id,
                tables,
            })
            .collect())
    }
}

impl Surveyed {
    async fn live_source(&self) -> Result<Box<dyn Source>> {
        live::open(&self.name, &self.config.url, &self.config.tenancy, READERS).await
    }

    /// Whether rows of both sides have the same wire form.
    fn has_same_columns(&self, owned: &OwnedTable) -> bool {
        let live = self.facts.tables.iter().find(|table| table.name == owned.table.name);
        live.is_some_and(|live| {
            let shape = |table: &crate::model::Table| -> Vec<_> {
                table
                    .stored_columns()
                    .map(|column| (column.name.clone(), column.type_name.clone(), column.kind))
                    .collect()
            };
            shape(live) == shape(&owned.table)
        })
    }

    fn damage(&self, owned: &OwnedTable, snapshot_rows: u64, live_rows: u64) -> Damage {
        Damage {
            shard: self.name.clone(),
            table: owned.table.name.clone(),
            snapshot_rows,
            live_rows,
            missing: snapshot_rows.saturating_sub(live_rows),
            changed: 0,
            extra: 0,
            counted: true,
        }
    }

    async fn counted(&self, owned: &OwnedTable, tenants: &[TenantId]) -> Result<Vec<(TenantId, Damage)>> {
        let live = self.shard.live_rows(owned, tenants).await?;
        let damage = |tenant: &TenantId| {
            let snapshot = self.rows_in_snapshot(tenant, &owned.table.name);
            let live = live.get(tenant).copied().unwrap_or_default();
            (live < snapshot).then(|| (tenant.clone(), self.damage(owned, snapshot, live)))
        };
        Ok(tenants.iter().filter_map(damage).collect())
    }

    async fn compared(
        &self,
        source: &dyn Source,
        owned: &OwnedTable,
        tenants: &[TenantId],
    ) -> Result<Vec<(TenantId, Damage)>> {
        let live = fingerprints(source, &owned.table.name).await?;
        let mut found = Vec::new();
        for tenant in tenants {
            let entries = self.source.snapshot().index().of(tenant, &owned.table.name);
            let snapshot: Fingerprint = entries.iter().map(|entry| entry.fingerprint).sum();
            let live = live.get(tenant).copied().unwrap_or_default();
            if live == snapshot {
                continue;
            }
            let mut damage = Damage { counted: false, ..self.damage(owned, snapshot.rows, live.rows) };
            if live.rows > 0 {
                self.look(owned, tenant, &mut damage).await?;
            }
            // The neighbours go on: what differed when the table was read may be equal now.
            if damage.missing + damage.changed + damage.extra > 0 {
                found.push((tenant.clone(), damage));
            }
        }
        Ok(found)
    }

    /// Compares the rows of one tenant, by key.
    async fn look(&self, owned: &OwnedTable, tenant: &TenantId, damage: &mut Damage) -> Result<()> {
        let mut live = LiveRows::read(self.shard.as_ref(), owned, tenant, self.share).await?;
        (damage.missing, damage.changed) = (0, 0);
        let mut chunks = extract::tenant_rows(&self.source, &owned.table, tenant).await?;
        while let Some(chunk) = chunks.next().await {
            for tuple in chunk?.tuples.iter() {
                match live.take(tuple, row_hash(tuple))? {
                    Stand::Absent => damage.missing += 1,
                    Stand::Different(_) => damage.changed += 1,
                    Stand::Identical => {}
                }
            }
        }
        // No tenant has what several claimed.
        let unowned = Unowned { source: &self.source, adaptation: None };
        live.forget_disputed(self.shard.as_ref(), owned, tenant, unowned).await?;
        for entry in live.left()?.entries() {
            damage.extra += entry?.1 as u64;
        }
        Ok(())
    }
}

/// The fingerprint of each tenant's live rows.
async fn fingerprints(source: &dyn Source, table: &TableName) -> Result<HashMap<TenantId, Fingerprint>> {
    let mut found: HashMap<TenantId, Fingerprint> = HashMap::new();
    let mut batches = source.scan(table, &Scan::default()).await?;
    while let Some(batch) = batches.next().await {
        let batch: RecordBatch = batch?;
        let owners = batch.column_by_name(TENANT_COLUMN).and_then(|column| column.as_string_opt::<i32>());
        let hashes = batch.column_by_name(HASH_COLUMN).and_then(|column| column.as_fixed_size_binary_opt());
        let (Some(owners), Some(hashes)) = (owners, hashes) else {
            return Err(Error::bug(format!("rows of table '{table}' come without owners or hashes")));
        };
        for row in (0..batch.num_rows()).filter(|row| owners.is_valid(*row)) {
            let hash = <[u8; 16]>::try_from(hashes.value(row)).map(u128::from_le_bytes);
            let hash = hash.map_err(|_| Error::bug("a row's hash has another length than 16"))?;
            if let Some(known) = found.get_mut(&TenantId::new(owners.value(row))) {
                known.add(hash);
            } else {
                let mut first = Fingerprint::default();
                first.add(hash);
                found.insert(TenantId::new(owners.value(row)), first);
            }
        }
    }
    Ok(found)
}
