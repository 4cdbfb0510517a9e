//! In which order a tenant's tables are read: parents first, so that the keys that rows point at are known by then.
//! Where rows point at their own table or in a circle, the keys are read beforehand. Pure.

use crate::model::{OwnedTable, Table, TableName};

/// Positions among the tables that tenants own rows of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// All of them, each after those that it references, unless these reference it in turn.
    pub tables: Vec<usize>,
    /// Those that are referenced by rows that do not come later.
    pub early: Vec<usize>,
}

impl Order {
    /// For these of the live `tables`.
    pub fn new(tables: &[Table], involved: &[OwnedTable]) -> Self {
        let place = |name: &TableName| involved.iter().position(|owned| owned.table.name == *name);
        let parents = |at: usize| -> Vec<usize> {
            let live = tables.iter().find(|table| table.name == involved[at].table.name);
            live.into_iter().flat_map(Table::all_foreign_keys).filter_map(|key| place(&key.parent)).collect()
        };
        let parents: Vec<Vec<usize>> = (0..involved.len()).map(parents).collect();
        let (mut order, mut met) = (Self::default(), vec![false; involved.len()]);
        for first in 0..involved.len() {
            // A table is left when all its parents are.
            let mut open = vec![(first, 0)];
            while let Some((at, next)) = open.pop() {
                if next == 0 && std::mem::replace(&mut met[at], true) {
                    continue;
                }
                match parents[at].get(next) {
                    Some(parent) => open.extend([(at, next + 1), (*parent, 0)]),
                    None => order.tables.push(at),
                }
            }
        }
        let is_early = |parent: &usize| {
            let before = order.tables.iter().take_while(|at| *at != parent).chain([parent]);
            before.into_iter().any(|child| parents[*child].contains(parent))
        };
        order.early = (0..involved.len()).filter(is_early).collect();
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Belongs, ForeignKey, Owners};

    /// Tables by what they reference.
    fn order(tables: &[(&str, &[&str])]) -> (Vec<String>, Vec<String>) {
        let name = |table: &str| TableName::new("public", table);
        let key = |parent: &&str| ForeignKey {
            name: format!("to {parent}"),
            columns: vec![],
            parent: name(parent),
            parent_columns: vec![],
            deferrable: false,
            validated: true,
            match_full: false,
            follows: false,
            operators: vec![],
        };
        let table = |(table, parents): &(&str, &[&str])| Table {
            foreign_keys: parents.iter().map(key).collect(),
            ..Table::new(name(table))
        };
        let tables: Vec<Table> = tables.iter().map(table).collect();
        let owners = Owners { ways: vec![], belongs: Belongs::ToOne };
        let owned = |table: &Table| OwnedTable { table: table.clone(), owners: owners.clone() };
        let involved: Vec<OwnedTable> =
            tables.iter().filter(|table| table.name.table != "x").map(owned).collect();
        let order = Order::new(&tables, &involved);
        let names =
            |places: &[usize]| places.iter().map(|at| involved[*at].table.name.table.clone()).collect();
        (names(&order.tables), names(&order.early))
    }

    #[test]
    fn parents_come_first_and_circles_early() {
        let (tables, early) = order(&[("a", &["c", "x"]), ("b", &["a", "b"]), ("c", &[])]);
        assert_eq!((tables.join(" "), early.join(" ")), ("c a b".into(), "b".into()));
        let (tables, early) = order(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("d", &["a"])]);
        assert_eq!((tables.join(" "), early.join(" ")), ("c b a d".into(), "a".into()));
        assert_eq!(order(&[]), (vec![], vec![]));
    }
}
