//! Rust source as text: just enough of the language to check rules on it, without a parser.
//!
//! ```text
//! text ──► Source   which byte is code, comment or literal
//!            ├──► code(), uncommented(), unquoted()   the text with the rest blanked, line by line
//!            └──► tokens() ──► paths()       `use a::{b, c::d}` as a::b, a::c::d; `x::y()` as x::y
//!                          ──► functions()   first and last line of every function with a body
//!                          ──► test_lines()  the lines below `#[cfg(test)]`
//! ```
//!
//! No rule lives here.

use std::ops::RangeInclusive;

/// What a byte of source belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Code,
    Comment,
    Literal,
}

/// A source text with the class of every byte.
pub struct Source {
    text: String,
    classes: Vec<Class>,
}

/// An identifier, `::`, or one other character, with its line (from 1).
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub line: usize,
    pub text: String,
}

/// A path as it is written, groups of `use` expanded, with the line of its last part.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    pub line: usize,
    pub parts: Vec<String>,
}

impl Path {
    /// Whether the path begins with these parts.
    pub fn starts_with(&self, parts: &[&str]) -> bool {
        self.parts.len() >= parts.len() && self.parts.iter().zip(parts).all(|(own, part)| own == part)
    }
}

impl Source {
    /// Classifies every byte of `text`.
    pub fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut classes = Vec::with_capacity(bytes.len());
        while classes.len() < bytes.len() {
            let start = classes.len();
            let (length, class) = span(text, start);
            classes.resize((start + length).min(bytes.len()), class);
        }
        Self { text: text.to_owned(), classes }
    }

    /// Only code: comments and the inside of literals are blank.
    pub fn code(&self) -> String {
        self.only(|class| class == Class::Code)
    }

    /// Code and literals.
    pub fn uncommented(&self) -> String {
        self.only(|class| class != Class::Comment)
    }

    /// Code and comments.
    pub fn unquoted(&self) -> String {
        self.only(|class| class != Class::Literal)
    }

    fn only(&self, keep: impl Fn(Class) -> bool) -> String {
        let kept = |(at, shown): (usize, char)| {
            if shown == '\n' || keep(self.classes[at]) { shown } else { ' ' }
        };
        self.text.char_indices().map(kept).collect()
    }

    /// The tokens of the code.
    pub fn tokens(&self) -> Vec<Token> {
        let mut tokens: Vec<Token> = Vec::new();
        for (index, line) in self.code().lines().enumerate() {
            let mut rest = line.trim_start();
            while let Some(first) = rest.chars().next() {
                let length = if is_word(first) {
                    rest.find(|c| !is_word(c)).unwrap_or(rest.len())
                } else if rest.starts_with("::") {
                    2
                } else {
                    first.len_utf8()
                };
                tokens.push(Token { line: index + 1, text: rest[..length].to_owned() });
                rest = rest[length..].trim_start();
            }
        }
        tokens
    }
}

/// Length and class of what begins at `start`.
fn span(text: &str, start: usize) -> (usize, Class) {
    let rest = &text[start..];
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Class::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Class::Comment);
    }
    if let Some(length) = raw_string(rest).filter(|_| !text[..start].ends_with(is_word)) {
        return (length, Class::Literal);
    }
    if rest.starts_with('"') {
        return (quoted(rest, b'"'), Class::Literal);
    }
    if rest.starts_with('\'') && is_character(rest) {
        return (quoted(rest, b'\''), Class::Literal);
    }
    (rest.chars().next().map_or(1, char::len_utf8), Class::Code)
}

/// Length of a comment with `/*`, which may hold others.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let two = rest.as_bytes().get(at..at + 2).unwrap_or_default();
        match two {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a raw string with its prefix, if one begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let marks =
        rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let body = marks.trim_start_matches('#');
    let hashes = &marks[..marks.len() - body.len()];
    let body = body.strip_prefix('"')?;
    let end = format!("\"{hashes}");
    let before = rest.len() - body.len();
    Some(body.find(&end).map_or(rest.len(), |at| before + at + end.len()))
}

/// Length of a literal with escapes, both quotes included.
fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Whether a quotation mark begins a character rather than a lifetime.
fn is_character(rest: &str) -> bool {
    let mut next = rest.chars().skip(1);
    matches!((next.next(), next.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

/// Whether `c` belongs to an identifier.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// All paths of two or more parts, and all of `use`.
pub fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        // `use<'a>` is a bound, not an import.
        if tokens[at].text == "use" && text(tokens, at + 1) != "<" {
            at = expand(tokens, at + 1, &[], &mut found);
        } else if tokens[at].text.starts_with(is_word) {
            let mut path = Path { line: tokens[at].line, parts: vec![tokens[at].text.clone()] };
            while text(tokens, at + 1) == "::" && text(tokens, at + 2).starts_with(is_word) {
                at += 2;
                path.parts.push(tokens[at].text.clone());
            }
            at += 1;
            if path.parts.len() > 1 {
                found.push(path);
            }
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one tree of a `use`, from `at` to the `,`, `}` or `;` behind it; returns where that is.
fn expand(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<Path>) -> usize {
    let mut parts = prefix.to_vec();
    while at < tokens.len() {
        match text(tokens, at) {
            "{" => {
                while at < tokens.len() && text(tokens, at) != "}" {
                    at = expand(tokens, at + 1, &parts, found);
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            "as" => at += 1,
            "::" => {}
            part => parts.push(part.to_owned()),
        }
        at += 1;
    }
    if parts.len() > prefix.len() {
        found.push(Path { line: tokens[at - 1].line, parts });
    }
    at
}

/// First and last line of every function with a body, and its name.
pub fn functions(tokens: &[Token]) -> Vec<(String, RangeInclusive<usize>)> {
    let starts = tokens
        .windows(2)
        .enumerate()
        .filter(|(_, two)| two[0].text == "fn" && two[1].text.starts_with(is_word));
    starts.filter_map(|(at, two)| Some((two[1].text.clone(), two[0].line..=body_end(tokens, at)?))).collect()
}

/// The lines of every item behind `#[cfg(test)]`.
pub fn test_lines(tokens: &[Token]) -> Vec<RangeInclusive<usize>> {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let starts = tokens
        .windows(attribute.len())
        .enumerate()
        .filter(|(_, window)| window.iter().map(|token| token.text.as_str()).eq(attribute));
    starts.filter_map(|(at, _)| Some(tokens[at].line..=body_end(tokens, at + attribute.len())?)).collect()
}

/// Line of the brace that closes the first body behind `at`; none if a `;` comes first.
fn body_end(tokens: &[Token], at: usize) -> Option<usize> {
    let (mut brackets, mut braces) = (0, 0);
    for token in &tokens[at..] {
        match token.text.as_str() {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets -= 1,
            ";" if brackets == 0 && braces == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                if braces == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}
