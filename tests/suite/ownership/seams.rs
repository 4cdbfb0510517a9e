//! Both seams agree on whose a row is.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use reinstate::model::{OwnedTable, TenantId};
use reinstate::shard;
use reinstate::source::{Scan, live};

use super::schema::{counts, fill, owners, tables, tenancy};
use crate::bench::{Bench, Postgres, Sqlite};
use crate::postgres::support;

async fn both_seams_agree(bench: impl Bench) {
    fill(&bench).await;
    let tenancy = tenancy(&bench);
    let name = reinstate::model::ShardName::new("shop");
    let source = live::open(&name, &bench.url(), &tenancy, 2).await.expect("source");
    let shard = shard::open(&name, &bench.url(), 2).await.expect("shard");
    shard.prepare_journal().await.expect("journal");
    let facts = shard.facts().await.expect("facts");
    let everybody: Vec<TenantId> = ["7", "8", "9", "10", "abc", "07"].map(TenantId::new).to_vec();
    let mut session = support::session(shard.as_ref(), "7").await;
    for table in tables() {
        let name = bench.table(table);
        let batches: Vec<_> =
            source.scan(&name, &Scan::default()).await.expect("scan").try_collect().await.expect("rows");
        assert_eq!(support::owners(&batches), owners(table), "owners of {table}");
        let found = OwnedTable {
            table: source.describe().tables.iter().find(|other| other.name == name).expect("table").clone(),
            owners: tenancy.owners(&name, &facts.tables).expect("rule").expect("owned"),
        };
        let expected = counts(table);
        let live = shard.live_rows(&found, &everybody).await.expect("live rows");
        let live = live.into_iter().map(|(tenant, rows)| (tenant.to_string(), rows)).collect();
        assert_eq!(expected, live, "live rows of {table}");
        for tenant in everybody.iter().filter(|tenant| !["abc", "07"].contains(&tenant.as_str())) {
            let wanted = expected.get(tenant.as_str()).copied().unwrap_or_default();
            let asked = Scan { tenants: Some(vec![tenant.clone()]), columns: None };
            let scanned: Vec<_> =
                source.scan(&name, &asked).await.expect("scan").try_collect().await.expect("rows");
            let mine =
                support::owners(&scanned).iter().flatten().filter(|owner| **owner == tenant.as_str()).count();
            assert_eq!(mine as u64, wanted, "scan of {table} for {tenant}");
            let read: Vec<_> =
                shard.read(&found, tenant).await.expect("read").try_collect().await.expect("rows");
            assert_eq!(support::rows(&read) as u64, wanted, "rows of {tenant} in {table}");
            let of: BTreeSet<_> = support::owners(&read).into_iter().collect();
            assert!(of.is_empty() || of == BTreeSet::from([Some(tenant.to_string())]), "{table}: {of:?}");
            let back = session.read_back(&found, tenant).await.expect("read back");
            assert_eq!(back, support::fingerprint(&found.table, &read), "{table} read back for {tenant}");
            let held = session.tables_with_rows(&[&found], tenant).await.expect("asked");
            assert_eq!(held.len() as u64, wanted.min(1), "{table} held by {tenant}");
        }
    }
    session.abort().await.expect("abort");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_seams_agree_on_postgres() {
    both_seams_agree(Postgres::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_seams_agree_on_sqlite() {
    both_seams_agree(Sqlite::new().await).await;
}
