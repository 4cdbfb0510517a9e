//! The question before everything that cannot be taken back.

use std::io::{BufRead, IsTerminal};

use super::output::Output;

/// Asks on a terminal for the number of tenants; elsewhere nobody answers.
pub fn count(verb: &str, output: &Output) -> Option<usize> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    output.talk(&format!("type the number of tenants to {verb} them, anything else to stop:"));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).ok()?;
    line.trim().parse().ok()
}
