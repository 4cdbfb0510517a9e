//! Foreign keys inside one tenant's rows, proved in memory as the rows pass.
//!
//! ```text
//! rows on their way ─► keys that they hold          one set of 128-bit numbers for each referenced key
//!                   └► keys that they point at ─► not held (yet): kept, each once
//! at the end             what is still not held leaves the tenant: the server is asked, once for each key
//! ```
//!
//! A key counts as held only where parent and child have the same bytes and a type in which equal bytes are equal
//! values; everything else is left to the server and its operators. So a doubt costs a question, never a broken
//! key. Memory is bounded: where a tenant has more keys than fit, the server proves them all, set-wise.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::model::wire::{self, Tuples};
use crate::model::{Column, ForeignKey, OwnedTable, Table, TableName, TypeKind};

/// What a number takes in a set, its empty places included.
const HELD_BYTES: usize = 40;
/// What a key that is not held yet takes beside its value.
const OPEN_BYTES: usize = 80;

/// The keys of one tenant's rows in one shard.
pub struct References {
    held: Vec<Held>,
    pointing: Vec<Pointing>,
    bytes: usize,
    bytes_max: usize,
}

/// A referenced key, as the tenant's own rows hold it.
struct Held {
    table: TableName,
    columns: Vec<String>,
    places: Vec<Place>,
    keys: HashSet<u128>,
}

/// A foreign key, and where the tenant's rows point by it.
struct Pointing {
    table: TableName,
    key: ForeignKey,
    /// None where its columns are not all stored.
    places: Option<Vec<Place>>,
    /// Which of the held keys answers, if one can.
    held: Option<usize>,
    /// What is kept of a row to ask about its key.
    asked: Vec<Column>,
    /// The places of those.
    asked_at: Vec<usize>,
    /// Keys that nobody holds so far: number and the asked columns in wire form.
    open: HashMap<u128, Box<[u8]>>,
    partly_null: bool,
}

/// What the engine knows of one foreign key when all rows have passed.
pub struct Leaving {
    /// The table that has the foreign key.
    pub table: TableName,
    /// The foreign key.
    pub key: ForeignKey,
    /// The columns of `keys`.
    pub columns: Vec<Column>,
    /// The keys that no row of the tenant holds, each once; `None` where the server must prove all of them.
    pub keys: Option<Tuples>,
    /// Whether some columns of a key are NULL and others are not, though `MATCH FULL` forbids it.
    pub partly_null: bool,
}

/// A column of a key in the wire form of its rows.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    kind: TypeKind,
}

impl References {
    /// For a tenant whose rows are in `tables`. Takes `bytes_max` at the most, and a chunk's keys.
    pub fn new(tables: &[&OwnedTable], bytes_max: usize) -> Self {
        let find =
            |name: &TableName| tables.iter().map(|owned| &owned.table).find(|table| table.name == *name);
        let mut references = Self { held: vec![], pointing: vec![], bytes: 0, bytes_max };
        for table in tables.iter().map(|owned| &owned.table) {
            for key in &table.foreign_keys {
                let places = places(table, &key.columns);
                let parent = find(&key.parent).filter(|parent| comparable(table, parent, key));
                let held =
                    parent.filter(|_| places.is_some()).and_then(|parent| references.hold(parent, key));
                let (asked_at, asked) = asked(table, key);
                references.pointing.push(Pointing {
                    table: table.name.clone(),
                    key: key.clone(),
                    places,
                    held,
                    asked,
                    asked_at,
                    open: HashMap::new(),
                    partly_null: false,
                });
            }
        }
        references
    }

    /// Where the keys of `parent` that `key` points at are held.
    fn hold(&mut self, parent: &Table, key: &ForeignKey) -> Option<usize> {
        let columns = &key.parent_columns;
        let known = self.held.iter().position(|held| held.table == parent.name && held.columns == *columns);
        known.or_else(|| {
            let (table, columns) = (parent.name.clone(), columns.clone());
            let places = places(parent, &columns)?;
            self.held.push(Held { table, columns, places, keys: HashSet::new() });
            Some(self.held.len() - 1)
        })
    }

    /// Looks at rows of `table` on their way to the shard.
    pub fn add(&mut self, table: &TableName, rows: &Tuples) -> Result<()> {
        let holding: Vec<usize> = positions(&self.held, |held| held.table == *table);
        let pointing: Vec<usize> = positions(&self.pointing, |pointing| pointing.table == *table);
        if self.has_overflowed() || holding.is_empty() && pointing.is_empty() {
            return Ok(());
        }
        let mut fields = Vec::new();
        for tuple in rows.iter() {
            wire::fields_into(tuple, &mut fields).map_err(|error| {
                Error::bug(format!("rows of table '{table}' have no fields")).because(error)
            })?;
            for held in &holding {
                let held = &mut self.held[*held];
                if number(&held.places, &fields).is_some_and(|number| held.keys.insert(number)) {
                    self.bytes += HELD_BYTES;
                }
            }
            for pointing in &pointing {
                self.bytes += self.pointing[*pointing].add(&self.held, &fields);
            }
        }
        if self.has_overflowed() {
            self.held.iter_mut().for_each(|held| held.keys = HashSet::new());
            self.pointing.iter_mut().for_each(|pointing| pointing.open = HashMap::new());
        }
        Ok(())
    }

    /// Whether there were more keys than fit: then nothing is known here.
    fn has_overflowed(&self) -> bool {
        self.bytes > self.bytes_max
    }

    /// The foreign keys and the keys by which they leave the tenant.
    pub fn leaving(self) -> Vec<Leaving> {
        let overflowed = self.has_overflowed();
        let Self { held: all, pointing, .. } = self;
        let leaving = |pointing: Pointing| {
            let known = pointing.places.is_some() && !overflowed;
            let held = pointing.held.map(|held| &all[held].keys);
            let mut keys = Tuples::default();
            for (number, key) in &pointing.open {
                if held.is_none_or(|held| !held.contains(number)) {
                    keys.bytes.extend_from_slice(key);
                    keys.ends.push(keys.bytes.len());
                }
            }
            Leaving {
                table: pointing.table,
                key: pointing.key,
                columns: pointing.asked,
                keys: known.then_some(keys),
                partly_null: pointing.partly_null,
            }
        };
        pointing.into_iter().map(leaving).collect()
    }
}

impl Pointing {
    /// Looks at one row; how many bytes that took.
    fn add(&mut self, held: &[Held], fields: &[Option<&[u8]>]) -> usize {
        let Some(places) = &self.places else { return 0 };
        let Some(number) = number(places, fields) else {
            let set = |place: &Place| fields.get(place.at).is_some_and(Option::is_some);
            self.partly_null |= self.key.match_full && places.iter().any(set);
            return 0;
        };
        if self.held.is_some_and(|at| held[at].keys.contains(&number)) {
            return 0;
        }
        let Entry::Vacant(entry) = self.open.entry(number) else { return 0 };
        let mut key = Tuples::default();
        let values: Vec<Option<&[u8]>> = self.asked_at.iter().map(|at| fields[*at]).collect();
        wire::push_tuple(&mut key, &values);
        OPEN_BYTES + entry.insert(key.bytes.into_boxed_slice()).len()
    }
}

fn positions<T>(items: &[T], wanted: impl Fn(&T) -> bool) -> Vec<usize> {
    items.iter().enumerate().filter(|(_, item)| wanted(item)).map(|(at, _)| at).collect()
}

fn is_integer(kind: TypeKind) -> bool {
    matches!(kind, TypeKind::Int16 | TypeKind::Int32 | TypeKind::Int64)
}

/// The places of columns; `None` if one of them is not in the wire form.
fn places(table: &Table, columns: &[String]) -> Option<Vec<Place>> {
    let place = |name: &String| {
        let (at, column) = table.stored_columns().enumerate().find(|(_, column)| column.name == *name)?;
        Some(Place { at, kind: column.kind })
    };
    columns.iter().map(place).collect()
}

/// The columns that a question about a key needs, with their places: its own, and those of users' types, since a
/// domain may refuse the NULL that stands for a value left out.
fn asked(table: &Table, key: &ForeignKey) -> (Vec<usize>, Vec<Column>) {
    let stored = table.stored_columns().cloned().enumerate();
    stored.filter(|(_, column)| key.columns.contains(&column.name) || column.type_name.contains('.')).unzip()
}

/// Whether keys of equal bytes are equal for the constraint, in all columns.
fn comparable(child: &Table, parent: &Table, key: &ForeignKey) -> bool {
    let mut columns = key.columns.iter().zip(&key.parent_columns);
    columns.all(|(column, parent_column)| match (child.column(column), parent.column(parent_column)) {
        (Some(child), Some(parent)) => same_values(child, parent),
        _ => false,
    })
}

/// Of one type, equal bytes are equal values. Of two, only those of integers are, as numbers, and of texts without
/// padding.
fn same_values(child: &Column, parent: &Column) -> bool {
    let is_text =
        |column: &Column| column.type_name == "text" || column.type_name.starts_with("character varying");
    child.type_name == parent.type_name
        || is_integer(child.kind) && is_integer(parent.kind)
        || is_text(child) && is_text(parent)
}

/// The number of a key, `None` if a column is NULL. A single integer or UUID stands for itself, anything else is
/// hashed.
fn number(places: &[Place], fields: &[Option<&[u8]>]) -> Option<u128> {
    let value = |place: &Place| fields.get(place.at).copied().flatten();
    if let [place] = places {
        let value = value(place)?;
        if is_integer(place.kind) {
            return Some(u128::from(integer(value).cast_unsigned()));
        }
        if let (TypeKind::Uuid, Ok(bytes)) = (place.kind, value.try_into()) {
            return Some(u128::from_be_bytes(bytes));
        }
    }
    let mut hasher = blake3::Hasher::new();
    for place in places {
        let value = value(place)?;
        let wide = integer(value).to_be_bytes();
        let value = if is_integer(place.kind) { wide.as_slice() } else { value };
        hasher.update(&(value.len() as u64).to_be_bytes());
        hasher.update(value);
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Some(u128::from_be_bytes(first))
}

/// An integer of two, four or eight bytes.
fn integer(value: &[u8]) -> i64 {
    match *value {
        [a, b] => i64::from(i16::from_be_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Belongs, Owners};

    fn table(name: &str, columns: &[(&str, &str, TypeKind)]) -> OwnedTable {
        let column = |&(name, type_name, kind): &(&str, &str, TypeKind)| Column {
            name: name.into(),
            type_name: type_name.into(),
            kind,
            not_null: false,
            generated: false,
            has_default: false,
            user_type: None,
        };
        let mut table = Table::new(TableName::new("public", name));
        table.columns = columns.iter().map(column).collect();
        OwnedTable { table, owners: Owners { ways: vec![], belongs: Belongs::ToOne } }
    }

    fn key(columns: &[&str], parent: &str, parent_columns: &[&str]) -> ForeignKey {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        ForeignKey {
            name: "fk".into(),
            columns: names(columns),
            parent: TableName::new("public", parent),
            parent_columns: names(parent_columns),
            deferrable: false,
            validated: true,
            match_full: false,
            follows: false,
            operators: vec![],
        }
    }

    fn tuples(rows: &[&[Option<&[u8]>]]) -> Tuples {
        let mut tuples = Tuples::default();
        rows.iter().for_each(|row| wire::push_tuple(&mut tuples, row));
        tuples
    }

    const ID: (&str, &str, TypeKind) = ("id", "bigint", TypeKind::Int64);

    /// How many keys leave the tenant: parents hold `held`, children point at `pointing`.
    fn leaving(child: (&str, TypeKind), parent: (&str, TypeKind), held: &[u8], pointing: &[u8]) -> usize {
        let parents = table("parents", &[("k", parent.0, parent.1)]);
        let mut children = table("children", &[("p", child.0, child.1)]);
        children.table.foreign_keys = vec![key(&["p"], "parents", &["k"])];
        let mut references = References::new(&[&parents, &children], 1 << 20);
        references.add(&children.table.name, &tuples(&[&[Some(pointing)], &[None]])).expect("add");
        references.add(&parents.table.name, &tuples(&[&[Some(held)]])).expect("add");
        references.leaving()[0].keys.as_ref().expect("known").len()
    }

    #[test]
    fn a_key_is_held_where_equal_bytes_are_equal_values() {
        use TypeKind as K;
        let minus_one = |width: usize| vec![0xff; width];
        let (int, big) = (("integer", K::Int32), ("bigint", K::Int64));
        assert_eq!(leaving(int, big, &minus_one(8), &minus_one(4)), 0);
        assert_eq!(leaving(int, big, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], &minus_one(4)), 1, "not -1");
        let (text, varchar) = (("text", K::Text), ("character varying(9)", K::Text));
        assert_eq!(leaving(varchar, text, b"ab", b"ab"), 0);
        assert_eq!(leaving(text, text, b"\0\0\0\0\0\0ab", b"ab"), 1, "a text is no number");
        assert_eq!(leaving(("character(3)", K::Text), text, b"ab ", b"ab "), 1, "padding does not count");
        let uuid = ("uuid", K::Uuid);
        assert_eq!(leaving(uuid, uuid, &[7; 16], &[7; 16]), 0);
        assert_eq!(leaving(uuid, uuid, &[7; 16], &[8; 16]), 1);
        let (timestamp, zoned) =
            (("timestamp without time zone", K::Timestamp), ("timestamp with time zone", K::TimestampTz));
        assert_eq!(leaving(timestamp, zoned, &[1; 8], &[1; 8]), 1, "the server knows the zone");
    }

    #[test]
    fn a_key_that_leaves_the_tenant_is_asked_once() {
        let mut comments =
            table("comments", &[ID, ("a", "integer", TypeKind::Int32), ("b", "public.code", TypeKind::Text)]);
        comments.table.foreign_keys =
            vec![key(&["id", "a"], "elsewhere", &["x", "y"]), key(&["id"], "comments", &["id"])];
        comments.table.foreign_keys[0].match_full = true;
        let mut references = References::new(&[&comments], 1 << 20);
        let (one, two) = (7i64.to_be_bytes(), 3i32.to_be_bytes());
        let row: &[Option<&[u8]>] = &[Some(&one), Some(&two), Some(b"x")];
        references.add(&comments.table.name, &tuples(&[row, row])).expect("add");
        let found = references.leaving();
        assert_eq!(found[0].keys.as_ref().map(Tuples::len), Some(1));
        assert_eq!(found[0].columns.len(), 3, "a domain's value goes along");
        assert!(!found[0].partly_null);
        assert_eq!(found[1].keys.as_ref().map(Tuples::len), Some(0), "the row itself holds it");

        let mut references = References::new(&[&comments], 1 << 20);
        references.add(&comments.table.name, &tuples(&[&[Some(&one), None, None]])).expect("add");
        assert!(references.leaving()[0].partly_null);
    }

    #[test]
    fn too_many_keys_are_left_to_the_server() {
        let mut rows = table("rows", &[ID]);
        rows.table.foreign_keys = vec![key(&["id"], "rows", &["id"])];
        let mut references = References::new(&[&rows], 1_000);
        for id in 0..100i64 {
            references.add(&rows.table.name, &tuples(&[&[Some(&id.to_be_bytes())]])).expect("add");
        }
        assert!(references.held[0].keys.capacity() == 0 && references.bytes < 2_000, "nothing is kept");
        assert!(references.leaving()[0].keys.is_none());
    }
}
