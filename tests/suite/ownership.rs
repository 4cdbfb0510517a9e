//! Who owns a row where that is decided row by row: several ways, polymorphic references, arrays of ids, rows that
//! belong to whoever points at them. On PostgreSQL and SQLite; what is expected stands beside the rows themselves.

mod disputed;
mod doubts;
mod inferred;
mod orphans;
mod referenced;
mod rescue;
mod scale;
pub mod schema;
mod seams;
