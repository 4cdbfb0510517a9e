//! Rows that belong to whoever points at them: which of a tenant's are missing live, so that they come back with it.
//!
//! ```text
//! rows of the snapshot ─► live by primary key? ─► hanging from a live row? ─► marks ─► the chosen rows
//! ```
//!
//! Asked of the shard for the plan, and again of the session, which sees what other tenants of the plan have brought
//! back since. A row that is live stays as it is. A row that hangs from a live one was not deleted with the tenant, and
//! may have been removed for good since: it stays away.

use std::sync::{Arc, Mutex};

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use futures::StreamExt;

use crate::bridge;
use crate::error::{Error, Result};
use crate::model::{
    Belongs, Chunk, ChunkStream, Fingerprint, KeyTerm, OwnedTable, Table, UniqueKey, quote_identifier,
    row_hash, wire,
};
use crate::shard::{Ask, Question, Rows};

/// The chosen ones among the rows of a stream, by their places.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    marks: Vec<bool>,
    /// All rows of the stream, for the comparison with the plan.
    pub all: Fingerprint,
}

impl Chosen {
    /// How many they are.
    pub fn rows(&self) -> u64 {
        self.marks.iter().filter(|mark| **mark).count() as u64
    }

    fn chunk(&self, first: usize, rows: usize) -> Result<&[bool]> {
        self.marks.get(first..first + rows).ok_or_else(changed)
    }
}

fn changed() -> Error {
    Error::refused("unable to trust the snapshot: its rows are not those that were there a moment ago")
}

/// The rows that are missing live.
pub async fn missing(ask: &mut dyn Ask, owned: &OwnedTable, mut rows: ChunkStream) -> Result<Chosen> {
    let key = primary_key(&owned.table)?;
    let mut chosen = Chosen::default();
    while let Some(chunk) = rows.next().await {
        let chunk = chunk?;
        let asked = Rows { owned, tuples: &chunk.tuples };
        let mut marks = vec![true; chunk.tuples.len()];
        for answer in ask.ask(&asked, &Question::Taken(&key)).await? {
            marks[answer.row] = false;
        }
        if owned.owners.belongs == Belongs::WithParent {
            keep(&mut marks, &detached(ask, &asked).await?);
        }
        chosen.all += chunk.fingerprint;
        chosen.marks.extend(marks);
    }
    Ok(chosen)
}

/// Takes out the chosen rows whose row to hang from has not come back: it was neither live nor in the snapshot, or
/// hangs itself from a live one. To be asked when the tables above are written.
pub async fn attached(
    ask: &mut dyn Ask,
    owned: &OwnedTable,
    chosen: &mut Chosen,
    mut rows: ChunkStream,
) -> Result<()> {
    let mut first = 0;
    while let Some(chunk) = rows.next().await {
        let chunk = chunk?;
        let detached = detached(ask, &Rows { owned, tuples: &chunk.tuples }).await?;
        let attached: Vec<bool> = detached.iter().map(|detached| !detached).collect();
        let marks = chosen.marks.get_mut(first..first + attached.len()).ok_or_else(changed)?;
        keep(marks, &attached);
        first += attached.len();
    }
    Ok(())
}

async fn detached(ask: &mut dyn Ask, asked: &Rows<'_>) -> Result<Vec<bool>> {
    let mut detached = vec![false; asked.tuples.len()];
    for answer in ask.ask(asked, &Question::Detached).await? {
        detached[answer.row] = true;
    }
    Ok(detached)
}

fn keep(marks: &mut [bool], also: &[bool]) {
    marks.iter_mut().zip(also).for_each(|(mark, also)| *mark &= also);
}

/// The chosen rows alone. `passed` becomes the fingerprint of all that went by.
pub fn choose(
    table: &Table,
    chosen: &Chosen,
    rows: ChunkStream,
    passed: Arc<Mutex<Fingerprint>>,
) -> ChunkStream {
    let (table, chosen) = (Arc::new(table.clone()), Arc::new(chosen.clone()));
    let mut first = 0;
    rows.filter_map(move |chunk| {
        let (table, chosen, passed) = (Arc::clone(&table), Arc::clone(&chosen), Arc::clone(&passed));
        let start = first;
        first += chunk.as_ref().map_or(0, |chunk| chunk.tuples.len());
        async move {
            let part = async {
                let chunk = chunk?;
                *passed.lock().map_err(|_| Error::bug("a writer stopped in the middle"))? +=
                    chunk.fingerprint;
                let marks = chosen.chunk(start, chunk.tuples.len())?.to_vec();
                bridge::compute(move || part_of(&table, chunk, marks)).await?
            };
            match part.await {
                Ok(chunk) if chunk.tuples.is_empty() => None,
                chunk => Some(chunk),
            }
        }
    })
    .boxed()
}

fn part_of(table: &Table, chunk: Chunk, marks: Vec<bool>) -> Result<Chunk> {
    if marks.iter().all(|mark| *mark) {
        return Ok(chunk);
    }
    let batch = filter_record_batch(&chunk.batch, &BooleanArray::from(marks))
        .map_err(|error| Error::bug("unable to choose rows").because(error))?;
    let tuples = wire::encode(table, &batch)
        .map_err(|error| Error::bug("chosen rows lost their shape").because(error))?;
    let fingerprint = Fingerprint::of(&tuples);
    Ok(Chunk { batch, tuples, fingerprint })
}

/// The live rows that have the keys of these: their fingerprint.
pub async fn live_by_key(
    ask: &mut dyn Ask,
    owned: &OwnedTable,
    mut rows: ChunkStream,
) -> Result<Fingerprint> {
    let key = primary_key(&owned.table)?;
    let mut found = Fingerprint::default();
    while let Some(chunk) = rows.next().await {
        let asked = Rows { owned, tuples: &chunk?.tuples };
        for live in
            ask.ask(&asked, &Question::Taken(&key)).await?.into_iter().filter_map(|answer| answer.live)
        {
            found.add(row_hash(&live.tuple));
        }
    }
    Ok(found)
}

/// The key that rows are looked up by.
pub fn primary_key(table: &Table) -> Result<UniqueKey> {
    let columns = &table.primary_key;
    match &table.primary_index {
        Some(index) if !columns.is_empty() => Ok(index.clone()),
        _ if columns.is_empty() => Err(Error::undecided(format!(
            "unable to look up rows of '{}': it has no primary key",
            table.name
        ))
        .hint("rows that belong to whoever points at them are restored one by one where they are missing")
        .hint("give the table a primary key, or another rule")),
        _ => {
            let term = |column: &String| KeyTerm { sql: quote_identifier(column), operator: None };
            let terms = columns.iter().map(term).collect();
            let name = format!("primary key of {}", table.name);
            Ok(UniqueKey { name, columns: columns.clone(), terms, ..UniqueKey::default() })
        }
    }
}
