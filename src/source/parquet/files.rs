//! Which files hold which table, and what their footers say.
//!
//! ```text
//! DIR/<schema>.<table>.parquet     DIR/<table>.parquet
//! DIR/<schema>.<table>/**.parquet  DIR/<table>/**.parquet      without the schema where only one table is meant
//! ```
//!
//! A cloud provider's export names its files `.gz.parquet`; these are Parquet files like any other.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::{ChunkReader, Length};

use super::convert::Conversion;
use crate::error::{Error, Result};
use crate::model::{Column, Table, TableName, TypeKind};

/// The files of a table, all with the same columns.
#[derive(Clone, Debug, Default)]
pub struct TableFiles {
    pub paths: Vec<PathBuf>,
}

/// A data file that is being read.
pub struct OpenFile {
    pub path: PathBuf,
    pub file: LocalFile,
    pub metadata: ArrowReaderMetadata,
    /// Where each stored column of the table is in the file, and how its values are converted.
    pub columns: Vec<(usize, Conversion)>,
}

/// A file that is read from several threads, each at its own place.
#[derive(Clone)]
pub struct LocalFile {
    file: Arc<File>,
    bytes: u64,
}

/// A place in a file.
pub struct Place {
    file: Arc<File>,
    at: u64,
}

impl Read for Place {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(out, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Length for LocalFile {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for LocalFile {
    type T = BufReader<Place>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(Place { file: Arc::clone(&self.file), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.bytes) {
            return Err(ParquetError::EOF(format!("{length} bytes from {start} are not in the file")));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

impl OpenFile {
    /// The metadata by which these stored columns come as dictionaries, as far as they are texts.
    pub fn with_dictionaries(&self, columns: &[usize]) -> parquet::errors::Result<ArrowReaderMetadata> {
        if columns.is_empty() {
            return Ok(self.metadata.clone());
        }
        let roots: Vec<usize> = columns.iter().map(|column| self.columns[*column].0).collect();
        let fields = self.metadata.schema().fields().iter().enumerate().map(|(root, field)| {
            let is_one = roots.contains(&root) && *field.data_type() == DataType::Utf8;
            let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            if is_one { Arc::new(field.as_ref().clone().with_data_type(text)) } else { Arc::clone(field) }
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_schema(schema);
        ArrowReaderMetadata::try_new(Arc::clone(self.metadata.metadata()), options)
    }
}

/// The files of each `needed` one of `tables` below a folder, and what is there that is no table's.
pub fn find(
    folder: &Path,
    tables: &[Table],
    needed: &[&Table],
) -> Result<(BTreeMap<TableName, TableFiles>, Vec<String>)> {
    let unable = |error| {
        Error::usage(format!("unable to read folder '{}'", folder.display()))
            .because(error)
            .hint("--from takes the folder that holds a folder or a file for each table")
    };
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unable)? {
        let path = entry.map_err(unable)?.path();
        if let Some(name) = table_of(&path) {
            entries.insert(path, name);
        }
    }
    let mut found = BTreeMap::new();
    for table in needed {
        let name = &table.name;
        let mut of_table: Vec<&PathBuf> =
            entries.iter().filter(|(_, entry)| is_for(entry, name, tables)).map(|(path, _)| path).collect();
        if let Some(second) = of_table.get(1) {
            let (first, second) = (of_table[0].display(), second.display());
            let message = format!("unable to tell which files hold table '{name}': '{first}' or '{second}'");
            return Err(Error::usage(message).hint("leave one of them in the folder"));
        }
        let Some(path) = of_table.pop() else {
            let message =
                format!("unable to find the files of table '{name}' in folder '{}'", folder.display());
            return Err(Error::refused(message).hint(format!(
                "they are looked for in '{name}.parquet' and '{name}/'; an empty folder is an empty table, and the rule \"excluded\" leaves one out"
            )));
        };
        let mut paths = Vec::new();
        data_files(path, &mut paths).map_err(unable)?;
        paths.sort();
        found.insert(name.clone(), TableFiles { paths });
    }
    let is_known = |entry: &str| tables.iter().any(|table| is_for(entry, &table.name, tables));
    let unknown = entries.into_values().filter(|entry| !is_known(entry)).collect();
    Ok((found, unknown))
}

/// What a file or folder calls its table; `None` for what holds none.
fn table_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if is_hidden(name) {
        return None;
    }
    let name = match name.strip_suffix(".parquet") {
        Some(name) => name,
        // Some writers call their folders like files, others do not.
        None if path.is_dir() => name,
        None => return None,
    };
    Some(name.strip_suffix(".gz").unwrap_or(name).to_owned())
}

/// Marks of who wrote the folder: `_SUCCESS`, checksums.
fn is_hidden(name: &str) -> bool {
    name.starts_with(['_', '.'])
}

/// Whether an entry's name means this table. Some characters do not survive in object stores.
fn is_for(entry: &str, table: &TableName, tables: &[Table]) -> bool {
    let stored = |name: String| name.replace(['\\', '`', '"', ' '], "_");
    let (plain, full) = (&table.table, format!("{}.{}", table.schema, table.table));
    let is_only = || tables.iter().filter(|other| other.name.table == *plain).count() == 1;
    let is = |name: String| entry == name || entry == stored(name);
    is(full) || (is_only() && is(plain.clone()))
}

fn data_files(path: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !is_hidden(name) && (path.is_dir() || name.ends_with(".parquet")) {
            data_files(&path, found)?;
        }
    }
    Ok(())
}

/// Reads a footer.
fn load(path: &Path, table: &TableName) -> Result<(LocalFile, ArrowReaderMetadata)> {
    let unable = || {
        let message = format!("unable to read file '{}' of table '{table}'", path.display());
        Error::refused(message).hint("export the table again")
    };
    let file = File::open(path).map_err(|error| unable().because(error))?;
    let bytes = file.metadata().map_err(|error| unable().because(error))?.len();
    let file = LocalFile { file: Arc::new(file), bytes };
    // The types are Parquet's own, whatever a writer's library would like them to become.
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_offset_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&file, options).map_err(|error| unable().because(error))?;
    let chunks = metadata.metadata().row_groups().iter().flat_map(|group| group.columns());
    let mut codecs = chunks.map(|chunk| chunk.compression());
    if codecs.any(|codec| matches!(codec, Compression::BROTLI(_) | Compression::LZO)) {
        return Err(unable().hint("its codec is not supported: use zstd, gzip, snappy or lz4"));
    }
    Ok((file, metadata))
}

/// Looks at all files of a table before any row is read: the table with the columns that they hold. Where values have
/// types and columns have none (`observed`), the files' types are the columns'.
pub fn fit(table: &Table, files: &TableFiles, observed: bool) -> Result<Table> {
    let mut fitted = table.clone();
    let mut first: Option<Arc<Schema>> = None;
    for path in &files.paths {
        let (_, metadata) = load(path, &table.name)?;
        let schema = metadata.schema();
        if let Some(first) = &first {
            same_columns(&table.name, first, schema, [&files.paths[0], path])?;
        } else {
            refuse_unknown(table, schema, path)?;
            leave_out(&mut fitted, schema)?;
            if observed {
                fitted.columns.iter_mut().for_each(|column| observe(column, schema));
            }
            first = Some(Arc::clone(schema));
        }
        conversions(&fitted, schema, path)?;
    }
    Ok(fitted)
}

/// Opens one of the files of a table for reading.
pub fn open(table: &Table, path: &Path) -> Result<OpenFile> {
    let (file, metadata) = load(path, &table.name)?;
    let columns = conversions(table, metadata.schema(), path)?;
    Ok(OpenFile { path: path.to_owned(), file, metadata, columns })
}

fn same_columns(table: &TableName, first: &Schema, schema: &Schema, paths: [&PathBuf; 2]) -> Result<()> {
    let missing = |from: &Schema, of: &Schema| {
        of.fields()
            .iter()
            .find(|field| from.index_of(field.name()).is_err())
            .map(|field| field.name().clone())
    };
    let (holds, lacks, column) = match (missing(schema, first), missing(first, schema)) {
        (Some(column), _) => (paths[0], paths[1], column),
        (None, Some(column)) => (paths[1], paths[0], column),
        (None, None) => return Ok(()),
    };
    let (holds, lacks) = (holds.display(), lacks.display());
    Err(Error::refused(format!(
        "unable to read table '{table}': file '{holds}' has column '{column}', and file '{lacks}' has not"
    ))
    .hint("export the table again, all of it at once"))
}

fn refuse_unknown(table: &Table, schema: &Schema, path: &Path) -> Result<()> {
    match schema.fields().iter().find(|field| table.column(field.name()).is_none()) {
        None => Ok(()),
        Some(field) => Err(Error::refused(format!(
            "unable to import table '{}': file '{}' has column '{}', which the live table has not",
            table.name,
            path.display(),
            field.name()
        ))
        .hint(
            "its values could not come back; export the table without the column if nobody will miss them",
        )),
    }
}

/// Takes the columns that the files lack out of the table, as if they had been added since.
fn leave_out(table: &mut Table, schema: &Schema) -> Result<()> {
    let lacks = |name: &String| schema.index_of(name).is_err();
    if let Some(column) = table.primary_key.iter().find(|name| lacks(name)) {
        let message = format!("unable to import table '{}': its files lack column '{column}'", table.name);
        return Err(Error::refused(message).hint("it is part of the primary key; export the table with it"));
    }
    let missing: Vec<String> =
        table.stored_columns().map(|column| column.name.clone()).filter(|name| lacks(name)).collect();
    let holds = |columns: &[String]| !columns.iter().any(|name| missing.contains(name));
    table.columns.retain(|column| !missing.contains(&column.name));
    table.unique_keys.retain(|key| holds(&key.columns));
    table.foreign_keys.retain(|key| holds(&key.columns));
    table.partition_keys.retain(|part| holds(&part.key.columns));
    table.checks.retain(|check| holds(&check.columns));
    table.fixed_columns.retain(|name| !missing.contains(name));
    table.sequences.retain(|sequence| !missing.contains(&sequence.column));
    Ok(())
}

fn observe(column: &mut Column, schema: &Schema) {
    let Ok(field) = schema.field_with_name(&column.name) else { return };
    column.kind = match field.data_type() {
        from if from.is_integer() => TypeKind::Int64,
        DataType::Float64 => TypeKind::Float64,
        DataType::Utf8 => TypeKind::Text,
        DataType::Binary => TypeKind::Bytes,
        _ => column.kind,
    };
}

fn conversions(table: &Table, schema: &Schema, path: &Path) -> Result<Vec<(usize, Conversion)>> {
    let of = |column: &Column| {
        let name = &column.name;
        let at = schema.index_of(name).map_err(|error| {
            let message = format!("unable to read table '{}': file '{}'", table.name, path.display());
            Error::refused(format!("{message} has no column '{name}' any more")).because(error)
        })?;
        let from = schema.field(at).data_type();
        let conversion = Conversion::new(column, from).ok_or_else(|| {
            Error::refused(format!(
                "unable to import column '{name}' of table '{}': there is no exact way from {from} to {} (file '{}')",
                table.name,
                column.type_name,
                path.display()
            ))
            .hint("export it as the text that the database prints, or without the column")
        })?;
        Ok((at, conversion))
    };
    table.stored_columns().map(of).collect()
}
