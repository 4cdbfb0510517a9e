//! Parquet files as a source: what is imported is what `snapshot create` would have taken of the same tenants, and what
//! cannot be imported is refused by name before anything is written.

use std::collections::BTreeMap;
use std::path::Path;

use reinstate::model::{Fingerprint, ShardName, TableName, TenantId};
use reinstate::snapshot::{self, Snapshot, Store};

use crate::bench::{Bench, Postgres, Sqlite};
use crate::export::export;
use crate::ownership::schema::Shop;

/// Rows of each tenant in each table, by their fingerprints.
type Owned = BTreeMap<(TenantId, TableName), Fingerprint>;

/// What the newest snapshot of a store says of these tenants.
async fn owned(store: &Path, tenants: &[&str]) -> Owned {
    let (store, shard) = (Store::open(&store.display().to_string()).expect("store"), ShardName::new("shop"));
    let newest = snapshot::list(&store, Some(&shard)).await.expect("list").pop().expect("a snapshot");
    let snapshot = Snapshot::open(&store, &shard, &newest.id).await.expect("open");
    let mut owned = Owned::new();
    for tenant in tenants.iter().map(|tenant| TenantId::new(*tenant)) {
        for entry in snapshot.index().of_tenant(&tenant) {
            *owned.entry((tenant.clone(), entry.table.clone())).or_default() += entry.fingerprint;
        }
    }
    owned
}

/// Imports are those of `snapshot create`, row for row.
async fn equals_what_create_takes(shop: Shop<impl Bench>, tenants: &[&str], all: &[&str]) {
    shop.run(&["snapshot", "create"]).exits(0);
    export(shop.bench.url().expose(), &shop.path("export")).await;
    std::fs::rename(shop.path("store"), shop.path("created")).expect("moved");
    println!("{}", shop.import(tenants).exits(0).stderr);
    shop.run(&["snapshot", "verify"]).exits(0);
    let (created, imported) = (owned(&shop.path("created"), tenants).await, owned(&shop.path("store"), all).await);
    assert!(created.len() > 10, "{created:?}");
    assert_eq!(imported, created, "of the listed tenants every row, of others none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_holds_what_create_takes_on_postgres() {
    equals_what_create_takes(Shop::new(Postgres::new().await).await, &["7", "8"], &["7", "8", "9"]).await;
    equals_what_create_takes(Shop::new(Postgres::new().await).await, &["8"], &["7", "8", "9"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_holds_what_create_takes_on_sqlite() {
    equals_what_create_takes(Shop::new(Sqlite::new().await).await, &["7", "8"], &["7", "8", "9"]).await;
    equals_what_create_takes(Shop::new(Sqlite::new().await).await, &["9"], &["7", "8", "9"]).await;
}
