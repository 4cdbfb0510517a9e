//! What a batch needs before it can be sorted: checked columns, hashes, wire lengths, and keys that compare
//! as bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeBinaryBuilder, Int64Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::{Error, Result};
use crate::model::wire::{self, Tuples};
use crate::model::{HASH_COLUMN, Table, row_hash};

/// The column behind the hash: bytes of the row in wire form.
pub(in crate::snapshot) const LENGTH_COLUMN: &str = "reinstate_bytes";

/// A batch on its way through the sort.
pub(super) struct Prepared {
    /// Tenant, values, hash, length.
    pub batch: RecordBatch,
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
}

impl Order {
    /// Tenant, then primary key; the hash where there is none, or where its columns are not stored.
    pub(in crate::snapshot) fn new(table: &Table) -> Result<Self> {
        let mut fields: Vec<Field> =
            table.arrow_schema_hashed().fields().iter().map(|field| field.as_ref().clone()).collect();
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
        let converter = RowConverter::new(key.iter().map(sorted).collect())
            .map_err(|error| Error::bug(format!("unable to sort table '{}'", table.name)).because(error))?;
        Ok(Self { table: Arc::new(table.clone()), schema, key: key.into(), converter: Arc::new(converter) })
    }

    /// Schema of a prepared batch.
    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Rows> {
        let columns: Vec<ArrayRef> = self.key.iter().map(|&at| Arc::clone(batch.column(at))).collect();
        self.converter.convert_columns(&columns).map_err(|error| self.unable(error))
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
                (HASH_COLUMN, None) => hashes(&tuples),
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
        let keys = self.keys(&batch)?;
        // The order of the sort is two numbers a row.
        let order_bytes = batch.num_rows() * size_of::<(u32, u32)>();
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

/// For a source that does not deliver the hashes of what its server sent.
fn hashes(tuples: &Tuples) -> ArrayRef {
    let mut hashes = FixedSizeBinaryBuilder::with_capacity(tuples.len(), 16);
    for tuple in tuples.iter() {
        // Only fails on another length than 16.
        let _ = hashes.append_value(row_hash(tuple).to_le_bytes());
    }
    Arc::new(hashes.finish())
}
