//! The wire form of rows: PostgreSQL's COPY BINARY tuple, and its two-way mapping to Arrow.
//!
//! ```text
//! tuple = i16 field count, then for each field  i32 length (-1 = NULL), bytes      all big-endian
//! ```
//!
//! Every live database hands its rows over in this form, fingerprints are taken over it, and PostgreSQL
//! takes it back unchanged; so what is compared is what travels. The bytes of each [`TypeKind`] are those of
//! PostgreSQL's binary send functions (documentation, "COPY", "Binary Format"; verified on PostgreSQL 15).

use std::fmt;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, BooleanBuilder, FixedSizeBinaryArray,
    FixedSizeBinaryBuilder, PrimitiveArray, PrimitiveBuilder, RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use std::sync::Arc;

use super::schema::{Column, Table, TypeKind};

/// Days from 1970-01-01 (Arrow) to 2000-01-01 (PostgreSQL).
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// First byte of the binary form of `jsonb`.
const JSONB_VERSION: u8 = 1;

/// A tuple that does not fit its table.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Cut off, or too long.
    #[error("a row of {actual} bytes does not hold the fields it announces")]
    Length {
        /// Bytes at hand.
        actual: usize,
    },
    /// Another number of fields than the table has stored columns.
    #[error("a row has {actual} fields, expected {expected}")]
    Fields {
        /// Fields of the row.
        actual: usize,
        /// Fields of the table.
        expected: usize,
    },
    /// Bytes that are no value of the column's type.
    #[error("column '{column}' holds {bytes} bytes that are no {kind}")]
    Value {
        /// Column.
        column: String,
        /// Length of the field.
        bytes: usize,
        /// Expected kind.
        kind: TypeKind,
    },
}

impl fmt::Display for TypeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{self:?}").to_lowercase();
        f.write_str(&text)
    }
}

/// Rows in wire form, one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Tuples {
    /// The tuples' bytes.
    pub bytes: Vec<u8>,
    /// End of each tuple in `bytes`.
    pub ends: Vec<usize>,
}

impl Tuples {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of each row.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

/// The fields of a tuple; `None` is NULL.
pub fn fields(tuple: &[u8]) -> Result<Vec<Option<&[u8]>>, WireError> {
    let mut fields = Vec::new();
    fields_into(tuple, &mut fields)?;
    Ok(fields)
}

/// The same, into a list that is used again for the next tuple.
pub fn fields_into<'a>(tuple: &'a [u8], fields: &mut Vec<Option<&'a [u8]>>) -> Result<(), WireError> {
    fields.clear();
    each_field(tuple, |_, field| {
        fields.push(field);
        Ok(())
    })?;
    Ok(())
}

/// Hands each field of a tuple over with its position; how many there are.
fn each_field<'a>(
    tuple: &'a [u8],
    mut take: impl FnMut(usize, Option<&'a [u8]>) -> Result<(), WireError>,
) -> Result<usize, WireError> {
    let wrong = || WireError::Length { actual: tuple.len() };
    let (count, mut rest) = tuple.split_first_chunk::<2>().ok_or_else(wrong)?;
    let count = usize::try_from(i16::from_be_bytes(*count)).map_err(|_| wrong())?;
    for at in 0..count {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => {
                take(at, None)?;
                rest = after;
            }
            Ok(length) => {
                let (field, after) = after.split_at_checked(length).ok_or_else(wrong)?;
                take(at, Some(field))?;
                rest = after;
            }
        }
    }
    if rest.is_empty() { Ok(count) } else { Err(wrong()) }
}

/// Appends one tuple made of these fields.
pub fn push_tuple(out: &mut Tuples, fields: &[Option<&[u8]>]) {
    out.bytes.extend_from_slice(&(fields.len() as i16).to_be_bytes());
    for field in fields {
        match field {
            None => out.bytes.extend_from_slice(&(-1i32).to_be_bytes()),
            Some(bytes) => {
                out.bytes.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
                out.bytes.extend_from_slice(bytes);
            }
        }
    }
    out.ends.push(out.bytes.len());
}

// --- Arrow to wire -----------------------------------------------------------------------------------

/// A column, downcast once a batch instead of once a cell.
enum Cells<'a> {
    Bool(&'a BooleanArray),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Text(&'a StringArray),
    Jsonb(&'a StringArray),
    Bytes(&'a BinaryArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
    Uuid(&'a FixedSizeBinaryArray),
}

impl<'a> Cells<'a> {
    /// Panics if the array is not of the kind's Arrow type: batches are built from [`Table::arrow_schema`].
    fn new(kind: TypeKind, array: &'a dyn Array) -> Self {
        match kind {
            TypeKind::Bool => Self::Bool(array.as_boolean()),
            TypeKind::Int16 => Self::Int16(array.as_primitive()),
            TypeKind::Int32 => Self::Int32(array.as_primitive()),
            TypeKind::Int64 => Self::Int64(array.as_primitive()),
            TypeKind::Float32 => Self::Float32(array.as_primitive()),
            TypeKind::Float64 => Self::Float64(array.as_primitive()),
            TypeKind::Text | TypeKind::Printed => Self::Text(array.as_string()),
            TypeKind::Jsonb => Self::Jsonb(array.as_string()),
            TypeKind::Bytes | TypeKind::Opaque => Self::Bytes(array.as_binary()),
            TypeKind::Date => Self::Date(array.as_primitive()),
            TypeKind::Time => Self::Time(array.as_primitive()),
            TypeKind::Timestamp | TypeKind::TimestampTz => Self::Timestamp(array.as_primitive()),
            TypeKind::Uuid => Self::Uuid(array.as_fixed_size_binary()),
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(a) => a.is_null(row),
            Self::Int16(a) => a.is_null(row),
            Self::Int32(a) => a.is_null(row),
            Self::Int64(a) => a.is_null(row),
            Self::Float32(a) => a.is_null(row),
            Self::Float64(a) => a.is_null(row),
            Self::Text(a) | Self::Jsonb(a) => a.is_null(row),
            Self::Bytes(a) => a.is_null(row),
            Self::Date(a) => a.is_null(row),
            Self::Time(a) => a.is_null(row),
            Self::Timestamp(a) => a.is_null(row),
            Self::Uuid(a) => a.is_null(row),
        }
    }

    fn append(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            return;
        }
        match self {
            Self::Bool(a) => field(out, &[u8::from(a.value(row))]),
            Self::Int16(a) => field(out, &a.value(row).to_be_bytes()),
            Self::Int32(a) => field(out, &a.value(row).to_be_bytes()),
            Self::Int64(a) => field(out, &a.value(row).to_be_bytes()),
            Self::Float32(a) => field(out, &a.value(row).to_bits().to_be_bytes()),
            Self::Float64(a) => field(out, &a.value(row).to_bits().to_be_bytes()),
            Self::Text(a) => field(out, a.value(row).as_bytes()),
            Self::Bytes(a) => field(out, a.value(row)),
            Self::Date(a) => field(out, &date_to_wire(a.value(row)).to_be_bytes()),
            Self::Time(a) => field(out, &a.value(row).to_be_bytes()),
            Self::Timestamp(a) => field(out, &timestamp_to_wire(a.value(row)).to_be_bytes()),
            Self::Uuid(a) => field(out, a.value(row)),
            Self::Jsonb(a) => {
                let text = a.value(row).as_bytes();
                out.extend_from_slice(&(text.len() as i32 + 1).to_be_bytes());
                out.push(JSONB_VERSION);
                out.extend_from_slice(text);
            }
        }
    }
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    // A field is at most 1 GB in PostgreSQL, and a batch is bounded; an i32 always holds it.
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Encodes a batch of `table` (see [`Table::arrow_schema`]); columns are taken by name.
pub fn encode(table: &Table, batch: &RecordBatch) -> Result<Tuples, WireError> {
    let missing =
        || WireError::Fields { actual: batch.num_columns(), expected: table.stored_columns().count() + 1 };
    let mut cells = Vec::new();
    for column in table.stored_columns() {
        let array = batch.column_by_name(&column.name).ok_or_else(missing)?;
        if *array.data_type() != column.kind.arrow() {
            return Err(WireError::Value { column: column.name.clone(), bytes: 0, kind: column.kind });
        }
        cells.push(Cells::new(column.kind, array.as_ref()));
    }
    let count = (cells.len() as i16).to_be_bytes();
    let mut out = Tuples {
        bytes: Vec::with_capacity(batch.get_array_memory_size()),
        ends: Vec::with_capacity(batch.num_rows()),
    };
    for row in 0..batch.num_rows() {
        out.bytes.extend_from_slice(&count);
        for column in &cells {
            column.append(row, &mut out.bytes);
        }
        out.ends.push(out.bytes.len());
    }
    Ok(out)
}

// --- wire to Arrow -----------------------------------------------------------------------------------

enum Builder {
    Bool(BooleanBuilder),
    Int16(PrimitiveBuilder<Int16Type>),
    Int32(PrimitiveBuilder<Int32Type>),
    Int64(PrimitiveBuilder<Int64Type>),
    Float32(PrimitiveBuilder<Float32Type>),
    Float64(PrimitiveBuilder<Float64Type>),
    Text(StringBuilder),
    Jsonb(StringBuilder),
    Bytes(BinaryBuilder),
    Date(PrimitiveBuilder<Date32Type>),
    Time(PrimitiveBuilder<Time64MicrosecondType>),
    Timestamp(PrimitiveBuilder<TimestampMicrosecondType>),
    Uuid(FixedSizeBinaryBuilder),
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

impl Builder {
    fn new(kind: TypeKind) -> Self {
        match kind {
            TypeKind::Bool => Self::Bool(BooleanBuilder::new()),
            TypeKind::Int16 => Self::Int16(PrimitiveBuilder::new()),
            TypeKind::Int32 => Self::Int32(PrimitiveBuilder::new()),
            TypeKind::Int64 => Self::Int64(PrimitiveBuilder::new()),
            TypeKind::Float32 => Self::Float32(PrimitiveBuilder::new()),
            TypeKind::Float64 => Self::Float64(PrimitiveBuilder::new()),
            TypeKind::Text | TypeKind::Printed => Self::Text(StringBuilder::new()),
            TypeKind::Jsonb => Self::Jsonb(StringBuilder::new()),
            TypeKind::Bytes | TypeKind::Opaque => Self::Bytes(BinaryBuilder::new()),
            TypeKind::Date => Self::Date(PrimitiveBuilder::new()),
            TypeKind::Time => Self::Time(PrimitiveBuilder::new()),
            TypeKind::Timestamp | TypeKind::TimestampTz => {
                Self::Timestamp(PrimitiveBuilder::new().with_data_type(kind.arrow()))
            }
            TypeKind::Uuid => Self::Uuid(FixedSizeBinaryBuilder::new(16)),
        }
    }

    /// `None` if the bytes are no value of the kind.
    fn append(&mut self, field: Option<&[u8]>) -> Option<()> {
        match self {
            Self::Bool(b) => b.append_option(match field {
                None => None,
                Some([0]) => Some(false),
                Some([1]) => Some(true),
                Some(_) => return None,
            }),
            Self::Int16(b) => b.append_option(read(field, i16::from_be_bytes)?),
            Self::Int32(b) => b.append_option(read(field, i32::from_be_bytes)?),
            Self::Int64(b) => b.append_option(read(field, i64::from_be_bytes)?),
            Self::Float32(b) => b.append_option(read(field, |v| f32::from_bits(u32::from_be_bytes(v)))?),
            Self::Float64(b) => b.append_option(read(field, |v| f64::from_bits(u64::from_be_bytes(v)))?),
            Self::Date(b) => b.append_option(read(field, |v| date_from_wire(i32::from_be_bytes(v)))?),
            Self::Time(b) => b.append_option(read(field, i64::from_be_bytes)?),
            Self::Timestamp(b) => {
                b.append_option(read(field, |v| timestamp_from_wire(i64::from_be_bytes(v)))?)
            }
            Self::Text(b) => b.append_option(field.map(std::str::from_utf8).transpose().ok()?),
            Self::Jsonb(b) => b.append_option(match field {
                None => None,
                Some([JSONB_VERSION, text @ ..]) => Some(std::str::from_utf8(text).ok()?),
                Some(_) => return None,
            }),
            Self::Bytes(b) => b.append_option(field),
            Self::Uuid(b) => match field {
                None => b.append_null(),
                Some(bytes) => b.append_value(bytes).ok()?,
            },
        }
        Some(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(b) => Arc::new(b.finish()),
            Self::Int16(b) => Arc::new(b.finish()),
            Self::Int32(b) => Arc::new(b.finish()),
            Self::Int64(b) => Arc::new(b.finish()),
            Self::Float32(b) => Arc::new(b.finish()),
            Self::Float64(b) => Arc::new(b.finish()),
            Self::Text(b) | Self::Jsonb(b) => Arc::new(b.finish()),
            Self::Bytes(b) => Arc::new(b.finish()),
            Self::Date(b) => Arc::new(b.finish()),
            Self::Time(b) => Arc::new(b.finish()),
            Self::Timestamp(b) => Arc::new(b.finish()),
            Self::Uuid(b) => Arc::new(b.finish()),
        }
    }
}

/// Outer `None`: wrong length; inner `None`: NULL.
fn read<const N: usize, T>(field: Option<&[u8]>, value: impl Fn([u8; N]) -> T) -> Option<Option<T>> {
    match field {
        None => Some(None),
        Some(bytes) => fixed(bytes).map(|bytes| Some(value(bytes))),
    }
}

/// Collects tuples of one table into record batches.
pub struct Decoder {
    table: Arc<Table>,
    columns: Vec<Column>,
    builders: Vec<Builder>,
    tenants: StringBuilder,
    hashes: FixedSizeBinaryBuilder,
    rows: usize,
    bytes: usize,
}

impl Decoder {
    /// A decoder for the stored columns of `table`.
    pub fn new(table: Arc<Table>) -> Self {
        let columns: Vec<Column> = table.stored_columns().cloned().collect();
        Self {
            builders: columns.iter().map(|column| Builder::new(column.kind)).collect(),
            columns,
            table,
            tenants: StringBuilder::new(),
            hashes: FixedSizeBinaryBuilder::new(16),
            rows: 0,
            bytes: 0,
        }
    }

    /// Rows collected since the last batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes collected since the last batch, in wire form.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a row and its owner; its hash is taken from the bytes as they are. After an error the decoder is of no use.
    pub fn push(&mut self, tenant: Option<&str>, tuple: &[u8]) -> Result<(), WireError> {
        let expected = self.columns.len();
        let announced = tuple.first_chunk::<2>().map_or(0, |count| usize::from(u16::from_be_bytes(*count)));
        if announced != expected {
            return Err(WireError::Fields { actual: announced, expected });
        }
        each_field(tuple, |at, field| {
            let (builder, column) = (&mut self.builders[at], &self.columns[at]);
            builder.append(field).ok_or_else(|| WireError::Value {
                column: column.name.clone(),
                bytes: field.map_or(0, <[u8]>::len),
                kind: column.kind,
            })
        })?;
        self.tenants.append_option(tenant);
        let hash = super::row_hash(tuple).to_le_bytes();
        // Only fails on another length than 16.
        let _ = self.hashes.append_value(hash);
        self.rows += 1;
        self.bytes += tuple.len();
        Ok(())
    }

    /// The rows so far, as a batch with [`Table::arrow_schema_hashed`]; the decoder is empty again.
    pub fn finish(&mut self) -> RecordBatch {
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(self.tenants.finish())];
        arrays.extend(self.builders.iter_mut().map(Builder::finish));
        arrays.push(Arc::new(self.hashes.finish()));
        self.rows = 0;
        self.bytes = 0;
        #[expect(clippy::expect_used, reason = "the builders were made from the same table")]
        RecordBatch::try_new(self.table.arrow_schema_hashed(), arrays).expect("arrays fit the schema")
    }

    /// The same without the hashes, with [`Table::arrow_schema`].
    pub fn finish_plain(&mut self) -> RecordBatch {
        let mut batch = self.finish();
        batch.remove_column(batch.num_columns() - 1);
        batch
    }
}

// --- dates and times ---------------------------------------------------------------------------------

// PostgreSQL's infinities are the two ends of the integer. They stay the ends in Arrow; every finite date fits.
fn date_from_wire(days: i32) -> i32 {
    match days {
        i32::MAX | i32::MIN => days,
        finite => finite.wrapping_add(EPOCH_DAYS),
    }
}

fn date_to_wire(days: i32) -> i32 {
    match days {
        i32::MAX | i32::MIN => days,
        finite => finite.wrapping_sub(EPOCH_DAYS),
    }
}

/// The last PostgreSQL timestamp whose Unix form fits below `i64::MAX`, which is kept for infinity.
const TIMESTAMP_SHIFTED_MAX: i64 = i64::MAX - EPOCH_MICROS - 1;

// Years 294247 to 294276 do not fit an Arrow timestamp; they are folded to the unused low end (years before
// 4714 BC do not exist in PostgreSQL), so that the mapping stays one to one.
fn timestamp_from_wire(micros: i64) -> i64 {
    match micros {
        i64::MAX | i64::MIN => micros,
        late if late > TIMESTAMP_SHIFTED_MAX => i64::MIN + (late - TIMESTAMP_SHIFTED_MAX),
        finite => finite + EPOCH_MICROS,
    }
}

fn timestamp_to_wire(micros: i64) -> i64 {
    match micros {
        i64::MAX | i64::MIN => micros,
        folded if folded < i64::MIN + EPOCH_MICROS => TIMESTAMP_SHIFTED_MAX + (folded - i64::MIN),
        finite => finite - EPOCH_MICROS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TableName;

    #[test]
    fn timestamps_map_one_to_one() {
        let last_finite = 9_223_371_331_199_999_999;
        for micros in [
            0,
            1,
            -1,
            -211_813_488_000_000_000,
            last_finite,
            last_finite - EPOCH_MICROS,
            TIMESTAMP_SHIFTED_MAX,
            TIMESTAMP_SHIFTED_MAX + 1,
            i64::MAX,
            i64::MIN,
        ] {
            assert_eq!(timestamp_to_wire(timestamp_from_wire(micros)), micros, "{micros}");
        }
        assert_eq!(timestamp_from_wire(0), EPOCH_MICROS);
        assert_eq!(timestamp_from_wire(i64::MAX), i64::MAX);
        assert_ne!(timestamp_from_wire(TIMESTAMP_SHIFTED_MAX), i64::MAX);
        assert_ne!(timestamp_from_wire(TIMESTAMP_SHIFTED_MAX + 1), i64::MIN);
        for days in [0, -2_451_545, 2_145_031_948, i32::MAX, i32::MIN] {
            assert_eq!(date_to_wire(date_from_wire(days)), days);
        }
    }

    fn table(kinds: &[TypeKind]) -> Arc<Table> {
        let columns = kinds.iter().enumerate().map(|(i, &kind)| Column {
            name: format!("c{i}"),
            type_name: kind.to_string(),
            kind,
            not_null: false,
            generated: false,
            has_default: false,
            user_type: None,
        });
        Arc::new(Table { columns: columns.collect(), ..Table::new(TableName::new("public", "t")) })
    }

    #[test]
    fn every_kind_survives_the_way_through_arrow_bit_for_bit() {
        use TypeKind as K;
        let table = table(&[
            K::Bool,
            K::Int16,
            K::Int32,
            K::Int64,
            K::Float32,
            K::Float64,
            K::Text,
            K::Bytes,
            K::Date,
            K::Time,
            K::Timestamp,
            K::TimestampTz,
            K::Uuid,
            K::Jsonb,
            K::Opaque,
        ]);
        let nan = 0x7ff8_dead_beef_0001_u64.to_be_bytes();
        let (late, min, max) =
            (86_400_000_000_i64.to_be_bytes(), i64::MIN.to_be_bytes(), i64::MAX.to_be_bytes());
        let rows: Vec<Vec<Option<&[u8]>>> = vec![
            vec![
                Some(&[1]),
                Some(&[0x80, 0]),
                Some(&[0xff; 4]),
                Some(&[0x7f; 8]),
                Some(&[0x80, 0, 0, 0]),
                Some(&nan),
                Some("\u{10FFFF} \\N".as_bytes()),
                Some(&[0, 255]),
                Some(&[0x7f, 255, 255, 255]),
                Some(&late),
                Some(&min),
                Some(&max),
                Some(&[7; 16]),
                Some(b"\x01{\"a\": 1}"),
                Some(b""),
            ],
            vec![None; 15],
        ];
        let mut tuples = Tuples::default();
        rows.iter().for_each(|row| push_tuple(&mut tuples, row));
        let mut decoder = Decoder::new(table.clone());
        for tuple in tuples.iter() {
            decoder.push(Some("t1"), tuple).expect("decode");
        }
        let batch = decoder.finish();
        assert_eq!(encode(&table, &batch).expect("encode").bytes, tuples.bytes);
        assert_eq!(decoder.rows(), 0);
    }

    #[test]
    fn damaged_tuples_are_refused() {
        let mut tuples = Tuples::default();
        push_tuple(&mut tuples, &[Some(b"abcd"), None]);
        for cut in 0..tuples.bytes.len() {
            assert!(fields(&tuples.bytes[..cut]).is_err(), "{cut}");
        }
        assert!(fields(&[tuples.bytes.as_slice(), &[0]].concat()).is_err());
        let mut decoder = Decoder::new(table(&[TypeKind::Int64, TypeKind::Text]));
        assert_eq!(
            decoder.push(None, &tuples.bytes),
            Err(WireError::Value { column: "c0".into(), bytes: 4, kind: TypeKind::Int64 })
        );
    }
}
