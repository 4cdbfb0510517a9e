//! Which of a table's candidates decide: one way, or several alternatives, and how sure that is.

use super::ways::Candidate;
use super::{Considered, Inferred};
use crate::model::{Check, Rule, Table, Way};

/// Candidates whose weights differ by less could each be meant.
const RIVAL_WINDOW: i32 = 10;
/// Among ways that a row may lack, those that are far lighter than the best are mentions.
const ALTERNATIVE_WINDOW: i32 = 20;

/// Ways that a person has declared.
const SURE: f64 = 1.0;
/// A check says that exactly one of the ways is set.
const CHECKED: f64 = 0.97;
/// Others would do as well, but this one is the shortest.
const SHORTEST: f64 = 0.75;
/// Rows may lack the way, and have no owner then.
const NULLABLE: f64 = 0.7;
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
    let choice = if best.declared {
        together(order.iter().copied().filter(|other| other.declared).collect(), SURE, "")
    } else if best.group.is_some() {
        let group = order.iter().copied().filter(|other| other.group == best.group);
        together(group.collect(), best.confidence, "")
    } else if best.required {
        required(best, &order, parents)
    } else {
        nullable(table, best, &order, parents)
    };
    let mut inferred = Inferred::decided(choice.rule(), choice.evidence, choice.confidence);
    inferred.ways = all.iter().map(|one| considered(one, &choice.ways, &order)).collect();
    Some(inferred)
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
    let columns = |others: &[&Candidate]| {
        others.iter().map(|other| other.columns().join(", ")).collect::<Vec<_>>().join("; ")
    };
    if !rivals.is_empty() {
        let note = format!("; it could also be by {}", columns(&rivals));
        return together(vec![best], SHORTEST, &note);
    }
    let others: Vec<&Candidate> = order.iter().copied().filter(|other| !is_best(other)).collect();
    if others.is_empty() {
        return together(vec![best], SURE, "");
    }
    let note = format!("; also references tenants' rows by {}", columns(&others));
    together(vec![best], 0.95, &note)
}

/// A row may lack the best way: the owner is whichever is set.
fn nullable<'a>(
    table: &Table,
    best: &'a Candidate,
    order: &[&'a Candidate],
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
        let ways: Vec<&Candidate> = optional.iter().filter(named).copied().collect();
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
    let tree = table.foreign_keys.iter().find(|key| key.parent == table.name);
    match (&best.way, ways.len(), tree) {
        (Way::Direct(_), 1, Some(tree)) => {
            let columns = tree.columns.join(", ");
            let note = format!("; rows that have only {columns} instead are taken for shared ones");
            together(ways, NULLABLE, &note)
        }
        (Way::Direct(_), 1, None) if best.plainly_named => {
            together(ways, 0.95, "; where it is NULL the row is shared")
        }
        // Who gave, made or last used a row that is everybody's.
        (Way::Direct(_), 1, None) => together(
            ways,
            NULLABLE,
            "; where it is NULL the row is shared, and it is not named like an owner",
        ),
        (Way::Derived(_), 1, _) => {
            together(ways, NULLABLE, "; its columns may be NULL, and such rows have no owner")
        }
        _ => together(ways, ALTERNATIVES, "; the owner is whichever is set, and no check says that one is"),
    }
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

fn considered(one: &Candidate, taken: &[&Candidate], usable: &[&Candidate]) -> Considered {
    let is_in = |list: &[&Candidate]| list.iter().any(|other| std::ptr::eq(*other, one));
    let taken = is_in(taken);
    let reason = match &one.barred {
        _ if taken => String::new(),
        Some(barred) => format!("; not taken: {barred}"),
        None if !is_in(usable) => "; not taken: it leads to no tenant, or back to this table".into(),
        None if one.weak => "; not taken: it only says who touched the row".into(),
        None => "; not taken: another way is better".into(),
    };
    Considered {
        way: one.shown(),
        taken,
        why: format!("{}{reason}", one.text),
        rows: one.hits.map(|hits| hits.rows),
        hit_rate: one.hits.and_then(|hits| hits.rate()),
    }
}

/// The candidates of a table for which nothing was chosen.
pub fn all_considered(all: &[Candidate]) -> Vec<Considered> {
    all.iter().map(|one| considered(one, &[], &[])).collect()
}
