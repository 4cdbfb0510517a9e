//! SQL as SQLite keeps it in `sqlite_schema`: cut into its smallest parts, as far as the catalog needs it.

/// The parts of an SQL text with their places: words, quoted names and texts, comments, single characters.
fn parts(sql: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &sql[at..];
        let first = rest.chars().next()?;
        let until = |open: usize, close: &str| {
            rest[open..].find(close).map_or(rest.len(), |end| open + end + close.len())
        };
        let length = match first {
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            // A doubled quote ends one quotation and begins the next: they touch, and nothing is in between.
            '"' | '\'' | '`' => until(1, &rest[..1]),
            '[' => until(1, "]"),
            '-' if rest.starts_with("--") => until(2, "\n"),
            '/' if rest.starts_with("/*") => until(2, "*/"),
            other => other.len_utf8(),
        };
        at += length;
        Some((at - length, &rest[..length]))
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The words of an SQL text that stand outside quotes and comments.
pub fn bare_words(sql: &str) -> impl Iterator<Item = &str> {
    parts(sql).map(|(_, part)| part).filter(|part| part.starts_with(is_word))
}

/// What stands behind the name in a CREATE TABLE of `sqlite_schema`.
pub fn behind_table_name(sql: &str) -> Option<&str> {
    let rest = sql.strip_prefix("CREATE TABLE ")?;
    let mut after = 0;
    // A quoted name with a doubled quote is several parts that touch.
    let mut quote = None;
    for (at, part) in parts(rest) {
        let first = part.chars().next();
        let is_name = quote.is_none() || first == quote && !first.is_some_and(is_word);
        if !is_name {
            break;
        }
        (quote, after) = (first, at + part.len());
    }
    Some(&rest[after..])
}

/// What an index is on: its terms, and the condition behind WHERE.
#[derive(Debug, PartialEq, Eq)]
pub struct IndexParts<'a> {
    /// Columns or expressions, in order.
    pub terms: Vec<&'a str>,
    /// Of an index on some of the rows.
    pub predicate: Option<&'a str>,
}

/// The parts of a CREATE INDEX.
pub fn index_parts(sql: &str) -> IndexParts<'_> {
    let (mut terms, mut depth, mut predicate) = (Vec::new(), 0_usize, None);
    // Where the term begins, and where its last part that counts ends.
    let (mut start, mut end) = (None, 0);
    let is_noise = |part: &str| part.trim().is_empty() || part.starts_with("--") || part.starts_with("/*");
    let is_any = |part: &str, words: [&str; 2]| words.iter().any(|word| part.eq_ignore_ascii_case(word));
    for (at, part) in parts(sql).filter(|(_, part)| !is_noise(part)) {
        let ends_term = depth == 1 && matches!(part, "," | ")");
        match part {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_list = predicate.is_none();
        if ends_term && is_list {
            terms.extend(start.take().map(|start| &sql[start..end]));
        } else if depth == 0 && is_list && is_any(part, ["where", "where"]) {
            predicate = Some(at + part.len());
        } else if is_list && (depth > 1 || depth == 1 && part != "(" && !is_any(part, ["asc", "desc"])) {
            start = start.or(Some(at));
            end = at + part.len();
        } else if !is_list {
            end = at + part.len();
        }
    }
    IndexParts { terms, predicate: predicate.map(|start| sql[start..end].trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_behind_its_name() {
        for (sql, rest) in [
            ("CREATE TABLE t (a)", " (a)"),
            ("CREATE TABLE t(\"t\" INT)", "(\"t\" INT)"),
            ("CREATE TABLE \"a \"\" (b\"(c)", "(c)"),
            ("CREATE TABLE [a (]\n(c)", "\n(c)"),
            ("CREATE TABLE 'a''b' (c)", " (c)"),
        ] {
            assert_eq!(behind_table_name(sql), Some(rest), "{sql}");
        }
    }

    #[test]
    fn an_index_is_on_its_terms_and_some_rows() {
        for (sql, terms, predicate) in [
            ("CREATE UNIQUE INDEX i ON t (a)", vec!["a"], None),
            (
                "CREATE UNIQUE INDEX i ON t(a DESC, \"b,)\" COLLATE NOCASE ASC)",
                vec!["a", "\"b,)\" COLLATE NOCASE"],
                None,
            ),
            (
                "CREATE UNIQUE INDEX \"i (\" ON [t (] (lower(a), (a || ',') desc)",
                vec!["lower(a)", "(a || ',')"],
                None,
            ),
            (
                "CREATE UNIQUE INDEX i ON t (coalesce(a, (b + 1)) -- the (first\n, c) WHERE (a > 0) AND b IN (1, 2) -- all",
                vec!["coalesce(a, (b + 1))", "c"],
                Some("(a > 0) AND b IN (1, 2)"),
            ),
            (
                "CREATE UNIQUE INDEX i ON t (((a)) /* , */ ASC) where 'where' = \"desc\"",
                vec!["((a))"],
                Some("'where' = \"desc\""),
            ),
            (
                "CREATE UNIQUE INDEX i ON t (CASE WHEN a THEN 'it''s, (' END)",
                vec!["CASE WHEN a THEN 'it''s, (' END"],
                None,
            ),
        ] {
            assert_eq!(index_parts(sql), IndexParts { terms, predicate }, "{sql}");
        }
    }
}
