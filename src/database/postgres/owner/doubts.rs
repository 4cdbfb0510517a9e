//! Rows whose ways lead to different tenants, and rows that point at another tenant's.

use super::{ROW, column, scanned};
use crate::database::postgres::catalog::Relations;
use crate::error::Result;
use crate::limits::{DISPUTED_NAMED_MAX, TIES_KEPT_MAX};
use crate::model::{ForeignKey, Owners, Table};

/// A query for the disputed rows of a table: their number, and the primary key of some; `None` where there can be none.
pub fn disputed(relations: &Relations, table: &Table, owners: &Owners) -> Result<Option<String>> {
    let scanned = scanned(relations, &table.name, Some(owners), ROW)?;
    let Some(disputed) = scanned.disputed else { return Ok(None) };
    let key: String =
        table.primary_key.iter().map(|name| format!(", {}::pg_catalog.text", column(ROW, name))).collect();
    Ok(Some(format!(
        "SELECT (count(*) OVER ())::pg_catalog.int8{key} FROM {} WHERE {disputed} LIMIT {DISPUTED_NAMED_MAX}",
        scanned.from
    )))
}

/// Types whose values are compared faster than their texts, and are the same when those are.
const COMPARED_AS_THEY_ARE: [&str; 4] = ["uuid", "bigint", "integer", "smallint"];

/// A query for the rows that point at another tenant's by a foreign key: (owner, other owner, rows, rows of all).
pub fn ties(
    relations: &Relations,
    table: &Table,
    owners: &Owners,
    key: &ForeignKey,
    parent_owners: &Owners,
) -> Result<String> {
    let child = scanned(relations, &table.name, Some(owners), ROW)?;
    let parent = scanned(relations, &key.parent, Some(parent_owners), "q")?;
    let columns: Vec<String> = key
        .parent_columns
        .iter()
        .enumerate()
        .map(|(number, name)| format!("{} AS k{number}", column("q", name)))
        .collect();
    let mut operators = key.operators.iter().map(String::as_str);
    let equal: Vec<String> = key
        .columns
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let operator = operators.next().unwrap_or("OPERATOR(pg_catalog.=)");
            format!("other.k{number} {operator} {}", column(ROW, name))
        })
        .collect();
    let (owner, other) = match (child.column, parent.column) {
        (Some((owner, one)), Some((other, same)))
            if one == same && COMPARED_AS_THEY_ARE.contains(&one.as_str()) =>
        {
            (owner, other)
        }
        _ => (child.owner, parent.owner),
    };
    let pairs = format!(
        "SELECT {owner} AS tenant, other.tenant AS other FROM {from}
         JOIN (SELECT {columns}, {other} AS tenant FROM {parent}) other ON ({equal})",
        from = child.from,
        columns = columns.join(", "),
        parent = parent.from,
        equal = equal.join(" AND ")
    );
    Ok(format!(
        "SELECT tenant::pg_catalog.text, other::pg_catalog.text, n, (sum(n) OVER ())::pg_catalog.int8
         FROM (SELECT tenant, other, count(*) AS n FROM ({pairs}) pairs
               WHERE tenant OPERATOR(pg_catalog.<>) other GROUP BY tenant, other) ties
         ORDER BY n DESC, tenant, other LIMIT {TIES_KEPT_MAX}"
    ))
}
