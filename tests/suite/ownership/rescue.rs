//! Tenants are deleted the way an application deletes them, and come back; the oracle is the whole database.

use super::schema::Shop;
use crate::bench::{Bench, Dump, Postgres, Sqlite};
use crate::export::export;

/// What the application deletes with these tenants: their rows, then whoever only they pointed at, then what hung from
/// those. Disputed and shared rows stay.
fn delete(tenants: &str) -> String {
    format!(
        "DELETE FROM posts WHERE id IN (1, 2) AND 7 IN ({tenants});
         DELETE FROM posts WHERE id = 3 AND 8 IN ({tenants});
         DELETE FROM cards WHERE id IN (1, 2, 3) AND 7 IN ({tenants});
         DELETE FROM cards WHERE id IN (5, 6) AND 8 IN ({tenants});
         DELETE FROM icons WHERE id IN (1, 2) AND id NOT IN (SELECT icon_id FROM cards WHERE icon_id IS NOT NULL);
         DELETE FROM topics WHERE id IN (1, 2) AND 7 IN ({tenants});
         DELETE FROM topics WHERE id IN (3, 4, 5) AND 8 IN ({tenants});
         DELETE FROM folders WHERE id IN (1, 2, 3, 4) AND 7 IN ({tenants});
         DELETE FROM folders WHERE id IN (5, 6) AND 8 IN ({tenants});
         DELETE FROM replies WHERE id IN (1, 2) AND 7 IN ({tenants});
         DELETE FROM replies WHERE id = 3 AND 8 IN ({tenants});
         DELETE FROM notes WHERE id IN (1, 2, 3, 4) AND 7 IN ({tenants});
         DELETE FROM notes WHERE id = 5 AND 8 IN ({tenants});
         DELETE FROM events WHERE id = 1 AND 7 IN ({tenants});
         DELETE FROM events WHERE id IN (2, 3) AND 8 IN ({tenants});
         DELETE FROM boards WHERE id IN (1, 2) AND 7 IN ({tenants});
         DELETE FROM boards WHERE id = 3 AND 8 IN ({tenants});
         DELETE FROM labels WHERE site_id IN ({tenants});
         DELETE FROM docs WHERE CAST(site AS {{int}}) IN ({tenants});
         DELETE FROM issues WHERE project_id IN (SELECT id FROM projects WHERE site_id IN ({tenants}));
         DELETE FROM projects WHERE site_id IN ({tenants});
         DELETE FROM members WHERE site_id IN ({tenants});
         DELETE FROM sessions WHERE user_id NOT IN (SELECT user_id FROM members) AND user_id IN (1, 2, 3, 5);
         DELETE FROM users WHERE id NOT IN (SELECT user_id FROM members) AND id IN (1, 2, 3, 5);
         DELETE FROM files WHERE id NOT IN (SELECT avatar_id FROM users WHERE avatar_id IS NOT NULL) AND id IN (1, 2);
         DELETE FROM sites WHERE id IN ({tenants})"
    )
}

const MEANWHILE: &str = "UPDATE users SET email = 'dee@new' WHERE id = 5;
    UPDATE notes SET body = 'changed' WHERE id = 9; INSERT INTO users VALUES (50, 'fay@x', NULL);
    INSERT INTO members VALUES (9, 50); INSERT INTO sessions VALUES (70, 5, 'new');
    DELETE FROM sessions WHERE id = 5";

/// The whole database with the rows of `before` that the deletion took: what a perfect restore makes of `after`.
fn mended(before: &Dump, deleted: &Dump, after: &Dump) -> Dump {
    let mut expected = after.clone();
    for (table, rows) in &mut expected {
        rows.extend(before[table].iter().filter(|row| !deleted[table].contains(row)).cloned());
        rows.sort();
    }
    expected
}

/// Where the rows come from.
#[derive(Clone, Copy, PartialEq)]
enum From {
    Snapshot,
    /// Parquet files, of which a snapshot is made when it is known who was deleted.
    Export,
}

async fn everything_comes_back(shop: Shop<impl Bench>, victims: &[&str], from: From) -> Shop<impl Bench> {
    if victims.len() > 1 {
        // When one side of a dispute is gone, the row is the other side's, which a person has to decide.
        let disputed = "DELETE FROM replies WHERE id = 5; DELETE FROM notes WHERE id IN (7, 8);
             DELETE FROM boards WHERE id = 4; DELETE FROM folders WHERE id IN (7, 8); DELETE FROM cards WHERE id = 7";
        shop.bench.run(disputed).await;
    }
    match from {
        From::Snapshot => drop(shop.run(&["snapshot", "create"]).exits(0)),
        From::Export => export(shop.bench.url().expose(), &shop.path("export")).await,
    }
    let before = shop.bench.dump().await;
    shop.bench.run(&delete(&victims.join(", "))).await;
    if from == From::Export {
        shop.import(victims).exits(0);
    }
    shop.run(&["snapshot", "verify"]).exits(0);
    let deleted = shop.bench.dump().await;
    assert_ne!(before, deleted);
    shop.bench.run(MEANWHILE).await;
    let expected = mended(&before, &deleted, &shop.bench.dump().await);
    let plan = shop.plan(victims).exits(0);
    println!("{}", plan.stdout);
    if from == From::Snapshot {
        let found = shop.run(&["diff"]).exits(0);
        victims.iter().for_each(|victim| assert!(found.stdout.contains(victim), "{}", found.stdout));
    }
    shop.apply(victims.len()).exits(0);
    let after = shop.bench.dump().await;
    assert_eq!(after, expected);
    shop.run(&["verify", "plan.json"]).exits(0);
    // Once is enough.
    let again = shop.apply(victims.len()).exits(0);
    assert!(again.stdout.contains(" 0 rows written"), "{}", again.stdout);
    assert_eq!(shop.bench.dump().await, expected);
    shop
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenant_comes_back_with_the_users_that_went_with_it_on_postgres() {
    everything_comes_back(Shop::new(Postgres::new().await).await, &["7"], From::Snapshot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenant_comes_back_with_the_users_that_went_with_it_on_sqlite() {
    everything_comes_back(Shop::new(Sqlite::new().await).await, &["7"], From::Snapshot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_that_share_users_come_back_together_on_postgres() {
    everything_comes_back(Shop::new(Postgres::new().await).await, &["7", "8"], From::Snapshot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_that_share_users_come_back_together_on_sqlite() {
    everything_comes_back(Shop::new(Sqlite::new().await).await, &["7", "8"], From::Snapshot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_comes_back_out_of_an_export_on_postgres() {
    everything_comes_back(Shop::new(Postgres::new().await).await, &["7"], From::Export).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_come_back_out_of_an_export_on_postgres() {
    everything_comes_back(Shop::new(Postgres::new().await).await, &["7", "8"], From::Export).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_comes_back_out_of_an_export_on_sqlite() {
    everything_comes_back(Shop::new(Sqlite::new().await).await, &["7"], From::Export).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_come_back_out_of_an_export_on_sqlite() {
    everything_comes_back(Shop::new(Sqlite::new().await).await, &["7", "8"], From::Export).await;
}
