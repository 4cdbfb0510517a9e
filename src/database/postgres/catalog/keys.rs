//! Keys: unique indexes and foreign keys.

use sqlx::postgres::PgConnection;

use super::{Tables, with_user_tables};
use crate::model::{ForeignKey, TableName, UniqueKey};

/// Key columns in their order; an expression has no column. A key over part of the rows, or over expressions,
/// is no key of columns.
const UNIQUE_KEYS: &str = concat!(
    with_user_tables!(),
    "select u.oid::int8, c.relname::text, i.indisprimary, i.indpred is null and i.indexprs is null,
            array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k(attnum, place)
                  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                  where k.place <= i.indnkeyatts order by k.place)
     from user_tables u
     join pg_index i on i.indrelid = u.oid and i.indisunique and i.indisvalid
     join pg_class c on c.oid = i.indexrelid
     order by u.oid, c.relname"
);

/// Each key once: the copies that partitions get have a parent constraint.
const FOREIGN_KEYS: &str = concat!(
    with_user_tables!(),
    "select u.oid::int8, f.conname::text,
            array(select a.attname::text from unnest(f.conkey) with ordinality k(attnum, place)
                  join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.attnum order by k.place),
            n.nspname::text, c.relname::text,
            array(select a.attname::text from unnest(f.confkey) with ordinality k(attnum, place)
                  join pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.attnum order by k.place),
            f.condeferrable
     from user_tables u
     join pg_constraint f on f.conrelid = u.oid and f.contype = 'f' and f.conparentid = 0
     join pg_class c on c.oid = coalesce(pg_partition_root(f.confrelid), f.confrelid)
     join pg_namespace n on n.oid = c.relnamespace
     order by u.oid, f.conname"
);

type UniqueRow = (i64, String, bool, bool, Vec<String>);
type ForeignRow = (i64, String, Vec<String>, String, String, Vec<String>, bool);

/// Fills in the keys.
pub async fn read(connection: &mut PgConnection, tables: &mut Tables) -> Result<(), sqlx::Error> {
    let rows: Vec<UniqueRow> = sqlx::query_as(UNIQUE_KEYS).fetch_all(&mut *connection).await?;
    for (oid, name, primary, plain, columns) in rows {
        let Some(table) = tables.get_mut(&oid) else { continue };
        if primary {
            table.primary_key = columns;
        } else {
            let columns = if plain { columns } else { vec![] };
            table.unique_keys.push(UniqueKey { name, columns });
        }
    }
    let rows: Vec<ForeignRow> = sqlx::query_as(FOREIGN_KEYS).fetch_all(connection).await?;
    for (oid, name, columns, schema, parent, parent_columns, deferrable) in rows {
        let Some(table) = tables.get_mut(&oid) else { continue };
        let parent = TableName::new(schema, parent);
        table.foreign_keys.push(ForeignKey { name, columns, parent, parent_columns, deferrable });
    }
    Ok(())
}
