//! Where the pages of a row group end: with a tenant's rows, so that a restore reads the tenant's pages and no row of
//! anybody else. Tenants with a handful of rows share a page, since a page costs some fifty bytes in each column
//! whatever it holds. Pure.

use std::ops::Range;

use crate::limits::{DATA_PAGE_COLUMN_BYTES_MIN, DATA_PAGE_ROWS_MAX};

/// Rows of one tenant that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub rows: usize,
    /// In wire form.
    pub bytes: u64,
}

/// The rows of each page, for a row group of these runs and so many columns.
pub(super) fn pages(runs: &[Run], columns: usize) -> Vec<Range<usize>> {
    let bytes_min = DATA_PAGE_COLUMN_BYTES_MIN * columns as u64;
    let mut pages = Vec::new();
    let mut open = Run::default();
    let mut first = 0;
    for run in runs {
        let is_worth_a_page = |run: &Run| run.bytes >= bytes_min;
        let is_full = open.rows + run.rows > DATA_PAGE_ROWS_MAX;
        if open.rows > 0 && (is_worth_a_page(&open) || is_worth_a_page(run) || is_full) {
            first = close(&mut pages, first, open.rows);
            open = Run::default();
        }
        open = Run { rows: open.rows + run.rows, bytes: open.bytes + run.bytes };
    }
    close(&mut pages, first, open.rows);
    pages
}

/// Adds the pages of these rows, as even as they can be: a page of a few rows would compress badly.
fn close(pages: &mut Vec<Range<usize>>, first: usize, rows: usize) -> usize {
    let count = rows.div_ceil(DATA_PAGE_ROWS_MAX);
    pages.extend((0..count).map(|at| first + rows * at / count..first + rows * (at + 1) / count));
    first + rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows: usize, bytes: u64) -> Run {
        Run { rows, bytes }
    }

    const COLUMNS: usize = 3;
    const WORTH: u64 = DATA_PAGE_COLUMN_BYTES_MIN * COLUMNS as u64;

    fn cut(runs: &[Run]) -> Vec<Range<usize>> {
        pages(runs, COLUMNS)
    }

    #[test]
    fn a_tenant_worth_a_page_shares_it_with_nobody() {
        let runs = [run(3, 9), run(100, WORTH), run(2, 9), run(50, WORTH)];
        assert_eq!(cut(&runs), [0..3, 3..103, 103..105, 105..155]);
    }

    #[test]
    fn small_tenants_share_pages_that_end_between_them() {
        assert_eq!(cut(&[run(1, WORTH / 2), run(2, WORTH / 2), run(4, 1), run(8, 1)]), [0..3, 3..15]);
        let rows = DATA_PAGE_ROWS_MAX;
        assert_eq!(cut(&[run(rows, 1), run(1, 1)]), [0..rows, rows..rows + 1]);
    }

    #[test]
    fn many_rows_of_one_tenant_are_cut_evenly() {
        let rows = DATA_PAGE_ROWS_MAX;
        let cut = cut(&[run(1, 1), run(2 * rows + 1, WORTH)]);
        let lengths: Vec<usize> = cut.iter().map(Range::len).collect();
        let third = (2 * rows + 1) / 3;
        assert_eq!(lengths, [1, third, third + 1, third + 1]);
        assert!(cut.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(pages(&[], COLUMNS).is_empty());
    }
}
