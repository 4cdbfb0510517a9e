//! The tenant index: which rows of which file belong to which tenant, and their fingerprint.
//!
//! `tenants.parquet` holds one row for each tenant, table and file; since the data is clustered by tenant,
//! that is one range of rows. Rows without tenant have entries too, so that the entries of a file cover it
//! without gap. The index is read as a whole after its BLAKE3 was checked, and bounded before anything is
//! allocated for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::format;
use super::manifest::Manifest;
use crate::error::{Error, Result};
use crate::limits::{BATCH_ROWS_MAX, INDEX_ENTRIES_MAX, INDEX_TEXT_BYTES_MAX};
use crate::model::{Fingerprint, TableName, TenantId};

/// The rows of one tenant and table in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The owner; `None` for shared and unowned rows.
    pub tenant: Option<TenantId>,
    /// The table.
    pub table: TableName,
    /// Path of the file within the snapshot.
    pub file: String,
    /// First row in the file, from 0.
    pub first_row: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes in wire form.
    pub bytes: u64,
    /// Fingerprint of the rows.
    pub fingerprint: Fingerprint,
}

/// The entries of a snapshot, by tenant.
#[derive(Clone, Debug, Default)]
pub struct TenantIndex {
    /// Sorted by tenant (none last), table, file, first row.
    entries: Vec<IndexEntry>,
    /// Where each tenant's entries begin.
    starts: Vec<usize>,
    /// Where the entries without tenant begin.
    unowned: usize,
}

impl TenantIndex {
    /// An index of these entries.
    pub(crate) fn new(mut entries: Vec<IndexEntry>) -> Self {
        type Key<'a> = (bool, &'a Option<TenantId>, &'a TableName, &'a str, u64);
        fn key(entry: &IndexEntry) -> Key<'_> {
            (entry.tenant.is_none(), &entry.tenant, &entry.table, &entry.file, entry.first_row)
        }
        entries.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        let unowned = entries.partition_point(|entry| entry.tenant.is_some());
        let is_start = |at: &usize| *at == 0 || entries[*at].tenant != entries[*at - 1].tenant;
        let starts = (0..unowned).filter(is_start).collect();
        Self { starts, unowned, entries }
    }

    /// The tenants that own rows, in order.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.starts.iter().filter_map(|&start| self.entries[start].tenant.as_ref())
    }

    /// Number of tenants that own rows.
    pub fn tenants_len(&self) -> usize {
        self.starts.len()
    }

    /// Whether the tenant owns rows.
    pub fn contains(&self, tenant: &TenantId) -> bool {
        !self.of_tenant(tenant).is_empty()
    }

    /// The entries of a tenant, sorted by table, file and first row; empty if it owns nothing.
    pub fn of_tenant(&self, tenant: &TenantId) -> &[IndexEntry] {
        let found =
            self.starts.binary_search_by(|&start| self.entries[start].tenant.as_ref().cmp(&Some(tenant)));
        match found {
            Ok(at) => {
                &self.entries[self.starts[at]..self.starts.get(at + 1).map_or(self.unowned, |end| *end)]
            }
            Err(_) => &[],
        }
    }

    /// The entries of a tenant in one table.
    pub fn of(&self, tenant: &TenantId, table: &TableName) -> &[IndexEntry] {
        let entries = self.of_tenant(tenant);
        let start = entries.partition_point(|entry| entry.table < *table);
        let end = entries.partition_point(|entry| entry.table <= *table);
        &entries[start..end]
    }

    /// The entries of the rows of one table that no tenant owns.
    pub fn unowned_of(&self, table: &TableName) -> &[IndexEntry] {
        let entries = &self.entries[self.unowned..];
        let start = entries.partition_point(|entry| entry.table < *table);
        let end = entries.partition_point(|entry| entry.table <= *table);
        &entries[start..end]
    }

    /// Fingerprint of a tenant's rows in one table.
    pub fn fingerprint(&self, tenant: &TenantId, table: &TableName) -> Fingerprint {
        self.of(tenant, table).iter().map(|entry| entry.fingerprint).sum()
    }

    /// All entries, those without tenant last.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// Whether the entries cover the files of `manifest`, each row once. The first thing that does not fit.
    pub(crate) fn check(&self, manifest: &Manifest) -> Result<(), String> {
        let tables = manifest.tables.iter();
        let files: HashMap<&str, (&TableName, u64)> = tables
            .flat_map(|entry| {
                entry.files.iter().map(|file| (file.path.as_str(), (&entry.table.name, file.rows)))
            })
            .collect();
        let mut covered: HashMap<&str, Vec<(u64, u64)>> = HashMap::new();
        let mut owned: HashMap<&TableName, u64> = HashMap::new();
        for entry in &self.entries {
            if files.get(entry.file.as_str()).map(|(table, _)| *table) != Some(&entry.table) {
                return Err(format!("the tenant index names the file '{}'", entry.file.escape_debug()));
            }
            if entry.rows == 0 || entry.fingerprint.rows != entry.rows {
                return Err(format!("the tenant index does not fit the file '{}'", entry.file));
            }
            covered.entry(&entry.file).or_default().push((entry.first_row, entry.rows));
            if entry.tenant.is_some() {
                let sum = owned.entry(&entry.table).or_default();
                *sum = sum.saturating_add(entry.rows);
            }
        }
        for (file, (_, rows)) in &files {
            let mut ranges = covered.remove(file).unwrap_or_default();
            ranges.sort_unstable();
            let end = ranges.iter().try_fold(
                0u64,
                |end, (first, rows)| {
                    if *first == end { end.checked_add(*rows) } else { None }
                },
            );
            if end != Some(*rows) {
                return Err(format!("the tenant index does not fit the file '{file}'"));
            }
        }
        for entry in &manifest.tables {
            if owned.get(&entry.table.name).copied().unwrap_or(0) != entry.rows_owned {
                return Err(format!("the tenant index does not fit table '{}'", entry.table.name));
            }
        }
        if self.tenants_len() as u64 != manifest.tenants {
            return Err("the tenant index does not hold the manifest's number of tenants".into());
        }
        Ok(())
    }

    /// The index as a Parquet file.
    pub(crate) fn write(&self) -> Result<Vec<u8>> {
        let unable = |error| Error::bug("unable to write the tenant index").because(error);
        let mut writer =
            ArrowWriter::try_new(Vec::new(), schema(), Some(format::index(&["tenant", "table"])))
                .map_err(unable)?;
        for entries in self.entries.chunks(BATCH_ROWS_MAX) {
            writer.write(&batch(entries)?).map_err(unable)?;
        }
        writer.into_inner().map_err(unable)
    }

    /// Reads the file of an index that is to have `rows` entries. The cause says what is wrong.
    pub(crate) fn read(bytes: Bytes, rows: u64) -> Result<Self, String> {
        let wrong = |error: parquet::errors::ParquetError| error.to_string();
        // Views instead of copies: a small hostile file cannot make the reader repeat a long text.
        let options = ArrowReaderOptions::new().with_schema(viewed(&schema()));
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).map_err(wrong)?;
        let found = builder.metadata().file_metadata().num_rows();
        if u64::try_from(found) != Ok(rows) || rows > INDEX_ENTRIES_MAX {
            return Err(format!("it holds {found} entries, expected {rows} and at most {INDEX_ENTRIES_MAX}"));
        }
        let mut entries = Vec::new();
        let mut known = Names::default();
        for batch in builder.with_batch_size(BATCH_ROWS_MAX).build().map_err(wrong)? {
            read_batch(&batch.map_err(|error| error.to_string())?, &mut known, &mut entries)?;
        }
        if entries.len() as u64 != rows {
            return Err(format!("it holds {} entries, expected {rows}", entries.len()));
        }
        Ok(Self::new(entries))
    }
}

fn schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![
        text("tenant", true),
        text("table", false),
        text("file", false),
        number("first_row"),
        number("rows"),
        number("bytes"),
        text("fingerprint", false),
    ]))
}

/// The same schema with views instead of texts.
fn viewed(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Field::new(field.name(), DataType::Utf8View, field.is_nullable()),
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn batch(entries: &[IndexEntry]) -> Result<RecordBatch> {
    let texts = |of: fn(&IndexEntry) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(entries.iter().map(of)))
    };
    let numbers = |of: fn(&IndexEntry) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(entries.iter().map(|entry| of(entry) as i64)))
    };
    let tenants: StringArray =
        entries.iter().map(|entry| entry.tenant.as_ref().map(TenantId::as_str)).collect();
    let columns = vec![
        Arc::new(tenants) as ArrayRef,
        texts(|entry| entry.table.to_string()),
        texts(|entry| entry.file.clone()),
        numbers(|entry| entry.first_row),
        numbers(|entry| entry.rows),
        numbers(|entry| entry.bytes),
        texts(|entry| entry.fingerprint.to_string()),
    ];
    RecordBatch::try_new(schema(), columns)
        .map_err(|error| Error::bug("unable to write the tenant index").because(error))
}

/// Names of tables that have been parsed: they repeat in every entry.
#[derive(Default)]
struct Names(HashMap<String, TableName>);

impl Names {
    fn table(&mut self, text: &str) -> Result<TableName, String> {
        if let Some(name) = self.0.get(text) {
            return Ok(name.clone());
        }
        let name: TableName = text.parse().map_err(|error: Error| error.to_string())?;
        self.0.insert(text.to_owned(), name.clone());
        Ok(name)
    }
}

fn read_batch(batch: &RecordBatch, known: &mut Names, entries: &mut Vec<IndexEntry>) -> Result<(), String> {
    let columns = batch.columns();
    let text = |column: usize, row: usize| -> Result<&str, String> {
        let value = columns[column].as_string_view().value(row);
        if value.len() > INDEX_TEXT_BYTES_MAX {
            return Err(format!("a text of {} bytes, at most {INDEX_TEXT_BYTES_MAX} are read", value.len()));
        }
        Ok(value)
    };
    let number = |column: usize, row: usize| -> Result<u64, String> {
        let value = columns[column].as_primitive::<Int64Type>().value(row);
        u64::try_from(value).map_err(|_| format!("the number {value} where a count is expected"))
    };
    if columns[1..].iter().any(|column| column.null_count() > 0) {
        return Err("a value is missing".into());
    }
    for row in 0..batch.num_rows() {
        let tenant = match columns[0].is_null(row) {
            true => None,
            false => Some(TenantId::new(text(0, row)?)),
        };
        entries.push(IndexEntry {
            tenant,
            table: known.table(text(1, row)?)?,
            file: text(2, row)?.to_owned(),
            first_row: number(3, row)?,
            rows: number(4, row)?,
            bytes: number(5, row)?,
            fingerprint: text(6, row)?.parse().map_err(str::to_owned)?,
        });
    }
    Ok(())
}

/// The tenants that entries name, each once.
pub(crate) fn tenants_of<'a>(entries: impl Iterator<Item = &'a IndexEntry>) -> Vec<TenantId> {
    let tenants: HashSet<&TenantId> = entries.filter_map(|entry| entry.tenant.as_ref()).collect();
    let mut tenants: Vec<TenantId> = tenants.into_iter().cloned().collect();
    tenants.sort_unstable();
    tenants
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tenant: Option<&str>, table: &str, file: usize, first_row: u64, rows: u64) -> IndexEntry {
        IndexEntry {
            tenant: tenant.map(TenantId::new),
            table: TableName::new("public", table),
            file: format!("data/public.{table}/part-{file:05}.parquet"),
            first_row,
            rows,
            bytes: rows * 10,
            fingerprint: Fingerprint { rows, sum: u128::from(rows) << 100 },
        }
    }

    fn index() -> TenantIndex {
        TenantIndex::new(vec![
            entry(None, "a", 0, 9, 1),
            entry(Some("20"), "b.c", 1, 0, 4),
            entry(Some("3"), "a", 0, 5, 4),
            entry(Some("20"), "a", 0, 0, 5),
            entry(Some("20"), "b.c", 0, 0, 7),
        ])
    }

    #[test]
    fn entries_are_found_by_tenant_and_table() {
        let index = index();
        let tenants: Vec<&str> = index.tenants().map(TenantId::as_str).collect();
        assert_eq!(tenants, ["20", "3"]);
        let rows = |entries: &[IndexEntry]| entries.iter().map(|entry| entry.rows).collect::<Vec<_>>();
        assert_eq!(rows(index.of_tenant(&TenantId::new("20"))), [5, 7, 4]);
        assert_eq!(rows(index.of(&TenantId::new("20"), &TableName::new("public", "b.c"))), [7, 4]);
        assert_eq!(rows(index.of_tenant(&TenantId::new("3"))), [4]);
        assert!(!index.contains(&TenantId::new("2")) && index.contains(&TenantId::new("3")));
        assert_eq!(index.fingerprint(&TenantId::new("20"), &TableName::new("public", "b.c")).rows, 11);
        assert_eq!(TenantIndex::default().tenants().count(), 0);
    }

    #[test]
    fn the_file_form_survives() {
        let index = index();
        let bytes = Bytes::from(index.write().expect("write"));
        let read = TenantIndex::read(bytes.clone(), 5).expect("read");
        assert_eq!(read.entries, index.entries);
        assert_eq!(
            TenantIndex::read(bytes, 6).expect_err("wrong count"),
            "it holds 5 entries, expected 6 and at most 16777216"
        );
        let empty = TenantIndex::default().write().expect("write");
        assert!(TenantIndex::read(empty.into(), 0).expect("read").entries.is_empty());
    }
}
