//! A data file in the making: rows wait until they are a row group, whose columns are then written page by page.
//!
//! Parquet's Arrow writer ends pages by their size alone. Here each page is one write of the column writer below it,
//! whose row limit of one ([`format::data`]) ends a page with every write.

use std::ops::Range;

use arrow::array::{Array, ArrayAccessor, ArrayIter, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::compute::concat;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, SchemaRef,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use bytes::Bytes;
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::column::writer::{ColumnCloseResult, ColumnWriterImpl, get_column_writer};
use parquet::data_type::{self as physical, ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::{
    SerializedColumnWriter, SerializedFileWriter, SerializedPageWriter, TrackedWrite,
};
use parquet::schema::types::ColumnDescPtr;
use rayon::prelude::*;

use super::format;
use super::pages::{Run, pages};
use crate::limits::ROW_GROUP_ROWS_MAX;

type Result<T> = std::result::Result<T, ParquetError>;

/// Writes a Parquet file of rows clustered by tenant.
pub(super) struct DataWriter {
    file: SerializedFileWriter<Vec<u8>>,
    schema: SchemaRef,
    group_bytes_max: usize,
    /// The row group in the making: its rows, their number, and what they take in memory.
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    runs: Vec<Run>,
}

impl DataWriter {
    /// A file sorted by a column, whose row groups take at most so many bytes in memory.
    pub(super) fn new(schema: SchemaRef, sorted_by: &str, group_bytes_max: usize) -> Result<Self> {
        let mut properties = format::data(sorted_by);
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let parquet = ArrowSchemaConverter::new().convert(&schema)?;
        let file = SerializedFileWriter::new(Vec::new(), parquet.root_schema_ptr(), properties.into())?;
        Ok(Self { file, schema, group_bytes_max, batches: Vec::new(), rows: 0, bytes: 0, runs: Vec::new() })
    }

    /// At most the bytes of the file, were it finished now; the footer is small change.
    pub(super) fn bytes(&self) -> usize {
        // Encoded and compressed, rows take at most what they take in memory.
        self.file.bytes_written() + self.bytes
    }

    /// Adds rows. `runs` are those of its tenants, `is_begun` says that the first belongs to the last one's tenant.
    pub(super) fn write(&mut self, batch: RecordBatch, runs: &[Run], is_begun: bool) -> Result<()> {
        let bytes = batch.get_array_memory_size();
        let is_full =
            self.rows + batch.num_rows() > ROW_GROUP_ROWS_MAX || self.bytes + bytes > self.group_bytes_max;
        if is_full {
            self.flush()?;
        }
        let mut runs = runs.iter();
        if let Some(last) = self.runs.last_mut().filter(|_| is_begun)
            && let Some(run) = runs.next()
        {
            *last = Run { rows: last.rows + run.rows, bytes: last.bytes + run.bytes };
        }
        self.runs.extend(runs);
        self.rows += batch.num_rows();
        self.bytes += bytes;
        self.batches.push(batch);
        Ok(())
    }

    /// The finished file.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.flush()?;
        self.file.into_inner()
    }

    /// Writes the waiting rows as a row group.
    fn flush(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.batches);
        let pages = pages(&std::mem::take(&mut self.runs), self.schema.fields().len());
        (self.rows, self.bytes) = (0, 0);
        if batches.is_empty() {
            return Ok(());
        }
        let (schema, properties) = (self.file.schema_descr(), self.file.properties());
        // One table after the other is written: its columns keep the cores busy.
        let columns: Vec<(Bytes, ColumnCloseResult)> = (0..self.schema.fields().len())
            .into_par_iter()
            .map(|at| {
                let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(at).as_ref()).collect();
                column_chunk(schema.column(at), properties, &concat(&arrays)?, &pages)
            })
            .collect::<Result<_>>()?;
        let mut group = self.file.next_row_group()?;
        for (bytes, closed) in columns {
            group.append_column(&bytes, closed)?;
        }
        group.close()?;
        Ok(())
    }
}

/// A column of a row group in memory, page by page.
fn column_chunk(
    column: ColumnDescPtr,
    properties: &WriterPropertiesPtr,
    values: &ArrayRef,
    pages: &[Range<usize>],
) -> Result<(Bytes, ColumnCloseResult)> {
    let (mut bytes, mut closed) = (TrackedWrite::new(Vec::new()), None);
    let to = Box::new(SerializedPageWriter::new(&mut bytes));
    let on_close = |result| {
        closed = Some(result);
        Ok(())
    };
    let writer = get_column_writer(column, properties.clone(), to);
    let mut writer = SerializedColumnWriter::new(writer, Some(Box::new(on_close)));
    for page in pages {
        write_page(&mut writer, &values.slice(page.start, page.len()))?;
    }
    writer.close()?;
    let closed = closed.ok_or_else(|| ParquetError::General("a column was not closed".into()))?;
    Ok((bytes.into_inner()?.into(), closed))
}

/// Writes values as one page.
fn write_page(column: &mut SerializedColumnWriter<'_>, values: &ArrayRef) -> Result<()> {
    // Every column of a data file is nullable and flat.
    let levels: Vec<i16> = match values.nulls() {
        Some(nulls) => nulls.iter().map(i16::from).collect(),
        None => vec![1; values.len()],
    };
    match values.data_type() {
        DataType::Boolean => {
            put::<physical::BoolType>(column.typed(), &present(values.as_boolean()), &levels)
        }
        DataType::Int16 => {
            let wide: Vec<i32> = numbers::<Int16Type>(values).into_iter().map(i32::from).collect();
            put::<physical::Int32Type>(column.typed(), &wide, &levels)
        }
        DataType::Int32 => put::<physical::Int32Type>(column.typed(), &numbers::<Int32Type>(values), &levels),
        DataType::Date32 => {
            put::<physical::Int32Type>(column.typed(), &numbers::<Date32Type>(values), &levels)
        }
        DataType::Int64 => put::<physical::Int64Type>(column.typed(), &numbers::<Int64Type>(values), &levels),
        DataType::Time64(TimeUnit::Microsecond) => {
            put::<physical::Int64Type>(column.typed(), &numbers::<Time64MicrosecondType>(values), &levels)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            put::<physical::Int64Type>(column.typed(), &numbers::<TimestampMicrosecondType>(values), &levels)
        }
        DataType::Float32 => {
            put::<physical::FloatType>(column.typed(), &numbers::<Float32Type>(values), &levels)
        }
        DataType::Float64 => {
            put::<physical::DoubleType>(column.typed(), &numbers::<Float64Type>(values), &levels)
        }
        DataType::Utf8 => {
            let texts = values.as_string::<i32>();
            let texts = slices(texts.values(), texts.value_offsets(), values);
            put::<physical::ByteArrayType>(column.typed(), &texts, &levels)
        }
        DataType::Binary => {
            let blobs = values.as_binary::<i32>();
            let blobs = slices(blobs.values(), blobs.value_offsets(), values);
            put::<physical::ByteArrayType>(column.typed(), &blobs, &levels)
        }
        DataType::FixedSizeBinary(width) => {
            let width = usize::try_from(*width).unwrap_or(0).max(1);
            let fixed = present(values.as_fixed_size_binary());
            let data = Bytes::from(fixed.concat());
            let slice = |value: &[u8]| FixedLenByteArray::from(ByteArray::from(data.slice_ref(value)));
            let fixed: Vec<FixedLenByteArray> = data.chunks_exact(width).map(slice).collect();
            put::<physical::FixedLenByteArrayType>(column.typed(), &fixed, &levels)
        }
        other => Err(ParquetError::NYI(format!("columns of type {other}"))),
    }
}

fn put<T: physical::DataType>(
    column: &mut ColumnWriterImpl<'_, T>,
    values: &[T::T],
    levels: &[i16],
) -> Result<()> {
    column.write_batch(values, Some(levels), None).map(drop)
}

/// The values that are not null.
fn present<A: ArrayAccessor>(values: A) -> Vec<A::Item> {
    ArrayIter::new(values).flatten().collect()
}

fn numbers<T: ArrowPrimitiveType>(values: &ArrayRef) -> Vec<T::Native> {
    let values = values.as_primitive::<T>();
    match values.nulls() {
        Some(_) => present(values),
        None => values.values().to_vec(),
    }
}

/// The values that are not null, copied once for all.
fn slices(data: &[u8], offsets: &[i32], values: &ArrayRef) -> Vec<ByteArray> {
    let range = |ends: &[i32]| ends[0] as usize..ends[1] as usize;
    let first = offsets.first().map_or(0, |first| *first as usize);
    let end = offsets.last().map_or(0, |end| *end as usize);
    let data = Bytes::copy_from_slice(&data[first..end]);
    let is_present = |(row, _): &(usize, &[i32])| !values.is_null(*row);
    let ends = offsets.windows(2).enumerate().filter(is_present);
    let within = ends.map(|(_, ends)| range(ends).start - first..range(ends).end - first);
    within.map(|range| data.slice(range).into()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array,
        Int32Array, Int64Array, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    };
    use parquet::arrow::arrow_reader::{
        ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
    };
    use parquet::file::metadata::PageIndexPolicy;

    use super::*;
    use crate::limits::DATA_PAGE_COLUMN_BYTES_MIN;

    /// A batch with every type that a snapshot has; every `nulls`th value is null.
    fn batch(tenant: &str, rows: usize, nulls: usize) -> RecordBatch {
        let some = |row: usize| (!(row + 1).is_multiple_of(nulls)).then_some(row);
        let every = || (0..rows).map(some);
        let text = |row: usize| format!("{row:0width$}", width = row % 9);
        let uuids = every().map(|row| row.map(|row| (row as u128).to_be_bytes()));
        let instants: TimestampMicrosecondArray = every().map(|row| row.map(|row| row as i64 - 9)).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("tenant", Arc::new(StringArray::from_iter_values((0..rows).map(|_| tenant)))),
            ("bool", Arc::new(every().map(|row| row.map(|row| row % 3 == 0)).collect::<BooleanArray>())),
            ("int2", Arc::new(every().map(|row| row.map(|row| row as i16 - 5)).collect::<Int16Array>())),
            ("int4", Arc::new(every().map(|row| row.map(|row| row as i32 - 5)).collect::<Int32Array>())),
            (
                "int8",
                Arc::new(every().map(|row| row.map(|row| i64::MIN + row as i64)).collect::<Int64Array>()),
            ),
            (
                "float4",
                Arc::new(every().map(|row| row.map(|row| row as f32 / -3.0)).collect::<Float32Array>()),
            ),
            (
                "float8",
                Arc::new(every().map(|row| row.map(|row| row as f64 / 7.0)).collect::<Float64Array>()),
            ),
            ("text", Arc::new(every().map(|row| row.map(text)).collect::<StringArray>())),
            ("bytes", Arc::new(every().map(|row| row.map(|row| vec![7; row % 5])).collect::<BinaryArray>())),
            ("date", Arc::new(every().map(|row| row.map(|row| row as i32)).collect::<Date32Array>())),
            (
                "time",
                Arc::new(every().map(|row| row.map(|row| row as i64)).collect::<Time64MicrosecondArray>()),
            ),
            ("instant", Arc::new(instants.clone().with_timezone("UTC"))),
            ("local", Arc::new(instants)),
            (
                "uuid",
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids, 16).expect("uuids")),
            ),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
            .expect("batch")
    }

    #[test]
    fn every_type_is_read_back_by_others_and_pages_end_between_tenants() {
        let parts = [batch("a", 5, 1), batch("a", 300, 3), batch("b", 400, usize::MAX), batch("c", 2, 2)];
        let mut writer = DataWriter::new(parts[0].schema(), "tenant", usize::MAX).expect("writer");
        let worth = 100 * DATA_PAGE_COLUMN_BYTES_MIN;
        for (part, is_begun) in parts.iter().zip([false, true, false, false]) {
            let run = Run { rows: part.num_rows(), bytes: if part.num_rows() > 2 { worth } else { 9 } };
            writer.write(part.clone(), &[run], is_begun).expect("write");
        }
        let bytes = Bytes::from(writer.finish().expect("finish"));
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let metadata = ArrowReaderMetadata::load(&bytes, options).expect("metadata");
        for column in &metadata.metadata().offset_index().expect("offset index")[0] {
            let starts: Vec<i64> = column.page_locations().iter().map(|page| page.first_row_index).collect();
            assert_eq!(starts, [0, 305, 705]);
        }
        let mut reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata).build().expect("reader");
        let read = reader.next().expect("rows").expect("batch");
        assert_eq!(read, arrow::compute::concat_batches(&parts[0].schema(), &parts).expect("concat"));
    }
}
