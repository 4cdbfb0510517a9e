//! Drift: how the live schema differs from the snapshot's, and by which rule a restore copes with it. Decided here,
//! before anything is written; what no rule covers is refused by name.
//!
//! ```text
//! snapshot's table, live table, declarations ─► compare() ─► Drift { covered, refused, adaptation }
//! rows of the tenants, adapted               ─► Found    ─► Drift::judge(): a cast that was not sure, a column
//!                                                           that is gone, turn out well or are refused
//! ```

mod conditions;
mod declared;
mod found;
mod types;

use std::collections::BTreeSet;

use crate::model::adapt::{Adaptation, Cast, Origin};
use crate::model::{Column, Table, TableName, TypeKind};

pub use conditions::{Condition, Of};
pub use declared::{Declared, Literal, Value, Values, type_to_read};
pub use found::{Found, HINT_DECLARE, HINT_DROPPED, Judged};

/// The differences of one table, and how they are dealt with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Differences that a rule covers, with the rule; shown in the plan.
    pub covered: Vec<String>,
    /// Differences that stop the plan.
    pub refused: Vec<String>,
    /// The columns that are written, as the live table has them.
    pub columns: Vec<Column>,
    /// How rows get these columns; absent where the snapshot's rows are written as they are.
    pub adaptation: Option<Adaptation>,
    doubts: Vec<Doubt>,
    /// What the live table demands of rows and did not before.
    pub conditions: Vec<Condition>,
}

/// A difference that is decided by the rows, and what to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Doubt {
    /// Not every value fits. The column is the position among the written ones.
    Values { column: usize, what: String, is_change: bool },
    /// The values of this column of the snapshot are not written.
    Dropped { column: String, what: String },
}

/// Whose types are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Columns have types.
    Postgres,
    /// Values have types; a column's declared type only decides what is converted when they are stored.
    Sqlite,
}

/// Compares a table of the snapshot with the live one. The order of columns does not matter: they are named in
/// every statement. `values` are the declared values of new columns, as the live database reads them.
pub fn compare(
    taken: &Table,
    live: Option<&Table>,
    declared: &Declared,
    values: &Values,
    dialect: Dialect,
) -> Drift {
    let mut drift = Drift::default();
    let Some(live) = live else {
        drift.refused.push(format!("table '{}' does not exist any more", taken.name));
        return drift;
    };
    if let Err(wrong) = declared.check(taken, live) {
        drift.refused.push(wrong);
        return drift;
    }
    drift.conditions = conditions::conditions(taken, live, dialect);
    let mut comparison = Comparison { taken, dialect, drift, origins: Vec::new(), dropped: Vec::new() };
    let renamed = declared.applied(taken, live);
    let mut filled = BTreeSet::new();
    for column in &taken.columns {
        let name = renamed.get(column.name.as_str()).copied().unwrap_or(&column.name);
        let takes_over = renamed.iter().any(|(old, new)| *new == column.name && *old != column.name);
        let is_replaced = takes_over && !renamed.contains_key(column.name.as_str());
        if let Some(now) = comparison.kept(column, (!is_replaced).then(|| live.column(name)).flatten()) {
            filled.insert(now);
        }
    }
    for column in live.columns.iter().filter(|column| !filled.contains(&column.name)) {
        comparison.added(column, values.get(&column.name));
    }
    comparison.finish()
}

struct Comparison<'a> {
    taken: &'a Table,
    dialect: Dialect,
    drift: Drift,
    origins: Vec<Origin>,
    dropped: Vec<String>,
}

impl Comparison<'_> {
    fn place(&self, column: &str) -> String {
        format!("column '{column}' of table '{}'", self.taken.name)
    }

    /// A column of the snapshot; returns the live column that needs no other value any more.
    fn kept(&mut self, column: &Column, now: Option<&Column>) -> Option<String> {
        let place = self.place(&column.name);
        match (column.generated, now) {
            // A generated column is neither read nor written: nothing of it can be lost.
            (true, None) => {
                self.drift.covered.push(format!("{place} was generated and is gone"));
                None
            }
            (true, Some(now)) if now.generated => Some(now.name.clone()),
            // Its values are not in the snapshot; they have to come from somewhere else.
            (true, Some(_)) => None,
            (false, None) => {
                self.dropped(column, "does not exist any more");
                None
            }
            (false, Some(now)) if now.generated => {
                self.dropped(column, "is computed by the database now");
                Some(now.name.clone())
            }
            (false, Some(now)) => {
                self.moved(column, now);
                Some(now.name.clone())
            }
        }
    }

    fn dropped(&mut self, column: &Column, what: &str) {
        let what = format!("{} {what}", self.place(&column.name));
        self.drift.doubts.push(Doubt::Dropped { column: column.name.clone(), what });
        self.dropped.push(column.name.clone());
    }

    /// A column whose values go from the snapshot to the live table.
    fn moved(&mut self, column: &Column, now: &Column) {
        let place = self.place(&column.name);
        let mut said = Vec::new();
        if column.name != now.name {
            said.push(format!("is now '{}', as declared", now.name));
        }
        let typed = column.base_type() != now.base_type() || column.type_name != now.type_name;
        let what = format!("was {}, now it is {}", column.type_name, now.type_name);
        let Some((cast, sure)) = self.cast(column, now) else {
            self.drift.refused.push(format!("{place} {what}"));
            return;
        };
        let position = self.origins.len();
        // SQLite's kinds follow the values at hand, which are the snapshot's; and what was printed stays so.
        let keeps = self.dialect == Dialect::Sqlite || column.kind == TypeKind::Printed;
        let kind = if keeps { column.kind } else { now.kind };
        self.drift.conditions.extend(conditions::of_column(&place, Some(column), now, position, kind));
        let not_null = now.not_null && !column.not_null;
        match (&cast, sure) {
            (Cast::Same, _) if typed => said.push(format!("{what}, which holds the same values")),
            (Cast::Same, _) => {}
            (_, true) => said.push(format!("{what}: values are cast")),
            (Cast::NotEmpty { .. }, false) => {}
            (Cast::Label { .. }, false) if !typed => said.push("has lost labels of its type".into()),
            (_, false) => said.push(what),
        }
        if not_null {
            said.push("is NOT NULL now".into());
        }
        let doubtful = not_null || !sure;
        if doubtful {
            let is_change = !said.is_empty();
            let what = if is_change { format!("{place} {}", said.join(", ")) } else { place };
            self.drift.doubts.push(Doubt::Values { column: position, what, is_change });
        } else if !said.is_empty() {
            self.drift.covered.push(format!("{place} {}", said.join(", ")));
        }
        self.origins.push(Origin::Column { column: column.name.clone(), cast, not_null });
        self.drift.columns.push(Column { kind, ..now.clone() });
    }

    fn cast(&self, column: &Column, now: &Column) -> Option<(Cast, bool)> {
        match self.dialect {
            Dialect::Postgres => types::cast(column, now),
            // Values of the class that the column prefers stay as they are, and blobs do in any column.
            Dialect::Sqlite => {
                let kept = column.type_name == now.type_name
                    || column.kind == now.kind && now.kind != TypeKind::Opaque
                    || column.kind == TypeKind::Bytes
                    || now.kind == TypeKind::Bytes;
                kept.then_some((Cast::Same, true))
            }
        }
    }

    /// A live column that no column of the snapshot gives a value.
    fn added(&mut self, column: &Column, value: Option<&Result<Value, String>>) {
        let was_generated = self.taken.column(&column.name).is_some_and(|taken| taken.generated);
        let place = self.place(&column.name);
        if let Some(value) = value.filter(|_| !column.generated) {
            match value.as_ref().map_err(String::clone).and_then(|value| value.cast_to(column, self.dialect))
            {
                Ok(value) => {
                    let said =
                        format!("{place} is new: restored rows take the declared value '{}'", value.text);
                    self.drift.covered.push(said);
                    let conditions =
                        conditions::of_column(&place, None, column, self.origins.len(), value.kind);
                    self.drift.conditions.extend(conditions);
                    self.origins.push(Origin::Constant { wire: value.wire });
                    self.drift.columns.push(Column { kind: value.kind, ..column.clone() });
                }
                Err(wrong) => self.drift.refused.push(format!("{place} is new: {wrong}")),
            }
            return;
        }
        let (covered, refused) = (&mut self.drift.covered, &mut self.drift.refused);
        match column {
            Column { generated: true, .. } => covered.push(format!("{place} is new and is computed")),
            _ if was_generated => refused.push(format!(
                "{place} is no longer generated, and a snapshot does not hold computed values"
            )),
            Column { has_default: true, .. } => {
                covered.push(format!("{place} is new: restored rows take its default"));
            }
            Column { not_null: false, .. } => {
                covered.push(format!("{place} is new: it stays NULL in restored rows"));
            }
            _ => refused.push(format!("{place} is new, NOT NULL and without a default")),
        }
    }

    fn finish(mut self) -> Drift {
        let is_plain = |(origin, now): (&Origin, &Column)| match origin {
            Origin::Column { column, cast, not_null } => {
                *column == now.name && *cast == Cast::Same && !not_null
            }
            Origin::Constant { .. } => false,
        };
        let as_it_is = self.dropped.is_empty() && self.origins.iter().zip(&self.drift.columns).all(is_plain);
        if !as_it_is && self.drift.refused.is_empty() {
            let (origins, dropped) = (self.origins, self.dropped);
            self.drift.adaptation = Some(Adaptation { taken: self.taken.clone(), origins, dropped });
        }
        self.drift
    }
}

impl Drift {
    /// The live table as rows are written to it.
    pub fn written(&self, live: &Table) -> Table {
        Table { columns: self.columns.clone(), ..live.clone() }
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
    use std::collections::BTreeMap;

    use crate::model::adapt::Unfit;
    use crate::plan::conflict::Reason;

    fn table(columns: Vec<Column>) -> Table {
        Table { columns, ..Table::new(TableName::new("public", "t")) }
    }

    fn text(name: &str) -> Column {
        Column::new(name, "text", TypeKind::Text)
    }

    fn not_null(column: Column) -> Column {
        Column { not_null: true, ..column }
    }

    fn generated(column: Column) -> Column {
        Column { generated: true, ..column }
    }

    fn drift(taken: Vec<Column>, live: Vec<Column>, declared: &Declared) -> Drift {
        compare(&table(taken), Some(&table(live)), declared, &BTreeMap::new(), Dialect::Postgres)
    }

    fn renamed(pairs: &[(&str, &str)]) -> Declared {
        let pairs = pairs.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned()));
        Declared { renamed: pairs.collect(), ..Declared::default() }
    }

    /// (column in the snapshot, live column, what is covered, what is refused); `None`: no such column.
    #[test]
    fn every_drift_has_its_rule_or_is_refused() {
        let default = |column: Column| Column { has_default: true, ..column };
        let c = || text("c");
        let place = "column 'c' of table 'public.t'";
        let gone = " does not exist any more; it was NULL in all rows of the tenants";
        let computed = " is computed by the database now; it was NULL in all rows of the tenants";
        let cases = [
            (Some(c()), Some(c()), "", ""),
            (Some(c()), None, gone, ""),
            (None, Some(c()), " is new: it stays NULL in restored rows", ""),
            (None, Some(default(not_null(c()))), " is new: restored rows take its default", ""),
            (None, Some(not_null(c())), "", " is new, NOT NULL and without a default"),
            (None, Some(generated(not_null(c()))), " is new and is computed", ""),
            (Some(generated(c())), None, " was generated and is gone", ""),
            (Some(generated(c())), Some(generated(c())), "", ""),
            (Some(c()), Some(generated(c())), computed, ""),
            (
                Some(generated(c())),
                Some(c()),
                "",
                " is no longer generated, and a snapshot does not hold computed values",
            ),
            (Some(c()), Some(not_null(c())), " is NOT NULL now: every value of the tenants fits", ""),
        ];
        for (taken, live, covered, refused) in cases {
            let drift = drift(
                taken.clone().into_iter().collect(),
                live.clone().into_iter().collect(),
                &Declared::default(),
            );
            let judged = drift.judge(&Found::default(), false);
            let expected = |text: &str| if text.is_empty() { vec![] } else { vec![format!("{place}{text}")] };
            assert_eq!(judged.covered, expected(covered), "{taken:?} {live:?}");
            assert_eq!(judged.refused, expected(refused), "{taken:?} {live:?}");
        }
        let gone = compare(&table(vec![]), None, &Declared::default(), &BTreeMap::new(), Dialect::Postgres);
        assert_eq!(gone.refused, ["table 'public.t' does not exist any more"]);
    }

    #[test]
    fn rows_that_need_no_change_are_not_adapted() {
        let wider = Column::new("a", "character varying(9)", TypeKind::Text);
        let live = vec![generated(text("g")), wider, Column { has_default: true, ..text("new") }];
        let drift = drift(vec![text("a"), generated(text("g"))], live.clone(), &Declared::default());
        assert!(drift.adaptation.is_some(), "text to varchar(9) is checked");
        let drift = super::tests::drift(vec![live[1].clone()], vec![text("a")], &Declared::default());
        assert_eq!((drift.covered.len(), drift.adaptation), (1, None));
    }

    #[test]
    fn renamed_columns_go_where_they_were_declared_to_go() {
        let names =
            |drift: &Drift| drift.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let moved = drift(
            vec![text("login"), text("x")],
            vec![text("user_name"), text("x")],
            &renamed(&[("login", "user_name")]),
        );
        assert_eq!((names(&moved), moved.refused.len()), (vec!["user_name".into(), "x".into()], 0));
        assert_eq!(moved.covered, ["column 'login' of table 'public.t' is now 'user_name', as declared"]);
        let swapped = drift(
            vec![text("a"), text("b")],
            vec![text("a"), text("b")],
            &renamed(&[("a", "b"), ("b", "a")]),
        );
        assert_eq!(names(&swapped), ["b", "a"]);
        let over = drift(vec![text("a"), text("b")], vec![text("b")], &renamed(&[("a", "b")]));
        assert_eq!(names(&over), ["b"], "the old 'b' is dropped, 'a' takes its name");
        let done = drift(vec![text("b")], vec![text("b")], &renamed(&[("a", "b")]));
        assert_eq!((names(&done), done.adaptation), (vec!["b".to_owned()], None), "a snapshot taken since");
        for (pairs, wrong) in [
            (vec![("a", "z")], "the table has no column 'z'"),
            (vec![("y", "new")], "the snapshot has neither"),
            (vec![("a", "new"), ("b", "new")], "so is 'b'"),
        ] {
            let drift = drift(vec![text("a"), text("b")], vec![text("a"), text("new")], &renamed(&pairs));
            assert!(drift.refused[0].contains(wrong), "{:?}", drift.refused);
        }
    }

    #[test]
    fn rows_decide_what_a_schema_leaves_open() {
        let narrow = Column::new("c", "character varying(3)", TypeKind::Text);
        let drift = drift(vec![text("c"), text("gone")], vec![not_null(narrow)], &Declared::default());
        let mut found = Found::default();
        found.add_misfit(0, Unfit::TooLong, || "id=7".into());
        // A cast that is sure for every value of the old type, but the value is none.
        found.add_misfit(7, Unfit::Malformed, || "id=8".into());
        found.add_dropped("gone", 2);
        let unfit = drift.take_unfit(&mut found);
        let what = "column 'c' of table 'public.t' was text, now it is character varying(3), is NOT NULL now";
        assert_eq!(unfit[0].reason, Reason::Unfit { what: what.into() });
        assert_eq!(
            (unfit[0].rows, unfit[0].named.as_slice()),
            (1, ["that of id=7 is too long".into()].as_slice())
        );
        assert!(unfit[1].named[0].starts_with("that of id=8"), "{unfit:?}");
        assert_eq!(drift.take_unfit(&mut found), [], "the next tenant's rows fit");
        let judged = drift.judge(&found, false);
        let gone = "column 'gone' of table 'public.t' does not exist any more, but 2 rows of the tenants have a value";
        assert_eq!(judged.refused, [gone]);
        assert!(judged.lacks_allowance);
        assert_eq!(drift.judge(&found, true).refused, Vec::<String>::new());
    }
}
