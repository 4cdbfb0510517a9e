//! The drill itself, small: the whole incident, also while the engine is killed and databases crash.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, psql};
use crate::world::{command, output};

const SMALL: [&str; 6] = ["--tenants", "40", "--victims", "8", "--scale", "0.05"];

fn drill(args: &[&str]) -> (u32, crate::world::Run) {
    let folder = tempfile::tempdir().expect("temp dir");
    let args: Vec<&str> = ["drill"].iter().chain(&SMALL).chain(args).copied().collect();
    let mut command = command(folder.path(), &args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the drill starts");
    let pid = child.id();
    let done = child.wait_with_output().expect("the drill ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let code = done.status.code().expect("an exit code");
    (pid, crate::world::Run { code, stdout: text(done.stdout), stderr: text(done.stderr) })
}

/// What a good drill of eight victims reports, whatever it was played on.
fn check(report: &Value) {
    assert_eq!(report["good"], true, "{report:#}");
    for count in ["restored", "signed_off", "verified"] {
        assert_eq!(report[count], 8, "{count}");
    }
    assert_eq!(report["rows_restored"], report["rows_lost"]);
    assert_eq!(report["files_lost"], report["proof"]["victim_files"]);
    assert!(report["flags_lost"].as_u64() > Some(0), "{report}");
    let score = &report["score"];
    assert!(score["first_site_s"].as_f64() > Some(0.0), "{score}");
    assert!(score["last_site_s"].as_f64() >= score["first_site_s"].as_f64(), "{score}");
    for phase in ["neighbours_idle", "neighbours_during"] {
        assert!(score[phase]["writes"].as_u64() > Some(5), "{score}");
        assert!(score[phase]["p99_ms"].as_f64() > Some(0.0), "{score}");
    }
}

fn clusters_of(pid: u32) -> Vec<PathBuf> {
    let prefix = format!("reinstate-drill-pg-{pid}-");
    let entries = fs::read_dir("/tmp").expect("/tmp").flatten().map(|entry| entry.path());
    entries
        .filter(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix))
        })
        .collect()
}

#[test]
fn sqlite_the_drill_ends_well() {
    let (_, run) = drill(&[]);
    let run = run.exits(0);
    assert!(run.stdout.contains("GOOD: everything is back, nothing else changed."), "{}", run.stdout);
    assert!(run.stdout.contains("8 of 8 sites, "), "{}", run.stdout);
    assert!(run.stdout.contains("two weeks"), "{}", run.stdout);
}

#[test]
fn postgres_the_drill_ends_well_and_cleans_up() {
    let cluster = Cluster::start();
    let url = cluster.url("postgres");
    let (_, run) = drill(&["--shard", &url, "--json"]);
    check(&run.exits(0).json());
    let left = psql(&url, "SELECT count(*) FROM pg_database WHERE datname LIKE 'reinstate_drill%'");
    assert_eq!(left.trim(), "0");
}

#[test]
fn the_drill_starts_postgres_itself_and_removes_it() {
    let (pid, run) = drill(&["--fleet", "postgres", "--json"]);
    check(&run.exits(0).json());
    assert_eq!(clusters_of(pid), Vec::<PathBuf>::new());
}

#[test]
fn ctrl_c_leaves_no_cluster() {
    let folder = tempfile::tempdir().expect("temp dir");
    let mut command = command(folder.path(), &["drill", "--fleet", "postgres"]);
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("the drill starts");
    let deadline = Instant::now() + Duration::from_secs(300);
    let running = |folder: &PathBuf| folder.join("data/postmaster.pid").exists();
    while clusters_of(child.id()).iter().filter(|folder| running(folder)).count() < 2 {
        assert!(Instant::now() < deadline, "no cluster was started");
        std::thread::sleep(Duration::from_millis(50));
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    assert_eq!(child.wait().expect("the drill ends").code(), Some(4));
    while !clusters_of(child.id()).is_empty() {
        assert!(Instant::now() < deadline, "a cluster is left");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn sqlite_the_drill_survives_kills() {
    let (_, run) = drill(&["--chaos", "--json"]);
    let report = run.exits(0).json();
    check(&report);
    assert!(report["chaos"]["kills"].as_u64() >= Some(2), "{report}");
}

#[test]
fn postgres_the_drill_survives_kills_and_crashes() {
    let (pid, run) = drill(&["--fleet", "postgres", "--chaos", "--json"]);
    let report = run.exits(0).json();
    check(&report);
    assert!(report["chaos"]["kills"].as_u64() >= Some(2), "{report}");
    assert!(report["chaos"]["crashes"].as_u64() >= Some(1), "{report}");
    assert_eq!(clusters_of(pid), Vec::<PathBuf>::new());
}

/// What the drill says of itself, compared with what it left behind, by other means.
#[tokio::test]
async fn what_is_kept_is_what_was_reported() {
    let (_, run) = drill(&["--keep", "--json"]);
    let report = run.exits(0).json();
    check(&report);
    let folder = PathBuf::from(report["kept"].as_str().expect("a folder"));
    let list = fs::read_to_string(folder.join("tenants.txt")).expect("the list");
    let victims: BTreeSet<&str> = list.lines().collect();
    assert_eq!(victims.len(), 8);
    let files = |root: &str, id: &str| files_below(&folder.join(root).join("sites").join(id));
    let mut restored = 0;
    for id in &victims {
        assert_eq!(files("live-media", id), files("backup-media", id), "{id}");
        restored += files("live-media", id).len() as u64;
    }
    assert_eq!(report["files_lost"].as_u64(), Some(restored));
    let states = sqlite(&folder.join("catalogue.db"), "SELECT id || ' ' || state FROM sites").await;
    assert_eq!(states.len(), 40);
    assert!(states.iter().all(|line| !line.ends_with(" restoring")), "{states:?}");
    let predictions = report["score"]["predictions"].as_array().expect("predictions");
    assert_eq!(predictions[0]["ring"], "canary", "{predictions:?}");
    assert!(predictions[0]["expected_s"].as_f64() >= predictions[0]["low_s"].as_f64());
    let html = fs::read_to_string(folder.join("report.html")).expect("the report");
    assert!(victims.iter().all(|id| html.contains(*id)), "every site is in the report");
    let config = folder.join("reinstate.toml");
    let plan = folder.join("plan.json");
    let args = ["-c", config.to_str().expect("path"), "status", plan.to_str().expect("path"), "--json"];
    let status = output(command(&folder, &args)).exits(0).json();
    let sites = status["sites"].as_array().expect("sites");
    assert_eq!(sites.iter().filter(|site| site["state"] == "accepted").count(), 8);
    let approvals = files_below(&folder.join("plan.approvals"));
    assert_eq!(
        approvals.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["anna@drill.sig", "ben@drill.sig"]
    );
    fs::remove_dir_all(&folder).expect("remove what was kept");
}

fn files_below(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap_or_else(|error| panic!("{}: {error}", root.display())).flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().expect("UTF-8"));
        match path.is_dir() {
            true => found
                .extend(files_below(&path).into_iter().map(|(at, bytes)| (format!("{name}/{at}"), bytes))),
            false => found.push((name, fs::read(path).expect("a file"))),
        }
    }
    found.sort();
    found
}

async fn sqlite(file: &Path, sql: &'static str) -> Vec<String> {
    use sqlx::ConnectOptions;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut connection = options.connect().await.expect("a database");
    sqlx::query_scalar(sql).fetch_all(&mut connection).await.expect("rows")
}

#[test]
fn a_drill_without_neighbours_is_refused() {
    let folder = tempfile::tempdir().expect("temp dir");
    let run = output(command(folder.path(), &["drill", "--tenants", "5", "--victims", "5"])).exits(2);
    assert_eq!(
        run.error(),
        "error: unable to delete 5 of 5 tenants: there must be victims and neighbours\nhint: --victims from 1 to --tenants minus 1"
    );
}
