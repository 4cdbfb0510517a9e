//! A small shared shard with every shape of tenancy, and the steps of a restore without the engine's policy.
//!
//! ```text
//! sites (root) ◄─ projects (direct, self reference) ◄─ issues (derived, composite key) ◄─ comments (derived)
//! sites        ◄─ history (direct, no primary key)      labels (shared)
//! ```

#![allow(dead_code)] // Each test binary uses its own part.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use futures::{StreamExt, TryStreamExt, stream};
use reinstate::error::Result;
use reinstate::model::wire::encode;
use reinstate::model::{
    Fingerprint, HASH_COLUMN, Link, OwnedTable, PlanHash, Rule, ShardName, SnapshotId, TENANT_COLUMN,
    TableName, Tenancy, TenantId,
};
use reinstate::shard::{self, Chunk, Claim, JournalEntry, Session, Shard};
use reinstate::source::{Scan, Source, live};

use crate::bench::Bench;

/// Owned tables, parents first.
pub const OWNED: [&str; 5] = ["sites", "projects", "issues", "comments", "history"];

const SCHEMA: &str = "
CREATE TABLE sites (id {site} PRIMARY KEY, host TEXT NOT NULL UNIQUE);
CREATE TABLE labels (id {id}, name TEXT NOT NULL);
CREATE TABLE projects (id {id}, site {site} REFERENCES sites (id), name TEXT NOT NULL,
    label {int} REFERENCES labels (id), parent {int} REFERENCES projects (id));
CREATE TABLE issues (project {int} NOT NULL REFERENCES projects (id), number {int} NOT NULL,
    title TEXT, score {real}, data {blob}, PRIMARY KEY (project, number));
CREATE TABLE comments (id {auto}, project {int} NOT NULL, number {int} NOT NULL, body TEXT,
    FOREIGN KEY (project, number) REFERENCES issues (project, number));
CREATE TABLE history (site {site} NOT NULL REFERENCES sites (id), note TEXT);
INSERT INTO labels VALUES (1, 'bug'), (2, 'task');
INSERT INTO projects VALUES (1, NULL, 'template', 1, NULL);
";

/// Rows of one tenant; projects point forward at one of their own, values are awkward.
const TENANT: &str = "
INSERT INTO sites VALUES ({t}, {host});
INSERT INTO projects VALUES ({n}01, {t}, 'parent', 2, NULL);
INSERT INTO projects VALUES ({n}00, {t}, 'child', NULL, {n}01);
INSERT INTO issues VALUES ({n}00, 1, 'it''s', 1.5, {hex:00ff:hex}), ({n}00, 2, NULL, NULL, NULL),
    ({n}01, 1, '', -1e300, {hex::hex}), ({n}01, 9007199254740993, 'grün 雨', 0.1, {hex:5c78:hex});
INSERT INTO comments (id, project, number, body) VALUES ({n}0, {n}00, 1, 'first'), ({n}1, {n}00, 1, 'second'),
    ({n}2, {n}01, 9007199254740993, '\\N');
INSERT INTO history VALUES ({t}, 'seen'), ({t}, 'seen'), ({t}, NULL);
";

/// Three tenants, each with [`TENANT`]'s rows.
pub struct Fixture<B> {
    pub bench: B,
    /// Their ids; the second is the victim of most tests.
    pub tenants: Vec<TenantId>,
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl<B: Bench> Fixture<B> {
    /// Tenants 7, 8 and 9 with integer ids.
    pub async fn numbered(bench: B) -> Self {
        Self::with(bench, "{int}", &["7", "8", "9"]).await
    }

    /// Tenants with these ids as text.
    pub async fn named(bench: B, ids: &[&str]) -> Self {
        Self::with(bench, "TEXT", ids).await
    }

    async fn with(bench: B, site: &str, ids: &[&str]) -> Self {
        bench.run(&SCHEMA.replace("{site}", site)).await;
        for (index, id) in ids.iter().enumerate() {
            let value = if site == "TEXT" { literal(id) } else { (*id).to_owned() };
            let rows = TENANT.replace("{t}", &value).replace("{n}", &(index + 1).to_string());
            bench.run(&rows.replace("{host}", &literal(&format!("host of {id}")))).await;
        }
        Self { bench, tenants: ids.iter().map(|id| TenantId::new(*id)).collect() }
    }

    pub fn victim(&self) -> &TenantId {
        &self.tenants[1]
    }

    pub fn tenancy(&self) -> Tenancy {
        let derived = |columns: &[&str], parent: &str, parent_columns: &[&str]| {
            Rule::Derived(Link::new(
                columns.iter().map(|c| (*c).to_owned()).collect(),
                self.bench.table(parent),
                parent_columns.iter().map(|c| (*c).to_owned()).collect(),
            ))
        };
        let direct = || Rule::Direct { column: "site".to_owned() };
        let rules = [
            ("sites", Rule::Root { key: "id".to_owned(), name: Some("host".to_owned()) }),
            ("labels", Rule::Shared),
            ("projects", direct()),
            ("issues", derived(&["project"], "projects", &["id"])),
            ("comments", derived(&["project", "number"], "issues", &["project", "number"])),
            ("history", direct()),
        ];
        Tenancy { rules: rules.into_iter().map(|(name, rule)| (self.bench.table(name), rule)).collect() }
    }

    pub async fn open(&self) -> Arc<dyn Shard> {
        let shard = shard::open(&ShardName::new("shop"), &self.bench.url(), 3).await.expect("open");
        if self.bench.is_quiet() { Arc::new(crate::quiet::Quiet(shard)) } else { shard }
    }

    pub async fn source(&self) -> Box<dyn Source> {
        self.source_by(&self.tenancy()).await
    }

    async fn source_by(&self, tenancy: &Tenancy) -> Box<dyn Source> {
        live::open(&ShardName::new("shop"), &self.bench.url(), tenancy, 2).await.expect("source")
    }

    /// Reads all owned tables through the live source.
    pub async fn snapshot(&self) -> Snapshot {
        self.snapshot_of(&self.tenancy(), &OWNED).await
    }

    /// Reads these tables through the live source.
    pub async fn snapshot_of(&self, tenancy: &Tenancy, names: &[&str]) -> Snapshot {
        let source = self.source_by(tenancy).await;
        let tables = source.describe().tables.clone();
        let mut snapshot = Snapshot::default();
        for table in names.iter().map(|name| self.bench.table(name)) {
            let path = tenancy.owners(&table, &tables).expect("rule").expect("owned");
            let found = tables.iter().find(|other| other.name == table).expect("table").clone();
            let stream = source.scan(&table, &Scan::default()).await.expect("scan");
            snapshot.batches.insert(table.clone(), stream.try_collect().await.expect("batches"));
            snapshot.tables.push(OwnedTable { table: found, owners: path });
        }
        snapshot
    }

    /// Deletes all rows of the `index`-th tenant, with plain SQL.
    pub async fn delete(&self, index: usize) {
        let site = literal(self.tenants[index].as_str());
        let projects = format!("(SELECT id FROM projects WHERE CAST(site AS TEXT) = {site})");
        let sql = format!(
            "DELETE FROM comments WHERE project IN {projects}; DELETE FROM issues WHERE project IN {projects};
             UPDATE projects SET parent = NULL WHERE CAST(site AS TEXT) = {site};
             DELETE FROM projects WHERE CAST(site AS TEXT) = {site};
             DELETE FROM history WHERE CAST(site AS TEXT) = {site};
             DELETE FROM sites WHERE CAST(id AS TEXT) = {site};"
        );
        self.bench.execute(&sql).await;
    }
}

/// What the live source gave.
#[derive(Default)]
pub struct Snapshot {
    /// Parents first.
    pub tables: Vec<OwnedTable>,
    pub batches: BTreeMap<TableName, Vec<RecordBatch>>,
}

impl Snapshot {
    pub fn table(&self, name: &str) -> &OwnedTable {
        self.tables.iter().find(|owned| owned.table.name.table == name).expect("an owned table")
    }

    /// The rows of one tenant, without their hashes, as chunks of `rows` rows.
    pub fn chunks(&self, owned: &OwnedTable, tenant: &TenantId, rows: usize) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for batch in &self.batches[&owned.table.name] {
            let owners = batch.column_by_name(TENANT_COLUMN).expect("owner").as_string::<i32>();
            let is_ours: BooleanArray =
                owners.iter().map(|owner| Some(owner == Some(tenant.as_str()))).collect();
            let mut ours = filter_record_batch(batch, &is_ours).expect("filtered");
            assert_eq!(ours.schema().fields().last().expect("field").name(), HASH_COLUMN);
            ours.remove_column(ours.num_columns() - 1);
            for first in (0..ours.num_rows()).step_by(rows) {
                let batch = ours.slice(first, rows.min(ours.num_rows() - first));
                let tuples = encode(&owned.table, &batch).expect("encoded");
                let fingerprint = Fingerprint::of(&tuples);
                chunks.push(Chunk { batch, tuples, fingerprint });
            }
        }
        chunks
    }

    /// The fingerprint by the hashes that the source sent along.
    pub fn fingerprint(&self, owned: &OwnedTable, tenant: &TenantId) -> Fingerprint {
        fingerprint(&self.batches[&owned.table.name], tenant)
    }

    /// Writes all rows of a tenant, one row a chunk: the child comes before the parent it references.
    pub async fn write(&self, session: &mut dyn Session, tenant: &TenantId) -> Result<()> {
        for owned in &self.tables {
            let chunks = self.chunks(owned, tenant, 1);
            let rows: usize = chunks.iter().map(|chunk| chunk.tuples.len()).sum();
            let written = session.write(owned, stream::iter(chunks).map(Ok).boxed()).await?;
            assert_eq!(written, rows as u64, "{}", owned.table.name);
        }
        Ok(())
    }

    /// Restores a tenant the way the engine does.
    pub async fn restore(
        &self,
        shard: &dyn Shard,
        plan: &PlanHash,
        tenant: &TenantId,
    ) -> Result<JournalEntry> {
        shard.prepare_journal().await?;
        let mut session = session(shard, plan, tenant).await;
        self.write(session.as_mut(), tenant).await?;
        let recorded = session.record(&entry(plan, tenant)).await?;
        session.commit().await?;
        Ok(recorded)
    }
}

/// The fingerprint of a tenant's rows by their hash column.
pub fn fingerprint(batches: &[RecordBatch], tenant: &TenantId) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    for batch in batches {
        let owners = batch.column_by_name(TENANT_COLUMN).expect("owner").as_string::<i32>();
        let hashes = batch.column_by_name(HASH_COLUMN).expect("hash").as_fixed_size_binary();
        for row in 0..batch.num_rows() {
            if owners.is_valid(row) && owners.value(row) == tenant.as_str() {
                fingerprint.add(u128::from_le_bytes(hashes.value(row).try_into().expect("16 bytes")));
            }
        }
    }
    fingerprint
}

pub fn plan() -> PlanHash {
    PlanHash::new("c0ffee")
}

/// A journal entry with awkward values.
pub fn entry(plan: &PlanHash, tenant: &TenantId) -> JournalEntry {
    JournalEntry {
        plan: plan.clone(),
        tenant: tenant.clone(),
        snapshot: SnapshotId::new("20261121T084500Z-3f9a2c"),
        run: "host 'a' 17".to_owned(),
        rows: 12,
        bytes: u64::from(u32::MAX) + 1,
        fingerprint: Fingerprint { rows: 12, sum: u128::MAX },
        started_at: "2026-11-21T08:45:00.123456Z".parse().expect("time"),
        recorded_at: "2026-11-21T08:45:01Z".parse().expect("time"),
        transaction_id: None,
    }
}

/// Claims a tenant that must be free.
pub async fn session(shard: &dyn Shard, plan: &PlanHash, tenant: &TenantId) -> Box<dyn Session> {
    match shard.begin(plan, tenant).await.expect("begin") {
        Claim::Session(session) => session,
        Claim::Done(entry) => panic!("tenant '{}' is done", entry.tenant),
        Claim::Held { by } => panic!("tenant '{tenant}' is held by {by}"),
    }
}
