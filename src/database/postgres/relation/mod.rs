//! Rows as a relation on the server: `SELECT … FROM unnest($1) k`, where `$1` is one binary array of the table's own
//! row type.
//!
//! ```text
//! array  = i32 dimensions 1 │ i32 1 │ oid of the row type │ i32 rows │ i32 1 │ (i32 length, record)…
//! record = i32 fields │ (oid of the column's type, i32 length or -1, bytes)…         the bytes are the wire form's
//! ```
//!
//! So values of every type arrive as they are: domains, enums, composites, arrays. Results come back the same way, as
//! one `record_send` a row. A row type with a type that has no binary form cannot be sent like that: its rows are a
//! VALUES list, each value a parameter, and what is printed is cast from text.

mod binary;
mod live;
mod sent;

use std::ops::Range;

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres};

pub use binary::{BinaryValue, value_array};
pub use live::row_type;
pub use sent::{sent, travelling, tuple_at};

use crate::limits::{VALUES_PARAMETERS_MAX, VALUES_ROWS_MAX};
use crate::model::wire::{Tuples, WireError, fields};
use crate::model::{Table, TypeKind, quote_identifier};
use binary::push_value;
use live::LiveColumn;

/// The column of a relation that counts its rows from 1; no table has one of this name.
pub const PLACE: &str = "\"reinstate place\"";

/// The row type of a live table.
pub struct RowType {
    array: u32,
    element: u32,
    columns: Vec<LiveColumn>,
}

/// How rows come to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One array of the row type.
    Records,
    /// Where a column is of a type that the driver does not know (multiranges): each column is an array of its own, and
    /// those that cannot be (arrays, records, multiranges) stay NULL.
    Apart,
    /// Where a column has no binary form: each value is a parameter.
    Values,
}

/// Rows as a relation.
#[derive(Clone)]
pub struct Relation {
    /// The FROM item, whose parameters begin with `$1` or behind those of others: the table's columns and [`PLACE`].
    /// Columns that the rows do not bring have their defaults, as far as those are constants.
    pub from_item: String,
    /// The parameters.
    parameters: Vec<BinaryValue>,
    /// How many rows came in relations before this one.
    pub first: usize,
}

/// An oid is an unsigned 32-bit number.
fn oid_of(number: i64) -> u32 {
    number as u32
}

impl Relation {
    /// A statement about the rows, with its parameters.
    pub fn bound(self, sql: AssertSqlSafe<String>) -> Query<'static, Postgres, PgArguments> {
        self.bound_to(sqlx::query(sql))
    }

    /// The statement with the parameters behind those that it has.
    pub fn bound_to<'q>(self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        self.parameters.into_iter().fold(query, |query, value| query.bind(value))
    }

    /// How many parameters it has.
    pub fn parameters(&self) -> usize {
        self.parameters.len()
    }
}

impl RowType {
    fn form(&self, table: &Table) -> Form {
        let is_printed = table.stored_columns().any(|column| column.kind == TypeKind::Printed);
        if is_printed || self.columns.iter().any(|column| column.is_printed) {
            Form::Values
        } else if self.columns.iter().any(|column| column.is_unknown) {
            Form::Apart
        } else {
            Form::Records
        }
    }

    /// The rows under the alias `alias`, in one relation or, where each value is a parameter, in some: with the columns
    /// that are needed, or all.
    pub fn relations(
        &self,
        table: &Table,
        tuples: &Tuples,
        needed: Option<&[String]>,
        alias: &str,
    ) -> Result<Vec<Relation>, WireError> {
        self.relations_after(0, table, tuples, needed, alias)
    }

    /// [`RowType::relations`] behind so many parameters of others.
    pub fn relations_after(
        &self,
        others: usize,
        table: &Table,
        tuples: &Tuples,
        needed: Option<&[String]>,
        alias: &str,
    ) -> Result<Vec<Relation>, WireError> {
        let form = self.form(table);
        let places = self.places(table, needed);
        if form != Form::Values {
            let parameters = self.arrays(table, tuples, &places, form)?;
            return Ok(vec![Relation {
                from_item: self.unnested(others, table, form, alias),
                parameters,
                first: 0,
            }]);
        }
        let width = places.iter().flatten().count();
        let mut relations = Vec::new();
        for rows in slices(tuples.len(), width) {
            let mut parameters = Vec::with_capacity(rows.len() * width);
            for tuple in tuples.iter().skip(rows.start).take(rows.len()) {
                let fields = fields_of(table, tuple)?;
                parameters.extend(places.iter().flatten().map(|place| BinaryValue::single(fields[*place])));
            }
            let from_item = self.values(others, table, &places, rows.len(), alias);
            relations.push(Relation { from_item, parameters, first: rows.start });
        }
        Ok(relations)
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

    /// Where the values of each column are in a tuple; `None` for those that are not brought or not needed.
    fn places(&self, table: &Table, needed: Option<&[String]>) -> Vec<Option<usize>> {
        // What is computed may need any other column.
        let computed = |names: &&[String]| {
            self.columns.iter().any(|column| column.generated.is_some() && names.contains(&column.name))
        };
        let needed = needed.filter(|names| !computed(names));
        let is_needed = |column: &&LiveColumn| {
            column.generated.is_none()
                && needed.is_none_or(|needed| column.is_domain || needed.contains(&column.name))
        };
        let place = |name: &str| table.stored_columns().position(|stored| stored.name == name);
        self.columns
            .iter()
            .map(|column| Some(column).filter(is_needed).and_then(|it| place(&it.name)))
            .collect()
    }

    /// What stands for a column whose values do not arrive.
    fn instead<'a>(&'a self, table: &Table, column: &'a LiveColumn) -> Option<&'a str> {
        let is_brought = table.stored_columns().any(|stored| stored.name == column.name);
        let absent = column.constant.as_ref().filter(|_| !is_brought);
        column.generated.as_ref().or(absent).map(String::as_str)
    }

    /// `(SELECT … FROM ROWS FROM (unnest($1)) …) k`.
    fn unnested(&self, others: usize, table: &Table, form: Form, alias: &str) -> String {
        let mut arriving = Vec::with_capacity(self.columns.len());
        let mut shown = Vec::with_capacity(self.columns.len());
        for (number, column) in self.columns.iter().enumerate() {
            let name = quote_identifier(&column.name);
            let arrives = form == Form::Records || column.binds();
            if let Some(expression) = self.instead(table, column) {
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
        let parameters = if form == Form::Apart { arriving.len() } else { 1 };
        let arrays: Vec<String> =
            (1..=parameters).map(|number| format!("pg_catalog.unnest(${})", others + number)).collect();
        // The driver keeps statements by their text: the type of the parameter must be part of it.
        let row_type = self.array;
        format!(
            "(SELECT /* {row_type} */ {}, {PLACE} FROM ROWS FROM ({}) WITH ORDINALITY AS arriving({}, {PLACE})) {alias}",
            shown.join(", "),
            arrays.join(", "),
            arriving.join(", ")
        )
    }

    /// `(SELECT … FROM (VALUES (1, $1::t, …), …) …) k`.
    fn values(
        &self,
        others: usize,
        table: &Table,
        places: &[Option<usize>],
        rows: usize,
        alias: &str,
    ) -> String {
        let mut arriving = vec![PLACE.to_owned()];
        // Of each value: whether it has a parameter, and what stands behind that.
        let mut values: Vec<(bool, String)> = Vec::with_capacity(self.columns.len());
        let mut shown = Vec::with_capacity(self.columns.len());
        for (column, place) in self.columns.iter().zip(places) {
            let (name, type_name) = (quote_identifier(&column.name), &column.type_name);
            if let Some(expression) = self.instead(table, column) {
                shown.push(format!("({expression}) AS {name}"));
                continue;
            }
            let kind = place.and_then(|place| table.stored_columns().nth(place)).map(|stored| stored.kind);
            values.push(match kind {
                None => (false, format!("NULL::{type_name}")),
                Some(TypeKind::Printed) => (true, format!("::pg_catalog.text::{type_name}")),
                Some(_) => (true, format!("::{type_name}")),
            });
            shown.push(name.clone());
            arriving.push(name);
        }
        let mut number = others;
        let mut value = |(has_parameter, sql): &(bool, String)| {
            number += usize::from(*has_parameter);
            if *has_parameter { format!(", ${number}{sql}") } else { format!(", {sql}") }
        };
        let mut row = |row: usize| {
            let values: String = values.iter().map(&mut value).collect();
            format!("({}::pg_catalog.int8{values})", row + 1)
        };
        format!(
            "(SELECT /* {} */ {}, {PLACE} FROM (VALUES {}) AS arriving({})) {alias}",
            self.array,
            shown.join(", "),
            (0..rows).map(&mut row).collect::<Vec<_>>().join(", "),
            arriving.join(", ")
        )
    }

    fn arrays(
        &self,
        table: &Table,
        tuples: &Tuples,
        places: &[Option<usize>],
        form: Form,
    ) -> Result<Vec<BinaryValue>, WireError> {
        let mut arrays = if form == Form::Apart {
            let bound = self.columns.iter().filter(|column| column.binds());
            bound.map(|column| BinaryValue::array(column.type_array, column.type_oid, tuples.len())).collect()
        } else {
            vec![BinaryValue::array(self.array, self.element, tuples.len())]
        };
        for tuple in tuples.iter() {
            let fields = fields_of(table, tuple)?;
            let values = self.columns.iter().zip(places);
            let values = values.map(|(column, place)| (column, place.and_then(|place| fields[place])));
            if form == Form::Apart {
                let bound = values.filter(|(column, _)| column.binds());
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

fn fields_of<'t>(table: &Table, tuple: &'t [u8]) -> Result<Vec<Option<&'t [u8]>>, WireError> {
    let (fields, expected) = (fields(tuple)?, table.stored_columns().count());
    if fields.len() == expected {
        Ok(fields)
    } else {
        Err(WireError::Fields { actual: fields.len(), expected })
    }
}

/// Cuts rows of so many parameters each. All slices are powers of two long: the driver and the server keep each
/// statement, and so there are few.
fn slices(rows: usize, width: usize) -> Vec<Range<usize>> {
    let fitting = (VALUES_PARAMETERS_MAX / width.max(1)).clamp(1, VALUES_ROWS_MAX);
    let mut slices = Vec::new();
    let mut start = 0;
    while start < rows {
        let length = 1 << fitting.min(rows - start).ilog2();
        slices.push(start..start + length);
        start += length;
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_powers_of_two_that_fit() {
        let lengths =
            |rows, width| -> Vec<usize> { slices(rows, width).into_iter().map(|it| it.len()).collect() };
        assert_eq!(lengths(0, 3), [0; 0]);
        assert_eq!(lengths(7, 3), [4, 2, 1]);
        assert_eq!(lengths(VALUES_ROWS_MAX * 2 + 1, 1), [VALUES_ROWS_MAX, VALUES_ROWS_MAX, 1]);
        assert_eq!(lengths(3, VALUES_PARAMETERS_MAX), [1, 1, 1]);
        assert!(slices(1_000, 40).iter().all(|it| it.len() * 40 <= VALUES_PARAMETERS_MAX));
    }
}
