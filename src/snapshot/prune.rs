//! Retention: deletes what is past it, and nothing else.
//!
//! A complete snapshot goes when its `retain_until` has passed, unless it is the newest complete one of its
//! shard. The manifest is deleted first, so a half-pruned snapshot is never mistaken for a whole one; its
//! rest goes with the next prune. Without manifest, a folder goes when nothing was written to it for a day. A
//! damaged manifest tells nothing that could be relied on, so its snapshot stays until a person has looked at
//! it.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::layout::{self, MANIFEST_FILE};
use super::list::{State, Summary, list};
use super::store::Store;
use serde::Serialize;

use crate::error::Result;
use crate::limits::SNAPSHOT_INCOMPLETE_AGE;
use crate::model::{ShardName, SnapshotId};

/// What a prune did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PruneReport {
    /// Nothing was deleted; the rest says what would be.
    pub dry_run: bool,
    /// The deleted snapshots, in the order of deletion.
    pub pruned: Vec<Pruned>,
    /// The others.
    pub kept: Vec<Kept>,
}

/// A deleted snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The shard.
    pub shard: ShardName,
    /// Its id.
    pub id: SnapshotId,
    /// Files deleted.
    pub files: u64,
    /// Bytes deleted.
    pub bytes: u64,
    /// Whether it had a manifest.
    pub complete: bool,
}

/// A snapshot that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The shard.
    pub shard: ShardName,
    /// Its id.
    pub id: SnapshotId,
    /// Why.
    pub reason: String,
}

/// Deletes the snapshots of all shards whose retention ended before `now`.
pub async fn prune(store: &Store, now: Timestamp, dry_run: bool) -> Result<PruneReport> {
    let mut report = PruneReport { dry_run, ..PruneReport::default() };
    let mut summaries = list(store, None).await?;
    summaries.sort_by(|a, b| a.taken_at.cmp(&b.taken_at).then_with(|| a.id.cmp(&b.id)));
    // From the newest back, so that the first complete one of a shard is its newest.
    let mut shards_kept = HashSet::new();
    let mut doomed = Vec::new();
    for summary in summaries.into_iter().rev() {
        let is_newest = summary.state == State::Complete && shards_kept.insert(summary.shard.clone());
        match reason_to_keep(store, &summary, is_newest, now).await? {
            Some(reason) => report.kept.push(Kept { shard: summary.shard, id: summary.id, reason }),
            None => doomed.push(summary),
        }
    }
    for summary in doomed.into_iter().rev() {
        match delete(store, &summary, dry_run).await? {
            Some(pruned) => report.pruned.push(pruned),
            None => {
                let reason = "it was completed just now".into();
                report.kept.push(Kept { shard: summary.shard, id: summary.id, reason });
            }
        }
    }
    Ok(report)
}

/// Why a snapshot stays; `None` if it goes.
async fn reason_to_keep(
    store: &Store,
    summary: &Summary,
    is_newest: bool,
    now: Timestamp,
) -> Result<Option<String>> {
    if summary.state == State::Incomplete {
        let changed_at = store.changed_at(&layout::snapshot_folder(&summary.shard, &summary.id)).await?;
        let age = SignedDuration::try_from(SNAPSHOT_INCOMPLETE_AGE).unwrap_or(SignedDuration::MAX);
        let is_old = changed_at.is_some_and(|changed_at| now.duration_since(changed_at) > age);
        return Ok((!is_old).then(|| "it has no manifest, but may be in the making".into()));
    }
    Ok(match (summary.retain_until, &summary.state) {
        (None, State::Damaged(what)) => Some(format!("a person must look at it: {what}")),
        (None, _) => Some("nothing tells how long it is retained".into()),
        (Some(until), _) if until >= now => Some(format!("it is retained until {until}")),
        (Some(_), _) if is_newest => Some("it is the newest complete one of its shard".into()),
        (Some(_), _) => None,
    })
}

/// Deletes a snapshot; `None` if it got a manifest since it was looked at.
async fn delete(store: &Store, summary: &Summary, dry_run: bool) -> Result<Option<Pruned>> {
    let folder = layout::snapshot_folder(&summary.shard, &summary.id);
    let mut files = store.files(&folder).await?;
    let manifest = layout::file_of(&folder, MANIFEST_FILE)?;
    files.sort_by_key(|file| file.path != manifest);
    let complete = summary.state != State::Incomplete;
    if !complete && files.first().is_some_and(|file| file.path == manifest) {
        return Ok(None);
    }
    if !dry_run {
        for file in &files {
            store.delete(&file.path).await?;
        }
        store.remove_folder(&folder).await?;
    }
    let bytes = files.iter().map(|file| file.bytes).sum();
    let (shard, id) = (summary.shard.clone(), summary.id.clone());
    Ok(Some(Pruned { shard, id, files: files.len() as u64, bytes, complete }))
}
