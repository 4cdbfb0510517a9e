//! Rows that tenants dispute, and rows that tie tenants together. SQLite shares no snapshot between connections, so
//! they are asked for between two scans.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::SqliteSource;
use crate::database::sqlite::error::explain;
use crate::database::sqlite::owner;
use crate::error::{Error, Result};
use crate::model::{Between, Disputed, Doubts, Owners, Rule, Table, TableName, TenantId, Ties};

impl SqliteSource {
    /// Looks at every table whose rows may be disputed, and with `ties` at every key between tenants.
    pub(super) async fn look_for_doubts(&self, ties: bool) -> Result<Doubts> {
        let (tables, mut doubts) = (&self.description.tables, Doubts::default());
        for table in tables {
            if !self.tenancy.rules.get(&table.name).is_some_and(Rule::is_owned) {
                continue;
            }
            let Some(owners) = self.owners(table)? else { continue };
            let Some(query) = owner::select_disputed(table, &owners) else { continue };
            let rows = self.fetch(&table.name, query).await?;
            let Some(first) = rows.first() else { continue };
            let named = rows.iter().filter(|_| !table.primary_key.is_empty()).map(|row| key_of(table, row));
            doubts.disputed.push(Disputed {
                table: table.name.clone(),
                rows: first.get::<i64, _>(0).unsigned_abs(),
                named: named.collect(),
            });
        }
        let keys = if ties { self.tenancy.keys_between_tenants(tables) } else { Vec::new() };
        for (table, key) in keys {
            let query = owner::select_ties(table, &self.known(&table.name)?, key, &self.known(&key.parent)?);
            let rows = self.fetch(&table.name, query).await?;
            let Some(first) = rows.first() else { continue };
            let between = rows.iter().map(|row| Between {
                tenant: TenantId::new(row.get::<String, _>(0)),
                other: TenantId::new(row.get::<String, _>(1)),
                rows: row.get::<i64, _>(2).unsigned_abs(),
            });
            doubts.ties.push(Ties {
                table: table.name.clone(),
                key: key.name.clone(),
                parent: key.parent.clone(),
                rows: first.get::<i64, _>(3).unsigned_abs(),
                between: between.collect(),
            });
        }
        Ok(doubts)
    }

    fn known(&self, name: &TableName) -> Result<Owners> {
        let owners = self.owners(self.table(name)?)?;
        owners.ok_or_else(|| Error::bug(format!("table '{name}' has no owners")))
    }

    async fn fetch(&self, table: &TableName, query: String) -> Result<Vec<SqliteRow>> {
        let mut connection = self.connection.lock().await;
        // Safe: quoted identifiers, and literals of the configuration.
        let query = sqlx::query(AssertSqlSafe(query)).persistent(false);
        let rows = query.fetch_all(&mut *connection).await;
        rows.map_err(|error| explain(format!("unable to read table '{table}'"), error))
    }
}

fn key_of(table: &Table, row: &SqliteRow) -> String {
    let value = |(at, name): (usize, &String)| {
        format!("{name}={}", row.try_get::<String, _>(at + 1).unwrap_or_else(|_| "NULL".to_owned()))
    };
    table.primary_key.iter().enumerate().map(value).collect::<Vec<_>>().join(" ")
}
