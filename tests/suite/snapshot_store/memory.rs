//! A source whose rows are in memory, a store that counts and fails on demand, and a folder to put snapshots
//! in.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, RecordBatch};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use reinstate::error::Result;
use reinstate::model::wire::{self, Decoder, Tuples};
use reinstate::model::{
    Column, DatabaseIdentity, Fingerprint, HASH_COLUMN, Rule, ShardName, SnapshotId, TENANT_COLUMN, Table,
    TableName, Tenancy, TenantId, TypeKind, row_hash,
};
use reinstate::progress::Silent;
use reinstate::snapshot::{CreateOptions, Manifest, Snapshot, Store, create};
use reinstate::source::{BatchStream, Description, Scan, Source};

/// A row: its owner, and its wire form.
pub type Row = (Option<String>, Vec<u8>);

/// How often each row occurs.
pub type Rows = BTreeMap<Row, usize>;

/// A source whose rows are in memory. It returns all rows, whatever tenants are asked for.
pub struct Memory {
    pub description: Description,
    pub tenancy: Tenancy,
    batches: HashMap<TableName, Vec<RecordBatch>>,
    pub rows: HashMap<TableName, Rows>,
}

pub fn column(name: &str, kind: TypeKind) -> Column {
    Column {
        name: name.into(),
        type_name: kind.to_string(),
        kind,
        not_null: false,
        generated: false,
        has_default: false,
        user_type: None,
    }
}

pub fn table(name: TableName, columns: Vec<Column>, primary_key: &[&str]) -> Table {
    Table {
        columns,
        primary_key: primary_key.iter().map(|name| (*name).to_owned()).collect(),
        ..Table::new(name)
    }
}

/// The tuple of these fields.
pub fn tuple(fields: &[Option<&[u8]>]) -> Vec<u8> {
    let mut out = Tuples::default();
    wire::push_tuple(&mut out, fields);
    out.bytes
}

/// A tuple of the table that [`Memory::add_issues`] adds.
pub fn issue(site: Option<i64>, id: i64, title: &str) -> Vec<u8> {
    let site = site.map(i64::to_be_bytes);
    tuple(&[site.as_ref().map(|site| &site[..]), Some(&id.to_be_bytes()), Some(title.as_bytes())])
}

impl Memory {
    pub fn new() -> Self {
        Self {
            description: Description {
                taken_at: "2026-11-21T08:45:00.123456Z".parse().expect("instant"),
                identity: DatabaseIdentity::Sqlite { path: "/srv/shop.db".into() },
                server_version: "3.50.2".into(),
                position: None,
                tables: vec![],
            },
            tenancy: Tenancy::default(),
            batches: HashMap::new(),
            rows: HashMap::new(),
        }
    }

    pub fn taken_at(mut self, instant: &str) -> Self {
        self.description.taken_at = instant.parse().expect("instant");
        self
    }

    /// Adds a table; `batch_rows` rows a batch.
    pub fn add(&mut self, table: Table, rule: Rule, rows: &[Row], batch_rows: usize) {
        let mut decoder = Decoder::new(Arc::new(table.clone()));
        let mut batches = Vec::new();
        let mut known = Rows::new();
        for row in rows {
            decoder.push(row.0.as_deref(), &row.1).expect("row");
            *known.entry(row.clone()).or_default() += 1;
            if decoder.rows() == batch_rows {
                batches.push(decoder.finish());
            }
        }
        batches.push(decoder.finish());
        self.tenancy.rules.insert(table.name.clone(), rule);
        self.batches.insert(table.name.clone(), batches);
        self.rows.insert(table.name.clone(), known);
        self.description.tables.push(table);
    }

    /// `public.issues`: `count` rows of `sites` sites in no order, every 50th without site; titles of some
    /// length.
    pub fn add_issues(&mut self, sites: i64, count: i64) {
        let columns = vec![
            column("site", TypeKind::Int64),
            column("id", TypeKind::Int64),
            column("title", TypeKind::Text),
        ];
        let mut random = fastrand::Rng::with_seed(42);
        let rows: Vec<Row> = (0..count)
            .map(|id| {
                let site = (id % 50 > 0).then(|| random.i64(0..sites));
                let title: String = (0..random.usize(10..120)).map(|_| random.alphanumeric()).collect();
                (site.map(|site| site.to_string()), issue(site, count - id, &title))
            })
            .collect();
        let rule = Rule::Direct { column: "site".into() };
        self.add(table(issues(), columns, &["id"]), rule, &rows, 500);
    }

    /// Takes the hashes out of the batches, as a source does that has no server.
    pub fn without_hashes(mut self) -> Self {
        for batch in self.batches.values_mut().flatten() {
            let hash = batch.schema().index_of(HASH_COLUMN).expect("hash column");
            batch.remove_column(hash);
        }
        self
    }

    /// Makes the source say that its server sent something else than what is decoded in this row of the first
    /// batch.
    pub fn falsify_hash(&mut self, table: &TableName, row: usize) {
        let batch = &mut self.batches.get_mut(table).expect("table")[0];
        let last = batch.num_columns() - 1;
        let hashes = batch.column(last).as_fixed_size_binary().clone();
        let mut changed: Vec<Vec<u8>> = hashes.iter().flatten().map(<[u8]>::to_vec).collect();
        changed[row][0] ^= 1;
        let changed = FixedSizeBinaryArray::try_from_iter(changed.into_iter()).expect("hashes");
        let mut columns = batch.columns().to_vec();
        columns[last] = Arc::new(changed);
        *batch = RecordBatch::try_new(batch.schema(), columns).expect("batch");
    }

    pub fn owner_of_first_row(&self, table: &TableName) -> Option<String> {
        let owners = self.batches[table][0].column(0).as_string::<i32>();
        (!owners.is_null(0)).then(|| owners.value(0).to_owned())
    }

    pub fn rows_of(&self, table: &TableName, tenant: Option<&str>) -> Rows {
        let rows = self.rows[table].iter().filter(|((owner, _), _)| owner.as_deref() == tenant);
        rows.map(|(row, times)| (row.clone(), *times)).collect()
    }
}

pub fn issues() -> TableName {
    TableName::new("public", "issues")
}

pub fn shard() -> ShardName {
    ShardName::new("product")
}

#[async_trait]
impl Source for Memory {
    fn describe(&self) -> &Description {
        &self.description
    }

    async fn scan(&self, table: &TableName, _scan: &Scan) -> Result<BatchStream> {
        Ok(stream::iter(self.batches[table].clone()).map(Ok).boxed())
    }
}

/// The fingerprint of rows, each counted as often as it occurs.
pub fn fingerprint(rows: &Rows) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    for ((_, tuple), times) in rows {
        (0..*times).for_each(|_| fingerprint.add(row_hash(tuple)));
    }
    fingerprint
}

/// All rows of a stream, in the order they came.
pub async fn collect(table: &Table, batches: BatchStream) -> Vec<Row> {
    let batches: Vec<RecordBatch> = batches.try_collect().await.expect("batches");
    let mut rows = Vec::new();
    for batch in batches {
        let tuples = wire::encode(table, &batch).expect("encode");
        let owners = batch.column_by_name(TENANT_COLUMN).expect("owners").as_string::<i32>();
        rows.extend(tuples.iter().enumerate().map(|(row, tuple)| {
            ((!owners.is_null(row)).then(|| owners.value(row).to_owned()), tuple.to_vec())
        }));
    }
    rows
}

/// Rows as a multiset.
pub fn count(rows: &[Row]) -> Rows {
    let mut counted = Rows::new();
    rows.iter().for_each(|row| *counted.entry(row.clone()).or_default() += 1);
    counted
}

/// A store in a temporary folder, gone with the value.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub store: Store,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path().to_str().expect("text")).expect("store");
        Self { folder, store }
    }

    pub async fn create(&self, source: &Memory) -> Manifest {
        self.create_in(source, 64 << 20).await
    }

    pub async fn create_in(&self, source: &Memory, memory_bytes: usize) -> Manifest {
        let options = CreateOptions { memory_bytes, ..CreateOptions::default() };
        create(&self.store, &shard(), source, &source.tenancy, &options, &Silent).await.expect("create")
    }

    pub async fn open(&self, manifest: &Manifest) -> Snapshot {
        Snapshot::open(&self.store, &shard(), &manifest.id).await.expect("open")
    }

    /// A file of a snapshot.
    pub fn file(&self, id: &SnapshotId, relative: &str) -> PathBuf {
        self.folder.path().join(shard().as_str()).join(id.as_str()).join(relative)
    }

    /// Changes a file in spite of its being read-only.
    pub fn tamper(&self, id: &SnapshotId, relative: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.file(id, relative);
        let mut bytes = std::fs::read(&file).expect("read");
        change(&mut bytes);
        std::fs::remove_file(&file).expect("remove");
        std::fs::write(&file, bytes).expect("write");
    }

    /// Changes the manifest and gives it a checksum that fits, as somebody who means it would.
    pub fn forge(&self, id: &SnapshotId, change: impl FnOnce(&mut Manifest)) {
        self.tamper(id, "manifest.json", |bytes| {
            let mut manifest: Manifest = serde_json::from_slice(bytes).expect("manifest");
            change(&mut manifest);
            manifest.checksum = manifest.checksum_of_content().expect("checksum");
            *bytes = serde_json::to_vec(&manifest).expect("manifest");
        });
    }
}

/// All files below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

pub fn tenant(id: &str) -> TenantId {
    TenantId::new(id)
}

pub fn instant(text: &str) -> Timestamp {
    text.parse().expect("instant")
}

/// A store that counts what it hands out, and whose disk can be full.
#[derive(Debug)]
pub struct Watched {
    inner: LocalFileSystem,
    pub bytes_read: AtomicU64,
    /// Reads of ranges, how many ranges they named, and the bytes of the largest read.
    pub reads: AtomicU64,
    pub ranges: AtomicU64,
    pub bytes_at_once: AtomicU64,
    pub puts_left: AtomicU64,
}

impl Watched {
    pub fn new(folder: &Path) -> Arc<Self> {
        Arc::new(Self {
            inner: LocalFileSystem::new_with_prefix(folder).expect("folder"),
            bytes_read: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            ranges: AtomicU64::new(0),
            bytes_at_once: AtomicU64::new(0),
            puts_left: AtomicU64::new(u64::MAX),
        })
    }

    /// Counts from here.
    pub fn forget(&self) {
        for count in [&self.bytes_read, &self.reads, &self.ranges, &self.bytes_at_once] {
            count.store(0, Ordering::SeqCst);
        }
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watched {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        const ENOSPC: i32 = 28;
        let left =
            self.puts_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            let source = Box::new(std::io::Error::from_raw_os_error(ENOSPC));
            return Err(object_store::Error::Generic { store: "LocalFileSystem", source });
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> object_store::Result<GetResult> {
        let is_head = options.head;
        let found = self.inner.get_opts(location, options).await?;
        if !is_head {
            self.bytes_read.fetch_add(found.range.end - found.range.start, Ordering::SeqCst);
        }
        Ok(found)
    }

    async fn get_ranges(
        &self,
        location: &ObjectPath,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        self.bytes_read.fetch_add(bytes, Ordering::SeqCst);
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.ranges.fetch_add(ranges.len() as u64, Ordering::SeqCst);
        self.bytes_at_once.fetch_max(bytes, Ordering::SeqCst);
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> BoxStream<'static, object_store::Result<ObjectPath>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
