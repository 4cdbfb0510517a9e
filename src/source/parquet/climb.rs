//! Trees: a row has its own tenants and those of all rows above it.

use std::hash::Hash;

use super::groups::{Group, Groups, Map, NOBODY};
use super::keys::Keys;
use crate::error::Result;

/// The rows of a tree, until all are known.
#[derive(Default)]
pub struct Climb {
    integers: Forest<i64>,
    bytes: Forest<Box<[u8]>>,
}

struct Forest<K> {
    places: Map<K, u32>,
    rows: Vec<Row>,
}

impl<K> Default for Forest<K> {
    fn default() -> Self {
        Self { places: Map::default(), rows: Vec::new() }
    }
}

/// A row: what it says itself, and the place of the row above it.
#[derive(Clone, Copy)]
struct Row {
    group: Group,
    above: Option<u32>,
}

/// Memory of a row beside its key.
const ROW_BYTES: usize = 40;

impl Climb {
    /// Adds rows; those for which `holds` is false have no row above them. Returns the bytes that they take.
    pub fn add(
        &mut self,
        keys: &Keys,
        above: &Keys,
        holds: Option<&[bool]>,
        groups: &[Group],
        known: &Groups,
    ) -> usize {
        let holds = |row: usize| holds.is_none_or(|holds| holds[row]);
        match (keys, above) {
            (Keys::Integers(keys), Keys::Integers(above)) => {
                let above = above.iter().enumerate().map(|(row, key)| key.filter(|_| holds(row)));
                self.integers.add(keys.iter(), above, groups, known, |_| ROW_BYTES)
            }
            (Keys::Bytes(keys), Keys::Bytes(above)) => {
                let above =
                    above.iter().enumerate().map(|(row, key)| key.filter(|_| holds(row)).map(Box::from));
                let keys = keys.iter().map(|key| key.map(Box::from));
                self.bytes.add(keys, above, groups, known, |key| ROW_BYTES + key.len())
            }
            _ => 0,
        }
    }

    /// Hands over every row's key with all tenants of its branch.
    pub fn finish(self, known: &Groups, mut take: impl FnMut(&Keys, &[Group]) -> Result<()>) -> Result<()> {
        let (keys, groups) = self.integers.finish(known);
        take(&Keys::Integers(keys.into_iter().map(Some).collect()), &groups)?;
        let (keys, groups) = self.bytes.finish(known);
        take(&Keys::Bytes(keys.into_iter().map(Some).collect()), &groups)
    }
}

impl<K: Hash + Eq> Forest<K> {
    fn add(
        &mut self,
        keys: impl Iterator<Item = Option<K>>,
        above: impl Iterator<Item = Option<K>>,
        groups: &[Group],
        known: &Groups,
        size: impl Fn(&K) -> usize,
    ) -> usize {
        let mut bytes = 0;
        for ((key, above), group) in keys.zip(above).zip(groups) {
            let Some(key) = key else { continue };
            let above = above.map(|above| self.place(above, &size, &mut bytes));
            let at = self.place(key, &size, &mut bytes) as usize;
            let row = &mut self.rows[at];
            *row = Row { group: known.union(row.group, *group), above: above.or(row.above) };
        }
        bytes
    }

    /// A row may be named by those below it before it comes itself, or never come.
    fn place(&mut self, key: K, size: &impl Fn(&K) -> usize, bytes: &mut usize) -> u32 {
        let (rows, size) = (&mut self.rows, size(&key));
        *self.places.entry(key).or_insert_with(|| {
            *bytes += size;
            rows.push(Row { group: NOBODY, above: None });
            (rows.len() - 1) as u32
        })
    }

    fn finish(self, known: &Groups) -> (Vec<K>, Vec<Group>) {
        let all = branches(&self.rows, known);
        self.places.into_iter().map(|(key, place)| (key, all[place as usize])).unzip()
    }
}

/// The tenants of each row and of all rows above it. Rows that are above themselves have those of their circle.
fn branches(rows: &[Row], known: &Groups) -> Vec<Group> {
    let mut found: Vec<Option<Group>> = vec![None; rows.len()];
    // When a row was met in the present walk, to see a circle.
    let mut met = vec![u32::MAX; rows.len()];
    for start in 0..rows.len() {
        let mut path = Vec::new();
        let mut at = Some(start);
        let mut group = NOBODY;
        while let Some(place) = at {
            if let Some(above) = found[place] {
                group = above;
                break;
            }
            if met[place] == start as u32 {
                let first = path.iter().position(|known| *known == place).unwrap_or_default();
                group = path[first..]
                    .iter()
                    .fold(NOBODY, |group, &row: &usize| known.union(group, rows[row].group));
                for row in path.drain(first..) {
                    found[row] = Some(group);
                }
                break;
            }
            met[place] = start as u32;
            path.push(place);
            at = rows[place].above.map(|above| above as usize);
        }
        for row in path.into_iter().rev() {
            group = known.union(group, rows[row].group);
            found[row] = Some(group);
        }
    }
    found.into_iter().map(|group| group.unwrap_or(NOBODY)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TenantId;

    #[test]
    fn a_row_has_the_tenants_of_its_branch() {
        let known = Groups::new(&["7", "8"].map(TenantId::new));
        let row = |group, above| Row { group, above };
        let rows = [
            row(2, None),
            row(NOBODY, Some(0)),
            row(3, Some(1)),
            // A circle of two, and what hangs from it.
            row(NOBODY, Some(4)),
            row(3, Some(3)),
            row(NOBODY, Some(3)),
            // Above itself.
            row(2, Some(6)),
        ];
        let both = known.union(2, 3);
        assert_eq!(branches(&rows, &known), [2, 2, both, 3, 3, 3, 2]);
    }
}
