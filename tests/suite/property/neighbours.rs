//! What the neighbours do while the victims are gone: change, delete and add rows of their own.

use std::collections::BTreeSet;

use super::owners::{deleted, owners};
use super::rows::Filler;
use super::sql;
use super::world::{Fill, Row, Rule, Table, named_by};

/// Changes the world as the neighbours do; returns the statements that do the same to the database.
pub fn write(filler: &mut Filler, gone: &mut [Vec<bool>], victims: &BTreeSet<String>) -> Vec<String> {
    let mut statements = Vec::new();
    for _ in 0..filler.rng.u8(2..7) {
        let t = filler.rng.usize(1..filler.tables.len());
        statements.push(match filler.rng.u8(0..3) {
            0 => change(filler, gone, victims, t),
            1 => remove(filler, gone, victims, t),
            _ => add(filler, gone, victims, t),
        });
    }
    statements
}

/// A live row that no victim owns. With `disputed`, also one that a victim has a part in beside others.
fn pick(
    filler: &mut Filler,
    gone: &[Vec<bool>],
    victims: &BTreeSet<String>,
    t: usize,
    disputed: bool,
) -> Option<usize> {
    let owners = owners(&filler.tables);
    let is_theirs = |owners: &BTreeSet<String>| disputed && owners.len() > 1 || owners.is_disjoint(victims);
    let rows: Vec<usize> = (0..gone[t].len()).filter(|r| !gone[t][*r] && is_theirs(&owners[t][*r])).collect();
    (!rows.is_empty()).then(|| rows[filler.rng.usize(0..rows.len())])
}

fn change(filler: &mut Filler, gone: &[Vec<bool>], victims: &BTreeSet<String>, t: usize) -> String {
    let Some(r) = pick(filler, gone, victims, t, true) else { return String::new() };
    let table = &mut filler.tables[t];
    let payload = table.columns.iter().position(|column| column.fill == Fill::Payload);
    let Some(column) = payload.filter(|_| !table.primary_key.is_empty()) else { return String::new() };
    table.rows[r][column] = Some("changed by its owner".to_owned());
    let condition = sql::is_row(table, &table.rows[r]);
    let column = sql::quoted(&table.columns[column].name);
    format!("UPDATE {} SET {column} = 'changed by its owner' WHERE {condition};\n", sql::full_name(table))
}

/// Deletes a row that nobody names, and that says of no other row whose it is.
fn remove(filler: &mut Filler, gone: &mut [Vec<bool>], victims: &BTreeSet<String>, t: usize) -> String {
    let Some(r) = pick(filler, gone, victims, t, false) else { return String::new() };
    let table = &filler.tables[t];
    let named = filler.tables.iter().any(|child| {
        let links = child.links.iter().filter(|link| link.parent == t);
        links.into_iter().any(|link| {
            // Whatever the row is of: a reference is one in the eyes of the database alone, too.
            let mut link = link.clone();
            link.when = None;
            child.rows.iter().any(|row| named_by(&filler.tables, &link, row).contains(&r))
        })
    });
    let refers = filler.tables.iter().any(|table| match &table.rule {
        Rule::Referenced(by) => by.iter().any(|(child, _)| *child == t),
        _ => false,
    });
    if named || refers || table.primary_key.is_empty() {
        return String::new();
    }
    let statement = sql::delete(table, &[&table.rows[r]]);
    filler.forget(t, r);
    gone[t].remove(r);
    statement
}

/// Adds a row of a neighbour; one that would give a row of somebody else another owner is not made.
fn add(filler: &mut Filler, gone: &mut [Vec<bool>], victims: &BTreeSet<String>, t: usize) -> String {
    let live: Vec<Vec<bool>> = gone.iter().map(|rows| rows.iter().map(|gone| !gone).collect()).collect();
    let survivors: Vec<usize> =
        (0..filler.tenants.len()).filter(|tenant| !victims.contains(&filler.tenants[*tenant])).collect();
    let tenant = (!survivors.is_empty()).then(|| survivors[filler.rng.usize(0..survivors.len())]);
    let Some(row) = filler.row(t, tenant, Some(&live)) else { return String::new() };
    let before = owners(&filler.tables);
    let haunted = ghosts(&filler.tables, gone, victims);
    filler.tables[t].rows.push(row.clone());
    gone[t].push(false);
    let mut after = owners(&filler.tables);
    let own = after[t].pop().expect("the new row's owners");
    let still = ghosts(&filler.tables, gone, victims);
    let fits = own.is_disjoint(victims) && before == after && still == haunted;
    if !fits {
        filler.tables[t].rows.pop();
        gone[t].pop();
        return String::new();
    }
    sql::insert(&filler.tables[t], &[&row])
}

/// How many live rows look like a victim's: disputed ones of which one side is gone.
fn ghosts(tables: &[Table], gone: &[Vec<bool>], victims: &BTreeSet<String>) -> usize {
    let left = without(tables, gone);
    let ghosts = deleted(&left, &owners(&left), victims);
    ghosts.iter().flatten().filter(|ghost| **ghost).count()
}

/// The tables without the rows that are marked.
pub fn without(tables: &[Table], marked: &[Vec<bool>]) -> Vec<Table> {
    let left = |table: &Table, marked: &[bool]| {
        let rows = table.rows.iter().zip(marked).filter(|(_, marked)| !**marked);
        let rows: Vec<Row> = rows.map(|(row, _)| row.clone()).collect();
        Table { rows, ..table.clone() }
    };
    tables.iter().zip(marked).map(|(table, marked)| left(table, marked)).collect()
}
