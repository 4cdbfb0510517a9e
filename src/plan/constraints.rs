//! Who proves the keys of restored rows: the server by its triggers, or the engine with triggers off.
//!
//! Triggers off is the faster way and the truer one: nothing assigns to a restored row, nothing is written
//! elsewhere, and keys may run in circles. What the server then leaves out, foreign keys and the deferrable unique
//! and exclusion constraints, is proved by the engine in the same transaction. Chosen here, bound in the plan.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ShardFindings, queues};
use crate::error::{Error, Result};
use crate::model::{Firing, Table, TableName, Trigger};

/// Who proves the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prover {
    /// The server: triggers fire as they do for the application.
    Server,
    /// The engine: triggers are off for the transaction.
    Engine,
}

/// What the operator asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConstraintsChoice {
    /// The engine where the role may turn triggers off, else the server.
    #[default]
    Auto,
    /// The one or the other.
    Only(Prover),
}

impl FromStr for ConstraintsChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "server" => Ok(Self::Only(Prover::Server)),
            "engine" => Ok(Self::Only(Prover::Engine)),
            _ => Err("it is auto, server or engine".into()),
        }
    }
}

/// The choice for one shard, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// Who proves the keys.
    pub by: Prover,
    /// Why, for people.
    pub reason: String,
}

impl Constraints {
    /// Whether triggers are off.
    pub fn by_engine(&self) -> bool {
        self.by == Prover::Engine
    }
}

/// Chooses for one shard; `planned` are the live tables that rows are written to.
pub fn choose(choice: ConstraintsChoice, found: &ShardFindings, planned: &[Table]) -> Result<Constraints> {
    let obstacle = obstacle(found.triggers_stay_on.as_deref(), &found.unlockable, planned);
    let by = |by, reason: String| Ok(Constraints { by, reason });
    match (choice, obstacle) {
        (ConstraintsChoice::Only(Prover::Server), _) => by(Prover::Server, "asked for".into()),
        (ConstraintsChoice::Only(Prover::Engine), None) => by(Prover::Engine, "asked for".into()),
        (ConstraintsChoice::Auto, None) => by(Prover::Engine, "the role may turn triggers off".into()),
        (ConstraintsChoice::Auto, Some(obstacle)) => by(Prover::Server, obstacle),
        (ConstraintsChoice::Only(Prover::Engine), Some(obstacle)) => Err(Error::refused(format!(
            "unable to prove the keys of shard '{}' by the engine: {obstacle}",
            found.name
        ))
        .hint("grant what is missing (docs/privileges.md), or plan with --constraints=server")),
    }
}

/// What keeps the engine from proving the keys of rows of these tables, if anything does.
pub fn obstacle<'a>(
    triggers_stay_on: Option<&str>,
    unlockable: &BTreeSet<TableName>,
    planned: impl IntoIterator<Item = &'a Table>,
) -> Option<String> {
    if let Some(reason) = triggers_stay_on {
        return Some(reason.to_owned());
    }
    // Parents outside of the tenant are locked against deletion, as the server would do it.
    let (table, key) = planned
        .into_iter()
        .flat_map(|table| {
            let of_partitions = table.partition_keys.iter().map(|part| &part.key);
            table.foreign_keys.iter().chain(of_partitions).map(move |key| (table, key))
        })
        .find(|(_, key)| unlockable.contains(&key.parent))?;
    Some(format!(
        "the role may not lock rows of '{}', which '{}' references (UPDATE on any column, no row security)",
        key.parent, table.name
    ))
}

/// What the operator should know of triggers, of tables that follow others, and of keys that prove nothing.
pub fn warnings(constraints: &Constraints, found: &ShardFindings, planned: &[Table]) -> Vec<String> {
    let replica = constraints.by_engine();
    let mut warnings = Vec::new();
    for table in planned {
        let named = |triggers: Vec<&Trigger>| -> Option<String> {
            let names: Vec<&str> = triggers.iter().map(|trigger| trigger.name.as_str()).collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        let on_insert = table.triggers.iter().filter(|trigger| trigger.on_insert);
        let (firing, silent): (Vec<&Trigger>, Vec<&Trigger>) =
            on_insert.partition(|trigger| trigger.fires_on_insert(replica));
        let even = if replica { ", even with triggers off" } else { "" };
        warnings.extend(
            named(firing)
                .map(|names| format!("triggers fire on insert into '{}'{even}: {names}", table.name)),
        );
        let silent: Vec<&Trigger> =
            silent.into_iter().filter(|trigger| trigger.firing != Firing::Replica).collect();
        warnings.extend(left_behind(table, &silent, planned));
        warnings.extend(
            named(silent).map(|names| format!("triggers are off on insert into '{}': {names}", table.name)),
        );
        warnings.extend(queues::undeclared(found, table));
        if replica {
            let loose = table.foreign_keys.iter().filter(|key| !key.validated);
            warnings.extend(loose.map(|key| {
                format!(
                    "foreign key '{}' of '{}' is NOT VALID: rows that break it come back as they were",
                    key.name, table.name
                )
            }));
        }
    }
    for (view, tables) in &found.materialized {
        let stale: Vec<String> = planned
            .iter()
            .filter(|table| tables.contains(&table.name))
            .map(|table| format!("'{}'", table.name))
            .collect();
        if !stale.is_empty() {
            let tables = stale.join(", ");
            warnings.push(format!(
                "materialised view '{view}' is made of {tables}: refresh it after the restore"
            ));
        }
    }
    warnings
}

/// Tables that triggers which stay silent would have kept in step, and that do not come back themselves.
fn left_behind(table: &Table, silent: &[&Trigger], planned: &[Table]) -> Vec<String> {
    let kept: BTreeSet<(&TableName, &str)> = silent
        .iter()
        .flat_map(|trigger| trigger.writes.iter().map(|written| (written, trigger.name.as_str())))
        .filter(|(written, _)| !planned.iter().any(|table| table.name == **written))
        .collect();
    let warning = |(written, trigger): (&TableName, &str)| {
        format!(
            "table '{written}' is kept by trigger '{trigger}' of '{}', which does not fire: it goes stale",
            table.name
        )
    };
    kept.into_iter().map(warning).collect()
}
