//! Tables that no way leads up from: nobody's by themselves (referenced), of everybody (shared), or a question.
//!
//! People and stored files are named alike everywhere; a catalogue of types looks the same to the foreign keys. So
//! a name, or the columns of a password or a digest, make a table that tenants' rows point at *referenced*, and
//! anything else is taken for shared; both are marked for a person.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::infer::{Found, Graph};
use super::names::{is_catalogue, is_framework, is_referenced_thing, plain};
use super::{HIT_RATE_MIN, HITS_MIN, How, Inferred};
use crate::limits::OWNER_WAYS_MAX;
use crate::model::{Link, Reference, Rule, Table, TableName, Tenancy, Way};

/// Named like people or files, and tenants' rows point at it.
const REFERENCED: f64 = 0.75;
/// Tenants' rows point at it, and nothing tells what it is.
const SHARED: f64 = 0.5;
/// The same, named like a catalogue.
const CATALOGUE: f64 = 0.85;

/// Decides the tables that have no rule yet.
pub fn decide(graph: &Graph, found: &mut Found) {
    let references = References::new(graph);
    referenced(graph, &references, found);
    hanging(graph, found);
    for (name, table) in &graph.tables {
        if !found.contains_key(*name) {
            let inferred = ownerless(graph, table, &references, found);
            found.insert((*name).clone(), inferred);
        }
    }
}

/// Who points at a table, by table: foreign keys, and guesses that the rows confirm.
struct References(HashMap<TableName, Vec<Reference>>);

impl References {
    fn new(graph: &Graph) -> Self {
        let mut all: HashMap<TableName, Vec<Reference>> = HashMap::new();
        let mut add = |table: &TableName, columns: &[String], parent: &TableName, key: &[String]| {
            let reference = Reference { table: table.clone(), columns: columns.to_vec(), key: key.to_vec() };
            all.entry(parent.clone()).or_default().push(reference);
        };
        for table in graph.tables.values() {
            for key in table.foreign_keys.iter().filter(|key| key.parent != table.name) {
                add(&table.name, &key.columns, &key.parent, &key.parent_columns);
            }
        }
        for guess in &graph.schema.guesses {
            let sure = guess.hits.is_some_and(|hits| {
                hits.rows >= HITS_MIN && hits.rate().is_some_and(|rate| rate >= HIT_RATE_MIN)
            });
            // A reference of a kind, or an array, is none that a row could be found by.
            if sure && !guess.keyed && matches!(guess.how, How::Name | How::Prefixed | How::Named | How::Part)
            {
                add(&guess.table, &guess.link.columns, &guess.link.parent, &guess.link.parent_columns);
            }
        }
        Self(all)
    }

    fn of(&self, table: &TableName) -> &[Reference] {
        self.0.get(table).map_or(&[], Vec::as_slice)
    }

    /// Those from tables whose rows have one owner.
    fn owned(&self, table: &TableName, found: &Found) -> Vec<&Reference> {
        let has_owner = |reference: &&Reference| {
            let rule = found.get(&reference.table).and_then(|inferred| inferred.rule.as_ref());
            rule.is_some_and(|rule| rule.is_owned() && !matches!(rule, Rule::Referenced { .. }))
        };
        self.of(table).iter().filter(has_owner).collect()
    }
}

/// People and files that tenants' rows point at.
fn referenced(graph: &Graph, references: &References, found: &mut Found) {
    let rules = found.iter().filter_map(|(name, inferred)| Some((name.clone(), inferred.rule.clone()?)));
    let tenancy = Tenancy { rules: rules.collect() };
    let ways: HashMap<&TableName, usize> = tenancy
        .owners_of_all(&graph.schema.tables)
        .into_iter()
        .map(|(name, owners)| (name, owners.ok().flatten().map_or(0, |owners| owners.ways.len())))
        .collect();
    for (name, table) in &graph.tables {
        if found.contains_key(*name) || !looks_referenced(table) {
            continue;
        }
        let mut by = references.owned(name, found);
        if by.is_empty() {
            continue;
        }
        by.sort_by_key(|reference| ways.get(&reference.table).copied().unwrap_or_default());
        let all = by.len();
        let mut room = OWNER_WAYS_MAX;
        by.retain(|reference| {
            let ways = ways.get(&reference.table).copied().unwrap_or_default();
            let fits = ways > 0 && ways <= room;
            room -= if fits { ways } else { 0 };
            fits
        });
        let tables: BTreeSet<String> = by.iter().map(|reference| reference.table.to_string()).collect();
        let tables: Vec<String> = tables.into_iter().collect();
        let mut evidence = format!(
            "no way to a tenant, and named like people or stored files; its rows belong to whoever points at them: {}",
            tables.join(", ")
        );
        if by.len() < all {
            evidence.push_str(&format!("; {} more references are left out", all - by.len()));
        }
        let rule = Rule::Referenced { by: by.into_iter().cloned().collect() };
        found.insert((*name).clone(), Inferred::decided(rule, evidence, REFERENCED));
    }
}

/// By its name, or by columns that only people and stored files have.
fn looks_referenced(table: &Table) -> bool {
    const COLUMNS: [&str; 12] = [
        "password",
        "encrypted_password",
        "password_hash",
        "password_digest",
        "digest",
        "sha256",
        "checksum",
        "content_type",
        "mime_type",
        "storage_key",
        "storage_path",
        "file_name",
    ];
    let telling = || table.columns.iter().any(|column| COLUMNS.contains(&plain(&column.name).as_str()));
    !is_catalogue(&table.name.table) && (is_referenced_thing(&table.name.table) || telling())
}

/// What references a referenced row and has no way of its own: level by level.
fn hanging(graph: &Graph, found: &mut Found) {
    let mut above: BTreeMap<TableName, ()> = found
        .iter()
        .filter(|(_, inferred)| matches!(inferred.rule, Some(Rule::Referenced { .. })))
        .map(|(name, _)| (name.clone(), ()))
        .collect();
    loop {
        let mut next = Vec::new();
        for name in graph.tables.keys().filter(|name| !found.contains_key(**name)) {
            let all = &graph.candidates[*name];
            let hangs = |parent: &TableName| above.contains_key(parent);
            let usable: Vec<usize> = (0..all.len())
                .filter(|at| all[*at].barred.is_none() && !all[*at].weak && all[*at].required)
                .filter(|at| all[*at].group.is_none() && all[*at].parent().is_some_and(hangs))
                .collect();
            let Some(best) = usable.iter().map(|at| &all[*at]).max_by_key(|candidate| candidate.weight)
            else {
                continue;
            };
            let Way::Derived(link) = &best.way else { continue };
            let mut evidence =
                format!("{}; its rows hang from rows that belong to whoever points at them", best.text);
            let equal = usable.iter().map(|at| &all[*at]).filter(|other| other.weight == best.weight);
            for other in equal.filter(|other| other.columns() != best.columns()) {
                evidence.push_str(&format!("; it could also be by {}", other.columns().join(", ")));
            }
            let rule = Rule::Derived(Link::clone(link));
            next.push(((*name).clone(), Inferred::decided(rule, evidence, best.confidence.min(REFERENCED))));
        }
        if next.is_empty() {
            return;
        }
        above.extend(next.iter().map(|(name, _)| (name.clone(), ())));
        found.extend(next);
    }
}

/// Nothing leads to a tenant.
fn ownerless(graph: &Graph, table: &Table, references: &References, found: &Found) -> Inferred {
    if is_framework(&table.name.table) {
        let reason = "books of a framework or extension".to_owned();
        return Inferred::decided(Rule::Excluded { reason: reason.clone() }, reason, 0.9);
    }
    let owned = references.owned(&table.name, found);
    if let Some(first) = owned.first() {
        let evidence = format!("no way to a tenant; referenced by {}", first.table);
        let by_name = is_catalogue(&table.name.table);
        let note = if by_name { ", and named like a catalogue" } else { "" };
        let confidence = if by_name { CATALOGUE } else { SHARED };
        return Inferred::decided(Rule::Shared, format!("{evidence}{note}"), confidence);
    }
    // The nearest miss is what a person looks at first.
    let candidates = &graph.candidates[&table.name];
    let near = candidates
        .iter()
        .filter(|candidate| {
            candidate.parent().is_none_or(|parent| found.get(parent).is_some_and(Inferred::is_owned))
        })
        .max_by_key(|candidate| candidate.weight);
    match near {
        Some(near) => {
            let why =
                near.barred.clone().unwrap_or_else(|| "that alone does not make the row a tenant's".into());
            let together =
                candidates.iter().filter(|other| other.group.is_some() && other.group == near.group);
            let ways: Vec<Way> = together.map(|other| other.way.clone()).collect();
            let rule = match near.way.clone() {
                _ if ways.len() > 1 => Rule::Either { ways },
                Way::Direct(tenant) => Rule::Direct { column: tenant.column },
                Way::Derived(link) => Rule::Derived(link),
            };
            Inferred::open(format!("{}, but {why}", near.text), Some(rule))
        }
        None => Inferred::open("no foreign key and no column leads to a tenant", None),
    }
}
