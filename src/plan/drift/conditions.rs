//! What the live table demands of a row and did not when the snapshot was taken: checks of the table and of its
//! columns' domains, and a partition to go to.

use super::Dialect;
use crate::model::{Check, Column, Table, TypeKind, UserType, quote_identifier};

/// A demand that rows of the snapshot may not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// SQL over the live table's columns, over `VALUE` for a domain; a row is refused where it is false.
    pub sql: String,
    /// What it is demanded of.
    pub of: Of,
    /// What to say where every row meets it; nothing where it is not new.
    pub covered: Option<String>,
    /// What to say where one does not, before the rows.
    pub refused: String,
}

/// What something is demanded of. A column is its position among the written ones, with the type that its domain is
/// made of, or its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// Of rows.
    Row,
    /// Of the values of a column, by its domain.
    Domain {
        /// The column.
        column: usize,
        /// Its type.
        base: String,
        /// How its values travel.
        kind: TypeKind,
    },
    /// Of the printed values of a column: that the server reads them, and would print them again as they are.
    Printed {
        /// The column.
        column: usize,
        /// Its type.
        base: String,
    },
}

/// What a written column demands of values that travel as `kind`.
pub fn of_column(
    place: &str,
    taken: Option<&Column>,
    now: &Column,
    column: usize,
    kind: TypeKind,
) -> Vec<Condition> {
    let base = now.base_type().to_owned();
    let printed = (kind == TypeKind::Printed).then(|| Condition {
        sql: String::new(),
        of: Of::Printed { column, base },
        covered: None,
        refused: format!(
            "{place} was carried as text, since {} has no binary form, and the database does not read it as it was written",
            now.type_name
        ),
    });
    printed.into_iter().chain(of_domain(place, taken, now, column, kind)).collect()
}

/// The demands of the domain of a written column that the values of the snapshot's column are not known to meet.
fn of_domain(
    place: &str,
    taken: Option<&Column>,
    now: &Column,
    column: usize,
    kind: TypeKind,
) -> Vec<Condition> {
    let Some(UserType::Domain { base, checks }) = &now.user_type else { return Vec::new() };
    // An older snapshot does not say what a domain demanded: then the same domain is asked again.
    let known = match taken.and_then(|taken| taken.user_type.as_ref()) {
        Some(UserType::Domain { checks, .. }) => checks.as_slice(),
        _ => &[],
    };
    let new = checks.iter().filter(|check| !known.contains(check));
    new.map(|check| {
        let what = format!("{place}: check {check} of its type {}", now.type_name);
        Condition {
            sql: check.clone(),
            of: Of::Domain { column, base: base.clone(), kind },
            covered: Some(format!("{what} is new: every value of the tenants keeps it")),
            refused: format!("{what} is not kept"),
        }
    })
    .collect()
}

/// The demands of `live` that the rows of `taken` are not known to meet.
pub fn conditions(taken: &Table, live: &Table, dialect: Dialect) -> Vec<Condition> {
    if dialect == Dialect::Sqlite {
        return Vec::new();
    }
    let table = &live.name;
    let was_kept = |check: &&Check| {
        let same = |known: &Check| known.validated && known.expression == check.expression;
        check.validated && taken.checks.iter().any(same)
    };
    let checks = live.checks.iter().filter(|check| !was_kept(check)).map(|check| {
        let Check { name, expression, .. } = check;
        let is_new = !taken.checks.iter().any(|known| known.expression == *expression);
        let what = format!("check '{name}' of table '{table}' {expression}");
        Condition {
            sql: expression.clone(),
            of: Of::Row,
            covered: is_new.then(|| format!("{what} is new: every row of the tenants keeps it")),
            refused: format!("{what} is not kept"),
        }
    });
    let bound = live.partition_bound.iter().filter(|bound| taken.partition_bound.as_ref() != Some(*bound));
    let partitions = bound.map(|bound| Condition {
        sql: bound.clone(),
        of: Of::Row,
        covered: taken.partition_bound.is_some().then(|| {
            format!("partitions of table '{table}' have changed: every row of the tenants has one to go to")
        }),
        refused: format!("table '{table}' has no partition to go to"),
    });
    checks.chain(partitions).chain(large_objects(taken, live)).collect()
}

/// Snapshots hold the numbers of large objects, not the objects: those that are named must be there.
fn large_objects<'a>(taken: &'a Table, live: &'a Table) -> impl Iterator<Item = Condition> + 'a {
    let kept = taken.large_objects.iter().filter(|column| live.column(column).is_some());
    kept.map(|column| Condition {
        sql: format!(
            "{} IN (SELECT m.oid FROM pg_catalog.pg_largeobject_metadata m)",
            quote_identifier(column)
        ),
        of: Of::Row,
        covered: None,
        refused: format!(
            "column '{column}' of table '{}' names large objects that are gone, and snapshots do not hold them",
            live.name
        ),
    })
}
