//! Sentences that the tests are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use reinstate::Result;
use reinstate::model::wire::encode;
use reinstate::model::{
    DatabaseUrl, Fingerprint, Link, OwnedTable, PlanHash, Rule, ShardName, SnapshotId, Table, TableName,
    Tenancy, TenantId,
};
use reinstate::shard::{self, Chunk, ChunkStream, Claim, Facts, JournalEntry, Session, Shard, find_table};
use reinstate::source::{Scan, Source, live};

pub fn name(table: &str) -> TableName {
    table.parse().expect("table name")
}

pub fn direct(column: &str) -> Rule {
    Rule::Direct { column: column.into() }
}

pub fn derived(column: &str, parent: &str, parent_column: &str) -> Rule {
    Rule::Derived(Link::new(vec![column.into()], name(parent), vec![parent_column.into()]))
}

pub fn tenancy(rules: &[(&str, Rule)]) -> Tenancy {
    Tenancy {
        rules: rules.iter().map(|(table, rule)| (name(table), rule.clone())).collect::<BTreeMap<_, _>>(),
    }
}

pub fn url(text: &str) -> DatabaseUrl {
    DatabaseUrl::parse(text).expect("url")
}

pub async fn open_shard(database: &str) -> Arc<dyn Shard> {
    shard::open(&ShardName::new("shop"), &url(database), 4).await.expect("open the shard")
}

/// A shard whose sessions have triggers on or off.
pub async fn open_shard_with(database: &str, triggers: bool) -> Arc<dyn Shard> {
    loud_or_quiet(open_shard(database).await, triggers)
}

/// The same shard, its sessions with triggers on or off.
pub fn loud_or_quiet(shard: Arc<dyn Shard>, triggers: bool) -> Arc<dyn Shard> {
    if triggers { shard } else { Arc::new(crate::quiet::Quiet(shard)) }
}

pub async fn open_source(database: &str, tenancy: &Tenancy) -> Box<dyn Source> {
    live::open(&ShardName::new("shop"), &url(database), tenancy, 3).await.expect("open the source")
}

pub fn owned(facts: &Facts, tenancy: &Tenancy, table: &str) -> OwnedTable {
    let path = tenancy.owners(&name(table), &facts.tables).expect("a rule that fits").expect("an owner");
    OwnedTable { table: find_table(facts, &name(table)).expect("the table").clone(), owners: path }
}

pub async fn scan(source: &dyn Source, table: &str, scan: &Scan) -> Vec<RecordBatch> {
    let stream = source.scan(&name(table), scan).await.expect("scan");
    stream.try_collect().await.expect("batches")
}

/// The owners of all rows, in any order.
pub fn owners(batches: &[RecordBatch]) -> Vec<Option<String>> {
    let mut owners: Vec<Option<String>> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_string::<i32>().iter().map(|owner| owner.map(str::to_owned)))
        .collect();
    owners.sort();
    owners
}

pub fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// Batches of a scan as the chunks that a session takes.
pub fn chunks(table: &Table, batches: Vec<RecordBatch>) -> ChunkStream {
    let table = table.clone();
    let chunk = move |batch: RecordBatch| {
        let tuples = encode(&table, &batch).expect("encode");
        let fingerprint = Fingerprint::of(&tuples);
        Ok(Chunk { batch, tuples, fingerprint })
    };
    stream::iter(batches.into_iter().map(chunk).collect::<Vec<Result<Chunk>>>()).boxed()
}

/// What a session should read back of these batches.
pub fn fingerprint(table: &Table, batches: &[RecordBatch]) -> Fingerprint {
    batches.iter().map(|batch| Fingerprint::of(&encode(table, batch).expect("encode"))).sum()
}

pub fn plan() -> PlanHash {
    PlanHash::new("0123456789abcdef")
}

pub async fn session(shard: &dyn Shard, tenant: &str) -> Box<dyn Session> {
    match shard.begin(&plan(), &TenantId::new(tenant)).await.expect("begin") {
        Claim::Session(session) => session,
        Claim::Done(entry) => panic!("done already: {entry:?}"),
        Claim::Held { by } => panic!("held by {by}"),
    }
}

pub fn entry(tenant: &str) -> JournalEntry {
    let now = Timestamp::now();
    JournalEntry {
        plan: plan(),
        tenant: TenantId::new(tenant),
        snapshot: SnapshotId::new("20261121T084500Z-3f9a2c"),
        run: "host 1 2026-11-21".into(),
        rows: 3,
        bytes: 300,
        fingerprint: Fingerprint { rows: 3, sum: u128::MAX - 7 },
        started_at: now,
        recorded_at: now,
        transaction_id: None,
    }
}
