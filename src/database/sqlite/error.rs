//! What SQLite says, as an [`Error`] of the right kind.

use crate::database::Transient;
use crate::error::{Error, Kind};

/// SQLite's primary result codes that decide what the caller does next (<https://www.sqlite.org/rescode.html>).
mod code {
    pub const PERM: i32 = 3;
    pub const BUSY: i32 = 5;
    pub const LOCKED: i32 = 6;
    pub const READONLY: i32 = 8;
    pub const IOERR: i32 = 10;
    pub const CORRUPT: i32 = 11;
    pub const FULL: i32 = 13;
    pub const CANTOPEN: i32 = 14;
    pub const CONSTRAINT: i32 = 19;
    pub const AUTH: i32 = 23;
    pub const NOTADB: i32 = 26;
}

/// SQLite's own words, without sqlx's frame around them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// The primary result code of an error of SQLite itself.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Whether another connection holds the lock that was needed.
pub fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(code::BUSY | code::LOCKED))
}

/// An error for `message` with SQLite's words as its cause.
pub fn explain(message: impl Into<String>, error: sqlx::Error) -> Error {
    let primary = primary_code(&error);
    let kind = match primary {
        Some(code::PERM | code::READONLY | code::CANTOPEN | code::AUTH | code::CORRUPT | code::NOTADB) => {
            Kind::Refused
        }
        _ => Kind::Failed,
    };
    let explained = Error::new(kind, message);
    let Some(primary) = primary else { return explained.because(error) };
    let said = Said(error.as_database_error().map_or_else(String::new, |error| error.message().to_owned()));
    match primary {
        code::BUSY | code::LOCKED => explained
            .because(Transient(Box::new(said)))
            .hint("another connection holds the file's lock; try again, or stop the long transaction"),
        code::PERM | code::READONLY | code::CANTOPEN | code::AUTH => explained
            .because(said)
            .hint("check the permissions of the file and of its folder, which holds SQLite's journal"),
        code::CORRUPT | code::NOTADB => explained
            .because(said)
            .hint("`PRAGMA integrity_check` in the sqlite3 shell tells what is damaged"),
        code::FULL | code::IOERR => explained.because(said).hint("check the space left on the file system"),
        code::CONSTRAINT => explained
            .because(said)
            .hint("a live row is in the way, or a trigger of the table writes one that is"),
        _ => explained.because(said),
    }
}
