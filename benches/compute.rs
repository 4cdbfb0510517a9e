//! What the engine itself computes between the databases and the store: `cargo bench --bench compute`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use jiff::Timestamp;
use reinstate::extract::filter::of_tenant;
use reinstate::extract::prune::prune;
use reinstate::model::wire::{Decoder, Tuples, encode, push_tuple};
use reinstate::model::{
    Column, DatabaseIdentity, Fingerprint, Rule, ShardName, SnapshotId, Table, TableName, Tenancy, TenantId,
    TypeKind, row_hash,
};
use reinstate::plan::drift::{Declared, Dialect, Values, compare};
use reinstate::plan::{self, Course, Findings, Request, ShardFindings, TableDrift, TenantTable};
use reinstate::workflow::Workflow;

fn main() {
    divan::main();
}

const ROWS: i64 = 8_192;
const TENANTS: i64 = 16;

fn column(name: &str, kind: TypeKind) -> Column {
    let type_name = kind.to_string();
    let name = name.to_owned();
    Column { name, type_name, kind, not_null: false, generated: false, has_default: false, user_type: None }
}

/// A table of common types: about 200 bytes a row.
fn table() -> Table {
    let columns = [
        ("id", TypeKind::Int64),
        ("site", TypeKind::Uuid),
        ("project", TypeKind::Int64),
        ("assignee", TypeKind::Int64),
        ("priority", TypeKind::Int16),
        ("title", TypeKind::Text),
        ("points", TypeKind::Opaque),
        ("created", TypeKind::TimestampTz),
        ("custom", TypeKind::Jsonb),
    ];
    Table {
        columns: columns.into_iter().map(|(name, kind)| column(name, kind)).collect(),
        primary_key: vec!["id".into()],
        ..Table::new(TableName::new("public", "tasks"))
    }
}

fn tenant(number: i64) -> TenantId {
    TenantId::new(format!("{number:032x}"))
}

fn tuples() -> Tuples {
    let mut tuples = Tuples::default();
    for row in 0..ROWS {
        let (id, site) = (row.to_be_bytes(), i128::from(row % TENANTS).to_be_bytes());
        let title = format!("the quick brown fox jumps over the lazy dog for the {row}th time");
        let custom = format!("\x01{{\"cycle\": {row}, \"reference\": \"0123456789abcdef\"}}");
        let assignee = (row % 10 < 7).then_some(&id[..]);
        let priority = 3i16.to_be_bytes();
        push_tuple(
            &mut tuples,
            &[
                Some(&id),
                Some(&site),
                Some(&id),
                assignee,
                Some(&priority),
                Some(title.as_bytes()),
                Some(&[0, 1, 0, 0, 0, 0, 0, 2, 0, 42]),
                Some(&id),
                Some(custom.as_bytes()),
            ],
        );
    }
    tuples
}

fn decode(table: &Arc<Table>, tuples: &Tuples) -> RecordBatch {
    let mut decoder = Decoder::new(Arc::clone(table));
    for (row, tuple) in tuples.iter().enumerate() {
        let owner = tenant(row as i64 % TENANTS);
        decoder.push(Some(owner.as_str()), tuple).expect("a tuple of the table");
    }
    decoder.finish()
}

/// PostgreSQL's rows to Arrow and their hashes: what `snapshot create` does with each row.
#[divan::bench]
fn decode_rows(bencher: Bencher) {
    let (table, tuples) = (Arc::new(table()), tuples());
    bencher.counter(BytesCount::new(tuples.bytes.len())).bench_local(|| decode(&table, black_box(&tuples)));
}

/// The rows of one tenant out of sixteen.
#[divan::bench]
fn filter_rows(bencher: Bencher) {
    let batch = decode(&Arc::new(table()), &tuples());
    let wanted = tenant(3);
    bencher
        .counter(ItemsCount::new(batch.num_rows()))
        .with_inputs(|| batch.clone())
        .bench_local_values(|batch| of_tenant(batch, &wanted).expect("a batch with owners"));
}

/// Arrow to PostgreSQL's binary rows: what `apply` does with each row.
#[divan::bench]
fn encode_rows(bencher: Bencher) {
    let (table, tuples) = (Arc::new(table()), tuples());
    let batch = decode(&table, &tuples);
    assert_eq!(encode(&table, &batch).expect("a batch of the table").bytes, tuples.bytes);
    bencher
        .counter(BytesCount::new(tuples.bytes.len()))
        .bench_local(|| encode(&table, black_box(&batch)).expect("a batch of the table"));
}

/// The hashes of encoded rows.
#[divan::bench]
fn fingerprint_rows(bencher: Bencher) {
    let tuples = tuples();
    bencher.counter(BytesCount::new(tuples.bytes.len())).bench_local(|| Fingerprint::of(black_box(&tuples)));
}

/// The row groups that hold every tenth of ten thousand tenants.
#[divan::bench]
fn prune_row_groups(bencher: Bencher) {
    let wanted: Vec<_> = (0..1_000u64).map(|at| at * 10_000..at * 10_000 + 1_000).collect();
    let row_groups = vec![65_536u64; 160];
    bencher.bench_local(|| prune(black_box(&wanted), black_box(&row_groups)));
}

/// The plan of so many tenants with rows in so many tables.
#[divan::bench(args = [(10, 50), (400, 50), (1_000, 13)])]
fn make_plan(bencher: Bencher, (tenants, tables): (usize, usize)) {
    let (request, findings) = (request(tenants), findings(tenants, tables));
    let workflow = Workflow::default();
    let course = Course::default();
    let settings = plan::Settings { approvals: None, workflow: &workflow, course: &course, hash: "" };
    bencher.with_inputs(|| findings.clone()).bench_local_values(|findings| {
        plan::make(&request, findings, &settings, Timestamp::UNIX_EPOCH).expect("a plan")
    });
}

fn request(tenants: usize) -> Request {
    Request {
        tenants: (0..tenants as i64).map(tenant).collect(),
        tenants_max: tenants,
        reason: Some("benchmark".into()),
        ..Request::default()
    }
}

fn findings(tenants: usize, tables: usize) -> Findings {
    let shard = ShardName::new("bench");
    let named = |number: usize| TableName::new("public", format!("table_{number:02}"));
    let all: Vec<Table> = (0..tables).map(|number| Table { name: named(number), ..table() }).collect();
    let rule = |number: usize| match number {
        0 => Rule::Root { key: "site".into(), name: None },
        _ => Rule::Direct { column: "site".into() },
    };
    let rules = Tenancy { rules: (0..tables).map(|number| (named(number), rule(number))).collect() };
    let fingerprint = Fingerprint { rows: 1, sum: row_hash(b"row") };
    let rows = |number| TenantTable {
        table: named(number),
        rows: 1,
        bytes: 200,
        fingerprint,
        adapted: None,
        live_rows: 0,
        left: 0,
        settled: None,
        queued: BTreeMap::new(),
    };
    let ids = || (0..tenants as i64).map(tenant);
    let database = DatabaseIdentity::Sqlite { path: "bench.db".into() };
    let unchanged =
        |table: &Table| compare(table, Some(table), &Declared::default(), &Values::new(), Dialect::Sqlite);
    let drift = all
        .iter()
        .map(|table| (table.name.clone(), TableDrift { drift: unchanged(table), ..Default::default() }))
        .collect();
    let found = ShardFindings {
        name: shard.clone(),
        store: "file:///store".into(),
        snapshot: SnapshotId::new("19700101T000000Z-000000"),
        manifest: String::new(),
        taken_at: Timestamp::UNIX_EPOCH,
        taken_from: database.clone(),
        taken_rules: rules.clone(),
        taken_tables: all.clone(),
        rules,
        live: database,
        live_tables: all,
        obstacles: BTreeMap::new(),
        warnings: Vec::new(),
        drift,
        renamed: BTreeMap::new(),
        gone: BTreeMap::new(),
        triggers_stay_on: None,
        unlockable: Default::default(),
        undeletable: BTreeMap::new(),
        queues: Vec::new(),
        materialized: BTreeMap::new(),
        policies: Default::default(),
        repair: None,
        standings: Default::default(),
        contents: ids().map(|id| (id, (0..tables).map(rows).collect())).collect(),
    };
    Findings {
        shards: vec![found],
        root_shard: shard,
        names: ids().map(|id| (id, None)).collect(),
        other_kinds: BTreeMap::new(),
        priorities: BTreeMap::new(),
    }
}
