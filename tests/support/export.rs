//! A database as Parquet files, written by the tests' own code: text for what Parquet has no type for, as a cloud
//! provider's export has it, in no order, in small row groups, over several files.

#![allow(dead_code)] // Each test binary uses its own part.

use std::fs::{self, File};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    ListBuilder, PrimitiveBuilder, RecordBatch, StringArray, UInt32Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

/// Rows of one row group.
const GROUP_ROWS: usize = 3;
/// Rows of one file.
const FILE_ROWS: usize = 8;

/// Writes every table of a database below a folder: files of a table in a folder of its own.
pub async fn export(url: &str, folder: &Path) {
    let tables = if url.starts_with("postgres") { of_postgres(url).await } else { of_sqlite(url).await };
    for (table, batch) in tables {
        write_folder(&folder.join(table), &batch);
    }
}

/// A folder of files with shuffled rows, beside what other tools leave there.
pub fn write_folder(folder: &Path, batch: &RecordBatch) {
    fs::create_dir_all(folder.join("1")).expect("a folder");
    fs::write(folder.join("1/_SUCCESS"), "").expect("a mark");
    let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut order);
    for (number, rows) in order.chunks(FILE_ROWS).enumerate() {
        let rows = take_record_batch(batch, &UInt32Array::from(rows.to_vec())).expect("rows");
        write(&folder.join(format!("1/part-{number:05}.gz.parquet")), &rows, number);
    }
}

/// One file; `number` picks one of the codecs and versions that exports come in.
pub fn write(path: &Path, batch: &RecordBatch, number: usize) {
    let codecs = [
        Compression::GZIP(parquet::basic::GzipLevel::default()),
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
        Compression::UNCOMPRESSED,
    ];
    let properties = WriterProperties::builder()
        .set_compression(codecs[number % codecs.len()])
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_dictionary_enabled(number.is_multiple_of(2))
        .set_bloom_filter_enabled(number.is_multiple_of(3));
    let file = File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).expect("a writer");
    writer.write(batch).expect("written");
    writer.close().expect("closed");
}

async fn of_postgres(url: &str) -> Vec<(String, RecordBatch)> {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    let settings = "set timezone = 'UTC'; set datestyle = 'ISO'; set extra_float_digits = 3";
    sqlx::raw_sql(settings).execute(&mut connection).await.expect("settings");
    let tables = "select n.nspname || '.' || c.relname, c.oid::int8 from pg_class c
                  join pg_namespace n on n.oid = c.relnamespace
                  where c.relkind in ('r', 'p') and not c.relispartition
                    and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'reinstate')";
    let tables: Vec<(String, i64)> = sqlx::query_as(tables).fetch_all(&mut connection).await.expect("tables");
    let mut exported = Vec::new();
    for (table, oid) in tables {
        let columns = "select attname::text, format_type(atttypid, atttypmod) from pg_attribute
                       where attrelid = $1::oid and attnum > 0 and not attisdropped and attgenerated = ''
                       order by attnum";
        let columns: Vec<(String, String)> =
            sqlx::query_as(columns).bind(oid).fetch_all(&mut connection).await.expect("columns");
        let mut arrays: Vec<(String, ArrayRef)> = Vec::new();
        for (column, type_name) in columns {
            let quoted = format!("\"{}\"", column.replace('"', "\"\""));
            let sql = format!("select {quoted}::text from {table} order by ctid");
            let texts: Vec<Option<String>> =
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("values");
            arrays.push((column, of_texts(&type_name, texts)));
        }
        exported.push((table, RecordBatch::try_from_iter(arrays).expect("a batch")));
    }
    exported
}

/// Numbers, truth values and bytes as such, one kind of array as a list, everything else as text.
fn of_texts(type_name: &str, texts: Vec<Option<String>>) -> ArrayRef {
    fn parsed<T: FromStr>(texts: Vec<Option<String>>) -> Vec<Option<T>> {
        let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{text}"));
        texts.into_iter().map(|text| text.map(parse)).collect()
    }
    match type_name {
        "boolean" => {
            Arc::new(texts.iter().map(|text| text.as_ref().map(|t| t == "true")).collect::<BooleanArray>())
        }
        "smallint" => Arc::new(Int16Array::from(parsed(texts))),
        "integer" => Arc::new(Int32Array::from(parsed(texts))),
        "bigint" => Arc::new(Int64Array::from(parsed(texts))),
        "real" => Arc::new(Float32Array::from(parsed(texts))),
        "double precision" => Arc::new(Float64Array::from(parsed(texts))),
        "bytea" => {
            let byte =
                |hex: &[u8]| u8::from_str_radix(std::str::from_utf8(hex).expect("hex"), 16).expect("hex");
            let bytes = |text: String| text.as_bytes()[2..].chunks(2).map(byte).collect::<Vec<u8>>();
            Arc::new(texts.into_iter().map(|text| text.map(bytes)).collect::<BinaryArray>())
        }
        "bigint[]" => {
            let mut lists = ListBuilder::new(PrimitiveBuilder::<Int64Type>::new());
            for text in texts {
                let Some(text) = text else {
                    lists.append_null();
                    continue;
                };
                let elements = text.trim_matches(['{', '}']).split(',').filter(|element| !element.is_empty());
                elements.for_each(|element| lists.values().append_option(element.parse().ok()));
                lists.append(true);
            }
            Arc::new(lists.finish())
        }
        _ => Arc::new(StringArray::from(texts)),
    }
}

async fn of_sqlite(url: &str) -> Vec<(String, RecordBatch)> {
    let mut connection = SqliteConnection::connect(url).await.expect("a connection");
    let tables = "select name from pragma_table_list where schema = 'main' and type = 'table'
                  and name not like 'sqlite\\_%' escape '\\' and name not in ('reinstate_journal', 'reinstate_event', 'reinstate_gate')";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.expect("tables");
    let mut exported = Vec::new();
    for table in tables {
        let columns = "select name from pragma_table_info(?)";
        let columns: Vec<String> =
            sqlx::query_scalar(columns).bind(&table).fetch_all(&mut connection).await.expect("columns");
        let mut arrays: Vec<(String, ArrayRef)> = Vec::new();
        for column in columns {
            let sql = format!("select \"{column}\", typeof(\"{column}\") from \"{table}\" order by rowid");

            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("values");
            let is_text = rows.iter().any(|row| row.get::<&str, _>(1) == "text");
            let array: ArrayRef = if is_text {
                Arc::new(rows.iter().map(|row| row.get::<Option<String>, _>(0)).collect::<StringArray>())
            } else {
                Arc::new(rows.iter().map(|row| row.get::<Option<i64>, _>(0)).collect::<Int64Array>())
            };
            arrays.push((column, array));
        }
        exported.push((format!("main.{table}"), RecordBatch::try_from_iter(arrays).expect("a batch")));
    }
    connection.close().await.expect("close");
    exported
}
