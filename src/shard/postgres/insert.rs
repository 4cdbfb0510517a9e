//! Writing rows that COPY BINARY cannot take, because a column has no binary form: INSERT, each value a parameter.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::ask::RowTypes;
use crate::database::postgres::catalog::Relations;
use crate::database::postgres::error::failure;
use crate::error::{Error, Result};
use crate::model::wire::Tuples;
use crate::model::{Table, TypeKind, quote_identifier};

/// Whether rows of the table have to be written like this.
pub fn is_needed(table: &Table) -> bool {
    table.stored_columns().any(|column| column.kind == TypeKind::Printed)
}

/// Writes them; returns how many the server says it took.
pub async fn insert(
    connection: &mut PgConnection,
    relations: &Relations,
    row_types: &RowTypes,
    table: &Table,
    tuples: &Tuples,
) -> Result<u64> {
    let unable = |error| failure(format!("unable to write rows of table '{}'", table.name), error);
    let unfit = |error| Error::failed(format!("unable to send rows of '{}'", table.name)).because(error);
    let row_type = row_types.get(connection, relations, &table.name).await?;
    let columns: Vec<String> = table.stored_columns().map(|column| quote_identifier(&column.name)).collect();
    let columns = columns.join(", ");
    let mut written = 0;
    for relation in row_type.relations(table, tuples, None, "k").map_err(unfit)? {
        // As COPY does: an identity takes the value that comes, even one that is GENERATED ALWAYS.
        let sql = format!(
            "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {}",
            table.name.quoted(),
            relation.from_item
        );
        // Safe: quoted identifiers, and what the server itself gave; the rows are bound.
        let query = relation.bound(AssertSqlSafe(sql));
        written += query.execute(&mut *connection).await.map_err(unable)?.rows_affected();
    }
    Ok(written)
}
