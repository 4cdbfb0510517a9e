//! What a snapshot says about rows that nobody gets back, and about rows that tie tenants together.

use super::schema::Shop;
use crate::bench::{Bench, Postgres, Sqlite};

/// A link between issues: its owner is that of the first.
const LINKS: &str =
    "CREATE TABLE links (id {int} PRIMARY KEY, issue_id {int} NOT NULL REFERENCES issues (id),
        other_id {int} NOT NULL REFERENCES issues (id));
    INSERT INTO links VALUES (1, 700, 701), (2, 700, 800), (3, 701, 800), (4, 800, 900)";
/// Tenant 9 goes.
const DELETE: &str = "DELETE FROM links WHERE id = 4; DELETE FROM notes WHERE site_id = 9;
    DELETE FROM members WHERE site_id = 9; DELETE FROM issues WHERE id = 900; DELETE FROM projects WHERE id = 90;
    DELETE FROM folders WHERE id IN (15, 16); DELETE FROM events WHERE id = 4; DELETE FROM sites WHERE id = 9";
const RULE: &str = "\n\"S.links\" = { rule = \"derived\", columns = [\"issue_id\"], parent = \"S.issues\", parent_columns = [\"id\"] }\n";

async fn doubts_are_counted_and_named(bench: impl Bench) {
    let schema = bench.schema();
    let shop = Shop::new(bench).await;
    shop.bench.run(LINKS).await;
    let path = shop.path("reinstate.toml");
    let text = std::fs::read_to_string(&path).expect("configuration");
    std::fs::write(&path, text + &RULE.replace("S.", &format!("{schema}."))).expect("written");
    let created = shop.run(&["snapshot", "create"]).exits(0);
    let snapshots = shop.run(&["snapshot", "list", "--json"]).exits(0).json();
    let id = snapshots["snapshots"][0]["id"].as_str().expect("id").to_owned();
    let manifest = shop.run(&["snapshot", "show", &id, "--json"]).exits(0).json();
    let table = |name: &str| {
        let all = manifest["tables"].as_array().expect("tables").iter();
        all.clone().find(|entry| entry["table"]["name"] == format!("{schema}.{name}")).expect("table").clone()
    };
    let counted = |name: &str| {
        ["rows_owned", "rows_shared", "rows_unowned", "rows_disputed"]
            .map(|count| table(name)[count].as_u64().expect("a count"))
    };
    assert_eq!(counted("notes"), [6, 1, 0, 2]);
    assert_eq!(table("notes")["disputed"], serde_json::json!(["id=7", "id=8"]));
    assert_eq!(counted("replies"), [3, 0, 1, 1]);
    assert_eq!(counted("boards"), [3, 0, 2, 1]);
    assert_eq!(counted("folders"), [8, 6, 0, 2]);
    assert_eq!(table("folders")["disputed"], serde_json::json!(["id=7", "id=8"]));
    assert_eq!(counted("users"), [7, 0, 1, 0]);
    assert_eq!(counted("labels"), [3, 1, 0, 0]);
    assert_eq!(manifest["ties"].as_array().expect("ties").len(), 1, "{}", manifest["ties"]);
    assert_eq!(manifest["ties"][0]["rows"], 3);
    assert_eq!(
        manifest["ties"][0]["between"],
        serde_json::json!([
            { "tenant": "7", "other": "8", "rows": 2 },
            { "tenant": "8", "other": "9", "rows": 1 },
        ])
    );
    let note =
        format!("2 rows of table '{schema}.notes' of shard 'shop' lead to different tenants (id=7, id=8)");
    assert!(created.stderr.contains(&note), "{}", created.stderr);
    assert!(created.stderr.contains("at rows of other tenants in"), "{}", created.stderr);
    assert!(shop.run(&["snapshot", "show", &id]).exits(0).stdout.contains(&note));
    // The plan names the ties of those it concerns.
    shop.bench.run(DELETE).await;
    std::fs::write(shop.path("tenants.txt"), "9\n").expect("written");
    let plan = shop.run(&["plan", "--tenants", "tenants.txt", "-o", "plan.json"]).exits(0);
    assert!(plan.stdout.contains("1 rows of tenant '8' in"), "{}", plan.stdout);
    assert!(!plan.stdout.contains("2 rows of tenant '7' in"), "{}", plan.stdout);
    // They can be left out.
    shop.run(&["snapshot", "create", "--no-ties"]).exits(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubts_are_counted_and_named_on_postgres() {
    doubts_are_counted_and_named(Postgres::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubts_are_counted_and_named_on_sqlite() {
    doubts_are_counted_and_named(Sqlite::new().await).await;
}
