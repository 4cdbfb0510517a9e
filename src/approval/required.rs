//! How many approvals a plan needs.

use serde::Deserialize;

/// From how many tenants on how many approvals are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Required(Vec<Step>);

/// So many approvals from so many tenants on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Tenants, at the least.
    pub from: usize,
    /// Approvals.
    pub count: usize,
}

impl Required {
    /// The steps as they stand in the configuration.
    pub fn new(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    /// Approvals that a plan of so many tenants needs.
    pub fn count(&self, tenants: usize) -> usize {
        self.0.iter().filter(|step| step.from <= tenants).map(|step| step.count).max().unwrap_or_default()
    }

    /// Refuses a table that nobody can mean or meet, where `people` can approve.
    pub(super) fn check(&self, people: usize) -> Result<(), String> {
        if self.0.is_empty() {
            return Err("'required' is empty".into());
        }
        if self.0.iter().any(|step| step.from == 0 || step.count == 0) {
            return Err("'from' and 'count' are at least 1".into());
        }
        if let Some(pair) = self.0.windows(2).find(|pair| !pair[0].rises_to(pair[1])) {
            return Err(format!(
                "'from' and 'count' must both rise, but {} from {} tenants on come after {} from {} on",
                pair[1].count, pair[1].from, pair[0].count, pair[0].from
            ));
        }
        match self.0.iter().find(|step| step.count > people) {
            Some(step) => Err(format!(
                "{} approvals are needed from {} tenants on, but the keys of {people} allowed signers can give one",
                step.count, step.from
            )),
            None => Ok(()),
        }
    }
}

impl Step {
    fn rises_to(self, next: Self) -> bool {
        self.from < next.from && self.count < next.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(steps: &[(usize, usize)]) -> Required {
        Required::new(steps.iter().map(|(from, count)| Step { from: *from, count: *count }).collect())
    }

    #[test]
    fn more_tenants_need_more_approvals() {
        let table = table(&[(11, 1), (100, 2)]);
        assert_eq!([1, 10, 11, 99, 100, 883].map(|tenants| table.count(tenants)), [0, 0, 1, 1, 2, 2]);
        assert_eq!(table.check(2), Ok(()));
    }

    #[test]
    fn impossible_tables_are_refused() {
        let of = |steps: &[(usize, usize)]| table(steps).check(2).expect_err("refused");
        assert_eq!(of(&[]), "'required' is empty");
        assert_eq!(of(&[(0, 1)]), "'from' and 'count' are at least 1");
        assert_eq!(of(&[(1, 0)]), "'from' and 'count' are at least 1");
        for steps in [[(11, 2), (100, 1)], [(100, 1), (11, 2)], [(11, 1), (11, 2)], [(1, 1), (2, 1)]] {
            assert!(of(&steps).starts_with("'from' and 'count' must both rise, but "), "{steps:?}");
        }
        assert_eq!(
            of(&[(1, 1), (5, 3)]),
            "3 approvals are needed from 5 tenants on, but the keys of 2 allowed signers can give one"
        );
    }
}
