//! What a batch needs before it can be sorted: checked columns, hashes, wire lengths, and keys that compare
//! as bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Decimal128Type, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};

use super::run::Place;
use crate::error::{Error, Result};
use crate::model::wire::{self, Tuples};
use crate::model::{HASH_COLUMN, Table, row_hash};

/// The column behind the hash: bytes of the row in wire form.
pub(in crate::snapshot) const LENGTH_COLUMN: &str = "reinstate_bytes";

/// How the hash travels: sixteen bytes as one number, whose decimals mean nothing.
const HASH_NUMBER: DataType = DataType::Decimal128(38, 0);

/// A batch on its way through the sort.
pub(super) struct Prepared {
    /// Tenant, values, hash, length.
    pub batch: RecordBatch,
    /// The key without the tenant: within a buffer tenants are compared by their rank.
    pub keys: Rows,
    pub memory_bytes: usize,
    pub wire_bytes: u64,
}

/// The order of a table's rows.
#[derive(Clone)]
pub(in crate::snapshot) struct Order {
    table: Arc<Table>,
    schema: SchemaRef,
    /// Positions of the key columns in the schema.
    key: Arc<[usize]>,
    converter: Arc<RowConverter>,
    /// The same without the tenant.
    converter_within: Arc<RowConverter>,
}

impl Order {
    /// Tenant, then primary key; the hash where there is none, or where its columns are not stored.
    pub(in crate::snapshot) fn new(table: &Table) -> Result<Self> {
        let mut fields: Vec<Field> =
            table.arrow_schema_hashed().fields().iter().map(|field| field.as_ref().clone()).collect();
        // A number: gathering values of other fixed widths takes several times as long.
        fields.pop();
        fields.push(Field::new(HASH_COLUMN, HASH_NUMBER, false));
        fields.push(Field::new(LENGTH_COLUMN, DataType::Int64, false));
        let schema = Arc::new(Schema::new(fields));
        let hash = schema.fields().len() - 2;
        let position = |name: &String| {
            schema.fields()[1..hash].iter().position(|field| field.name() == name).map(|at| at + 1)
        };
        let primary: Option<Vec<usize>> = table.primary_key.iter().map(position).collect();
        let mut key = vec![0];
        key.extend(primary.filter(|columns| !columns.is_empty()).unwrap_or_else(|| vec![hash]));
        let options = SortOptions { descending: false, nulls_first: false };
        let sorted = |&at: &usize| SortField::new_with_options(schema.field(at).data_type().clone(), options);
        let converter = |key: &[usize]| {
            RowConverter::new(key.iter().map(sorted).collect())
                .map(Arc::new)
                .map_err(|error| Error::bug(format!("unable to sort table '{}'", table.name)).because(error))
        };
        let (converter, converter_within) = (converter(&key)?, converter(&key[1..])?);
        Ok(Self { table: Arc::new(table.clone()), schema, key: key.into(), converter, converter_within })
    }

    /// Schema of a prepared batch.
    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Rows> {
        let columns: Vec<ArrayRef> = self.key.iter().map(|&at| Arc::clone(batch.column(at))).collect();
        self.converter.convert_columns(&columns).map_err(|error| self.unable(error))
    }

    fn keys_within(&self, batch: &RecordBatch) -> Result<Rows> {
        let columns: Vec<ArrayRef> = self.key[1..].iter().map(|&at| Arc::clone(batch.column(at))).collect();
        self.converter_within.convert_columns(&columns).map_err(|error| self.unable(error))
    }

    fn unable(&self, error: arrow::error::ArrowError) -> Error {
        Error::bug(format!("unable to sort table '{}'", self.table.name)).because(error)
    }

    /// Checks a source's batch and adds what it lacks.
    pub(super) fn prepare(&self, batch: &RecordBatch) -> Result<Prepared> {
        let tuples = wire::encode(&self.table, batch).map_err(|error| {
            Error::bug(format!("the source's batch does not fit table '{}'", self.table.name)).because(error)
        })?;
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            columns.push(match (field.name().as_str(), batch.column_by_name(field.name())) {
                (LENGTH_COLUMN, _) => lengths(&tuples),
                (HASH_COLUMN, column) => hashes(&tuples, column),
                (_, Some(column)) if column.data_type() == field.data_type() => Arc::clone(column),
                (name, _) => {
                    let message =
                        format!("the source's batch lacks column '{name}' of '{}'", self.table.name);
                    return Err(Error::bug(message));
                }
            });
        }
        let wire_bytes = tuples.bytes.len() as u64;
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|error| self.unable(error))?;
        let keys = self.keys_within(&batch)?;
        let order_bytes = batch.num_rows() * (size_of::<Place>() + size_of::<(u32, u32)>());
        let memory_bytes = batch.get_array_memory_size() + keys.size() + order_bytes;
        Ok(Prepared { batch, keys, memory_bytes, wire_bytes })
    }

    /// Names of the key columns.
    #[cfg(test)]
    pub(super) fn key_columns(&self) -> Vec<&str> {
        self.key.iter().map(|&at| self.schema.field(at).name().as_str()).collect()
    }
}

fn lengths(tuples: &Tuples) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(tuples.iter().map(|tuple| tuple.len() as i64)))
}

/// The rows' hashes as numbers; computed for a source that does not deliver those of what its server sent.
fn hashes(tuples: &Tuples, delivered: Option<&ArrayRef>) -> ArrayRef {
    let delivered = delivered.and_then(|column| column.as_fixed_size_binary_opt());
    let numbers: Vec<i128> = match delivered
        .filter(|hashes| hashes.value_length() == 16 && hashes.null_count() == 0)
    {
        Some(hashes) => {
            hashes.iter().flatten().filter_map(|hash| hash.try_into().ok().map(i128::from_le_bytes)).collect()
        }
        None => tuples.iter().map(|tuple| row_hash(tuple).cast_signed()).collect(),
    };
    let numbers = PrimitiveArray::<Decimal128Type>::from_iter_values(numbers);
    Arc::new(numbers.with_data_type(HASH_NUMBER))
}
