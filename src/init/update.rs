//! `init --update`: what is new in the schema goes into an existing `reinstate.toml`, whose text is a person's and
//! stays as it is, to the letter.

use super::ShardInference;
use super::render::{ignored_line, key, table_lines};

/// The text with the tables of `new` added at the end of their sections.
pub fn update(text: &str, new: &[ShardInference]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for shard in new {
        let rules: String = shard.tables.iter().map(|(name, found)| table_lines(name, found)).collect();
        let seen = shard.tables.iter().filter(|(_, found)| !found.ignored.is_empty());
        let ignored: String = seen.map(|(name, found)| ignored_line(name, found)).collect();
        add(&mut lines, ["shards", shard.shard.as_str(), "tables"], &rules);
        add(&mut lines, ["shards", shard.shard.as_str(), "ignored"], &ignored);
    }
    lines.join("\n") + "\n"
}

/// Adds lines at the end of a section, behind its last line that is not blank; makes the section if there is none.
fn add(lines: &mut Vec<String>, section: [&str; 3], text: &str) {
    if text.is_empty() {
        return;
    }
    let Some(start) = lines.iter().position(|line| is_header_of(line, section)) else {
        lines.push(String::new());
        lines.push(format!("[{}]", section.map(key).join(".")));
        lines.extend(text.lines().map(str::to_owned));
        return;
    };
    let next = lines[start + 1..].iter().position(|line| line.trim_start().starts_with('['));
    let mut end = next.map_or(lines.len(), |at| start + 1 + at);
    // A comment right above the next section belongs to that one.
    while end > start + 1
        && (lines[end - 1].trim().is_empty() || (next.is_some() && is_comment_above(lines, end)))
    {
        end -= 1;
    }
    lines.splice(end..end, text.lines().map(str::to_owned));
}

/// Whether line `end - 1` is a comment that stands after a blank line and before a section.
fn is_comment_above(lines: &[String], end: usize) -> bool {
    let comment = |line: &String| line.trim_start().starts_with('#');
    let above = lines[..end].iter().rev().find(|line| !comment(line));
    comment(&lines[end - 1]) && above.is_some_and(|line| line.trim().is_empty())
}

/// Whether a line is `[shards.NAME.tables]`, however it is quoted and spaced.
fn is_header_of(line: &str, section: [&str; 3]) -> bool {
    let line = line.trim_start();
    if !line.starts_with('[') || line.starts_with("[[") {
        return false;
    }
    let Ok(mut table) = line.parse::<toml::Table>() else { return false };
    for part in section {
        match table.remove(part) {
            Some(toml::Value::Table(inner)) if table.is_empty() => table = inner,
            _ => return false,
        }
    }
    table.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Inferred;
    use crate::model::{Rule, ShardName, TableName};

    #[test]
    fn new_tables_go_to_the_end_of_their_section_and_nothing_else_changes() {
        let text = "\
# mine
version = 1

[ shards . \"shop\" . tables ]   # who owns what
\"public.sites\" = { rule = \"root\", key = \"id\" }
# a decision

# the other one
[shards.other]
url = \"x\"
";
        let found = |rule| Inferred { ignored: vec!["by".into()], ..Inferred::decided(rule, "why", 0.9) };
        let new = ShardInference {
            shard: ShardName::new("shop"),
            tables: [(TableName::new("public", "plans"), found(Rule::Shared))].into(),
        };
        let updated = update(text, &[new]);
        let expected = text.replace(
            "# a decision\n",
            "# a decision\n# why (0.90)\n\"public.plans\" = { rule = \"shared\" }\n",
        ) + "\n[shards.shop.ignored]\n\"public.plans\" = [\"by\"]\n";
        assert_eq!(updated, expected);
        assert_eq!(update(text, &[]), text);
    }
}
