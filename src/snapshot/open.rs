//! Opening a snapshot: manifest and index are read and checked as a whole; the data files are looked at when
//! asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use super::index::TenantIndex;
use super::layout::{self, MANIFEST_FILE};
use super::manifest::{FileEntry, Manifest, TableEntry};
use super::store::Store;
use crate::bridge;
use crate::error::{Error, Result};
use crate::limits::{DOCUMENT_BYTES_MAX, STORE_REQUESTS_MAX};
use crate::model::{ShardName, SnapshotId, TableName};

/// An open snapshot; cloning is cheap.
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    store: Store,
    folder: Path,
    manifest: Manifest,
    manifest_hash: String,
    index: TenantIndex,
}

impl Snapshot {
    /// Opens a snapshot of `shard`.
    pub async fn open(store: &Store, shard: &ShardName, id: &SnapshotId) -> Result<Self> {
        let (manifest, manifest_hash) = read_manifest(store, shard, id).await?.ok_or_else(|| {
            Error::refused(format!("unable to open snapshot '{id}' of shard '{shard}': it has no manifest"))
                .hint("`reinstate snapshot list` shows the complete ones")
        })?;
        let folder = layout::snapshot_folder(shard, id);
        let index = read_index(store, &folder, &manifest).await?;
        Ok(Self(Arc::new(Opened { store: store.clone(), folder, manifest, manifest_hash, index })))
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// BLAKE3 of `manifest.json`, and through it of every byte of the snapshot.
    pub fn manifest_hash(&self) -> &str {
        &self.0.manifest_hash
    }

    /// Which rows belong to whom.
    pub fn index(&self) -> &TenantIndex {
        &self.0.index
    }

    /// Where it lies.
    pub(crate) fn place(&self) -> (&Store, &Path) {
        (&self.0.store, &self.0.folder)
    }

    /// The table of this name.
    pub(crate) fn table(&self, name: &TableName) -> Result<&TableEntry> {
        let id = &self.0.manifest.id;
        self.0.manifest.table(name).ok_or_else(|| {
            Error::refused(format!("unable to read table '{name}' from snapshot '{id}': it is not in it"))
                .hint("`reinstate snapshot show` lists the tables")
        })
    }

    /// Whether every data file of these tables exists in its full size. The content is not read.
    pub async fn check_files(&self, tables: &[TableName]) -> Result<()> {
        let mut files = Vec::new();
        for name in tables.iter().collect::<BTreeSet<_>>() {
            files.extend(&self.table(name)?.files);
        }
        check_sizes(&self.0.store, &self.0.folder, &self.0.manifest.id, files.into_iter()).await
    }
}

/// Reads and checks a manifest; `None` if there is none. Also returns the BLAKE3 of its bytes.
pub(super) async fn read_manifest(
    store: &Store,
    shard: &ShardName,
    id: &SnapshotId,
) -> Result<Option<(Manifest, String)>> {
    let path = layout::file_of(&layout::snapshot_folder(shard, id), MANIFEST_FILE)?;
    let Some(text) = store.get(&path, DOCUMENT_BYTES_MAX).await? else { return Ok(None) };
    let (shard, id) = (shard.clone(), id.clone());
    let read = bridge::compute(move || {
        let hash = blake3::hash(&text).to_hex().to_string();
        Manifest::parse(&text, &shard, &id).map(|manifest| (manifest, hash))
    });
    read.await?.map(Some)
}

/// Reads and checks the tenant index.
pub(super) async fn read_index(store: &Store, folder: &Path, manifest: &Manifest) -> Result<TenantIndex> {
    let file = manifest.index.clone();
    let id = manifest.id.clone();
    let path = layout::file_of(folder, &file.path)?;
    let Some(bytes) = store.get(&path, DOCUMENT_BYTES_MAX).await? else { return Err(missing(&id, &file)) };
    if bytes.len() as u64 != file.bytes {
        return Err(cut(&id, &file, bytes.len() as u64));
    }
    let manifest = manifest.clone();
    bridge::compute(move || {
        if blake3::hash(&bytes).to_hex().as_str() != file.blake3 {
            return Err(Error::refused(format!(
                "unable to trust snapshot '{id}': file '{}' was changed after it was written",
                file.path
            ))
            .hint(super::OTHER_SNAPSHOT));
        }
        let distrust = |what: String| {
            Error::refused(format!("unable to trust snapshot '{id}': {what}")).hint(super::OTHER_SNAPSHOT)
        };
        let index = TenantIndex::read(bytes, file.rows)
            .map_err(|what| distrust(format!("file '{}' is no tenant index: {what}", file.path)))?;
        index.check(&manifest).map_err(distrust)?;
        Ok(index)
    })
    .await?
}

/// Whether these files exist in their full size.
pub(super) async fn check_sizes(
    store: &Store,
    folder: &Path,
    id: &SnapshotId,
    files: impl Iterator<Item = &FileEntry>,
) -> Result<()> {
    stream::iter(files)
        .map(|file| async move {
            match store.size(&layout::file_of(folder, &file.path)?).await? {
                Some(bytes) if bytes == file.bytes => Ok(()),
                Some(bytes) => Err(cut(id, file, bytes)),
                None => Err(missing(id, file)),
            }
        })
        .buffered(STORE_REQUESTS_MAX)
        .try_collect()
        .await
}

fn missing(id: &SnapshotId, file: &FileEntry) -> Error {
    Error::refused(format!("unable to read snapshot '{id}': file '{}' is missing", file.path))
        .hint(super::OTHER_SNAPSHOT)
}

fn cut(id: &SnapshotId, file: &FileEntry, bytes: u64) -> Error {
    Error::refused(format!(
        "unable to read snapshot '{id}': file '{}' holds {bytes} bytes, {} were written",
        file.path, file.bytes
    ))
    .hint(super::OTHER_SNAPSHOT)
}
