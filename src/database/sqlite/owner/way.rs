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
    path.steps.iter().enumerate().map(|(level, step)| join(step, row, level, kind)).collect()
}

fn join(step: &Step, row: &str, level: usize, kind: &str) -> String {
    let (child, parent) = (alias(row, "o", level), alias(row, "o", level + 1));
    let elements = elements(step, &child, level).map(|table| format!(" {kind} {table}")).unwrap_or_default();
    let (table, link) = (step.parent.quoted(), link(step, &child, &parent, level));
    format!("{elements} {kind} {table} AS {parent} ON {link}")
}

/// A SELECT of the tenants that the way leads to from one row of an outer query.
pub fn answers(path: &OwnerPath, row: &str) -> String {
    let sql = format!("SELECT {} AS tenant", owner(path, row));
    // A table of one row that the hops hang from.
    if path.steps.is_empty() { sql } else { format!("{sql} FROM {}", walk(path, row, "(SELECT 1)", &[])) }
}

/// A SELECT of the columns `kept` of each row of a table, `row`, and of each tenant that the way leads to from it.
pub fn pairs(path: &OwnerPath, table: &str, row: &str, kept: &[String]) -> String {
    let end = path.steps.iter().rposition(|step| step.climb);
    let from = end.map_or_else(|| row.to_owned(), |level| format!("c{level}"));
    let kept_now = kept.iter().enumerate().map(|(at, name)| match end {
        None => format!("{} AS k{at}, ", qualified(&from, name)),
        Some(_) => format!("{from}.k{at} AS k{at}, "),
    });
    let columns: String = kept_now.collect();
    let start = format!("{table} AS {row}");
    format!("SELECT {columns}{} AS tenant FROM {}", owner(path, row), walk(path, row, &start, kept))
}

/// The hops of a way behind FROM, beginning at `start`. A climb takes in all before it: it keeps the columns `kept` of
/// the row, as `k0` and so on, and ends where a row would be above itself, since UNION keeps each row once.
fn walk(path: &OwnerPath, row: &str, start: &str, kept: &[String]) -> String {
    let mut from = start.to_owned();
    let mut last_climb: Option<usize> = None;
    for (level, step) in path.steps.iter().enumerate() {
        from.push_str(&join(step, row, level, "JOIN"));
        if !step.climb {
            continue;
        }
        let (up, node) = (format!("c{level}"), alias(row, "o", level + 1));
        let first: String = kept
            .iter()
            .enumerate()
            .map(|(at, name)| match last_climb {
                None => format!(", {} AS k{at}", qualified(row, name)),
                Some(before) => format!(", c{before}.k{at} AS k{at}"),
            })
            .collect();
        let next: String = (0..kept.len()).map(|at| format!(", {up}.k{at}")).collect();
        let columns = columns_of(step, &node);
        let same = step
            .parent_columns
            .iter()
            .map(|name| format!("{} = {}", qualified(&node, name), qualified(&up, name)));
        let (table, same) = (step.parent.quoted(), same.collect::<Vec<_>>().join(" AND "));
        from = format!(
            "(WITH RECURSIVE {up} AS (SELECT {columns}{first} FROM {from} \
             UNION SELECT {columns}{next} FROM {up} JOIN {table} AS {node} ON {}) SELECT * FROM {up}) AS {up} \
             JOIN {table} AS {node} ON {same}",
            link(step, &up, &node, level)
        );
        last_climb = Some(level);
    }
    from
}

/// What a climb must know of each row: its key, and what leads to the next row.
fn columns_of(step: &Step, node: &str) -> String {
    let mut names: Vec<&String> = step.parent_columns.iter().chain(&step.columns).collect();
    names.extend(step.when.iter().map(|when| &when.column));
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| qualified(node, name)).collect::<Vec<_>>().join(", ")
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
        let table = format!("{} AS {parent}", step.parent.quoted());
        let parents = if step.climb {
            format!("(SELECT {up} FROM ({}) AS {parent})", below(step, &table, &parent, level, &inner))
        } else {
            format!("(SELECT {up} FROM {table} WHERE {inner})")
        };
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

/// The rows of a tree for which `leads` holds, and all below them: their referenced columns.
fn below(step: &Step, table: &str, node: &str, level: usize, leads: &str) -> String {
    let tree = format!("d{level}");
    let keys: Vec<String> = step.parent_columns.iter().map(|name| qualified(node, name)).collect();
    let (keys, link) = (keys.join(", "), link(step, node, &tree, level));
    format!(
        "WITH RECURSIVE {tree} AS (SELECT {keys} FROM {table} WHERE {leads} \
         UNION SELECT {keys} FROM {tree} JOIN {table} ON {link}) SELECT * FROM {tree}"
    )
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
