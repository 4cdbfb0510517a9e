//! The tenant itself writes while it is repaired: nothing of that is lost, and who is too late is named.

use std::process::Stdio;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{DAMAGED, apply, damaged, plan};
use crate::world::{Dump, Kind, Run, TABLES, World};

/// Applies while a transaction is open that has run `writes`, and ends that when the repair waits for it. The run, and
/// the product as the writer left it.
async fn meanwhile(world: &World, writes: &str, end: &str) -> (Run, Dump) {
    let mut writer = PgConnection::connect(world.url("product")).await.expect("connect");
    let run = |sql: String| sqlx::raw_sql(AssertSqlSafe(sql));
    run(format!("BEGIN; {writes}")).execute(&mut writer).await.expect("writes");
    let mut seen = world.dump().await;
    for (shard, table) in TABLES.iter().filter(|(shard, _)| *shard == "product") {
        let rows = AssertSqlSafe(format!("SELECT t::text FROM {table} t"));
        let mut rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut writer).await.expect("rows");
        rows.sort();
        seen.insert(format!("{shard}.{table}"), rows);
    }
    let mut command = world.command(&["repair", "apply", "repair.json", "--confirm", "1"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let waits = "SELECT count(*) FROM pg_locks
                 WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))";
    let mut tries = 0;
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut writer).await.expect("activity") == 0 {
        tries += 1;
        assert!(tries < 1000, "the repair never waited for the writer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    run(end.to_owned()).execute(&mut writer).await.expect("the end");
    let output = child.wait_with_output().expect("the binary ends");
    let run = Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    (run, seen)
}

const DAMAGE: &str = "UPDATE settings SET value = 'x' WHERE site_id = 9003;
                      INSERT INTO projects VALUES (70001, 9003, 'new')";

#[tokio::test]
async fn postgres_what_a_writer_changes_meanwhile_is_not_lost() {
    let own = "UPDATE settings SET value = 'mine' WHERE site_id = 9003 AND name = 'theme'";
    for (writes, says) in [
        (own, "row site_id=9003 name=theme has changed since it was compared with the snapshot"),
        (
            "DELETE FROM settings WHERE site_id = 9003 AND name = 'theme'",
            "1 of 2 rows took the snapshot's values",
        ),
        (
            "UPDATE projects SET name = 'mine' WHERE id = 70001",
            "row id=70001 has changed since it was compared",
        ),
        // A neighbour's row comes to hang from the extra one.
        (
            "INSERT INTO issues VALUES (70001, 70001, 'new', NULL, true);
             UPDATE projects SET site_id = 9012 WHERE id = 70001",
            "has changed since it was compared",
        ),
    ] {
        for prover in ["server", "engine"] {
            let (world, _) = damaged(Kind::Postgres, DAMAGE).await;
            plan(&world, &[DAMAGED], &["--delete-extra", "--constraints", prover]).exits(0);
            let (run, seen) = meanwhile(&world, writes, "COMMIT").await;
            let run = run.exits(5);
            assert!(run.stdout.contains("9003") && run.stdout.contains(says), "'{says}' in\n{}", run.stdout);
            assert_eq!(world.dump().await, seen, "only the writer has written");
        }
    }
}

/// A child of an extra row, written before the repair locks that row and committed after: with triggers off the proof
/// sees it.
#[tokio::test]
async fn postgres_a_child_that_comes_meanwhile_rolls_back() {
    for prover in ["server", "engine"] {
        let (world, _) = damaged(Kind::Postgres, DAMAGE).await;
        plan(&world, &[DAMAGED], &["--delete-extra", "--constraints", prover]).exits(0);
        let child = "INSERT INTO issues VALUES (70001, 70001, 'new', NULL, true)";
        let (run, seen) = meanwhile(&world, child, "COMMIT").await;
        let run = run.exits(5);
        let says = if prover == "server" { "issues_project_id_fkey" } else { "points by foreign key" };
        assert!(run.stdout.contains(says), "'{says}' in\n{}", run.stdout);
        assert_eq!(world.dump().await, seen);
    }
}

/// The writer gives up: the repair goes on where it waited.
#[tokio::test]
async fn postgres_a_writer_that_gives_up_delays_only() {
    let (world, whole) = damaged(Kind::Postgres, DAMAGE).await;
    plan(&world, &[DAMAGED], &["--delete-extra"]).exits(0);
    let own = "UPDATE settings SET value = 'mine' WHERE site_id = 9003";
    meanwhile(&world, own, "ROLLBACK").await.0.exits(0);
    assert_eq!(world.dump().await, whole);
    apply(&world, 1).exits(0);
    assert_eq!(world.dump().await, whole);
}

/// A lock that is never given up is not waited for for ever, and the next run goes on with the tenants that are left.
#[tokio::test]
async fn postgres_a_lock_that_stays_ends_in_a_failure_that_the_next_run_mends() {
    let damage = "UPDATE settings SET value = 'x' WHERE site_id IN (9002, 9003)";
    let (world, whole) = damaged(Kind::Postgres, damage).await;
    plan(&world, &[9002, DAMAGED], &[]).exits(0);
    let mut writer = PgConnection::connect(world.url("product")).await.expect("connect");
    let hold = "BEGIN; SELECT FROM settings WHERE site_id = 9003 FOR UPDATE";
    sqlx::raw_sql(hold).execute(&mut writer).await.expect("hold");
    let run = apply(&world, 2).exits(5);
    assert!(run.stdout.contains("lock timeout"), "{}", run.stdout);
    sqlx::raw_sql("ROLLBACK").execute(&mut writer).await.expect("let go");
    let run = world.run(&["repair", "apply", "repair.json", "--confirm", "2", "--json"]).exits(0);
    let statuses: Vec<String> = run.json()["outcome"]["tenants"]
        .as_array()
        .expect("tenants")
        .iter()
        .map(|tenant| format!("{} {}", tenant["id"], tenant["shards"][0]["status"]))
        .collect();
    assert_eq!(world.dump().await, whole, "{statuses:?}");
    let done = statuses.iter().find(|status| status.contains("9002")).expect("9002");
    assert!(done.contains("already"), "{statuses:?}");
}
