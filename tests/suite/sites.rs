//! Whole sites: the gate, checks, what is said from another terminal, sign-off. The oracle is every row of every table,
//! read by plain SQL.

use crate::world::{Dump, Kind, Run, World, on_both, tenants};

const GATE: &str = "[gate]\ncolumn = \"state\"\nrestoring = \"restoring\"\n";

on_both! {
    sqlite_a_gate_opens_when_all_is_done, postgres_a_gate_opens_when_all_is_done => a_gate_opens_when_all_is_done;
    sqlite_touched_gates_stay, postgres_touched_gates_stay => touched_gates_stay;
    sqlite_sites_survive_kills, postgres_sites_survive_kills => sites_survive_kills;
    sqlite_sites_are_skipped_and_retried, postgres_sites_are_skipped_and_retried => sites_are_skipped_and_retried;
    sqlite_a_run_is_stopped_and_paused, postgres_a_run_is_stopped_and_paused => a_run_is_stopped_and_paused;
    sqlite_changed_configurations_are_refused, postgres_changed_configurations_are_refused => changed_configurations;
    sqlite_a_bad_ring_is_the_last, postgres_a_bad_ring_is_the_last => a_bad_ring_is_the_last;
    sqlite_a_ring_is_held, postgres_a_ring_is_held => a_ring_is_held;
    sqlite_steps_are_waived, postgres_steps_are_waived => steps_are_waived;
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

/// `id state` of each tenant, sorted.
fn states(world: &World) -> Vec<String> {
    let status = world.run(&["status", "plan.json", "--json"]).exits(0).json();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let line = |site: &serde_json::Value| format!("{} {}", text(&site["tenant"]), text(&site["state"]));
    let mut lines: Vec<String> = status["sites"].as_array().expect("sites").iter().map(line).collect();
    lines.sort();
    lines
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

async fn touched_gates_stay(kind: Kind) {
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

async fn changed_configurations(kind: Kind) {
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
    assert_eq!(wrong(&check("\"x\"")), format!("{prefix}the steps 'catalogue', 'x' wait for each other"));
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

const RINGS: &str = "[rings]\nsizes = [1, 2]\n";

/// Rows of these tenants in the catalogue.
async fn back(world: &World, victims: &[i64]) -> usize {
    let rows = world.rows("catalogue", "sites").await;
    victims.iter().filter(|id| rows.iter().any(|row| row.contains(&format!("Site {id}")))).count()
}

async fn a_bad_ring_is_the_last(kind: Kind) {
    let world = world(kind, &format!("{RINGS}{GATE}{}", checks(kind))).await;
    let victims = &tenants()[..6];
    let before = world.dump().await;
    world.delete(victims).await;
    world.sql("product", "INSERT INTO labels VALUES (900, 'broken')").await;
    world.plan(victims).exits(0);
    let run = world.apply(6).exits(5);
    assert!(run.stderr.contains("ring 'canary': 1 tenants"), "{}", run.stderr);
    assert!(run.stdout.contains("HELD: "), "{}", run.stdout);
    assert_eq!(back(&world, victims).await, 1, "only the canary was tried, and is behind its gate");
    world.sql("product", "DELETE FROM labels WHERE id = 900").await;
    let run = world.apply(6).exits(0);
    assert!(run.stderr.contains("after ring 'canary': the rest takes about "), "{}", run.stderr);
    assert_eq!(world.dump().await, before);
}

async fn a_ring_is_held(kind: Kind) {
    let world = world(kind, &format!("{RINGS}{GATE}")).await;
    let victims = &tenants()[..6];
    let before = world.dump().await;
    world.delete(victims).await;
    world.plan(victims).exits(0);
    let apply = |ring: &str| world.run(&["apply", "plan.json", "--confirm", "6", "--hold-after-ring", ring]);
    assert_eq!(
        apply("first").exits(2).error(),
        "error: unable to hold after ring 'first': the plan has no such ring\nhint: its rings: canary, few, rest"
    );
    assert_eq!(back(&world, victims).await, 0, "nothing was begun");
    let run = apply("few").exits(4);
    assert!(run.stdout.contains("HELD: as it was asked for (`apply` again goes on)"), "{}", run.stdout);
    assert_eq!(back(&world, victims).await, 3);
    world.apply(6).exits(0);
    assert_eq!(world.dump().await, before);
}

async fn steps_are_waived(kind: Kind) {
    let world = world(kind, &format!("{GATE}{}", checks(kind))).await;
    let victims = &tenants()[..2];
    let before = world.dump().await;
    world.delete(victims).await;
    world.sql("product", "INSERT INTO labels VALUES (900, 'broken')").await;
    world.plan(victims).exits(0);
    world.apply(2).exits(5);
    let one = victims[0].to_string();
    let waive = |step: &str| world.run(&["waive", "plan.json", &one, "--step", step, "--note", "looked at"]);
    assert_eq!(
        waive("product").exits(2).error(),
        "error: unable to waive 'product': the plan has no such step\n\
         hint: media, hooks and checks can be waived; `reinstate status PLAN --json` lists them"
    );
    waive("labels").exits(0);
    world.apply(2).exits(5);
    let states = states(&world);
    assert_eq!(states, [format!("{} open", victims[0]), format!("{} failed", victims[1])]);
    let error = format!("error: unable to waive a step of tenant '{one}': it is open, not being restored");
    assert_eq!(waive("labels").exits(3).error(), error);
    world.sql("product", "DELETE FROM labels WHERE id = 900").await;
    world.apply(2).exits(0);
    assert_eq!(world.dump().await, before);
}
