//! `reinstate why TABLE`: which rule, and what the schema tells about it.

use std::path::Path;

use serde::Serialize;

use super::output::Output;
use crate::config::Config;
use crate::error::{EXIT_OK, Error, Result};
use crate::init::{RootSpec, infer};
use crate::model::{Owners, Rule, ShardName, Table, TableName};
use crate::shard;

/// Say who owns the rows of a table: the rule in force, the way to the tenant, and what the schema suggests
#[derive(clap::Args)]
#[command(after_help = "Example:
  reinstate why public.comments")]
pub struct Args {
    /// The table
    #[arg(value_name = "SCHEMA.TABLE")]
    table: String,
}

#[derive(Serialize)]
struct Why {
    shard: ShardName,
    table: TableName,
    rule: Option<Rule>,
    owners: Option<Owners>,
    problem: Option<String>,
    evidence: String,
    suggested: Option<Rule>,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let name: TableName = args.table.parse()?;
    let config = Config::load(config)?;
    let mut tables: Vec<(ShardName, Vec<Table>)> = Vec::new();
    for (shard, settings) in &config.shards {
        tables.push((shard.clone(), shard::open(shard, &settings.url, 1).await?.facts().await?.tables));
    }
    let (root_shard, root_table) = config.root()?;
    let key = config.shard(root_shard)?.tenancy.root().map(|(_, key, _)| key.to_owned());
    let inferred =
        infer(&tables, &RootSpec { shard: Some(root_shard.clone()), table: root_table.clone(), key })?;
    let mut found = Vec::new();
    for (shard, live) in &tables {
        let suggestion =
            inferred.iter().find(|other| other.shard == *shard).and_then(|other| other.tables.get(&name));
        let Some(suggestion) = suggestion else { continue };
        let tenancy = &config.shard(shard)?.tenancy;
        let (owners, problem) = match tenancy.owners(&name, live) {
            Ok(owners) => (owners, None),
            Err(error) => (None, Some(error.to_string())),
        };
        found.push(Why {
            shard: shard.clone(),
            table: name.clone(),
            rule: tenancy.rules.get(&name).cloned(),
            owners,
            problem,
            evidence: suggestion.evidence.clone(),
            suggested: suggestion.rule.clone(),
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
            .map(|step| format!("({}) -> {} -> ", step.columns.join(", "), step.parent))
            .collect();
        lines.push(format!("  owner of a row: {hops}{} ({})", path.column, path.column_type));
    }
    if let Some(problem) = &why.problem {
        lines.push(format!("  problem:        {problem}"));
    }
    lines.push(format!("  schema:         {}: {}", rule(&why.suggested), why.evidence));
    lines.join("\n")
}
