//! Sets of tenants as numbers: a map of a million keys holds a number for each, and most name one tenant.
//!
//! ```text
//! 0 nobody   1 somebody who is not wanted   2… the wanted tenants, one each   then sets of several, as they are met
//! ```

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Int16Type, Int32Type, Int64Type};

use super::convert;
use super::prune::{VALUES_MAX, Values};
use crate::model::{Column, TenantId, TypeKind};

/// A set of tenants.
pub type Group = u32;

/// The empty set.
pub const NOBODY: Group = 0;
/// All tenants that are not wanted: they need not be told apart.
pub const OTHERS: Group = 1;
const FIRST: Group = 2;

/// A map whose keys come from a file: hashed fast, with a seed of this process.
pub type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The sets that were met.
pub struct Groups {
    tenants: Vec<TenantId>,
    sets: Mutex<Sets>,
}

#[derive(Default)]
struct Sets {
    members: Vec<Box<[Group]>>,
    numbers: Map<Box<[Group]>, Group>,
}

impl Groups {
    pub fn new(tenants: &[TenantId]) -> Self {
        Self { tenants: tenants.to_vec(), sets: Mutex::default() }
    }

    /// The one wanted tenant that the set consists of.
    pub fn only(&self, group: Group) -> Option<&TenantId> {
        group.checked_sub(FIRST).and_then(|at| self.tenants.get(at as usize))
    }

    /// Whether there are several in the set.
    pub fn is_several(&self, group: Group) -> bool {
        group as usize >= FIRST as usize + self.tenants.len()
    }

    /// All tenants of the set, each as a set.
    pub fn members(&self, group: Group) -> Box<[Group]> {
        let several = (group as usize).checked_sub(FIRST as usize + self.tenants.len());
        match several {
            Some(at) => self.sets.lock().unwrap_or_else(PoisonError::into_inner).members[at].clone(),
            None if group == NOBODY => Box::default(),
            None => Box::new([group]),
        }
    }

    /// The members of both.
    pub fn union(&self, one: Group, other: Group) -> Group {
        if one == other || other == NOBODY {
            return one;
        }
        if one == NOBODY {
            return other;
        }
        let mut members = [self.members(one), self.members(other)].concat();
        members.sort_unstable();
        members.dedup();
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = sets.numbers.get(members.as_slice()) {
            return *number;
        }
        let number = FIRST + (self.tenants.len() + sets.members.len()) as Group;
        let members = members.into_boxed_slice();
        sets.members.push(members.clone());
        sets.numbers.insert(members, number);
        number
    }

    /// How to find the tenant in a column of this kind; `None` for kinds that no tenant column has.
    pub fn finder(&self, column: &Column) -> Option<TenantFinder> {
        let numbered = || self.tenants.iter().map(|tenant| tenant.as_str()).zip(FIRST..);
        Some(match column.kind {
            TypeKind::Int16 | TypeKind::Int32 | TypeKind::Int64 => {
                let canonical = |(text, group): (&str, Group)| {
                    text.parse().ok().filter(|number: &i64| number.to_string() == text).map(|id| (id, group))
                };
                TenantFinder::Integers(numbered().filter_map(canonical).collect())
            }
            TypeKind::Uuid => {
                let canonical = |(text, group): (&str, Group)| {
                    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
                    convert::uuid(text).filter(|_| is_lower).map(|id| (id, group))
                };
                TenantFinder::Uuids(numbered().filter_map(canonical).collect())
            }
            TypeKind::Text if column.base_type() != "citext" => {
                let trims = column.base_type().starts_with("character(");
                TenantFinder::Texts {
                    of: numbered().map(|(text, group)| (text.into(), group)).collect(),
                    trims,
                }
            }
            _ => return None,
        })
    }
}

/// From the value of a tenant column to the tenant.
pub enum TenantFinder {
    Integers(Map<i64, Group>),
    Uuids(Map<[u8; 16], Group>),
    /// `trims`: blanks at the end are no part of the value.
    Texts {
        of: Map<Box<str>, Group>,
        trims: bool,
    },
}

impl TenantFinder {
    /// The wanted tenants as values of the column, unless there are many.
    pub fn few(&self) -> Option<Values> {
        match self {
            Self::Integers(known) if known.len() <= VALUES_MAX => {
                Some(Values::Integers(known.keys().copied().collect()))
            }
            Self::Uuids(known) if known.len() <= VALUES_MAX => {
                Some(Values::Uuids(known.keys().copied().collect()))
            }
            Self::Texts { of, trims: false } if of.len() <= VALUES_MAX => {
                Some(Values::Texts(of.keys().cloned().collect()))
            }
            _ => None,
        }
    }

    /// The tenant of each row; `others` where it is one that is not wanted.
    pub fn find(&self, column: &ArrayRef, others: Group) -> Vec<Group> {
        if let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() {
            let of = self.find(dictionary.values(), others);
            let keys = dictionary.keys().iter();
            return keys
                .map(|key| key.and_then(|key| of.get(key as usize).copied()).unwrap_or(NOBODY))
                .collect();
        }
        fn of<V>(value: Option<V>, others: Group, find: impl Fn(V) -> Option<Group>) -> Group {
            value.map_or(NOBODY, |value| find(value).unwrap_or(others))
        }
        match self {
            Self::Integers(known) => {
                let find = |id: Option<i64>| of(id, others, |id| known.get(&id).copied());
                match column.data_type() {
                    arrow::datatypes::DataType::Int16 => {
                        column.as_primitive::<Int16Type>().iter().map(|id| find(id.map(i64::from))).collect()
                    }
                    arrow::datatypes::DataType::Int32 => {
                        column.as_primitive::<Int32Type>().iter().map(|id| find(id.map(i64::from))).collect()
                    }
                    _ => column.as_primitive::<Int64Type>().iter().map(find).collect(),
                }
            }
            Self::Uuids(known) => {
                let ids = column.as_fixed_size_binary().iter();
                ids.map(|id| of(id, others, |id| known.get(id).copied())).collect()
            }
            Self::Texts { of: known, trims } => {
                let cut = |id: &str| known.get(if *trims { id.trim_end_matches(' ') } else { id }).copied();
                column.as_string::<i32>().iter().map(|id| of(id, others, cut)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn sets_are_numbered_once() {
        let groups = Groups::new(&["7", "8"].map(TenantId::new));
        let (seven, eight) = (FIRST, FIRST + 1);
        assert_eq!(groups.union(NOBODY, seven), seven);
        assert_eq!(groups.union(seven, seven), seven);
        let both = groups.union(seven, eight);
        assert_eq!(groups.union(eight, seven), both);
        assert_eq!(groups.union(both, eight), both);
        assert!(groups.is_several(both) && !groups.is_several(eight));
        assert_eq!(groups.only(both), None);
        assert_eq!(groups.only(eight), Some(&TenantId::new("8")));
        let disputed = groups.union(both, OTHERS);
        assert_eq!(*groups.members(disputed), [OTHERS, seven, eight]);
    }

    #[test]
    fn ids_are_compared_as_the_text_of_their_type() {
        let groups = Groups::new(&["7", "07", "x"].map(TenantId::new));
        let column = |kind| Column::new("site", "of any", kind);
        let integers: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(8)]));
        let finder = groups.finder(&column(TypeKind::Int32)).expect("integers");
        assert_eq!(finder.find(&integers, OTHERS), [FIRST, NOBODY, OTHERS]);
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["07", "x", "X"]));
        let finder = groups.finder(&column(TypeKind::Text)).expect("texts");
        assert_eq!(finder.find(&texts, NOBODY), [FIRST + 1, FIRST + 2, NOBODY]);
        assert!(groups.finder(&column(TypeKind::Float64)).is_none());
    }
}
