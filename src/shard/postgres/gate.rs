//! The gate of a tenant's own root row: the only column of a user table that a restore updates. What it held is kept as
//! text in `reinstate.gate`, in the same transaction.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use crate::database::postgres::error::failure;
use crate::error::{Error, Result};
use crate::model::{Gate, OwnedTable, PlanHash, TenantId, quote_identifier};

/// Where the row is: the table, as an item of FROM, and what holds for the tenant's own row `r`.
pub struct Place<'a> {
    pub root: &'a OwnedTable,
    pub item: &'a str,
    pub predicate: &'a str,
}

/// Closes the gate; the number of rows.
pub async fn close(
    connection: &mut PgConnection,
    place: &Place<'_>,
    gate: &Gate,
    plan: &PlanHash,
    tenant: &TenantId,
) -> Result<u64> {
    let (Place { item, predicate, .. }, column) = (place, quote_identifier(&gate.column));
    let unable = |error| failure(format!("unable to close the gate of tenant '{tenant}'"), error);
    // Safe: names are quoted, values are bound.
    let keep = AssertSqlSafe(format!(
        "INSERT INTO reinstate.gate (plan, tenant, original) SELECT $1, $2, r.{column}::pg_catalog.text FROM {item} r
         WHERE {predicate}"
    ));
    let kept = sqlx::query(keep).bind(plan.as_str()).bind(tenant.as_str()).execute(&mut *connection);
    kept.await.map_err(unable)?;
    let close = AssertSqlSafe(format!(
        "UPDATE {item} r SET {column} = ($1::pg_catalog.text)::{} WHERE {predicate}",
        type_name(place.root, gate)?
    ));
    let closed = sqlx::query(close).bind(&gate.restoring).execute(&mut *connection).await.map_err(unable)?;
    Ok(closed.rows_affected())
}

/// Opens it, if it is as it was closed; the number of rows.
pub async fn open(
    connection: &mut PgConnection,
    place: &Place<'_>,
    gate: &Gate,
    plan: &PlanHash,
    tenant: &TenantId,
) -> Result<u64> {
    let (Place { item, predicate, .. }, column) = (place, quote_identifier(&gate.column));
    let type_name = type_name(place.root, gate)?;
    // Safe: as above.
    let sql = AssertSqlSafe(format!(
        "UPDATE {item} r SET {column} = g.original::{type_name} FROM reinstate.gate g
         WHERE g.plan = $1 AND g.tenant = $2 AND r.{column} = ($3::pg_catalog.text)::{type_name} AND {predicate}"
    ));
    let query = sqlx::query(sql).bind(plan.as_str()).bind(tenant.as_str()).bind(&gate.restoring);
    let unable = |error| failure(format!("unable to open the gate of tenant '{tenant}'"), error);
    query.execute(connection).await.map(|done| done.rows_affected()).map_err(unable)
}

/// The column's type, in the database's own spelling, as the catalog has it.
fn type_name<'a>(root: &'a OwnedTable, gate: &Gate) -> Result<&'a str> {
    let column = root.table.column(&gate.column);
    column.map(|column| column.type_name.as_str()).ok_or_else(|| {
        Error::bug(format!("the gate column '{}' is not in table '{}'", gate.column, root.table.name))
    })
}
