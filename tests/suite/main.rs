//! All integration tests in one binary: real servers, the real command line, oracles outside the engine.

#[path = "../support/cluster.rs"]
mod cluster;
mod world;

mod bad_input;
mod drill;
mod interrupt;
mod pgbench;
mod rescue;
