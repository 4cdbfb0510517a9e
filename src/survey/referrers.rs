//! Whoever points at a row that a repair deletes, or at a key that it changes: found when the plan is made, whatever
//! the foreign key would do about it at the time (refuse, cascade, set to NULL).
//!
//! ```text
//! extra row that goes, old row with another key ─► kept until the end of the tenant
//! live row that is changed or goes               ─► its hash
//! end of the tenant ─► live rows that point at the former and are none of the latter ─► findings
//! ```

use std::collections::{BTreeMap, HashMap};

use super::keys::{KeyOf, salt};
use super::standing::{Tallies, whose};
use crate::error::Result;
use crate::ledger::Ledger;
use crate::limits::KEYS_ASKED_MAX;
use crate::memory::Share;
use crate::model::wire::Tuples;
use crate::model::{ForeignKey, OwnedTable, Owners, Table, TableName, TenantId, row_hash, tuple_name};
use crate::plan::Repair;
use crate::plan::conflict::{Finding, Reason};
use crate::shard::{Question, Rows, Shard};

/// A foreign key and the table that has it.
#[derive(Clone)]
struct Key {
    child: Table,
    key: ForeignKey,
}

/// Rows of one table that some key leads to, as they are live.
#[derive(Default)]
struct Gone {
    tuples: Tuples,
    /// Whether no row may point at them, not even one that is changed as well: it would be changed twice, or the
    /// server would refuse to change the parent first.
    rigid: bool,
}

/// What a repair takes from under the feet of others, for one tenant.
pub(super) struct Referrers {
    keys: Vec<Key>,
    delete_extra: bool,
    /// The server proves the keys, so that foreign keys act.
    server: bool,
    /// The ways to the tenants of all tables that tenants own rows of.
    owners: HashMap<TableName, Owners>,
    /// Tables in the shape in which their rows are compared.
    known: HashMap<TableName, OwnedTable>,
    /// Live rows of the tenant that do not stay as they are.
    moving: Ledger,
    share: Share,
    /// Bytes of the rows in `gone`.
    held: usize,
    /// Rows that go, and rows with a key that changes, by table and, for the latter, the place of the key.
    gone: BTreeMap<(TableName, Option<usize>), Gone>,
}

impl Referrers {
    /// For a tenant of a shard with these tables.
    pub fn new(
        tables: &[Table],
        involved: &[OwnedTable],
        repair: Repair,
        server: bool,
        share: Share,
    ) -> Self {
        let of = |child: &Table| {
            let keys: Vec<Key> =
                child.all_foreign_keys().map(|key| Key { child: child.clone(), key: key.clone() }).collect();
            keys
        };
        let keys = tables.iter().flat_map(of).collect();
        Self {
            keys,
            delete_extra: repair.delete_extra,
            server,
            owners: involved.iter().map(|owned| (owned.table.name.clone(), owned.owners.clone())).collect(),
            known: HashMap::new(),
            moving: share.ledger(),
            share,
            held: 0,
            gone: BTreeMap::new(),
        }
    }

    /// A table whose rows are compared.
    pub fn knows(&mut self, owned: &OwnedTable) {
        self.known.insert(owned.table.name.clone(), owned.clone());
    }

    /// A live row that gets other values.
    pub fn moves(&mut self, table: &TableName, live: u128) -> Result<()> {
        self.moving.change(live ^ salt(table, []), |_| 1).map(drop)
    }

    /// A live row that the snapshot does not have.
    pub fn goes(&mut self, owned: &OwnedTable, live: &[u8]) -> Result<()> {
        if !self.delete_extra {
            return Ok(());
        }
        let name = &owned.table.name;
        self.moves(name, row_hash(live))?;
        if self.keys.iter().any(|key| key.key.parent == *name) {
            self.held += self.share.check(self.held + live.len()).map(|()| live.len())?;
            let gone = self.gone.entry((name.clone(), None)).or_default();
            push(&mut gone.tuples, live);
        }
        Ok(())
    }

    /// Whether rows may point at another key of the table than the primary one.
    pub fn point_beside_primary(&self, table: &Table) -> bool {
        self.keys.iter().any(|key| is_beside_primary(key, table))
    }

    /// A row that gets other values: perhaps another key than rows point at.
    pub fn changes(&mut self, owned: &OwnedTable, live: &[u8], new: &[u8]) -> Result<()> {
        let table = &owned.table;
        for (place, key) in self.keys.iter().enumerate().filter(|(_, key)| is_beside_primary(key, table)) {
            let Some(columns) = KeyOf::new(table, &key.key.parent_columns) else { continue };
            if columns.whole(live)? == columns.whole(new)? {
                continue;
            }
            self.held += self.share.check(self.held + live.len()).map(|()| live.len())?;
            let gone = self.gone.entry((table.name.clone(), Some(place))).or_default();
            gone.rigid = self.server && (key.key.follows || !key.key.deferrable);
            push(&mut gone.tuples, live);
        }
        Ok(())
    }

    /// Live rows that point at what goes and stay as they are.
    pub async fn finish(self, shard: &dyn Shard, tenant: &TenantId) -> Result<Vec<(TableName, Finding)>> {
        let mut findings = Vec::new();
        for ((name, place), gone) in &self.gone {
            let Some(owned) = self.known.get(name) else { continue };
            let mut tallies = Tallies::default();
            for (_, key) in self
                .keys
                .iter()
                .enumerate()
                .filter(|(at, key)| key.key.parent == *name && place.is_none_or(|place| place == *at))
            {
                self.ask(shard, tenant, (owned, gone), key, &mut tallies).await?;
            }
            findings.extend(tallies.into_findings().map(|finding| (name.clone(), finding)));
        }
        Ok(findings)
    }

    async fn ask(
        &self,
        shard: &dyn Shard,
        tenant: &TenantId,
        (owned, gone): (&OwnedTable, &Gone),
        Key { child, key }: &Key,
        tallies: &mut Tallies,
    ) -> Result<()> {
        let owners = self.owners.get(&child.name);
        let child = self.known.get(&child.name).map_or(child, |owned| &owned.table);
        let salt = salt(&child.name, []);
        let rows: Vec<&[u8]> = gone.tuples.iter().collect();
        for asked in rows.chunks(KEYS_ASKED_MAX) {
            let mut tuples = Tuples::default();
            asked.iter().for_each(|tuple| push(&mut tuples, tuple));
            let question = Question::Referrers { child, owners, key, orphaned: false };
            for answer in shard.ask(&Rows { owned, tuples: &tuples }, &question).await? {
                let Some(row) = answer.live else { continue };
                let is_moving = !gone.rigid && self.moving.get(row_hash(&row.tuple) ^ salt)? > 0;
                if is_moving && row.owners.contains(tenant) {
                    continue;
                }
                let reason = Reason::Referenced { key: key.name.clone(), child: child.name.clone() };
                let of = tuple_name(&owned.table, asked[answer.row]);
                tallies.add(reason, 1, || {
                    format!("{of} by {} {}", tuple_name(child, &row.tuple), whose(&row.owners))
                });
            }
        }
        Ok(())
    }
}

fn is_beside_primary(key: &Key, table: &Table) -> bool {
    key.key.parent == table.name
        && key.key.parent_columns.iter().any(|column| !table.primary_key.contains(column))
}

fn push(tuples: &mut Tuples, tuple: &[u8]) {
    tuples.bytes.extend_from_slice(tuple);
    tuples.ends.push(tuples.bytes.len());
}
