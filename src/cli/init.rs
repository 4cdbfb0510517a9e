//! `reinstate init`: read the live schemas, infer who owns what, write a configuration for review.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::{Output, must_not_exist, write_file};
use super::settings::located;
use crate::config::{Config, absolute};
use crate::error::{EXIT_OK, Error, Kind, Result};
use crate::init::{RootSpec, ShardInference, infer, render};
use crate::model::{DatabaseUrl, ShardName, Table};
use crate::shard;

/// Read the live schemas, infer who owns the rows of each table, and write a commented configuration
#[derive(clap::Args)]
#[command(after_help = "Examples:
  reinstate init --shard shop=postgres://sre@db1/shop --root public.sites --store file:///var/backups/reinstate
  reinstate init --shard catalogue=sqlite:catalogue.db --shard product=sqlite:product.db --root main.sites
  reinstate init --check        in a pipeline: fails if the live schema has a table without a rule")]
pub struct Args {
    /// A shard: its name and where it is; may be given several times
    #[arg(long = "shard", value_name = "NAME=URL", required_unless_present = "check")]
    shards: Vec<String>,

    /// The table that lists the tenants (SHARD:SCHEMA.TABLE if several shards have it)
    #[arg(long, value_name = "SCHEMA.TABLE", required_unless_present = "check")]
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
}

#[derive(Serialize)]
struct InitReport {
    format: u32,
    written: Option<PathBuf>,
    tables: usize,
    undecided: Vec<String>,
    doubtful: Vec<String>,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    if args.check {
        return check(config, output).await;
    }
    let path = args.output.unwrap_or_else(|| config.to_owned());
    must_not_exist(&path)?;
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
    let mut tables: Vec<(ShardName, Vec<Table>)> = Vec::new();
    for (name, url) in &shards {
        let facts = shard::open(name, url, 1).await?.facts().await?;
        tables.push((name.clone(), facts.tables));
    }
    let inferred = infer(&tables, &root)?;
    let report_lists =
        (marked(&inferred, |rule, _| !rule), marked(&inferred, |rule, doubtful| rule && doubtful));
    let store = args.store.as_deref().map(|url| located(url, Path::new("")));
    let with_urls: Vec<(ShardInference, DatabaseUrl)> =
        inferred.into_iter().zip(shards.into_iter().map(|(_, url)| url)).collect();
    write_file(&path, &render(store.as_deref(), &with_urls), false)?;
    let count = with_urls.iter().map(|(shard, _)| shard.tables.len()).sum();
    let (undecided, doubtful) = report_lists;
    let report = InitReport { format: 1, written: Some(path), tables: count, undecided, doubtful };
    output.result(|| text(&report), &report)?;
    Ok(if report.undecided.is_empty() { EXIT_OK } else { Kind::Undecided.exit_code() })
}

async fn check(config: &Path, output: &Output) -> Result<u8> {
    let config = Config::load(config)?;
    let mut undecided = Vec::new();
    let mut tables = 0;
    for (name, settings) in &config.shards {
        let facts = shard::open(name, &settings.url, 1).await?.facts().await?;
        tables += facts.tables.len();
        let wrong = settings.tenancy.check(&facts.tables);
        undecided.extend(wrong.into_iter().map(|error| format!("shard '{name}': {error}")));
    }
    let report = InitReport { format: 1, written: None, tables, undecided, doubtful: Vec::new() };
    output.result(|| text(&report), &report)?;
    Ok(if report.undecided.is_empty() { EXIT_OK } else { Kind::Undecided.exit_code() })
}

fn marked(inferred: &[ShardInference], wanted: impl Fn(bool, bool) -> bool) -> Vec<String> {
    inferred
        .iter()
        .flat_map(|shard| shard.tables.iter().map(move |(table, found)| (&shard.shard, table, found)))
        .filter(|(_, _, found)| wanted(found.rule.is_some(), found.doubtful))
        .map(|(shard, table, found)| {
            let rule =
                found.rule.as_ref().map(|rule| format!(" taken as {}", rule.name())).unwrap_or_default();
            format!("shard '{shard}': table '{table}'{rule}: {}", found.evidence)
        })
        .collect()
}

fn text(report: &InitReport) -> String {
    let mut lines = Vec::new();
    match &report.written {
        Some(path) => lines.push(format!("{} tables, rules written to {}", report.tables, path.display())),
        None => lines.push(format!("{} tables checked", report.tables)),
    }
    for (title, list) in
        [("A person should check", &report.doubtful), ("A person must decide", &report.undecided)]
    {
        if !list.is_empty() {
            lines.push(format!("{title}:"));
            lines.extend(list.iter().map(|line| format!("  {line}")));
        }
    }
    if report.undecided.is_empty() {
        lines.push("every table has a rule".into());
    }
    lines.join("\n")
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
