//! The snapshot store: immutable copies of shards, clustered by tenant, so that a restore reads the tenants'
//! bytes and nothing else.
//!
//! ```text
//! create:  source ─► sort by tenant ─► parts (Parquet) ─► tenants.parquet ─► manifest.json, last
//! open:    manifest.json (version, checksum, content) ─► tenants.parquet (BLAKE3) ─► rows by SnapshotSource
//! verify:  every byte again, every fingerprint from the rows
//! prune:   past the retention only, manifest first
//! ```
//!
//! Nothing here knows a shard or decides what is restored.

mod create;
mod format;
mod index;
mod layout;
mod list;
mod manifest;
mod open;
mod pages;
mod parts;
mod prune;
mod reader;
mod select;
mod sort;
mod store;
mod verify;
mod writer;

pub use create::create;
pub use index::{IndexEntry, TenantIndex};
pub use list::{State, Summary, list};
pub use manifest::{FileEntry, MANIFEST_FORMAT, Manifest, TableEntry};
pub use open::Snapshot;
pub use prune::{Kept, PruneReport, Pruned, prune};
pub(crate) use reader::{DataFile, Rows, joined};
pub use select::{Selector, select};
pub use store::Store;
pub use verify::{Problem, VerifyReport, verify};

use crate::limits::{MEMORY_BYTES_DEFAULT, RETAIN_DAYS_DEFAULT};

/// What to do about a snapshot that cannot be read.
const OTHER_SNAPSHOT: &str =
    "`reinstate snapshot verify` says what is damaged; `reinstate snapshot list` shows the others";

/// How a snapshot is taken.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Memory for rows in flight.
    pub memory_bytes: usize,
    /// Days during which it cannot be pruned.
    pub retain_days: u32,
    /// Whether rows that tie tenants together are counted.
    pub ties: bool,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self { memory_bytes: MEMORY_BYTES_DEFAULT, retain_days: RETAIN_DAYS_DEFAULT, ties: true }
    }
}
