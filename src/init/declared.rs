//! What a person has told `init`: section `[init]` of `reinstate.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::Error as _;

use crate::model::{Link, TableName, When};

/// Naming rules, exclusions and links that hold wherever they fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Declarations {
    /// A column of this name references that column, in every table: `org_id = "public.organizations.id"`.
    pub names: BTreeMap<String, Target>,
    /// Tables to leave out, `*` standing for any text: `public.geo_*`.
    pub exclude: Vec<Pattern>,
    /// Links of tables, stronger than anything that is inferred; several of one table are alternatives.
    pub links: Vec<DeclaredLink>,
}

impl Declarations {
    /// The pattern that leaves a table out.
    pub fn excludes(&self, table: &TableName) -> Option<&str> {
        self.exclude.iter().find(|pattern| pattern.matches(table)).map(|pattern| pattern.0.as_str())
    }
}

/// A column of a table, as `SCHEMA.TABLE.COLUMN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The table.
    pub table: TableName,
    /// Its column.
    pub column: String,
}

/// A link of a table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredLink {
    /// The table that references.
    pub table: TableName,
    columns: Vec<String>,
    parent: TableName,
    parent_columns: Vec<String>,
    when: Option<When>,
    #[serde(default)]
    each: bool,
}

impl DeclaredLink {
    /// What the table references, and how.
    pub fn link(&self) -> Link {
        Link {
            columns: self.columns.clone(),
            parent: self.parent.clone(),
            parent_columns: self.parent_columns.clone(),
            when: self.when.clone(),
            each: self.each,
        }
    }
}

/// Table names with `*` for any text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether a table is meant.
    pub fn matches(&self, table: &TableName) -> bool {
        let name = table.to_string();
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let Some(last) = self.0.contains('*').then(|| parts.next_back()).flatten() else {
            return rest.is_empty();
        };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format!("'{text}' is not SCHEMA.TABLE.COLUMN"));
        let (table, column) = text.rsplit_once('.').ok_or_else(wrong)?;
        let table = table.parse().map_err(|_| wrong())?;
        Ok(Self { table, column: column.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let table = |name: &str| TableName::new("public", name);
        for (pattern, name, matches) in [
            ("public.geo_*", "geo_nodes", true),
            ("public.geo_*", "geology", false),
            ("*_queue", "mail_queue", true),
            ("public.*_log_*", "a_log_b", true),
            ("public.*_log_*", "a_logs", false),
            ("public.jobs", "jobs", true),
            ("public.jobs", "jobs2", false),
            ("public.a*a", "a", false),
            ("*", "anything", true),
        ] {
            assert_eq!(Pattern(pattern.into()).matches(&table(name)), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn declarations_are_read_or_refused() {
        let read = toml::from_str::<Declarations>(
            r#"names = { org_id = "public.organizations.id" }
               exclude = ["public.geo_*"]
               links = [{ table = "public.events", columns = ["target_id"], parent = "public.issues",
                          parent_columns = ["id"], when = { column = "target_type", equals = "Issue" } }]"#,
        );
        let read = read.expect("declarations");
        assert_eq!(read.names["org_id"].column, "id");
        assert_eq!(read.links[0].link().when.as_ref().map(|when| when.equals.as_str()), Some("Issue"));
        let error =
            toml::from_str::<Declarations>("names = { org_id = \"organizations\" }").expect_err("refused");
        assert!(error.message().contains("'organizations' is not SCHEMA.TABLE.COLUMN"), "{error}");
    }
}
