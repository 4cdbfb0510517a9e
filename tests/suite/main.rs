//! All integration tests in one binary: real servers, the real command line, oracles outside the engine.

#[path = "../support/bench.rs"]
mod bench;
#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/export.rs"]
mod export;
#[path = "../support/fixture.rs"]
mod fixture;
#[path = "../support/oracle.rs"]
mod oracle;
#[path = "../support/quiet.rs"]
mod quiet;
#[path = "../support/s3.rs"]
mod s3;
mod world;

mod approvals;
mod ask;
mod audit;
mod bad_input;
mod conflicts;
mod conformance;
mod constraints;
mod deletion_queues;
mod drift;
mod drill;
mod fidelity;
mod fixtures;
mod hooks;
mod import;
mod init;
mod interrupt;
mod keys;
mod many_tables;
mod media;
mod memory;
mod outside_view;
mod ownership;
mod pgbench;
mod postgres {
    //! PostgreSQL on a real server.
    mod catalog;
    mod connect;
    mod session;
    mod shard;
    mod source;
    pub mod support;
}
mod printed;
mod property;
mod repair;
mod rescue;
mod rings;
mod saas;
mod snapshot_store {
    //! The snapshot store, from the outside: what goes in comes out, by tenant, and damage is told by its name.
    mod cost;
    mod damage;
    mod memory;
    mod reading;
    mod retention;
    mod writing;
}
mod sites;
mod snapshots;
mod sqlite;
mod steps;
mod ties;
mod tpcc;
