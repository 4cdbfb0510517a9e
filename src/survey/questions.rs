//! What only the database can tell of a tenant's rows: whose keys are taken, which the tables refuse, which parents are
//! missing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::keys::{KeyOf, Likeness, likeness, salt};
use super::standing::{Asked, Compared, Open, Wanted, whose};
use crate::error::{Error, Result};
use crate::model::wire::{Tuples, fields, push_tuple};
use crate::model::{ForeignKey, OwnedTable, Table, row_hash, row_name, tuple_name};
use crate::plan::conflict::Reason;
use crate::shard::{LiveRow, Question, Refusal, Rows};

/// Rows and live rows that have been named together: a live row that takes several keys is told once.
type Told = HashSet<(usize, u128)>;

impl Compared<'_, '_> {
    pub(super) async fn ask_for_keys(&mut self, wanted: &Wanted<'_>, changed: bool) -> Result<()> {
        let rows = Rows { owned: self.owned, tuples: &wanted.tuples };
        let (mut told, keys) = (Told::new(), std::mem::take(&mut self.keys));
        for key in &keys {
            for answer in self.of.shard.ask(&rows, &Question::Taken(key)).await? {
                if let Some(live) = answer.live {
                    self.note_taken(wanted, changed, &mut told, answer.row, &key.name, &live)?;
                }
            }
        }
        self.keys = keys;
        Ok(())
    }

    /// Has the rows tried, where the database cannot be asked for all that it demands.
    pub(super) async fn try_rows(&mut self, wanted: &Wanted<'_>, changed: bool) -> Result<()> {
        let rows = Rows { owned: self.owned, tuples: &wanted.tuples };
        let Some(trial) = &mut self.of.trial else { return Ok(()) };
        let mut told = Told::new();
        for refused in trial.try_rows(&rows, self.has_new_keys).await? {
            match refused.why {
                Refusal::Taken { key, live } => {
                    self.note_taken(wanted, changed, &mut told, refused.row, &key, &live)?;
                }
                Refusal::Unfit(what) => {
                    let name = || row_name(&self.owned.table, wanted.batch, wanted.places[refused.row]);
                    self.tallies.add(Reason::Unfit { what }, 1, name);
                }
            }
        }
        Ok(())
    }

    fn note_taken(
        &mut self,
        wanted: &Wanted<'_>,
        changed: bool,
        told: &mut Told,
        row: usize,
        key: &str,
        live: &LiveRow,
    ) -> Result<()> {
        let own = &wanted.tuples.bytes[..wanted.tuples.ends[row]];
        let start = row.checked_sub(1).map_or(0, |before| wanted.tuples.ends[before]);
        let hash = row_hash(&live.tuple);
        let own = &own[start..];
        let is_itself = if self.live.is_keyed() {
            changed && self.live.is_same(own, &live.tuple)?
        } else {
            hash == row_hash(own)
        };
        if !is_itself && told.insert((row, hash)) {
            let named = name_taken(self.owned, wanted, row, live);
            self.tallies.add(Reason::Taken { key: key.to_owned() }, 1, || named);
        }
        Ok(())
    }

    pub(super) async fn ask_for_parents(&mut self, wanted: &Wanted<'_>) -> Result<()> {
        let owned = self.owned;
        for key in &owned.table.foreign_keys {
            self.ask_for_parents_by(key, wanted, &HashSet::new()).await?;
        }
        for part in &owned.table.partition_keys {
            let rows = Rows { owned, tuples: &wanted.tuples };
            let outside =
                self.of.shard.ask(&rows, &Question::Fails(std::slice::from_ref(&part.rows))).await?;
            let outside = outside.into_iter().map(|answer| answer.row).collect();
            self.ask_for_parents_by(&part.key, wanted, &outside).await?;
        }
        Ok(())
    }

    /// Whether a column of the key is new and stays NULL.
    fn is_never_set(&self, key: &ForeignKey) -> bool {
        let table = &self.owned.table;
        let live = self.of.tables.iter().find(|live| live.name == table.name);
        let is_null = |name: &String| {
            let column = live.and_then(|live| live.column(name));
            column.is_some_and(|it| !it.generated && !it.has_default) && table.column(name).is_none()
        };
        key.columns.iter().any(is_null)
    }

    /// `outside`: rows that the key does not speak of.
    async fn ask_for_parents_by(
        &mut self,
        key: &ForeignKey,
        wanted: &Wanted<'_>,
        outside: &HashSet<usize>,
    ) -> Result<()> {
        let table = &self.owned.table;
        if !key.validated && !self.of.parents.strict || self.is_never_set(key) {
            return Ok(());
        }
        // Without all columns, the database adds what it computes, and every row is asked about.
        let columns = KeyOf::new(table, &key.columns);
        let parent = self.of.tables.iter().find(|parent| parent.name == key.parent);
        let likeness = likeness(table, key, parent);
        // Equal bytes of other types are other values.
        let types = key.columns.iter().filter_map(|name| table.column(name)).map(|column| &column.type_name);
        let types = types.filter(|_| likeness != Likeness::Exact);
        let target = salt(&key.parent, key.parent_columns.iter().chain(types));
        let place = (table.name.clone(), key.name.clone());
        let by_bytes = likeness > Likeness::Unknown;
        let mut asked: Vec<(u128, usize)> = Vec::new();
        let mut waiting: HashMap<u128, u64> = HashMap::new();
        let mut tuples = Tuples::default();
        for (row, tuple) in wanted.tuples.iter().enumerate().filter(|(row, _)| !outside.contains(row)) {
            let hash = match &columns {
                Some(columns) => columns.reference(tuple)?,
                None => Some(row_hash(tuple)),
            };
            let Some(hash) = hash else { continue };
            let is_live = columns.is_some() && self.of.parents.live.contains(&(hash ^ target));
            if is_live || by_bytes && self.of.is_present(key, hash)? {
                continue;
            }
            if let Some(open) = self.of.open.get_mut(&place).and_then(|open| open.get_mut(&hash)) {
                open.rows += 1;
                continue;
            }
            let count = waiting.entry(hash).or_default();
            *count += 1;
            if *count == 1 {
                asked.push((hash, row));
                tuples.bytes.extend_from_slice(tuple);
                tuples.ends.push(tuples.bytes.len());
            }
        }
        let rows = Rows { owned: self.owned, tuples: &tuples };
        let answers = self.of.shard.ask(&rows, &Question::NoParent { key, lock: false }).await?;
        let lost: HashSet<usize> = answers.into_iter().map(|answer| answer.row).collect();
        let found = asked.iter().enumerate().filter(|(at, _)| columns.is_some() && !lost.contains(at));
        self.of.parents.are_live(found.map(|(_, (hash, _))| hash ^ target));
        let key = Arc::new(key.clone());
        let shape = (likeness != Likeness::Exact).then(|| Arc::new(shape_of(self.owned, &key)));
        for ((at, (hash, row)), tuple) in asked.into_iter().enumerate().zip(tuples.iter()) {
            if !lost.contains(&at) {
                continue;
            }
            let named = row_name(table, wanted.batch, wanted.places[row]);
            let named = match &columns {
                Some(columns) => {
                    format!("{named} at {}", columns.shown(table, wanted.batch, wanted.places[row]))
                }
                None => named,
            };
            let rows = waiting.get(&hash).copied().unwrap_or(1);
            let asked = shape.as_ref().map(|shape| Asked::new(self.owned, shape, tuple)).transpose()?;
            let key = Arc::clone(&key);
            self.of.open(&place, hash, Open { key, rows, named: named.into(), asked, by_bytes })?;
        }
        Ok(())
    }
}

/// What a question about a foreign key needs of a row: the key's columns, and those of users' types, since a domain may
/// refuse the NULL that stands for a value left out; everything where the database computes one of the key's.
fn shape_of(owned: &OwnedTable, key: &ForeignKey) -> OwnedTable {
    let table = &owned.table;
    let is_whole = key.columns.iter().all(|name| table.stored_columns().any(|it| it.name == *name));
    let columns = table
        .stored_columns()
        .filter(|column| !is_whole || key.columns.contains(&column.name) || column.type_name.contains('.'));
    let table = Table { columns: columns.cloned().collect(), ..Table::new(table.name.clone()) };
    OwnedTable { table, owners: owned.owners.clone() }
}

impl Asked {
    fn new(owned: &OwnedTable, shape: &Arc<OwnedTable>, tuple: &[u8]) -> Result<Self> {
        let unfit = |error| Error::bug("a row lost its shape").because(error);
        let values = fields(tuple).map_err(unfit)?;
        let kept = owned.table.stored_columns().zip(values);
        let kept = kept.filter(|(column, _)| shape.table.column(&column.name).is_some());
        let mut narrowed = Tuples::default();
        push_tuple(&mut narrowed, &kept.map(|(_, value)| value).collect::<Vec<_>>());
        Ok(Self { owned: Arc::clone(shape), tuple: narrowed.bytes.into() })
    }
}

/// Both rows, and whose the live one is.
fn name_taken(owned: &OwnedTable, wanted: &Wanted<'_>, row: usize, live: &LiveRow) -> String {
    let table = &owned.table;
    let own = row_name(table, wanted.batch, wanted.places[row]);
    format!("{own} by {} {}", tuple_name(table, &live.tuple), whose(&live.owners))
}
