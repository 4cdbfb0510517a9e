//! Rows on ids that were deleted: without a foreign key nobody stops an application from writing them, and they would
//! become the tenant's when their parent comes back.

use super::schema::Shop;
use crate::bench::{Bench, Postgres, Sqlite};

const DDL: &str = "
CREATE TABLE sites (id {int} PRIMARY KEY, name text NOT NULL);
CREATE TABLE issues (id {int} PRIMARY KEY, site_id {int}, title text);
CREATE TABLE notes (id {int} PRIMARY KEY, issue_id {int}, body text);
CREATE TABLE votes (issue_id {int}, voter text);
INSERT INTO sites VALUES (7, 'seven'), (8, 'eight');
INSERT INTO issues VALUES (70, 7, 'a'), (80, 8, 'b');
INSERT INTO notes VALUES (1, 70, 'x'), (2, 80, 'y'), (3, 99, 'an orphan of long ago');
INSERT INTO votes VALUES (70, 'ann'), (80, 'bob');
";

const LINK: &str =
    r#"{ rule = "derived", columns = ["issue_id"], parent = "S.issues", parent_columns = ["id"] }"#;

const DELETE: &str = "DELETE FROM votes WHERE issue_id = 70; DELETE FROM notes WHERE issue_id = 70;
    DELETE FROM issues WHERE id = 70; DELETE FROM sites WHERE id = 7";

async fn rows_that_would_become_the_tenants_are_found_by_the_plan(bench: impl Bench) {
    let rules = format!(
        "\"S.sites\" = {{ rule = \"root\", key = \"id\" }}\n\"S.issues\" = {{ rule = \"direct\", column = \"site_id\" }}\n\
         \"S.notes\" = {LINK}\n\"S.votes\" = {LINK}\n"
    );
    let shop = Shop::with(bench, DDL, &rules).await;
    shop.run(&["snapshot", "create"]).exits(0);
    let whole = shop.bench.dump().await;
    shop.bench.run(DELETE).await;
    // A new note on the deleted issue, and a vote that was left behind.
    shop.bench.run("INSERT INTO notes VALUES (9, 70, 'since'); INSERT INTO votes VALUES (70, 'ann')").await;
    let plan = shop.plan(&["7"]).exits(6);
    for words in
        ["id=9 of no tenant at id=70", "1 live rows of '", "notes' point at rows of '", "votes' point at"]
    {
        assert!(plan.error().contains(words), "'{words}' in\n{}", plan.error());
    }
    shop.bench.run("DELETE FROM notes WHERE id = 9; DELETE FROM votes WHERE issue_id = 70").await;
    shop.plan(&["7"]).exits(0);
    shop.apply(1).exits(0);
    assert_eq!(shop.bench.dump().await, whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_would_become_the_tenants_are_found_by_the_plan_on_postgres() {
    rows_that_would_become_the_tenants_are_found_by_the_plan(Postgres::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_would_become_the_tenants_are_found_by_the_plan_on_sqlite() {
    rows_that_would_become_the_tenants_are_found_by_the_plan(Sqlite::new().await).await;
}
