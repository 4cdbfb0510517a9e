//! Columns whose values name large objects. A large object is no row of a table: nobody's to be found, and only its
//! number is carried. Which columns name some is known only while they are there, so snapshots keep it.

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::Relations;
use crate::database::postgres::error::failure;
use crate::error::Result;
use crate::model::{Column, Table, UserType, quote_identifier};

/// Fills in [`Table::large_objects`]; one query beside the catalog's, and none where there are no large objects.
pub async fn read(connection: &mut PgConnection, relations: &Relations, tables: &mut [Table]) -> Result<()> {
    let unable = |error| failure("unable to look for large objects", error);
    let any: bool = sqlx::query_scalar("select exists (select from pg_catalog.pg_largeobject_metadata)")
        .fetch_one(&mut *connection)
        .await
        .map_err(unable)?;
    let mut places = Vec::new();
    let mut questions = Vec::new();
    for (at, table) in tables.iter().enumerate().filter(|_| any) {
        let item = relations.from_item(&table.name)?;
        for column in table.stored_columns().filter(|column| is_number(column)) {
            let name = quote_identifier(&column.name);
            questions.push(format!(
                "SELECT {} WHERE EXISTS (SELECT FROM {item} r
                 JOIN pg_catalog.pg_largeobject_metadata m ON m.oid OPERATOR(pg_catalog.=) r.{name})",
                places.len()
            ));
            places.push((at, column.name.clone()));
        }
    }
    if questions.is_empty() {
        return Ok(());
    }
    // Safe: quoted identifiers and numbers.
    let sql = sqlx::AssertSqlSafe(questions.join(" UNION ALL "));
    for row in sqlx::raw_sql(sql).fetch_all(connection).await.map_err(unable)? {
        let number: i32 = row.try_get(0).map_err(unable)?;
        if let Some((at, column)) = usize::try_from(number).ok().and_then(|number| places.get(number)) {
            tables[*at].large_objects.push(column.clone());
        }
    }
    tables.iter_mut().for_each(|table| table.large_objects.sort());
    Ok(())
}

/// The number of a large object is an `oid`, or of a domain of it (`lo` of the extension of this name).
fn is_number(column: &Column) -> bool {
    let base = match &column.user_type {
        Some(UserType::Domain { base, .. }) => base,
        _ => &column.type_name,
    };
    base == "oid"
}
