//! Whose row is it? By looking at every pair of rows, again and again until nothing changes; and, from that, which
//! rows go when tenants are deleted. Nothing of the engine is used here.

use std::collections::BTreeSet;

use super::world::{Rule, Table, Way, named_by};

/// The tenants that each row of each table leads to.
pub type Owners = Vec<Vec<BTreeSet<String>>>;

/// Follows every way of every row.
pub fn owners(tables: &[Table]) -> Owners {
    let mut owners: Owners = tables.iter().map(|table| vec![BTreeSet::new(); table.rows.len()]).collect();
    loop {
        let before = owners.clone();
        for (t, table) in tables.iter().enumerate() {
            match &table.rule {
                Rule::Root => each_row(table, &mut owners[t], |row| row[table.primary_key[0]].clone()),
                Rule::Ways(ways) => ways.iter().for_each(|way| follow(tables, t, *way, &mut owners)),
                Rule::Referenced(by) => by.iter().for_each(|(child, link)| {
                    let link = &tables[*child].links[*link];
                    for (r, row) in tables[*child].rows.iter().enumerate() {
                        for named in named_by(tables, link, row) {
                            let tenants = owners[*child][r].clone();
                            owners[t][named].extend(tenants);
                        }
                    }
                }),
                Rule::Shared | Rule::Excluded => {}
            }
        }
        if owners == before {
            return owners;
        }
    }
}

fn each_row(
    table: &Table,
    owners: &mut [BTreeSet<String>],
    tenant: impl Fn(&Vec<Option<String>>) -> Option<String>,
) {
    for (row, owners) in table.rows.iter().zip(owners) {
        owners.extend(tenant(row));
    }
}

fn follow(tables: &[Table], t: usize, way: Way, owners: &mut Owners) {
    match way {
        Way::Direct(column) => each_row(&tables[t], &mut owners[t], |row| row[column].clone()),
        Way::Link(link) => {
            let link = &tables[t].links[link];
            for (r, row) in tables[t].rows.iter().enumerate() {
                for parent in named_by(tables, link, row) {
                    let tenants = owners[link.parent][parent].clone();
                    owners[t][r].extend(tenants);
                }
            }
        }
    }
}

/// Whether rows of a table belong to all that they lead to: those that are owned by whoever points at them, and what
/// hangs from these. All other rows belong to one tenant or to none.
pub fn is_common(tables: &[Table], t: usize) -> bool {
    match &tables[t].rule {
        Rule::Referenced(_) => true,
        Rule::Ways(ways) => ways.iter().any(|way| match way {
            Way::Direct(_) => false,
            Way::Link(link) => !tables[t].is_up(*link) && is_common(tables, tables[t].links[*link].parent),
        }),
        _ => false,
    }
}

/// Which rows go with these tenants: those of one of them alone, and those that nobody else has a part in.
pub fn deleted(tables: &[Table], owners: &Owners, victims: &BTreeSet<String>) -> Vec<Vec<bool>> {
    let goes = |t: usize, tenants: &BTreeSet<String>| {
        let all = !tenants.is_empty() && tenants.is_subset(victims);
        all && (is_common(tables, t) || tenants.len() == 1)
    };
    owners.iter().enumerate().map(|(t, rows)| rows.iter().map(|row| goes(t, row)).collect()).collect()
}
