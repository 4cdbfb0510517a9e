//! The table that lists the tenants, and what other tables call its key.

use std::collections::BTreeSet;

use super::Schema;
use super::names::{forms, plain};
use crate::error::{Error, Result};
use crate::model::{ForeignKey, Rule, ShardName, Table, TableName, TypeKind};

/// The table that lists the tenants, as named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootSpec {
    /// The shard, if the table's name occurs in several.
    pub shard: Option<ShardName>,
    /// The table.
    pub table: TableName,
    /// The tenant id's column; the primary key if it is not given.
    pub key: Option<String>,
}

/// The root table, found.
#[derive(Clone, Debug)]
pub struct Root {
    /// Its shard.
    pub shard: ShardName,
    /// Its name.
    pub table: TableName,
    /// The column of the tenant's id.
    pub key: String,
    /// How the ids travel.
    pub kind: TypeKind,
    /// The column of the tenant's human name.
    pub name: Option<String>,
    /// What other tables, in any shard, may call a column of tenant ids, in lower case.
    pub names: BTreeSet<String>,
    /// Those of them that come from its own name and key.
    own_names: BTreeSet<String>,
}

/// Names that usually hold what people call a tenant, best first.
const NAME_COLUMNS: [&str; 9] =
    ["name", "host", "hostname", "domain", "slug", "subdomain", "display_name", "title", "email"];

impl Root {
    /// Finds the root table and what its key is called elsewhere.
    pub fn find(shards: &[Schema], spec: &RootSpec) -> Result<Self> {
        let (schema, table) = find(shards, spec)?;
        let key = root_key(table, spec.key.as_deref())?;
        let kind = table.column(&key).map_or(TypeKind::Opaque, |column| column.kind);
        let name = NAME_COLUMNS
            .iter()
            .find_map(|wanted| table.columns.iter().find(|c| c.name.eq_ignore_ascii_case(wanted)))
            .filter(|column| column.kind == TypeKind::Text && column.name != key)
            .map(|column| column.name.clone());
        let mut root = Self {
            shard: schema.shard.clone(),
            table: table.name.clone(),
            names: spoken_names(table, &key),
            own_names: spoken_names(table, &key),
            key,
            kind,
            name,
        };
        for table in &schema.tables {
            let declared: Vec<String> =
                root.keys_of(table).map(|foreign| foreign.columns[0].to_lowercase()).collect();
            root.names.extend(declared);
        }
        Ok(root)
    }

    /// The rule of the root table.
    pub fn rule(&self) -> Rule {
        Rule::Root { key: self.key.clone(), name: self.name.clone() }
    }

    /// Foreign keys of a table of the root's shard that reference the tenant's id.
    pub fn keys_of<'a>(&'a self, table: &'a Table) -> impl Iterator<Item = &'a ForeignKey> {
        table
            .foreign_keys
            .iter()
            .filter(|foreign| foreign.parent == self.table && foreign.parent_columns == [self.key.as_str()])
    }

    /// Whether a column is called and typed like a tenant's id.
    pub fn is_named(&self, column: &str, kind: TypeKind) -> bool {
        self.names.contains(&column.to_lowercase()) && fits(kind, self.kind)
    }

    /// Whether a column is called after the root and nothing else (`site_id`, not `source_site_id`).
    pub fn is_plainly_named(&self, column: &str) -> bool {
        self.own_names.contains(&column.to_lowercase())
    }
}

fn find<'a>(shards: &'a [Schema], root: &RootSpec) -> Result<(&'a Schema, &'a Table)> {
    let mut found = shards
        .iter()
        .filter(|schema| root.shard.as_ref().is_none_or(|wanted| *wanted == schema.shard))
        .flat_map(|schema| schema.tables.iter().map(move |table| (schema, table)))
        .filter(|(_, table)| table.name == root.table);
    let unable = || Error::usage(format!("unable to find root table '{}'", root.table));
    let first = found.next().ok_or_else(|| {
        let names: Vec<String> = shards
            .iter()
            .flat_map(|schema| schema.tables.iter().map(|t| t.name.to_string()))
            .take(10)
            .collect();
        unable().hint(format!("the shards have {}", names.join(", ")))
    })?;
    match found.next() {
        None => Ok(first),
        Some((second, _)) => Err(Error::usage(format!(
            "unable to choose the root table: shards '{}' and '{}' both have '{}'",
            first.0.shard, second.shard, root.table
        ))
        .hint("write --root SHARD:SCHEMA.TABLE")),
    }
}

fn root_key(table: &Table, wanted: Option<&str>) -> Result<String> {
    if let Some(key) = wanted {
        return match table.column(key) {
            Some(_) => Ok(key.to_owned()),
            None => {
                Err(Error::usage(format!("unable to find column '{key}' in root table '{}'", table.name)))
            }
        };
    }
    let unable = |why: &str| {
        Error::usage(format!("unable to tell the tenant id of root table '{}': {why}", table.name))
            .hint("name the column with --key COLUMN")
    };
    match table.primary_key.as_slice() {
        [key] => Ok(key.clone()),
        [] => Err(unable("it has no primary key")),
        _ => Err(unable("its primary key has several columns")),
    }
}

/// `<table>_id` and its kin, and the key's own name unless it is a bare `id`.
fn spoken_names(table: &Table, key: &str) -> BTreeSet<String> {
    let mut names = spoken_names_of(&table.name.table, key);
    if !key.eq_ignore_ascii_case("id") {
        names.insert(key.to_lowercase());
    }
    names
}

fn spoken_names_of(table: &str, key: &str) -> BTreeSet<String> {
    let each = |stem: String| [format!("{stem}_id"), format!("{stem}id"), format!("{stem}_{}", plain(key))];
    forms(table).into_iter().flat_map(each).collect()
}

/// Whether a column of one kind may hold the ids of another: widths of integers may differ, and a UUID may be
/// kept as text.
pub fn fits(kind: TypeKind, key: TypeKind) -> bool {
    let integer = |kind| matches!(kind, TypeKind::Int16 | TypeKind::Int32 | TypeKind::Int64);
    let textual = |kind| matches!(kind, TypeKind::Text | TypeKind::Uuid);
    let same = kind == key && kind != TypeKind::Opaque;
    same || (integer(kind) && integer(key)) || (textual(kind) && textual(key))
}
