//! Keys: unique indexes, exclusion constraints, foreign keys; and what else a row must keep: checks and the bounds of
//! partitions.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::leaves::{OfPartition, Partitions, add_foreign_keys, add_unique_keys};
use super::{Tables, with_user_tables};
use crate::model::{Check, ForeignKey, KeyTerm, TableName, UniqueKey};

/// Terms in their order, with the collation where it is not the column's own, and the operators under which they
/// collide: those of the exclusion constraint, else equality of the B-tree. An index that a partition has for
/// itself holds for the rows of that partition. `NULLS NOT DISTINCT` came with version 15.
const UNIQUE_KEYS: &str = concat!(
    with_user_tables!(),
    "select u.oid::int8 as oid, c.relname::text as name, i.indisprimary as primary,
            i.indpred is null and i.indexprs is null and not i.indisexclusion as plain,
            array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k(attnum, place)
                  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                  where k.place <= i.indnkeyatts order by k.place) as columns,
            array(select pg_get_indexdef(i.indexrelid, k.place::int, false)
                         || coalesce((select format(' COLLATE %I.%I', l.nspname, o.collname)
                                      from pg_collation o join pg_namespace l on l.oid = o.collnamespace
                                      where o.oid = k.colloid
                                        and o.oid is distinct from coalesce(a.attcollation, 100)), '')
                  from unnest(i.indkey::int2[], i.indcollation::oid[]) with ordinality
                       k(attnum, colloid, place)
                  left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum and k.attnum > 0
                  where k.place <= i.indnkeyatts order by k.place) as terms,
            array(select format('OPERATOR(%I.%s)', l.nspname, o.oprname)
                  from unnest(i.indclass::oid[], x.conexclop) with ordinality k(class, excluded, place)
                  join pg_opclass oc on oc.oid = k.class
                  left join pg_amop e on e.amopfamily = oc.opcfamily and e.amopstrategy = 3
                                     and e.amoplefttype = oc.opcintype and e.amoprighttype = oc.opcintype
                  join pg_operator o on o.oid = coalesce(k.excluded, e.amopopr)
                  join pg_namespace l on l.oid = o.oprnamespace order by k.place) as operators,
            pg_get_expr(i.indpred, i.indrelid) as predicate,
            case when i.indrelid <> u.oid then pg_get_partition_constraintdef(i.indrelid) end as rows,
            case when i.indrelid <> u.oid then array(
              select leaf.relid::oid::int8 from pg_partition_tree(i.indrelid) leaf where leaf.isleaf) end as leaves,
            coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false) as nulls_not_distinct,
            not i.indimmediate as deferrable, i.indisexclusion as exclusion
     from pg_index i
     join user_tables u on u.oid = coalesce(pg_partition_root(i.indrelid), i.indrelid)
     join pg_class c on c.oid = i.indexrelid
     left join pg_constraint x on x.conindid = i.indexrelid and x.conrelid = i.indrelid and x.contype = 'x'
     where (i.indisunique or i.indisexclusion) and i.indisvalid and not exists (
       select from pg_inherits h join pg_index p on p.indexrelid = h.inhparent and p.indisvalid
       where h.inhrelid = i.indexrelid)
     order by u.oid, c.relname"
);

/// Each key once: the copies that partitions get have a parent constraint. A key without one may belong to a single
/// partition.
const FOREIGN_KEYS: &str = concat!(
    with_user_tables!(),
    "select u.oid::int8 as oid, f.conname::text as name,
            array(select a.attname::text from unnest(f.conkey) with ordinality k(attnum, place)
                  join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.attnum order by k.place)
              as columns,
            n.nspname::text as parent_schema, c.relname::text as parent,
            array(select a.attname::text from unnest(f.confkey) with ordinality k(attnum, place)
                  join pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.attnum order by k.place)
              as parent_columns,
            f.condeferrable as deferrable, f.convalidated as validated, f.confmatchtype = 'f' as match_full,
            array(select format('OPERATOR(%I.%s)', l.nspname, o.oprname)
                  from unnest(f.conpfeqop) with ordinality k(operator, place)
                  join pg_operator o on o.oid = k.operator
                  join pg_namespace l on l.oid = o.oprnamespace order by k.place) as operators,
            case when f.conrelid <> u.oid then pg_get_partition_constraintdef(f.conrelid) end as rows,
            case when f.conrelid <> u.oid then array(
              select leaf.relid::oid::int8 from pg_partition_tree(f.conrelid) leaf where leaf.isleaf) end as leaves
     from pg_constraint f
     join user_tables u on u.oid = coalesce(pg_partition_root(f.conrelid), f.conrelid)
     join pg_class c on c.oid = coalesce(pg_partition_root(f.confrelid), f.confrelid)
     join pg_namespace n on n.oid = c.relnamespace
     where f.contype = 'f' and f.conparentid = 0
     order by u.oid, f.conname"
);

const CHECKS: &str = concat!(
    with_user_tables!(),
    "select u.oid::int8, k.conname::text, pg_get_expr(k.conbin, k.conrelid),
            array(select a.attname::text from unnest(k.conkey) with ordinality p(attnum, place)
                  join pg_attribute a on a.attrelid = k.conrelid and a.attnum = p.attnum order by p.place),
            k.convalidated
     from user_tables u
     join pg_constraint k on k.conrelid = u.oid and k.contype = 'c'
     order by u.oid, k.conname"
);

/// Rows that some leaf takes: those of its bounds, which are those of its ancestors too, that keep its own checks. And
/// the columns that decide which leaf it is.
const PARTITIONS: &str = concat!(
    with_user_tables!(),
    "select u.oid::int8, coalesce(
              '(' || string_agg(concat_ws(' AND ', '(' || pg_get_partition_constraintdef(leaf.relid) || ')',
                     (select string_agg(format('(%s) IS NOT FALSE', pg_get_expr(k.conbin, k.conrelid)), ' AND ' order by k.conname)
                      from pg_constraint k where k.conrelid = leaf.relid and k.contype = 'c' and k.coninhcount = 0)),
                   ' OR ' order by leaf.relid::regclass::text) filter (where leaf.isleaf) || ') IS TRUE', 'false'),
            count(*) filter (where leaf.isleaf),
            array(select distinct coalesce(a.attname::text, '')
                  from pg_partition_tree(u.oid) t join pg_partitioned_table p on p.partrelid = t.relid
                  cross join unnest(p.partattrs::int2[]) k(attnum)
                  left join pg_attribute a on a.attrelid = p.partrelid and a.attnum = k.attnum and k.attnum > 0)
     from user_tables u cross join lateral pg_partition_tree(u.oid) leaf
     where u.partitioned group by u.oid"
);

type CheckRow = (i64, String, String, Vec<String>, bool);

/// Fills in keys and checks.
pub async fn read(connection: &mut PgConnection, tables: &mut Tables) -> Result<(), sqlx::Error> {
    let partitions = partitions(connection, tables).await?;
    unique_keys(connection, tables, &partitions).await?;
    foreign_keys(connection, tables, &partitions).await?;
    let rows: Vec<CheckRow> = sqlx::query_as(CHECKS).fetch_all(&mut *connection).await?;
    for (oid, name, expression, columns, validated) in rows {
        let Some(table) = tables.get_mut(&oid) else { continue };
        table.checks.push(Check { name, expression, columns, validated });
    }
    Ok(())
}

/// How tables are partitioned, by oid.
type ByTable = HashMap<i64, Partitions>;

async fn partitions(connection: &mut PgConnection, tables: &mut Tables) -> Result<ByTable, sqlx::Error> {
    let rows: Vec<(i64, String, i64, Vec<String>)> = sqlx::query_as(PARTITIONS).fetch_all(connection).await?;
    let mut found = ByTable::new();
    for (oid, bound, leaves, columns) in rows {
        let Some(table) = tables.get_mut(&oid) else { continue };
        table.partition_bound = Some(bound);
        let leaves = usize::try_from(leaves).unwrap_or_default();
        found.insert(oid, Partitions { leaves, columns });
    }
    Ok(found)
}

async fn unique_keys(
    connection: &mut PgConnection,
    tables: &mut Tables,
    partitions: &ByTable,
) -> Result<(), sqlx::Error> {
    let mut of_partitions: HashMap<i64, Vec<_>> = HashMap::new();
    for row in sqlx::query(UNIQUE_KEYS).fetch_all(connection).await? {
        let oid = row.try_get("oid")?;
        let Some(table) = tables.get_mut(&oid) else { continue };
        let (key, primary) = (unique_key(&row)?, row.try_get("primary")?);
        match of_partition(&row, key, primary)? {
            Err(part) => of_partitions.entry(oid).or_default().push(part),
            Ok(key) if primary => {
                table.primary_key = key.columns.clone();
                table.primary_index = Some(key);
            }
            Ok(key) => table.unique_keys.push(key),
        }
    }
    for (oid, keys) in of_partitions {
        if let (Some(table), Some(partitions)) = (tables.get_mut(&oid), partitions.get(&oid)) {
            add_unique_keys(table, partitions, keys);
        }
    }
    Ok(())
}

async fn foreign_keys(
    connection: &mut PgConnection,
    tables: &mut Tables,
    partitions: &ByTable,
) -> Result<(), sqlx::Error> {
    let mut of_partitions: HashMap<i64, Vec<_>> = HashMap::new();
    for row in sqlx::query(FOREIGN_KEYS).fetch_all(connection).await? {
        let oid = row.try_get("oid")?;
        let Some(table) = tables.get_mut(&oid) else { continue };
        match of_partition(&row, foreign_key(&row)?, false)? {
            Ok(key) => table.foreign_keys.push(key),
            Err(part) => of_partitions.entry(oid).or_default().push(part),
        }
    }
    for (oid, keys) in of_partitions {
        if let (Some(table), Some(partitions)) = (tables.get_mut(&oid), partitions.get(&oid)) {
            add_foreign_keys(table, partitions, keys);
        }
    }
    Ok(())
}

/// The key, unless (`Err`) it is one of a partition.
fn of_partition<K>(row: &PgRow, key: K, primary: bool) -> Result<Result<K, OfPartition<K>>, sqlx::Error> {
    let leaves: Option<Vec<i64>> = row.try_get("leaves")?;
    let rows: Option<String> = row.try_get("rows")?;
    Ok(match leaves {
        None => Ok(key),
        // The one partition that takes all rows has no bounds.
        Some(leaves) => {
            Err(OfPartition { key, rows: rows.unwrap_or_else(|| "true".to_owned()), leaves, primary })
        }
    })
}

fn unique_key(row: &PgRow) -> Result<UniqueKey, sqlx::Error> {
    let (terms, operators): (Vec<String>, Vec<String>) = (row.try_get("terms")?, row.try_get("operators")?);
    let mut operators = operators.into_iter();
    let terms = terms.into_iter().map(|sql| KeyTerm { sql, operator: operators.next() });
    Ok(UniqueKey {
        name: row.try_get("name")?,
        columns: if row.try_get("plain")? { row.try_get("columns")? } else { vec![] },
        terms: terms.collect(),
        predicate: row.try_get("predicate")?,
        nulls_not_distinct: row.try_get("nulls_not_distinct")?,
        deferrable: row.try_get("deferrable")?,
        exclusion: row.try_get("exclusion")?,
    })
}

fn foreign_key(row: &PgRow) -> Result<ForeignKey, sqlx::Error> {
    let parent: String = row.try_get("parent")?;
    Ok(ForeignKey {
        name: row.try_get("name")?,
        columns: row.try_get("columns")?,
        parent: TableName::new(row.try_get::<String, _>("parent_schema")?, parent),
        parent_columns: row.try_get("parent_columns")?,
        deferrable: row.try_get("deferrable")?,
        validated: row.try_get("validated")?,
        match_full: row.try_get("match_full")?,
        operators: row.try_get("operators")?,
    })
}
