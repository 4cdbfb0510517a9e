//! A snapshot as a source. A tenant's rows are found by the index, and only the pages that hold them are
//! read.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::{BatchStream, Description, Scan, Source};
use crate::bridge;
use crate::error::{Error, Result};
use crate::extract::prune;
use crate::limits::{FILE_METADATA_MAX, QUEUE_BATCHES_MAX};
use crate::model::{TENANT_COLUMN, TableName};
use crate::snapshot::{DataFile, FileEntry, IndexEntry, Snapshot, TableEntry};

/// Reads rows of a snapshot. Its batches have [`crate::model::Table::arrow_schema`], and those of a tenant
/// are contiguous.
pub struct SnapshotSource {
    snapshot: Snapshot,
    description: Description,
    files: Arc<OpenFiles>,
}

impl SnapshotSource {
    /// A source of this snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        let manifest = snapshot.manifest();
        let description = Description {
            taken_at: manifest.taken_at,
            identity: manifest.identity.clone(),
            server_version: manifest.server_version.clone(),
            position: manifest.position.clone(),
            tables: manifest.tables.iter().map(|entry| entry.table.clone()).collect(),
        };
        Self { snapshot, description, files: Arc::default() }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The files to be read, and the rows of each; `None` for all rows.
    fn reads(&self, entry: &TableEntry, scan: &Scan) -> Vec<Read> {
        let Some(tenants) = &scan.tenants else {
            let whole = |file: &FileEntry| (file.clone(), std::iter::once(0..file.rows).collect());
            return entry.files.iter().map(whole).collect();
        };
        let index = self.snapshot.index();
        let entries = tenants.iter().flat_map(|tenant| index.of(tenant, &entry.table.name));
        of_entries(entry, entries)
    }

    fn read(&self, entry: &TableEntry, reads: Vec<Read>, scan: &Scan) -> Result<BatchStream> {
        let schema = entry.table.arrow_schema();
        let columns = positions(&entry.table.name, &schema, scan)?;
        let (snapshot, files) = (self.snapshot.clone(), Arc::clone(&self.files));
        Ok(bridge::pipe(QUEUE_BATCHES_MAX, move |sender| async move {
            for (file, ranges) in reads {
                let data = files.open(&snapshot, &file, &schema).await?;
                let pruned = prune::prune(&ranges, &data.row_groups());
                let mut rows = data.rows(pruned.row_groups.clone(), pruned.selection(), &columns)?;
                while let Some(batch) = rows.next().await? {
                    if sender.send(batch).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        }))
    }
}

/// A file and its rows to be read.
type Read = (FileEntry, Vec<Range<u64>>);

/// What some entries of the index say is to be read of a table.
fn of_entries<'a>(table: &TableEntry, entries: impl IntoIterator<Item = &'a IndexEntry>) -> Vec<Read> {
    let mut ranges = prune::ranges_by_file(entries);
    let files = table.files.iter();
    files.filter_map(|file| Some((file.clone(), ranges.remove(file.path.as_str())?))).collect()
}

/// Positions of the wanted columns in the table's schema: the tenant's always, the others in the table's
/// order.
fn positions(table: &TableName, schema: &SchemaRef, scan: &Scan) -> Result<Vec<usize>> {
    let Some(wanted) = &scan.columns else { return Ok((0..schema.fields().len()).collect()) };
    if let Some(unknown) = wanted.iter().find(|name| schema.index_of(name).is_err()) {
        return Err(Error::bug(format!("table '{table}' of the snapshot has no column '{unknown}'")));
    }
    let is_wanted = |name: &String| name == TENANT_COLUMN || wanted.contains(name);
    let named = schema.fields().iter().enumerate().filter(|(_, field)| is_wanted(field.name()));
    Ok(named.map(|(at, _)| at).collect())
}

#[async_trait]
impl Source for SnapshotSource {
    fn describe(&self) -> &Description {
        &self.description
    }

    async fn scan(&self, table: &TableName, scan: &Scan) -> Result<BatchStream> {
        let entry = self.snapshot.table(table)?;
        self.read(entry, self.reads(entry, scan), scan)
    }

    async fn scan_unowned(&self, table: &TableName) -> Result<BatchStream> {
        let entry = self.snapshot.table(table)?;
        let reads = of_entries(entry, self.snapshot.index().unowned_of(table));
        self.read(entry, reads, &Scan::default())
    }
}

/// Files whose metadata was read lately: tenants that stand next to each other share them.
#[derive(Default)]
struct OpenFiles {
    /// Oldest first. Locked for a look-up only, never across an await.
    known: Mutex<VecDeque<(String, DataFile)>>,
}

impl OpenFiles {
    async fn open(&self, snapshot: &Snapshot, file: &FileEntry, schema: &SchemaRef) -> Result<DataFile> {
        let poisoned = |_| Error::bug("a look-up of a data file panicked");
        if let Some((_, data)) =
            self.known.lock().map_err(poisoned)?.iter().find(|(path, _)| *path == file.path)
        {
            return Ok(data.clone());
        }
        let (store, folder) = snapshot.place();
        let data = DataFile::open(store, folder, &snapshot.manifest().id, file, schema).await?;
        let mut known = self.known.lock().map_err(|_| Error::bug("a look-up of a data file panicked"))?;
        if known.len() == FILE_METADATA_MAX {
            known.pop_front();
        }
        known.push_back((file.path.clone(), data.clone()));
        Ok(data)
    }
}
