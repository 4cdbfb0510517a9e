//! What the tenants' rows say about a change that does not hold for every value.

use std::collections::BTreeMap;

use super::{Doubt, Drift};
use crate::limits::DIFFERENCES_NAMED_MAX;
use crate::model::adapt::Unfit;

/// What was found in the rows of the plan's tenants in one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Values that do not fit, by the column's position in the adaptation.
    misfits: BTreeMap<usize, Misfits>,
    /// Values that are not NULL in columns that are not written, by column.
    dropped: BTreeMap<String, u64>,
    /// Rows that do not meet a condition, by its position.
    failed: BTreeMap<usize, Misfits>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Misfits {
    values: u64,
    /// The first rows and why, a few at the most.
    first: Vec<String>,
}

impl Misfits {
    fn refused(&self, what: &str) -> String {
        let first = self.first.join(", ");
        format!("{what}: {} values of the tenants do not fit: {first}", self.values)
    }

    fn add(&mut self, row: impl FnOnce() -> String) {
        self.values += 1;
        if self.first.len() < DIFFERENCES_NAMED_MAX {
            self.first.push(row());
        }
    }
}

impl Found {
    /// Adds a value that does not fit; `row` names the row where the first few of them are named.
    pub fn add_misfit(&mut self, column: usize, why: Unfit, row: impl FnOnce() -> String) {
        self.misfits.entry(column).or_default().add(|| format!("that of {} {why}", row()));
    }

    /// Adds a row that does not meet a condition.
    pub fn add_failed(&mut self, condition: usize, row: impl FnOnce() -> String) {
        self.failed.entry(condition).or_default().add(row);
    }

    /// Adds values of a column that is not written.
    pub fn add_dropped(&mut self, column: &str, values: u64) {
        *self.dropped.entry(column.to_owned()).or_default() += values;
    }
}

/// Hint of a refusal that more than a better schema can lift.
pub const HINT_DROPPED: &str =
    "--allow-dropped restores without the values of dropped columns, which `apply` keeps in Parquet files";

/// Hint for differences that a person knows more about than the schema says.
pub const HINT_DECLARE: &str =
    "renamed columns and values of new ones can be declared in [shards.NAME.drift] of the configuration";

/// How the rows decide the differences that depend on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// All differences that a rule covers.
    pub covered: Vec<String>,
    /// All differences that stop the plan.
    pub refused: Vec<String>,
    /// Whether one of those is lifted by allowing dropped columns.
    pub lacks_allowance: bool,
}

impl Drift {
    /// Decides by the rows what the schema alone could not.
    pub fn judge(&self, found: &Found, allow_dropped: bool) -> Judged {
        let mut judged =
            Judged { covered: self.covered.clone(), refused: self.refused.clone(), lacks_allowance: false };
        if !self.refused.is_empty() {
            return judged;
        }
        let is_doubted = |at: usize| {
            self.doubts.iter().any(|doubt| matches!(doubt, Doubt::Values { column, .. } if *column == at))
        };
        for (at, misfits) in found.misfits.iter().filter(|(at, _)| !is_doubted(**at)) {
            let name = self.columns.get(*at).map(|column| column.name.as_str()).unwrap_or_default();
            judged.refused.push(misfits.refused(&format!("column '{name}'")));
        }
        for (position, condition) in self.conditions.iter().enumerate() {
            match found.failed.get(&position) {
                None => judged.covered.extend(condition.covered.clone()),
                Some(Misfits { values, first }) => {
                    let (what, first) = (&condition.refused, first.join(", "));
                    judged.refused.push(format!("{what} for {values} rows of the tenants: {first}"));
                }
            }
        }
        for doubt in &self.doubts {
            match doubt {
                Doubt::Values { column, what, is_change } => match found.misfits.get(column) {
                    None if !is_change => {}
                    None => judged.covered.push(format!("{what}: every value of the tenants fits")),
                    Some(misfits) => judged.refused.push(misfits.refused(what)),
                },
                Doubt::Dropped { column, what } => {
                    match found.dropped.get(column).copied().unwrap_or_default() {
                        0 => judged.covered.push(format!("{what}; it was NULL in all rows of the tenants")),
                        values if allow_dropped => {
                            judged
                                .covered
                                .push(format!("{what}; {values} values of the tenants go to Parquet files"));
                        }
                        values => {
                            judged
                                .refused
                                .push(format!("{what}, but {values} rows of the tenants have a value"));
                            judged.lacks_allowance = true;
                        }
                    }
                }
            }
        }
        judged
    }
}
