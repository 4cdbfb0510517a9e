//! The gate of a tenant's own root row: the only column of a user table that a restore updates. What it held is kept as
//! it is in `reinstate_gate`, in the same transaction.

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use crate::database::sqlite::error::explain;
use crate::database::sqlite::owner;
use crate::error::Result;
use crate::model::{Gate, OwnedTable, PlanHash, TenantId, quote_identifier};

/// Closes the gate; the number of rows.
pub async fn close(
    connection: &mut SqliteConnection,
    root: &OwnedTable,
    gate: &Gate,
    plan: &PlanHash,
    tenant: &TenantId,
) -> Result<u64> {
    let unable = |error| explain(format!("unable to close the gate of tenant '{tenant}'"), error);
    let (table, column) = (root.table.name.quoted(), quote_identifier(&gate.column));
    let rows = owner::where_owned(root, tenant)?;
    // Safe: names are quoted, values are bound; `?1` and `?2` are the tenant.
    let keep = AssertSqlSafe(format!(
        "INSERT OR ABORT INTO main.reinstate_gate (plan, tenant, original)
         SELECT ?3, ?4, t.{column} FROM {table} AS t WHERE {}",
        rows.sql
    ));
    let keep = sqlx::query_with(keep, rows.arguments).bind(plan.as_str()).bind(tenant.as_str());
    keep.execute(&mut *connection).await.map_err(unable)?;
    let rows = owner::where_owned(root, tenant)?;
    let close = AssertSqlSafe(format!("UPDATE OR ABORT {table} AS t SET {column} = ?3 WHERE {}", rows.sql));
    let close = sqlx::query_with(close, rows.arguments).bind(&gate.restoring);
    close.execute(connection).await.map(|done| done.rows_affected()).map_err(unable)
}

/// Opens it, if it is as it was closed; the number of rows.
pub async fn open(
    connection: &mut SqliteConnection,
    root: &OwnedTable,
    gate: &Gate,
    plan: &PlanHash,
    tenant: &TenantId,
) -> Result<u64> {
    let (table, column) = (root.table.name.quoted(), quote_identifier(&gate.column));
    let rows = owner::where_owned(root, tenant)?;
    // Safe: as above.
    let sql = AssertSqlSafe(format!(
        "UPDATE OR ABORT {table} AS t SET {column} = g.original FROM main.reinstate_gate g
         WHERE g.plan = ?3 AND g.tenant = ?4 AND t.{column} = ?5 AND {}",
        rows.sql
    ));
    let query = sqlx::query_with(sql, rows.arguments).bind(plan.as_str()).bind(tenant.as_str());
    let query = query.bind(&gate.restoring);
    let unable = |error| explain(format!("unable to open the gate of tenant '{tenant}'"), error);
    query.execute(connection).await.map(|done| done.rows_affected()).map_err(unable)
}
