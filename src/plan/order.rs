//! The order in which tables are written: parents before children.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Table, TableName};

/// Tables whose foreign keys form a cycle that the database cannot check at commit.
#[derive(Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<TableName>);

/// A table whose rows are found by the rows of another, by a foreign key or without one.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The table.
    pub child: &'a TableName,
    /// The other.
    pub parent: &'a TableName,
    /// Whether the parent's rows decide which of the child's are written.
    pub must: bool,
}

/// Orders `tables` so that each comes after the tables it references. A key to the table itself needs no order:
/// keys are checked at the end of a statement. Deferrable keys are checked at commit; they give way in a cycle.
/// Links are ownership without a constraint.
pub fn parents_first(tables: &[&Table], links: &[Link<'_>]) -> Result<Vec<TableName>, Cycle> {
    let names: BTreeSet<&TableName> = tables.iter().map(|table| &table.name).collect();
    // Parents of each table: (must come first, would better come first).
    let mut waiting: BTreeMap<&TableName, (BTreeSet<&TableName>, BTreeSet<&TableName>)> = BTreeMap::new();
    for table in tables {
        let (hard, soft) = waiting.entry(&table.name).or_default();
        let keys = table.foreign_keys.iter().chain(table.partition_keys.iter().map(|part| &part.key));
        for key in keys.filter(|key| key.parent != table.name && names.contains(&key.parent)) {
            if key.deferrable {
                soft.insert(&key.parent);
            } else {
                hard.insert(&key.parent);
            }
        }
    }
    for link in links.iter().filter(|link| link.parent != link.child && names.contains(link.parent)) {
        if let Some((hard, soft)) = waiting.get_mut(link.child) {
            if link.must {
                hard.insert(link.parent)
            } else {
                soft.insert(link.parent)
            };
        }
    }
    let mut order = Vec::with_capacity(tables.len());
    while !waiting.is_empty() {
        let ready = |hard: &BTreeSet<_>, soft: &BTreeSet<_>| hard.is_empty() && soft.is_empty();
        let next = waiting
            .iter()
            .find(|(_, (hard, soft))| ready(hard, soft))
            .or_else(|| waiting.iter().find(|(_, (hard, _))| hard.is_empty()))
            .map(|(name, _)| *name);
        let Some(next) = next else {
            return Err(Cycle(cycle_members(&waiting)));
        };
        waiting.remove(next);
        for (hard, soft) in waiting.values_mut() {
            hard.remove(next);
            soft.remove(next);
        }
        order.push(next.clone());
    }
    Ok(order)
}

/// The tables that wait for each other, without those that merely wait for them.
fn cycle_members(
    waiting: &BTreeMap<&TableName, (BTreeSet<&TableName>, BTreeSet<&TableName>)>,
) -> Vec<TableName> {
    let mut members: BTreeSet<&TableName> = waiting.keys().copied().collect();
    loop {
        let needed: BTreeSet<&TableName> = members
            .iter()
            .filter_map(|name| waiting.get(name))
            .flat_map(|(hard, _)| hard.iter().copied())
            .filter(|parent| members.contains(parent))
            .collect();
        if needed == members {
            return members.into_iter().cloned().collect();
        }
        members = needed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ForeignKey;

    fn table(name: &str, parents: &[(&str, bool)]) -> Table {
        Table {
            foreign_keys: parents
                .iter()
                .map(|(parent, deferrable)| ForeignKey {
                    name: format!("{name}_{parent}"),
                    columns: vec![],
                    parent: TableName::new("s", *parent),
                    parent_columns: vec![],
                    deferrable: *deferrable,
                    validated: true,
                    match_full: false,
                    operators: vec![],
                })
                .collect(),
            ..Table::new(TableName::new("s", name))
        }
    }

    fn order(tables: &[Table]) -> Result<Vec<String>, Cycle> {
        let all: Vec<&Table> = tables.iter().collect();
        parents_first(&all, &[]).map(|names| names.into_iter().map(|name| name.table).collect())
    }

    #[test]
    fn parents_come_first() {
        let tables = [
            table("a_comment", &[("issue", false), ("a_comment", false), ("elsewhere", false)]),
            table("issue", &[("project", false)]),
            table("project", &[]),
        ];
        assert_eq!(order(&tables), Ok(vec!["project".into(), "issue".into(), "a_comment".into()]));
    }

    #[test]
    fn ownership_without_a_key_orders_too() {
        let tables =
            [table("session", &[]), table("user", &[("team", true)]), table("team", &[("user", true)])];
        let all: Vec<&Table> = tables.iter().collect();
        let link = Link { child: &tables[0].name, parent: &tables[1].name, must: true };
        let order = parents_first(&all, &[link]).expect("order");
        let place = |name: &str| order.iter().position(|table| table.table == name).expect("place");
        assert!(place("user") < place("session"));
    }

    #[test]
    fn a_deferrable_key_breaks_a_cycle_and_a_rigid_cycle_is_named() {
        let tables = [table("a", &[("b", true)]), table("b", &[("a", false)])];
        assert_eq!(order(&tables), Ok(vec!["a".into(), "b".into()]));
        let tables = [table("a", &[("b", false)]), table("b", &[("a", false)]), table("c", &[("a", false)])];
        assert_eq!(order(&tables), Err(Cycle(vec![TableName::new("s", "a"), TableName::new("s", "b")])));
    }
}
