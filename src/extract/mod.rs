//! From a source's batches to one tenant's rows.
//!
//! ```text
//! prune    which rows of which file can be the tenant's      pure
//! filter   whose row it is                                  the one place that decides it
//! rows     scan ─► filter ─► encode ─► chunks                one batch ahead of the shard
//! ```
//!
//! Nothing here knows a shard, and nothing here reads a store.

pub mod filter;
pub mod prune;
mod rows;

pub use rows::{tenant_batches, tenant_rows};
