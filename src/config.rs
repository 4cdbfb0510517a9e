//! `reinstate.toml`: the store, the shards, and the rule of every table. Parsed and checked; no connection is
//! opened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::approval::{Required, Rules};
use crate::error::{Error, Result};
use crate::hooks::{Check, Hook};
use crate::init::Declarations;
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::media::Media;
use crate::model::{DatabaseUrl, Gate, Rule, ShardName, TableName, Tenancy};
use crate::plan::drift::Declared;
use crate::plan::queues::DeclaredQueue;
use crate::plan::{Course, Policy, Priority, Rings};
use crate::workflow::{Graph, Workflow};

/// Default path of the configuration.
pub const CONFIG_PATH_DEFAULT: &str = "reinstate.toml";
/// The version of the configuration's format.
pub const CONFIG_VERSION: u32 = 1;

/// A parsed and checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it was read from; relative paths in it start at its folder.
    pub path: PathBuf,
    /// URL of the snapshot store, if it is given.
    pub store: Option<String>,
    /// The audit log; beside the configuration unless it says otherwise.
    pub audit: PathBuf,
    /// The shards by name.
    pub shards: BTreeMap<ShardName, ShardConfig>,
    /// What a person has told `init`.
    pub init: Declarations,
    /// Who must approve plans, if anybody.
    pub approvals: Option<Rules>,
    /// In what order tenants come back.
    pub course: Course,
    /// What belongs to a site beside its rows.
    pub workflow: Workflow,
    /// Hash of all that decides what a plan does, but for the places of the databases.
    pub hash: String,
}

/// One shard of the configuration.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Where it is.
    pub url: DatabaseUrl,
    /// Who owns its rows.
    pub tenancy: Tenancy,
    /// What to do about live rows of a tenant, for tables of their own policy.
    pub conflicts: BTreeMap<TableName, Policy>,
    /// Columns that look like an owner's, and that somebody decided are not.
    pub ignored: BTreeMap<TableName, BTreeSet<String>>,
    /// What it takes to restore from snapshots with an older schema.
    pub drift: BTreeMap<TableName, Declared>,
    /// Tables in which the keys of deleted rows wait for a worker.
    pub deletion_queues: BTreeMap<TableName, DeclaredQueue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    version: u32,
    store: Option<String>,
    audit: Option<PathBuf>,
    shards: BTreeMap<String, RawShard>,
    #[serde(default)]
    init: Declarations,
    approvals: Option<RawApprovals>,
    rings: Option<Rings>,
    #[serde(default)]
    priority: Priority,
    gate: Option<Gate>,
    #[serde(default)]
    media: BTreeMap<String, Media>,
    #[serde(default)]
    hooks: BTreeMap<String, Hook>,
    #[serde(default)]
    checks: BTreeMap<String, Check>,
    #[serde(default)]
    side_effects: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApprovals {
    allowed_signers: String,
    required: Required,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShard {
    url: Option<String>,
    url_env: Option<String>,
    #[serde(default)]
    tables: BTreeMap<TableName, Rule>,
    #[serde(default)]
    conflicts: BTreeMap<TableName, Policy>,
    #[serde(default)]
    ignored: BTreeMap<TableName, BTreeSet<String>>,
    #[serde(default)]
    drift: BTreeMap<TableName, Declared>,
    #[serde(default)]
    deletion_queues: BTreeMap<TableName, DeclaredQueue>,
    after: Option<BTreeSet<String>>,
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> Result<Self> {
        let unable = || Error::usage(format!("unable to read configuration '{}'", path.display()));
        let text = read(path, unable, "`reinstate init` writes one; `-c FILE` names another")?;
        Self::parse(&text, path, |name| std::env::var(name).ok())
    }

    /// Checks the text of a configuration and reads the allowed signers, if it names some; `path` is for messages and
    /// relative paths, `env` answers for `url_env`.
    pub fn parse(text: &str, path: &Path, env: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let shown = path.display();
        let raw: RawConfig = toml::from_str(text).map_err(|error| {
            let place = error.span().map(|span| {
                let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
                format!(" line {line}")
            });
            Error::usage(format!(
                "unable to read configuration '{shown}'{}: {}",
                place.unwrap_or_default(),
                error.message()
            ))
            .hint("`reinstate init --help` shows the format")
        })?;
        if raw.version != CONFIG_VERSION {
            return Err(Error::usage(format!(
                "unable to read configuration '{shown}': its version is {}, this reinstate reads version {CONFIG_VERSION}",
                raw.version
            )));
        }
        if raw.shards.is_empty() {
            return Err(Error::usage(format!("unable to use configuration '{shown}': it names no shard"))
                .hint("`reinstate init --shard NAME=URL` writes one"));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut shards = BTreeMap::new();
        let mut shards_after = BTreeMap::new();
        for (name, shard) in raw.shards {
            let url = shard_url(&name, shard.url, shard.url_env, folder, &env)?;
            let settings = ShardConfig {
                url,
                tenancy: Tenancy { rules: shard.tables },
                conflicts: shard.conflicts,
                ignored: shard.ignored,
                drift: shard.drift,
                deletion_queues: shard.deletion_queues,
            };
            let name = ShardName::new(name);
            shards_after.extend(shard.after.map(|after| (name.clone(), after)));
            shards.insert(name, settings);
        }
        let (gate, side_effects) = (raw.gate, raw.side_effects);
        let (media, hooks, checks) = (raw.media, raw.hooks, raw.checks);
        let mut workflow =
            Workflow { gate, shards: vec![], shards_after, media, hooks, checks, side_effects };
        if !workflow.is_plain() {
            workflow.shards = shards.keys().cloned().collect();
        }
        let approvals = raw.approvals.map(|approvals| approvals.read(folder)).transpose()?;
        let beside = || path.with_extension("audit.jsonl");
        let audit = raw.audit.map_or_else(beside, |file| folder.join(file));
        let course = Course { rings: raw.rings, priority: raw.priority };
        let config = Self {
            path: path.to_owned(),
            store: raw.store,
            audit,
            shards,
            init: raw.init,
            approvals,
            course,
            workflow,
            hash: hash(text),
        };
        config.root()?;
        config.check_course()?;
        config.check_workflow()?;
        Ok(config)
    }

    /// Refuses steps that cannot be carried out.
    fn check_workflow(&self) -> Result<()> {
        let (root, _) = self.root()?;
        let workflow = &self.workflow;
        workflow.media.iter().try_for_each(|(name, media)| media.check_settings(name))?;
        workflow.hooks.iter().try_for_each(|(name, hook)| hook.check_settings(name))?;
        workflow.checks.iter().try_for_each(|(name, check)| check.check_settings(name))?;
        workflow
            .checks
            .values()
            .filter_map(|check| check.shard.as_ref())
            .try_for_each(|shard| self.shard(shard).map(drop))?;
        let unable = |what: String| {
            Error::usage(format!("unable to use configuration '{}': {what}", self.path.display())).hint(
                "steps are the names of shards, [media.NAME], [hooks.NAME] and [checks.NAME]; `after` names those before",
            )
        };
        Graph::new(workflow, self.shards.keys(), root).map(drop).map_err(unable)
    }

    /// Refuses an order that nobody can mean.
    fn check_course(&self) -> Result<()> {
        let (root, _) = self.root()?;
        let unable = |part: &str, what: String| {
            let shown = self.path.display();
            Error::usage(format!("unable to use [{part}] of configuration '{shown}': {what}"))
                .hint("docs/rings.md shows what it takes")
        };
        let Course { rings, priority } = &self.course;
        rings.as_ref().map_or(Ok(()), Rings::check).map_err(|what| unable("rings", what))?;
        priority.check(self.shards.keys(), root).map_err(|what| unable("priority", what))
    }

    /// The shard and table that list the tenants: exactly one in a configuration.
    pub fn root(&self) -> Result<(&ShardName, &TableName)> {
        let mut roots = self.shards.iter().flat_map(|(name, shard)| {
            let of_shard = shard.tenancy.rules.iter().filter(|(_, rule)| matches!(rule, Rule::Root { .. }));
            of_shard.map(move |(table, _)| (name, table))
        });
        let unable = |what: String| {
            Error::usage(format!("unable to use configuration '{}': {what}", self.path.display()))
                .hint("exactly one table of all shards has rule = \"root\": the one that lists the tenants")
        };
        let first = roots.next().ok_or_else(|| unable("no table is the root".into()))?;
        match roots.next() {
            None => Ok(first),
            Some((_, second)) => Err(unable(format!("both '{}' and '{second}' are roots", first.1))),
        }
    }

    /// The shard of this name.
    pub fn shard(&self, name: &ShardName) -> Result<&ShardConfig> {
        self.shards.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.shards.keys().map(ShardName::as_str).collect();
            Error::usage(format!("unable to find shard '{name}' in configuration '{}'", self.path.display()))
                .hint(format!("it names {}", known.join(", ")))
        })
    }
}

impl RawApprovals {
    fn read(self, folder: &Path) -> Result<Rules> {
        let path = folder.join(&self.allowed_signers);
        let unable = || Error::usage(format!("unable to read allowed signers '{}'", path.display()));
        let hint = "approvals.allowed_signers names a file as ssh-keygen(1) describes it, seen from the configuration";
        let text = read(&path, unable, hint)?;
        Rules::new(path.display().to_string(), &text, self.required)
    }
}

/// Sections of a configuration that decide what a plan does; what else matters stands in the plan itself.
const BINDING: [&str; 7] = ["version", "shards", "gate", "media", "hooks", "checks", "side_effects"];

/// BLAKE3 of what decides what a plan does: another host name is no other configuration.
fn hash(text: &str) -> String {
    let mut table: toml::Table = toml::from_str(text).unwrap_or_default();
    table.retain(|section, _| BINDING.iter().any(|it| **it == *section));
    let shards = table.get_mut("shards").and_then(toml::Value::as_table_mut);
    for (_, shard) in shards.into_iter().flat_map(toml::Table::iter_mut) {
        if let Some(shard) = shard.as_table_mut() {
            shard.retain(|key, _| key != "url" && key != "url_env");
        }
    }
    blake3::hash(table.to_string().as_bytes()).to_hex().to_string()
}

/// The text of a file of bounded size; `hint` says what to do if it is missing.
fn read(path: &Path, unable: impl Fn() -> Error, hint: &str) -> Result<String> {
    let size = std::fs::metadata(path).map_err(|error| unable().because(error).hint(hint))?.len();
    if size > DOCUMENT_BYTES_MAX {
        return Err(unable().hint(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| unable().because(error))
}

fn shard_url(
    name: &str,
    url: Option<String>,
    url_env: Option<String>,
    folder: &Path,
    env: &impl Fn(&str) -> Option<String>,
) -> Result<DatabaseUrl> {
    let text = match (url, url_env) {
        (Some(url), None) => url,
        (None, Some(variable)) => env(&variable).ok_or_else(|| {
            Error::usage(format!(
                "unable to find the URL of shard '{name}': variable '{variable}' is not set"
            ))
        })?,
        _ => {
            return Err(Error::usage(format!("unable to find the URL of shard '{name}'"))
                .hint("give either url = \"…\" or url_env = \"VARIABLE\""));
        }
    };
    // A relative SQLite path starts at the configuration's folder, wherever the command is run.
    match text.strip_prefix("sqlite:") {
        Some(file) if !file.starts_with('/') => {
            DatabaseUrl::parse(&format!("sqlite:{}", absolute(folder, file)))
        }
        _ => DatabaseUrl::parse(&text),
    }
}

/// `file` seen from `folder`, as an absolute path.
pub fn absolute(folder: &Path, file: &str) -> String {
    let joined = folder.join(file);
    std::path::absolute(&joined).unwrap_or(joined).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(text, Path::new("/etc/reinstate.toml"), |name| {
            (name == "SHOP_URL").then(|| "postgres://sre:secret@db/shop".to_owned())
        })
    }

    const GOOD: &str = r#"
        version = 1
        [shards.shop]
        url_env = "SHOP_URL"
        [shards.shop.tables]
        "public.sites" = { rule = "root", key = "id", name = "host" }
        "public.issues" = { rule = "derived", columns = ["site"], parent = "public.sites", parent_columns = ["id"] }
    "#;

    #[test]
    fn a_good_configuration_is_read() {
        let config = parse(GOOD).expect("config");
        let (shard, root) = config.root().expect("root");
        assert_eq!((shard.as_str(), root.to_string().as_str()), ("shop", "public.sites"));
        assert!(!format!("{config:?}").contains("secret"));
        assert_eq!(config.audit, Path::new("/etc/reinstate.audit.jsonl"));
        let elsewhere = parse(&GOOD.replace("version = 1", "version = 1\naudit = \"log/audit.jsonl\""));
        assert_eq!(elsewhere.expect("config").audit, Path::new("/etc/log/audit.jsonl"));
    }

    #[test]
    fn wrong_configurations_are_refused_with_the_place() {
        let of = |text: &str| parse(text).expect_err("refused").chain();
        assert_eq!(
            of(&GOOD.replace("url_env", "url_evn")),
            "unable to read configuration '/etc/reinstate.toml' line 4: unknown field `url_evn`, \
             expected one of `url`, `url_env`, `tables`, `conflicts`, `ignored`, `drift`, \
             `deletion_queues`, `after`"
        );
        assert_eq!(
            of(&GOOD.replace("SHOP_URL", "OTHER")),
            "unable to find the URL of shard 'shop': variable 'OTHER' is not set"
        );
        assert_eq!(
            of(&GOOD.replace("root", "shared").replace(", key = \"id\", name = \"host\"", "")),
            "unable to use configuration '/etc/reinstate.toml': no table is the root"
        );
        assert_eq!(
            of(&GOOD.replace("version = 1", "version = 2")),
            "unable to read configuration '/etc/reinstate.toml': its version is 2, this reinstate reads version 1"
        );
    }
}
