//! What a store holds. Reads manifests and listings, no data.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::manifest::Manifest;
use super::select::ids_of;
use super::store::Store;
use super::{layout, open};
use serde::Serialize;

use crate::error::{Kind, Result};
use crate::limits::STORE_REQUESTS_MAX;
use crate::model::{ShardName, SnapshotId};

/// One snapshot of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The shard.
    pub shard: ShardName,
    /// Its id.
    pub id: SnapshotId,
    /// The instant of its content; to the second where the manifest does not tell.
    pub taken_at: Timestamp,
    /// Until when it cannot be pruned, where the manifest tells.
    pub retain_until: Option<Timestamp>,
    /// Tables.
    pub tables: u64,
    /// Tenants that own rows.
    pub tenants: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Whether it can be used.
    pub state: State,
}

/// Whether a snapshot can be used, as far as listings and the manifest tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All files are there in full size.
    Complete,
    /// Without manifest: in the making, aborted, or half pruned.
    Incomplete,
    /// What is wrong.
    Damaged(String),
}

/// All snapshots of a shard, or of all shards, oldest first.
pub async fn list(store: &Store, shard: Option<&ShardName>) -> Result<Vec<Summary>> {
    let shards = match shard {
        Some(shard) => vec![shard.clone()],
        None => shards_of(store).await?,
    };
    let mut places = Vec::new();
    for shard in shards {
        places.extend(ids_of(store, &shard).await?.into_iter().map(|id| (shard.clone(), id)));
    }
    stream::iter(places)
        .map(|(shard, id)| async move { summarise(store, shard, id).await })
        .buffered(STORE_REQUESTS_MAX)
        .try_collect()
        .await
}

/// The shards that have a folder.
pub(super) async fn shards_of(store: &Store) -> Result<Vec<ShardName>> {
    let folders = store.folders(&object_store::path::Path::ROOT).await?;
    Ok(folders.iter().map(|folder| ShardName::new(layout::decode(folder))).collect())
}

async fn summarise(store: &Store, shard: ShardName, id: SnapshotId) -> Result<Summary> {
    let folder = layout::snapshot_folder(&shard, &id);
    let files = store.files(&folder).await?;
    let bytes = files.iter().map(|file| file.bytes).sum();
    let mut summary = Summary {
        taken_at: layout::instant_of(id.as_str()).unwrap_or_default(),
        retain_until: None,
        tables: 0,
        tenants: 0,
        rows: 0,
        bytes,
        state: State::Incomplete,
        shard,
        id,
    };
    match open::read_manifest(store, &summary.shard, &summary.id).await {
        Ok(None) => {}
        Ok(Some((manifest, _))) => {
            let sizes = files.iter().map(|file| (file.path.as_ref(), file.bytes)).collect();
            summary.state = state(&manifest, folder.as_ref(), &sizes);
            summary.taken_at = manifest.taken_at;
            summary.retain_until = Some(manifest.retain_until);
            summary.tables = manifest.tables.len() as u64;
            summary.tenants = manifest.tenants;
            summary.rows = manifest.rows();
        }
        Err(error) if error.kind() == Kind::Refused => summary.state = State::Damaged(error.chain()),
        Err(error) => return Err(error),
    }
    Ok(summary)
}

fn state(manifest: &Manifest, folder: &str, sizes: &HashMap<&str, u64>) -> State {
    for file in manifest.files() {
        match sizes.get(format!("{folder}/{}", file.path).as_str()) {
            Some(bytes) if *bytes == file.bytes => {}
            Some(_) => return State::Damaged(format!("file '{}' has not its full size", file.path)),
            None => return State::Damaged(format!("file '{}' is missing", file.path)),
        }
    }
    State::Complete
}
