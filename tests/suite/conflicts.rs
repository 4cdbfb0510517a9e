//! What is live already: found before anything is written, by name; a tenant that is blocked blocks nobody else, and a
//! policy leaves exactly what it says. On both back ends, against the whole database.

use crate::world::{Dump, Kind, World, on_both, tenants};

on_both! {
    sqlite_a_taken_key_blocks_that_tenant_only, postgres_a_taken_key_blocks_that_tenant_only
        => a_taken_key_blocks_that_tenant_only;
    sqlite_a_reused_id_blocks, postgres_a_reused_id_blocks => a_reused_id_blocks;
    sqlite_a_missing_parent_blocks, postgres_a_missing_parent_blocks => a_missing_parent_blocks;
    sqlite_identical_rows_are_skipped, postgres_identical_rows_are_skipped => identical_rows_are_skipped;
    sqlite_live_rows_are_kept, postgres_live_rows_are_kept => live_rows_are_kept;
    sqlite_erased_rows_stay_erased, postgres_erased_rows_stay_erased => erased_rows_stay_erased;
    sqlite_diff_tells_missing_changed_and_extra_rows, postgres_diff_tells_missing_changed_and_extra_rows
        => diff_tells_missing_changed_and_extra_rows;
    sqlite_a_policy_of_one_table, postgres_a_policy_of_one_table => a_policy_of_one_table;
    sqlite_what_changes_after_the_plan_rolls_back, postgres_what_changes_after_the_plan_rolls_back
        => what_changes_after_the_plan_rolls_back;
}

fn plan(world: &World, tenants: &[i64], more: &[&str]) -> crate::world::Run {
    world.list(tenants);
    let args =
        ["plan", "--tenants", "tenants.txt", "-o", "plan.json", "--max-tenants", "20", "--reason", "test"];
    world.run(&[&args, more].concat())
}

fn of(dump: &Dump, table: &str, tenant: &str) -> Vec<String> {
    dump[table].iter().filter(|row| row.contains(tenant)).cloned().collect()
}

async fn a_taken_key_blocks_that_tenant_only(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    let before = world.dump().await;
    world.delete(&tenants()[..2]).await;
    world.sql("catalogue", "UPDATE sites SET host = 's9001.example.net' WHERE id = 9012").await;
    let run = plan(&world, &tenants()[..2], &[]).exits(6);
    for text in
        ["LEFT OUT: tenant 9001 (Site 9001)", "have a key", "id=9001 by id=9012 of tenant 9012", "1 tenant, "]
    {
        assert!(run.stdout.contains(text), "'{text}' in\n{}", run.stdout);
    }
    let json: serde_json::Value = serde_json::from_str(&world.read("plan.json")).expect("JSON");
    assert_eq!(json["blocked"][0]["id"], "9001");
    assert_eq!(json["blocked"][0]["obstacles"][0]["finding"]["rows"], 1);
    world.apply(1).exits(0);
    let after = world.dump().await;
    assert_eq!(of(&after, "catalogue.sites", "9002"), of(&before, "catalogue.sites", "9002"));
    assert!(!after["product.projects"].iter().any(|row| row.contains("9001")), "nothing of the other came");
    // Alone it leaves no plan at all.
    std::fs::remove_file(world.path("plan.json")).expect("remove");
    let run = plan(&world, &tenants()[..1], &[]).exits(6);
    assert!(run.error().contains("id=9001 by id=9012 of tenant 9012"), "{}", run.error());
    assert!(!world.path("plan.json").exists());
    assert_eq!(world.dump().await, after);
}

async fn a_reused_id_blocks(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    world.delete(&tenants()[..1]).await;
    world.sql("product", "INSERT INTO projects VALUES (1, 9012, 'new')").await;
    let run = plan(&world, &tenants()[..1], &["--on-conflict", "keep-live"]).exits(6);
    assert!(run.error().contains("1 rows of"), "{}", run.error());
    assert!(run.error().contains("that is taken: id=1 by id=1 of tenant 9012"), "{}", run.error());
}

async fn a_missing_parent_blocks(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    world.delete(&tenants()[..2]).await;
    let sql = "DELETE FROM issue_labels WHERE label_id = 2; DELETE FROM labels WHERE id = 2";
    world.sql("product", sql).await;
    let run = plan(&world, &tenants()[..2], &[]).exits(6);
    let told = if run.stdout.is_empty() { run.error() } else { run.stdout.clone() };
    assert!(told.contains("that are neither live nor come back"), "{told}");
    assert!(told.contains("label_id=2 at label_id=2"), "{told}");
    // What comes back with the tenant is no missing parent, and neither is what is live.
    assert!(!told.contains("label_id=1") && !told.contains("projects'"), "{told}");
}

async fn identical_rows_are_skipped(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    let before = world.dump().await;
    // Some rows of a tree, one of two equal rows, and the catalogue's row.
    let some = "SELECT id FROM issues WHERE project_id IN (SELECT id FROM projects WHERE site_id = 9001)";
    world
        .sql(
            "product",
            &format!(
                "DELETE FROM comments WHERE parent_id IS NOT NULL AND issue_id IN ({some});
                 DELETE FROM settings WHERE site_id = 9001 AND name = 'theme'; DELETE FROM history WHERE site_id = 9001;
                 INSERT INTO history VALUES (9001, 'signed in')"
            ),
        )
        .await;
    world.sql("catalogue", "DELETE FROM sites WHERE id = 9001").await;
    let broken = world.dump().await;
    let run = plan(&world, &tenants()[..1], &[]).exits(6);
    assert!(run.error().contains("rows are live already"), "{}", run.error());
    assert!(!world.path("plan.json").exists());
    let run = plan(&world, &tenants()[..1], &["--on-conflict", "skip-identical"]).exits(0);
    assert!(run.stdout.contains("(skip-identical): 1 identical rows are live and stay"), "{}", run.stdout);
    assert_eq!(world.dump().await, broken);
    world.apply(1).exits(0);
    assert_eq!(world.dump().await, before);
    world.run(&["verify", "plan.json"]).exits(0);
    world.sql("product", "UPDATE projects SET name = 'later' WHERE id = 1").await;
    world.run(&["verify", "plan.json"]).exits(1);
}

async fn live_rows_are_kept(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    world.sql("product", "UPDATE settings SET value = 'light' WHERE site_id = 9001 AND name = 'theme'").await;
    world.sql("product", "INSERT INTO history VALUES (9001, 'ghost')").await;
    let expected = world.dump().await;
    world.sql("product", "DELETE FROM settings WHERE site_id = 9001 AND name = 'quota'").await;
    world.sql("product", "DELETE FROM history WHERE site_id = 9001 AND what <> 'ghost'").await;
    let run = plan(&world, &tenants()[..1], &["--on-conflict", "skip-identical"]).exits(6);
    let error = run.error();
    assert!(error.contains("1 rows are live with other values"), "{error}");
    assert!(error.contains("site_id=9001 name=theme"), "{error}");
    assert!(error.contains("are not in the snapshot: site_id=9001 what=ghost"), "{error}");
    plan(&world, &tenants()[..1], &["--on-conflict", "keep-live"]).exits(0);
    world.apply(1).exits(0);
    assert_eq!(world.dump().await, expected, "what was missing is back, what was live is as it was");
    world.run(&["verify", "plan.json"]).exits(0);
    world.apply(1).exits(0);
    assert_eq!(world.dump().await, expected);
}

async fn a_policy_of_one_table(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    let schema = if kind == Kind::Postgres { "public" } else { "main" };
    let before = world.dump().await;
    world.delete(&tenants()[..1]).await;
    world.sql("product", "INSERT INTO settings VALUES (9001, 'theme', 'mine')").await;
    let config = world.read("reinstate.toml");
    let policy = format!("\n[shards.product.conflicts]\n\"{schema}.settings\" = \"keep-live\"\n");
    world.write("reinstate.toml", &(config.clone() + &policy));
    plan(&world, &tenants()[..1], &[]).exits(0);
    world.apply(1).exits(0);
    let mut after = world.dump().await;
    assert_ne!(after["product.settings"], before["product.settings"]);
    after.insert("product.settings".into(), before["product.settings"].clone());
    assert_eq!(after, before);
    world.write("reinstate.toml", &(config + &policy.replace("settings", "settngs")));
    let run = world.run(&["plan", "--tenants", "tenants.txt", "-o", "second.json"]).exits(2);
    assert!(run.error().contains("its conflicts name table"), "{}", run.error());
}

async fn what_changes_after_the_plan_rolls_back(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    world.sql("product", "DELETE FROM settings WHERE site_id = 9001 AND name = 'quota'").await;
    world.sql("product", "DELETE FROM history WHERE site_id = 9001").await;
    plan(&world, &tenants()[..1], &["--on-conflict", "skip-identical"]).exits(0);
    world.sql("product", "UPDATE projects SET name = 'renamed' WHERE site_id = 9001").await;
    let broken = world.dump().await;
    let run = world.apply(1).exits(5);
    assert!(
        run.stdout.contains("other rows of the tenant are live than when the plan was made"),
        "{}",
        run.stdout
    );
    assert_eq!(world.dump().await, broken);
}

/// Indexes on expressions and exclusion constraints made since the snapshot.
#[tokio::test]
async fn postgres_every_kind_of_unique_key_is_found() {
    let world = World::with_snapshot(Kind::Postgres).await;
    world.delete(&tenants()[..4]).await;
    world.sql("catalogue", "CREATE UNIQUE INDEX by_name ON sites (lower(name))").await;
    world
        .sql(
            "catalogue",
            "CREATE UNIQUE INDEX some_hosts ON sites (right(host, 11)) WHERE id IN (9002, 9011)",
        )
        .await;
    world
        .sql("catalogue", "ALTER TABLE sites ADD EXCLUDE USING gist (int8range(id, id + 6) WITH &&) WHERE (id IN (9003, 9008))")
        .await;
    world.sql("catalogue", "UPDATE sites SET name = 'SITE 9001' WHERE id = 9012").await;
    let run = plan(&world, &tenants()[..4], &[]).exits(6);
    for text in [
        "('by_name') that is taken: id=9001 by id=9012 of tenant 9012",
        "('some_hosts') that is taken: id=9002 by id=9011 of tenant 9011",
        "('sites_int8range_excl') that is taken: id=9003 by id=9008 of tenant 9008",
    ] {
        assert!(run.stdout.contains(text), "'{text}' in\n{}", run.stdout);
    }
    world.apply(1).exits(0);
}

/// A row that was lawfully erased stays away; what points at it is named.
async fn erased_rows_stay_erased(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    let schema = if kind == Kind::Postgres { "public" } else { "main" };
    let line = |table: &str, key: &str| {
        format!("{{\"shard\": \"product\", \"table\": \"{schema}.{table}\", \"key\": {key}}}\n")
    };
    // The law took the setting; the script took the tenant.
    let mut expected = world.dump().await;
    expected
        .get_mut("product.settings")
        .expect("table")
        .retain(|row| !row.contains("9001") || !row.contains("quota"));
    world.delete(&tenants()[..1]).await;
    let deleted = world.dump().await;
    let setting = line("settings", "{\"site_id\": 9001, \"name\": \"quota\"}");
    let unknown = line("settings", "{\"site_id\": 4, \"name\": \"quota\"}");
    world.write("tombstones", &(setting.clone() + "\n" + &unknown));
    let with = ["--tombstones", "tombstones"];
    let run = plan(&world, &tenants()[..1], &with).exits(0);
    for text in [
        "1 rows stay erased",
        "1 tombstones of",
        "match no row of these tenants in the snapshot: name=quota site_id=4",
    ] {
        assert!(run.stdout.contains(text), "'{text}' in\n{}", run.stdout);
    }
    world.apply(1).exits(0);
    assert_eq!(world.dump().await, expected);
    world.run(&["verify", "plan.json"]).exits(0);
    std::fs::remove_file(world.path("plan.json")).expect("remove");

    // An issue that comments point at.
    world.delete(&tenants()[..1]).await;
    world.write("tombstones", &(setting + &line("issues", "{\"id\": 1}")));
    let run = plan(&world, &tenants()[..1], &with).exits(6);
    assert!(run.error().contains("at issue_id=1"), "{}", run.error());
    assert!(!run.error().contains("issue_id=25"), "{}", run.error());
    for (text, says) in [
        (line("nothing", "{\"id\": 1}"), "tenants own no rows of such a table"),
        (line("issues", "{\"ID\": 1}"), "a key names (ID), the primary key is (id)"),
        (line("history", "{\"what\": 1}"), "the table has no primary key"),
        (line("issues", "{\"id\": 1}").replace("product", "prodct"), "they name shard 'prodct'"),
        ("nonsense".to_owned(), "unable to read line 1 of the tombstones"),
    ] {
        world.write("tombstones", &text);
        let run = plan(&world, &tenants()[..1], &with).exits(2);
        assert!(run.error().contains(says), "'{says}' in\n{}", run.error());
    }
    assert_eq!(world.dump().await, deleted);
}

/// Who was deleted, and what else differs, without any list.
async fn diff_tells_missing_changed_and_extra_rows(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    world.sql("product", "UPDATE settings SET value = 'light' WHERE site_id = 9001 AND name = 'theme'").await;
    world.sql("product", "DELETE FROM history WHERE site_id = 9002").await;
    world.sql("product", "INSERT INTO history VALUES (9002, 'new')").await;
    world.sql("product", "INSERT INTO settings VALUES (9003, 'extra', NULL)").await;
    world.delete(&tenants()[3..4]).await;
    let before = world.dump().await;
    let json = world.run(&["diff", "--json", "-o", "gone.txt"]).exits(0).json();
    assert_eq!(world.read("gone.txt"), "9004\n");
    let found: Vec<(String, bool, Vec<[u64; 3]>)> = json["tenants"]
        .as_array()
        .expect("tenants")
        .iter()
        .map(|tenant| {
            let counts = |table: &serde_json::Value| {
                ["missing", "changed", "extra"].map(|name| table[name].as_u64().expect("count"))
            };
            let tables = tenant["tables"].as_array().expect("tables").iter().map(counts).collect();
            (tenant["id"].as_str().expect("id").to_owned(), tenant["deleted"] == true, tables)
        })
        .collect();
    assert_eq!(found[0], ("9001".into(), false, vec![[0, 1, 0]]));
    assert_eq!(found[1], ("9002".into(), false, vec![[12, 0, 1]]));
    assert_eq!(found[2], ("9003".into(), false, vec![[0, 0, 1]]));
    assert_eq!((found[3].0.as_str(), found[3].1, found.len()), ("9004", true, 4));
    assert!(found[3].2.iter().all(|[missing, changed, extra]| *missing > 0 && changed + extra == 0));
    let fast = world.run(&["diff", "--fast"]).exits(0).stdout;
    assert!(fast.contains("9002") && fast.contains("9004"), "{fast}");
    assert!(!fast.contains("9001") && !fast.contains("9003"), "{fast}");
    assert_eq!(world.dump().await, before);
}
