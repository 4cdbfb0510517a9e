//! What the configuration says about changes that a schema cannot tell: where a renamed column went, what a new
//! one holds in old rows.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::{Dialect, types};
use crate::model::{Column, Table, TypeKind};

/// The declarations about one table. One may outlive its cause: with a snapshot that has the new name or column
/// already, it does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// Old name of a column to its new one.
    #[serde(default)]
    pub renamed: BTreeMap<String, String>,
    /// Values that new columns have in restored rows.
    #[serde(default)]
    pub values: BTreeMap<String, Literal>,
}

/// A value as a configuration file writes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Literal {
    /// `true`.
    Bool(bool),
    /// `7`.
    Integer(i64),
    /// `1.5`.
    Real(f64),
    /// `"eu"`, and whatever else a type reads from text.
    Text(String),
}

impl Eq for Literal {}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Real(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// A declared value as the live database reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// As it was declared.
    pub text: String,
    /// How it travels.
    pub kind: TypeKind,
    /// Its wire form, as [`type_to_read`] says.
    pub wire: Vec<u8>,
}

/// The type that the live database is to read a declared value of a column as; `None` if the text itself is the
/// value. Limits of the column's own type are left out, so that nothing is cut or rounded to fit.
pub fn type_to_read(column: &Column) -> Option<String> {
    types::type_of_value(column).map(|read| read.type_name)
}

/// The declared values of one table by column, or why one cannot be read.
pub type Values = BTreeMap<String, Result<Value, String>>;

impl Value {
    /// The value as `column` holds it, or why it does not fit.
    pub(super) fn cast_to(&self, column: &Column, dialect: Dialect) -> Result<Self, String> {
        if dialect == Dialect::Sqlite {
            return Ok(self.clone());
        }
        let wrong = |what: &dyn fmt::Display| format!("the declared value '{}' {what}", self.text);
        let text = || Column::new(&column.name, "text", TypeKind::Text);
        let read = types::type_of_value(column).unwrap_or_else(text);
        let (cast, _) =
            types::cast(&read, column).ok_or_else(|| wrong(&format_args!("is no {}", column.type_name)))?;
        let wire = cast.value(&self.wire).map_err(|unfit| wrong(&unfit))?.into_owned();
        Ok(Self { text: self.text.clone(), kind: column.kind, wire })
    }
}

impl Declared {
    /// Whether the declared names are those of the two tables; what is wrong, if not.
    pub(super) fn check(&self, taken: &Table, live: &Table) -> Result<(), String> {
        let table = &live.name;
        for (old, new) in &self.renamed {
            let said = format!("column '{old}' of table '{table}' is declared as renamed to '{new}', but");
            if live.column(new).is_none() {
                return Err(format!("{said} the table has no column '{new}'"));
            }
            if taken.column(old).is_none() && taken.column(new).is_none() {
                return Err(format!("{said} the snapshot has neither"));
            }
            if let Some((other, _)) = self.renamed.iter().find(|(other, to)| *to == new && *other != old) {
                return Err(format!("{said} so is '{other}'"));
            }
        }
        match self.values.keys().find(|column| live.column(column).is_none()) {
            Some(column) => Err(format!(
                "column '{column}' of table '{table}' has a declared value, but the table has no such column"
            )),
            None => Ok(()),
        }
    }

    /// The renames that lead from a column of the snapshot to a live one.
    pub fn applied<'a>(&'a self, taken: &Table, live: &Table) -> BTreeMap<&'a str, &'a str> {
        let pairs = self.renamed.iter().map(|(old, new)| (old.as_str(), new.as_str()));
        pairs.filter(|(old, new)| taken.column(old).is_some() && live.column(new).is_some()).collect()
    }

    /// The name in the snapshot of a live column.
    pub fn name_in_snapshot<'a>(&'a self, taken: &Table, live: &'a str) -> &'a str {
        let old = self.renamed.iter().find(|(old, new)| *new == live && taken.column(old).is_some());
        old.map_or(live, |(old, _)| old)
    }
}
