//! Which rows have to be read: from the tenant index and the row groups' sizes to a row selection. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use parquet::arrow::arrow_reader::RowSelection;

use crate::snapshot::{IndexEntry, joined};

/// The rows to be read of each file: sorted, apart from each other, nothing twice.
pub fn ranges_by_file<'a>(
    entries: impl IntoIterator<Item = &'a IndexEntry>,
) -> BTreeMap<&'a str, Vec<Range<u64>>> {
    let mut files: BTreeMap<&str, Vec<Range<u64>>> = BTreeMap::new();
    for entry in entries {
        let end = entry.first_row.saturating_add(entry.rows);
        files.entry(&entry.file).or_default().push(entry.first_row..end);
    }
    for ranges in files.values_mut() {
        *ranges = joined(std::mem::take(ranges));
    }
    files
}

/// The row groups that hold wanted rows, and the wanted rows within them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Positions of the row groups.
    pub row_groups: Vec<usize>,
    /// Wanted rows, counted over these row groups only.
    pub ranges: Vec<Range<usize>>,
    /// Rows of these row groups.
    pub rows: usize,
}

/// Leaves out the row groups without wanted rows. `ranges` are sorted and apart; rows beyond the last row
/// group are not there and are left out.
pub fn prune(ranges: &[Range<u64>], row_groups: &[u64]) -> Pruned {
    let mut pruned = Pruned { row_groups: Vec::new(), ranges: Vec::new(), rows: 0 };
    let mut first = 0u64;
    for (at, &rows) in row_groups.iter().enumerate() {
        let end = first.saturating_add(rows);
        let wanted = ranges.iter().map(|range| range.start.max(first)..range.end.min(end));
        let mut wanted = wanted.filter(|range| range.start < range.end).peekable();
        if wanted.peek().is_some() {
            let base = pruned.rows;
            // A row group was written by an engine of bounded row groups; its rows fit a usize.
            let here = |row: u64| base + usize::try_from(row - first).unwrap_or(usize::MAX - base);
            pruned.ranges.extend(wanted.map(|range| here(range.start)..here(range.end)));
            pruned.row_groups.push(at);
            pruned.rows = here(end);
        }
        first = end;
    }
    pruned
}

impl Pruned {
    /// The selection for a Parquet reader of these row groups.
    pub fn selection(&self) -> RowSelection {
        RowSelection::from_consecutive_ranges(self.ranges.iter().cloned(), self.rows)
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "these are lists of ranges")]
mod tests {
    use super::*;
    use crate::model::{Fingerprint, TableName, TenantId};

    fn entry(file: &str, first_row: u64, rows: u64) -> IndexEntry {
        IndexEntry {
            tenant: Some(TenantId::new("1")),
            table: TableName::new("public", "t"),
            file: file.into(),
            first_row,
            rows,
            bytes: 0,
            fingerprint: Fingerprint::default(),
        }
    }

    #[test]
    fn neighbouring_and_repeated_ranges_become_one() {
        let entries =
            [entry("b", 5, 5), entry("a", 0, 3), entry("b", 0, 5), entry("b", 12, 1), entry("b", 0, 5)];
        let files = ranges_by_file(&entries);
        assert_eq!(files.get("a"), Some(&vec![0..3]));
        assert_eq!(files.get("b"), Some(&vec![0..10, 12..13]));
    }

    #[test]
    fn only_the_row_groups_with_wanted_rows_are_read() {
        let pruned = prune(&[95..105, 250..251], &[100, 100, 50, 50]);
        assert_eq!(
            pruned,
            Pruned { row_groups: vec![0, 1, 3], ranges: vec![95..100, 100..105, 200..201], rows: 250 }
        );
        assert_eq!(pruned.selection().row_count(), 11);
        assert_eq!(prune(&[], &[100]).row_groups, Vec::<usize>::new());
        assert_eq!(prune(&[10..20], &[]).rows, 0);
        assert_eq!(prune(&[50..150], &[100]).ranges, vec![50..100]);
    }
}
