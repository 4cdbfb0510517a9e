//! The COPY BINARY stream: framing in, tuples out. The tuples are [`crate::model::wire`]'s.
//!
//! ```text
//! signature, flags, extension │ tuple … tuple │ trailer (i16 -1)
//! ```
//!
//! The server sends one row a message, but nothing here relies on where the chunks are cut. The trailer is
//! required: a stream that ends without it was cut, even if it ends between two rows.

use crate::model::wire::Tuples;

/// Signature, no flags, no extension: what a stream begins with.
pub const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What a stream ends with.
pub const TRAILER: [u8; 2] = (-1i16).to_be_bytes();

const SIGNATURE_LENGTH: usize = 11;
/// The upper half of the flags: whoever does not know such a flag cannot read the stream.
const FLAGS_CRITICAL: u32 = 0xffff_0000;

/// A stream that is not COPY BINARY, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The signature is missing or flags are unknown.
    #[error("the stream does not begin as COPY BINARY does")]
    Header,
    /// A field count or a field length is impossible.
    #[error("the stream holds an impossible length")]
    Length,
    /// The stream ended before its trailer.
    #[error("the stream was cut off before its end")]
    Cut,
    /// Bytes follow the trailer.
    #[error("bytes follow the end of the stream")]
    Trailing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Header,
    Rows,
    End,
}

/// Reads a stream as it arrives.
#[derive(Debug, Default)]
pub struct TupleReader {
    state: State,
    /// The beginning of a tuple (or header) whose rest has not arrived.
    rest: Vec<u8>,
}

impl TupleReader {
    /// Takes a chunk of the stream and appends the tuples that it completes to `out`.
    pub fn read(&mut self, chunk: &[u8], out: &mut Tuples) -> Result<(), CopyError> {
        if self.rest.is_empty() {
            let used = self.consume(chunk, out)?;
            self.rest.extend_from_slice(&chunk[used..]);
        } else {
            let mut joined = std::mem::take(&mut self.rest);
            joined.extend_from_slice(chunk);
            let used = self.consume(&joined, out)?;
            joined.drain(..used);
            self.rest = joined;
        }
        Ok(())
    }

    /// Checks that the stream has come to its end.
    pub fn finish(&self) -> Result<(), CopyError> {
        if self.state == State::End { Ok(()) } else { Err(CopyError::Cut) }
    }

    /// How many of the bytes were complete.
    fn consume(&mut self, bytes: &[u8], out: &mut Tuples) -> Result<usize, CopyError> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.state {
                State::Header => match header_length(rest)? {
                    None => return Ok(used),
                    Some(length) => {
                        used += length;
                        self.state = State::Rows;
                    }
                },
                State::Rows if rest.starts_with(&TRAILER) => {
                    used += TRAILER.len();
                    self.state = State::End;
                }
                State::Rows => match tuple_length(rest)? {
                    None => return Ok(used),
                    Some(length) => {
                        out.bytes.extend_from_slice(&rest[..length]);
                        out.ends.push(out.bytes.len());
                        used += length;
                    }
                },
                State::End if rest.is_empty() => return Ok(used),
                State::End => return Err(CopyError::Trailing),
            }
        }
    }
}

/// Length of the header; `None` if it is not complete.
fn header_length(bytes: &[u8]) -> Result<Option<usize>, CopyError> {
    let seen = bytes.len().min(SIGNATURE_LENGTH);
    if bytes[..seen] != HEADER[..seen] {
        return Err(CopyError::Header);
    }
    let Some((flags, rest)) = bytes.get(SIGNATURE_LENGTH..).and_then(<[u8]>::split_first_chunk::<4>) else {
        return Ok(None);
    };
    if u32::from_be_bytes(*flags) & FLAGS_CRITICAL != 0 {
        return Err(CopyError::Header);
    }
    let Some((extension, _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let length = HEADER.len() + u32::from_be_bytes(*extension) as usize;
    Ok((bytes.len() >= length).then_some(length))
}

/// Length of the first tuple; `None` if it is not complete.
fn tuple_length(bytes: &[u8]) -> Result<Option<usize>, CopyError> {
    let Some((count, _)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
    let count = u16::try_from(i16::from_be_bytes(*count)).map_err(|_| CopyError::Length)?;
    let mut at = 2;
    for _ in 0..count {
        let Some((length, _)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk::<4>) else {
            return Ok(None);
        };
        at += 4;
        match i32::from_be_bytes(*length) {
            -1 => {}
            length => at += usize::try_from(length).map_err(|_| CopyError::Length)?,
        }
    }
    Ok((bytes.len() >= at).then_some(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::wire::push_tuple;

    fn stream() -> (Tuples, Vec<u8>) {
        let mut tuples = Tuples::default();
        push_tuple(&mut tuples, &[Some(b"abc"), None, Some(b"")]);
        push_tuple(&mut tuples, &[]);
        push_tuple(&mut tuples, &[Some(&[0xff; 300])]);
        let bytes = [HEADER.as_slice(), &tuples.bytes, &TRAILER].concat();
        (tuples, bytes)
    }

    #[test]
    fn a_stream_is_read_wherever_it_is_cut() {
        let (tuples, bytes) = stream();
        for size in 1..=bytes.len() {
            let (mut reader, mut out) = (TupleReader::default(), Tuples::default());
            for chunk in bytes.chunks(size) {
                reader.read(chunk, &mut out).expect("read");
            }
            reader.finish().expect("finish");
            assert_eq!((out.bytes, out.ends), (tuples.bytes.clone(), tuples.ends.clone()), "{size}");
        }
    }

    #[test]
    fn a_stream_without_its_trailer_was_cut() {
        let (_, bytes) = stream();
        for length in 0..bytes.len() {
            let (mut reader, mut out) = (TupleReader::default(), Tuples::default());
            reader.read(&bytes[..length], &mut out).expect("read");
            assert_eq!(reader.finish(), Err(CopyError::Cut), "{length}");
        }
    }

    #[test]
    fn damage_is_refused() {
        let read = |bytes: &[u8]| TupleReader::default().read(bytes, &mut Tuples::default());
        let (_, bytes) = stream();
        assert_eq!(read(&[bytes.as_slice(), b"x"].concat()), Err(CopyError::Trailing));
        assert_eq!(read(b"PGCOPX"), Err(CopyError::Header));
        let with = |at: usize, byte: u8| {
            let mut damaged = bytes.clone();
            damaged[at] = byte;
            damaged
        };
        assert_eq!(read(&with(12, 1)), Err(CopyError::Header), "an unknown critical flag");
        assert_eq!(read(&with(19, 0xfe)), Err(CopyError::Length), "a negative field count");
        assert_eq!(read(&with(21, 0x80)), Err(CopyError::Length), "a negative field length");
    }

    #[test]
    fn a_header_extension_is_skipped() {
        let mut bytes = HEADER.to_vec();
        bytes[18] = 3;
        bytes.extend_from_slice(b"ext");
        bytes.extend_from_slice(&TRAILER);
        let (mut reader, mut out) = (TupleReader::default(), Tuples::default());
        reader.read(&bytes, &mut out).expect("read");
        reader.finish().expect("finish");
        assert!(out.is_empty());
    }
}
