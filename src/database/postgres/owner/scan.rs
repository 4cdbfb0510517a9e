//! Who owns each row of a table.

use super::way::{GREATEST, LEAST, Way};
use super::{Belongs, Owners, plain};
use crate::database::postgres::catalog::Relations;
use crate::error::Result;
use crate::model::TableName;

/// A table behind FROM, joined to all that tells the owners of its rows.
pub struct Scanned {
    /// The FROM clause.
    pub from: String,
    /// The owner of a row as text; NULL where it has none.
    pub owner: String,
    /// Whether the ways of a row contradict each other; absent where they cannot.
    pub disputed: Option<String>,
    /// Whether reading it needs joins.
    pub joined: bool,
    /// The owner as it is, and its type, where it is one column.
    pub column: Option<(String, String)>,
}

/// The rows of a table as `row`, with their owners: each row once, or once for each tenant that it belongs to where
/// that may be many.
pub fn scanned(
    relations: &Relations,
    table: &TableName,
    owners: Option<&Owners>,
    row: &str,
) -> Result<Scanned> {
    let from = format!("{} {row}", relations.from_item(table)?);
    let Some(owners) = owners else {
        let owner = "NULL::pg_catalog.text".to_owned();
        return Ok(Scanned { from, owner, disputed: None, joined: false, column: None });
    };
    if let Some(path) = plain(owners) {
        let way = Way::new(relations, path, row, format!("{row}p"));
        let from = from + &way.joins("LEFT JOIN", 0..way.len())?;
        let column = Some((way.owner(), way.type_name().to_owned()));
        return Ok(Scanned { from, owner: way.owner_text(), disputed: None, joined: way.len() > 0, column });
    }
    match owners.belongs {
        Belongs::ToOne => agreed(relations, owners, from, row),
        Belongs::ToReferrers | Belongs::WithParent => shared(relations, table, owners, from, row),
    }
}

/// [`scanned`] for a few rows, whose owners are looked up row by row.
pub fn looked_up(relations: &Relations, table: &TableName, owners: &Owners, row: &str) -> Result<Scanned> {
    if owners.belongs == Belongs::ToOne {
        return scanned(relations, table, Some(owners), row);
    }
    let mut answers = Vec::with_capacity(owners.ways.len());
    for path in &owners.ways {
        let way = Way::new(relations, path, row, "w".to_owned());
        let select = format!("{} AS tenant", way.owner_text());
        answers.push(way.beyond(0, &select, &format!("{} IS NOT NULL", way.owner()))?);
    }
    let (item, of) = (relations.from_item(table)?, format!("{row}o"));
    let answers = answers.join(" UNION ALL ");
    let from = format!(
        "{item} {row} LEFT JOIN LATERAL (SELECT DISTINCT tenant FROM ({answers}) all_{of}) {of} ON true"
    );
    Ok(Scanned { from, owner: format!("{of}.tenant"), disputed: None, joined: true, column: None })
}

/// The ways that are set must agree: their least and greatest answer, compared byte by byte, are the same.
fn agreed(relations: &Relations, owners: &Owners, mut from: String, row: &str) -> Result<Scanned> {
    let (mut least, mut greatest) = (Vec::new(), Vec::new());
    for (number, path) in owners.ways.iter().enumerate() {
        let label = format!("{row}w{number}_");
        let way = Way::new(relations, path, row, label.clone());
        let owner = format!("{} COLLATE pg_catalog.\"C\"", way.owner_text());
        let Some(fork) = way.first_fork() else {
            from.push_str(&way.joins("LEFT JOIN", 0..way.len())?);
            least.push(owner.clone());
            greatest.push(owner);
            continue;
        };
        from.push_str(&way.joins("LEFT JOIN", 0..fork)?);
        let end = way.alias(fork + 1);
        if path.steps[fork].climb {
            // Apart from the row, so that the server can hash it.
            from.push_str(&format!(" LEFT JOIN ({}) {end} ON ({})", way.ends_below(fork)?, way.link(fork)));
        } else {
            let ends = format!("pg_catalog.min({owner}) AS {LEAST}, pg_catalog.max({owner}) AS {GREATEST}");
            let answers = way.beyond(fork, &ends, "true")?;
            from.push_str(&format!(" LEFT JOIN LATERAL ({answers}) {end} ON true"));
        }
        least.push(format!("{end}.{LEAST}"));
        greatest.push(format!("{end}.{GREATEST}"));
    }
    let (least, greatest) =
        (format!("LEAST({})", least.join(", ")), format!("GREATEST({})", greatest.join(", ")));
    Ok(Scanned {
        from,
        owner: format!("CASE WHEN {least} OPERATOR(pg_catalog.=) {greatest} THEN {least} END"),
        disputed: Some(format!("{least} OPERATOR(pg_catalog.<>) {greatest}")),
        joined: true,
        column: None,
    })
}

/// Each row with every tenant that any way leads to. The pairs are made apart from the row, so that the server can
/// hash them.
fn shared(
    relations: &Relations,
    table: &TableName,
    owners: &Owners,
    from: String,
    row: &str,
) -> Result<Scanned> {
    let item = relations.from_item(table)?;
    let mut pairs = Vec::with_capacity(owners.ways.len());
    for path in &owners.ways {
        let way = Way::new(relations, path, "s", "w".to_owned());
        pairs.push(format!(
            "SELECT s.tableoid AS part, s.ctid AS place, {} AS tenant FROM {item} s{} WHERE {} IS NOT NULL",
            way.owner_text(),
            way.joins("JOIN", 0..way.len())?,
            way.owner()
        ));
    }
    // UNION, without ALL, keeps each pair once; one way alone may repeat it as well.
    let pairs = format!("SELECT DISTINCT part, place, tenant FROM ({}) pairs", pairs.join(" UNION ALL "));
    let of = format!("{row}o");
    let from = format!(
        "{from} LEFT JOIN ({pairs}) {of} ON ({of}.place = {row}.ctid AND {of}.part = {row}.tableoid)"
    );
    Ok(Scanned { from, owner: format!("{of}.tenant"), disputed: None, joined: true, column: None })
}
