//! Where snapshots live: a folder of the file system, behind `object_store`, so that a bucket is one more
//! URL.
//!
//! Every write is create-only: nothing that exists is ever replaced. On the file system a written file is
//! synced, and made read-only. What a snapshot is made of is not known here.

use std::error::Error as StdError;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use url::Url;

use crate::error::{Error, Result};

/// A store of snapshots.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    local: Option<LocalFileSystem>,
    url: String,
}

/// A file of the store, as a listing shows it.
pub(crate) struct Listed {
    pub path: Path,
    pub bytes: u64,
    pub changed_at: Timestamp,
}

impl Store {
    /// Opens `file:///FOLDER` or a plain path; the folder is created if it is missing.
    pub fn open(url: &str) -> Result<Self> {
        let folder = folder_of(url)?;
        let unable = || Error::usage(format!("unable to open store '{}'", folder.display()));
        fs::create_dir_all(&folder).map_err(|error| {
            unable().because(error).hint("name a folder that exists or can be created: --store FOLDER")
        })?;
        let local =
            LocalFileSystem::new_with_prefix(&folder).map_err(|error| unable().because(cause(error)))?;
        let root = fs::canonicalize(&folder).map_err(|error| unable().because(error))?;
        let url = Url::from_directory_path(root).map_err(|()| unable())?;
        Ok(Self {
            objects: Arc::new(local.clone()),
            local: Some(local),
            url: url.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// A store over any `object_store`; `url` is only shown.
    pub fn over(objects: Arc<dyn ObjectStore>, url: &str) -> Self {
        Self { objects, local: None, url: url.to_owned() }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path as a person finds it.
    fn shown(&self, path: &Path) -> String {
        match self.local.as_ref().and_then(|local| local.path_to_filesystem(path).ok()) {
            Some(file) => file.display().to_string(),
            None => format!("{}/{path}", self.url),
        }
    }

    /// Writes a file that must not exist yet.
    pub(crate) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<()> {
        let options = PutOptions::from(PutMode::Create);
        let put = self.objects.put_opts(path, PutPayload::from_bytes(bytes), options).await;
        put.map_err(|error| match error {
            object_store::Error::AlreadyExists { .. } => {
                Error::refused(format!("unable to write '{}': it already exists", self.shown(path)))
            }
            other => self.unable_to_write(path, cause(other)),
        })?;
        self.seal(path).await
    }

    fn unable_to_write(&self, path: &Path, cause: Box<dyn StdError + Send + Sync>) -> Error {
        Error::failed(format!("unable to write '{}'", self.shown(path)))
            .because(cause)
            .hint(format!("check the space and permissions of store '{}', then run it again", self.url))
    }

    /// Makes a file of the file system durable and read-only; a bucket does that by its own means.
    async fn seal(&self, path: &Path) -> Result<()> {
        let Some(local) = &self.local else { return Ok(()) };
        let file =
            local.path_to_filesystem(path).map_err(|error| self.unable_to_write(path, cause(error)))?;
        let sealed = tokio::task::spawn_blocking(move || seal_file(&file)).await;
        sealed
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| self.unable_to_write(path, error.into()))
    }

    fn unable_to_read(&self, path: &Path, error: object_store::Error) -> Error {
        Error::failed(format!("unable to read '{}'", self.shown(path))).because(cause(error))
    }

    /// The whole file, `None` if there is none; refused if it is larger than `bytes_max`.
    pub(crate) async fn get(&self, path: &Path, bytes_max: u64) -> Result<Option<Bytes>> {
        let found = match self.objects.get_opts(path, GetOptions::default()).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.unable_to_read(path, error)),
        };
        if found.meta.size > bytes_max {
            return Err(Error::refused(format!(
                "unable to read '{}': it holds {} bytes, at most {bytes_max} are read",
                self.shown(path),
                found.meta.size
            )));
        }
        found.bytes().await.map(Some).map_err(|error| self.unable_to_read(path, error))
    }

    /// Some ranges of a file.
    pub(crate) async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.objects.get_ranges(path, ranges).await.map_err(|error| self.unable_to_read(path, error))
    }

    /// Size of a file, `None` if there is none.
    pub(crate) async fn size(&self, path: &Path) -> Result<Option<u64>> {
        match self.objects.head(path).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.unable_to_read(path, error)),
        }
    }

    /// Names of the folders in a folder (still encoded), in order.
    pub(crate) async fn folders(&self, path: &Path) -> Result<Vec<String>> {
        let listed = match self.objects.list_with_delimiter(Some(path)).await {
            Ok(listed) => listed,
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(self.unable_to_read(path, error)),
        };
        let names = listed.common_prefixes.iter().filter_map(|folder| folder.filename().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        Ok(names)
    }

    /// All files below a folder.
    pub(crate) async fn files(&self, path: &Path) -> Result<Vec<Listed>> {
        let listed: Vec<object_store::ObjectMeta> = match self.objects.list(Some(path)).try_collect().await {
            Ok(listed) => listed,
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(self.unable_to_read(path, error)),
        };
        let listed = listed.into_iter().map(|meta| Listed {
            bytes: meta.size,
            changed_at: Timestamp::from_second(meta.last_modified.timestamp()).unwrap_or(Timestamp::MAX),
            path: meta.location,
        });
        Ok(listed.collect())
    }

    /// When anything below a folder was last written, half-written files and the folder itself included;
    /// `None` if nothing tells.
    pub(crate) async fn changed_at(&self, path: &Path) -> Result<Option<Timestamp>> {
        let listed = self.files(path).await?.into_iter().map(|file| file.changed_at).max();
        let Some(local) = &self.local else { return Ok(listed) };
        let folder = local.path_to_filesystem(path).map_err(|error| self.unable_to_read(path, error))?;
        let found = tokio::task::spawn_blocking(move || newest(&folder)).await;
        let found = found.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| {
            Error::failed(format!("unable to read '{}'", self.shown(path))).because(error)
        })?;
        Ok(listed.max(Timestamp::try_from(found).ok()))
    }

    /// Deletes a file; a file that is gone already is no error.
    pub(crate) async fn delete(&self, path: &Path) -> Result<()> {
        match self.objects.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => {
                let message = format!("unable to delete '{}'", self.shown(path));
                Err(Error::failed(message).because(cause(error)))
            }
        }
    }

    /// Removes a folder whose files have been deleted, with what a killed writer left half-written in it.
    pub(crate) async fn remove_folder(&self, path: &Path) -> Result<()> {
        let Some(local) = &self.local else { return Ok(()) };
        let message = || format!("unable to delete '{}'", self.shown(path));
        let folder =
            local.path_to_filesystem(path).map_err(|error| Error::failed(message()).because(cause(error)))?;
        match tokio::fs::remove_dir_all(folder).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::failed(message()).because(error))
            }
            _ => Ok(()),
        }
    }
}

/// The folder that a store's URL names.
fn folder_of(url: &str) -> Result<PathBuf> {
    if !url.contains("://") {
        return Ok(PathBuf::from(url));
    }
    let hint = "use file:///FOLDER or a path";
    let parsed = Url::parse(url)
        .map_err(|error| Error::usage("unable to read the store's URL").because(error).hint(hint))?;
    if parsed.scheme() != "file" {
        // Neither user info nor query is repeated: they may hold keys.
        let shown = format!("{}://{}{}", parsed.scheme(), parsed.host_str().unwrap_or(""), parsed.path());
        return Err(Error::usage(format!(
            "unable to open store '{shown}': only file:// stores are built into this reinstate"
        ))
        .hint(hint));
    }
    let wrong = || Error::usage(format!("unable to open store '{url}': it names no folder")).hint(hint);
    parsed.to_file_path().map_err(|()| wrong())
}

fn seal_file(file: &FilePath) -> io::Result<()> {
    let opened = fs::File::open(file)?;
    opened.sync_all()?;
    let mut permissions = opened.metadata()?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(file, permissions)?;
    match file.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn newest(path: &FilePath) -> io::Result<std::time::SystemTime> {
    let meta = fs::symlink_metadata(path)?;
    let mut newest_so_far = meta.modified()?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            newest_so_far = newest_so_far.max(newest(&entry?.path())?);
        }
    }
    Ok(newest_so_far)
}

/// The operating system's own words if there are any, instead of the layers around them.
fn cause(error: object_store::Error) -> Box<dyn StdError + Send + Sync> {
    let mut at: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(layer) = at {
        if let Some(found) = layer.downcast_ref::<io::Error>() {
            return match found.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code).into(),
                None => io::Error::new(found.kind(), found.to_string()).into(),
            };
        }
        at = layer.source();
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_stores_are_refused_without_their_secrets() {
        let error = Store::open("s3://key:secret@bucket/prefix?token=secret").expect_err("refused");
        assert_eq!(
            error.chain(),
            "unable to open store 's3://bucket/prefix': only file:// stores are built into this reinstate"
        );
        assert!(!error.hints().concat().contains("secret"));
    }

    #[test]
    fn a_missing_folder_is_created_and_named_by_its_url() {
        let folder = tempfile::tempdir().expect("folder");
        let place = folder.path().join("a b");
        let store = Store::open(place.to_str().expect("text")).expect("store");
        assert!(place.is_dir());
        assert!(store.url().starts_with("file:///") && store.url().ends_with("/a%20b"), "{}", store.url());
        assert_eq!(Store::open(store.url()).expect("again").url(), store.url());
    }

    #[tokio::test]
    async fn nothing_is_written_twice_and_files_become_read_only() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path().to_str().expect("text")).expect("store");
        let path = Path::from("a/b");
        store.put_new(&path, Bytes::from_static(b"1")).await.expect("first");
        let error = store.put_new(&path, Bytes::from_static(b"2")).await.expect_err("second");
        assert!(error.chain().ends_with("/a/b': it already exists"), "{}", error.chain());
        assert_eq!(store.get(&path, 9).await.expect("get").as_deref(), Some(&b"1"[..]));
        assert!(fs::metadata(folder.path().join("a/b")).expect("meta").permissions().readonly());
        assert!(store.get(&path, 0).await.is_err());
        assert!(store.get(&Path::from("a/c"), 9).await.expect("no file").is_none());
    }
}
