//! Killed at any instant, run again: nothing twice, nothing lost (P4).

use std::io::{BufRead, BufReader};
use std::time::Duration;

use crate::world::{Kind, World, tenants};

async fn survives_ten_kills(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    let victims = &tenants()[..10];
    let before = world.dump().await;
    world.delete(victims).await;
    world.plan(victims).exits(0);
    let mut rng = fastrand::Rng::with_seed(10);
    let mut between_commits = false;
    for kills in 0..12 {
        let mut child = world.spawn(&["apply", "plan.json", "--confirm", "10", "--jobs", "1"]);
        match kills {
            // Before anything is written, most likely.
            0..3 => tokio::time::sleep(Duration::from_millis(rng.u64(1..15))).await,
            // As soon as a tenant is told to be back: between two commits.
            3..6 => {
                let told = BufReader::new(child.stderr.take().expect("stderr")).lines();
                let _ = told.map_while(Result::ok).find(|line| line.contains("restored and verified"));
            }
            _ => tokio::time::sleep(Duration::from_millis(rng.u64(5..150))).await,
        }
        child.kill().expect("SIGKILL");
        let killed = child.wait().expect("wait").code().is_none();
        let status = world.run(&["status", "plan.json", "--json"]).exits(0).json();
        for shard in status["shards"].as_array().expect("shards") {
            let mut restored: Vec<String> = shard["restored"]
                .as_array()
                .expect("entries")
                .iter()
                .map(|e| e["tenant"].to_string())
                .collect();
            let count = restored.len();
            restored.sort();
            restored.dedup();
            assert_eq!(restored.len(), count, "no tenant is journalled twice");
            between_commits |= killed && (1..10).contains(&count);
        }
    }
    assert!(between_commits, "no kill fell between two commits");
    world.apply(10).exits(0);
    assert_eq!(world.dump().await, before, "the same end state as an undisturbed run");
    world.run(&["verify", "plan.json"]).exits(0);
}

#[tokio::test]
async fn sqlite_survives_ten_kills() {
    survives_ten_kills(Kind::Sqlite).await;
}

#[tokio::test]
async fn postgres_survives_ten_kills() {
    survives_ten_kills(Kind::Postgres).await;
}
