//! Rows of a snapshot in the shape of a table that has changed since: columns renamed, cast, added, left out.
//!
//! ```text
//! snapshot's tuple ─► fields ─► one origin for each column that is written ─► live tuple, or misfits
//! ```
//!
//! Which columns and which casts is decided at plan time (`plan::drift`); here it is only done. A value is never
//! bent: one that its new type cannot hold exactly is a misfit, and a misfit stops the plan.

mod cast;
pub mod numeric;

use serde::{Deserialize, Serialize};

pub use cast::{Cast, Digits, Unfit};

use super::schema::Table;
use super::wire::{self, Tuples, WireError};

/// How rows of a snapshot become rows of the live table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptation {
    /// The table as the snapshot has it.
    pub taken: Table,
    /// Where the values of each written column come from, in the order of the wire form.
    pub origins: Vec<Origin>,
    /// Columns of the snapshot that are not written: their values are kept in a file of their own.
    pub dropped: Vec<String>,
}

/// Where the values of a written column come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// A column of the snapshot.
    Column {
        /// Its name there.
        column: String,
        /// What its values go through.
        cast: Cast,
        /// Whether NULL is a misfit.
        not_null: bool,
    },
    /// The same value in every row.
    Constant {
        /// Its wire form.
        wire: Vec<u8>,
    },
}

/// Rows in their new shape.
#[derive(Debug, Default)]
pub struct Adapted {
    /// The rows; those with a misfit are left out.
    pub tuples: Tuples,
    /// Values that the live table cannot hold, in the order of the rows.
    pub misfits: Vec<Misfit>,
}

/// A value that its column's new type cannot hold exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Position of the row.
    pub row: usize,
    /// Position of the column among the written ones.
    pub column: usize,
    /// Why.
    pub why: Unfit,
}

impl Adaptation {
    /// The rows in their new shape.
    pub fn adapt(&self, taken: &Tuples) -> Result<Adapted, WireError> {
        let stored: Vec<&str> = self.taken.stored_columns().map(|column| column.name.as_str()).collect();
        let mut sources = Vec::with_capacity(self.origins.len());
        for origin in &self.origins {
            sources.push(match origin {
                Origin::Constant { wire } => Source::Constant(wire),
                Origin::Column { column, cast, not_null } => {
                    let at = stored.iter().position(|name| name == column);
                    let at =
                        at.ok_or(WireError::Fields { actual: stored.len(), expected: stored.len() + 1 })?;
                    Source::Field { at, cast, not_null: *not_null }
                }
            });
        }
        let mut adapted = Adapted::default();
        for (row, tuple) in taken.iter().enumerate() {
            let fields = wire::fields(tuple)?;
            if fields.len() != stored.len() {
                return Err(WireError::Fields { actual: fields.len(), expected: stored.len() });
            }
            let before = adapted.misfits.len();
            let mut values = Vec::with_capacity(sources.len());
            for (column, source) in sources.iter().enumerate() {
                match source.value(&fields) {
                    Ok(value) => values.push(value),
                    Err(why) => adapted.misfits.push(Misfit { row, column, why }),
                }
            }
            if adapted.misfits.len() == before {
                let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
                wire::push_tuple(&mut adapted.tuples, &values);
            }
        }
        Ok(adapted)
    }

    /// Positions of the dropped columns among the stored ones of the snapshot.
    pub fn dropped_positions(&self) -> impl Iterator<Item = (usize, &str)> {
        let stored = self.taken.stored_columns().enumerate();
        stored
            .filter(|(_, column)| self.dropped.contains(&column.name))
            .map(|(at, column)| (at, column.name.as_str()))
    }
}

enum Source<'a> {
    Field { at: usize, cast: &'a Cast, not_null: bool },
    Constant(&'a [u8]),
}

impl Source<'_> {
    fn value<'f>(&'f self, fields: &[Option<&'f [u8]>]) -> Result<Option<std::borrow::Cow<'f, [u8]>>, Unfit> {
        match self {
            Self::Constant(wire) => Ok(Some((*wire).into())),
            Self::Field { at, cast, not_null } => match fields[*at] {
                None if *not_null => Err(Unfit::Null),
                None => Ok(None),
                Some(bytes) => cast.value(bytes).map(Some),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Column, TableName, TypeKind};

    fn adaptation(origins: Vec<Origin>, dropped: &[&str]) -> Adaptation {
        let columns = ["a", "b", "c"].map(|name| Column::new(name, "text", TypeKind::Text)).to_vec();
        let taken = Table { columns, ..Table::new(TableName::new("public", "t")) };
        Adaptation { taken, origins, dropped: dropped.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn from(column: &str, cast: Cast, not_null: bool) -> Origin {
        Origin::Column { column: column.into(), cast, not_null }
    }

    fn tuples(rows: &[&[Option<&[u8]>]]) -> Tuples {
        let mut tuples = Tuples::default();
        rows.iter().for_each(|row| wire::push_tuple(&mut tuples, row));
        tuples
    }

    #[test]
    fn columns_are_taken_left_out_and_added() {
        let adaptation = adaptation(
            vec![
                from("c", Cast::Same, false),
                Origin::Constant { wire: b"eu".into() },
                from("a", Cast::Same, true),
            ],
            &["b"],
        );
        let taken = tuples(&[&[Some(b"1"), Some(b"x"), None], &[Some(b"2"), None, Some(b"z")]]);
        let adapted = adaptation.adapt(&taken).expect("adapted");
        let expected = tuples(&[&[None, Some(b"eu"), Some(b"1")], &[Some(b"z"), Some(b"eu"), Some(b"2")]]);
        assert_eq!((adapted.tuples.bytes, adapted.misfits), (expected.bytes, vec![]));
        assert_eq!(adaptation.dropped_positions().collect::<Vec<_>>(), [(1, "b")]);
    }

    #[test]
    fn misfits_are_named_by_row_and_column_and_their_rows_left_out() {
        let longest = Cast::Text { characters_max: Some(2), trims: false, pads: false };
        let adaptation = adaptation(vec![from("a", longest, true), from("b", Cast::Same, true)], &[]);
        let taken = tuples(&[&[Some(b"abc"), None, None], &[Some("éé".as_bytes()), Some(b""), None]]);
        let adapted = adaptation.adapt(&taken).expect("adapted");
        assert_eq!(adapted.tuples.bytes, tuples(&[&[Some("éé".as_bytes()), Some(b"")]]).bytes);
        assert_eq!(
            adapted.misfits,
            [
                Misfit { row: 0, column: 0, why: Unfit::TooLong },
                Misfit { row: 0, column: 1, why: Unfit::Null }
            ]
        );
    }

    #[test]
    fn rows_of_another_shape_are_refused() {
        let adaptation = adaptation(vec![from("a", Cast::Same, false)], &["b", "c"]);
        assert!(adaptation.adapt(&tuples(&[&[None, None]])).is_err());
        let unknown = Adaptation { origins: vec![from("z", Cast::Same, false)], ..adaptation };
        assert!(unknown.adapt(&tuples(&[&[None, None, None]])).is_err());
    }
}
