//! From an [`OwnerPath`] to SQL: who owns each row (for scans), and which rows are one tenant's (for
//! everything else).
//!
//! ```text
//! scan     SELECT p2."site"::text, r."id", … FROM ONLY "s"."comments" r
//!          LEFT JOIN ONLY "s"."issues" p1 ON (…) LEFT JOIN ONLY "s"."projects" p2 ON (…)
//! tenant   … WHERE EXISTS (SELECT FROM ONLY "s"."issues" p1 WHERE … AND EXISTS (… p2."site" = ID::bigint …))
//! ```
//!
//! A tenant id is data: it arrives as a parameter or through `current_setting('reinstate.tenant')`, never in
//! the text. Operators are `pg_catalog`'s, so that no operator of a user can change what equal means. An id
//! must be the canonical text of its value (`7`, not `007`): what a cast would cut off or round can then
//! never hit another tenant.

use super::catalog::Relations;
use crate::error::{Error, Result};
use crate::model::{OwnedTable, OwnerPath, Step, Table, TableName, quote_identifier};

/// The row itself in every query made here.
pub const ROW: &str = "r";
/// The setting that carries the tenant's id where a statement takes no parameters.
pub const TENANT_SETTING: &str = "reinstate.tenant";
/// The value of [`TENANT_SETTING`], as an SQL expression.
pub const TENANT_FROM_SETTING: &str = "pg_catalog.current_setting('reinstate.tenant')";

/// A qualified column.
fn column(alias: &str, name: &str) -> String {
    format!("{alias}.{}", quote_identifier(name))
}

/// The stored columns of a table, separated by commas: `r."a", r."b"`.
pub fn stored_columns(table: &Table) -> String {
    let columns: Vec<String> = table.stored_columns().map(|stored| column(ROW, &stored.name)).collect();
    columns.join(", ")
}

/// Alias of the table that a number of hops leads to.
fn alias(hops: usize) -> String {
    if hops == 0 { ROW.to_owned() } else { format!("p{hops}") }
}

/// `a."x" = b."y" AND …` for one hop.
fn link(step: &Step, below: &str, above: &str) -> String {
    let pairs = step.columns.iter().zip(&step.parent_columns);
    let equal = pairs.map(|(child, parent)| {
        format!("{} OPERATOR(pg_catalog.=) {}", column(above, parent), column(below, child))
    });
    equal.collect::<Vec<_>>().join(" AND ")
}

/// FROM clause of a table and the way to its owner; each row of the table appears once (see
/// [`require_unique_hops`]).
pub fn from_clause(relations: &Relations, table: &TableName, path: Option<&OwnerPath>) -> Result<String> {
    let mut sql = format!("{} {ROW}", relations.from_item(table)?);
    for (hops, step) in path.iter().flat_map(|path| path.steps.iter().enumerate()) {
        let (below, above) = (alias(hops), alias(hops + 1));
        let parent = relations.from_item(&step.parent)?;
        sql.push_str(&format!(" LEFT JOIN {parent} {above} ON ({})", link(step, &below, &above)));
    }
    Ok(sql)
}

/// The owner of a row of [`from_clause`].
pub fn owner(path: &OwnerPath) -> String {
    column(&alias(path.steps.len()), &path.column)
}

/// The one way of a table whose rows have one owner at most.
pub fn only(owned: &OwnedTable) -> Result<&OwnerPath> {
    owned.owners.only().ok_or_else(|| {
        Error::undecided(format!("unable to follow several ways to the owner of '{}'", owned.table.name))
    })
}

/// Whether a row belongs to the tenant whose id is the value of the SQL expression `tenant` (of type text).
pub fn belongs_to(relations: &Relations, path: &OwnerPath, tenant: &str) -> Result<String> {
    let type_name = type_name(&path.column_type)?;
    let mut sql = format!("{} OPERATOR(pg_catalog.=) ({tenant})::{type_name}", owner(path));
    for (hops, step) in path.steps.iter().enumerate().rev() {
        let (below, above) = (alias(hops), alias(hops + 1));
        let parent = relations.from_item(&step.parent)?;
        sql = format!("EXISTS (SELECT FROM {parent} {above} WHERE {} AND {sql})", link(step, &below, &above));
    }
    Ok(format!("{sql} AND ({tenant})::{type_name}::pg_catalog.text OPERATOR(pg_catalog.=) ({tenant})"))
}

/// Each hop must lead to one row at most, or rows would appear once for each owner.
pub fn require_unique_hops(table: &TableName, path: &OwnerPath, tables: &[Table]) -> Result<()> {
    for step in &path.steps {
        let parent = tables.iter().find(|parent| parent.name == step.parent);
        let unique = parent.is_some_and(|parent| {
            let keys = parent.unique_keys.iter().map(|key| &key.columns).chain([&parent.primary_key]);
            let mut keys = keys.filter(|columns| !columns.is_empty());
            keys.any(|columns| columns.iter().all(|column| step.parent_columns.contains(column)))
        });
        if !unique {
            return Err(Error::undecided(format!(
                "unable to decide who owns the rows of '{table}': ({}) is not unique in '{}'",
                step.parent_columns.join(", "),
                step.parent
            ))
            .hint("derive the owner through a primary key or a unique key"));
        }
    }
    Ok(())
}

/// Built-in types whose names are several words; any other built-in type is one word.
const TYPES_OF_WORDS: &[&str] = &[
    "bit varying",
    "character varying",
    "double precision",
    "time with time zone",
    "time without time zone",
    "timestamp with time zone",
    "timestamp without time zone",
];

/// A type's name as it may stand in SQL. It was spelled by `format_type()`, but comes by way of a file that
/// anybody could have edited: so a user's type is quoted anew, and of a built-in one nothing passes but words
/// and a modifier.
pub fn type_name(text: &str) -> Result<String> {
    if let Ok(user_type) = text.parse::<TableName>() {
        return Ok(user_type.quoted());
    }
    let plain = match text.split_once('(').map(|(head, rest)| (head, rest.split_once(')'))) {
        None => Some(text.to_owned()),
        Some((head, Some((modifier, tail)))) if modifier.split(',').all(is_number) => {
            Some(format!("{head}{tail}"))
        }
        Some(_) => None,
    };
    let is_word = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    match plain {
        Some(plain) if is_word(&plain) || TYPES_OF_WORDS.contains(&plain.as_str()) => Ok(text.to_owned()),
        _ => Err(Error::refused(format!(
            "unable to use type '{}' as the type of a tenant id",
            text.escape_debug()
        ))),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_type_names_pass_as_type_names() {
        for good in [
            "bigint",
            "character varying(36)",
            "numeric(10,2)",
            "timestamp(3) without time zone",
            "uuid",
            "bpchar",
        ] {
            assert_eq!(type_name(good).expect("good"), good);
        }
        assert_eq!(type_name("public.tenant_id").expect("good"), "\"public\".\"tenant_id\"");
        assert_eq!(type_name("a.int or true").expect("quoted"), "\"a\".\"int or true\"");
        assert_eq!(type_name("\"Odd schema\".\"a\"\"b; c\"").expect("good"), "\"Odd schema\".\"a\"\"b; c\"");
        for bad in [
            "",
            "int; drop table x",
            "bigint or true",
            "int) or (true",
            "int) or (1",
            "int(1)) or (true",
            "int(1) or true",
            "int(select 1)",
            "int --",
            "int'",
            "\"open",
            "int[]",
            "int, x",
            "int(",
            "int()",
        ] {
            assert!(type_name(bad).is_err(), "{bad}");
        }
    }
}
