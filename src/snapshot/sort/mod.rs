//! External sort: a table's rows by tenant (none last), then primary key, in bounded memory.
//!
//! ```text
//! batches ──► prepare (hash, wire length, key) ──► buffer ──► sorted run in a temporary file ──► merge
//!                                                     └────── fits in memory ─────────────────────┘
//! ```
//!
//! A table without primary key is ordered by the hash of its rows, so that the same rows always make the same
//! file. Two columns travel beside the values: the row's hash, as the source delivered it, and its length in
//! wire form; the index needs both and nothing has to be encoded twice. Runs are unnamed files: a killed
//! process leaves nothing behind.
//!
//! What a tenant is and where the rows go is not known here.

mod merge;
mod prepare;
mod run;

use std::collections::VecDeque;

use arrow::array::RecordBatch;

use self::merge::Merge;
use self::prepare::Prepared;
use self::run::Run;
use crate::bridge;
use crate::error::{Error, Result};
use crate::limits::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, MERGE_RUNS_MAX};

pub(super) use self::prepare::{LENGTH_COLUMN, Order};

/// How much a sorted batch may hold.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    rows: usize,
    /// Wire form.
    bytes: usize,
}

/// What a sorted table becomes: batches of at most this size.
const OUTPUT: Bounds = Bounds { rows: BATCH_ROWS_MAX, bytes: BATCH_BYTES_MAX };

/// Collects rows; [`Sorter::finish`] gives them back in order.
pub(super) struct Sorter {
    order: Order,
    /// Memory of the buffer, and again of the run that is being written, and of a merge.
    memory_bytes: usize,
    buffer: Vec<Prepared>,
    buffered_bytes: usize,
    rows: u64,
    runs: Runs,
    /// The runs, while a buffer is on its way into them.
    spilling: Option<tokio::task::JoinHandle<Result<Runs>>>,
}

/// Rows of one table, in order.
pub(super) enum Sorted {
    Memory(run::MemoryRun),
    Merge(Box<Merge>),
}

impl Sorter {
    pub(super) fn new(order: Order, memory_bytes: usize) -> Self {
        Self {
            order,
            memory_bytes,
            buffer: Vec::new(),
            buffered_bytes: 0,
            rows: 0,
            runs: Runs::default(),
            spilling: None,
        }
    }

    /// Takes a batch; returns its bytes in wire form.
    pub(super) async fn push(&mut self, batch: RecordBatch) -> Result<u64> {
        if batch.num_rows() == 0 {
            return Ok(0);
        }
        let order = self.order.clone();
        let prepared = bridge::compute(move || order.prepare(&batch)).await??;
        let wire_bytes = prepared.wire_bytes;
        if !self.buffer.is_empty() && self.buffered_bytes + prepared.memory_bytes > self.memory_bytes {
            self.spill().await?;
        }
        self.rows += prepared.batch.num_rows() as u64;
        self.buffered_bytes += prepared.memory_bytes;
        self.buffer.push(prepared);
        Ok(wire_bytes)
    }

    /// Sends the buffer, which is not empty, into a run. It is written while the next buffer fills; two are
    /// never under way.
    async fn spill(&mut self) -> Result<()> {
        self.settle().await?;
        let buffer = std::mem::take(&mut self.buffer);
        self.buffered_bytes = 0;
        let mut runs = std::mem::take(&mut self.runs);
        let order = self.order.clone();
        let memory_bytes = self.memory_bytes;
        let work = bridge::compute(move || {
            let mut sorted = run::MemoryRun::new(buffer);
            let run =
                Run::write(order.schema(), run::batch_bounds(memory_bytes), |bounds| sorted.next(bounds))?;
            // The merges that a full level starts need the memory.
            drop(sorted);
            runs.add(run, 0, &order, memory_bytes)?;
            Ok(runs)
        });
        self.spilling = Some(tokio::spawn(async { work.await? }));
        Ok(())
    }

    /// Waits for the run that is being written.
    async fn settle(&mut self) -> Result<()> {
        if let Some(spilling) = self.spilling.take() {
            let written = spilling.await;
            self.runs = written.map_err(|error| Error::bug("a sort ended early").because(error))??;
        }
        Ok(())
    }

    /// The rows in order, and how many they are.
    pub(super) async fn finish(mut self) -> Result<(Sorted, u64)> {
        self.settle().await?;
        if !self.runs.is_empty() && !self.buffer.is_empty() {
            self.spill().await?;
            self.settle().await?;
        }
        let Self { order, memory_bytes, buffer, rows, runs, .. } = self;
        let sorted = bridge::compute(move || {
            if runs.is_empty() {
                return Ok::<_, Error>(Sorted::Memory(run::MemoryRun::new(buffer)));
            }
            let last = runs.reduce(&order, memory_bytes)?;
            Ok(Sorted::Merge(Box::new(Merge::new(last, &order)?)))
        });
        Ok((sorted.await??, rows))
    }
}

impl Sorted {
    /// The next batch.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        match self {
            Self::Memory(run) => run.next(OUTPUT),
            Self::Merge(merge) => merge.next(OUTPUT),
        }
    }
}

/// Runs by the number of merges behind them, so that every row is merged equally often.
#[derive(Default)]
struct Runs {
    levels: Vec<Vec<Run>>,
    merges: usize,
}

impl Runs {
    fn is_empty(&self) -> bool {
        self.levels.iter().all(Vec::is_empty)
    }

    /// Adds a run. A full level is merged into one run of the next level, so the open files stay few.
    fn add(&mut self, run: Run, level: usize, order: &Order, memory_bytes: usize) -> Result<()> {
        if self.levels.len() <= level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(run);
        if self.levels[level].len() < MERGE_RUNS_MAX {
            return Ok(());
        }
        let mut full = VecDeque::from(std::mem::take(&mut self.levels[level]));
        while full.len() > 1 {
            self.merge_some(&mut full, order, memory_bytes)?;
        }
        match full.pop_front() {
            Some(merged) => self.add(merged, level + 1, order, memory_bytes),
            None => Ok(()),
        }
    }

    /// Merges until the runs that are left can be merged at once.
    fn reduce(mut self, order: &Order, memory_bytes: usize) -> Result<Vec<Run>> {
        let mut runs: VecDeque<Run> = std::mem::take(&mut self.levels).into_iter().flatten().collect();
        while fan_in(&runs, memory_bytes) < runs.len() {
            self.merge_some(&mut runs, order, memory_bytes)?;
        }
        tracing::debug!(merges = self.merges, runs = runs.len(), "sorted");
        Ok(runs.into())
    }

    /// Merges as many runs as memory allows, from the front, into one at the back.
    fn merge_some(&mut self, runs: &mut VecDeque<Run>, order: &Order, memory_bytes: usize) -> Result<()> {
        let some = runs.drain(..fan_in(runs, memory_bytes)).collect();
        let mut merge = Merge::new(some, order)?;
        runs.push_back(Run::write(order.schema(), run::batch_bounds(memory_bytes), |bounds| {
            merge.next(bounds)
        })?);
        self.merges += 1;
        Ok(())
    }
}

/// How many runs, from the front, can be merged at once; at least two, or a merge would never end.
fn fan_in(runs: &VecDeque<Run>, memory_bytes: usize) -> usize {
    let mut used = 0;
    let fits = |run: &&Run| {
        used += run.batch_memory_bytes_max();
        used <= memory_bytes
    };
    runs.iter().take(MERGE_RUNS_MAX).take_while(fits).count().max(2).min(runs.len())
}

#[cfg(test)]
mod tests;
