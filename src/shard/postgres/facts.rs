//! Facts: what the shard is, and what the role may do in it. Read-only, a few queries for the whole database.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgConnection;

use super::super::Facts;
use super::constraints::DISABLE_TRIGGERS;
use crate::database::postgres::catalog::{self, Catalog, with_user_tables};
use crate::database::postgres::error::{failure, sqlstate};
use crate::error::Result;
use crate::model::{Table, TableName};

type Obstacles = BTreeMap<TableName, Vec<String>>;

/// What the role lacks on each table.
const TABLES: &str = concat!(
    with_user_tables!(),
    "select schema, name, has_schema_privilege(n.oid, 'usage'), has_table_privilege(u.oid, 'select'),
            has_table_privilege(u.oid, 'insert'), row_security_active(u.oid),
            has_any_column_privilege(u.oid, 'update'), has_table_privilege(u.oid, 'update'),
            has_table_privilege(u.oid, 'delete')
     from user_tables u join pg_namespace n on n.nspname = u.schema"
);

/// Tables that the role may not delete rows of: it must see them all and name them.
const UNDELETABLE: &str = concat!(
    with_user_tables!(),
    "select schema, name, row_security_active(u.oid) from user_tables u join pg_namespace n on n.nspname = u.schema
     where row_security_active(u.oid) or not (has_schema_privilege(n.oid, 'usage')
         and has_table_privilege(u.oid, 'select') and has_table_privilege(u.oid, 'delete'))"
);

/// What the role may do with every sequence.
const SEQUENCES: &str = "select n.nspname::text, c.relname::text
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'S' and not (has_sequence_privilege(c.oid, 'select')
                                 and has_sequence_privilege(c.oid, 'update'))";

/// Rules on INSERT.
const INSERT_RULES: &str = concat!(
    with_user_tables!(),
    "select u.schema, u.name, r.rulename::text from user_tables u
     join pg_rewrite r on r.ev_class = u.oid and r.ev_type = '3' and r.ev_enabled <> 'D'"
);

/// Materialised views and the tables that they are made of, through other views too.
const MATERIALIZED: &str = concat!(
    with_user_tables!(),
    ", uses(view, used) as (
         select r.ev_class, d.refobjid from pg_rewrite r
         join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                         and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class),
       made_of(view, used) as (
         select u.view, u.used from uses u join pg_class v on v.oid = u.view and v.relkind = 'm'
         union
         select m.view, u.used from made_of m join uses u on u.view = m.used)
     select distinct n.nspname::text, v.relname::text, u.schema, u.name
     from made_of m
     join user_tables u on u.oid = coalesce(pg_partition_root(m.used), m.used)
     join pg_class v on v.oid = m.view join pg_namespace n on n.oid = v.relnamespace"
);

/// What concerns every table of the server.
const SETTINGS: &str = "select current_user::text, pg_is_in_recovery(),
            current_setting('default_transaction_read_only')::bool, current_setting('track_counts')::bool";

/// Reads the facts.
pub async fn read(connection: &mut PgConnection) -> Result<Facts> {
    let unable = |error| failure("unable to learn what the role may do", error);
    let (identity, server_version) = catalog::identity(connection).await?;
    let catalog = catalog::read(connection).await?;
    let (role, standby, read_only, counts): (String, bool, bool, bool) =
        sqlx::query_as(SETTINGS).fetch_one(&mut *connection).await.map_err(unable)?;

    let mut obstacles = Obstacles::new();
    let everywhere = [
        (standby, "the server is a standby and takes no writes; use the primary"),
        (read_only, "'default_transaction_read_only' is on for the role; ALTER ROLE … SET it off"),
        (!counts, "'track_counts' is off, so nobody can prove that neighbours were not written; turn it on"),
    ];
    for (_, obstacle) in everywhere.into_iter().filter(|(applies, _)| *applies) {
        for table in &catalog.tables {
            add(&mut obstacles, &table.name, obstacle.to_owned());
        }
    }
    let lacking = table_obstacles(connection, &role, &mut obstacles).await.map_err(unable)?;
    sequence_obstacles(connection, &role, &catalog, &mut obstacles).await.map_err(unable)?;
    rule_obstacles(connection, &catalog, &mut obstacles).await.map_err(unable)?;
    let triggers_stay_on = triggers_stay_on(connection, &role).await.map_err(unable)?;
    let undeletable = undeletable(connection, &role).await.map_err(unable)?;
    let materialized = materialized(connection).await.map_err(unable)?;
    Ok(Facts {
        identity,
        server_version,
        role,
        tables: catalog.tables,
        obstacles,
        warnings: Vec::new(),
        triggers_stay_on,
        unlockable: lacking.lock,
        no_update: lacking.update,
        no_delete: lacking.delete,
        undeletable,
        materialized,
    })
}

fn add(obstacles: &mut Obstacles, table: &TableName, obstacle: String) {
    obstacles.entry(table.clone()).or_default().push(obstacle);
}

/// Tables that the role may not do something with that only some plans need.
#[derive(Default)]
struct Lacking {
    lock: BTreeSet<TableName>,
    update: BTreeSet<TableName>,
    delete: BTreeSet<TableName>,
}

async fn table_obstacles(
    connection: &mut PgConnection,
    role: &str,
    obstacles: &mut Obstacles,
) -> Result<Lacking, sqlx::Error> {
    type Row = (String, String, bool, bool, bool, bool, bool, bool, bool);
    let rows: Vec<Row> = sqlx::query_as(TABLES).fetch_all(connection).await?;
    let mut rare = Lacking::default();
    for (schema, name, usage, select, insert, row_security, update, update_all, delete) in rows {
        let table = TableName::new(schema, name);
        if !usage || !select || !update || row_security {
            rare.lock.insert(table.clone());
        }
        if !update_all {
            rare.update.insert(table.clone());
        }
        if !delete {
            rare.delete.insert(table.clone());
        }
        let lacking = [(usage, "usage"), (select, "select"), (insert, "insert")];
        for (_, privilege) in lacking.into_iter().filter(|(granted, _)| !granted) {
            let on =
                if privilege == "usage" { format!("schema '{}'", table.schema) } else { "it".to_owned() };
            let obstacle = format!("role '{role}' has no {privilege} privilege on {on}");
            add(obstacles, &table, obstacle);
        }
        if row_security {
            let obstacle = format!(
                "row security hides rows from role '{role}'; use a role with BYPASSRLS or the table's owner"
            );
            add(obstacles, &table, obstacle);
        }
    }
    Ok(rare)
}

/// A rule would turn the INSERT that rows without a binary form need into something else; COPY passes it by.
async fn rule_obstacles(
    connection: &mut PgConnection,
    catalog: &Catalog,
    obstacles: &mut Obstacles,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(INSERT_RULES).fetch_all(connection).await?;
    for (schema, name, rule) in rows {
        let ruled = TableName::new(schema, name);
        let is_ruled = |table: &&Table| table.name == ruled && super::insert::is_needed(table);
        if let Some(table) = catalog.tables.iter().find(is_ruled) {
            let obstacle = format!(
                "a column's type has no binary form, so that rows need INSERT, which rule '{rule}' rewrites"
            );
            add(obstacles, &table.name, obstacle);
        }
    }
    Ok(())
}

async fn undeletable(
    connection: &mut PgConnection,
    role: &str,
) -> Result<BTreeMap<TableName, String>, sqlx::Error> {
    let rows: Vec<(String, String, bool)> = sqlx::query_as(UNDELETABLE).fetch_all(connection).await?;
    let why = |row_security: bool| match row_security {
        true => format!("row security hides rows from role '{role}'"),
        false => format!("role '{role}' may not read and delete its rows (SELECT, DELETE)"),
    };
    Ok(rows.into_iter().map(|(schema, name, hidden)| (TableName::new(schema, name), why(hidden))).collect())
}

async fn sequence_obstacles(
    connection: &mut PgConnection,
    role: &str,
    catalog: &Catalog,
    obstacles: &mut Obstacles,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(SEQUENCES).fetch_all(connection).await?;
    let barred: Vec<TableName> =
        rows.into_iter().map(|(schema, name)| TableName::new(schema, name)).collect();
    for table in &catalog.tables {
        for sequence in table.sequences.iter().filter(|sequence| barred.contains(&sequence.name)) {
            let obstacle =
                format!("role '{role}' may not read and move sequence '{}' (SELECT, UPDATE)", sequence.name);
            add(obstacles, &table.name, obstacle);
        }
    }
    Ok(())
}

/// Why the role cannot turn triggers off, if it cannot. Tried, and rolled back: superusers may, roles with the
/// privilege on the parameter (version 15), and what each hosting service has made of that.
async fn triggers_stay_on(connection: &mut PgConnection, role: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
    let tried = sqlx::raw_sql(DISABLE_TRIGGERS).execute(&mut *connection).await;
    sqlx::raw_sql("ROLLBACK").execute(connection).await?;
    match tried {
        Ok(_) => Ok(None),
        Err(error) if sqlstate(&error) == Some("42501") => {
            Ok(Some(format!("role '{role}' may not set 'session_replication_role'")))
        }
        Err(error) => Err(error),
    }
}

async fn materialized(
    connection: &mut PgConnection,
) -> Result<BTreeMap<TableName, BTreeSet<TableName>>, sqlx::Error> {
    let rows: Vec<(String, String, String, String)> =
        sqlx::query_as(MATERIALIZED).fetch_all(connection).await?;
    let mut views: BTreeMap<TableName, BTreeSet<TableName>> = BTreeMap::new();
    for (view_schema, view, schema, table) in rows {
        views.entry(TableName::new(view_schema, view)).or_default().insert(TableName::new(schema, table));
    }
    Ok(views)
}
