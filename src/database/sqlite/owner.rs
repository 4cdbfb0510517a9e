//! Whose row is it: an [`OwnerPath`] as SQL, in two forms.
//!
//! ```text
//! expression  CAST(o2."site" AS TEXT)  over  "comments" t LEFT JOIN "issues" o1 … LEFT JOIN "projects" o2 …
//! predicate   t."issue" IN (SELECT "id" FROM "issues" WHERE "project" IN (SELECT "id" FROM "projects" …))
//! ```
//!
//! Tenant ids are data: they are bound as two JSON arrays (`?1`, `?2`) and unfolded by `json_each`. Ids are
//! compared as *text*, byte by byte, whatever the column holds; since that alone could use no index, the
//! column is first compared with the id as it would be stored: as an integer where it is a canonical decimal,
//! and as text.

use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;

use crate::error::{Error, Result};
use crate::model::{OwnedTable, OwnerPath, Table, TableName, TenantId, quote_identifier};

/// The table whose rows are wanted, in every statement of this file.
const ROWS: &str = "t";

/// A SELECT and its parameters.
pub struct Select {
    /// The statement; identifiers are quoted, everything else is a constant or a parameter.
    pub sql: String,
    /// `?1` and `?2`, or nothing.
    pub arguments: SqliteArguments,
}

/// Rows of a table: the owner as text (NULL for a shared or unowned row), then the stored columns. Only rows
/// of `tenants` if they are given. Rows of a table without an owner path have no owner, so none is any
/// tenant's.
pub fn select_rows(table: &Table, path: Option<&OwnerPath>, tenants: Option<&[TenantId]>) -> Result<Select> {
    let mut sql = String::from("SELECT ");
    sql += &path.map_or_else(|| "NULL".to_owned(), owner_expression);
    for column in stored_columns(table) {
        sql += ", ";
        sql += &column;
    }
    sql += &format!(" FROM {} AS {ROWS}", table.name.quoted());
    sql += &path.map_or_else(String::new, owner_joins);
    let arguments = match (tenants, path) {
        (None, _) => SqliteArguments::default(),
        (Some(_), None) => {
            sql += " WHERE FALSE";
            SqliteArguments::default()
        }
        (Some(tenants), Some(path)) => {
            sql += " WHERE ";
            sql += &predicate(path);
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
        predicate(only(owned)?)
    );
    Ok(Select { sql, arguments: bind(std::slice::from_ref(tenant))? })
}

/// The places in `tables` of those that hold a row of the tenant; at most
/// [`crate::limits::TABLES_ASKED_MAX`] tables.
pub fn select_held(tables: &[&OwnedTable], tenant: &TenantId) -> Result<Select> {
    let question = |(number, owned): (usize, &&OwnedTable)| {
        let (table, predicate) = (owned.table.name.quoted(), predicate(only(owned)?));
        Ok(format!("SELECT {number} WHERE EXISTS (SELECT 1 FROM {table} AS {ROWS} WHERE {predicate})"))
    };
    let questions = tables.iter().enumerate().map(question).collect::<Result<Vec<String>>>()?;
    Ok(Select { sql: questions.join(" UNION ALL "), arguments: bind(std::slice::from_ref(tenant))? })
}

/// Number of rows of each of these tenants that has any.
pub fn select_counts(owned: &OwnedTable, tenants: &[TenantId]) -> Result<Select> {
    let sql = format!(
        "SELECT {}, count(*) FROM {} AS {ROWS}{} WHERE {} GROUP BY 1",
        owner_expression(only(owned)?),
        owned.table.name.quoted(),
        owner_joins(only(owned)?),
        predicate(only(owned)?)
    );
    Ok(Select { sql, arguments: bind(tenants)? })
}

/// The one way of a table whose rows have one owner at most.
pub fn only(owned: &OwnedTable) -> Result<&OwnerPath> {
    owned.owners.only().ok_or_else(|| {
        Error::undecided(format!("unable to follow several ways to the owner of '{}'", owned.table.name))
    })
}

/// Every hop must lead to one row at the most, or the owner would be a guess and a join would repeat rows.
pub fn require_unique_parents(path: &OwnerPath, child: &TableName, tables: &[Table]) -> Result<()> {
    let mut at = child;
    for step in &path.steps {
        let parent = tables.iter().find(|table| table.name == step.parent);
        let is_key = |key: &[String]| !key.is_empty() && key.iter().all(|c| step.parent_columns.contains(c));
        let unique = parent.is_some_and(|parent| {
            is_key(&parent.primary_key) || parent.unique_keys.iter().any(|key| is_key(&key.columns))
        });
        if !unique {
            let (columns, parent) = (step.parent_columns.join(", "), &step.parent);
            return Err(Error::undecided(format!(
                "unable to derive the owner of '{at}' from '{parent}': its columns ({columns}) are no key"
            ))
            .hint(format!("derive it over the primary key or a unique key of '{parent}'")));
        }
        at = &step.parent;
    }
    Ok(())
}

fn stored_columns(table: &Table) -> impl Iterator<Item = String> {
    table.stored_columns().map(|column| qualified(ROWS, &column.name))
}

fn qualified(alias: &str, column: &str) -> String {
    format!("{alias}.{}", quote_identifier(column))
}

/// The alias of the n-th table on the way, the table itself being the 0th.
fn alias(letter: char, level: usize) -> String {
    if level == 0 { ROWS.to_owned() } else { format!("{letter}{level}") }
}

/// The owner of a row of [`owner_joins`], as text.
pub fn owner_expression(path: &OwnerPath) -> String {
    // A CAST keeps its column's collation, which may take two ids for one.
    format!("CAST({} AS TEXT) COLLATE BINARY", qualified(&alias('o', path.steps.len()), &path.column))
}

/// The joins from the rows `t` to their owners.
pub fn owner_joins(path: &OwnerPath) -> String {
    let mut sql = String::new();
    for (level, step) in path.steps.iter().enumerate() {
        let (child, parent) = (alias('o', level), alias('o', level + 1));
        // The parent stands on the left: as in a foreign key, its collation decides.
        let pairs = step.parent_columns.iter().zip(&step.columns);
        let equal =
            pairs.map(|(up, down)| format!("{} = {}", qualified(&parent, up), qualified(&child, down)));
        let equal: Vec<String> = equal.collect();
        sql += &format!(" LEFT JOIN {} AS {parent} ON {}", step.parent.quoted(), equal.join(" AND "));
    }
    sql
}

fn predicate(path: &OwnerPath) -> String {
    let last = qualified(&alias('p', path.steps.len()), &path.column);
    let is_tenant = format!(
        "{last} IN (SELECT value FROM json_each(?1)) \
         AND CAST({last} AS TEXT) COLLATE BINARY IN (SELECT value FROM json_each(?2))"
    );
    path.steps.iter().enumerate().rev().fold(is_tenant, |inner, (level, step)| {
        let (child, parent) = (alias('p', level), alias('p', level + 1));
        let list = |alias: &str, columns: &[String]| {
            columns.iter().map(|column| qualified(alias, column)).collect::<Vec<_>>().join(", ")
        };
        format!(
            "({}) IN (SELECT {} FROM {} AS {parent} WHERE {inner})",
            list(&child, &step.columns),
            list(&parent, &step.parent_columns),
            step.parent.quoted()
        )
    })
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
    use crate::model::Step;

    fn path() -> OwnerPath {
        let step = |columns: &[&str], parent: &str, parent_columns: &[&str]| Step {
            columns: columns.iter().map(|c| (*c).to_owned()).collect(),
            parent: TableName::new("main", parent),
            parent_columns: parent_columns.iter().map(|c| (*c).to_owned()).collect(),
            when: None,
            each: false,
            many: false,
        };
        OwnerPath {
            steps: vec![step(&["issue"], "issues", &["id"]), step(&["a", "b"], "odd \" name", &["x", "y"])],
            column: "site".to_owned(),
            column_type: "INTEGER".to_owned(),
        }
    }

    #[test]
    fn hops_become_joins_and_nested_lists() {
        assert_eq!(owner_expression(&path()), "CAST(o2.\"site\" AS TEXT) COLLATE BINARY");
        assert_eq!(
            owner_joins(&path()),
            " LEFT JOIN \"main\".\"issues\" AS o1 ON o1.\"id\" = t.\"issue\" \
             LEFT JOIN \"main\".\"odd \"\" name\" AS o2 ON o2.\"x\" = o1.\"a\" AND o2.\"y\" = o1.\"b\""
        );
        assert_eq!(
            predicate(&path()),
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
