//! reinstate brings hundreds of deleted tenants back out of shared-database backups into the live databases they
//! were deleted from: original identifiers, in parallel, verified before commit, neighbours untouched.

pub mod bridge;
pub mod config;
pub mod database;
pub mod error;
pub mod extract;
pub mod init;
pub mod limits;
pub mod model;
pub mod plan;
pub mod progress;
pub mod shard;
pub mod snapshot;
pub mod source;

pub use error::{Error, Result};
