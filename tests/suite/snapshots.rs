//! Snapshots through the command line, and the checked-in ones of `fixtures/snapshots`: what this version wrote
//! must be readable by every later one, and damage is told by its name.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row};

use crate::world::{Kind, Run, World, command, output, tenants};

const SHOP: &str = include_str!("../../fixtures/shop.sqlite.sql");
const ID: &str = "20261121T104850Z-c8a6aa";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A shop like the one the fixtures were taken from, with a configuration that leads to a fixture's store.
struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    async fn new(snapshot: &str) -> Self {
        let shop = Self { dir: tempfile::tempdir().expect("temp dir") };
        shop.sql(SHOP).await;
        let shard = format!("shop=sqlite:{}", shop.dir.path().join("product.db").display());
        let store = fixture(snapshot).display().to_string();
        let _ = shop.run(&["init", "--shard", &shard, "--root", "main.sites", "--store", &store]).exits(0);
        shop
    }

    async fn connection(&self) -> SqliteConnection {
        let options =
            SqliteConnectOptions::new().filename(self.dir.path().join("product.db")).create_if_missing(true);
        SqliteConnection::connect_with(&options).await.expect("SQLite opens")
    }

    async fn sql(&self, sql: &str) {
        let mut connection = self.connection().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect("SQL");
        connection.close().await.expect("close");
    }

    async fn dump(&self) -> Vec<String> {
        let mut connection = self.connection().await;
        let mut rows = Vec::new();
        for (table, columns) in [
            ("sites", "id, host"),
            ("projects", "id, site_id, quote(name)"),
            ("issues", "id, project_id, summary, quote(score), quote(payload)"),
            ("history", "quote(site_id), what"),
            ("labels", "id, name"),
            ("issue_labels", "issue_id, label_id"),
        ] {
            let sql = format!("SELECT '{table} ' || concat_ws(',', {columns}) FROM {table}");
            let found = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("rows");
            rows.extend(found.iter().map(|row| row.get::<String, _>(0)));
        }
        rows.sort();
        rows
    }

    #[must_use]
    fn run(&self, args: &[&str]) -> Run {
        output(command(self.dir.path(), args))
    }
}

#[tokio::test]
async fn the_checked_in_snapshot_restores_all_its_tenants() {
    let shop = Shop::new("snapshots/whole").await;
    let before = shop.dump().await;
    let verify = shop.run(&["snapshot", "verify"]).exits(0);
    assert_eq!(verify.stdout.trim(), format!("snapshot {ID}: every byte is as it was written"));
    shop.sql(
        "DELETE FROM issue_labels; DELETE FROM issues; DELETE FROM projects; DELETE FROM sites;
         DELETE FROM history WHERE site_id IS NOT NULL",
    )
    .await;
    std::fs::write(shop.dir.path().join("all.txt"), "1\n2\n3\n").expect("list");
    // The fixture was taken from another file: that has to be said.
    let plan = shop.run(&["plan", "--tenants", "all.txt", "-o", "plan.json"]).exits(3);
    assert!(plan.error().contains("was taken from sqlite file '/srv/shop/product.db'"), "{}", plan.error());
    let _ = shop.run(&["plan", "--tenants", "all.txt", "-o", "plan.json", "--into", "shop"]).exits(0);
    let _ = shop.run(&["apply", "plan.json", "--confirm", "3"]).exits(0);
    assert_eq!(shop.dump().await, before);
    let _ = shop.run(&["verify", "plan.json"]).exits(0);
}

#[tokio::test]
async fn damaged_snapshots_are_told_by_their_names() {
    let rotten = |file: &str, what: &str, tenants: &str| {
        format!(
            "snapshot {ID}: {file}: {what}\n  tenants that cannot be trusted: {tenants}\nsnapshot {ID}: 1 problem\n"
        )
    };
    let cases = [
        (
            "snapshots/flipped-bit",
            rotten(
                "data/main.issues/part-00000.parquet",
                "it cannot be read: External: Parquet argument error: External: Unknown frame descriptor",
                "1, 2, 3",
            ),
        ),
        (
            "snapshots/truncated-file",
            rotten(
                "data/main.projects/part-00000.parquet",
                "it holds 1503 bytes, 1603 were written",
                "1, 2, 3",
            ),
        ),
        ("snapshots/missing-file", rotten("data/main.history/part-00000.parquet", "it is missing", "1, 2")),
    ];
    for (name, expected) in cases {
        let shop = Shop::new(name).await;
        let run = shop.run(&["snapshot", "verify"]).exits(1);
        assert_eq!(run.stdout, expected, "{name}");
    }
    let unreadable = [
        (
            "snapshots/future-version",
            format!(
                "error: unable to read snapshot '{ID}': its format is version 9, this reinstate reads version 1\n\
                 hint: upgrade reinstate to the version that wrote the snapshot"
            ),
        ),
        (
            "snapshots/edited-manifest",
            format!(
                "error: unable to trust snapshot '{ID}': manifest.json was changed after it was written\n\
                 hint: `reinstate snapshot verify` says what is damaged; `reinstate snapshot list` shows the others"
            ),
        ),
    ];
    for (name, expected) in unreadable {
        let shop = Shop::new(name).await;
        assert_eq!(shop.run(&["snapshot", "verify", ID]).exits(3).error(), expected, "{name}");
        assert_eq!(shop.run(&["snapshot", "show", ID]).exits(3).error(), expected, "{name}");
    }
}

#[tokio::test]
async fn at_picks_the_newest_snapshot_not_after_an_instant() {
    let world = World::with_snapshot(Kind::Sqlite).await;
    let between = jiff::Timestamp::now().to_string();
    let victims = &tenants()[..1];
    world.delete(victims).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let _ = world.run(&["snapshot", "create"]).exits(0);
    world.list(victims);
    // The newest snapshot was taken after the deletion: the tenant is not in it.
    let _ = world.run(&["plan", "--tenants", "tenants.txt", "-o", "plan.json"]).exits(3);
    let _ = world.run(&["plan", "--tenants", "tenants.txt", "-o", "plan.json", "--at", &between]).exits(0);
    let early =
        world.run(&["plan", "--tenants", "tenants.txt", "-o", "x.json", "--at", "2020-01-01T00:00:00Z"]);
    let early = early.exits(3);
    assert!(
        early.error().starts_with("error: unable to find a snapshot of shard 'catalogue'"),
        "{}",
        early.error()
    );
}

#[tokio::test]
async fn prune_deletes_nothing_inside_the_retention() {
    let world = World::with_snapshot(Kind::Sqlite).await;
    let prune = world.run(&["snapshot", "prune", "--json"]).exits(0).json();
    assert_eq!(prune["pruned"].as_array().map(Vec::len), Some(0), "{prune}");
    assert_eq!(prune["kept"].as_array().map(Vec::len), Some(2), "{prune}");
    let list = world.run(&["snapshot", "list", "--json"]).exits(0).json();
    assert_eq!(list["snapshots"][0]["state"], "complete");
    let id = list["snapshots"][0]["id"].as_str().expect("id").to_owned();
    let show = world.run(&["snapshot", "show", &id]).exits(0);
    assert!(show.stdout.contains("cannot be pruned before"), "{}", show.stdout);
}

#[tokio::test]
async fn rows_that_no_tenant_owns_are_counted_and_named() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let world = World::new(kind).await;
        world
            .sql(
                "product",
                "CREATE TABLE drafts (id bigint PRIMARY KEY, issue_id bigint REFERENCES issues (id))",
            )
            .await;
        world.sql("product", "INSERT INTO drafts VALUES (1, 1), (2, NULL), (3, NULL)").await;
        world.init();
        let create = world.run(&["snapshot", "create"]).exits(0);
        let schema = if kind == Kind::Postgres { "public" } else { "main" };
        let note = format!(
            "note: no tenant owns 2 rows of table '{schema}.drafts' of shard 'product'; no restore brings them back"
        );
        assert!(create.stderr.contains(&note), "{}", create.stderr);
    }
}
