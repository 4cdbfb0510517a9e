//! Which rows differ, and in which columns: what a person needs to look further.

use std::collections::HashMap;
use std::fmt;

use arrow::array::RecordBatch;
use futures::{StreamExt, stream::BoxStream};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::limits::DIFFERENCES_NAMED_MAX;
use crate::model::{Table, row_hash, row_name, wire};

/// One row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `column=value` of the primary key, or of the whole row where the table has none.
    pub row: String,
    /// How it differs.
    #[serde(flatten)]
    pub what: What,
}

/// How a row differs from the snapshot's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
pub enum What {
    /// In the snapshot, not in the shard.
    Missing,
    /// In the shard, not in the snapshot.
    Extra,
    /// In both, with other values in these columns.
    Changed {
        /// The columns.
        columns: Vec<String>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Missing => write!(f, "row {} is missing", self.row),
            What::Extra => write!(f, "row {} is extra", self.row),
            What::Changed { columns } => write!(f, "row {} differs in {}", self.row, columns.join(", ")),
        }
    }
}

type Batches = BoxStream<'static, Result<RecordBatch>>;

/// How often each row occurs on the snapshot's side minus on the shard's; rows that cancel out are gone. 17 bytes a
/// row and no values, so that a large tenant fits in memory.
#[derive(Default)]
pub struct Balance(HashMap<u128, i64>);

impl Balance {
    /// Counts the rows of a stream, `weight` each.
    pub async fn count(&mut self, table: &Table, mut rows: Batches, weight: i64) -> Result<()> {
        while let Some(batch) = rows.next().await {
            let tuples = encode(table, &batch?)?;
            for tuple in tuples.iter() {
                let hash = row_hash(tuple);
                let left = self.0.entry(hash).or_default();
                *left += weight;
                if *left == 0 {
                    self.0.remove(&hash);
                }
            }
        }
        Ok(())
    }

    /// The rows of a stream that the counted ones do not answer.
    pub async fn beyond(mut self, table: &Table, mut rows: Batches) -> Result<wire::Tuples> {
        let mut beyond = wire::Tuples::default();
        while let Some(batch) = rows.next().await {
            for tuple in encode(table, &batch?)?.iter() {
                match self.0.get_mut(&row_hash(tuple)).filter(|left| **left > 0) {
                    Some(left) => *left -= 1,
                    None => {
                        beyond.bytes.extend_from_slice(tuple);
                        beyond.ends.push(beyond.bytes.len());
                    }
                }
            }
        }
        Ok(beyond)
    }

    /// Takes back the count of rows that do not count, by their hashes.
    pub fn discount(&mut self, rows: &[u128], weight: i64) {
        for hash in rows {
            *self.0.entry(*hash).or_default() -= weight;
        }
    }

    /// Rows of a stream that stay uncancelled on the side of `weight`'s sign, a few at the most.
    pub async fn unmatched(&self, table: &Table, mut rows: Batches, weight: i64) -> Result<Vec<Row>> {
        let mut left: HashMap<u128, i64> = self
            .0
            .iter()
            .filter(|(_, count)| **count * weight > 0)
            .map(|(hash, count)| (*hash, count.abs()))
            .collect();
        let mut found = Vec::new();
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let tuples = encode(table, &batch)?;
            for (index, tuple) in tuples.iter().enumerate() {
                let Some(count) = left.get_mut(&row_hash(tuple)).filter(|count| **count > 0) else {
                    continue;
                };
                *count -= 1;
                found.push(Row::new(table, &batch, index, tuple)?);
                if found.len() >= DIFFERENCES_NAMED_MAX {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }
}

fn encode(table: &Table, batch: &RecordBatch) -> Result<wire::Tuples> {
    wire::encode(table, batch).map_err(|error| {
        Error::failed(format!("unable to compare rows of table '{}'", table.name)).because(error)
    })
}

/// A row that has no equal on the other side.
pub struct Row {
    key: String,
    fields: Vec<Option<Vec<u8>>>,
}

impl Row {
    fn new(table: &Table, batch: &RecordBatch, index: usize, tuple: &[u8]) -> Result<Self> {
        let wrong =
            |error| Error::failed(format!("unable to compare rows of table '{}'", table.name)).because(error);
        let fields = wire::fields(tuple).map_err(wrong)?;
        Ok(Self {
            key: row_name(table, batch, index),
            fields: fields.into_iter().map(|field| field.map(<[u8]>::to_vec)).collect(),
        })
    }
}

/// Pairs the unmatched rows of both sides by their key.
pub fn pair(table: &Table, snapshot: Vec<Row>, live: Vec<Row>) -> Vec<Difference> {
    let mut extra: HashMap<String, Row> = HashMap::new();
    let mut found = Vec::new();
    let has_key = !table.primary_key.is_empty();
    for row in live {
        if has_key {
            extra.insert(row.key.clone(), row);
        } else {
            found.push(Difference { row: row.key, what: What::Extra });
        }
    }
    for row in snapshot {
        let what = match extra.remove(&row.key) {
            None => What::Missing,
            Some(other) => What::Changed {
                columns: table
                    .stored_columns()
                    .zip(row.fields.iter().zip(&other.fields))
                    .filter(|(_, (a, b))| a != b)
                    .map(|(column, _)| column.name.clone())
                    .collect(),
            },
        };
        found.push(Difference { row: row.key, what });
    }
    found.extend(extra.into_values().map(|row| Difference { row: row.key, what: What::Extra }));
    found.sort_by(|a, b| a.row.cmp(&b.row));
    found.truncate(DIFFERENCES_NAMED_MAX);
    found
}
