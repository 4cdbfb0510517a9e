//! `reinstate why TABLE`: which rule, and what the schema tells about it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::inference::Live;
use super::init::config_root;
use super::output::Output;
use crate::config::Config;
use crate::error::{EXIT_OK, Error, Result};
use crate::init::Considered;
use crate::model::{Owners, Rule, ShardName, TableName};

/// Say who owns the rows of a table: the rule in force, the way to the tenant, and what schema and rows suggest
#[derive(clap::Args)]
#[command(after_help = "Example:
  reinstate why public.comments")]
pub struct Args {
    /// The table
    #[arg(value_name = "SCHEMA.TABLE")]
    table: String,

    /// Read the catalog alone: what is supposed from names is not checked on the rows
    #[arg(long)]
    no_probe: bool,
}

#[derive(Serialize)]
struct Why {
    shard: ShardName,
    table: TableName,
    rule: Option<Rule>,
    owners: Option<Owners>,
    problem: Option<String>,
    evidence: String,
    confidence: f64,
    suggested: Option<Rule>,
    ways: Vec<Considered>,
    ignored: BTreeSet<String>,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let name: TableName = args.table.parse()?;
    let config = Config::load(config)?;
    let mut live = Live::of(&config).await?;
    let inferred = live.infer(&config_root(&config)?, &config.init, !args.no_probe).await?;
    let mut found = Vec::new();
    for (schema, shard) in live.schemas.iter().zip(inferred) {
        let Some(inferred) = shard.tables.get(&name).cloned() else { continue };
        let settings = config.shard(&shard.shard)?;
        let (owners, problem) = match settings.tenancy.owners(&name, &schema.tables) {
            Ok(owners) => (owners, None),
            Err(error) => (None, Some(error.to_string())),
        };
        found.push(Why {
            shard: shard.shard,
            table: name.clone(),
            rule: settings.tenancy.rules.get(&name).cloned(),
            owners,
            problem,
            evidence: inferred.evidence,
            confidence: inferred.confidence,
            suggested: inferred.rule.or(inferred.suggestion),
            ways: inferred.ways,
            ignored: settings.ignored.get(&name).cloned().unwrap_or_default(),
        });
    }
    if found.is_empty() {
        return Err(Error::usage(format!("unable to find table '{name}' in any shard")));
    }
    let text = || found.iter().map(text).collect::<Vec<_>>().join("\n");
    output.result(text, &serde_json::json!({ "format": 1, "tables": found }))?;
    Ok(EXIT_OK)
}

fn text(why: &Why) -> String {
    let mut lines = vec![format!("table '{}' of shard '{}'", why.table, why.shard)];
    let rule = |rule: &Option<Rule>| rule.as_ref().map_or("none", Rule::name);
    lines.push(format!("  rule in force:  {}", rule(&why.rule)));
    for path in why.owners.iter().flat_map(|owners| &owners.ways) {
        let hops: String = path
            .steps
            .iter()
            .map(|step| {
                let above = if step.climb { " and all above it" } else { "" };
                format!("({}) -> {}{above} -> ", step.columns.join(", "), step.parent)
            })
            .collect();
        lines.push(format!("  owner of a row: {hops}{} ({})", path.column, path.column_type));
    }
    if let Some(problem) = &why.problem {
        lines.push(format!("  problem:        {problem}"));
    }
    lines.push(format!(
        "  suggested:      {} ({:.2}): {}",
        rule(&why.suggested),
        why.confidence,
        why.evidence
    ));
    for way in &why.ways {
        let mark = if way.taken { "way" } else { "no way" };
        lines.push(format!("  {:<15} {}: {}", format!("{mark}:"), way.way, way.why));
    }
    if !why.ignored.is_empty() {
        let columns: Vec<&str> = why.ignored.iter().map(String::as_str).collect();
        lines.push(format!("  ignored:        {}", columns.join(", ")));
    }
    lines.join("\n")
}
