//! Connecting: URL to a connection whose settings are known, whatever the role's or the database's defaults
//! are.
//!
//! A server that is just starting, or that refuses one more connection, gets a few more attempts; a wrong
//! password or database does not. No message holds the URL's secrets.

use std::io::ErrorKind;
use std::str::FromStr;

use backon::{ExponentialBuilder, Retryable};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::error::{in_words, sqlstate};
use crate::error::{Error, Kind, Result};
use crate::limits::{CONNECT_ATTEMPTS_MAX, CONNECT_TIMEOUT, LOCK_TIMEOUT, RETRY_DELAY};
use crate::model::{DatabaseUrl, ShardName};

/// What the server shows its operators for our connections.
pub const APPLICATION_NAME: &str = "reinstate";

/// The oldest server that works, as `server_version_num` has it.
const SERVER_VERSION_MIN: u32 = 140_000;

/// URL parameters that the driver understands. It would write the value of any other one to the log.
const URL_PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Where to connect to, and how.
#[derive(Clone)]
pub struct Target {
    name: ShardName,
    url: DatabaseUrl,
    options: PgConnectOptions,
}

impl Target {
    /// Checks the URL; opens nothing.
    pub fn new(name: &ShardName, url: &DatabaseUrl) -> Result<Self> {
        let unable = || Error::usage(format!("unable to use the URL of shard '{name}', {url}"));
        // The text was a URL when it became a DatabaseUrl.
        let parsed = url::Url::parse(url.expose()).map_err(|error| unable().because(error))?;
        if let Some((key, _)) = parsed
            .query_pairs()
            .find(|(key, _)| !URL_PARAMETERS.contains(&key.as_ref()) && !key.starts_with("options["))
        {
            return Err(Error::usage(format!(
                "unable to use parameter '{key}' in the URL of shard '{name}'"
            ))
            .hint(format!("known parameters: {}", URL_PARAMETERS.join(", "))));
        }
        let options = PgConnectOptions::from_str(url.expose()).map_err(|error| unable().because(error))?;
        let options = options.application_name(APPLICATION_NAME).disable_statement_logging();
        Ok(Self { name: name.clone(), url: url.clone(), options })
    }

    /// The shard's name, for messages.
    pub fn name(&self) -> &ShardName {
        &self.name
    }

    /// Opens a connection and makes its settings known.
    pub async fn connect(&self) -> Result<PgConnection> {
        let attempt = || async {
            tokio::time::timeout(CONNECT_TIMEOUT, self.options.connect())
                .await
                .unwrap_or_else(|_| Err(sqlx::Error::Io(ErrorKind::TimedOut.into())))
        };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(RETRY_DELAY)
            .with_max_times(CONNECT_ATTEMPTS_MAX - 1);
        let mut connection =
            attempt.retry(pauses).when(may_pass).await.map_err(|error| self.unable(error))?;
        if connection.server_version_num().is_some_and(|version| version < SERVER_VERSION_MIN) {
            return Err(Error::refused(format!(
                "unable to use shard '{}': its server is older than PostgreSQL {}",
                self.name,
                SERVER_VERSION_MIN / 10_000
            )));
        }
        // Safe: constants and a number.
        let settings = sqlx::AssertSqlSafe(settings());
        sqlx::raw_sql(settings).execute(&mut connection).await.map_err(|error| self.unable(error))?;
        Ok(connection)
    }

    fn unable(&self, error: sqlx::Error) -> Error {
        let unable = format!("unable to connect to shard '{}' at {}", self.name, self.url);
        let (kind, hint) = match sqlstate(&error) {
            Some("28P01" | "28000") => {
                (Kind::Usage, "check the user and the password of the URL, and the server's pg_hba.conf")
            }
            Some("3D000") => (Kind::Usage, "check the database's name in the URL"),
            Some("42501") => {
                (Kind::Refused, "GRANT CONNECT ON DATABASE … TO the role, or connect as another role")
            }
            _ => (
                Kind::Interrupted,
                "check that the server runs and can be reached, then run the same command again",
            ),
        };
        Error::new(kind, unable).because(in_words(error)).hint(hint)
    }
}

fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(io) => io.kind() == ErrorKind::ConnectionRefused,
        // Starting up, too many connections.
        _ => matches!(sqlstate(error), Some("57P03" | "53300")),
    }
}

/// Settings of every connection. They are set once it is open, because poolers refuse them as start-up
/// parameters.
fn settings() -> String {
    let lock_timeout_ms = LOCK_TIMEOUT.as_millis();
    format!(
        // Text in the wire form depends on it; the rest of the wire form depends on no setting.
        "SET client_encoding = 'UTF8';
         SET standard_conforming_strings = on;
         SET datestyle = 'ISO';
         SET timezone = 'UTC';
         SET intervalstyle = 'postgres';
         SET bytea_output = 'hex';
         SET extra_float_digits = 3;
         -- Names are written with their schema, and types are spelled with it.
         SET search_path = pg_catalog;
         -- An error instead of rows silently missing.
         SET row_security = off;
         -- The engine loses every lock fight with the neighbours, but is patient with its own long work.
         SET lock_timeout = {lock_timeout_ms};
         SET statement_timeout = 0;
         SET idle_in_transaction_session_timeout = 0;
         -- Many short statements gain nothing from a compiler, and neighbours own the other cores.
         SET jit = off;
         SET max_parallel_workers_per_gather = 0;"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_url_parameter_is_refused_without_its_value() {
        let url = DatabaseUrl::parse("postgres://sre@db/shop?sslpassword=hunter2").expect("url");
        let error = Target::new(&ShardName::new("shop"), &url).err().expect("refused");
        assert_eq!(error.to_string(), "unable to use parameter 'sslpassword' in the URL of shard 'shop'");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
