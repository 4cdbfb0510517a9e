//! The drill: a synthetic fleet, the accident, the rescue, and a measured report. Plays the whole incident with the
//! same code and the same files that a real one would use.
//!
//! ```text
//! build ─► snapshot ─► neighbours write ─► ACCIDENT ─► mirror ─► detect ─► plan ─► approve ─► apply ─► verify
//!                      └─ go on writing, to shard and mirror alike ─┘                   sign off ─► proof ◄─┘
//! ```
//!
//! The proof is the drill's own (see [`proof`]): it reads rows with plain SQL, files and flags, and trusts no number of
//! the engine.

mod chaos;
mod cluster;
mod database;
mod files;
mod flags;
mod fleet;
mod neighbours;
mod proof;
mod report;
mod rescue;
mod rules;
mod score;
mod server;
mod stage;
mod tables;
mod watch;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::limits::MEMORY_BYTES_DEFAULT;
use crate::model::TenantId;
use crate::progress::Progress;
use crate::snapshot::{self, CreateOptions, Store};
use crate::source::live;

use files::Media;
use flags::FlagService;
use fleet::Fleet;
use neighbours::Neighbours;
use proof::Before;
use rescue::{Tools, rescue, timed};
use stage::Stage;
use watch::Watch;

pub use report::{DrillReport, text};
pub use stage::Ground;

/// What to rehearse.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the fleet's databases are.
    pub ground: Ground,
    /// Tenants of the fleet.
    pub tenants: usize,
    /// Tenants that are deleted.
    pub victims: usize,
    /// Multiplies the rows of the fleet: 1.0 is about 260,000.
    pub scale: f64,
    /// The same seed makes the same fleet and the same accident.
    pub seed: u64,
    /// Tenants restored at a time.
    pub jobs: usize,
    /// Leaves everything behind to look at.
    pub keep: bool,
    /// This program applies the plan, and is killed meanwhile; clusters crash.
    pub chaos: Option<PathBuf>,
}

/// What the drill is played with.
pub struct Scene<'a> {
    options: &'a Options,
    stage: &'a Stage,
    media: &'a Media,
    flags: &'a FlagService,
    victims: &'a [TenantId],
    /// Whom to tell about each tenant: CSV.
    contacts: &'a str,
}

/// How long each part took.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    build: Duration,
    snapshot: Duration,
    detect: Duration,
    plan: Duration,
    apply: Duration,
    verify: Duration,
}

/// Rehearses the accident and the rescue.
pub async fn run(options: &Options, progress: Arc<dyn Progress>) -> Result<DrillReport> {
    if options.victims == 0 || options.victims >= options.tenants {
        return Err(Error::usage(format!(
            "unable to delete {} of {} tenants: there must be victims and neighbours",
            options.victims, options.tenants
        ))
        .hint("--victims from 1 to --tenants minus 1"));
    }
    let interrupted =
        || Error::interrupted("the drill was interrupted").hint("run it again; nothing is left of it");
    let stage = tokio::select! {
        stage = Stage::set(&options.ground) => stage?,
        () = signalled() => return Err(interrupted()),
    };
    let result = tokio::select! {
        result = rehearse(options, &stage, progress) => result,
        () = signalled() => Err(interrupted()),
    };
    let failed = result.as_ref().is_err_and(|error| error.kind() != Kind::Interrupted);
    let kept = stage.strike(options.keep, failed).await?;
    match result {
        Ok(mut report) => {
            report.kept = kept.as_ref().map(|kept| kept.folder.display().to_string());
            report.to_stop = kept.map(|kept| kept.farewell).unwrap_or_default();
            Ok(report)
        }
        Err(error) => Err(match kept {
            Some(kept) => error.hint(format!("the drill's files are kept in '{}'", kept.folder.display())),
            None => error,
        }),
    }
}

/// Ends at Ctrl-C, or when a scheduler asks the drill to end.
async fn signalled() {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    let terminated = async {
        match &mut terminate {
            Some(signal) => signal.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}

async fn rehearse(options: &Options, stage: &Stage, progress: Arc<dyn Progress>) -> Result<DrillReport> {
    let mut times = Times::default();
    let fleet = Fleet::new(options.tenants, options.scale, options.seed);
    let victims = fleet.choose_victims(options.victims, options.seed);
    let (media, flags) = (Media::new(stage.folder()), FlagService::start(&fleet, options.seed).await?);
    let contacts = contacts(&fleet);
    let scene =
        Scene { options, stage, media: &media, flags: &flags, victims: &victims, contacts: &contacts };

    progress.note(&format!("building a fleet of {} tenants", options.tenants));
    let rows_built = timed(&mut times.build, async {
        media.build(&fleet, options.seed)?;
        stage.build(&fleet, progress.as_ref()).await
    })
    .await?;
    let keys = rules::make_keys(stage)?;
    stage.write_file("contacts.csv", &contacts)?;

    progress.note("taking a snapshot of every shard");
    let config = stage.write_config(&flags.url()).await?;
    let store = Store::open(config.store.as_deref().unwrap_or_default())?;
    timed(&mut times.snapshot, take_snapshots(&config, &store, options.jobs, progress.as_ref())).await?;

    let mut neighbours = Neighbours::new(&fleet, &victims, options.seed);
    neighbours.write(stage, WRITES_BESIDE).await?;
    let before = Before::look(&scene).await?;
    let deleted_at = Timestamp::now();
    progress.note(&format!("the accident: one script deletes {} tenants everywhere", victims.len()));
    let lost = accident(&scene).await?;
    neighbours.write(stage, WRITES_BESIDE).await?;

    let mirror = stage.mirror().await?;
    let working = neighbours.keep_writing(&scene, &mirror, options.chaos.is_some())?;
    tokio::time::sleep(IDLE).await;
    let watching = Watch::begin(&scene)?;
    let tools = Tools {
        config: &config,
        store: &store,
        keys: &keys,
        open: watching.open(),
        working: &working,
        progress: progress.clone(),
    };
    let rescued = rescue(&scene, tools, deleted_at).await;
    let mut work = working.stop().await?;
    let rescued = rescued?;
    let gates = watching.end().await?;

    progress.note("comparing every row, file and flag");
    let uploads = std::mem::take(&mut work.uploads);
    let mut proof = proof::compare(&scene, &mirror, before, uploads).await?;
    proof.gates = gates;
    mirror.close().await;
    times = Times { build: times.build, snapshot: times.snapshot, ..rescued.times };
    Ok(report::assemble(&scene, report::Facts { rows_built, lost, rescued, work, proof, times }))
}

/// Writes of the neighbours between the snapshot and the accident, and after it.
const WRITES_BESIDE: usize = 200;
/// How long the neighbours' writes are measured while nothing else goes on.
const IDLE: Duration = Duration::from_secs(2);

/// What the accident took.
#[derive(Clone, Copy, Debug)]
struct Lost {
    rows: u64,
    files: u64,
    flags: u64,
}

/// One script with the wrong ids goes through every store.
async fn accident(scene: &Scene<'_>) -> Result<Lost> {
    let rows = scene.stage.delete(scene.victims).await?;
    let files = scene.media.delete(scene.victims)?;
    Ok(Lost { rows, files, flags: scene.flags.delete(scene.victims) })
}

/// Whom a customer is reached by; known outside the restored data.
fn contacts(fleet: &Fleet) -> String {
    let mut out = "tenant,contact\n".to_owned();
    for site in &fleet.sites {
        let _ = writeln!(out, "{},{}", site.id, contact(&site.id));
    }
    out
}

/// A contact looks after several sites.
fn contact(tenant: &TenantId) -> String {
    let first = tenant.as_str().chars().next().unwrap_or('0');
    format!("customer-{first}@example.net")
}
async fn take_snapshots(
    config: &Config,
    store: &Store,
    readers: usize,
    progress: &dyn Progress,
) -> Result<()> {
    let options = CreateOptions { memory_bytes: MEMORY_BYTES_DEFAULT, retain_days: 30, ties: true };
    for (name, settings) in &config.shards {
        let source = live::open(name, &settings.url, &settings.tenancy, readers).await?;
        snapshot::create(store, name, source.as_ref(), &settings.tenancy, &options, progress).await?;
    }
    Ok(())
}

/// Seconds with two decimals, for people.
fn seconds(duration: Duration) -> String {
    let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    format!("{:.2} s", signed.as_secs_f64())
}
