//! Rings and priorities through the command line: who is in which ring and why, and who comes first.

use serde_json::Value;

use crate::world::{Kind, World, on_both, tenants};

/// A world whose first tenants are gone; later ones are smaller.
async fn deleted(kind: Kind, count: usize) -> World {
    let world = World::with_snapshot(kind).await;
    world.delete(&tenants()[..count]).await;
    world
}

fn configure(world: &World, more: &str) {
    let text = world.read("reinstate.toml");
    // The top of the file, where the format's version stands, is no place for a table.
    world.write("reinstate.toml", &format!("{text}\n{more}\n"));
}

fn order(plan: &Value) -> Vec<i64> {
    let tenants = plan["tenants"].as_array().expect("tenants").iter();
    tenants.map(|tenant| tenant["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")).collect()
}

fn planned(world: &World, count: usize, more: &[&str]) -> Value {
    world.list(&tenants()[..count]);
    let _ = std::fs::remove_file(world.path("plan.json"));
    let args = ["plan", "--json", "--tenants", "tenants.txt", "-o", "plan.json"];
    world.run(&[&args, more].concat()).exits(0).json()
}

on_both! {
    rings_stand_in_the_plan_sqlite, rings_stand_in_the_plan_postgres => rings_stand_in_the_plan;
}

async fn rings_stand_in_the_plan(kind: Kind) {
    let world = deleted(kind, 6).await;
    let whole = planned(&world, 6, &[]);
    assert!(whole.get("rings").is_none(), "without [rings] there is one");
    configure(&world, "[rings]\nsizes = [2, 1]\nfailures_percent_max = 40");
    // A live row of the fourth tenant: the one conflict of the plan.
    let odd = tenants()[3];
    world.sql("product", &format!("INSERT INTO settings VALUES ({odd}, 'theme', 'light')")).await;
    world.write("urgent.txt", &format!("{}\n", tenants()[5]));
    let plan = planned(&world, 6, &["--urgent", "urgent.txt", "--on-conflict", "keep-live"]);
    let rings = plan["rings"].as_array().expect("rings");
    let shape: Vec<_> =
        rings.iter().map(|ring| (&ring["name"], &ring["tenants"], &ring["failures_max"])).collect();
    assert_eq!(
        serde_json::json!(shape),
        serde_json::json!([["canary", 2, 0], ["few", 1, 0], ["rest", 3, 1]])
    );
    let schema = if kind == Kind::Postgres { "public" } else { "main" };
    let why = rings[0]["why"].as_array().expect("why");
    let conflict = format!(
        "{odd} (Site {odd}): rows of '{schema}.settings' of shard 'product', of which some are live or erased"
    );
    let largest = tenants()[2];
    let bytes = plan["tenants"][0]["shards"].as_array().expect("shards").iter();
    let bytes = bytes.flat_map(|shard| shard["tables"].as_array().expect("tables"));
    let bytes: u64 = bytes.filter_map(|table| table["bytes"].as_u64()).sum();
    assert_eq!(why[0], Value::from(format!("{largest} (Site {largest}): the most bytes ({bytes})")));
    assert_eq!(why[1], Value::from(conflict));
    assert_eq!(why.len(), 2, "nothing is left for later rings");
    let order = order(&plan);
    assert_eq!(order[..3], [largest, odd, tenants()[5]], "the canary ring, then the urgent one");
    // People see it too, and it changes nothing about what comes back.
    let _ = std::fs::remove_file(world.path("plan.json"));
    let args = [
        "plan",
        "--tenants",
        "tenants.txt",
        "-o",
        "plan.json",
        "--urgent",
        "urgent.txt",
        "--on-conflict",
        "keep-live",
    ];
    let shown = world.run(&args).exits(0).stdout;
    assert!(shown.contains("Ring 'canary': 2 tenants; the first failure stops the run\n"), "{shown}");
    assert!(shown.contains("Ring 'rest': 3 tenants; more than 1 failures stop the run\n"), "{shown}");
}

#[tokio::test]
async fn a_column_of_the_catalogue_tells_who_comes_first() {
    let world = deleted(Kind::Sqlite, 4).await;
    let by_size = order(&planned(&world, 4, &[]));
    // The hosts' names as text: the only column beside id and name.
    let [a, b] = [tenants()[3], tenants()[0]];
    configure(
        &world,
        &format!("[priority]\ncolumn = \"host\"\norder = [\"s{a}.example.net\", \"s{b}.example.net\"]"),
    );
    let named = order(&planned(&world, 4, &[]));
    assert_eq!(named[..2], [a, b]);
    let others: Vec<i64> = by_size.iter().copied().filter(|id| ![a, b].contains(id)).collect();
    assert_eq!(named.len(), 2 + others.len());
    let text = world.read("reinstate.toml");
    let rest = text.split("\n[priority]").next().expect("text");
    world.write("reinstate.toml", &format!("{rest}\n[priority]\ncolumn = \"id\"\n"));
    let mut falling = tenants()[..4].to_vec();
    falling.reverse();
    assert_eq!(order(&planned(&world, 4, &[])), falling, "larger numbers first");
    let refused = |priority: &str| {
        world.write("reinstate.toml", &format!("{rest}\n[priority]\n{priority}\n"));
        world.run(&["plan", "--tenants", "tenants.txt", "-o", "other.json"]).exits(2).error()
    };
    assert_eq!(
        refused("column = \"tier\""),
        "error: unable to order the tenants by column 'tier': table 'main.sites' of the snapshot has none of this name\n\
         hint: priority.column in the configuration is a column of the table that lists the tenants"
    );
    let error = refused("column = \"host\"");
    assert!(error.contains("which is no number\nhint: priority.order names"), "{error}");
    assert_eq!(
        refused("shards = [\"catalogue\"]"),
        "error: unable to use [priority] of configuration 'reinstate.toml': 'shards' names 'catalogue', which lists the tenants and has its own place\n\
         hint: docs/rings.md shows what it takes"
    );
    assert!(refused("colum = \"id\"").contains("unknown field `colum`"));
    world.write("reinstate.toml", &format!("{rest}\n[rings]\nsizes = [0]\n"));
    let error = world.run(&["plan", "--tenants", "tenants.txt", "-o", "other.json"]).exits(2).error();
    assert!(
        error.starts_with("error: unable to use [rings] of configuration 'reinstate.toml': 'sizes' names")
    );
}
