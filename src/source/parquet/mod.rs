//! A folder of Parquet files as a source: an export by whatever tool, in whatever order its rows are.
//!
//! ```text
//! files     which file holds which table; footers          convert   a file's values as the table's
//! ways      the ways to the owners as a tree                maps      keys ─► tenants, one pass a table
//! groups    sets of tenants as numbers                      climb     trees
//! prune     row groups without a wanted value
//! rows      columns of a row group                          scan      owners first, the rest of the rows that are kept
//! ```
//!
//! The source is made for a list of tenants and knows no other one: it returns their rows, and those of shared tables
//! and of nobody as far as they are told without looking at all tenants' keys. Keys are in memory, within a bound.

mod climb;
mod convert;
mod files;
mod groups;
mod keys;
mod maps;
mod prune;
mod rows;
mod scan;
mod ways;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::ArrayRef;
use async_trait::async_trait;
use jiff::Timestamp;

use self::files::TableFiles;
use self::groups::Groups;
use self::maps::{Maps, Of, Wanted};
use self::rows::RowGroups;
use self::scan::Shape;
use self::ways::Ways;
use super::{BatchStream, Description, Scan, Source};
use crate::database::feed::feed;
use crate::database::postgres::owner::require_unique_hops;
use crate::error::{Error, Result};
use crate::limits::DISPUTED_NAMED_MAX;
use crate::model::{
    Belongs, Column, DatabaseIdentity, Disputed, Doubts, Owners, Rule, Table, TableName, Tenancy, TenantId,
};

/// What an export does not tell about itself.
pub struct Origin {
    /// The restore point.
    pub taken_at: Timestamp,
    /// The database that was exported.
    pub identity: DatabaseIdentity,
    /// Its server, as the live shard says.
    pub server_version: String,
    /// The live shard's tables: an export has no keys and few types.
    pub tables: Vec<Table>,
    /// Whether values have types and columns have none (SQLite).
    pub observed: bool,
}

/// Rows of some tenants in Parquet files.
pub struct ParquetSource {
    description: Description,
    tables: BTreeMap<TableName, Owned>,
    maps: Arc<Maps>,
    ignored: Vec<String>,
}

/// Whose the rows of a table are.
struct Owned {
    owners: Option<(Owners, Ways)>,
    /// What tables below it need to know of its keys, for the wanted tenants.
    asked: Vec<Wanted>,
}

impl Owned {
    fn of(&self) -> Of {
        let may_disagree = self.owners.as_ref().is_some_and(|(owners, _)| owners.may_disagree());
        if may_disagree { Of::All } else { Of::Wanted }
    }
}

impl ParquetSource {
    /// Finds the files below a folder and looks at all footers. `keys_bytes_max` bounds the keys in memory.
    pub fn open(
        folder: &Path,
        origin: Origin,
        tenancy: &Tenancy,
        tenants: &[TenantId],
        keys_bytes_max: usize,
    ) -> Result<Self> {
        let kept = |table: &&Table| {
            tenancy.rules.get(&table.name).is_some_and(|rule| !matches!(rule, Rule::Excluded { .. }))
        };
        let needed: Vec<&Table> = origin.tables.iter().filter(kept).collect();
        let (mut found, ignored) = files::find(folder, &origin.tables, &needed)?;
        let mut tables = Vec::with_capacity(origin.tables.len());
        for table in &origin.tables {
            tables.push(match found.get(&table.name) {
                Some(files) => files::fit(table, files, origin.observed)?,
                None => table.clone(),
            });
        }
        let (tables, owned) = owners_of(tables, tenancy)?;
        let with_files = tables.iter().filter_map(|table| {
            let files: TableFiles = found.remove(&table.name)?;
            Some((table.name.clone(), (Arc::new(table.clone()), files)))
        });
        let maps = Maps::new(with_files.collect(), Arc::new(Groups::new(tenants)), keys_bytes_max);
        let description = Description {
            taken_at: origin.taken_at,
            identity: origin.identity,
            server_version: origin.server_version,
            position: None,
            tables,
        };
        let source = Self { description, tables: owned, maps: Arc::new(maps), ignored };
        source.check()?;
        Ok(source)
    }

    /// What else is in the folder.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Whether every way can be followed, before any row is read; and which maps will be asked for.
    fn check(&self) -> Result<()> {
        for (name, owned) in &self.tables {
            if let Some((_, ways)) = &owned.owners {
                let (table, _) = self.maps.table(name)?;
                self.maps.check(table, ways)?;
            }
        }
        Ok(())
    }

    fn owned(&self, table: &TableName) -> Result<&Owned> {
        self.tables.get(table).ok_or_else(|| {
            Error::usage(format!("unable to read table '{table}': the export has no such table"))
        })
    }
}

/// The tables in an order in which those that others hang from come first, and whose their rows are.
fn owners_of(tables: Vec<Table>, tenancy: &Tenancy) -> Result<(Vec<Table>, BTreeMap<TableName, Owned>)> {
    let mut owned = BTreeMap::new();
    for (name, owners) in tenancy.owners_of_all(&tables) {
        if matches!(tenancy.rules.get(name), None | Some(Rule::Excluded { .. })) {
            continue;
        }
        let owners = owners.map_err(|error| {
            Error::undecided(format!("unable to decide who owns the rows of '{name}'"))
                .because(error)
                .hint("correct the table's rule in reinstate.toml, or export the table with all its columns")
        })?;
        if let Some(owners) = &owners {
            require_unique_hops(name, owners, &tables)?;
        }
        let owners = owners.map(|owners| {
            let ways = Ways::new(&owners.ways);
            (owners, ways)
        });
        owned.insert(name.clone(), Owned { owners, asked: Vec::new() });
    }
    let depth = |table: &Table| {
        let owners = owned.get(&table.name).and_then(|owned: &Owned| owned.owners.as_ref());
        owners.map_or(0, |(owners, _)| owners.ways.iter().map(|way| way.steps.len()).max().unwrap_or(0))
    };
    let mut ordered = tables.clone();
    ordered.sort_by_key(depth);
    let mut asked: BTreeMap<TableName, Vec<Wanted>> = BTreeMap::new();
    for table in &ordered {
        let Some(child) = owned.get(&table.name) else { continue };
        let Some((_, ways)) = &child.owners else { continue };
        for hop in &ways.hops {
            let parent = ordered.iter().find(|parent| parent.name == hop.step.parent);
            let own = owned.get(&hop.step.parent).and_then(|owned| owned.owners.as_ref());
            let is_same = own.is_some_and(|(_, own)| *own == hop.beyond);
            if let (Some(parent), true, Of::Wanted) = (parent, is_same && !hop.step.climb, child.of()) {
                let wanted = Wanted::new(table, parent, hop, Of::Wanted)?;
                let asked = asked.entry(parent.name.clone()).or_default();
                if !asked.contains(&wanted) {
                    asked.push(wanted);
                }
            }
        }
    }
    for (name, wanted) in asked {
        // A table that is read for disputes tells more than the wanted tenants.
        if let Some(parent) = owned.get_mut(&name).filter(|parent| parent.of() == Of::Wanted) {
            parent.asked = wanted;
        }
    }
    Ok((ordered, owned))
}

#[async_trait]
impl Source for ParquetSource {
    fn describe(&self) -> &Description {
        &self.description
    }

    /// Rows that several tenants claim. Ties are not looked for: they are a question to all tenants.
    async fn doubts(&self, _ties: bool) -> Result<Doubts> {
        let mut doubts = Doubts::default();
        for table in &self.description.tables {
            let Some(owned) = self.tables.get(&table.name).filter(|owned| owned.of() == Of::All) else {
                continue;
            };
            let Some((_, ways)) = &owned.owners else { continue };
            let key: Vec<Column> =
                table.primary_key.iter().filter_map(|name| table.column(name)).cloned().collect();
            let groups = Arc::clone(&self.maps.groups);
            let disputed = move |key: &[(&Column, &ArrayRef)], found: Vec<groups::Group>| {
                let rows = found.iter().enumerate().filter(|(_, group)| groups.is_several(**group));
                let rows: Vec<usize> = rows.map(|(row, _)| row).collect();
                let named = rows.iter().take(DISPUTED_NAMED_MAX).map(|row| named(key, *row));
                (rows.len() as u64, named.collect::<Vec<_>>())
            };
            let parts = self.maps.owners_of(&table.name, ways, key, disputed).await?;
            let rows: u64 = parts.iter().map(|(rows, _)| rows).sum();
            if rows > 0 {
                let mut named: Vec<String> = parts.into_iter().flat_map(|(_, named)| named).collect();
                named.sort_unstable();
                named.truncate(DISPUTED_NAMED_MAX);
                doubts.disputed.push(Disputed { table: table.name.clone(), rows, named });
            }
        }
        Ok(doubts)
    }

    async fn scan(&self, name: &TableName, scan: &Scan) -> Result<BatchStream> {
        let (table, files) = self.maps.table(name)?;
        let owned = self.owned(name)?;
        let wanted = places(table, scan)?;
        let whole = scan.columns.is_none();
        let (lookup, belongs, exact) = match &owned.owners {
            None => (None, Belongs::ToOne, true),
            Some((owners, ways)) => {
                // A tenant column says of each row whose it is; a hop only whether it leads to a wanted tenant.
                let of = if ways.hops.is_empty() { Of::All } else { owned.of() };
                let lookup = self.maps.lookup(table, ways, of).await?;
                let exact = owners.belongs == Belongs::ToOne && of == Of::All;
                (Some(lookup), owners.belongs, exact)
            }
        };
        let is_all = wanted.len() == table.stored_columns().count();
        let asked = if is_all { owned.asked.as_slice() } else { &[] };
        let yields = scan::yields(table, asked, &self.maps)?;
        let maps = Arc::clone(&self.maps);
        let shape = Shape { table: Arc::clone(table), wanted, whole, lookup, belongs, exact, maps, yields };
        Ok(feed(scan::workers(shape, RowGroups::new(table, files))))
    }
}

/// Places of the wanted columns among the stored ones.
fn places(table: &Table, scan: &Scan) -> Result<Vec<usize>> {
    let stored = || table.stored_columns().enumerate();
    let Some(columns) = &scan.columns else { return Ok(stored().map(|(place, _)| place).collect()) };
    if let Some(unknown) = columns.iter().find(|name| !stored().any(|(_, column)| column.name == **name)) {
        let message = format!("unable to scan '{}': it has no stored column '{unknown}'", table.name);
        return Err(Error::bug(message));
    }
    Ok(stored().filter(|(_, column)| columns.contains(&column.name)).map(|(place, _)| place).collect())
}

/// A row by its key.
fn named(key: &[(&Column, &ArrayRef)], row: usize) -> String {
    let value = |(column, array): &(&Column, &ArrayRef)| {
        let shown = arrow::util::display::array_value_to_string(array, row);
        format!("{}={}", column.name, shown.unwrap_or_else(|_| "?".to_owned()))
    };
    key.iter().map(value).collect::<Vec<_>>().join(" ")
}
