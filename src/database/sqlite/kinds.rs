//! How a column's values travel. SQLite gives types to values, not to columns: an INTEGER column may hold text.
//!
//! So a snapshot looks at the values ([`observe`]): a column whose values are all of one class travels as that
//! class; one that mixes them travels as [`TypeKind::Opaque`], each value with its class in front (see
//! [`super::values`]); one without any value goes by its declared type. A kind is therefore a property of the
//! *rows that were there*: two readings of the same table may give different kinds, and that is no drift of its
//! schema. What is compared at plan time is the declared type.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use crate::model::{Table, TypeKind, quote_identifier};

/// Columns observed by one query; each takes two of the at most 2000 result columns.
const COLUMNS_OBSERVED_MAX: usize = 500;

/// The kind that a declared type suggests, by the affinity that SQLite gives it
/// (<https://www.sqlite.org/datatype3.html#determination_of_column_affinity>). NUMERIC holds integers and reals.
pub fn declared_kind(type_name: &str) -> TypeKind {
    let name = type_name.to_ascii_uppercase();
    let has = |part: &&str| name.contains(*part);
    if has(&"INT") {
        TypeKind::Int64
    } else if ["CHAR", "CLOB", "TEXT"].iter().any(has.clone()) {
        TypeKind::Text
    } else if has(&"BLOB") {
        TypeKind::Bytes
    } else if ["REAL", "FLOA", "DOUB"].iter().any(has) {
        TypeKind::Float64
    } else {
        TypeKind::Opaque
    }
}

/// Sets the kinds of a table's stored columns from the values they hold: one pass over the table.
pub async fn observe(connection: &mut SqliteConnection, table: &mut Table) -> Result<(), sqlx::Error> {
    let name = table.name.quoted();
    let mut stored: Vec<_> = table.columns.iter_mut().filter(|column| !column.generated).collect();
    for columns in stored.chunks_mut(COLUMNS_OBSERVED_MAX) {
        let classes = columns.iter().map(|column| {
            let class = format!("nullif(typeof({}), 'null')", quote_identifier(&column.name));
            format!("min({class}), max({class})")
        });
        let sql = format!("SELECT {} FROM {name}", classes.collect::<Vec<_>>().join(", "));
        // Safe: all names are quoted identifiers. Not kept: it runs once.
        let row = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_one(&mut *connection).await?;
        for (index, column) in columns.iter_mut().enumerate() {
            let class = |at: usize| row.try_get::<Option<&str>, _>(2 * index + at);
            column.kind = match (class(0)?, class(1)?) {
                (None, _) | (_, None) => declared_kind(&column.type_name),
                (Some("integer"), Some("integer")) => TypeKind::Int64,
                (Some("real"), Some("real")) => TypeKind::Float64,
                (Some("text"), Some("text")) => TypeKind::Text,
                (Some("blob"), Some("blob")) => TypeKind::Bytes,
                (Some(_), Some(_)) => TypeKind::Opaque,
            };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_follow_the_rules_of_affinity() {
        for (name, kind) in [
            ("BIGINT", TypeKind::Int64),
            ("FLOATING POINT", TypeKind::Int64),
            ("varchar(20)", TypeKind::Text),
            ("BLOB", TypeKind::Bytes),
            ("double precision", TypeKind::Float64),
            ("DECIMAL(10,2)", TypeKind::Opaque),
            ("DATETIME", TypeKind::Opaque),
            ("", TypeKind::Opaque),
        ] {
            assert_eq!(declared_kind(name), kind, "{name}");
        }
    }
}
