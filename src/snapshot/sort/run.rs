//! Sorted runs: in memory, and in an unnamed temporary file.
//!
//! A run's file is Parquet with one row group for each batch, so that a merge reads one small batch of each run
//! at a time. The file is read where it is decoded, on the computing pool: it was written a moment ago, is read
//! in order, and comes out of the page cache.

use std::fs::File;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use rayon::slice::ParallelSliceMut;

use super::Bounds;
use super::prepare::{LENGTH_COLUMN, Prepared};
use crate::error::{Error, Result};
use crate::limits::{BATCH_ROWS_MAX, MERGE_RUNS_MAX, RUN_BATCH_BYTES_MIN};
use crate::snapshot::format;

/// Batches of a run: small enough that one of each run of a merge fits in memory, with its keys.
pub(super) fn group_bounds(memory_bytes: usize) -> Bounds {
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

impl MemoryRun {
    pub(super) fn new(buffer: Vec<Prepared>) -> Self {
        let mut order = Vec::with_capacity(buffer.iter().map(|part| part.batch.num_rows()).sum());
        for (at, part) in buffer.iter().enumerate() {
            order.extend((0..part.batch.num_rows()).map(|row| (at as u32, row as u32)));
        }
        let key = |&(batch, row): &(u32, u32)| buffer[batch as usize].keys.row(row as usize);
        order.par_sort_unstable_by(|a, b| key(a).cmp(&key(b)));
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

/// A run in a file.
pub(super) struct Run {
    file: File,
    metadata: ArrowReaderMetadata,
    group_memory_bytes_max: usize,
}

impl Run {
    /// Writes the batches that `next` yields.
    pub(super) fn write(
        bounds: Bounds,
        mut next: impl FnMut(Bounds) -> Result<Option<RecordBatch>>,
    ) -> Result<Self> {
        let file = tempfile::tempfile().map_err(unwritable)?;
        let mut writer: Option<ArrowWriter<File>> = None;
        let mut group_memory_bytes_max = 0;
        while let Some(batch) = next(bounds)? {
            let writer = match &mut writer {
                Some(writer) => writer,
                None => {
                    let file = file.try_clone().map_err(unwritable)?;
                    let opened = ArrowWriter::try_new(file, batch.schema(), Some(format::run_properties()));
                    writer.insert(opened.map_err(unwritable)?)
                }
            };
            writer.write(&batch).and_then(|()| writer.flush()).map_err(unwritable)?;
            // The keys of a merge take about as much again as the rows, at the worst.
            group_memory_bytes_max = group_memory_bytes_max.max(2 * batch.get_array_memory_size());
        }
        let writer = writer.ok_or_else(|| Error::bug("a sorted run has no rows"))?;
        writer.close().map_err(unwritable)?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(unreadable)?;
        Ok(Self { file, metadata, group_memory_bytes_max })
    }

    /// What one batch of this run takes in a merge, at the most.
    pub(super) fn group_memory_bytes_max(&self) -> usize {
        self.group_memory_bytes_max
    }

    /// Number of batches.
    pub(super) fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// One batch.
    pub(super) fn read(&self, group: usize) -> Result<RecordBatch> {
        let rows = usize::try_from(self.metadata.metadata().row_group(group).num_rows()).unwrap_or(0);
        let file = self.file.try_clone().map_err(unreadable)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let mut reader =
            builder.with_row_groups(vec![group]).with_batch_size(rows).build().map_err(unreadable)?;
        let batch = reader.next().ok_or_else(|| Error::bug("a sorted run lost its rows"))?;
        batch.map_err(unreadable)
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
