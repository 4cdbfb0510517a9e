//! One scan: the columns that tell a row's tenants first, everything else only of the rows that are kept.
//!
//! ```text
//! row group ─► owners' columns ─► tenants ─► which rows ─► the other columns of those ─► batch with owners and hashes
//! ```
//!
//! Row groups are read side by side, each on the computing pool. Files are read there too: they are local, and a
//! read is decoded at once.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, BooleanArray, FixedSizeBinaryBuilder, RecordBatch, StringBuilder, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat, filter, take};
use parquet::arrow::arrow_reader::RowSelection;

use super::groups::{Group, NOBODY, OTHERS};
use super::keys::{KeyMap, Keys};
use super::maps::{Maps, Wanted, odd};
use super::rows::{Columns, Reading, RowGroup, RowGroups, unpacked};
use super::ways::{self, Lookup};
use crate::bridge::compute;
use crate::database::feed::{BatchSender, Worker};
use crate::error::{Error, Result};
use crate::limits::{BATCH_ROWS_MAX, KEY_ROWS_MAX};
use crate::model::{Belongs, Column, Table, row_hash, wire};

/// What is to be read, and of whom.
pub struct Shape {
    pub table: Arc<Table>,
    /// Places of the stored columns that are wanted, and whether these are all: only a whole row has a hash.
    pub wanted: Vec<usize>,
    pub whole: bool,
    /// What tells the owners; `None` for a shared table.
    pub lookup: Option<Lookup>,
    pub belongs: Belongs,
    /// Whether a row that leads to nobody, as far as the lookup knows, is nobody's indeed, and is kept as such.
    pub exact: bool,
    pub maps: Arc<Maps>,
    /// Maps that the rows yield on the way.
    pub yields: Vec<Yield>,
}

/// A map in the making, of the keys of the rows that are read.
pub struct Yield {
    pub wanted: Wanted,
    /// Places of the key's columns among the stored ones, and the columns themselves.
    pub key: Vec<(usize, Column)>,
    pub map: Mutex<Option<KeyMap>>,
}

/// Readers of a table's row groups.
pub fn workers(shape: Shape, groups: RowGroups) -> Vec<Worker> {
    let count = rayon::current_num_threads();
    let (shape, groups) = (Arc::new(shape), Arc::new(Mutex::new(groups)));
    let left = Arc::new(Mutex::new(count));
    let worker = |_| -> Worker {
        let (shape, groups, left) = (Arc::clone(&shape), Arc::clone(&groups), Arc::clone(&left));
        Box::new(move |sender| {
            Box::pin(async move {
                if !read(&shape, &groups, &sender).await? {
                    return Ok(());
                }
                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                *left -= 1;
                if *left == 0 {
                    shape.hand_over();
                }
                Ok(())
            })
        })
    };
    (0..count).map(worker).collect()
}

/// Reads row groups until there is none left; `false` if nobody reads any more.
async fn read(shape: &Arc<Shape>, groups: &Arc<Mutex<RowGroups>>, sender: &BatchSender) -> Result<bool> {
    loop {
        let (of, groups) = (Arc::clone(shape), Arc::clone(groups));
        let begun = compute(move || {
            let group = groups.lock().unwrap_or_else(PoisonError::into_inner).next();
            group.map(|group| of.begin(&group?)).transpose()
        });
        let Some(mut rows) = begun.await?? else { return Ok(true) };
        loop {
            let of = Arc::clone(shape);
            let (rest, batch) = compute(move || {
                let batch = of.next(&mut rows);
                (rows, batch)
            })
            .await?;
            rows = rest;
            let Some(batch) = batch? else { break };
            if sender.send(Ok(batch)).await.is_err() {
                return Ok(false);
            }
        }
    }
}

/// The rows of a row group that are kept.
struct Rows {
    /// Tenants of each row.
    groups: Vec<Group>,
    /// Stored columns that were read to know the tenants, by their places.
    known: Vec<(usize, ArrayRef)>,
    /// Places of the other wanted columns.
    others: Vec<usize>,
    rest: Option<Columns>,
    /// Rows that have been handed over.
    done: usize,
}

impl Shape {
    /// Finds the rows of a row group that are kept.
    fn begin(&self, group: &RowGroup) -> Result<Rows> {
        let Some(lookup) = &self.lookup else {
            let reading =
                Reading { columns: self.wanted.clone(), rows_max: BATCH_ROWS_MAX, ..Reading::default() };
            let rest = Some(group.read(&self.table, reading)?);
            return Ok(Rows { groups: vec![], known: vec![], others: self.wanted.clone(), rest, done: 0 });
        };
        let first = &lookup.places;
        if !lookup.may_hold(group, self.exact) {
            return Ok(Rows { groups: vec![], known: vec![], others: vec![], rest: None, done: 0 });
        }
        let (mut kept, mut mask, mut known) = (Vec::new(), Vec::new(), vec![Vec::new(); first.len()]);
        let reading = Reading {
            columns: first.clone(),
            dictionaries: lookup.tenants.clone(),
            selection: None,
            rows_max: KEY_ROWS_MAX,
        };
        for arrays in group.read(&self.table, reading)? {
            let arrays = arrays?;
            let groups = lookup.groups(&arrays, &self.maps.groups).ok_or_else(|| odd(&self.table))?;
            let keeps: Vec<bool> = groups.iter().map(|group| self.keeps(*group)).collect();
            kept.extend(groups.iter().zip(&keeps).filter(|(_, keeps)| **keeps).map(|(group, _)| *group));
            let keeps_array = BooleanArray::from(keeps.clone());
            for (array, known) in arrays.iter().zip(&mut known) {
                known.push(filter(array, &keeps_array).map_err(|error| self.broken().because(error))?);
            }
            mask.extend(keeps);
        }
        let mut columns = Vec::with_capacity(first.len());
        for (place, parts) in first.iter().zip(&known) {
            let parts: Vec<&dyn arrow::array::Array> = parts.iter().map(AsRef::as_ref).collect();
            if !parts.is_empty() {
                let column = concat(&parts).and_then(|column| unpacked(&column));
                columns.push((*place, column.map_err(|error| self.broken().because(error))?));
            }
        }
        let others: Vec<usize> = self.wanted.iter().copied().filter(|place| !first.contains(place)).collect();
        let rest = if kept.is_empty() || others.is_empty() {
            None
        } else {
            let selection = RowSelection::from_boolean_buffer(BooleanBuffer::from(mask));
            let reading = Reading {
                columns: others.clone(),
                dictionaries: vec![],
                selection: Some(selection),
                rows_max: BATCH_ROWS_MAX,
            };
            Some(group.read(&self.table, reading)?)
        };
        Ok(Rows { groups: kept, known: columns, others, rest, done: 0 })
    }

    /// Whether rows with these tenants are kept.
    fn keeps(&self, group: Group) -> bool {
        let groups = &self.maps.groups;
        match self.belongs {
            _ if groups.only(group).is_some() => true,
            Belongs::ToOne => self.exact && group != OTHERS,
            Belongs::ToReferrers | Belongs::WithParent => groups.is_several(group),
        }
    }

    /// The next batch of a row group.
    fn next(&self, rows: &mut Rows) -> Result<Option<RecordBatch>> {
        let (count, others) = match &mut rows.rest {
            Some(rest) => {
                let Some(arrays) = rest.next() else { return self.end(rows) };
                let arrays = arrays?;
                (arrays.first().map_or(0, |array| array.len()), arrays)
            }
            None => ((rows.groups.len() - rows.done).min(BATCH_ROWS_MAX), vec![]),
        };
        if count == 0 {
            return self.end(rows);
        }
        let from = rows.done;
        rows.done += count;
        let groups: Vec<Group> = match self.lookup {
            None => vec![NOBODY; count],
            Some(_) => rows.groups.get(from..from + count).ok_or_else(|| self.broken())?.to_vec(),
        };
        let find = |place: usize| {
            let other =
                rows.others.iter().position(|other| *other == place).map(|at| Arc::clone(&others[at]));
            let known = || rows.known.iter().find(|(known, _)| *known == place);
            other.or_else(|| known().map(|(_, array)| array.slice(from, count)))
        };
        self.yield_keys(&groups, &find)?;
        let arrays = self.wanted.iter().map(|place| find(*place).ok_or_else(|| self.broken()));
        self.batch(groups, arrays.collect::<Result<_>>()?).map(Some)
    }

    /// All rows that were kept must have come.
    fn end(&self, rows: &Rows) -> Result<Option<RecordBatch>> {
        if self.lookup.is_some() && rows.done != rows.groups.len() { Err(self.broken()) } else { Ok(None) }
    }

    /// Adds the keys of these rows to the maps in the making.
    fn yield_keys(&self, groups: &[Group], find: &impl Fn(usize) -> Option<ArrayRef>) -> Result<()> {
        for on_the_way in &self.yields {
            let arrays: Option<Vec<ArrayRef>> =
                on_the_way.key.iter().map(|(place, _)| find(*place)).collect();
            let arrays = arrays.ok_or_else(|| self.broken())?;
            let key: Vec<_> = on_the_way.key.iter().map(|(_, column)| column).zip(&arrays).collect();
            let keys = Keys::new(&on_the_way.wanted.forms, &key).ok_or_else(|| odd(&self.table))?;
            if let Some(map) = &mut *on_the_way.map.lock().unwrap_or_else(PoisonError::into_inner) {
                map.add(&keys, groups, &self.maps.groups)?;
            }
        }
        Ok(())
    }

    /// Every row was read: the maps are complete.
    fn hand_over(&self) {
        for on_the_way in &self.yields {
            if let Some(map) = on_the_way.map.lock().unwrap_or_else(PoisonError::into_inner).take() {
                self.maps.keep(&on_the_way.wanted, map);
            }
        }
    }

    /// A batch with owners; a row that belongs to several tenants comes once for each.
    fn batch(&self, groups: Vec<Group>, mut arrays: Vec<ArrayRef>) -> Result<RecordBatch> {
        let known = &self.maps.groups;
        let mut owners = groups;
        if self.belongs != Belongs::ToOne && owners.iter().any(|group| known.is_several(*group)) {
            let members: Vec<_> = owners.iter().map(|group| known.members(*group)).collect();
            let rows = members.iter().zip(0_u32..);
            let places: Vec<u32> = rows.flat_map(|(members, row)| vec![row; members.len()]).collect();
            let places = UInt32Array::from(places);
            for array in &mut arrays {
                *array = take(array, &places, None).map_err(|error| self.broken().because(error))?;
            }
            owners = members.concat();
        }
        let mut tenants = StringBuilder::with_capacity(owners.len(), owners.len() * 8);
        owners
            .iter()
            .for_each(|owner| tenants.append_option(known.only(*owner).map(|tenant| tenant.as_str())));
        let schema = self.table.arrow_schema();
        let fields: Vec<usize> =
            std::iter::once(0).chain(self.wanted.iter().map(|place| place + 1)).collect();
        let schema = schema.project(&fields).map_err(|error| self.broken().because(error))?;
        arrays.insert(0, Arc::new(tenants.finish()));
        let batch = RecordBatch::try_new(Arc::new(schema), arrays);
        let batch = batch.map_err(|error| self.broken().because(error))?;
        if self.whole { self.hashed(batch) } else { Ok(batch) }
    }

    fn hashed(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let tuples = wire::encode(&self.table, &batch).map_err(|error| self.broken().because(error))?;
        let mut hashes = FixedSizeBinaryBuilder::with_capacity(tuples.len(), 16);
        for tuple in tuples.iter() {
            hashes
                .append_value(row_hash(tuple).to_le_bytes())
                .map_err(|error| self.broken().because(error))?;
        }
        let mut arrays = batch.columns().to_vec();
        arrays.push(Arc::new(hashes.finish()));
        let batch = RecordBatch::try_new(self.table.arrow_schema_hashed(), arrays);
        batch.map_err(|error| self.broken().because(error))
    }

    fn broken(&self) -> Error {
        Error::bug(format!("rows of table '{}' do not fit together", self.table.name))
    }
}

/// The maps that the rows of a table can yield on the way.
pub fn yields(table: &Table, wanted: &[Wanted], maps: &Maps) -> Result<Vec<Yield>> {
    let mut yields = Vec::new();
    for wanted in wanted.iter().filter(|wanted| !maps.has(wanted)) {
        let mut key = Vec::with_capacity(wanted.columns.len());
        for name in &wanted.columns {
            let column = ways::column(table, name)?;
            let place = table.stored_columns().position(|stored| stored.name == *name).unwrap_or_default();
            key.push((place, column.clone()));
        }
        let map = Mutex::new(Some(maps.empty(&table.name)));
        yields.push(Yield { wanted: wanted.clone(), key, map });
    }
    Ok(yields)
}
