//! Every link of a table that may lead to a tenant, and how much it weighs.
//!
//! A link that is part of the row's own identity weighs more than one that every row has, and that more than one
//! that a row may lack; a tenant column weighs most. A foreign key weighs more than a name, a reference to people
//! (who wrote it) less than one to a thing.

use super::declared::Declarations;
use super::names::{forms, is_people, plain, stem};
use super::root::Root;
use super::{Guess, HIT_RATE_MIN, HITS_MIN, How, Schema};
use crate::model::{Link, Table, TableName, TenantColumn, Way};
use crate::shard::{Climbs, Hits};

/// A link that may lead to a tenant.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The way.
    pub way: Way,
    /// The larger, the better.
    pub weight: i32,
    /// Every row has it.
    pub required: bool,
    /// Its column is called after the root and nothing else.
    pub plainly_named: bool,
    /// What it goes by, in words.
    pub text: String,
    /// How sure it is that the link is one.
    pub confidence: f64,
    /// Answers of the rows, where it is a guess.
    pub hits: Option<Hits>,
    /// What the rows say, where it leads to the row above in a tree.
    pub climbs: Option<Climbs>,
    /// What keeps it from being taken, whatever else there is.
    pub barred: Option<String>,
    /// Too little to claim a table for tenants: `created_by` and the like.
    pub weak: bool,
    /// Ways that only make sense together: the kinds of a polymorphic reference, by the column that tells them.
    pub group: Option<String>,
    /// A person has declared it.
    pub declared: bool,
}

/// Weight of what a person has declared: above anything inferred.
const DECLARED: i32 = 1_000;

impl Candidate {
    /// The columns that hold the reference.
    pub fn columns(&self) -> &[String] {
        match &self.way {
            Way::Direct(tenant) => std::slice::from_ref(&tenant.column),
            Way::Derived(link) => &link.columns,
        }
    }

    /// The table it leads to; none for a tenant column.
    pub fn parent(&self) -> Option<&TableName> {
        match &self.way {
            Way::Direct(_) => None,
            Way::Derived(link) => Some(&link.parent),
        }
    }

    /// The way in short: `(issue_id) -> public.issues`.
    pub fn shown(&self) -> String {
        let columns = self.columns().join(", ");
        match &self.way {
            Way::Direct(_) => format!("({columns}) -> tenant"),
            Way::Derived(link) => {
                let when = link.when.as_ref();
                let when = when.map(|when| format!(" where {} = '{}'", when.column, when.equals));
                let each = if link.each { " each" } else { "" };
                format!("({columns}){each} -> {}{}", link.parent, when.unwrap_or_default())
            }
        }
    }
}

/// All candidates of a table.
pub fn candidates(
    table: &Table,
    schema: &Schema,
    root: &Root,
    declared: &Declarations,
    guesses: &[&Guess],
) -> Vec<Candidate> {
    let weigher = Weigher { table, root, here: schema.shard == root.shard };
    let links = declared.links.iter().filter(|link| link.table == table.name);
    let mut found: Vec<Candidate> = links.map(|link| weigher.declared(link.link())).collect();
    found.extend(weigher.keys());
    found.extend(guesses.iter().map(|guess| weigher.guess(guess)));
    bar_groups(&mut found);
    for tree in found.iter_mut().filter(|one| one.parent() == Some(&table.name)) {
        tree.climbs = schema.climbs.get(&(table.name.clone(), tree.columns().to_vec())).copied();
    }
    found
}

/// A kind of a polymorphic reference that does not resolve bars the whole reference.
fn bar_groups(candidates: &mut [Candidate]) {
    let barred: Vec<(String, String)> = candidates
        .iter()
        .filter_map(|candidate| Some((candidate.group.clone()?, candidate.barred.clone()?)))
        .collect();
    for candidate in candidates.iter_mut().filter(|candidate| candidate.barred.is_none()) {
        let of_group = barred.iter().find(|(group, _)| Some(group) == candidate.group.as_ref());
        candidate.barred = of_group.map(|_| "another kind of this reference does not resolve".to_owned());
    }
}

struct Weigher<'a> {
    table: &'a Table,
    root: &'a Root,
    /// Whether the root is in this shard.
    here: bool,
}

impl Weigher<'_> {
    fn candidate(&self, way: Way, weight: i32, text: String, confidence: f64) -> Candidate {
        let columns = match &way {
            Way::Direct(tenant) => std::slice::from_ref(&tenant.column),
            Way::Derived(link) => &link.columns,
        };
        let required = self.required(columns);
        let plainly_named = matches!(columns, [column] if self.root.is_plainly_named(column));
        Candidate {
            way,
            weight,
            required,
            plainly_named,
            text,
            confidence,
            hits: None,
            climbs: None,
            barred: None,
            weak: false,
            group: None,
            declared: false,
        }
    }

    fn declared(&self, link: Link) -> Candidate {
        let text = format!("declared in [init]: ({}) to {}", link.columns.join(", "), link.parent);
        let way = self.way(link);
        Candidate { declared: true, ..self.candidate(way, DECLARED, text, 1.0) }
    }

    /// A link to the tenant's id is a tenant column.
    fn way(&self, link: Link) -> Way {
        if self.leads_to_root(&link) && link.when.is_none() && !link.each {
            return Way::Direct(TenantColumn { column: link.columns[0].clone() });
        }
        Way::Derived(link)
    }

    fn leads_to_root(&self, link: &Link) -> bool {
        link.parent == self.root.table && link.parent_columns == [self.root.key.as_str()]
    }

    fn keys(&self) -> Vec<Candidate> {
        let to_root = if self.here { self.root.keys_of(self.table).count() } else { 0 };
        let of_key = |foreign: &crate::model::ForeignKey| {
            let link =
                Link::new(foreign.columns.clone(), foreign.parent.clone(), foreign.parent_columns.clone());
            let text = if self.here && foreign.parent == self.root.table && to_root > 0 {
                let columns = foreign.parent_columns.join(", ");
                format!("foreign key {} to {}.{columns}", foreign.name, foreign.parent)
            } else {
                format!("foreign key {} to {}", foreign.name, foreign.parent)
            };
            let confidence = if foreign.validated { 0.99 } else { 0.9 };
            let way = if self.here { self.way(link.clone()) } else { Way::Derived(link.clone()) };
            match way {
                Way::Direct(_) => {
                    let weight = self.tenant_weight(&link.columns[0], to_root == 1);
                    self.candidate(way, weight, text, confidence)
                }
                Way::Derived(_) => {
                    let weak = self.is_weak(&link);
                    let weight = self.link_weight(&link);
                    Candidate { weak, ..self.candidate(way, weight, text, confidence) }
                }
            }
        };
        self.table.foreign_keys.iter().map(of_key).collect()
    }

    fn guess(&self, guess: &Guess) -> Candidate {
        let columns = guess.link.columns.join(", ");
        let said = match guess.how {
            How::Tenant => format!("column {columns} is named and typed like a reference to the root"),
            How::Named => format!("[init] says that column {columns} references {}", guess.link.parent),
            How::Name => format!("column {columns} is named like a reference to {}", guess.link.parent),
            How::Prefixed => {
                format!("the end of column {columns} is named like a reference to {}", guess.link.parent)
            }
            How::Tree => format!("column {columns} is named like the row above in the same table"),
            How::Part => {
                format!("only parts of the table have a foreign key by {columns} to {}", guess.link.parent)
            }
            How::Each => format!("array {columns} is named like references to {}", guess.link.parent),
            How::Kind => {
                let kind = guess.link.when.as_ref().map_or("", |when| when.equals.as_str());
                format!("column {columns} references {} where it is said to be '{kind}'", guess.link.parent)
            }
        };
        let (text, confidence, mut barred) = judge(guess, said);
        if let (Some(kind), Some(when)) = (&guess.unnamed, &guess.link.when) {
            barred = Some(format!("{} also says '{kind}', which names no table", when.column));
        }
        let weight = match guess.how {
            How::Tenant => {
                self.tenant_weight(&guess.link.columns[0], false) - if guess.keyed { 60 } else { 3 }
            }
            How::Each => 20,
            How::Kind if self.required(&guess.link.columns) => 50,
            How::Kind => 35,
            How::Part if self.leads_to_root(&guess.link) => {
                self.tenant_weight(&guess.link.columns[0], false) - 3
            }
            How::Named | How::Name | How::Prefixed | How::Tree | How::Part => {
                self.link_weight(&guess.link) - 3
            }
        };
        let tenant = guess.how == How::Tenant || (guess.how == How::Part && self.leads_to_root(&guess.link));
        let way = if tenant {
            Way::Direct(TenantColumn { column: guess.link.columns[0].clone() })
        } else {
            Way::Derived(guess.link.clone())
        };
        let weak = !tenant && self.is_weak(&guess.link);
        let group = guess.link.when.as_ref().map(|when| when.column.clone());
        Candidate { hits: guess.hits, barred, weak, group, ..self.candidate(way, weight, text, confidence) }
    }

    fn tenant_weight(&self, column: &str, only: bool) -> i32 {
        let columns = &[column.to_owned()];
        match (only || self.root.is_plainly_named(column), self.required(columns)) {
            (true, true) => 100,
            (true, false) => 55,
            (false, true) => {
                if self.identifies(columns) {
                    80
                } else {
                    70
                }
            }
            (false, false) => 40,
        }
    }

    fn link_weight(&self, link: &Link) -> i32 {
        let required = self.required(&link.columns);
        let mut weight = match (self.identifies(&link.columns), required) {
            (true, _) => 80,
            (false, true) => 70,
            (false, false) => 40,
        };
        let role = self.is_role(link);
        let own = plain(&self.table.name.table);
        let is_part = forms(&link.parent.table).iter().any(|form| own.starts_with(&format!("{form}_")));
        if is_part && required && !role {
            weight += 5;
        }
        if role {
            weight -= 5;
        }
        match (is_people(&link.parent.table), role) {
            (true, true) => weight - 25,
            (true, false) => weight - 20,
            _ => weight,
        }
    }

    /// `created_by`, where not every row has it: that somebody of a tenant touched a row does not make it theirs.
    fn is_weak(&self, link: &Link) -> bool {
        !self.required(&link.columns) && is_people(&link.parent.table) && self.is_role(link)
    }

    /// Whether a column says in which role it references its parent (`author_id`), not just which one (`user_id`).
    fn is_role(&self, link: &Link) -> bool {
        let [column] = link.columns.as_slice() else { return false };
        let Some(word) = stem(column, &link.parent_columns[0]) else { return true };
        !forms(&link.parent.table).iter().any(|form| *form == word || form.ends_with(&format!("_{word}")))
    }

    fn required(&self, columns: &[String]) -> bool {
        columns.iter().all(|name| self.table.column(name).is_some_and(|column| column.not_null))
    }

    /// Whether the reference lies within the primary key: the row is a part of its parent (an order's line), and
    /// does not merely mention it (the stock that it is taken from).
    fn identifies(&self, columns: &[String]) -> bool {
        columns.iter().all(|column| self.table.primary_key.contains(column))
    }
}

/// What the rows say about a guess: its words, its confidence, and what bars it.
fn judge(guess: &Guess, said: String) -> (String, f64, Option<String>) {
    let sure = match guess.how {
        How::Tenant | How::Named => 0.97,
        How::Name => 0.95,
        How::Kind => 0.9,
        How::Part => 0.75,
        How::Tree | How::Prefixed | How::Each => 0.85,
    };
    let by_name_alone = matches!(guess.how, How::Tenant | How::Named);
    let unasked = if guess.how == How::Part { 0.65 } else { 0.9 };
    let Some((hits, rate)) = guess.hits.and_then(|hits| Some((hits, hits.rate()?))) else {
        let why = if guess.hits.is_some() { "no row holds a value" } else { "the rows were not asked" };
        let barred = (!by_name_alone && guess.how != How::Part)
            .then(|| format!("{why}, and the name alone does not decide"));
        return (said, unasked, barred);
    };
    let text = format!("{said}; {} of {} values are found there ({rate:.3})", hits.found, hits.rows);
    if rate < HIT_RATE_MIN {
        return (text, 0.0, Some(format!("fewer than {HIT_RATE_MIN} of the values resolve")));
    }
    let few = hits.rows < HITS_MIN && !by_name_alone;
    (text, if few { 0.7 } else { sure }, None)
}
