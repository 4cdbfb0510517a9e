//! Where the drill is played: a folder of its own, and databases of its own.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::cluster::Cluster;
use super::database::Database;
use super::fleet::{Fleet, Value};
use super::rules;
use super::server::Server;
use super::tables::{SERVICES, SHARDS, TABLES};
use crate::config::{CONFIG_PATH_DEFAULT, Config};
use crate::error::{Error, Result};
use crate::init::{Declarations, Root, RootSpec, Schema, guesses, infer, render};
use crate::model::{DatabaseUrl, ShardName, TableName, TenantId};
use crate::progress::Progress;
use crate::shard;

/// What the fleet is made of.
#[derive(Clone, Debug)]
pub enum Ground {
    /// SQLite files in the drill's folder.
    Files,
    /// Throwaway PostgreSQL clusters that the drill starts.
    Clusters,
    /// Databases of its own on this PostgreSQL server.
    Server(DatabaseUrl),
}

/// Where the catalogue and the identities are, and where the products.
const CLUSTERS: [&[&str]; 2] = [&["catalogue", "identity"], &["issues-1", "issues-2", "docs-1", "docs-2"]];

/// The drill's folder and databases.
pub struct Stage {
    folder: tempfile::TempDir,
    /// None: the shards are files. Two: as [`CLUSTERS`] says.
    servers: Vec<Server>,
    urls: BTreeMap<&'static str, DatabaseUrl>,
    databases: BTreeMap<&'static str, Database>,
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
    pub async fn set(ground: &Ground) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("reinstate-drill-")
            .tempdir()
            .map_err(|error| Error::failed("unable to make a folder for the drill").because(error))?;
        let servers = match ground {
            Ground::Files => vec![],
            Ground::Server(url) => vec![Server::open(url, None).await?],
            Ground::Clusters => {
                let (accounts, products) = futures::try_join!(Cluster::start(), Cluster::start())?;
                let mut servers = Vec::new();
                for cluster in [accounts, products] {
                    servers.push(Server::open(&cluster.url()?, Some(cluster)).await?);
                }
                servers
            }
        };
        let mut stage = Self { folder, servers, urls: BTreeMap::new(), databases: BTreeMap::new() };
        for shard in SHARDS {
            let url = match stage.server(shard) {
                Some(server) => server.create(shard).await?,
                None => sqlite_url(stage.folder(), shard)?,
            };
            stage.databases.insert(shard, Database::open(&url).await?);
            stage.urls.insert(shard, url);
        }
        Ok(stage)
    }

    /// The server of a shard, if it is on one.
    fn server(&self, shard: &str) -> Option<&Server> {
        let of = CLUSTERS.iter().position(|shards| shards.contains(&shard)).unwrap_or_default();
        self.servers.get(of.min(self.servers.len().saturating_sub(1)))
    }

    /// The clusters that the drill has started.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.servers.iter().filter_map(Server::cluster)
    }

    /// The drill's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The shards' kind, for people.
    pub fn kind(&self) -> &'static str {
        if self.servers.is_empty() { "SQLite" } else { "PostgreSQL" }
    }

    /// A shard's database.
    pub fn database(&self, shard: &str) -> Result<&Database> {
        self.databases.get(shard).ok_or_else(|| Error::bug(format!("the drill has no shard '{shard}'")))
    }

    /// Writes a file into the drill's folder.
    pub fn write_file(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder().join(name);
        let folder = path.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| Error::failed(format!("unable to write '{}'", path.display())).because(error))
    }

    /// Builds the fleet; returns its rows.
    pub async fn build(&self, fleet: &Fleet, progress: &dyn Progress) -> Result<u64> {
        for service in &SERVICES {
            let sql = if self.servers.is_empty() { service.sqlite } else { service.postgres };
            for shard in service.shards {
                self.database(shard)?.script(sql).await?;
            }
        }
        let mut total = 0;
        progress.begin("building", None);
        for table in &TABLES {
            let mut rows: BTreeMap<&str, Vec<Vec<Value>>> = BTreeMap::new();
            for row in fleet.rows(table) {
                for shard in fleet.shards_of(table, &row) {
                    rows.entry(shard).or_default().push(row.clone());
                }
            }
            for (shard, rows) in rows {
                self.database(shard)?.load(table, &rows).await?;
                total += rows.len() as u64;
                progress.advance(rows.len() as u64, 0);
            }
        }
        progress.finish();
        for shard in SHARDS {
            // As in a database that has been in use: the planner knows its tables, the sequences are past the rows.
            self.database(shard)?.script("ANALYZE").await?;
        }
        if !self.servers.is_empty() {
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
            for shard in table.shards() {
                self.database(shard)?.script(&sql).await?;
            }
        }
        Ok(())
    }

    /// Infers the configuration as `reinstate init` does, adds what belongs to a site beside its rows, writes it into
    /// the folder and loads it from there.
    pub async fn write_config(&self, flags: &str) -> Result<Config> {
        let mut schemas = Vec::new();
        for shard in SHARDS {
            let name = ShardName::new(shard);
            let facts = shard::open(&name, &self.urls[shard], 1).await?.facts().await?;
            schemas.push(Schema::new(name, facts.tables));
        }
        let schema = if self.servers.is_empty() { "main" } else { "public" };
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
        // A key of the top level stands before all tables.
        let text = text.replacen("\n[shards.", &format!("{}\n[shards.", rules::SIDE_EFFECTS), 1);
        let text = text + &rules::sections(self.folder(), flags, !self.servers.is_empty());
        self.write_file(CONFIG_PATH_DEFAULT, &text)?;
        Config::parse(&text, &self.folder().join(CONFIG_PATH_DEFAULT), |variable| {
            self.variables().find(|(name, _)| name == variable).map(|(_, url)| url.to_owned())
        })
    }

    /// The variables that hold the shards' URLs where these have a password, which stays out of the configuration.
    pub fn variables(&self) -> impl Iterator<Item = (String, &str)> {
        let name = |shard: &str| format!("{}_URL", shard.to_uppercase().replace('-', "_"));
        self.urls.iter().map(move |(shard, url)| (name(shard), url.expose()))
    }

    /// The accident: hard deletes by a list of ids, children first, in every shard. Returns the rows lost.
    pub async fn delete(&self, tenants: &[TenantId]) -> Result<u64> {
        let mut rows = 0;
        for table in TABLES.iter().rev() {
            for shard in table.shards() {
                rows += self.database(shard)?.delete(table, tenants).await?;
            }
        }
        Ok(rows)
    }

    /// Copies every shard as it is now.
    pub async fn mirror(&self) -> Result<Mirror> {
        let mut databases = BTreeMap::new();
        for shard in SHARDS {
            let name = format!("{shard}_mirror");
            let url = match self.server(shard) {
                Some(server) => server.copy(shard, &name).await?,
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

    /// Takes everything down, or leaves it and says where it is, and how to get rid of it. The folder may stay alone.
    pub async fn strike(self, keep: bool, keep_folder: bool) -> Result<Option<Kept>> {
        for database in self.databases.values() {
            database.close().await;
        }
        let mut farewell = Vec::new();
        for server in self.servers {
            farewell.extend(server.end(keep).await?);
        }
        Ok((keep || keep_folder).then(|| Kept { folder: self.folder.keep(), farewell }))
    }
}

/// What is left behind.
pub struct Kept {
    /// The drill's folder.
    pub folder: PathBuf,
    /// How to stop what runs.
    pub farewell: Vec<String>,
}

fn sqlite_url(folder: &Path, name: &str) -> Result<DatabaseUrl> {
    DatabaseUrl::parse(&format!("sqlite:{}", folder.join(format!("{name}.db")).display()))
}
