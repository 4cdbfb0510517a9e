//! SQLite: opening the file, its catalog, whose row is it, and rows in wire form.
//!
//! ```text
//! connect  URL ──► Database ──► reader and writer options        error    what SQLite says ──► Error
//! catalog  sqlite_schema and pragmas ──► Table                   kinds    which values a column really holds
//! owner    OwnerPath ──► SQL                                     values   a value ──► wire form, parameter
//! rows     a SELECT ──► stream of record batches                  sql_text the words and parts of an SQL text
//! ```
//!
//! Two traps for whoever works here. POSIX drops all locks of a process on a file when *any* descriptor of it
//! is closed: nobody in this process may open or read the database file but SQLite itself. And SQLite has
//! types of values, not of columns: see `kinds`.

pub mod catalog;
pub mod connect;
pub mod error;
pub mod kinds;
pub mod owner;
pub mod rows;
pub mod sql_text;
pub mod values;

pub use connect::Database;
