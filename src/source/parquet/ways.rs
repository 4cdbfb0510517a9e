//! The ways from a row to its tenants, followed for many rows at once.
//!
//! ```text
//! Ways     all ways of a table as a tree: tenant columns here, and hops, each with the ways beyond it
//! Lookup   the same for one scan: which columns, and for each hop the map from keys to tenants
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array};
use arrow::datatypes::DataType;
use serde::Serialize;

use super::convert;
use super::groups::{Group, Groups, NOBODY, TenantFinder};
use super::keys::{Form, KeyMap, Keys};
use super::prune::{self, Values};
use super::rows::RowGroup;
use crate::error::{Error, Result};
use crate::model::{Column, OwnerPath, Step, Table, TypeKind};

/// All ways of a table; ways that begin alike are one as far as that goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ways {
    /// Columns of the row itself that name the tenant.
    pub here: Vec<String>,
    pub hops: Vec<Hop>,
}

/// A hop, and what comes behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hop {
    pub step: Step,
    pub beyond: Ways,
}

impl Ways {
    pub fn new(paths: &[OwnerPath]) -> Self {
        let mut ways = Self::default();
        for path in paths {
            let mut at = &mut ways;
            for step in &path.steps {
                let known = at.hops.iter().position(|hop| hop.step == *step);
                let known = known.unwrap_or_else(|| {
                    at.hops.push(Hop { step: step.clone(), beyond: Self::default() });
                    at.hops.len() - 1
                });
                at = &mut at.hops[known].beyond;
            }
            at.here.push(path.column.clone());
        }
        ways
    }

    /// The columns of the row that are looked at.
    pub fn columns(&self) -> Vec<&String> {
        let mut columns: Vec<&String> = self.here.iter().collect();
        for Hop { step, .. } in &self.hops {
            columns.extend(step.columns.iter().chain(step.when.iter().map(|when| &when.column)));
        }
        let mut seen = HashSet::new();
        columns.retain(|column| seen.insert(*column));
        columns
    }
}

impl Hop {
    /// In which form the columns of the two sides are compared.
    pub fn forms(&self, child: &Table, parent: &Table) -> Result<Vec<Form>> {
        let pairs = self.step.columns.iter().zip(&self.step.parent_columns);
        let form = |(down, up): (&String, &String)| {
            let (below, above) = (column(child, down)?, column(parent, up)?);
            let as_text = self.step.as_text(down).is_some();
            let form = if self.step.each {
                Form::of_elements(below, above, as_text)
            } else {
                Form::of(below, above, as_text)
            };
            form.ok_or_else(|| {
                Error::refused(format!(
                    "unable to follow column '{down}' of table '{}' to '{up}' of '{}': {} and {} cannot be compared outside of the database",
                    child.name, parent.name, below.type_name, above.type_name
                ))
                .hint("give the table another rule, or take the snapshot from a live database")
            })
        };
        pairs.map(form).collect()
    }
}

/// A column that is kept.
pub fn column<'t>(table: &'t Table, name: &str) -> Result<&'t Column> {
    table.stored_columns().find(|column| column.name == name).ok_or_else(|| {
        Error::undecided(format!(
            "unable to tell the owners of table '{}': its files have no column '{name}'",
            table.name
        ))
        .hint("export the table with the column, or give it another rule")
    })
}

/// Tells the tenants of the rows of one table.
pub struct Lookup {
    /// The columns it looks at, in the order in which [`Lookup::groups`] takes them.
    pub columns: Vec<Column>,
    /// Their places among the stored columns of the table.
    pub places: Vec<usize>,
    /// Those of them that only name the tenant.
    pub tenants: Vec<usize>,
    here: Vec<(usize, TenantFinder)>,
    hops: Vec<LookupHop>,
    /// What tenants count as that are not wanted.
    others: Group,
}

struct LookupHop {
    columns: Vec<usize>,
    when: Option<(usize, String)>,
    each: bool,
    forms: Vec<Form>,
    map: Arc<KeyMap>,
}

impl Lookup {
    /// `maps`: what the hops lead to, in their order.
    pub fn new(
        table: &Table,
        ways: &Ways,
        maps: Vec<(Vec<Form>, Arc<KeyMap>)>,
        groups: &Groups,
        others: Group,
    ) -> Result<Self> {
        let names = ways.columns();
        let columns = names.iter().map(|name| column(table, name).cloned()).collect::<Result<Vec<_>>>()?;
        let at = |name: &String| names.iter().position(|known| *known == name).unwrap_or_default();
        let mut here = Vec::with_capacity(ways.here.len());
        for name in &ways.here {
            let finder = groups.finder(&columns[at(name)]).ok_or_else(|| {
                let Column { type_name, kind, .. } = &columns[at(name)];
                Error::refused(format!(
                    "unable to tell the owners of table '{}': its column '{name}' ({type_name}) comes as {kind}, by which no tenant is found",
                    table.name
                ))
                .hint("export the column as the database prints it, or take the snapshot from a live database")
            })?;
            here.push((at(name), finder));
        }
        for when in ways.hops.iter().filter_map(|hop| hop.step.when.as_ref()) {
            let kind = column(table, &when.column)?;
            if !Form::has_text(kind) {
                let (table, name, type_name) = (&table.name, &kind.name, &kind.type_name);
                return Err(Error::refused(format!(
                    "unable to tell the kind of the rows of table '{table}': its column '{name}' is of type {type_name}"
                ))
                .hint("give the table another rule, or take the snapshot from a live database"));
            }
        }
        let hops = ways.hops.iter().zip(maps).map(|(Hop { step, .. }, (forms, map))| LookupHop {
            columns: step.columns.iter().map(at).collect(),
            when: step.when.as_ref().map(|when| (at(&when.column), when.equals.clone())),
            each: step.each,
            forms,
            map,
        });
        let place = |name: &&String| table.stored_columns().position(|stored| stored.name == **name);
        let places: Vec<usize> = names.iter().filter_map(place).collect();
        let hops: Vec<LookupHop> = hops.collect();
        let is_hops = |at: &usize| {
            hops.iter()
                .any(|hop| hop.columns.contains(at) || hop.when.as_ref().is_some_and(|(when, _)| when == at))
        };
        let tenants = here.iter().map(|(at, _)| *at).filter(|at| !is_hops(at)).map(|at| places[at]).collect();
        Ok(Self { here, hops, columns: columns.clone(), places, tenants, others })
    }

    /// Whether a row group may hold rows that lead to a wanted tenant, or to nobody if those are wanted too.
    pub fn may_hold(&self, group: &RowGroup, nobodys: bool) -> bool {
        let may = |at: usize, values: Option<Values>| {
            values.is_none_or(|values| prune::may_hold(group, self.places[at], &values, nobodys))
        };
        let of_hop = |hop: &LookupHop| match (hop.columns.as_slice(), hop.forms.as_slice(), hop.each) {
            // A reference to a neighbour's row looks like one to nobody's.
            (&[at], [Form::Integer], false) if !nobodys => may(at, hop.map.few()),
            _ => true,
        };
        self.here.iter().any(|(at, finder)| may(*at, finder.few())) || self.hops.iter().any(of_hop)
    }

    /// The tenants of each row; `None` if a value is not what its type says.
    pub fn groups(&self, arrays: &[ArrayRef], known: &Groups) -> Option<Vec<Group>> {
        let mut found: Option<Vec<Group>> = None;
        let mut join = |answers: Vec<Group>| match &mut found {
            None => found = Some(answers),
            Some(found) => {
                found
                    .iter_mut()
                    .zip(answers)
                    .for_each(|(group, answer)| *group = known.union(*group, answer));
            }
        };
        for (at, finder) in &self.here {
            join(finder.find(&arrays[*at], self.others));
        }
        for hop in &self.hops {
            join(hop.answers(&self.columns, arrays, known)?);
        }
        found
    }
}

impl LookupHop {
    fn answers(&self, columns: &[Column], arrays: &[ArrayRef], known: &Groups) -> Option<Vec<Group>> {
        let key: Vec<(&Column, &ArrayRef)> =
            self.columns.iter().map(|at| (&columns[*at], &arrays[*at])).collect();
        let mut answers = if self.each {
            let (elements, ends) = elements(self.forms[0], key[0].0, key[0].1)?;
            let found = self.map.find(&elements);
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let join = |group, answer: &Group| known.union(group, *answer);
            starts.zip(&ends).map(|(from, to)| found[from..*to].iter().fold(NOBODY, join)).collect()
        } else {
            self.map.find(&Keys::new(&self.forms, &key)?)
        };
        if let Some((at, equals)) = &self.when {
            for (answer, holds) in answers.iter_mut().zip(says(&columns[*at], &arrays[*at], equals)?) {
                if !holds {
                    *answer = NOBODY;
                }
            }
        }
        Some(answers)
    }
}

/// Whether the text of each value is this one.
pub fn says(column: &Column, array: &ArrayRef, text: &str) -> Option<Vec<bool>> {
    let Keys::Bytes(texts) = Keys::new(&[Form::Text], &[(column, array)])? else { return None };
    /// The length stands in front.
    const HEAD: usize = 4;
    Some(texts.iter().map(|value| value.is_some_and(|value| &value[HEAD..] == text.as_bytes())).collect())
}

/// The elements of each row's array as keys, and where those of each row end.
fn elements(form: Form, column: &Column, array: &ArrayRef) -> Option<(Keys, Vec<usize>)> {
    let mut ends = Vec::with_capacity(array.len());
    let mut values: Vec<Vec<u8>> = Vec::new();
    let is_json = *array.data_type() == DataType::Utf8;
    let element = if is_json { None } else { Some(convert::array::element(column.base_type())?.0.kind) };
    for row in 0..array.len() {
        if array.is_valid(row) {
            match element {
                None => values.extend(json_elements(array.as_string::<i32>().value(row))),
                Some(kind) => {
                    let found = convert::array::elements(array.as_binary_opt::<i32>()?.value(row))?;
                    values.extend(
                        found.into_iter().map(|value| text_of(kind, value)).collect::<Option<Vec<_>>>()?,
                    );
                }
            }
        }
        ends.push(values.len());
    }
    let text = |value: &Vec<u8>| std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    let keys = match form {
        Form::Integer => Keys::Integers(values.iter().map(text).collect::<Int64Array>()),
        Form::Text | Form::Same(TypeKind::Uuid) => {
            let key = |value: &Vec<u8>| {
                let value = if form == Form::Text {
                    value.clone()
                } else {
                    convert::uuid(std::str::from_utf8(value).ok()?)?.into()
                };
                Some([&(value.len() as u32).to_be_bytes()[..], &value].concat())
            };
            Keys::Bytes(values.iter().map(key).collect::<BinaryArray>())
        }
        _ => return None,
    };
    Some((keys, ends))
}

/// The text of an element in binary form.
fn text_of(kind: TypeKind, value: &[u8]) -> Option<Vec<u8>> {
    Some(match kind {
        TypeKind::Int16 => i16::from_be_bytes(value.try_into().ok()?).to_string().into(),
        TypeKind::Int32 => i32::from_be_bytes(value.try_into().ok()?).to_string().into(),
        TypeKind::Int64 => i64::from_be_bytes(value.try_into().ok()?).to_string().into(),
        TypeKind::Uuid => convert::uuid_text(value).into(),
        TypeKind::Text => value.into(),
        _ => return None,
    })
}

/// The elements of an array that is kept as JSON; what is none has no elements.
fn json_elements(text: &str) -> Vec<Vec<u8>> {
    let Ok(serde_json::Value::Array(elements)) = serde_json::from_str(text) else { return Vec::new() };
    let text = |element| match element {
        serde_json::Value::String(text) => Some(text.into_bytes()),
        serde_json::Value::Number(number) => Some(number.to_string().into_bytes()),
        _ => None,
    };
    elements.into_iter().filter_map(text).collect()
}
