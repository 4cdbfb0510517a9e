//! Which rule each table most likely has, with the evidence, decided over all shards together.
//!
//! ```text
//! claim     breadth first from the tenants: which tables can be reached, over how many hops
//! choose    among each claimed table's links to claimed tables; cycles are cut towards the tenant
//! adopt     children of inheritance, then what no way leads up from (see `loose`)
//! finish    doubts by name, rules that cannot be followed, columns that were not taken
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::check::owner_columns;
use super::choose::{Parents, SHORTEST, all_considered, choose};
use super::declared::Declarations;
use super::names::is_local_state;
use super::root::{Root, RootSpec};
use super::ways::{Candidate, candidates};
use super::{Guess, Inferred, Schema, ShardInference, loose};
use crate::error::Result;
use crate::model::{Link, Rule, Table, TableName, Tenancy, Way};

/// Infers the rules of all shards.
pub fn infer(shards: &[Schema], spec: &RootSpec, declared: &Declarations) -> Result<Vec<ShardInference>> {
    let root = Root::find(shards, spec)?;
    let each = shards.iter().map(|schema| {
        let tables = Graph::new(schema, &root, declared).infer();
        ShardInference { shard: schema.shard.clone(), tables }
    });
    Ok(each.collect())
}

/// The decisions so far.
pub type Found = BTreeMap<TableName, Inferred>;

/// The tables of a shard and their candidates.
pub struct Graph<'a> {
    pub schema: &'a Schema,
    root: &'a Root,
    declared: &'a Declarations,
    /// Tables that are not excluded, by name.
    pub tables: BTreeMap<&'a TableName, &'a Table>,
    pub candidates: HashMap<&'a TableName, Vec<Candidate>>,
}

/// Hops to the tenant, by table.
type Depths = HashMap<TableName, usize>;

impl<'a> Graph<'a> {
    fn new(schema: &'a Schema, root: &'a Root, declared: &'a Declarations) -> Self {
        let mut guesses: HashMap<&TableName, Vec<&Guess>> = HashMap::new();
        for guess in &schema.guesses {
            guesses.entry(&guess.table).or_default().push(guess);
        }
        let taken = schema.tables.iter().filter(|table| declared.excludes(&table.name).is_none());
        let tables: BTreeMap<&TableName, &Table> = taken.map(|table| (&table.name, table)).collect();
        let of_table = |table: &'a Table| {
            let guesses = guesses.get(&table.name).map_or(&[][..], Vec::as_slice);
            (&table.name, candidates(table, schema, root, declared, guesses))
        };
        let candidates = tables.values().map(|table| of_table(table)).collect();
        Self { schema, root, declared, tables, candidates }
    }

    fn infer(&self) -> Found {
        let mut found = self.given();
        let depths = self.claim(&found);
        self.choose_all(&depths, &mut found);
        self.inherit(&mut found);
        loose::decide(self, &mut found);
        self.finish(&mut found);
        found
    }

    /// What needs no inference: the root, and what a person has decided.
    fn given(&self) -> Found {
        let mut found = Found::new();
        if self.schema.shard == self.root.shard {
            let root = Inferred::decided(self.root.rule(), "the table that lists the tenants", 1.0);
            found.insert(self.root.table.clone(), root);
        }
        for table in &self.schema.tables {
            if let Some(pattern) = self.declared.excludes(&table.name) {
                let reason = format!("excluded by '{pattern}' of [init]");
                let rule = Rule::Excluded { reason: reason.clone() };
                found.insert(table.name.clone(), Inferred::decided(rule, reason, 1.0));
            }
        }
        for (table, rule) in &self.schema.kept {
            let kept = Inferred::decided(rule.clone(), "decided in the configuration", 1.0);
            found.insert(table.clone(), kept);
        }
        found
    }

    /// Breadth first: a table is claimed by any candidate that leads to the tenant or to a claimed table.
    fn claim(&self, found: &Found) -> Depths {
        let mut depths: Depths =
            found.iter().filter(|(_, given)| given.is_owned()).map(|(table, _)| (table.clone(), 0)).collect();
        for depth in 1.. {
            let claimed = |candidate: &Candidate| {
                let open = candidate.barred.is_none() && !candidate.weak;
                open && candidate.parent().is_none_or(|parent| depths.contains_key(parent))
            };
            let waiting =
                self.tables.keys().filter(|name| !depths.contains_key(**name) && !found.contains_key(**name));
            let next: Vec<TableName> = waiting
                .filter(|name| self.candidates[*name].iter().any(claimed))
                .map(|name| (*name).clone())
                .collect();
            if next.is_empty() {
                break;
            }
            depths.extend(next.into_iter().map(|name| (name, depth)));
        }
        depths
    }

    /// Chooses twice: whether two links of a table can lead to different tenants is known only when their parents
    /// are decided.
    fn choose_all(&self, depths: &Depths, found: &mut Found) {
        let given = found.clone();
        for _ in 0..2 {
            let columns = self.tenant_columns(found);
            let chosen: Vec<_> = depths
                .keys()
                .filter(|name| !given.contains_key(*name))
                .filter_map(|name| Some((name.clone(), self.choose(name, depths, &columns, None)?)))
                .collect();
            found.extend(chosen);
        }
        let columns = self.tenant_columns(found);
        for name in in_cycles(found) {
            let Some(below) = depths.get(&name).filter(|_| !given.contains_key(&name)) else { continue };
            if let Some(mut chosen) = self.choose(&name, depths, &columns, Some(*below)) {
                chosen
                    .evidence
                    .push_str("; part of a cycle of references, of which this one leads to the tenant");
                found.insert(name, chosen);
            }
        }
    }

    /// `below`: only parents that are nearer to the tenant than this.
    fn choose(
        &self,
        name: &TableName,
        depths: &Depths,
        columns: &HashMap<TableName, String>,
        below: Option<usize>,
    ) -> Option<Inferred> {
        let table = self.tables.get(name)?;
        let all = &self.candidates[name];
        let depth = |candidate: &Candidate| {
            candidate.parent().map_or(0, |parent| depths.get(parent).map_or(usize::MAX, |depth| depth + 1))
        };
        let reaches = |candidate: &Candidate| {
            let depth = depth(candidate);
            let other = candidate.parent() != Some(name);
            let open = other && candidate.barred.is_none();
            open && depth < usize::MAX && below.is_none_or(|below| depth <= below)
        };
        let usable: Vec<usize> = (0..all.len()).filter(|at| reaches(&all[*at])).collect();
        let tenant_column = |candidate: &Candidate| match &candidate.way {
            Way::Direct(tenant) => Some(tenant.column.clone()),
            Way::Derived(link) => carried(link, columns),
        };
        choose(table, all, &usable, &Parents { depth: &depth, tenant_column: &tenant_column })
    }

    /// The column in which the rows of a table carry their tenant's id, where their rule says so.
    fn tenant_columns(&self, found: &Found) -> HashMap<TableName, String> {
        let mut columns: HashMap<TableName, String> = HashMap::new();
        loop {
            let known = |(name, inferred): (&TableName, &Inferred)| {
                let column = match inferred.rule.as_ref()? {
                    Rule::Root { key: column, .. } | Rule::Direct { column } => column.clone(),
                    Rule::Derived(link) => carried(link, &columns)?,
                    _ => return None,
                };
                Some((name.clone(), column))
            };
            let unknown = found.iter().filter(|(name, _)| !columns.contains_key(*name));
            let next: Vec<_> = unknown.filter_map(known).collect();
            if next.is_empty() {
                return columns;
            }
            columns.extend(next);
        }
    }

    /// Children of inheritance have no foreign keys of their own: their rule is their parent's.
    fn inherit(&self, found: &mut Found) {
        for (child, parents) in &self.schema.statistics.inherits {
            let Some(table) = self.tables.get(child).filter(|_| !found.contains_key(child)) else { continue };
            let mut of_parents = parents.iter().filter_map(|parent| {
                let inferred = found.get(parent).filter(|inferred| inferred.is_owned())?;
                let has_all =
                    columns_of(inferred.rule.as_ref()?).iter().all(|name| table.column(name).is_some());
                (has_all && !matches!(inferred.rule, Some(Rule::Root { .. }))).then_some((parent, inferred))
            });
            let Some((parent, inferred)) = of_parents.next() else { continue };
            let mut chosen = inferred.clone();
            chosen.evidence = format!("inherits from {parent}: {}", inferred.evidence);
            if let Some((other, _)) = of_parents.find(|(_, other)| other.rule != inferred.rule) {
                chosen.evidence.push_str(&format!("; it could also have the rule of {other}"));
                chosen.confidence = chosen.confidence.min(SHORTEST);
            }
            found.insert(child.clone(), chosen);
        }
    }

    fn finish(&self, found: &mut Found) {
        for (name, inferred) in found.iter_mut().filter(|(_, inferred)| inferred.is_owned()) {
            if is_local_state(&name.schema, &name.table) && inferred.confidence < 1.0 {
                inferred.confidence = inferred.confidence.min(0.6);
                inferred
                    .evidence
                    .push_str("; by its name it may be state of this installation: exclude it if so");
            }
        }
        self.open_what_cannot_be_followed(found);
        let rules: BTreeMap<TableName, Rule> = found
            .iter()
            .filter_map(|(name, inferred)| Some((name.clone(), inferred.rule.clone()?)))
            .collect();
        for (name, table) in &self.tables {
            let Some(inferred) = found.get_mut(*name) else { continue };
            if inferred.ways.is_empty() {
                inferred.ways = all_considered(&self.candidates[*name]);
            }
            if let Some(rule) = &inferred.rule {
                let here = (self.schema.shard == self.root.shard).then_some(self.root);
                let seen = owner_columns(table, rule, &rules, self.root, here.is_some());
                inferred.ignored = seen.into_iter().flat_map(|seen| seen.columns).collect();
                inferred.ignored.sort();
                inferred.ignored.dedup();
            }
        }
    }

    /// A rule that no plan could follow is a question, not an answer. One that hangs from such a rule is one too.
    fn open_what_cannot_be_followed(&self, found: &mut Found) {
        let rules = found.iter().filter_map(|(name, inferred)| Some((name.clone(), inferred.rule.clone()?)));
        let tenancy = Tenancy { rules: rules.collect() };
        let wrong: Vec<_> = tenancy
            .owners_of_all(&self.schema.tables)
            .into_iter()
            .filter_map(|(name, owners)| Some((name.clone(), owners.err()?)))
            .collect();
        for (name, error) in wrong {
            if self.schema.kept.contains_key(&name) {
                continue;
            }
            if let Some(inferred) = found.get_mut(&name).filter(|inferred| inferred.rule.is_some()) {
                let evidence = format!("{}, but {error}", inferred.evidence);
                *inferred =
                    Inferred { ways: std::mem::take(&mut inferred.ways), ..Inferred::open(evidence, None) };
            }
        }
    }
}

/// The column of a link that holds the tenant's id, where the parent's rows carry it in a linked column.
fn carried(link: &Link, columns: &HashMap<TableName, String>) -> Option<String> {
    let above = columns.get(&link.parent)?;
    let at = link.parent_columns.iter().position(|column| column == above)?;
    Some(link.columns[at].clone())
}

/// The columns of a table that its rule names.
pub fn columns_of(rule: &Rule) -> Vec<String> {
    let of_link = |link: &Link| {
        let kind = link.when.iter().map(|when| when.column.clone());
        link.columns.iter().cloned().chain(kind).collect::<Vec<_>>()
    };
    match rule {
        Rule::Root { key: column, .. } | Rule::Direct { column } => vec![column.clone()],
        Rule::Derived(link) => of_link(link),
        Rule::Either { ways } => {
            let of_way = |way: &Way| match way {
                Way::Direct(tenant) => vec![tenant.column.clone()],
                Way::Derived(link) => of_link(link),
            };
            ways.iter().flat_map(of_way).collect()
        }
        Rule::Referenced { .. } | Rule::Shared | Rule::Excluded { .. } => vec![],
    }
}

/// The tables that a rule leads to.
pub fn parents_of(rule: &Rule) -> Vec<&TableName> {
    match rule {
        Rule::Derived(link) => vec![&link.parent],
        Rule::Either { ways } => {
            let of_way = |way| match way {
                &Way::Direct(_) => None,
                Way::Derived(link) => Some(&link.parent),
            };
            ways.iter().filter_map(of_way).collect()
        }
        _ => vec![],
    }
}

/// Tables whose rules lead back to themselves: what is left when those that lead to the tenant are taken away from
/// above, and those that nothing leads to from below.
fn in_cycles(found: &Found) -> Vec<TableName> {
    let mut left: BTreeMap<&TableName, Vec<&TableName>> = found
        .iter()
        .filter_map(|(name, inferred)| Some((name, parents_of(inferred.rule.as_ref()?))))
        .collect();
    // A tree is climbed within its table.
    left.iter_mut().for_each(|(name, parents)| parents.retain(|parent| parent != name));
    loop {
        let named: BTreeSet<&TableName> = left.values().flatten().copied().collect();
        let leads_out = |parents: &[&TableName]| parents.iter().all(|parent| !left.contains_key(parent));
        let done: Vec<&TableName> = left
            .iter()
            .filter(|(name, parents)| leads_out(parents) || !named.contains(*name))
            .map(|(name, _)| *name)
            .collect();
        if done.is_empty() {
            return left.into_keys().cloned().collect();
        }
        done.iter().for_each(|name| drop(left.remove(*name)));
    }
}
