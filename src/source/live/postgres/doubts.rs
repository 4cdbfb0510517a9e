//! Rows that tenants dispute, and rows that tie tenants together, asked of the snapshot beside the readers.

use sqlx::Row;

use super::LivePostgres;
use crate::database::postgres::error::failure;
use crate::database::postgres::owner::doubts as sql;
use crate::error::{Error, Result};
use crate::model::{Between, Disputed, Doubts, ForeignKey, Owners, Table, TableName, TenantId, Ties};

impl LivePostgres {
    /// Looks at every table whose rows may be disputed, and with `ties` at every key between tenants.
    pub(super) async fn look_for_doubts(&self, ties: bool) -> Result<Doubts> {
        let (snapshot, mut doubts) = (&self.snapshot, Doubts::default());
        let tables = &snapshot.description.tables;
        for table in tables {
            if !self.tenancy.rules.get(&table.name).is_some_and(crate::model::Rule::is_owned) {
                continue;
            }
            let Some(owners) = self.owners(&table.name)? else { continue };
            if let Some(query) = sql::disputed(&snapshot.relations, table, &owners)? {
                doubts.disputed.extend(self.disputed(table, query).await?);
            }
        }
        let keys = if ties { self.tenancy.keys_between_tenants(tables) } else { Vec::new() };
        for (table, key) in keys {
            let (own, theirs) = (self.known(&table.name)?, self.known(&key.parent)?);
            let query = sql::ties(&snapshot.relations, table, &own, key, &theirs)?;
            doubts.ties.extend(self.ties(table, key, query).await?);
        }
        Ok(doubts)
    }

    fn known(&self, table: &TableName) -> Result<Owners> {
        self.owners(table)?.ok_or_else(|| Error::bug(format!("table '{table}' has no owners")))
    }

    async fn disputed(&self, table: &Table, query: String) -> Result<Option<Disputed>> {
        let rows = self.fetch(&table.name, query).await?;
        let unable = |error| failure(format!("unable to read table '{}'", table.name), error);
        let Some(first) = rows.first() else { return Ok(None) };
        let count: i64 = first.try_get(0).map_err(unable)?;
        let mut named = Vec::with_capacity(rows.len());
        for row in rows.iter().filter(|_| !table.primary_key.is_empty()) {
            let mut key = Vec::new();
            for (at, name) in table.primary_key.iter().enumerate() {
                key.push(format!("{name}={}", row.try_get::<&str, _>(at + 1).map_err(unable)?));
            }
            named.push(key.join(" "));
        }
        Ok(Some(Disputed { table: table.name.clone(), rows: count.unsigned_abs(), named }))
    }

    async fn ties(&self, table: &Table, key: &ForeignKey, query: String) -> Result<Option<Ties>> {
        let rows = self.fetch(&table.name, query).await?;
        let unable = |error| failure(format!("unable to read table '{}'", table.name), error);
        let Some(first) = rows.first() else { return Ok(None) };
        let total: i64 = first.try_get(3).map_err(unable)?;
        let mut between = Vec::with_capacity(rows.len());
        for row in &rows {
            between.push(Between {
                tenant: TenantId::new(row.try_get::<&str, _>(0).map_err(unable)?),
                other: TenantId::new(row.try_get::<&str, _>(1).map_err(unable)?),
                rows: row.try_get::<i64, _>(2).map_err(unable)?.unsigned_abs(),
            });
        }
        let (table, key, parent) = (table.name.clone(), key.name.clone(), key.parent.clone());
        Ok(Some(Ties { table, key, parent, rows: total.unsigned_abs(), between }))
    }

    async fn fetch(&self, table: &TableName, query: String) -> Result<Vec<sqlx::postgres::PgRow>> {
        let mut reader = self.snapshot.readers.lease().await?;
        // Safe: quoted identifiers, and literals of the configuration.
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).persistent(false);
        let rows = query
            .fetch_all(&mut *reader)
            .await
            .map_err(|error| failure(format!("unable to read table '{table}'"), error))?;
        reader.release();
        Ok(rows)
    }
}
