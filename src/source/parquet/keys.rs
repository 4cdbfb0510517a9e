//! Keys of rows, in a form in which both sides of a hop compare equal, and what they lead to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};

use super::convert;
use super::groups::{Group, Groups, Map, NOBODY};
use super::prune::{VALUES_MAX, Values};
use crate::error::{Error, Result};
use crate::model::adapt::numeric;
use crate::model::{Column, TableName, TypeKind};

/// In which form two columns are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Integer,
    Numeric,
    /// As text, whatever the columns hold.
    Text,
    /// Both are of this kind: bit by bit.
    Same(TypeKind),
}

impl Form {
    /// The form for the two columns of a hop; `None` if there is none here.
    pub fn of(child: &Column, parent: &Column, as_text: bool) -> Option<Self> {
        use TypeKind as K;
        let is_integer = |column: &Column| matches!(column.kind, K::Int16 | K::Int32 | K::Int64);
        let is_number = |column: &Column| is_integer(column) || column.base_type().starts_with("numeric");
        let is_text = |column: &Column| column.kind == K::Text && column.base_type() != "citext";
        let has_text = |column: &Column| is_text(column) || is_integer(column) || column.kind == K::Uuid;
        match (child.kind, parent.kind) {
            _ if as_text => (has_text(child) && has_text(parent)).then_some(Self::Text),
            _ if is_integer(child) && is_integer(parent) => Some(Self::Integer),
            _ if is_number(child) && is_number(parent) => Some(Self::Numeric),
            (K::Text, K::Text) => (is_text(child) && is_text(parent)).then_some(Self::Text),
            (K::Uuid, K::Uuid) => Some(Self::Same(K::Uuid)),
            (K::Date, K::Date) => Some(Self::Same(K::Date)),
            (K::Timestamp | K::TimestampTz, same) if same == child.kind => Some(Self::Same(same)),
            _ => None,
        }
    }

    fn is_for_elements(self) -> bool {
        matches!(self, Self::Integer | Self::Text | Self::Same(TypeKind::Uuid))
    }

    /// Whether a column has a text outside of the database.
    pub fn has_text(column: &Column) -> bool {
        Self::of(column, column, true).is_some()
    }

    /// The form for the elements of an array.
    pub fn of_elements(child: &Column, parent: &Column, as_text: bool) -> Option<Self> {
        let element = match child.kind {
            // On SQLite an array is a JSON text, whose elements take the other side's type.
            TypeKind::Text => return Self::of(parent, parent, as_text).filter(|form| form.is_for_elements()),
            _ => convert::array::element(child.base_type())?.0,
        };
        Self::of(&element, parent, as_text).filter(|form| form.is_for_elements())
    }
}

/// The keys of some rows; NULL where a column of the key is NULL.
pub enum Keys {
    Integers(Int64Array),
    Bytes(BinaryArray),
}

impl Keys {
    /// From the columns of the key, of these kinds.
    pub fn new(forms: &[Form], columns: &[(&Column, &ArrayRef)]) -> Option<Self> {
        if let ([Form::Integer], [(_, array)]) = (forms, columns) {
            let values = cast(array, &DataType::Int64).ok()?;
            return Some(Self::Integers(values.as_primitive().clone()));
        }
        let rows = columns.first()?.1.len();
        let (mut out, mut key) = (BinaryBuilder::with_capacity(rows, rows * 16), Vec::new());
        let writers: Vec<Writer> = forms
            .iter()
            .zip(columns)
            .map(|(form, (column, array))| Writer::new(*form, column, array))
            .collect();
        for row in 0..rows {
            if columns.iter().any(|(_, array)| array.is_null(row)) {
                out.append_null();
                continue;
            }
            key.clear();
            for writer in &writers {
                let at = key.len();
                key.extend_from_slice(&[0; 4]);
                writer.write(row, &mut key)?;
                let length = (key.len() - at - 4) as u32;
                key[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
            out.append_value(&key);
        }
        Some(Self::Bytes(out.finish()))
    }
}

/// Writes the values of a column in the form of a key.
struct Writer<'a> {
    form: Form,
    trims: bool,
    array: &'a ArrayRef,
    /// Integers as such.
    integers: Option<Int64Array>,
}

impl<'a> Writer<'a> {
    fn new(form: Form, column: &Column, array: &'a ArrayRef) -> Self {
        let is_integer = matches!(array.data_type(), DataType::Int16 | DataType::Int32 | DataType::Int64);
        let integers = if is_integer { cast(array, &DataType::Int64).ok() } else { None };
        let integers = integers.map(|integers| integers.as_primitive().clone());
        Self { form, trims: column.base_type().starts_with("character("), array, integers }
    }

    fn write(&self, row: usize, key: &mut Vec<u8>) -> Option<()> {
        let integer = self.integers.as_ref().map(|integers| integers.value(row));
        match (self.form, integer) {
            (Form::Integer, Some(value)) => key.extend_from_slice(&value.to_be_bytes()),
            (Form::Numeric, Some(value)) => {
                key.extend_from_slice(&numeric::comparable(&numeric::from_integer(value)).ok()?);
            }
            (Form::Numeric, None) => {
                let value = self.array.as_binary_opt::<i32>()?.value(row);
                key.extend_from_slice(&numeric::comparable(value).ok()?);
            }
            (Form::Text, Some(value)) => key.extend_from_slice(value.to_string().as_bytes()),
            (Form::Text, None) => match self.array.data_type() {
                DataType::Utf8 => {
                    let text = self.array.as_string::<i32>().value(row);
                    let text = if self.trims { text.trim_end_matches(' ') } else { text };
                    key.extend_from_slice(text.as_bytes());
                }
                _ => {
                    let uuid = self.array.as_fixed_size_binary_opt()?.value(row);
                    key.extend_from_slice(convert::uuid_text(uuid).as_bytes());
                }
            },
            (Form::Same(TypeKind::Uuid), _) => {
                key.extend_from_slice(self.array.as_fixed_size_binary_opt()?.value(row));
            }
            (Form::Same(TypeKind::Date), _) => {
                let days = self.array.as_primitive_opt::<Date32Type>()?.value(row);
                key.extend_from_slice(&days.to_be_bytes());
            }
            (Form::Same(_), _) => {
                let micros = self.array.as_primitive_opt::<TimestampMicrosecondType>()?.value(row);
                key.extend_from_slice(&micros.to_be_bytes());
            }
            (Form::Integer, None) => return None,
        }
        Some(())
    }
}

/// The memory that all keys of a source may take.
pub struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// Takes so many bytes more, or says what to do.
    pub fn take(&self, bytes: usize, table: &TableName) -> Result<()> {
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.max {
            return Ok(());
        }
        let message = format!("unable to hold the keys of table '{table}' in {} MiB", self.max >> 20);
        Err(Error::refused(message)
            .hint("raise --memory, a quarter of which is for keys, or import fewer tenants at a time"))
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// From the keys of a table's rows to the tenants that its ways lead to.
pub struct KeyMap {
    integers: Map<i64, Group>,
    bytes: Map<Box<[u8]>, Group>,
    budget: Arc<Budget>,
    taken: usize,
    table: TableName,
}

/// Memory of an entry beside its key: the group, the control byte, and the room that a growing table leaves free.
const ENTRY_BYTES: usize = 24;

impl KeyMap {
    pub fn new(table: &TableName, budget: &Arc<Budget>) -> Self {
        let (integers, bytes) = (Map::default(), Map::default());
        Self { integers, bytes, budget: Arc::clone(budget), taken: 0, table: table.clone() }
    }

    /// Adds what rows lead to; those that lead to nobody are left out.
    pub fn add(&mut self, keys: &Keys, groups: &[Group], known: &Groups) -> Result<()> {
        let before = (self.integers.len() + self.bytes.len()) * ENTRY_BYTES;
        let mut bytes = 0;
        match keys {
            Keys::Integers(keys) => {
                for (key, group) in keys.iter().zip(groups).filter(|(_, group)| **group != NOBODY) {
                    let Some(key) = key else { continue };
                    let found = self.integers.entry(key).or_insert(NOBODY);
                    *found = known.union(*found, *group);
                }
            }
            Keys::Bytes(keys) => {
                for (key, group) in keys.iter().zip(groups).filter(|(_, group)| **group != NOBODY) {
                    let Some(key) = key else { continue };
                    if let Some(found) = self.bytes.get_mut(key) {
                        *found = known.union(*found, *group);
                    } else {
                        bytes += key.len() + 24;
                        self.bytes.insert(key.into(), *group);
                    }
                }
            }
        }
        bytes += (self.integers.len() + self.bytes.len()) * ENTRY_BYTES - before;
        self.taken += bytes;
        self.budget.take(bytes, &self.table)
    }

    /// All keys, unless there are many, or they are of another kind.
    pub fn few(&self) -> Option<Values> {
        let is_few = self.bytes.is_empty() && self.integers.len() <= VALUES_MAX;
        is_few.then(|| Values::Integers(self.integers.keys().copied().collect()))
    }

    /// What each key leads to.
    pub fn find(&self, keys: &Keys) -> Vec<Group> {
        match keys {
            Keys::Integers(keys) => {
                let find = |key: Option<i64>| key.and_then(|key| self.integers.get(&key).copied());
                keys.iter().map(|key| find(key).unwrap_or(NOBODY)).collect()
            }
            Keys::Bytes(keys) => {
                let find = |key: Option<&[u8]>| key.and_then(|key| self.bytes.get(key).copied());
                keys.iter().map(|key| find(key).unwrap_or(NOBODY)).collect()
            }
        }
    }
}

impl Drop for KeyMap {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TenantId;

    #[test]
    fn keys_beyond_the_budget_are_refused_by_the_name_of_their_table() {
        let (known, budget) = (Groups::new(&[TenantId::new("7")]), Arc::new(Budget::new(1 << 20)));
        let table = TableName::new("public", "issues");
        let keys = |from: i64| Keys::Integers((from..from + 30_000).collect::<Vec<_>>().into());
        let mut map = KeyMap::new(&table, &budget);
        map.add(&keys(0), &[2; 30_000], &known).expect("they fit");
        map.add(&keys(0), &[2; 30_000], &known).expect("they are there already");
        let error = map.add(&keys(30_000), &[2; 30_000], &known).expect_err("too many");
        assert_eq!(error.to_string(), "unable to hold the keys of table 'public.issues' in 1 MiB");
        drop(map);
        KeyMap::new(&table, &budget).add(&keys(0), &[2; 30_000], &known).expect("room again");
    }

    #[test]
    fn both_sides_of_a_hop_have_the_same_key() {
        let column = |type_name: &str, kind| Column::new("c", type_name, kind);
        let (int, number) = (column("integer", TypeKind::Int32), column("numeric(20,2)", TypeKind::Opaque));
        let (blanks, text) = (column("character(5)", TypeKind::Text), column("text", TypeKind::Text));
        let key = |form, column: &Column, array: ArrayRef| match Keys::new(&[form], &[(column, &array)]) {
            Some(Keys::Bytes(keys)) => keys.value(0).to_vec(),
            _ => panic!("no key"),
        };
        let seven: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![7]));
        let seven_00: ArrayRef =
            Arc::new(BinaryArray::from_vec(vec![&numeric::parse("7.00").expect("a number")]));
        let (ab, ab_blank): (ArrayRef, ArrayRef) = (
            Arc::new(arrow::array::StringArray::from(vec!["ab"])),
            Arc::new(arrow::array::StringArray::from(vec!["ab   "])),
        );
        assert_eq!(Form::of(&int, &number, false), Some(Form::Numeric));
        assert_eq!(key(Form::Numeric, &int, Arc::clone(&seven)), key(Form::Numeric, &number, seven_00));
        assert_eq!(Form::of(&blanks, &text, false), Some(Form::Text));
        assert_eq!(key(Form::Text, &blanks, ab_blank), key(Form::Text, &text, ab));
        assert_eq!(Form::of(&text, &int, false), None);
        assert_eq!(Form::of(&text, &int, true), Some(Form::Text));
        assert_eq!(Form::of(&column("citext", TypeKind::Text), &text, false), None);
        assert_eq!(
            Form::of(&column("inet", TypeKind::Opaque), &column("inet", TypeKind::Opaque), false),
            None
        );
        let double = column("double precision", TypeKind::Float64);
        assert_eq!(Form::of(&double, &double, false), None, "0.0 and -0.0 are equal");
    }
}
