//! The manifest: what a snapshot is. Written last; a folder without it is no snapshot.
//!
//! Reading trusts nothing: first the format's version, then the checksum, then the content (paths that stay
//! within the snapshot, counts that add up, tenancy that fits the schema).

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::layout::{self, DATA_FOLDER, INDEX_FILE};
use crate::error::{Error, Result};
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::model::{
    DatabaseIdentity, Rule, ShardName, SnapshotId, Table, TableName, Tenancy, Ties, document_hash,
};

/// The field that holds the hash of all others.
const CHECKSUM_FIELD: &str = "checksum";

/// The version of the format that this reinstate writes and reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// What a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// The shard it was taken of.
    pub shard: ShardName,
    /// Its id.
    pub id: SnapshotId,
    /// The instant of its content.
    pub taken_at: Timestamp,
    /// When it was complete.
    pub created_at: Timestamp,
    /// Until when it cannot be pruned.
    pub retain_until: Timestamp,
    /// The database it was taken from.
    pub identity: DatabaseIdentity,
    /// `server_version` or SQLite's library version.
    pub server_version: String,
    /// WAL position near the instant, where the database has one.
    pub position: Option<String>,
    /// The reinstate that wrote it.
    pub tool_version: String,
    /// Who owns the rows. Names the tables that were left out, too.
    pub tenancy: Tenancy,
    /// Tenants that own at least one row.
    pub tenants: u64,
    /// The tables.
    pub tables: Vec<TableEntry>,
    /// Rows that tie tenants together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ties: Vec<Ties>,
    /// The tenant index.
    pub index: FileEntry,
    /// BLAKE3 of all of the above.
    pub checksum: String,
}

/// One table of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableEntry {
    /// Its schema.
    pub table: Table,
    /// Rows that a tenant owns; those that several tenants point at count for each.
    pub rows_owned: u64,
    /// Rows without tenant in a table where that means that they are everybody's.
    pub rows_shared: u64,
    /// Rows that are found by other rows, where no way leads to a tenant.
    pub rows_unowned: u64,
    /// Rows whose ways lead to different tenants.
    #[serde(default)]
    pub rows_disputed: u64,
    /// The first of them by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disputed: Vec<String>,
    /// Its data files, in the order of their rows.
    pub files: Vec<FileEntry>,
}

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path within the snapshot's folder.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// BLAKE3 of its content, in hexadecimal.
    pub blake3: String,
    /// Rows.
    pub rows: u64,
}

impl TableEntry {
    /// All rows.
    pub fn rows(&self) -> u64 {
        let without = [self.rows_shared, self.rows_unowned, self.rows_disputed];
        without.into_iter().fold(self.rows_owned, u64::saturating_add)
    }
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Manifest {
    /// The table of this name.
    pub fn table(&self, name: &TableName) -> Option<&TableEntry> {
        self.tables.iter().find(|entry| entry.table.name == *name)
    }

    /// All files but the manifest.
    pub fn files(&self) -> impl Iterator<Item = &FileEntry> {
        self.tables.iter().flat_map(|entry| &entry.files).chain(std::iter::once(&self.index))
    }

    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(TableEntry::rows).fold(0, u64::saturating_add)
    }

    /// Bytes of all files but the manifest.
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    /// What [`Manifest::checksum`] is to be: taken over this manifest with an empty checksum.
    pub fn checksum_of_content(&self) -> Result<String> {
        let content = serde_json::to_value(self).map_err(unwritable)?;
        Ok(document_hash(&content, CHECKSUM_FIELD))
    }

    /// The manifest's file, with its checksum.
    pub(crate) fn seal(mut self) -> Result<(Self, Vec<u8>)> {
        self.checksum = self.checksum_of_content()?;
        let mut text = serde_json::to_vec_pretty(&self).map_err(unwritable)?;
        text.push(b'\n');
        if text.len() as u64 > DOCUMENT_BYTES_MAX {
            let message = format!("unable to write manifest of {} bytes", text.len());
            return Err(
                Error::failed(message).hint(format!("at most {DOCUMENT_BYTES_MAX} bytes are read back"))
            );
        }
        Ok((self, text))
    }

    /// Reads and checks the manifest of snapshot `id` of `shard`.
    pub(crate) fn parse(text: &[u8], shard: &ShardName, id: &SnapshotId) -> Result<Self> {
        let garbled = |error: serde_json::Error| {
            Error::refused(format!("unable to read snapshot '{id}': manifest.json is not a manifest"))
                .because(error)
                .hint(super::OTHER_SNAPSHOT)
        };
        let version: Version = serde_json::from_slice(text).map_err(garbled)?;
        if version.format != MANIFEST_FORMAT {
            let found = format!("its format is version {}", version.format);
            let message = format!("unable to read snapshot '{id}': {found}");
            return Err(Error::refused(format!("{message}, this reinstate reads version {MANIFEST_FORMAT}"))
                .hint("upgrade reinstate to the version that wrote the snapshot"));
        }
        let document: serde_json::Value = serde_json::from_slice(text).map_err(garbled)?;
        let checksum = document_hash(&document, CHECKSUM_FIELD);
        let manifest: Self = serde_json::from_value(document).map_err(garbled)?;
        let distrust = |what: String| {
            Error::refused(format!("unable to trust snapshot '{id}': {what}")).hint(super::OTHER_SNAPSHOT)
        };
        if checksum != manifest.checksum {
            return Err(distrust("manifest.json was changed after it was written".into()));
        }
        if manifest.id != *id || manifest.shard != *shard {
            let what =
                format!("its manifest is that of snapshot '{}' of shard '{}'", manifest.id, manifest.shard);
            return Err(distrust(what));
        }
        manifest.check().map_err(distrust)?;
        Ok(manifest)
    }

    /// The first thing that does not fit together.
    fn check(&self) -> Result<(), String> {
        if self.index.path != INDEX_FILE {
            return Err(format!("its manifest names the file '{}' as tenant index", self.index.path));
        }
        let mut paths = HashSet::new();
        let mut names = HashSet::new();
        for entry in &self.tables {
            let name = &entry.table.name;
            if !names.insert(name) {
                return Err(format!("its manifest names table '{name}' twice"));
            }
            if matches!(self.tenancy.rules.get(name), Some(Rule::Excluded { .. })) {
                return Err(format!("its manifest holds table '{name}', which its tenancy leaves out"));
            }
            for file in &entry.files {
                let in_data = file.path.split('/').next() == Some(DATA_FOLDER);
                if !in_data || !layout::is_within(&file.path) {
                    return Err(format!("its manifest names the file '{}'", file.path.escape_debug()));
                }
                if !paths.insert(&file.path) {
                    return Err(format!("its manifest names the file '{}' twice", file.path));
                }
            }
            let rows = entry.files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.rows));
            if rows != Some(entry.rows()) {
                return Err(format!("the rows of table '{name}' do not add up"));
            }
        }
        let tables: Vec<Table> = self.tables.iter().map(|entry| entry.table.clone()).collect();
        match self.tenancy.check(&tables).first() {
            Some(error) => Err(format!("its tenancy does not fit its schema: {error}")),
            None => Ok(()),
        }
    }
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::bug("unable to write a manifest").because(error)
}
