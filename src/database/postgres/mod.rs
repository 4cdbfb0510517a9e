//! PostgreSQL, as both the source and the shard need it.
//!
//! ```text
//! connect   URL ──► connection with known settings          error   what the server said ──► kind and hint
//! pool      connections that go back only when clean        feed    background work ──► bounded stream
//! catalog   tables, keys, triggers, sequences               owner   OwnerPath ──► SQL
//! tuples    COPY BINARY stream ──► tuples                relation  rows as a relation on the server
//! ```
//!
//! Servers from version 14 on: scans by TID range, multiranges, and binary arrays of user types that may come
//! from another cluster exist since then. Nothing here writes.

pub mod catalog;
pub mod connect;
pub mod error;
mod nodelay;
pub mod owner;
pub mod pool;
pub mod relation;
pub mod tuples;
