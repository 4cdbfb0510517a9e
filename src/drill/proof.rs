//! The drill's proof, independent of the engine: every row of every table read by plain SQL and hashed.
//!
//! Victims: their rows after the rescue are those of just before the accident. Neighbours: all other rows of the
//! live shards are those of a mirror that was copied before the rescue, never saw it, and received the same
//! writes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::database::RowsHash;
use super::fleet::TABLES;
use super::stage::{Mirror, Stage};
use crate::error::Result;
use crate::model::TenantId;

/// What the comparison found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Proof {
    /// Rows of the victims that were compared.
    pub victim_rows: u64,
    /// Tables in which the victims' rows are not what they were.
    pub victims_differ: Vec<String>,
    /// Rows of the neighbours, and shared rows, that were compared.
    pub neighbour_rows: u64,
    /// Tables in which the neighbours' rows are not those of the mirror.
    pub neighbours_differ: Vec<String>,
}

impl Proof {
    /// Whether nothing differs.
    pub fn holds(&self) -> bool {
        self.victims_differ.is_empty() && self.neighbours_differ.is_empty()
    }
}

/// The victims' rows, by table.
pub async fn victims_rows(stage: &Stage, victims: &[TenantId]) -> Result<BTreeMap<&'static str, RowsHash>> {
    let mut found = BTreeMap::new();
    for table in &TABLES {
        found.insert(table.name, stage.database(table.shard)?.hash(table, victims, true).await?);
    }
    Ok(found)
}

/// Compares what is live with what it has to be.
pub async fn compare(
    stage: &Stage,
    mirror: &Mirror,
    victims: &[TenantId],
    before: &BTreeMap<&'static str, RowsHash>,
) -> Result<Proof> {
    let after = victims_rows(stage, victims).await?;
    let mut proof = Proof::default();
    for table in &TABLES {
        let name = format!("{}.{}", table.shard, table.name);
        proof.victim_rows += after[table.name].0;
        if after[table.name] != before[table.name] {
            proof.victims_differ.push(name.clone());
        }
        let live = stage.database(table.shard)?.hash(table, victims, false).await?;
        let mirrored = mirror.database(table.shard)?.hash(table, victims, false).await?;
        let stray = mirror.database(table.shard)?.hash(table, victims, true).await?;
        proof.neighbour_rows += live.0;
        if live != mirrored || stray.0 != 0 {
            proof.neighbours_differ.push(name);
        }
    }
    Ok(proof)
}
