//! Reads rows of one data file: the decoder says which bytes it needs, the store fetches them, the computing
//! pool decodes. Only the pages that hold selected rows are fetched.
//!
//! Whatever cannot be read here is damage, and is refused under the file's name.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
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
use crate::limits::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, FILE_TAIL_BYTES};
use crate::model::SnapshotId;

/// A data file with its metadata.
#[derive(Clone, Debug)]
pub(crate) struct DataFile {
    store: Store,
    path: Path,
    id: SnapshotId,
    name: String,
    metadata: ArrowReaderMetadata,
}

/// Rows of a data file being read.
pub(crate) struct Rows {
    file: DataFile,
    /// Lent to the computing pool; gone at the end.
    decoder: Option<ParquetPushDecoder>,
    schema: SchemaRef,
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
        let tail = file.bytes.saturating_sub(FILE_TAIL_BYTES)..file.bytes;
        let mut ranges = Vec::from_iter([tail]);
        let metadata = loop {
            let bytes = store.get_ranges(&path, &ranges).await.map_err(damaged)?;
            let decoded = bridge::compute(move || {
                guard(move || {
                    decoder.push_ranges(ranges, bytes)?;
                    let decoded = decoder.try_decode()?;
                    Ok((decoder, decoded))
                })
            });
            let (rest, decoded) = decoded.await?.map_err(broken)?;
            decoder = rest;
            match decoded {
                DecodeResult::Data(metadata) => break metadata,
                DecodeResult::NeedsData(needed) => ranges = needed,
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
        Ok(Self { store: store.clone(), path, id: id.clone(), name: file.path.clone(), metadata })
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
        let decoder = ParquetPushDecoderBuilder::new_with_metadata(self.metadata.clone())
            .with_projection(projection)
            .with_row_groups(row_groups)
            .with_row_selection(selection)
            // A tenant's rows are few long ranges, never a sprinkle.
            .with_row_selection_policy(RowSelectionPolicy::Selectors)
            .with_batch_size(batch_rows)
            .build()
            .map_err(|error| damaged(&self.id, &self.name).because(error))?;
        Ok(Rows { file: self.clone(), decoder: Some(decoder), schema: schema.into() })
    }
}

impl Rows {
    /// The next batch.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut fetched = None;
        while let Some(mut decoder) = self.decoder.take() {
            let decoded = bridge::compute(move || {
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
                    let batch = batch.with_schema(self.schema.clone());
                    return batch.map(Some).map_err(|error| damaged().because(error));
                }
                DecodeResult::NeedsData(ranges) => {
                    let bytes = self.file.store.get_ranges(&self.file.path, &ranges).await;
                    fetched = Some((ranges, bytes.map_err(|error| damaged().because(error))?));
                    self.decoder = Some(decoder);
                }
                DecodeResult::Finished => return Ok(None),
            }
        }
        Ok(None)
    }
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
