//! What both seams need of a database: connecting, reading the catalog, and rows in wire form. No policy, and
//! nothing that writes. `source::live` and `shard` use it, so that they need not know each other.

pub mod postgres;
pub mod sqlite;
