//! Damaged, not deleted: `repair` makes the live rows of the named tenants equal to the snapshot's, and leaves
//! everybody else's. On both back ends, against the whole database.

use crate::world::{Dump, Kind, Run, World, on_both};

mod hazards;
mod writers;

on_both! {
    sqlite_changed_and_missing_rows_are_the_snapshots_again, postgres_changed_and_missing_rows_are_the_snapshots_again
        => changed_and_missing_rows_are_the_snapshots_again;
    sqlite_extra_rows_stay_unless_asked_for, postgres_extra_rows_stay_unless_asked_for
        => extra_rows_stay_unless_asked_for;
    sqlite_extra_rows_go_when_asked_for, postgres_extra_rows_go_when_asked_for => extra_rows_go_when_asked_for;
    sqlite_rows_without_a_key_need_the_flag, postgres_rows_without_a_key_need_the_flag
        => rows_without_a_key_need_the_flag;
    sqlite_what_a_neighbour_has_blocks, postgres_what_a_neighbour_has_blocks => what_a_neighbour_has_blocks;
    sqlite_a_plan_is_for_one_verb, postgres_a_plan_is_for_one_verb => a_plan_is_for_one_verb;
    sqlite_what_changes_after_the_plan_rolls_back, postgres_what_changes_after_the_plan_rolls_back
        => what_changes_after_the_plan_rolls_back;
    sqlite_keys_of_several_columns, postgres_keys_of_several_columns => keys_of_several_columns;
}

/// A tenant with several projects, each of three issues.
const DAMAGED: i64 = 9003;
const ISSUES: &str =
    "SELECT id FROM issues WHERE project_id IN (SELECT id FROM projects WHERE site_id = 9003)";

fn plan(world: &World, tenants: &[i64], more: &[&str]) -> Run {
    world.list(tenants);
    let _ = std::fs::remove_file(world.path("repair.json"));
    world.run(&[&["repair", "plan", "--tenants", "tenants.txt", "-o", "repair.json"], more].concat())
}

fn apply(world: &World, tenants: usize) -> Run {
    world.run(&["repair", "apply", "repair.json", "--confirm", &tenants.to_string()])
}

/// A world that goes on without the damage, and then the damage.
async fn damaged(kind: Kind, damage: &str) -> (World, Dump) {
    let world = World::with_snapshot(kind).await;
    world.neighbours_write().await;
    let whole = world.dump().await;
    world.sql("product", damage).await;
    (world, whole)
}

async fn changed_and_missing_rows_are_the_snapshots_again(kind: Kind) {
    let damage = format!(
        "UPDATE issues SET summary = 'lost', score = 7, done = false WHERE id IN ({ISSUES});
         UPDATE projects SET name = 'x' WHERE site_id = 9003;
         UPDATE issues SET project_id = (SELECT max(id) FROM projects WHERE site_id = 9003) WHERE id IN ({ISSUES});
         UPDATE comments SET parent_id = NULL WHERE issue_id IN ({ISSUES});
         DELETE FROM comments WHERE issue_id IN ({ISSUES}) AND id % 3 = 2;
         DELETE FROM issue_labels WHERE issue_id IN ({ISSUES});
         DELETE FROM history WHERE site_id = 9003;
         UPDATE settings SET value = NULL WHERE site_id = 9003"
    );
    let (world, whole) = damaged(kind, &damage).await;
    world.sql("catalogue", "UPDATE sites SET name = 'gone', host = 'gone' WHERE id = 9003").await;
    let broken = world.dump().await;
    let run = plan(&world, &[DAMAGED], &[]).exits(0);
    assert!(run.stdout.contains("rows are live with other values and get the snapshot's"), "{}", run.stdout);
    assert!(run.stdout.contains(" updated, 0 deleted; nothing else is written."), "{}", run.stdout);
    assert_eq!(world.dump().await, broken);
    apply(&world, 1).exits(0);
    assert_eq!(world.dump().await, whole);
    world.run(&["verify", "repair.json"]).exits(0);
    // Once only, and a second plan finds nothing to do.
    apply(&world, 1).exits(0);
    let run = plan(&world, &[DAMAGED], &[]).exits(0);
    assert!(
        run.stdout.contains("1 tenant, 0 rows, 0 B will be inserted, 0 updated, 0 deleted"),
        "{}",
        run.stdout
    );
    apply(&world, 1).exits(0);
    assert_eq!(world.dump().await, whole);
}

/// A new project with issues, one of the old issues moved there, and a comment below one that is new.
fn intrusion() -> String {
    format!(
        "INSERT INTO projects VALUES (70001, 9003, 'new');
         INSERT INTO issues VALUES (70002, 70001, 'new', NULL, true);
         INSERT INTO comments VALUES (70003, 70002, NULL, 'new'); INSERT INTO comments VALUES (70004, 70002, 70003, 'new');
         INSERT INTO issue_labels VALUES (70002, 1); INSERT INTO settings VALUES (9003, 'new', 'new');
         UPDATE issues SET project_id = 70001 WHERE id = (SELECT min(id) FROM issues WHERE id IN ({ISSUES}));
         UPDATE comments SET parent_id = 70004 WHERE id = (SELECT min(id) FROM comments WHERE issue_id IN ({ISSUES}))"
    )
}

async fn extra_rows_stay_unless_asked_for(kind: Kind) {
    let (world, whole) = damaged(kind, &intrusion()).await;
    let run = plan(&world, &[DAMAGED], &[]).exits(0);
    assert!(run.stdout.contains("live rows are not in the snapshot and stay"), "{}", run.stdout);
    apply(&world, 1).exits(0);
    world.run(&["verify", "repair.json"]).exits(0);
    let mut after = world.dump().await;
    for (table, extra) in
        [("projects", 1), ("issues", 1), ("comments", 2), ("issue_labels", 1), ("settings", 1)]
    {
        let rows = after.get_mut(&format!("product.{table}")).expect("table");
        let count = rows.len();
        rows.retain(|row| !row.contains("7000") && !row.contains("new"));
        assert_eq!(count - rows.len(), extra, "{table}");
    }
    assert_eq!(after, whole);
}

async fn extra_rows_go_when_asked_for(kind: Kind) {
    let damage = intrusion()
        + "; INSERT INTO history VALUES (9003, 'signed in'), (9003, 'new'), (9003, 'new');
           DELETE FROM settings WHERE site_id = 9003 AND name = 'theme'";
    let (world, whole) = damaged(kind, &damage).await;
    // The same intrusion at a neighbour's stays.
    world.sql("product", "INSERT INTO history VALUES (9004, 'new'), (9004, 'signed in')").await;
    let mut expected = whole;
    expected.insert("product.history".into(), {
        let mut rows = world.dump().await["product.history"].clone();
        rows.retain(|row| !(row.contains("9003") && row.contains("new")));
        let extra = rows.iter().position(|row| row.contains("9003")).expect("row");
        rows.remove(extra);
        rows
    });
    let run = plan(&world, &[DAMAGED], &["--delete-extra"]).exits(0);
    assert!(run.stdout.contains("live rows are not in the snapshot and are deleted"), "{}", run.stdout);
    assert!(run.stdout.contains("1 rows, ") && run.stdout.contains("2 updated, 9 deleted"), "{}", run.stdout);
    apply(&world, 1).exits(0);
    assert_eq!(world.dump().await, expected);
    world.run(&["verify", "repair.json"]).exits(0);
}

async fn rows_without_a_key_need_the_flag(kind: Kind) {
    let sql = "UPDATE history SET what = 'signed out' WHERE site_id = 9003";
    let (world, whole) = damaged(kind, sql).await;
    let run = plan(&world, &[DAMAGED], &[]).exits(6);
    assert!(run.error().contains("are not in the snapshot: site_id=9003 what=signed out"), "{}", run.error());
    assert!(run.error().contains("--delete-extra"), "{}", run.error());
    assert!(!world.path("repair.json").exists());
    plan(&world, &[DAMAGED], &["--delete-extra"]).exits(0);
    apply(&world, 1).exits(0);
    assert_eq!(world.dump().await, whole);
}

async fn what_a_neighbour_has_blocks(kind: Kind) {
    // One row was given away; the key of another was taken by a neighbour after it had changed.
    let moved =
        "UPDATE projects SET site_id = 9012 WHERE id = (SELECT min(id) FROM projects WHERE site_id = 9003)";
    let (world, _) = damaged(kind, moved).await;
    world.sql("catalogue", "UPDATE sites SET host = 'free' WHERE id = 9002").await;
    world.sql("catalogue", "UPDATE sites SET host = 's9002.example.net' WHERE id = 9012").await;
    world.sql("product", "UPDATE projects SET name = 'x' WHERE site_id = 9001").await;
    let broken = world.dump().await;
    let run = plan(&world, &[9001, 9002, DAMAGED], &["--delete-extra"]).exits(6);
    for text in ["LEFT OUT: tenant 9003", "of tenant 9012", "LEFT OUT: tenant 9002", "id=9002 by id=9012"] {
        assert!(run.stdout.contains(text), "'{text}' in\n{}", run.stdout);
    }
    apply(&world, 1).exits(0);
    let after = world.dump().await;
    assert_ne!(after, broken);
    assert_eq!(after["catalogue.sites"], broken["catalogue.sites"]);
    let others = |dump: &Dump| -> Vec<String> {
        dump["product.projects"].iter().filter(|row| !row.contains("9001")).cloned().collect()
    };
    assert_eq!(others(&after), others(&broken));
}

async fn a_plan_is_for_one_verb(kind: Kind) {
    let (world, whole) = damaged(kind, "UPDATE settings SET value = 'x' WHERE site_id = 9003").await;
    let broken = world.dump().await;
    plan(&world, &[DAMAGED], &[]).exits(0);
    let run = world.run(&["apply", "repair.json", "--confirm", "1"]).exits(3);
    assert!(
        run.error()
            .starts_with("error: unable to apply the plan: it is a repair, which overwrites live rows"),
        "{}",
        run.error()
    );
    let run = world.run(&["repair", "apply", "repair.json"]).exits(3);
    assert!(run.error().contains("its 1 tenants were not confirmed"), "{}", run.error());
    apply(&world, 2).exits(3);
    // Cutting the word out of the plan makes it another plan.
    let text = world.read("repair.json");
    world.write("repair.json", &text.replace("\"delete_extra\": false", "\"delete_extra\": true"));
    let run = apply(&world, 1).exits(3);
    assert!(run.error().contains("it was changed after the dry run"), "{}", run.error());
    world.write("repair.json", &text);
    assert_eq!(world.dump().await, broken);
    world.delete(&[9001]).await;
    world.plan(&[9001]).exits(0);
    let run = world.run(&["repair", "apply", "plan.json", "--confirm", "1"]).exits(3);
    assert!(
        run.error().starts_with("error: unable to repair: the plan is that of a restore"),
        "{}",
        run.error()
    );
    world.apply(1).exits(0);
    apply(&world, 1).exits(0);
    assert_eq!(world.dump().await, whole);
}

async fn what_changes_after_the_plan_rolls_back(kind: Kind) {
    let (world, _) = damaged(kind, &intrusion()).await;
    for more in [&["--delete-extra"][..], &[]] {
        plan(&world, &[DAMAGED], more).exits(0);
        // As many rows as before, but others.
        world
            .sql("product", "UPDATE settings SET value = value || 'er' WHERE site_id = 9003 AND name = 'new'")
            .await;
        let broken = world.dump().await;
        let run = apply(&world, 1).exits(5);
        assert!(
            run.stdout.contains("other rows of the tenant are live than when the plan was made"),
            "{}",
            run.stdout
        );
        assert_eq!(world.dump().await, broken);
    }
}

/// Keys of several columns, computed columns, tables without rowid, and repaired values of many types.
async fn keys_of_several_columns(kind: Kind) {
    let world = World::new(kind).await;
    let table = match kind {
        Kind::Postgres => {
            "CREATE TYPE mood AS ENUM ('sad', 'glad');
             CREATE TABLE things (site_id bigint, code text COLLATE \"C\", number bigint GENERATED ALWAYS AS IDENTITY,
               feeling mood, tags text[], doc jsonb, amount numeric(12, 3), twice numeric GENERATED ALWAYS AS (amount * 2)
               STORED, PRIMARY KEY (code, site_id));
             INSERT INTO things (site_id, code, feeling, tags, doc, amount)
               SELECT 9001 + n % 3, 'c' || n, 'sad', ARRAY['a', NULL], '{\"a\": 1}', n / 7.0 FROM generate_series(1, 900) n"
        }
        Kind::Sqlite => {
            "CREATE TABLE things (site_id INTEGER, code TEXT, number INT, feeling TEXT, tags BLOB, doc TEXT, amount REAL,
               twice REAL AS (amount * 2) STORED, PRIMARY KEY (code, site_id)) WITHOUT ROWID;
             WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 900)
             INSERT INTO things (site_id, code, number, feeling, tags, doc, amount)
               SELECT 9001 + n % 3, 'c' || n, n, 'sad', x'00ff', '{\"a\": 1}', n / 7.0 FROM s"
        }
    };
    world.sql("product", table).await;
    world.init();
    world.run(&["snapshot", "create"]).exits(0);
    let hashes = || async {
        match kind {
            Kind::Postgres => crate::oracle::rows_pg(world.url("product"), "things", "true").await,
            Kind::Sqlite => crate::oracle::rows_sqlite(world.url("product"), "things", "true").await,
        }
    };
    let (whole, rest) = (hashes().await, world.dump().await);
    let damage =
        "UPDATE things SET feeling = 'glad', tags = NULL, doc = '[]', amount = 0 WHERE site_id = 9002;
                  DELETE FROM things WHERE site_id = 9002 AND code LIKE 'c1%';
                  INSERT INTO things (site_id, code) VALUES (9002, 'x'), (9002, 'y')";
    // What is inserted again has its number; what is updated keeps the one it always had.
    world.sql("product", damage).await;
    assert_ne!(hashes().await, whole);
    plan(&world, &[9002], &["--delete-extra"]).exits(0);
    apply(&world, 1).exits(0);
    assert_eq!(hashes().await, whole);
    assert_eq!(world.dump().await, rest);
    world.run(&["verify", "repair.json"]).exits(0);
}

/// The role lacks what a repair needs beyond a restore: known when the plan is made.
#[tokio::test]
async fn postgres_missing_privileges_stop_the_plan() {
    let (world, _) = damaged(Kind::Postgres, "UPDATE settings SET value = 'x' WHERE site_id = 9003").await;
    for (shard, sql) in [
        (
            "product",
            "DO $$ BEGIN CREATE ROLE mender LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        ),
        ("product", "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO mender"),
        ("product", "GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO mender"),
        ("product", "GRANT UPDATE ON settings TO mender"),
    ] {
        world.sql(shard, sql).await;
    }
    let config = world.read("reinstate.toml");
    let url = world.url("product");
    assert!(url.contains("postgres@"), "{url}");
    world.write("reinstate.toml", &config.replace(url, &url.replace("postgres@", "mender@")));
    let run = plan(&world, &[DAMAGED], &[]).exits(3);
    assert!(run.error().contains("role 'mender' has no update privilege on it"), "{}", run.error());
    assert!(!run.error().contains("delete privilege"), "{}", run.error());
    world.sql("product", "GRANT UPDATE ON ALL TABLES IN SCHEMA public TO mender").await;
    plan(&world, &[DAMAGED], &[]).exits(0);
    let run = plan(&world, &[DAMAGED], &["--delete-extra"]).exits(3);
    assert!(run.error().contains("role 'mender' has no delete privilege on it"), "{}", run.error());
}
