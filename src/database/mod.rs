//! What both seams need of a database: connecting, reading the catalog, and rows in wire form. No policy, and
//! nothing that writes. `source::live` and `shard` use it, so that they need not know each other.

pub mod feed;
pub mod postgres;
pub mod sqlite;

use crate::error::Error;

/// Marks, in the chain of an error, a cause that may be gone at the next attempt: a deadlock, a lock that was not
/// free in time. The transaction was rolled back; the same work may simply be tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Transient(pub String);

/// Marks, in the chain of an error, that a live row has the key of one that was to be written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyTaken(pub String);

/// Whether a row could not be written since its key is taken (see [`KeyTaken`]).
pub fn is_key_taken(error: &Error) -> bool {
    has_cause::<KeyTaken>(error)
}

/// Marks, in the chain of an error, that a row points at one that is not there. It may come with another tenant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ParentMissing(pub String);

/// Whether a row that another one points at was missing (see [`ParentMissing`]).
pub fn is_parent_missing(error: &Error) -> bool {
    has_cause::<ParentMissing>(error)
}

/// Whether the same work may succeed if it is tried again (see [`Transient`]).
pub fn is_transient(error: &Error) -> bool {
    has_cause::<Transient>(error)
}

fn has_cause<T: std::error::Error + 'static>(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<T>() {
            return true;
        }
        cause = error.source();
    }
    false
}
