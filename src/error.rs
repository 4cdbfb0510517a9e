//! Errors: a kind for each exit code, the thing by name, and the next action.
//!
//! Wording: lower case, no full stop, `unable to … 'name'`; hints are what to do next. The chain is
//! printed once, by `main`. No message may hold a secret: database URLs are only ever shown through
//! [`crate::model::DatabaseUrl`], which hides the password.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, as far as the caller's next step is concerned. Each kind has one exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line or the configuration is wrong.
    Usage,
    /// A rail, a damaged input or a wrong target: refused before anything was written.
    Refused,
    /// A server or the operator interrupted the work; it can be resumed.
    Interrupted,
    /// Something failed and was rolled back.
    Failed,
    /// A person must decide (an unclassified table, a conflict, a drifted schema).
    Undecided,
    /// A broken invariant of reinstate itself.
    Bug,
}

/// The public table of exit codes; printed by `reinstate --help` and in the README.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done and verified"),
    (1, "done, verification found differences"),
    (2, "usage or configuration error"),
    (3, "refused, nothing written"),
    (4, "interrupted, can be resumed"),
    (5, "failed and rolled back"),
    (6, "a person must decide"),
    (70, "a bug in reinstate"),
];

/// Exit code of a run that ended well.
pub const EXIT_OK: u8 = 0;
/// Exit code of a verification that found differences.
pub const EXIT_DIFFERENCES: u8 = 1;

impl Kind {
    /// The exit code of this kind, one of [`EXIT_CODES`].
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Refused => 3,
            Kind::Interrupted => 4,
            Kind::Failed => 5,
            Kind::Undecided => 6,
            Kind::Bug => 70,
        }
    }
}

/// The error of every fallible operation in this crate.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    kind: Kind,
    message: String,
    hints: Vec<String>,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error {
    /// An error of `kind`; prefer the named constructors below.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new(), source: None }
    }

    /// Command line or configuration ([`Kind::Usage`]).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Refused, nothing written ([`Kind::Refused`]).
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// Interrupted, can be resumed ([`Kind::Interrupted`]).
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    /// Failed and rolled back ([`Kind::Failed`]).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// A person must decide ([`Kind::Undecided`]).
    pub fn undecided(message: impl Into<String>) -> Self {
        Self::new(Kind::Undecided, message)
    }

    /// A broken invariant ([`Kind::Bug`]).
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message)
            .hint("this is a bug in reinstate; please report it with the command and this message")
    }

    /// Adds the next action.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the cause, printed behind the message.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says what was being done when this error came up; its kind and hints stay.
    #[must_use]
    pub fn within(mut self, message: impl Into<String>) -> Self {
        let hints = std::mem::take(&mut self.hints);
        Self { kind: self.kind, message: message.into(), hints, source: Some(Box::new(self)) }
    }

    /// The kind, and with it the exit code.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The next actions, most useful first.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The message and its causes in one line, as `main` prints it.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let line = error.to_string();
            if !text.ends_with(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            cause = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_documented_exit_code() {
        let kinds = [Kind::Usage, Kind::Refused, Kind::Interrupted, Kind::Failed, Kind::Undecided, Kind::Bug];
        let mut codes: Vec<u8> = kinds.iter().map(|k| k.exit_code()).collect();
        codes.extend([EXIT_OK, EXIT_DIFFERENCES]);
        codes.sort_unstable();
        let documented: Vec<u8> = EXIT_CODES.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, documented);
    }

    #[test]
    fn the_chain_names_each_cause_once() {
        let inner = Error::failed("connection refused");
        let outer = Error::interrupted("unable to connect to shard 'product'").because(inner);
        assert_eq!(outer.chain(), "unable to connect to shard 'product': connection refused");
    }
}
