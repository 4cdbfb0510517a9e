//! The commented `reinstate.toml` that `init` writes for review.

use std::fmt::Write;

use crate::config::CONFIG_VERSION;
use crate::model::{DatabaseUrl, Rule};

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
# Written by `reinstate init`; review it, then keep it under version control.
#
# Each table has one rule: who owns its rows?
#   root      the table that lists the tenants: key = the tenant's id, name = what people call it
#   direct    column = the tenant's id; rows where it is NULL are shared
#   derived   the owner of the row that (columns) reference in parent (parent_columns)
#   shared    reference data of all tenants: never written
#   excluded  left out, with a reason = \"…\"
# A table without a rule stops every plan.

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
        render_table(out, &table.to_string(), inferred);
    }
}

fn render_table(out: &mut String, table: &str, inferred: &Inferred) {
    let mark = match (&inferred.rule, inferred.doubtful) {
        (None, _) => "DECIDE: ",
        (Some(_), true) => "CHECK: ",
        (Some(_), false) => "",
    };
    let _ = writeln!(out, "# {mark}{}", inferred.evidence);
    match &inferred.rule {
        Some(rule) => {
            let _ = writeln!(out, "{} = {}", quote(table), inline(rule));
        }
        None => {
            let _ = writeln!(out, "# {} = {{ rule = \"shared\" }}", quote(table));
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
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { quote(name) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::model::{Link, ShardName, TableName};

    #[test]
    fn what_is_rendered_can_be_read_and_holds_no_password() {
        let inferred = |rule| Inferred { rule, evidence: "why".into(), doubtful: false };
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
            ]
            .into(),
        };
        let url = DatabaseUrl::parse("postgres://sre:hunter2@db/shop").expect("url");
        let text = render(Some("file:///backups"), &[(shard, url)]);
        assert!(!text.contains("hunter2"));
        let env = |name: &str| (name == "MY_SHOP_URL").then(|| "postgres://db/shop".to_owned());
        let config = Config::parse(&text, Path::new("reinstate.toml"), env).expect("config");
        let rules = &config.shards[&ShardName::new("my shop")].tenancy.rules;
        assert_eq!(rules[&odd], derived);
        assert_eq!(rules.len(), 2, "an undecided table has no rule");
    }
}
