//! Numbers by hash, in bounded memory: which keys a tenant's rows hold, how often each row is live.
//!
//! ```text
//! change(hash) ─► in memory? ─► in a run? ─► else a new entry in memory ─► too many: all of them become a run
//!                               (a sorted temporary file: one page of it is read, by the first hash of each)
//! ```
//!
//! Every hash is in one place only. An ordered map takes no copy to be written in order, and never doubles when it
//! grows. Files are unnamed and gone with the value. They are read where they are needed, without a hand-over: only
//! the largest tenants have any, and a page is nearly always in the page cache.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::limits::{LEDGER_ENTRY_BYTES, LEDGER_RUNS_MAX};

/// Bytes of an entry in a file: hash and number.
const ENTRY: usize = 32;
/// Entries of a page.
const PAGE_ENTRIES: usize = 128;

/// A number for each hash; 0 where there is none.
pub struct Ledger {
    fresh: BTreeMap<u128, u128>,
    fresh_max: usize,
    runs: Vec<Run>,
}

/// Sorted entries in a file.
struct Run {
    file: File,
    /// The first hash of each page.
    first: Vec<u128>,
    entries: u64,
}

impl Ledger {
    /// An empty one that takes so many bytes of memory.
    pub fn new(bytes_max: usize) -> Self {
        let fresh_max = (bytes_max / LEDGER_ENTRY_BYTES).max(PAGE_ENTRIES);
        Self { fresh: BTreeMap::new(), fresh_max, runs: Vec::new() }
    }

    /// Whether there is no number but 0.
    pub fn is_empty(&self) -> Result<bool> {
        match self.runs.is_empty() {
            true => Ok(self.fresh.is_empty()),
            false => self.entries().next().transpose().map(|entry| entry.is_none()),
        }
    }

    /// The number of a hash.
    pub fn get(&self, hash: u128) -> Result<u128> {
        if let Some(number) = self.fresh.get(&hash) {
            return Ok(*number);
        }
        for run in &self.runs {
            if let Some((_, number)) = run.find(hash)? {
                return Ok(number);
            }
        }
        Ok(0)
    }

    /// Gives a hash another number; the one before.
    pub fn change(&mut self, hash: u128, to: impl FnOnce(u128) -> u128) -> Result<u128> {
        if let Some(number) = self.fresh.get_mut(&hash) {
            let before = *number;
            *number = to(before);
            if *number == 0 {
                self.fresh.remove(&hash);
            }
            return Ok(before);
        }
        for run in &self.runs {
            if let Some((at, before)) = run.find(hash)? {
                run.put(at, to(before))?;
                return Ok(before);
            }
        }
        let number = to(0);
        if number != 0 {
            self.fresh.insert(hash, number);
            if self.fresh.len() >= self.fresh_max {
                self.spill()?;
            }
        }
        Ok(0)
    }

    /// Counts a hash once more.
    pub fn add(&mut self, hash: u128) -> Result<()> {
        self.change(hash, |number| number + 1).map(drop)
    }

    /// Counts a hash once less, if it was counted at all.
    pub fn take(&mut self, hash: u128) -> Result<bool> {
        Ok(self.change(hash, |number| number.saturating_sub(1))? > 0)
    }

    /// All hashes that have a number, in no order.
    pub fn entries(&self) -> impl Iterator<Item = Result<(u128, u128)>> + '_ {
        let runs = self.runs.iter().flat_map(Run::entries);
        let fresh = self.fresh.iter().map(|(hash, number)| Ok((*hash, *number)));
        fresh.chain(runs).filter(|entry| !matches!(entry, Ok((_, 0))))
    }

    /// Another one of the same hashes and numbers.
    pub fn copy(&self) -> Result<Self> {
        let mut copy = Self { fresh: self.fresh.clone(), fresh_max: self.fresh_max, runs: Vec::new() };
        for run in &self.runs {
            copy.runs.push(Run::write(run.entries())?);
        }
        Ok(copy)
    }

    /// Moves what is in memory to a file; many files become one.
    fn spill(&mut self) -> Result<()> {
        self.runs.push(Run::write(std::mem::take(&mut self.fresh).into_iter().map(Ok))?);
        if self.runs.len() > LEDGER_RUNS_MAX {
            let merged = Run::write(merged(&self.runs))?;
            self.runs = vec![merged];
        }
        Ok(())
    }
}

/// The entries of runs, in order.
fn merged(runs: &[Run]) -> impl Iterator<Item = Result<(u128, u128)>> + '_ {
    let mut runs: Vec<_> = runs.iter().map(|run| run.entries().peekable()).collect();
    std::iter::from_fn(move || {
        let hash = |entry: Option<&Result<(u128, u128)>>| match entry {
            None => (true, 0),
            Some(Ok((hash, _))) => (false, *hash),
            // An error comes first.
            Some(Err(_)) => (false, 0),
        };
        let next = (0..runs.len()).min_by_key(|at| hash(runs[*at].peek()))?;
        runs[next].next()
    })
}

impl Run {
    /// Writes entries that come in order; those without a number are left out.
    fn write(sorted: impl Iterator<Item = Result<(u128, u128)>>) -> Result<Self> {
        let file = tempfile::tempfile().map_err(unwritable)?;
        let mut writer = BufWriter::with_capacity(1 << 16, file);
        let (mut first, mut entries) = (Vec::new(), 0);
        for entry in sorted {
            let (hash, number) = entry?;
            if number == 0 {
                continue;
            }
            if entries % PAGE_ENTRIES as u64 == 0 {
                first.push(hash);
            }
            entries += 1;
            writer.write_all(&hash.to_le_bytes()).map_err(unwritable)?;
            writer.write_all(&number.to_le_bytes()).map_err(unwritable)?;
        }
        let file = writer.into_inner().map_err(|error| unwritable(error.into_error()))?;
        Ok(Self { file, first, entries })
    }

    /// Where the entry of a hash is, and its number.
    fn find(&self, hash: u128) -> Result<Option<(u64, u128)>> {
        let Some(page) = self.first.partition_point(|first| *first <= hash).checked_sub(1) else {
            return Ok(None);
        };
        let start = (page * PAGE_ENTRIES) as u64;
        let entries = (self.entries - start).min(PAGE_ENTRIES as u64) as usize;
        let mut bytes = [0; PAGE_ENTRIES * ENTRY];
        let bytes = &mut bytes[..entries * ENTRY];
        self.file.read_exact_at(bytes, start * ENTRY as u64).map_err(unreadable)?;
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        let found = entries.binary_search_by_key(&hash, |entry| split(entry).0);
        Ok(found.ok().map(|at| (start + at as u64, split(&entries[at]).1)))
    }

    fn put(&self, at: u64, number: u128) -> Result<()> {
        let place = at * ENTRY as u64 + ENTRY as u64 / 2;
        self.file.write_all_at(&number.to_le_bytes(), place).map_err(unwritable)
    }

    fn entries(&self) -> impl Iterator<Item = Result<(u128, u128)>> + '_ {
        let mut reader = BufReader::with_capacity(1 << 16, From { file: &self.file, at: 0 });
        (0..self.entries).map(move |_| {
            let mut entry = [0; ENTRY];
            reader.read_exact(&mut entry).map_err(unreadable)?;
            Ok(split(&entry))
        })
    }
}

/// Reads a file from a place of its own: several readers do not disturb each other.
struct From<'a> {
    file: &'a File,
    at: u64,
}

impl Read for From<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn split(entry: &[u8; ENTRY]) -> (u128, u128) {
    let both = u128::from_le_bytes;
    let (hash, number) = entry.split_at(ENTRY / 2);
    (both(hash.try_into().unwrap_or_default()), both(number.try_into().unwrap_or_default()))
}

fn unwritable(error: std::io::Error) -> Error {
    let folder = tempfile::env::temp_dir();
    Error::failed(format!("unable to write a temporary file in '{}'", folder.display())).because(error).hint(
        "the keys of a large tenant need room there; TMPDIR names another folder, --memory takes more memory",
    )
}

fn unreadable(error: std::io::Error) -> Error {
    let folder = tempfile::env::temp_dir();
    Error::failed(format!("unable to read back a temporary file in '{}'", folder.display())).because(error)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// As many entries as fit a page in memory, so that most are in files.
    fn small() -> Ledger {
        Ledger::new(0)
    }

    #[test]
    fn it_counts_as_a_map_in_memory_does() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut ledger, mut known) = (small(), HashMap::<u128, u128>::new());
        for _ in 0..50_000 {
            let hash = u128::from(random.u64(..5_000)) << 100 | 3;
            let left = known.entry(hash).or_default();
            match random.u8(..3) {
                0 => {
                    assert_eq!(ledger.take(hash).expect("take"), *left > 0);
                    *left = left.saturating_sub(1);
                }
                1 => assert_eq!(ledger.get(hash).expect("get"), *left),
                _ => {
                    ledger.add(hash).expect("add");
                    *left += 1;
                }
            }
        }
        assert!(!ledger.runs.is_empty() && ledger.runs.len() <= LEDGER_RUNS_MAX, "{}", ledger.runs.len());
        assert!(ledger.fresh.len() < PAGE_ENTRIES);
        known.retain(|_, number| *number > 0);
        for ledger in [&ledger, &ledger.copy().expect("copy")] {
            let found: HashMap<u128, u128> = ledger.entries().collect::<Result<_>>().expect("entries");
            assert_eq!(found, known);
        }
        for hash in known.keys() {
            ledger.change(*hash, |_| 0).expect("change");
        }
        assert!(ledger.is_empty().expect("empty"));
    }

    #[test]
    fn a_copy_is_another_one() {
        let mut ledger = small();
        (1..1_000).for_each(|hash| ledger.add(hash).expect("add"));
        let mut copy = ledger.copy().expect("copy");
        assert!(copy.take(1).expect("take") && copy.take(999).expect("take"));
        assert_eq!((ledger.get(1).expect("get"), ledger.get(999).expect("get")), (1, 1));
        assert_eq!((copy.get(1).expect("get"), copy.get(0).expect("get")), (0, 0));
    }
}
