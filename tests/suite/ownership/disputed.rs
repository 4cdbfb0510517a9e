//! Rows that two tenants claim, and that stay live while their owners are deleted: nobody's before and after, and in
//! nobody's way. They look like another's as long as one side is gone.

use super::schema::Shop;
use crate::bench::{Bench, Dump, Postgres, Sqlite};

/// Link 1 and a pair lead to sites 7 and 8, link 2 to 7, link 3 to 8 and 9.
const DDL: &str = "
CREATE TABLE sites (id {int} PRIMARY KEY, name text NOT NULL);
CREATE TABLE projects (id {int} PRIMARY KEY, site_id {int});
CREATE TABLE links (id {int} PRIMARY KEY, one {int}, other {int}, note text);
CREATE TABLE pairs (one {int}, other {int});
INSERT INTO sites VALUES (7, 'seven'), (8, 'eight'), (9, 'nine');
INSERT INTO projects VALUES (70, 7), (80, 8), (90, 9);
INSERT INTO links VALUES (1, 70, 80, 'both'), (2, 70, NULL, 'own'), (3, 80, 90, 'both'), (4, NULL, NULL, 'none');
INSERT INTO pairs VALUES (70, 80), (70, 80), (70, 70), (NULL, NULL), (80, 80);
";

const WAYS: &str = r#"rule = "either", ways = [{ columns = ["one"], parent = "S.projects", parent_columns = ["id"] },
    { columns = ["other"], parent = "S.projects", parent_columns = ["id"] }]"#;

const DELETE: &str = "DELETE FROM links WHERE id = 2; DELETE FROM pairs WHERE one = other;
    DELETE FROM projects WHERE id IN (70, 80); DELETE FROM sites WHERE id IN (7, 8)";

/// A shop whose sites 7 and 8 were deleted, and all of it just before that, `meanwhile` included.
async fn deleted<B: Bench>(bench: B, meanwhile: &str) -> (Shop<B>, Dump) {
    let rules = format!(
        "\"S.sites\" = {{ rule = \"root\", key = \"id\" }}\n\"S.projects\" = {{ rule = \"direct\", column = \"site_id\" }}\n\
         \"S.links\" = {{ {WAYS} }}\n\"S.pairs\" = {{ {WAYS} }}\n"
    );
    let shop = Shop::with(bench, DDL, &rules.replace(",\n    ", ", ")).await;
    shop.run(&["snapshot", "create"]).exits(0);
    shop.bench.run(meanwhile).await;
    let whole = shop.bench.dump().await;
    shop.bench.run(DELETE).await;
    (shop, whole)
}

/// Both sides come back, together or one after the other; one of the rows was changed meanwhile.
async fn disputed_rows_are_in_nobodys_way(bench: impl Bench, rounds: &[&[&str]]) {
    let (shop, whole) = deleted(bench, "UPDATE links SET note = 'changed' WHERE id = 1").await;
    for round in rounds {
        let plan = shop.plan(round).exits(0);
        assert!(plan.stdout.contains("2 rows of '"), "{}", plan.stdout);
        shop.apply(round.len()).exits(0);
        shop.run(&["verify", "plan.json"]).exits(0);
        std::fs::remove_file(shop.path("plan.json")).expect("the plan that was carried out");
    }
    assert_eq!(shop.bench.dump().await, whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disputed_rows_are_in_nobodys_way_on_postgres() {
    disputed_rows_are_in_nobodys_way(Postgres::new().await, &[&["7", "8"]]).await;
    disputed_rows_are_in_nobodys_way(Postgres::new().await, &[&["8"], &["7"]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disputed_rows_are_in_nobodys_way_on_sqlite() {
    disputed_rows_are_in_nobodys_way(Sqlite::new().await, &[&["7", "8"]]).await;
    disputed_rows_are_in_nobodys_way(Sqlite::new().await, &[&["8"], &["7"]]).await;
}

/// A repair of the side that is left deletes what is extra, and nothing that was disputed.
async fn a_repair_deletes_no_disputed_row(bench: impl Bench) {
    let (shop, _) = deleted(bench, "UPDATE links SET note = NULL WHERE id = 4").await;
    let left = shop.bench.dump().await;
    shop.bench
        .run("INSERT INTO links VALUES (5, 90, NULL, 'extra'); UPDATE sites SET name = 'x' WHERE id = 9")
        .await;
    let diff = shop.run(&["diff", "--json"]).exits(0).json();
    assert!(diff.to_string().contains("\"extra\":1"), "{diff}");
    // One that was given to a tenant since is an extra row like any other.
    shop.bench.run("UPDATE links SET one = NULL WHERE id = 3").await;
    let diff = shop.run(&["diff", "--json"]).exits(0).json();
    assert!(diff.to_string().contains("\"extra\":2"), "{diff}");
    shop.bench.run("UPDATE links SET one = 80 WHERE id = 3").await;
    std::fs::write(shop.path("tenants.txt"), "9\n").expect("written");
    shop.run(&["repair", "plan", "--tenants", "tenants.txt", "--delete-extra", "-o", "repair.json"]).exits(0);
    shop.run(&["repair", "apply", "repair.json", "--confirm", "1"]).exits(0);
    assert_eq!(shop.bench.dump().await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_deletes_no_disputed_row_on_postgres() {
    a_repair_deletes_no_disputed_row(Postgres::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_deletes_no_disputed_row_on_sqlite() {
    a_repair_deletes_no_disputed_row(Sqlite::new().await).await;
}
