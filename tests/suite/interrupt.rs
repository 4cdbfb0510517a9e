//! Killed at any instant, run again: nothing twice, nothing lost (P4).

use std::time::Duration;

use crate::world::{Kind, World, tenants};

async fn survives_ten_kills(kind: Kind) {
    let world = World::with_snapshot(kind).await;
    let victims = &tenants()[..10];
    let before = world.dump().await;
    world.delete(victims).await;
    world.plan(victims).exits(0);
    let mut rng = fastrand::Rng::with_seed(10);
    let mut interrupted = 0;
    for _ in 0..10 {
        let mut child = world.spawn(&["apply", "plan.json", "--confirm", "10", "--jobs", "1"]);
        tokio::time::sleep(Duration::from_millis(rng.u64(5..120))).await;
        child.kill().expect("SIGKILL");
        interrupted += usize::from(child.wait().expect("wait").code().is_none());
        let status = world.run(&["status", "plan.json", "--json"]).exits(0).json();
        let journal = status["shards"].as_array().expect("shards").clone();
        for shard in journal {
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
        }
    }
    assert!(interrupted > 0, "no kill came in time to interrupt anything");
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
