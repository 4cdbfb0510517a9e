//! What fires when a row arrives (triggers), and what hands out its numbers (sequences).
//!
//! A sequence is found through ownership (serial, identity) or through a default that names it. One that is
//! only named in a text, `nextval('numbers'::text)`, leaves no trace in the catalog and is not seen.

use std::collections::BTreeSet;

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::writes::written;
use super::{Tables, with_user_tables};
use crate::model::{Firing, Sequence, TableName, Trigger};

/// The user's own triggers that fire at all; those of leaves are told of the root, once.
const TRIGGERS: &str = concat!(
    with_user_tables!(),
    "select u.oid::int8 as oid, g.tgname::text as name,
            bool_or((g.tgtype & 4) <> 0) as on_insert, bool_or((g.tgtype & 8) <> 0) as on_delete,
            bool_or((g.tgtype & 16) <> 0) as on_update,
            bool_or(g.tgenabled in ('O', 'A')) as ordinary, bool_or(g.tgenabled in ('R', 'A')) as replica,
            min(n.nspname::text) as schema, min(p.proname::text) as function,
            string_agg(distinct p.prosrc, E'\n;\n') as body
     from pg_trigger g
     join user_tables u on u.oid = coalesce(pg_partition_root(g.tgrelid), g.tgrelid)
     join pg_proc p on p.oid = g.tgfoid
     join pg_namespace n on n.oid = p.pronamespace
     where not g.tgisinternal and g.tgenabled <> 'D'
     group by u.oid, g.tgname order by u.oid, g.tgname"
);

const SEQUENCES: &str = concat!(
    with_user_tables!(),
    ", used(tbl, attnum, seq) as (
         select d.refobjid, d.refobjsubid, d.objid from pg_depend d
         where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
           and d.refobjsubid > 0 and d.deptype in ('a', 'i')
         union
         select f.adrelid, f.adnum, d.refobjid from pg_attrdef f
         join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = f.oid
                         and d.refclassid = 'pg_class'::regclass)
     select u.oid::int8, n.nspname::text, c.relname::text, a.attname::text, s.seqincrement
     from user_tables u
     join used on used.tbl = u.oid
     join pg_sequence s on s.seqrelid = used.seq
     join pg_class c on c.oid = s.seqrelid
     join pg_namespace n on n.oid = c.relnamespace
     join pg_attribute a on a.attrelid = u.oid and a.attnum = used.attnum and not a.attisdropped
     order by u.oid, a.attnum, n.nspname, c.relname"
);

/// Fills in triggers and sequences.
pub async fn read(connection: &mut PgConnection, tables: &mut Tables) -> Result<(), sqlx::Error> {
    let known = tables.values().map(|table| table.name.clone()).collect();
    for row in sqlx::query(TRIGGERS).fetch_all(&mut *connection).await? {
        let Some(table) = tables.get_mut(&row.try_get("oid")?) else { continue };
        table.triggers.push(trigger(&row, &table.name.schema, &known)?);
    }
    let rows: Vec<(i64, String, String, String, i64)> =
        sqlx::query_as(SEQUENCES).fetch_all(connection).await?;
    for (oid, schema, name, column, increment) in rows {
        let Some(table) = tables.get_mut(&oid) else { continue };
        table.sequences.push(Sequence { name: TableName::new(schema, name), column, increment });
    }
    Ok(())
}

/// `home` is the schema of the trigger's table.
fn trigger(row: &PgRow, home: &str, known: &BTreeSet<TableName>) -> Result<Trigger, sqlx::Error> {
    let firing = match (row.try_get("ordinary")?, row.try_get("replica")?) {
        (true, true) => Firing::Always,
        (true, false) => Firing::Ordinary,
        (false, _) => Firing::Replica,
    };
    let (schema, function): (String, String) = (row.try_get("schema")?, row.try_get("function")?);
    let (inserts, writes) = written(&row.try_get::<String, _>("body")?, home, known);
    Ok(Trigger {
        name: row.try_get("name")?,
        on_insert: row.try_get("on_insert")?,
        on_update: row.try_get("on_update")?,
        on_delete: row.try_get("on_delete")?,
        firing,
        function: Some(TableName::new(schema, function)),
        writes,
        inserts,
    })
}
