//! Values in binary form as parameters of a statement: arrays of any type, and single values.

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgConnection, PgTypeInfo};
use sqlx::{Postgres, Type};

use super::oid_of;

/// `unknown`: the statement says which type the parameter is.
const UNKNOWN: u32 = 705;

/// Appends a value to an array or a record.
pub fn push_value(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
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
) -> Result<BinaryValue, sqlx::Error> {
    let sql = "select oid::int8, typarray::int8 from pg_type where oid = $1::text::regtype";
    let (element, array): (i64, i64) = sqlx::query_as(sql).bind(type_name).fetch_one(connection).await?;
    let mut found = BinaryValue::array(oid_of(array), oid_of(element), values.len());
    values.iter().for_each(|value| push_value(&mut found.bytes, *value));
    Ok(found)
}

/// A value in binary form, to be bound.
#[derive(Clone)]
pub struct BinaryValue {
    type_oid: u32,
    pub(super) bytes: Vec<u8>,
    is_null: bool,
}

impl BinaryValue {
    /// An array for `rows` elements, which are to follow.
    pub(super) fn array(type_oid: u32, element: u32, rows: usize) -> Self {
        // One dimension, elements may be NULL, their type, their number, the first is number 1.
        let header = [1, 1, element as i32, rows as i32, 1];
        Self { type_oid, bytes: header.into_iter().flat_map(i32::to_be_bytes).collect(), is_null: false }
    }

    /// A value of the type that the statement names.
    pub(super) fn single(value: Option<&[u8]>) -> Self {
        Self { type_oid: UNKNOWN, bytes: value.unwrap_or_default().to_vec(), is_null: value.is_none() }
    }
}

impl Type<Postgres> for BinaryValue {
    /// Never asked: every value brings its own type.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("unknown")
    }
}

impl Encode<'_, Postgres> for BinaryValue {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.bytes);
        Ok(if self.is_null { IsNull::Yes } else { IsNull::No })
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.type_oid)))
    }

    fn size_hint(&self) -> usize {
        self.bytes.len()
    }
}
