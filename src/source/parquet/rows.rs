//! Row groups of a table's files: which there are, and some of their columns, converted.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::ArrayRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection};

use super::files::{self, OpenFile, TableFiles};
use crate::error::{Error, Result};
use crate::limits::{BATCH_BYTES_MAX, BATCH_ROWS_MAX};
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

impl RowGroup {
    /// Rows of one batch: fewer where they are wide.
    fn batch_rows(&self) -> usize {
        let group = self.file.metadata.metadata().row_group(self.number);
        let bytes = group.total_byte_size().max(1) / group.num_rows().max(1);
        (BATCH_BYTES_MAX / usize::try_from(bytes).unwrap_or(1).max(1)).clamp(1, BATCH_ROWS_MAX)
    }

    /// Reads these stored columns of the table, of all rows or of some.
    pub fn read(
        &self,
        table: &Arc<Table>,
        columns: &[usize],
        selection: Option<RowSelection>,
    ) -> Result<Columns> {
        let file = &self.file;
        let mut roots: Vec<usize> = columns.iter().map(|column| file.columns[*column].0).collect();
        roots.sort_unstable();
        let at =
            |column: &usize| (*column, roots.binary_search(&file.columns[*column].0).unwrap_or_default());
        let columns = columns.iter().map(at).collect();
        let metadata = file.metadata.clone();
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.iter().copied());
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.file.clone(), metadata)
            .with_row_groups(vec![self.number])
            .with_projection(mask)
            .with_batch_size(self.batch_rows());
        if let Some(selection) = selection {
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
        let batch = match self.reader.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(unable(&self.table, &self.file).because(error))),
        };
        let convert = |(column, at): &(usize, usize)| {
            self.file.columns[*column].1.apply(batch.column(*at)).ok_or_else(|| {
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

fn unable(table: &Table, file: &OpenFile) -> Error {
    let message = format!("unable to read file '{}' of table '{}'", file.path.display(), table.name);
    Error::refused(message).hint("the file is damaged; export the table again")
}
