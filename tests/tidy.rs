//! The repository checks itself: direction of imports, banned words and calls, sizes, fixtures without a test, and
//! traces of a developer's machine. Standard library only. Each check lists all offenders as `file:line: what`.
//!
//! The rules are the tables at the head; how Rust source is read is in `support/rust_text.rs`. Every rule is also
//! run on small strings (`mod the_checker`), so that a rule that cannot fire is a failing test.

#[path = "support/rust_text.rs"]
mod rust_text;

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use rust_text::{Source, Token, functions, is_word, paths, test_lines};

/// Which modules of the crate a module may name.
enum Names {
    /// These and itself.
    Only(&'static [&'static str]),
    /// All but these.
    AllBut(&'static [&'static str]),
}

/// Direction of imports inside the crate. A module without a row may name any other.
const MODULES: &[(&str, Names)] = &[
    ("error", Names::Only(&[])),
    ("limits", Names::Only(&[])),
    ("model", Names::Only(&["error", "limits"])),
    ("source", Names::AllBut(&["shard"])),
    ("shard", Names::AllBut(&["source"])),
    ("plan", Names::AllBut(&["shard", "source"])),
];

/// What comes from outside, and the only places of `src` that may name it.
const OUTSIDE: &[(&[&str], &[&str])] = &[
    (&["sqlx"], &["src/database/", "src/shard/", "src/source/live/", "src/drill/"]),
    (&["parquet"], &["src/snapshot/", "src/source/", "src/extract/"]),
    (&["clap"], &["src/cli/", "src/main.rs"]),
    (&["indicatif"], &["src/report/", "src/cli/"]),
    (&["std", "env"], &["src/cli/", "src/main.rs", "src/config.rs"]),
    (&["std", "process", "exit"], &["src/cli/", "src/main.rs", "src/config.rs"]),
    (&["std", "io", "stdout"], &["src/cli/", "src/main.rs"]),
    (&["std", "io", "stderr"], &["src/cli/", "src/main.rs"]),
];

/// Macros that print, and the only places of `src` that may.
const PRINTING: &[&str] = &["print", "println", "eprint", "eprintln"];
const MAY_PRINT: &[&str] = &["src/cli/", "src/main.rs"];

/// Macros that have no place in finished code.
const MACROS_BANNED: &[&str] = &["todo", "unimplemented", "dbg"];
/// Words of unfinished work, in code or comments.
const WORDS_BANNED: &[&str] = &["FIXME", "XXX", "TODO", "for now"];

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 90;
const LINE_CHARACTERS_MAX: usize = 120;
/// With its literals: a message stays in one piece, so that a search for it finds it.
const LINE_CHARACTERS_LITERAL_MAX: usize = 160;

/// Top folders that absolute paths of a developer's machine begin with.
const MACHINE_FOLDERS: &[&str] = &["work", "root", "home", "Users"];
/// Labels of a host name that mark a private mirror of a public registry.
const MIRROR_LABELS: &[&str] = &["artifactory", "nexus", "mirror", "proxy", "registry", "pypi", "npm"];
/// Last labels of a host name that only a private network resolves.
const PRIVATE_DOMAINS: &[&str] = &["internal", "corp", "lan", "local", "intra"];
/// The one registry of `Cargo.lock`.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A Rust file of the repository.
struct RustFile {
    /// Relative to the repository, with slashes.
    path: String,
    text: String,
    source: Source,
    tokens: Vec<Token>,
    test_lines: Vec<RangeInclusive<usize>>,
}

impl RustFile {
    fn new(path: &str, text: &str) -> Self {
        let source = Source::new(text);
        let tokens = source.tokens();
        let test_lines = test_lines(&tokens);
        Self { path: path.to_owned(), text: text.to_owned(), source, tokens, test_lines }
    }

    fn offence(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    fn is_src(&self) -> bool {
        self.path.starts_with("src/")
    }

    fn is_under(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Whether a line only exists in a test build.
    fn is_test(&self, line: usize) -> bool {
        !self.is_src()
            || self.path.ends_with("/tests.rs")
            || self.test_lines.iter().any(|part| part.contains(&line))
    }

    /// The module path of the file inside the crate; empty for the roots.
    fn module(&self) -> Vec<&str> {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let parts: Vec<&str> = inside.split('/').filter(|part| *part != "mod").collect();
        if parts == ["lib"] || parts == ["main"] { Vec::new() } else { parts }
    }

    /// Lines on which these tokens stand in a row.
    fn lines_with<'a>(&'a self, sequence: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
        let windows = self.tokens.windows(sequence.len());
        windows
            .filter(|window| window.iter().map(|token| token.text.as_str()).eq(sequence.iter().copied()))
            .map(|window| window[0].line)
    }
}

/// The checks of one file, each from a file to its offences.
mod check {
    use super::*;

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
                if named && !file.is_under(places) {
                    offences.push(
                        file.offence(path.line, &format!("`{}` is for {places:?}", outside.join("::"))),
                    );
                }
            }
        }
        for printing in PRINTING.iter().filter(|_| !file.is_under(MAY_PRINT)) {
            for line in file.lines_with(&[printing, "!"]) {
                offences.push(file.offence(line, &format!("`{printing}!` is for {MAY_PRINT:?}")));
            }
        }
        offences
    }

    /// Unfinished work, silenced lints and tests, calls that panic.
    pub fn words(file: &RustFile) -> Vec<String> {
        let mut offences = Vec::new();
        for banned in MACROS_BANNED {
            offences.extend(
                file.lines_with(&[banned, "!"]).map(|line| file.offence(line, &format!("`{banned}!`"))),
            );
        }
        offences
            .extend(file.lines_with(&["#", "[", "ignore"]).map(|line| file.offence(line, "an ignored test")));
        let expect = "`allow`; `expect` says when it is no longer needed";
        offences.extend(file.lines_with(&["#", "[", "allow", "("]).map(|line| file.offence(line, expect)));
        if file.is_src() {
            // A support file of the tests may: each test binary uses another part of it.
            offences.extend(
                file.lines_with(&["#", "!", "[", "allow", "("]).map(|line| file.offence(line, expect)),
            );
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
            let source = text.strip_prefix("source = \"").unwrap_or(CRATES_IO);
            if path == "Cargo.lock" && !source.starts_with(CRATES_IO) {
                offences.push(format!("{path}:{line}: not from crates.io"));
            }
        }
        offences
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
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

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of all files below `folder`, relative to the repository, sorted; build output left out.
fn files_below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(repository().join(&folder)).into_iter().flatten() {
            let entry = entry.expect("an entry of a folder");
            let path = folder.join(entry.file_name());
            if !entry.file_type().expect("the kind of an entry").is_dir() {
                found.push(path.to_str().expect("a path in UTF-8").replace('\\', "/"));
            } else if !matches!(entry.file_name().to_str(), Some("target" | ".git")) {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// All files that belong to the repository: what git tracks, or every file of an unpacked archive.
fn tracked() -> Vec<String> {
    let listing = Command::new("git").args(["ls-files", "-z"]).current_dir(repository()).output();
    match listing {
        Ok(listing) if listing.status.success() => {
            let names = String::from_utf8(listing.stdout).expect("paths in UTF-8");
            names.split_terminator('\0').map(str::to_owned).collect()
        }
        _ => files_below(""),
    }
}

fn rust_files(folder: &str) -> Vec<RustFile> {
    let paths = files_below(folder).into_iter().filter(|path| path.ends_with(".rs"));
    let files: Vec<RustFile> = paths.map(|path| RustFile::new(&path, &read(&path))).collect();
    assert!(!files.is_empty(), "no Rust file below {folder}");
    files
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path))
        .unwrap_or_else(|error| panic!("unable to read '{path}': {error}"))
}

/// The folders directly below `src`.
fn source_folders() -> BTreeSet<String> {
    let inside = files_below("src").into_iter().map(|path| path["src/".len()..].to_owned());
    inside.filter_map(|path| path.split_once('/').map(|(folder, _)| folder.to_owned())).collect()
}

/// The modules directly below the crate's root.
fn modules() -> BTreeSet<String> {
    let modules = rust_files("src")
        .iter()
        .filter_map(|file| file.module().first().map(|part| (*part).to_owned()))
        .collect();
    modules
}

#[track_caller]
fn assert_none(offences: Vec<String>) {
    assert!(offences.is_empty(), "{} offences:\n{}", offences.len(), offences.join("\n"));
}

#[test]
fn imports_go_in_one_direction() {
    let modules = modules();
    for (module, names) in MODULES {
        let (Names::Only(others) | Names::AllBut(others)) = names;
        let unknown: Vec<_> =
            [module].into_iter().chain(*others).filter(|name| !modules.contains(**name)).collect();
        assert!(unknown.is_empty(), "a rule names modules that do not exist: {unknown:?}");
    }
    assert_none(rust_files("src").iter().flat_map(|file| check::imports(file, &modules)).collect());
}

#[test]
fn each_outside_thing_has_its_place() {
    assert_none(rust_files("src").iter().flat_map(check::places).collect());
}

#[test]
fn nothing_is_unfinished_or_silenced() {
    let files = rust_files("src").into_iter().chain(rust_files("tests"));
    assert_none(files.flat_map(|file| check::words(&file)).collect());
}

#[test]
fn files_functions_and_lines_stay_short() {
    let files = rust_files("src").into_iter().chain(rust_files("tests"));
    assert_none(files.flat_map(|file| check::sizes(&file)).collect());
}

#[test]
fn every_fixture_is_named_by_a_test() {
    let fixtures: Vec<String> =
        files_below("fixtures").iter().map(|path| path["fixtures/".len()..].to_owned()).collect();
    let mut tests = String::new();
    for file in
        rust_files("src").iter().chain(&rust_files("tests")).filter(|file| file.path != "tests/tidy.rs")
    {
        for (_, text) in numbered(&file.source.uncommented()).filter(|(line, _)| file.is_test(*line)) {
            tests.push_str(text);
            tests.push('\n');
        }
    }
    assert_none(check::fixtures(&fixtures, &tests));
}

#[test]
fn the_code_map_names_every_folder() {
    assert_none(check::code_map(&read("README.md"), &source_folders()));
}

#[test]
fn no_tracked_file_shows_a_developers_machine() {
    let mut offences = Vec::new();
    for path in tracked() {
        // A file that git still lists but that is gone, or one of bytes, has no text to show.
        if let Ok(text) = fs::read_to_string(repository().join(&path)) {
            offences.extend(check::traces(&path, &text));
        }
    }
    assert_none(offences);
}

/// The checks on small strings: what must be found, and what must not.
mod the_checker {
    use super::*;

    fn imports(path: &str, text: &str) -> Vec<String> {
        let modules = ["error", "limits", "model", "plan", "shard", "source"].map(str::to_owned).into();
        check::imports(&RustFile::new(path, text), &modules)
    }

    fn places(path: &str, text: &str) -> usize {
        check::places(&RustFile::new(path, text)).len()
    }

    fn words(path: &str, text: &str) -> usize {
        check::words(&RustFile::new(path, text)).len()
    }

    fn sizes(text: &str) -> Vec<String> {
        check::sizes(&RustFile::new("src/a.rs", text))
    }

    #[test]
    fn finds_imports_against_the_direction() {
        let found = imports("src/source/live/mod.rs", "\nuse crate::shard::Facts;");
        assert_eq!(found, ["src/source/live/mod.rs:2: `source` must not name `shard`"]);
        for (path, text) in [
            ("src/shard/mod.rs", "use crate::{error::Error, source::{Scan, Source}};"),
            ("src/shard/sqlite/read.rs", "fn f() { crate::source::open() }"),
            ("src/shard/sqlite/read.rs", "use super::super::super::source;"),
            ("src/model/ids.rs", "use crate::{\n    limits,\n    plan::Plan,\n};"),
            ("src/limits.rs", "use crate::error::Error;"),
            ("src/error.rs", "type T = reinstate::model::TableName;"),
            ("src/plan/mod.rs", "mod tests { use super::super::shard; }"),
        ] {
            assert_eq!(imports(path, text).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn lets_imports_in_the_direction_pass() {
        for (path, text) in [
            ("src/model/ids.rs", "use crate::{error::Error, limits::X, model::Y};"),
            ("src/error.rs", "/// See [`crate::model::X`].\nconst A: &str = \"crate::model::X\";"),
            ("src/shard/mod.rs", "use std::error::Error; /* crate::source::X */ fn source() {}"),
            ("src/shard/mod.rs", "mod source_of; use source_of::source; use crate::sources::X;"),
            ("src/source/live/mod.rs", "use super::Source; use super::shard_like::X;"),
            ("src/survey.rs", "use crate::{shard, source};"),
        ] {
            assert_eq!(imports(path, text), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn finds_outside_things_out_of_place() {
        for text in [
            "use sqlx::Row;",
            "use {std::fs, parquet::file};",
            "#[derive(clap::Parser)]",
            "fn f() -> indicatif::ProgressBar;",
            "use std::{env, fs};",
            "fn f() { std::process::exit(1) }",
            "use std::process; fn f() { process::exit(1) }",
            "fn f() { eprintln!() }",
            "use std::io; fn f() { io::stdout(); }",
        ] {
            assert_eq!(places("src/replay/mod.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn lets_outside_things_in_their_place_pass() {
        assert_eq!(places("src/shard/sqlite/mod.rs", "use sqlx::Row;"), 0);
        assert_eq!(places("src/source/live/sqlite.rs", "use sqlx::Row;"), 0);
        assert_eq!(
            places("src/cli/output.rs", "use clap::Args; fn f() { println!(); std::env::args(); }"),
            0
        );
        let fine = "// sqlx::Row\nuse crate::sqlx_like::parquet; fn f() { std::process::id(); env!(\"A\"); println(); }";
        assert_eq!(places("src/replay/mod.rs", fine), 0);
    }

    #[test]
    fn finds_unfinished_and_silenced_code() {
        for text in [
            "fn f() { todo!() }",
            "fn f() { unimplemented!(\"x\") }",
            "fn f() { dbg!(1); }",
            "#[ignore = \"slow\"]\nfn f() {}",
            "#[allow(dead_code)]\nfn f() {}",
            "#![allow(dead_code)]",
            "// FIXME later",
            "/* good enough for now */",
            "fn f() { x.unwrap(); }\n#[cfg(test)]\nmod tests {}",
            "#[cfg(test)]\nmod tests;\nfn f() { x\n    .unwrap(); }",
        ] {
            assert_eq!(words("src/a.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn lets_finished_code_pass() {
        for text in [
            "#[cfg(test)]\nmod tests { fn f() { x.unwrap(); } }",
            "fn f() { x.unwrap_or(1); r\"todo!()\"; \"// FIXME\"; }",
            "// for nowhere, todos, XXXL",
            "#[expect(dead_code)]\nfn f<'a>(x: &'a str) -> char { '\"' }",
        ] {
            assert_eq!(words("src/a.rs", text), 0, "{text}");
        }
        assert_eq!(words("tests/support/a.rs", "#![allow(dead_code)]\nfn f() { x.unwrap(); }"), 0);
    }

    #[test]
    fn finds_what_is_too_long() {
        let body = "    a();\n".repeat(FUNCTION_LINES_MAX - 1);
        assert_eq!(
            sizes(&format!("//! A.\nfn f(a: [u8; 2]) {{\n{body}}}\n")),
            ["src/a.rs:2: `f` has 91 lines, at most 90"]
        );
        let body = "    a(\"}\");\n".repeat(FUNCTION_LINES_MAX - 2);
        assert_eq!(sizes(&format!("//! A.\nfn f() {{\n{body}}}\nfn g();\n")), [""; 0]);
        assert_eq!(sizes("fn f() {}"), ["src/a.rs:1: does not open with `//!`"]);
        assert_eq!(sizes(&format!("//! {}", "é".repeat(117))), ["src/a.rs:1: 121 characters, at most 120"]);
        assert_eq!(sizes(&format!("//! {}", "é".repeat(116))), [""; 0]);
        assert_eq!(sizes(&format!("//! A.\nconst A: &str = \"{}\";", "a".repeat(141))), [""; 0]);
        let long = sizes(&format!("//! A.\nconst A: &str = \"{}\";", "a".repeat(142)));
        assert_eq!(long, ["src/a.rs:2: 161 characters, at most 160"]);
        assert_eq!(sizes(&"//! A.\n".repeat(701)), ["src/a.rs:701: 701 lines, at most 700"]);
    }

    #[test]
    fn finds_fixtures_without_a_test() {
        let fixtures =
            ["a.toml", "schemas/b.sql", "schemas/b.sql.old", "snapshots/tiny/data/x", "snapshots/tiny-2/x"]
                .map(str::to_owned);
        let found = check::fixtures(
            &fixtures,
            "include_str!(\"../fixtures/schemas/b.sql\"); open(\"snapshots/tiny\")",
        );
        let expected = ["a.toml", "schemas/b.sql.old", "snapshots/tiny-2/x"];
        assert_eq!(found, expected.map(|path| format!("fixtures/{path}:1: no test names it")));
        let whole_level = check::fixtures(&fixtures[1..2], "read(\"fixtures/schemas\")");
        assert_eq!(whole_level.len(), 1, "naming the first level must not name all of it");
    }

    #[test]
    fn finds_folders_that_the_code_map_leaves_out() {
        let folders = ["plan", "shard"].map(str::to_owned).into();
        assert_eq!(check::code_map("  shard/   the seam\n  airplan/", &folders).len(), 1);
        assert_eq!(check::code_map("`src/plan/`, `shard/`.", &folders), [""; 0]);
    }

    #[test]
    fn finds_traces_of_a_machine() {
        for folder in MACHINE_FOLDERS {
            assert_eq!(check::traces("README.md", &format!("see `/{folder}/me/x`")).len(), 1, "{folder}");
        }
        for host in [
            "pypi.example.com",
            "npm-mirror.example.com",
            "crates.example.internal",
            "10.1.2.3:8080",
            "a@192.168.0.1",
        ] {
            assert_eq!(
                check::traces("a.toml", &format!("index = \"sparse+https://{host}/x\"")).len(),
                1,
                "{host}"
            );
        }
        let lock = "source = \"registry+https://crates.example.com/index\"";
        assert_eq!(check::traces("Cargo.lock", lock).len(), 1);
    }

    #[test]
    fn lets_public_places_pass() {
        let lock = format!("source = \"{CRATES_IO}\"");
        let fine = "$x/work/a ../root/b https://example.com/home/c http://127.0.0.1:80 https://docs.rs/x postgres://db.internal/x";
        assert_eq!(check::traces("Cargo.lock", &lock), [""; 0]);
        assert_eq!(check::traces("README.md", fine), [""; 0]);
    }

    #[test]
    fn reads_rust_as_rust_does() {
        let text = "/* a /* b */ c */ let x = r#\"// \"no\" \"#; // \"\nlet y = b'\\''; let z: &'static str = \"\\\"//\";";
        let code = Source::new(text).code();
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words.join(" "), "let x = ; let y = b ; let z: &'static str = ;");
    }
}
