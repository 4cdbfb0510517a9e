//! A line from the terminal that does not show what is typed.

use std::io::{BufRead, IsTerminal};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Reads a passphrase; where there is no terminal, nobody answers.
pub fn read() -> Option<String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return None;
    }
    let shown = tcgetattr(&stdin).ok()?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).ok()?;
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    // Whatever was read, the terminal must echo again.
    tcsetattr(&stdin, OptionalActions::Now, &shown).ok()?;
    read.ok()?;
    Some(line.trim_end_matches(['\r', '\n']).to_owned())
}
