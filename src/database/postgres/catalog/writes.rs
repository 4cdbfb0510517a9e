//! Which tables a trigger's function seems to write, by its text.
//!
//! A heuristic: PostgreSQL keeps the body of a function as text and nothing about what it touches. Statements that
//! are put together at run time, and functions that call others, are not seen through.

use std::collections::BTreeSet;

use crate::model::TableName;

/// The tables of `known` that `body` names: behind `INSERT INTO`, and behind that, `UPDATE`, `DELETE FROM` or
/// `MERGE INTO`. A name without a schema is looked for in the schema `home` first, then everywhere.
pub fn written(body: &str, home: &str, known: &BTreeSet<TableName>) -> (Vec<TableName>, Vec<TableName>) {
    let words = words(body);
    let (mut inserted, mut found) = (BTreeSet::new(), BTreeSet::new());
    for (at, word) in words.iter().enumerate() {
        let verb = |text: &str| matches!(word, Word::Bare(bare) if bare.eq_ignore_ascii_case(text));
        let next = |text: &str| matches!(words.get(at + 1), Some(Word::Bare(bare)) if bare.eq_ignore_ascii_case(text));
        let mut name_at = match () {
            () if (verb("insert") || verb("merge")) && next("into") => at + 2,
            () if verb("delete") && next("from") => at + 2,
            () if verb("update") => at + 1,
            () => continue,
        };
        if matches!(words.get(name_at), Some(Word::Bare(bare)) if bare.eq_ignore_ascii_case("only")) {
            name_at += 1;
        }
        let named = resolve(&words[name_at.min(words.len())..], home, known);
        if verb("insert") {
            inserted.extend(named.iter().cloned());
        }
        found.extend(named);
    }
    (inserted.into_iter().collect(), found.into_iter().collect())
}

/// The tables that the words begin with the name of.
fn resolve<'a>(words: &[Word], home: &str, known: &'a BTreeSet<TableName>) -> Vec<TableName> {
    let Some(first) = words.first().and_then(Word::name) else { return vec![] };
    let qualified = match words {
        [_, Word::Dot, second, ..] => second.name(),
        _ => None,
    };
    if let Some(table) = qualified {
        return known.get(&TableName::new(first, table)).cloned().into_iter().collect();
    }
    if let Some(table) = known.get(&TableName::new(home, &first)) {
        return vec![table.clone()];
    }
    let named: Vec<&'a TableName> = known.iter().filter(|table| table.table == first).collect();
    named.into_iter().cloned().collect()
}

#[derive(Debug, PartialEq)]
enum Word {
    Bare(String),
    Quoted(String),
    Dot,
    Other,
}

impl Word {
    /// The identifier that it spells.
    fn name(&self) -> Option<String> {
        match self {
            Self::Bare(text) => Some(text.to_lowercase()),
            Self::Quoted(text) => Some(text.clone()),
            Self::Dot | Self::Other => None,
        }
    }
}

/// The words of an SQL text; comments are left out. What stands in plain quotes is read too: it may be a statement
/// that EXECUTE runs.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        if rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if rest.starts_with("/*") {
            rest = rest.split_once("*/").map_or("", |(_, after)| after);
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            words.push(Word::Bare(rest[..end].to_owned()));
            rest = &rest[end..];
        } else if first == '"' {
            let (name, after) = quoted(&rest[1..]);
            words.push(Word::Quoted(name));
            rest = after;
        } else {
            if first == '.' {
                words.push(Word::Dot);
            } else if !first.is_whitespace() && first != '\'' {
                words.push(Word::Other);
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    words
}

/// A quoted identifier behind its first quote, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let Some((part, after)) = rest.split_once('"') else { return (name + rest, "") };
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return (name, after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_that_a_body_writes_are_found() {
        let known: BTreeSet<TableName> =
            [("public", "queue"), ("app", "queue"), ("app", "Odd \"x\""), ("public", "sites")]
                .map(|(schema, table)| TableName::new(schema, table))
                .into();
        let of = |body: &str| -> Vec<String> {
            written(body, "app", &known).1.iter().map(ToString::to_string).collect()
        };
        let inserts = |body: &str| written(body, "app", &known).0.len();
        assert_eq!(inserts("insert into queue select old.id; update sites set a = 1"), 1);
        assert_eq!(of("begin insert into queue select old.id; return null; end"), ["app.queue"]);
        assert_eq!(of("INSERT\n INTO public . Queue(id)"), ["public.queue"]);
        assert_eq!(of("delete from only sites"), ["public.sites"]);
        assert_eq!(of("update \"Odd \"\"x\"\"\" set a = 1"), ["app.\"Odd \"\"x\"\"\""]);
        assert_eq!(of("execute 'insert into public.queue values ($1)' using old.id"), ["public.queue"]);
        assert_eq!(of("-- insert into queue\n/* update sites */ select 1 from queue"), Vec::<String>::new());
        assert_eq!(
            of("on conflict do update set a = 1; insert into nowhere; insert into"),
            Vec::<String>::new()
        );
        assert_eq!(of("select id into queue from sites"), Vec::<String>::new());
    }
}
