//! Rows that stood together in the snapshot and cannot any more: they share a key that the live table has got since.

use std::collections::HashMap;

use super::keys::salt;
use super::standing::{Compared, Wanted};
use crate::error::Result;
use crate::ledger::Ledger;
use crate::limits::CLAIMS_NAMED_MAX;
use crate::memory::Share;
use crate::model::{Table, UniqueKey, row_hash, row_name};
use crate::plan::conflict::Reason;
use crate::shard::Rows;

/// The rows that come back with each value of a key, of all tenants of the list: what values hash to, and who the
/// first of them are.
pub(super) struct Claimed {
    values: Ledger,
    named: HashMap<u128, String>,
}

impl Claimed {
    /// None.
    pub fn new(share: Share) -> Self {
        Self { values: share.ledger(), named: HashMap::new() }
    }
}

/// The unique keys of `live` that the table did not have in the shape in which the rows were taken. Those of a
/// changed type count too: it may take for equal what was different.
pub(super) fn new_keys(taken: &Table, live: &Table) -> Vec<UniqueKey> {
    let type_of = |table: &Table, name: &String| table.column(name).map(|column| column.type_name.clone());
    let is_known = |key: &&UniqueKey| {
        taken.keys().any(|known| known == *key)
            && key.columns.iter().all(|name| type_of(taken, name) == type_of(live, name))
    };
    let is_equality = |key: &&UniqueKey| {
        let mut operators = key.terms.iter().filter_map(|term| term.operator.as_deref());
        operators.all(|operator| operator.ends_with(".=)"))
    };
    let keys: Vec<UniqueKey> = live.primary().into_iter().chain(live.unique_keys.iter().cloned()).collect();
    keys.iter().filter(|key| !is_known(key) && is_equality(key)).cloned().collect()
}

impl Compared<'_, '_> {
    /// Looks for rows that share one of the new keys with another row that comes back.
    pub(super) async fn ask_for_clashes(&mut self, wanted: &Wanted<'_>) -> Result<()> {
        let (owned, of) = (self.owned, &mut *self.of);
        let rows = Rows { owned, tuples: &wanted.tuples };
        for key in &self.new_keys {
            let (claimed, salt) = (&mut *of.claimed, salt(&owned.table.name, [&key.name]));
            let values = of.shard.key_values(&rows, key).await?;
            for (place, value) in wanted.places.iter().zip(values) {
                let Some(value) = value else { continue };
                let named = row_name(&owned.table, wanted.batch, *place);
                let hash = row_hash(value.as_bytes()) ^ salt;
                if claimed.values.change(hash, |_| 1)? > 0 {
                    let other = claimed.named.get(&hash).map_or("another row", String::as_str);
                    let named = || format!("{named} by {other}, which comes back too");
                    self.tallies.add(Reason::Taken { key: key.name.clone() }, 1, named);
                } else if claimed.named.len() < CLAIMS_NAMED_MAX {
                    claimed.named.insert(hash, format!("{named} of tenant {}", of.tenant));
                }
            }
        }
        Ok(())
    }
}
