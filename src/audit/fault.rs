//! What can be wrong with a line, told as well as the lines around it can tell. Pure.

use std::fmt;

use serde::Serialize;

use super::chain::Line;

/// The first line that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its number in the file, from 1.
    pub line: u64,
    /// Why.
    #[serde(flatten)]
    pub wrong: Wrong,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "wrong", rename_all = "snake_case")]
pub enum Wrong {
    /// It is not what its hash was taken of.
    Changed,
    /// It is no entry, and the next line is the one that belongs here.
    Inserted,
    /// Entries before it are missing.
    Removed {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The entry that belongs here comes later.
    Reordered {
        /// The one that is here.
        entry: u64,
        /// The line that has the one that belongs here.
        expected_in: u64,
    },
    /// An entry of this number was there before.
    Repeated {
        /// The number.
        entry: u64,
    },
    /// It was written after another line than the one before it.
    Unlinked,
    /// It has no end, and no entry tells of it.
    Cut,
}

impl Wrong {
    /// What is wrong with the line at `index`, up to which all is well.
    pub(super) fn of(lines: &[Line], index: usize) -> Self {
        let due = index as u64 + 1;
        let number = |line: &Line| match line {
            Line::Entry(link) => Some(link.number),
            Line::Other { .. } => None,
        };
        let later = &lines[index + 1..];
        match number(&lines[index]) {
            None if later.first().and_then(number) == Some(due) => Self::Inserted,
            None => Self::Changed,
            Some(entry) if entry < due => Self::Repeated { entry },
            Some(entry) if entry == due => Self::Unlinked,
            Some(entry) => match later.iter().position(|line| number(line) == Some(due)) {
                Some(at) => Self::Reordered { entry, expected_in: due + 1 + at as u64 },
                None => Self::Removed { first: due, last: entry - 1 },
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        write!(f, "line {line}: ")?;
        match self.wrong {
            Wrong::Changed => write!(f, "it was changed"),
            Wrong::Inserted => write!(f, "it was inserted"),
            Wrong::Removed { first, last } if first == last => {
                write!(f, "before it, entry {first} was removed")
            }
            Wrong::Removed { first, last } => write!(f, "before it, entries {first} to {last} were removed"),
            Wrong::Reordered { entry, expected_in } => {
                write!(f, "it is entry {entry}; lines were reordered, entry {line} is in line {expected_in}")
            }
            Wrong::Repeated { entry } => {
                write!(f, "it is entry {entry} once more; this line or line {entry} was inserted")
            }
            Wrong::Unlinked if line == 1 => write!(f, "it is not the beginning of a log"),
            Wrong::Unlinked => {
                write!(f, "it was not written after line {}; one of the two was replaced", line - 1)
            }
            Wrong::Cut => {
                write!(f, "it was cut off, by a crash while it was written or by a person afterwards")
            }
        }
    }
}
