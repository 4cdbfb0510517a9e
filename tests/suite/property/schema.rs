//! Random schemas: what `world` can hold, in any mixture. A table only leads to tables before it and, where it is a
//! tree, to itself; other links back (to itself, to later tables) never say who owns a row, so that rules have no
//! cycles while foreign keys may.

use fastrand::Rng;

use super::owners::is_common;
use super::world::{Enforced, Fill, Kind, Link, Rule, Table, Way};

/// Names with everything that quoting has to cope with; the same table name in two schemas.
const NAMES: [(&str, &str); 14] = [
    ("app", "projects"),
    ("app", "items"),
    ("Billing", "items"),
    ("app", "Work Items"),
    ("app", "order"),
    ("Billing", "Odd \"\" name"),
    ("app", "notes"),
    ("Billing", "lines"),
    ("app", "events"),
    ("app", "files"),
    ("app", "a.b"),
    ("Billing", "user"),
    ("app", "labels"),
    ("app", "links"),
];

/// Most ways from a row to a tenant; the engine follows 64.
const WAYS_MAX: usize = 24;

/// Adds tables of one kind.
type Make = fn(&mut Maker);

/// Kinds of tables, and how often of a hundred.
const KINDS: [(u8, Make); 10] = [
    (8, Maker::shared),
    (4, Maker::excluded),
    (20, Maker::direct),
    (25, Maker::derived),
    (13, Maker::either),
    (8, Maker::join),
    (8, Maker::polymorphic),
    (5, Maker::array),
    (9, Maker::referenced),
    (12, Maker::tree),
];

/// The root first, then three to eight tables or a few more.
pub fn schema(rng: &mut Rng) -> Vec<Table> {
    let mut names = NAMES.to_vec();
    rng.shuffle(&mut names);
    let mut maker = Maker { rng: rng.fork(), names, tables: Vec::new() };
    maker.root();
    let count = maker.rng.usize(3..=8);
    while maker.tables.len() < count {
        let mut lot = maker.rng.u8(0..KINDS.iter().map(|(weight, _)| weight).sum());
        let (_, make) = KINDS
            .iter()
            .find(|(weight, _)| {
                let drawn = lot < *weight;
                lot = lot.saturating_sub(*weight);
                drawn
            })
            .expect("a lot below the sum of the weights");
        make(&mut maker);
    }
    maker.links_of_any_kind();
    maker.tables
}

struct Maker {
    rng: Rng,
    names: Vec<(&'static str, &'static str)>,
    tables: Vec<Table>,
}

impl Maker {
    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(0..100) < percent
    }

    fn any<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(0..of.len())]
    }

    fn table(&mut self) -> Table {
        let (schema, name) = self.names.pop().expect("more names than tables");
        let mut table = Table::new(schema, name.replace("\"\"", "\""));
        for _ in 0..self.rng.u8(0..3) {
            table.add("note", Kind::Text, false, Fill::Payload);
        }
        table
    }

    fn root(&mut self) {
        let mut root = Table::new("app", "sites".to_owned());
        let kind = self.any(&[Kind::Int8, Kind::Int8, Kind::Int4, Kind::Text, Kind::Uuid]);
        let id = root.add("id", kind, true, Fill::Tenant);
        root.add("name", Kind::Text, false, Fill::Payload);
        root.primary_key = vec![id];
        root.rule = Rule::Root;
        self.tables.push(root);
    }

    /// Gives the table its keys and what else is not a link, and takes it in.
    fn push(&mut self, mut table: Table, needs_key: bool) {
        if table.primary_key.is_empty() {
            self.key(&mut table, needs_key);
        }
        if self.chance(20) {
            let number = table.add("n", Kind::Int4, false, Fill::Small);
            table.add("twice", Kind::Int4, false, Fill::Twice(number));
        }
        // Alternatives of alternatives multiply.
        if self.ways(&table) > WAYS_MAX
            && let Rule::Ways(ways) = &mut table.rule
        {
            ways.truncate(1);
        }
        let plain = !table.columns.iter().any(|column| column.identity);
        if self.chance(20) && plain && !table.primary_key.is_empty() {
            let column = self.any(&table.primary_key);
            table.partitioned_by = Some((column, self.rng.bool()));
        } else if self.chance(30) {
            let kind = self.any(&[Kind::Text, Kind::Int8]);
            let code = table.add("code", kind, needs_key || self.rng.bool(), Fill::Serial);
            table.uniques.push(vec![code]);
        }
        self.tables.push(table);
    }

    /// How many ways lead from a table to the root. The way up a tree repeats the others.
    fn ways(&self, table: &Table) -> usize {
        match &table.rule {
            Rule::Root => 1,
            Rule::Ways(ways) => {
                let up = |way: &Way| matches!(way, Way::Link(link) if table.is_up(*link));
                let once: usize = ways.iter().filter(|way| !up(way)).map(|way| self.hops(table, *way)).sum();
                if ways.iter().any(up) { 2 * once } else { once }
            }
            Rule::Referenced(by) => by.iter().map(|(child, _)| self.ways(&self.tables[*child])).sum(),
            Rule::Shared | Rule::Excluded => 0,
        }
    }

    fn hops(&self, table: &Table, way: Way) -> usize {
        match way {
            Way::Direct(_) => 1,
            Way::Link(link) => self.ways(&self.tables[table.links[link].parent]),
        }
    }

    fn key(&mut self, table: &mut Table, needed: bool) {
        let owner: Vec<usize> = table
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.not_null && column.fill != Fill::Discriminator)
            .filter(|(_, column)| !matches!(column.kind, Kind::Int8s | Kind::Texts | Kind::Uuids))
            .map(|(index, _)| index)
            .collect();
        let kind = match self.rng.u8(0..100) {
            0..15 if !needed => return,
            0..40 => Kind::Int8,
            40..50 => Kind::Int4,
            50..60 => Kind::Uuid,
            60..70 => Kind::Text,
            _ => {
                let fill = self.any(&[Fill::Small, Fill::Serial]);
                let number = table.add("nr", Kind::Int4, true, fill);
                let fill_is_enough = fill == Fill::Serial || !owner.is_empty();
                let number =
                    if fill_is_enough { number } else { table.add("id", Kind::Int8, true, Fill::Serial) };
                table.primary_key = owner.into_iter().chain([number]).collect();
                return;
            }
        };
        let id = table.add("id", kind, true, Fill::Serial);
        table.columns[id].identity = matches!(kind, Kind::Int4 | Kind::Int8) && self.rng.bool();
        table.primary_key = vec![id];
    }

    /// Tables whose rows have one owner or none, and that can be pointed at.
    fn parents(&self) -> Vec<usize> {
        let fits = |t: &usize| self.tables[*t].is_owned() && !self.tables[*t].keys().is_empty();
        (0..self.tables.len()).filter(fits).filter(|t| !is_common(&self.tables, *t)).collect()
    }

    fn parent(&mut self) -> usize {
        let parents = self.parents();
        // The later ones as well as the root: up to six levels.
        if self.chance(65) { parents[parents.len() - 1] } else { self.any(&parents) }
    }

    fn enforced(&mut self) -> Enforced {
        match self.rng.u8(0..10) {
            0..3 => Enforced::No,
            3..8 => Enforced::AtOnce,
            _ => Enforced::AtCommit,
        }
    }

    /// Adds the columns of a link to one of the keys of `parent`.
    fn link(&mut self, table: &mut Table, parent: usize, not_null: bool, enforced: Enforced) -> usize {
        let keys = self.tables[parent].keys();
        let key = keys[self.rng.usize(0..keys.len())].clone();
        let mut columns = Vec::new();
        for column in &key {
            let target = &self.tables[parent].columns[*column];
            let (name, kind) = (format!("{} {}", self.tables[parent].name, target.name), target.kind);
            // A tenant's column can be part of a reference as well.
            let own = table.columns.iter().position(|own| own.fill == Fill::Tenant && own.kind == kind);
            let shared = target.fill == Fill::Tenant && key.len() > 1 && table.one_of.is_empty();
            if let Some(own) = own.filter(|own| shared && !columns.contains(own)) {
                columns.push(own);
                continue;
            }
            let kind = match kind {
                Kind::Int4 => self.any(&[Kind::Int4, Kind::Int8]),
                Kind::Text => self.any(&[Kind::Text, Kind::Varchar]),
                other => other,
            };
            columns.push(table.add(&name, kind, not_null, Fill::Link));
        }
        table.links.push(Link { columns, parent, parent_columns: key, when: None, each: false, enforced });
        table.links.len() - 1
    }

    fn tenant_column(&mut self, table: &mut Table, not_null: bool) -> usize {
        let kind = self.tables[0].columns[0].kind;
        let column = table.add("site_id", kind, not_null, Fill::Tenant);
        let enforced = self.enforced();
        let link = Link {
            columns: vec![column],
            parent: 0,
            parent_columns: vec![0],
            when: None,
            each: false,
            enforced,
        };
        table.links.push(link);
        column
    }

    fn shared(&mut self) {
        let table = self.table();
        self.push(table, true);
    }

    /// State that the product keeps about rows of tenants, and that goes its own ways.
    fn excluded(&mut self) {
        let mut table = self.table();
        let parent = self.parent();
        self.link(&mut table, parent, true, Enforced::No);
        table.rule = Rule::Excluded;
        self.push(table, true);
    }

    fn direct(&mut self) {
        let mut table = self.table();
        let not_null = self.chance(70);
        let column = self.tenant_column(&mut table, not_null);
        table.rule = Rule::Ways(vec![Way::Direct(column)]);
        self.push(table, false);
    }

    fn derived(&mut self) {
        let mut table = self.table();
        let mut parent = self.parent();
        let common: Vec<usize> = (0..self.tables.len()).filter(|t| is_common(&self.tables, *t)).collect();
        if !common.is_empty() && self.chance(30) {
            parent = self.any(&common);
        }
        let (not_null, enforced) = (self.chance(75), self.enforced());
        let link = self.link(&mut table, parent, not_null, enforced);
        table.rule = Rule::Ways(vec![Way::Link(link)]);
        // What two tenants have a part in can only be told from what is live already by a key.
        let needs_key = is_common(&self.tables, parent);
        self.push(table, needs_key);
    }

    fn either(&mut self) {
        let mut table = self.table();
        let mut ways = Vec::new();
        if self.chance(60) {
            ways.push(Way::Direct(self.tenant_column(&mut table, false)));
        }
        let mut firsts: Vec<usize> = ways.iter().map(|_| table.columns.len() - 1).collect();
        // A mark that columns must not be shared between the ways.
        table.one_of = vec![0];
        while ways.len() < 2 || (ways.len() < 3 && self.chance(30)) {
            let (parent, enforced) = (self.parent(), self.enforced());
            let link = self.link(&mut table, parent, false, enforced);
            firsts.push(table.links[link].columns[0]);
            ways.push(Way::Link(link));
        }
        table.one_of = if self.chance(60) { firsts } else { Vec::new() };
        table.rule = Rule::Ways(ways);
        self.push(table, false);
    }

    fn join(&mut self) {
        let mut table = self.table();
        let (left, right, how) = (self.parent(), self.parent(), self.enforced());
        let one = self.link(&mut table, left, true, how);
        let other = self.link(&mut table, right, true, how);
        table.rule = Rule::Ways(match self.rng.u8(0..3) {
            0 => vec![Way::Link(one), Way::Link(other)],
            1 => vec![Way::Link(other)],
            _ => vec![Way::Link(one)],
        });
        let columns = table.links.iter().flat_map(|link| link.columns.clone());
        table.primary_key = columns.collect();
        self.push(table, true);
    }

    fn polymorphic(&mut self) {
        let mut table = self.table();
        let single = |tables: &[Table], t: usize| {
            tables[t].keys().into_iter().find(|key| key.len() == 1).map(|key| key[0])
        };
        let mut targets: Vec<(usize, usize)> = self
            .parents()
            .into_iter()
            .filter_map(|parent| single(&self.tables, parent).map(|key| (parent, key)))
            .collect();
        self.rng.shuffle(&mut targets);
        let (parent, key) = targets[0];
        let kind = self.tables[parent].columns[key].kind;
        targets.retain(|(parent, key)| self.tables[*parent].columns[*key].kind == kind);
        targets.truncate(3);
        let not_null = self.chance(70);
        let word = table.add("target_type", Kind::Text, not_null, Fill::Discriminator);
        let column = table.add("target_id", kind, not_null, Fill::Link);
        let mut ways = Vec::new();
        for (parent, key) in targets {
            let when = Some((word, format!("{}'s", self.tables[parent].name)));
            let (columns, parent_columns) = (vec![column], vec![key]);
            let enforced = Enforced::No;
            table.links.push(Link { columns, parent, parent_columns, when, each: false, enforced });
            ways.push(Way::Link(table.links.len() - 1));
        }
        if self.chance(30) {
            ways.push(Way::Direct(self.tenant_column(&mut table, false)));
        }
        table.rule = Rule::Ways(ways);
        self.push(table, false);
    }

    fn array(&mut self) {
        let mut table = self.table();
        let parents = self.parents();
        let parent = self.any(&parents);
        let keys = self.tables[parent].keys();
        let Some(key) = keys.into_iter().find(|key| key.len() == 1) else { return self.direct() };
        let kind = self.tables[parent].columns[key[0]].kind;
        let kind = if kind == Kind::Int4 { Kind::Int8 } else { kind };
        let column = table.add("ids", kind.array(), self.rng.bool(), Fill::Link);
        table.links.push(Link {
            columns: vec![column],
            parent,
            parent_columns: key,
            when: None,
            each: true,
            enforced: Enforced::No,
        });
        table.rule = Rule::Ways(vec![Way::Link(table.links.len() - 1)]);
        self.push(table, false);
    }

    /// Rows below rows of the same table, which have the tenants of those above them, too.
    fn tree(&mut self) {
        let mut table = self.table();
        let composite = self.chance(50);
        let way = if composite || self.chance(50) {
            Way::Direct(self.tenant_column(&mut table, composite))
        } else {
            let (parent, how) = (self.parent(), self.enforced());
            Way::Link(self.link(&mut table, parent, false, how))
        };
        if let Way::Direct(site) = way
            && composite
        {
            let number = table.add("nr", Kind::Int4, true, Fill::Serial);
            table.primary_key = vec![site, number];
        }
        table.rule = Rule::Ways(vec![way]);
        self.push(table, true);
        let tree = self.tables.len() - 1;
        let mut table = self.tables[tree].clone();
        // With a column of its own for each part of the key, a row can be below another tenant's.
        if self.chance(50) {
            table.one_of = vec![0];
        }
        let how = self.enforced();
        let up = self.link(&mut table, tree, false, how);
        table.one_of.clear();
        if 2 * self.ways(&table) <= WAYS_MAX {
            table.up = Some(up);
            table.rule =
                Rule::Ways(if self.rng.bool() { vec![way, Way::Link(up)] } else { vec![Way::Link(up), way] });
        }
        self.tables[tree] = table;
    }

    /// Users, their memberships, and often their sessions.
    fn referenced(&mut self) {
        let users = self.table();
        self.push(users, true);
        let users = self.tables.len() - 1;
        let mut by = Vec::new();
        for _ in 0..self.rng.u8(1..=2) {
            let mut members = self.table();
            let owner = if self.rng.bool() {
                Way::Direct(self.tenant_column(&mut members, true))
            } else {
                let (parent, how) = (self.parent(), self.enforced());
                Way::Link(self.link(&mut members, parent, true, how))
            };
            let (not_null, how) = (self.rng.bool(), self.enforced());
            let link = self.link(&mut members, users, not_null, how);
            members.rule = Rule::Ways(vec![owner]);
            self.push(members, false);
            by.push((self.tables.len() - 1, link));
        }
        self.tables[users].rule = Rule::Referenced(by);
        if self.chance(60) {
            let mut sessions = self.table();
            let how = self.enforced();
            let link = self.link(&mut sessions, users, true, how);
            sessions.rule = Rule::Ways(vec![Way::Link(link)]);
            self.push(sessions, true);
        }
    }

    /// Links that say nothing about owners: to any table with a key, the table itself and later ones included.
    fn links_of_any_kind(&mut self) {
        let targets: Vec<usize> =
            (0..self.tables.len()).filter(|t| !self.tables[*t].keys().is_empty()).collect();
        for t in 0..self.tables.len() {
            if self.chance(40) {
                let parent = if self.chance(25) && targets.contains(&t) { t } else { self.any(&targets) };
                let mut table = self.tables[t].clone();
                let keep = std::mem::take(&mut table.one_of);
                let enforced = if self.rng.bool() { Enforced::AtOnce } else { Enforced::AtCommit };
                self.link(&mut table, parent, false, enforced);
                table.one_of = keep;
                self.tables[t] = table;
            }
        }
    }
}
