//! The memory of one command, divided over what it does at a time.
//!
//! ```text
//! --memory ─► the program itself │ for each tenant at work: rows on their way │ keys: a proof, ledgers
//! ```
//!
//! Rows on their way are bounded by the queues ([`crate::bridge`]), so that a tenant at work needs a fixed amount:
//! where there is less, fewer tenants are at work. Keys get the rest. What does not fit there goes to temporary
//! files ([`crate::ledger`]), or is proved by the server.

use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::limits::{
    KEY_PROOF_BYTES_MAX, MEMORY_BYTES_BASE, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN, READ_AHEAD_BYTES_MAX,
    TENANT_BYTES_KEYS_MIN, TENANT_BYTES_ROWS,
};
use crate::model::wire::Tuples;

/// Ledgers of a tenant at work, at the most, and the bytes that are counted in one of them.
const PARTS: usize = 8;

/// What one command may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    bytes: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(MEMORY_BYTES_DEFAULT)
    }
}

impl Memory {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { bytes: bytes.max(MEMORY_BYTES_MIN) }
    }

    /// All of it.
    pub fn bytes(self) -> usize {
        self.bytes
    }

    fn divisible(self) -> usize {
        self.bytes - MEMORY_BYTES_BASE
    }

    /// As many tenants at a time as fit, of those that are wanted.
    pub fn jobs(self, wanted: usize) -> usize {
        let fitting = self.divisible() / (TENANT_BYTES_ROWS + TENANT_BYTES_KEYS_MIN);
        wanted.min(fitting).max(1)
    }

    /// Bytes of the tenants that are read ahead together. Up to three groups of them are in memory, as Arrow and in
    /// wire form.
    pub fn read_ahead_bytes(self) -> u64 {
        READ_AHEAD_BYTES_MAX.min(self.bytes as u64 / 64)
    }

    /// What each of so many tenants at a time gets for keys.
    pub fn share(self, jobs: usize) -> Share {
        Share { keys: (self.divisible() / jobs.max(1)).saturating_sub(TENANT_BYTES_ROWS) }
    }
}

/// What one tenant at work may use for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    keys: usize,
}

impl Share {
    /// Bytes for the keys of a proof.
    pub fn proof_bytes(self) -> usize {
        (self.keys / 2).min(KEY_PROOF_BYTES_MAX)
    }

    /// Bytes for what is neither rows on their way nor in a ledger, such as the rows that a repair deletes.
    pub fn part_bytes(self) -> usize {
        self.keys / PARTS
    }

    /// Whether live rows of so many bytes, which are not the snapshot's, may be held in memory as they are.
    pub fn check(self, bytes: usize) -> Result<()> {
        if bytes <= self.part_bytes() {
            return Ok(());
        }
        Err(Error::refused(format!(
            "unable to hold the tenant's live rows that are not the snapshot's: they take more than {} KiB",
            self.part_bytes() >> 10
        ))
        .hint("give the command more memory with --memory"))
    }

    /// Adds a row to those that are held.
    pub fn hold(self, held: &mut Tuples, row: &[u8]) -> Result<()> {
        self.check(held.bytes.len() + row.len())?;
        held.bytes.extend_from_slice(row);
        held.ends.push(held.bytes.len());
        Ok(())
    }

    /// An empty ledger.
    pub fn ledger(self) -> Ledger {
        Ledger::new(self.part_bytes())
    }
}

const _: () = assert!(MEMORY_BYTES_BASE + TENANT_BYTES_ROWS + TENANT_BYTES_KEYS_MIN <= MEMORY_BYTES_MIN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_no_more_than_the_setting() {
        for bytes in [0, MEMORY_BYTES_MIN, 100 << 20, MEMORY_BYTES_DEFAULT, 8 << 30] {
            let memory = Memory::new(bytes);
            for wanted in [0, 1, 2, 7, 64] {
                let jobs = memory.jobs(wanted);
                let share = memory.share(jobs);
                assert!((1..=wanted.max(1)).contains(&jobs));
                let keys = (share.part_bytes() * PARTS).max(share.proof_bytes());
                let used = MEMORY_BYTES_BASE + jobs * (TENANT_BYTES_ROWS + keys);
                assert!(used <= bytes.max(MEMORY_BYTES_MIN) && keys >= TENANT_BYTES_KEYS_MIN / 2);
            }
        }
        assert_eq!(Memory::default().jobs(2), 2);
        assert_eq!(Memory::default().share(2).proof_bytes(), KEY_PROOF_BYTES_MAX);
        assert_eq!(Memory::new(MEMORY_BYTES_MIN).jobs(2), 1);
    }
}
