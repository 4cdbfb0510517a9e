//! From a source's batches to one tenant's rows.
//!
//! ```text
//! prune    which rows of which file can be the tenant's      pure
//! filter   whose row it is                                  the one place that decides it
//! rows     scan ─► filter ─► encode ─► chunks                one batch ahead of the shard
//! adapt    chunks ─► the shape of a table that has changed   where there is drift, and only there
//! sidecar  values of columns that are gone ─► Parquet files
//! ```
//!
//! Nothing here knows a shard, and nothing here reads a store.

mod adapt;
pub mod filter;
pub mod prune;
mod rows;
pub mod sidecar;

pub use adapt::{
    AdaptedChunk, AdaptedStream, adapted_batches, adapted_rows, fitting, unowned_rows, written_rows,
};
pub use rows::{rows_of_tenants, tenant_batches, tenant_rows};
