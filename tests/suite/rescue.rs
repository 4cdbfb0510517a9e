//! The main job through the command line, on both back ends: restored tenants equal to before, neighbours to just
//! before.

use crate::world::{Kind, World, damage, tenants};

async fn restores_deleted_tenants_and_touches_nothing_else(kind: Kind, constraints: &'static str) {
    let mut world = World::with_snapshot(kind).await;
    world.constraints = constraints;
    let victims = &tenants()[..4];
    let before = world.dump().await;
    world.delete(victims).await;
    let broken = world.dump().await;
    assert_ne!(before, broken);

    let diff = world.run(&["diff", "-o", "gone.txt"]).exits(0);
    assert!(
        diff.stdout.contains("4 tenants deleted, 0 with rows that differ from the snapshot"),
        "{}",
        diff.stdout
    );
    let expected: String = victims.iter().map(|id| format!("{id}\n")).collect();
    assert_eq!(world.read("gone.txt"), expected);

    let plan = world.plan(victims).exits(0);
    assert!(plan.stdout.contains("Site 9001"), "the plan shows names: {}", plan.stdout);
    assert_eq!(world.dump().await, broken, "a plan writes nothing");
    let apply = world.apply(4).exits(0);
    assert!(apply.stdout.contains("4 of 4 tenants back"), "{}", apply.stdout);
    assert_eq!(world.dump().await, before, "every row of every table is as before");

    let again = world.apply(4).exits(0);
    assert!(again.stdout.contains("0 rows written"), "{}", again.stdout);
    assert_eq!(world.dump().await, before, "a second apply repeats nothing");
    let status = world.run(&["status", "plan.json"]).exits(0);
    assert!(status.stdout.contains("4 tenants: 4 open"), "{}", status.stdout);
    let verify = world.run(&["verify", "plan.json", "--certificates", "certificates"]).exits(0);
    assert!(
        verify.stdout.contains("4 of 4 tenants equal to the snapshot in every row and column"),
        "{}",
        verify.stdout
    );
    let certificate: serde_json::Value =
        serde_json::from_str(&world.read("certificates/9001.json")).expect("JSON");
    assert_eq!(certificate["equal"], true);
    assert_eq!(certificate["name"], "Site 9001");
}

#[tokio::test]
async fn sqlite_restores_deleted_tenants_and_touches_nothing_else() {
    restores_deleted_tenants_and_touches_nothing_else(Kind::Sqlite, "auto").await;
}

#[tokio::test]
async fn postgres_restores_deleted_tenants_and_touches_nothing_else() {
    restores_deleted_tenants_and_touches_nothing_else(Kind::Postgres, "engine").await;
}

#[tokio::test]
async fn postgres_restores_deleted_tenants_with_triggers_on() {
    restores_deleted_tenants_and_touches_nothing_else(Kind::Postgres, "server").await;
}

async fn keeps_what_neighbours_wrote_since_the_snapshot(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    world.neighbours_write().await;
    let before = world.dump().await;
    let victims = &tenants()[2..5];
    world.delete(victims).await;
    world.plan(victims).exits(0);
    world.apply(3).exits(0);
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn sqlite_keeps_what_neighbours_wrote_since_the_snapshot() {
    keeps_what_neighbours_wrote_since_the_snapshot(Kind::Sqlite).await;
}

#[tokio::test]
async fn postgres_keeps_what_neighbours_wrote_since_the_snapshot() {
    keeps_what_neighbours_wrote_since_the_snapshot(Kind::Postgres).await;
}

async fn verify_names_what_differs(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    let victims = &tenants()[..2];
    world.delete(victims).await;
    world.plan(victims).exits(0);
    world.apply(2).exits(0);
    world.sql("product", "UPDATE issues SET summary = 'changed' WHERE id = 1").await;
    world.sql("product", "DELETE FROM settings WHERE site_id = 9002 AND name = 'quota'").await;
    world.sql("product", "INSERT INTO history VALUES (9001, 'extra')").await;
    let verify = world.run(&["verify", "plan.json"]).exits(1);
    for line in [
        "row id=1 differs in summary",
        "row site_id=9002 name=quota is missing",
        "row site_id=9001 what=extra is extra",
        "0 of 2 tenants equal",
    ] {
        assert!(verify.stdout.contains(line), "'{line}' in\n{}", verify.stdout);
    }
}

#[tokio::test]
async fn sqlite_verify_names_what_differs() {
    verify_names_what_differs(Kind::Sqlite).await;
}

#[tokio::test]
async fn postgres_verify_names_what_differs() {
    verify_names_what_differs(Kind::Postgres).await;
}

/// `--verify after`: back sooner, compared all the same.
async fn verified_when_all_are_back(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    let victims = &tenants()[..3];
    let before = world.dump().await;
    world.delete(victims).await;
    world.plan(victims).exits(0);
    let apply = world.run(&["apply", "plan.json", "--confirm", "3", "--verify", "after"]).exits(0);
    assert!(apply.stderr.contains("3 of 3 tenants back, NOT YET VERIFIED"), "{}", apply.stderr);
    assert!(apply.stdout.contains("3 of 3 tenants equal to the snapshot"), "{}", apply.stdout);
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn sqlite_verified_when_all_are_back() {
    verified_when_all_are_back(Kind::Sqlite).await;
}

#[tokio::test]
async fn postgres_verified_when_all_are_back() {
    verified_when_all_are_back(Kind::Postgres).await;
}

/// A trigger that changes values: found before the commit and rolled back, or found after it and named.
#[tokio::test]
async fn postgres_a_trigger_that_changes_values_is_found_before_the_commit_or_after_it() {
    let mut world = World::with_snapshot(Kind::Postgres).await;
    world.constraints = "server";
    world
        .sql(
            "product",
            "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN NEW.value := upper(NEW.value) || '!'; RETURN NEW; END $$;
             CREATE TRIGGER shout BEFORE INSERT ON settings FOR EACH ROW EXECUTE FUNCTION shout()",
        )
        .await;
    let victims = &tenants()[..1];
    world.delete(victims).await;
    let broken = world.dump().await;
    world.plan(victims).exits(0);
    let apply = world.apply(1).exits(5);
    assert!(
        apply.stdout.contains("unable to verify table 'public.settings' before commit"),
        "{}",
        apply.stdout
    );
    assert_eq!(world.dump().await, broken, "rolled back");
    let after = world.run(&["apply", "plan.json", "--confirm", "1", "--verify", "after"]).exits(1);
    assert!(after.stdout.contains("differs in value"), "{}", after.stdout);
    assert_ne!(world.dump().await, broken, "it was committed");
    let json = world.run(&["apply", "plan.json", "--confirm", "1", "--verify", "after", "--json"]).exits(1);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(report["certificates"][0]["equal"], false, "what an earlier run brought is compared too");
}

/// P2: a trigger that writes to a neighbour rolls the tenant back, named.
#[tokio::test]
async fn postgres_a_trigger_that_touches_a_neighbour_rolls_the_tenant_back() {
    // One that fires with triggers on, and one that always does.
    for (constraints, firing) in
        [("server", ""), ("engine", "ALTER TABLE projects ENABLE ALWAYS TRIGGER meddle")]
    {
        let mut world = World::with_snapshot(Kind::Postgres).await;
        world.constraints = constraints;
        postgres_meddle(&world).await;
        world.sql("product", firing).await;
        a_meddling_trigger_is_named(&world, "public.").await;
    }
}

async fn postgres_meddle(world: &World) {
    world
        .sql(
            "product",
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN UPDATE settings SET value = 'touched' WHERE site_id = 9012; RETURN NEW; END $$;
             CREATE TRIGGER meddle AFTER INSERT ON projects FOR EACH ROW EXECUTE FUNCTION touch()",
        )
        .await;
}

/// With triggers off an ordinary trigger does nothing, so that there is nothing to roll back.
#[tokio::test]
async fn postgres_a_trigger_that_would_touch_a_neighbour_does_not_fire() {
    let world = World::with_snapshot(Kind::Postgres).await;
    postgres_meddle(&world).await;
    let before = world.dump().await;
    world.delete(&tenants()[..1]).await;
    let plan = world.plan(&tenants()[..1]).exits(0);
    assert!(
        plan.stdout.contains("triggers are off on insert into 'public.projects': meddle"),
        "{}",
        plan.stdout
    );
    world.apply(1).exits(0);
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn sqlite_a_trigger_that_touches_a_neighbour_rolls_the_tenant_back() {
    let world = World::with_snapshot(Kind::Sqlite).await;
    world
        .sql(
            "product",
            "CREATE TRIGGER meddle AFTER INSERT ON projects
             BEGIN UPDATE settings SET value = 'touched' WHERE site_id = 9012; END",
        )
        .await;
    a_meddling_trigger_is_named(&world, "main.").await;
}

async fn a_meddling_trigger_is_named(world: &World, schema: &str) {
    let victims = &tenants()[..1];
    world.delete(victims).await;
    let before = world.dump().await;
    world.plan(victims).exits(0);
    let apply = world.apply(1).exits(5);
    assert_eq!(world.dump().await, before, "the tenant was rolled back, the neighbour is untouched");
    let named = format!("table '{schema}settings': 2 inserted, ");
    assert!(apply.stdout.contains(&named), "{}", apply.stdout);
    let trigger = format!("triggers that fire on INSERT: 'meddle' on '{schema}projects'");
    assert!(apply.stdout.contains(&trigger), "{}", apply.stdout);
}

async fn ghost_rows_block_the_tenant(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    let victims = &tenants()[..2];
    world.delete(victims).await;
    world.plan(victims).exits(0);
    // After the dry run somebody signs in to the deleted site.
    world.sql("product", "INSERT INTO history VALUES (9001, 'ghost')").await;
    let before = world.dump().await;
    let apply = world.apply(2).exits(5);
    assert!(
        apply.stdout.contains("before commit: 13 rows were read back, the snapshot has 12"),
        "{}",
        apply.stdout
    );
    let after = world.dump().await;
    for (table, rows) in &before {
        let mine = |row: &&String| row.contains("9001");
        assert_eq!(
            rows.iter().filter(mine).collect::<Vec<_>>(),
            after[table].iter().filter(mine).collect::<Vec<_>>(),
            "{table}"
        );
    }
    assert!(!after["catalogue.sites"].iter().any(|row| row.contains("9001")), "the catalogue comes last");
    assert!(after["catalogue.sites"].iter().any(|row| row.contains("9002")), "the other tenant is back");
    // A new plan says so before anything is written; it is for those who are gone, and nobody else.
    let second = ["plan", "--tenants", "tenants.txt", "-o", "second.json"];
    assert_eq!(
        world.run(&second).exits(3).error(),
        "error: unable to plan: tenant '9002 (Site 9002)' is not deleted, all its rows are live\n\
         hint: a list with a tenant that is not deleted is refused whole; `reinstate diff -o FILE` lists who is gone\n\
         hint: to finish an interrupted restore, apply its own plan again: it repeats nothing"
    );
    world.list(&victims[..1]);
    let plan = world.run(&second).exits(6);
    assert!(plan.error().contains("tenant '9001 (Site 9001)': 1 live rows in "), "{}", plan.error());
}

#[tokio::test]
async fn sqlite_ghost_rows_block_the_tenant() {
    ghost_rows_block_the_tenant(Kind::Sqlite).await;
}

#[tokio::test]
async fn postgres_ghost_rows_block_the_tenant() {
    ghost_rows_block_the_tenant(Kind::Postgres).await;
}

/// The snapshot has no row of the tenant in that table, so nothing is written there: its rows are found all the
/// same, since the plan writes the table for another tenant.
async fn ghost_rows_in_a_table_without_rows_of_the_tenant_block_it(kind: Kind) {
    // Alone the tenant's plan does not write that table at all; with another tenant it does.
    for victims in [&tenants()[..1], &tenants()[..2]] {
        a_ghost_elsewhere_blocks(kind, victims).await;
    }
}

async fn a_ghost_elsewhere_blocks(kind: Kind, victims: &[i64]) {
    let world = World::new(kind).await;
    world.sql("product", "DELETE FROM settings WHERE site_id = 9001").await;
    world.init();
    world.run(&["snapshot", "create"]).exits(0);
    let before = world.dump().await;
    world.delete(victims).await;
    world.plan(victims).exits(0);
    world.sql("product", "INSERT INTO settings VALUES (9001, 'theme', 'ghost')").await;
    let apply = world.apply(victims.len()).exits(5);
    assert!(
        apply.stdout.contains("settings' before commit: 1 rows were read back, the snapshot has 0"),
        "{}",
        apply.stdout
    );
    world.sql("product", "DELETE FROM settings WHERE site_id = 9001").await;
    assert_ne!(world.dump().await, before, "the tenant was rolled back");
    world.apply(victims.len()).exits(0);
    assert_eq!(world.dump().await, before, "without its ghost it comes back by the same plan");
}

#[tokio::test]
async fn sqlite_ghost_rows_in_a_table_without_rows_of_the_tenant_block_it() {
    ghost_rows_in_a_table_without_rows_of_the_tenant_block_it(Kind::Sqlite).await;
}

#[tokio::test]
async fn postgres_ghost_rows_in_a_table_without_rows_of_the_tenant_block_it() {
    ghost_rows_in_a_table_without_rows_of_the_tenant_block_it(Kind::Postgres).await;
}

/// Sequences only move forward, and a sequence that is ahead stays where it is.
#[tokio::test]
async fn postgres_sequences_only_move_forward() {
    let world = World::with_snapshot(Kind::Postgres).await;
    let victims = &tenants()[..12];
    world.delete(&victims[..6]).await;
    world.sql("product", "SELECT setval('projects_id_seq', 5000)").await;
    world.sql("product", "SELECT setval('issues_id_seq', 1)").await;
    world.plan(&victims[..6]).exits(0);
    // One at a time: two that advance a sequence together may draw a number more than needed.
    let _ = world.run(&["apply", "plan.json", "--confirm", "6", "--jobs", "1"]).exits(0);
    let url = world.url("product");
    assert_eq!(crate::cluster::psql(url, "SELECT last_value FROM projects_id_seq").trim(), "5000");
    let highest = crate::cluster::psql(
        url,
        "SELECT max(i.id) FROM issues i JOIN projects p ON p.id = i.project_id WHERE p.site_id <= 9006",
    );
    assert_eq!(crate::cluster::psql(url, "SELECT last_value FROM issues_id_seq").trim(), highest.trim());
}

/// Small tenants are read together; one whose rows are rotten must not take the others with it.
async fn a_rotten_tenant_stays_alone(kind: Kind) {
    let world = World::new(kind).await;
    let victims = &tenants()[..4];
    for site in victims {
        let mut random = fastrand::Rng::with_seed(*site as u64);
        for _ in 0..40 {
            let what: String = (0..200).map(|_| random.alphanumeric()).collect();
            world.sql("product", &format!("INSERT INTO history VALUES ({site}, '{what}')")).await;
        }
    }
    world.init();
    world.run(&["snapshot", "create"]).exits(0);
    let before = world.dump().await;
    world.delete(victims).await;
    world.plan(victims).exits(0);
    let schema = if kind == Kind::Postgres { "public" } else { "main" };
    let file = world.snapshot_folder("product").join(format!("data/{schema}.history/part-00000.parquet"));
    let sound = std::fs::read(&file).expect("read");
    let rotten = (0..sound.len()).step_by(sound.len() / 60).find_map(|at| {
        damage(&file, |bytes| {
            bytes.clone_from(&sound);
            bytes[at] ^= 0x10;
        });
        let report = world.run(&["snapshot", "verify", "--json"]).json();
        let problems: Vec<&serde_json::Value> = report["snapshots"]
            .as_array()?
            .iter()
            .filter_map(|snapshot| snapshot["report"]["problems"].as_array())
            .flatten()
            .collect();
        let [problem] = problems[..] else { return None };
        let [tenant] = &problem["tenants"].as_array()?[..] else { return None };
        tenant.as_str()?.parse::<i64>().ok().filter(|tenant| victims.contains(tenant))
    });
    let rotten = rotten.expect("a byte of one victim alone");

    let apply = world.apply(4).exits(5);
    assert!(apply.stdout.contains("3 of 4 tenants back"), "{}", apply.stdout);
    let after = world.dump().await;
    world.delete(&[rotten]).await;
    assert_eq!(after, world.dump().await, "nothing of the rotten tenant is there");
    damage(&file, |bytes| bytes.clone_from(&sound));
    world.apply(4).exits(0);
    assert_eq!(world.dump().await, before, "the sound snapshot brings it back, and nothing twice");
}

crate::world::on_both! {
    sqlite_a_rotten_tenant_stays_alone, postgres_a_rotten_tenant_stays_alone => a_rotten_tenant_stays_alone;
}

async fn urgent_tenants_come_back_first(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    let before = world.dump().await;
    let victims = &tenants()[..5];
    world.delete(victims).await;
    world.list(victims);
    world.write("urgent.txt", "9003\n9001\n");
    let plan = ["plan", "--tenants", "tenants.txt", "--urgent", "urgent.txt", "-o", "plan.json"];
    world.run(&plan).exits(0);
    let planned: serde_json::Value = serde_json::from_str(&world.read("plan.json")).expect("JSON");
    let planned: Vec<&str> = planned["tenants"]
        .as_array()
        .expect("tenants")
        .iter()
        .filter_map(|tenant| tenant["id"].as_str())
        .collect();
    assert_eq!(planned[..2], ["9003", "9001"]);
    world.run(&["apply", "plan.json", "--confirm", "5", "--jobs", "1"]).exits(0);
    assert_eq!(world.dump().await, before);
    let status = world.run(&["status", "plan.json", "--json"]).json();
    let mut restored: Vec<(String, String)> = status["shards"][0]["restored"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| (entry["recorded_at"].to_string(), entry["tenant"].as_str().expect("id").to_owned()))
        .collect();
    restored.sort();
    let restored: Vec<&str> = restored.iter().map(|(_, tenant)| tenant.as_str()).collect();
    assert_eq!(restored, planned, "in the order of the plan");
}

crate::world::on_both! {
    sqlite_urgent_tenants_come_back_first, postgres_urgent_tenants_come_back_first => urgent_tenants_come_back_first;
}
