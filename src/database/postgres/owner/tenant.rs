//! Which rows are one tenant's.

use super::types::{tenant_value, type_name};
use super::way::{Wanted, Way, equal};
use super::{Belongs, Owners, ROW, plain};
use crate::database::postgres::catalog::Relations;
use crate::error::Result;
use crate::model::{OwnedTable, TableName};

/// Whether the row [`ROW`] of a table belongs to the tenant whose id is the value of the SQL expression `tenant` (of
/// type text).
pub fn belongs_to(relations: &Relations, table: &TableName, owners: &Owners, tenant: &str) -> Result<String> {
    if let Some(path) = plain(owners) {
        let way = Way::new(relations, path, ROW, "p".to_owned());
        let type_name = type_name(way.type_name())?;
        let mut sql = equal(&way.owner(), &format!("({tenant})::{type_name}"));
        for at in (0..way.len()).rev() {
            sql = format!("EXISTS (SELECT FROM {} WHERE {} AND {sql})", way.item(at)?, way.link(at));
        }
        let canonical = equal(&format!("({tenant})::{type_name}::pg_catalog.text"), &format!("({tenant})"));
        return Ok(format!("{sql} AND {canonical}"));
    }
    let mixed = owners.ways.iter().any(|way| way.column_type != owners.ways[0].column_type);
    let wanted = |way: &Way<'_>| {
        let as_text = equal(&way.owner_text(), &format!("({tenant})"));
        Ok(match tenant_value(way.type_name(), tenant, mixed)? {
            Some(value) => format!("{} AND {as_text}", equal(&way.owner(), &value)),
            None => as_text,
        })
    };
    let branches = branches(relations, table, owners, &wanted, |_| {
        (format!("{ALIAS}.tableoid, {ALIAS}.ctid"), format!("({tenant})"))
    })?;
    let is_one = format!("ROW({ROW}.tableoid, {ROW}.ctid) OPERATOR(pg_catalog.=) ANY ({branches})");
    if !owners.ways.iter().flat_map(|way| &way.steps).any(|step| step.climb) {
        return Ok(is_one);
    }
    // A climb looks so costly to the planner that it would read the whole table as well. Places that are known
    // before are looked up.
    let found = format!("ARRAY(SELECT place FROM ({branches}) places (part, place))");
    let found = format!("{ROW}.ctid OPERATOR(pg_catalog.=) ANY ({found})");
    Ok(if relations.get(table)?.partitioned { format!("{found} AND {is_one}") } else { found })
}

/// A query for the number of rows of each of the tenants `$1` (an array of text) that has any. Ids are compared as
/// values of the column's type, which an index can serve, or as text, which reads the whole table.
pub fn live_counts(relations: &Relations, owned: &OwnedTable, as_text: bool) -> Result<String> {
    let asked = |way: &Way<'_>| -> Result<String> {
        Ok(if as_text {
            format!("{} OPERATOR(pg_catalog.=) ANY ($1::text[])", way.owner_text())
        } else {
            let type_name = type_name(way.type_name())?;
            format!("{} OPERATOR(pg_catalog.=) ANY ($1::text[]::{type_name}[])", way.owner())
        })
    };
    let name = &owned.table.name;
    if let Some(path) = plain(&owned.owners) {
        let way = Way::new(relations, path, ROW, "p".to_owned());
        let (owner, from) = (way.owner_text(), relations.from_item(name)?);
        let joins = way.joins("JOIN", 0..way.len())?;
        return Ok(format!(
            "SELECT {owner}, count(*) FROM {from} {ROW}{joins} WHERE {} GROUP BY 1",
            asked(&way)?
        ));
    }
    let branches = branches(relations, name, &owned.owners, &asked, |way| {
        let owner = way.owner_text();
        (format!("{ALIAS}.tableoid AS part, {ALIAS}.ctid AS place, {owner} AS tenant"), owner)
    })?;
    Ok(format!(
        "SELECT tenant, count(*) FROM (SELECT DISTINCT part, place, tenant FROM ({branches}) pairs) rows GROUP BY 1"
    ))
}

/// Whether a row of `row` references one that is not there, by a hop that its owner is found by.
pub fn detached(relations: &Relations, owners: &Owners, row: &str) -> Result<String> {
    let mut hops = Vec::with_capacity(owners.ways.len());
    for path in owners.ways.iter().filter(|path| !path.steps.is_empty()) {
        hops.push(Way::new(relations, path, row, "w".to_owned()).leads_nowhere()?);
    }
    hops.sort_unstable();
    hops.dedup();
    Ok(if hops.is_empty() { "false".to_owned() } else { format!("({})", hops.join(") OR (")) })
}

/// The row in a branch.
const ALIAS: &str = "s";

/// For each way, the rows that it leads to a wanted tenant, and that no way leads to another one. `answer` says for
/// a way what to select, and the tenant as text.
fn branches(
    relations: &Relations,
    table: &TableName,
    owners: &Owners,
    wanted: Wanted<'_>,
    answer: impl Fn(&Way<'_>) -> (String, String),
) -> Result<String> {
    let item = relations.from_item(table)?;
    let mut branches = Vec::with_capacity(owners.ways.len());
    for (number, path) in owners.ways.iter().enumerate() {
        let way = Way::wanted(relations, path, ALIAS, "w".to_owned(), wanted);
        let (select, tenant) = answer(&way);
        let joins = way.joins("JOIN", 0..way.len())?;
        let mut branch = format!("SELECT {select} FROM {item} {ALIAS}{joins} WHERE {}", way.leads()?);
        if owners.belongs == Belongs::ToOne {
            for (other, path) in owners.ways.iter().enumerate() {
                let rival = Way::new(relations, path, ALIAS, format!("x{other}_"));
                // A way without fork has one answer, the wanted one.
                if other != number || rival.first_fork().is_some() {
                    branch.push_str(&format!(" AND {}", no_other(&rival, &tenant)?));
                }
            }
        }
        branches.push(branch);
    }
    Ok(branches.join(" UNION ALL "))
}

/// That a way leads to no other tenant.
fn no_other(way: &Way<'_>, tenant: &str) -> Result<String> {
    let other = format!("{} OPERATOR(pg_catalog.<>) {tenant}", way.owner_text());
    if way.len() == 0 {
        return Ok(format!("({other}) IS NOT TRUE"));
    }
    Ok(format!("NOT EXISTS ({})", way.beyond(0, "", &other)?))
}
