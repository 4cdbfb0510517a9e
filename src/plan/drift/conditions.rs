//! What the live table demands of a row and did not when the snapshot was taken: checks, and a partition to go to.

use super::Dialect;
use crate::model::{Check, Table};

/// A demand that rows of the snapshot may not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// SQL over the live table's columns; a row is refused where it is false.
    pub sql: String,
    /// What to say where every row meets it; nothing where it is not new.
    pub covered: Option<String>,
    /// What to say where one does not, before the rows.
    pub refused: String,
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
            covered: is_new.then(|| format!("{what} is new: every row of the tenants keeps it")),
            refused: format!("{what} is not kept"),
        }
    });
    let bound = live.partition_bound.iter().filter(|bound| taken.partition_bound.as_ref() != Some(*bound));
    let partitions = bound.map(|bound| Condition {
        sql: bound.clone(),
        covered: taken.partition_bound.is_some().then(|| {
            format!("partitions of table '{table}' have changed: every row of the tenants has one to go to")
        }),
        refused: format!("table '{table}' has no partition to go to"),
    });
    checks.chain(partitions).collect()
}
