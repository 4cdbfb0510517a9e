//! Fingerprints: what a set of rows is, in 24 bytes, whatever their order.

use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::wire::Tuples;

/// Number of rows and the sum (mod 2^128) of their hashes. Order does not matter, repetition does: rows of a
/// table without a primary key are a multiset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Rows.
    pub rows: u64,
    /// Sum of the row hashes.
    pub sum: u128,
}

/// Hash of one row's wire form (field count, then length and bytes of each field): BLAKE3, first 128 bits.
pub fn row_hash(tuple: &[u8]) -> u128 {
    let mut first = [0; 16];
    first.copy_from_slice(&blake3::hash(tuple).as_bytes()[..16]);
    u128::from_le_bytes(first)
}

impl Fingerprint {
    /// Adds one row by its hash.
    pub fn add(&mut self, row_hash: u128) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(row_hash);
    }

    /// Takes out one row that was added.
    pub fn remove(&mut self, row_hash: u128) {
        self.rows = self.rows.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(row_hash);
    }

    /// The fingerprint of encoded rows.
    pub fn of(tuples: &Tuples) -> Self {
        let mut fingerprint = Self::default();
        for tuple in tuples.iter() {
            fingerprint.add(row_hash(tuple));
        }
        fingerprint
    }
}

impl AddAssign for Fingerprint {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl Sum for Fingerprint {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        let mut total = Self::default();
        for fingerprint in iter {
            total += fingerprint;
        }
        total
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:032x}", self.rows, self.sum)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a fingerprint is written ROWS:32 hexadecimal digits";
        let (rows, sum) = text.split_once(':').ok_or(wrong)?;
        if sum.len() != 32 {
            return Err(wrong);
        }
        Ok(Self {
            rows: rows.parse().map_err(|_| wrong)?,
            sum: u128::from_str_radix(sum, 16).map_err(|_| wrong)?,
        })
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[&[u8]]) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        rows.iter().for_each(|row| fingerprint.add(row_hash(row)));
        fingerprint
    }

    #[test]
    fn order_does_not_matter_but_repetition_does() {
        assert_eq!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"a", b"a"]), of(&[b"a"]));
        assert_ne!(of(&[b"a", b"a"]), of(&[b"b", b"b"]));
        assert_ne!(of(&[]), of(&[b""]));
    }

    #[test]
    fn text_form_survives() {
        let fingerprint = of(&[b"x", b"y"]);
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert!("3:zz".parse::<Fingerprint>().is_err());
    }
}
