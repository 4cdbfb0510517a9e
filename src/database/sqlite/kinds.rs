//! How a column's values travel. SQLite gives types to values, not to columns: an INTEGER column may hold
//! text.
//!
//! So a snapshot looks at the values ([`observe`]): a column whose values are all of one class travels as
//! that class; one that mixes them travels as [`TypeKind::Opaque`], each value with its class in front (see
//! [`super::values`]); one without any value goes by its declared type. A kind is therefore a property of the
//! *rows that were there*: two readings of the same table may give different kinds, and that is no drift of
//! its schema. What is compared at plan time is the declared type.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use crate::model::{Column, Table, TypeKind, quote_identifier};

/// Columns observed by one query; each takes two of the at most 2000 result columns, or one of 1000 levels of
/// OR.
const COLUMNS_OBSERVED_MAX: usize = 500;

/// The kind that a declared type suggests, by the affinity that SQLite gives it
/// (<https://www.sqlite.org/datatype3.html#determination_of_column_affinity>). NUMERIC holds integers and
/// reals.
pub fn declared_kind(type_name: &str) -> TypeKind {
    let name = type_name.to_ascii_uppercase();
    let has = |part: &&str| name.contains(*part);
    if has(&"INT") {
        TypeKind::Int64
    } else if ["CHAR", "CLOB", "TEXT"].iter().any(has) {
        TypeKind::Text
    } else if has(&"BLOB") {
        TypeKind::Bytes
    } else if ["REAL", "FLOA", "DOUB"].iter().any(has) {
        TypeKind::Float64
    } else {
        TypeKind::Opaque
    }
}

/// Sets the kinds of a table's stored columns from the values they hold.
///
/// One cheap pass asks whether every value is of the class its declared type suggests; as a rule it is. A
/// second pass looks at the classes of the columns whose type suggests none, or of all if the first pass
/// found a misfit.
pub async fn observe(connection: &mut SqliteConnection, table: &mut Table) -> Result<(), sqlx::Error> {
    let name = table.name.quoted();
    let mut columns: Vec<&mut Column> = table.columns.iter_mut().filter(|column| !column.generated).collect();
    columns.iter_mut().for_each(|column| column.kind = declared_kind(&column.type_name));
    let misfits: Vec<String> = columns.iter().filter_map(|column| misfit(column)).collect();
    let mut all_fit = true;
    for misfits in misfits.chunks(COLUMNS_OBSERVED_MAX) {
        let sql = format!("SELECT 1 FROM {name} WHERE {} LIMIT 1", misfits.join(" OR "));
        // Safe: all names are quoted identifiers. Not kept: it runs once.
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        all_fit &= query.fetch_optional(&mut *connection).await?.is_none();
    }
    columns.retain(|column| !all_fit || column.kind == TypeKind::Opaque);
    for columns in columns.chunks_mut(COLUMNS_OBSERVED_MAX) {
        observe_classes(connection, &name, columns).await?;
    }
    Ok(())
}

/// The condition that a value is not of the class its column's declared type suggests. It relies on what
/// affinity guarantees: no number stays a number in a TEXT column, none an integer in a REAL column. Numbers
/// sort before text, text before blobs; a comparison costs much less than typeof().
fn misfit(column: &Column) -> Option<String> {
    let name = quote_identifier(&column.name);
    match column.kind {
        TypeKind::Int64 => Some(format!("({name} NOT NULL AND typeof({name}) <> 'integer')")),
        TypeKind::Float64 => Some(format!("{name} COLLATE BINARY >= ''")),
        TypeKind::Text => Some(format!("{name} COLLATE BINARY >= x''")),
        TypeKind::Bytes => Some(format!("{name} COLLATE BINARY < x''")),
        _ => None,
    }
}

/// Sets the kinds of some columns by the first and the last name of the classes in them.
async fn observe_classes(
    connection: &mut SqliteConnection,
    table: &str,
    columns: &mut [&mut Column],
) -> Result<(), sqlx::Error> {
    let classes = columns.iter().map(|column| {
        let class = format!("nullif(typeof({}), 'null')", quote_identifier(&column.name));
        format!("min({class}), max({class})")
    });
    let sql = format!("SELECT {} FROM {table}", classes.collect::<Vec<_>>().join(", "));
    // Safe: all names are quoted identifiers. Not kept: it runs once.
    let row = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_one(connection).await?;
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::sqlite::catalog;
    use sqlx::Connection;

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

    #[tokio::test]
    async fn one_misfit_in_any_class_of_column_is_observed() {
        use TypeKind::*;
        let declared = [Int64, Float64, Text, Bytes, Opaque];
        for (values, expected) in [
            ("NULL, NULL, NULL, NULL, NULL", declared),
            ("1, 1, 1, x'', 1.5", [Int64, Float64, Text, Bytes, Float64]),
            ("1.5, 1.5, 'a', x'', 1", [Float64, Float64, Text, Bytes, Int64]),
            ("'a', 1.5, 'a', x'', 'a'", [Text, Float64, Text, Bytes, Text]),
            ("1, '', 'a', x'', NULL", [Int64, Text, Text, Bytes, Opaque]),
            ("1, x'', 'a', x'', NULL", [Int64, Bytes, Text, Bytes, Opaque]),
            ("1, 1.5, x'', x'', NULL", [Int64, Float64, Bytes, Bytes, Opaque]),
            ("1, 1.5, '', 1, NULL", [Int64, Float64, Text, Int64, Opaque]),
            ("1, 1.5, '', '', NULL", [Int64, Float64, Text, Text, Opaque]),
            ("1, 1, 1, x'', 1), (1.5, 'a', x'', 1, 'b'", [Opaque; 5]),
        ] {
            let mut connection = SqliteConnection::connect("sqlite::memory:").await.expect("memory");
            let sql = format!(
                "CREATE TABLE t (i INT, r REAL, t TEXT, b BLOB, n NUMERIC); INSERT INTO t VALUES ({values})"
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("filled");
            let mut table = catalog::tables(&mut connection).await.expect("catalog").remove(0);
            observe(&mut connection, &mut table).await.expect("observed");
            let kinds: Vec<TypeKind> = table.columns.iter().map(|column| column.kind).collect();
            assert_eq!(kinds, expected, "{values}");
        }
    }
}
