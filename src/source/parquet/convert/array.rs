//! Arrays: PostgreSQL's binary form from Parquet's lists, or from the text that the server prints.
//!
//! ```text
//! i32 dimensions (0 if empty), i32 whether there is a NULL, i32 type of the elements,
//! i32 elements, i32 first index = 1, then for each  i32 length (-1 = NULL), bytes
//! ```

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, StringArray, new_null_array};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

use super::{Conversion, text};
use crate::model::{Column, TENANT_COLUMN, Table, TableName, TypeKind, wire};

/// The type of an array's elements: its number is that of `pg_type`, the same in every database.
pub fn element(array_type: &str) -> Option<(Column, u32)> {
    use TypeKind as K;
    let element = array_type.strip_suffix("[]")?;
    let plain = element.split('(').next()?.trim_end();
    let (kind, oid) = match plain {
        "boolean" => (K::Bool, 16),
        "smallint" => (K::Int16, 21),
        "integer" => (K::Int32, 23),
        "bigint" => (K::Int64, 20),
        "real" => (K::Float32, 700),
        "double precision" => (K::Float64, 701),
        "text" => (K::Text, 25),
        "character varying" => (K::Text, 1043),
        "uuid" => (K::Uuid, 2950),
        "date" => (K::Date, 1082),
        "numeric" => (K::Opaque, 1700),
        "json" => (K::Text, 114),
        "jsonb" => (K::Jsonb, 3802),
        _ => return None,
    };
    Some((Column::new("element", element, kind), oid))
}

/// From lists.
pub fn from_lists(column: Column, oid: u32, elements: Conversion) -> super::Apply {
    Box::new(move |array| {
        let lists = array.as_list::<i32>();
        let values = encoded(&column, &elements.apply(lists.values())?)?;
        let range = |row: usize| {
            let (from, to) = (lists.value_offsets()[row], lists.value_offsets()[row + 1]);
            (lists.is_valid(row)).then_some(from as usize..to as usize)
        };
        Some(build(oid, &values, (0..lists.len()).map(range)))
    })
}

/// From texts.
pub fn from_texts(column: Column, oid: u32) -> Option<super::Apply> {
    let elements = Conversion::new(&column, &DataType::Utf8)?;
    Some(Box::new(move |array| {
        let (mut values, mut ranges) = (Vec::new(), Vec::new());
        for text in array.as_string::<i32>() {
            let from = values.len();
            values.extend(text.map(text::elements).map_or(Some(vec![]), |found| found)?);
            ranges.push(text.map(|_| from..values.len()));
        }
        let values: ArrayRef = Arc::new(StringArray::from(values));
        let values = encoded(&column, &elements.apply(&values)?)?;
        Some(build(oid, &values, ranges.into_iter()))
    }))
}

/// Each value with its length in front, as it stands in the binary form of a row and of an array alike.
fn encoded(column: &Column, values: &ArrayRef) -> Option<wire::Tuples> {
    let mut table = Table::new(TableName::new("", ""));
    table.columns.push(column.clone());
    let tenants = new_null_array(&DataType::Utf8, values.len());
    let batch =
        RecordBatch::try_from_iter([(TENANT_COLUMN, tenants), (&column.name, Arc::clone(values))]).ok()?;
    wire::encode(&table, &batch).ok()
}

fn build(
    oid: u32,
    values: &wire::Tuples,
    ranges: impl ExactSizeIterator<Item = Option<Range<usize>>>,
) -> ArrayRef {
    /// The number of fields stands before each value.
    const HEAD: usize = 2;
    const NULL: [u8; 4] = (-1_i32).to_be_bytes();
    let mut out = BinaryBuilder::with_capacity(ranges.len(), values.bytes.len());
    let start = |value: usize| if value == 0 { 0 } else { values.ends[value - 1] };
    let mut bytes = Vec::new();
    for range in ranges {
        let Some(range) = range else {
            out.append_null();
            continue;
        };
        let fields = range.clone().map(|value| &values.bytes[start(value) + HEAD..values.ends[value]]);
        let has_null = fields.clone().any(|field| field == NULL);
        bytes.clear();
        let mut put = |word: u32| bytes.extend_from_slice(&word.to_be_bytes());
        put(u32::from(!range.is_empty()));
        put(u32::from(has_null));
        put(oid);
        if !range.is_empty() {
            put(range.len() as u32);
            put(1);
        }
        fields.for_each(|field| bytes.extend_from_slice(field));
        out.append_value(&bytes);
    }
    Arc::new(out.finish())
}

/// The elements of an array in binary form, NULLs left out; `None` if it is none.
pub fn elements(array: &[u8]) -> Option<Vec<&[u8]>> {
    let word =
        |at: usize| -> Option<u32> { Some(u32::from_be_bytes(array.get(at..at + 4)?.try_into().ok()?)) };
    let dimensions = usize::try_from(word(0)?).ok()?;
    let mut rest = array.get(12 + dimensions * 8..)?;
    let mut found = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        rest = after;
        if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
            let (element, after) = rest.split_at_checked(length)?;
            found.push(element);
            rest = after;
        }
    }
    rest.is_empty().then_some(found)
}
