//! Rows as a relation on the server: `SELECT … FROM unnest($1) k`, where `$1` is one binary array of the table's own
//! row type.
//!
//! ```text
//! array  = i32 dimensions 1 │ i32 0 │ oid of the row type │ i32 rows │ i32 1 │ (i32 length, record)…
//! record = i32 fields │ (oid of the column's type, i32 length or -1, bytes)…         the bytes are the wire form's
//! ```
//!
//! So values of every type arrive as they are: domains, enums, composites, arrays. Results come back the same way, as
//! one `record_send` a row.

use sqlx::Row;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgConnection, PgTypeInfo};
use sqlx::{Postgres, Type};

use super::catalog::Relations;
use super::error::failure;
use crate::error::{Error, Result};
use crate::model::wire::{Tuples, WireError, fields, push_tuple};
use crate::model::{Table, TableName, quote_identifier};

/// The column of a relation that counts its rows from 1; no table has one of this name.
pub const PLACE: &str = "\"reinstate place\"";

/// The row type of a live table.
pub struct RowType {
    array: u32,
    element: u32,
    columns: Vec<LiveColumn>,
}

struct LiveColumn {
    name: String,
    type_oid: u32,
    /// May refuse NULL even where the column's value is not asked for.
    is_domain: bool,
    /// The expression of a generated column: computed anew, since the row does not bring it.
    generated: Option<String>,
    /// The default of a column, if it is a constant: what a row gets that does not bring the column.
    constant: Option<String>,
}

const ROW_TYPE: &str =
    "select t.typarray::int8, t.oid::int8, a.attname::text, a.atttypid::int8, y.typtype = 'd',
            case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end,
            case when a.attgenerated = '' and pg_get_expr(d.adbin, d.adrelid) ~ '^(''[^'']*''|-?[0-9.]+|true|false)(::[^(]*)?$'
                 then pg_get_expr(d.adbin, d.adrelid) end
     from pg_class c join pg_type t on t.oid = c.reltype
     join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     join pg_type y on y.oid = a.atttypid
     left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where c.oid = $1 order by a.attnum";

type RowTypeRow = (i64, i64, String, i64, bool, Option<String>, Option<String>);

/// Reads the row type of a table.
pub async fn row_type(
    connection: &mut PgConnection,
    relations: &Relations,
    name: &TableName,
) -> Result<RowType> {
    let unable = |error| failure(format!("unable to read the row type of '{name}'"), error);
    let rows: Vec<RowTypeRow> = sqlx::query_as(ROW_TYPE)
        .bind(Oid(relations.get(name)?.oid))
        .fetch_all(connection)
        .await
        .map_err(unable)?;
    let Some(&(array, element, ..)) = rows.first() else {
        return Err(Error::undecided(format!("unable to ask about rows of '{name}': it has no columns")));
    };
    let column = |(_, _, name, oid, is_domain, generated, constant)| LiveColumn {
        name,
        // An oid is an unsigned 32-bit number.
        type_oid: oid_of(oid),
        is_domain,
        generated,
        constant,
    };
    Ok(RowType {
        array: oid_of(array),
        element: oid_of(element),
        columns: rows.into_iter().map(column).collect(),
    })
}

fn oid_of(number: i64) -> u32 {
    number as u32
}

impl RowType {
    /// The FROM item whose one parameter is `$1`: the table's columns and [`PLACE`], under the alias `alias`. Columns
    /// that rows of `table` do not bring have their defaults, as far as those are constants.
    pub fn from_item(&self, table: &Table, alias: &str) -> String {
        let mut arriving = Vec::with_capacity(self.columns.len());
        let mut shown = Vec::with_capacity(self.columns.len());
        for (number, column) in self.columns.iter().enumerate() {
            let name = quote_identifier(&column.name);
            let is_brought = table.stored_columns().any(|stored| stored.name == column.name);
            let absent = column.constant.as_ref().filter(|_| !is_brought);
            match column.generated.as_ref().or(absent) {
                None => {
                    shown.push(name.clone());
                    arriving.push(name);
                }
                Some(expression) => {
                    shown.push(format!("({expression}) AS {name}"));
                    arriving.push(format!("\"reinstate generated {number}\""));
                }
            }
        }
        format!(
            "(SELECT {}, {PLACE} FROM pg_catalog.unnest($1) WITH ORDINALITY AS arriving({}, {PLACE})) {alias}",
            shown.join(", "),
            arriving.join(", ")
        )
    }

    /// The rows as the value of `$1`: only the columns that are needed, or all.
    pub fn bind(
        &self,
        table: &Table,
        tuples: &Tuples,
        needed: Option<&[String]>,
    ) -> Result<RowArray, WireError> {
        let stored: Vec<&str> = table.stored_columns().map(|column| column.name.as_str()).collect();
        // What is computed may need any other column.
        let computed = |names: &&[String]| {
            self.columns.iter().any(|column| column.generated.is_some() && names.contains(&column.name))
        };
        let needed = needed.filter(|names| !computed(names));
        let is_needed = |column: &LiveColumn| {
            column.generated.is_none()
                && needed.is_none_or(|needed| column.is_domain || needed.contains(&column.name))
        };
        let places: Vec<Option<usize>> = self
            .columns
            .iter()
            .map(|column| stored.iter().position(|name| *name == column.name).filter(|_| is_needed(column)))
            .collect();
        let mut bytes = Vec::with_capacity(20 + tuples.bytes.len());
        for number in [1, 0, self.element as i32, tuples.len() as i32, 1] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for tuple in tuples.iter() {
            let fields = fields(tuple)?;
            if fields.len() != stored.len() {
                return Err(WireError::Fields { actual: fields.len(), expected: stored.len() });
            }
            self.push_record(&mut bytes, &places, &fields);
        }
        Ok(RowArray { type_oid: self.array, bytes })
    }

    fn push_record(&self, bytes: &mut Vec<u8>, places: &[Option<usize>], fields: &[Option<&[u8]>]) {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(self.columns.len() as i32).to_be_bytes());
        for (column, place) in self.columns.iter().zip(places) {
            bytes.extend_from_slice(&column.type_oid.to_be_bytes());
            match place.and_then(|place| fields[place]) {
                None => bytes.extend_from_slice(&(-1i32).to_be_bytes()),
                Some(field) => {
                    bytes.extend_from_slice(&(field.len() as i32).to_be_bytes());
                    bytes.extend_from_slice(field);
                }
            }
        }
        let length = (bytes.len() - start - 4) as i32;
        bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// Values of a type that is named as `format_type()` does.
pub async fn value_array(
    connection: &mut PgConnection,
    type_name: &str,
    values: &[Option<&[u8]>],
) -> Result<RowArray, sqlx::Error> {
    let sql = "select oid::int8, typarray::int8 from pg_type where oid = $1::text::regtype";
    let (element, array): (i64, i64) = sqlx::query_as(sql).bind(type_name).fetch_one(connection).await?;
    let mut bytes = Vec::new();
    for number in [1, 1, oid_of(element) as i32, values.len() as i32, 1] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    for value in values {
        let length = value.map_or(-1, |value| value.len() as i32);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(value.unwrap_or_default());
    }
    Ok(RowArray { type_oid: oid_of(array), bytes })
}

/// A binary array, to be bound.
pub struct RowArray {
    type_oid: u32,
    bytes: Vec<u8>,
}

impl Type<Postgres> for RowArray {
    /// Never asked: every value brings its own type.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("unknown")
    }
}

impl Encode<'_, Postgres> for RowArray {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.type_oid)))
    }

    fn size_hint(&self) -> usize {
        self.bytes.len()
    }
}

/// The stored columns of `table` in `row` as one value; [`tuple`] takes it apart.
pub fn sent(table: &Table, row: &str) -> String {
    let columns: Vec<String> =
        table.stored_columns().map(|column| format!("{row}.{}", quote_identifier(&column.name))).collect();
    format!("pg_catalog.record_send(ROW({}))", columns.join(", "))
}

/// The wire form of a row that was sent by [`sent`].
pub fn tuple(record: &[u8]) -> Result<Vec<u8>, WireError> {
    let wrong = || WireError::Length { actual: record.len() };
    let (count, mut rest) = record.split_first_chunk::<4>().ok_or_else(wrong)?;
    let count = usize::try_from(i32::from_be_bytes(*count)).map_err(|_| wrong())?;
    let mut found = Vec::new();
    for _ in 0..count {
        let (_, after) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
        let (length, after) = after.split_first_chunk::<4>().ok_or_else(wrong)?;
        let (field, after) = match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => (None, after),
            Ok(length) => {
                let (field, after) = after.split_at_checked(length).ok_or_else(wrong)?;
                (Some(field), after)
            }
        };
        found.push(field);
        rest = after;
    }
    let mut out = Tuples::default();
    push_tuple(&mut out, &found);
    Ok(out.bytes)
}

/// The wire form in a column of a result.
pub fn tuple_at(row: &sqlx::postgres::PgRow, column: usize) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let record: Option<&[u8]> = row.try_get(column)?;
    record.map(tuple).transpose().map_err(|error| sqlx::Error::Decode(error.into()))
}
