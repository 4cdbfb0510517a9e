//! A rule in the names that its columns have now.

use super::{Link, Reference, Rule, TenantColumn, Way, When};
use crate::model::TableName;

impl Rule {
    /// The rule of table `own` with every column by its new name; `now` tells it, given the table and the old name.
    #[must_use]
    pub fn renamed(&self, own: &TableName, now: &impl Fn(&TableName, &str) -> String) -> Self {
        match self {
            Self::Root { key, name } => {
                Self::Root { key: now(own, key), name: name.as_ref().map(|name| now(own, name)) }
            }
            Self::Direct { column } => Self::Direct { column: now(own, column) },
            Self::Derived(link) => Self::Derived(link.renamed(own, now)),
            Self::Either { ways } => {
                let way = |way: &Way| match way {
                    Way::Derived(link) => Way::Derived(link.renamed(own, now)),
                    Way::Direct(TenantColumn { column }) => {
                        Way::Direct(TenantColumn { column: now(own, column) })
                    }
                };
                Self::Either { ways: ways.iter().map(way).collect() }
            }
            Self::Referenced { by } => {
                let reference = |Reference { table, columns, key }: &Reference| Reference {
                    table: table.clone(),
                    columns: all(columns, table, now),
                    key: all(key, own, now),
                };
                Self::Referenced { by: by.iter().map(reference).collect() }
            }
            Self::Shared | Self::Excluded { .. } => self.clone(),
        }
    }
}

impl Link {
    fn renamed(&self, own: &TableName, now: &impl Fn(&TableName, &str) -> String) -> Self {
        let when = |When { column, equals }: &When| When { column: now(own, column), equals: equals.clone() };
        Self {
            columns: all(&self.columns, own, now),
            parent: self.parent.clone(),
            parent_columns: all(&self.parent_columns, &self.parent, now),
            when: self.when.as_ref().map(when),
            each: self.each,
        }
    }
}

fn all(columns: &[String], table: &TableName, now: &impl Fn(&TableName, &str) -> String) -> Vec<String> {
    columns.iter().map(|column| now(table, column)).collect()
}
