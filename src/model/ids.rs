//! Names and identifiers, each its own type so that they cannot be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits::TENANT_ID_BYTES_MAX;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A tenant's id in the text form of its database type (`42`, a UUID in lower case). Data, never SQL.
    TenantId
}
text_id! {
    /// The name of a shard in `reinstate.toml`.
    ShardName
}
text_id! {
    /// `<instant>-<short id>`, for example `20261121T084500Z-3f9a2c`; unique within a shard.
    SnapshotId
}
text_id! {
    /// BLAKE3 of a plan's content in hexadecimal; what `apply`, the journal and approvals bind to.
    PlanHash
}

impl TenantId {
    /// Checks a line of a tenant list: not empty, bounded, no control characters.
    pub fn parse(line: &str) -> Result<Self> {
        if line.is_empty() || line.len() > TENANT_ID_BYTES_MAX || line.chars().any(char::is_control) {
            return Err(Error::usage(format!("unable to read tenant id '{}'", line.escape_debug()))
                .hint(format!("one id a line, at most {TENANT_ID_BYTES_MAX} bytes, no control characters")));
        }
        Ok(Self(line.to_owned()))
    }
}

/// A table's name with its schema (`main` on SQLite). Shown and stored as `schema.table`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Schema, unquoted.
    pub schema: String,
    /// Table, unquoted.
    pub table: String,
}

impl TableName {
    /// A name from its unquoted parts.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: schema.into(), table: table.into() }
    }

    /// The name with both parts quoted for SQL (`"schema"."table"`), in PostgreSQL and SQLite alike.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.table))
    }
}

/// Quotes an identifier for SQL: double quotes around, inner ones doubled.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl fmt::Display for TableName {
    /// `schema.table`; parts that hold a dot or a quote are quoted, so that the text can be parsed again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |name: &str| {
            if name.contains(['.', '"']) { quote_identifier(name) } else { name.to_owned() }
        };
        write!(f, "{}.{}", part(&self.schema), part(&self.table))
    }
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::usage(format!("unable to read table name '{text}'"))
                .hint("write it as SCHEMA.TABLE, for example public.sites")
        };
        let mut parts = Vec::new();
        let mut rest = text;
        loop {
            let (part, after) = take_part(rest).ok_or_else(wrong)?;
            parts.push(part);
            match after.strip_prefix('.') {
                Some(next) => rest = next,
                None if after.is_empty() => break,
                None => return Err(wrong()),
            }
        }
        match <[String; 2]>::try_from(parts) {
            Ok([schema, table]) => Ok(Self { schema, table }),
            Err(_) => Err(wrong()),
        }
    }
}

/// One part of a dotted name and what follows it.
fn take_part(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut part = String::new();
    loop {
        let quote = rest.find('"')?;
        part.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                part.push('"');
                rest = next;
            }
            None => return (!part.is_empty()).then_some((part, rest)),
        }
    }
}

impl Serialize for TableName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TableName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A database URL whose password is never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(url::Url);

impl DatabaseUrl {
    /// Parses `postgres://…`, `postgresql://…` or `sqlite:PATH`. The text is not repeated in the error: it may
    /// hold a password.
    pub fn parse(text: &str) -> Result<Self> {
        let url = url::Url::parse(text).map_err(|error| {
            Error::usage("unable to read the database URL")
                .because(error)
                .hint("use postgres://USER@HOST:PORT/DATABASE or sqlite:PATH")
        })?;
        match url.scheme() {
            "postgres" | "postgresql" | "sqlite" => Ok(Self(url)),
            other => Err(Error::usage(format!("unable to use a database of kind '{other}'"))
                .hint("use postgres://USER@HOST:PORT/DATABASE or sqlite:PATH")),
        }
    }

    /// The URL with its secrets, for the database driver alone.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }

    /// Whether this is PostgreSQL (otherwise SQLite).
    pub fn is_postgres(&self) -> bool {
        self.0.scheme() != "sqlite"
    }

    /// Whether the URL carries a password.
    pub fn has_password(&self) -> bool {
        self.0.password().is_some() || self.0.query_pairs().any(|(key, _)| key.contains("password"))
    }

    /// The URL without user info's password and without query, for people.
    pub fn redacted(&self) -> String {
        let mut url = self.0.clone();
        if url.password().is_some() {
            // Only fails on URLs that cannot have a password, which this one has.
            let _ = url.set_password(Some("***"));
        }
        url.set_query(None);
        url.to_string()
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", self.redacted())
    }
}

/// Which database this is, so that a restore cannot go to another one by mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DatabaseIdentity {
    /// A PostgreSQL database: the cluster's `system_identifier`, and the database in it.
    Postgres {
        /// `pg_control_system().system_identifier`.
        system_identifier: String,
        /// `pg_database.oid` of the current database.
        database_oid: u32,
        /// Name of the current database.
        database: String,
    },
    /// A SQLite database: its file.
    Sqlite {
        /// Canonical path of the file.
        path: String,
    },
}

impl DatabaseIdentity {
    /// Whether `live` is the same database. A renamed PostgreSQL database is still the same one.
    pub fn is_same(&self, live: &Self) -> bool {
        match (self, live) {
            (
                Self::Postgres { system_identifier: a, database_oid: x, .. },
                Self::Postgres { system_identifier: b, database_oid: y, .. },
            ) => a == b && x == y,
            (Self::Sqlite { path: a }, Self::Sqlite { path: b }) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for DatabaseIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres { system_identifier, database, database_oid } => {
                write!(
                    f,
                    "postgres database '{database}' (oid {database_oid}) of cluster {system_identifier}"
                )
            }
            Self::Sqlite { path } => write!(f, "sqlite file '{path}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_survive_text() {
        for name in [
            TableName::new("public", "sites"),
            TableName::new("public", "Odd \" name"),
            TableName::new("a.b", "c.d"),
        ] {
            assert_eq!(name.to_string().parse::<TableName>().expect("parse"), name);
        }
        for wrong in ["sites", "a.b.c", "", "a.", ".b", "\"a", "\"a\"b.c"] {
            assert!(wrong.parse::<TableName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn quoting_cannot_be_escaped() {
        assert_eq!(
            TableName::new("s", "x\"; drop table y; --").quoted(),
            "\"s\".\"x\"\"; drop table y; --\""
        );
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = DatabaseUrl::parse("postgres://sre:hunter2@db/shop?sslpassword=hunter3").expect("url");
        let shown = format!("{url} {url:?}");
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(shown.contains("sre:***@db/shop"), "{shown}");
        let error = DatabaseUrl::parse("postgres://sre:hunter2@[db/shop").expect_err("bad url");
        assert!(!error.chain().contains("hunter"), "{}", error.chain());
    }
}
