//! Progress on a terminal as a bar with rate and time left; elsewhere as plain lines, a few seconds apart.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle};

use crate::progress::Progress;

/// Seconds between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// A bar on a terminal.
#[derive(Default)]
pub struct Bar {
    current: Mutex<Option<ProgressBar>>,
}

impl Bar {
    fn with(&self, act: impl FnOnce(&ProgressBar)) {
        if let Ok(current) = self.current.lock()
            && let Some(bar) = current.as_ref()
        {
            act(bar);
        }
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, rows: Option<u64>) {
        let (bar, template) = match rows {
            Some(rows) => (
                ProgressBar::new(rows),
                "{prefix} [{bar:30}] {human_pos} of {human_len} rows, {rate}, {eta} left",
            ),
            None => (ProgressBar::new_spinner(), "{prefix} {spinner} {human_pos} rows, {rate}, {elapsed}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // The only error would be that of the terminal's buffer.
            let _ = write!(out, "{} rows/s", HumanCount(state.per_sec() as u64));
        });
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if let Ok(mut current) = self.current.lock() {
            *current = Some(bar);
        }
    }

    fn advance(&self, rows: u64, _bytes: u64) {
        self.with(|bar| bar.inc(rows));
    }

    fn note(&self, line: &str) {
        self.with(|bar| bar.println(line));
    }

    fn finish(&self) {
        self.with(ProgressBar::finish_and_clear);
    }
}

/// Lines for logs and pipes; `write` puts one out.
pub struct Lines<W> {
    write: W,
    state: Mutex<State>,
}

struct State {
    what: String,
    total: Option<u64>,
    rows: u64,
    begun_at: Instant,
    shown_at: Instant,
}

impl<W: Fn(&str) + Send + Sync> Lines<W> {
    /// Lines through `write`.
    pub fn new(write: W) -> Self {
        let now = Instant::now();
        let state = State { what: String::new(), total: None, rows: 0, begun_at: now, shown_at: now };
        Self { write, state: Mutex::new(state) }
    }
}

impl State {
    fn line(&self) -> String {
        let seconds = self.begun_at.elapsed().as_secs_f64().max(0.001);
        let rate = self.rows as f64 / seconds;
        let done =
            format!("{}: {} rows, {} rows/s", self.what, HumanCount(self.rows), HumanCount(rate as u64));
        match self.total.filter(|_| rate > 0.0) {
            Some(total) => {
                let left = Duration::from_secs_f64(total.saturating_sub(self.rows) as f64 / rate);
                format!("{done}, of {}, {} left", HumanCount(total), HumanDuration(left))
            }
            None => done,
        }
    }
}

impl<W: Fn(&str) + Send + Sync> Progress for Lines<W> {
    fn begin(&self, what: &str, rows: Option<u64>) {
        if let Ok(mut state) = self.state.lock() {
            let now = Instant::now();
            *state = State { what: what.to_owned(), total: rows, rows: 0, begun_at: now, shown_at: now };
        }
    }

    fn advance(&self, rows: u64, _bytes: u64) {
        if let Ok(mut state) = self.state.lock() {
            state.rows += rows;
            if state.shown_at.elapsed() >= LINE_INTERVAL {
                state.shown_at = Instant::now();
                (self.write)(&state.line());
            }
        }
    }

    fn note(&self, line: &str) {
        (self.write)(line);
    }

    fn finish(&self) {}
}
