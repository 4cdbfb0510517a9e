//! Drift: how the live schema differs from the snapshot's, and by which rule a restore copes with it. Decided here,
//! before anything is written; what no rule covers is refused by name.

use crate::model::{Column, Table, TableName};

/// The differences of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Differences that a rule covers, with the rule; shown in the plan.
    pub covered: Vec<String>,
    /// Differences that stop the plan.
    pub refused: Vec<String>,
}

/// Compares a table of the snapshot with the live one. The order of columns does not matter: they are named in
/// every statement.
pub fn compare(taken: &Table, live: Option<&Table>) -> Drift {
    let mut drift = Drift::default();
    let name = &taken.name;
    let Some(live) = live else {
        drift.refused.push(format!("table '{name}' does not exist any more"));
        return drift;
    };
    for column in &taken.columns {
        let place = format!("column '{}' of table '{name}'", column.name);
        match live.column(&column.name) {
            // A generated column is neither read nor written: nothing of it can be lost.
            None if column.generated => drift.covered.push(format!("{place} was generated and is gone")),
            None => drift.refused.push(format!("{place} does not exist any more")),
            Some(now) => match change(column, now) {
                None => {}
                Some((what, true)) => drift.covered.push(format!("{place} {what}")),
                Some((what, false)) => drift.refused.push(format!("{place} {what}")),
            },
        }
    }
    for column in live.columns.iter().filter(|column| taken.column(&column.name).is_none()) {
        let place = format!("column '{}' of table '{name}' is new", column.name);
        match column {
            Column { generated: true, .. } => drift.covered.push(format!("{place} and is computed")),
            Column { has_default: true, .. } => {
                drift.covered.push(format!("{place}: restored rows take its default"));
            }
            Column { not_null: false, .. } => {
                drift.covered.push(format!("{place}: it stays NULL in restored rows"))
            }
            _ => drift.refused.push(format!("{place}, NOT NULL and without a default")),
        }
    }
    drift
}

/// What happened to a column, and whether its old values are still good as they are.
fn change(taken: &Column, now: &Column) -> Option<(String, bool)> {
    if taken.generated != now.generated {
        let what = if now.generated { "is now generated" } else { "is no longer generated" };
        return Some((what.into(), false));
    }
    // Kinds are left out: SQLite's follow the values at hand, and PostgreSQL's follow the type's name.
    if taken.type_name == now.type_name {
        return None;
    }
    let wider = is_wider(&taken.type_name, &now.type_name);
    let rule = if wider { ", which holds the same values" } else { "" };
    Some((format!("was {}, now it is {}{rule}", taken.type_name, now.type_name), wider))
}

/// Whether every value of one PostgreSQL type has the same binary form in the other, so that it can be written and
/// compared as it is: longer `varchar`, `text`, and `numeric` of more digits but the same scale.
fn is_wider(from: &str, to: &str) -> bool {
    const VARCHAR: &str = "character varying";
    let ((from, old), (to, new)) = (parameters(from), parameters(to));
    match (from, old.as_slice(), to, new.as_slice()) {
        (VARCHAR, _, "text" | VARCHAR, []) | ("numeric", _, "numeric", []) => true,
        (VARCHAR, [old], VARCHAR, [new]) => new >= old,
        ("numeric", [old, scale], "numeric", [new, same]) => new >= old && scale == same,
        _ => false,
    }
}

/// `numeric(12,2)` as `("numeric", [12, 2])`.
fn parameters(type_name: &str) -> (&str, Vec<u32>) {
    let Some((name, list)) = type_name.strip_suffix(')').and_then(|text| text.split_once('(')) else {
        return (type_name, Vec::new());
    };
    match list.split(',').map(|number| number.trim().parse()).collect() {
        Ok(numbers) => (name, numbers),
        Err(_) => (type_name, Vec::new()),
    }
}

/// Hash of the live shape of these tables (columns, keys, triggers, sequences); `apply` compares it with the
/// plan's.
pub fn schema_hash<'a>(live: &'a [Table], names: impl IntoIterator<Item = &'a TableName>) -> String {
    let mut hasher = blake3::Hasher::new();
    for name in names {
        let table = live.iter().find(|table| table.name == *name);
        let mut shape = table.cloned();
        if let Some(table) = &mut shape {
            // Not part of the shape: SQLite's kinds follow the values at hand.
            table.columns.iter_mut().for_each(|column| column.kind = crate::model::TypeKind::Opaque);
        }
        // A table is plain data: serialisation cannot fail, and an empty text would only make the hash differ.
        hasher.update(serde_json::to_string(&shape).unwrap_or_default().as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TypeKind;

    fn column(type_name: &str) -> Column {
        Column {
            name: "c".into(),
            type_name: type_name.into(),
            kind: TypeKind::Opaque,
            not_null: false,
            generated: false,
            has_default: false,
        }
    }

    fn table(columns: Vec<Column>) -> Table {
        Table { columns, ..Table::new(TableName::new("public", "t")) }
    }

    /// (column in the snapshot, live column, what is covered, what is refused); `None`: no such column.
    #[test]
    fn every_drift_has_its_rule_or_is_refused() {
        let not_null = |column: Column| Column { not_null: true, ..column };
        let default = |column: Column| Column { has_default: true, ..column };
        let generated = |column: Column| Column { generated: true, ..column };
        let place = "column 'c' of table 'public.t'";
        let text = || column("text");
        let cases = [
            (Some(text()), Some(text()), "", ""),
            (Some(text()), None, "", " does not exist any more"),
            (None, Some(text()), " is new: it stays NULL in restored rows", ""),
            (None, Some(default(not_null(text()))), " is new: restored rows take its default", ""),
            (None, Some(not_null(text())), "", " is new, NOT NULL and without a default"),
            (None, Some(generated(not_null(text()))), " is new and is computed", ""),
            (Some(generated(text())), None, " was generated and is gone", ""),
            (Some(text()), Some(generated(text())), "", " is now generated"),
            (Some(generated(text())), Some(text()), "", " is no longer generated"),
            (Some(text()), Some(not_null(text())), "", ""),
        ];
        for (taken, live, covered, refused) in cases {
            let drift = compare(
                &table(taken.clone().into_iter().collect()),
                Some(&table(live.clone().into_iter().collect())),
            );
            let expected = |text: &str| if text.is_empty() { vec![] } else { vec![format!("{place}{text}")] };
            let expected = Drift { covered: expected(covered), refused: expected(refused) };
            assert_eq!(drift, expected, "{taken:?} {live:?}");
        }
        let gone = compare(&table(vec![]), None);
        assert_eq!(gone.refused, ["table 'public.t' does not exist any more"]);
    }

    #[test]
    fn only_types_with_the_same_binary_form_count_as_wider() {
        let cases = [
            ("character varying(10)", "character varying(20)", true),
            ("character varying(20)", "character varying(10)", false),
            ("character varying(20)", "character varying", true),
            ("character varying", "character varying(20)", false),
            ("character varying(20)", "text", true),
            ("text", "character varying", false),
            ("character(10)", "character(20)", false),
            ("numeric(12,2)", "numeric(14,2)", true),
            ("numeric(12,2)", "numeric(14,3)", false),
            ("numeric(12,2)", "numeric(10,2)", false),
            ("numeric(12,2)", "numeric", true),
            ("numeric", "numeric(12,2)", false),
            ("integer", "bigint", false),
            ("bigint", "integer", false),
            ("timestamp without time zone", "timestamp with time zone", false),
            ("date", "integer", false),
            ("money", "bigint", false),
            ("json", "jsonb", false),
            ("shop.mood", "shop.temper", false),
            ("real", "double precision", false),
        ];
        for (from, to, wider) in cases {
            let drift = compare(&table(vec![column(from)]), Some(&table(vec![column(to)])));
            assert_eq!(drift.refused.is_empty(), wider, "{from} to {to}");
            assert_eq!(drift.covered.is_empty(), !wider, "{from} to {to}");
        }
    }
}
