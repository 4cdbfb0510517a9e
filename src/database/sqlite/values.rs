//! One value on its way: SQLite ──► wire form, and Arrow ──► parameter of an INSERT.
//!
//! ```text
//! Int64   8 bytes, big-endian     Float64  8 bytes, IEEE 754 bit for bit     Text  UTF-8     Bytes  as they are
//! Opaque  a byte for the class (1 integer, 2 real, 3 text, 4 blob), then the value in the form above
//! ```
//!
//! A live value that is not of its column's kind (the column held integers at snapshot time, and now text) is
//! no error here: it is written as eight bytes 0xFF and its opaque form. That is no value of the kinds Int64,
//! Float64 and Text, so a fingerprint differs and a decoder refuses it. Text that is not UTF-8 is refused: it
//! cannot travel. A NaN does not exist: SQLite stores it as NULL.

use arrow::array::{Array, AsArray, BinaryArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use sqlx::decode::Decode;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{Arguments, Row, TypeInfo, ValueRef};

use super::kinds::declared_kind;
use crate::error::{Error, Result};
use crate::model::wire::{Tuples, WireError};
use crate::model::{Table, TypeKind};

const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

/// Stands before a value that is not of its column's kind.
const MISFIT: [u8; 8] = [0xff; 8];

/// A value that cannot travel.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// Text with bytes that are no UTF-8.
    #[error("column '{0}' holds text that is not UTF-8")]
    NotUtf8(String),
    /// A value that is not of its column's kind.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The driver could not hand it over.
    #[error(transparent)]
    Driver(#[from] sqlx::Error),
}

/// A value as SQLite holds it.
enum Value<'r> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'r [u8]),
    Blob(&'r [u8]),
}

impl<'r> Value<'r> {
    fn of(row: &'r SqliteRow, index: usize) -> Result<Self, sqlx::Error> {
        let value = row.try_get_raw(index)?;
        if value.is_null() {
            return Ok(Self::Null);
        }
        let decoded: Result<Self, BoxDynError> = match value.type_info().name() {
            "INTEGER" => <i64 as Decode<Sqlite>>::decode(value).map(Self::Integer),
            "REAL" => <f64 as Decode<Sqlite>>::decode(value).map(Self::Real),
            "TEXT" => <&[u8] as Decode<Sqlite>>::decode(value).map(Self::Text),
            _ => <&[u8] as Decode<Sqlite>>::decode(value).map(Self::Blob),
        };
        decoded.map_err(sqlx::Error::Decode)
    }

    fn append(&self, kind: TypeKind, out: &mut Vec<u8>) {
        match (self, kind) {
            (Self::Null, _) => out.extend_from_slice(&(-1i32).to_be_bytes()),
            (Self::Integer(v), TypeKind::Int64) => field(out, &[], &v.to_be_bytes()),
            (Self::Real(v), TypeKind::Float64) => field(out, &[], &v.to_bits().to_be_bytes()),
            (Self::Text(v), TypeKind::Text) | (Self::Blob(v), TypeKind::Bytes) => field(out, &[], v),
            (_, TypeKind::Opaque) => self.append_tagged(&[], out),
            _ => self.append_tagged(&MISFIT, out),
        }
    }

    fn append_tagged(&self, prefix: &[u8], out: &mut Vec<u8>) {
        let (tag, bytes): (u8, &[u8]) = match self {
            Self::Null => return,
            Self::Integer(v) => (INTEGER, &v.to_be_bytes()),
            Self::Real(v) => (REAL, &v.to_bits().to_be_bytes()),
            Self::Text(v) => (TEXT, v),
            Self::Blob(v) => (BLOB, v),
        };
        if prefix.is_empty() {
            field(out, &[tag], bytes)
        } else {
            field(out, &[prefix, &[tag]].concat(), bytes)
        }
    }
}

fn field(out: &mut Vec<u8>, prefix: &[u8], bytes: &[u8]) {
    // SQLite's values are below 2 GB.
    out.extend_from_slice(&((prefix.len() + bytes.len()) as i32).to_be_bytes());
    out.extend_from_slice(prefix);
    out.extend_from_slice(bytes);
}

/// Turns rows of one SELECT into wire tuples.
pub struct RowEncoder {
    /// Names and kinds of the stored columns.
    columns: Vec<(String, TypeKind)>,
    /// Where they begin in the SELECT's result.
    first: usize,
}

impl RowEncoder {
    /// An encoder of the stored columns of `table`, which begin at result column `first`.
    pub fn new(table: &Table, first: usize) -> Self {
        let columns = table.stored_columns().map(|column| (column.name.clone(), column.kind)).collect();
        Self { columns, first }
    }

    /// Appends one row.
    pub fn push(&self, row: &SqliteRow, out: &mut Tuples) -> Result<(), ValueError> {
        // At most 2000 columns.
        out.bytes.extend_from_slice(&(self.columns.len() as i16).to_be_bytes());
        for (index, (name, kind)) in self.columns.iter().enumerate() {
            let value = Value::of(row, self.first + index)?;
            if let Value::Text(text) = value
                && std::str::from_utf8(text).is_err()
            {
                return Err(ValueError::NotUtf8(name.clone()));
            }
            value.append(*kind, &mut out.bytes);
        }
        out.ends.push(out.bytes.len());
        Ok(())
    }
}

/// Binds a value of a result to another statement; false for NULL.
pub fn rebind(row: &SqliteRow, index: usize, arguments: &mut SqliteArguments) -> Result<bool, sqlx::Error> {
    let bound = match Value::of(row, index)? {
        Value::Null => return Ok(false),
        Value::Integer(v) => arguments.add(v),
        Value::Real(v) => arguments.add(v),
        Value::Text(v) => std::str::from_utf8(v).map_err(Into::into).and_then(|v| arguments.add(v)),
        Value::Blob(v) => arguments.add(v),
    };
    bound.map(|()| true).map_err(sqlx::Error::Encode)
}

/// A text as the value that SQLite stores when it is written to a column of this declared type: its class, and its
/// wire form in that class.
pub fn preferred(type_name: &str, text: &str) -> (TypeKind, Vec<u8>) {
    let integer = |value: i64| (TypeKind::Int64, value.to_be_bytes().into());
    let real = |value: f64| (TypeKind::Float64, value.to_bits().to_be_bytes().into());
    let as_text = || (TypeKind::Text, text.as_bytes().into());
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    match (declared_kind(type_name), text.parse::<i64>(), number) {
        (TypeKind::Int64 | TypeKind::Opaque, Ok(value), _) => integer(value),
        (TypeKind::Int64 | TypeKind::Opaque, _, Some(value)) if value.fract() != 0.0 => real(value),
        (TypeKind::Float64, _, Some(value)) => real(value),
        _ => as_text(),
    }
}

/// A column of a batch, downcast once.
enum Cells<'a> {
    Int64(&'a PrimitiveArray<Int64Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Opaque(&'a BinaryArray),
}

/// The stored columns of a batch as parameters of an INSERT.
pub struct Parameters<'a> {
    columns: Vec<(&'a str, Cells<'a>)>,
}

impl<'a> Parameters<'a> {
    /// The columns of `batch` that `table` stores; refuses kinds that SQLite does not have.
    pub fn new(table: &'a Table, batch: &'a RecordBatch) -> Result<Self> {
        let columns = table.stored_columns().map(|column| {
            let (name, kind) = (column.name.as_str(), column.kind);
            let array =
                batch.column_by_name(name).filter(|array| *array.data_type() == kind.arrow()).ok_or_else(
                    || Error::bug(format!("a batch of '{}' has no {kind} column '{name}'", table.name)),
                )?;
            let cells = match kind {
                TypeKind::Int64 => Cells::Int64(array.as_primitive()),
                TypeKind::Float64 => Cells::Float64(array.as_primitive()),
                TypeKind::Text => Cells::Text(array.as_string()),
                TypeKind::Bytes => Cells::Bytes(array.as_binary()),
                TypeKind::Opaque => Cells::Opaque(array.as_binary()),
                other => {
                    let table = &table.name;
                    return Err(Error::refused(format!(
                        "unable to write '{table}': SQLite has no {other} for its column '{name}'"
                    )));
                }
            };
            Ok((name, cells))
        });
        Ok(Self { columns: columns.collect::<Result<_>>()? })
    }

    /// Adds the values of one row, in the table's order.
    pub fn bind(&self, row: usize, arguments: &mut SqliteArguments) -> Result<()> {
        for (name, cells) in &self.columns {
            cells
                .bind(row, arguments)
                .map_err(|error| Error::refused(format!("unable to write column '{name}'")).because(error))?;
        }
        Ok(())
    }
}

impl Cells<'_> {
    fn bind(&self, row: usize, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        match self {
            Self::Int64(a) => arguments.add(a.is_valid(row).then(|| a.value(row))),
            Self::Float64(a) => arguments.add(a.is_valid(row).then(|| a.value(row))),
            Self::Text(a) => arguments.add(a.is_valid(row).then(|| a.value(row))),
            Self::Bytes(a) => arguments.add(a.is_valid(row).then(|| a.value(row))),
            Self::Opaque(a) if a.is_null(row) => arguments.add(None::<i64>),
            Self::Opaque(a) => bind_tagged(a.value(row), arguments),
        }
    }
}

fn bind_tagged(value: &[u8], arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
    let wrong = || format!("a value of {} bytes has no class of SQLite in front", value.len());
    let (tag, bytes) = value.split_first().ok_or_else(wrong)?;
    let fixed = || bytes.try_into().map_err(|_| wrong());
    match *tag {
        INTEGER => arguments.add(i64::from_be_bytes(fixed()?)),
        REAL => arguments.add(f64::from_bits(u64::from_be_bytes(fixed()?))),
        TEXT => arguments.add(std::str::from_utf8(bytes)?),
        BLOB => arguments.add(bytes),
        _ => Err(wrong().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::sqlite::catalog;
    use crate::database::sqlite::kinds::observe;
    use crate::model::wire::{Decoder, encode};
    use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
    use std::sync::Arc;

    /// Values that programs get wrong, as SQL literals.
    const NASTY: [&str; 14] = [
        "NULL",
        "0",
        "-9223372036854775808",
        "9223372036854775807",
        "-0.0",
        "1e999",
        "-1e999",
        "4.9e-324",
        "''",
        "x''",
        "'a' || char(0) || 'b'",
        "char(0x10FFFF)",
        "x'00ff'",
        "'42'",
    ];

    async fn database(columns: &str, values: &[&str]) -> SqliteConnection {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.expect("memory");
        let sql = format!("CREATE TABLE t ({columns}); INSERT INTO t VALUES {}", values.join(", "));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("filled");
        connection
    }

    async fn observed(connection: &mut SqliteConnection) -> Table {
        let mut table = catalog::tables(connection).await.expect("catalog").remove(0);
        observe(connection, &mut table).await.expect("observed");
        table
    }

    async fn tuples(connection: &mut SqliteConnection, table: &Table) -> Result<Tuples, ValueError> {
        let mut out = Tuples::default();
        for row in sqlx::query("SELECT * FROM t ORDER BY rowid").fetch_all(connection).await? {
            RowEncoder::new(table, 0).push(&row, &mut out)?;
        }
        Ok(out)
    }

    #[tokio::test]
    async fn every_value_comes_back_bit_for_bit() {
        let rows: Vec<String> = NASTY.iter().map(|value| format!("({value})")).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        // A column of blobs takes any value as it is; the others keep to one class.
        for (column, rows, kind) in [
            ("v BLOB", rows.as_slice(), TypeKind::Opaque),
            ("v INTEGER", &rows[..4], TypeKind::Int64),
            ("v BLOB", &rows[4..8], TypeKind::Float64),
            ("v TEXT", &["('')", "('a' || char(0))", "('42')", "(NULL)"], TypeKind::Text),
            ("v", &["(x'')", "(x'00')", "(NULL)"], TypeKind::Bytes),
        ] {
            let mut connection = database(column, rows).await;
            let table = Arc::new(observed(&mut connection).await);
            assert_eq!(table.columns[0].kind, kind, "{column}");
            let before = tuples(&mut connection, &table).await.expect("read");
            let mut decoder = Decoder::new(table.clone());
            before.iter().for_each(|tuple| decoder.push(None, tuple).expect("decoded"));
            let batch = decoder.finish();
            assert_eq!(encode(&table, &batch).expect("encoded").bytes, before.bytes);
            sqlx::query("DELETE FROM t").execute(&mut connection).await.expect("deleted");
            let parameters = Parameters::new(&table, &batch).expect("parameters");
            for row in 0..batch.num_rows() {
                let mut arguments = SqliteArguments::default();
                parameters.bind(row, &mut arguments).expect("bound");
                let insert = sqlx::query_with("INSERT INTO t VALUES (?)", arguments);
                insert.execute(&mut connection).await.expect("inserted");
            }
            assert_eq!(tuples(&mut connection, &table).await.expect("read").bytes, before.bytes, "{column}");
        }
    }

    #[tokio::test]
    async fn a_value_of_another_kind_differs_and_does_not_decode() {
        let mut connection = database("v", &["(1)"]).await;
        let integers = Arc::new(observed(&mut connection).await);
        assert_eq!(integers.columns[0].kind, TypeKind::Int64);
        // Seven bytes of text and a tag would be eight bytes, the length of an integer.
        sqlx::raw_sql("DELETE FROM t; INSERT INTO t VALUES ('1234567')")
            .execute(&mut connection)
            .await
            .expect("text");
        let tuples = tuples(&mut connection, &integers).await.expect("no error yet");
        let error = Decoder::new(integers).push(None, &tuples.bytes).expect_err("refused");
        assert_eq!(error.to_string(), "column 'v' holds 16 bytes that are no int64");
    }

    #[tokio::test]
    async fn text_that_is_no_utf8_is_refused_by_name() {
        for rows in [["(CAST(x'ff' AS TEXT))", "('b')"], ["(CAST(x'ff' AS TEXT))", "(1)"]] {
            let mut connection = database("v", &rows).await;
            let table = observed(&mut connection).await;
            let error = tuples(&mut connection, &table).await.expect_err("refused");
            assert_eq!(error.to_string(), "column 'v' holds text that is not UTF-8");
        }
    }

    #[tokio::test]
    async fn a_database_in_utf16_gives_utf8() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.expect("memory");
        let sql = "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (v);
                   INSERT INTO t VALUES ('grün' || char(0) || '雨')";
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("filled");
        let table = observed(&mut connection).await;
        let tuples = tuples(&mut connection, &table).await.expect("read");
        assert_eq!(&tuples.bytes[6..], "grün\0雨".as_bytes());
    }

    #[test]
    fn damaged_opaque_values_are_refused() {
        let mut arguments = SqliteArguments::default();
        for value in [&b""[..], b"\x00", b"\x01abc", b"\x02", b"\x03\xff", b"\x09abc"] {
            assert!(bind_tagged(value, &mut arguments).is_err(), "{value:?}");
        }
    }
}
