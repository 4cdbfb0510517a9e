//! From a URL to an existing SQLite file and the options to open it with. Never creates a file.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::error::explain;
use crate::error::{Error, Result};
use crate::limits::{LOCK_TIMEOUT, SQLITE_ROWS_BUFFERED_MAX};
use crate::model::{DatabaseIdentity, DatabaseUrl, ShardName};

/// A SQLite file that exists, under its name as a shard.
#[derive(Clone, Debug)]
pub struct Database {
    name: ShardName,
    path: PathBuf,
    read_only: bool,
    options: SqliteConnectOptions,
}

impl Database {
    /// Finds the file of a URL.
    pub fn find(name: &ShardName, url: &DatabaseUrl) -> Result<Self> {
        let unable = |why: &str| Error::usage(format!("unable to open shard '{name}' at '{url}': {why}"));
        let options = SqliteConnectOptions::from_str(url.expose())
            .map_err(|error| unable("the URL is wrong").because(error).hint("write it as sqlite:PATH"))?;
        let query = url.expose().split_once('?').map_or("", |(_, query)| query);
        let is_mode = |mode: &str| {
            url::form_urlencoded::parse(query.as_bytes()).any(|(key, value)| key == "mode" && value == mode)
        };
        // This is what the driver makes of `:memory:`.
        let in_memory = options.get_filename().to_string_lossy().starts_with("file:sqlx-in-memory");
        if in_memory || is_mode("memory") {
            return Err(unable("a database in memory is no shard").hint("name a file, as sqlite:PATH"));
        }
        let read_only = is_mode("ro");
        let path = match options.get_filename().canonicalize() {
            Ok(path) if path.is_file() => path,
            Ok(_) => return Err(unable("not a file")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(unable("no such file").hint("reinstate never creates a database; check the path"));
            }
            Err(error) => return Err(unable("the file cannot be reached").because(error)),
        };
        // Everything but the path is the engine's to decide, save for the `mode=ro` that a person may have
        // written. The journal mode stays as the file has it.
        let options = options
            .filename(&path)
            .create_if_missing(false)
            .shared_cache(false)
            .busy_timeout(LOCK_TIMEOUT)
            .foreign_keys(true)
            .row_buffer_size(SQLITE_ROWS_BUFFERED_MAX)
            .disable_statement_logging();
        Ok(Self { name: name.clone(), path, read_only, options })
    }

    /// The shard's name.
    pub fn name(&self) -> &ShardName {
        &self.name
    }

    /// The canonical path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the URL or the file's permissions forbid writing, as far as can be told without opening it.
    pub fn is_read_only(&self) -> bool {
        self.read_only || self.path.metadata().is_ok_and(|file| file.permissions().readonly())
    }

    /// Which database this is.
    pub fn identity(&self) -> Result<DatabaseIdentity> {
        let path = self.path.to_str().ok_or_else(|| {
            let name = &self.name;
            Error::usage(format!("unable to open shard '{name}': its path is not UTF-8"))
        })?;
        Ok(DatabaseIdentity::Sqlite { path: path.to_owned() })
    }

    /// Options of connections that read. The file is opened for writing all the same: after a crash the first
    /// to open it, even a reader, has to roll the hot journal back. `query_only` keeps every statement from
    /// writing.
    pub fn reader_options(&self) -> SqliteConnectOptions {
        self.options.clone().pragma("query_only", "ON")
    }

    /// Opens a connection that reads.
    pub async fn connect_reader(&self) -> Result<SqliteConnection> {
        self.connect(&self.reader_options()).await
    }

    /// Opens a connection for a trial: it reads the file, and writes to temporary tables of its own.
    pub async fn connect_trial(&self) -> Result<SqliteConnection> {
        self.connect(&self.options.clone().foreign_keys(false)).await
    }

    /// Opens a connection that writes.
    pub async fn connect_writer(&self) -> Result<SqliteConnection> {
        self.connect(&self.options).await
    }

    async fn connect(&self, options: &SqliteConnectOptions) -> Result<SqliteConnection> {
        options.connect().await.map_err(|error| self.unable("open", error))
    }

    /// The error for something that could not be done to this shard as a whole: `unable to VERB shard
    /// 'NAME'`.
    pub fn unable(&self, verb: &str, error: sqlx::Error) -> Error {
        let (name, path) = (&self.name, self.path.display());
        explain(format!("unable to {verb} shard '{name}' at '{path}'"), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn find(url: &str) -> Result<Database> {
        Database::find(&ShardName::new("shop"), &DatabaseUrl::parse(url).expect("url"))
    }

    #[test]
    fn a_missing_file_is_named_and_not_created() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("gone.db");
        for mode in ["", "?mode=rwc"] {
            let url = format!("sqlite:{}{mode}", path.display());
            let error = find(&url).expect_err("missing");
            assert_eq!(error.kind(), Kind::Usage);
            assert_eq!(
                error.chain(),
                format!("unable to open shard 'shop' at 'sqlite:{}': no such file", path.display())
            );
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let of = |url: &str| find(url).expect_err("refused").chain();
        assert!(of(&format!("sqlite:{}", folder.path().display())).ends_with("': not a file"));
        assert!(of("sqlite::memory:").ends_with("': a database in memory is no shard"));
        assert!(
            of("sqlite:a.db?mode=sideways").contains("the URL is wrong"),
            "{}",
            of("sqlite:a.db?mode=sideways")
        );
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), [b'x'; 4096]).expect("write");
        let database = find(&format!("sqlite:{}", file.path().display())).expect("found");
        let mut connection = database.connect_reader().await.expect("opened lazily");
        let error = sqlx::query("SELECT * FROM sqlite_schema")
            .execute(&mut connection)
            .await
            .map_err(|error| database.unable("read", error))
            .expect_err("no database");
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.chain().ends_with("file is not a database"), "{}", error.chain());
    }

    #[tokio::test]
    async fn a_reader_cannot_write() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let database = find(&format!("sqlite:{}", file.path().display())).expect("found");
        let mut reader = database.connect_reader().await.expect("reader");
        let error = sqlx::query("CREATE TABLE t (a)")
            .execute(&mut reader)
            .await
            .map_err(|error| database.unable("write", error))
            .expect_err("read-only");
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.chain().contains("attempt to write a readonly database"), "{}", error.chain());
    }
}
