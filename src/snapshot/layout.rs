//! Where the files of a snapshot lie, and how snapshots are named. Pure.
//!
//! ```text
//! <shard>/<id>/data/<schema>.<table>/part-00000.parquet
//!              tenants.parquet
//!              manifest.json
//! ```
//!
//! Names of shards and tables are percent-encoded by the rules of `object_store`; a name that would be too
//! long for a file system is cut and told apart by its hash. The manifest holds the paths, so nobody has to
//! decode them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use object_store::path::{Path, PathPart};

use crate::error::{Error, Result};
use crate::limits::PATH_SEGMENT_BYTES_MAX;
use crate::model::{ShardName, SnapshotId, TableName};

/// File name of the manifest.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";
/// File name of the tenant index.
pub(crate) const INDEX_FILE: &str = "tenants.parquet";
/// Folder of the data files.
pub(crate) const DATA_FOLDER: &str = "data";

const ID_INSTANT: &str = "%Y%m%dT%H%M%SZ";
const ID_SUFFIX_DIGITS: usize = 6;

/// A new id for a snapshot of this instant.
pub(crate) fn new_id(taken_at: Timestamp) -> SnapshotId {
    let suffix = fastrand::u32(..1 << (4 * ID_SUFFIX_DIGITS));
    SnapshotId::new(format!("{}-{suffix:06x}", taken_at.strftime(ID_INSTANT)))
}

/// The second in which a snapshot was taken, by its id; `None` if the text is no id.
pub(crate) fn instant_of(id: &str) -> Option<Timestamp> {
    let (instant, suffix) = id.split_once('-')?;
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if suffix.len() != ID_SUFFIX_DIGITS || !suffix.chars().all(hex) {
        return None;
    }
    let instant = DateTime::strptime(ID_INSTANT, instant).ok()?;
    Some(instant.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The folder of a shard.
pub(crate) fn shard_folder(shard: &ShardName) -> Path {
    Path::from_iter([shard.as_str()])
}

/// The folder of a snapshot.
pub(crate) fn snapshot_folder(shard: &ShardName, id: &SnapshotId) -> Path {
    Path::from_iter([shard.as_str(), id.as_str()])
}

/// The path of a data file within its snapshot.
pub(crate) fn data_file(table: &TableName, part: usize) -> String {
    format!("{DATA_FOLDER}/{}/part-{part:05}.parquet", segment(&table.to_string()))
}

fn segment(name: &str) -> String {
    let encoded = PathPart::from(name);
    let encoded = encoded.as_ref();
    if encoded.len() <= PATH_SEGMENT_BYTES_MAX {
        return encoded.to_owned();
    }
    // Encoded text is ASCII; nobody decodes it, so a cut within `%41` does no harm.
    let hash = &blake3::hash(name.as_bytes()).to_hex()[..16];
    format!("{}-{hash}", encoded[..PATH_SEGMENT_BYTES_MAX / 2].replace('%', "_"))
}

/// A file of a snapshot, by its path within it.
pub(crate) fn file_of(folder: &Path, relative: &str) -> Result<Path> {
    let wrong = |error| Error::refused(format!("unable to use path '{relative}'")).because(error);
    Path::parse(format!("{folder}/{relative}")).map_err(wrong)
}

/// Whether a path of a manifest stays within its snapshot, exactly as it is written.
pub(crate) fn is_within(relative: &str) -> bool {
    let clean = Path::parse(relative).is_ok_and(|path| path.as_ref() == relative);
    clean && !relative.is_empty() && !relative.contains('\\')
}

/// The name behind an encoded folder name.
pub(crate) fn decode(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_their_second() {
        let taken_at: Timestamp = "2026-11-21T08:45:00.75Z".parse().expect("instant");
        let id = new_id(taken_at);
        assert!(id.as_str().starts_with("20261121T084500Z-"), "{id}");
        assert_eq!(instant_of(id.as_str()), "2026-11-21T08:45:00Z".parse().ok());
        for wrong in
            ["", "lost+found", "20261121T084500Z", "20261121T084500Z-xyzxyz", "20261321T084500Z-000000"]
        {
            assert_eq!(instant_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn different_tables_have_different_files_whatever_their_names() {
        let long = "長".repeat(40);
        let names = [
            TableName::new("public", "t"),
            TableName::new("a.b", "c"),
            TableName::new("a", "b.c"),
            TableName::new("a", "b/../c"),
            TableName::new("..", "."),
            TableName::new("public", "Odd \" näme"),
            TableName::new(long.clone(), format!("{long}1")),
            TableName::new(long.clone(), format!("{long}2")),
        ];
        let mut files: Vec<String> = names.iter().map(|name| data_file(name, 0)).collect();
        for file in &files {
            assert!(is_within(file), "{file}");
            assert_eq!(file.split('/').count(), 3, "{file}");
            assert!(file.split('/').all(|part| part.len() <= PATH_SEGMENT_BYTES_MAX + 20), "{file}");
        }
        files.sort_unstable();
        files.dedup();
        assert_eq!(files.len(), names.len());
        assert_eq!(files.last().map(String::as_str), Some("data/public.t/part-00000.parquet"));
    }

    #[test]
    fn paths_that_leave_the_snapshot_are_recognised() {
        for wrong in ["../x", "data/../../x", "/etc/passwd", "data//x", "data/./x", "", "data\\x", "data/x/"]
        {
            assert!(!is_within(wrong), "{wrong}");
        }
    }

    #[test]
    fn encoded_names_can_be_shown() {
        let name = "Odd \" näme/%41";
        assert_eq!(decode(PathPart::from(name).as_ref()), name);
    }
}
