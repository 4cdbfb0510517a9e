//! From a live schema to a reviewed `reinstate.toml`.
//!
//! ```text
//! tables of every shard ─┬─► guess: references that only names tell ──► hits, asked of the rows
//!                        └─► infer ◄────────────────────────────────────┤
//!                              │ └─► trees: rows below others ──► climbs ┘ asked of the rows, and inferred again
//!                              │ ways    every link that may lead to a tenant, with its weight
//!                              │ choose  one way, several alternatives, or a question
//!                              │ loose   what has no way up: referenced, shared, undecided
//!                              ▼
//!                            Inferred: rule, evidence, confidence ──► render ──► reinstate.toml
//!                                                                └──► check, open (what a person must decide)
//! ```
//!
//! Nothing here connects or writes files. What cannot be decided is left without a rule and named: a plan stops
//! until a person has written one. A wrong claim is worse than an open question.

mod check;
mod choose;
mod declared;
mod guess;
mod infer;
mod loose;
mod names;
mod open;
mod parts;
mod render;
mod root;
#[cfg(test)]
mod tests;
mod trees;
mod update;
mod ways;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{Link, Rule, ShardName, Table, TableName};
use crate::shard::{Climbs, Hits, Statistics};

pub use check::{Unclassified, unclassified};
pub use declared::{Declarations, DeclaredLink, Pattern, Target};
pub use guess::{guesses, kinds_wanted};
pub use infer::infer;
pub use open::{Open, open};
pub use render::render;
pub use root::{Root, RootSpec};
pub use trees::trees;
pub use update::update;

/// Share of the references of a guess that must resolve.
pub const HIT_RATE_MIN: f64 = 0.99;
/// References that a sample must hold to be trusted without a second look.
pub const HITS_MIN: u64 = 10;
/// Below this confidence a person should look at a rule before trusting it.
pub const CONFIDENCE_TRUSTED: f64 = 0.8;

/// What is known of one shard.
#[derive(Clone, Debug)]
pub struct Schema {
    /// The shard.
    pub shard: ShardName,
    /// Its tables.
    pub tables: Vec<Table>,
    /// Their sizes, and who inherits from whom.
    pub statistics: Statistics,
    /// References that no key declares, with the answers of the shard.
    pub guesses: Vec<Guess>,
    /// What the rows of trees say, by table and the columns that reference the row above.
    pub climbs: BTreeMap<(TableName, Vec<String>), Climbs>,
    /// Rules that a person has decided: kept as they are.
    pub kept: BTreeMap<TableName, Rule>,
}

impl Schema {
    /// A shard of which only the catalog is known.
    pub fn new(shard: ShardName, tables: Vec<Table>) -> Self {
        let (statistics, guesses, climbs, kept) = Default::default();
        Self { shard, tables, statistics, guesses, climbs, kept }
    }
}

/// What a guess goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// A column named like the tenant's id.
    Tenant,
    /// A naming rule of the configuration.
    Named,
    /// `account_id` for `accounts.id`.
    Name,
    /// `billing_account_id` for `accounts.id`.
    Prefixed,
    /// An array of ids.
    Each,
    /// A polymorphic reference, for rows of one kind.
    Kind,
    /// `parent_id`: a row of the same table.
    Tree,
    /// A foreign key that some of the table's partitions, or tables that inherit from it, have.
    Part,
}

/// A reference that no foreign key declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guess {
    /// The table that is supposed to reference.
    pub table: TableName,
    /// What it is supposed to reference. The root may be in another shard.
    pub link: Link,
    /// What the guess goes by.
    pub how: How,
    /// A foreign key says that the column references something else.
    pub keyed: bool,
    /// A kind of a polymorphic reference that names no table: what its rows reference is not known.
    pub unnamed: Option<String>,
    /// How often it resolves; `None` while nobody knows.
    pub hits: Option<Hits>,
}

/// What was found about one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// The rule; `None` if a person must decide.
    pub rule: Option<Rule>,
    /// Why, in words.
    pub evidence: String,
    /// How sure, from 0 to 1.
    pub confidence: f64,
    /// What a person who must decide could begin with.
    pub suggestion: Option<Rule>,
    /// Every way to an owner that was looked at.
    pub ways: Vec<Considered>,
    /// Columns that look like an owner's and are not part of the rule.
    pub ignored: Vec<String>,
}

/// A way to an owner that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Considered {
    /// Its columns and where they lead.
    pub way: String,
    /// Whether it is part of the rule.
    pub taken: bool,
    /// What it goes by, and why it was not taken.
    pub why: String,
    /// Rows (or distinct values) that were looked at, where it is a guess.
    pub rows: Option<u64>,
    /// Share of them that resolve.
    pub hit_rate: Option<f64>,
}

impl Inferred {
    fn decided(rule: Rule, evidence: impl Into<String>, confidence: f64) -> Self {
        let (ways, ignored) = (Vec::new(), Vec::new());
        Self { rule: Some(rule), evidence: evidence.into(), confidence, suggestion: None, ways, ignored }
    }

    fn open(evidence: impl Into<String>, suggestion: Option<Rule>) -> Self {
        let (ways, ignored) = (Vec::new(), Vec::new());
        Self { rule: None, evidence: evidence.into(), confidence: 0.0, suggestion, ways, ignored }
    }

    /// Whether a person should look at the rule before trusting it.
    pub fn is_doubtful(&self) -> bool {
        self.confidence < CONFIDENCE_TRUSTED
    }

    /// Whether the rule is one of those in which rows have an owner.
    fn is_owned(&self) -> bool {
        self.rule.as_ref().is_some_and(Rule::is_owned)
    }
}

/// The tables of one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardInference {
    /// The shard.
    pub shard: ShardName,
    /// Its tables.
    pub tables: BTreeMap<TableName, Inferred>,
}
