//! The command line: one file a subcommand, holding its arguments and one function. `output` alone prints.

mod apply;
mod approve;
mod ask;
mod audit;
mod control;
mod diff;
mod drill;
mod inference;
mod init;
mod output;
mod passphrase;
mod plan;
mod record;
mod repair;
mod report;
mod request;
mod settings;
mod signoff;
mod snapshot;
mod status;
mod verify;
mod waive;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::CONFIG_PATH_DEFAULT;
use crate::error::{EXIT_CODES, Error, Result};
use output::Output;

/// Brings deleted tenants back out of shared-database backups into the live databases they were deleted from:
/// original identifiers, in parallel, verified before commit, neighbours untouched.
#[derive(Parser)]
#[command(name = "reinstate", version, after_long_help = exit_codes_help(), arg_required_else_help = true)]
struct Cli {
    /// Configuration: shards, and who owns the rows of each table
    #[arg(short, long, global = true, value_name = "FILE", default_value = CONFIG_PATH_DEFAULT)]
    config: PathBuf,

    /// Print machine-readable JSON to standard output
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Args),
    Why(why::Args),
    Snapshot(snapshot::Args),
    Diff(diff::Args),
    Plan(plan::Args),
    Approve(approve::Args),
    Apply(apply::Args),
    Repair(repair::Args),
    Status(status::Args),
    Stop(control::Stop),
    Pause(control::Pause),
    Resume(control::Resume),
    Skip(control::Skip),
    Retry(control::Retry),
    Waive(waive::Args),
    Note(control::Note),
    Signoff(signoff::Args),
    Report(report::Args),
    Verify(verify::Args),
    Audit(audit::Args),
    Drill(drill::Args),
}

fn exit_codes_help() -> String {
    let lines: Vec<String> = EXIT_CODES.iter().map(|(code, what)| format!("  {code:>2}  {what}")).collect();
    format!(
        "Exit codes:\n{}\n\nEnvironment:\n  REINSTATE_LOG             log filter, for example debug
  REINSTATE_USER            who you are, for plans and the audit log, as the allowed signers of approvals have it
  REINSTATE_KEY_PASSPHRASE  passphrase of the key that approves
  NO_COLOR                  no colours",
        lines.join("\n")
    )
}

/// Parses the command line, runs it, prints one error, and gives the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors. A closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    start_log();
    let output = Output::new(cli.json);
    let code = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli, &output)),
        Err(error) => Err(Error::bug("unable to start the runtime").because(error)),
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

async fn run(cli: Cli, output: &Output) -> Result<u8> {
    let config = cli.config.as_path();
    match cli.command {
        Command::Init(args) => init::run(args, config, output).await,
        Command::Why(args) => why::run(args, config, output).await,
        Command::Snapshot(args) => snapshot::run(args, config, output).await,
        Command::Diff(args) => diff::run(args, config, output).await,
        Command::Plan(args) => plan::run(args, config, output).await,
        Command::Approve(args) => approve::run(args, config, output).await,
        Command::Apply(args) => apply::run(args, config, output).await,
        Command::Repair(args) => repair::run(args, config, output).await,
        Command::Status(args) => status::run(args, config, output).await,
        Command::Stop(args) => control::stop(args, config, output).await,
        Command::Pause(args) => control::pause(args, config, output).await,
        Command::Resume(args) => control::resume(args, config, output).await,
        Command::Skip(args) => control::skip(args, config, output).await,
        Command::Retry(args) => control::retry(args, config, output).await,
        Command::Waive(args) => waive::run(args, config, output).await,
        Command::Note(args) => control::note(args, config, output).await,
        Command::Signoff(args) => signoff::run(args, config, output).await,
        Command::Report(args) => report::run(args, config, output).await,
        Command::Verify(args) => verify::run(args, config, output).await,
        Command::Audit(args) => audit::run(args, config, output),
        Command::Drill(args) => drill::run(args, output).await,
    }
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("REINSTATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    let ansi = std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
}
