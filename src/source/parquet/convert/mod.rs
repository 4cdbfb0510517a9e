//! A file's values as a table's: exact, or refused.
//!
//! ```text
//! Parquet's type ─► Arrow's ─► the Arrow type of the column's kind      [`Conversion`], chosen by type alone
//! ```
//!
//! What Parquet has no type for comes as the text that the server prints; what has no exact way at all is refused by
//! the types, before a row is read. A value that does not fit is found when it is met.

pub mod array;
mod text;

pub use text::{uuid, uuid_text};

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, PrimitiveArray, StringArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

use crate::model::adapt::{Digits, numeric};
use crate::model::{Column, TypeKind};

/// Converts an array; `None` if a value does not fit.
pub type Apply = Box<dyn Fn(&ArrayRef) -> Option<ArrayRef> + Send + Sync>;

/// How a column of a file becomes a column of a table.
pub struct Conversion(Option<Apply>);

impl Conversion {
    /// The way from a file's type to a column's; `None` if there is no exact one.
    pub fn new(column: &Column, from: &DataType) -> Option<Self> {
        use DataType as D;
        use TypeKind as K;
        let kind = column.kind;
        let apply: Apply = match (kind, from) {
            (_, D::Null) => {
                Box::new(move |array: &ArrayRef| Some(new_null_array(&kind.arrow(), array.len())))
            }
            (K::Opaque, _) => opaque(column, from)?,
            (K::Text, D::Utf8 | D::Binary) => match blanks(column.base_type()) {
                Some(width) => padded(width),
                None if *from == D::Utf8 => return Some(Self(None)),
                None => cast(kind.arrow()),
            },
            (_, from) if *from == kind.arrow() => return Some(Self(None)),
            (K::Jsonb | K::Printed, D::Binary) => cast(kind.arrow()),
            (K::Int16 | K::Int32 | K::Int64, from) if from.is_integer() => cast(kind.arrow()),
            (K::Int16 | K::Int32 | K::Int64, D::Decimal128(_, 0)) => cast(kind.arrow()),
            (K::Int16 | K::Int32 | K::Int64, D::Utf8) => whole_numbers(kind),
            (K::Float32, D::Float64) => narrowed(),
            (K::Float32, D::Utf8) => primitive::<Float32Type>(K::Float32, |text| text.parse().ok()),
            (K::Float64, D::Utf8) => primitive::<Float64Type>(K::Float64, |text| text.parse().ok()),
            (K::Bool, D::Utf8) => Box::new(|array: &ArrayRef| {
                let values = array.as_string::<i32>().iter();
                let values = values.map(|text| text.map_or(Some(None), |text| text::boolean(text).map(Some)));
                Some(Arc::new(values.collect::<Option<arrow::array::BooleanArray>>()?))
            }),
            (K::Bytes, D::FixedSizeBinary(_)) => cast(kind.arrow()),
            (K::Date, D::Utf8) => primitive::<Date32Type>(kind, text::date),
            (K::Time, D::Utf8) => primitive::<Time64MicrosecondType>(kind, text::time),
            (K::Timestamp, D::Utf8) => {
                primitive::<TimestampMicrosecondType>(kind, |text| text::timestamp(text, false))
            }
            (K::TimestampTz, D::Utf8) => {
                primitive::<TimestampMicrosecondType>(kind, |text| text::timestamp(text, true))
            }
            (K::Time, D::Time64(TimeUnit::Nanosecond)) => shortened(kind),
            (K::Time, D::Time32(_)) => cast(kind.arrow()),
            (K::Timestamp, D::Timestamp(TimeUnit::Nanosecond, None)) => shortened(kind),
            (K::TimestampTz, D::Timestamp(TimeUnit::Nanosecond, Some(_))) => shortened(kind),
            (K::Timestamp, D::Timestamp(_, None)) => cast(kind.arrow()),
            (K::TimestampTz, D::Timestamp(_, Some(_))) => cast(kind.arrow()),
            (K::Uuid, D::Utf8) => Box::new(|array: &ArrayRef| {
                let values = array.as_string::<i32>().iter();
                fixed(values.map(|text| text.map_or(Some(None), |text| text::uuid(text).map(Some))))
            }),
            (K::Uuid, D::Binary) => Box::new(|array: &ArrayRef| {
                let values = array.as_binary::<i32>().iter();
                fixed(values.map(|value| value.map_or(Some(None), |value| value.try_into().ok().map(Some))))
            }),
            _ => return None,
        };
        Some(Self(Some(apply)))
    }

    /// The converted values; `None` if one does not fit.
    pub fn apply(&self, array: &ArrayRef) -> Option<ArrayRef> {
        match &self.0 {
            None => Some(Arc::clone(array)),
            Some(apply) => apply(array),
        }
    }
}

fn opaque(column: &Column, from: &DataType) -> Option<Apply> {
    if let Some((element, oid)) = array::element(column.base_type()) {
        return match from {
            DataType::List(item) => {
                let elements = Conversion::new(&element, item.data_type())?;
                Some(array::from_lists(element, oid, elements))
            }
            DataType::Utf8 => array::from_texts(element, oid),
            _ => None,
        };
    }
    let digits = digits(column.base_type())?;
    match from {
        DataType::Utf8 => Some(Box::new(move |array| {
            let texts = array.as_string::<i32>().iter();
            numerics(texts.map(|text| text.map_or(Some(None), |text| numeric::parse(text).map(Some))), digits)
        })),
        // Without declared digits each value shows its own, which these types do not keep.
        _ if digits.precision.is_none() => None,
        DataType::Decimal128(_, scale) => {
            let scale = u16::try_from(*scale).ok()?;
            Some(Box::new(move |array| {
                let values = array.as_primitive::<Decimal128Type>().iter();
                let value = |value| numeric::from_unscaled(value, scale).map(Some);
                numerics(values.map(|found| found.map_or(Some(None), value)), digits)
            }))
        }
        from if from.is_integer() => Some(Box::new(move |array| {
            let values = cast_to(array, &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>().iter();
            numerics(values.map(|value| Some(value.map(numeric::from_integer))), digits)
        })),
        _ => None,
    }
}

/// The digits of `numeric` or `numeric(precision,scale)`.
fn digits(type_name: &str) -> Option<Digits> {
    let modifier = type_name.strip_prefix("numeric")?;
    if modifier.is_empty() {
        return Some(Digits::default());
    }
    let (precision, scale) = modifier.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    // A negative scale rounds before the point.
    Some(Digits { precision: Some(precision.parse().ok()?), scale: scale.trim().parse().ok()? })
}

/// The width of `character(n)`.
fn blanks(type_name: &str) -> Option<usize> {
    type_name.strip_prefix("character(")?.strip_suffix(')')?.parse().ok()
}

fn cast_to(array: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() }).ok()
}

fn cast(to: DataType) -> Apply {
    Box::new(move |array| cast_to(array, &to))
}

/// `character(n)` with the blanks that are part of it; some exports cut them off.
fn padded(width: usize) -> Apply {
    Box::new(move |array| {
        let texts = cast_to(array, &DataType::Utf8)?;
        let padded = texts.as_string::<i32>().iter().map(|text| text.map(|text| format!("{text:<width$}")));
        Some(Arc::new(padded.collect::<StringArray>()))
    })
}

fn primitive<T: ArrowPrimitiveType>(kind: TypeKind, parse: fn(&str) -> Option<T::Native>) -> Apply {
    Box::new(move |array| {
        let values = array.as_string::<i32>().iter();
        let values = values.map(|text| text.map_or(Some(None), |text| parse(text).map(Some)));
        let values = values.collect::<Option<PrimitiveArray<T>>>()?;
        Some(Arc::new(values.with_data_type(kind.arrow())))
    })
}

fn whole_numbers(kind: TypeKind) -> Apply {
    let parse = primitive::<Int64Type>(TypeKind::Int64, |text| text.parse().ok());
    Box::new(move |array| cast_to(&parse(array)?, &kind.arrow()))
}

/// `double precision` to `real`, for files that have the wider type alone.
fn narrowed() -> Apply {
    Box::new(|array| {
        let values = array.as_primitive::<Float64Type>().iter();
        #[expect(clippy::cast_possible_truncation, reason = "what is lost is found by the way back")]
        let exact = |value: f64| {
            let real = value as f32;
            (value.is_nan() || f64::from(real).to_bits() == value.to_bits()).then_some(Some(real))
        };
        let values = values.map(|value| value.map_or(Some(None), exact));
        Some(Arc::new(values.collect::<Option<PrimitiveArray<Float32Type>>>()?))
    })
}

/// Nanoseconds to microseconds, if nothing is cut off.
fn shortened(kind: TypeKind) -> Apply {
    Box::new(move |array| {
        let nanos = cast_to(array, &DataType::Int64)?;
        if nanos.as_primitive::<Int64Type>().iter().flatten().any(|value| value % 1_000 != 0) {
            return None;
        }
        cast_to(array, &kind.arrow())
    })
}

fn fixed(values: impl Iterator<Item = Option<Option<[u8; 16]>>>) -> Option<ArrayRef> {
    let values = values.collect::<Option<Vec<_>>>()?;
    Some(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), 16).ok()?))
}

fn numerics(values: impl Iterator<Item = Option<Option<Vec<u8>>>>, digits: Digits) -> Option<ArrayRef> {
    let fit = |value: Option<Option<Vec<u8>>>| match value? {
        None => Some(None),
        Some(bytes) => numeric::fit(&bytes, digits).ok().map(Some),
    };
    Some(Arc::new(values.map(fit).collect::<Option<BinaryArray>>()?))
}
