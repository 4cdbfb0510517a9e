//! References that leave their tenant and find nothing live: which tenants of the list bring the rows they point at.
//!
//! ```text
//! open references of all tenants ─► the keys that are sought, by table
//!                                      └► all tenants' rows of these tables, read once more ─► who brings which
//! ```
//!
//! Ties are few. Where there are none, nothing is read again; else each distinct key that is sought is held in memory.
//! Keys of which bytes do not tell whether they are equal are matched by the database (`matched.rs`), those of the
//! tenant's own rows too.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::StreamExt;

use super::Surveyed;
use super::keys::KeyOf;
use super::matched::Reading;
use super::standing::{Open, Tallies, Unanswered};
use super::tombstones::Erased;
use crate::error::Result;
use crate::extract;
use crate::model::{ChunkStream, OwnedTable, Table, TableName, TenantId};
use crate::plan::TableDrift;
use crate::plan::conflict::{Finding, Reason};

/// Columns that foreign keys point at.
type Place = (TableName, Vec<String>);
/// Keys there that are sought, by their hashes, and who brings them.
type Sought = HashMap<u128, BTreeSet<TenantId>>;
/// Findings by tenant and table.
type Found = BTreeMap<(TenantId, TableName), Vec<Finding>>;

impl Open {
    fn place(&self) -> Place {
        (self.key.parent.clone(), self.key.parent_columns.clone())
    }
}

impl Surveyed {
    /// What the open references of the tenants mean, now that all of them are known.
    pub(super) async fn awaited(
        &self,
        involved: &[OwnedTable],
        drift: &BTreeMap<TableName, TableDrift>,
        erased: &mut Erased,
        open: Vec<(TenantId, Unanswered)>,
    ) -> Result<Found> {
        let tenants: Vec<TenantId> = open.iter().map(|(tenant, _)| tenant.clone()).collect();
        let mut sought: HashMap<Place, Sought> = HashMap::new();
        let all = open.iter().flat_map(|(_, left)| left.0.iter().flat_map(|(_, open)| open));
        for (hash, open) in all.filter(|(_, open)| open.asked.is_none()) {
            sought.entry(open.place()).or_default().entry(*hash).or_default();
        }
        for owned in involved {
            for ((table, columns), keys) in &mut sought {
                if *table == owned.table.name {
                    self.seek(owned, columns, &tenants, drift, erased, keys).await?;
                }
            }
        }
        let reading = Reading { involved, drift, tenants: &tenants };
        let matched = self.matched(&reading, erased, &open).await?;
        let mut found = Found::new();
        for (tenant, left) in open {
            for (table, open) in left.0.into_iter().filter(|(_, open)| !open.is_empty()) {
                let mut tallies = Tallies::default();
                for (hash, open) in open {
                    let tenants = match &open.asked {
                        None => sought.get(&open.place()).and_then(|keys| keys.get(&hash)),
                        Some(_) => matched.get(&(tenant.clone(), table.clone(), open.key.name.clone(), hash)),
                    };
                    // Its own rows are compared with such a key only now.
                    if tenants.is_some_and(|tenants| tenants.contains(&tenant)) {
                        continue;
                    }
                    let (key, parent) = (open.key.name.clone(), open.key.parent.clone());
                    let reason = match tenants.filter(|tenants| !tenants.is_empty()) {
                        None => Reason::NoParent { key, parent },
                        Some(tenants) => {
                            Reason::Awaits { key, parent, tenants: tenants.iter().cloned().collect() }
                        }
                    };
                    tallies.add(reason, open.rows, || open.named.into());
                }
                found.entry((tenant.clone(), table)).or_default().extend(tallies.into_findings());
            }
        }
        Ok(found)
    }

    /// The rows of a tenant as they are written.
    pub(super) async fn rows_to_write(
        &self,
        table: &Table,
        changed: &TableDrift,
        tenant: &TenantId,
    ) -> Result<ChunkStream> {
        let Some(adaptation) = &changed.drift.adaptation else {
            return extract::tenant_rows(&self.source, table, tenant).await;
        };
        let chunks = extract::adapted_rows(&self.source, adaptation, table, tenant).await?;
        Ok(chunks.map(|chunk| Ok(chunk?.adapted)).boxed())
    }

    /// Who of the tenants brings the keys that are sought in these columns of a table.
    async fn seek(
        &self,
        owned: &OwnedTable,
        columns: &[String],
        tenants: &[TenantId],
        drift: &BTreeMap<TableName, TableDrift>,
        erased: &mut Erased,
        sought: &mut Sought,
    ) -> Result<()> {
        let name = &owned.table.name;
        let unchanged = TableDrift::default();
        let changed = drift.get(name).unwrap_or(&unchanged);
        let table = self.written(name, changed)?;
        let Some(key) = KeyOf::new(&table, columns) else { return Ok(()) };
        for tenant in tenants.iter().filter(|tenant| self.rows_in_snapshot(tenant, name) > 0) {
            let mut chunks = self.rows_to_write(&table, changed, tenant).await?;
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk?;
                let erased = erased.rows(&table, &chunk.batch);
                for (_, tuple) in chunk.tuples.iter().enumerate().filter(|(row, _)| !erased.contains(row)) {
                    if let Some(tenants) = key.reference(tuple)?.and_then(|hash| sought.get_mut(&hash)) {
                        tenants.insert(tenant.clone());
                    }
                }
            }
        }
        Ok(())
    }
}
