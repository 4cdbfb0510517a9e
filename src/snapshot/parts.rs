//! From sorted rows to data files: Parquet parts built in memory, each with the index entries of its rows.
//!
//! A part is complete, hashed and bounded before it is put, so a put is one create-only request. A tenant's
//! rows may cross from one part into the next: each part has an entry of its own for them.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Decimal128Type, Int64Type, SchemaRef};
use bytes::Bytes;

use super::index::IndexEntry;
use super::layout;
use super::manifest::FileEntry;
use super::pages::Run;
use super::sort::LENGTH_COLUMN;
use super::writer::DataWriter;
use crate::error::{Error, Result};
use crate::limits::{ROW_GROUPS_OF_A_PART, TENANT_ID_BYTES_MAX};
use crate::model::{Fingerprint, HASH_COLUMN, TENANT_COLUMN, Table, TableName, TenantId};

/// A finished data file.
pub(super) struct Part {
    pub file: FileEntry,
    pub bytes: Bytes,
    pub entries: Vec<IndexEntry>,
}

/// Builds the parts of one table.
pub(super) struct PartBuilder {
    table: TableName,
    schema: SchemaRef,
    part_bytes_max: usize,
    parts: usize,
    open: Option<OpenPart>,
    /// Owner of the last row, to see that the rows come sorted; outer `None` before the first row.
    last: Option<Option<TenantId>>,
}

struct OpenPart {
    writer: DataWriter,
    path: String,
    rows: u64,
    entries: Vec<IndexEntry>,
}

impl PartBuilder {
    pub(super) fn new(table: &Table, part_bytes_max: usize) -> Self {
        Self {
            table: table.name.clone(),
            schema: table.arrow_schema(),
            part_bytes_max,
            parts: 0,
            open: None,
            last: None,
        }
    }

    /// Adds sorted rows. If they might not fit any more, the part before them is finished and returned.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<Option<Part>> {
        let rows_bytes = batch.get_array_memory_size();
        let is_full = |open: &OpenPart| open.writer.bytes() + rows_bytes > self.part_bytes_max;
        let finished = if self.open.as_ref().is_some_and(is_full) { self.finish()? } else { None };
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        let values: Vec<usize> = (0..self.schema.fields().len()).collect();
        let stored = batch.project(&values).and_then(|batch| batch.with_schema(self.schema.clone()));
        let stored = stored.map_err(|error| self.unable().because(error))?;
        let is_begun = open.entries.len();
        let runs = self.index(batch, &mut open)?;
        // The first run goes on with the last one's tenant if it opened no entry of its own.
        let is_begun = open.entries.len() - is_begun < runs.len();
        open.writer.write(stored, &runs, is_begun).map_err(|error| self.unable().because(error))?;
        open.rows += batch.num_rows() as u64;
        self.open = Some(open);
        Ok(finished)
    }

    /// Finishes the last part, if there is one.
    pub(super) fn finish(&mut self) -> Result<Option<Part>> {
        let Some(open) = self.open.take() else { return Ok(None) };
        let OpenPart { writer, path, rows, entries } = open;
        let bytes = Bytes::from(writer.finish().map_err(|error| self.unable().because(error))?);
        let blake3 = blake3::hash(&bytes).to_hex().to_string();
        let file = FileEntry { path, bytes: bytes.len() as u64, blake3, rows };
        Ok(Some(Part { file, bytes, entries }))
    }

    fn unable(&self) -> Error {
        Error::bug(format!("unable to write rows of table '{}' as Parquet", self.table))
    }

    fn begin(&mut self) -> Result<OpenPart> {
        let writer =
            DataWriter::new(self.schema.clone(), TENANT_COLUMN, self.part_bytes_max / ROW_GROUPS_OF_A_PART)
                .map_err(|error| self.unable().because(error))?;
        let path = layout::data_file(&self.table, self.parts);
        self.parts += 1;
        Ok(OpenPart { writer, path, rows: 0, entries: Vec::new() })
    }

    /// Sums the rows of `batch` up by tenant. Returns the runs of its tenants.
    fn index(&mut self, batch: &RecordBatch, open: &mut OpenPart) -> Result<Vec<Run>> {
        let lacks = |column: &str| Error::bug(format!("sorted rows lack column '{column}'"));
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| lacks(name));
        let tenants: &StringArray =
            column(TENANT_COLUMN)?.as_string_opt().ok_or_else(|| lacks(TENANT_COLUMN))?;
        let hashes =
            column(HASH_COLUMN)?.as_primitive_opt::<Decimal128Type>().ok_or_else(|| lacks(HASH_COLUMN))?;
        let lengths =
            column(LENGTH_COLUMN)?.as_primitive_opt::<Int64Type>().ok_or_else(|| lacks(LENGTH_COLUMN))?;
        let mut runs = Vec::new();
        for row in 0..batch.num_rows() {
            let tenant = (!tenants.is_null(row)).then(|| tenants.value(row));
            let is_same = |last: &Option<TenantId>| last.as_ref().map(TenantId::as_str) == tenant;
            if !self.last.as_ref().is_some_and(is_same) {
                self.turn_to(tenant)?;
            }
            let is_begun = |entry: &IndexEntry| entry.tenant.as_ref().map(TenantId::as_str) == tenant;
            let is_new = !open.entries.last().is_some_and(is_begun);
            if is_new || runs.is_empty() {
                runs.push(Run::default());
            }
            if is_new {
                open.entries.push(IndexEntry {
                    tenant: tenant.map(TenantId::new),
                    table: self.table.clone(),
                    file: open.path.clone(),
                    first_row: open.rows + row as u64,
                    rows: 0,
                    bytes: 0,
                    fingerprint: Fingerprint::default(),
                });
            }
            let (Some(entry), Some(run)) = (open.entries.last_mut(), runs.last_mut()) else {
                return Err(self.unable());
            };
            entry.fingerprint.add(hashes.value(row).cast_unsigned());
            entry.rows += 1;
            let bytes = u64::try_from(lengths.value(row)).unwrap_or(0);
            entry.bytes += bytes;
            *run = Run { rows: run.rows + 1, bytes: run.bytes + bytes };
        }
        Ok(runs)
    }

    /// The rows of another tenant begin: it must come later in the order than the one before.
    fn turn_to(&mut self, tenant: Option<&str>) -> Result<()> {
        let next = tenant.map(TenantId::new);
        let key = |tenant: &Option<TenantId>| (tenant.is_none(), tenant.clone());
        if self.last.as_ref().is_some_and(|last| key(last) >= key(&next)) {
            return Err(Error::bug(format!("the rows of table '{}' are not sorted by tenant", self.table)));
        }
        if let Some(long) = tenant.filter(|tenant| tenant.len() > TENANT_ID_BYTES_MAX) {
            let start: String = long.chars().take(40).collect();
            return Err(Error::refused(format!(
                "unable to snapshot table '{}': tenant id '{}…' has {} bytes",
                self.table,
                start.escape_debug(),
                long.len()
            ))
            .hint(format!(
                "a tenant list takes ids of at most {TENANT_ID_BYTES_MAX} bytes; is this the tenant column?"
            )));
        }
        self.last = Some(next);
        Ok(())
    }
}
