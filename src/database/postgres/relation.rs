//! Rows as a relation on the server: `SELECT … FROM unnest($1) k`, where `$1` is one binary array of the table's own
//! row type.
//!
//! ```text
//! array  = i32 dimensions 1 │ i32 1 │ oid of the row type │ i32 rows │ i32 1 │ (i32 length, record)…
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
    /// Whether a column is of a type that the driver does not know (multiranges): then each column is an array of its
    /// own, and those that cannot be (arrays, records, multiranges) stay NULL.
    apart: bool,
}

struct LiveColumn {
    name: String,
    type_oid: u32,
    /// The array of its type; 0 if there is none.
    type_array: u32,
    type_name: String,
    /// May refuse NULL even where the column's value is not asked for.
    is_domain: bool,
    /// The driver cannot bind it.
    is_unknown: bool,
    /// It is made of records, which `unnest` would take apart.
    is_record: bool,
    /// The expression of a generated column: computed anew, since the row does not bring it.
    generated: Option<String>,
    /// Whether a row that does not bring it gets a value.
    has_default: bool,
    /// The default of a column, if it is a constant: what a row gets that does not bring the column.
    constant: Option<String>,
}

const ROW_TYPE: &str =
    "with recursive made_of(column_number, type) as (
       select attnum, atttypid from pg_attribute where attrelid = $1 and attnum > 0 and not attisdropped
       union
       select m.column_number, part.oid
       from made_of m join pg_type t on t.oid = m.type
       cross join lateral (
         select t.typelem as oid union all select t.typbasetype
         union all select atttypid from pg_attribute
                   where attrelid = t.typrelid and attnum > 0 and not attisdropped) part
       where part.oid <> 0)
     select t.typarray::int8, t.oid::int8, a.attname::text, a.atttypid::int8, y.typarray::int8,
            format('%I.%I', n.nspname, y.typname), y.typtype = 'd',
            exists (select from made_of m join pg_type p on p.oid = m.type
                    where m.column_number = a.attnum and p.typtype = 'm'),
            exists (select from made_of m join pg_type p on p.oid = m.type
                    where m.column_number = a.attnum and p.typtype = 'c'),
            case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end,
            case when a.attgenerated = '' and pg_get_expr(d.adbin, d.adrelid) ~ '^(''[^'']*''|-?[0-9.]+|true|false|NULL)(::[^(]*)?$'
                 then pg_get_expr(d.adbin, d.adrelid) end,
            a.atthasdef or a.attidentity <> '' or y.typdefault is not null
     from pg_class c join pg_type t on t.oid = c.reltype
     join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     join pg_type y on y.oid = a.atttypid
     join pg_namespace n on n.oid = y.typnamespace
     left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where c.oid = $1 order by a.attnum";

type ColumnRow = (i64, i64, String, i64, i64, String, bool, bool, bool, Option<String>, Option<String>, bool);

/// Reads the row type of a table.
pub async fn row_type(
    connection: &mut PgConnection,
    relations: &Relations,
    name: &TableName,
) -> Result<RowType> {
    let unable = |error| failure(format!("unable to read the row type of '{name}'"), error);
    let rows: Vec<ColumnRow> = sqlx::query_as(ROW_TYPE)
        .bind(Oid(relations.get(name)?.oid))
        .fetch_all(connection)
        .await
        .map_err(unable)?;
    let Some(&(array, element, ..)) = rows.first() else {
        return Err(Error::undecided(format!("unable to ask about rows of '{name}': it has no columns")));
    };
    let column = |row: ColumnRow| {
        let has_default = row.11;
        let (_, _, name, oid, array, type_name, is_domain, is_unknown, is_record, generated, constant, ..) =
            row;
        LiveColumn {
            name,
            type_oid: oid_of(oid),
            type_array: oid_of(array),
            type_name,
            is_domain,
            is_unknown,
            is_record,
            generated,
            has_default,
            constant,
        }
    };
    let columns: Vec<LiveColumn> = rows.into_iter().map(column).collect();
    let apart = columns.iter().any(|column| column.is_unknown);
    Ok(RowType { array: oid_of(array), element: oid_of(element), columns, apart })
}

/// An oid is an unsigned 32-bit number.
fn oid_of(number: i64) -> u32 {
    number as u32
}

impl RowType {
    /// The FROM item whose parameters begin with `$1`: the table's columns and [`PLACE`], under the alias `alias`.
    /// Columns that rows of `table` do not bring have their defaults, as far as those are constants.
    pub fn from_item(&self, table: &Table, alias: &str) -> String {
        self.from_item_after(0, table, alias)
    }

    /// [`RowType::from_item`] behind so many parameters of others.
    pub fn from_item_after(&self, parameters: usize, table: &Table, alias: &str) -> String {
        let first = parameters + 1;
        let mut arriving = Vec::with_capacity(self.columns.len());
        let mut shown = Vec::with_capacity(self.columns.len());
        for (number, column) in self.columns.iter().enumerate() {
            let name = quote_identifier(&column.name);
            let arrives = !self.apart || self.binds(column);
            let is_brought = table.stored_columns().any(|stored| stored.name == column.name);
            let absent = column.constant.as_ref().filter(|_| !is_brought);
            if let Some(expression) = column.generated.as_ref().or(absent) {
                shown.push(format!("({expression}) AS {name}"));
                if arrives {
                    arriving.push(format!("\"reinstate generated {number}\""));
                }
            } else if arrives {
                shown.push(name.clone());
                arriving.push(name);
            } else {
                shown.push(format!("NULL::{} AS {name}", column.type_name));
            }
        }
        let parameters = if self.apart { arriving.len() } else { 1 };
        let arrays: Vec<String> =
            (first..first + parameters).map(|number| format!("pg_catalog.unnest(${number})")).collect();
        // The driver keeps statements by their text: the type of the parameter must be part of it.
        let row_type = self.array;
        format!(
            "(SELECT /* {row_type} */ {}, {PLACE} FROM ROWS FROM ({}) WITH ORDINALITY AS arriving({}, {PLACE})) {alias}",
            shown.join(", "),
            arrays.join(", "),
            arriving.join(", ")
        )
    }

    /// A column that the rows of `table` do not bring and that has a default which is no constant: nobody knows its
    /// value before the row is written.
    pub fn unknown_default<'a>(&self, table: &Table, columns: &'a [String]) -> Option<&'a String> {
        let is_unknown = |column: &LiveColumn| {
            column.has_default && column.constant.is_none() && column.generated.is_none()
        };
        columns
            .iter()
            .filter(|name| table.column(name).is_none())
            .find(|name| self.columns.iter().any(|column| column.name == **name && is_unknown(column)))
    }

    /// Whether a column is an array of its own, where columns go apart.
    fn binds(&self, column: &LiveColumn) -> bool {
        column.generated.is_none() && column.type_array != 0 && !column.is_unknown && !column.is_record
    }

    /// The rows as the values of the parameters: only the columns that are needed, or all.
    pub fn bind(
        &self,
        table: &Table,
        tuples: &Tuples,
        needed: Option<&[String]>,
    ) -> Result<Vec<BinaryArray>, WireError> {
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
        let place = |column: &LiveColumn| {
            stored.iter().position(|name| *name == column.name).filter(|_| is_needed(column))
        };
        let places: Vec<Option<usize>> = self.columns.iter().map(place).collect();
        let mut arrays = if self.apart {
            let bound = self.columns.iter().filter(|column| self.binds(column));
            bound.map(|column| BinaryArray::new(column.type_array, column.type_oid, tuples.len())).collect()
        } else {
            vec![BinaryArray::new(self.array, self.element, tuples.len())]
        };
        for tuple in tuples.iter() {
            let fields = fields(tuple)?;
            if fields.len() != stored.len() {
                return Err(WireError::Fields { actual: fields.len(), expected: stored.len() });
            }
            let values = self.columns.iter().zip(&places);
            let values = values.map(|(column, place)| (column, place.and_then(|place| fields[place])));
            if self.apart {
                let bound = values.filter(|(column, _)| self.binds(column));
                for (array, (_, value)) in arrays.iter_mut().zip(bound) {
                    push_value(&mut array.bytes, value);
                }
            } else if let [array] = arrays.as_mut_slice() {
                self.push_record(&mut array.bytes, values);
            }
        }
        Ok(arrays)
    }

    fn push_record<'a>(
        &self,
        bytes: &mut Vec<u8>,
        values: impl Iterator<Item = (&'a LiveColumn, Option<&'a [u8]>)>,
    ) {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(self.columns.len() as i32).to_be_bytes());
        for (column, value) in values {
            bytes.extend_from_slice(&column.type_oid.to_be_bytes());
            push_value(bytes, value);
        }
        let length = (bytes.len() - start - 4) as i32;
        bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn push_value(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => bytes.extend_from_slice(&(-1i32).to_be_bytes()),
        Some(value) => {
            bytes.extend_from_slice(&(value.len() as i32).to_be_bytes());
            bytes.extend_from_slice(value);
        }
    }
}

/// Values of a type that is named as `format_type()` does.
pub async fn value_array(
    connection: &mut PgConnection,
    type_name: &str,
    values: &[Option<&[u8]>],
) -> Result<BinaryArray, sqlx::Error> {
    let sql = "select oid::int8, typarray::int8 from pg_type where oid = $1::text::regtype";
    let (element, array): (i64, i64) = sqlx::query_as(sql).bind(type_name).fetch_one(connection).await?;
    let mut found = BinaryArray::new(oid_of(array), oid_of(element), values.len());
    values.iter().for_each(|value| push_value(&mut found.bytes, *value));
    Ok(found)
}

/// An array in binary form, to be bound.
pub struct BinaryArray {
    type_oid: u32,
    bytes: Vec<u8>,
}

impl BinaryArray {
    /// An array for `rows` elements, which are to follow.
    fn new(type_oid: u32, element: u32, rows: usize) -> Self {
        // One dimension, elements may be NULL, their type, their number, the first is number 1.
        let header = [1, 1, element as i32, rows as i32, 1];
        Self { type_oid, bytes: header.into_iter().flat_map(i32::to_be_bytes).collect() }
    }
}

impl Type<Postgres> for BinaryArray {
    /// Never asked: every value brings its own type.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("unknown")
    }
}

impl Encode<'_, Postgres> for BinaryArray {
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
