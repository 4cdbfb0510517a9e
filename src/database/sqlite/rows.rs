//! A SELECT as a stream of record batches, or as a fingerprint.
//!
//! ```text
//! SQLite's thread ──rows──► task: wire tuples ──queue──► computing pool: hash, decode ──► stream
//! ```
//!
//! The task only copies values, so that SQLite's thread, the slowest part, never waits for a hash. It starts
//! when the stream is first polled, so that streams may be opened together and read one by one. Dropping the
//! stream closes the queue, which ends the task and with it the SELECT.

use std::future::Future;
use std::ops::DerefMut;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringBuilder};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};
use tokio::task::JoinError;

use super::error::explain;
use super::owner::Select;
use super::values::{RowEncoder, ValueError};
use crate::bridge::compute;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::limits::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, QUEUE_BATCHES_MAX};
use crate::memory::Share;
use crate::model::wire::{Decoder, Tuples};
use crate::model::{Fingerprint, Table, TableName, row_hash};
use crate::queue::{Sender, Weigh, queue};

/// Batches that are decoded at a time.
const DECODED_AT_ONCE: usize = 2;

/// Rows in wire form with their owners.
#[derive(Default)]
struct OwnedTuples {
    tuples: Tuples,
    owners: StringBuilder,
}

impl Weigh for OwnedTuples {
    fn weight(&self) -> usize {
        self.tuples.bytes.len()
    }
}

/// Runs a SELECT made by [`super::owner::select_rows`] on the connection that `acquire` gives, and decodes
/// its rows into batches with [`Table::arrow_schema_hashed`].
pub fn stream<C>(
    acquire: impl Future<Output = Result<C>> + Send + 'static,
    table: Arc<Table>,
    select: Select,
) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static
where
    C: DerefMut<Target = SqliteConnection> + Send + 'static,
{
    let reader_table = table.clone();
    let start = async move {
        let (sender, receiver) = queue(QUEUE_BATCHES_MAX);
        let task = tokio::spawn(produce(acquire, reader_table, select, sender));
        stream::unfold(Some((receiver, task)), |state| async move {
            let (mut receiver, task) = state?;
            match receiver.recv().await {
                Some(item) => Some((item, Some((receiver, task)))),
                // A task that panicked is an error, never the end of the rows.
                None => task.await.err().map(|panic| (Err(stopped(panic)), None)),
            }
        })
    };
    let decode = move |rows: Result<OwnedTuples>| {
        let table = table.clone();
        async move {
            let rows = rows?;
            compute(move || decode(table, rows)).await?
        }
    };
    stream::once(start).flatten().map(decode).buffered(DECODED_AT_ONCE)
}

fn stopped(panic: JoinError) -> Error {
    Error::bug("the reader of a SQLite table stopped").because(panic)
}

async fn produce<C>(
    acquire: impl Future<Output = Result<C>> + Send,
    table: Arc<Table>,
    select: Select,
    sender: Sender<Result<OwnedTuples>>,
) where
    C: DerefMut<Target = SqliteConnection> + Send,
{
    let work = async {
        let mut connection = acquire.await?;
        let encoder = RowEncoder::new(&table, 1);
        let mut batch = OwnedTuples::default();
        // Safe: made by `owner`, which quotes names and binds ids.
        let mut rows = sqlx::query_with(AssertSqlSafe(select.sql), select.arguments).fetch(&mut *connection);
        while let Some(row) = rows.try_next().await.map_err(|error| unreadable(&table.name, error))? {
            append(&encoder, &row, &mut batch).map_err(|error| unreadable(&table.name, error))?;
            if is_full(&batch.tuples) && sender.send(Ok(std::mem::take(&mut batch))).await.is_err() {
                return Ok(());
            }
        }
        if !batch.tuples.is_empty() {
            // Fails when nobody listens any more.
            let _ = sender.send(Ok(batch)).await;
        }
        Ok(())
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = sender.closed() => Ok(()),
    };
    if let Err(error) = outcome {
        let _ = sender.send(Err(error)).await;
    }
}

/// Fingerprint of the rows of a SELECT made by [`super::owner::select_stored`].
pub async fn fingerprint(
    connection: &mut SqliteConnection,
    table: &Table,
    select: Select,
) -> Result<Fingerprint> {
    let mut total = Fingerprint::default();
    let add = |hash| {
        total.add(hash);
        Ok(())
    };
    hashes(connection, table, select, add).await?;
    Ok(total)
}

/// Hands over the hash of each row of such a SELECT.
pub async fn hashes(
    connection: &mut SqliteConnection,
    table: &Table,
    select: Select,
    mut seen: impl FnMut(u128) -> Result<()> + Send,
) -> Result<()> {
    let hashes = |tuples: Tuples| tuples.iter().map(row_hash).collect::<Vec<u128>>();
    let encoder = RowEncoder::new(table, 0);
    let mut tuples = Tuples::default();
    // Safe: made by `owner`, which quotes names and binds ids.
    let mut rows = sqlx::query_with(AssertSqlSafe(select.sql), select.arguments).fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(|error| unreadable(&table.name, error))? {
        encoder.push(&row, &mut tuples).map_err(|error| unreadable(&table.name, error))?;
        if is_full(&tuples) {
            let full = std::mem::take(&mut tuples);
            compute(move || hashes(full)).await?.into_iter().try_for_each(&mut seen)?;
        }
    }
    compute(move || hashes(tuples)).await?.into_iter().try_for_each(&mut seen)
}

/// The rows of such a SELECT that are not among `known`, which says how often each hash may occur.
pub async fn extra(
    connection: &mut SqliteConnection,
    table: &Table,
    select: Select,
    mut known: Ledger,
    share: Share,
) -> Result<Tuples> {
    let encoder = RowEncoder::new(table, 0);
    let mut extra = Tuples::default();
    // Safe: made by `owner`, which quotes names and binds ids.
    let mut rows = sqlx::query_with(AssertSqlSafe(select.sql), select.arguments).fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(|error| unreadable(&table.name, error))? {
        let mut tuple = Tuples::default();
        encoder.push(&row, &mut tuple).map_err(|error| unreadable(&table.name, error))?;
        if !known.take(row_hash(&tuple.bytes))? {
            share.hold(&mut extra, &tuple.bytes)?;
        }
    }
    Ok(extra)
}

fn append(encoder: &RowEncoder, row: &SqliteRow, out: &mut OwnedTuples) -> Result<(), ValueError> {
    out.owners.append_option(row.try_get::<Option<&str>, _>(0)?);
    encoder.push(row, &mut out.tuples)
}

fn is_full(tuples: &Tuples) -> bool {
    tuples.len() >= BATCH_ROWS_MAX || tuples.bytes.len() >= BATCH_BYTES_MAX
}

fn decode(table: Arc<Table>, mut rows: OwnedTuples) -> Result<RecordBatch> {
    let mut decoder = Decoder::new(table.clone());
    let owners = rows.owners.finish();
    for (tuple, owner) in rows.tuples.iter().zip(owners.iter()) {
        decoder.push(owner, tuple).map_err(|error| unreadable(&table.name, error))?;
    }
    Ok(decoder.finish())
}

/// The error for a table that cannot be read, with what to do about it.
fn unreadable(table: &TableName, error: impl Into<ValueError>) -> Error {
    let message = format!("unable to read table '{table}'");
    match error.into() {
        ValueError::Driver(error) => explain(message, error),
        error @ ValueError::NotUtf8(_) => Error::refused(message)
            .because(error)
            .hint("store such values as blobs (`CAST(… AS BLOB)`), or exclude the table"),
        error @ ValueError::Wire(_) => Error::failed(message)
            .because(error)
            .hint("the column holds another class of value than when the snapshot was taken"),
    }
}
