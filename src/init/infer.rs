//! Which rule each table most likely has, with the evidence, decided over all shards together.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::model::{ForeignKey, Link, Rule, ShardName, Table, TableName, TypeKind};

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

/// What was found about one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inferred {
    /// The rule; `None` if a person must decide.
    pub rule: Option<Rule>,
    /// Why, in words.
    pub evidence: String,
    /// Whether a person should look at it before trusting it.
    pub doubtful: bool,
}

/// The tables of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInference {
    /// The shard.
    pub shard: ShardName,
    /// Its tables.
    pub tables: BTreeMap<TableName, Inferred>,
}

/// Names that usually hold what people call a tenant, best first.
const NAME_COLUMNS: [&str; 9] =
    ["name", "host", "hostname", "domain", "slug", "subdomain", "display_name", "title", "email"];

/// Infers the rules of all shards.
pub fn infer(shards: &[(ShardName, Vec<Table>)], root: &RootSpec) -> Result<Vec<ShardInference>> {
    let (root_shard, root_table) = find_root(shards, root)?;
    let key = root_key(root_table, root.key.as_deref())?;
    let key_kind = root_table.column(&key).map(|column| column.kind);
    let named = tenant_column_names(shards, root_shard, root_table, &key);
    Ok(shards
        .iter()
        .map(|(shard, tables)| {
            let root_here = (shard == root_shard).then_some((root_table, key.as_str()));
            ShardInference { shard: shard.clone(), tables: infer_shard(tables, root_here, &named, key_kind) }
        })
        .collect())
}

fn find_root<'a>(
    shards: &'a [(ShardName, Vec<Table>)],
    root: &RootSpec,
) -> Result<(&'a ShardName, &'a Table)> {
    let mut found = shards
        .iter()
        .filter(|(shard, _)| root.shard.as_ref().is_none_or(|wanted| wanted == shard))
        .flat_map(|(shard, tables)| tables.iter().map(move |table| (shard, table)))
        .filter(|(_, table)| table.name == root.table);
    let unable = || Error::usage(format!("unable to find root table '{}'", root.table));
    let first = found.next().ok_or_else(|| {
        let names: Vec<String> = shards
            .iter()
            .flat_map(|(_, tables)| tables.iter().map(|t| t.name.to_string()))
            .take(10)
            .collect();
        unable().hint(format!("the shards have {}", names.join(", ")))
    })?;
    match found.next() {
        None => Ok(first),
        Some((second, _)) => Err(Error::usage(format!(
            "unable to choose the root table: shards '{}' and '{second}' both have '{}'",
            first.0, root.table
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
    match table.primary_key.as_slice() {
        [key] => Ok(key.clone()),
        [] => Err(Error::usage(format!(
            "unable to tell the tenant id of root table '{}': it has no primary key",
            table.name
        ))
        .hint("name the column with --key COLUMN")),
        _ => Err(Error::usage(format!(
            "unable to tell the tenant id of root table '{}': its primary key has several columns",
            table.name
        ))
        .hint("name the column with --key COLUMN")),
    }
}

/// Names under which other tables, in any shard, may keep the tenant's id: those of declared foreign keys to the
/// root, `<table>_id`, and the key's own name unless it is a bare `id`.
fn tenant_column_names(
    shards: &[(ShardName, Vec<Table>)],
    root_shard: &ShardName,
    root: &Table,
    key: &str,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let table = root.name.table.to_lowercase();
    let singular = match table.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => table.strip_suffix('s').unwrap_or(&table).to_owned(),
    };
    for stem in [table.as_str(), singular.as_str()] {
        names.insert(format!("{stem}_id"));
        names.insert(format!("{stem}id"));
        names.insert(format!("{stem}_{}", key.to_lowercase()));
    }
    if !key.eq_ignore_ascii_case("id") {
        names.insert(key.to_lowercase());
    }
    let declared = shards.iter().filter(|(shard, _)| shard == root_shard).flat_map(|(_, tables)| tables);
    for table in declared {
        names.extend(keys_to_root(table, root, key).map(|foreign| foreign.columns[0].to_lowercase()));
    }
    names
}

fn keys_to_root<'a>(table: &'a Table, root: &'a Table, key: &'a str) -> impl Iterator<Item = &'a ForeignKey> {
    table
        .foreign_keys
        .iter()
        .filter(move |foreign| foreign.parent == root.name && foreign.parent_columns == [key.to_owned()])
}

fn infer_shard(
    tables: &[Table],
    root: Option<(&Table, &str)>,
    named: &BTreeSet<String>,
    key_kind: Option<TypeKind>,
) -> BTreeMap<TableName, Inferred> {
    let mut found: BTreeMap<TableName, Inferred> = BTreeMap::new();
    for table in tables {
        let decided = match root {
            Some((root, key)) if root.name == table.name => Some(root_rule(root, key)),
            Some((root, key)) => direct_by_key(table, root, key),
            None => None,
        };
        let by_name = || direct_by_name(table, named, key_kind, |column| !has_key_of_its_own(table, column));
        if let Some(inferred) = decided.or_else(by_name) {
            found.insert(table.name.clone(), inferred);
        }
    }
    derive(tables, &mut found);
    // Where the declared key leads to no tenant, the name still may.
    for table in tables.iter().filter(|table| !found.contains_key(&table.name)).collect::<Vec<_>>() {
        if let Some(inferred) = direct_by_name(table, named, key_kind, |_| true) {
            found.insert(table.name.clone(), inferred);
        }
    }
    derive(tables, &mut found);
    for table in tables {
        if !found.contains_key(&table.name) {
            found.insert(table.name.clone(), ownerless(table, tables, &found));
        }
    }
    found
}

fn root_rule(root: &Table, key: &str) -> Inferred {
    let name = NAME_COLUMNS
        .iter()
        .find_map(|wanted| root.columns.iter().find(|c| c.name.eq_ignore_ascii_case(wanted)))
        .filter(|column| column.kind == TypeKind::Text && column.name != key)
        .map(|column| column.name.clone());
    Inferred {
        rule: Some(Rule::Root { key: key.to_owned(), name }),
        evidence: "the table that lists the tenants".into(),
        doubtful: false,
    }
}

fn direct_by_key(table: &Table, root: &Table, key: &str) -> Option<Inferred> {
    let keys: Vec<&ForeignKey> = keys_to_root(table, root, key).collect();
    let best = keys.iter().find(|foreign| all_not_null(table, &foreign.columns)).or(keys.first())?;
    let others: Vec<&str> = keys
        .iter()
        .filter(|foreign| foreign.name != best.name)
        .map(|foreign| foreign.columns[0].as_str())
        .collect();
    let column = best.columns[0].clone();
    let mut evidence = format!("foreign key {} to {}.{key}", best.name, root.name);
    if !others.is_empty() {
        evidence.push_str(&format!("; also references it by {}", others.join(", ")));
    }
    Some(Inferred { rule: Some(Rule::Direct { column }), evidence, doubtful: !others.is_empty() })
}

/// Whether a declared key says what the column references: that counts more than its name.
fn has_key_of_its_own(table: &Table, column: &str) -> bool {
    table.foreign_keys.iter().any(|foreign| foreign.columns == [column.to_owned()])
}

fn direct_by_name(
    table: &Table,
    named: &BTreeSet<String>,
    key_kind: Option<TypeKind>,
    allowed: impl Fn(&str) -> bool,
) -> Option<Inferred> {
    let column = table.columns.iter().find(|column| {
        named.contains(&column.name.to_lowercase()) && fits(column.kind, key_kind) && allowed(&column.name)
    })?;
    Some(Inferred {
        rule: Some(Rule::Direct { column: column.name.clone() }),
        evidence: format!("column {} is named and typed like a reference to the root", column.name),
        doubtful: false,
    })
}

/// Whether a column of one kind may hold the tenant ids of another: widths of integers may differ between shards,
/// and a UUID may be kept as text.
fn fits(kind: TypeKind, key: Option<TypeKind>) -> bool {
    let integer = |kind| matches!(kind, TypeKind::Int16 | TypeKind::Int32 | TypeKind::Int64);
    let textual = |kind| matches!(kind, TypeKind::Text | TypeKind::Uuid);
    key.is_some_and(|key| kind == key || (integer(kind) && integer(key)) || (textual(kind) && textual(key)))
}

fn all_not_null(table: &Table, columns: &[String]) -> bool {
    columns.iter().all(|name| table.column(name).is_some_and(|column| column.not_null))
}

/// Follows foreign keys from owned tables outwards, level by level, so that each table takes the shortest way;
/// but a key that is part of the row's own identity beats a shorter way, so a table waits for such a parent.
fn derive(tables: &[Table], found: &mut BTreeMap<TableName, Inferred>) {
    loop {
        let level = |patient: bool| -> Vec<(TableName, Inferred)> {
            tables
                .iter()
                .filter(|table| !found.contains_key(&table.name))
                .filter_map(|table| derived(table, found, patient).map(|it| (table.name.clone(), it)))
                .collect()
        };
        let mut next = level(true);
        if next.is_empty() {
            next = level(false);
        }
        if next.is_empty() {
            return;
        }
        found.extend(next);
    }
}

/// Whether a foreign key lies within the primary key: the row is a part of its parent (an order's line), and does
/// not merely mention it (the stock that it is taken from).
fn identifies(table: &Table, foreign: &ForeignKey) -> bool {
    foreign.columns.iter().all(|column| table.primary_key.contains(column))
}

fn derived(table: &Table, found: &BTreeMap<TableName, Inferred>, patient: bool) -> Option<Inferred> {
    let owned = |foreign: &&ForeignKey| {
        foreign.parent != table.name
            && found.get(&foreign.parent).and_then(|parent| parent.rule.as_ref()).is_some_and(Rule::is_owned)
    };
    let keys: Vec<&ForeignKey> = table.foreign_keys.iter().filter(owned).collect();
    let identifying = keys.iter().find(|foreign| identifies(table, foreign));
    let awaited = |foreign: &ForeignKey| {
        foreign.parent != table.name && identifies(table, foreign) && !found.contains_key(&foreign.parent)
    };
    if patient && identifying.is_none() && table.foreign_keys.iter().any(awaited) {
        return None;
    }
    let required = || keys.iter().find(|foreign| all_not_null(table, &foreign.columns));
    let best = identifying.or_else(required).or(keys.first())?;
    let nullable = !all_not_null(table, &best.columns);
    let mut evidence = format!("foreign key {} to {}", best.name, best.parent);
    if nullable {
        evidence.push_str("; its columns may be NULL, and such rows have no owner");
    }
    Some(Inferred {
        rule: Some(Rule::Derived(Link::new(
            best.columns.clone(),
            best.parent.clone(),
            best.parent_columns.clone(),
        ))),
        evidence,
        doubtful: nullable,
    })
}

fn ownerless(table: &Table, tables: &[Table], found: &BTreeMap<TableName, Inferred>) -> Inferred {
    let referenced_by = tables.iter().find(|other| {
        found.get(&other.name).and_then(|other| other.rule.as_ref()).is_some_and(Rule::is_owned)
            && other.foreign_keys.iter().any(|foreign| foreign.parent == table.name)
    });
    match referenced_by {
        Some(other) => Inferred {
            rule: Some(Rule::Shared),
            evidence: format!("no way to a tenant; referenced by {}", other.name),
            doubtful: true,
        },
        None => Inferred {
            rule: None,
            evidence: "no foreign key and no column leads to a tenant".into(),
            doubtful: true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Column;

    fn table(name: &str, columns: &[(&str, TypeKind, bool)], keys: &[(&str, &str)]) -> Table {
        Table {
            columns: columns
                .iter()
                .map(|(name, kind, not_null)| Column {
                    name: (*name).into(),
                    type_name: kind.to_string(),
                    kind: *kind,
                    not_null: *not_null,
                    generated: false,
                    has_default: false,
                    user_type: None,
                })
                .collect(),
            primary_key: vec![columns[0].0.into()],
            foreign_keys: keys
                .iter()
                .map(|(column, parent)| ForeignKey {
                    name: format!("{name}_{column}_fkey"),
                    columns: vec![(*column).into()],
                    parent: TableName::new("public", *parent),
                    parent_columns: vec!["id".into()],
                    deferrable: false,
                    validated: true,
                    match_full: false,
                    operators: vec![],
                })
                .collect(),
            ..Table::new(TableName::new("public", name))
        }
    }

    const ID: (&str, TypeKind, bool) = ("id", TypeKind::Int64, true);

    fn root(name: &str) -> RootSpec {
        RootSpec { shard: None, table: TableName::new("public", name), key: None }
    }

    fn rule<'a>(found: &'a [ShardInference], shard: usize, name: &str) -> &'a Inferred {
        &found[shard].tables[&TableName::new("public", name)]
    }

    #[test]
    fn follows_foreign_keys_over_several_levels_and_names_over_shards() {
        let int = TypeKind::Int64;
        let catalogue = vec![table("sites", &[ID, ("host", TypeKind::Text, true)], &[])];
        let product = vec![
            table("projects", &[ID, ("site_id", int, true)], &[]),
            table(
                "issues",
                &[ID, ("project_id", int, true), ("label_id", int, false)],
                &[("project_id", "projects"), ("label_id", "labels")],
            ),
            table(
                "comments",
                &[ID, ("parent_id", int, false), ("issue_id", int, true)],
                &[("parent_id", "comments"), ("issue_id", "issues")],
            ),
            table("drafts", &[ID, ("issue_id", int, false)], &[("issue_id", "issues")]),
            table("labels", &[ID], &[]),
            table("jobs", &[ID], &[]),
        ];
        let shards = [(ShardName::new("catalogue"), catalogue), (ShardName::new("product"), product)];
        let found = infer(&shards, &root("sites")).expect("inference");
        assert_eq!(
            rule(&found, 0, "sites").rule,
            Some(Rule::Root { key: "id".into(), name: Some("host".into()) })
        );
        assert_eq!(rule(&found, 1, "projects").rule, Some(Rule::Direct { column: "site_id".into() }));
        let comments = rule(&found, 1, "comments");
        assert_eq!(
            comments.rule,
            Some(Rule::Derived(Link::new(
                vec!["issue_id".into()],
                TableName::new("public", "issues"),
                vec!["id".into()]
            )))
        );
        assert!(!comments.doubtful);
        assert!(rule(&found, 1, "drafts").doubtful, "a nullable way to the tenant is marked");
        assert_eq!(rule(&found, 1, "labels").rule, Some(Rule::Shared));
        assert_eq!(rule(&found, 1, "jobs").rule, None, "what cannot be decided is left to a person");
    }

    #[test]
    fn a_key_with_a_name_of_its_own_is_found_in_other_tables() {
        let tables = vec![
            table("branches", &[("bid", TypeKind::Int32, true)], &[]),
            table("history", &[("tid", TypeKind::Int32, false), ("bid", TypeKind::Int32, false)], &[]),
            table("odd", &[ID, ("bid", TypeKind::Text, false)], &[]),
        ];
        let found = infer(&[(ShardName::new("bank"), tables)], &root("branches")).expect("inference");
        assert_eq!(rule(&found, 0, "history").rule, Some(Rule::Direct { column: "bid".into() }));
        assert_eq!(rule(&found, 0, "odd").rule, None, "another type is another thing");
    }

    #[test]
    fn a_line_belongs_to_its_order_and_not_to_the_stock_it_mentions() {
        let int = TypeKind::Int64;
        let tables = vec![
            table("sites", &[ID], &[]),
            table("stock", &[ID, ("site_id", int, true)], &[("site_id", "sites")]),
            table("customers", &[ID, ("site_id", int, true)], &[("site_id", "sites")]),
            table("orders", &[ID, ("customer_id", int, true)], &[("customer_id", "customers")]),
            table(
                "lines",
                &[("order_id", int, true), ("stock_id", int, true)],
                &[("stock_id", "stock"), ("order_id", "orders")],
            ),
        ];
        let found = infer(&[(ShardName::new("shop"), tables)], &root("sites")).expect("inference");
        let evidence = &rule(&found, 0, "lines").evidence;
        assert_eq!(evidence, "foreign key lines_order_id_fkey to public.orders");
    }

    #[test]
    fn a_declared_key_says_more_than_the_name_of_its_column() {
        let int = TypeKind::Int64;
        let tables = vec![
            table("sites", &[ID], &[]),
            table("folders", &[ID, ("up", int, true)], &[("up", "sites")]),
            table("files", &[ID, ("up", int, true)], &[("up", "folders")]),
        ];
        let found = infer(&[(ShardName::new("shop"), tables)], &root("sites")).expect("inference");
        assert_eq!(rule(&found, 0, "files").evidence, "foreign key files_up_fkey to public.folders");
    }

    #[test]
    fn an_unclear_root_is_refused() {
        let shard = |name: &str| (ShardName::new(name), vec![table("sites", &[ID], &[])]);
        let error = infer(&[shard("a"), shard("b")], &root("sites")).expect_err("ambiguous");
        assert_eq!(
            error.chain(),
            "unable to choose the root table: shards 'a' and 'b' both have 'public.sites'"
        );
        let error = infer(&[shard("a")], &root("tenants")).expect_err("missing");
        assert_eq!(error.chain(), "unable to find root table 'public.tenants'");
    }
}
