//! Names of types, and tenant ids as values of them.

use crate::error::{Error, Result};
use crate::model::TableName;

/// Built-in types whose names are several words; any other built-in type is one word.
const TYPES_OF_WORDS: &[&str] = &[
    "bit varying",
    "character varying",
    "double precision",
    "time with time zone",
    "time without time zone",
    "timestamp with time zone",
    "timestamp without time zone",
];

/// A type's name as it may stand in SQL. It was spelled by `format_type()`, but comes by way of a file that
/// anybody could have edited: so a user's type is quoted anew, and of a built-in one nothing passes but words
/// and a modifier.
pub fn type_name(text: &str) -> Result<String> {
    if let Ok(user_type) = text.parse::<TableName>() {
        return Ok(user_type.quoted());
    }
    let plain = match text.split_once('(').map(|(head, rest)| (head, rest.split_once(')'))) {
        None => Some(text.to_owned()),
        Some((head, Some((modifier, tail)))) if modifier.split(',').all(is_number) => {
            Some(format!("{head}{tail}"))
        }
        Some(_) => None,
    };
    let is_word = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    match plain {
        Some(plain) if is_word(&plain) || TYPES_OF_WORDS.contains(&plain.as_str()) => Ok(text.to_owned()),
        _ => Err(Error::refused(format!(
            "unable to use type '{}' as the type of a tenant id",
            text.escape_debug()
        ))),
    }
}

/// A tenant id, the value of the SQL expression `tenant`, as a value of a column's type that an index can serve: NULL
/// if it is none. `None` where only a cast that may fail could tell, and the ways of the table are of `mixed` types, so
/// that it must not fail.
pub fn tenant_value(column_type: &str, tenant: &str, mixed: bool) -> Result<Option<String>> {
    Ok(match checked_value(column_type, tenant) {
        Some(value) => Some(value),
        None if mixed => None,
        None => Some(format!("({tenant})::{}", type_name(column_type)?)),
    })
}

/// A text as a value of a type, NULL if it is none. `None` for types whose values cannot be told without a cast.
pub fn checked_value(type_name: &str, text: &str) -> Option<String> {
    Some(match type_name {
        // Nested, since the arms of AND are evaluated in any order.
        "smallint" | "integer" | "bigint" => format!(
            "CASE WHEN ({text}) OPERATOR(pg_catalog.~) '^-?[0-9]{{1,19}}$' \
             THEN CASE WHEN pg_catalog.abs(({text})::pg_catalog.numeric) \
             OPERATOR(pg_catalog.<=) 9223372036854775807 THEN ({text})::pg_catalog.int8 END END"
        ),
        "uuid" => format!(
            "CASE WHEN ({text}) OPERATOR(pg_catalog.~) '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$' \
             THEN ({text})::pg_catalog.uuid END"
        ),
        _ => return None,
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_type_names_pass_as_type_names() {
        for good in [
            "bigint",
            "character varying(36)",
            "numeric(10,2)",
            "timestamp(3) without time zone",
            "uuid",
            "bpchar",
        ] {
            assert_eq!(type_name(good).expect("good"), good);
        }
        assert_eq!(type_name("public.tenant_id").expect("good"), "\"public\".\"tenant_id\"");
        assert_eq!(type_name("a.int or true").expect("quoted"), "\"a\".\"int or true\"");
        assert_eq!(type_name("\"Odd schema\".\"a\"\"b; c\"").expect("good"), "\"Odd schema\".\"a\"\"b; c\"");
        for bad in [
            "",
            "int; drop table x",
            "bigint or true",
            "int) or (true",
            "int) or (1",
            "int(1)) or (true",
            "int(1) or true",
            "int(select 1)",
            "int --",
            "int'",
            "\"open",
            "int[]",
            "int, x",
            "int(",
            "int()",
        ] {
            assert!(type_name(bad).is_err(), "{bad}");
        }
    }
}
