//! `snapshot create`, the story:
//!
//! ```text
//! check tenancy ─► for each table:  scan ─► sort ─┐            one table is written
//!                                   merge ─► parts ─► put      while the next is read
//!               ─► tenants.parquet ─► look at every file once more ─► manifest.json
//! ```
//!
//! The manifest is the commit point: before it, an aborted create cannot be mistaken for a snapshot. A create
//! that fails takes back what it wrote. Memory, without what the program itself takes: a sort buffer, a run being
//! written and a merge take a sixth each, a part being built and a part being put an eighth each; the rest is for the
//! source's batches.

use std::pin::pin;
use std::sync::Mutex;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::{self, Either};
use futures::stream::BoxStream;
use jiff::{SignedDuration, Timestamp};
use object_store::path::Path;

use super::CreateOptions;
use super::index::{IndexEntry, TenantIndex};
use super::layout::{self, INDEX_FILE, MANIFEST_FILE};
use super::manifest::{FileEntry, MANIFEST_FORMAT, Manifest, TableEntry};
use super::parts::{Part, PartBuilder};
use super::sort::{LENGTH_COLUMN, Order, Sorted, Sorter};
use super::store::Store;
use crate::bridge;
use crate::error::{Error, Result};
use crate::limits::{DATA_FILE_BYTES_MAX, MEMORY_BYTES_BASE};
use crate::model::{
    Disputed, HASH_COLUMN, Rule, ShardName, SnapshotId, TENANT_COLUMN, Table, Tenancy, TenancyError, Ties,
};
use crate::progress::Progress;
use crate::source::{Scan, Source};

/// Takes a snapshot of `source`, a database of `shard`. Nothing of it is left if it fails.
pub async fn create(
    store: &Store,
    shard: &ShardName,
    source: &dyn Source,
    tenancy: &Tenancy,
    options: &CreateOptions,
    progress: &dyn Progress,
) -> Result<Manifest> {
    let description = source.describe();
    let tables = included(&description.tables, tenancy)?;
    let id = layout::new_id(description.taken_at);
    let folder = layout::snapshot_folder(shard, &id);
    if !store.files(&folder).await?.is_empty() {
        return Err(exists_already(&id, shard));
    }
    // Half of it at the least: tests give less than the program itself takes.
    let memory_bytes = options.memory_bytes.saturating_sub(MEMORY_BYTES_BASE).max(options.memory_bytes / 2);
    let work = Work {
        store,
        folder,
        source,
        progress,
        sort_bytes: memory_bytes / 6,
        part_bytes_max: DATA_FILE_BYTES_MAX.min(memory_bytes / 8),
        written: Mutex::new(Vec::new()),
    };
    let created = work.run(tables, tenancy, options.ties, |tables, tenants, ties, index| {
        let created_at = Timestamp::now();
        let retain = SignedDuration::from_hours(i64::from(options.retain_days) * 24);
        let retain_until = created_at.checked_add(retain).map_err(|error| {
            Error::usage(format!("unable to retain a snapshot for {} days", options.retain_days))
                .because(error)
        })?;
        Ok(Manifest {
            format: MANIFEST_FORMAT,
            shard: shard.clone(),
            id: id.clone(),
            taken_at: description.taken_at,
            created_at,
            retain_until,
            identity: description.identity.clone(),
            server_version: description.server_version.clone(),
            position: description.position.clone(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            tenancy: tenancy.clone(),
            tenants,
            tables,
            ties,
            index,
            checksum: String::new(),
        })
    });
    match created.await {
        Ok(manifest) => Ok(manifest),
        Err(error) => {
            work.take_back().await;
            Err(error)
        }
    }
}

fn exists_already(id: &SnapshotId, shard: &ShardName) -> Error {
    Error::refused(format!("unable to create snapshot '{id}' of shard '{shard}': it exists already"))
        .hint("run it again: every snapshot gets an id of its own")
}

/// The tables to be kept, in the source's order; refused unless every table has a rule that fits.
fn included<'a>(tables: &'a [Table], tenancy: &Tenancy) -> Result<Vec<&'a Table>> {
    let problems = tenancy.check(tables);
    if !problems.is_empty() {
        let list: Vec<String> = problems.iter().map(TenancyError::to_string).collect();
        let unclassified = problems.iter().any(|problem| matches!(problem, TenancyError::Unclassified(_)));
        let hint = match unclassified {
            true => "give every table a rule in the configuration; rule = \"excluded\" leaves one out",
            false => {
                "make the rules of the configuration fit the schema; `reinstate init --check` compares them"
            }
        };
        return Err(Error::undecided(format!("unable to take a snapshot: {}", list.join(", "))).hint(hint));
    }
    let is_excluded = |table: &&Table| matches!(tenancy.rules.get(&table.name), Some(Rule::Excluded { .. }));
    let kept: Vec<&Table> = tables.iter().filter(|table| !is_excluded(table)).collect();
    for table in &kept {
        let taken =
            [TENANT_COLUMN, HASH_COLUMN, LENGTH_COLUMN].iter().find(|name| table.column(name).is_some());
        if let Some(name) = taken {
            let message = format!("unable to snapshot table '{}': its column '{name}'", table.name);
            return Err(Error::refused(message + " has a name that snapshots use themselves"));
        }
    }
    Ok(kept)
}

/// One create under way.
struct Work<'a> {
    store: &'a Store,
    folder: Path,
    source: &'a dyn Source,
    progress: &'a dyn Progress,
    sort_bytes: usize,
    part_bytes_max: usize,
    /// What was written so far, for taking it back. Locked for a push only, never across an await.
    written: Mutex<Vec<Path>>,
}

/// What one table became.
struct Written {
    entry: TableEntry,
    index: Vec<IndexEntry>,
}

impl Work<'_> {
    async fn run(
        &self,
        tables: Vec<&Table>,
        tenancy: &Tenancy,
        ties: bool,
        manifest: impl FnOnce(Vec<TableEntry>, u64, Vec<Ties>, FileEntry) -> Result<Manifest>,
    ) -> Result<Manifest> {
        let doubts = self.source.doubts(ties);
        let ((mut entries, index), doubts) =
            side_by_side(doubts, self.tables(tables, tenancy)).await.map(|(d, t)| (t, d))?;
        doubts.disputed.into_iter().for_each(|disputed| dispute(&mut entries, disputed));
        let index = TenantIndex::new(index);
        let tenants = index.tenants_len() as u64;
        let file = self.write_index(index).await?;
        let (manifest, text) = manifest(entries, tenants, doubts.ties, file)?.seal()?;
        super::open::check_sizes(self.store, &self.folder, &manifest.id, manifest.files()).await?;
        self.put(MANIFEST_FILE, Bytes::from(text)).await?;
        Ok(manifest)
    }

    /// All tables, one after the other.
    async fn tables(
        &self,
        tables: Vec<&Table>,
        tenancy: &Tenancy,
    ) -> Result<(Vec<TableEntry>, Vec<IndexEntry>)> {
        let mut entries = Vec::with_capacity(tables.len());
        let mut index = Vec::new();
        let mut sorted = None;
        for table in tables.into_iter().map(Some).chain([None]) {
            let (next, written) = side_by_side(self.read(table), self.write(sorted, tenancy)).await?;
            if let Some(written) = written {
                entries.push(written.entry);
                index.extend(written.index);
            }
            sorted = next;
        }
        Ok((entries, index))
    }

    /// Reads and sorts one table.
    async fn read<'t>(&self, table: Option<&'t Table>) -> Result<Option<(&'t Table, Sorted, u64)>> {
        let Some(table) = table else { return Ok(None) };
        self.progress.begin(&table.name.to_string(), None);
        let mut sorter = Sorter::new(Order::new(table)?, self.sort_bytes);
        let mut batches = self.source.scan(&table.name, &Scan::default()).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let rows = batch.num_rows() as u64;
            let bytes = sorter.push(batch).await?;
            self.progress.advance(rows, bytes);
        }
        drop(batches);
        let (sorted, rows) = sorter.finish().await?;
        self.progress.finish();
        Ok(Some((table, sorted, rows)))
    }

    /// Writes one sorted table.
    async fn write(
        &self,
        sorted: Option<(&Table, Sorted, u64)>,
        tenancy: &Tenancy,
    ) -> Result<Option<Written>> {
        let Some((table, sorted, rows)) = sorted else { return Ok(None) };
        let mut parts =
            Parts { batches: merged(sorted), builder: Some(PartBuilder::new(table, self.part_bytes_max)) };
        let mut files: Vec<FileEntry> = Vec::new();
        let mut index = Vec::new();
        let mut waiting: Option<Part> = None;
        loop {
            let put = async {
                match &waiting {
                    Some(part) => self.put(&part.file.path, part.bytes.clone()).await,
                    None => Ok(()),
                }
            };
            let (next, put) = future::join(parts.next(), put).await;
            put?;
            if let Some(part) = waiting.take() {
                files.push(part.file);
                index.extend(part.entries);
            }
            waiting = next?;
            if waiting.is_none() {
                break;
            }
        }
        let entry = sum_up(table, tenancy.rules.get(&table.name), files, &index)?;
        if entry.rows() != rows {
            let message =
                format!("table '{}' came with {rows} rows and left with {}", table.name, entry.rows());
            return Err(Error::bug(message));
        }
        Ok(Some(Written { entry, index }))
    }

    async fn write_index(&self, index: TenantIndex) -> Result<FileEntry> {
        let rows = index.entries().len() as u64;
        let bytes = bridge::compute(move || index.write()).await??;
        let bytes = Bytes::from(bytes);
        let file = FileEntry {
            path: INDEX_FILE.to_owned(),
            bytes: bytes.len() as u64,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
            rows,
        };
        self.put(INDEX_FILE, bytes).await?;
        Ok(file)
    }

    async fn put(&self, relative: &str, bytes: Bytes) -> Result<()> {
        let path = layout::file_of(&self.folder, relative)?;
        self.store.put_new(&path, bytes).await?;
        match self.written.lock() {
            Ok(mut written) => written.push(path),
            Err(_) => return Err(Error::bug("a put panicked")),
        }
        Ok(())
    }

    /// Removes what was written. What cannot be removed has no manifest, and is pruned in time.
    async fn take_back(&self) {
        let written =
            self.written.lock().map(|mut written| std::mem::take(&mut *written)).unwrap_or_default();
        for path in written.into_iter().rev() {
            if let Err(error) = self.store.delete(&path).await {
                tracing::warn!("{}", error.chain());
            }
        }
        match self.store.files(&self.folder).await {
            // Whatever is there now is somebody else's.
            Ok(left) if left.is_empty() => {
                if let Err(error) = self.store.remove_folder(&self.folder).await {
                    tracing::warn!("{}", error.chain());
                }
            }
            _ => {}
        }
    }
}

/// Reads one table while another one is written. A failed read waits for the writing to end, since taking
/// back must not race with a put; a failed write does not wait for the rest of a table that nobody will want.
async fn side_by_side<R, W>(
    read: impl Future<Output = Result<R>>,
    write: impl Future<Output = Result<W>>,
) -> Result<(R, W)> {
    let (read, write) = (pin!(read), pin!(write));
    match future::select(read, write).await {
        Either::Left((read, write)) => {
            let written = write.await;
            Ok((read?, written?))
        }
        Either::Right((written, read)) => {
            let written = written?;
            Ok((read.await?, written))
        }
    }
}

/// The merged rows of a table, one batch ahead of whoever encodes them.
fn merged(sorted: Sorted) -> BoxStream<'static, Result<RecordBatch>> {
    bridge::pipe(1, move |sender| async move {
        let mut sorted = Some(sorted);
        while let Some(mut rows) = sorted.take() {
            let (rows, batch) = bridge::compute(move || {
                let batch = rows.next();
                (rows, batch)
            })
            .await?;
            let Some(batch) = batch? else { break };
            if sender.send(batch).await.is_err() {
                break;
            }
            sorted = Some(rows);
        }
        Ok(())
    })
}

/// The parts of a table, built as they are asked for.
struct Parts {
    batches: BoxStream<'static, Result<RecordBatch>>,
    /// Lent to the computing pool; gone when the last part is finished.
    builder: Option<PartBuilder>,
}

impl Parts {
    async fn next(&mut self) -> Result<Option<Part>> {
        while let Some(mut builder) = self.builder.take() {
            let Some(batch) = self.batches.next().await.transpose()? else {
                return bridge::compute(move || builder.finish()).await?;
            };
            let (builder, part) = bridge::compute(move || {
                let part = builder.add(&batch);
                (builder, part)
            })
            .await?;
            self.builder = Some(builder);
            if let Some(part) = part? {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }
}

/// Tells disputed rows from those that have no owner for another reason.
fn dispute(entries: &mut [TableEntry], disputed: Disputed) {
    if let Some(entry) = entries.iter_mut().find(|entry| entry.table.name == disputed.table) {
        let shared = entry.rows_shared.min(disputed.rows);
        entry.rows_shared -= shared;
        let unowned = entry.rows_unowned.min(disputed.rows - shared);
        entry.rows_unowned -= unowned;
        entry.rows_disputed = shared + unowned;
        entry.disputed = disputed.named;
    }
}

/// Counts the rows of a table by who owns them.
fn sum_up(
    table: &Table,
    rule: Option<&Rule>,
    files: Vec<FileEntry>,
    index: &[IndexEntry],
) -> Result<TableEntry> {
    let of = |owned: bool| index.iter().filter(move |entry| entry.tenant.is_some() == owned);
    let rows_owned: u64 = of(true).map(|entry| entry.rows).sum();
    let rows_without: u64 = of(false).map(|entry| entry.rows).sum();
    if rows_owned > 0 && !rule.is_some_and(Rule::is_owned) {
        let message = format!("the source names owners for rows of table '{}', which has none", table.name);
        return Err(Error::bug(message));
    }
    let is_derived = matches!(rule, Some(Rule::Derived(_) | Rule::Referenced { .. }));
    Ok(TableEntry {
        table: table.clone(),
        rows_owned,
        rows_shared: if is_derived { 0 } else { rows_without },
        rows_unowned: if is_derived { rows_without } else { 0 },
        rows_disputed: 0,
        disputed: Vec::new(),
        files,
    })
}
