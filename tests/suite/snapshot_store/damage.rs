//! Damage: whatever was changed, cut, lost or forged is told by its name, and by whose rows it was.

use std::fs;

use futures::TryStreamExt;
use reinstate::error::{Error, Kind};
use reinstate::model::{Fingerprint, TenantId};
use reinstate::progress::Silent;
use reinstate::snapshot::{Manifest, Problem, Snapshot, State, VerifyReport, list, verify};
use reinstate::source::snapshot_store::SnapshotSource;
use reinstate::source::{Scan, Source};

use super::memory::*;

const DATA: &str = "data/public.issues/part-00000.parquet";

async fn snapshot(place: &Place) -> Manifest {
    let mut source = Memory::new();
    source.add_issues(20, 6_000);
    place.create(&source).await
}

async fn refusal(place: &Place, manifest: &Manifest) -> Error {
    let opened = Snapshot::open(&place.store, &shard(), &manifest.id).await;
    let error = opened.map(|_| ()).expect_err("refused");
    assert_eq!(error.kind(), Kind::Refused, "{}", error.chain());
    assert!(!error.hints().is_empty());
    error
}

async fn verified(place: &Place, manifest: &Manifest) -> VerifyReport {
    verify(&place.store, &shard(), &manifest.id, &Silent).await.expect("verify")
}

#[tokio::test]
async fn a_sound_snapshot_verifies() {
    let place = Place::new();
    let manifest = snapshot(&place).await;
    let report = verified(&place, &manifest).await;
    assert_eq!(report.problems, []);
    assert_eq!((report.files, report.rows, report.tenants), (3, 6_000, 20));
    assert_eq!(report.bytes, manifest.bytes());
}

#[tokio::test]
async fn every_flipped_bit_of_the_manifest_is_found() {
    let place = Place::new();
    let manifest = snapshot(&place).await;
    let file = place.file(&manifest.id, "manifest.json");
    let sound = fs::read(&file).expect("read");
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..150 {
        let (at, bit) = (random.usize(..sound.len()), random.u8(..8));
        place.tamper(&manifest.id, "manifest.json", |bytes| bytes[at] ^= 1 << bit);
        let opened = Snapshot::open(&place.store, &shard(), &manifest.id).await;
        let changed = fs::read(&file).expect("read");
        match opened {
            Err(error) => assert_eq!(error.kind(), Kind::Refused),
            // White space between two values means nothing, and shows in the manifest's hash.
            Ok(snapshot) => {
                assert_eq!(*snapshot.manifest(), manifest);
                assert_eq!(snapshot.manifest_hash(), blake3::hash(&changed).to_hex().as_str());
            }
        }
        place.tamper(&manifest.id, "manifest.json", |bytes| bytes.clone_from(&sound));
    }
    place.open(&manifest).await;
}

#[tokio::test]
async fn a_changed_manifest_is_not_trusted() {
    let place = Place::new();
    let manifest = snapshot(&place).await;
    let text = format!("\"retain_until\": \"{}\"", manifest.retain_until);
    place.tamper(&manifest.id, "manifest.json", |bytes| {
        let edited =
            String::from_utf8_lossy(bytes).replace(&text, "\"retain_until\": \"2020-01-01T00:00:00Z\"");
        *bytes = edited.into_bytes();
    });
    assert_eq!(
        refusal(&place, &manifest).await.chain(),
        format!("unable to trust snapshot '{}': manifest.json was changed after it was written", manifest.id)
    );
    let listed = list(&place.store, None).await.expect("list");
    assert!(
        matches!(&listed[0].state, State::Damaged(what) if what.ends_with("was changed after it was written"))
    );
    assert!(verify(&place.store, &shard(), &manifest.id, &Silent).await.is_err());
}

#[tokio::test]
async fn a_future_version_is_named_whatever_else_it_holds() {
    let place = Place::new();
    let manifest = snapshot(&place).await;
    place.tamper(&manifest.id, "manifest.json", |bytes| {
        *bytes = br#"{"novelty": [1], "format": 9}"#.to_vec();
    });
    let error = refusal(&place, &manifest).await;
    assert_eq!(
        error.chain(),
        format!(
            "unable to read snapshot '{}': its format is version 9, this reinstate reads version 1",
            manifest.id
        )
    );
    assert_eq!(error.hints(), ["upgrade reinstate to the version that wrote the snapshot"]);
}

#[tokio::test]
async fn a_manifest_that_is_cut_or_unknown_or_missing_is_refused() {
    let place = Place::new();
    let manifest = snapshot(&place).await;
    let id = &manifest.id;
    let start = format!("unable to read snapshot '{id}': manifest.json is not a manifest: ");
    let sound = fs::read(place.file(id, "manifest.json")).expect("read");
    for garbled in [&sound[..sound.len() / 2], b"", b"[]", b"{\"format\": 1}", b"\xff"] {
        place.tamper(id, "manifest.json", |bytes| *bytes = garbled.to_vec());
        let error = refusal(&place, &manifest).await;
        assert!(error.chain().starts_with(&start), "{}", error.chain());
    }
    place.tamper(id, "manifest.json", |bytes| {
        *bytes = String::from_utf8_lossy(&sound).replacen('{', "{\"extra\": 1,", 1).into_bytes();
    });
    assert!(refusal(&place, &manifest).await.chain().starts_with(&format!("{start}unknown field `extra`")));
    fs::remove_file(place.file(id, "manifest.json")).expect("remove");
    assert_eq!(
        refusal(&place, &manifest).await.chain(),
        format!("unable to open snapshot '{id}' of shard 'product': it has no manifest")
    );
    assert_eq!(list(&place.store, Some(&shard())).await.expect("list")[0].state, State::Incomplete);
}

#[tokio::test]
async fn forged_manifests_are_refused() {
    type Change = fn(&mut Manifest);
    let cases: &[(Change, &str)] = &[
        (
            |m| m.tables[0].files[0].path = "../../../etc/passwd".into(),
            "its manifest names the file '../../../etc/passwd'",
        ),
        (|m| m.tables[0].files[0].path = "data/../../x".into(), "its manifest names the file 'data/../../x'"),
        (|m| m.tables[0].files[0].path = "/etc/passwd".into(), "its manifest names the file '/etc/passwd'"),
        (
            |m| m.tables[0].files[0].path = "manifest.json".into(),
            "its manifest names the file 'manifest.json'",
        ),
        (
            |m| m.index.path = "../tenants.parquet".into(),
            "its manifest names the file '../tenants.parquet' as tenant index",
        ),
        (|m| m.tables.push(m.tables[0].clone()), "its manifest names table 'public.issues' twice"),
        (|m| m.tables[0].rows_owned += 1, "the rows of table 'public.issues' do not add up"),
        (|m| m.tables[0].files[0].rows = u64::MAX, "the rows of table 'public.issues' do not add up"),
        (
            |m| m.tenancy.rules.clear(),
            "its tenancy does not fit its schema: table 'public.issues' has no rule",
        ),
        (
            |m| m.tables[0].table.columns.truncate(0),
            "its tenancy does not fit its schema: table 'public.issues' has no column 'site'",
        ),
        (
            |m| {
                m.tables[0].rows_owned -= 1;
                m.tables[0].rows_shared += 1;
            },
            "the tenant index does not fit table 'public.issues'",
        ),
        (
            |m| {
                m.tables[0].rows_shared += 1;
                m.tables[0].files[0].rows += 1;
            },
            "the tenant index does not fit the file 'data/public.issues/part-00000.parquet'",
        ),
        (
            |m| {
                let file = m.tables[0].files[0].path.replace("part", "prat");
                m.tables[0].files[0].path = file;
            },
            "the tenant index names the file 'data/public.issues/part-00000.parquet'",
        ),
        (|m| m.tenants += 1, "the tenant index does not hold the manifest's number of tenants"),
        (
            |m| m.index.rows += 1,
            "file 'tenants.parquet' is no tenant index: \
             it holds 21 entries, expected 22 and at most 16777216",
        ),
    ];
    for (change, what) in cases {
        let place = Place::new();
        let manifest = snapshot(&place).await;
        place.forge(&manifest.id, change);
        assert_eq!(
            refusal(&place, &manifest).await.chain(),
            format!("unable to trust snapshot '{}': {what}", manifest.id)
        );
    }
}

#[tokio::test]
async fn a_snapshot_under_another_name_is_refused() {
    let place = Place::new();
    let manifest = snapshot(&place).await;
    let other = place.folder.path().join("identity");
    fs::rename(place.folder.path().join("product"), &other).expect("rename");
    let error =
        Snapshot::open(&place.store, &reinstate::model::ShardName::new("identity"), &manifest.id).await;
    assert_eq!(
        error.map(|_| ()).expect_err("refused").chain(),
        format!(
            "unable to trust snapshot '{0}': its manifest is that of snapshot '{0}' of shard 'product'",
            manifest.id
        )
    );
}

#[tokio::test]
async fn a_damaged_index_is_refused_and_verify_still_reads_the_data() {
    let place = Place::new();
    let manifest = snapshot(&place).await;
    let id = &manifest.id;
    let changed =
        format!("unable to trust snapshot '{id}': file 'tenants.parquet' was changed after it was written");
    place.tamper(id, "tenants.parquet", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    assert_eq!(refusal(&place, &manifest).await.chain(), changed);
    let report = verified(&place, &manifest).await;
    assert_eq!(report.problems, [Problem { file: "tenants.parquet".into(), what: changed, tenants: vec![] }]);

    let cut = manifest.index.bytes - 1;
    place.tamper(id, "tenants.parquet", |bytes| bytes.truncate(cut as usize));
    assert_eq!(
        refusal(&place, &manifest).await.chain(),
        format!(
            "unable to read snapshot '{id}': file 'tenants.parquet' holds {cut} bytes, {} were written",
            manifest.index.bytes
        )
    );
    fs::remove_file(place.file(id, "tenants.parquet")).expect("remove");
    assert_eq!(
        refusal(&place, &manifest).await.chain(),
        format!("unable to read snapshot '{id}': file 'tenants.parquet' is missing")
    );
    assert!(matches!(&list(&place.store, None).await.expect("list")[0].state,
        State::Damaged(what) if what == "file 'tenants.parquet' is missing"));
}

#[tokio::test]
async fn a_missing_or_cut_data_file_is_named_before_it_is_read() {
    let place = Place::new();
    let manifest = snapshot(&place).await;
    let id = &manifest.id;
    let bytes = manifest.tables[0].files[0].bytes;
    let opened = place.open(&manifest).await;
    opened.check_files(&[issues()]).await.expect("sound");
    place.tamper(id, DATA, |bytes| {
        bytes.pop();
    });
    assert_eq!(
        opened.check_files(&[issues()]).await.expect_err("cut").chain(),
        format!(
            "unable to read snapshot '{id}': file '{DATA}' holds {} bytes, {bytes} were written",
            bytes - 1
        )
    );
    let everybody: Vec<TenantId> = opened.index().tenants().cloned().collect();
    let what = format!("it holds {} bytes, {bytes} were written", bytes - 1);
    assert_eq!(
        verified(&place, &manifest).await.problems,
        [Problem { file: DATA.into(), what, tenants: everybody.clone() }]
    );
    fs::remove_file(place.file(id, DATA)).expect("remove");
    assert_eq!(
        opened.check_files(&[issues()]).await.expect_err("missing").chain(),
        format!("unable to read snapshot '{id}': file '{DATA}' is missing")
    );
    let problem = Problem { file: DATA.into(), what: "it is missing".into(), tenants: everybody };
    assert_eq!(verified(&place, &manifest).await.problems, [problem]);
    let reader = SnapshotSource::new(opened);
    let error = reader.scan(&issues(), &Scan::default()).await.expect("scan").try_collect::<Vec<_>>().await;
    let error = error.map(|_| ()).expect_err("missing");
    assert!(
        error.chain().starts_with(&format!("unable to read snapshot '{id}': file '{DATA}' is damaged: "))
    );
    assert_eq!(error.kind(), Kind::Refused);
}

#[tokio::test]
async fn no_flipped_bit_of_the_data_gets_past_verify_and_the_sound_tenants_are_told_from_the_others() {
    let place = Place::new();
    let manifest = snapshot(&place).await;
    let sound = fs::read(place.file(&manifest.id, DATA)).expect("read");
    let opened = place.open(&manifest).await;
    let table = manifest.tables[0].table.clone();
    let mut random = fastrand::Rng::with_seed(11);
    let (mut precise, mut unreadable) = (0, 0);
    for _ in 0..40 {
        let (at, bit) = (random.usize(..sound.len()), random.u8(..8));
        place.tamper(&manifest.id, DATA, |bytes| bytes[at] ^= 1 << bit);
        let report = verified(&place, &manifest).await;
        let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
        assert_eq!(problem.file, DATA);
        precise += usize::from(!problem.tenants.is_empty() && problem.tenants.len() < 20);
        unreadable += usize::from(problem.what.starts_with("it cannot be read"));
        // Those that are said to be sound read right, and those that are said to be rotten do not.
        for site in opened.index().tenants() {
            let reader = SnapshotSource::new(opened.clone());
            let scan = Scan { tenants: Some(vec![site.clone()]), columns: None };
            let batches = reader.scan(&issues(), &scan).await.expect("scan").try_collect::<Vec<_>>().await;
            let found: Option<Fingerprint> = batches.ok().map(|batches| {
                let encoded = batches.iter().map(|batch| reinstate::model::wire::encode(&table, batch));
                encoded.map(|tuples| Fingerprint::of(&tuples.expect("encode"))).sum()
            });
            let is_right = found == Some(opened.index().fingerprint(site, &issues()));
            assert!(is_right || problem.tenants.contains(site), "{at}.{bit}: {site} is rotten: {problem:?}");
        }
        place.tamper(&manifest.id, DATA, |bytes| bytes.clone_from(&sound));
    }
    assert!(precise > 10, "{precise}");
    assert!(unreadable > 0, "{unreadable}");
    assert_eq!(verified(&place, &manifest).await.problems, []);
}

#[tokio::test]
async fn hashes_from_the_source_are_what_verify_compares_with() {
    let mut source = Memory::new();
    source.add_issues(20, 2_000);
    source.falsify_hash(&issues(), 0);
    let owner = source.owner_of_first_row(&issues());
    let place = Place::new();
    let manifest = place.create(&source).await;
    let report = verified(&place, &manifest).await;
    let shared = if owner.is_none() { " (rows without tenant too)" } else { "" };
    let problem = Problem {
        file: DATA.into(),
        what: format!("its rows are not those that were written{shared}"),
        tenants: owner.into_iter().map(TenantId::new).collect(),
    };
    assert_eq!(report.problems, [problem]);
}
