//! What the audit log is told of a command: that it begins, before anything is done, and what became of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::output::Output;
use crate::audit::{self, Appended, Event, Facts, Phase, Who};
use crate::config::Config;
use crate::error::{EXIT_OK, Error, Result};
use crate::limits::TENANTS_MAX_DEFAULT;
use crate::model::{ShardName, SnapshotId, TenantId};
use crate::plan::{ConstraintsChoice, Plan, Policy, Repair, Request};
use crate::replay::{self, Outcome, ShardStatus, TenantOutcome};
use crate::verify::certificate::Certificate;

/// The variable by which people who share an account say who they are.
const USER_VARIABLE: &str = "REINSTATE_USER";

/// A command that has begun.
pub struct Record {
    log: PathBuf,
    who: Who,
    what: &'static str,
    begun: u64,
    /// What the entry of its end will tell.
    pub facts: Facts,
}

impl Record {
    /// Tells the log that a command begins. What cannot be recorded must not be done.
    pub fn begin(config: &Config, what: &'static str, facts: Facts, output: &Output) -> Result<Self> {
        let mut record = Self { log: config.audit.clone(), who: who(), what, begun: 0, facts };
        let appended = record
            .append(Phase::Begun)
            .map_err(|error| error.hint("nothing was done: what cannot be recorded is not begun"))?;
        if let Some(line) = appended.follows_cut {
            output.talk(&format!(
                "note: line {line} of audit log '{}' was cut off; entry {} tells of it",
                record.log.display(),
                appended.number
            ));
        }
        record.begun = appended.number;
        Ok(record)
    }

    /// Tells the log how the command ended, and gives its result back.
    pub fn end(self, result: Result<u8>, output: &Output) -> Result<u8> {
        let (exit_code, error) = match &result {
            Ok(code) => (*code, None),
            // Without its causes: those are a server's words, and may hold values of rows.
            Err(error) => (error.kind().exit_code(), Some(error.to_string())),
        };
        let ended = self.append(Phase::Ended { begun: self.begun, exit_code, error });
        let lost = match ended {
            Ok(appended) => {
                output.talk(&format!("audit log: entry {}, head {}", appended.number, appended.head));
                return result;
            }
            Err(error) => Error::interrupted(format!(
                "unable to record the end of `{}`, exit code {exit_code}, which began in entry {}",
                self.what, self.begun
            ))
            .because(error)
            .hint("what it did is done, and recorded as begun: make the log writable, and note this by hand"),
        };
        if exit_code == EXIT_OK {
            return Err(lost);
        }
        output.error(&lost);
        result
    }

    fn append(&self, phase: Phase) -> Result<Appended> {
        let (who, what, facts) = (self.who.clone(), self.what.to_owned(), self.facts.clone());
        audit::append(&self.log, Event { who, what, phase, facts })
    }
}

/// What a plan tells about itself.
pub fn of_plan(plan: &Plan) -> Facts {
    let facts = Facts { plan: Some(plan.hash.clone()), snapshots: snapshots(plan), ..Facts::default() };
    allowed(facts, plan.tenants.len(), plan.tenants_max, plan.reason.as_deref(), plan.repair)
}

/// What is asked of a plan.
pub fn of_request(request: &Request) -> Facts {
    let (tenants, reason) = (request.tenants.len(), request.reason.as_deref());
    let mut facts = allowed(Facts::default(), tenants, request.tenants_max, reason, request.repair);
    if !request.into.is_empty() {
        facts.overrides("into", request.into.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    if request.allow_dropped {
        facts.overrides("allow_dropped", true);
    }
    if request.on_conflict != Policy::default() {
        facts.overrides("on_conflict", serde_json::json!(request.on_conflict));
    }
    if let ConstraintsChoice::Only(prover) = request.constraints {
        facts.overrides("constraints", serde_json::json!(prover));
    }
    facts
}

/// How many tenants, and what a person had to allow for them.
fn allowed(
    mut facts: Facts,
    tenants: usize,
    tenants_max: usize,
    reason: Option<&str>,
    repair: Option<Repair>,
) -> Facts {
    facts.tenants = Some(tenants);
    if tenants_max > TENANTS_MAX_DEFAULT {
        facts.overrides("max_tenants", tenants_max);
    }
    if let Some(reason) = reason {
        facts.overrides("reason", reason);
    }
    if repair.is_some_and(|repair| repair.delete_extra) {
        facts.overrides("delete_extra", true);
    }
    facts
}

/// What the dry run came to.
pub fn planned(facts: &mut Facts, plan: &Plan) {
    facts.plan = Some(plan.hash.clone());
    facts.snapshots = snapshots(plan);
    facts.became("planned", plan.tenants.iter().map(|tenant| &tenant.id));
    facts.became("blocked", plan.blocked.iter().map(|tenant| &tenant.id));
}

/// What a run came to.
pub fn replayed(facts: &mut Facts, outcome: &Outcome) {
    let mut became: BTreeMap<&str, Vec<&TenantId>> =
        ["back", "failed", "open"].map(|fate| (fate, Vec::new())).into();
    for tenant in &outcome.tenants {
        became.entry(fate(tenant)).or_default().push(&tenant.id);
    }
    for (fate, tenants) in became {
        facts.became(fate, tenants.into_iter());
    }
    facts.rows = Some(outcome.rows_written());
    facts.run = Some(outcome.run.clone());
}

/// What a verification came to.
pub fn verified(facts: &mut Facts, certificates: &[Certificate]) {
    for (fate, equal) in [("equal", true), ("different", false)] {
        let those = certificates.iter().filter(|certificate| certificate.equal == equal);
        facts.became(fate, those.map(|certificate| &certificate.tenant));
    }
}

fn fate(tenant: &TenantOutcome) -> &'static str {
    let has_failed = |status: &ShardStatus| matches!(status, ShardStatus::Failed { .. });
    if tenant.is_back() {
        "back"
    } else if tenant.shards.iter().any(|shard| has_failed(&shard.status)) {
        "failed"
    } else {
        "open"
    }
}

fn snapshots(plan: &Plan) -> BTreeMap<ShardName, Vec<SnapshotId>> {
    plan.shards.iter().map(|shard| (shard.name.clone(), vec![shard.snapshot.clone()])).collect()
}

/// Who runs this command.
pub fn who() -> Who {
    let account = account();
    let named = std::env::var(USER_VARIABLE).ok().filter(|name| !name.trim().is_empty());
    let user = named.unwrap_or_else(|| account.clone());
    Who { user, account, host: replay::host_name(), pid: std::process::id() }
}

/// The account that somebody logged in with, which the kernel keeps through `su` and `sudo`; where nobody did, the one
/// that the process runs as. One that is not in `/etc/passwd` goes by its number.
fn account() -> String {
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    let login = text("/proc/self/loginuid").trim().parse::<u32>().ok().filter(|uid| *uid != u32::MAX);
    let uid = login.unwrap_or_else(|| rustix::process::getuid().as_raw());
    let name = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse::<u32>().ok() == Some(uid)).then(|| name.to_owned())
    };
    text("/etc/passwd").lines().find_map(name).unwrap_or_else(|| format!("uid {uid}"))
}
