//! One scan: ranges of a table, COPYed by several readers, decoded into batches.
//!
//! ```text
//! Plan ──► ranges ──► reader: COPY (SELECT owner, columns …) ──► tuples ──► rayon: hash, decode ──► batch
//! ```
//!
//! An ordinary table is cut by TID: a row version lives at one place, so every row of the snapshot comes
//! exactly once. A partitioned table is one piece, since places repeat between its leaves.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::snapshot::Snapshot;
use crate::bridge::compute;
use crate::database::feed::{BatchSender, Worker};
use crate::database::postgres::error::failure;
use crate::database::postgres::owner::{self, ROW, Scanned};
use crate::database::postgres::pool::Lease;
use crate::database::postgres::tuples::TupleReader;
use crate::error::{Error, Result};
use crate::limits::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, SCAN_CHUNK_BLOCKS};
use crate::model::wire::{Decoder, Tuples, WireError};
use crate::model::{Owners, Table, TableName, TenantId};
use crate::source::Scan;

/// Carries the wanted tenants to the server, as the text of an array.
const TENANTS_SETTING: &str = "reinstate.tenants";

/// What is to be read, and how it is cut.
pub struct Plan {
    shape: Arc<Shape>,
    ranges: VecDeque<String>,
    workers_max: usize,
}

/// What all readers of a scan share.
struct Shape {
    /// The table with the wanted columns only.
    table: Arc<Table>,
    /// Whether these are all stored columns. The hash is of a whole row, so only then can there be one.
    whole: bool,
    /// The query without the range.
    query: String,
    /// The wanted tenants, as an array's text.
    tenants: Option<String>,
}

impl Plan {
    pub fn new(
        snapshot: &Snapshot,
        name: &TableName,
        owners: Option<&Owners>,
        scan: &Scan,
        readers_max: usize,
    ) -> Result<Self> {
        let table = snapshot.description.tables.iter().find(|table| table.name == *name);
        let table =
            table.ok_or_else(|| Error::bug(format!("unable to scan '{name}': there is no such table")))?;
        let (table, whole) = project(table, scan.columns.as_deref())?;
        let Scanned { from, owner, joined, .. } = owner::scanned(&snapshot.relations, name, owners, ROW)?;
        let mut columns = owner.clone();
        if table.stored_columns().next().is_some() {
            columns = format!("{columns}, {}", owner::stored_columns(&table));
        }
        let tenants = scan.tenants.as_deref().filter(|_| owners.is_some()).map(array_text);
        // Compared as text, so that an id that is no value of the column's type finds nothing instead of
        // failing.
        let filter = tenants.as_ref().map_or("true".to_owned(), |_| {
            format!(
                "{owner} OPERATOR(pg_catalog.=) ANY
                   (SELECT unnest(current_setting('{TENANTS_SETTING}')::text[]))"
            )
        });
        let query = format!("SELECT {columns} FROM {from} WHERE {filter}");
        let ranges = ranges(snapshot, name, joined, readers_max)?;
        let workers_max = readers_max.clamp(1, ranges.len());
        Ok(Self {
            shape: Arc::new(Shape { table: Arc::new(table), whole, query, tenants }),
            ranges,
            workers_max,
        })
    }

    /// The readers of this scan.
    pub fn workers(self, snapshot: &Arc<Snapshot>) -> Vec<Worker> {
        let ranges = Arc::new(Mutex::new(self.ranges));
        let worker = |_| -> Worker {
            let (shape, ranges, snapshot) =
                (Arc::clone(&self.shape), Arc::clone(&ranges), Arc::clone(snapshot));
            Box::new(move |sender| {
                Box::pin(async move {
                    // A reader for each range: other scans get their turn in between.
                    while let Some(range) = next(&ranges) {
                        let mut reader = snapshot.readers.lease().await?;
                        if !copy_range(&mut reader, &snapshot, &shape, &range, &sender).await? {
                            return Ok(());
                        }
                        reader.release();
                    }
                    Ok(())
                })
            })
        };
        (0..self.workers_max).map(worker).collect()
    }
}

fn next(ranges: &Mutex<VecDeque<String>>) -> Option<String> {
    ranges.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// The table with these columns only, in its own order.
fn project(table: &Table, columns: Option<&[String]>) -> Result<(Table, bool)> {
    let mut projected = table.clone();
    let Some(columns) = columns else { return Ok((projected, true)) };
    if let Some(unknown) = columns.iter().find(|name| !table.stored_columns().any(|c| c.name == **name)) {
        return Err(Error::bug(format!(
            "unable to scan '{}': it has no stored column '{unknown}'",
            table.name
        )));
    }
    projected.columns.retain(|column| !column.generated && columns.contains(&column.name));
    Ok((projected, false))
}

/// Conditions that cut the table into pieces, each row in exactly one.
fn ranges(snapshot: &Snapshot, name: &TableName, joins: bool, readers: usize) -> Result<VecDeque<String>> {
    let relation = snapshot.relations.get(name)?;
    let blocks =
        if relation.partitioned { 0 } else { snapshot.blocks.get(&relation.oid).copied().unwrap_or(0) };
    // Each range of a table that is joined to its owners may build the owners' hash table anew: no more
    // ranges than readers.
    let smallest = if joins { blocks.div_ceil(readers.max(1) as u64) } else { 0 };
    let step = SCAN_CHUNK_BLOCKS.max(smallest);
    let pieces = blocks.div_ceil(step).max(1);
    let piece = |index: u64| {
        let from = (index > 0).then(|| format!("{ROW}.ctid >= '({},0)'::tid", index * step));
        // The last range is open: it costs nothing, and no block is left out.
        let to = (index + 1 < pieces).then(|| format!("{ROW}.ctid < '({},0)'::tid", (index + 1) * step));
        let both: Vec<String> = from.into_iter().chain(to).collect();
        if both.is_empty() { "true".to_owned() } else { both.join(" AND ") }
    };
    Ok((0..pieces).map(piece).collect())
}

/// `{"a","b"}`: the text of a PostgreSQL array of text, every element quoted.
fn array_text(tenants: &[TenantId]) -> String {
    let quoted = |id: &TenantId| format!("\"{}\"", id.as_str().replace('\\', "\\\\").replace('"', "\\\""));
    let elements: Vec<String> = tenants.iter().map(quoted).collect();
    format!("{{{}}}", elements.join(","))
}

/// Copies one range; `false` if nobody reads any more.
async fn copy_range(
    reader: &mut Lease,
    snapshot: &Snapshot,
    shape: &Shape,
    range: &str,
    sender: &BatchSender,
) -> Result<bool> {
    let unable = |error| failure(format!("unable to read table '{}'", shape.table.name), error);
    if let Some(tenants) = &shape.tenants {
        let sql = "select set_config($1, $2, true)";
        sqlx::query(sql).bind(TENANTS_SETTING).bind(tenants).execute(&mut **reader).await.map_err(unable)?;
    }
    let copy = format!("COPY ({} AND {range}) TO STDOUT (FORMAT binary)", shape.query);
    let mut stream = reader.copy_out_raw(&copy).await.map_err(unable)?;
    // From here on the COPY itself holds a lock; until here it was the leader.
    snapshot.require_locks().await?;
    let (mut framing, mut tuples) = (TupleReader::default(), Tuples::default());
    let broken =
        |error| Error::interrupted(format!("unable to read table '{}'", shape.table.name)).because(error);
    while let Some(chunk) = stream.next().await {
        framing.read(&chunk.map_err(unable)?, &mut tuples).map_err(broken)?;
        let full = tuples.len() >= BATCH_ROWS_MAX || tuples.bytes.len() >= BATCH_BYTES_MAX;
        if full && !send(shape, std::mem::take(&mut tuples), sender).await? {
            return Ok(false);
        }
    }
    framing.finish().map_err(broken)?;
    Ok(tuples.is_empty() || send(shape, tuples, sender).await?)
}

/// Decodes and hands over; `false` if nobody reads any more.
async fn send(shape: &Shape, tuples: Tuples, sender: &BatchSender) -> Result<bool> {
    let (table, whole) = (Arc::clone(&shape.table), shape.whole);
    let batch = compute(move || decode(table, whole, &tuples)).await?.map_err(|error| {
        Error::failed(format!("unable to read table '{}'", shape.table.name)).because(error)
    })?;
    let is_wanted = sender.send(Ok(batch)).await.is_ok();
    sender.has_room().await;
    Ok(is_wanted)
}

fn decode(table: Arc<Table>, whole: bool, tuples: &Tuples) -> Result<RecordBatch, WireError> {
    let mut decoder = Decoder::new(table);
    let mut row = Vec::new();
    for tuple in tuples.iter() {
        let owner = split_owner(tuple, &mut row)?;
        decoder.push(owner, &row)?;
    }
    let mut batch = decoder.finish();
    if !whole {
        batch.remove_column(batch.num_columns() - 1);
    }
    Ok(batch)
}

/// Takes the owner off the front of a tuple; `row` becomes the tuple without it.
fn split_owner<'a>(tuple: &'a [u8], row: &mut Vec<u8>) -> Result<Option<&'a str>, WireError> {
    let wrong = || WireError::Length { actual: tuple.len() };
    let (count, rest) = tuple.split_first_chunk::<2>().ok_or_else(wrong)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
    let (owner, rest) = match usize::try_from(i32::from_be_bytes(*length)) {
        Err(_) => (None, rest),
        Ok(length) => {
            let (owner, rest) = rest.split_at_checked(length).ok_or_else(wrong)?;
            (Some(std::str::from_utf8(owner).map_err(|_| wrong())?), rest)
        }
    };
    row.clear();
    row.extend_from_slice(&(i16::from_be_bytes(*count) - 1).to_be_bytes());
    row.extend_from_slice(rest);
    Ok(owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::wire::push_tuple;

    #[test]
    fn the_owner_is_taken_off_and_the_row_stays_whole() {
        let (mut with, mut without) = (Tuples::default(), Tuples::default());
        push_tuple(&mut with, &[Some(b"t1"), Some(b"a"), None]);
        push_tuple(&mut without, &[Some(b"a"), None]);
        let mut row = Vec::new();
        assert_eq!(split_owner(&with.bytes, &mut row), Ok(Some("t1")));
        assert_eq!(row, without.bytes);
        let mut unowned = Tuples::default();
        push_tuple(&mut unowned, &[None]);
        assert_eq!(split_owner(&unowned.bytes, &mut row), Ok(None));
        assert_eq!(row, [0, 0]);
    }

    #[test]
    fn ids_cannot_leave_their_array() {
        let ids = ["a", "b\",\"c", "\\", "'; drop table x; --", "NULL"].map(TenantId::new);
        assert_eq!(array_text(&ids), r#"{"a","b\",\"c","\\","'; drop table x; --","NULL"}"#);
        assert_eq!(array_text(&[]), "{}");
    }
}
