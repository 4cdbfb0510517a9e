//! Deletion queues (`[shards.NAME.deletion_queues]`): checked against the live schema, and what the operator should
//! know of those that nobody declared. Pure.
//!
//! ```toml
//! "public.deleted_records" = { clear = true, links = [
//!     { table = "public.issues", columns = ["record"], key = ["id"], when = { column = "kind", equals = "issue" } },
//! ] }
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ShardFindings;
use crate::error::{Error, Result};
use crate::model::{
    Column, Firing, QueueColumn, QueueLink, Rule, ShardName, Table, TableName, Tenancy, TypeKind, When,
};

/// Columns that name a row, in the queues of others; `deleted_id` and the like of the table's own name besides.
const KEY_NAMES: [&str; 8] =
    ["record_id", "row_id", "object_id", "entity_id", "deleted_id", "old_id", "key", "record_key"];
/// Columns that name a table there.
const TABLE_NAMES: [&str; 5] = ["table_name", "tablename", "source_table", "record_type", "relation"];

/// A queue as the configuration declares it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredQueue {
    /// Whether a restore takes the entries about restored rows out.
    #[serde(default)]
    pub clear: bool,
    /// Whose rows it names, and how.
    pub links: Vec<DeclaredLink>,
}

/// How a queue names the rows of one table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredLink {
    /// The table.
    pub table: TableName,
    /// Columns of the queue.
    pub columns: Vec<String>,
    /// The columns of a unique key of the table that they stand for, in the same order.
    pub key: Vec<String>,
    /// Which entries are about this table.
    #[serde(default)]
    pub when: Option<When>,
}

/// The links of all queues, or what is wrong with the declaration.
pub fn resolve(
    declared: &BTreeMap<TableName, DeclaredQueue>,
    rules: &Tenancy,
    shard: &ShardName,
    live: &[Table],
) -> Result<Vec<QueueLink>> {
    let mut links = Vec::new();
    for (name, queue) in declared {
        let unable = |what: String| {
            Error::usage(format!(
                "unable to use the configuration of shard '{shard}': deletion queue '{name}': {what}"
            ))
        };
        let table = find(live, name).map_err(unable)?;
        if queue.links.is_empty() {
            return Err(unable("it has no links".into()));
        }
        if queue.clear {
            check_clearable(table, rules, live).map_err(unable)?;
        }
        for (number, link) in queue.links.iter().enumerate() {
            if let Some(other) = queue.links[..number].iter().find(|other| overlap(link, other)) {
                return Err(unable(format!(
                    "the same entries would name rows of '{}' and of '{}'",
                    other.table, link.table
                ))
                .hint("tell them apart: when = { column = \"…\", equals = \"…\" } in each of the links"));
            }
            links.push(resolve_link(table, queue.clear, link, rules, live).map_err(unable)?);
        }
    }
    Ok(links)
}

/// Rows of the queue go away: nobody may own them, and nothing may hang from them.
fn check_clearable(queue: &Table, rules: &Tenancy, live: &[Table]) -> Result<(), String> {
    if rules.rules.get(&queue.name).is_some_and(Rule::is_owned) {
        return Err(
            "tenants own rows of it, so that it cannot be cleared; its rule must be shared or excluded"
                .into(),
        );
    }
    let of_partitions = |table: &Table| table.partition_keys.iter().any(|part| part.key.parent == queue.name);
    let points_here = |table: &&Table| {
        table.foreign_keys.iter().any(|key| key.parent == queue.name) || of_partitions(table)
    };
    match live.iter().find(points_here) {
        Some(child) => {
            Err(format!("rows of '{}' point at its entries, so that it cannot be cleared", child.name))
        }
        None => Ok(()),
    }
}

/// Whether one entry could be about both tables.
fn overlap(one: &DeclaredLink, other: &DeclaredLink) -> bool {
    let told_apart = match (&one.when, &other.when) {
        (Some(one), Some(other)) => one.column == other.column && one.equals != other.equals,
        _ => false,
    };
    !told_apart && one.columns.iter().any(|column| other.columns.contains(column))
}

fn resolve_link(
    queue: &Table,
    clear: bool,
    link: &DeclaredLink,
    rules: &Tenancy,
    live: &[Table],
) -> Result<QueueLink, String> {
    let table = find(live, &link.table)?;
    if !rules.rules.get(&table.name).is_some_and(Rule::is_owned) {
        return Err(format!("tenants own no rows of '{}'", table.name));
    }
    if link.columns.is_empty() || link.columns.len() != link.key.len() {
        return Err(format!("columns and key of the link to '{}' must have the same length", table.name));
    }
    if !is_unique(table, &link.key) {
        return Err(format!("({}) is no unique key of '{}'", link.key.join(", "), table.name));
    }
    if let Some(when) = &link.when {
        column(queue, &when.column)?;
    }
    let pair = |(own, key): (&String, &String)| {
        let (entry, row) = (column(queue, own)?, column(table, key)?);
        let as_text = (entry.kind == TypeKind::Text) != (row.kind == TypeKind::Text);
        if !as_text && !is_comparable(entry, row) {
            return Err(format!(
                "its column '{own}' ({}) cannot be compared with '{key}' ({}) of '{}'",
                entry.type_name, row.type_name, table.name
            ));
        }
        Ok(QueueColumn { column: own.clone(), key: key.clone(), as_text })
    };
    let columns = link.columns.iter().zip(&link.key).map(pair).collect::<Result<_, String>>()?;
    Ok(QueueLink {
        queue: queue.name.clone(),
        table: table.name.clone(),
        columns,
        when: link.when.clone(),
        clear,
    })
}

fn find<'a>(live: &'a [Table], name: &TableName) -> Result<&'a Table, String> {
    let found = live.iter().find(|table| table.name == *name);
    found.ok_or_else(|| format!("the database has no table '{name}'"))
}

fn column<'a>(table: &'a Table, name: &str) -> Result<&'a Column, String> {
    table.column(name).ok_or_else(|| format!("table '{}' has no column '{name}'", table.name))
}

/// Whether an entry names one row at most: else it might be about a neighbour's.
fn is_unique(table: &Table, key: &[String]) -> bool {
    let mut keys = table.unique_keys.iter().map(|unique| &unique.columns).chain([&table.primary_key]);
    keys.any(|columns| !columns.is_empty() && columns.iter().all(|column| key.contains(column)))
}

fn is_comparable(one: &Column, other: &Column) -> bool {
    use TypeKind::{Int16, Int32, Int64, Opaque};
    let is_integer = |kind| matches!(kind, Int16 | Int32 | Int64);
    let same = one.kind == other.kind && (one.kind != Opaque || one.type_name == other.type_name);
    same || (is_integer(one.kind) && is_integer(other.kind))
}

/// Why the entries of a queue cannot be taken out, where they shall be.
pub(super) fn check_privileges(found: &ShardFindings, links: &[QueueLink]) -> Result<()> {
    let barred = links.iter().filter(|link| link.clear);
    let Some((queue, why)) = barred.filter_map(|link| found.undeletable.get_key_value(&link.queue)).next()
    else {
        return Ok(());
    };
    Err(Error::refused(format!("unable to clear deletion queue '{queue}' of shard '{}': {why}", found.name))
        .hint(format!(
            "GRANT SELECT, DELETE ON {} to the role, or declare the queue without clear = true",
            queue.quoted()
        )))
}

/// Queues that nobody declared: what works them off may delete again what has just come back.
pub(super) fn undeclared<'a>(
    found: &'a ShardFindings,
    table: &'a Table,
) -> impl Iterator<Item = String> + 'a {
    let on_delete =
        table.triggers.iter().filter(|trigger| trigger.on_delete && trigger.firing != Firing::Replica);
    let named = on_delete.flat_map(|trigger| trigger.inserts.iter().map(move |queue| (trigger, queue)));
    let is_declared =
        |queue: &TableName| found.queues.iter().any(|link| link.queue == *queue && link.table == table.name);
    named.filter(move |(_, queue)| !is_declared(queue)).map(move |(trigger, queue)| {
        let text = format!(
            "rows deleted from '{}' seem to be queued in '{queue}' (by the text of trigger '{}'): make sure that \
             what works it off does not delete restored rows again",
            table.name, trigger.name
        );
        match found.live_tables.iter().find(|live| live.name == *queue).and_then(|queue| shape(queue, table)) {
            Some(shape) => format!("{text}, or declare it: [shards.{}.deletion_queues] {shape}", found.name),
            None => text,
        }
    })
}

/// The declaration of a queue whose columns speak for themselves.
fn shape(queue: &Table, table: &Table) -> Option<String> {
    let [key] = table.primary_key.as_slice() else { return None };
    let own = &table.name.table;
    let of_table = [format!("{own}_id"), format!("{}_id", own.trim_end_matches('s'))];
    let names = KEY_NAMES.into_iter().chain(of_table.iter().map(String::as_str));
    let named = names.into_iter().find(|name| queue.column(name).is_some())?;
    let when = TABLE_NAMES.into_iter().find(|name| queue.column(name).is_some());
    let when = when.map_or_else(String::new, |column| {
        format!(", when = {{ column = \"{column}\", equals = \"{own}\" }}")
    });
    Some(format!(
        "\"{}\" = {{ clear = true, links = [{{ table = \"{}\", columns = [\"{named}\"], key = [\"{key}\"]{when} }}] }}",
        queue.name, table.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(columns: &[&str], when: Option<(&str, &str)>) -> DeclaredLink {
        DeclaredLink {
            table: TableName::new("public", "t"),
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            key: vec!["id".into()],
            when: when.map(|(column, equals)| When { column: column.into(), equals: equals.into() }),
        }
    }

    #[test]
    fn links_must_not_name_the_same_entries() {
        let plain = link(&["key"], None);
        assert!(overlap(&plain, &plain));
        assert!(!overlap(&plain, &link(&["other"], None)));
        assert!(overlap(&plain, &link(&["key"], Some(("kind", "a")))));
        assert!(!overlap(&link(&["key"], Some(("kind", "a"))), &link(&["key"], Some(("kind", "b")))));
        assert!(overlap(&link(&["key"], Some(("kind", "a"))), &link(&["key"], Some(("sort", "b")))));
    }
}
