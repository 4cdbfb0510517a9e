//! The chain of lines. Pure.
//!
//! ```text
//! {"format":1,"number":8, … ,"previous":"<hash of line 7>"  ,"hash":"<hash of all that stands before this comma>"}
//! ```
//!
//! The hash is taken over the bytes as they stand, so that it also holds for what a later version writes. A line that
//! was cut off while it was written stays: the next one holds the hash of what is there, and says so.

use blake3::Hash;
use serde::Deserialize;

use super::fault::{Fault, Wrong};

/// What the first line follows.
const START: Hash = Hash::from_bytes([0; 32]);
/// Bytes of [`ending`].
const ENDING_BYTES: usize = r#","hash":""}"#.len() + 64;

/// How a line ends whose content has this hash.
fn ending(hash: &Hash) -> String {
    format!(r#","hash":"{}"}}"#, hash.to_hex())
}

/// The text of a JSON object with its hash as the last field, and the hash.
pub(super) fn seal(object: &str) -> (String, Hash) {
    let content = object.strip_suffix('}').unwrap_or(object);
    let hash = blake3::hash(content.as_bytes());
    (format!("{content}{}", ending(&hash)), hash)
}

/// A line, as far as the chain is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// As it was written.
    Entry(Link),
    /// Anything else.
    Other {
        /// Hash of what is there.
        hash: Hash,
        /// Whether it has no end.
        is_open: bool,
    },
}

/// How an entry hangs in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub(super) number: u64,
    previous: Hash,
    follows_cut: bool,
    hash: Hash,
}

#[derive(Deserialize)]
struct Fields {
    number: u64,
    previous: String,
    #[serde(default)]
    follows_cut: bool,
}

impl Line {
    /// What stands in a line, its line feed included.
    pub fn read(bytes: &[u8]) -> Self {
        match bytes.strip_suffix(b"\n") {
            None => Self::Other { hash: blake3::hash(bytes), is_open: true },
            Some(line) => match Link::read(line) {
                Some(link) => Self::Entry(link),
                None => Self::Other { hash: blake3::hash(line), is_open: false },
            },
        }
    }

    /// Its hash.
    pub fn hash(&self) -> Hash {
        match self {
            Self::Entry(link) => link.hash,
            Self::Other { hash, .. } => *hash,
        }
    }

    /// Whether it is as it was written.
    pub fn is_entry(&self) -> bool {
        matches!(self, Self::Entry(_))
    }
}

impl Link {
    fn read(line: &[u8]) -> Option<Self> {
        let (content, end) = line.split_at_checked(line.len().checked_sub(ENDING_BYTES)?)?;
        let hash = blake3::hash(content);
        if end != ending(&hash).as_bytes() {
            return None;
        }
        let fields: Fields = serde_json::from_slice(line).ok()?;
        let previous = Hash::from_hex(&fields.previous).ok()?;
        Some(Self { number: fields.number, previous, follows_cut: fields.follows_cut, hash })
    }

    /// Whether this is the entry after `chain`.
    fn follows(&self, chain: &Chain) -> bool {
        self.number == chain.lines + 1 && self.previous == chain.head && self.follows_cut == chain.ends_cut
    }
}

/// Lines that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// How many.
    pub lines: u64,
    /// Hash of the last one. It stands for all of them.
    pub head: Hash,
    /// The numbers of those that were cut off.
    pub cut: Vec<u64>,
    /// Whether the last one was, and no entry tells of it.
    pub ends_cut: bool,
}

impl Chain {
    /// Follows the chain from its first line to the last, or to the first one that is wrong. A last line without an end
    /// is not: what is written next tells of it.
    pub fn of(lines: &[Line]) -> Result<Self, Fault> {
        let mut chain = Self { lines: 0, head: START, cut: Vec::new(), ends_cut: false };
        for (index, line) in lines.iter().enumerate() {
            let is_cut = is_cut(line, lines.get(index + 1));
            let is_next = matches!(line, Line::Entry(link) if link.follows(&chain));
            if !is_cut && !is_next {
                return Err(Fault { line: chain.lines + 1, wrong: Wrong::of(lines, index) });
            }
            (chain.lines, chain.head, chain.ends_cut) = (chain.lines + 1, line.hash(), is_cut);
            if is_cut {
                chain.cut.push(chain.lines);
            }
        }
        Ok(chain)
    }

    /// The chain, if it also ends well.
    pub fn whole(self) -> Result<Self, Fault> {
        if self.ends_cut { Err(Fault { line: self.lines, wrong: Wrong::Cut }) } else { Ok(self) }
    }
}

/// Whether a line was cut off: it is the last and has no end, or the next one tells of it.
fn is_cut(line: &Line, next: Option<&Line>) -> bool {
    match (line, next) {
        (Line::Other { is_open, .. }, None) => *is_open,
        (Line::Other { hash, .. }, Some(Line::Entry(next))) => next.follows_cut && next.previous == *hash,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three entries, a line that was cut off, and the two entries after it.
    fn log() -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for number in 1..=6 {
            let Some(last) = lines.last() else {
                lines.push(entry(1, START, false));
                continue;
            };
            let hash = Line::read(last.as_bytes()).hash();
            lines.push(match number {
                4 => "{\"format\":1,\"numb\n".to_owned(),
                5 => entry(number, hash, true),
                _ => entry(number, hash, false),
            });
        }
        lines
    }

    fn entry(number: u64, previous: Hash, follows_cut: bool) -> String {
        let previous = previous.to_hex();
        let object = format!(
            r#"{{"format":1,"number":{number},"follows_cut":{follows_cut},"previous":"{previous}"}}"#
        );
        seal(&object).0 + "\n"
    }

    fn chain(text: &[u8]) -> Result<Chain, Fault> {
        let lines: Vec<Line> = text.split_inclusive(|byte| *byte == b'\n').map(Line::read).collect();
        Chain::of(&lines).and_then(Chain::whole)
    }

    #[test]
    fn a_log_as_it_was_written_is_whole() {
        let lines = log();
        let found = chain(lines.concat().as_bytes()).expect("whole");
        let head = Line::read(lines[5].as_bytes()).hash();
        assert_eq!(found, Chain { lines: 6, head, cut: vec![4], ends_cut: false });
        assert_eq!(chain(b"").expect("empty").head, START);
    }

    #[test]
    fn no_byte_can_be_changed_or_lost() {
        let text = log().concat().into_bytes();
        // Entry 5 alone tells that line 4 was cut off: without it, line 4 is the first one that is wrong.
        let line_of = |at: usize| match text[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1 {
            5 => 4,
            line => line,
        };
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert_eq!(chain(&changed).expect_err("changed").line, line_of(at), "byte {at}");
            let mut lost = text.clone();
            lost.remove(at);
            assert_eq!(chain(&lost).expect_err("lost").line, line_of(at), "byte {at}");
        }
    }

    #[test]
    fn no_line_can_be_removed_moved_inserted_or_replaced() {
        let hash_of = |line: usize| Line::read(log()[line - 1].as_bytes()).hash();
        type Case<'a> = (&'a str, &'a dyn Fn(&mut Vec<String>));
        let cases: [Case<'_>; 12] = [
            ("line 1: before it, entry 1 was removed", &|lines| drop(lines.remove(0))),
            ("line 2: before it, entries 2 to 4 were removed", &|lines| drop(lines.drain(1..4))),
            ("line 4: before it, entry 4 was removed", &|lines| drop(lines.remove(3))),
            ("line 2: it is entry 3; lines were reordered, entry 2 is in line 3", &|lines| lines.swap(1, 2)),
            ("line 1: it is entry 6; lines were reordered, entry 1 is in line 2", &|lines| {
                lines.rotate_right(1);
            }),
            ("line 3: it was inserted", &|lines| lines.insert(2, "{}\n".into())),
            ("line 6: it is entry 2 once more; this line or line 2 was inserted", &|lines| {
                lines.insert(5, lines[1].clone());
            }),
            ("line 4: it is entry 3 once more; this line or line 3 was inserted", &|lines| {
                lines.insert(2, entry(3, hash_of(2), false));
            }),
            ("line 3: it was not written after line 2; one of the two was replaced", &|lines| {
                let content = lines[1].split(",\"hash\"").next().expect("content").replace("1,", "1 ,");
                lines[1] = seal(&content).0 + "\n";
            }),
            // What says to be written after the last line, and was not.
            ("line 7: before it, entries 7 to 8 were removed", &|lines| {
                lines.push(entry(9, hash_of(6), false));
            }),
            ("line 7: it was not written after line 6; one of the two was replaced", &|lines| {
                lines.push(entry(7, hash_of(6), true));
            }),
            ("line 4: it was cut off, by a crash while it was written or by a person afterwards", &|lines| {
                lines.truncate(4);
                lines[3].pop();
            }),
        ];
        for (expected, change) in cases {
            let mut lines = log();
            change(&mut lines);
            assert_eq!(chain(lines.concat().as_bytes()).expect_err("found").to_string(), expected);
        }
    }
}
