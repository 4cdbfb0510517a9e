//! Standard output and standard error: data to the one, talk to the other. Nothing else prints.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::report::progress::{Bar, Lines};

/// Where results, talk and progress go.
pub struct Output {
    json: bool,
}

impl Output {
    /// `json`: results as JSON instead of text.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// A result: `text` for people, or `value` for machines.
    pub fn result(&self, text: impl FnOnce() -> String, value: &impl Serialize) -> Result<()> {
        let shown = if self.json {
            serde_json::to_string_pretty(value)
                .map_err(|error| Error::bug("a result has no JSON form").because(error))?
        } else {
            text()
        };
        let mut out = std::io::stdout().lock();
        // A reader that has seen enough (`| head`) closes the pipe; that is no error.
        let _ = writeln!(out, "{shown}");
        Ok(())
    }

    /// A result that has one form only.
    pub fn text(&self, text: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// A line for the person at the terminal.
    pub fn talk(&self, line: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// The one error of a command and its hints.
    pub fn error(&self, error: &Error) {
        let mut out = std::io::stderr().lock();
        if self.json {
            let value = serde_json::json!({
                "format": 1,
                "error": error.chain(),
                "hints": error.hints(),
                "exit_code": error.kind().exit_code(),
            });
            let _ = writeln!(out, "{value}");
            return;
        }
        let _ = writeln!(out, "error: {}", error.chain());
        for hint in error.hints() {
            let _ = writeln!(out, "hint: {hint}");
        }
    }

    /// Progress: a bar on a terminal, plain lines elsewhere.
    pub fn progress(&self) -> Arc<dyn Progress> {
        if std::io::stderr().is_terminal() {
            Arc::new(Bar::default())
        } else {
            Arc::new(Lines::new(|line: &str| {
                let _ = writeln!(std::io::stderr().lock(), "{line}");
            }))
        }
    }
}

/// Refuses a file that is there already, before long work whose result it could not take.
pub fn must_not_exist(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Error::usage(format!("unable to write '{}': it exists already", path.display()))
        .hint("name another file with -o, or remove this one"))
}

/// Writes a file that must not exist yet, or replaces it where `replace` says so.
pub fn write_file(path: &Path, text: &str, replace: bool) -> Result<()> {
    let unable = || Error::usage(format!("unable to write '{}'", path.display()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    if !replace {
        options.create_new(true);
    }
    let mut file = options.open(path).map_err(|error| unable().because(error))?;
    file.write_all(text.as_bytes()).map_err(|error| unable().because(error))
}
