//! The status for people outside: by customer contact, as text, CSV, Markdown and JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::incident::{Incident, TenantReport};
use super::table::table;
use crate::error::{Error, Result};
use crate::model::TenantId;
use crate::workflow::State;

/// What a contact is told.
#[derive(Serialize)]
pub struct Contact<'a> {
    /// Who.
    pub contact: &'a str,
    /// Its tenants.
    pub tenants: Vec<Told<'a>>,
}

/// What is told of a tenant.
#[derive(Serialize)]
pub struct Told<'a> {
    /// Its id.
    pub tenant: &'a TenantId,
    /// What people call it.
    pub name: Option<&'a str>,
    /// Where it stands, in plain words.
    pub status: &'static str,
    /// Since when it is back.
    pub back_at: Option<Timestamp>,
    /// When it will be, if work goes on.
    pub expected_at: Option<Timestamp>,
    /// Hardly before.
    pub earliest_at: Option<Timestamp>,
    /// Hardly after.
    pub latest_at: Option<Timestamp>,
}

const HEAD: [&str; 8] =
    ["contact", "tenant", "name", "status", "back_at", "expected_at", "earliest_at", "latest_at"];

/// By contact, each one's tenants in the plan's order.
pub fn by_contact<'a>(incident: &Incident<'a>) -> Vec<Contact<'a>> {
    let mut contacts: BTreeMap<&str, Vec<Told<'a>>> = BTreeMap::new();
    for tenant in &incident.tenants {
        contacts.entry(tenant.contact).or_default().push(told(tenant));
    }
    contacts.into_iter().map(|(contact, tenants)| Contact { contact, tenants }).collect()
}

fn told<'a>(tenant: &TenantReport<'a>) -> Told<'a> {
    let rest = tenant.rest.filter(|_| tenant.state != Some(State::Failed));
    Told {
        tenant: tenant.id,
        name: tenant.name,
        status: match tenant.state {
            None => "not in this restore: a person looks at it",
            Some(State::Planned) => "waiting for its turn",
            Some(State::Restoring) => "being restored",
            Some(State::Failed) => "delayed: a person looks at it",
            Some(State::Skipped) => "put off: a person looks at it",
            Some(State::Open) => "back",
            Some(State::Accepted) => "back and accepted",
            Some(State::Reopened) => "back, reported as incomplete: a person looks at it",
        },
        back_at: tenant.opened_at,
        expected_at: rest.map(|rest| rest.expected_at),
        earliest_at: rest.map(|rest| rest.earliest_at),
        latest_at: rest.map(|rest| rest.latest_at),
    }
}

fn rows<'a>(contacts: &'a [Contact<'a>]) -> impl Iterator<Item = [String; 8]> + 'a {
    let time = |at: Option<Timestamp>| at.map(|at| format!("{at:.0}")).unwrap_or_default();
    let all =
        contacts.iter().flat_map(|contact| contact.tenants.iter().map(move |told| (contact.contact, told)));
    all.map(move |(contact, told)| {
        [
            contact.to_owned(),
            told.tenant.to_string(),
            told.name.unwrap_or_default().to_owned(),
            told.status.to_owned(),
            time(told.back_at),
            time(told.expected_at),
            time(told.earliest_at),
            time(told.latest_at),
        ]
    })
}

/// A table for the terminal.
pub fn text(contacts: &[Contact<'_>]) -> String {
    let head = HEAD.map(|name| name.replace('_', " ").to_uppercase());
    let cells = rows(contacts).map(|row| row.iter().map(|cell| printable(cell)).collect());
    table(&head.each_ref().map(String::as_str), &[], cells.collect())
}

/// CSV for spreadsheets.
pub fn csv(contacts: &[Contact<'_>]) -> Result<String> {
    let unable = || Error::bug("a status has no CSV form");
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEAD).map_err(|error| unable().because(error))?;
    for row in rows(contacts) {
        writer.write_record(row.map(|cell| inert(&cell))).map_err(|error| unable().because(error))?;
    }
    let bytes = writer.into_inner().map_err(|error| unable().because(error.into_error()))?;
    String::from_utf8(bytes).map(|text| text.trim_end().to_owned()).map_err(|error| unable().because(error))
}

/// A cell that no spreadsheet takes for a formula.
fn inert(cell: &str) -> String {
    let cell = printable(cell);
    let first = cell.trim_start().chars().next();
    if first.is_some_and(|first| "=+-@\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}".contains(first)) {
        format!("'{cell}")
    } else {
        cell
    }
}

/// Markdown, a table for each contact.
pub fn markdown(contacts: &[Contact<'_>]) -> String {
    let mut out = String::new();
    for contact in contacts {
        out.push_str(&format!("## {}\n\n", literal(contact.contact)));
        out.push_str("| tenant | name | status | back at | expected at |\n|---|---|---|---|---|\n");
        for [_, tenant, name, status, back_at, expected_at, earliest_at, latest_at] in
            rows(std::slice::from_ref(contact))
        {
            let range = if expected_at.is_empty() {
                String::new()
            } else {
                format!(" ({earliest_at} to {latest_at})")
            };
            let [tenant, name] = [tenant, name].map(|cell| literal(&cell));
            out.push_str(&format!("| {tenant} | {name} | {status} | {back_at} | {expected_at}{range} |\n"));
        }
        out.push('\n');
    }
    out.trim_end().to_owned()
}

/// Text that Markdown shows as it is, HTML too.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_ascii_punctuation() => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// Text on one line.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_no_formulas_and_no_markup() {
        assert_eq!(
            ["=1+1", "@SUM(A1)", " -2", "+a", "\t=cmd", "a=b", "7"].map(inert),
            ["'=1+1", "'@SUM(A1)", "' -2", "'+a", "\u{fffd}=cmd", "a=b", "7"]
        );
        assert_eq!(literal("<b>|[x](y)\n#"), "&lt;b&gt;\\|\\[x\\]\\(y\\)\u{fffd}\\#");
    }
}
