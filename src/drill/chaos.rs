//! The restore, by a process that is killed at random moments and started again, and on clusters that crash meanwhile.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::Scene;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// What is done, one after the other.
const DISTURBANCES: [Disturbance; 6] = [
    Disturbance::Kill,
    Disturbance::Kill,
    Disturbance::Crash,
    Disturbance::Kill,
    Disturbance::Crash,
    Disturbance::Kill,
];
/// Starts until all is back; those that a crash ended included.
const RUNS_MAX: u64 = 30;
/// What the processes say goes to this file of the drill's folder.
const LOG: &str = "apply.log";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    /// SIGKILL for `apply`.
    Kill,
    /// A cluster stops at once, and comes back; SQLite has none.
    Crash,
}

/// What was done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Chaos {
    /// Times that `apply` was started.
    pub runs: u64,
    /// Times that it was killed.
    pub kills: u64,
    /// Times that a cluster crashed and came back.
    pub crashes: u64,
}

/// Applies the plan of the drill's folder, whatever happens. `open`: victims that are served already.
pub async fn apply(
    scene: &Scene<'_>,
    program: &Path,
    tenants: usize,
    mut open: watch::Receiver<usize>,
    progress: &dyn Progress,
) -> Result<Chaos> {
    let mut rng = Rng::with_seed(scene.options.seed ^ 0xc4a05);
    let mut chaos = Chaos::default();
    let clusters: Vec<_> = scene.stage.clusters().collect();
    let mut ahead: Vec<Disturbance> = DISTURBANCES.to_vec();
    if clusters.is_empty() {
        ahead.retain(|disturbance| *disturbance == Disturbance::Kill);
    }
    let all = ahead.len();
    ahead.reverse();
    while chaos.runs < RUNS_MAX {
        chaos.runs += 1;
        let mut child = start(scene, program, tenants)?;
        while let Some(next) = ahead.last().copied() {
            // The first one comes before anything is back, the others after a part of it.
            let threshold = tenants * (all - ahead.len()) / all;
            let pause = Duration::from_millis(rng.u64(20..400));
            let moment = async {
                // The sender lives as long as the drill.
                let _ = open.wait_for(|open| *open >= threshold).await;
                tokio::time::sleep(pause).await;
            };
            tokio::select! {
                () = moment => {}
                _ = child.wait() => break,
            }
            ahead.pop();
            match next {
                Disturbance::Kill => {
                    progress.note(&format!("chaos: apply is killed, {} sites are served", *open.borrow()));
                    kill(&mut child).await?;
                    chaos.kills += 1;
                    break;
                }
                Disturbance::Crash => {
                    if let Some(cluster) = rng.choice(&clusters) {
                        progress
                            .note(&format!("chaos: a cluster crashes, {} sites are served", *open.borrow()));
                        cluster.crash().await?;
                        chaos.crashes += 1;
                    }
                }
            }
        }
        let status = child.wait().await.map_err(unable)?;
        if status.success() {
            return Ok(chaos);
        }
        progress.note(&format!("chaos: apply ended ({status}) and is started again"));
    }
    Err(Error::failed(format!("unable to restore everything in {RUNS_MAX} starts of `reinstate apply`"))
        .hint(format!("what they said: {}", scene.stage.folder().join(LOG).display())))
}

fn unable(error: std::io::Error) -> Error {
    Error::failed("unable to run `reinstate apply` as a process of its own").because(error)
}

fn start(scene: &Scene<'_>, program: &Path, tenants: usize) -> Result<Child> {
    let folder = scene.stage.folder();
    let log = std::fs::File::options().create(true).append(true).open(folder.join(LOG)).map_err(unable)?;
    let second = log.try_clone().map_err(unable)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(folder.join(crate::config::CONFIG_PATH_DEFAULT)).arg("apply");
    command.arg(folder.join("plan.json")).args(["--confirm", &tenants.to_string()]);
    command.args(["--jobs", &scene.options.jobs.to_string()]);
    command.envs(scene.stage.variables());
    command.stdin(Stdio::null()).stdout(log).stderr(second).kill_on_drop(true);
    command.spawn().map_err(unable)
}

/// SIGKILL. One that has ended meanwhile has ended.
async fn kill(child: &mut Child) -> Result<()> {
    if child.try_wait().map_err(unable)?.is_none() {
        child.kill().await.map_err(unable)?;
    }
    Ok(())
}
