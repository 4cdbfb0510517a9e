//! PostgreSQL on a real server.

#[path = "support/cluster.rs"]
mod cluster;
mod postgres {
    pub mod catalog;
    pub mod connect;
    pub mod session;
    pub mod shard;
    pub mod source;
    pub mod support;
}
