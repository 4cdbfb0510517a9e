//! A snapshot as a source. A tenant's rows are found by the index, and only the pages that hold them are
//! read.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use tokio::sync::OnceCell;

use super::{BatchStream, Description, Scan, Source};
use crate::bridge;
use crate::error::{Error, Result};
use crate::extract::prune;
use crate::limits::{COMPUTED_AT_ONCE_BYTES_MAX, FILES_KEPT_BYTES_MAX, QUEUE_BATCHES_MAX};
use crate::model::{TENANT_COLUMN, TableName};
use crate::snapshot::{DataFile, FileEntry, IndexEntry, Rows, Snapshot, TableEntry};

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

    /// Whether a task of its own that reads ahead would cost more than reading.
    fn is_small(&self, entry: &TableEntry, scan: &Scan) -> bool {
        let index = self.snapshot.index();
        let of = |tenant| index.of(tenant, &entry.table.name).iter().map(|entry| entry.bytes).sum::<u64>();
        let tenants = scan.tenants.as_ref();
        tenants
            .is_some_and(|tenants| tenants.iter().map(of).sum::<u64>() <= COMPUTED_AT_ONCE_BYTES_MAX as u64)
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
        let is_small = self.is_small(entry, scan);
        let mut reading = Reading {
            snapshot: self.snapshot.clone(),
            files: Arc::clone(&self.files),
            schema,
            columns,
            reads: reads.into(),
            rows: None,
        };
        if is_small {
            let next =
                |mut reading: Reading| async { Ok(reading.next().await?.map(|batch| (batch, reading))) };
            return Ok(stream::try_unfold(reading, next).boxed());
        }
        Ok(bridge::pipe(QUEUE_BATCHES_MAX, move |sender| async move {
            while let Some(batch) = reading.next().await? {
                if sender.send(batch).await.is_err() {
                    break;
                }
                sender.has_room().await;
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

    fn has_disputed(&self, table: &TableName) -> bool {
        self.snapshot.manifest().table(table).is_some_and(|entry| entry.rows_disputed > 0)
    }

    async fn scan_unowned(&self, table: &TableName) -> Result<BatchStream> {
        let entry = self.snapshot.table(table)?;
        let reads = of_entries(entry, self.snapshot.index().unowned_of(table));
        self.read(entry, reads, &Scan::default())
    }
}

/// A scan under way.
struct Reading {
    snapshot: Snapshot,
    files: Arc<OpenFiles>,
    schema: SchemaRef,
    columns: Vec<usize>,
    /// The files that are still to be read, and the rows of each.
    reads: VecDeque<Read>,
    /// The file that is being read.
    rows: Option<Rows>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(rows) = &mut self.rows
                && let Some(batch) = rows.next().await?
            {
                return Ok(Some(batch));
            }
            let Some((file, ranges)) = self.reads.pop_front() else { return Ok(None) };
            let data = self.files.open(&self.snapshot, &file, &self.schema).await?;
            let pruned = prune::prune(&ranges, &data.row_groups());
            self.rows = Some(data.rows(pruned.row_groups.clone(), pruned.selection(), &self.columns)?);
        }
    }
}

/// Files whose metadata was read lately: each is read once, however many tenants are read side by side.
#[derive(Default)]
struct OpenFiles {
    /// Oldest first. Locked for a look-up only, never across an await.
    known: Mutex<VecDeque<Known>>,
}

struct Known {
    path: String,
    /// Empty while it is being opened.
    file: Arc<OnceCell<DataFile>>,
}

impl Known {
    fn memory_bytes(&self) -> usize {
        self.file.get().map_or(0, DataFile::memory_bytes)
    }
}

impl OpenFiles {
    async fn open(&self, snapshot: &Snapshot, file: &FileEntry, schema: &SchemaRef) -> Result<DataFile> {
        let (store, folder) = snapshot.place();
        let opened = self.slot(file)?;
        let open = || DataFile::open(store, folder, &snapshot.manifest().id, file, schema);
        opened.get_or_try_init(open).await.cloned()
    }

    /// Where the file is, or is to be put. Lets the oldest go where they take too much memory.
    fn slot(&self, file: &FileEntry) -> Result<Arc<OnceCell<DataFile>>> {
        let mut known = self.known.lock().map_err(|_| Error::bug("a look-up of a data file panicked"))?;
        if let Some(found) = known.iter().find(|known| known.path == file.path) {
            return Ok(Arc::clone(&found.file));
        }
        let mut bytes: usize = known.iter().map(Known::memory_bytes).sum();
        while bytes > FILES_KEPT_BYTES_MAX
            && let Some(oldest) = known.pop_front()
        {
            bytes = bytes.saturating_sub(oldest.memory_bytes());
        }
        let opened = Arc::default();
        known.push_back(Known { path: file.path.clone(), file: Arc::clone(&opened) });
        Ok(opened)
    }
}
