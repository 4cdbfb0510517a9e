//! A folder of the file system as a place of objects.
//!
//! A file is written under another name in its folder, synced, and linked to its own name only if that is free: at
//! no moment is half an object to be seen, and nothing is replaced. Symbolic links are refused by name: one in the
//! live store could lead to a neighbour's files.

use std::fs::{self, File, FileType, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::Stream;
use object_store::Attributes;
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

use super::place::{Found, Piece};
use crate::error::{Error, Result};
use crate::limits::MEDIA_LISTED_MAX;

/// Names of files that are being written.
const STAGED_PREFIX: &str = ".reinstate-";
const STAGED_SUFFIX: &str = ".part";

/// A folder that exists.
pub struct Folder {
    root: PathBuf,
}

/// A file that is being written; it goes when this is dropped.
pub struct Staged {
    file: NamedTempFile,
    path: PathBuf,
}

fn unable(what: &str, path: &Path) -> Error {
    Error::failed(format!("unable to {what} '{}'", path.display().to_string().escape_debug()))
}

fn wrong_kind() -> io::Error {
    io::Error::other("it is neither a file nor a folder (symbolic links are not followed)")
}

/// File operations block; they run beside the tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::bug("a file operation broke off").because(error)))
}

impl Folder {
    /// A folder that must be there: a wrong path, or a disk that is not mounted, is no empty store.
    pub fn open(folder: PathBuf) -> Result<Self> {
        let root = fs::canonicalize(&folder).map_err(|error| {
            Error::usage(format!("unable to open folder '{}'", folder.display()))
                .because(error)
                .hint("media is copied between stores that exist; check the URL and the mount")
        })?;
        if !root.is_dir() {
            return Err(Error::usage(format!("unable to open folder '{}': it is a file", folder.display())));
        }
        Ok(Self { root })
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    pub fn list(&self, prefix: &str) -> impl Stream<Item = Result<Found>> + Send + 'static {
        let (send, receive) = mpsc::channel(MEDIA_LISTED_MAX);
        let (root, start) = (self.root.clone(), self.path(prefix));
        tokio::task::spawn_blocking(move || {
            let sent = walk(&root, &start, &mut |path, kind| {
                if is_staged(path) {
                    return Ok(true);
                }
                let found = found(&root, path, kind).map_err(|error| unable("take in", path).because(error));
                Ok(send.blocking_send(found).is_ok())
            });
            if let Err(error) = sent {
                // Nobody listens any more, if this fails.
                let _ = send.blocking_send(Err(error));
            }
        });
        futures::stream::unfold(receive, async |mut receive| Some((receive.recv().await?, receive)))
    }

    pub async fn size(&self, key: &str) -> Result<Option<u64>> {
        let (root, path) = (self.root.clone(), self.path(key));
        blocking(move || match plain_metadata(&root, &path) {
            Ok(Some(meta)) if meta.is_file() => Ok(Some(meta.len())),
            Ok(None) => Ok(None),
            Ok(Some(_)) => Err(unable("look at", &path).because(wrong_kind())),
            Err(error) => Err(unable("look at", &path).because(error)),
        })
        .await
    }

    pub async fn piece(&self, key: &str, start: u64, most: u64, version: Option<&str>) -> Result<Piece> {
        let (path, version) = (self.path(key), version.map(str::to_owned));
        blocking(move || {
            let piece = read(&path, start, most).map_err(|error| unable("read", &path).because(error))?;
            if version.is_some_and(|version| piece.version.as_ref() != Some(&version)) {
                return Err(unable("read", &path).because(io::Error::other("it was changed meanwhile")));
            }
            Ok(piece)
        })
        .await
    }

    pub async fn create(&self, key: &str) -> Result<Staged> {
        let (root, path) = (self.root.clone(), self.path(key));
        blocking(move || {
            let file = stage(&root, &path).map_err(|error| unable("create", &path).because(error))?;
            Ok(Staged { file, path })
        })
        .await
    }

    /// Removes files that were being written by a run that is gone: nobody holds their lock.
    pub async fn sweep(&self, prefix: &str) -> Result<()> {
        let (root, start) = (self.root.clone(), self.path(prefix));
        blocking(move || {
            walk(&root, &start, &mut |path, kind| {
                if kind.is_file()
                    && is_staged(path)
                    && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
                {
                    // What cannot be removed is in nobody's way.
                    let _ = fs::remove_file(path);
                }
                Ok(true)
            })
        })
        .await
    }
}

impl Staged {
    pub async fn write(mut self, bytes: Bytes) -> Result<Self> {
        blocking(move || match self.file.write_all(&bytes) {
            Ok(()) => Ok(self),
            Err(error) => Err(unable("write", &self.path).because(error)),
        })
        .await
    }

    pub async fn finish(self) -> Result<bool> {
        blocking(move || {
            let path = self.path;
            publish(self.file, &path).map_err(|error| unable("write", &path).because(error))
        })
        .await
    }
}

fn publish(file: NamedTempFile, path: &Path) -> io::Result<bool> {
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_folder_of(path).map(|()| true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn stage(root: &Path, path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or(root);
    let mut at = root.to_owned();
    for part in folder.strip_prefix(root).map_err(io::Error::other)?.components() {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(wrong_kind()),
            Err(error) if error.kind() == ErrorKind::NotFound => match fs::create_dir(&at) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => sync_folder_of(&at)?,
            },
            Err(error) => return Err(error),
        }
    }
    let file = tempfile::Builder::new()
        .prefix(STAGED_PREFIX)
        .suffix(STAGED_SUFFIX)
        // As any program creates files; the process's mask still applies.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    // Where locks are unknown, another run may sweep it away: then this object fails and is tried again.
    let _ = file.as_file().try_lock();
    Ok(file)
}

fn is_staged(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(STAGED_PREFIX) && name.ends_with(STAGED_SUFFIX)
}

fn read(path: &Path, start: u64, most: u64) -> io::Result<Piece> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    file.seek(SeekFrom::Start(start))?;
    let wanted = most.min(meta.len().saturating_sub(start));
    let mut bytes = Vec::with_capacity(usize::try_from(wanted).map_err(io::Error::other)?);
    file.take(wanted).read_to_end(&mut bytes)?;
    let version = format!("{}-{}-{}-{}", meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
    Ok(Piece {
        bytes: bytes.into(),
        total: meta.len(),
        version: Some(version),
        attributes: Attributes::default(),
    })
}

fn found(root: &Path, path: &Path, kind: FileType) -> io::Result<Found> {
    if !kind.is_file() {
        return Err(wrong_kind());
    }
    let key = path.strip_prefix(root).map_err(io::Error::other)?;
    let key = key.to_str().ok_or_else(|| io::Error::other("its name is not UTF-8"))?;
    Ok(Found { key: key.to_owned(), bytes: fs::symlink_metadata(path)?.len() })
}

/// What is at a path to which no symbolic link leads; `None` if there is nothing.
fn plain_metadata(root: &Path, path: &Path) -> io::Result<Option<fs::Metadata>> {
    let mut at = root.to_owned();
    let mut meta = None;
    for part in path.strip_prefix(root).map_err(io::Error::other)?.components() {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_symlink() => return Err(wrong_kind()),
            Ok(found) => meta = Some(found),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(meta)
}

/// Calls `visit` for all that is below a folder, folders left out, until it says no.
fn walk(root: &Path, start: &Path, visit: &mut dyn FnMut(&Path, FileType) -> Result<bool>) -> Result<()> {
    let looked = plain_metadata(root, start).map_err(|error| unable("list", start).because(error))?;
    if !looked.is_some_and(|meta| meta.is_dir()) {
        return Ok(());
    }
    let mut folders = vec![start.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |error: io::Error| unable("list", &folder).because(error);
        let mut entries = match fs::read_dir(&folder) {
            // It was removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.map_err(failed)?,
        };
        while let Some(entry) = entries.next().transpose().map_err(failed)? {
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if !visit(&entry.path(), kind)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_appears_meanwhile_is_not_replaced() {
        let root = tempfile::tempdir().expect("folder");
        let folder = Folder::open(root.path().to_owned()).expect("open");
        let staged = folder.create("a/b").await.expect("staged").write(Bytes::from_static(b"1")).await;
        assert!(!root.path().join("a/b").exists(), "nothing is to be seen before it is finished");
        fs::write(root.path().join("a/b"), "the application's").expect("written");
        assert!(!staged.expect("written").finish().await.expect("finished"));
        assert_eq!(fs::read_to_string(root.path().join("a/b")).expect("content"), "the application's");
        assert_eq!(
            fs::read_dir(root.path().join("a")).expect("folder").count(),
            1,
            "the staged file is gone"
        );
    }

    #[tokio::test]
    async fn only_what_nobody_writes_any_more_is_swept() {
        let root = tempfile::tempdir().expect("folder");
        let folder = Folder::open(root.path().to_owned()).expect("open");
        let staged = folder.create("a/b").await.expect("staged");
        let left = root.path().join("a/.reinstate-x1.part");
        fs::write(&left, "left by a killed run").expect("written");
        folder.sweep("a").await.expect("swept");
        assert!(!left.exists());
        assert!(staged.finish().await.expect("finished"), "the one being written is still there");
    }
}
