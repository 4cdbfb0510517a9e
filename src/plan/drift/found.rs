//! What the tenants' rows say about a change that does not hold for every value.

use std::collections::BTreeMap;

use super::{Doubt, Drift};
use crate::limits::DIFFERENCES_NAMED_MAX;
use crate::model::adapt::Unfit;
use crate::plan::conflict::{Finding, Reason};

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
    fn into_finding(self, what: String) -> Finding {
        Finding { reason: Reason::Unfit { what }, rows: self.values, named: self.first }
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
    /// The rows of one tenant that do not fit; what is found of the next one begins anew.
    pub fn take_unfit(&self, found: &mut Found) -> Vec<Finding> {
        let what_of = |at: usize| {
            let doubted = self.doubts.iter().find_map(|doubt| match doubt {
                Doubt::Values { column, what, .. } if *column == at => Some(what.clone()),
                _ => None,
            });
            let name = || self.columns.get(at).map(|column| column.name.as_str()).unwrap_or_default();
            doubted.unwrap_or_else(|| format!("column '{}'", name()))
        };
        let values = std::mem::take(&mut found.misfits).into_iter();
        let values = values.map(|(at, misfits)| misfits.into_finding(what_of(at)));
        let failed = std::mem::take(&mut found.failed).into_iter().filter_map(|(position, misfits)| {
            Some(misfits.into_finding(self.conditions.get(position)?.refused.clone()))
        });
        values.chain(failed).collect()
    }

    /// Says how the differences are decided, for tenants all of whose rows fit.
    pub fn judge(&self, found: &Found, allow_dropped: bool) -> Judged {
        let mut judged =
            Judged { covered: self.covered.clone(), refused: self.refused.clone(), lacks_allowance: false };
        if !self.refused.is_empty() {
            return judged;
        }
        judged.covered.extend(self.conditions.iter().filter_map(|condition| condition.covered.clone()));
        for doubt in &self.doubts {
            match doubt {
                Doubt::Values { what, is_change: true, .. } => {
                    judged.covered.push(format!("{what}: every value of the tenants fits"));
                }
                Doubt::Values { .. } => {}
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
