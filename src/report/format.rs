//! Numbers as people read them.

use indicatif::{HumanBytes, HumanCount};

/// `1,234,567`.
pub fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// `1.18 MiB`.
pub fn bytes(number: u64) -> String {
    HumanBytes(number).to_string()
}
