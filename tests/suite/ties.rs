//! Rows of one deleted tenant point at rows of another: the one comes back after the other, by itself, or both are
//! named when the plan is made.

use crate::bench::{Bench, Dump, Postgres, Sqlite};
use crate::ownership::schema::Shop;

const DDL: &str = "
CREATE TABLE sites (id {int} PRIMARY KEY, name text NOT NULL);
CREATE TABLE issues (id {int} PRIMARY KEY, site_id {int} NOT NULL REFERENCES sites (id), blocked_by {int},
    CONSTRAINT blocked FOREIGN KEY (blocked_by) REFERENCES issues (id));
INSERT INTO sites VALUES (7, 'seven'), (8, 'eight'), (9, 'nine'), (10, 'ten');
INSERT INTO issues VALUES (70, 7, NULL), (71, 7, NULL), (72, 7, NULL), (73, 7, NULL), (80, 8, NULL), (81, 8, NULL),
    (82, 8, NULL), (90, 9, NULL), (91, 9, NULL), (100, 10, NULL);
";

const RULES: &str = r#"
"S.sites" = { rule = "root", key = "id", name = "name" }
"S.issues" = { rule = "direct", column = "site_id" }
"#;

/// Deletes sites 7, 8 and 9, of which each has more rows than the next, so that it is tried first.
async fn lose<B: Bench>(bench: B, ties: &str) -> (Shop<B>, Dump) {
    let shop = Shop::with(bench, &format!("{DDL} {ties}"), RULES).await;
    shop.run(&["snapshot", "create"]).exits(0);
    let before = shop.bench.dump().await;
    let delete = "DELETE FROM issues WHERE site_id IN (7, 8, 9); DELETE FROM sites WHERE id IN (7, 8, 9)";
    shop.bench.run(delete).await;
    (shop, before)
}

async fn they_come_back_one_after_the_other(bench: impl Bench) {
    // 7 needs 8, and 8 needs 9; what is live is nobody's tie.
    let ties =
        "UPDATE issues SET blocked_by = 80 WHERE id = 70; UPDATE issues SET blocked_by = 90 WHERE id = 81;
        UPDATE issues SET blocked_by = 100 WHERE id = 90; UPDATE issues SET blocked_by = 70 WHERE id = 71";
    let (shop, before) = lose(bench, ties).await;
    shop.plan(&["7", "8", "9"]).exits(0);
    let apply = shop.run(&["apply", "plan.json", "--confirm", "3", "--jobs", "1"]).exits(0);
    assert_eq!(shop.bench.dump().await, before);
    assert!(apply.stdout.contains("12 rows written"), "{}", apply.stdout);
    assert!(!apply.stderr.contains("not restored"), "{}", apply.stderr);
    shop.run(&["verify", "plan.json"]).exits(0);
}

async fn ties_both_ways_are_named(bench: impl Bench) {
    // 7 and 8 need each other; 9 nobody.
    let ties =
        "UPDATE issues SET blocked_by = 80 WHERE id = 70; UPDATE issues SET blocked_by = 71 WHERE id = 81";
    let (shop, before) = lose(bench, ties).await;
    let plan = shop.plan(&["7", "8", "9"]).exits(6);
    let tied = |tenant: &str, row: &str, target: &str, other: &str| {
        format!(
            "LEFT OUT: tenant {tenant}\n  1 rows of '{schema}.issues' of shard 'shop' point ('{key}') at rows of \
             '{schema}.issues' of tenant {other}, which cannot come back before: id={row} at blocked_by={target}",
            schema = shop.bench.schema(),
            key = if shop.bench.schema() == "public" { "blocked" } else { "fk_issues_2" },
        )
    };
    println!("{}", plan.stdout);
    for text in [tied("7 (seven)", "70", "80", "8"), tied("8 (eight)", "81", "71", "7")] {
        assert!(plan.stdout.contains(&text), "{text} in\n{}", plan.stdout);
    }
    shop.apply(1).exits(0);
    let id = |row: &str| row.trim_start_matches('(').split(',').next().unwrap_or_default().to_owned();
    let after = shop.bench.dump().await;
    for (table, rows) in &before {
        let expected: Vec<&String> =
            rows.iter().filter(|row| ["9", "90", "91", "10", "100"].contains(&id(row).as_str())).collect();
        assert_eq!(after[table].iter().collect::<Vec<_>>(), expected);
    }
}

/// Who points at a row of a tenant that is left out for another reason is left out too.
async fn who_waits_for_a_blocked_tenant_is_blocked(bench: impl Bench) {
    let (shop, _) = lose(bench, "UPDATE issues SET blocked_by = 80 WHERE id = 70").await;
    // An issue of 8 came back by other hands, with other values.
    shop.bench.run("INSERT INTO sites VALUES (8, 'again'); INSERT INTO issues VALUES (81, 8, 100)").await;
    let live = shop.bench.dump().await;
    let plan = shop.plan(&["7", "8"]).exits(6);
    assert!(plan.error().contains("of tenant 8, which cannot come back before: id=70"), "{}", plan.error());
    assert_eq!(shop.bench.dump().await, live);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_come_back_one_after_the_other_on_postgres() {
    they_come_back_one_after_the_other(Postgres::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_come_back_one_after_the_other_on_sqlite() {
    they_come_back_one_after_the_other(Sqlite::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ties_both_ways_are_named_on_postgres() {
    ties_both_ways_are_named(Postgres::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ties_both_ways_are_named_on_sqlite() {
    ties_both_ways_are_named(Sqlite::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_blocked_tenant_is_blocked_on_postgres() {
    who_waits_for_a_blocked_tenant_is_blocked(Postgres::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_blocked_tenant_is_blocked_on_sqlite() {
    who_waits_for_a_blocked_tenant_is_blocked(Sqlite::new().await).await;
}

/// What the hint advises: nobody validated the key, so that nobody has to come first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_key_is_not_valid_both_come_back() {
    let ties =
        "UPDATE issues SET blocked_by = 80 WHERE id = 70; UPDATE issues SET blocked_by = 71 WHERE id = 81";
    let (shop, before) = lose(Postgres::new().await, ties).await;
    let key = "ALTER TABLE issues DROP CONSTRAINT blocked;
        ALTER TABLE issues ADD CONSTRAINT blocked FOREIGN KEY (blocked_by) REFERENCES issues (id) NOT VALID";
    shop.bench.execute(key).await;
    shop.plan(&["7", "8", "9"]).exits(0);
    shop.apply(3).exits(0);
    assert_eq!(shop.bench.dump().await, before);
    shop.bench.execute("ALTER TABLE issues VALIDATE CONSTRAINT blocked").await;
}
