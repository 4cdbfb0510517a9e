//! Facts: what the shard is, and what the role may do in it. Read-only, a few queries for the whole database.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;

use super::super::Facts;
use crate::database::postgres::catalog::{self, Catalog, with_user_tables};
use crate::database::postgres::error::failure;
use crate::error::Result;
use crate::model::TableName;

type Obstacles = BTreeMap<TableName, Vec<String>>;

/// What the role lacks on each table.
const TABLES: &str = concat!(
    with_user_tables!(),
    "select schema, name, has_schema_privilege(n.oid, 'usage'), has_table_privilege(u.oid, 'select'),
            has_table_privilege(u.oid, 'insert'), row_security_active(u.oid)
     from user_tables u join pg_namespace n on n.nspname = u.schema"
);

/// What the role may do with every sequence.
const SEQUENCES: &str = "select n.nspname::text, c.relname::text
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'S' and not (has_sequence_privilege(c.oid, 'select')
                                 and has_sequence_privilege(c.oid, 'update'))";

/// Columns that may point at large objects, where there are any. A large object is no row of a table: it has no
/// owner to be found, and only its number is carried.
const LARGE_OBJECTS: &str = concat!(
    with_user_tables!(),
    ", number(oid) as (
         select 'pg_catalog.oid'::regtype::oid
         union all
         select t.oid from number join pg_type t on t.typbasetype = number.oid and t.typtype = 'd')
     select u.schema, u.name, a.attname::text
     from user_tables u
     join pg_attribute a on a.attrelid = u.oid and a.attnum > 0 and not a.attisdropped
     where a.atttypid in (select oid from number) and exists (select from pg_largeobject_metadata)
     order by u.schema, u.name, a.attnum"
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
    table_obstacles(connection, &role, &mut obstacles).await.map_err(unable)?;
    sequence_obstacles(connection, &role, &catalog, &mut obstacles).await.map_err(unable)?;
    for found in &catalog.unsendable {
        let obstacle = format!("column '{}': type '{}' has no binary form", found.column, found.type_name);
        add(&mut obstacles, &found.table, obstacle);
    }
    let mut warnings = warnings(&catalog);
    warnings.extend(large_objects(connection).await.map_err(unable)?);
    Ok(Facts { identity, server_version, role, tables: catalog.tables, obstacles, warnings })
}

fn add(obstacles: &mut Obstacles, table: &TableName, obstacle: String) {
    obstacles.entry(table.clone()).or_default().push(obstacle);
}

async fn table_obstacles(
    connection: &mut PgConnection,
    role: &str,
    obstacles: &mut Obstacles,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(String, String, bool, bool, bool, bool)> =
        sqlx::query_as(TABLES).fetch_all(connection).await?;
    for (schema, name, usage, select, insert, row_security) in rows {
        let table = TableName::new(schema, name);
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
    Ok(())
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

/// Triggers run as they do for the application: what they write is counted, and refused if it is not in the
/// plan.
fn warnings(catalog: &Catalog) -> Vec<String> {
    let of_table = catalog.tables.iter().filter_map(|table| {
        let firing = table.triggers.iter().filter(|trigger| trigger.fires_on_insert(false));
        let names: Vec<&str> = firing.map(|trigger| trigger.name.as_str()).collect();
        (!names.is_empty())
            .then(|| format!("triggers fire on insert into '{}': {}", table.name, names.join(", ")))
    });
    of_table.collect()
}

async fn large_objects(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(LARGE_OBJECTS).fetch_all(connection).await?;
    let warning = |(schema, name, column): (String, String, String)| {
        let table = TableName::new(schema, name);
        format!("column '{column}' of table '{table}' may point at large objects, which are not restored")
    };
    Ok(rows.into_iter().map(warning).collect())
}
