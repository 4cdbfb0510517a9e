//! The checks, each from a text to its offences; pure, so that they run on small strings too. No rule's table is
//! here.

use std::collections::BTreeSet;

use crate::rust_text::{functions, is_word, paths};
use crate::{
    FILE_LINES_MAX, FUNCTION_LINES_MAX, LINE_CHARACTERS_LITERAL_MAX, LINE_CHARACTERS_MAX, MACHINE_FOLDERS,
    MACROS_BANNED, MAY_PRINT, MIRROR_LABELS, MODULES, Names, OUTSIDE, PRINTING, PRIVATE_DOMAINS,
    PUBLIC_REGISTRY, RustFile, WORDS_BANNED,
};

/// A module names another one against the direction of [`MODULES`].
pub fn imports(file: &RustFile, modules: &BTreeSet<String>) -> Vec<String> {
    let module = file.module();
    let Some((own, names)) = MODULES.iter().find(|(name, _)| module.first() == Some(name)) else {
        return Vec::new();
    };
    let mut offences = Vec::new();
    for path in paths(&file.tokens) {
        // `super` as often as the file is deep, or once more in an inline module, is the crate's root.
        let supers = path.parts.iter().take_while(|part| *part == "super").count();
        let named = match path.parts[0].as_str() {
            "crate" | "reinstate" => path.parts.get(1),
            "super" if supers >= module.len() => path.parts.get(supers),
            _ => None,
        };
        let Some(named) = named.filter(|named| modules.contains(*named) && *named != own) else {
            continue;
        };
        let fine = match names {
            Names::Only(few) => few.contains(&named.as_str()),
            Names::AllBut(few) => !few.contains(&named.as_str()),
        };
        if !fine {
            offences.push(file.offence(path.line, &format!("`{own}` must not name `{named}`")));
        }
    }
    offences.dedup();
    offences
}

/// Something of [`OUTSIDE`] is named, or something is printed, where it must not.
pub fn places(file: &RustFile) -> Vec<String> {
    let mut offences = Vec::new();
    for path in paths(&file.tokens) {
        for (outside, places) in OUTSIDE {
            // `use std::process` and `process::exit` say the same in two steps.
            let last_two = &outside[outside.len().saturating_sub(2)..];
            let named = path.starts_with(outside) || (outside.len() > 2 && path.starts_with(last_two));
            // A test inside `src` may ask for a temporary folder.
            let in_test = outside[0] == "std" && file.is_test(path.line);
            if named && !in_test && !file.is_under(places) {
                offences
                    .push(file.offence(path.line, &format!("`{}` is for {places:?}", outside.join("::"))));
            }
        }
    }
    for printing in PRINTING.iter().filter(|_| !file.is_under(MAY_PRINT)) {
        for line in file.lines_with(&[printing, "!"]) {
            offences.push(file.offence(line, &format!("`{printing}!` is for {MAY_PRINT:?}")));
        }
    }
    offences.dedup();
    offences
}

/// Unfinished work, silenced lints and tests, calls that panic.
pub fn words(file: &RustFile) -> Vec<String> {
    let mut offences = Vec::new();
    for banned in MACROS_BANNED {
        offences
            .extend(file.lines_with(&[banned, "!"]).map(|line| file.offence(line, &format!("`{banned}!`"))));
    }
    offences.extend(file.lines_with(&["#", "[", "ignore"]).map(|line| file.offence(line, "an ignored test")));
    let expect = "`allow`; `expect` says when it is no longer needed";
    offences.extend(file.lines_with(&["#", "[", "allow", "("]).map(|line| file.offence(line, expect)));
    if file.is_src() {
        // A support file of the tests may: each test binary uses another part of it.
        offences
            .extend(file.lines_with(&["#", "!", "[", "allow", "("]).map(|line| file.offence(line, expect)));
    }
    let unwraps = file.lines_with(&[".", "unwrap", "(", ")"]).filter(|line| !file.is_test(*line));
    offences.extend(unwraps.map(|line| file.offence(line, "`.unwrap()` outside tests")));
    for (line, text) in numbered(&file.source.unquoted()) {
        let found = WORDS_BANNED.iter().filter(|word| has_word(text, word));
        offences.extend(found.map(|word| file.offence(line, &format!("'{word}'"))));
    }
    offences
}

/// Files, functions and lines that are too long, and files that do not say what they are.
pub fn sizes(file: &RustFile) -> Vec<String> {
    let mut offences = Vec::new();
    let lines = file.text.lines().count();
    if file.is_src() && lines > FILE_LINES_MAX {
        offences.push(file.offence(lines, &format!("{lines} lines, at most {FILE_LINES_MAX}")));
    }
    if file.is_src() && !file.text.starts_with("//!") {
        offences.push(file.offence(1, "does not open with `//!`"));
    }
    for (name, body) in functions(&file.tokens) {
        let lines = body.end() - body.start() + 1;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}");
            offences.push(file.offence(*body.start(), &what));
        }
    }
    let literals_blank = file.source.unquoted();
    for ((line, text), blank) in numbered(&file.text).zip(literals_blank.lines()) {
        let characters = text.chars().count();
        let has_literal = text != blank;
        let most = if has_literal { LINE_CHARACTERS_LITERAL_MAX } else { LINE_CHARACTERS_MAX };
        if characters > most {
            offences.push(file.offence(line, &format!("{characters} characters, at most {most}")));
        }
    }
    offences
}

/// Fixtures (paths inside `fixtures/`) that no text of a test names: neither them nor a folder of theirs below
/// the first level, by path from the first level on.
pub fn fixtures(fixtures: &[String], tests: &str) -> Vec<String> {
    let named = |fixture: &&String| {
        let ends = fixture.match_indices('/').map(|(at, _)| at).skip(1).chain([fixture.len()]);
        !ends.into_iter().any(|end| has_path(tests, &fixture[..end]))
    };
    fixtures.iter().filter(named).map(|path| format!("fixtures/{path}:1: no test names it")).collect()
}

/// Folders that the code map does not name as `folder/`.
pub fn code_map(readme: &str, folders: &BTreeSet<String>) -> Vec<String> {
    let missing = folders.iter().filter(|folder| !has_path(readme, &format!("{folder}/")));
    missing.map(|folder| format!("README.md:1: the code map does not name `{folder}/`")).collect()
}

/// Absolute paths of a developer's machine and hosts of private registries.
pub fn traces(path: &str, text: &str) -> Vec<String> {
    let mut offences = Vec::new();
    for (line, text) in numbered(text) {
        for folder in MACHINE_FOLDERS.iter().filter(|folder| has_absolute(text, folder)) {
            offences.push(format!("{path}:{line}: a path under `{folder}` of one machine"));
        }
        for host in hosts(text).filter(|host| is_private(host)) {
            offences.push(format!("{path}:{line}: the private host `{host}`"));
        }
        let source = text.strip_prefix("source = \"").unwrap_or(PUBLIC_REGISTRY);
        if path == "Cargo.lock" && !source.starts_with(PUBLIC_REGISTRY) {
            offences.push(format!("{path}:{line}: not from the public registry"));
        }
    }
    offences
}

/// The lines of a text with their numbers, from 1.
pub fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Whether `text` holds `word` between characters that are of no word.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word))
}

/// Whether `text` holds `path` as whole parts of a path.
fn has_path(text: &str, path: &str) -> bool {
    let of_name = |c: char| is_word(c) || c == '-' || c == '.';
    text.match_indices(path).any(|(at, _)| {
        let rest = &text[at + path.len()..];
        // A full stop ends a sentence unless an extension follows.
        let goes_on = rest.starts_with(|c: char| of_name(c) && c != '.')
            || rest.strip_prefix('.').is_some_and(|extension| extension.starts_with(is_word));
        !text[..at].ends_with(of_name) && (path.ends_with('/') || !goes_on)
    })
}

/// Whether `text` holds an absolute path that begins with `folder`.
fn has_absolute(text: &str, folder: &str) -> bool {
    let start = format!("/{folder}/");
    let inside = |c: char| is_word(c) || "/.-}~*".contains(c);
    text.match_indices(&start).any(|(at, _)| !text[..at].ends_with(inside))
}

/// The hosts of all web addresses in `text`.
fn hosts(text: &str) -> impl Iterator<Item = &str> {
    let starts = ["http://", "https://"].into_iter().flat_map(|scheme| {
        text.match_indices(scheme).map(|(at, _)| &text[at + scheme.len()..]).collect::<Vec<_>>()
    });
    starts.map(|rest| {
        let authority = rest.split(|c: char| !is_word(c) && !"-.:@%".contains(c)).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        host.split(':').next().unwrap_or_default()
    })
}

/// Whether a host is one of a private network, or a private mirror of a registry.
fn is_private(host: &str) -> bool {
    let labels: Vec<&str> = host.split('.').collect();
    let address: Vec<u8> = labels.iter().filter_map(|label| label.parse().ok()).collect();
    if address.len() == 4 && labels.len() == 4 {
        return matches!(address[..2], [10, _] | [192, 168] | [169, 254] | [172, 16..=31]);
    }
    labels.last().is_some_and(|last| PRIVATE_DOMAINS.contains(last))
        || labels.iter().any(|label| label.split('-').any(|part| MIRROR_LABELS.contains(&part)))
}
