//! Which of a table's candidates decide: one way, or several alternatives, and how sure that is.

use super::trees;
use super::ways::Candidate;
use super::{Considered, Inferred};
use crate::model::{Check, Rule, Table, Way};
use crate::shard::Hits;

/// Candidates whose weights differ by less could each be meant.
const RIVAL_WINDOW: i32 = 10;
/// Among ways that a row may lack, those that are far lighter than the best are mentions.
const ALTERNATIVE_WINDOW: i32 = 20;

/// Ways that a person has declared.
const SURE: f64 = 1.0;
/// A check says that exactly one of the ways is set.
const CHECKED: f64 = 0.97;
/// Others would do as well, but this one is the shortest.
pub const SHORTEST: f64 = 0.75;
/// Rows may lack the way, and have no owner then.
pub const NULLABLE: f64 = 0.7;
/// Several ways, and nothing says that they agree.
const ALTERNATIVES: f64 = 0.65;
/// Several ways that every row has: they may lead to two tenants.
const TIED: f64 = 0.6;

/// What is known of the candidates' parents.
pub struct Parents<'a> {
    /// Hops from a candidate's parent to the tenant.
    pub depth: &'a dyn Fn(&Candidate) -> usize,
    /// The column of the table that holds the tenant's id by way of a candidate, where there is one.
    pub tenant_column: &'a dyn Fn(&Candidate) -> Option<String>,
}

/// Decides among candidates that lead to owned tables, `usable` by index; the others are only mentioned.
pub fn choose(table: &Table, all: &[Candidate], usable: &[usize], parents: &Parents) -> Option<Inferred> {
    let mut order: Vec<&Candidate> = usable.iter().map(|at| &all[*at]).collect();
    order.sort_by_key(|candidate| (-candidate.weight, (parents.depth)(candidate)));
    let best = *order.first()?;
    let mut choice = if best.declared {
        together(order.iter().copied().filter(|other| other.declared).collect(), SURE, "")
    } else if best.group.is_some() {
        let group = order.iter().copied().filter(|other| other.group == best.group);
        together(group.collect(), best.confidence, "")
    } else if best.required {
        required(best, &order, parents)
    } else {
        let tree = trees::tree(table, all);
        climbing(nullable(table, best, &order, tree, parents), tree)
    };
    let rivals = rivals(best, &choice, &order, parents);
    if !rivals.is_empty() && choice.confidence > SHORTEST {
        choice.evidence.push_str(&format!("; it could also be by {}", by(&rivals)));
        choice.confidence = SHORTEST;
    }
    let mut inferred = Inferred::decided(choice.rule(), choice.evidence, choice.confidence);
    inferred.ways = all.iter().map(|one| considered(one, &choice.ways, &order, &rivals)).collect();
    Some(inferred)
}

/// Ways that were not chosen and weigh as much as the chosen one, or nearly so: each could be meant.
fn rivals<'a>(
    best: &Candidate,
    choice: &Choice,
    order: &[&'a Candidate],
    parents: &Parents,
) -> Vec<&'a Candidate> {
    if best.declared {
        return Vec::new();
    }
    let column = (parents.tenant_column)(best);
    let agrees = |other: &Candidate| column.is_some() && (parents.tenant_column)(other) == column;
    let is_chosen = |other: &Candidate| choice.ways.iter().any(|one| std::ptr::eq(*one, other));
    let near = |other: &&Candidate| !other.weak && other.weight > best.weight - RIVAL_WINDOW;
    let others = order.iter().copied().filter(near);
    others.filter(|other| !is_chosen(other) && !agrees(other)).collect()
}

/// The columns of some ways: those of a polymorphic reference once.
fn by(ways: &[&Candidate]) -> String {
    let mut columns: Vec<String> = ways.iter().map(|way| way.columns().join(", ")).collect();
    columns.dedup();
    columns.join("; ")
}

struct Choice<'a> {
    ways: Vec<&'a Candidate>,
    evidence: String,
    confidence: f64,
}

impl Choice<'_> {
    fn rule(&self) -> Rule {
        match self.ways.as_slice() {
            [one] => match one.way.clone() {
                Way::Direct(tenant) => Rule::Direct { column: tenant.column },
                Way::Derived(link) => Rule::Derived(link),
            },
            several => Rule::Either { ways: several.iter().map(|one| one.way.clone()).collect() },
        }
    }
}

/// Ways that decide together; `most` bounds the confidence.
fn together<'a>(ways: Vec<&'a Candidate>, most: f64, note: &str) -> Choice<'a> {
    let texts: Vec<&str> = ways.iter().map(|way| way.text.as_str()).collect();
    let evidence = format!("{}{note}", texts.join(", or "));
    let confidence = ways.iter().map(|way| way.confidence).fold(most, f64::min);
    Choice { ways, evidence, confidence }
}

/// Every row has the best way; others may be as good.
fn required<'a>(best: &'a Candidate, order: &[&'a Candidate], parents: &Parents) -> Choice<'a> {
    let column = (parents.tenant_column)(best);
    let agrees = |other: &Candidate| column.is_some() && (parents.tenant_column)(other) == column;
    let is_best = |other: &Candidate| std::ptr::eq(other, best);
    let rivals = order.iter().copied().filter(|other| {
        let near = other.required && other.weight > best.weight - RIVAL_WINDOW;
        near && !is_best(other) && other.group.is_none() && !agrees(other)
    });
    let rivals: Vec<&Candidate> = rivals.collect();
    let depth = (parents.depth)(best);
    let equal = rivals.iter().filter(|other| other.weight == best.weight && (parents.depth)(other) == depth);
    let equal: Vec<&Candidate> = equal.copied().collect();
    if !equal.is_empty() {
        let ways = std::iter::once(best).chain(equal).collect();
        return together(ways, TIED, "; rows for which they lead to two tenants have no owner");
    }
    if !rivals.is_empty() {
        let note = format!("; it could also be by {}", by(&rivals));
        return together(vec![best], SHORTEST, &note);
    }
    let others: Vec<&Candidate> = order.iter().copied().filter(|other| !is_best(other)).collect();
    if others.is_empty() {
        return together(vec![best], SURE, "");
    }
    let note = format!("; also references tenants' rows by {}", by(&others));
    together(vec![best], 0.95, &note)
}

/// A row may lack the best way: the owner is whichever is set.
fn nullable<'a>(
    table: &Table,
    best: &'a Candidate,
    order: &[&'a Candidate],
    tree: Option<&'a Candidate>,
    parents: &Parents,
) -> Choice<'a> {
    // What leads to the tenant by the same column says the same.
    let column = (parents.tenant_column)(best);
    let same = |other: &Candidate| column.is_some() && (parents.tenant_column)(other) == column;
    let counts = |other: &Candidate| std::ptr::eq(other, best) || !same(other);
    let optional: Vec<&Candidate> = order
        .iter()
        .copied()
        .filter(|other| !other.required && other.group.is_none() && counts(other))
        .collect();
    for check in table.checks.iter().filter(|check| is_about_presence(check)) {
        let named =
            |candidate: &&&Candidate| candidate.columns().iter().all(|name| check.columns.contains(name));
        let ways: Vec<&Candidate> = optional.iter().chain(&tree).filter(named).copied().collect();
        if ways.len() < 2 || !ways.iter().any(|way| std::ptr::eq(*way, best)) {
            continue;
        }
        let covered = |name: &&String| ways.iter().any(|way| way.columns().contains(name));
        let loose: Vec<&str> =
            check.columns.iter().filter(|name| !covered(name)).map(String::as_str).collect();
        let note = match loose.as_slice() {
            [] => format!("; check {} says which is set", check.name),
            names => format!(
                "; check {} also allows {}, which leads to no tenant: such rows have no owner",
                check.name,
                names.join(", ")
            ),
        };
        return together(ways, if loose.is_empty() { CHECKED } else { NULLABLE }, &note);
    }
    let near =
        optional.into_iter().filter(|other| !other.weak && other.weight > best.weight - ALTERNATIVE_WINDOW);
    let mut ways: Vec<&Candidate> = near.collect();
    if ways.len() < 2 {
        ways = vec![best];
    }
    match (&best.way, ways.len()) {
        (Way::Direct(_), 1) if best.plainly_named => {
            together(ways, 0.95, "; where it is NULL the row is shared")
        }
        // Who gave, made or last used a row that is everybody's.
        (Way::Direct(_), 1) => together(
            ways,
            NULLABLE,
            "; where it is NULL the row is shared, and it is not named like an owner",
        ),
        (Way::Derived(_), 1) => {
            together(ways, NULLABLE, "; its columns may be NULL, and such rows have no owner")
        }
        _ => together(ways, ALTERNATIVES, "; the owner is whichever is set, and no check says that one is"),
    }
}

/// Adds the rows above, where the rows say that what lacks an owner has that of the row above it.
fn climbing<'a>(choice: Choice<'a>, tree: Option<&'a Candidate>) -> Choice<'a> {
    let Some(tree) = tree.filter(|tree| !choice.ways.iter().any(|way| std::ptr::eq(*way, *tree))) else {
        return choice;
    };
    let verdict = trees::judge(tree);
    let Choice { mut ways, mut evidence, confidence } = choice;
    let sure = verdict.confidence.unwrap_or(confidence);
    if !verdict.climbs {
        evidence.push_str(&verdict.note);
        return Choice { ways, evidence, confidence: confidence.min(sure) };
    }
    // That a row may lack the only way is no doubt any more.
    let confidence =
        if let [one] = ways.as_slice() { one.confidence.min(sure) } else { confidence.min(sure) };
    ways.push(tree);
    let texts: Vec<&str> = ways.iter().map(|way| way.text.as_str()).collect();
    Choice { evidence: format!("{}{}", texts.join(", or "), verdict.note), ways, confidence }
}

/// Whether a check says which columns are set, and nothing else: `num_nonnulls(a, b) = 1`,
/// `(a IS NULL) <> (b IS NULL)`.
fn is_about_presence(check: &Check) -> bool {
    const WORDS: [&str; 16] = [
        "num_nonnulls",
        "num_nulls",
        "is",
        "not",
        "null",
        "and",
        "or",
        "case",
        "when",
        "then",
        "else",
        "end",
        "integer",
        "int",
        "true",
        "false",
    ];
    let text = check.expression.to_lowercase();
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let mut words = words.filter(|word| !word.is_empty() && !word.chars().all(|c| c.is_ascii_digit()));
    let known = |word: &str| {
        WORDS.contains(&word) || check.columns.iter().any(|name| name.eq_ignore_ascii_case(word))
    };
    check.columns.len() > 1 && text.contains("null") && words.all(known)
}

fn considered(
    one: &Candidate,
    taken: &[&Candidate],
    usable: &[&Candidate],
    rivals: &[&Candidate],
) -> Considered {
    let is_in = |list: &[&Candidate]| list.iter().any(|other| std::ptr::eq(*other, one));
    let taken = is_in(taken);
    let reason = match &one.barred {
        _ if taken => String::new(),
        Some(barred) => format!("; not taken: {barred}"),
        None if !is_in(usable) => "; not taken: it leads to no tenant, or back to this table".into(),
        None if is_in(rivals) => "; not taken, though it could be meant as well".into(),
        None if one.weak => "; not taken: it only says who touched the row".into(),
        None => "; not taken: another way is better".into(),
    };
    // Of a tree: rows that have nothing else, and those of them that are below an owned one.
    let climbs = one.climbs.map(|climbs| Hits { rows: climbs.below, found: climbs.reach });
    let hits = climbs.or(one.hits);
    Considered {
        way: one.shown(),
        taken,
        why: format!("{}{reason}", one.text),
        rows: hits.map(|hits| hits.rows),
        hit_rate: hits.and_then(|hits| hits.rate()),
    }
}

/// The candidates of a table for which nothing was chosen.
pub fn all_considered(all: &[Candidate]) -> Vec<Considered> {
    all.iter().map(|one| considered(one, &[], &[], &[])).collect()
}
