//! What long work tells about itself. The library reports; `report::progress` and the command line show.

/// Receives the progress of long work. Called from many tasks at once; must not block.
pub trait Progress: Send + Sync {
    /// A piece of work begins, of so many rows if that is known.
    fn begin(&self, what: &str, rows: Option<u64>);
    /// Rows and bytes (wire form) that have been dealt with since the last call.
    fn advance(&self, rows: u64, bytes: u64);
    /// A line worth keeping: a tenant is back, a table is done.
    fn note(&self, line: &str);
    /// The piece of work ended.
    fn finish(&self);
}

/// Hands on what is worth keeping, and no numbers: where something else than rows is counted.
pub struct Notes<'a>(pub &'a dyn Progress);

impl Progress for Notes<'_> {
    fn begin(&self, _what: &str, _rows: Option<u64>) {}
    fn advance(&self, _rows: u64, _bytes: u64) {}
    fn note(&self, line: &str) {
        self.0.note(line);
    }
    fn finish(&self) {}
}

/// Says nothing; for tests and for callers that only want the result.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _rows: Option<u64>) {}
    fn advance(&self, _rows: u64, _bytes: u64) {}
    fn note(&self, _line: &str) {}
    fn finish(&self) {}
}
