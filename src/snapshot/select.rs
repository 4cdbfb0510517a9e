//! Which snapshot: the newest, the newest not after an instant, or one by its id.
//!
//! A folder without manifest is no snapshot and is passed over. A damaged manifest is not: choosing an older
//! snapshot instead would be a guess.

use jiff::Timestamp;

use super::layout;
use super::manifest::Manifest;
use super::open::{self, Snapshot};
use super::store::Store;
use crate::error::{Error, Result};
use crate::model::{ShardName, SnapshotId};

/// Which snapshot is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest.
    Latest,
    /// The newest that was not taken after this instant.
    At(Timestamp),
    /// This one.
    Id(SnapshotId),
}

/// Finds and opens a snapshot of `shard`.
pub async fn select(store: &Store, shard: &ShardName, selector: &Selector) -> Result<Snapshot> {
    let ids = ids_of(store, shard).await?;
    match selector {
        Selector::Id(id) if ids.contains(id) => Snapshot::open(store, shard, id).await,
        Selector::Id(id) => Err(Error::refused(format!("unable to find snapshot '{id}' of shard '{shard}'"))
            .hint(known(&ids, store))),
        Selector::Latest => match newest(store, shard, &ids, Timestamp::MAX).await? {
            Some(id) => Snapshot::open(store, shard, &id).await,
            None => Err(Error::refused(format!("unable to find a snapshot of shard '{shard}'"))
                .hint(known(&ids, store))),
        },
        Selector::At(instant) => match newest(store, shard, &ids, *instant).await? {
            Some(id) => Snapshot::open(store, shard, &id).await,
            None => {
                let message = format!("unable to find a snapshot of shard '{shard}' at or before {instant}");
                Err(Error::refused(message).hint(known(&ids, store)))
            }
        },
    }
}

/// Ids of a shard's snapshots, complete or not, oldest first.
pub(super) async fn ids_of(store: &Store, shard: &ShardName) -> Result<Vec<SnapshotId>> {
    let folders = store.folders(&layout::shard_folder(shard)).await?;
    let ids = folders.into_iter().filter(|name| layout::instant_of(name).is_some());
    Ok(ids.map(SnapshotId::new).collect())
}

/// The newest complete snapshot not after `instant`.
async fn newest(
    store: &Store,
    shard: &ShardName,
    ids: &[SnapshotId],
    instant: Timestamp,
) -> Result<Option<SnapshotId>> {
    // The id tells the second; snapshots of the same second are told apart by their manifests.
    let second = |id: &SnapshotId| layout::instant_of(id.as_str());
    let mut best: Option<Manifest> = None;
    for id in ids.iter().rev().filter(|id| second(id).is_some_and(|second| second <= instant)) {
        if best.as_ref().is_some_and(|best| second(&best.id) != second(id)) {
            break;
        }
        let Some((manifest, _)) = open::read_manifest(store, shard, id).await? else { continue };
        let is_better = best.as_ref().is_none_or(|best| best.taken_at < manifest.taken_at);
        if manifest.taken_at <= instant && is_better {
            best = Some(manifest);
        }
    }
    Ok(best.map(|manifest| manifest.id))
}

/// What there is instead.
fn known(ids: &[SnapshotId], store: &Store) -> String {
    const NAMED_MAX: usize = 10;
    match ids {
        [] => format!("store '{}' holds none; `reinstate snapshot create` takes one", store.url()),
        ids => {
            let named: Vec<&str> = ids.iter().rev().take(NAMED_MAX).map(SnapshotId::as_str).collect();
            let more = match ids.len().saturating_sub(NAMED_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("store '{}' holds {}{more}", store.url(), named.join(", "))
        }
    }
}
