//! The neighbours: tenants that were not deleted and go on working. Every write goes to the shard and, once there
//! is one, to the mirror, with the same values.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Scene;
use super::database::Database;
use super::files::Files;
use super::fleet::{self, Fleet, Value};
use super::stage::{Mirror, Stage};
use super::tables::SHARDS;
use crate::error::{Error, Result};
use crate::model::TenantId;

/// Ids of the rows that neighbours create start here, far from the fleet's.
const FIRST_ID: i64 = 1_000_000_000;
/// Pause between two writes: about a hundred a second.
const PAUSE: Duration = Duration::from_millis(8);

/// How long a neighbour goes on trying while servers are away, where that is part of the drill.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause before it tries again.
const AGAIN: Duration = Duration::from_millis(50);
/// Writes between two uploads.
const UPLOAD_EVERY: u64 = 40;

/// When a write was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Nothing else goes on.
    Idle,
    /// The task force looks and plans.
    Looking,
    /// Tenants come back.
    Restoring,
}

/// What the neighbours did.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// How long each write took before anything else went on.
    pub idle: Vec<Duration>,
    /// How long each write took while tenants came back.
    pub during: Vec<Duration>,
    /// Files that they added.
    pub uploads: Files,
}

/// One write. Done twice it does what it does once: a server that goes away may have done it or not.
struct Write {
    shard: &'static str,
    sql: &'static str,
    values: Vec<Value>,
}

/// Makes the neighbours' writes, one after the other.
pub struct Neighbours {
    /// What neighbours work at.
    work: Vec<fleet::Work>,
    rng: Rng,
    next_id: i64,
}

impl Neighbours {
    /// Neighbours of the victims.
    pub fn new(fleet: &Fleet, victims: &[TenantId], seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0xbee);
        let victims: BTreeSet<&TenantId> = victims.iter().collect();
        let work =
            (0..500).filter_map(|_| fleet.some_work(&mut rng, |site| !victims.contains(site))).collect();
        Self { work, rng, next_id: FIRST_ID }
    }

    fn next(&mut self) -> Write {
        let work = self.work[self.rng.usize(..self.work.len())].clone();
        self.next_id += 1;
        let (id, user) = (Value::Int(self.next_id), Value::Int(work.user));
        let earlier = Value::Int(self.rng.i64(FIRST_ID..self.next_id));
        let at = Value::Text(jiff::Timestamp::now().to_string());
        let said = Value::Text("still at work".into());
        match (self.rng.u8(..6), work.page) {
            (0, _) => Write {
                shard: work.issues,
                sql: "UPDATE issues SET status = $1, updated_at = $2::timestamptz WHERE id = $3",
                values: vec![Value::Text(format!("moved {}", self.next_id)), at, Value::Int(work.issue)],
            },
            (1, _) => Write {
                shard: "identity",
                sql: "INSERT INTO sign_ins (site_id, user_id, day) SELECT $1::uuid, $2, $3::date WHERE NOT EXISTS \
                      (SELECT 1 FROM sign_ins WHERE site_id = $1::uuid AND user_id = $2 AND day = $3::date)",
                values: vec![Value::Text(work.site.to_string()), user, self.day()],
            },
            (2, _) => {
                Write { shard: work.issues, sql: "DELETE FROM comments WHERE id = $1", values: vec![earlier] }
            }
            (3, Some(page)) => Write {
                shard: work.docs,
                sql: "INSERT INTO page_comments (id, page_id, author_id, body) VALUES ($1, $2, $3, $4) \
                      ON CONFLICT (id) DO NOTHING",
                values: vec![id, Value::Int(page), user, said],
            },
            (4, Some(_)) => Write {
                shard: work.docs,
                sql: "DELETE FROM page_comments WHERE id = $1",
                values: vec![earlier],
            },
            _ => Write {
                shard: work.issues,
                sql: "INSERT INTO comments (id, issue_id, author_id, body, created_at) \
                      VALUES ($1, $2, $3, $4, $5::timestamptz) ON CONFLICT (id) DO NOTHING",
                values: vec![id, Value::Int(work.issue), user, said, at],
            },
        }
    }

    /// A day that no other sign-in has.
    fn day(&self) -> Value {
        let days = self.next_id - FIRST_ID;
        Value::Text(format!("{}-{:02}-{:02}", 3000 + days / 336, days / 28 % 12 + 1, days % 28 + 1))
    }

    /// Writes `count` times into the shards.
    pub async fn write(&mut self, stage: &Stage, count: usize) -> Result<()> {
        for _ in 0..count {
            let write = self.next();
            stage.database(write.shard)?.execute(write.sql, &write.values).await?;
        }
        Ok(())
    }

    /// Goes on writing until it is stopped. `patient`: servers may go away, and come back.
    pub fn keep_writing(mut self, scene: &Scene<'_>, mirror: &Mirror, patient: bool) -> Result<Working> {
        let mut pairs: Vec<(&'static str, Database, Database)> = Vec::new();
        for shard in SHARDS {
            pairs.push((shard, scene.stage.database(shard)?.clone(), mirror.database(shard)?.clone()));
        }
        let media = scene.media.clone();
        let (phase, now) = watch::channel(Some(Phase::Idle));
        let task = tokio::spawn(async move {
            let mut work = Work::default();
            let mut writes = 0_u64;
            loop {
                let Some(phase) = *now.borrow() else { return Ok(work) };
                let write = self.next();
                let Some((_, shard, mirror)) = pairs.iter().find(|(name, _, _)| *name == write.shard) else {
                    continue;
                };
                let begun_at = Instant::now();
                write.make(shard, patient).await?;
                match phase {
                    Phase::Idle => work.idle.push(begun_at.elapsed()),
                    Phase::Looking => {}
                    Phase::Restoring => work.during.push(begun_at.elapsed()),
                }
                write.make(mirror, patient).await?;
                writes += 1;
                if writes.is_multiple_of(UPLOAD_EVERY) {
                    let site = &self.work[self.rng.usize(..self.work.len())].site;
                    let bytes = self.next_id.to_le_bytes();
                    let (path, hash) = media.upload(site, &format!("upload-{writes}.bin"), &bytes).await?;
                    work.uploads.insert(path, hash);
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Working { phase, task })
    }
}

impl Write {
    async fn make(&self, database: &Database, patient: bool) -> Result<()> {
        let begun_at = Instant::now();
        loop {
            match database.execute(self.sql, &self.values).await {
                Err(_) if patient && begun_at.elapsed() < PATIENCE => tokio::time::sleep(AGAIN).await,
                done => return done.map(drop),
            }
        }
    }
}

/// Neighbours at work.
pub struct Working {
    phase: watch::Sender<Option<Phase>>,
    task: JoinHandle<Result<Work>>,
}

impl Working {
    /// Says what else goes on from now.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(Some(phase));
    }

    /// Lets the last write end and tells what was done.
    pub async fn stop(self) -> Result<Work> {
        self.phase.send_replace(None);
        self.task.await.map_err(|error| Error::bug("the neighbours' task stopped").because(error))?
    }
}
