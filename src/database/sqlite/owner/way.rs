//! One way as SQL: as joins, as a question about one row, and as nested lists.

use crate::database::sqlite::kinds::declared_kind;
use crate::model::{OwnerPath, Step, TypeKind, quote_identifier};

/// The alias of the n-th table on a way, the table itself being the 0th.
pub fn alias(row: &str, label: &str, level: usize) -> String {
    if level == 0 { row.to_owned() } else { format!("{label}{level}") }
}

pub fn qualified(alias: &str, column: &str) -> String {
    format!("{alias}.{}", quote_identifier(column))
}

/// The tenant at the end of a way, as text. A CAST keeps its column's collation, which may take two ids for one.
pub fn owner(path: &OwnerPath, row: &str) -> String {
    let last = alias(row, "o", path.steps.len());
    format!("CAST({} AS TEXT) COLLATE BINARY", qualified(&last, &path.column))
}

/// ` JOIN … ON …` for every hop.
pub fn joins(path: &OwnerPath, row: &str, kind: &str) -> String {
    let hop = |(level, step): (usize, &Step)| {
        let (child, parent) = (alias(row, "o", level), alias(row, "o", level + 1));
        let elements =
            elements(step, &child, level).map(|table| format!(" {kind} {table}")).unwrap_or_default();
        let (table, link) = (step.parent.quoted(), link(step, &child, &parent, level));
        format!("{elements} {kind} {table} AS {parent} ON {link}")
    };
    path.steps.iter().enumerate().map(hop).collect()
}

/// A SELECT of the tenants that the way leads to from one row of an outer query.
pub fn answers(path: &OwnerPath, row: &str) -> String {
    let sql = format!("SELECT {} AS tenant", owner(path, row));
    // A table of one row that the hops hang from.
    if path.steps.is_empty() { sql } else { format!("{sql} FROM (SELECT 1){}", joins(path, row, "JOIN")) }
}

/// Whether the way leads from a row to one of the tenants `?1`, `?2`: nested lists, that an index of each level can
/// serve.
pub fn leads_to_tenant(path: &OwnerPath, row: &str) -> String {
    let last = qualified(&alias(row, "p", path.steps.len()), &path.column);
    let is_tenant = format!(
        "{last} IN (SELECT value FROM json_each(?1)) \
         AND CAST({last} AS TEXT) COLLATE BINARY IN (SELECT value FROM json_each(?2))"
    );
    path.steps.iter().enumerate().rev().fold(is_tenant, |inner, (level, step)| {
        let (child, parent) = (alias(row, "p", level), alias(row, "p", level + 1));
        let pairs =
            || step.columns.iter().zip(&step.parent_columns).map(|(down, up)| (down, up, step.as_text(down)));
        let up = pairs().map(|(_, up, pair)| cast(qualified(&parent, up), pair.is_some()));
        // A text needs no cast, and without one an index can serve it.
        let down = pairs().map(|(down, _, pair)| {
            cast(qualified(&child, down), pair.is_some_and(|pair| !is_text(&pair.from)))
        });
        let (up, down) = (up.collect::<Vec<_>>().join(", "), down.collect::<Vec<_>>().join(", "));
        let parents = format!("(SELECT {up} FROM {} AS {parent} WHERE {inner})", step.parent.quoted());
        let found = match elements(step, &child, level) {
            Some(elements) => {
                let value = cast(format!("e{level}.value"), !step.as_text.is_empty());
                format!("EXISTS (SELECT 1 FROM {elements} WHERE {value} IN {parents})")
            }
            None => format!("({down}) IN {parents}"),
        };
        found + &when(step, &child)
    })
}

/// Whether the first hop of the way is there and leads from a row to no row.
pub fn leads_nowhere(path: &OwnerPath, row: &str) -> Option<String> {
    let step = path.steps.first()?;
    let set: String =
        step.columns.iter().map(|column| format!("{} NOT NULL AND ", qualified(row, column))).collect();
    let parent = alias(row, "o", 1);
    let elements = elements(step, row, 0).map(|table| format!("{table} JOIN ")).unwrap_or_default();
    let (table, link) = (step.parent.quoted(), link(step, row, &parent, 0));
    let kind = when(step, row);
    Some(format!("{set}NOT EXISTS (SELECT 1 FROM {elements}{table} AS {parent} WHERE {link}){kind}"))
}

/// The elements of an array that is kept as JSON; what is no JSON has none.
fn elements(step: &Step, child: &str, level: usize) -> Option<String> {
    let column = qualified(child, step.columns.first().filter(|_| step.each)?);
    Some(format!("json_each(CASE WHEN json_valid({column}) THEN {column} END) AS e{level}"))
}

fn link(step: &Step, child: &str, parent: &str, level: usize) -> String {
    // The parent stands on the left: as in a foreign key, its collation decides.
    let pairs = step.parent_columns.iter().zip(&step.columns).map(|(up, down)| {
        let as_text = step.as_text(down);
        let down = if step.each { format!("e{level}.value") } else { qualified(child, down) };
        let up = qualified(parent, up);
        // Says nothing new, but an index of the referenced column can serve it.
        let plain = as_text
            .filter(|pair| is_integer(&pair.to))
            .map(|_| format!("{up} = {down} AND "))
            .unwrap_or_default();
        format!("{plain}{} = {}", cast(up, as_text.is_some()), cast(down, as_text.is_some()))
    });
    pairs.collect::<Vec<_>>().join(" AND ") + &when(step, child)
}

/// The condition on the row that a hop begins at.
fn when(step: &Step, child: &str) -> String {
    step.when.as_ref().map_or_else(String::new, |when| {
        let column = qualified(child, &when.column);
        format!(" AND CAST({column} AS TEXT) COLLATE BINARY = {}", literal(&when.equals))
    })
}

fn is_text(type_name: &str) -> bool {
    declared_kind(type_name) == TypeKind::Text
}

fn is_integer(type_name: &str) -> bool {
    declared_kind(type_name) == TypeKind::Int64
}

fn cast(value: String, as_text: bool) -> String {
    if as_text { format!("CAST({value} AS TEXT)") } else { value }
}

/// A text of the configuration as a literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''").replace('\0', ""))
}
