//! A world as SQL and as a configuration.

use std::fmt::Write as _;

use super::world::{Enforced, Fill, Link, Row, Rule, Table, Value, Way};

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn literal(value: &Value) -> String {
    value.as_ref().map_or_else(|| "NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")))
}

pub fn full_name(table: &Table) -> String {
    format!("{}.{}", quoted(table.schema), quoted(&table.name))
}

fn list(table: &Table, columns: &[usize]) -> String {
    columns.iter().map(|column| quoted(&table.columns[*column].name)).collect::<Vec<_>>().join(", ")
}

/// The statements that make the schemas and their tables.
pub fn ddl(tables: &[Table]) -> String {
    let mut sql = String::from("CREATE SCHEMA app; CREATE SCHEMA \"Billing\";\n");
    for table in tables {
        create_table(table, &mut sql);
    }
    for table in tables {
        for link in table.links.iter().filter(|link| link.enforced != Enforced::No) {
            foreign_key(tables, table, link, &mut sql);
        }
    }
    sql
}

fn create_table(table: &Table, sql: &mut String) {
    let mut parts: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let mut part = format!("{} {}", quoted(&column.name), column.kind.sql());
            if column.not_null {
                part.push_str(" NOT NULL");
            }
            if column.identity {
                part.push_str(" GENERATED ALWAYS AS IDENTITY");
            }
            if let Fill::Twice(of) = column.fill {
                let _ = write!(part, " GENERATED ALWAYS AS ({} * 2) STORED", quoted(&table.columns[of].name));
            }
            part
        })
        .collect();
    if !table.primary_key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", list(table, &table.primary_key)));
    }
    parts.extend(table.uniques.iter().map(|unique| format!("UNIQUE ({})", list(table, unique))));
    if !table.one_of.is_empty() {
        parts.push(format!("CHECK (num_nonnulls({}) = 1)", list(table, &table.one_of)));
    }
    let _ = write!(sql, "CREATE TABLE {} ({})", full_name(table), parts.join(", "));
    let Some((column, nested)) = table.partitioned_by else {
        sql.push_str(";\n");
        return;
    };
    let column = quoted(&table.columns[column].name);
    let _ = writeln!(sql, " PARTITION BY HASH ({column});");
    let part = |suffix: &str| {
        format!("{}.{}", quoted(table.schema), quoted(&format!("{} part {suffix}", table.name)))
    };
    for number in 0..2 {
        let nested = nested && number == 0;
        let by = if nested { format!(" PARTITION BY HASH ({column})") } else { String::new() };
        let leaf = part(&number.to_string());
        let _ = writeln!(
            sql,
            "CREATE TABLE {leaf} PARTITION OF {} FOR VALUES WITH (MODULUS 2, REMAINDER {number}){by};",
            full_name(table)
        );
        for inner in (0..2).filter(|_| nested) {
            let name = part(&format!("{number} {inner}"));
            let _ = writeln!(
                sql,
                "CREATE TABLE {name} PARTITION OF {leaf} FOR VALUES WITH (MODULUS 2, REMAINDER {inner});"
            );
        }
    }
}

fn foreign_key(tables: &[Table], table: &Table, link: &Link, sql: &mut String) {
    let parent = &tables[link.parent];
    let when = if link.enforced == Enforced::AtCommit { " DEFERRABLE" } else { "" };
    let _ = writeln!(
        sql,
        "ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES {} ({}){when};",
        full_name(table),
        list(table, &link.columns),
        full_name(parent),
        list(parent, &link.parent_columns)
    );
}

pub fn insert(table: &Table, rows: &[&Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let columns: Vec<usize> = table.written().map(|(index, _)| index).collect();
    let values: Vec<String> = rows
        .iter()
        .map(|row| {
            let values: Vec<String> = columns.iter().map(|column| literal(&row[*column])).collect();
            format!("({})", values.join(", "))
        })
        .collect();
    format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES\n{};\n",
        full_name(table),
        list(table, &columns),
        values.join(",\n")
    )
}

/// A condition that only this row meets, or its equals where the table has no key.
pub fn is_row(table: &Table, row: &Row) -> String {
    let written = || table.written().map(|(index, _)| index).collect();
    let columns: Vec<usize> =
        if table.primary_key.is_empty() { written() } else { table.primary_key.clone() };
    let equal = |column: &usize| {
        let name = quoted(&table.columns[*column].name);
        format!("{name} IS NOT DISTINCT FROM {}", literal(&row[*column]))
    };
    columns.iter().map(equal).collect::<Vec<_>>().join(" AND ")
}

pub fn delete(table: &Table, rows: &[&Row]) -> String {
    let conditions: Vec<String> = rows.iter().map(|row| format!("({})", is_row(table, row))).collect();
    if conditions.is_empty() {
        return String::new();
    }
    format!("DELETE FROM {} WHERE {};\n", full_name(table), conditions.join("\n OR "))
}

/// The whole configuration of a shard at `url`.
pub fn configuration(tables: &[Table], url: &str, store: &str) -> String {
    let mut text =
        format!("version = 1\nstore = \"{store}\"\n[shards.main]\nurl = \"{url}\"\n[shards.main.tables]\n");
    for table in tables {
        let _ = writeln!(text, "{} = {{ {} }}", toml_name(table), rule(tables, table));
    }
    text
}

/// `schema.table`, each part quoted where it holds more than letters.
fn toml_name(table: &Table) -> String {
    toml_text(&format!("{}.{}", part(table.schema), part(&table.name)))
}

fn part(name: &str) -> String {
    if name.contains(['.', '"']) { quoted(name) } else { name.to_owned() }
}

fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn toml_list(table: &Table, columns: &[usize]) -> String {
    let names: Vec<String> = columns.iter().map(|column| toml_text(&table.columns[*column].name)).collect();
    format!("[{}]", names.join(", "))
}

fn rule(tables: &[Table], table: &Table) -> String {
    match &table.rule {
        Rule::Root => "rule = \"root\", key = \"id\", name = \"name\"".to_owned(),
        Rule::Shared => "rule = \"shared\"".to_owned(),
        Rule::Excluded => "rule = \"excluded\", reason = \"goes its own ways\"".to_owned(),
        Rule::Ways(ways) => match ways.as_slice() {
            [Way::Direct(_)] => format!("rule = \"direct\", {}", way(tables, table, ways[0])),
            [Way::Link(_)] => format!("rule = \"derived\", {}", way(tables, table, ways[0])),
            ways => {
                let ways: Vec<String> =
                    ways.iter().map(|one| format!("{{ {} }}", way(tables, table, *one))).collect();
                format!("rule = \"either\", ways = [{}]", ways.join(", "))
            }
        },
        Rule::Referenced(by) => {
            let by: Vec<String> = by
                .iter()
                .map(|(child, link)| {
                    let child = &tables[*child];
                    let link = &child.links[*link];
                    format!(
                        "{{ table = {}, columns = {}, key = {} }}",
                        toml_name(child),
                        toml_list(child, &link.columns),
                        toml_list(table, &link.parent_columns)
                    )
                })
                .collect();
            format!("rule = \"referenced\", by = [{}]", by.join(", "))
        }
    }
}

fn way(tables: &[Table], table: &Table, way: Way) -> String {
    let link = match way {
        Way::Direct(column) => return format!("column = {}", toml_text(&table.columns[column].name)),
        Way::Link(link) => &table.links[link],
    };
    let parent = &tables[link.parent];
    let mut text = format!(
        "columns = {}, parent = {}, parent_columns = {}",
        toml_list(table, &link.columns),
        toml_name(parent),
        toml_list(parent, &link.parent_columns)
    );
    if let Some((column, word)) = &link.when {
        let column = toml_text(&table.columns[*column].name);
        let _ = write!(text, ", when = {{ column = {column}, equals = {} }}", toml_text(word));
    }
    if link.each {
        text.push_str(", each = true");
    }
    text
}
