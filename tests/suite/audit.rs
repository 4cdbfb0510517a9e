//! The audit log through the command line: what it tells, and that nothing can be done to it, or without it, unnoticed.
//! The oracle of the chain is BLAKE3 over the bytes of each line.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};

use crate::world::{Dump, Kind, Run, World, output, tenants};

const LOG: &str = "reinstate.audit.jsonl";
const HASH: &str = ",\"hash\":\"";

/// A world whose first tenants are gone and planned for, and what it looks like.
async fn planned(count: usize) -> (World, Dump) {
    let world = World::with_snapshot(Kind::Sqlite).await;
    world.delete(&tenants()[..count]).await;
    world.plan(&tenants()[..count]).exits(0);
    let dump = world.dump().await;
    (world, dump)
}

/// The entries, each of which must have the hash of its content and that of the one before.
fn entries(world: &World) -> Vec<Value> {
    let mut previous = "0".repeat(64);
    let text = world.read(LOG);
    assert!(text.ends_with('\n'));
    let mut entries = Vec::new();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).expect("an entry");
        let (content, _) = line.rsplit_once(HASH).expect("a hash at the end");
        let hash = blake3::hash(content.as_bytes()).to_hex().to_string();
        assert_eq!((entry["hash"].as_str(), entry["previous"].as_str()), (Some(&*hash), Some(&*previous)));
        entries.push(entry);
        assert_eq!(entries.last().expect("one")["number"], entries.len());
        previous = hash;
    }
    entries
}

/// `command begun` or `command ended` of each entry.
fn told(entries: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    entries.iter().map(|entry| format!("{} {}", text(&entry["what"]), text(&entry["phase"]))).collect()
}

fn ids(tenants: &[i64]) -> Vec<String> {
    tenants.iter().map(i64::to_string).collect()
}

fn sorted(ids: &Value) -> Vec<String> {
    let mut ids: Vec<String> = serde_json::from_value(ids.clone()).expect("ids");
    ids.sort();
    ids
}

fn rows(dump: &Dump) -> usize {
    dump.values().map(Vec::len).sum()
}

/// The head that a command printed at its end.
fn head(run: &Run) -> String {
    let line = run.stderr.lines().find(|line| line.starts_with("audit log: entry ")).expect("a head");
    line.rsplit_once(' ').expect("words").1.to_owned()
}

fn verify(world: &World) -> Run {
    world.run(&["audit", "verify"])
}

#[tokio::test]
async fn a_restore_leaves_who_what_when_and_what_became_of_it() {
    let (world, before) = planned(11).await;
    let mut command = world.command(&["apply", "plan.json", "--confirm", "11"]);
    command.env("REINSTATE_USER", "anna");
    let run = output(command).exits(0);
    let entries = entries(&world);
    let expected = ["snapshot create", "plan", "apply"];
    assert_eq!(
        told(&entries),
        expected.map(|what| [format!("{what} begun"), format!("{what} ended")]).concat()
    );
    let plan: Value = serde_json::from_str(&world.read("plan.json")).expect("plan");
    let [_, made, asked, planned, begun, ended] = &entries[..] else { panic!("six entries") };
    for entry in [planned, begun, ended] {
        assert_eq!(entry["plan"], plan["hash"]);
        assert_eq!(entry["snapshots"], made["snapshots"]);
        assert_eq!(entry["snapshots"].as_object().expect("shards").len(), 2);
    }
    for entry in [asked, planned, begun, ended] {
        assert_eq!(entry["tenants"], 11);
        assert_eq!(entry["overrides"], serde_json::json!({ "max_tenants": 11, "reason": "test" }));
    }
    assert_eq!(sorted(&planned["became"]["planned"]), ids(&tenants()[..11]));
    assert!(begun.get("became").is_none());
    assert_eq!(sorted(&ended["became"]["back"]), ids(&tenants()[..11]));
    assert_eq!((ended["exit_code"].as_u64(), ended["begun"].as_u64()), (Some(0), Some(5)));
    assert_eq!(ended["rows"], rows(&world.dump().await) - rows(&before));
    assert_eq!(ended["who"]["user"], "anna");
    assert_eq!(planned["who"]["user"], planned["who"]["account"]);
    assert_eq!(head(&run), ended["hash"]);
    let expected = format!("audit log '{LOG}': 6 entries, each as it was written\nhead {}\n", head(&run));
    assert_eq!(verify(&world).exits(0).stdout, expected);
}

#[tokio::test]
async fn what_only_reads_leaves_nothing() {
    let (world, _) = planned(1).await;
    let log = world.read(LOG);
    for command in [
        &["diff"][..],
        &["status", "plan.json"],
        &["why", "main.issues"],
        &["snapshot", "list"],
        &["snapshot", "prune", "--dry-run"],
        &["audit", "show"],
        &["audit", "verify"],
    ] {
        world.run(command).exits(0);
        assert_eq!(world.read(LOG), log, "{command:?}");
    }
    // Nor does an apply that the rails refused: it has not begun.
    world.run(&["apply", "plan.json", "--confirm", "2"]).exits(3);
    assert_eq!(world.read(LOG), log);
}

#[tokio::test]
async fn every_command_that_matters_is_told_of() {
    let (world, _) = planned(1).await;
    world.apply(1).exits(0);
    world.run(&["verify", "plan.json"]).exits(0);
    world.sql("product", "UPDATE projects SET name = 'x' WHERE site_id = 9003").await;
    world.list(&[9003]);
    let plan = ["repair", "plan", "--tenants", "tenants.txt", "-o", "repair.json", "--delete-extra"];
    world.run(&plan).exits(0);
    world.run(&["repair", "apply", "repair.json", "--confirm", "1"]).exits(0);
    world.sql("product", "DELETE FROM settings WHERE site_id = 9001").await;
    world.run(&["verify", "plan.json"]).exits(1);
    world.run(&["snapshot", "create", "--shard", "nowhere"]).exits(2);
    world.run(&["snapshot", "prune"]).exits(0);
    let entries = entries(&world);
    let whats = [
        "snapshot create",
        "plan",
        "apply",
        "verify",
        "repair plan",
        "repair apply",
        "verify",
        "snapshot create",
        "snapshot prune",
    ];
    assert_eq!(told(&entries), whats.map(|what| [format!("{what} begun"), format!("{what} ended")]).concat());
    let ended: Vec<&Value> = entries.iter().skip(1).step_by(2).collect();
    let codes: Vec<u64> = ended.iter().map(|entry| entry["exit_code"].as_u64().expect("code")).collect();
    assert_eq!(codes, [0, 0, 0, 0, 0, 0, 1, 2, 0]);
    assert_eq!(ended[3]["became"], serde_json::json!({ "equal": ["9001"], "different": [] }));
    assert_eq!(ended[6]["became"], serde_json::json!({ "equal": [], "different": ["9001"] }));
    assert_eq!(ended[5]["overrides"], serde_json::json!({ "delete_extra": true }));
    let error = "unable to find shard 'nowhere' in configuration 'reinstate.toml'";
    assert_eq!(ended[7]["error"], error);
}

#[tokio::test]
async fn a_failed_apply_is_told_of_by_tenant() {
    let (world, _) = planned(2).await;
    world.sql("catalogue", "INSERT INTO sites VALUES (9002, 'squatter', 'squatter.example.net')").await;
    let run = world.apply(2).exits(5);
    let entries = entries(&world);
    let ended = entries.last().expect("the end");
    assert_eq!(ended["exit_code"], 5);
    assert_eq!(ended["became"], serde_json::json!({ "back": ["9001"], "failed": ["9002"], "open": [] }));
    assert_eq!(head(&run), ended["hash"]);
    let shown = world.run(&["audit", "show"]).exits(0).stdout;
    let line = shown.lines().last().expect("a line");
    assert!(line.starts_with("5, 6 ") && line.contains("exit code 5, 1 back, 1 failed, "), "{shown}");
    // What is refused on the way is told of with its reason.
    world.sql("catalogue", "ALTER TABLE sites ADD COLUMN colour text").await;
    world.apply(2).exits(3);
    let error = "unable to restore into shard 'catalogue': its schema was changed after the dry run";
    assert_eq!(crate::audit::entries(&world).last().expect("the end")["error"], error);
}

/// Takes SQLite's one write lock of a shard.
async fn lock(world: &World, shard: &str) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(world.path(&format!("{shard}.db")));
    let mut connection = SqliteConnection::connect_with(&options).await.expect("SQLite opens");
    connection.execute("BEGIN IMMEDIATE").await.expect("the lock");
    connection
}

/// Starts to apply the plan, which waits for a lock, and returns when the log tells of it.
async fn begun(world: &World) -> Child {
    let child = world.spawn(&["apply", "plan.json", "--confirm", "1"]);
    let until = Instant::now() + Duration::from_secs(20);
    while !world.read(LOG).contains("\"what\":\"apply\"") {
        assert!(Instant::now() < until, "the log does not tell of the apply");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child
}

#[tokio::test]
async fn a_killed_apply_leaves_its_beginning() {
    let (world, before) = planned(1).await;
    let held = lock(&world, "product").await;
    let mut child = begun(&world).await;
    child.kill().expect("SIGKILL");
    child.wait().expect("wait");
    held.close().await.expect("closed");
    assert_eq!(world.dump().await, before);
    assert_eq!(told(&entries(&world))[4..], ["apply begun"]);
    let shown = world.run(&["audit", "show"]).exits(0).stdout;
    assert!(shown.contains("no end was recorded: at work, or killed"), "{shown}");
    world.apply(1).exits(0);
    verify(&world).exits(0);
    // By plan: the dry run, the killed apply and the other one.
    let plan: Value = serde_json::from_str(&world.read("plan.json")).expect("plan");
    let start = &plan["hash"].as_str().expect("hash")[..8];
    let shown = world.run(&["audit", "show", "--plan", start, "--json"]).exits(0).json();
    let numbers: Vec<u64> = shown["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .flat_map(|entry| entry["number"].as_u64())
        .collect();
    assert_eq!(numbers, [3, 4, 5, 6, 7]);
}

#[tokio::test]
async fn an_end_that_cannot_be_recorded_is_told() {
    let (world, _) = planned(1).await;
    let held = lock(&world, "product").await;
    let child = begun(&world).await;
    std::fs::rename(world.path(LOG), world.path("moved")).expect("moved");
    std::fs::create_dir(world.path(LOG)).expect("a folder");
    held.close().await.expect("closed");
    let ended = child.wait_with_output().expect("wait");
    let said = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(ended.status.code(), Some(4), "{said}");
    let error = format!(
        "error: unable to record the end of `apply`, exit code 0, which began in entry 5: unable to write audit log '{LOG}': \
         Is a directory (os error 21)\n\
         hint: what it did is done, and recorded as begun: make the log writable, and note this by hand\n"
    );
    assert!(said.ends_with(&error), "{said}");
    std::fs::remove_dir(world.path(LOG)).expect("removed");
    std::fs::rename(world.path("moved"), world.path(LOG)).expect("moved back");
    world.run(&["verify", "plan.json"]).exits(0);
    assert_eq!(told(&entries(&world))[4..6], ["apply begun", "verify begun"]);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_begun() {
    let (world, before) = planned(1).await;
    let refused = async |error: &str| {
        let error = format!("{error}\nhint: nothing was done: what cannot be recorded is not begun");
        assert_eq!(world.apply(1).exits(3).error(), error);
        assert_eq!(world.dump().await, before, "nothing was written");
    };
    let unable = |what: &str, why: &str| {
        format!(
            "error: unable to write audit log '{what}': {why}\n\
             hint: make it writable, or name another file in the configuration: audit = \"FILE\""
        )
    };
    let log = world.read(LOG);
    std::fs::remove_file(world.path(LOG)).expect("removed");
    std::fs::create_dir(world.path(LOG)).expect("a folder");
    refused(&unable(LOG, "Is a directory (os error 21)")).await;
    std::fs::remove_dir(world.path(LOG)).expect("removed");
    let config = world.read("reinstate.toml");
    world.write("reinstate.toml", &format!("audit = \"/dev/null\"\n{config}"));
    refused(&unable("/dev/null", "it is not a regular file")).await;
    world.write("reinstate.toml", &format!("audit = \"none/log\"\n{config}"));
    refused(&unable("none/log", "No such file or directory (os error 2)")).await;
    world.write("reinstate.toml", &config);
    world.write(LOG, &log.replacen("\"test\"", "\"best\"", 1));
    let error = format!(
        "error: unable to continue audit log '{LOG}': line 3: it was changed\n\
         hint: to go on, rename the file, and keep it for the inquiry: a new log begins"
    );
    refused(&error).await;
    world.write("reinstate.toml", &format!("audit = \"log/new.jsonl\"\n{config}"));
    std::fs::create_dir(world.path("log")).expect("a folder");
    world.apply(1).exits(0);
    world.run(&["audit", "verify", "log/new.jsonl"]).exits(0);
}

#[tokio::test]
async fn whatever_is_done_to_a_line_is_found_and_the_line_named() {
    let (world, _) = planned(1).await;
    world.apply(1).exits(0);
    let log = world.read(LOG);
    let lines: Vec<&str> = log.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 6);
    let found = |text: &str, expected: &str| {
        world.write("copy", text);
        let run = world.run(&["audit", "verify", "copy"]).exits(1);
        assert_eq!(run.stdout, format!("audit log 'copy' is not as it was written: {expected}\n"));
    };
    for at in 0..6 {
        let changed = lines[at].replacen("T", "t", 1);
        found(
            &[&lines[..at], &[&*changed], &lines[at + 1..]].concat().concat(),
            &format!("line {}: it was changed", at + 1),
        );
    }
    for at in 0..5 {
        let (here, next) = (at + 1, at + 2);
        let removed = [&lines[..at], &lines[next - 1..]].concat().concat();
        found(&removed, &format!("line {here}: before it, entry {here} was removed"));
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        let reordered = format!("it is entry {next}; lines were reordered, entry {here} is in line {next}");
        found(&swapped.concat(), &format!("line {here}: {reordered}"));
        let repeated = [&lines[..=at], &lines[at..]].concat().concat();
        let twice = format!("it is entry {here} once more; this line or line {here} was inserted");
        found(&repeated, &format!("line {next}: {twice}"));
    }
    let inserted = [&lines[..3], &["{\"number\":4}\n"], &lines[3..]].concat().concat();
    found(&inserted, "line 4: it was inserted");
    found(&log[1..], "line 1: it was changed");
    for lost in [1, 10, lines[5].len() - 1] {
        let cut = "line 6: it was cut off, by a crash while it was written or by a person afterwards";
        found(&log[..log.len() - lost], cut);
    }
    // An entry that was written anew, with a hash of its own.
    let (content, _) = lines[3].rsplit_once(HASH).expect("content");
    let content = content.replace("\"exit_code\":0", "\"exit_code\":1");
    let forged = format!("{content}{HASH}{}\"}}\n", blake3::hash(content.as_bytes()).to_hex());
    let replaced = [&lines[..3], &[&*forged], &lines[4..]].concat().concat();
    found(&replaced, "line 5: it was not written after line 4; one of the two was replaced");
}

#[tokio::test]
async fn a_head_that_was_kept_tells_of_a_lost_end() {
    let (world, _) = planned(1).await;
    let kept = head(&world.apply(1).exits(0));
    let log = world.read(LOG);
    world.run(&["verify", "plan.json"]).exits(0);
    let with_head = || world.run(&["audit", "verify", "--head", &kept]);
    assert!(with_head().exits(0).stdout.ends_with("\nthe head that was kept is that of line 6\n"));
    // Without its last line, the chain alone looks whole.
    let shorter = log.split_inclusive('\n').take(5).collect::<String>();
    world.write(LOG, &shorter);
    verify(&world).exits(0);
    let said = with_head().exits(1).stdout;
    let lost = format!(
        "no line has the head that was kept, {kept}: the log's end was removed, or it was written anew\n"
    );
    assert!(said.ends_with(&lost), "{said}");
    std::fs::remove_file(world.path(LOG)).expect("removed");
    let error = format!(
        "error: unable to read audit log '{LOG}': No such file or directory (os error 2)\n\
         hint: name its file; the configuration's is `audit`, or beside it NAME.audit.jsonl"
    );
    assert_eq!(with_head().exits(2).error(), error);
}

#[tokio::test]
async fn a_line_that_was_cut_off_stays_and_is_told_of() {
    let (world, _) = planned(1).await;
    let log = world.read(LOG);
    let cut = &log[..log.len() - 30];
    world.write(LOG, cut);
    verify(&world).exits(1);
    let run = world.apply(1).exits(0);
    let note = format!("note: line 4 of audit log '{LOG}' was cut off; entry 5 tells of it");
    assert!(run.stderr.lines().any(|line| line == note), "{}", run.stderr);
    assert!(world.read(LOG).starts_with(&format!("{cut}\n")), "it stays as it is");
    let said = verify(&world).exits(0).stdout;
    assert!(said.contains("5 entries, each as it was written\n"), "{said}");
    assert!(said.contains("\nline 4 was cut off, as entry 5 tells: what it said is lost\n"), "{said}");
    // Nor can it be changed or removed now.
    let (whole, rest) = cut.rsplit_once('\n').expect("lines");
    for change in [format!("{whole}\n{}", rest.replacen("T", "t", 1)), whole.to_owned()] {
        world.write("copy", &world.read(LOG).replacen(cut, &change, 1));
        world.run(&["audit", "verify", "copy"]).exits(1);
    }
}

#[tokio::test]
async fn processes_that_write_at_a_time_keep_the_chain_whole() {
    let (world, _) = planned(1).await;
    world.apply(1).exits(0);
    let before = entries(&world).len();
    let verify = || {
        let mut command = world.command(&["verify", "plan.json"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("spawn")
    };
    let children: Vec<Child> = (0..8).map(|_| verify()).collect();
    for mut child in children {
        assert!(child.wait().expect("wait").success());
    }
    let entries = entries(&world);
    assert_eq!(entries.len(), before + 16);
    let told = told(&entries);
    let is_begun = |what: &String| what == "verify begun";
    assert!(told.windows(2).any(|pair| pair.iter().all(is_begun)), "side by side: {told:?}");
    crate::audit::verify(&world).exits(0);
}

#[test]
fn no_secret_is_in_it() {
    let dir = tempfile::tempdir().expect("folder");
    let config = "version = 1\nstore = \"store\"\n[shards.shop]\nurl = \"postgres://sre:hunter2@127.0.0.1:1/shop\"\n\
                  [shards.shop.tables]\n\"public.sites\" = { rule = \"root\", key = \"id\" }\n";
    std::fs::write(dir.path().join("shop.toml"), config).expect("written");
    let run = output(crate::world::command(dir.path(), &["-c", "shop.toml", "snapshot", "create"]));
    assert_ne!(run.code, 0);
    let log = std::fs::read_to_string(dir.path().join("shop.audit.jsonl")).expect("a log");
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(log.contains("\"snapshots\":{\"shop\":[]}"), "{log}");
    assert!(log.contains("postgres://sre:***@127.0.0.1:1/shop\"") && !log.contains("hunter"), "{log}");
}
