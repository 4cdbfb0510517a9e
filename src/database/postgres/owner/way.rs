//! One way as SQL: aliases, hops and their conditions.

use super::column;
use super::types::checked_value;
use crate::database::postgres::catalog::Relations;
use crate::error::Result;
use crate::model::{OwnerPath, Step};

/// The column of a climbed tree that holds the tenant as text; no table has one of this name.
pub const TENANT: &str = "\"reinstate tenant\"";

/// When the tenant at the end of a way is one that is asked for.
pub type Wanted<'a> = &'a dyn Fn(&Way<'_>) -> Result<String>;

/// From which side a tree is climbed.
#[derive(Clone, Copy)]
enum Climb<'a> {
    /// From all rows that have a tenant of their own, downwards.
    Down,
    /// From those of the tenants that are asked for, downwards.
    Wanted(Wanted<'a>),
    /// From a row that is known, upwards.
    Up,
}

/// A way that begins at the row of an alias. The tables that its hops lead to have aliases of their own. What lies
/// behind a climb is inside of the climb's own query.
pub struct Way<'a> {
    relations: &'a Relations,
    path: &'a OwnerPath,
    /// The hops up to the first climb.
    steps: &'a [Step],
    /// Those behind it.
    behind: &'a [Step],
    row: &'a str,
    /// Tells the ways of one statement apart.
    label: String,
    climb: Climb<'a>,
}

impl<'a> Way<'a> {
    pub fn new(relations: &'a Relations, path: &'a OwnerPath, row: &'a str, label: String) -> Self {
        Self::over(relations, path, &path.steps, row, label, Climb::Down)
    }

    /// A way that is followed from the tenants that are asked for.
    pub fn wanted(
        relations: &'a Relations,
        path: &'a OwnerPath,
        row: &'a str,
        label: String,
        wanted: Wanted<'a>,
    ) -> Self {
        Self::over(relations, path, &path.steps, row, label, Climb::Wanted(wanted))
    }

    fn over(
        relations: &'a Relations,
        path: &'a OwnerPath,
        steps: &'a [Step],
        row: &'a str,
        label: String,
        climb: Climb<'a>,
    ) -> Self {
        let end = steps.iter().position(|step| step.climb).map_or(steps.len(), |at| at + 1);
        let (steps, behind) = steps.split_at(end);
        Self { relations, path, steps, behind, row, label, climb }
    }

    /// Hops.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it ends with a climb.
    fn climbs(&self) -> bool {
        self.steps.last().is_some_and(|step| step.climb)
    }

    /// The first hop from which on several rows may answer.
    pub fn first_fork(&self) -> Option<usize> {
        self.steps.iter().position(Step::forks)
    }

    /// Alias of the table that a number of hops leads to.
    pub fn alias(&self, hops: usize) -> String {
        if hops == 0 { self.row.to_owned() } else { format!("{}{hops}", self.label) }
    }

    /// The tenant column at the end.
    pub fn owner(&self) -> String {
        let end = self.alias(self.len());
        if self.climbs() { format!("{end}.{TENANT}") } else { column(&end, &self.path.column) }
    }

    /// The tenant column at the end, as text.
    pub fn owner_text(&self) -> String {
        format!("{}::pg_catalog.text", self.owner())
    }

    /// The tenant column's type.
    pub fn type_name(&self) -> &'a str {
        &self.path.column_type
    }

    /// When the way leads to a tenant, of those that are asked for if some are.
    pub fn leads(&self) -> Result<String> {
        match self.climb {
            Climb::Wanted(wanted) if !self.climbs() => wanted(self),
            _ => Ok(format!("{} IS NOT NULL", self.owner())),
        }
    }

    /// The table that hop `at` leads to, with its alias.
    pub fn item(&self, at: usize) -> Result<String> {
        let (step, alias) = (&self.steps[at], self.alias(at + 1));
        Ok(match (step.climb, self.climb) {
            (false, _) => self.table(at)?,
            (true, Climb::Up) => format!("LATERAL ({}) {alias}", self.above(at)?),
            (true, _) => format!("({}) {alias}", self.below(at)?),
        })
    }

    fn table(&self, at: usize) -> Result<String> {
        Ok(format!("{} {}", self.relations.from_item(&self.steps[at].parent)?, self.alias(at + 1)))
    }

    /// The condition of hop `at`.
    pub fn link(&self, at: usize) -> String {
        if self.steps[at].climb && matches!(self.climb, Climb::Up) {
            return "true".to_owned();
        }
        link(&self.steps[at], &self.alias(at), &self.alias(at + 1))
    }

    /// ` JOIN … ON (…)` for some of the hops.
    pub fn joins(&self, kind: &str, hops: std::ops::Range<usize>) -> Result<String> {
        let mut sql = String::new();
        for at in hops {
            sql.push_str(&format!(" {kind} {} ON ({})", self.item(at)?, self.link(at)));
        }
        Ok(sql)
    }

    /// Whether the first hop is there and leads to no row.
    pub fn leads_nowhere(&self) -> Result<String> {
        let step = &self.steps[0];
        let set: String =
            step.columns.iter().map(|name| format!("{} IS NOT NULL AND ", column(self.row, name))).collect();
        let kind = when(step, self.row).map(|kind| format!(" AND {kind}")).unwrap_or_default();
        let link = link(step, self.row, &self.alias(1));
        Ok(format!("{set}NOT EXISTS (SELECT FROM {} WHERE {link}){kind}", self.table(0)?))
    }

    /// The rows behind hop `first` that meet a condition, for a row that is known already.
    pub fn beyond(&self, first: usize, select: &str, condition: &str) -> Result<String> {
        let Self { relations, path, steps, behind, row, ref label, .. } = *self;
        let way = Self { relations, path, steps, behind, row, label: label.clone(), climb: Climb::Up };
        Ok(format!(
            "SELECT {select} FROM {}{} WHERE {} AND {condition}",
            way.item(first)?,
            way.joins("JOIN", first + 1..way.len())?,
            way.link(first)
        ))
    }

    /// The least and the greatest tenant, byte by byte, of each row of the tree that hop `at` climbs.
    pub fn ends_below(&self, at: usize) -> Result<String> {
        let keys = columns("t", &self.steps[at].parent_columns);
        let tenant = format!("t.{TENANT} COLLATE pg_catalog.\"C\"");
        Ok(format!(
            "SELECT {keys}, pg_catalog.min({tenant}) AS {LEAST}, pg_catalog.max({tenant}) AS {GREATEST} \
             FROM ({}) t GROUP BY {keys}",
            self.below(at)?
        ))
    }

    /// Each row of the tree that hop `at` climbs, by the columns that are referenced, with each tenant of its own and
    /// of the rows above it. Downwards, so that all rows are found by one query. Rows that are above themselves end,
    /// since UNION keeps each pair once.
    fn below(&self, at: usize) -> Result<String> {
        let (step, tree, node) = (&self.steps[at], format!("{}tree", self.label), format!("{}n", self.label));
        let item = self.relations.from_item(&step.parent)?;
        let behind = self.behind(&node);
        Ok(format!(
            "WITH RECURSIVE {tree} AS (SELECT {keys}, {tenant} AS {TENANT} FROM {item} {node}{joins} WHERE {leads} \
             UNION SELECT {next}, up.{TENANT} FROM {tree} up JOIN {item} {node} ON ({link})) SELECT * FROM {tree}",
            keys = columns(&node, &step.parent_columns),
            tenant = behind.owner_text(),
            joins = behind.joins("JOIN", 0..behind.len())?,
            leads = behind.leads()?,
            next = columns(&node, &step.parent_columns),
            link = link(step, &node, "up"),
        ))
    }

    /// The tenants of the row that hop `at` leads to, and of all rows above it.
    fn above(&self, at: usize) -> Result<String> {
        let (step, tree, node) = (&self.steps[at], format!("{}tree", self.label), format!("{}n", self.label));
        let item = self.relations.from_item(&step.parent)?;
        let behind = self.behind(&node);
        let mut kept = step.parent_columns.clone();
        kept.extend(step.columns.iter().chain(step.when.iter().map(|when| &when.column)).cloned());
        kept.sort_unstable();
        kept.dedup();
        let kept = columns(&node, &kept);
        let same: Vec<String> =
            step.parent_columns.iter().map(|name| equal(&column(&node, name), &column("up", name))).collect();
        Ok(format!(
            "WITH RECURSIVE {tree} AS (SELECT {kept} FROM {item} {node} WHERE {first} \
             UNION SELECT {kept} FROM {tree} up JOIN {item} {node} ON ({next})) \
             SELECT {tenant} AS {TENANT} FROM {tree} up JOIN {item} {node} ON ({same}){joins}",
            first = link(step, &self.alias(at), &node),
            next = link(step, "up", &node),
            tenant = behind.owner_text(),
            same = same.join(" AND "),
            joins = behind.joins("JOIN", 0..behind.len())?,
        ))
    }

    /// What comes behind the climb, from a row of the tree.
    fn behind<'s>(&'s self, node: &'s str) -> Way<'s> {
        Way::over(self.relations, self.path, self.behind, node, format!("{node}_"), self.climb)
    }
}

/// Names of [`Way::ends_below`].
pub const LEAST: &str = "\"reinstate least\"";
pub const GREATEST: &str = "\"reinstate greatest\"";

fn columns(alias: &str, names: &[String]) -> String {
    names.iter().map(|name| column(alias, name)).collect::<Vec<_>>().join(", ")
}

/// `above."x" = below."y" AND …` for one hop.
fn link(step: &Step, below: &str, above: &str) -> String {
    let pairs = step.columns.iter().zip(&step.parent_columns);
    let mut conditions = Vec::with_capacity(step.columns.len());
    for (child, parent) in pairs {
        let (up, down) = (column(above, parent), column(below, child));
        let as_text = step.as_text(child);
        let text = if as_text.is_some() { "::pg_catalog.text" } else { "" };
        conditions.push(if step.each {
            let array = if as_text.is_some() { "::pg_catalog.text[]" } else { "" };
            format!("{up}{text} OPERATOR(pg_catalog.=) ANY ({down}{array})")
        } else {
            equal(&format!("{up}{text}"), &format!("{down}{text}"))
        });
        // Says nothing new, but an index of the referenced column can serve it.
        if let Some(value) =
            as_text.filter(|_| !step.each).and_then(|pair| checked_value(&pair.to, &format!("{down}{text}")))
        {
            conditions.push(equal(&up, &value));
        }
    }
    conditions.extend(when(step, below));
    conditions.join(" AND ")
}

/// The condition on the row that a hop begins at.
fn when(step: &Step, below: &str) -> Option<String> {
    let when = step.when.as_ref()?;
    Some(equal(&format!("{}::pg_catalog.text", column(below, &when.column)), &literal(&when.equals)))
}

pub fn equal(left: &str, right: &str) -> String {
    format!("{left} OPERATOR(pg_catalog.=) {right}")
}

/// A text as a literal, whatever `standard_conforming_strings` says. Used for values of the configuration only.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\\', "\\\\").replace('\'', "''").replace('\0', "");
    let escape = if text.contains('\\') { "E" } else { "" };
    format!("{escape}'{quoted}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(literal("Issue"), "'Issue'");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"App\Models\Issue"), r"E'App\\Models\\Issue'");
        assert_eq!(literal(r"\' or true --"), r"E'\\'' or true --'");
    }
}
