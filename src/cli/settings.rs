//! From raw flags to checked values; opens nothing but the store's folder.

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::config::{Config, absolute};
use crate::error::{Error, Result};
use crate::limits::{MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN};
use crate::memory::Memory;
use crate::model::SnapshotId;
use crate::snapshot::Store;
use crate::survey::Pick;

/// Which snapshot of each shard: flags of every command that reads one.
#[derive(clap::Args)]
pub struct PickArgs {
    /// The newest snapshot not after this instant (2026-11-21T08:30:00Z, or local time without the Z)
    #[arg(long, value_name = "TIME", conflicts_with = "snapshot", value_parser = instant)]
    at: Option<Timestamp>,

    /// This snapshot; may be given once for each shard
    #[arg(long, value_name = "ID")]
    snapshot: Vec<String>,
}

impl PickArgs {
    /// The choice; the newest snapshots if nothing is given.
    pub fn pick(&self) -> Pick {
        if self.snapshot.is_empty() {
            Pick::At(self.at)
        } else {
            Pick::Ids(self.snapshot.iter().map(SnapshotId::new).collect())
        }
    }
}

/// The flag of every command that reads rows.
#[derive(clap::Args)]
pub struct MemoryArgs {
    /// Memory to use; fewer tenants are looked at side by side and more goes to temporary files where it is short
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = memory)]
    memory: usize,
}

impl MemoryArgs {
    /// What the command may use.
    pub fn memory(&self) -> Memory {
        Memory::new(self.memory)
    }
}

/// The snapshot store's flag.
#[derive(clap::Args)]
pub struct StoreArgs {
    /// Snapshot store, if not the configuration's (file:///path, or a path)
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
}

impl StoreArgs {
    /// Opens the store of the flag or of the configuration.
    pub fn open(&self, config: &Config) -> Result<Store> {
        let here = Path::new("");
        let folder = config.path.parent().unwrap_or(here);
        match (&self.store, &config.store) {
            (Some(url), _) => Store::open(&located(url, here)),
            (None, Some(url)) => Store::open(&located(url, folder)),
            (None, None) => Err(Error::usage("unable to tell where the snapshots are")
                .hint("add --store URL, or store = \"file:///…\" to the configuration")),
        }
    }
}

/// A plain path becomes absolute; a URL stays as it is.
pub fn located(url: &str, folder: &Path) -> String {
    if url.contains("://") { url.to_owned() } else { absolute(folder, url) }
}

/// An instant: RFC 3339, or a local date and time.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let local = text.parse::<DateTime>().map_err(|error| error.to_string())?;
    local.to_zoned(TimeZone::system()).map(|zoned| zoned.timestamp()).map_err(|error| error.to_string())
}

/// A size in bytes with a unit: `512MiB`, `2GiB`.
pub fn memory(text: &str) -> Result<usize, String> {
    let wrong = || "write it as 512MiB or 2GiB".to_owned();
    let (digits, factor) = match text.trim() {
        t if t.ends_with("GiB") => (t.trim_end_matches("GiB"), 1 << 30),
        t if t.ends_with("MiB") => (t.trim_end_matches("MiB"), 1 << 20),
        _ => return Err(wrong()),
    };
    let bytes = digits.trim().parse::<usize>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)?;
    if bytes < MEMORY_BYTES_MIN {
        return Err(format!("at least {}MiB are needed", MEMORY_BYTES_MIN >> 20));
    }
    Ok(bytes)
}

const _: () = assert!(MEMORY_BYTES_DEFAULT == 512 << 20, "the default of --memory is written out above");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_instants_are_read_or_refused() {
        assert_eq!(memory("512MiB"), Ok(512 << 20));
        assert_eq!(memory("2GiB"), Ok(2 << 30));
        for wrong in ["512", "MiB", "-1GiB", "1MiB", "99999999999999GiB"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            instant("1970-01-01T00:00:01Z"),
            Ok(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1))
        );
        assert!(instant("2026-11-21T08:30:00").is_ok());
        assert!(instant("yesterday").is_err());
    }
}
