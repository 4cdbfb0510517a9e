//! Taking a snapshot: everything exactly once, clustered, immutable, or nothing at all.

use std::fs;
use std::sync::atomic::Ordering;

use reinstate::error::Kind;
use reinstate::model::{Fingerprint, Link, Rule, ShardName, TableName, TypeKind};
use reinstate::progress::Silent;
use reinstate::snapshot::{CreateOptions, IndexEntry, State, Store, create, list};
use reinstate::source::snapshot_store::SnapshotSource;
use reinstate::source::{Scan, Source};

use super::memory::*;

#[tokio::test]
async fn every_row_comes_back_exactly_once_and_clustered() {
    let mut source = Memory::new();
    source.add_issues(40, 20_000);
    let place = Place::new();
    let manifest = place.create(&source).await;
    let entry = manifest.table(&issues()).expect("table");
    assert_eq!((entry.rows_owned, entry.rows_shared, entry.rows_unowned), (19_600, 400, 0));
    assert_eq!(manifest.tenants, 40);

    let reader = SnapshotSource::new(place.open(&manifest).await);
    let rows = collect(&entry.table, reader.scan(&issues(), &Scan::default()).await.expect("scan")).await;
    assert!(count(&rows) == source.rows[&issues()]);
    let key = |row: &Row| (row.0.is_none(), row.0.clone(), row.1[14..26].to_vec());
    let order: Vec<_> = rows.iter().map(|row| (row.0.is_none(), row.0.clone())).collect();
    assert!(order.is_sorted());
    // A shared row has no site: its id stands 8 bytes further to the front.
    assert!(rows.iter().filter(|row| row.0.is_some()).map(key).is_sorted());
}

#[tokio::test]
async fn fingerprints_are_those_of_the_rows_with_and_without_hashes_from_the_source() {
    for has_hashes in [true, false] {
        let mut source = Memory::new();
        source.add_issues(7, 3_000);
        let source = if has_hashes { source } else { source.without_hashes() };
        let place = Place::new();
        let manifest = place.create(&source).await;
        let snapshot = place.open(&manifest).await;
        for site in snapshot.index().tenants() {
            let rows = source.rows_of(&issues(), Some(site.as_str()));
            assert_eq!(snapshot.index().fingerprint(site, &issues()), fingerprint(&rows));
            let bytes: u64 = rows.iter().map(|((_, tuple), times)| tuple.len() as u64 * *times as u64).sum();
            let indexed: u64 = snapshot.index().of(site, &issues()).iter().map(|entry| entry.bytes).sum();
            assert_eq!(indexed, bytes);
        }
    }
}

#[tokio::test]
async fn little_memory_makes_more_files_but_the_same_rows_in_the_same_order() {
    let mut source = Memory::new();
    source.add_issues(25, 12_000);
    let (roomy, tight) = (Place::new(), Place::new());
    let one = roomy.create_in(&source, 64 << 20).await;
    // 20 kB for sorting: some 80 runs, so runs are merged twice; 16 kB a part.
    let many = tight.create_in(&source, 128 << 10).await;
    assert_eq!(one.tables[0].files.len(), 1);
    assert!(many.tables[0].files.len() > 25, "{}", many.tables[0].files.len());
    let (one, many) = (roomy.open(&one).await, tight.open(&many).await);
    for site in one.index().tenants() {
        assert_eq!(one.index().fingerprint(site, &issues()), many.index().fingerprint(site, &issues()));
    }
    assert!(many.index().tenants().any(|site| many.index().of(site, &issues()).len() > 1));
    let table = one.manifest().tables[0].table.clone();
    let (one, many) = (SnapshotSource::new(one), SnapshotSource::new(many));
    let one = collect(&table, one.scan(&issues(), &Scan::default()).await.expect("scan")).await;
    let many = collect(&table, many.scan(&issues(), &Scan::default()).await.expect("scan")).await;
    assert!(one == many);
}

#[tokio::test]
async fn odd_tables_are_kept_as_they_are() {
    let mut source = Memory::new();
    let names = [
        TableName::new("public", "Odd \" name"),
        TableName::new("a.b", "c"),
        TableName::new("a", "b.c"),
        TableName::new("../..", "etc/passwd"),
        TableName::new("日本", "長".repeat(60)),
    ];
    for (at, name) in names.iter().enumerate() {
        let columns = vec![column("the \"site\"", TypeKind::Text), column("x.y", TypeKind::Opaque)];
        // No key, every row three times.
        let rows: Vec<Row> = (0..30)
            .map(|n| {
                let owner = format!("ünï-{}", n % 3);
                let value = [at as u8, (n % 10) as u8];
                (Some(owner.clone()), tuple(&[Some(owner.as_bytes()), Some(&value)]))
            })
            .collect();
        let rows = [rows.clone(), rows].concat();
        source.add(
            table(name.clone(), columns, &[]),
            Rule::Direct { column: "the \"site\"".into() },
            &rows,
            7,
        );
    }
    let empty = TableName::new("public", "empty");
    source.add(table(empty.clone(), vec![column("id", TypeKind::Int64)], &["id"]), Rule::Shared, &[], 1);
    let bare = TableName::new("public", "no columns");
    source.add(table(bare.clone(), vec![], &[]), Rule::Shared, &[(None, tuple(&[])), (None, tuple(&[]))], 1);

    let place = Place::new();
    let manifest = place.create(&source).await;
    let reader = SnapshotSource::new(place.open(&manifest).await);
    for name in source.rows.keys() {
        let table = &manifest.table(name).expect("table").table;
        let rows = collect(table, reader.scan(name, &Scan::default()).await.expect("scan")).await;
        assert!(count(&rows) == source.rows[name], "{name}");
    }
    assert!(manifest.table(&empty).expect("table").files.is_empty());
    assert!(files_below(place.folder.path()).iter().all(|file| file.starts_with(place.folder.path())));
    let rows = reader.snapshot().index().fingerprint(&tenant("ünï-1"), &names[0]).rows;
    assert_eq!(rows, 20);
}

#[tokio::test]
async fn a_database_without_tables_has_a_snapshot_too() {
    let place = Place::new();
    let manifest = place.create(&Memory::new()).await;
    let snapshot = place.open(&manifest).await;
    assert_eq!((snapshot.index().tenants().count(), manifest.rows()), (0, 0));
}

#[tokio::test]
async fn rows_without_owner_are_counted_by_rule_and_excluded_tables_are_left_out() {
    let id = || vec![column("id", TypeKind::Int64), column("site", TypeKind::Int64)];
    let row = |owner: Option<&str>, n: i64| -> Row {
        (owner.map(str::to_owned), tuple(&[Some(&n.to_be_bytes()), Some(&n.to_be_bytes())]))
    };
    let rows = [row(Some("1"), 1), row(None, 2), row(None, 3)];
    let mut source = Memory::new();
    let sites = TableName::new("public", "sites");
    let derived = Rule::Derived(Link::new(vec!["site".into()], sites.clone(), vec!["id".into()]));
    source.add(table(sites.clone(), id(), &["id"]), Rule::Root { key: "id".into(), name: None }, &rows, 2);
    source.add(
        table(TableName::new("public", "direct"), id(), &["id"]),
        Rule::Direct { column: "site".into() },
        &rows,
        2,
    );
    source.add(table(TableName::new("public", "derived"), id(), &["id"]), derived, &rows, 2);
    source.add(table(TableName::new("public", "shared"), id(), &["id"]), Rule::Shared, &rows[1..], 2);
    let left_out = Rule::Excluded { reason: "a cache".into() };
    source.add(table(TableName::new("public", "cache"), id(), &["id"]), left_out, &rows, 2);
    let place = Place::new();
    let manifest = place.create(&source).await;
    let counts: Vec<(&str, u64, u64, u64)> = manifest
        .tables
        .iter()
        .map(|entry| {
            (entry.table.name.table.as_str(), entry.rows_owned, entry.rows_shared, entry.rows_unowned)
        })
        .collect();
    assert_eq!(counts, [("sites", 1, 2, 0), ("direct", 1, 2, 0), ("derived", 1, 0, 2), ("shared", 0, 2, 0)]);
    assert!(manifest.tenancy.rules.contains_key(&TableName::new("public", "cache")));
    place.open(&manifest).await;
}

#[tokio::test]
async fn unclassified_tables_stop_it_before_anything_is_written() {
    let mut source = Memory::new();
    source.add_issues(2, 10);
    for name in ["b", "a"] {
        source.add(table(TableName::new("public", name), vec![], &[]), Rule::Shared, &[], 1);
        source.tenancy.rules.remove(&TableName::new("public", name));
    }
    let place = Place::new();
    let options = CreateOptions::default();
    let error = create(&place.store, &shard(), &source, &source.tenancy, &options, &Silent)
        .await
        .expect_err("undecided");
    assert_eq!(error.kind(), Kind::Undecided);
    assert_eq!(
        error.chain(),
        "unable to take a snapshot: table 'public.b' has no rule, table 'public.a' has no rule"
    );
    assert!(files_below(place.folder.path()).is_empty());
}

#[tokio::test]
async fn an_owner_in_a_table_without_owners_is_a_bug_and_leaves_nothing() {
    let mut source = Memory::new();
    source.add_issues(2, 10);
    source.tenancy.rules.insert(issues(), Rule::Shared);
    let place = Place::new();
    let options = CreateOptions::default();
    let error =
        create(&place.store, &shard(), &source, &source.tenancy, &options, &Silent).await.expect_err("bug");
    assert_eq!(error.chain(), "the source names owners for rows of table 'public.issues', which has none");
    assert!(files_below(place.folder.path()).is_empty());
}

#[tokio::test]
async fn tenant_ids_that_no_list_could_name_are_refused() {
    let mut source = Memory::new();
    let long = "é".repeat(200);
    let name = TableName::new("public", "t");
    let row = (Some(long.clone()), tuple(&[Some(long.as_bytes())]));
    let columns = vec![column("site", TypeKind::Text)];
    source.add(table(name, columns, &[]), Rule::Direct { column: "site".into() }, &[row], 1);
    let place = Place::new();
    let options = CreateOptions::default();
    let error = create(&place.store, &shard(), &source, &source.tenancy, &options, &Silent)
        .await
        .expect_err("refused");
    assert_eq!(
        error.chain(),
        format!("unable to snapshot table 'public.t': tenant id '{}…' has 400 bytes", "é".repeat(40))
    );
}

#[tokio::test]
async fn files_are_read_only_and_an_id_is_used_once() {
    let mut source = Memory::new();
    source.add_issues(2, 100);
    let place = Place::new();
    // The test's runtime has one thread, so the seed decides the id.
    fastrand::seed(1);
    let manifest = place.create(&source).await;
    let files = files_below(place.folder.path());
    assert_eq!(files.len(), 3);
    let before: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("read")).collect();
    for file in &files {
        assert!(fs::metadata(file).expect("meta").permissions().readonly(), "{}", file.display());
    }
    fastrand::seed(1);
    let options = CreateOptions::default();
    let error = create(&place.store, &shard(), &source, &source.tenancy, &options, &Silent)
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(
        error.chain(),
        format!("unable to create snapshot '{}' of shard 'product': it exists already", manifest.id)
    );
    let after: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("read")).collect();
    assert!(before == after);
    place.open(&manifest).await;
}

#[tokio::test]
async fn a_full_disk_fails_by_name_and_leaves_nothing() {
    let mut source = Memory::new();
    source.add_issues(20, 5_000);
    // Parts of 16 kB, then the index, then the manifest.
    let files = Place::new().create_in(&source, 128 << 10).await.files().count() as u64;
    assert!(files > 10, "{files}");
    for puts in [0, 1, files / 2, files - 1, files] {
        let folder = tempfile::tempdir().expect("folder");
        let watched = Watched::new(folder.path());
        let store = Store::over(watched.clone(), "file:///backup");
        watched.puts_left.store(puts, Ordering::SeqCst);
        let options = CreateOptions { memory_bytes: 128 << 10, ..CreateOptions::default() };
        let created = create(&store, &shard(), &source, &source.tenancy, &options, &Silent).await;
        let error = created.expect_err("full");
        assert_eq!(error.kind(), Kind::Failed);
        assert!(
            error.chain().starts_with("unable to write 'file:///backup/product/2026"),
            "{}",
            error.chain()
        );
        assert!(error.chain().ends_with("': No space left on device (os error 28)"), "{}", error.chain());
        assert!(files_below(folder.path()).is_empty());
        let listed = list(&store, None).await.expect("list");
        assert!(listed.iter().all(|summary| summary.state == State::Incomplete));
    }
}

#[tokio::test]
async fn the_index_covers_every_row_and_sums_up_to_the_table() {
    let mut source = Memory::new();
    source.add_issues(9, 4_000);
    let place = Place::new();
    let manifest = place.create_in(&source, 128 << 10).await;
    let snapshot = place.open(&manifest).await;
    let entries = snapshot.index().entries();
    let total: Fingerprint = entries.iter().map(|entry| entry.fingerprint).sum();
    assert_eq!(total, fingerprint(&source.rows[&issues()]));
    let owned = |entry: &&IndexEntry| entry.tenant.is_some();
    assert_eq!(
        entries.iter().filter(owned).map(|entry| entry.rows).sum::<u64>(),
        manifest.tables[0].rows_owned
    );
}

#[tokio::test]
async fn shards_with_odd_names_are_listed() {
    let mut source = Memory::new();
    source.add_issues(3, 30);
    let place = Place::new();
    let name = ShardName::new("Prod / ä..%41");
    let options = CreateOptions::default();
    let manifest =
        create(&place.store, &name, &source, &source.tenancy, &options, &Silent).await.expect("create");
    let listed = list(&place.store, None).await.expect("list");
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].shard, &listed[0].id, &listed[0].state), (&name, &manifest.id, &State::Complete));
    assert_eq!((listed[0].tables, listed[0].tenants, listed[0].rows), (1, 3, 30));
    assert_eq!(listed[0].retain_until, Some(manifest.retain_until));
}
