//! reinstate brings hundreds of deleted tenants back out of shared-database backups into the live databases they
//! were deleted from: original identifiers, in parallel, verified before commit, neighbours untouched.
//!
//! ```text
//!  snapshot ──► source ──► extract ──► replay ──► verify ──► report
//!  (immutable)  (seam 1)   filter by   one tx a    before and   text, json
//!                          tenant      tenant      after
//!                 plan + rails ──┘        │
//!                                      shard (seam 2: postgres, sqlite)
//! ```
//!
//! [`restore`] tells the story in one short file; read it first. [`plan`] decides everything as a pure function
//! over facts that [`survey`] gathers; [`plan::rails`] alone makes the plan that [`replay`] takes, and [`replay`]
//! is the only cause of writes. [`source`] and [`shard`] are the two seams and never meet; what they share of a
//! database is in [`database`]. Rows travel as Arrow record batches and, where they are compared, in one wire
//! form ([`model::wire`]), PostgreSQL's COPY BINARY tuple: what is fingerprinted is what travels. [`audit`] keeps
//! who did what.
//!
//! # Words
//!
//! *tenant*: the customer's container, named by a tenant id. *shard*: an SQL database shared by many tenants.
//! *neighbour*: a tenant of the shard that is not in the plan. *snapshot*: immutable copy of a shard at one
//! instant.
//! *source*: anything rows can be read from at a restore point. *fingerprint*: number of rows and the sum of their
//! hashes. *verdict*: the comparison of a tenant's rows with the snapshot's. *certificate*: verdicts to be handed
//! on.
//!
//! # Exit codes
//!
//! [`error::EXIT_CODES`]; each kind of error has one.

pub mod approval;
pub mod audit;
pub mod bridge;
pub mod cli;
pub mod config;
pub mod connect;
pub mod database;
pub mod disputed;
pub mod drill;
pub mod environment;
pub mod error;
pub mod extract;
pub mod hooks;
pub mod init;
pub mod ledger;
pub mod limits;
pub mod media;
pub mod memory;
pub mod missing;
pub mod model;
pub mod plan;
pub mod progress;
pub mod queue;
pub mod replay;
pub mod report;
pub mod restore;
pub mod shard;
pub mod snapshot;
pub mod source;
pub mod stop;
pub mod survey;
pub mod verify;
pub mod workflow;

pub use error::{Error, Result};
