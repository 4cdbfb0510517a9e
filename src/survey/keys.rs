//! Keys of rows as hashes of their values' wire form.

use crate::error::{Error, Result};
use crate::model::wire::{Tuples, fields, push_tuple};
use crate::model::{ForeignKey, Table, TypeKind, row_hash};

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

/// Whether keys of both sides are equal exactly if their wire forms are. Not so for numbers with a scale, padded or
/// caseless text, and types that only the server knows: there, nothing is said about keys inside the tenant's rows.
pub(super) fn is_exact(child: &Table, key: &ForeignKey, parent: &Table) -> bool {
    let pairs = key.columns.iter().zip(&key.parent_columns);
    let mut pairs = pairs.map(|(own, theirs)| (child.column(own), parent.column(theirs)));
    pairs.all(|(own, theirs)| match (own, theirs) {
        (Some(own), Some(theirs)) => match (own.kind, theirs.kind) {
            (TypeKind::Text, TypeKind::Text) => {
                let plain = |name: &str| !name.starts_with("character(") && !name.contains("citext");
                plain(&own.type_name) && plain(&theirs.type_name)
            }
            (
                TypeKind::Int16 | TypeKind::Int32 | TypeKind::Int64,
                TypeKind::Int16 | TypeKind::Int32 | TypeKind::Int64,
            ) => true,
            (TypeKind::Uuid, TypeKind::Uuid)
            | (TypeKind::Bytes, TypeKind::Bytes)
            | (TypeKind::Date, TypeKind::Date) => true,
            _ => false,
        },
        _ => false,
    })
}
