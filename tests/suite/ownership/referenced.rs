//! Rows that belong to whoever points at them, and what hangs from them: what is live stays, what is missing comes
//! back.

use std::process::Stdio;

use sqlx::{Connection, PgConnection};

use super::schema::Shop;
use crate::bench::{Bench, Postgres, Sqlite};

/// Users with what hangs from them, two levels deep and without constraints.
const DDL: &str = "
CREATE TABLE sites (id {int} PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (id {int} PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE TABLE members (site_id {int} NOT NULL REFERENCES sites (id), user_id {int} NOT NULL REFERENCES users (id),
    PRIMARY KEY (site_id, user_id));
CREATE TABLE a_sessions (id {int} PRIMARY KEY, user_id {int});
CREATE TABLE a_requests (id {int} PRIMARY KEY, session_id {int});
INSERT INTO sites VALUES (7, 'seven'), (8, 'eight');
INSERT INTO users VALUES (1, 'ann@x'), (2, 'bob@x'), (3, 'cy@x');
INSERT INTO members VALUES (7, 1), (7, 2), (8, 2), (8, 3);
INSERT INTO a_sessions VALUES (10, 1), (20, 2), (21, 2), (30, 3), (11, 1);
INSERT INTO a_requests VALUES (100, 10), (200, 20), (210, 21), (300, 30);
";

const RULES: &str = r#"
"S.sites" = { rule = "root", key = "id", name = "name" }
"S.members" = { rule = "direct", column = "site_id" }
"S.users" = { rule = "referenced", by = [{ table = "S.members", columns = ["user_id"], key = ["id"] }] }
"S.a_sessions" = { rule = "derived", columns = ["user_id"], parent = "S.users", parent_columns = ["id"] }
"S.a_requests" = { rule = "derived", columns = ["session_id"], parent = "S.a_sessions", parent_columns = ["id"] }
"#;

/// Site 7 goes with its only user; then session 20 of bob, who stays, ends. One session of ann survives, since nothing
/// but the application would have deleted it.
const DELETE: &str = "DELETE FROM members WHERE site_id = 7; DELETE FROM users WHERE id = 1;
    DELETE FROM a_sessions WHERE id = 10; DELETE FROM a_requests WHERE id = 100; DELETE FROM sites WHERE id = 7;
    DELETE FROM a_sessions WHERE id = 20; DELETE FROM a_requests WHERE id = 200";

async fn what_is_live_stays_and_what_is_missing_comes_back(bench: impl Bench) {
    let shop = Shop::with(bench, DDL, RULES).await;
    shop.run(&["snapshot", "create"]).exits(0);
    let mut expected = shop.bench.dump().await;
    shop.bench.run(DELETE).await;
    shop.bench.run("UPDATE users SET email = 'bob@new' WHERE id = 2").await;
    let gone = |row: &String, id: &str| row.trim_start_matches('(').starts_with(&format!("{id},"));
    expected.get_mut("a_sessions").expect("table").retain(|row| !gone(row, "20"));
    expected.get_mut("a_requests").expect("table").retain(|row| !gone(row, "200"));
    let users = shop.bench.dump().await["users"].clone();
    let expected_users = expected.get_mut("users").expect("table");
    expected_users.retain(|row| !gone(row, "2"));
    expected_users.extend(users.into_iter().filter(|row| gone(row, "2")));
    expected_users.sort();
    let plan = shop.plan(&["7"]).exits(0);
    let rows = |table: &str| {
        let name = format!("{}.{table}", shop.bench.schema());
        let line = plan.stdout.lines().find(|line| line.split_whitespace().any(|word| word == name));
        let words: Vec<&str> = line.expect("a line").split_whitespace().collect();
        (words[4].to_owned(), (*words.last().expect("words")).to_owned())
    };
    assert_eq!(rows("users"), ("1".into(), "1".into()), "{}", plan.stdout);
    // Session 11 is live, 20 and 21 hang from a live user.
    assert_eq!(rows("a_sessions"), ("1".into(), "3".into()), "{}", plan.stdout);
    shop.apply(1).exits(0);
    assert_eq!(shop.bench.dump().await, expected);

    // A user that another site has changed since is no difference; one that is gone is.
    let verified = shop.run(&["verify", "plan.json", "--json"]).exits(0);
    assert!(verified.stdout.contains("id=2"), "{}", verified.stdout);
    shop.bench.run("DELETE FROM members WHERE user_id = 3; DELETE FROM users WHERE id = 3").await;
    shop.run(&["verify", "plan.json"]).exits(0);
    shop.bench.run("DELETE FROM members WHERE user_id = 1; DELETE FROM users WHERE id = 1").await;
    let differs = shop.run(&["verify", "plan.json"]).exits(1);
    assert!(differs.stdout.contains("row id=1 is missing"), "{}", differs.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_live_stays_and_what_is_missing_comes_back_on_postgres() {
    what_is_live_stays_and_what_is_missing_comes_back(Postgres::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_live_stays_and_what_is_missing_comes_back_on_sqlite() {
    what_is_live_stays_and_what_is_missing_comes_back(Sqlite::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referenced_table_without_a_primary_key_is_refused_by_name() {
    let ddl = DDL.replace("users (id {int} PRIMARY KEY", "users (id {int} UNIQUE");
    let shop = Shop::with(Postgres::new().await, &ddl, RULES).await;
    shop.run(&["snapshot", "create"]).exits(0);
    shop.bench.run(DELETE).await;
    let refused = shop.plan(&["7"]).exits(6);
    assert_eq!(
        refused.error(),
        "error: unable to plan for shard 'shop': table 'public.users' has no primary key, and its rows belong to \
         whoever points at them\n\
         hint: such rows are looked up one by one, and restored where they are missing\n\
         hint: give the table a primary key, or another rule"
    );
}

/// What another tenant of the same plan does in another process: the row was missing when it was looked up, and is
/// there when it is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_comes_back_meanwhile_is_found_by_the_next_attempt() {
    let shop = Shop::with(Postgres::new().await, DDL, RULES).await;
    shop.run(&["snapshot", "create"]).exits(0);
    let before = shop.bench.dump().await;
    shop.bench
        .run(
            &DELETE
                .replace("DELETE FROM a_sessions WHERE id = 20; DELETE FROM a_requests WHERE id = 200", ""),
        )
        .await;
    shop.plan(&["7"]).exits(0);
    let mut other = PgConnection::connect(shop.bench.url().expose()).await.expect("connect");
    sqlx::raw_sql("BEGIN; INSERT INTO users VALUES (1, 'ann@x'); INSERT INTO a_sessions VALUES (10, 1)")
        .execute(&mut other)
        .await
        .expect("the other's transaction");
    let mut apply = shop.command(&["apply", "plan.json", "--confirm", "1"]);
    let apply = apply.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    loop {
        let waits: i64 = sqlx::query_scalar(waiting).fetch_one(&mut other).await.expect("locks");
        if waits > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    sqlx::raw_sql("COMMIT").execute(&mut other).await.expect("commit");
    let done =
        tokio::task::spawn_blocking(move || apply.wait_with_output()).await.expect("task").expect("apply");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    let mut expected = before.clone();
    // The request hung from a session that came back with the other one, and so is the other one's to bring back.
    expected.get_mut("a_requests").expect("table").retain(|row| !row.starts_with("(100,"));
    assert_eq!(shop.bench.dump().await, expected);
}

/// A parent by inheritance and its children hold rows of their own: none is read twice, none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_tables_that_inherit_come_back_once() {
    let ddl = "
        CREATE TABLE sites (id bigint PRIMARY KEY, name text);
        CREATE TABLE projects (id bigint PRIMARY KEY, site_id bigint);
        CREATE TABLE entries (id bigint PRIMARY KEY, site_id bigint, project_id bigint);
        CREATE TABLE posts (body text, PRIMARY KEY (id)) INHERITS (entries);
        CREATE TABLE drafts (due date) INHERITS (posts);
        INSERT INTO sites VALUES (7, 'seven'), (8, 'eight');
        INSERT INTO projects VALUES (70, 7), (80, 8);
        INSERT INTO entries VALUES (1, 7, NULL), (2, NULL, 70), (3, 8, NULL), (4, NULL, 80);
        INSERT INTO posts VALUES (1, 7, 70, 'same id'), (5, NULL, 70, 'p'), (6, 8, NULL, 'q');
        INSERT INTO drafts VALUES (1, NULL, 70, 'd', '2022-04-05'), (7, 8, 80, 'e', NULL), (7, 8, 80, 'e', NULL)";
    let either = r#"{ rule = "either", ways = [{ column = "site_id" }, { columns = ["project_id"], parent = "S.projects", parent_columns = ["id"] }] }"#;
    let rules = format!(
        "\"S.sites\" = {{ rule = \"root\", key = \"id\" }}\n\"S.projects\" = {{ rule = \"direct\", column = \"site_id\" }}\n\
         \"S.entries\" = {either}\n\"S.posts\" = {either}\n\"S.drafts\" = {either}\n"
    );
    let shop = Shop::with(Postgres::new().await, ddl, &rules).await;
    shop.run(&["snapshot", "create"]).exits(0);
    let listed = shop.run(&["snapshot", "list", "--json"]).exits(0).json();
    assert_eq!(listed["snapshots"][0]["rows"], 14);
    let before = shop.bench.dump().await;
    shop.bench
        .run(
            "DELETE FROM entries WHERE site_id = 7 OR project_id = 70; DELETE FROM projects WHERE site_id = 7;
             DELETE FROM sites WHERE id = 7",
        )
        .await;
    let plan = shop.plan(&["7"]).exits(0);
    assert!(plan.stdout.contains("1 tenant, 7 rows"), "{}", plan.stdout);
    shop.apply(1).exits(0);
    assert_eq!(shop.bench.dump().await, before);
    shop.run(&["verify", "plan.json"]).exits(0);
}

/// A script that deletes with triggers off leaves keys that point at nothing. Rows that are live and stay are not the
/// restore's, whatever they point at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_rows_that_point_at_nothing_stop_nobody() {
    // A computed key is proved by the server for all rows at once.
    let ddl = format!(
        "{DDL} ALTER TABLE users ADD invited_by bigint, ADD inviter bigint GENERATED ALWAYS AS (invited_by) STORED
             CONSTRAINT invited REFERENCES users;
         UPDATE users SET invited_by = 3 WHERE id = 2; UPDATE users SET invited_by = 2 WHERE id = 1"
    );
    let shop = Shop::with(Postgres::new().await, &ddl, RULES).await;
    shop.run(&["snapshot", "create"]).exits(0);
    let mut expected = shop.bench.dump().await;
    let site = "DELETE FROM members WHERE site_id = 7; DELETE FROM a_requests WHERE id = 100;
        DELETE FROM a_sessions WHERE id IN (10, 11); DELETE FROM users WHERE id = 1; DELETE FROM sites WHERE id = 7";
    let silently = "SET session_replication_role = replica; DELETE FROM users WHERE id = 3;
        RESET session_replication_role";
    shop.bench.execute(&format!("{site}; {silently}")).await;
    expected.get_mut("users").expect("table").retain(|row| !row.starts_with("(3,"));
    shop.plan(&["7"]).exits(0);
    shop.apply(1).exits(0);
    assert_eq!(shop.bench.dump().await, expected);
}

/// Users and their sessions with keys that others can take: 1 is of site 7, 2 of 7 and 8, 4 of 9.
const KEYS: &str = "
CREATE TABLE sites (id {int} PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (id {int} PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE TABLE members (site_id {int} NOT NULL REFERENCES sites (id), user_id {int} NOT NULL REFERENCES users (id),
    PRIMARY KEY (site_id, user_id));
CREATE TABLE a_sessions (id {int} PRIMARY KEY, user_id {int}, token text UNIQUE);
CREATE TABLE a_requests (id {int} PRIMARY KEY, session_id {int});
INSERT INTO sites VALUES (7, 'seven'), (8, 'eight'), (9, 'nine');
INSERT INTO users VALUES (1, 'ann@x'), (2, 'bob@x'), (4, 'di@x');
INSERT INTO members VALUES (7, 1), (7, 2), (8, 2), (9, 4);
INSERT INTO a_sessions VALUES (10, 1, 't10'), (20, 2, 't20'), (40, 4, 't40');
";

/// Sites 7 and 9 go with their users; bob's session ends. Somebody else takes ann's address, bob's next session his
/// old token.
const TAKE: &str = "DELETE FROM members WHERE site_id <> 8; DELETE FROM users WHERE id IN (1, 4);
    DELETE FROM a_sessions; DELETE FROM sites WHERE id <> 8;
    INSERT INTO users VALUES (50, 'ann@x'); INSERT INTO members VALUES (8, 50);
    INSERT INTO a_sessions VALUES (60, 2, 't20')";

/// A key of a referenced row that was taken since is found by the plan, and is in the way of its tenant alone. A row
/// that stays away, since it hangs from a live one, needs its key no more.
async fn a_taken_key_of_a_referenced_row_blocks_its_tenant_alone(bench: impl Bench) {
    let shop = Shop::with(bench, KEYS, RULES).await;
    shop.run(&["snapshot", "create"]).exits(0);
    let before = shop.bench.dump().await;
    shop.bench.run(TAKE).await;
    let mut expected = shop.bench.dump().await;
    let mut back = |rows: &[(&str, &str)]| {
        for (table, start) in rows {
            let found = before[*table].iter().filter(|row| row.trim_start_matches('(').starts_with(start));
            let live = expected.get_mut(*table).expect("table");
            live.extend(found.cloned());
            live.sort();
        }
        expected.clone()
    };
    let plan = shop.plan(&["7", "9"]).exits(6);
    let said = format!("{}{}", plan.stdout, plan.stderr);
    assert!(said.contains("id=1 by id=50 of tenant 8"), "{said}");
    assert!(!said.contains("id=20 by"), "{said}");
    shop.apply(1).exits(0);
    let with_nine = back(&[("sites", "9,"), ("users", "4,"), ("members", "9,"), ("a_sessions", "40,")]);
    assert_eq!(shop.bench.dump().await, with_nine);
    shop.run(&["verify", "plan.json"]).exits(0);

    std::fs::remove_file(shop.path("plan.json")).expect("the plan that was carried out");
    shop.bench.run("UPDATE users SET email = 'new@x' WHERE id = 50").await;
    shop.plan(&["7"]).exits(0);
    shop.apply(1).exits(0);
    let mut with_seven = back(&[("sites", "7,"), ("users", "1,"), ("members", "7,"), ("a_sessions", "10,")]);
    with_seven.insert("users".into(), shop.bench.dump().await["users"].clone());
    assert_eq!(shop.bench.dump().await, with_seven);
    assert!(with_seven["users"].iter().any(|row| row.contains("ann@x")), "{with_seven:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_key_of_a_referenced_row_blocks_its_tenant_alone_on_postgres() {
    a_taken_key_of_a_referenced_row_blocks_its_tenant_alone(Postgres::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_key_of_a_referenced_row_blocks_its_tenant_alone_on_sqlite() {
    a_taken_key_of_a_referenced_row_blocks_its_tenant_alone(Sqlite::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hangs_from_a_referenced_row_without_a_primary_key_is_refused_by_name() {
    let ddl = DDL.replace("a_requests (id {int} PRIMARY KEY", "a_requests (id {int}");
    let shop = Shop::with(Postgres::new().await, &ddl, RULES).await;
    shop.run(&["snapshot", "create"]).exits(0);
    shop.bench.run(DELETE).await;
    let before = shop.bench.dump().await;
    let refused = shop.plan(&["7"]).exits(6);
    assert!(
        refused.error().starts_with(
            "error: unable to plan for shard 'shop': table 'public.a_requests' has no primary key"
        ),
        "{}",
        refused.error()
    );
    assert_eq!(shop.bench.dump().await, before);
}
