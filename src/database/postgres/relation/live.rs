//! The row type of a live table, as the catalog has it.

use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;

use super::super::catalog::Relations;
use super::super::error::failure;
use super::{RowType, oid_of};
use crate::error::{Error, Result};
use crate::model::TableName;

/// A column of a live table.
pub struct LiveColumn {
    pub name: String,
    pub type_oid: u32,
    /// The array of its type; 0 if there is none.
    pub type_array: u32,
    pub type_name: String,
    /// May refuse NULL even where the column's value is not asked for.
    pub is_domain: bool,
    /// The driver cannot bind it.
    pub is_unknown: bool,
    /// It is made of records, which `unnest` would take apart.
    pub is_record: bool,
    /// It is made of a type without a binary form.
    pub is_printed: bool,
    /// The expression of a generated column: computed anew, since the row does not bring it.
    pub generated: Option<String>,
    /// Whether a row that does not bring it gets a value.
    pub has_default: bool,
    /// The default of a column, if it is a constant: what a row gets that does not bring the column.
    pub constant: Option<String>,
}

impl LiveColumn {
    /// Whether it is an array of its own, where columns go apart.
    pub fn binds(&self) -> bool {
        self.generated.is_none() && self.type_array != 0 && !self.is_unknown && !self.is_record
    }
}

const ROW_TYPE: &str =
    "with recursive made_of(column_number, type) as (
       select attnum, atttypid from pg_attribute where attrelid = $1 and attnum > 0 and not attisdropped
       union
       select m.column_number, part.oid
       from made_of m join pg_type t on t.oid = m.type
       cross join lateral (
         select t.typelem as oid union all select t.typbasetype
         union all select rngsubtype from pg_range where t.oid in (rngtypid, rngmultitypid)
         union all select atttypid from pg_attribute
                   where attrelid = t.typrelid and attnum > 0 and not attisdropped) part
       where part.oid <> 0)
     select t.typarray::int8, t.oid::int8, a.attname::text, a.atttypid::int8, y.typarray::int8,
            format('%I.%I', n.nspname, y.typname), y.typtype = 'd',
            exists (select from made_of m join pg_type p on p.oid = m.type
                    where m.column_number = a.attnum and p.typtype = 'm'),
            exists (select from made_of m join pg_type p on p.oid = m.type
                    where m.column_number = a.attnum and p.typtype = 'c'),
            exists (select from made_of m join pg_type p on p.oid = m.type
                    where m.column_number = a.attnum and (p.typsend = 0 or p.typreceive = 0)),
            case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end,
            case when a.attgenerated = '' and pg_get_expr(d.adbin, d.adrelid) ~ '^(''[^'']*''|-?[0-9.]+|true|false|NULL)(::[^(]*)?$'
                 then pg_get_expr(d.adbin, d.adrelid) end,
            a.atthasdef or a.attidentity <> '' or y.typdefault is not null
     from pg_class c join pg_type t on t.oid = c.reltype
     join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     join pg_type y on y.oid = a.atttypid
     join pg_namespace n on n.oid = y.typnamespace
     left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where c.oid = $1 order by a.attnum";

type ColumnRow =
    (i64, i64, String, i64, i64, String, bool, bool, bool, bool, Option<String>, Option<String>, bool);

/// Reads the row type of a table.
pub async fn row_type(
    connection: &mut PgConnection,
    relations: &Relations,
    name: &TableName,
) -> Result<RowType> {
    let unable = |error| failure(format!("unable to read the row type of '{name}'"), error);
    let rows: Vec<ColumnRow> = sqlx::query_as(ROW_TYPE)
        .bind(Oid(relations.get(name)?.oid))
        .fetch_all(connection)
        .await
        .map_err(unable)?;
    let Some(&(array, element, ..)) = rows.first() else {
        return Err(Error::undecided(format!("unable to ask about rows of '{name}': it has no columns")));
    };
    let column = |row: ColumnRow| {
        let (
            _,
            _,
            name,
            oid,
            array,
            type_name,
            is_domain,
            is_unknown,
            is_record,
            is_printed,
            generated,
            constant,
            has_default,
        ) = row;
        LiveColumn {
            name,
            type_oid: oid_of(oid),
            type_array: oid_of(array),
            type_name,
            is_domain,
            is_unknown,
            is_record,
            is_printed,
            generated,
            has_default,
            constant,
        }
    };
    let columns = rows.into_iter().map(column).collect();
    Ok(RowType { array: oid_of(array), element: oid_of(element), columns })
}
