//! What SQLite says, as an [`Error`] of the right kind.

use crate::database::{ParentMissing, Transient};
use crate::error::{Error, Kind};

/// SQLite's primary result codes that decide what the caller does next
/// (<https://www.sqlite.org/rescode.html>).
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
    pub const MISMATCH: i32 = 20;
    pub const AUTH: i32 = 23;
    pub const NOTADB: i32 = 26;

    // Extended codes of CONSTRAINT.
    pub const FOREIGN_KEY: i32 = 787;
    pub const PRIMARY_KEY: i32 = 1555;
    pub const TRIGGER: i32 = 1811;
    pub const UNIQUE: i32 = 2067;
    pub const ROWID: i32 = 2579;
}

/// SQLite's own words, without sqlx's frame around them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// The extended result code of an error of SQLite itself; its low byte is the primary one.
fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    extended_code(error).map(|extended| extended & 0xff)
}

/// What SQLite says of a row that its table does not take, and whether that is for the sake of another row.
pub fn refusal(error: &sqlx::Error) -> Option<(String, bool)> {
    let extended = extended_code(error)?;
    let said = error.as_database_error()?.message().to_owned();
    let is_taken = matches!(extended, code::UNIQUE | code::PRIMARY_KEY | code::ROWID);
    matches!(extended & 0xff, code::CONSTRAINT | code::MISMATCH).then_some((said, is_taken))
}

/// Whether another connection holds the lock that was needed.
pub fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(code::BUSY | code::LOCKED))
}

/// An error for `message` with SQLite's words as its cause.
pub fn explain(message: impl Into<String>, error: sqlx::Error) -> Error {
    let extended = extended_code(&error);
    let kind = match extended.map(|code| code & 0xff) {
        Some(code::PERM | code::READONLY | code::CANTOPEN | code::AUTH | code::CORRUPT | code::NOTADB) => {
            Kind::Refused
        }
        _ => Kind::Failed,
    };
    let explained = Error::new(kind, message);
    let Some(extended) = extended else { return explained.because(error) };
    let said = Said(error.as_database_error().map_or_else(String::new, |error| error.message().to_owned()));
    match extended & 0xff {
        code::BUSY | code::LOCKED => explained
            .because(Transient(said.to_string()))
            .hint("another connection holds the file's lock; try again, or stop the long transaction"),
        code::PERM | code::READONLY | code::CANTOPEN | code::AUTH => explained
            .because(said)
            .hint("check the permissions of the file and of its folder, which holds SQLite's journal"),
        code::CORRUPT | code::NOTADB => explained
            .because(said)
            .hint("`PRAGMA integrity_check` in the sqlite3 shell tells what is damaged"),
        code::FULL | code::IOERR => explained.because(said).hint("check the space left on the file system"),
        code::CONSTRAINT if extended == code::FOREIGN_KEY => explained
            .because(ParentMissing(said.to_string()))
            .hint("the row it points at is gone from the live database, or comes with another tenant"),
        code::CONSTRAINT => match constraint_hint(extended) {
            Some(hint) => explained.because(said).hint(hint),
            None => explained.because(said),
        },
        _ => explained.because(said),
    }
}

fn constraint_hint(extended: i32) -> Option<&'static str> {
    match extended {
        code::UNIQUE | code::PRIMARY_KEY | code::ROWID => {
            Some("a live row has the same key, or a trigger wrote one; `reinstate plan` lists what is live")
        }
        code::TRIGGER => Some("a trigger of the table refuses the row"),
        _ => None,
    }
}
