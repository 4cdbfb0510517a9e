//! The audit log in words and tables. The text of a log is shown without control characters: anybody may have written
//! it.

use std::collections::BTreeMap;
use std::path::Path;

use blake3::Hash;

use super::format::count;
use super::table::table;
use crate::audit::{Chain, Entry, Facts, Fault, Phase, Who};

/// Digits of a plan's hash that are enough to tell plans apart.
const PLAN_DIGITS: usize = 12;

/// A command of the log.
pub struct Command<'e> {
    begun: Option<&'e Entry>,
    /// Its end, or, where none was recorded, its beginning.
    last: &'e Entry,
}

/// The entries, by command, in the order of their beginnings.
pub fn commands(entries: &[Entry]) -> Vec<Command<'_>> {
    let mut commands: Vec<Command<'_>> = Vec::new();
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    for entry in entries {
        match &entry.event.phase {
            Phase::Begun => {
                open.insert(entry.number, commands.len());
                commands.push(Command { begun: Some(entry), last: entry });
            }
            Phase::Ended { begun, .. } => match open.remove(begun) {
                Some(index) => commands[index].last = entry,
                None => commands.push(Command { begun: None, last: entry }),
            },
        }
    }
    commands
}

impl<'e> Command<'e> {
    /// Its entries.
    pub fn entries(&self) -> impl Iterator<Item = &'e Entry> {
        let last = self.last;
        self.begun.filter(|begun| begun.number != last.number).into_iter().chain([last])
    }

    /// All that is known of it.
    pub fn facts(&self) -> &'e Facts {
        &self.last.event.facts
    }

    fn row(&self) -> Vec<String> {
        let event = &self.last.event;
        let ended = matches!(event.phase, Phase::Ended { .. }).then_some(self.last);
        let at = |entry: Option<&Entry>| entry.map(|entry| format!("{:.0}", entry.at)).unwrap_or_default();
        let numbers: Vec<String> = self.entries().map(|entry| entry.number.to_string()).collect();
        let plan: Option<String> =
            event.facts.plan.as_ref().map(|plan| plan.as_str().chars().take(PLAN_DIGITS).collect());
        let tenants = event.facts.tenants.map(|tenants| count(tenants as u64));
        let row = [
            numbers.join(", "),
            at(self.begun),
            at(ended),
            who(&event.who),
            event.what.clone(),
            plan.unwrap_or_default(),
            tenants.unwrap_or_default(),
            self.result(),
        ];
        row.iter().map(|cell| printable(cell)).collect()
    }

    /// The exit code, what became of the tenants, and what went past a rail or a default.
    fn result(&self) -> String {
        let mut parts = Vec::new();
        match &self.last.event.phase {
            Phase::Begun => parts.push("no end was recorded: at work, or killed".to_owned()),
            Phase::Ended { exit_code, error: None, .. } => parts.push(format!("exit code {exit_code}")),
            Phase::Ended { exit_code, error: Some(error), .. } => {
                parts.push(format!("exit code {exit_code} ({error})"));
            }
        }
        let facts = self.facts();
        let became = facts.became.iter().filter(|(_, tenants)| !tenants.is_empty());
        parts.extend(became.map(|(fate, tenants)| format!("{} {fate}", count(tenants.len() as u64))));
        parts.extend(facts.rows.map(|rows| format!("{} rows written", count(rows))));
        parts.extend(facts.overrides.iter().map(|(flag, value)| format!("{flag}: {value}")));
        parts.join(", ")
    }
}

/// Commands of a log as a table.
pub fn shown(log: &Path, commands: &[Command<'_>]) -> String {
    if commands.is_empty() {
        return format!("audit log '{}' tells of no such command", log.display());
    }
    let head = ["ENTRIES", "BEGAN AT", "ENDED AT", "WHO", "WHAT", "PLAN", "TENANTS", "RESULT"];
    table(&head, &[6], commands.iter().map(Command::row).collect())
}

/// Whether a log is as it was written; `head` is one that was kept, and the line that has it.
pub fn verified(log: &Path, chain: &Result<Chain, Fault>, head: Option<(Hash, Option<u64>)>) -> String {
    let mut lines = Vec::new();
    match chain {
        Ok(chain) => {
            let entries = chain.lines - chain.cut.len() as u64;
            let noun = if entries == 1 { "entry" } else { "entries" };
            let entries = count(entries);
            lines.push(format!("audit log '{}': {entries} {noun}, each as it was written", log.display()));
            lines.extend(chain.cut.iter().map(|cut| {
                format!("line {cut} was cut off, as entry {} tells: what it said is lost", cut + 1)
            }));
            lines.push(format!("head {}", chain.head));
        }
        Err(fault) => lines.push(format!("audit log '{}' is not as it was written: {fault}", log.display())),
    }
    match head {
        Some((_, Some(line))) => lines.push(format!("the head that was kept is that of line {line}")),
        Some((hash, None)) => lines.push(format!(
            "no line has the head that was kept, {hash}: the log's end was removed, or it was written anew"
        )),
        None => {}
    }
    lines.join("\n")
}

fn who(who: &Who) -> String {
    let account = if who.user == who.account { String::new() } else { format!(" ({})", who.account) };
    format!("{}{account}@{}", who.user, who.host)
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
