//! References that no foreign key declares: supposed from names and types, then checked on the rows.
//!
//! ```text
//! account_id ─► accounts.id          org_id ─► [init] names            (task_id, task_at) ─► tasks (id, at)
//! label_ids bigint[] ─► labels.id    target_type, target_id ─► the tables that the values of target_type name
//! ```
//!
//! A guess says nothing until its hits are known: the shard answers, `init` decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::declared::Declarations;
use super::names::{class_word, forms, plain, singular, stem, stem_of_many};
use super::parts::Parts;
use super::root::{Root, fits};
use super::{Guess, How, Schema};
use crate::limits::KINDS_MAX;
use crate::model::{Column, Link, Table, TableName, TypeKind, When};
use crate::shard::Wanted;

/// The columns whose values must be known before all guesses can be made: those that say of which kind a
/// polymorphic reference is.
pub fn kinds_wanted(schema: &Schema) -> Vec<Wanted> {
    let of_table = |table: &Table| {
        let pairs = polymorphic_pairs(table).map(|(kind, _)| kind.to_owned()).collect::<Vec<_>>();
        let table = table.name.clone();
        pairs.into_iter().map(move |column| Wanted { table: table.clone(), column, values_max: KINDS_MAX })
    };
    schema.tables.iter().flat_map(of_table).collect()
}

/// All guesses of a shard; `kinds` holds the values of the columns that were wanted.
pub fn guesses(
    schema: &Schema,
    root: &Root,
    declared: &Declarations,
    kinds: &HashMap<(TableName, String), Vec<String>>,
) -> Vec<Guess> {
    let words = Words::new(&schema.tables);
    let parts = Parts::new(schema);
    let mut found = Vec::new();
    for table in schema.tables.iter().filter(|table| declared.excludes(&table.name).is_none()) {
        let guesser = Guesser { schema, root, declared, words: &words, table };
        let of_parts: Vec<Guess> =
            parts.links(table).into_iter().map(|link| guesser.guess(link, How::Part)).collect();
        // A key weighs more than a name, but for the name of the tenant.
        let by_names = guesser.by_names();
        let same = |one: &Guess, other: &Guess| one.link == other.link;
        let is_tenant = |part: &Guess| by_names.iter().any(|one| one.how == How::Tenant && same(one, part));
        let of_parts: Vec<Guess> = of_parts.into_iter().filter(|part| !is_tenant(part)).collect();
        found.extend(by_names.into_iter().filter(|one| !of_parts.iter().any(|part| same(part, one))));
        found.extend(of_parts);
        found.extend(guesser.polymorphic(kinds));
    }
    found
}

/// Tables by the words that columns and classes use for them.
struct Words<'a>(HashMap<String, Vec<&'a Table>>);

impl<'a> Words<'a> {
    fn new(tables: &'a [Table]) -> Self {
        let mut words: HashMap<String, Vec<&Table>> = HashMap::new();
        for table in tables {
            for form in forms(&table.name.table) {
                words.entry(form).or_default().push(table);
            }
        }
        Self(words)
    }

    /// The one table that `word` can mean for a table: of its schema first, with its prefix first (`shop_order`
    /// for `order` said by `shop_line`); none if several fit equally.
    fn meant(&self, word: &str, speaker: &TableName) -> Option<&'a Table> {
        let own = plain(&speaker.table);
        let prefixed = own.split_once('_').map(|(prefix, _)| format!("{prefix}_{word}"));
        [Some(word.to_owned()), prefixed, Some(singular(word))].into_iter().flatten().find_map(|word| {
            let tables = self.0.get(&word)?;
            let local = tables.iter().copied().filter(|table| table.name.schema == speaker.schema);
            match (local.collect::<Vec<_>>().as_slice(), tables.as_slice()) {
                ([one], _) | ([], [one]) => Some(*one),
                _ => None,
            }
        })
    }
}

struct Guesser<'a> {
    schema: &'a Schema,
    root: &'a Root,
    declared: &'a Declarations,
    words: &'a Words<'a>,
    table: &'a Table,
}

impl Guesser<'_> {
    fn guess(&self, link: Link, how: How) -> Guess {
        let keyed = link.columns.len() == 1 && has_key_of_its_own(self.table, &link.columns[0]);
        Guess { table: self.table.name.clone(), link, how, keyed, unnamed: None, hits: None }
    }

    fn by_names(&self) -> Vec<Guess> {
        let kind_columns: BTreeSet<&str> = polymorphic_pairs(self.table).map(|(_, id)| id).collect();
        let mut found = Vec::new();
        for column in &self.table.columns {
            if self.table.name == self.root.table && self.schema.shard == self.root.shard {
                break;
            }
            let here = self.schema.shard == self.root.shard;
            if here && self.root.keys_of(self.table).any(|key| key.columns == [column.name.as_str()]) {
                continue;
            }
            // A name learned from another table's key says nothing of a column that a key of its own explains.
            let in_key = self.table.foreign_keys.iter().any(|key| key.columns.contains(&column.name));
            let tenant = self.root.is_named(&column.name, column.kind)
                && (!in_key || self.root.is_plainly_named(&column.name));
            if tenant {
                found.push(self.guess(self.to_root(column), How::Tenant));
            } else if in_key || kind_columns.contains(column.name.as_str()) {
                continue;
            } else if let Some(target) = self.declared_target(column) {
                found.push(target);
            } else {
                let one = self.one(column).or_else(|| self.tree(column));
                found.extend(one.or_else(|| self.many(column)));
            }
        }
        found
    }

    fn to_root(&self, column: &Column) -> Link {
        Link::new(vec![column.name.clone()], self.root.table.clone(), vec![self.root.key.clone()])
    }

    /// A naming rule of the configuration.
    fn declared_target(&self, column: &Column) -> Option<Guess> {
        let mut rules = self.declared.names.iter();
        let (_, target) = rules.find(|(name, _)| name.eq_ignore_ascii_case(&column.name))?;
        let here = self.schema.tables.iter().any(|table| table.name == target.table);
        let is_root = target.table == self.root.table && target.column == self.root.key;
        if target.table == self.table.name || !(here || is_root) {
            return None;
        }
        let link = Link::new(vec![column.name.clone()], target.table.clone(), vec![target.column.clone()]);
        Some(self.guess(link, if is_root { How::Tenant } else { How::Named }))
    }

    /// `account_id`, or with the other columns of a key of several: `(task_id, task_inserted_at)`.
    fn one(&self, column: &Column) -> Option<Guess> {
        let word =
            stem(&column.name, "id").or_else(|| column.name.rsplit_once('_').map(|(word, _)| plain(word)))?;
        let (parent, prefixed) = self.parent(&word)?;
        for key in keys(parent) {
            let child = |above: &str| self.child_of(&word, above, parent, key.len() == 1, column);
            let columns: Option<Vec<String>> = key.iter().map(|above| child(above)).collect();
            if let Some(columns) = columns.filter(|columns| columns.contains(&column.name)) {
                let how = if prefixed { How::Prefixed } else { How::Name };
                return Some(self.guess(Link::new(columns, parent.name.clone(), key.to_vec()), how));
            }
        }
        None
    }

    /// `parent_id`, `parent_page_id`: the row above in the same table.
    fn tree(&self, column: &Column) -> Option<Guess> {
        let [key] = self.table.primary_key.as_slice() else { return None };
        let word = stem(&column.name, key)?;
        let own =
            || word.strip_prefix("parent_").map(|rest| forms(&self.table.name.table).contains(&rest.into()));
        let fitting = fits(column.kind, self.table.column(key)?.kind);
        if !fitting || !(word == "parent" || own() == Some(true)) {
            return None;
        }
        let link = Link::new(vec![column.name.clone()], self.table.name.clone(), vec![key.clone()]);
        Some(self.guess(link, How::Tree))
    }

    /// The table that a word means; `billing_account` may be an account in a role.
    fn parent(&self, word: &str) -> Option<(&Table, bool)> {
        let other = |table: &&Table| table.name != self.table.name;
        let exact = self.words.meant(word, &self.table.name).filter(other).map(|table| (table, false));
        exact.or_else(|| {
            let (_, rest) = word.split_once('_')?;
            self.parent(rest).map(|(table, _)| (table, true))
        })
    }

    /// The column of this table that holds the value of the parent's `above`.
    fn child_of(
        &self,
        word: &str,
        above: &str,
        parent: &Table,
        single: bool,
        column: &Column,
    ) -> Option<String> {
        let kind = parent.column(above)?.kind;
        let named = |candidate: &&Column| {
            let exact = plain(&candidate.name) == format!("{word}_{}", plain(above));
            let id = single
                && candidate.name == column.name
                && stem(&candidate.name, above).as_deref() == Some(word);
            // The rows tell whether a text holds numbers.
            (exact || id) && (fits(candidate.kind, kind) || (single && candidate.kind == TypeKind::Text))
        };
        self.table.columns.iter().find(named).map(|found| found.name.clone())
    }

    /// `label_ids bigint[]`; on SQLite a text that holds a JSON array.
    fn many(&self, column: &Column) -> Option<Guess> {
        let (parent, _) = self.parent(&stem_of_many(&column.name)?)?;
        let element = match (column.type_name.strip_suffix("[]"), column.kind) {
            (Some("smallint" | "integer" | "bigint"), _) => TypeKind::Int64,
            (Some("uuid"), _) => TypeKind::Uuid,
            (Some("text" | "character varying"), _) => TypeKind::Text,
            (None, TypeKind::Text | TypeKind::Opaque) if column.type_name != "jsonb" => {
                parent.column(parent.primary_key.first()?)?.kind
            }
            _ => return None,
        };
        let [key] = parent.primary_key.as_slice() else { return None };
        let fitting = fits(element, parent.column(key)?.kind);
        let link = Link {
            each: true,
            ..Link::new(vec![column.name.clone()], parent.name.clone(), vec![key.clone()])
        };
        fitting.then(|| self.guess(link, How::Each))
    }

    /// One guess for each kind that a polymorphic reference names; none if no kind names a table.
    fn polymorphic(&self, kinds: &HashMap<(TableName, String), Vec<String>>) -> Vec<Guess> {
        let mut found = Vec::new();
        for (kind, id) in polymorphic_pairs(self.table) {
            let values =
                kinds.get(&(self.table.name.clone(), kind.to_owned())).map_or(&[][..], Vec::as_slice);
            if values.len() > KINDS_MAX {
                continue;
            }
            let links: Vec<Option<Link>> = values.iter().map(|value| self.of_kind(kind, id, value)).collect();
            let unnamed = values.iter().zip(&links).find(|(_, link)| link.is_none()).map(|(value, _)| value);
            let known = links.iter().flatten().cloned();
            found
                .extend(known.map(|link| Guess { unnamed: unnamed.cloned(), ..self.guess(link, How::Kind) }));
        }
        found
    }

    fn of_kind(&self, kind: &str, id: &str, value: &str) -> Option<Link> {
        let parent = self.words.meant(&class_word(value), &self.table.name)?;
        let [key] = parent.primary_key.as_slice() else { return None };
        let (below, above) = (self.table.column(id)?.kind, parent.column(key)?.kind);
        // The ids of tables of several kinds may be kept as text.
        (fits(below, above) || below == TypeKind::Text).then(|| Link {
            when: Some(When { column: kind.to_owned(), equals: value.to_owned() }),
            ..Link::new(vec![id.to_owned()], parent.name.clone(), vec![key.clone()])
        })
    }
}

/// Keys that a reference may name: the primary key, then the other unique ones.
fn keys(table: &Table) -> impl Iterator<Item = &[String]> {
    let others = table.unique_keys.iter().map(|key| key.columns.as_slice());
    std::iter::once(table.primary_key.as_slice()).chain(others).filter(|key| !key.is_empty())
}

/// Pairs of columns `x_type` and `x_id`.
pub fn polymorphic_pairs(table: &Table) -> impl Iterator<Item = (&str, &str)> {
    let by_name: BTreeMap<String, &Column> =
        table.columns.iter().map(|column| (plain(&column.name), column)).collect();
    table.columns.iter().filter_map(move |column| {
        let name = plain(&column.name);
        let word = name.strip_suffix("_type").or_else(|| name.strip_suffix("_class"))?;
        let id = by_name.get(&format!("{word}_id")).or_else(|| by_name.get(&format!("{word}_uuid")))?;
        let usable = column.kind == TypeKind::Text && !has_key_of_its_own(table, &id.name);
        usable.then_some((column.name.as_str(), id.name.as_str()))
    })
}

/// Whether a declared key says what the column references: that counts more than its name.
pub fn has_key_of_its_own(table: &Table, column: &str) -> bool {
    table.foreign_keys.iter().any(|foreign| foreign.columns == [column])
}
