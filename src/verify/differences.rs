//! Which rows differ, and in which columns: what a person needs to look further.

use std::collections::HashMap;
use std::fmt;

use arrow::array::RecordBatch;
use futures::{StreamExt, stream::BoxStream};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::limits::DIFFERENCES_NAMED_MAX;
use crate::memory::Share;
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

/// How often each row occurs on the snapshot's side minus on the shard's, by its hash; rows that cancel out are gone.
pub struct Balance {
    rows: Ledger,
    share: Share,
}

/// Counts go below zero: numbers wrap.
fn plus(number: u128, weight: i64) -> u128 {
    number.wrapping_add_signed(weight.into())
}

/// How often, on the side of `weight`'s sign.
fn times(number: u128, weight: i64) -> u128 {
    let number = number.cast_signed() * i128::from(weight.signum());
    number.max(0).unsigned_abs()
}

impl Balance {
    /// Of no rows.
    pub fn new(share: Share) -> Self {
        Self { rows: share.ledger(), share }
    }

    /// Counts the rows of a stream, `weight` each.
    pub async fn count(&mut self, table: &Table, mut rows: Batches, weight: i64) -> Result<()> {
        while let Some(batch) = rows.next().await {
            let tuples = encode(table, &batch?)?;
            for tuple in tuples.iter() {
                self.rows.change(row_hash(tuple), |number| plus(number, weight))?;
            }
        }
        Ok(())
    }

    /// The rows of a stream that the counted ones do not answer.
    pub async fn beyond(mut self, table: &Table, mut rows: Batches) -> Result<wire::Tuples> {
        let mut beyond = wire::Tuples::default();
        while let Some(batch) = rows.next().await {
            for tuple in encode(table, &batch?)?.iter() {
                if !self.rows.take(row_hash(tuple))? {
                    self.share.hold(&mut beyond, tuple)?;
                }
            }
        }
        Ok(beyond)
    }

    /// Takes back the count of rows that do not count, by their hashes.
    pub fn discount(&mut self, rows: &[u128], weight: i64) -> Result<()> {
        for hash in rows {
            self.rows.change(*hash, |number| plus(number, -weight))?;
        }
        Ok(())
    }

    /// Rows of a stream that stay uncancelled on the side of `weight`'s sign, a few at the most.
    pub async fn unmatched(&self, table: &Table, mut rows: Batches, weight: i64) -> Result<Vec<Row>> {
        let mut named: HashMap<u128, u128> = HashMap::new();
        let mut found = Vec::new();
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let tuples = encode(table, &batch)?;
            for (index, tuple) in tuples.iter().enumerate() {
                let hash = row_hash(tuple);
                let times = times(self.rows.get(hash)?, weight);
                if times <= named.get(&hash).copied().unwrap_or_default() {
                    continue;
                }
                *named.entry(hash).or_default() += 1;
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
