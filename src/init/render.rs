//! The commented `reinstate.toml` that `init` writes for review.

use std::fmt::Write;

use crate::config::CONFIG_VERSION;
use crate::model::{DatabaseUrl, Rule, TableName};

use super::{Inferred, ShardInference};

/// Renders the configuration. A URL that holds a password is written without it; the text says where it goes.
pub fn render(store: Option<&str>, shards: &[(ShardInference, DatabaseUrl)]) -> String {
    let mut out = String::from(HEAD);
    let _ = writeln!(out, "version = {CONFIG_VERSION}");
    match store {
        Some(store) => {
            let _ = writeln!(out, "store = {}", quote(store));
        }
        None => out.push_str("# store = \"file:///var/backups/reinstate\"    # where snapshots are kept\n"),
    }
    for (shard, url) in shards {
        render_shard(&mut out, shard, url);
    }
    out
}

const HEAD: &str = "\
# Written by `reinstate init`; review it, then keep it under version control. `init --update` adds what is new.
#
# Each table has one rule: who owns its rows?
#   root        the table that lists the tenants: key = the tenant's id, name = what people call it
#   direct      column = the tenant's id; rows where it is NULL are shared
#   derived     the owner of the row that (columns) reference in parent (parent_columns);
#               when = { column, equals }: only rows of this kind; each = true: the column is an array of ids
#   either      several ways = […]: those that are set must agree; rows where none is are shared
#   referenced  belongs to whoever points at it: by = [{ table, columns, key }, …]; restored where it is missing
#   shared      reference data of all tenants: never written
#   excluded    left out, with a reason = \"…\"
# A table without a rule stops every plan. Numbers in brackets say how sure init is (1 is certain); CHECK marks what
# to look at, DECIDE what only a person can say. [shards.NAME.ignored] lists columns that look like an owner's and
# are not part of the rule: `init --check` fails for any other.

";

fn render_shard(out: &mut String, shard: &ShardInference, url: &DatabaseUrl) {
    let name = key(shard.shard.as_str());
    let _ = writeln!(out, "\n[shards.{name}]");
    if url.has_password() {
        let variable: String = shard
            .shard
            .as_str()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        let _ = writeln!(
            out,
            "# The URL holds a password, so it is read from the environment: {}",
            url.redacted()
        );
        let _ = writeln!(out, "url_env = {}", quote(&format!("{variable}_URL")));
    } else {
        let _ = writeln!(out, "url = {}", quote(url.expose()));
    }
    let _ = writeln!(out, "\n[shards.{name}.tables]");
    for (table, inferred) in &shard.tables {
        out.push_str(&table_lines(table, inferred));
    }
    let ignored = shard.tables.iter().filter(|(_, inferred)| !inferred.ignored.is_empty());
    let lines: String = ignored.map(|(table, inferred)| ignored_line(table, inferred)).collect();
    if !lines.is_empty() {
        let _ = write!(out, "\n[shards.{name}.ignored]\n{lines}");
    }
}

/// The columns of a table that look like an owner's and are not part of its rule.
pub fn ignored_line(table: &TableName, inferred: &Inferred) -> String {
    let columns: Vec<String> = inferred.ignored.iter().map(|column| quote(column)).collect();
    format!("{} = [{}]\n", quote(&table.to_string()), columns.join(", "))
}

/// The evidence as a comment, and the rule; commented out where a person must decide.
pub fn table_lines(table: &TableName, inferred: &Inferred) -> String {
    let name = quote(&table.to_string());
    // A name in the evidence may hold anything, but a comment ends with its line.
    let evidence = inferred.evidence.replace(char::is_control, " ");
    match &inferred.rule {
        Some(rule) => {
            let mark = if inferred.is_doubtful() { "CHECK: " } else { "" };
            format!("# {mark}{evidence} ({:.2})\n{name} = {}\n", inferred.confidence, inline(rule))
        }
        None => {
            let suggestion = inferred.suggestion.as_ref().unwrap_or(&Rule::Shared);
            let line = inline(suggestion).replace(char::is_control, " ");
            format!("# DECIDE: {evidence}\n# {name} = {line}\n")
        }
    }
}

/// A rule as an inline table, its name first.
fn inline(rule: &Rule) -> String {
    let toml::Value::Table(mut fields) = toml::Value::try_from(rule).unwrap_or(toml::Value::Boolean(false))
    else {
        return String::new();
    };
    fields.remove("rule");
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!(", {name} = {}", value_inline(value))).collect();
    format!("{{ rule = {}{} }}", quote(rule.name()), fields.concat())
}

fn value_inline(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let fields: Vec<String> =
                table.iter().map(|(name, value)| format!("{name} = {}", value_inline(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        toml::Value::Array(items) => {
            format!("[{}]", items.iter().map(value_inline).collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}

/// A TOML string.
fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A TOML key: bare where it can be.
pub fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { quote(name) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::model::{Link, ShardName};

    #[test]
    fn what_is_rendered_can_be_read_and_holds_no_password() {
        let inferred = |rule: Option<Rule>| match rule {
            Some(rule) => Inferred::decided(rule, "why\nnot", 0.9),
            None => Inferred::open("why", None),
        };
        let odd = TableName::new("public", "Odd \" name");
        let sites = TableName::new("public", "sites");
        let derived = Rule::Derived(Link::new(vec!["a\"b".into()], sites.clone(), vec!["id".into()]));
        let root = Rule::Root { key: "id".into(), name: None };
        let shard = ShardInference {
            shard: ShardName::new("my shop"),
            tables: [
                (odd.clone(), inferred(Some(derived.clone()))),
                (sites, inferred(Some(root))),
                (TableName::new("public", "jobs"), inferred(None)),
                (
                    TableName::new("public", "notes"),
                    Inferred { ignored: vec!["by".into()], ..inferred(Some(Rule::Shared)) },
                ),
            ]
            .into(),
        };
        let url = DatabaseUrl::parse("postgres://sre:hunter2@db/shop").expect("url");
        let text = render(Some("file:///backups"), &[(shard, url)]);
        assert!(!text.contains("hunter2"));
        let env = |name: &str| (name == "MY_SHOP_URL").then(|| "postgres://db/shop".to_owned());
        let config = Config::parse(&text, Path::new("reinstate.toml"), env).expect("config");
        let shard = &config.shards[&ShardName::new("my shop")];
        assert!(shard.ignored[&TableName::new("public", "notes")].contains("by"));
        let rules = &shard.tenancy.rules;
        assert_eq!(rules[&odd], derived);
        assert_eq!(rules.len(), 3, "an undecided table has no rule");
    }
}
