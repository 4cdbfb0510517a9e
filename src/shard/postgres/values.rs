//! Questions about single values that are not in the database.

use std::collections::HashMap;

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use crate::database::postgres::error::{failure, is_about_the_value};
use crate::database::postgres::relation;
use crate::error::{Error, Result};
use crate::model::TypeKind;

/// A type as it stands in SQL; `$1` as `format_type()` spells it.
const TYPE_NAME: &str = "select format('%I.%I', n.nspname, t.typname)
     from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.oid = $1::text::regtype";

/// Positions of the values for which a domain's check is false. `VALUE` is but a column where there is no domain.
pub async fn refused(
    connection: &mut PgConnection,
    (type_name, kind): (&str, TypeKind),
    check: &str,
    values: &[Option<&[u8]>],
) -> Result<Vec<usize>> {
    let unable = |error| failure(format!("unable to ask about values of type {type_name}"), error);
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let refused: Vec<i64> = if kind == TypeKind::Printed {
        let named = sql_name(connection, type_name).await.map_err(unable)?;
        let texts = values.iter().map(|value| value.map(text).transpose()).collect::<Result<Vec<_>>>()?;
        // Safe: the server itself gave the type's name and the expression; the values are bound.
        let sql = AssertSqlSafe(format!(
            "SELECT place - 1 FROM (SELECT t.value::{named} AS value, t.place
                 FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS t(value, place)) v
             WHERE NOT ({check})"
        ));
        sqlx::query_scalar(sql).bind(texts).fetch_all(connection).await.map_err(unable)?
    } else {
        let array = relation::value_array(connection, type_name, values).await.map_err(unable)?;
        // Safe: an expression that the server itself gave; the values are bound.
        let sql = AssertSqlSafe(format!(
            "SELECT place - 1 FROM pg_catalog.unnest($1) WITH ORDINALITY AS v(value, place) WHERE NOT ({check})"
        ));
        sqlx::query_scalar(sql).bind(array).fetch_all(connection).await.map_err(unable)?
    };
    Ok(refused.into_iter().filter_map(|place| usize::try_from(place).ok()).collect())
}

/// Positions of the printed values that the type does not read, or prints otherwise than they are.
pub async fn misread(
    connection: &mut PgConnection,
    type_name: &str,
    values: &[Option<&[u8]>],
) -> Result<Vec<usize>> {
    let unable = |error| failure(format!("unable to read values of type {type_name}"), error);
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, value) in values.iter().enumerate() {
        if let Some(value) = value {
            places.entry(text(value)?).or_default().push(place);
        }
    }
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let named = sql_name(connection, type_name).await.map_err(unable)?;
    let sql = format!(
        "SELECT t.value FROM pg_catalog.unnest($1::pg_catalog.text[]) t(value)
         WHERE t.value OPERATOR(pg_catalog.<>) pg_catalog.format('%s', t.value::{named})"
    );
    let mut misread = Vec::new();
    // One that is not read fails its statement: then the halves are asked, until it is alone.
    let mut pieces = vec![places.keys().copied().collect::<Vec<&str>>()];
    while let Some(mut piece) = pieces.pop() {
        // Safe: the server itself gave the type's name; the values are bound.
        let query = sqlx::query_scalar(AssertSqlSafe(sql.clone())).bind(&piece);
        let found: Result<Vec<String>, sqlx::Error> = query.fetch_all(&mut *connection).await;
        match found {
            Ok(found) => {
                misread.extend(found.iter().filter_map(|value| places.get(value.as_str())).flatten())
            }
            Err(error) if !is_about_the_value(&error) => return Err(unable(error)),
            Err(_) if piece.len() > 1 => {
                let half = piece.split_off(piece.len() / 2);
                pieces.extend([piece, half]);
            }
            Err(_) => misread.extend(piece.iter().filter_map(|value| places.get(value)).flatten()),
        }
    }
    misread.sort_unstable();
    Ok(misread)
}

async fn sql_name(connection: &mut PgConnection, type_name: &str) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(TYPE_NAME).bind(type_name).fetch_one(connection).await
}

fn text(value: &[u8]) -> Result<&str> {
    std::str::from_utf8(value).map_err(|error| Error::bug("a printed value is no text").because(error))
}
