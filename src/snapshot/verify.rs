//! `snapshot verify`: reads everything again and says what is rotten, by tenant.
//!
//! Of each file: its size, its BLAKE3, whether it decodes, whether its rows belong to whom the index says,
//! and whether their fingerprints, taken from the rows as they decode now, are those that were taken when the
//! snapshot was made. A file that does not decode as a whole is tried again range by range, to tell the
//! tenants that are lost from those that are not.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;

use super::index::{IndexEntry, TenantIndex, tenants_of};
use super::manifest::{FileEntry, TableEntry};
use super::store::Store;
use super::{layout, open, reader};
use serde::Serialize;

use crate::bridge;
use crate::error::{Error, Kind, Result};
use crate::model::{Fingerprint, ShardName, SnapshotId, TENANT_COLUMN, Table, TenantId, row_hash, wire};
use crate::progress::Progress;

/// Files read at a time: one is decoded while the next is fetched.
const FILES_AT_A_TIME: usize = 2;

/// What a verification read, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The shard.
    pub shard: ShardName,
    /// The snapshot.
    pub id: SnapshotId,
    /// Files read, the manifest included.
    pub files: u64,
    /// Bytes of them, the manifest left out.
    pub bytes: u64,
    /// Rows whose content is what was written.
    pub rows: u64,
    /// Tenants of the snapshot.
    pub tenants: u64,
    /// What is wrong; empty is good.
    pub problems: Vec<Problem>,
}

/// Something rotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
    /// Tenants whose rows in it are damaged or gone.
    pub tenants: Vec<TenantId>,
}

/// Reads a snapshot again. An unreadable manifest is an error: without it nothing can be said about the rest.
pub async fn verify(
    store: &Store,
    shard: &ShardName,
    id: &SnapshotId,
    progress: &dyn Progress,
) -> Result<VerifyReport> {
    let (manifest, _) = open::read_manifest(store, shard, id).await?.ok_or_else(|| {
        Error::refused(format!("unable to verify snapshot '{id}' of shard '{shard}': it has no manifest"))
            .hint("`reinstate snapshot list` shows the complete ones")
    })?;
    let folder = layout::snapshot_folder(shard, id);
    let mut report = VerifyReport {
        shard: shard.clone(),
        id: id.clone(),
        files: manifest.files().count() as u64 + 1,
        bytes: manifest.bytes(),
        rows: 0,
        tenants: manifest.tenants,
        problems: Vec::new(),
    };
    let index = match open::read_index(store, &folder, &manifest).await {
        Ok(index) => Some(index),
        Err(error) if error.kind() == Kind::Bug => return Err(error),
        Err(error) => {
            let file = manifest.index.path.clone();
            report.problems.push(Problem { file, what: error.chain(), tenants: Vec::new() });
            None
        }
    };
    let mut entries = by_file(index.as_ref());
    for table in &manifest.tables {
        progress.begin(&table.table.name.to_string(), Some(table.rows()));
        let owner = Arc::new(table.table.clone());
        let checks = files_of(table, &mut entries).into_iter().map(|(file, entries)| {
            let owner = Arc::clone(&owner);
            check_file(store, &folder, owner, file, entries)
        });
        let mut checks = stream::iter(checks).buffered(FILES_AT_A_TIME);
        while let Some(checked) = checks.next().await {
            let checked = checked?;
            report.rows += checked.rows;
            report.problems.extend(checked.problem);
            progress.advance(checked.rows, checked.bytes);
        }
        progress.finish();
    }
    Ok(report)
}

/// The index entries of each file, in the order of their rows.
fn by_file(index: Option<&TenantIndex>) -> HashMap<String, Vec<IndexEntry>> {
    let mut files: HashMap<String, Vec<IndexEntry>> = HashMap::new();
    for entry in index.map_or(&[][..], TenantIndex::entries) {
        files.entry(entry.file.clone()).or_default().push(entry.clone());
    }
    files.values_mut().for_each(|entries| entries.sort_unstable_by_key(|entry| entry.first_row));
    files
}

fn files_of(
    table: &TableEntry,
    entries: &mut HashMap<String, Vec<IndexEntry>>,
) -> Vec<(FileEntry, Vec<IndexEntry>)> {
    let files = table.files.iter();
    files.map(|file| (file.clone(), entries.remove(&file.path).unwrap_or_default())).collect()
}

/// What became of one file.
struct Checked {
    /// Rows that are right, and their bytes in wire form.
    rows: u64,
    bytes: u64,
    problem: Option<Problem>,
}

async fn check_file(
    store: &Store,
    folder: &Path,
    table: Arc<Table>,
    file: FileEntry,
    entries: Vec<IndexEntry>,
) -> Result<Checked> {
    let lost = |what: String| {
        let tenants = tenants_of(entries.iter());
        let problem = Problem { file: file.path.clone(), what, tenants };
        Ok(Checked { rows: 0, bytes: 0, problem: Some(problem) })
    };
    let path = layout::file_of(folder, &file.path)?;
    match store.size(&path).await {
        Ok(Some(bytes)) if bytes == file.bytes => {}
        Ok(Some(bytes)) => return lost(format!("it holds {bytes} bytes, {} were written", file.bytes)),
        Ok(None) => return lost("it is missing".into()),
        Err(error) => return lost(error.chain()),
    }
    let bytes = match store.get(&path, file.bytes).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return lost("it is missing".into()),
        Err(error) => return lost(error.chain()),
    };
    bridge::compute(move || Check { table: &table, file: &file, entries: &entries, bytes }.run()).await
}

/// One file in memory, and what it is to hold.
struct Check<'a> {
    table: &'a Table,
    file: &'a FileEntry,
    /// In the order of their rows; empty if the index is unreadable.
    entries: &'a [IndexEntry],
    bytes: Bytes,
}

impl Check<'_> {
    fn run(&self) -> Checked {
        let is_changed = blake3::hash(&self.bytes).to_hex().as_str() != self.file.blake3;
        let (right, what) = match self.walk(0, self.file.rows, self.entries) {
            Ok(right) if right.len() < self.entries.len() => {
                (right, Some("its rows are not those that were written".to_owned()))
            }
            Ok(right) if is_changed => {
                (right, Some("it was changed after it was written, though its rows are right".to_owned()))
            }
            Ok(right) => (right, None),
            Err(error) => (self.walk_apart(), Some(format!("it cannot be read: {error}"))),
        };
        let is_wrong = |entry: &&IndexEntry| !right.iter().any(|right| std::ptr::eq(*right, *entry));
        let wrong: Vec<&IndexEntry> = match what {
            Some(_) => self.entries.iter().filter(is_wrong).collect(),
            None => Vec::new(),
        };
        let shared =
            if wrong.iter().any(|entry| entry.tenant.is_none()) { " (rows without tenant too)" } else { "" };
        let problem = what.map(|what| Problem {
            file: self.file.path.clone(),
            what: what + shared,
            tenants: tenants_of(wrong.into_iter()),
        });
        Checked {
            rows: right.iter().map(|entry| entry.rows).sum(),
            bytes: right.iter().map(|entry| entry.bytes).sum(),
            problem,
        }
    }

    /// The entries that can be read for themselves and are right.
    fn walk_apart(&self) -> Vec<&IndexEntry> {
        let right = |entry: &&IndexEntry| {
            let alone = std::slice::from_ref(*entry);
            self.walk(entry.first_row, entry.rows, alone).is_ok_and(|right| !right.is_empty())
        };
        self.entries.iter().filter(right).collect()
    }

    /// Reads a range of rows, which these entries cover. Returns the entries whose rows are what they should
    /// be.
    fn walk<'e>(
        &self,
        first: u64,
        rows: u64,
        entries: &'e [IndexEntry],
    ) -> Result<Vec<&'e IndexEntry>, ParquetError> {
        reader::guard(|| {
            let mut tally = Tally::new(self.table, entries);
            let mut read = 0;
            for batch in self.read(first, rows)? {
                let batch = batch?;
                read += batch.num_rows() as u64;
                tally.add(&batch)?;
            }
            if read != rows {
                return Err(ParquetError::General(format!("{read} rows instead of {rows}")));
            }
            Ok(tally.right)
        })
    }

    fn read(
        &self,
        first: u64,
        rows: u64,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, ParquetError>>, ParquetError> {
        let options =
            reader::options(&self.table.arrow_schema()).with_offset_index_policy(PageIndexPolicy::Required);
        let metadata = ArrowReaderMetadata::load(&self.bytes, options)?;
        let total = usize::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
        let outside = |_| ParquetError::General(format!("rows from {first} on are outside"));
        let start = usize::try_from(first).map_err(outside)?;
        let end = usize::try_from(first.saturating_add(rows)).map_err(outside)?;
        if end > total || (first == 0 && rows == self.file.rows && end != total) {
            return Err(ParquetError::General(format!("{total} rows instead of {}", self.file.rows)));
        }
        let groups: Vec<usize> = (0..metadata.metadata().num_row_groups()).collect();
        let batch_rows = reader::batch_rows(&metadata, &groups);
        let selection = RowSelection::from_consecutive_ranges(std::iter::once(start..end), total);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), metadata);
        let batches = builder.with_row_selection(selection).with_batch_size(batch_rows).build()?;
        Ok(batches.map(|batch| batch.map_err(ParquetError::from)))
    }
}

/// Fingerprints rows against the entries that announce them.
struct Tally<'a, 'e> {
    table: &'a Table,
    entries: &'e [IndexEntry],
    at: usize,
    found: Fingerprint,
    is_of_owner: bool,
    right: Vec<&'e IndexEntry>,
}

impl<'a, 'e> Tally<'a, 'e> {
    fn new(table: &'a Table, entries: &'e [IndexEntry]) -> Self {
        Self { table, entries, at: 0, found: Fingerprint::default(), is_of_owner: true, right: Vec::new() }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let tuples = wire::encode(self.table, batch).map_err(|error| ParquetError::External(error.into()))?;
        let tenants = batch.column_by_name(TENANT_COLUMN).and_then(|column| column.as_string_opt::<i32>());
        let tenants = tenants.ok_or_else(|| ParquetError::General("the tenant column is missing".into()))?;
        for (row, tuple) in tuples.iter().enumerate() {
            let Some(entry) = self.entries.get(self.at) else { return Ok(()) };
            let owner = (!tenants.is_null(row)).then(|| tenants.value(row));
            self.is_of_owner &= entry.tenant.as_ref().map(TenantId::as_str) == owner;
            self.found.add(row_hash(tuple));
            if self.found.rows == entry.rows {
                if self.is_of_owner && self.found == entry.fingerprint {
                    self.right.push(entry);
                }
                self.at += 1;
                self.found = Fingerprint::default();
                self.is_of_owner = true;
            }
        }
        Ok(())
    }
}
