//! What fires when a row arrives (triggers), and what hands out its numbers (sequences).
//!
//! A sequence is found through ownership (serial, identity) or through a default that names it. One that is
//! only named in a text, `nextval('numbers'::text)`, leaves no trace in the catalog and is not seen.

use sqlx::postgres::PgConnection;

use super::{Tables, with_user_tables};
use crate::model::{Sequence, TableName, Trigger};

/// The user's own triggers that fire in an ordinary session; those of leaves are told of the root, once.
const TRIGGERS: &str = concat!(
    with_user_tables!(),
    "select u.oid::int8, g.tgname::text, bool_or((g.tgtype & 4) <> 0)
     from pg_trigger g join user_tables u on u.oid = coalesce(pg_partition_root(g.tgrelid), g.tgrelid)
     where not g.tgisinternal and g.tgparentid = 0 and g.tgenabled in ('O', 'A')
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
    let rows: Vec<(i64, String, bool)> = sqlx::query_as(TRIGGERS).fetch_all(&mut *connection).await?;
    for (oid, name, on_insert) in rows {
        let Some(table) = tables.get_mut(&oid) else { continue };
        table.triggers.push(Trigger { name, on_insert });
    }
    let rows: Vec<(i64, String, String, String, i64)> =
        sqlx::query_as(SEQUENCES).fetch_all(connection).await?;
    for (oid, schema, name, column, increment) in rows {
        let Some(table) = tables.get_mut(&oid) else { continue };
        table.sequences.push(Sequence { name: TableName::new(schema, name), column, increment });
    }
    Ok(())
}
