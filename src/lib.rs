//! reinstate brings hundreds of deleted tenants back out of shared-database backups into the live databases they
//! were deleted from: original identifiers, in parallel, verified before commit, neighbours untouched.

pub mod bridge;
pub mod cli;
pub mod config;
pub mod connect;
pub mod database;
pub mod drill;
pub mod error;
pub mod extract;
pub mod init;
pub mod limits;
pub mod model;
pub mod plan;
pub mod progress;
pub mod replay;
pub mod report;
pub mod restore;
pub mod shard;
pub mod snapshot;
pub mod source;
pub mod survey;
pub mod verify;

pub use error::{Error, Result};
