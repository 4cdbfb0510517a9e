//! What only repairs do to user tables: UPDATE by primary key, and DELETE. The rows travel as a relation of the
//! server's own (`k`), so that keys mean what they mean to the server.
//!
//! Live rows are locked and read again before they are overwritten: what changed since the plan read them is refused
//! and never lost, and nothing can change until the commit.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::ask::RowTypes;
use crate::database::postgres::catalog::Relations;
use crate::database::postgres::error::failure;
use crate::database::postgres::owner::ROW;
use crate::database::postgres::relation::{self, Relation, RowType};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::model::wire::Tuples;
use crate::model::{Table, TableName, quote_identifier, row_hash, tuple_name};

/// One table that is repaired.
pub struct Repair<'a> {
    pub relations: &'a Relations,
    pub row_types: &'a RowTypes,
    pub table: &'a Table,
}

impl Repair<'_> {
    /// Gives the live rows of the same keys, which must be among `live`, the values of these.
    pub async fn update(
        &self,
        connection: &mut PgConnection,
        tuples: &Tuples,
        live: &mut Ledger,
    ) -> Result<u64> {
        let table = self.table;
        let unable = |error| failure(format!("unable to update rows of table '{}'", table.name), error);
        let set: Vec<String> = table
            .stored_columns()
            .filter(|column| {
                !table.primary_key.contains(&column.name) && !table.fixed_columns.contains(&column.name)
            })
            .map(|column| quote_identifier(&column.name))
            .map(|column| format!("{column} = k.{column}"))
            .collect();
        if set.is_empty() || tuples.is_empty() {
            return Ok(0);
        }
        self.lock(connection, tuples, live).await?;
        let row_type = self.row_types.get(connection, self.relations, &table.name).await?;
        let (item, set, same_key) =
            (self.relations.from_item(&table.name)?, set.join(", "), same_key(table)?);
        let mut updated = 0;
        for relation in sendable(&row_type, table, tuples, None)? {
            let sql = format!("UPDATE {item} r SET {set} FROM {} WHERE {same_key}", relation.from_item);
            // Safe: quoted identifiers, and what the server itself gave; the rows are bound.
            let query = relation.bound(AssertSqlSafe(sql));
            updated += query.execute(&mut *connection).await.map_err(unable)?.rows_affected();
        }
        Ok(updated)
    }

    /// Deletes these rows, each once: by their keys, or by all that they hold, among the rows for which `predicate`, a
    /// condition on [`ROW`], is true.
    pub async fn delete(
        &self,
        connection: &mut PgConnection,
        predicate: &str,
        tuples: &Tuples,
    ) -> Result<u64> {
        let table = self.table;
        let unable = |error| failure(format!("unable to delete rows of table '{}'", table.name), error);
        if tuples.is_empty() {
            return Ok(0);
        }
        let row_type = self.row_types.get(connection, self.relations, &table.name).await?;
        let item = self.relations.from_item(&table.name)?;
        if !table.primary_key.is_empty() {
            // As many as the rows, which are held in memory: nothing of it goes to a file.
            let mut live = Ledger::new(usize::MAX);
            tuples.iter().try_for_each(|tuple| live.add(row_hash(tuple)))?;
            self.lock(connection, tuples, &mut live).await?;
        }
        let mut deleted = 0;
        for relation in sendable(&row_type, table, tuples, None)? {
            let wanted = &relation.from_item;
            let sql = if table.primary_key.is_empty() {
                // The place of a row that changes at the same moment is another: it stays.
                by_content(table, &item, wanted, predicate)
            } else {
                format!("DELETE FROM {item} r USING {wanted} WHERE {}", same_key(table)?)
            };
            // Safe: as above.
            let query = relation.bound(AssertSqlSafe(sql));
            deleted += query.execute(&mut *connection).await.map_err(unable)?.rows_affected();
        }
        Ok(deleted)
    }

    /// Locks the live rows of the same keys until the end of the transaction. They are read with the lock held: each
    /// must be among `live`.
    async fn lock(&self, connection: &mut PgConnection, tuples: &Tuples, live: &mut Ledger) -> Result<()> {
        let table = self.table;
        let unable = |error| failure(format!("unable to lock rows of table '{}'", table.name), error);
        let row_type = self.row_types.get(connection, self.relations, &table.name).await?;
        let (item, sent) = (self.relations.from_item(&table.name)?, relation::sent(table, "r"));
        let same_key = same_key(table)?;
        for relation in sendable(&row_type, table, tuples, Some(&table.primary_key))? {
            let sql = format!(
                "SELECT {sent} FROM {item} r JOIN {} ON {same_key} FOR UPDATE OF r",
                relation.from_item
            );
            // Safe: as above.
            let query = relation.bound(AssertSqlSafe(sql));
            for row in query.fetch_all(&mut *connection).await.map_err(unable)? {
                let found = relation::tuple_at(&row, 0).map_err(unable)?.unwrap_or_default();
                if !live.take(row_hash(&found))? {
                    return Err(changed_since(table, &found));
                }
            }
        }
        Ok(())
    }
}

/// Somebody was faster: what he wrote is not overwritten.
fn changed_since(table: &Table, row: &[u8]) -> Error {
    let row = tuple_name(table, row);
    Error::failed(format!(
        "unable to repair table '{}': row {row} has changed since it was compared with the snapshot",
        table.name
    ))
    .hint("make a new plan; it shows what is live now")
}

/// Equal rows cannot be told apart: as many of them go as are wanted.
fn by_content(table: &Table, item: &str, wanted: &str, predicate: &str) -> String {
    let (live, asked) = (relation::sent(table, ROW), relation::sent(table, "k"));
    format!(
        "DELETE FROM {item} r USING (
           SELECT l.part, l.place
           FROM (SELECT {ROW}.tableoid AS part, {ROW}.ctid AS place, {live} AS content,
                        pg_catalog.row_number() OVER (PARTITION BY {live}) AS number
                 FROM {item} {ROW} WHERE {predicate}) l
           JOIN (SELECT {asked} AS content, pg_catalog.count(*) AS copies FROM {wanted} GROUP BY 1) w
             ON l.content OPERATOR(pg_catalog.=) w.content AND l.number OPERATOR(pg_catalog.<=) w.copies
         ) doomed
         WHERE r.tableoid OPERATOR(pg_catalog.=) doomed.part AND r.ctid OPERATOR(pg_catalog.=) doomed.place"
    )
}

fn sendable(
    row_type: &RowType,
    table: &Table,
    tuples: &Tuples,
    needed: Option<&[String]>,
) -> Result<Vec<Relation>> {
    let unfit = |error| Error::failed(format!("unable to send rows of '{}'", table.name)).because(error);
    row_type.relations(table, tuples, needed, "k").map_err(unfit)
}

/// That `r` and `k` have the same primary key.
fn same_key(table: &Table) -> Result<String> {
    let key = table.primary().ok_or_else(|| no_key(&table.name))?;
    let operators = key.terms.iter().map(|term| term.operator.as_deref());
    let equal =
        table.primary_key.iter().zip(operators.chain(std::iter::repeat(None))).map(|(column, operator)| {
            let column = quote_identifier(column);
            format!("r.{column} {} k.{column}", operator.unwrap_or("OPERATOR(pg_catalog.=)"))
        });
    Ok(equal.collect::<Vec<_>>().join(" AND "))
}

/// The plan never asks for it.
fn no_key(name: &TableName) -> Error {
    Error::bug(format!("rows of table '{name}' cannot be updated: it has no primary key"))
}
