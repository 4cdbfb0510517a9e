//! Where the drill is played: a folder of its own, and databases of its own.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::database::Database;
use super::fleet::{Fleet, TABLES};
use super::{SHARDS, shard_name};
use crate::config::{CONFIG_PATH_DEFAULT, Config};
use crate::error::{Error, Result};
use crate::init::{Declarations, Root, RootSpec, Schema, guesses, infer, render};
use crate::model::{DatabaseUrl, TableName, TenantId};
use crate::progress::Progress;
use crate::shard;

/// Names of the schema files, by shard and dialect.
const SCHEMAS: [(&str, &str, &str); 3] = [
    (
        "catalogue",
        include_str!("../../fixtures/schemas/catalogue.postgres.sql"),
        include_str!("../../fixtures/schemas/catalogue.sqlite.sql"),
    ),
    (
        "identity",
        include_str!("../../fixtures/schemas/identity.postgres.sql"),
        include_str!("../../fixtures/schemas/identity.sqlite.sql"),
    ),
    (
        "product",
        include_str!("../../fixtures/schemas/product.postgres.sql"),
        include_str!("../../fixtures/schemas/product.sqlite.sql"),
    ),
];

/// The drill's folder and databases.
pub struct Stage {
    folder: tempfile::TempDir,
    server: Option<Server>,
    urls: BTreeMap<&'static str, DatabaseUrl>,
    databases: BTreeMap<&'static str, Database>,
}

/// A PostgreSQL server and the prefix of the drill's databases on it.
struct Server {
    url: DatabaseUrl,
    admin: Database,
    prefix: String,
}

/// The shards a second time, without the accident's rescue: what the neighbours' rows must be in the end.
pub struct Mirror {
    databases: BTreeMap<&'static str, Database>,
}

impl Mirror {
    /// The mirror of a shard.
    pub fn database(&self, shard: &str) -> Result<&Database> {
        self.databases.get(shard).ok_or_else(|| Error::bug(format!("the drill has no mirror of '{shard}'")))
    }

    /// Closes every connection.
    pub async fn close(&self) {
        for database in self.databases.values() {
            database.close().await;
        }
    }
}

impl Stage {
    /// Makes the folder and the databases.
    pub async fn set(server: Option<&DatabaseUrl>) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("reinstate-drill-")
            .tempdir()
            .map_err(|error| Error::failed("unable to make a folder for the drill").because(error))?;
        let server = match server {
            Some(url) => Some(Server::open(url).await?),
            None => None,
        };
        let mut urls = BTreeMap::new();
        let mut databases = BTreeMap::new();
        for shard in SHARDS {
            let url = match &server {
                Some(server) => server.create(shard).await?,
                None => sqlite_url(folder.path(), shard)?,
            };
            databases.insert(shard, Database::open(&url).await?);
            urls.insert(shard, url);
        }
        Ok(Self { folder, server, urls, databases })
    }

    /// The drill's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The shards' kind, for people.
    pub fn kind(&self) -> &'static str {
        if self.server.is_some() { "PostgreSQL" } else { "SQLite" }
    }

    /// A shard's database.
    pub fn database(&self, shard: &str) -> Result<&Database> {
        self.databases.get(shard).ok_or_else(|| Error::bug(format!("the drill has no shard '{shard}'")))
    }

    /// Writes a file into the drill's folder.
    pub fn write_file(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder().join(name);
        std::fs::write(&path, text)
            .map_err(|error| Error::failed(format!("unable to write '{}'", path.display())).because(error))
    }

    /// Builds the fleet; returns its rows.
    pub async fn build(&self, fleet: &Fleet, progress: &dyn Progress) -> Result<u64> {
        for (shard, postgres, sqlite) in SCHEMAS {
            let sql = if self.server.is_some() { postgres } else { sqlite };
            self.database(shard)?.script(sql).await?;
        }
        let mut total = 0;
        progress.begin("building", None);
        for table in &TABLES {
            let rows = fleet.rows(table);
            self.database(table.shard)?.load(table, &rows).await?;
            total += rows.len() as u64;
            progress.advance(rows.len() as u64, 0);
        }
        progress.finish();
        for shard in SHARDS {
            // As in a database that has been in use: the planner knows its tables, the sequences are past the rows.
            self.database(shard)?.script("ANALYZE").await?;
        }
        if self.server.is_some() {
            self.advance_sequences().await?;
        }
        Ok(total)
    }

    async fn advance_sequences(&self) -> Result<()> {
        for table in TABLES.iter().filter(|table| table.columns[0] == "id" && table.name != "sites") {
            let sql = format!(
                "SELECT setval(pg_get_serial_sequence('{0}', 'id'), (SELECT max(id) FROM {0}))",
                table.name
            );
            self.database(table.shard)?.script(&sql).await?;
        }
        Ok(())
    }

    /// Infers the configuration as `reinstate init` does, writes it into the folder and loads it from there.
    pub async fn write_config(&self) -> Result<Config> {
        let mut schemas = Vec::new();
        for shard in SHARDS {
            let name = shard_name(shard);
            let facts = shard::open(&name, &self.urls[shard], 1).await?.facts().await?;
            schemas.push(Schema::new(name, facts.tables));
        }
        let schema = if self.server.is_some() { "public" } else { "main" };
        let root = RootSpec { shard: None, table: TableName::new(schema, "sites"), key: None };
        let declared = Declarations::default();
        let known = Root::find(&schemas, &root)?;
        for schema in &mut schemas {
            schema.guesses = guesses(schema, &known, &declared, &HashMap::new());
        }
        let inferred = infer(&schemas, &root, &declared)?;
        let with_urls: Vec<_> =
            inferred.into_iter().zip(SHARDS.iter().map(|shard| self.urls[shard].clone())).collect();
        let store = format!("file://{}", self.folder().join("store").display());
        let text = render(Some(&store), &with_urls);
        self.write_file(CONFIG_PATH_DEFAULT, &text)?;
        // A password stays out of the file; the drill knows it already.
        let env = |variable: &str| {
            let shard = SHARDS.iter().find(|shard| format!("{}_URL", shard.to_uppercase()) == variable)?;
            Some(self.urls[shard].expose().to_owned())
        };
        Config::parse(&text, &self.folder().join(CONFIG_PATH_DEFAULT), env)
    }

    /// The accident: hard deletes by a list of ids, children first, in every shard. Returns the rows lost.
    pub async fn delete(&self, tenants: &[TenantId]) -> Result<u64> {
        let mut rows = 0;
        for table in TABLES.iter().rev() {
            rows += self.database(table.shard)?.delete(table, tenants).await?;
        }
        Ok(rows)
    }

    /// Copies every shard as it is now.
    pub async fn mirror(&self) -> Result<Mirror> {
        let mut databases = BTreeMap::new();
        for shard in SHARDS {
            let name = format!("{shard}_mirror");
            let url = match &self.server {
                Some(server) => server.copy(shard, &name, self.database(shard)?).await?,
                None => {
                    let url = sqlite_url(self.folder(), &name)?;
                    let path = self.folder().join(format!("{name}.db"));
                    let sql = format!("VACUUM INTO '{}'", path.display().to_string().replace('\'', "''"));
                    self.database(shard)?.script(&sql).await?;
                    url
                }
            };
            databases.insert(shard, Database::open(&url).await?);
        }
        Ok(Mirror { databases })
    }

    /// Takes everything down, or leaves it and says where it is.
    pub async fn strike(self, keep: bool) -> Result<Option<PathBuf>> {
        for database in self.databases.values() {
            database.close().await;
        }
        if keep {
            return Ok(Some(self.folder.keep()));
        }
        if let Some(server) = &self.server {
            for shard in SHARDS {
                server.drop_database(shard).await?;
                server.drop_database(&format!("{shard}_mirror")).await?;
            }
        }
        Ok(None)
    }
}

fn sqlite_url(folder: &Path, name: &str) -> Result<DatabaseUrl> {
    DatabaseUrl::parse(&format!("sqlite:{}", folder.join(format!("{name}.db")).display()))
}

impl Server {
    async fn open(url: &DatabaseUrl) -> Result<Self> {
        if !url.is_postgres() {
            return Err(Error::usage(format!("unable to play the drill on '{url}'"))
                .hint("--shard takes a PostgreSQL URL; without it the drill makes SQLite files of its own"));
        }
        let admin = Database::open(url).await.map_err(|error| {
            let text = error.chain();
            Error::interrupted(format!("unable to connect to '{url}': {text}"))
                .hint("check that the server runs and that the role may CREATE DATABASE")
        })?;
        Ok(Self { url: url.clone(), admin, prefix: format!("reinstate_drill_{:08x}", fastrand::u32(..)) })
    }

    /// Database names are made of the prefix and a fixed word: nothing to quote.
    async fn create(&self, name: &str) -> Result<DatabaseUrl> {
        let database = format!("{}_{name}", self.prefix);
        self.admin.script(&format!("CREATE DATABASE {database}")).await?;
        self.url_of(&database)
    }

    async fn copy(&self, from: &str, to: &str, open: &Database) -> Result<DatabaseUrl> {
        let (from, to) = (format!("{}_{from}", self.prefix), format!("{}_{to}", self.prefix));
        // A template must have no connection; those of the drill's own pool open again when needed.
        if let Database::Postgres(_) = open {
            let sql =
                format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{from}'");
            self.admin.script(&sql).await?;
        }
        self.admin.script(&format!("CREATE DATABASE {to} TEMPLATE {from}")).await?;
        self.url_of(&to)
    }

    async fn drop_database(&self, name: &str) -> Result<()> {
        let database = format!("{}_{name}", self.prefix);
        self.admin.script(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await
    }

    fn url_of(&self, database: &str) -> Result<DatabaseUrl> {
        let wrong = |error: url::ParseError| Error::bug("a parsed URL cannot be parsed").because(error);
        let mut url = url::Url::parse(self.url.expose()).map_err(wrong)?;
        url.set_path(&format!("/{database}"));
        DatabaseUrl::parse(url.as_str())
    }
}
