//! `reinstate plan`: the dry run, and the only road to a plan file.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::output::{Output, must_not_exist, write_file};
use super::settings::{PickArgs, StoreArgs};
use crate::config::Config;
use crate::error::{EXIT_OK, Error, Kind, Result};
use crate::limits::{TENANT_ID_BYTES_MAX, TENANTS_LIST_MAX, TENANTS_MAX_DEFAULT};
use crate::model::{ShardName, TenantId};
use crate::plan::{ConstraintsChoice, Policy, Request, Tombstones, rails, settle};
use crate::snapshot::Store;
use crate::survey::Pick;
use crate::{report, restore};

/// Dry run: what would be restored, from which snapshot, into which database. Writes nothing but the plan file
#[derive(clap::Args)]
#[command(
    after_help = "A tenant that cannot be restored as it is (rows of it are live, a key of it is taken, a row that it
points at is gone) is left out of the plan and named, with the rows; the plan holds the others. The exit code is
then 6: a person must look.

Examples:
  reinstate plan --tenants tenants.txt --at 2026-11-21T07:30:00Z -o plan.json
  reinstate diff --at 2026-11-21T07:30:00Z -o tenants.txt && reinstate plan --tenants tenants.txt \\
      --at 2026-11-21T07:30:00Z --max-tenants 50 --reason 'INC-4711: script deleted 50 sites' -o plan.json"
)]
pub struct Args {
    /// Tenant ids, one a line; - for standard input. Empty lines and lines that begin with # are skipped
    #[arg(long, value_name = "FILE")]
    tenants: PathBuf,

    #[command(flatten)]
    pick: PickArgs,
    #[command(flatten)]
    store: StoreArgs,

    /// Most tenants this plan may hold; more than the default need --reason
    #[arg(long, value_name = "N", default_value_t = TENANTS_MAX_DEFAULT)]
    max_tenants: usize,

    /// Why so many; kept in the plan
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// This shard's target may be another database than the one the snapshot was taken from
    #[arg(long, value_name = "SHARD")]
    into: Vec<String>,

    /// Restore without the values of columns that are gone; `apply` keeps them in Parquet files
    #[arg(long)]
    allow_dropped: bool,

    /// What to do where rows of a tenant are live: leave the tenant out (fail), leave live rows that are equal to the
    /// snapshot's (skip-identical), or leave all live rows as they are (keep-live). A table's own policy in the
    /// configuration ([shards.NAME.conflicts]) comes first
    #[arg(long, value_name = "POLICY", default_value = "fail", value_parser = Policy::parse)]
    on_conflict: Policy,

    /// Rows that were lawfully erased since the snapshot and stay erased, one JSON object a line:
    /// {"shard": "product", "table": "public.notes", "key": {"id": 42}}
    #[arg(long, value_name = "FILE")]
    tombstones: Option<PathBuf>,

    /// Who proves the keys of restored rows: engine (triggers off; the role must be allowed to set
    /// session_replication_role), server (triggers on), or auto: engine where it may
    #[arg(long, value_name = "WHO", default_value = "auto")]
    constraints: ConstraintsChoice,

    /// Where to write the plan
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Show every table of every tenant
    #[arg(long)]
    detail: bool,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    must_not_exist(&args.output)?;
    let config = Config::load(config)?;
    let into: BTreeSet<ShardName> = args.into.iter().map(ShardName::new).collect();
    for name in &into {
        config.shard(name)?;
    }
    let request = Request {
        tenants: parse_list(&read_file(&args.tenants, "tenant list")?)?,
        tenants_max: args.max_tenants,
        reason: args.reason,
        into,
        allow_dropped: args.allow_dropped,
        on_conflict: args.on_conflict,
        tombstones: match &args.tombstones {
            Some(path) => Tombstones::parse(&read_file(path, "tombstones")?)?,
            None => Tombstones::default(),
        },
        constraints: args.constraints,
        repair: None,
    };
    rails::check_cap(&request)?;
    let store = args.store.open(&config)?;
    make(&config, &store, &args.pick.pick(), &request, &args.output, args.detail, output).await
}

/// Makes the plan, writes and shows it.
pub async fn make(
    config: &Config,
    store: &Store,
    pick: &Pick,
    request: &Request,
    file: &Path,
    detail: bool,
    output: &Output,
) -> Result<u8> {
    let progress = output.progress();
    let plan = restore::dry_run(config, store, pick, request, progress.as_ref()).await?;
    write_file(file, &plan.to_json()?, false)?;
    output.result(|| report::text::plan(&plan, detail), &plan)?;
    let file = file.display();
    let verb =
        if plan.repair.is_some() { "repair with: reinstate repair" } else { "restore with: reinstate" };
    output.talk(&format!("plan written to {file}; {verb} apply {file} --confirm {}", plan.tenants.len()));
    if plan.blocked.is_empty() {
        return Ok(EXIT_OK);
    }
    for hint in settle::hints(&plan.blocked, plan.repair.is_some()) {
        output.talk(&format!("hint: {hint}"));
    }
    Ok(Kind::Undecided.exit_code())
}

pub(super) fn read_file(path: &Path, what: &str) -> Result<String> {
    let unable = || Error::usage(format!("unable to read {what} '{}'", path.display()));
    let bytes_max = (TENANTS_LIST_MAX * TENANT_ID_BYTES_MAX) as u64;
    let mut text = String::new();
    // One byte more than may be there: a list that is too long is refused, never cut.
    let read = |from: &mut dyn Read, text: &mut String| from.take(bytes_max + 1).read_to_string(text);
    if path == Path::new("-") {
        read(&mut std::io::stdin().lock(), &mut text).map_err(|error| unable().because(error))?;
    } else {
        let mut file = std::fs::File::open(path).map_err(|error| unable().because(error))?;
        read(&mut file, &mut text).map_err(|error| unable().because(error))?;
    }
    if text.len() as u64 > bytes_max {
        return Err(unable().hint(format!("it is larger than {bytes_max} bytes")));
    }
    Ok(text)
}

/// The ids in order; one that is listed twice is a sign of a list nobody checked.
pub(super) fn parse_list(text: &str) -> Result<Vec<TenantId>> {
    let mut seen = BTreeSet::new();
    let mut tenants = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let id = TenantId::parse(line)
            .map_err(|error| error.hint(format!("it is in line {} of the tenant list", number + 1)))?;
        if !seen.insert(id.clone()) {
            return Err(Error::usage(format!("unable to use the tenant list: '{id}' is in it twice"))
                .hint(format!("the second time in line {}", number + 1)));
        }
        tenants.push(id);
        if tenants.len() > TENANTS_LIST_MAX {
            return Err(Error::usage(format!(
                "unable to use the tenant list: it holds more than {TENANTS_LIST_MAX} ids"
            )));
        }
    }
    Ok(tenants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_line_by_line() {
        let ids = parse_list("# deleted\n a \n\nb'; drop table x; --\n").expect("list");
        let ids: Vec<&str> = ids.iter().map(TenantId::as_str).collect();
        assert_eq!(ids, ["a", "b'; drop table x; --"]);
        assert_eq!(
            parse_list("a\na").expect_err("twice").chain(),
            "unable to use the tenant list: 'a' is in it twice"
        );
        assert!(parse_list("a\u{0}b").is_err());
        assert!(parse_list(&"x".repeat(TENANT_ID_BYTES_MAX + 1)).is_err());
    }
}
