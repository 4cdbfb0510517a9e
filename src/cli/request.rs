//! What `plan` and `repair plan` have in common: whom to plan for, from what, and where the plan goes.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::output::{Output, must_not_exist, write_file};
use super::record::{self, Record};
use super::settings::{MemoryArgs, PickArgs, StoreArgs};
use crate::audit::Facts;
use crate::config::Config;
use crate::error::{EXIT_OK, Error, Kind, Result};
use crate::limits::{TENANT_ID_BYTES_MAX, TENANTS_LIST_MAX, TENANTS_MAX_DEFAULT};
use crate::model::TenantId;
use crate::plan::{ConstraintsChoice, Request, Tombstones, rails, settle};
use crate::report::contacts::Contacts;
use crate::{report, restore};

/// Flags of both.
#[derive(clap::Args)]
pub struct RequestArgs {
    /// Tenant ids, one a line; - for standard input. Empty lines and lines that begin with # are skipped
    #[arg(long, value_name = "FILE")]
    tenants: PathBuf,

    /// Tenants of that list to be restored before all others (after the canary ring), in this order. The rest comes by
    /// the configuration's [priority], then largest first; without both and without [rings], the smallest one comes
    /// before them
    #[arg(long, value_name = "FILE")]
    urgent: Option<PathBuf>,

    #[command(flatten)]
    pick: PickArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    memory: MemoryArgs,

    /// Most tenants this plan may hold; more than the default need --reason
    #[arg(long, value_name = "N", default_value_t = TENANTS_MAX_DEFAULT)]
    max_tenants: usize,

    /// Why so many; kept in the plan
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Who makes the plan, as the allowed signers of approvals have it; kept in the plan [default: REINSTATE_USER, else
    /// the login name]
    #[arg(long, value_name = "PRINCIPAL")]
    author: Option<String>,

    /// Rows that were lawfully erased since the snapshot and stay erased, one JSON object a line:
    /// {"shard": "product", "table": "public.notes", "key": {"id": 42}}
    #[arg(long, value_name = "FILE")]
    tombstones: Option<PathBuf>,

    /// Who proves the keys of rows that are written: engine (triggers off; the role must be allowed to set
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

impl RequestArgs {
    /// What these flags ask for. Refuses what is wrong before anything is read from a database.
    pub fn request(&self) -> Result<Request> {
        must_not_exist(&self.output)?;
        let request = Request {
            tenants: tenant_list(&self.tenants)?,
            urgent: match &self.urgent {
                Some(path) => parse_list(&read_file(path, "list of urgent tenants")?)?,
                None => Vec::new(),
            },
            tenants_max: self.max_tenants,
            reason: self.reason.clone(),
            tombstones: match &self.tombstones {
                Some(path) => Tombstones::parse(&read_file(path, "tombstones")?)?,
                None => Tombstones::default(),
            },
            constraints: self.constraints,
            author: Some(author(self.author.as_deref())?),
            memory: self.memory.memory(),
            ..Request::default()
        };
        let listed: BTreeSet<&TenantId> = request.tenants.iter().collect();
        if let Some(other) = request.urgent.iter().find(|id| !listed.contains(id)) {
            return Err(Error::usage(format!(
                "unable to put tenant '{other}' first: it is not in the tenant list"
            ))
            .hint("--urgent names some of the tenants of --tenants"));
        }
        rails::check_cap(&request)?;
        Ok(request)
    }

    /// Makes the plan, writes and shows it.
    pub async fn plan(&self, config: &Config, request: &Request, output: &Output) -> Result<u8> {
        let what = if request.repair.is_some() { "repair plan" } else { "plan" };
        let mut record = Record::begin(config, what, record::of_request(request), output)?;
        let result = self.make(config, request, &mut record.facts, output).await;
        record.end(result, output)
    }

    async fn make(
        &self,
        config: &Config,
        request: &Request,
        facts: &mut Facts,
        output: &Output,
    ) -> Result<u8> {
        let store = self.store.open(config)?;
        let progress = output.progress();
        let plan = restore::dry_run(config, &store, &self.pick.pick(), request, progress.as_ref()).await?;
        record::planned(facts, &plan);
        write_file(&self.output, &plan.to_json()?, false)?;
        output.result(|| report::text::plan(&plan, self.detail), &plan)?;
        let file = self.output.display();
        if plan.approvals_min > 0 {
            output.talk(&format!("others approve it with: reinstate approve {file} --key KEY"));
        }
        let is_repair = plan.repair.is_some();
        let verb = if is_repair { "repair with: reinstate repair" } else { "restore with: reinstate" };
        output.talk(&format!("plan written to {file}; {verb} apply {file} --confirm {}", plan.tenants.len()));
        if plan.blocked.is_empty() {
            return Ok(EXIT_OK);
        }
        for hint in settle::hints(&plan.blocked, is_repair) {
            output.talk(&format!("hint: {hint}"));
        }
        Ok(Kind::Undecided.exit_code())
    }
}

/// Who makes a plan.
fn author(said: Option<&str>) -> Result<String> {
    let said = said.map(str::to_owned);
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let known = said.or_else(|| ["REINSTATE_USER", "USER", "LOGNAME"].into_iter().find_map(variable));
    let author = known.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    if author.trim().is_empty() || author.chars().any(char::is_control) {
        return Err(Error::usage(format!("unable to use author '{}'", author.escape_debug()))
            .hint("--author takes a name"));
    }
    Ok(author)
}

/// The tenants of a list.
pub fn tenant_list(path: &Path) -> Result<Vec<TenantId>> {
    parse_list(&read_file(path, "tenant list")?)
}

fn read_file(path: &Path, what: &str) -> Result<String> {
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

/// Whom to tell about tenants; nobody is known without a file.
pub fn contacts(path: Option<&Path>) -> Result<Contacts> {
    path.map_or_else(|| Ok(Contacts::default()), |path| Contacts::parse(&read_file(path, "contacts")?))
}

/// The ids in order; one that is listed twice is a sign of a list nobody checked.
fn parse_list(text: &str) -> Result<Vec<TenantId>> {
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
