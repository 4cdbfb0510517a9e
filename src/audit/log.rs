//! The log as a file: added to under an exclusive lock, read under a shared one.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use blake3::Hash;
use jiff::Timestamp;

use super::chain::{Chain, Line, seal};
use super::entry::{AUDIT_FORMAT, Entry, Event};
use crate::error::{Error, Result};
use crate::limits::DOCUMENT_BYTES_MAX;

/// An entry that is on the disk.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Its number.
    pub number: u64,
    /// Its hash, which stands for the whole log up to it.
    pub head: Hash,
    /// The line before it, if that one was cut off.
    pub follows_cut: Option<u64>,
}

/// Adds an entry. Returns when it is on the disk; a log that is not whole is not continued.
pub fn append(path: &Path, event: Event) -> Result<Appended> {
    let shown = path.display();
    let unable = || {
        Error::refused(format!("unable to write audit log '{shown}'"))
            .hint("make it writable, or name another file in the configuration: audit = \"FILE\"")
    };
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| unable().because(error))?;
    if !file.metadata().map_err(|error| unable().because(error))?.is_file() {
        return Err(unable().because("it is not a regular file"));
    }
    // Held until the file is closed: whoever comes next sees this entry whole.
    file.lock().map_err(|error| unable().because(error))?;
    let lines = lines(&file, |_| {}).map_err(|error| unable().because(error))?;
    let chain = Chain::of(&lines).map_err(|fault| {
        Error::refused(format!("unable to continue audit log '{shown}': {fault}"))
            .hint("to go on, rename the file, and keep it for the inquiry: a new log begins")
    })?;
    let number = chain.lines + 1;
    let entry = Entry {
        format: AUDIT_FORMAT,
        number,
        at: Timestamp::now(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        event,
        follows_cut: chain.ends_cut,
        previous: chain.head.to_hex().to_string(),
    };
    let object = serde_json::to_string(&entry)
        .map_err(|error| Error::bug("an audit entry has no JSON form").because(error))?;
    let (line, head) = seal(&object);
    let before = if chain.ends_cut { "\n" } else { "" };
    let write = |file: &mut File| {
        file.write_all(format!("{before}{line}\n").as_bytes())?;
        file.sync_all()
    };
    write(&mut file).map_err(|error| unable().because(error))?;
    Ok(Appended { number, head, follows_cut: chain.ends_cut.then_some(chain.lines) })
}

/// Reads a log: its lines, and each entry to `each`.
pub fn read(path: &Path, each: impl FnMut(&[u8])) -> Result<Vec<Line>> {
    let unable = |error: io::Error| {
        Error::usage(format!("unable to read audit log '{}'", path.display())).because(error)
    };
    let file = File::open(path).map_err(|error| {
        unable(error).hint("name its file; the configuration's is `audit`, or beside it NAME.audit.jsonl")
    })?;
    file.lock_shared().map_err(unable)?;
    lines(&file, each).map_err(unable)
}

fn lines(file: &File, mut each: impl FnMut(&[u8])) -> io::Result<Vec<Line>> {
    let (mut reader, mut lines, mut bytes) = (BufReader::new(file), Vec::new(), Vec::new());
    // A line without an end, in a file of any size, must not fill the memory.
    while reader.by_ref().take(DOCUMENT_BYTES_MAX).read_until(b'\n', &mut bytes)? > 0 {
        let line = Line::read(&bytes);
        if line.is_entry() {
            each(&bytes);
        }
        lines.push(line);
        bytes.clear();
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::super::{Facts, Phase, Who};
    use super::*;

    /// Writers at a time, and entries of each.
    const WRITERS: usize = 8;
    const ENTRIES: usize = 25;

    #[test]
    fn writers_take_turns() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let who = Who { user: "anna".into(), account: "anna".into(), host: "here".into(), pid: 1 };
        let event = Event { who, what: "apply".into(), phase: Phase::Begun, facts: Facts::default() };
        let write = || {
            for _ in 0..ENTRIES {
                append(&path, event.clone()).expect("written");
            }
        };
        std::thread::scope(|threads| {
            for _ in 0..WRITERS {
                threads.spawn(write);
            }
        });
        let mut entries: Vec<Entry> = Vec::new();
        let each = |line: &[u8]| entries.push(serde_json::from_slice(line).expect("an entry"));
        let chain = Chain::of(&read(&path, each).expect("read")).expect("whole");
        assert_eq!(chain.lines, (WRITERS * ENTRIES) as u64);
        assert!(entries.iter().all(|entry| entry.event == event), "what was written is read");
        assert!(entries.is_sorted_by_key(|entry| (entry.number, entry.at)), "in the order of time");
    }
}
