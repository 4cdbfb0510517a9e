//! Hooks: what other services do about a tenant, by an HTTP request or a command; and checks, which ask whether it is
//! well.
//!
//! ```text
//!  call ──► attempt ──► done
//!             │  └────► final (4xx, cannot be started)
//!             └─ may pass (5xx, no answer, time-out, exit code) ──► pause ──► attempt
//! ```
//!
//! A hook is called at least once: who answers must use the idempotency key, which stays the same over all attempts.

mod command;
mod fill;
mod http;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::limits::{
    HOOK_FAULT_CHARACTERS_MAX, HOOK_OUTPUT_BYTES_MAX, HOOK_RETRIES_DEFAULT, HOOK_RETRIES_MAX,
    HOOK_RETRY_AFTER_MAX, HOOK_RETRY_DELAY, HOOK_RETRY_DELAY_MAX, HOOK_TIMEOUT_SECONDS_DEFAULT,
    HOOK_TIMEOUT_SECONDS_MAX,
};
use crate::model::{PlanHash, ShardName, TenantId};
use crate::stop::{Stop, stopped};

/// One `[hooks.NAME]` of `reinstate.toml`: `url` or `command`, in which `{tenant}` stands for the tenant's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Where a hook is posted to, and what a check gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A program and its arguments; no shell reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// HTTP headers, each with the name of the variable that holds its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers_env: BTreeMap<String, String>,
    /// How long one attempt may take.
    #[serde(default = "timeout_default")]
    pub timeout_s: u64,
    /// How often it is tried again.
    #[serde(default = "retries_default")]
    pub retries: usize,
    /// The steps before it, unless the default is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
}

/// One `[checks.NAME]`: a URL that must answer 2xx, a command that must end with 0, or a query of a shard that must
/// return no row, which is not asked here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// As of a hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// As of a hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The shard of a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardName>,
    /// A query, with the tenant's id for `$1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// As of a hook.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers_env: BTreeMap<String, String>,
    /// As of a hook.
    #[serde(default = "timeout_default")]
    pub timeout_s: u64,
    /// As of a hook.
    #[serde(default = "retries_default")]
    pub retries: usize,
    /// As of a hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
}

fn timeout_default() -> u64 {
    HOOK_TIMEOUT_SECONDS_DEFAULT
}

fn retries_default() -> usize {
    HOOK_RETRIES_DEFAULT
}

/// What a hook or a check is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The plan.
    pub plan: PlanHash,
    /// The tenant.
    pub tenant: TenantId,
    /// The name people know the tenant by, if there is one.
    pub tenant_name: Option<String>,
    /// The same for every attempt of this call, see [`idempotency_key`].
    pub idempotency_key: String,
}

impl Call {
    /// What the step called `name` is told of a tenant.
    pub fn new(plan: &PlanHash, tenant: &TenantId, tenant_name: Option<&str>, name: &str) -> Self {
        let idempotency_key = idempotency_key(plan, tenant, name);
        let (plan, tenant) = (plan.clone(), tenant.clone());
        Self { plan, tenant, tenant_name: tenant_name.map(str::to_owned), idempotency_key }
    }
}

/// A call that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// Attempts, the last one included.
    pub attempts: usize,
    /// What it answered, as far as it is kept.
    pub output: String,
    /// From the first attempt on.
    pub elapsed: Duration,
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = if self.output.trim().is_empty() { "done" } else { self.output.trim_end() };
        // What others say may hold what a terminal would obey.
        let obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
        f.write_str(&answer.replace(obeyed, "\u{fffd}"))?;
        match self.attempts {
            1 => Ok(()),
            attempts => write!(f, " ({attempts} attempts)"),
        }
    }
}

/// The key of a hook's call: the same plan, tenant and hook have the same one, on any machine.
pub fn idempotency_key(plan: &PlanHash, tenant: &TenantId, hook: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("reinstate 2026-11 idempotency key of a hook");
    for part in [plan.as_str(), tenant.as_str(), hook] {
        // With its length, so that no two lists of parts read the same.
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// What a hook or a check is, in messages.
struct Subject<'a> {
    kind: &'static str,
    name: &'a str,
    tenant: &'a TenantId,
}

/// Why an attempt failed.
struct Failure {
    why: String,
    retry: Retry,
}

enum Retry {
    /// It would fail again.
    Never,
    /// It may pass; not before this time, if the other side says so.
    After(Option<Duration>),
}

impl Failure {
    fn last(why: impl Into<String>) -> Self {
        Self { why: why.into(), retry: Retry::Never }
    }

    fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), retry: Retry::After(None) }
    }
}

/// One kind of attempt, with all that it needs.
enum Action {
    Http(http::Request),
    Command(command::Program),
}

impl Hook {
    /// Refuses what can be seen to be wrong without a tenant.
    pub fn check_settings(&self, name: &str) -> Result<()> {
        self.check_as("hook", name)
    }

    fn check_as(&self, kind: &str, name: &str) -> Result<()> {
        let wrong = |what: &str| Error::usage(format!("unable to use {kind} '{name}': {what}"));
        match (&self.url, &self.command) {
            (Some(url), None) => {
                fill::check_url(url)
                    .map_err(|error| error.within(format!("unable to use {kind} '{name}'")))?;
            }
            (None, Some(command)) if command.first().is_none_or(|program| program.contains("{tenant}")) => {
                return Err(wrong("its command names no program"));
            }
            (None, Some(_)) if !self.headers_env.is_empty() => {
                return Err(wrong("a command has no headers").hint("a command sees the whole environment"));
            }
            (None, Some(_)) => {}
            _ => return Err(wrong("give either url = \"…\" or command = [\"…\"]")),
        }
        if !(1..=HOOK_TIMEOUT_SECONDS_MAX).contains(&self.timeout_s) {
            return Err(wrong(&format!(
                "timeout_s = {} is not 1 to {HOOK_TIMEOUT_SECONDS_MAX}",
                self.timeout_s
            )));
        }
        if self.retries > HOOK_RETRIES_MAX {
            return Err(wrong(&format!("retries = {} is more than {HOOK_RETRIES_MAX}", self.retries)));
        }
        Ok(())
    }

    fn action(&self, subject: &Subject<'_>, call: &Call, environment: &Environment) -> Result<Action> {
        self.check_as(subject.kind, subject.name)?;
        match (&self.url, &self.command) {
            (Some(url), _) => http::Request::new(self, url, subject, call, environment).map(Action::Http),
            (_, Some(argv)) => command::Program::new(argv, subject, call).map(Action::Command),
            (None, None) => Err(Error::bug("a hook that was checked does nothing")),
        }
    }
}

impl Check {
    /// Refuses what can be seen to be wrong without a tenant.
    pub fn check_settings(&self, name: &str) -> Result<()> {
        let wrong = |what: &str| Error::usage(format!("unable to use check '{name}': {what}"));
        match (&self.sql, &self.shard) {
            (None, None) if self.url.is_none() && self.command.is_none() => {
                Err(wrong("give url = \"…\", command = [\"…\"], or shard = \"…\" and sql = \"…\""))
            }
            (None, None) => self.as_hook().check_as("check", name),
            (Some(_), Some(_)) if self.url.is_none() && self.command.is_none() => Ok(()),
            (Some(_), Some(_)) => Err(wrong("it is a query, and a request or a command too")),
            _ => Err(wrong("a query takes both shard = \"…\" and sql = \"…\", others neither")),
        }
    }

    fn as_hook(&self) -> Hook {
        Hook {
            url: self.url.clone(),
            command: self.command.clone(),
            headers_env: self.headers_env.clone(),
            timeout_s: self.timeout_s,
            retries: self.retries,
            after: None,
        }
    }
}

/// Calls a hook for a tenant: a POST with JSON, or a command with the same JSON as its input.
pub async fn call(
    hook: &Hook,
    name: &str,
    call: &Call,
    environment: &Environment,
    stop: &Stop,
) -> Result<Called> {
    attempt(hook, &Subject { kind: "hook", name, tenant: &call.tenant }, call, environment, stop).await
}

/// Asks a check about a tenant: a GET, or a command. A query is the shard's to ask.
pub async fn check(
    check: &Check,
    name: &str,
    call: &Call,
    environment: &Environment,
    stop: &Stop,
) -> Result<Called> {
    attempt(&check.as_hook(), &Subject { kind: "check", name, tenant: &call.tenant }, call, environment, stop)
        .await
}

async fn attempt(
    hook: &Hook,
    subject: &Subject<'_>,
    call: &Call,
    environment: &Environment,
    stop: &Stop,
) -> Result<Called> {
    let action = hook.action(subject, call, environment)?;
    let (begun, timeout) = (Instant::now(), Duration::from_secs(hook.timeout_s));
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(HOOK_RETRY_DELAY)
        .with_max_delay(HOOK_RETRY_DELAY_MAX)
        .with_max_times(hook.retries)
        .with_jitter()
        .build();
    for attempts in 1.. {
        let result = tokio::select! {
            biased;
            () = stopped(stop) => return Err(subject.interrupted()),
            result = action.run(timeout) => result,
        };
        let failure = match result {
            Ok(output) => return Ok(Called { attempts, output, elapsed: begun.elapsed() }),
            Err(failure) => failure,
        };
        let Retry::After(asked) = failure.retry else { return Err(subject.failed(&failure, attempts)) };
        let asked = asked.unwrap_or_default();
        let Some(pause) = pauses.next().filter(|_| asked <= HOOK_RETRY_AFTER_MAX) else {
            return Err(subject.failed(&failure, attempts));
        };
        tokio::select! {
            () = stopped(stop) => return Err(subject.interrupted()),
            () = tokio::time::sleep(pause.max(asked)) => {}
        }
    }
    Err(Error::bug("a hook was tried for ever"))
}

impl Action {
    async fn run(&self, timeout: Duration) -> Result<String, Failure> {
        match self {
            Self::Http(request) => request.send(timeout).await,
            Self::Command(program) => program.run(timeout).await,
        }
    }
}

impl Subject<'_> {
    fn what(&self) -> String {
        format!("{} '{}' for tenant '{}'", self.kind, self.name, self.tenant.as_str().escape_debug())
    }

    fn interrupted(&self) -> Error {
        Error::interrupted(format!("unable to finish {}: it was stopped", self.what()))
            .hint("run it again; the other side may have seen this call, and gets the same idempotency key")
    }

    fn failed(&self, failure: &Failure, attempts: usize) -> Error {
        let times = if attempts == 1 { String::new() } else { format!(" ({attempts} attempts)") };
        Error::failed(format!("unable to finish {}: {}{times}", self.what(), failure.why))
            .hint("see to the other side, then retry the tenant: the idempotency key stays the same")
    }
}

/// Output that is kept up to a bound.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    left_out: usize,
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        let room = HOOK_OUTPUT_BYTES_MAX - self.bytes.len();
        let taken = room.min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..taken]);
        self.left_out += bytes.len() - taken;
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        match self.left_out {
            0 => text.into_owned(),
            more => format!("{text}… ({more} more bytes)"),
        }
    }

    /// The end of it in one line, for an error: that is where programs say what is wrong.
    fn tail(&self) -> String {
        let words: Vec<String> = self.text().split_whitespace().map(str::to_owned).collect();
        let line: Vec<char> = words.join(" ").chars().filter(|c| !c.is_control()).collect();
        line[line.len().saturating_sub(HOOK_FAULT_CHARACTERS_MAX)..].iter().collect()
    }
}
