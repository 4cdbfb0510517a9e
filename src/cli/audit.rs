//! `reinstate audit`: is the log as it was written, and what does it say?

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::output::Output;
use crate::audit::{self, Chain, Entry, Fault, Line};
use crate::config::Config;
use crate::error::{EXIT_DIFFERENCES, EXIT_OK, Result};
use crate::report::audit::{Command as Recorded, commands, shown, verified};

/// The audit log: who did what, when, by which plan, and what became of it
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Verify(Verify),
    Show(Show),
}

/// Read the log again and say which line is the first that was changed, removed, inserted, moved or cut off
#[derive(clap::Args)]
#[command(
    after_help = "A log without its last lines looks whole, and so does one that was written anew. To tell, keep the head that
every command prints at its end somewhere else, and give it here: it must be the hash of one of the lines.

Exit code 0: every line is as it was written; 1: not so.

Examples:
  reinstate audit verify
  reinstate audit verify --head 5d41402abc4b2a76b9719d911017c592ae2d1a3b0c4d5e6f708192a3b4c5d6e7
  reinstate audit verify /srv/inquiry/reinstate.audit.jsonl"
)]
struct Verify {
    /// The log, if not the configuration's
    file: Option<PathBuf>,

    /// The head as it once was; the log must have grown from there
    #[arg(long, value_name = "HASH", value_parser = hash)]
    head: Option<blake3::Hash>,
}

/// Show the commands of the log, one a line
#[derive(clap::Args)]
#[command(after_help = "Examples:
  reinstate audit show
  reinstate audit show --plan 841a16c9        what was done by this plan
  reinstate audit show --json                 every entry, with the ids of all tenants")]
struct Show {
    /// The log, if not the configuration's
    file: Option<PathBuf>,

    /// Only what concerns this plan: its hash, or the beginning of it
    #[arg(long, value_name = "HASH")]
    plan: Option<String>,
}

fn hash(text: &str) -> Result<blake3::Hash, String> {
    blake3::Hash::from_hex(text).map_err(|_| "it is 64 hexadecimal digits".to_owned())
}

pub fn run(args: Args, config: &Path, output: &Output) -> Result<u8> {
    match args.command {
        Command::Verify(args) => verify(args, config, output),
        Command::Show(args) => show(args, config, output),
    }
}

fn log(file: Option<PathBuf>, config: &Path) -> Result<PathBuf> {
    file.map_or_else(|| Config::load(config).map(|config| config.audit), Ok)
}

fn verify(args: Verify, config: &Path, output: &Output) -> Result<u8> {
    let log = log(args.file, config)?;
    let lines = audit::read(&log, |_| {})?;
    let chain = Chain::of(&lines).and_then(Chain::whole);
    let head_in = args.head.map(|head| (head, line_of(&lines, head)));
    let is_good = chain.is_ok() && !matches!(head_in, Some((_, None)));
    let value = serde_json::json!({
        "format": 1,
        "log": log.display().to_string(),
        "lines": lines.len(),
        "whole": chain.is_ok(),
        "head": chain.as_ref().ok().map(|chain| chain.head.to_hex().to_string()),
        "cut": chain.as_ref().map(|chain| chain.cut.as_slice()).unwrap_or_default(),
        "fault": chain.as_ref().err(),
        "problem": chain.as_ref().err().map(Fault::to_string),
        "head_in_line": head_in.and_then(|(_, line)| line),
    });
    output.result(|| verified(&log, &chain, head_in), &value)?;
    Ok(if is_good { EXIT_OK } else { EXIT_DIFFERENCES })
}

/// The line of which this is the hash.
fn line_of(lines: &[Line], head: blake3::Hash) -> Option<u64> {
    lines.iter().position(|line| line.hash() == head).map(|index| index as u64 + 1)
}

fn show(args: Show, config: &Path, output: &Output) -> Result<u8> {
    let log = log(args.file, config)?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut unknown = 0;
    let lines = audit::read(&log, |bytes| match serde_json::from_slice(bytes) {
        Ok(entry) => entries.push(entry),
        Err(_) => unknown += 1,
    })?;
    let wanted = |command: &Recorded<'_>| {
        let plan = command.facts().plan.as_ref();
        args.plan.as_deref().is_none_or(|start| plan.is_some_and(|plan| plan.as_str().starts_with(start)))
    };
    let commands: Vec<Recorded<'_>> = commands(&entries).into_iter().filter(wanted).collect();
    let of_commands: Vec<&Entry> = commands.iter().flat_map(Recorded::entries).collect();
    let value = serde_json::json!({ "format": 1, "log": log.display().to_string(), "entries": of_commands });
    output.result(|| shown(&log, &commands), &value)?;
    if unknown > 0 {
        output.talk(&format!("note: {unknown} entries of another version of reinstate are not shown"));
    }
    match Chain::of(&lines).and_then(Chain::whole) {
        Ok(_) => Ok(EXIT_OK),
        Err(fault) => {
            output.talk(&format!("note: the log is not as it was written: {fault}"));
            Ok(EXIT_DIFFERENCES)
        }
    }
}
