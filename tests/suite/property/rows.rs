//! Random rows: mostly true to one tenant, some shared, some that lead to two tenants, to nobody or nowhere.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::neighbours::without;
use super::owners::{Owners, deleted, is_common, owners as owners_of};
use super::world::{Enforced, Fill, Kind, Link, Row, Table, Value, named_by};

const TEXTS: [&str; 6] = ["", "plain", "it's \\ \"quoted\"", "naïve 📦", "{a,b}", "line\nbreak\ttab"];

/// Makes rows for the tables of a world.
pub struct Filler<'a> {
    pub rng: &'a mut Rng,
    pub tables: Vec<Table>,
    pub tenants: Vec<String>,
    /// Whom each row was made for; a wish, not the truth.
    made_for: Vec<Vec<Option<usize>>>,
    serials: Vec<u64>,
}

impl<'a> Filler<'a> {
    pub fn new(rng: &'a mut Rng, tables: Vec<Table>) -> Self {
        let kind = tables[0].columns[0].kind;
        let count = rng.u64(3..=6);
        let tenants = (1..=count).map(|number| text_of(kind, number)).collect();
        let made_for = vec![Vec::new(); tables.len()];
        let serials = vec![0; tables.len()];
        Self { rng, tables, tenants, made_for, serials }
    }

    /// Rows of all tables; then the links back.
    pub fn fill(&mut self) {
        for t in 0..self.tables.len() {
            if t == 0 {
                for tenant in 0..self.tenants.len() {
                    self.push(0, Some(tenant));
                }
                continue;
            }
            for _ in 0..self.rng.u8(0..25) {
                let tenant = self.rng.usize(0..self.tenants.len());
                let tenant = (self.rng.u8(0..10) > 0).then_some(tenant);
                self.push(t, tenant);
            }
        }
        for t in 0..self.tables.len() {
            for r in 0..self.tables[t].rows.len() {
                self.link_back(t, r);
            }
        }
    }

    fn push(&mut self, t: usize, tenant: Option<usize>) {
        let Some(row) = self.row(t, tenant, None) else { return };
        // Without a key, equal rows are as good as others.
        let keyless = self.tables[t].keys().is_empty();
        let times = if keyless && self.rng.u8(0..3) == 0 { 2 } else { 1 };
        for _ in 0..times {
            self.tables[t].rows.push(row.clone());
            self.made_for[t].push(tenant);
        }
    }

    /// A row that breaks no key; `None` where the dice want the impossible. `live`: the rows that links may name.
    pub fn row(&mut self, t: usize, tenant: Option<usize>, live: Option<&[Vec<bool>]>) -> Option<Row> {
        let columns = self.tables[t].columns.clone();
        let mut row: Row = vec![None; columns.len()];
        let mut set = vec![false; columns.len()];
        let chosen = self.alternative(t);
        for (c, column) in columns.iter().enumerate() {
            let value = match column.fill {
                Fill::Tenant if chosen.is_some_and(|chosen| chosen != c) => None,
                Fill::Tenant if t == 0 => tenant.map(|tenant| self.tenants[tenant].clone()),
                Fill::Tenant => self.tenant(tenant, column.not_null)?,
                Fill::Discriminator => self.discriminator(t, column.not_null),
                Fill::Serial => Some(self.serial(t, column.kind)),
                Fill::Small => Some(self.rng.u8(1..=3).to_string()),
                Fill::Payload => {
                    (self.rng.u8(0..5) > 0).then(|| TEXTS[self.rng.usize(0..TEXTS.len())].to_owned())
                }
                Fill::Link | Fill::Twice(_) => continue,
            };
            set[c] = true;
            row[c] = value;
        }
        for number in 0..self.tables[t].links.len() {
            let link = self.tables[t].links[number].clone();
            let is_way = link.columns.iter().any(|column| self.tables[t].one_of.contains(column));
            let left_out = is_way && !link.columns.iter().any(|column| chosen == Some(*column));
            let forward = link.parent >= t;
            if !left_out && !forward && !self.point(&mut row, &mut set, &columns, &link, tenant, live) {
                return None;
            }
        }
        for (c, column) in columns.iter().enumerate() {
            match column.fill {
                Fill::Twice(of) => {
                    row[c] = row[of].as_ref().map(|n| (2 * n.parse::<i32>().expect("a number")).to_string());
                }
                _ if column.not_null && row[c].is_none() => return None,
                _ => {}
            }
        }
        let one = &self.tables[t].one_of;
        let kept = one.is_empty() || one.iter().filter(|column| row[**column].is_some()).count() == 1;
        (kept && self.is_new(t, &row)).then_some(row)
    }

    /// Takes a row out of a table.
    pub fn forget(&mut self, t: usize, r: usize) {
        self.tables[t].rows.remove(r);
        if r < self.made_for[t].len() {
            self.made_for[t].remove(r);
        }
    }

    /// The one of the alternatives that is set.
    fn alternative(&mut self, t: usize) -> Option<usize> {
        let one_of = &self.tables[t].one_of;
        (!one_of.is_empty()).then(|| one_of[self.rng.usize(0..one_of.len())])
    }

    /// The tenant's id, NULL for a shared row, now and then another tenant's; `None` where the row cannot be.
    fn tenant(&mut self, tenant: Option<usize>, not_null: bool) -> Option<Value> {
        match (tenant, self.rng.u8(0..20)) {
            (Some(_), 0) => Some(Some(self.tenants[self.rng.usize(0..self.tenants.len())].clone())),
            (Some(tenant), _) => Some(Some(self.tenants[tenant].clone())),
            (None, _) if not_null => None,
            (None, _) => Some(None),
        }
    }

    fn discriminator(&mut self, t: usize, not_null: bool) -> Value {
        let words: Vec<String> =
            self.tables[t].links.iter().filter_map(|link| Some(link.when.clone()?.1)).collect();
        match self.rng.u8(0..10) {
            0 => Some("Other".to_owned()),
            1 if !not_null => None,
            _ => Some(words[self.rng.usize(0..words.len())].clone()),
        }
    }

    /// Small numbers, the same in all tables: whoever takes an id for one of another table is found out.
    fn serial(&mut self, t: usize, kind: Kind) -> String {
        self.serials[t] += self.rng.u64(1..=2);
        text_of(kind, self.serials[t])
    }

    fn is_new(&self, t: usize, row: &Row) -> bool {
        let table = &self.tables[t];
        table.keys().iter().all(|key| {
            let complete = key.iter().all(|column| row[*column].is_some());
            let equal = |other: &Row| key.iter().all(|column| other[*column] == row[*column]);
            !complete || !table.rows.iter().any(equal)
        })
    }

    /// Lets the row name a row of the link's parent; false if it must and cannot.
    fn point(
        &mut self,
        row: &mut Row,
        set: &mut [bool],
        columns: &[super::world::Column],
        link: &Link,
        tenant: Option<usize>,
        live: Option<&[Vec<bool>]>,
    ) -> bool {
        if let Some((column, word)) = &link.when
            && row[*column].as_ref() != Some(word)
        {
            // Not of this kind: the id is some number all the same, perhaps one that exists there.
            let column = link.columns[0];
            if row[column].is_none() {
                row[column] = Some(text_of(columns[column].kind, self.rng.u64(1..=20)));
            }
            return true;
        }
        let free: Vec<usize> = link.columns.iter().copied().filter(|column| !set[*column]).collect();
        let may_be_null = !free.is_empty() && free.iter().all(|column| !columns[*column].not_null);
        if free.iter().any(|column| !columns[*column].not_null) && self.rng.u8(0..4) == 0 {
            return true;
        }
        if link.enforced == Enforced::No && !free.is_empty() && self.rng.u8(0..20) == 0 {
            // To nowhere.
            free.iter().for_each(|column| row[*column] = Some(nowhere(columns[*column].kind)));
            return true;
        }
        let candidates = self.candidates(row, set, link, tenant, live);
        if link.each {
            let ids: Vec<String> = (0..self.rng.usize(0..3).min(candidates.len()))
                .filter_map(|_| {
                    let parent = candidates[self.rng.usize(0..candidates.len())];
                    self.tables[link.parent].rows[parent][link.parent_columns[0]].clone()
                })
                .collect();
            row[link.columns[0]] = Some(format!("{{{}}}", ids.join(",")));
            return true;
        }
        if candidates.is_empty() {
            let incomplete = link.columns.iter().any(|column| set[*column] && row[*column].is_none());
            return may_be_null || incomplete || (free.is_empty() && link.enforced == Enforced::No);
        }
        let parent = candidates[self.rng.usize(0..candidates.len())];
        for (column, key) in link.columns.iter().zip(&link.parent_columns) {
            row[*column].clone_from(&self.tables[link.parent].rows[parent][*key]);
            set[*column] = true;
        }
        true
    }

    /// Rows of the parent that agree with what is set already; those made for the tenant, or for nobody, if there
    /// are any, save for a few ties between tenants.
    fn candidates(
        &mut self,
        row: &Row,
        set: &[bool],
        link: &Link,
        tenant: Option<usize>,
        live: Option<&[Vec<bool>]>,
    ) -> Vec<usize> {
        let agrees = |parent: &Row| {
            let mut pairs = link.columns.iter().zip(&link.parent_columns);
            pairs.all(|(column, key)| {
                parent[*key].is_some() && (!set[*column] || row[*column] == parent[*key])
            })
        };
        let parents = self.tables[link.parent].rows.iter().enumerate();
        let all: Vec<usize> = parents
            .filter(|(_, parent)| agrees(parent))
            .map(|(index, _)| index)
            .filter(|index| live.is_none_or(|live| live[link.parent][*index]))
            .collect();
        let made_for = &self.made_for[link.parent];
        let loyal: Vec<usize> = all
            .iter()
            .copied()
            .filter(|index| made_for.get(*index).is_none_or(|made| made.is_none() || *made == tenant))
            .collect();
        if loyal.is_empty() || self.rng.u8(0..12) == 0 { all } else { loyal }
    }

    /// Fills the links to the table itself and to later ones, which had no rows before.
    fn link_back(&mut self, t: usize, r: usize) {
        let links = self.tables[t].links.clone();
        for link in links.iter().filter(|link| link.parent >= t) {
            let columns = self.tables[t].columns.clone();
            let mut row = self.tables[t].rows[r].clone();
            let mut set: Vec<bool> = columns.iter().map(|column| column.fill != Fill::Link).collect();
            let tenant = self.made_for[t][r];
            if self.point(&mut row, &mut set, &columns, link, tenant, None) {
                self.tables[t].rows[r] = row;
            }
        }
    }

    /// Takes out the rows with which a restore cannot succeed, until there are none; and the victims whose own row was
    /// among them. Such rows are for tests that expect a refusal.
    pub fn remove_the_impossible(&mut self, victims: &mut BTreeSet<String>) {
        loop {
            let root: BTreeSet<Value> = self.tables[0].rows.iter().map(|row| row[0].clone()).collect();
            victims.retain(|victim| root.contains(&Some(victim.clone())));
            let owners = owners_of(&self.tables);
            let gone = deleted(&self.tables, &owners, victims);
            let bad = impossible(&self.tables, &owners, &gone, victims);
            if bad.iter().flatten().all(|bad| !bad) {
                return;
            }
            for (t, bad) in bad.iter().enumerate() {
                let mut keep = bad.iter().map(|bad| !bad);
                self.tables[t].rows.retain(|_| keep.next().expect("a verdict a row"));
                let mut keep = bad.iter().map(|bad| !bad);
                self.made_for[t].retain(|_| keep.next().expect("a verdict a row"));
            }
        }
    }
}

/// Rows that name, by a key that the database checks, a row that is not there or that comes back with a tenant which
/// waits for the row's own.
fn impossible(
    tables: &[Table],
    owners: &Owners,
    gone: &[Vec<bool>],
    victims: &BTreeSet<String>,
) -> Vec<Vec<bool>> {
    let left = without(tables, gone);
    let later = owners_of(&left);
    let orderly = orderly(tables, owners, gone, victims);
    let mut bad = Vec::new();
    for (t, table) in tables.iter().enumerate() {
        let mut later = later[t].iter();
        let mut verdicts = Vec::new();
        for (r, row) in table.rows.iter().enumerate() {
            // Disputed, and nothing is left of its owners but perhaps one that is to come back.
            let lost = !gone[t][r] && {
                let later = later.next().expect("a row that is left");
                !owners[t][r].is_empty() && later.is_subset(victims)
            };
            let broken = table.links.iter().filter(|link| link.enforced != Enforced::No).any(|link| {
                let complete = link.columns.iter().all(|column| row[*column].is_some());
                let named = named_by(tables, link, row);
                let elsewhere = |parent: &usize| {
                    let bringers = &owners[link.parent][*parent];
                    gone[t][r]
                        && gone[link.parent][*parent]
                        && !owners[t][r].is_subset(bringers)
                        && bringers.is_disjoint(&orderly)
                };
                // A row left behind that the database would not have left so.
                let dangles = |parent: &usize| {
                    let left = !gone[t][r] && (lost || is_common(tables, t));
                    left && gone[link.parent][*parent]
                };
                complete && (named.is_empty() || named.iter().any(elsewhere) || named.iter().any(dangles))
            });
            verdicts.push(broken);
        }
        bad.push(verdicts);
    }
    bad
}

/// The victims that can come back one after the other, each when all that its rows name is back.
fn orderly(
    tables: &[Table],
    owners: &Owners,
    gone: &[Vec<bool>],
    victims: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut ties: Vec<(&String, &BTreeSet<String>)> = Vec::new();
    for (t, table) in tables.iter().enumerate() {
        for link in table.links.iter().filter(|link| link.enforced != Enforced::No) {
            for (r, row) in table.rows.iter().enumerate().filter(|(r, _)| gone[t][*r]) {
                for parent in named_by(tables, link, row).into_iter().filter(|p| gone[link.parent][*p]) {
                    let bringers = &owners[link.parent][parent];
                    ties.extend(owners[t][r].difference(bringers).map(|tenant| (tenant, bringers)));
                }
            }
        }
    }
    let mut orderly = BTreeSet::new();
    loop {
        let before = orderly.len();
        for victim in victims {
            let mut own = ties.iter().filter(|(tenant, _)| *tenant == victim);
            if own.all(|(_, bringers)| !bringers.is_disjoint(&orderly)) {
                orderly.insert(victim.clone());
            }
        }
        if orderly.len() == before {
            return orderly;
        }
    }
}

fn text_of(kind: Kind, number: u64) -> String {
    match kind {
        Kind::Text | Kind::Varchar => format!("k{number}"),
        Kind::Uuid => format!("00000000-0000-4000-8000-{number:012x}"),
        _ => number.to_string(),
    }
}

/// An id that no row has.
fn nowhere(kind: Kind) -> String {
    match kind {
        Kind::Int8s => "{777000}".to_owned(),
        Kind::Texts => "{nowhere}".to_owned(),
        Kind::Uuids => format!("{{{}}}", text_of(Kind::Uuid, 777_000)),
        other => text_of(other, 777_000),
    }
}
