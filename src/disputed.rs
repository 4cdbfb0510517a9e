//! Rows that several tenants claimed when the snapshot was taken: nobody's then, and nobody's ever after.
//!
//! ```text
//! live rows of a tenant that the snapshot does not give it ─► does it give them to nobody? ─► they do not count
//! ```
//!
//! When one side of a dispute is deleted, the row looks like the other side's; when both are, like that of whoever
//! comes back first. No restore writes such a row, so none may count it, nor stop because of it.

use std::collections::HashSet;

use futures::StreamExt;

use crate::error::Result;
use crate::extract;
use crate::model::adapt::Adaptation;
use crate::model::wire::Tuples;
use crate::model::{OwnedTable, Table, row_hash};
use crate::source::Source;
use crate::survey::keys::{KeyOf, identity};

/// What must be the same for a live row to be the snapshot's: the primary key and what says whose it is. A row that
/// was given to a tenant since is that tenant's. All values where there is no key.
struct Identity(Option<KeyOf>);

impl Identity {
    fn new(owned: &OwnedTable) -> Self {
        let table = &owned.table;
        let mut columns = table.primary_key.clone();
        for way in &owned.owners.ways {
            match way.steps.first() {
                None => columns.push(way.column.clone()),
                Some(step) => {
                    columns.extend(
                        step.columns.iter().chain(step.when.iter().map(|when| &when.column)).cloned(),
                    );
                }
            }
        }
        columns.retain(|name| table.stored_columns().any(|column| column.name == *name));
        Self(identity(table).and_then(|_| KeyOf::new(table, &columns)))
    }

    fn of(&self, tuple: &[u8]) -> Result<u128> {
        match &self.0 {
            Some(key) => key.whole(tuple),
            None => Ok(row_hash(tuple)),
        }
    }
}

/// Where the rows of a live table are in the snapshot.
#[derive(Clone, Copy)]
pub struct Unowned<'a> {
    /// The snapshot.
    pub source: &'a dyn Source,
    /// How its rows get the shape of the live table, where that has changed since.
    pub adaptation: Option<&'a Adaptation>,
}

impl Unowned<'_> {
    /// Which of these rows, given by their identity, the snapshot gives to nobody. None where rows cannot be disputed.
    async fn nobodys(
        &self,
        owned: &OwnedTable,
        identity: &Identity,
        asked: &HashSet<u128>,
    ) -> Result<HashSet<u128>> {
        let mut found = HashSet::new();
        if asked.is_empty() || !self.may_dispute(owned) {
            return Ok(found);
        }
        let mut rows = extract::unowned_rows(self.source, self.adaptation, &owned.table).await?;
        while let Some(chunk) = rows.next().await {
            for tuple in chunk?.tuples.iter() {
                let identity = identity.of(tuple)?;
                if asked.contains(&identity) {
                    found.insert(identity);
                }
            }
        }
        Ok(found)
    }

    /// Parts live rows of a tenant, none of which the snapshot gives to it: those of nobody, and the rest.
    pub async fn part(&self, owned: &OwnedTable, rows: &Tuples) -> Result<(Tuples, Tuples)> {
        let identity = Identity::new(owned);
        let identities = rows.iter().map(|tuple| identity.of(tuple)).collect::<Result<Vec<_>>>()?;
        let nobodys = self.nobodys(owned, &identity, &identities.iter().copied().collect()).await?;
        let (mut apart, mut rest) = (Tuples::default(), Tuples::default());
        for (tuple, identity) in rows.iter().zip(identities) {
            let side = if nobodys.contains(&identity) { &mut apart } else { &mut rest };
            side.bytes.extend_from_slice(tuple);
            side.ends.push(side.bytes.len());
        }
        Ok((apart, rest))
    }

    /// A table without disputes in the snapshot, one that was made since, or whose rows have another shape that no
    /// adaptation tells, has no such rows.
    pub fn may_dispute(&self, owned: &OwnedTable) -> bool {
        let shape = |table: &Table| -> Vec<(String, String)> {
            table.stored_columns().map(|column| (column.name.clone(), column.type_name.clone())).collect()
        };
        let tables = &self.source.describe().tables;
        let taken = tables.iter().find(|taken| taken.name == owned.table.name);
        owned.owners.may_disagree()
            && self.source.has_disputed(&owned.table.name)
            && taken.is_some_and(|taken| self.adaptation.is_some() || shape(taken) == shape(&owned.table))
    }
}
