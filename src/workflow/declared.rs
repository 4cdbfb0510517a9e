//! What the configuration says of a site beside its rows; it stands in the plan, so that what is carried out is what
//! was approved.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::hooks::{Check, Hook};
use crate::media::Media;
use crate::model::{Gate, ShardName};

/// The steps of a site, as they are declared. Nothing declared: its shards, the catalogue's last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workflow {
    /// Keeps a tenant off until it is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// All shards of the configuration, also those in which the plan's tenants have no rows: steps may wait for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardName>,
    /// Shards that wait for other steps than by default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shards_after: BTreeMap<ShardName, BTreeSet<String>>,
    /// Objects of a tenant.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub media: BTreeMap<String, Media>,
    /// Calls of other systems.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<String, Hook>,
    /// What must hold before the gate opens.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, Check>,
    /// What a person must look after for each tenant: sessions to revoke, caches, search indexes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub side_effects: Vec<String>,
}

impl Workflow {
    /// Whether a site is nothing but its rows.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}
