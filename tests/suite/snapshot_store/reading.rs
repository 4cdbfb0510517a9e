//! Reading a snapshot: exactly a tenant's rows, and few bytes of the others.

use std::sync::atomic::Ordering;

use futures::TryStreamExt;
use reinstate::error::Kind;
use reinstate::extract::tenant_rows;
use reinstate::model::{Chunk, SnapshotId, TENANT_COLUMN, TableName, row_hash};
use reinstate::progress::Silent;
use reinstate::snapshot::{CreateOptions, Selector, Snapshot, Store, create, select};
use reinstate::source::snapshot_store::SnapshotSource;
use reinstate::source::{Scan, Source};

use super::memory::*;

fn of(tenants: &[&str]) -> Scan {
    Scan { tenants: Some(tenants.iter().map(|id| tenant(id)).collect()), columns: None }
}

#[tokio::test]
async fn a_scan_returns_exactly_the_tenants_rows() {
    let mut source = Memory::new();
    source.add_issues(30, 9_000);
    for memory_bytes in [64 << 20, 128 << 10] {
        let place = Place::new();
        let manifest = place.create_in(&source, memory_bytes).await;
        let reader = SnapshotSource::new(place.open(&manifest).await);
        let table = manifest.tables[0].table.clone();
        for site in 0..30 {
            let site = site.to_string();
            let rows = collect(&table, reader.scan(&issues(), &of(&[&site])).await.expect("scan")).await;
            assert!(count(&rows) == source.rows_of(&issues(), Some(&site)), "{site}");
        }
        let rows = collect(&table, reader.scan(&issues(), &of(&["3", "29", "3"])).await.expect("scan")).await;
        let mut expected = source.rows_of(&issues(), Some("3"));
        expected.extend(source.rows_of(&issues(), Some("29")));
        assert!(count(&rows) == expected);
        for nobody in [&of(&["30"]), &of(&[""]), &of(&[])] {
            let rows = collect(&table, reader.scan(&issues(), nobody).await.expect("scan")).await;
            assert!(rows.is_empty());
        }
    }
}

#[tokio::test]
async fn a_tenant_costs_few_bytes() {
    let mut source = Memory::new();
    source.add_issues(200, 60_000);
    let folder = tempfile::tempdir().expect("folder");
    let watched = Watched::new(folder.path());
    let store = Store::over(watched.clone(), "file:///backup");
    let options = CreateOptions::default();
    let manifest =
        create(&store, &shard(), &source, &source.tenancy, &options, &Silent).await.expect("create");
    let bytes = manifest.tables[0].files.iter().map(|file| file.bytes).sum::<u64>();
    let reader = SnapshotSource::new(Snapshot::open(&store, &shard(), &manifest.id).await.expect("open"));
    let table = manifest.tables[0].table.clone();

    watched.bytes_read.store(0, Ordering::SeqCst);
    let rows = collect(&table, reader.scan(&issues(), &of(&["77"])).await.expect("scan")).await;
    assert!(count(&rows) == source.rows_of(&issues(), Some("77")));
    let first = watched.bytes_read.swap(0, Ordering::SeqCst);
    // A tenant is half a percent of the rows, and starts and ends within a page of each column.
    assert!(first * 10 < bytes, "{first} of {bytes}");

    // The second tenant of the file does not pay for its metadata again.
    let rows = collect(&table, reader.scan(&issues(), &of(&["78"])).await.expect("scan")).await;
    assert!(count(&rows) == source.rows_of(&issues(), Some("78")));
    let second = watched.bytes_read.swap(0, Ordering::SeqCst);
    assert!(second * 15 < bytes && second < first, "{second} of {bytes}");

    // Fewer columns, fewer bytes.
    let scan = Scan { columns: Some(vec!["id".into()]), ..of(&["77"]) };
    let batches: Vec<_> =
        reader.scan(&issues(), &scan).await.expect("scan").try_collect().await.expect("batches");
    let names: Vec<String> = batches[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, [TENANT_COLUMN, "id"]);
    assert!(watched.bytes_read.load(Ordering::SeqCst) * 3 < second);
}

#[tokio::test]
async fn extraction_gives_a_tenants_rows_as_arrow_and_in_wire_form() {
    let mut source = Memory::new();
    source.add_issues(30, 9_000);
    let place = Place::new();
    let manifest = place.create(&source).await;
    let snapshot = place.open(&manifest).await;
    let table = manifest.tables[0].table.clone();
    // The source in memory returns everybody's rows, and their hashes: both are left out.
    let sources: [&dyn Source; 2] = [&SnapshotSource::new(snapshot.clone()), &source];
    for reader in sources {
        let chunks: Vec<Chunk> = tenant_rows(reader, &table, &tenant("5"))
            .await
            .expect("rows")
            .try_collect()
            .await
            .expect("chunks");
        let mut found = reinstate::model::Fingerprint::default();
        for chunk in &chunks {
            assert_eq!(chunk.batch.schema(), table.arrow_schema());
            assert_eq!(chunk.batch.num_rows(), chunk.tuples.len());
            chunk.tuples.iter().for_each(|tuple| found.add(row_hash(tuple)));
        }
        assert_eq!(found, snapshot.index().fingerprint(&tenant("5"), &issues()));
        let nobody: Vec<Chunk> = tenant_rows(reader, &table, &tenant("'; --"))
            .await
            .expect("rows")
            .try_collect()
            .await
            .expect("chunks");
        assert!(nobody.is_empty());
    }
}

#[tokio::test]
async fn a_table_that_is_not_in_the_snapshot_is_refused() {
    let place = Place::new();
    let manifest = place.create(&Memory::new()).await;
    let reader = SnapshotSource::new(place.open(&manifest).await);
    let error = reader.scan(&issues(), &Scan::default()).await.map(|_| ()).expect_err("refused");
    assert_eq!(
        error.chain(),
        format!("unable to read table 'public.issues' from snapshot '{}': it is not in it", manifest.id)
    );
    let error = reader.snapshot().check_files(&[issues()]).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Refused);
}

#[tokio::test]
async fn the_newest_snapshot_not_after_an_instant_is_chosen() {
    let place = Place::new();
    let mut ids = Vec::new();
    for instant in [
        "2026-11-01T00:00:00.5Z",
        "2026-11-02T00:00:00Z",
        "2026-11-03T00:00:00.25Z",
        "2026-11-03T00:00:00.75Z",
    ] {
        ids.push(place.create(&Memory::new().taken_at(instant)).await.id);
    }
    let select = async |selector: Selector| {
        let found = select(&place.store, &shard(), &selector).await;
        found.map(|snapshot| snapshot.manifest().id.clone())
    };
    let at = |text: &str| Selector::At(instant(text));
    assert_eq!(select(Selector::Latest).await.expect("latest"), ids[3]);
    assert_eq!(select(at("2026-11-03T00:00:00.5Z")).await.expect("at"), ids[2]);
    assert_eq!(select(at("2026-11-03T00:00:00.1Z")).await.expect("at"), ids[1]);
    assert_eq!(select(at("2026-11-01T00:00:00.5Z")).await.expect("at"), ids[0]);
    assert_eq!(select(Selector::Id(ids[1].clone())).await.expect("id"), ids[1]);

    let error = select(at("2026-11-01T00:00:00.4Z")).await.expect_err("none");
    assert_eq!(
        error.chain(),
        "unable to find a snapshot of shard 'product' at or before 2026-11-01T00:00:00.4Z"
    );
    let held = format!(
        "store '{}' holds {}, {}, ",
        place.store.url(),
        ids[3].clone().max(ids[2].clone()),
        ids[3].clone().min(ids[2].clone())
    );
    assert!(error.hints()[0].starts_with(&held), "{:?}", error.hints());
    let error = select(Selector::Id(SnapshotId::new("../x"))).await.expect_err("unknown");
    assert_eq!(error.chain(), "unable to find snapshot '../x' of shard 'product'");
    assert!(error.hints()[0].ends_with(ids[0].as_str()), "{:?}", error.hints());

    // Without manifest it is no snapshot; with a damaged one nothing is chosen instead.
    std::fs::remove_file(place.file(&ids[3], "manifest.json")).expect("remove");
    assert_eq!(select(Selector::Latest).await.expect("latest"), ids[2]);
    place.tamper(&ids[2], "manifest.json", |bytes| bytes.truncate(10));
    assert!(select(Selector::Latest).await.is_err());

    let error = reinstate::snapshot::select(&Place::new().store, &shard(), &Selector::Latest).await;
    let error = error.map(|_| ()).expect_err("empty");
    assert_eq!(error.chain(), "unable to find a snapshot of shard 'product'");
    assert!(error.hints()[0].ends_with("holds none; `reinstate snapshot create` takes one"));
}

#[tokio::test]
async fn what_was_read_back_says_where_it_came_from() {
    let mut source = Memory::new();
    source.add_issues(3, 30);
    let place = Place::new();
    let manifest = place.create(&source).await;
    let snapshot = place.open(&manifest).await;
    assert_eq!(*snapshot.manifest(), manifest);
    let bytes = std::fs::read(place.file(&manifest.id, "manifest.json")).expect("manifest");
    assert_eq!(snapshot.manifest_hash(), blake3::hash(&bytes).to_hex().as_str());
    let reader = SnapshotSource::new(snapshot);
    let description = reader.describe();
    assert_eq!(description.taken_at, source.description.taken_at);
    assert_eq!(description.identity, source.description.identity);
    assert_eq!(description.tables, source.description.tables);
    assert!(
        reader.snapshot().index().contains(&tenant("2")) && !reader.snapshot().index().contains(&tenant("3"))
    );
    let none = reader.snapshot().index().of(&tenant("2"), &TableName::new("public", "other"));
    assert!(none.is_empty());
}
