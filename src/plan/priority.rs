//! Who and what comes first: tenants by a column of the root table, shards by the configuration. Pure.
//!
//! Tables have no order of their own: a tenant's rows of a shard appear in one commit, so that none of them is there
//! sooner. What shall be there sooner is another shard.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::{ShardName, TenantId};

/// `[priority]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Priority {
    /// The column of the root table that tells which tenants come first.
    pub column: Option<String>,
    /// Its values, the first ones first; other values come after them. Without it, the column holds numbers, and larger
    /// ones come first.
    pub order: Vec<String>,
    /// The shards of a tenant that come first, in this order; the catalogue has its own place.
    pub shards: Vec<ShardName>,
}

/// A tenant's place: smaller ones come first.
pub(super) type Place = (usize, Reverse<Number>);

/// A number of the column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number(f64);

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Priority {
    /// Refuses what names things that are not there, or twice; `shards` are those of the configuration, `root` the one
    /// with the root table.
    pub fn check<'a>(
        &self,
        mut shards: impl Iterator<Item = &'a ShardName>,
        root: &ShardName,
    ) -> Result<(), String> {
        if self.column.is_none() && !self.order.is_empty() {
            return Err("'order' needs the 'column' whose values it names".into());
        }
        let known: BTreeSet<&ShardName> = shards.by_ref().collect();
        if let Some(shard) = self.shards.iter().find(|shard| !known.contains(shard)) {
            return Err(format!("'shards' names '{shard}', which is none"));
        }
        if self.shards.contains(root) {
            return Err(format!("'shards' names '{root}', which lists the tenants and has its own place"));
        }
        let values: BTreeSet<&String> = self.order.iter().collect();
        let distinct: BTreeSet<&ShardName> = self.shards.iter().collect();
        if values.len() < self.order.len() || distinct.len() < self.shards.len() {
            return Err("something is named twice".into());
        }
        Ok(())
    }

    /// The place of a shard among a tenant's.
    pub(super) fn shard(&self, name: &ShardName) -> usize {
        self.shards.iter().position(|shard| shard == name).unwrap_or(self.shards.len())
    }

    /// The places of the tenants, from what the column says of them.
    pub(super) fn tenants(
        &self,
        values: &BTreeMap<TenantId, Option<String>>,
    ) -> Result<BTreeMap<TenantId, Place>> {
        let place = |(id, value): (&TenantId, &Option<String>)| {
            let place = match value {
                _ if self.column.is_none() => (0, Reverse(Number(0.0))),
                None => (usize::MAX, Reverse(Number(0.0))),
                Some(value) if self.order.is_empty() => (0, Reverse(self.number(id, value)?)),
                Some(value) => {
                    let named = self.order.iter().position(|named| named == value);
                    (named.unwrap_or(self.order.len()), Reverse(Number(0.0)))
                }
            };
            Ok((id.clone(), place))
        };
        values.iter().map(place).collect()
    }

    fn number(&self, tenant: &TenantId, value: &str) -> Result<Number> {
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
        number.map(Number).ok_or_else(|| {
            let column = self.column.as_deref().unwrap_or_default();
            Error::usage(format!(
                "unable to order the tenants by column '{column}': it says '{}' of tenant '{tenant}', which is no number",
                value.escape_debug()
            ))
            .hint("priority.order names the values of a column without numbers, the first ones first")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(priority: &Priority, values: &[(&str, Option<&str>)]) -> Vec<String> {
        let values: BTreeMap<TenantId, Option<String>> =
            values.iter().map(|(id, value)| (TenantId::new(*id), value.map(str::to_owned))).collect();
        let mut places: Vec<_> = priority.tenants(&values).expect("places").into_iter().collect();
        places.sort_by_key(|(_, place)| *place);
        places.into_iter().map(|(id, _)| id.to_string()).collect()
    }

    #[test]
    fn a_column_orders_by_named_values_or_by_numbers() {
        let column = Some("tier".to_owned());
        let named = Priority {
            column: column.clone(),
            order: vec!["gold".into(), "tin".into()],
            ..Default::default()
        };
        let tiers = [("1", None), ("2", Some("tin")), ("3", Some("lead")), ("4", Some("gold"))];
        assert_eq!(ranked(&named, &tiers), ["4", "2", "3", "1"]);
        let numbers = Priority { column, ..Default::default() };
        let seats = [("1", None), ("2", Some("9")), ("3", Some("10")), ("4", Some("-0.5"))];
        assert_eq!(ranked(&numbers, &seats), ["3", "2", "4", "1"]);
        let wrong = BTreeMap::from([(TenantId::new("7"), Some("gold".to_owned()))]);
        assert_eq!(
            numbers.tenants(&wrong).expect_err("refused").chain(),
            "unable to order the tenants by column 'tier': it says 'gold' of tenant '7', which is no number"
        );
    }

    #[test]
    fn what_is_not_there_or_named_twice_is_refused() {
        let [catalogue, pager] = ["catalogue", "pager"].map(ShardName::new);
        let check = |priority: Priority| priority.check([&catalogue, &pager].into_iter(), &catalogue);
        let shards = |names: &[&str]| Priority {
            shards: names.iter().map(|name| ShardName::new(*name)).collect(),
            ..Default::default()
        };
        assert_eq!(check(shards(&["pager"])), Ok(()));
        let mut order = ["issues", "notes", "pager"].map(ShardName::new);
        order.sort_by_key(|name| shards(&["pager", "notes"]).shard(name));
        assert_eq!(order.map(|name| name.to_string()), ["pager", "notes", "issues"]);
        assert_eq!(check(shards(&["pagre"])), Err("'shards' names 'pagre', which is none".into()));
        assert_eq!(check(shards(&["pager", "pager"])), Err("something is named twice".into()));
        let root = "'shards' names 'catalogue', which lists the tenants and has its own place";
        assert_eq!(check(shards(&["catalogue"])), Err(root.into()));
        let order = Priority { order: vec!["gold".into()], ..Default::default() };
        assert_eq!(check(order), Err("'order' needs the 'column' whose values it names".into()));
    }
}
