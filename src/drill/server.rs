//! A PostgreSQL server with databases of the drill: one that somebody named, or a cluster of its own.

use super::cluster::Cluster;
use super::database::Database;
use crate::error::{Error, Result};
use crate::model::DatabaseUrl;

/// A server, and the prefix of the drill's databases on it.
pub struct Server {
    url: DatabaseUrl,
    admin: Database,
    prefix: String,
    cluster: Option<Cluster>,
}

impl Server {
    /// Connects to a server.
    pub async fn open(url: &DatabaseUrl, cluster: Option<Cluster>) -> Result<Self> {
        if !url.is_postgres() {
            return Err(Error::usage(format!("unable to play the drill on '{url}'"))
                .hint("--shard takes a PostgreSQL URL; without it the drill makes SQLite files of its own"));
        }
        let admin = Database::open(url).await.map_err(|error| {
            let text = error.chain();
            Error::interrupted(format!("unable to connect to '{url}': {text}"))
                .hint("check that the server runs and that the role may CREATE DATABASE")
        })?;
        let prefix = match cluster {
            Some(_) => "drill".to_owned(),
            None => format!("reinstate_drill_{:08x}", fastrand::u32(..)),
        };
        Ok(Self { url: url.clone(), admin, prefix, cluster })
    }

    /// The cluster, if it is the drill's own.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Makes a database. Its name is made of the prefix and a fixed word: nothing to quote.
    pub async fn create(&self, name: &str) -> Result<DatabaseUrl> {
        let database = self.database(name);
        self.admin.script(&format!("CREATE DATABASE {database}")).await?;
        self.url_of(&database)
    }

    /// Makes a database as a copy of another one.
    pub async fn copy(&self, from: &str, to: &str) -> Result<DatabaseUrl> {
        let (from, to) = (self.database(from), self.database(to));
        // A template must have no connection; those of the drill's own pool open again when needed.
        let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{from}'");
        self.admin.script(&sql).await?;
        self.admin.script(&format!("CREATE DATABASE {to} TEMPLATE {from}")).await?;
        self.url_of(&to)
    }

    /// Removes the drill's databases, with the cluster if it is its own, or leaves them and says how to stop it.
    pub async fn end(self, keep: bool) -> Result<Option<String>> {
        if let Some(cluster) = self.cluster {
            self.admin.close().await;
            let farewell = keep.then(|| cluster.farewell());
            cluster.end(keep).await?;
            return Ok(farewell);
        }
        if !keep {
            for database in self.admin.databases(&self.prefix).await? {
                self.admin.script(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
            }
        }
        Ok(None)
    }

    fn database(&self, name: &str) -> String {
        format!("{}_{}", self.prefix, name.replace('-', "_"))
    }

    fn url_of(&self, database: &str) -> Result<DatabaseUrl> {
        let wrong = |error: url::ParseError| Error::bug("a parsed URL cannot be parsed").because(error);
        let mut url = url::Url::parse(self.url.expose()).map_err(wrong)?;
        url.set_path(&format!("/{database}"));
        DatabaseUrl::parse(url.as_str())
    }
}
