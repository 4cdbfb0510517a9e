//! A shard whose sessions have their triggers off, otherwise the shard that it stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;
use reinstate::error::Result;
use reinstate::model::{ForeignKey, OwnedTable, PlanHash, Table, TenantId, TypeKind, UniqueKey};
use reinstate::shard::{
    Answer, Claim, Climbs, EventRecord, Facts, Hits, JournalEntry, Probe, Question, Rows, Shard, Statistics,
    Tree, Trial, Wanted,
};

/// Turns triggers off as soon as a session begins.
pub struct Quiet(pub Arc<dyn Shard>);

#[async_trait]
impl Shard for Quiet {
    async fn begin(&self, plan: &PlanHash, tenant: &TenantId) -> Result<Claim> {
        let mut claim = self.0.begin(plan, tenant).await?;
        if let Claim::Session(session) = &mut claim {
            session.disable_triggers().await?;
        }
        Ok(claim)
    }

    async fn facts(&self) -> Result<Facts> {
        self.0.facts().await
    }

    async fn statistics(&self, tables: &[Table]) -> Result<Statistics> {
        self.0.statistics(tables).await
    }

    async fn values(&self, wanted: &[Wanted]) -> Result<Vec<Option<Vec<String>>>> {
        self.0.values(wanted).await
    }

    async fn probe(&self, probes: &[Probe], tables: &[Table]) -> Result<Vec<Option<Hits>>> {
        self.0.probe(probes, tables).await
    }

    async fn climb(&self, trees: &[Tree], tables: &[Table]) -> Result<Vec<Option<Climbs>>> {
        self.0.climb(trees, tables).await
    }

    async fn live_rows(&self, table: &OwnedTable, tenants: &[TenantId]) -> Result<BTreeMap<TenantId, u64>> {
        self.0.live_rows(table, tenants).await
    }

    async fn ask(&self, rows: &Rows<'_>, question: &Question<'_>) -> Result<Vec<Answer>> {
        self.0.ask(rows, question).await
    }

    async fn pointing(&self, rows: &Rows<'_>, key: &ForeignKey, parents: &Rows<'_>) -> Result<Vec<usize>> {
        self.0.pointing(rows, key, parents).await
    }

    async fn key_values(&self, rows: &Rows<'_>, key: &UniqueKey) -> Result<Vec<Option<String>>> {
        self.0.key_values(rows, key).await
    }

    async fn trial(&self) -> Result<Option<Box<dyn Trial>>> {
        self.0.trial().await
    }

    async fn read(
        &self,
        table: &OwnedTable,
        tenant: &TenantId,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        self.0.read(table, tenant).await
    }

    async fn refused_values(
        &self,
        of: (&str, TypeKind),
        check: &str,
        values: &[Option<&[u8]>],
    ) -> Result<Vec<usize>> {
        self.0.refused_values(of, check, values).await
    }

    async fn misread_values(&self, type_name: &str, values: &[Option<&[u8]>]) -> Result<Vec<usize>> {
        self.0.misread_values(type_name, values).await
    }

    async fn read_value(&self, type_name: &str, text: &str) -> Result<(TypeKind, Vec<u8>)> {
        self.0.read_value(type_name, text).await
    }

    async fn prepare_journal(&self) -> Result<()> {
        self.0.prepare_journal().await
    }

    async fn journal(&self, plan: &PlanHash) -> Result<Vec<JournalEntry>> {
        self.0.journal(plan).await
    }

    async fn begin_again(&self, tenant: &TenantId) -> Result<Claim> {
        self.0.begin_again(tenant).await
    }

    async fn events(&self, plan: &PlanHash, after: Option<u64>) -> Result<Vec<EventRecord>> {
        self.0.events(plan, after).await
    }

    async fn append(&self, event: &EventRecord) -> Result<bool> {
        self.0.append(event).await
    }

    async fn check(&self, sql: &str, tenant: &TenantId) -> Result<Option<String>> {
        self.0.check(sql, tenant).await
    }
}
