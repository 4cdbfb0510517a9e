//! What both seams need of a database: connecting, reading the catalog, and rows in wire form. No policy, and
//! nothing that writes. `source::live` and `shard` use it, so that they need not know each other.

pub mod postgres;
pub mod sqlite;

/// Marks an error that may pass by itself: a deadlock, a lock time-out, a busy file. It stands in the source chain
/// of the [`crate::Error`]; `replay::retry` looks for it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Transient(pub String);
