//! The media of the fleet: each site some files, in a live folder and in a backup of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Result as IoResult;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::fleet::Fleet;
use crate::error::{Error, Result};
use crate::model::{TenantId, row_hash};

/// The folder of the live files.
pub const LIVE: &str = "live-media";
/// The folder of the backup.
pub const BACKUP: &str = "backup-media";
/// The folder of a site's files in both.
pub const PREFIX: &str = "sites";

/// Hash of each file, by its path inside the folder.
pub type Files = BTreeMap<String, u128>;

/// The live files.
#[derive(Clone, Debug)]
pub struct Media {
    live: PathBuf,
    backup: PathBuf,
}

fn unable(error: std::io::Error) -> Error {
    Error::failed("unable to handle the drill's media files").because(error)
}

impl Media {
    /// In the drill's folder.
    pub fn new(folder: &Path) -> Self {
        Self { live: folder.join(LIVE), backup: folder.join(BACKUP) }
    }

    /// Makes the files of every site, and the backup of them all.
    pub fn build(&self, fleet: &Fleet, seed: u64) -> Result<()> {
        let mut rng = Rng::with_seed(seed ^ 0xf11e);
        for site in &fleet.sites {
            let own = Path::new(PREFIX).join(site.id.as_str());
            for root in [&self.live, &self.backup] {
                fs::create_dir_all(root.join(&own).join("attachments")).map_err(unable)?;
            }
            for number in 0..rng.usize(2..6) {
                let size = if rng.u8(..40) == 0 { 100_000 } else { rng.usize(100..4_000) };
                let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(size).collect();
                let name =
                    if number == 0 { "logo.png".into() } else { format!("attachments/{number} é.bin") };
                for root in [&self.live, &self.backup] {
                    fs::write(root.join(&own).join(&name), &bytes).map_err(unable)?;
                }
            }
        }
        Ok(())
    }

    /// The accident: removes the files of these sites.
    pub fn delete(&self, tenants: &[TenantId]) -> Result<u64> {
        let before = self.live()?.len();
        for tenant in tenants {
            fs::remove_dir_all(self.site(tenant)).map_err(unable)?;
        }
        Ok((before - self.live()?.len()) as u64)
    }

    fn site(&self, tenant: &TenantId) -> PathBuf {
        self.live.join(PREFIX).join(tenant.as_str())
    }

    /// A neighbour adds a file; its path and hash.
    pub async fn upload(&self, tenant: &TenantId, name: &str, bytes: &[u8]) -> Result<(String, u128)> {
        tokio::fs::write(self.site(tenant).join(name), bytes).await.map_err(unable)?;
        Ok((format!("{PREFIX}/{tenant}/{name}"), row_hash(bytes)))
    }

    /// Whether every file of a site's backup is live.
    pub fn is_whole(&self, tenant: &TenantId) -> Result<bool> {
        let backup = self.backup.join(PREFIX).join(tenant.as_str());
        let paths = paths(&backup).map_err(unable)?;
        Ok(paths.iter().all(|path| self.site(tenant).join(path).is_file()))
    }

    /// All live files.
    pub fn live(&self) -> Result<Files> {
        let hash = |path: String| -> IoResult<(String, u128)> {
            let bytes = fs::read(self.live.join(&path))?;
            Ok((path, row_hash(&bytes)))
        };
        paths(&self.live).map_err(unable)?.into_iter().map(hash).collect::<IoResult<_>>().map_err(unable)
    }
}

/// The files of some sites, and the others.
pub fn split(files: Files, tenants: &[TenantId]) -> (Files, Files) {
    let ids: BTreeSet<&str> = tenants.iter().map(TenantId::as_str).collect();
    files.into_iter().partition(|(path, _)| path.split('/').nth(1).is_some_and(|id| ids.contains(id)))
}

/// Paths of all files below a folder, seen from there.
fn paths(root: &Path) -> IoResult<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(inside) = path.strip_prefix(root) {
                found.push(inside.display().to_string());
            }
        }
    }
    Ok(found)
}
