//! Reads rows of one data file: the decoder says which bytes it needs, the store fetches them, the computing
//! pool decodes. Only the pages that hold selected rows are fetched, pages that touch each other in one piece.
//!
//! Whatever cannot be read here is damage, and is refused under the file's name.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use object_store::path::Path;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelectionPolicy,
};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataPushDecoder};

use super::layout;
use super::manifest::FileEntry;
use super::store::Store;
use crate::bridge;
use crate::error::{Error, Result};
use crate::limits::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, FILE_TAIL_BYTES_MIN, FILE_TAIL_DIVISOR};
use crate::model::SnapshotId;

/// A data file with its metadata.
#[derive(Clone, Debug)]
pub(crate) struct DataFile {
    store: Store,
    path: Path,
    id: SnapshotId,
    name: String,
    metadata: ArrowReaderMetadata,
    /// All of it, if it is that small.
    whole: Option<Bytes>,
}

/// Rows of a data file being read.
pub(crate) struct Rows {
    file: DataFile,
    /// Lent to the computing pool; gone at the end.
    decoder: Option<ParquetPushDecoder>,
    schema: SchemaRef,
    /// Selected rows that are still to come.
    rows_left: usize,
    /// Bytes that the decoder was given last.
    bytes: usize,
}

/// The end of a file, as far as it was read.
struct Tail {
    start: u64,
    end: u64,
    bytes: Bytes,
}

impl Tail {
    /// Reads what is missing from `start` on.
    async fn reach(&mut self, store: &Store, path: &Path, start: u64) -> Result<()> {
        let read = store.get_ranges(path, &[start..self.start]).await?;
        self.bytes = [read.concat(), self.bytes.to_vec()].concat().into();
        self.start = start;
        Ok(())
    }
}

impl DataFile {
    /// Reads the metadata of a file that is to have `schema`.
    pub(crate) async fn open(
        store: &Store,
        folder: &Path,
        id: &SnapshotId,
        file: &FileEntry,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let path = layout::file_of(folder, &file.path)?;
        let damaged = |error: Error| damaged(id, &file.path).because(error);
        let broken = |error: ParquetError| self::damaged(id, &file.path).because(error);
        // The column index is for engines that filter by value; the rows are known here.
        let mut decoder = ParquetMetaDataPushDecoder::try_new(file.bytes)
            .map_err(broken)?
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Required);
        let length = FILE_TAIL_BYTES_MIN.max(file.bytes / FILE_TAIL_DIVISOR);
        let mut tail = Tail { start: file.bytes, end: file.bytes, bytes: Bytes::new() };
        tail.reach(store, &path, file.bytes.saturating_sub(length)).await.map_err(damaged)?;
        let metadata = loop {
            let (range, bytes) = (tail.start..tail.end, tail.bytes.clone());
            let decoded = bridge::compute_on(bytes.len(), move || {
                guard(move || {
                    decoder.clear_all_ranges();
                    decoder.push_range(range, bytes)?;
                    let decoded = decoder.try_decode()?;
                    Ok((decoder, decoded))
                })
            });
            let (rest, decoded) = decoded.await?.map_err(broken)?;
            decoder = rest;
            match decoded {
                DecodeResult::Data(metadata) => break metadata,
                DecodeResult::NeedsData(needed) => {
                    let start = needed.iter().map(|range| range.start).min().unwrap_or(0);
                    if start >= tail.start {
                        return Err(self::damaged(id, &file.path).because("its footer points beyond its end"));
                    }
                    tail.reach(store, &path, start).await.map_err(damaged)?;
                }
                DecodeResult::Finished => return Err(Error::bug("a metadata decoder finished without data")),
            }
        };
        if u64::try_from(metadata.file_metadata().num_rows()) != Ok(file.rows) {
            return Err(self::damaged(id, &file.path).because(format!(
                "it announces {} rows, {} were written",
                metadata.file_metadata().num_rows(),
                file.rows
            )));
        }
        let metadata = ArrowReaderMetadata::try_new(metadata.into(), options(schema)).map_err(broken)?;
        let whole = (tail.start == 0).then_some(tail.bytes);
        Ok(Self { store: store.clone(), path, id: id.clone(), name: file.path.clone(), metadata, whole })
    }

    /// Memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.metadata.metadata().memory_size() + self.whole.as_ref().map_or(0, Bytes::len)
    }

    async fn get_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let slice = |whole: &Bytes, range: &Range<u64>| {
            let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
            (start <= end && end <= whole.len()).then(|| whole.slice(start..end))
        };
        let known =
            self.whole.as_ref().and_then(|whole| ranges.iter().map(|range| slice(whole, range)).collect());
        match known {
            Some(bytes) => Ok(bytes),
            None => self.store.get_ranges(&self.path, ranges).await,
        }
    }

    /// Rows of each row group.
    pub(crate) fn row_groups(&self) -> Vec<u64> {
        let groups = self.metadata.metadata().row_groups();
        groups.iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).collect()
    }

    /// Reads the selected rows of these row groups. `columns` are positions in the schema, in order.
    pub(crate) fn rows(
        &self,
        row_groups: Vec<usize>,
        selection: RowSelection,
        columns: &[usize],
    ) -> Result<Rows> {
        let projection = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
        let schema = self.metadata.schema().project(columns);
        let schema = schema.map_err(|error| Error::bug("a column does not exist").because(error))?;
        let batch_rows = batch_rows(&self.metadata, &row_groups);
        let rows_left = selection.row_count();
        let decoder = ParquetPushDecoderBuilder::new_with_metadata(self.metadata.clone())
            .with_projection(projection)
            .with_row_groups(row_groups)
            .with_row_selection(selection)
            // A tenant's rows are few long ranges, never a sprinkle.
            .with_row_selection_policy(RowSelectionPolicy::Selectors)
            .with_batch_size(batch_rows)
            .build()
            .map_err(|error| damaged(&self.id, &self.name).because(error))?;
        Ok(Rows { file: self.clone(), decoder: Some(decoder), schema: schema.into(), rows_left, bytes: 0 })
    }
}

impl Rows {
    /// The next batch.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut fetched = None;
        while self.rows_left > 0
            && let Some(mut decoder) = self.decoder.take()
        {
            let decoded = bridge::compute_on(self.bytes, move || {
                guard(move || {
                    if let Some((ranges, bytes)) = fetched {
                        decoder.push_ranges(ranges, bytes)?;
                    }
                    let decoded = decoder.try_decode()?;
                    Ok((decoder, decoded))
                })
            });
            let damaged = || damaged(&self.file.id, &self.file.name);
            let (decoder, decoded) = decoded.await?.map_err(|error| damaged().because(error))?;
            match decoded {
                DecodeResult::Data(batch) => {
                    self.decoder = Some(decoder);
                    self.rows_left = self.rows_left.saturating_sub(batch.num_rows());
                    let batch = batch.with_schema(self.schema.clone());
                    return batch.map(Some).map_err(|error| damaged().because(error));
                }
                DecodeResult::NeedsData(ranges) => {
                    // The decoder finds what it needs in larger ranges, too.
                    let ranges = joined(ranges);
                    let bytes =
                        self.file.get_ranges(&ranges).await.map_err(|error| damaged().because(error))?;
                    self.bytes = bytes.iter().map(Bytes::len).sum();
                    fetched = Some((ranges, bytes));
                    self.decoder = Some(decoder);
                }
                DecodeResult::Finished => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// Ranges in order, those that touch each other in one.
pub(crate) fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// The columns of a data file must have exactly this schema.
pub(super) fn options(schema: &SchemaRef) -> ArrowReaderOptions {
    ArrowReaderOptions::new().with_schema(schema.clone())
}

/// Rows of a batch, so that one of average rows stays within its bound.
pub(super) fn batch_rows(metadata: &ArrowReaderMetadata, row_groups: &[usize]) -> usize {
    let groups = row_groups.iter().map(|&group| metadata.metadata().row_group(group));
    let average = |group: &parquet::file::metadata::RowGroupMetaData| {
        group.total_byte_size().checked_div(group.num_rows()).unwrap_or(0)
    };
    let widest = groups.map(average).max().unwrap_or(0);
    let widest = usize::try_from(widest).unwrap_or(usize::MAX).max(1);
    (BATCH_BYTES_MAX / widest).clamp(1, BATCH_ROWS_MAX)
}

/// Decodes bytes that may be damaged: a decoder that panics has met damage, too.
pub(super) fn guard<T>(decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let said = |panic: Box<dyn Any + Send>| ParquetError::General(bridge::said(&*panic).to_owned());
    catch_unwind(AssertUnwindSafe(decode)).map_err(said).flatten()
}

fn damaged(id: &SnapshotId, file: &str) -> Error {
    Error::refused(format!("unable to read snapshot '{id}': file '{file}' is damaged"))
        .hint(super::OTHER_SNAPSHOT)
}
