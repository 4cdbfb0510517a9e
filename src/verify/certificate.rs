//! A certificate per tenant: what came back, from when, and how it was checked. JSON, to be handed on.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::Verdict;
use crate::error::{Error, Result};
use crate::model::{PlanHash, ShardName, SnapshotId, TenantId, file_name};

/// The version of the certificate's format.
pub const CERTIFICATE_FORMAT: u32 = 1;

/// What was verified of one tenant.
#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    /// [`CERTIFICATE_FORMAT`].
    pub format: u32,
    /// The tenant.
    pub tenant: TenantId,
    /// What people call it.
    pub name: Option<String>,
    /// The plan it came back by.
    pub plan: PlanHash,
    /// When this was verified.
    pub verified_at: Timestamp,
    /// The reinstate that verified it.
    pub tool_version: String,
    /// Whether everything is equal to the snapshots.
    pub equal: bool,
    /// Shard by shard.
    pub shards: Vec<ShardCertificate>,
}

/// What was verified in one shard.
#[derive(Clone, Debug, Serialize)]
pub struct ShardCertificate {
    /// The shard.
    pub shard: ShardName,
    /// The snapshot that was compared.
    pub snapshot: SnapshotId,
    /// Its instant: later changes of the tenant are not in it.
    pub restore_point: Timestamp,
    /// The comparison.
    pub verdict: Verdict,
}

impl Certificate {
    /// Writes the certificate into `folder` and returns its path. The file is named after the tenant, with every
    /// character that could leave the folder escaped.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("{}.json", file_name(self.tenant.as_str())));
        let unable = || Error::failed(format!("unable to write certificate '{}'", path.display()));
        let mut text = serde_json::to_string_pretty(self).map_err(|error| unable().because(error))?;
        text.push('\n');
        std::fs::create_dir_all(folder).map_err(|error| unable().because(error))?;
        std::fs::write(&path, text).map_err(|error| unable().because(error))?;
        Ok(path)
    }
}
