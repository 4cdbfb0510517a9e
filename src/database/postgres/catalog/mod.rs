//! The catalog: every user table with its keys, triggers and sequences, in a handful of queries for the whole
//! database, never one for each table.
//!
//! ```text
//! columns ─┐
//! keys     ├─► Catalog { tables, relations, unsendable }
//! feeds    ┘   (writes: what a trigger's function seems to write)
//! ```
//!
//! A partitioned table is one logical table: its leaves are left out, and what hangs on a leaf (a trigger, a key of
//! its own or one that points at it) is told of the root. Temporary tables, system schemas and the engine's own
//! schema are left out. The connection's `search_path` must be `pg_catalog`, so that type names are spelled with
//! their schema.

mod columns;
mod feeds;
mod keys;
pub mod large_objects;
mod leaves;
mod writes;

use std::collections::{BTreeMap, HashMap};

use sqlx::postgres::PgConnection;

use super::error::failure;
use crate::error::{Error, Result};
use crate::model::{DatabaseIdentity, Table, TableName};

/// The schema that holds the engine's journal.
pub const JOURNAL_SCHEMA: &str = "reinstate";

/// The user's tables, as the beginning of a query.
macro_rules! with_user_tables {
    () => {
        "with recursive user_tables(oid, schema, name, partitioned) as materialized (
           select c.oid, n.nspname::text, c.relname::text, c.relkind = 'p'
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
             and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'reinstate'))
         "
    };
}
pub(crate) use with_user_tables;

/// What the database keeps about a table beside its shape.
#[derive(Clone, Copy, Debug)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Whether it is the root of partitions.
    pub partitioned: bool,
}

/// The relations of all user tables.
#[derive(Clone, Debug, Default)]
pub struct Relations(BTreeMap<TableName, Relation>);

impl Relations {
    /// The relation of a table.
    pub fn get(&self, name: &TableName) -> Result<Relation> {
        self.0.get(name).copied().ok_or_else(|| {
            Error::undecided(format!("unable to find table '{name}'"))
                .hint("it was renamed or dropped in the live database since")
        })
    }

    /// The table as it stands behind FROM: without the tables that inherit from it, but with its partitions.
    pub fn from_item(&self, name: &TableName) -> Result<String> {
        let only = if self.get(name)?.partitioned { "" } else { "ONLY " };
        Ok(format!("{only}{}", name.quoted()))
    }
}

/// A column whose type has no binary form, so that its values cannot be carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsendable {
    /// Table.
    pub table: TableName,
    /// Column.
    pub column: String,
    /// Its type.
    pub type_name: String,
}

/// All that is known of the user's tables.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The tables, by name.
    pub tables: Vec<Table>,
    /// Their relations.
    pub relations: Relations,
    /// Columns that stop their table from being carried.
    pub unsendable: Vec<Unsendable>,
}

/// Reads the catalog.
pub async fn read(connection: &mut PgConnection) -> Result<Catalog> {
    let unable = |error| failure("unable to read the catalog", error);
    let mut catalog = Catalog::default();
    let mut tables = empty_tables(connection, &mut catalog.relations).await.map_err(unable)?;
    columns::read(connection, &mut tables, &mut catalog.unsendable).await.map_err(unable)?;
    keys::read(connection, &mut tables).await.map_err(unable)?;
    feeds::read(connection, &mut tables).await.map_err(unable)?;
    catalog.tables = tables.into_values().collect();
    catalog.tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(catalog)
}

/// Reads the relations alone.
pub async fn relations(connection: &mut PgConnection) -> Result<Relations> {
    let mut relations = Relations::default();
    let unable = |error| failure("unable to read the catalog", error);
    empty_tables(connection, &mut relations).await.map_err(unable)?;
    Ok(relations)
}

/// The tables by oid, as the queries fill them.
type Tables = HashMap<i64, Table>;

async fn empty_tables(
    connection: &mut PgConnection,
    relations: &mut Relations,
) -> Result<Tables, sqlx::Error> {
    let sql = concat!(with_user_tables!(), "select oid::int8, schema, name, partitioned from user_tables");
    let rows: Vec<(i64, String, String, bool)> = sqlx::query_as(sql).fetch_all(connection).await?;
    let mut tables = Tables::new();
    for (oid, schema, name, partitioned) in rows {
        let name = TableName::new(schema, name);
        // An oid is an unsigned 32-bit number.
        relations.0.insert(name.clone(), Relation { oid: oid as u32, partitioned });
        tables.insert(oid, Table::new(name));
    }
    Ok(tables)
}

/// Which database this is, and its `server_version`.
pub async fn identity(connection: &mut PgConnection) -> Result<(DatabaseIdentity, String)> {
    let sql = "select (pg_control_system()).system_identifier::text, d.oid::int8, d.datname::text,
                      current_setting('server_version')
               from pg_database d where d.datname = current_database()";
    let (system_identifier, oid, database, version): (String, i64, String, String) = sqlx::query_as(sql)
        .fetch_one(connection)
        .await
        .map_err(|error| failure("unable to learn which database this is", error))?;
    let identity = DatabaseIdentity::Postgres { system_identifier, database_oid: oid as u32, database };
    Ok((identity, version))
}
