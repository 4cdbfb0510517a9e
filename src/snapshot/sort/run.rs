//! Sorted runs: in memory, and in an unnamed temporary file.
//!
//! A run's file is an Arrow IPC stream of small batches, not compressed: it is written and read once, soon,
//! and by this process, and a merge waits for the processor rather than for the page cache. It is read where
//! it is merged, on the computing pool.

use std::collections::HashMap;
use std::fs::File;
use std::io::Seek;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{Int64Type, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use rayon::slice::ParallelSliceMut;

use super::Bounds;
use super::prepare::{LENGTH_COLUMN, Prepared};
use crate::error::{Error, Result};
use crate::limits::{BATCH_ROWS_MAX, MERGE_RUNS_MAX, RUN_BATCH_BYTES_MIN};

/// Batches of a run: small enough that one of each run of a merge fits in memory, with its keys.
pub(super) fn batch_bounds(memory_bytes: usize) -> Bounds {
    Bounds { rows: BATCH_ROWS_MAX, bytes: (memory_bytes / (4 * MERGE_RUNS_MAX)).max(RUN_BATCH_BYTES_MIN) }
}

/// Wire lengths of a prepared batch's rows.
pub(super) fn lengths(batch: &RecordBatch) -> Result<&[i64]> {
    let column =
        batch.column_by_name(LENGTH_COLUMN).and_then(|column| column.as_primitive_opt::<Int64Type>());
    column
        .map(|column| column.values().as_ref())
        .ok_or_else(|| Error::bug("a sorted batch lacks its lengths"))
}

/// A sorted buffer.
pub(in crate::snapshot) struct MemoryRun {
    batches: Vec<RecordBatch>,
    /// Batch and row of each row, in order.
    order: Vec<(u32, u32)>,
    at: usize,
}

/// A row of a buffer on its way to its place.
pub(super) struct Place {
    /// The tenant's rank among those of the buffer, then the first bytes of the key: they decide most comparisons
    /// without a look at the key itself.
    prefix: u128,
    batch: u32,
    row: u32,
}

impl MemoryRun {
    pub(super) fn new(buffer: Vec<Prepared>) -> Self {
        let ranks = ranks(&buffer);
        let mut places = Vec::with_capacity(buffer.iter().map(|part| part.batch.num_rows()).sum());
        for (at, part) in buffer.iter().enumerate() {
            let tenants = tenants(&part.batch);
            places.extend((0..part.batch.num_rows()).map(|row| {
                let rank = tenants.value_at(row).and_then(|tenant| ranks.get(tenant)).copied();
                let prefix = prefix(rank.unwrap_or(u32::MAX), part.keys.row(row).as_ref());
                Place { prefix, batch: at as u32, row: row as u32 }
            }));
        }
        let key = |place: &Place| buffer[place.batch as usize].keys.row(place.row as usize);
        places.par_sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(&key(b))));
        let order = places.into_iter().map(|place| (place.batch, place.row)).collect();
        Self { batches: buffer.into_iter().map(|part| part.batch).collect(), order, at: 0 }
    }

    pub(super) fn next(&mut self, bounds: Bounds) -> Result<Option<RecordBatch>> {
        let lengths = self.batches.iter().map(lengths).collect::<Result<Vec<_>>>()?;
        let mut picked = Vec::new();
        let mut bytes = 0;
        for &(batch, row) in &self.order[self.at..] {
            let (batch, row) = (batch as usize, row as usize);
            bytes += usize::try_from(lengths[batch][row]).unwrap_or(usize::MAX);
            if !picked.is_empty() && (bytes > bounds.bytes || picked.len() == bounds.rows) {
                break;
            }
            picked.push((batch, row));
        }
        self.at += picked.len();
        if picked.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        interleave_record_batch(&batches, &picked)
            .map(Some)
            .map_err(|error| Error::bug("unable to sort rows").because(error))
    }
}

/// The tenants of a batch, in its first column.
struct Tenants<'a>(Option<&'a StringArray>);

impl<'a> Tenants<'a> {
    fn value_at(&self, row: usize) -> Option<&'a str> {
        self.0.filter(|tenants| tenants.is_valid(row)).map(|tenants| tenants.value(row))
    }
}

fn tenants(batch: &RecordBatch) -> Tenants<'_> {
    Tenants(batch.columns().first().and_then(|column| column.as_string_opt::<i32>()))
}

/// The place of each tenant of a buffer among all its tenants.
fn ranks(buffer: &[Prepared]) -> HashMap<&str, u32> {
    let mut ranks = HashMap::new();
    for part in buffer {
        let tenants = tenants(&part.batch);
        ranks.extend((0..part.batch.num_rows()).filter_map(|row| Some((tenants.value_at(row)?, 0))));
    }
    let mut sorted: Vec<&str> = ranks.keys().copied().collect();
    sorted.sort_unstable();
    ranks.extend(sorted.into_iter().zip(0..));
    ranks
}

/// Both in one number, big end first.
fn prefix(rank: u32, key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&rank.to_be_bytes());
    let length = key.len().min(12);
    bytes[4..4 + length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(bytes)
}

/// A run in a file, read once from its start.
pub(super) struct Run {
    file: File,
    batch_memory_bytes_max: usize,
}

impl Run {
    /// Writes the batches that `next` yields.
    pub(super) fn write(
        schema: &Schema,
        bounds: Bounds,
        mut next: impl FnMut(Bounds) -> Result<Option<RecordBatch>>,
    ) -> Result<Self> {
        let file = tempfile::tempfile().map_err(unwritable)?;
        let mut writer = StreamWriter::try_new_buffered(file, schema).map_err(unwritable)?;
        let mut batch_memory_bytes_max = 0;
        while let Some(batch) = next(bounds)? {
            writer.write(&batch).map_err(unwritable)?;
            // The keys of a merge take about as much again as the rows, at the worst.
            batch_memory_bytes_max = batch_memory_bytes_max.max(2 * batch.get_array_memory_size());
        }
        let mut file = writer
            .into_inner()
            .map_err(unwritable)?
            .into_inner()
            .map_err(|error| unwritable(error.into_error()))?;
        file.rewind().map_err(unwritable)?;
        Ok(Self { file, batch_memory_bytes_max })
    }

    /// What one batch of this run takes in a merge, at the most.
    pub(super) fn batch_memory_bytes_max(&self) -> usize {
        self.batch_memory_bytes_max
    }

    /// The batches, in order.
    pub(super) fn read(self) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
        let batches = StreamReader::try_new_buffered(self.file, None).map_err(unreadable)?;
        Ok(batches.map(|batch| batch.map_err(unreadable)))
    }
}

fn unwritable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let folder = tempfile::env::temp_dir();
    Error::failed(format!("unable to write a temporary file in '{}'", folder.display()))
        .because(error)
        .hint("sorting a large table needs room there; TMPDIR names another folder")
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let folder = tempfile::env::temp_dir();
    Error::failed(format!("unable to read back a temporary file in '{}'", folder.display())).because(error)
}
