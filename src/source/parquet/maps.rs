//! The maps from keys to tenants that hops need: each is made by one pass over a table's key columns, or on the side
//! while the table's own rows are read.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::ArrayRef;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::climb::Climb;
use super::files::TableFiles;
use super::groups::{Group, Groups, NOBODY, OTHERS};
use super::keys::{Budget, Form, KeyMap, Keys};
use super::rows::{Reading, RowGroup, RowGroups};
use super::ways::{self, Hop, Lookup, Ways};
use crate::bridge::compute;
use crate::error::{Error, Result};
use crate::limits::KEY_ROWS_MAX;
use crate::model::{Column, Table, TableName};

/// Which tenants a map tells of: the wanted ones alone, or all, so that a dispute with another one shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Wanted,
    All,
}

impl Of {
    /// What tenants count as that are not wanted.
    pub fn others(self) -> Group {
        if self == Self::Wanted { NOBODY } else { OTHERS }
    }
}

/// Tables and their files, and what their keys lead to.
pub struct Maps {
    tables: BTreeMap<TableName, (Arc<Table>, TableFiles)>,
    pub groups: Arc<Groups>,
    budget: Arc<Budget>,
    made: Mutex<HashMap<String, Arc<KeyMap>>>,
}

/// What is to be known of a table's keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub columns: Vec<String>,
    pub forms: Vec<Form>,
    name: String,
}

impl Wanted {
    /// What a hop from `child` needs to know of the table that it leads to.
    pub fn new(child: &Table, parent: &Table, hop: &Hop, of: Of) -> Result<Self> {
        let forms = hop.forms(child, parent)?;
        let columns = hop.step.parent_columns.clone();
        let climb = hop.step.climb.then_some(&hop.step);
        let what = serde_json::json!([parent.name, columns, hop.beyond, climb]);
        Ok(Self { name: format!("{what} {forms:?} {of:?}"), columns, forms })
    }
}

impl Maps {
    pub fn new(
        tables: BTreeMap<TableName, (Arc<Table>, TableFiles)>,
        groups: Arc<Groups>,
        keys_bytes_max: usize,
    ) -> Self {
        Self { tables, groups, budget: Arc::new(Budget::new(keys_bytes_max)), made: Mutex::default() }
    }

    /// A table of the export.
    pub fn table(&self, name: &TableName) -> Result<(&Arc<Table>, &TableFiles)> {
        let found = self.tables.get(name).map(|(table, files)| (table, files));
        found.ok_or_else(|| {
            Error::usage(format!("unable to read table '{name}': the export has no such table"))
        })
    }

    /// Whether the ways of a table can be followed at all.
    pub fn check(&self, table: &Table, ways: &Ways) -> Result<()> {
        let mut nowhere = Vec::with_capacity(ways.hops.len());
        for hop in &ways.hops {
            let (parent, _) = self.table(&hop.step.parent)?;
            self.check(parent, &hop.beyond)?;
            nowhere.push((hop.forms(table, parent)?, Arc::new(self.empty(&parent.name))));
        }
        Lookup::new(table, ways, nowhere, &self.groups, NOBODY).map(drop)
    }

    pub fn empty(&self, table: &TableName) -> KeyMap {
        KeyMap::new(table, &self.budget)
    }

    pub fn has(&self, wanted: &Wanted) -> bool {
        self.made().contains_key(&wanted.name)
    }

    pub fn keep(&self, wanted: &Wanted, map: KeyMap) {
        self.made().insert(wanted.name.clone(), Arc::new(map));
    }

    fn made(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<KeyMap>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tells the tenants of a table's rows; makes the maps that are missing.
    pub fn lookup<'a>(&'a self, table: &'a Table, ways: &'a Ways, of: Of) -> BoxFuture<'a, Result<Lookup>> {
        Box::pin(async move {
            let mut maps = Vec::with_capacity(ways.hops.len());
            for hop in &ways.hops {
                let (parent, _) = self.table(&hop.step.parent)?;
                let wanted = Wanted::new(table, parent, hop, of)?;
                let known = self.made().get(&wanted.name).cloned();
                let map = match known {
                    Some(map) => map,
                    None => {
                        let map = if hop.step.climb {
                            self.climbed(&wanted, hop, of).await?
                        } else {
                            self.read(&wanted, hop, of).await?
                        };
                        let map = Arc::new(map);
                        self.made().insert(wanted.name, Arc::clone(&map));
                        map
                    }
                };
                maps.push((wanted.forms, map));
            }
            Lookup::new(table, ways, maps, &self.groups, of.others())
        })
    }

    /// One pass over the keys of the table that a hop leads to.
    async fn read(&self, wanted: &Wanted, hop: &Hop, of: Of) -> Result<KeyMap> {
        let (table, _) = self.table(&hop.step.parent)?;
        let lookup = Arc::new(self.lookup(table, &hop.beyond, of).await?);
        let mut map = self.empty(&table.name);
        let (forms, key) = (wanted.forms.clone(), columns(table, &wanted.columns)?);
        let groups = Arc::clone(&self.groups);
        let (tenants, may_hold) = (lookup.tenants.clone(), {
            let lookup = Arc::clone(&lookup);
            move |group: &RowGroup| of == Of::All || lookup.may_hold(group, false)
        });
        let of_rows = move |key: &[(&Column, &ArrayRef)], looked_at: &[ArrayRef]| {
            Some((Keys::new(&forms, key)?, lookup.groups(looked_at, &groups)?))
        };
        let looked_at: Vec<&String> = hop.beyond.columns();
        let mut parts = self.pass(&table.name, key, &looked_at, &tenants, may_hold, of_rows)?;
        while let Some(part) = parts.try_next().await? {
            for (keys, groups) in part {
                map.add(&keys, &groups, &self.groups)?;
            }
        }
        Ok(map)
    }

    /// The same for a table whose rows have the tenants of all rows above them.
    async fn climbed(&self, wanted: &Wanted, hop: &Hop, of: Of) -> Result<KeyMap> {
        let (table, _) = self.table(&hop.step.parent)?;
        let lookup = Arc::new(self.lookup(table, &hop.beyond, of).await?);
        let tenants = lookup.tenants.clone();
        let (forms, step) = (wanted.forms.clone(), hop.step.clone());
        let key = columns(table, &wanted.columns)?;
        let up = columns(table, &step.columns)?;
        let kind = step.when.as_ref().map(|when| ways::column(table, &when.column).cloned()).transpose()?;
        let mut looked_at: Vec<&String> = hop.beyond.columns();
        let own = looked_at.len();
        looked_at.extend(&step.columns);
        looked_at.extend(step.when.iter().map(|when| &when.column));
        let groups = Arc::clone(&self.groups);
        let of_rows = {
            let step = step.clone();
            move |key: &[(&Column, &ArrayRef)], looked_at: &[ArrayRef]| {
                let (beyond, mine) = looked_at.split_at(own);
                let above: Vec<_> = up.iter().zip(mine).collect();
                let holds = match (&step.when, &kind) {
                    (Some(when), Some(kind)) => Some(ways::says(kind, &mine[up.len()], &when.equals)?),
                    _ => None,
                };
                let groups = lookup.groups(beyond, &groups)?;
                Some((Keys::new(&forms, key)?, Keys::new(&forms, &above)?, holds, groups))
            }
        };
        let mut climb = Climb::default();
        let mut parts = self.pass(&table.name, key, &looked_at, &tenants, |_| true, of_rows)?;
        while let Some(part) = parts.try_next().await? {
            for (keys, above, holds, groups) in part {
                let bytes = climb.add(&keys, &above, holds.as_deref(), &groups, &self.groups);
                self.budget.take(bytes, &table.name)?;
            }
        }
        drop(parts);
        let mut map = self.empty(&table.name);
        climb.finish(&self.groups, |keys, groups| map.add(keys, groups, &self.groups))?;
        Ok(map)
    }

    /// Reads some columns of all rows of a table, row group by row group, side by side. What `of_rows` makes of the
    /// batches of a row group comes together. `tenants` are the places of columns that are looked at once a value.
    fn pass<T: Send + 'static>(
        &self,
        name: &TableName,
        key: Vec<Column>,
        looked_at: &[&String],
        tenants: &[usize],
        may_hold: impl Fn(&RowGroup) -> bool + Send + Sync + 'static,
        of_rows: impl Fn(&[(&Column, &ArrayRef)], &[ArrayRef]) -> Option<T> + Send + Sync + 'static,
    ) -> Result<BoxStream<'static, Result<Vec<T>>>> {
        let (table, files) = self.table(name)?;
        let table = Arc::clone(table);
        let place = |name: &String| {
            table.stored_columns().position(|column| column.name == *name).ok_or_else(|| {
                Error::bug(format!("table '{}' of the export has no column '{name}'", table.name))
            })
        };
        let wanted: Vec<usize> = key
            .iter()
            .map(|column| &column.name)
            .chain(looked_at.iter().copied())
            .map(place)
            .collect::<Result<_>>()?;
        let mut distinct = wanted.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let is_once = |place: &&usize| wanted.iter().filter(|other| other == place).count() == 1;
        let dictionaries: Vec<usize> = tenants.iter().filter(is_once).copied().collect();
        let places: Vec<usize> =
            wanted.iter().filter_map(|column| distinct.binary_search(column).ok()).collect();
        let job = Arc::new(move |table: &Arc<Table>, group: RowGroup| -> Result<Vec<T>> {
            let mut found = Vec::new();
            if !may_hold(&group) {
                return Ok(found);
            }
            let (columns, dictionaries) = (distinct.clone(), dictionaries.clone());
            let reading = Reading { columns, dictionaries, selection: None, rows_max: KEY_ROWS_MAX };
            for arrays in group.read(table, reading)? {
                let arrays = arrays?;
                let arrays: Vec<ArrayRef> = places.iter().map(|at| Arc::clone(&arrays[*at])).collect();
                let (keys, looked_at) = arrays.split_at(key.len());
                let keys: Vec<_> = key.iter().zip(keys).collect();
                found.push(of_rows(&keys, looked_at).ok_or_else(|| odd(table))?);
            }
            Ok(found)
        });
        let groups = RowGroups::new(&table, files);
        let jobs = stream::iter(groups).map(move |group| {
            let (table, job) = (Arc::clone(&table), Arc::clone(&job));
            async move {
                let group = group?;
                compute(move || job(&table, group)).await?
            }
        });
        Ok(jobs.buffer_unordered(rayon::current_num_threads()).boxed())
    }

    /// Reads the columns that tell the tenants of a table's rows, and hands each batch over with what they lead to.
    pub async fn owners_of<T: Send + 'static>(
        &self,
        name: &TableName,
        ways: &Ways,
        named: Vec<Column>,
        of_rows: impl Fn(&[(&Column, &ArrayRef)], Vec<Group>) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        let (table, _) = self.table(name)?;
        let lookup = Arc::new(self.lookup(table, ways, Of::All).await?);
        let tenants = lookup.tenants.clone();
        let groups = Arc::clone(&self.groups);
        let of_rows = move |named: &[(&Column, &ArrayRef)], looked_at: &[ArrayRef]| {
            Some(of_rows(named, lookup.groups(looked_at, &groups)?))
        };
        let parts = self.pass(name, named, &ways.columns(), &tenants, |_| true, of_rows)?;
        Ok(parts.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }
}

fn columns(table: &Table, names: &[String]) -> Result<Vec<Column>> {
    names.iter().map(|name| ways::column(table, name).cloned()).collect()
}

/// A value in binary form that is none.
pub fn odd(table: &Table) -> Error {
    Error::bug(format!("a column of table '{}' that leads to its owners cannot be read", table.name))
}
