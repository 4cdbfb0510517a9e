//! What the server said, as an [`Error`] with a kind and the next action.
//!
//! SQLSTATE decides: a lost connection is [`Kind::Interrupted`], a missing privilege [`Kind::Refused`],
//! anything else [`Kind::Failed`]; causes that may pass carry [`Transient`]. The server's message, detail and
//! constraint are kept.

use sqlx::postgres::PgDatabaseError;

use crate::database::{KeyTaken, ParentMissing, Transient};
use crate::error::{Error, Kind};

/// The error of an action (`unable to …`) that the driver or the server refused.
pub fn failure(unable: impl Into<String>, error: sqlx::Error) -> Error {
    let unable = unable.into();
    let Some(server) = server_error(&error) else {
        return match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => interrupted(unable, error),
            _ => Error::failed(unable).because(error),
        };
    };
    let said = said(server);
    let (code, message) = (server.code().to_owned(), server.message().to_owned());
    match code.as_str() {
        code if is_connection_lost(code) => interrupted(unable, ServerError(said)),
        "40001" | "40P01" | "55P03" => Error::failed(unable)
            .because(Transient(said))
            .hint("a neighbour held the lock or won the race; nothing was written, try again"),
        "42501" => Error::refused(unable).because(ServerError(said)).hint(grant_for(&message)),
        "25006" => Error::refused(unable).because(ServerError(said)).hint(
            "the server is a standby or the role is read-only; use the primary and a role that may write",
        ),
        "23505" | "23P01" => Error::failed(unable)
            .because(KeyTaken(said))
            .hint("a live row has the same key; `reinstate plan` lists what is already live"),
        "23503" => Error::failed(unable)
            .because(ParentMissing(said))
            .hint("the row it points at is gone from the live database, or comes with another tenant"),
        "23514" if message.starts_with("no partition of relation") => Error::failed(unable)
            .because(ServerError(said))
            .hint("the partition was dropped since the snapshot; create it again, then apply the plan again"),
        _ => Error::failed(unable).because(ServerError(said)),
    }
}

/// The server's part of an error, if it came from there.
fn server_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
}

/// An error in the words of the server, without the driver's.
pub fn in_words(error: sqlx::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match server_error(&error) {
        Some(server) => Box::new(ServerError(said(server))),
        None => Box::new(error),
    }
}

/// The SQLSTATE of an error, if the server sent it.
pub fn sqlstate(error: &sqlx::Error) -> Option<&str> {
    server_error(error).map(PgDatabaseError::code)
}

/// Whether a text is no value of the type it was cast to.
pub fn is_invalid_value(error: &sqlx::Error) -> bool {
    // Invalid text, out of range (number, date), failed check of a domain.
    matches!(sqlstate(error), Some("22P02" | "22003" | "22007" | "22008" | "22001" | "23514"))
}

/// Whether an error comes from reading a value: any that the server gives but those about its own state.
pub fn is_about_the_value(error: &sqlx::Error) -> bool {
    let state = ["08", "25", "40", "53", "55", "57", "58"];
    sqlstate(error).is_some_and(|code| !state.iter().any(|class| code.starts_with(class)))
}

fn is_connection_lost(code: &str) -> bool {
    // Connection exceptions, shutdown of the server, time-outs and cancellation by its administrator.
    code.starts_with("08") || code.starts_with("57P") || matches!(code, "57014" | "25P03" | "53300")
}

fn interrupted(unable: String, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Interrupted, unable)
        .because(cause)
        .hint("run the same command again; what is finished is not repeated")
}

/// The server's words in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct ServerError(String);

fn said(error: &PgDatabaseError) -> String {
    let mut text = error.message().to_owned();
    if let Some(detail) = error.detail() {
        text.push_str(&format!(" ({})", detail.trim_end_matches('.')));
    }
    if let (Some(schema), Some(table)) = (error.schema(), error.table()) {
        text.push_str(&format!(" in table '{schema}.{table}'"));
    }
    if let Some(constraint) = error.constraint() {
        text.push_str(&format!(", constraint '{constraint}'"));
    }
    // Names the column of a COPY, or the function of a trigger; the lines below repeat its code.
    if let Some(place) = error.r#where().and_then(|place| place.lines().next()) {
        text.push_str(&format!(", at {place}"));
    }
    text
}

/// `permission denied for table sites` → the GRANT that is missing.
fn grant_for(message: &str) -> String {
    if message.starts_with("query would be affected by row-level security") {
        return "row security hides rows; use a role with BYPASSRLS or the table's owner".to_owned();
    }
    let object = message.strip_prefix("permission denied for ").and_then(|rest| rest.split_once(' '));
    match object {
        Some(("table", name)) => format!("GRANT SELECT, INSERT ON TABLE {name} TO the role"),
        Some(("sequence", name)) => format!("GRANT SELECT, UPDATE ON SEQUENCE {name} TO the role"),
        Some(("schema", name)) => format!("GRANT USAGE ON SCHEMA {name} TO the role"),
        Some(("function", name)) => format!("GRANT EXECUTE ON FUNCTION {name} TO the role"),
        _ => "the role lacks a privilege; GRANT it or connect as another role".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_privilege_names_its_grant() {
        assert_eq!(
            grant_for("permission denied for table sites"),
            "GRANT SELECT, INSERT ON TABLE sites TO the role"
        );
        assert_eq!(grant_for("permission denied for schema app"), "GRANT USAGE ON SCHEMA app TO the role");
        let hidden = "query would be affected by row-level security policy for table \"notes\"";
        assert!(grant_for(hidden).contains("BYPASSRLS"));
        assert!(grant_for("must be owner of table x").starts_with("the role lacks"));
    }

    #[test]
    fn a_broken_socket_can_be_resumed() {
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let error = failure("unable to read", sqlx::Error::Io(lost));
        assert_eq!(error.kind(), Kind::Interrupted);
        assert_eq!(failure("unable to read", sqlx::Error::RowNotFound).kind(), Kind::Failed);
    }
}
