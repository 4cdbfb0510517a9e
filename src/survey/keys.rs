//! Keys of rows as hashes of their values' wire form.

use crate::error::{Error, Result};
use crate::model::wire::{Tuples, fields, push_tuple};
use crate::model::{Column, ForeignKey, Table, TableName, TypeKind, row_hash};

/// Some columns of a table's tuples.
pub struct KeyOf {
    /// Positions among the stored columns, and whether the values are integers of some width.
    columns: Vec<(usize, bool)>,
    names: Vec<String>,
}

impl KeyOf {
    /// `None` if the table does not store them all.
    pub fn new(table: &Table, columns: &[String]) -> Option<Self> {
        let places = columns.iter().map(|name| {
            let (place, column) =
                table.stored_columns().enumerate().find(|(_, column)| column.name == *name)?;
            Some((place, matches!(column.kind, TypeKind::Int16 | TypeKind::Int32 | TypeKind::Int64)))
        });
        Some(Self { columns: places.collect::<Option<_>>()?, names: columns.to_vec() })
    }

    /// The hash of the key, NULLs included.
    pub fn whole(&self, tuple: &[u8]) -> Result<u128> {
        self.hash(tuple, true).map(Option::unwrap_or_default)
    }

    /// The hash of a reference; `None` if a value is NULL.
    pub fn reference(&self, tuple: &[u8]) -> Result<Option<u128>> {
        self.hash(tuple, false)
    }

    fn hash(&self, tuple: &[u8], nulls: bool) -> Result<Option<u128>> {
        let unfit = |error| Error::bug("a row lost its shape").because(error);
        let fields = fields(tuple).map_err(unfit)?;
        // Integers of different widths may be equal: all get the widest form.
        let widened: Vec<Option<[u8; 8]>> = self
            .columns
            .iter()
            .map(
                |&(place, integer)| {
                    if integer { fields.get(place).copied().flatten().and_then(wide) } else { None }
                },
            )
            .collect();
        let values = self.columns.iter().zip(&widened);
        let values: Vec<Option<&[u8]>> = values
            .map(|(&(place, _), wide)| match wide {
                Some(wide) => Some(wide.as_slice()),
                None => fields.get(place).copied().flatten(),
            })
            .collect();
        if !nulls && values.iter().any(Option::is_none) {
            return Ok(None);
        }
        let mut key = Tuples::default();
        push_tuple(&mut key, &values);
        Ok(Some(row_hash(&key.bytes)))
    }

    /// `column=value` of the key.
    pub fn shown(&self, table: &Table, batch: &arrow::array::RecordBatch, row: usize) -> String {
        let key = Table { primary_key: self.names.clone(), ..Table::new(table.name.clone()) };
        crate::model::row_name(&key, batch, row)
    }
}

/// What tells apart, by an exclusive or, hashes of values of different columns: one ledger then holds them all.
pub(super) fn salt<'a>(table: &TableName, names: impl IntoIterator<Item = &'a String>) -> u128 {
    let mut place = Tuples::default();
    let names = names.into_iter().map(|name| Some(name.as_bytes()));
    let whole: Vec<_> =
        [Some(table.schema.as_bytes()), Some(table.table.as_bytes())].into_iter().chain(names).collect();
    push_tuple(&mut place, &whole);
    row_hash(&place.bytes)
}

/// An integer of two, four or eight bytes in eight.
fn wide(bytes: &[u8]) -> Option<[u8; 8]> {
    let value = match *bytes {
        [a, b] => i64::from(i16::from_be_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
        _ => i64::from_be_bytes(bytes.try_into().ok()?),
    };
    Some(value.to_be_bytes())
}

/// What tells rows apart: the primary key.
pub fn identity(table: &Table) -> Option<KeyOf> {
    if table.primary_key.is_empty() { None } else { KeyOf::new(table, &table.primary_key) }
}

/// What the wire forms of two keys say of their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likeness {
    /// Nothing: types differ, or a value is computed.
    Unknown,
    /// Equal bytes are equal values; others may be too: 1.0 and 1.00, caseless and padded text.
    EqualBytes,
    /// Values are equal exactly if their bytes are.
    Exact,
}

/// How both sides of a foreign key compare. What is not exact, the database is asked in the end.
pub(super) fn likeness(child: &Table, key: &ForeignKey, parent: Option<&Table>) -> Likeness {
    let pairs = key.columns.iter().zip(&key.parent_columns);
    let of = |(own, theirs): (&String, &String)| {
        let stored = |table: &Table, name: &str| table.stored_columns().find(|it| it.name == name).cloned();
        let (own, theirs) = (stored(child, own)?, stored(parent?, theirs)?);
        Some(of_columns(&own, &theirs))
    };
    pairs.map(|pair| of(pair).unwrap_or(Likeness::Unknown)).min().unwrap_or(Likeness::Unknown)
}

fn of_columns(own: &Column, theirs: &Column) -> Likeness {
    let is_integer = |kind| matches!(kind, TypeKind::Int16 | TypeKind::Int32 | TypeKind::Int64);
    let is_text =
        |column: &Column| column.type_name == "text" || column.type_name.starts_with("character varying");
    match (own.kind, theirs.kind) {
        (own, theirs) if is_integer(own) && is_integer(theirs) => Likeness::Exact,
        (TypeKind::Uuid, TypeKind::Uuid)
        | (TypeKind::Bytes, TypeKind::Bytes)
        | (TypeKind::Date, TypeKind::Date) => Likeness::Exact,
        (a, b) if a == b && (own.type_name == theirs.type_name || is_text(own) && is_text(theirs)) => {
            Likeness::EqualBytes
        }
        _ => Likeness::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_say_of_values_what_their_types_allow() {
        use TypeKind as K;
        for (own, theirs, expected) in [
            (("integer", K::Int32), ("bigint", K::Int64), Likeness::Exact),
            (("uuid", K::Uuid), ("uuid", K::Uuid), Likeness::Exact),
            (("numeric", K::Opaque), ("numeric", K::Opaque), Likeness::EqualBytes),
            (("text", K::Text), ("character varying(9)", K::Text), Likeness::EqualBytes),
            (("character(3)", K::Text), ("text", K::Text), Likeness::Unknown),
            (("numeric", K::Opaque), ("integer", K::Int32), Likeness::Unknown),
            (("timestamp", K::Timestamp), ("timestamptz", K::TimestampTz), Likeness::Unknown),
        ] {
            let (own, theirs) = (Column::new("a", own.0, own.1), Column::new("b", theirs.0, theirs.1));
            assert_eq!(of_columns(&own, &theirs), expected, "{} {}", own.type_name, theirs.type_name);
        }
    }

    #[test]
    fn what_is_computed_is_unknown() {
        let computed = Column { generated: true, ..Column::new("a", "integer", TypeKind::Int32) };
        let table = Table { columns: vec![computed], ..Table::new(TableName::new("public", "t")) };
        let key = ForeignKey {
            name: "k".into(),
            columns: vec!["a".into()],
            parent: table.name.clone(),
            parent_columns: vec!["a".into()],
            deferrable: false,
            validated: true,
            match_full: false,
            follows: false,
            operators: vec![],
        };
        assert_eq!(likeness(&table, &key, Some(&table)), Likeness::Unknown);
        assert_eq!(likeness(&table, &key, None), Likeness::Unknown);
    }
}
