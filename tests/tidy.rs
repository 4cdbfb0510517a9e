//! The repository checks itself: direction of imports, banned words and calls, sizes, fixtures without a test, and
//! traces of a developer's machine. Standard library only. Each check lists all offenders as `file:line: what`.
//!
//! ```text
//! tables below ─┐
//! files ────────┴──► check (pure) ──► offences     rust_text reads Rust source
//! ```
//!
//! Every check also runs on small strings in `the_checker`, so that a check that cannot fire is a failing test.

#[path = "tidy/check.rs"]
mod check;
#[path = "tidy/rust_text.rs"]
mod rust_text;
#[path = "tidy/the_checker.rs"]
mod the_checker;

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use rust_text::{Source, Token, test_lines};

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
    ("approval", Names::Only(&["error", "model"])),
    ("source", Names::AllBut(&["shard"])),
    ("shard", Names::AllBut(&["source"])),
    ("plan", Names::AllBut(&["shard", "source"])),
    ("environment", Names::Only(&["error"])),
    ("stop", Names::Only(&[])),
    ("hooks", Names::Only(&["environment", "error", "limits", "model", "stop"])),
    ("media", Names::Only(&["environment", "error", "limits", "model", "progress", "stop"])),
];

/// What comes from outside, and the only places of `src` that may name it.
const OUTSIDE: &[(&[&str], &[&str])] = &[
    (&["sqlx"], &["src/database/", "src/shard/", "src/source/live/", "src/drill/"]),
    (&["parquet"], &["src/snapshot/", "src/source/", "src/extract/"]),
    (&["ssh_key"], &["src/approval/"]),
    (&["clap"], &["src/cli/", "src/main.rs"]),
    (&["indicatif"], &["src/report/", "src/cli/"]),
    (&["object_store"], &["src/snapshot/", "src/source/", "src/media/"]),
    (&["reqwest"], &["src/hooks/", "src/media/"]),
    (&["std", "env"], &["src/cli/", "src/main.rs", "src/config.rs", "src/environment.rs"]),
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
const PUBLIC_REGISTRY: &str = "registry+https://github.com/rust-lang/crates";

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
    rust_files("src").iter().filter_map(|file| file.module().first().map(|part| (*part).to_owned())).collect()
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
    for file in rust_files("src")
        .iter()
        .chain(&rust_files("tests"))
        .filter(|file| !file.path.starts_with("tests/tidy"))
    {
        for (_, text) in check::numbered(&file.source.uncommented()).filter(|(line, _)| file.is_test(*line)) {
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
