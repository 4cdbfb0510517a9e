//! Whole sites: the gate, checks, what is said from another terminal, sign-off. The oracle is every row of every table,
//! read by plain SQL.

use crate::world::{Dump, Kind, Run, World, on_both, tenants};

const GATE: &str = "[gate]\ncolumn = \"state\"\nrestoring = \"restoring\"\n";

on_both! {
    sqlite_a_gate_opens_when_all_is_done, postgres_a_gate_opens_when_all_is_done => a_gate_opens_when_all_is_done;
    sqlite_a_gate_that_somebody_touched_stays, postgres_a_gate_that_somebody_touched_stays => a_gate_that_somebody_touched_stays;
    sqlite_sites_survive_kills, postgres_sites_survive_kills => sites_survive_kills;
    sqlite_sites_are_skipped_and_retried, postgres_sites_are_skipped_and_retried => sites_are_skipped_and_retried;
    sqlite_a_run_is_stopped_and_paused, postgres_a_run_is_stopped_and_paused => a_run_is_stopped_and_paused;
    sqlite_a_changed_configuration_is_refused, postgres_a_changed_configuration_is_refused => a_changed_configuration_is_refused;
    sqlite_impossible_gates_are_refused, postgres_impossible_gates_are_refused => impossible_gates_are_refused;
}

/// A world whose catalogue says of each site whether it is served, with these lines in the configuration.
async fn world(kind: Kind, settings: &str) -> World {
    let world = World::new(kind).await;
    world.sql("catalogue", "ALTER TABLE sites ADD COLUMN state text NOT NULL DEFAULT 'live'").await;
    let odd = tenants()[1];
    world.sql("catalogue", &format!("UPDATE sites SET state = 'it''s on trial' WHERE id = {odd}")).await;
    world.init();
    configure(&world, settings);
    world.run(&["snapshot", "create"]).exits(0);
    world
}

fn configure(world: &World, settings: &str) {
    let config = world.read("reinstate.toml");
    world.write("reinstate.toml", &format!("{}\n# of the test\n{settings}", own(&config)));
}

fn own(config: &str) -> String {
    config.split("\n# of the test\n").next().expect("text").to_owned()
}

/// A check that fails while any label is called `broken`, and one that fails unless the gate is closed.
fn checks(kind: Kind) -> String {
    let _ = kind;
    "[checks.labels]\nshard = \"product\"\nsql = \"SELECT name FROM labels WHERE name = 'broken' AND $1 <> ''\"\n\
     [checks.closed]\nshard = \"catalogue\"\n\
     sql = \"SELECT id, state FROM sites WHERE id = CAST($1 AS bigint) AND state <> 'restoring'\"\n"
        .to_owned()
}

/// As before, but for the gates of these tenants.
fn closed(before: &Dump, victims: &[i64]) -> Dump {
    let mut closed = before.clone();
    let sites = closed.get_mut("catalogue.sites").expect("sites");
    for row in sites.iter_mut() {
        let is_victim = victims
            .iter()
            .any(|id| row.starts_with(&format!("({id},")) || row.starts_with(&format!("{id},")));
        if is_victim {
            *row = row.replace("'it''s on trial'", "'restoring'").replace("\"it's on trial\"", "restoring");
            *row = row.replace("'live'", "'restoring'").replace(",live)", ",restoring)");
        }
    }
    sites.sort();
    closed
}

fn states(world: &World) -> Vec<String> {
    let status = world.run(&["status", "plan.json", "--json"]).exits(0).json();
    let sites = status["sites"].as_array().expect("sites").clone();
    sites
        .iter()
        .map(|site| {
            format!("{} {}", site["tenant"].as_str().expect("id"), site["state"].as_str().expect("state"))
        })
        .collect()
}

async fn a_gate_opens_when_all_is_done(kind: Kind) {
    let world = world(kind, &format!("{GATE}{}", checks(kind))).await;
    let victims = &tenants()[..3];
    let before = world.dump().await;
    world.delete(victims).await;
    world.sql("product", "INSERT INTO labels VALUES (900, 'broken')").await;
    let mut disturbed = before.clone();
    disturbed.insert("product.labels".to_owned(), world.rows("product", "labels").await);
    world.plan(victims).exits(0);

    let run = world.apply(3).exits(5);
    for id in victims {
        let expected = format!(
            "tenant {id} (Site {id}): not restored, step 'labels': unable to pass check 'labels' in shard 'product': its query returned"
        );
        assert!(run.stderr.contains(&expected), "{expected}\n{}", run.stderr);
    }
    assert_eq!(world.dump().await, closed(&disturbed, victims), "all rows are back, behind closed gates");
    assert_eq!(states(&world), victims.iter().map(|id| format!("{id} failed")).collect::<Vec<_>>());

    world.sql("product", "DELETE FROM labels WHERE id = 900").await;
    let run = world.apply(3).exits(0);
    assert!(run.stdout.contains("3 of 3 tenants"), "{}", run.stdout);
    assert_eq!(world.dump().await, before, "the gates hold what they held");
    world.run(&["verify", "plan.json"]).exits(0);
    assert_eq!(states(&world), victims.iter().map(|id| format!("{id} open")).collect::<Vec<_>>());
    world.apply(3).exits(0);
    assert_eq!(world.dump().await, before, "nothing is done twice");

    sign_off(&world, victims[0]);
}

fn sign_off(world: &World, tenant: i64) {
    let id = tenant.to_string();
    let signoff = |verb: &str| world.run(&["signoff", verb, "plan.json", &id, "--by", "Ana"]);
    signoff("reopen").exits(0);
    assert!(states(world).contains(&format!("{id} reopened")));
    let error = format!(
        "error: unable to sign tenant '{id}' off: it is reopened, not open or accepted\n\
         hint: `reinstate status PLAN` shows where it stands"
    );
    assert_eq!(signoff("reopen").exits(3).error(), error);
    assert!(signoff("accept").exits(0).stdout.starts_with(&format!("tenant {id} is accepted")));
    let error = format!(
        "error: unable to sign tenant '{id}' off: it is accepted, not open or reopened\n\
         hint: `reinstate status PLAN` shows where it stands"
    );
    assert_eq!(signoff("accept").exits(3).error(), error);
    let unknown = world.run(&["signoff", "accept", "plan.json", "1", "--by", "Ana"]).exits(2).error();
    assert_eq!(
        unknown,
        "error: unable to find tenant '1' in the plan\nhint: `reinstate status PLAN` lists its tenants"
    );
}

async fn a_gate_that_somebody_touched_stays(kind: Kind) {
    let world = world(kind, &format!("{GATE}{}", checks(kind))).await;
    let victims = &tenants()[..2];
    let (one, two) = (victims[0], victims[1]);
    world.delete(victims).await;
    world.sql("product", "INSERT INTO labels VALUES (900, 'broken')").await;
    world.plan(victims).exits(0);
    world.apply(2).exits(5);
    world.sql("product", "DELETE FROM labels WHERE id = 900").await;
    world.sql("catalogue", &format!("UPDATE sites SET host = 'other.example.net' WHERE id = {one}")).await;
    let touched = world.dump().await;
    let run = world.run(&["apply", "plan.json", "--confirm", "2"]).exits(5);
    let expected = format!("step 'gate': unable to open the gate of tenant '{one}': its row of table '");
    assert!(run.stderr.contains(&expected), "{}", run.stderr);
    let now = world.dump().await;
    let others = |dump: &Dump| {
        let mut dump = dump.clone();
        dump.get_mut("catalogue.sites").expect("sites").retain(|row| !row.contains(&format!("{two}")));
        dump
    };
    assert_eq!(others(&now), others(&touched), "the touched tenant stays as it is, behind its gate");

    world.sql("catalogue", &format!("UPDATE sites SET state = 'closed for ever' WHERE id = {one}")).await;
    let run = world.run(&["apply", "plan.json", "--confirm", "2"]).exits(5);
    let expected =
        format!("unable to open the gate of tenant '{one}': its column 'state' is not 'restoring' any more");
    assert!(run.stderr.contains(&expected), "{}", run.stderr);
}

async fn sites_survive_kills(kind: Kind) {
    let world = world(kind, &format!("{GATE}{}", checks(kind))).await;
    let victims = &tenants()[..8];
    let before = world.dump().await;
    world.delete(victims).await;
    world.plan(victims).exits(0);
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..8 {
        let mut child = world.spawn(&["apply", "plan.json", "--confirm", "8", "--jobs", "2"]);
        tokio::time::sleep(std::time::Duration::from_millis(rng.u64(20..250))).await;
        child.kill().expect("SIGKILL");
        child.wait().expect("wait");
        let now = world.dump().await;
        let strangers = |dump: &Dump| {
            let mut rows = dump["catalogue.sites"].clone();
            rows.retain(|row| !victims.iter().any(|id| row.contains(&id.to_string())));
            rows
        };
        assert_eq!(strangers(&now), strangers(&before), "neighbours' gates are their own");
    }
    world.apply(8).exits(0);
    assert_eq!(world.dump().await, before);
}

async fn sites_are_skipped_and_retried(kind: Kind) {
    let world = world(kind, GATE).await;
    let victims = &tenants()[..3];
    let before = world.dump().await;
    world.delete(victims).await;
    world.plan(victims).exits(0);
    let skipped = victims[1].to_string();
    let unknown = world.run(&["skip", "plan.json", "77"]).exits(2).error();
    assert_eq!(
        unknown,
        "error: unable to find tenant '77' in the plan\nhint: `reinstate status PLAN` lists its tenants"
    );
    world.run(&["skip", "plan.json", &skipped, "--note", "theirs is under way"]).exits(0);
    let run = world.apply(3).exits(4);
    assert!(run.stderr.contains(&format!("tenant {skipped} (Site {skipped}): skipped")), "{}", run.stderr);
    assert!(states(&world).contains(&format!("{skipped} skipped")));
    assert!(
        !world.rows("catalogue", "sites").await.iter().any(|row| row.contains(&format!("Site {skipped}")))
    );
    world.run(&["retry", "plan.json", &skipped]).exits(0);
    world.apply(3).exits(0);
    assert_eq!(world.dump().await, before);
    assert!(
        world
            .run(&["retry", "plan.json", "--failed"])
            .exits(0)
            .stderr
            .contains("no tenant of the plan has failed")
    );
}

async fn a_run_is_stopped_and_paused(kind: Kind) {
    let world = world(kind, GATE).await;
    let victims = &tenants()[..6];
    let before = world.dump().await;
    world.delete(victims).await;
    let gone = world.dump().await;
    world.plan(victims).exits(0);
    world.run(&["pause", "plan.json"]).exits(0);
    let mut child = world.spawn(&["apply", "plan.json", "--confirm", "6"]);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(world.dump().await, gone, "a paused run begins no tenant");
    assert!(child.try_wait().expect("wait").is_none(), "and waits");
    world.run(&["stop", "plan.json"]).exits(0);
    assert_eq!(child.wait().expect("wait").code(), Some(4));
    assert_eq!(world.dump().await, gone);
    let mut child = world.spawn(&["apply", "plan.json", "--confirm", "6"]);
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert!(child.try_wait().expect("wait").is_none(), "the stop was for the run before; the pause goes on");
    world.run(&["resume", "plan.json"]).exits(0);
    assert_eq!(child.wait().expect("wait").code(), Some(0));
    assert_eq!(world.dump().await, before);
}

async fn a_changed_configuration_is_refused(kind: Kind) {
    let world = world(kind, GATE).await;
    let victims = &tenants()[..2];
    world.delete(victims).await;
    let gone = world.dump().await;
    world.plan(victims).exits(0);
    configure(&world, "");
    let refused = |run: Run| run.exits(3).error();
    assert_eq!(
        refused(world.apply(2)),
        "error: unable to apply the plan: the configuration was changed after the dry run\n\
         hint: make the plan again; only URLs, approvals, store and audit log may change meanwhile"
    );
    assert_eq!(world.dump().await, gone, "nothing was written");
    let wrong = |settings: &str| {
        configure(&world, settings);
        world.run(&["status", "plan.json"]).exits(2).error().lines().next().unwrap_or_default().to_owned()
    };
    let check =
        |after: &str| format!("[checks.x]\nshard = \"product\"\nsql = \"SELECT 1\"\nafter = [{after}]\n");
    let prefix = "error: unable to use configuration 'reinstate.toml': ";
    assert_eq!(
        wrong(&check("\"nobody\"")),
        format!("{prefix}step 'x' comes after 'nobody', which is no step")
    );
    assert_eq!(wrong(&check("\"x\"")), format!("{prefix}the steps 'x' wait for each other"));
    let two = "[checks.product]\nshard = \"product\"\nsql = \"SELECT 1\"\n";
    assert_eq!(wrong(two), format!("{prefix}two steps are called 'product'"));
    let away = "[checks.x]\nshard = \"elsewhere\"\nsql = \"SELECT 1\"\n";
    assert_eq!(wrong(away), "error: unable to find shard 'elsewhere' in configuration 'reinstate.toml'");
}

async fn impossible_gates_are_refused(kind: Kind) {
    let world = world(kind, GATE).await;
    let victims = &tenants()[..1];
    world.delete(victims).await;
    let table = if kind == Kind::Postgres { "public.sites" } else { "main.sites" };
    for (column, why) in [
        ("nothing", "it has no such column"),
        ("id", "the column is part of the primary key"),
        ("host", "the column is part of a unique key"),
    ] {
        configure(&world, &GATE.replace("\"state\"", &format!("\"{column}\"")));
        let error = world.plan(victims).exits(6).error();
        let expected = format!("error: unable to close the gate '{column}' of table '{table}': {why}\n");
        assert!(error.starts_with(&expected), "{error}");
    }
}
