//! Row groups of a table's files: which there are, and some of their columns, converted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::take;
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection};

use super::convert::Conversion;
use super::files::{self, OpenFile, TableFiles};
use crate::bridge;
use crate::error::{Error, Result};
use crate::limits::EXPORT_READ_BYTES_MAX;
use crate::model::Table;

/// The row groups of a table, file by file.
pub struct RowGroups {
    table: Arc<Table>,
    paths: std::vec::IntoIter<PathBuf>,
    open: Option<(Arc<OpenFile>, std::ops::Range<usize>)>,
}

/// A row group of an open file.
#[derive(Clone)]
pub struct RowGroup {
    pub file: Arc<OpenFile>,
    pub number: usize,
}

impl RowGroups {
    pub fn new(table: &Arc<Table>, files: &TableFiles) -> Self {
        Self { table: Arc::clone(table), paths: files.paths.clone().into_iter(), open: None }
    }
}

impl Iterator for RowGroups {
    type Item = Result<RowGroup>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((file, groups)) = &mut self.open
                && let Some(number) = groups.next()
            {
                return Some(Ok(RowGroup { file: Arc::clone(file), number }));
            }
            match files::open(&self.table, &self.paths.next()?) {
                Ok(file) => {
                    let groups = 0..file.metadata.metadata().num_row_groups();
                    self.open = Some((Arc::new(file), groups));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// What is to be read of a row group.
#[derive(Clone, Default)]
pub struct Reading {
    /// Places of the columns among the stored ones of the table.
    pub columns: Vec<usize>,
    /// Those that come as dictionaries if they are texts: few values, each of which is looked at once.
    pub dictionaries: Vec<usize>,
    /// Only these rows.
    pub selection: Option<RowSelection>,
    /// Rows of a batch, at the most.
    pub rows_max: usize,
}

impl RowGroup {
    /// Rows of one batch: fewer where they are wide. All rows between those that are wanted are decoded as well.
    fn batch_rows(&self, reading: &Reading, roots: &[usize]) -> usize {
        let metadata = &self.file.metadata;
        let (group, schema) = (metadata.metadata().row_group(self.number), metadata.parquet_schema());
        let leaves =
            (0..schema.num_columns()).filter(|leaf| roots.contains(&schema.get_column_root_idx(*leaf)));
        let bytes: i64 = leaves.map(|leaf| group.column(leaf).uncompressed_size()).sum();
        let all = usize::try_from(group.num_rows()).unwrap_or_default().max(1);
        let wanted = reading.selection.as_ref().map_or(all, RowSelection::row_count);
        let bytes = usize::try_from(bytes).unwrap_or_default().max(1);
        let fitting = (wanted as f64 * (EXPORT_READ_BYTES_MAX as f64 / bytes as f64)) as usize;
        fitting.clamp(1, reading.rows_max)
    }

    /// Reads some columns of all rows or of some.
    pub fn read(&self, table: &Arc<Table>, reading: Reading) -> Result<Columns> {
        let file = &self.file;
        let mut roots: Vec<usize> = reading.columns.iter().map(|column| file.columns[*column].0).collect();
        roots.sort_unstable();
        let at =
            |column: &usize| (*column, roots.binary_search(&file.columns[*column].0).unwrap_or_default());
        let columns = reading.columns.iter().map(at).collect();
        let metadata = file
            .with_dictionaries(&reading.dictionaries)
            .map_err(|error| unable(table, file).because(error))?;
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.iter().copied());
        let rows = self.batch_rows(&reading, &roots);
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.file.clone(), metadata)
            .with_row_groups(vec![self.number])
            .with_projection(mask)
            .with_batch_size(rows);
        if let Some(selection) = reading.selection {
            builder = builder.with_row_selection(selection);
        }
        let reader = builder.build().map_err(|error| unable(table, file).because(error))?;
        Ok(Columns { table: Arc::clone(table), file: Arc::clone(file), reader, columns })
    }
}

/// Some columns of a row group, batch by batch.
pub struct Columns {
    table: Arc<Table>,
    file: Arc<OpenFile>,
    reader: ParquetRecordBatchReader,
    /// The stored column, and its place among those that are read.
    columns: Vec<(usize, usize)>,
}

impl Iterator for Columns {
    type Item = Result<Vec<ArrayRef>>;

    fn next(&mut self) -> Option<Self::Item> {
        // The decoder panics at some damages.
        let batch = match catch_unwind(AssertUnwindSafe(|| self.reader.next())) {
            Ok(batch) => batch?,
            Err(panic) => Err(ArrowError::ParquetError(bridge::said(&*panic).to_owned())),
        };
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Some(Err(unable(&self.table, &self.file).because(error))),
        };
        let convert = |(column, at): &(usize, usize)| {
            converted(&self.file.columns[*column].1, batch.column(*at)).ok_or_else(|| {
                let column = self.table.stored_columns().nth(*column);
                let (name, type_name) = column.map_or(("", ""), |column| (&column.name, &column.type_name));
                let (table, path) = (&self.table.name, self.file.path.display());
                Error::refused(format!(
                    "unable to import column '{name}' of table '{table}': file '{path}' holds a value that is no {type_name}"
                ))
                .hint("export the column as the database prints it, or without it")
            })
        };
        Some(self.columns.iter().map(convert).collect())
    }
}

/// The values of a dictionary are converted once each.
fn converted(conversion: &Conversion, array: &ArrayRef) -> Option<ArrayRef> {
    match array.as_dictionary_opt::<Int32Type>() {
        None => conversion.apply(array),
        Some(dictionary) => Some(Arc::new(dictionary.with_values(conversion.apply(dictionary.values())?))),
    }
}

/// Every row's own value.
pub fn unpacked(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.as_dictionary_opt::<Int32Type>() {
        None => Ok(Arc::clone(array)),
        Some(dictionary) => take(dictionary.values(), dictionary.keys(), None),
    }
}

fn unable(table: &Table, file: &OpenFile) -> Error {
    let message = format!("unable to read file '{}' of table '{}'", file.path.display(), table.name);
    Error::refused(message).hint("the file is damaged; export the table again")
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Compression;
    use parquet::file::properties::WriterProperties;

    use super::*;
    use crate::error::Kind;
    use crate::model::{Column, TableName, TypeKind};

    #[test]
    fn a_file_with_any_byte_changed_is_read_or_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.parquet");
        let columns: [(_, ArrayRef); 2] = [
            ("id", Arc::new((0..20).map(Some).collect::<Int64Array>())),
            (
                "name",
                Arc::new((0..20).map(|id| (id % 3 > 0).then(|| format!("n{id}"))).collect::<StringArray>()),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        let mut table = Table::new(TableName::new("public", "t"));
        table.columns.push(Column::new("id", "bigint", TypeKind::Int64));
        table.columns.push(Column::new("name", "text", TypeKind::Text));
        let (table, files) = (Arc::new(table), TableFiles { paths: vec![path.clone()] });
        let (mut read, mut refused) = (0, 0);
        for codec in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
            let properties = WriterProperties::builder().set_compression(codec).build();
            let mut writer =
                ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
            writer.write(&batch).expect("written");
            let bytes = writer.into_inner().expect("closed");
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << (at % 8);
                std::fs::write(&path, changed).expect("written");
                match read_all(&table, &files) {
                    Ok(_) => read += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::Refused, "byte {at}: {}", error.chain());
                        refused += 1;
                    }
                }
            }
        }
        assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
    }

    fn read_all(table: &Arc<Table>, files: &TableFiles) -> Result<usize> {
        files::fit(table, files, false)?;
        let mut rows = 0;
        for group in RowGroups::new(table, files) {
            let reading = Reading { columns: vec![0, 1], rows_max: 7, ..Reading::default() };
            for arrays in group?.read(table, reading)? {
                rows += arrays?[0].len();
            }
        }
        Ok(rows)
    }
}
