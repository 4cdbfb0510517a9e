//! `reinstate approve`: sign a plan's hash with one's SSH key.

use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::output::{Output, write_file};
use super::{ask, passphrase};
use crate::approval::{Approval, Evidence, Judged, Key, Rules, Signature};
use crate::config::Config;
use crate::error::{EXIT_OK, Error, Result};
use crate::limits::SIGNATURE_BYTES_MAX;
use crate::model::PlanHash;
use crate::plan::{Plan, rails};
use crate::report;

/// The ending of the files that hold signatures.
const ENDING: &str = "sig";

/// Approve somebody else's plan: sign its hash with your SSH key
#[derive(clap::Args)]
#[command(
    after_help = "The configuration says whose approvals count, and from how many tenants on they are needed:

  [approvals]
  allowed_signers = \"allowed_signers\"      lines of PRINCIPAL KEY, as git and ssh-keygen(1) have them
  required = [{ from = 11, count = 1 }, { from = 100, count = 2 }]

The signature goes to a folder beside the plan (plan.approvals/PRINCIPAL.sig); pass it on with the plan. It is void for
any other plan. An encrypted key asks for its passphrase, or takes that of REINSTATE_KEY_PASSPHRASE.

Examples:
  reinstate approve plan.json --key ~/.ssh/id_ed25519                 shows the plan, asks for the number of tenants
  reinstate approve plan.json --key ~/.ssh/id_ed25519 --confirm 50    where no terminal can ask
  jq -j .hash plan.json | ssh-keygen -Y verify -f allowed_signers -I ben -n reinstate-plan -s plan.approvals/ben.sig"
)]
pub struct Args {
    /// The plan file, of a restore or a repair
    plan: PathBuf,

    /// Your private key (ed25519)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Who you are, where the allowed signers give your key several names
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: Option<String>,

    /// The number of tenants in the plan, as a confirmation
    #[arg(long, value_name = "COUNT")]
    confirm: Option<usize>,

    /// Show every table of every tenant
    #[arg(long)]
    detail: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct ApprovalReport<'a> {
    format: u32,
    plan: &'a PlanHash,
    principal: &'a str,
    file: &'a Path,
    approvals: &'a [Approval],
    approvals_needed: usize,
}

pub async fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    let config = Config::load(config)?;
    let plan = Plan::load(&args.plan)?;
    let Some(rules) = &config.approvals else {
        return Err(Error::usage("unable to approve the plan: the configuration has no [approvals]")
            .hint("`reinstate approve --help` shows what belongs there"));
    };
    let needed = rails::approvals_needed(&plan, Some(rules));
    rails::check_author(plan.author.as_deref(), needed, Some(rules), "approve the plan")?;
    let key = read_key(&args.key)?;
    let principal = principal(&key, args.principal.as_deref(), rules)?;
    let file = folder(&args.plan).join(format!("{principal}.{ENDING}"));
    if file.symlink_metadata().is_ok() {
        return Err(Error::refused(format!(
            "unable to approve the plan: '{}' exists already",
            file.display()
        ))
        .hint("an approval is never written over; remove the file if it was of an earlier plan"));
    }
    output.talk(&report::text::plan(&plan, args.detail));
    let confirmed = args.confirm.or_else(|| ask::count("approve", output));
    rails::check_count(&plan, confirmed, "approve")?;
    let key = if key.is_encrypted() { unlocked(key, &args.key, output)? } else { key };
    let text = key.sign(&plan.hash)?;
    let judged =
        judged(&plan, rules, &args.plan, Signature { principal: principal.clone(), text: text.clone() })?;
    write(&file, &text)?;
    let approvals = judged.approvals.as_slice();
    let report = ApprovalReport {
        format: 1,
        plan: &plan.hash,
        principal: &principal,
        file: &file,
        approvals,
        approvals_needed: needed,
    };
    let said = || {
        format!(
            "approved by '{principal}' with key {}: {} of {needed} approvals, written to {}\nplan {}",
            key.fingerprint(),
            approvals.len(),
            file.display(),
            plan.hash
        )
    };
    output.result(said, &report)?;
    Ok(EXIT_OK)
}

/// What the rails judge a plan by: the rules, the signatures beside it, and the time.
pub fn evidence<'a>(config: &'a Config, plan: &Path) -> Result<Evidence<'a>> {
    let rules = config.approvals.as_ref();
    let signatures = if rules.is_some() { signatures(plan)? } else { Vec::new() };
    Ok(Evidence { rules, signatures, now: Timestamp::now() })
}

/// Where the approvals of a plan are.
fn folder(plan: &Path) -> PathBuf {
    plan.with_extension("approvals")
}

/// The signatures beside a plan, by name.
fn signatures(plan: &Path) -> Result<Vec<Signature>> {
    let folder = folder(plan);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let unable = |error| Error::refused(format!("unable to read '{}'", folder.display())).because(error);
    let mut signatures = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unable)? {
        let path = entry.map_err(unable)?.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let unable = |error| Error::refused(format!("unable to read '{}'", path.display())).because(error);
        // What is larger is no signature, and does not become one by being cut.
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).map_err(unable)?;
        file.take(SIGNATURE_BYTES_MAX).read_to_end(&mut bytes).map_err(unable)?;
        let principal = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        signatures.push(Signature { principal, text: String::from_utf8_lossy(&bytes).into_owned() });
    }
    signatures.sort_by(|a, b| a.principal.cmp(&b.principal));
    Ok(signatures)
}

fn read_key(path: &Path) -> Result<Key> {
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|error| {
        Error::usage(format!("unable to read key '{name}'"))
            .because(error)
            .hint("--key names your private key")
    })?;
    Key::parse(&text, &name)
}

/// Who approves: the owner of the key.
fn principal(key: &Key, said: Option<&str>, rules: &Rules) -> Result<String> {
    let owners = key.owners(&rules.signers);
    let unable = |what: String| Error::refused(format!("unable to approve the plan: {what}"));
    match (said, owners.as_slice()) {
        (_, []) => Err(unable(format!("key {} is not in '{}'", key.fingerprint(), rules.file))
            .hint("whoever looks after that file must add you and your public key")),
        (Some(said), _) if owners.contains(&said) => Ok(said.to_owned()),
        (Some(said), _) => {
            Err(unable(format!("'{said}' is not whose key this is: it belongs to {}", owners.join(", "))))
        }
        (None, [one]) => Ok((*one).to_owned()),
        (None, _) => Err(unable(format!("the key belongs to {}", owners.join(", ")))
            .hint("say with --as PRINCIPAL who you are")),
    }
}

fn unlocked(key: Key, path: &Path, output: &Output) -> Result<Key> {
    let given = std::env::var("REINSTATE_KEY_PASSPHRASE").ok();
    let passphrase = given.or_else(|| {
        output.talk(&format!("passphrase of {}:", path.display()));
        passphrase::read()
    });
    let passphrase = passphrase.ok_or_else(|| {
        Error::usage(format!("unable to decrypt key '{}': there is no passphrase", path.display()))
            .hint("set REINSTATE_KEY_PASSPHRASE where no terminal can ask")
    })?;
    key.unlock(&passphrase)
}

/// Whether the new signature counts, by the same judge as when the plan is applied.
fn judged(plan: &Plan, rules: &Rules, path: &Path, new: Signature) -> Result<Judged> {
    let principal = new.principal.clone();
    let mut signatures = signatures(path)?;
    signatures.push(new);
    let author = plan.author.as_deref().unwrap_or_default();
    let judged = rules.judge(&plan.hash, author, &signatures, Timestamp::now());
    match judged.rejected.iter().find(|rejected| rejected.principal == principal) {
        Some(rejected) => {
            Err(Error::refused(format!("unable to approve the plan: '{principal}' {}", rejected.why))
                .hint("a plan is approved by others than its author, each with a valid key of their own"))
        }
        None => Ok(judged),
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|error| {
            Error::usage(format!("unable to make folder '{}'", folder.display())).because(error)
        })?;
    }
    write_file(file, text, false)
}
