//! Columns: names, types, and how their values travel.
//!
//! A domain may be NOT NULL or have a default where its column says nothing; both count as the column's, and so
//! does a validated `CHECK (column IS NOT NULL)`, which large schemas use where they could not afford NOT NULL.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;

use super::{Tables, with_user_tables};
use crate::model::{Column, TypeKind, UserType};

/// `base` resolves domains, however deep, with the modifier that one of them may give. `awkward` are the types without
/// a binary form, those that the driver cannot bind (multiranges), and those made of such types: arrays, domains,
/// composites, ranges.
const COLUMNS: &str = concat!(
    with_user_tables!(),
    ", base(oid, at, modifier) as (
         select oid, oid, -1 from pg_type
         union all
         select base.oid, t.typbasetype, greatest(base.modifier, t.typtypmod)
         from base join pg_type t on t.oid = base.at where t.typtype = 'd'),
       made_of(part, whole) as (
         select typelem, oid from pg_type where typelem <> 0
         union all select typbasetype, oid from pg_type where typtype = 'd'
         union all select a.atttypid, t.oid from pg_type t
                   join pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
                   where t.typtype = 'c'
         union all select rngsubtype, rngtypid from pg_range
         union all select rngtypid, rngmultitypid from pg_range where rngmultitypid <> 0),
       awkward(oid, is_multirange) as (
         select oid, which.is_multirange from pg_type, (values (false), (true)) which(is_multirange)
         where typtype <> 'p' and case when which.is_multirange then typtype = 'm'
                                       else typsend = 0 or typreceive = 0 end
         union
         select made_of.whole, awkward.is_multirange from awkward join made_of on made_of.part = awkward.oid)
     select u.oid::int8, a.attname::text, format_type(a.atttypid, a.atttypmod),
            n.nspname::text, t.typname::text, t.typtype::text, a.attnotnull or declared.typnotnull or exists (
              select from pg_constraint c
              where c.conrelid = a.attrelid and c.contype = 'c' and c.convalidated and c.conkey = array[a.attnum]
                and pg_get_constraintdef(c.oid) = format('CHECK ((%I IS NOT NULL))', a.attname)),
            a.attgenerated <> '', a.atthasdef or a.attidentity <> '' or declared.typdefault is not null,
            a.atttypid in (select oid from awkward where not is_multirange),
            a.atttypid in (select oid from awkward where is_multirange),
            case declared.typtype when 'd' then format_type(base.at, base.modifier) end,
            case declared.typtype
              when 'd' then array(select pg_get_expr(c.conbin, 0)
                                  from base domain join pg_constraint c on c.contypid = domain.at
                                  where domain.oid = declared.oid and c.contype = 'c' order by c.oid)
              when 'e' then array(select e.enumlabel::text from pg_enum e
                                  where e.enumtypid = declared.oid order by e.enumsortorder)
            end
     from user_tables u
     join pg_attribute a on a.attrelid = u.oid and a.attnum > 0 and not a.attisdropped
     join pg_type declared on declared.oid = a.atttypid
     join base on base.oid = a.atttypid
     join pg_type t on t.oid = base.at and t.typtype <> 'd'
     join pg_namespace n on n.oid = t.typnamespace
     order by u.oid, a.attnum"
);

/// Columns that no UPDATE can set.
const FIXED: &str = concat!(
    with_user_tables!(),
    "select u.oid::int8, a.attname::text from user_tables u
     join pg_attribute a on a.attrelid = u.oid and a.attidentity = 'a' and not a.attisdropped
     order by u.oid, a.attnum"
);

type Row = (
    i64,
    String,
    String,
    String,
    String,
    String,
    bool,
    bool,
    bool,
    bool,
    bool,
    Option<String>,
    Option<Vec<String>>,
);

/// Fills in the columns, in physical order.
pub async fn read(connection: &mut PgConnection, tables: &mut Tables) -> Result<(), sqlx::Error> {
    let mut unbindable: HashMap<i64, Vec<String>> = HashMap::new();
    let rows: Vec<Row> = sqlx::query_as(COLUMNS).fetch_all(&mut *connection).await?;
    for row in rows {
        let (oid, name, type_name, schema, base, class, not_null, generated, has_default, ..) = row;
        let (.., without_binary, is_multirange, domain_base, details) = row;
        // A table that was created between the two queries is not there; it will be the next time.
        let Some(table) = tables.get_mut(&oid) else { continue };
        if is_multirange {
            unbindable.entry(oid).or_default().push(name.clone());
        }
        let kind = if without_binary { TypeKind::Printed } else { kind(&schema, &base, &class) };
        let user_type = match (domain_base, details) {
            (Some(base), checks) => Some(UserType::Domain { base, checks: checks.unwrap_or_default() }),
            (None, Some(labels)) => Some(UserType::Enum { labels }),
            (None, None) => None,
        };
        table.columns.push(Column { name, type_name, kind, not_null, generated, has_default, user_type });
    }
    // Rows with a printed value are bound value by value, which the driver cannot do with a multirange.
    for (oid, names) in unbindable {
        let Some(table) = tables.get_mut(&oid) else { continue };
        if table.columns.iter().any(|column| column.kind == TypeKind::Printed) {
            let theirs = table.columns.iter_mut().filter(|column| names.contains(&column.name));
            theirs.for_each(|column| column.kind = TypeKind::Printed);
        }
    }
    let fixed: Vec<(i64, String)> = sqlx::query_as(FIXED).fetch_all(connection).await?;
    for (oid, name) in fixed {
        let Some(table) = tables.get_mut(&oid) else { continue };
        table.fixed_columns.push(name);
    }
    Ok(())
}

/// How values of a base type travel. `class` is `pg_type.typtype`.
fn kind(schema: &str, name: &str, class: &str) -> TypeKind {
    match (schema, name, class) {
        // An enum's binary form is its label; citext's is its text, whatever schema the extension lives in.
        (_, _, "e") | (_, "citext", "b") => TypeKind::Text,
        ("pg_catalog", _, "b") => match name {
            "bool" => TypeKind::Bool,
            "int2" => TypeKind::Int16,
            "int4" => TypeKind::Int32,
            "int8" => TypeKind::Int64,
            "float4" => TypeKind::Float32,
            "float8" => TypeKind::Float64,
            "text" | "varchar" | "bpchar" | "name" | "json" | "xml" => TypeKind::Text,
            "bytea" => TypeKind::Bytes,
            "date" => TypeKind::Date,
            "time" => TypeKind::Time,
            "timestamp" => TypeKind::Timestamp,
            "timestamptz" => TypeKind::TimestampTz,
            "uuid" => TypeKind::Uuid,
            "jsonb" => TypeKind::Jsonb,
            _ => TypeKind::Opaque,
        },
        _ => TypeKind::Opaque,
    }
}
