//! What reading costs: bytes and requests, counted by the store, so that the figures are the same everywhere.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::TryStreamExt;
use reinstate::extract::tenant_rows;
use reinstate::limits::{DATA_FILE_BYTES_MAX, ROW_GROUPS_OF_A_PART};
use reinstate::model::{Chunk, Rule, TypeKind};
use reinstate::progress::Silent;
use reinstate::snapshot::{CreateOptions, Manifest, Snapshot, Store, create};
use reinstate::source::snapshot_store::SnapshotSource;

use super::memory::*;

/// A snapshot in a store that counts.
struct Counted {
    _folder: tempfile::TempDir,
    watched: Arc<Watched>,
    manifest: Manifest,
    reader: SnapshotSource,
}

impl Counted {
    async fn new(source: &Memory) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let watched = Watched::new(folder.path());
        let store = Store::over(watched.clone(), "file:///backup");
        let options = CreateOptions::default();
        let manifest =
            create(&store, &shard(), source, &source.tenancy, &options, &Silent).await.expect("create");
        let reader = SnapshotSource::new(Snapshot::open(&store, &shard(), &manifest.id).await.expect("open"));
        watched.forget();
        Self { _folder: folder, watched, manifest, reader }
    }

    /// Reads all rows of a tenant.
    async fn read(&self, id: &str) -> usize {
        let mut rows = 0;
        for entry in &self.manifest.tables {
            let chunks = tenant_rows(&self.reader, &entry.table, &tenant(id)).await.expect("rows");
            let chunks: Vec<Chunk> = chunks.try_collect().await.expect("chunks");
            rows += chunks.iter().map(|chunk| chunk.tuples.len()).sum::<usize>();
        }
        rows
    }

    /// The tenants' share of the data files, by the size of their rows.
    fn share(&self, ids: &[String]) -> f64 {
        let index = self.reader.snapshot().index();
        let of = |id: &String| index.of_tenant(&tenant(id)).iter().map(|entry| entry.bytes).sum::<u64>();
        let total: u64 = index.entries().iter().map(|entry| entry.bytes).sum();
        let files: u64 =
            self.manifest.tables.iter().flat_map(|entry| &entry.files).map(|file| file.bytes).sum();
        files as f64 * ids.iter().map(of).sum::<u64>() as f64 / total as f64
    }

    fn bytes_read(&self) -> u64 {
        self.watched.bytes_read.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn tenants_cost_little_more_than_their_share_of_the_files() {
    let mut source = Memory::new();
    source.add_issues(100, 50_000);
    let counted = Counted::new(&source).await;
    // One tenant in ten, spread over the file: the footer and offset index are shared by ten of them.
    let ids: Vec<String> = (0..100).step_by(10).map(|id: i32| id.to_string()).collect();
    let mut rows = 0;
    for id in &ids {
        rows += counted.read(id).await;
    }
    let expected: usize = ids.iter().flat_map(|id| source.rows_of(&issues(), Some(id)).into_values()).sum();
    assert_eq!(rows, expected);
    let ratio = counted.bytes_read() as f64 / counted.share(&ids);
    assert!(ratio <= 1.2, "{ratio}");
}

#[tokio::test]
async fn a_file_is_opened_once_and_a_tenant_is_one_request() {
    let mut source = Memory::new();
    source.add_issues(100, 50_000);
    let counted = Counted::new(&source).await;
    // Side by side, as jobs do.
    let rows = futures::join!(counted.read("7"), counted.read("8"), counted.read("9"));
    assert!(rows.0 > 0 && rows.1 > 0 && rows.2 > 0);
    let requests = counted.watched.reads.load(Ordering::SeqCst);
    // The end of the file, its offset index if that is longer, and one of each tenant.
    assert!(requests <= 5, "{requests}");
    counted.watched.forget();
    counted.read("50").await;
    assert_eq!(counted.watched.reads.load(Ordering::SeqCst), 1);
    // A page of each of four columns.
    assert_eq!(counted.watched.ranges.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_small_file_is_read_once_and_whole() {
    let mut source = Memory::new();
    source.add_issues(4, 60);
    let counted = Counted::new(&source).await;
    for id in ["0", "1", "2", "3", "1"] {
        assert!(counted.read(id).await > 0);
    }
    let files: u64 = counted.manifest.tables[0].files.iter().map(|file| file.bytes).sum();
    assert_eq!((counted.watched.reads.load(Ordering::SeqCst), counted.bytes_read()), (1, files));
}

#[tokio::test]
async fn what_is_fetched_at_once_does_not_grow_with_the_tenant() {
    let columns =
        vec![column("site", TypeKind::Int64), column("id", TypeKind::Int64), column("body", TypeKind::Text)];
    let mut random = fastrand::Rng::with_seed(7);
    let mut body = || (0..8_000).map(|_| random.alphanumeric()).collect::<String>();
    let rows: Vec<Row> = (0..3_000).map(|id| (Some("1".into()), issue(Some(1), id, &body()))).collect();
    let mut source = Memory::new();
    source.add(table(issues(), columns, &["id"]), Rule::Direct { column: "site".into() }, &rows, 100);
    let counted = Counted::new(&source).await;
    assert_eq!(counted.read("1").await, 3_000);
    let largest = counted.watched.bytes_at_once.load(Ordering::SeqCst);
    assert!(largest <= (DATA_FILE_BYTES_MAX / ROW_GROUPS_OF_A_PART) as u64, "{largest}");
    // All of it is the tenant's, so that it comes in one piece a row group.
    assert!(counted.bytes_read() > 2 * largest && counted.watched.ranges.load(Ordering::SeqCst) < 10);
}
