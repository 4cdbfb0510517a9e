//! Rows on their way from a source to a shard.

use arrow::array::RecordBatch;
use futures::stream::BoxStream;

use super::Fingerprint;
use super::wire::Tuples;
use crate::error::Result;

/// Rows of one tenant and table on their way into a shard: as Arrow and in wire form, the same rows.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The rows, with [`super::Table::arrow_schema`].
    pub batch: RecordBatch,
    /// The same rows, encoded.
    pub tuples: Tuples,
    /// Their fingerprint.
    pub fingerprint: Fingerprint,
}

/// A stream of chunks; bounded by [`crate::limits::QUEUE_BATCHES_MAX`].
pub type ChunkStream = BoxStream<'static, Result<Chunk>>;
