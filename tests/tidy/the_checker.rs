//! The checks on small strings: what must be found, and what must not.

use crate::rust_text::Source;
use crate::{FUNCTION_LINES_MAX, MACHINE_FOLDERS, PUBLIC_REGISTRY, RustFile, check};

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
        "#[cfg(test)]\nmod tests { use sqlx::Row; }",
        "#[cfg(test)]\nmod tests {}\nuse std::env;",
    ] {
        assert_eq!(places("src/replay/mod.rs", text), 1, "{text}");
    }
}

#[test]
fn lets_outside_things_in_their_place_pass() {
    assert_eq!(places("src/shard/sqlite/mod.rs", "use sqlx::Row;"), 0);
    assert_eq!(places("src/source/live/sqlite.rs", "use sqlx::Row;"), 0);
    assert_eq!(places("src/cli/output.rs", "use clap::Args; fn f() { println!(); std::env::args(); }"), 0);
    assert_eq!(places("src/plan/mod.rs", "#[cfg(test)]\nmod tests { use std::env; }"), 0);
    let fine =
        "// sqlx::Row\nuse crate::sqlx_like::parquet; fn f() { std::process::id(); env!(\"A\"); println(); }";
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
    let found =
        check::fixtures(&fixtures, "include_str!(\"../fixtures/schemas/b.sql\"); open(\"snapshots/tiny\")");
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
    let lock = format!("source = \"{PUBLIC_REGISTRY}\"");
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
