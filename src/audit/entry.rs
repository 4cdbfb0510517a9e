//! What a line of the audit log says. Never a secret: URLs stand without password.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::Approval;
use crate::model::{PlanHash, ShardName, SnapshotId, TenantId};

/// The version of an entry's format.
pub const AUDIT_FORMAT: u32 = 1;

/// A line, but for its own hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// [`AUDIT_FORMAT`].
    pub format: u32,
    /// The line's number in the file, from 1.
    pub number: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The reinstate that wrote it.
    pub tool_version: String,
    /// What it tells.
    #[serde(flatten)]
    pub event: Event,
    /// Whether the line before was cut off while it was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows_cut: bool,
    /// Hash of the line before; zeros in the first one.
    pub previous: String,
}

/// The beginning or the end of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// On whose behalf.
    pub who: Who,
    /// The command: `apply`, `snapshot prune`.
    pub what: String,
    /// Which of the two.
    #[serde(flatten)]
    pub phase: Phase,
    /// All that is known at this time.
    #[serde(flatten)]
    pub facts: Facts,
}

/// Who ran a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The name they gave, or else the account.
    pub user: String,
    /// The account that they logged in with.
    pub account: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
}

/// Beginning or end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is done yet.
    Begun,
    /// Nothing more is done.
    Ended {
        /// The entry of its beginning.
        begun: u64,
        /// How the process ends.
        exit_code: u8,
        /// What stopped it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

/// What a command is about, and in the end what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The plan that is made, carried out or verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanHash>,
    /// The shards, and which of their snapshots are read, made or deleted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<ShardName, Vec<SnapshotId>>,
    /// Number of tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants: Option<usize>,
    /// Who approved the plan, and with which key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// Where it goes past a rail or a default, by flag.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, Value>,
    /// What became of the tenants: back, failed, open; planned, blocked; equal, different.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub became: BTreeMap<String, Vec<TenantId>>,
    /// Rows that were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The name of this execution in the journals of the shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

impl Facts {
    /// Notes what was asked for beyond the defaults.
    pub fn overrides(&mut self, flag: &str, value: impl Into<Value>) {
        self.overrides.insert(flag.to_owned(), value.into());
    }

    /// Notes what became of some tenants.
    pub fn became<'t>(&mut self, what: &str, tenants: impl Iterator<Item = &'t TenantId>) {
        self.became.insert(what.to_owned(), tenants.cloned().collect());
    }
}
