//! Tables whose rows reference others of the same table: a folder's site may be that of the folders above it.
//!
//! Whether it is, only the rows can tell: rows without an owner of their own that are below an owned one are its
//! tenant's; rows that are below nobody's are shared.

use std::cmp::Reverse;

use super::choose::{NULLABLE, SHORTEST};
use super::infer::columns_of;
use super::ways::Candidate;
use super::{HIT_RATE_MIN, HITS_MIN, How, Inferred, Schema, ShardInference};
use crate::model::{Link, Rule, Table, Way};
use crate::shard::{Climbs, Tree};

/// All rows that have only a row above them are below an owned one.
const CLIMBING: f64 = 0.9;
/// Some of them are not, or two tenants meet in a tree.
const UNCLEAR: f64 = 0.6;

/// What to ask the rows: trees of tables whose rows may lack a way to their owner.
pub fn trees(schema: &Schema, inferred: &ShardInference) -> Vec<Tree> {
    let decided = schema.tables.iter().filter(|table| !schema.kept.contains_key(&table.name));
    let found = decided.filter_map(|table| Some((table, inferred.tables.get(&table.name)?)));
    found.flat_map(|(table, found)| trees_of(schema, table, found)).collect()
}

fn trees_of(schema: &Schema, table: &Table, found: &Inferred) -> Vec<Tree> {
    let own = own_ways(table, found).unwrap_or_default();
    if own.is_empty() {
        return Vec::new();
    }
    let tenant = own.iter().find(|(_, tenant)| *tenant).map(|(columns, _)| columns[0].clone());
    let own: Vec<Vec<String>> = own.into_iter().map(|(columns, _)| columns).collect();
    let tree = |link| Tree { table: table.name.clone(), link, own: own.clone(), tenant: tenant.clone() };
    links(schema, table).into_iter().map(tree).collect()
}

/// The columns of the ways that a row may lack, and whether they hold the tenant's id.
fn own_ways(table: &Table, found: &Inferred) -> Option<Vec<(Vec<String>, bool)>> {
    let rule = found.rule.as_ref().filter(|rule| rule.is_owned())?;
    let ways: Vec<Way> = match rule {
        Rule::Either { ways } => ways.clone(),
        Rule::Derived(link) => vec![Way::Derived(link.clone())],
        Rule::Direct { .. } => {
            return Some(vec![(columns_of(rule), true)]).filter(|own| may_lack(table, own));
        }
        _ => return None,
    };
    let own: Vec<(Vec<String>, bool)> = ways
        .into_iter()
        .filter_map(|way| match way {
            Way::Direct(tenant) => Some((vec![tenant.column], true)),
            Way::Derived(link) if link.parent == table.name => None,
            Way::Derived(link) => Some((link.columns, false)),
        })
        .collect();
    Some(own).filter(|own| may_lack(table, own))
}

fn may_lack(table: &Table, own: &[(Vec<String>, bool)]) -> bool {
    let is_set = |name: &String| table.column(name).is_some_and(|column| column.not_null);
    !own.iter().any(|(columns, _)| columns.iter().all(is_set))
}

fn links(schema: &Schema, table: &Table) -> Vec<Link> {
    let keys = table.foreign_keys.iter().filter(|key| key.parent == table.name);
    let keys = keys.map(|key| Link::new(key.columns.clone(), key.parent.clone(), key.parent_columns.clone()));
    let resolves = |rate: Option<f64>| rate.is_some_and(|rate| rate >= HIT_RATE_MIN);
    let guesses = schema.guesses.iter().filter(|guess| {
        guess.table == table.name
            && guess.how == How::Tree
            && resolves(guess.hits.and_then(|hits| hits.rate()))
    });
    keys.chain(guesses.map(|guess| guess.link.clone())).collect()
}

/// The candidate that leads to the row above, if there is one: that by which most rows reach an owner.
pub fn tree<'a>(table: &Table, all: &'a [Candidate]) -> Option<&'a Candidate> {
    let trees =
        all.iter().filter(|one| one.parent() == Some(&table.name) && one.barred.is_none() && !one.weak);
    trees.min_by_key(|one| Reverse(one.climbs.map_or(0, |climbs| climbs.reach)))
}

/// What a tree makes of a table whose rows may lack their owner.
pub struct Verdict {
    /// Whether rows have the owner of the rows above them too.
    pub climbs: bool,
    pub note: String,
    /// How sure; `None` where the tree changes nothing.
    pub confidence: Option<f64>,
}

/// What the rows say about a tree.
pub fn judge(tree: &Candidate) -> Verdict {
    let columns = tree.columns().join(", ");
    let is_said = |climbs, note, confidence| Verdict { climbs, note, confidence };
    let shared = format!("; rows that have only {columns} instead are taken for shared ones");
    let Some(Climbs { rows, below, reach, apart }) = tree.climbs else {
        return is_said(false, shared, Some(NULLABLE));
    };
    if reach == 0 {
        return match (rows >= HITS_MIN, below) {
            (true, 0) => is_said(false, String::new(), None),
            (true, below) if below >= HITS_MIN => {
                let note = format!("; none of {below} rows that have only {columns} is below an owned one");
                is_said(false, note, None)
            }
            _ => is_said(false, shared, Some(NULLABLE)),
        };
    }
    let reached = format!("; {reach} of {below} rows that have only {columns} are below an owned one");
    if apart > 0 {
        let note = format!("{reached}, but {apart} rows have another tenant than the row above them");
        return is_said(false, note, Some(UNCLEAR));
    }
    // Few enough to be exact as floating point.
    let rate = reach as f64 / below as f64;
    let sure = match (rate >= HIT_RATE_MIN, below >= HITS_MIN) {
        (true, true) => CLIMBING.min(tree.confidence),
        (true, false) => SHORTEST,
        (false, _) => UNCLEAR,
    };
    is_said(true, format!("{reached} ({rate:.3}), and have its owner"), Some(sure))
}
