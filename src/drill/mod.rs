//! The drill: a synthetic fleet, the accident, the rescue, and a measured report. Rehearses the whole job with the
//! same code and the same files that an incident would use.
//!
//! ```text
//! build ─► snapshot ─► neighbours write ─► ACCIDENT ─► mirror ─► detect ─► plan ─► apply ─► verify ─► proof
//!                      └──────────── go on writing, to shard and mirror alike ────────────┘
//! ```
//!
//! The proof is the drill's own (see [`proof`]): it reads rows with plain SQL and trusts no number of the engine.

mod database;
mod fleet;
mod neighbours;
mod proof;
mod report;
mod stage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::limits::MEMORY_BYTES_DEFAULT;
use crate::memory::Memory;
use crate::model::{DatabaseUrl, ShardName, TenantId};
use crate::plan::{Request, rails};
use crate::progress::Progress;
use crate::snapshot::{self, CreateOptions, Store};
use crate::source::live;
use crate::survey::{Look, Pick, Survey};
use crate::verify::certificate::Certificate;
use crate::{replay, restore};

use fleet::Fleet;
use neighbours::Neighbours;
use stage::Stage;

pub use report::{DrillReport, text};

/// What to rehearse.
#[derive(Clone, Debug)]
pub struct Options {
    /// A PostgreSQL server; SQLite files in a temporary folder if there is none.
    pub server: Option<DatabaseUrl>,
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
    let stage = Stage::set(options.server.as_ref()).await?;
    let result = rehearse(options, &stage, progress).await;
    let kept = stage.strike(options.keep || result.is_err()).await?;
    match result {
        Ok(mut report) => {
            report.kept = kept.map(|folder| folder.display().to_string());
            Ok(report)
        }
        Err(error) => Err(match kept {
            Some(folder) => error.hint(format!("the drill's files are kept in '{}'", folder.display())),
            None => error,
        }),
    }
}

async fn rehearse(options: &Options, stage: &Stage, progress: Arc<dyn Progress>) -> Result<DrillReport> {
    let mut times = Times::default();
    let fleet = Fleet::new(options.tenants, options.scale, options.seed);
    let victims = fleet.choose_victims(options.victims, options.seed);

    progress.note(&format!("building a fleet of {} tenants", options.tenants));
    let begun_at = Instant::now();
    let rows_built = stage.build(&fleet, progress.as_ref()).await?;
    times.build = begun_at.elapsed();

    progress.note("taking a snapshot of every shard");
    let config = stage.write_config().await?;
    let store = Store::open(config.store.as_deref().unwrap_or_default())?;
    let before = proof::victims_rows(stage, &victims).await?;
    let begun_at = Instant::now();
    take_snapshots(&config, &store, options.jobs, progress.as_ref()).await?;
    times.snapshot = begun_at.elapsed();

    let mut neighbours = Neighbours::new(&fleet, &victims, options.seed);
    neighbours.write(stage, None, 200).await?;
    let deleted_at = Timestamp::now();
    progress.note(&format!("the accident: one script deletes {} tenants", victims.len()));
    let rows_lost = stage.delete(&victims).await?;
    neighbours.write(stage, None, 200).await?;

    let mirror = stage.mirror().await?;
    let working = neighbours.keep_writing(stage, &mirror)?;
    let rescued = rescue(options, stage, &config, &store, deleted_at, progress.clone(), &mut times).await;
    let work = working.stop().await?;
    let Rescue { outcome, certificates, detected } = rescued?;

    progress.note("comparing every row by plain SQL");
    let proof = proof::compare(stage, &mirror, &victims, &before).await?;
    mirror.close().await;
    Ok(report::assemble(report::Facts {
        options,
        stage,
        fleet: &fleet,
        victims: &victims,
        rows_built,
        rows_lost,
        detected,
        outcome,
        certificates,
        work,
        proof,
        times,
    }))
}

struct Rescue {
    outcome: replay::Outcome,
    certificates: Vec<Certificate>,
    detected: Vec<TenantId>,
}

/// What an incident task force does, step by step, with the files it would have.
async fn rescue(
    options: &Options,
    stage: &Stage,
    config: &Config,
    store: &Store,
    deleted_at: Timestamp,
    progress: Arc<dyn Progress>,
    times: &mut Times,
) -> Result<Rescue> {
    progress.note("detecting who is gone");
    let begun_at = Instant::now();
    let pick = Pick::At(Some(deleted_at));
    let damaged = Survey::open(config, store, &pick, Memory::default()).await?.damage(Look::Counts).await?;
    let detected: Vec<TenantId> =
        damaged.into_iter().filter(|tenant| tenant.deleted).map(|tenant| tenant.id).collect();
    stage.write_file("tenants.txt", &detected.iter().map(|id| format!("{id}\n")).collect::<String>())?;
    times.detect = begun_at.elapsed();

    progress.note("planning");
    let begun_at = Instant::now();
    let request = Request {
        tenants: detected.clone(),
        urgent: Vec::new(),
        tenants_max: detected.len().max(crate::limits::TENANTS_MAX_DEFAULT),
        reason: Some("drill".into()),
        into: Default::default(),
        allow_dropped: false,
        on_conflict: crate::plan::Policy::Fail,
        tombstones: Default::default(),
        constraints: Default::default(),
        repair: None,
        author: None,
        memory: Memory::default(),
    };
    let plan = restore::dry_run(config, store, &pick, &request, progress.as_ref()).await?;
    stage.write_file("plan.json", &plan.to_json()?)?;
    times.plan = begun_at.elapsed();

    progress.note("restoring, while the neighbours go on writing");
    let begun_at = Instant::now();
    let approved = rails::approve(plan, Some(detected.len()), &Default::default())?;
    let (_running, stop) = watch::channel(false);
    let dropped = stage.folder().join("plan.dropped");
    let (jobs, memory, verify) = (options.jobs, Memory::default(), replay::VerifyAt::BeforeCommit);
    let settings = replay::Options {
        jobs,
        memory,
        verify,
        stop,
        dropped,
        who: "the drill".to_owned(),
        hold_after: None,
    };
    let outcome = restore::restore(config, &approved, &settings, progress.clone()).await?;
    times.apply = begun_at.elapsed();

    progress.note("verifying, independently of what wrote");
    let begun_at = Instant::now();
    let certificates =
        restore::prove(config, approved.plan(), |_| true, jobs, memory, progress.as_ref()).await?;
    let folder: PathBuf = stage.folder().join("certificates");
    for certificate in &certificates {
        certificate.write(&folder)?;
    }
    times.verify = begun_at.elapsed();
    Ok(Rescue { outcome, certificates, detected })
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

/// The names of the drill's shards, in the order of building.
const SHARDS: [&str; 3] = ["catalogue", "identity", "product"];

fn shard_name(name: &str) -> ShardName {
    ShardName::new(name)
}

/// Seconds with two decimals, for people.
fn seconds(duration: Duration) -> String {
    let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    format!("{:.2} s", signed.as_secs_f64())
}
