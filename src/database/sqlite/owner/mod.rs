//! Whose row is it: [`Owners`] as SQL, in two forms.
//!
//! ```text
//! expression  CAST(o2."site" AS TEXT)  over  "comments" t LEFT JOIN "issues" o1 … LEFT JOIN "projects" o2 …
//!             (several ways) a SELECT over the answers of all; (many owners) a join with the distinct pairs
//! predicate   t."issue" IN (SELECT "id" FROM "issues" WHERE "project" IN (SELECT "id" FROM "projects" …)) OR …
//! ```
//!
//! A tree is climbed by WITH RECURSIVE: up from a row in expressions, down from the tenant's rows in predicates.
//!
//! Tenant ids are data: they are bound as two JSON arrays (`?1`, `?2`) and unfolded by `json_each`. Ids are
//! compared as *text*, byte by byte, whatever the column holds; since that alone could use no index, the
//! column is first compared with the id as it would be stored: as an integer where it is a canonical decimal,
//! and as text.

mod way;

use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;

use crate::error::{Error, Result};
use crate::limits::{DISPUTED_NAMED_MAX, TIES_KEPT_MAX};
use crate::model::{Belongs, ForeignKey, OwnedTable, OwnerPath, Owners, Step, Table, TableName, TenantId};

pub use self::way::literal;
use self::way::qualified;

/// The table whose rows are wanted, in every statement of this file.
const ROWS: &str = "t";

/// A SELECT and its parameters.
pub struct Select {
    /// The statement; identifiers are quoted, everything else is a constant or a parameter.
    pub sql: String,
    /// `?1` and `?2`, or nothing.
    pub arguments: SqliteArguments,
}

/// Rows of a table: the owner as text (NULL for a shared or unowned row), then the stored columns; each row once, or
/// once for each tenant that it belongs to where that may be many. Only rows of `tenants` if they are given. Rows of a
/// table without owners have none, so none is any tenant's.
pub fn select_rows(table: &Table, owners: Option<&Owners>, tenants: Option<&[TenantId]>) -> Result<Select> {
    let columns: String = stored_columns(table).map(|column| format!(", {column}")).collect();
    let Some(owners) = owners else {
        let none = if tenants.is_some() { " WHERE FALSE" } else { "" };
        let sql = format!("SELECT NULL{columns} FROM {} AS {ROWS}{none}", table.name.quoted());
        return Ok(Select { sql, arguments: SqliteArguments::default() });
    };
    let (owner, joins) = owner(table, owners);
    let mut sql = format!("SELECT {owner}{columns} FROM {} AS {ROWS}{joins}", table.name.quoted());
    let arguments = match tenants {
        None => SqliteArguments::default(),
        Some(tenants) => {
            sql += &format!(
                " WHERE {} AND {owner} IN (SELECT value FROM json_each(?2))",
                leads_anywhere(owners)
            );
            bind(tenants)?
        }
    };
    Ok(Select { sql, arguments })
}

/// The stored columns of one tenant's rows, in wire order.
pub fn select_stored(owned: &OwnedTable, tenant: &TenantId) -> Result<Select> {
    let columns: Vec<String> = stored_columns(&owned.table).collect();
    let sql = format!(
        "SELECT {} FROM {} AS {ROWS} WHERE {}",
        columns.join(", "),
        owned.table.name.quoted(),
        predicate(owned)
    );
    Ok(Select { sql, arguments: bind(std::slice::from_ref(tenant))? })
}

/// Which rows of a table are one tenant's, over the alias `t`.
pub fn where_owned(owned: &OwnedTable, tenant: &TenantId) -> Result<Select> {
    Ok(Select { sql: predicate(owned), arguments: bind(std::slice::from_ref(tenant))? })
}

/// The places in `tables` of those that hold a row of the tenant; at most
/// [`crate::limits::TABLES_ASKED_MAX`] tables.
pub fn select_held(tables: &[&OwnedTable], tenant: &TenantId) -> Result<Select> {
    let question = |(number, owned): (usize, &&OwnedTable)| {
        let (table, predicate) = (owned.table.name.quoted(), predicate(owned));
        format!("SELECT {number} WHERE EXISTS (SELECT 1 FROM {table} AS {ROWS} WHERE {predicate})")
    };
    let questions: Vec<String> = tables.iter().enumerate().map(question).collect();
    Ok(Select { sql: questions.join(" UNION ALL "), arguments: bind(std::slice::from_ref(tenant))? })
}

/// Number of rows of each of these tenants that has any.
pub fn select_counts(owned: &OwnedTable, tenants: &[TenantId]) -> Result<Select> {
    let (owner, joins) = owner(&owned.table, &owned.owners);
    let sql = format!(
        "SELECT {owner}, count(*) FROM {} AS {ROWS}{joins} \
         WHERE {} AND {owner} IN (SELECT value FROM json_each(?2)) GROUP BY 1",
        owned.table.name.quoted(),
        leads_anywhere(&owned.owners)
    );
    Ok(Select { sql, arguments: bind(tenants)? })
}

/// The disputed rows of a table: their number, and the primary key of some; `None` where there can be none.
pub fn select_disputed(table: &Table, owners: &Owners) -> Option<String> {
    if plain(owners).is_some() || owners.belongs != Belongs::ToOne {
        return None;
    }
    let key: String =
        table.primary_key.iter().map(|name| format!(", CAST({} AS TEXT)", qualified(ROWS, name))).collect();
    Some(format!(
        "SELECT count(*) OVER (){key} FROM {} AS {ROWS} \
         WHERE (SELECT min(tenant) <> max(tenant) FROM ({})) LIMIT {DISPUTED_NAMED_MAX}",
        table.name.quoted(),
        answers(owners, ROWS)
    ))
}

/// The rows that point at another tenant's by a foreign key: (owner, other owner, rows, rows of all).
pub fn select_ties(table: &Table, owners: &Owners, key: &ForeignKey, parent_owners: &Owners) -> String {
    let pairs = key.parent_columns.iter().zip(&key.columns);
    let equal = pairs.map(|(up, down)| format!("{} = {}", qualified("q", up), qualified(ROWS, down)));
    let pairs = format!(
        "SELECT {} AS tenant, {} AS other FROM {} AS {ROWS} JOIN {} AS q ON {}",
        agreed(owners, ROWS),
        agreed(parent_owners, "q"),
        table.name.quoted(),
        key.parent.quoted(),
        equal.collect::<Vec<_>>().join(" AND ")
    );
    format!(
        "SELECT tenant, other, n, sum(n) OVER () \
         FROM (SELECT tenant, other, count(*) AS n FROM ({pairs}) WHERE tenant <> other GROUP BY 1, 2) \
         ORDER BY n DESC, tenant, other LIMIT {TIES_KEPT_MAX}"
    )
}

/// Every hop must lead to one row at the most, or the owner would be a guess and a join would repeat rows.
pub fn require_unique_parents(owners: &Owners, child: &TableName, tables: &[Table]) -> Result<()> {
    for step in owners.ways.iter().flat_map(|way| &way.steps).filter(|step| !step.many) {
        let parent = tables.iter().find(|table| table.name == step.parent);
        let is_key = |key: &[String]| !key.is_empty() && key.iter().all(|c| step.parent_columns.contains(c));
        let unique = parent.is_some_and(|parent| {
            is_key(&parent.primary_key) || parent.unique_keys.iter().any(|key| is_key(&key.columns))
        });
        if !unique {
            let (columns, parent) = (step.parent_columns.join(", "), &step.parent);
            return Err(Error::undecided(format!(
                "unable to derive the owner of '{child}' from '{parent}': its columns ({columns}) are no key"
            ))
            .hint(format!("derive it over the primary key or a unique key of '{parent}'")));
        }
    }
    Ok(())
}

fn stored_columns(table: &Table) -> impl Iterator<Item = String> {
    table.stored_columns().map(|column| qualified(ROWS, &column.name))
}

/// The owner of a row, and the joins that it needs.
fn owner(table: &Table, owners: &Owners) -> (String, String) {
    if let Some(path) = plain(owners) {
        return (way::owner(path, ROWS), way::joins(path, ROWS, "LEFT JOIN"));
    }
    match owners.belongs {
        Belongs::ToOne => (agreed(owners, ROWS), String::new()),
        Belongs::ToReferrers | Belongs::WithParent => ("pairs.tenant".to_owned(), pairs(table, owners)),
    }
}

/// The only way of a table whose rows lead to one tenant at most.
fn plain(owners: &Owners) -> Option<&OwnerPath> {
    owners.only().filter(|way| !way.steps.iter().any(Step::forks))
}

/// What all ways that are set agree on.
fn agreed(owners: &Owners, row: &str) -> String {
    format!(
        "(SELECT CASE WHEN min(tenant) = max(tenant) THEN min(tenant) END FROM ({}))",
        answers(owners, row)
    )
}

fn answers(owners: &Owners, row: &str) -> String {
    let answers: Vec<String> = owners.ways.iter().map(|way| way::answers(way, row)).collect();
    answers.join(" UNION ALL ")
}

/// The tenants of one row of `t` as a JSON array; NULL or empty where it has none.
pub fn owners_as_json(owners: &Owners) -> String {
    match owners.belongs {
        Belongs::ToOne => format!(
            "(SELECT json_array(tenant) FROM (SELECT {} AS tenant) WHERE tenant NOT NULL)",
            agreed(owners, ROWS)
        ),
        Belongs::ToReferrers | Belongs::WithParent => {
            format!(
                "(SELECT json_group_array(DISTINCT tenant) FROM ({}) WHERE tenant NOT NULL)",
                answers(owners, ROWS)
            )
        }
    }
}

/// Whether a row of `row` references one that does not exist, by a hop that its owner is found by.
pub fn detached(owners: &Owners, row: &str) -> String {
    let mut hops: Vec<String> = owners.ways.iter().filter_map(|path| way::leads_nowhere(path, row)).collect();
    hops.sort_unstable();
    hops.dedup();
    if hops.is_empty() { "FALSE".to_owned() } else { format!("({})", hops.join(") OR (")) }
}

/// A join with the distinct pairs of a row's key and a tenant.
fn pairs(table: &Table, owners: &Owners) -> String {
    let rowid = ["rowid".to_owned()];
    let key = if table.primary_key.is_empty() { &rowid[..] } else { &table.primary_key[..] };
    let pairs = owners.ways.iter().map(|path| way::pairs(path, &table.name.quoted(), "s", key));
    let pairs = pairs.collect::<Vec<_>>().join(" UNION ALL ");
    let same = key.iter().enumerate().map(|(at, name)| format!("pairs.k{at} = {}", qualified(ROWS, name)));
    let same = same.collect::<Vec<_>>().join(" AND ");
    format!(" LEFT JOIN (SELECT DISTINCT * FROM ({pairs}) WHERE tenant IS NOT NULL) AS pairs ON {same}")
}

/// Whether any way leads from a row to one of the tenants.
fn leads_anywhere(owners: &Owners) -> String {
    let ways: Vec<String> = owners.ways.iter().map(|path| way::leads_to_tenant(path, ROWS)).collect();
    if ways.len() == 1 { ways.concat() } else { format!("(({}))", ways.join(") OR (")) }
}

/// Whether a row belongs to one of the tenants.
fn predicate(owned: &OwnedTable) -> String {
    let leads = leads_anywhere(&owned.owners);
    match owned.owners.belongs {
        Belongs::ToOne if plain(&owned.owners).is_none() => {
            format!("{leads} AND {} IN (SELECT value FROM json_each(?2))", agreed(&owned.owners, ROWS))
        }
        _ => leads,
    }
}

fn bind(tenants: &[TenantId]) -> Result<SqliteArguments> {
    let unable = |error| Error::bug("unable to bind tenant ids").because(error);
    let mut stored: Vec<serde_json::Value> = Vec::with_capacity(2 * tenants.len());
    for tenant in tenants {
        stored.push(tenant.as_str().into());
        if let Some(number) = canonical_integer(tenant) {
            stored.push(number.into());
        }
    }
    let texts: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    let mut arguments = SqliteArguments::default();
    arguments.add(serde_json::Value::from(stored).to_string()).map_err(unable)?;
    arguments.add(serde_json::Value::from(texts).to_string()).map_err(unable)?;
    Ok(arguments)
}

/// The integer that SQLite would show as exactly this text.
fn canonical_integer(tenant: &TenantId) -> Option<i64> {
    tenant.as_str().parse().ok().filter(|number: &i64| number.to_string() == tenant.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> OwnerPath {
        let step = |columns: &[&str], parent: &str, parent_columns: &[&str]| Step {
            columns: columns.iter().map(|c| (*c).to_owned()).collect(),
            parent: TableName::new("main", parent),
            parent_columns: parent_columns.iter().map(|c| (*c).to_owned()).collect(),
            when: None,
            each: false,
            as_text: vec![],
            many: false,
            climb: false,
        };
        OwnerPath {
            steps: vec![step(&["issue"], "issues", &["id"]), step(&["a", "b"], "odd \" name", &["x", "y"])],
            column: "site".to_owned(),
            column_type: "INTEGER".to_owned(),
        }
    }

    #[test]
    fn hops_become_joins_and_nested_lists() {
        assert_eq!(way::owner(&path(), ROWS), "CAST(o2.\"site\" AS TEXT) COLLATE BINARY");
        assert_eq!(
            way::joins(&path(), ROWS, "LEFT JOIN"),
            " LEFT JOIN \"main\".\"issues\" AS o1 ON o1.\"id\" = t.\"issue\" \
             LEFT JOIN \"main\".\"odd \"\" name\" AS o2 ON o2.\"x\" = o1.\"a\" AND o2.\"y\" = o1.\"b\""
        );
        assert_eq!(
            way::leads_to_tenant(&path(), ROWS),
            "(t.\"issue\") IN (SELECT p1.\"id\" FROM \"main\".\"issues\" AS p1 \
             WHERE (p1.\"a\", p1.\"b\") IN (SELECT p2.\"x\", p2.\"y\" FROM \"main\".\"odd \"\" name\" AS p2 \
             WHERE p2.\"site\" IN (SELECT value FROM json_each(?1)) \
             AND CAST(p2.\"site\" AS TEXT) COLLATE BINARY IN (SELECT value FROM json_each(?2))))"
        );
    }

    #[test]
    fn only_canonical_decimals_are_integers() {
        let of = |text: &str| canonical_integer(&TenantId::new(text));
        assert_eq!(of("42"), Some(42));
        assert_eq!(of("-9223372036854775808"), Some(i64::MIN));
        for text in ["042", "+42", "-0", "4 2", "9223372036854775808", "1.0", ""] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
