//! What both seams need of a database: connecting, reading the catalog, and rows in wire form. No policy, and
//! nothing that writes. `source::live` and `shard` use it, so that they need not know each other.

pub mod postgres;
pub mod sqlite;

use std::error::Error as StdError;

use crate::error::Error;

/// Marks, among the causes of an error, one that may pass by itself: a lock that was not had in time, a deadlock.
/// What failed has been rolled back and may be tried again from its beginning.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Transient(pub Box<dyn StdError + Send + Sync>);

impl Transient {
    /// Whether `error` has such a cause.
    pub fn is_behind(error: &Error) -> bool {
        let mut cause = error.source();
        while let Some(error) = cause {
            if error.is::<Self>() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transient_cause_is_found_at_any_depth() {
        let busy = Error::failed("unable to write").because(Transient("database is locked".into()));
        assert!(Transient::is_behind(&busy));
        assert_eq!(busy.chain(), "unable to write: database is locked");
        assert!(Transient::is_behind(&Error::failed("tenant '7'").because(busy)));
        assert!(!Transient::is_behind(&Error::failed("unable to write").because(Error::failed("disk full"))));
    }
}
