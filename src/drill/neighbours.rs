//! The neighbours: tenants that were not deleted and go on working. Every write goes to the shard and, once there
//! is one, to the mirror, with the same values.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::task::JoinHandle;

use super::database::Database;
use super::fleet::{Fleet, Value};
use super::stage::{Mirror, Stage};
use crate::error::{Error, Result};
use crate::model::TenantId;

/// Ids of the rows that neighbours create start here, far from the fleet's.
const FIRST_ID: i64 = 1_000_000_000;
/// Pause between two writes: about a hundred a second.
const PAUSE: Duration = Duration::from_millis(8);

/// What the neighbours did while tenants came back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Writes that succeeded.
    pub writes: u64,
    /// The slowest of them.
    pub slowest: Duration,
}

/// One write.
struct Write {
    shard: &'static str,
    sql: &'static str,
    values: Vec<Value>,
}

/// Makes the neighbours' writes, one after the other.
pub struct Neighbours {
    /// (issue, its site, a user of the site), neighbours only.
    issues: Vec<(i64, TenantId, i64)>,
    rng: Rng,
    next_id: i64,
}

impl Neighbours {
    /// Neighbours of the victims.
    pub fn new(fleet: &Fleet, victims: &[TenantId], seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0xbee);
        let victims: BTreeSet<&TenantId> = victims.iter().collect();
        let issues = (0..500)
            .filter_map(|_| fleet.some_issue(&mut rng, |site| !victims.contains(site)))
            .map(|(issue, site, user)| (issue, site.clone(), user))
            .collect();
        Self { issues, rng, next_id: FIRST_ID }
    }

    fn next(&mut self) -> Write {
        let (issue, site, user) = self.issues[self.rng.usize(..self.issues.len())].clone();
        let at = Value::Text(jiff::Timestamp::now().to_string());
        self.next_id += 1;
        match self.rng.u8(..4) {
            0 => Write {
                shard: "product",
                sql: "UPDATE issues SET status = $1, updated_at = $2::timestamptz WHERE id = $3",
                values: vec![Value::Text(format!("moved {}", self.next_id)), at, Value::Int(issue)],
            },
            1 => Write {
                shard: "identity",
                sql: "INSERT INTO sign_ins (site_id, user_id, day) VALUES ($1::uuid, $2, $3::date)",
                values: vec![
                    Value::Text(site.to_string()),
                    Value::Int(user),
                    Value::Text("2026-11-21".into()),
                ],
            },
            2 => Write {
                shard: "product",
                sql: "DELETE FROM comments WHERE id = $1",
                values: vec![Value::Int(self.rng.i64(FIRST_ID..self.next_id))],
            },
            _ => Write {
                shard: "product",
                sql: "INSERT INTO comments (id, issue_id, author_id, body, created_at) \
                      VALUES ($1, $2, $3, $4, $5::timestamptz)",
                values: vec![
                    Value::Int(self.next_id),
                    Value::Int(issue),
                    Value::Int(user),
                    Value::Text("still at work".into()),
                    at,
                ],
            },
        }
    }

    /// Writes `count` times into the shards, and into the mirror if there is one.
    pub async fn write(&mut self, stage: &Stage, mirror: Option<&Mirror>, count: usize) -> Result<()> {
        for _ in 0..count {
            let write = self.next();
            stage.database(write.shard)?.execute(write.sql, &write.values).await?;
            if let Some(mirror) = mirror {
                mirror.database(write.shard)?.execute(write.sql, &write.values).await?;
            }
        }
        Ok(())
    }

    /// Goes on writing until it is stopped.
    pub fn keep_writing(mut self, stage: &Stage, mirror: &Mirror) -> Result<Working> {
        let mut pairs: Vec<(&'static str, Database, Database)> = Vec::new();
        for shard in super::SHARDS {
            pairs.push((shard, stage.database(shard)?.clone(), mirror.database(shard)?.clone()));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut work = Work::default();
            while !stopped.load(Ordering::Relaxed) {
                let write = self.next();
                let Some((_, shard, mirror)) = pairs.iter().find(|(name, _, _)| *name == write.shard) else {
                    continue;
                };
                let begun_at = Instant::now();
                shard.execute(write.sql, &write.values).await?;
                work.slowest = work.slowest.max(begun_at.elapsed());
                work.writes += 1;
                mirror.execute(write.sql, &write.values).await?;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(work)
        });
        Ok(Working { stop, task })
    }
}

/// Neighbours at work.
pub struct Working {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Work>>,
}

impl Working {
    /// Lets the last write end and tells what was done.
    pub async fn stop(self) -> Result<Work> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.map_err(|error| Error::bug("the neighbours' task stopped").because(error))?
    }
}
