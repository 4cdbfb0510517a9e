//! Merges sorted runs: one batch of each in memory, the run with the smallest next row on top of a heap.

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::row::Rows;

use super::Bounds;
use super::prepare::Order;
use super::run::{self, Run};
use crate::error::{Error, Result};

/// A merge under way.
pub(in crate::snapshot) struct Merge {
    order: Order,
    cursors: Vec<Cursor>,
    /// Positions of the cursors that have rows left; a heap by their next row.
    heap: Vec<usize>,
}

struct Cursor {
    rest: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
    batch: RecordBatch,
    keys: Rows,
    row: usize,
}

impl Cursor {
    fn is_exhausted(&self) -> bool {
        self.row == self.batch.num_rows()
    }

    /// Loads the run's next batch; `false` at its end.
    fn load(&mut self, order: &Order) -> Result<bool> {
        let Some(batch) = self.rest.next().transpose()? else { return Ok(false) };
        self.keys = order.keys(&batch)?;
        self.batch = batch;
        self.row = 0;
        Ok(true)
    }
}

impl Merge {
    pub(super) fn new(runs: Vec<Run>, order: &Order) -> Result<Self> {
        let mut cursors = Vec::with_capacity(runs.len());
        for run in runs {
            let mut rest = Box::new(run.read()?);
            let batch = rest.next().ok_or_else(|| Error::bug("a sorted run has no rows"))??;
            let keys = order.keys(&batch)?;
            cursors.push(Cursor { rest, batch, keys, row: 0 });
        }
        let mut merge = Self { order: order.clone(), heap: (0..cursors.len()).collect(), cursors };
        for at in (0..merge.heap.len() / 2).rev() {
            merge.sift_down(at);
        }
        Ok(merge)
    }

    /// The next rows. A batch ends early where a run's batch does: its rows are needed until they are copied.
    pub(super) fn next(&mut self, bounds: Bounds) -> Result<Option<RecordBatch>> {
        let mut picked = Vec::new();
        let mut bytes = 0;
        while let Some(&top) = self.heap.first() {
            let cursor = &mut self.cursors[top];
            let length = run::lengths(&cursor.batch)?[cursor.row];
            bytes += usize::try_from(length).unwrap_or(usize::MAX);
            if !picked.is_empty() && (bytes > bounds.bytes || picked.len() == bounds.rows) {
                break;
            }
            picked.push((top, cursor.row));
            cursor.row += 1;
            if cursor.is_exhausted() {
                break;
            }
            self.sift_down(0);
        }
        if picked.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.cursors.iter().map(|cursor| &cursor.batch).collect();
        let merged = interleave_record_batch(&batches, &picked)
            .map_err(|error| Error::bug("unable to merge rows").because(error))?;
        self.refill()?;
        Ok(Some(merged))
    }

    /// If the top has no rows left, loads its next batch, or takes it off the heap.
    fn refill(&mut self) -> Result<()> {
        let Some(&top) = self.heap.first() else { return Ok(()) };
        if self.cursors[top].is_exhausted() {
            if !self.cursors[top].load(&self.order)? {
                self.heap.swap_remove(0);
            }
            self.sift_down(0);
        }
        Ok(())
    }

    fn is_before(&self, a: usize, b: usize) -> bool {
        let (x, y) = (&self.cursors[self.heap[a]], &self.cursors[self.heap[b]]);
        x.keys.row(x.row) < y.keys.row(y.row)
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut first = at;
            for child in [left, right] {
                if child < self.heap.len() && self.is_before(child, first) {
                    first = child;
                }
            }
            if first == at {
                return;
            }
            self.heap.swap(at, first);
            at = first;
        }
    }
}
