//! Live rows on their way back: one value a row, in the wire form of its columns.

use sqlx::Row;

use crate::model::wire::{Tuples, WireError, push_tuple};
use crate::model::{Column, Table, TypeKind, quote_identifier};

/// A column of `row` as it travels. What has no binary form is printed by its output function; neither a cast of the
/// user's nor a composite of NULLs is taken for anything else.
pub fn travelling(row: &str, column: &Column) -> String {
    let name = format!("{row}.{}", quote_identifier(&column.name));
    match column.kind {
        TypeKind::Printed => format!(
            "CASE WHEN pg_catalog.num_nulls({name}) OPERATOR(pg_catalog.=) 0 THEN pg_catalog.format('%s', {name}) END"
        ),
        _ => name,
    }
}

/// The stored columns of `table` in `row` as one value; [`tuple`] takes it apart.
pub fn sent(table: &Table, row: &str) -> String {
    let columns: Vec<String> = table.stored_columns().map(|column| travelling(row, column)).collect();
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
