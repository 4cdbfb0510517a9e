//! An attempt by a command: the same JSON on its input, its output kept, killed with all its children when it takes
//! too long.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::{Call, Failure, Kept, Subject, fill, http};
use crate::error::Result;
use crate::limits::HOOK_END_GRACE;

/// A program with its arguments, variables and input.
pub struct Program {
    argv: Vec<String>,
    variables: Vec<(&'static str, String)>,
    input: Vec<u8>,
}

/// A process group of ours, killed when this is dropped while it may still run.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Group {
    fn ask_to_end(&self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}

impl Program {
    pub fn new(argv: &[String], subject: &Subject<'_>, call: &Call) -> Result<Self> {
        let filled =
            argv.iter().map(|argument| fill::argument(argument, &call.tenant)).collect::<Result<_>>();
        let argv = filled
            .map_err(|error| error.within(format!("unable to set up {} '{}'", subject.kind, subject.name)))?;
        let variables = vec![
            ("REINSTATE_IDEMPOTENCY_KEY", call.idempotency_key.clone()),
            ("REINSTATE_PLAN", call.plan.to_string()),
            ("REINSTATE_TENANT", call.tenant.to_string()),
        ];
        Ok(Self { argv, variables, input: http::body(subject, call) })
    }

    pub async fn run(&self, limit: Duration) -> Result<String, Failure> {
        let name = &self.argv[0];
        let mut child =
            self.spawn().map_err(|error| Failure::last(format!("'{name}' cannot be started: {error}")))?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let (mut output, mut errors) = (Kept::default(), Kept::default());
        let Ok(ended) = timeout(limit, self.attend(&mut child, &mut output, &mut errors)).await else {
            group.ask_to_end();
            let _ = timeout(HOOK_END_GRACE, child.wait()).await;
            // What is left of the group goes now, with the guard.
            drop(group);
            return Err(Failure::passing(format!("'{name}' did not end within {} s", limit.as_secs())));
        };
        let status = ended.map_err(|error| Failure::passing(format!("'{name}' was lost: {error}")))?;
        // It ended by itself; what it left running on purpose goes on.
        group.0 = None;
        if status.success() {
            return Ok(output.text());
        }
        let said = if errors.bytes.is_empty() { output.tail() } else { errors.tail() };
        let said = if said.is_empty() { said } else { format!(": {said}") };
        Err(Failure::passing(format!("'{name}' ended with {status}{said}")))
    }

    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(&self.argv[0])
            .args(&self.argv[1..])
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Feeds a process, keeps its output and waits for its end.
    async fn attend(
        &self,
        child: &mut Child,
        output: &mut Kept,
        errors: &mut Kept,
    ) -> std::io::Result<ExitStatus> {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let streams = async { tokio::join!(self.feed(stdin), keep(stdout, output), keep(stderr, errors)) };
        tokio::pin!(streams);
        let status = tokio::select! {
            status = child.wait() => status?,
            _ = &mut streams => return child.wait().await,
        };
        // What it left running may hold its output open for ever.
        let _ = timeout(HOOK_END_GRACE, streams).await;
        Ok(status)
    }

    async fn feed(&self, stdin: Option<ChildStdin>) {
        if let Some(mut stdin) = stdin {
            // A program need not read its input.
            let _ = stdin.write_all(&self.input).await;
        }
    }
}

async fn keep(stream: Option<impl AsyncRead + Unpin>, kept: &mut Kept) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 8 << 10];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        kept.add(&buffer[..read]);
    }
}
