//! One way as SQL: aliases, hops and their conditions.

use super::column;
use super::types::checked_value;
use crate::database::postgres::catalog::Relations;
use crate::error::Result;
use crate::model::{OwnerPath, Step};

/// A way that begins at the row of an alias. The tables that its hops lead to have aliases of their own.
pub struct Way<'a> {
    relations: &'a Relations,
    path: &'a OwnerPath,
    row: &'a str,
    /// Tells the ways of one statement apart.
    label: String,
}

impl<'a> Way<'a> {
    pub fn new(relations: &'a Relations, path: &'a OwnerPath, row: &'a str, label: String) -> Self {
        Self { relations, path, row, label }
    }

    /// Hops.
    pub fn len(&self) -> usize {
        self.path.steps.len()
    }

    /// The first hop over an array: from there on several rows may answer.
    pub fn first_array(&self) -> Option<usize> {
        self.path.steps.iter().position(|step| step.each)
    }

    /// Alias of the table that a number of hops leads to.
    fn alias(&self, hops: usize) -> String {
        if hops == 0 { self.row.to_owned() } else { format!("{}{hops}", self.label) }
    }

    /// The tenant column at the end.
    pub fn owner(&self) -> String {
        column(&self.alias(self.len()), &self.path.column)
    }

    /// The tenant column at the end, as text.
    pub fn owner_text(&self) -> String {
        format!("{}::pg_catalog.text", self.owner())
    }

    /// The tenant column's type.
    pub fn type_name(&self) -> &'a str {
        &self.path.column_type
    }

    /// The table that hop `at` leads to, with its alias.
    pub fn item(&self, at: usize) -> Result<String> {
        Ok(format!("{} {}", self.relations.from_item(&self.path.steps[at].parent)?, self.alias(at + 1)))
    }

    /// The condition of hop `at`.
    pub fn link(&self, at: usize) -> String {
        link(&self.path.steps[at], &self.alias(at), &self.alias(at + 1))
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
        let step = &self.path.steps[0];
        let set: String =
            step.columns.iter().map(|name| format!("{} IS NOT NULL AND ", column(self.row, name))).collect();
        let kind = when(step, self.row).map(|kind| format!(" AND {kind}")).unwrap_or_default();
        Ok(format!("{set}NOT EXISTS (SELECT FROM {} WHERE {}){kind}", self.item(0)?, self.link(0)))
    }

    /// The rows behind hop `first` that meet a condition, for a row that is known already.
    pub fn beyond(&self, first: usize, select: &str, condition: &str) -> Result<String> {
        Ok(format!(
            "SELECT {select} FROM {}{} WHERE {} AND {condition}",
            self.item(first)?,
            self.joins("JOIN", first + 1..self.len())?,
            self.link(first)
        ))
    }
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
