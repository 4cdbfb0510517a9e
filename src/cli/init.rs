//! `reinstate init`: read the live schemas, infer who owns what, write a configuration for review.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::inference::Live;
use super::output::{Output, must_not_exist, write_file};
use super::settings::located;
use crate::config::{Config, absolute};
use crate::error::{EXIT_OK, Error, Kind, Result};
use crate::init::{
    Declarations, Open, Root, RootSpec, Schema, ShardInference, Unclassified, open, render, unclassified,
    update,
};
use crate::model::{DatabaseUrl, ShardName, TableName};

/// Read the live schemas, infer who owns the rows of each table, and write a commented configuration
#[derive(clap::Args)]
#[command(after_help = "Examples:
  reinstate init --shard shop=postgres://sre@db1/shop --root public.sites --store file:///var/backups/reinstate
  reinstate init --shard catalogue=sqlite:catalogue.db --shard product=sqlite:product.db --root main.sites
  reinstate init --update       adds rules for new tables to reinstate.toml; what a person wrote stays as it is
  reinstate init --check        in a pipeline: fails if a table or an owner's column has no rule

Section [init] of reinstate.toml tells --update what only a person can know:
  [init]
  names = { org_id = \"public.organizations.id\" }
  exclude = [\"public.geo_*\"]
  links = [{ table = \"public.notes\", columns = [\"about\"], parent = \"public.issues\", parent_columns = [\"id\"] }]")]
pub struct Args {
    /// A shard: its name and where it is; may be given several times
    #[arg(long = "shard", value_name = "NAME=URL", required_unless_present_any = ["check", "update"])]
    shards: Vec<String>,

    /// The table that lists the tenants (SHARD:SCHEMA.TABLE if several shards have it)
    #[arg(long, value_name = "SCHEMA.TABLE", required_unless_present_any = ["check", "update"])]
    root: Option<String>,

    /// The column of the root table that holds the tenant's id; its primary key by default
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,

    /// Snapshot store to write into the configuration
    #[arg(long, value_name = "URL")]
    store: Option<String>,

    /// Where to write the configuration; the one of -c by default
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Compare the configuration with the live schemas instead of writing one
    #[arg(long, conflicts_with_all = ["shards", "root", "key", "output", "store"])]
    check: bool,

    /// Add rules for new tables to the configuration; its own rules and its text stay as they are
    #[arg(long, conflicts_with_all = ["shards", "root", "key", "output", "store", "check"])]
    update: bool,

    /// Read the catalog alone: what is supposed from names is not checked on the rows
    #[arg(long, conflicts_with = "check")]
    no_probe: bool,
}

#[derive(Serialize)]
struct InitReport {
    format: u32,
    written: Option<PathBuf>,
    tables: usize,
    /// What stops a plan, in words.
    undecided: Vec<String>,
    /// Rules that a person should look at, in words.
    doubtful: Vec<String>,
    /// Both of these, the weightiest first.
    open: Vec<Open>,
    /// Columns that look like an owner's and that the configuration does not classify.
    unclassified: Vec<Unclassified>,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    if args.check {
        return check(config, output).await;
    }
    if args.update {
        return add_what_is_new(config, !args.no_probe, output).await;
    }
    let path = args.output.unwrap_or_else(|| config.to_owned());
    must_not_exist(&path).map_err(|error| error.hint("`reinstate init --update` adds what is new to it"))?;
    let mut names = BTreeSet::new();
    let mut shards: Vec<(ShardName, DatabaseUrl)> = Vec::new();
    for text in &args.shards {
        let (name, url) = parse_shard(text)?;
        if !names.insert(name.clone()) {
            return Err(Error::usage(format!("unable to use two shards of the name '{name}'")));
        }
        shards.push((name, url));
    }
    let root = parse_root(args.root.as_deref().unwrap_or_default(), args.key)?;
    let mut live = Live::read(&shards).await?;
    let inferred = live.infer(&root, &Declarations::default(), !args.no_probe).await?;
    let mut report = InitReport::of(&live.schemas, &inferred);
    let store = args.store.as_deref().map(|url| located(url, Path::new("")));
    let with_urls: Vec<(ShardInference, DatabaseUrl)> =
        inferred.into_iter().zip(shards.into_iter().map(|(_, url)| url)).collect();
    write_file(&path, &render(store.as_deref(), &with_urls), false)?;
    report.written = Some(path);
    report.show(output)
}

/// Infers the tables that the configuration has no rule for, and writes them into it.
async fn add_what_is_new(path: &Path, ask: bool, output: &Output) -> Result<u8> {
    let config = Config::load(path)?;
    let unable =
        |error| Error::usage(format!("unable to read configuration '{}'", path.display())).because(error);
    let text = std::fs::read_to_string(path).map_err(unable)?;
    let mut live = Live::of(&config).await?;
    live.keep(|shard| config.shards[shard].tenancy.rules.clone());
    let mut inferred = live.infer(&config_root(&config)?, &config.init, ask).await?;
    let mut report = InitReport::of(&live.schemas, &inferred);
    for shard in &mut inferred {
        let known = &config.shards[&shard.shard].tenancy.rules;
        // A question that an earlier run has put into the file is not put there again.
        let asked = |name: &TableName| text.contains(&format!("# {} = ", toml_text(&name.to_string())));
        shard
            .tables
            .retain(|name, found| !known.contains_key(name) && (found.rule.is_some() || !asked(name)));
    }
    if inferred.iter().any(|shard| !shard.tables.is_empty()) {
        let updated = update(&text, &inferred);
        check_update(&config, &updated, &inferred)?;
        // The old text is there until the new one is complete.
        let new = path.with_extension("toml.new");
        write_file(&new, &updated, true)?;
        std::fs::rename(&new, path).map_err(|error| {
            Error::usage(format!("unable to replace '{}'", path.display())).because(error)
        })?;
        report.written = Some(path.to_owned());
    }
    report.show(output)
}

/// Whether the updated text still says all that it said, and the new rules beside it.
fn check_update(config: &Config, updated: &str, new: &[ShardInference]) -> Result<()> {
    let unable = || {
        let path = config.path.display();
        Error::usage(format!("unable to add to configuration '{path}' without changing what it says"))
            .hint("write the rules of a shard under a header of their own: [shards.NAME.tables]")
    };
    let read = Config::parse(updated, &config.path, |name| std::env::var(name).ok());
    let read = read.map_err(|error| unable().because(error))?;
    for shard in new {
        let mut expected = config.shards[&shard.shard].tenancy.rules.clone();
        let rules = shard.tables.iter().filter_map(|(name, found)| Some((name.clone(), found.rule.clone()?)));
        expected.extend(rules);
        if read.shard(&shard.shard)?.tenancy.rules != expected {
            return Err(unable());
        }
    }
    Ok(())
}

async fn check(config: &Path, output: &Output) -> Result<u8> {
    let config = Config::load(config)?;
    let live = Live::of(&config).await?;
    let mut report = InitReport::of(&live.schemas, &[]);
    let root = Root::find(&live.schemas, &config_root(&config)?);
    for schema in &live.schemas {
        let settings = config.shard(&schema.shard)?;
        let wrong = settings.tenancy.check(&schema.tables);
        let wrong = wrong.into_iter().map(|error| format!("shard '{}': {error}", schema.shard));
        report.undecided.extend(wrong);
        if let Ok(root) = &root {
            let rules = &settings.tenancy.rules;
            let new = unclassified(&schema.shard, &schema.tables, rules, &settings.ignored, root);
            report.undecided.extend(new.iter().map(Unclassified::to_string));
            report.unclassified.extend(new);
        }
    }
    report.show(output)
}

/// The root as the configuration names it.
pub fn config_root(config: &Config) -> Result<RootSpec> {
    let (shard, table) = config.root()?;
    let key = config.shard(shard)?.tenancy.root().map(|(_, key, _)| key.to_owned());
    Ok(RootSpec { shard: Some(shard.clone()), table: table.clone(), key })
}

fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl InitReport {
    fn of(schemas: &[Schema], inferred: &[ShardInference]) -> Self {
        let undecided = open(schemas, inferred, |found| found.rule.is_none());
        let doubtful = open(schemas, inferred, |found| found.rule.is_some() && found.is_doubtful());
        Self {
            format: 1,
            written: None,
            tables: schemas.iter().map(|schema| schema.tables.len()).sum(),
            undecided: undecided.iter().map(Open::text).collect(),
            doubtful: doubtful.iter().map(Open::text).collect(),
            open: undecided.into_iter().chain(doubtful).collect(),
            unclassified: Vec::new(),
        }
    }

    fn show(&self, output: &Output) -> Result<u8> {
        output.result(|| self.text(), self)?;
        Ok(if self.undecided.is_empty() { EXIT_OK } else { Kind::Undecided.exit_code() })
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        match &self.written {
            Some(path) => lines.push(format!("{} tables, rules written to {}", self.tables, path.display())),
            None => lines.push(format!("{} tables checked", self.tables)),
        }
        for (title, list) in
            [("A person should check", &self.doubtful), ("A person must decide", &self.undecided)]
        {
            if !list.is_empty() {
                lines.push(format!("{title}:"));
                lines.extend(list.iter().map(|line| format!("  {line}")));
            }
        }
        if self.undecided.is_empty() {
            lines.push("every table has a rule".into());
        }
        lines.join("\n")
    }
}

fn parse_shard(text: &str) -> Result<(ShardName, DatabaseUrl)> {
    let (name, url) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
        // The text may hold a password and is not repeated.
        Error::usage("unable to read --shard")
            .hint("write it as NAME=URL, for example shop=postgres://sre@db1/shop")
    })?;
    let url = match url.strip_prefix("sqlite:") {
        Some(file) => format!("sqlite:{}", absolute(Path::new(""), file)),
        None => url.to_owned(),
    };
    Ok((ShardName::new(name), DatabaseUrl::parse(&url)?))
}

fn parse_root(text: &str, key: Option<String>) -> Result<RootSpec> {
    let (shard, table) = match text.split_once(':') {
        Some((shard, table)) => (Some(ShardName::new(shard)), table),
        None => (None, text),
    };
    Ok(RootSpec { shard, table: table.parse()?, key })
}
