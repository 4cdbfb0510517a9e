//! The story of a restore.
//!
//! ```text
//! Request ─► Plan ─► ApprovedPlan ─► Outcome ─► Verdict ─► Report
//!   dry_run()    │         restore()                 prove()
//!                └─ a person reads it
//! ```
//!
//! Each stage takes the result of the one before, and can be had in no other way: replay wants an approved plan,
//! and only the rails approve; a commit wants an equal verdict (unless that was put off), and only verification
//! gives one.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::config::Config;
use crate::connect::Connected;
use crate::error::Result;
use crate::memory::{Memory, Share};
use crate::model::OwnedTable;
use crate::plan::{self, ApprovedPlan, Plan, Request, ShardPlan, TenantPlan, TenantShard, TenantTable};
use crate::progress::Progress;
use crate::replay::{self, Outcome};
use crate::snapshot::Store;
use crate::survey::{Pick, Survey};
use crate::verify::certificate::{CERTIFICATE_FORMAT, Certificate, ShardCertificate};
use crate::verify::{Expected, independent};
use crate::workflow;

/// What would be restored? Reads the snapshots and the live shards, writes nothing.
pub async fn dry_run(
    config: &Config,
    store: &Store,
    pick: &Pick,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Plan> {
    plan::rails::check_approvable(request, config.approvals.as_ref())?;
    let survey = Survey::open(config, store, pick, request.memory).await?;
    let findings = survey.findings(request, progress).await?;
    let settings = plan::Settings {
        approvals: config.approvals.as_ref(),
        workflow: &config.workflow,
        course: &config.course,
        hash: &config.hash,
    };
    plan::make(request, findings, &settings, Timestamp::now())
}

/// Restores what was planned and approved, site by site, each part verified before its commit. Can be run again at any
/// time, from any machine: the shards' journals and events know what is done.
pub async fn restore(
    config: &Config,
    approved: &ApprovedPlan,
    options: &replay::Options,
    progress: Arc<dyn Progress>,
) -> Result<Outcome> {
    plan::rails::check_unchanged(approved.plan(), &config.hash)?;
    let jobs = fitting(options.jobs, options.memory, progress.as_ref());
    // One connection more, for what is said to the run and what it says.
    let connected = Connected::open(config, approved.plan(), jobs + 1).await?;
    let options = replay::Options { jobs, ..options.clone() };
    workflow::conduct(approved, &connected, &options, progress).await
}

/// As many tenants at a time as the memory is enough for.
fn fitting(jobs: usize, memory: Memory, progress: &dyn Progress) -> usize {
    let fitting = memory.jobs(jobs);
    if fitting < jobs {
        progress.note(&format!("tenants at a time: {fitting} instead of {jobs}, which need more --memory"));
    }
    fitting
}

/// Looks a second time, independently of everything that wrote: a certificate for each tenant of the plan that is
/// `wanted`, `jobs` at a time.
pub async fn prove(
    config: &Config,
    plan: &Plan,
    wanted: impl Fn(&TenantPlan) -> bool,
    jobs: usize,
    memory: Memory,
    progress: &dyn Progress,
) -> Result<Vec<Certificate>> {
    let jobs = fitting(jobs, memory, progress);
    let share = memory.share(jobs);
    let connected = Connected::open(config, plan, jobs).await?;
    let tenants: Vec<&TenantPlan> = plan.tenants.iter().filter(|tenant| wanted(tenant)).collect();
    progress.begin("verifying", Some(tenants.iter().map(|tenant| tenant.rows()).sum()));
    let connected = &connected;
    let certificates = stream::iter(tenants)
        .map(|tenant| async move {
            let certificate = certify(connected, plan, tenant, share, progress).await?;
            progress.note(&format!(
                "tenant {}: {}",
                tenant.label(),
                if certificate.equal { "equal to the snapshot" } else { "DIFFERS from the snapshot" }
            ));
            Ok(certificate)
        })
        .buffered(jobs.max(1))
        .try_collect()
        .await?;
    progress.finish();
    Ok(certificates)
}

async fn certify(
    connected: &Connected,
    plan: &Plan,
    tenant: &TenantPlan,
    share: Share,
    progress: &dyn Progress,
) -> Result<Certificate> {
    let mut shards = Vec::with_capacity(plan.shards.len());
    for planned in &plan.shards {
        let there = connected.get(&planned.name)?;
        let part = tenant.shards.iter().find(|part| part.shard == planned.name);
        // Every table of the plan, also those in which the tenant had no row.
        let tables: Vec<_> = planned.tables.iter().map(|owned| expected(planned, part, owned)).collect();
        let (source, shard) = (there.source.as_ref(), there.shard.as_ref());
        let verdict =
            independent(source, shard, &tables, &tenant.id, share, progress).await.map_err(|error| {
                error.within(format!(
                    "unable to verify tenant '{}' in shard '{}'",
                    tenant.label(),
                    planned.name
                ))
            })?;
        let (shard, snapshot) = (planned.name.clone(), planned.snapshot.clone());
        shards.push(ShardCertificate { shard, snapshot, restore_point: planned.taken_at, verdict });
    }
    Ok(Certificate {
        format: CERTIFICATE_FORMAT,
        tenant: tenant.id.clone(),
        name: tenant.name.clone(),
        plan: plan.hash.clone(),
        verified_at: Timestamp::now(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        equal: shards.iter().all(|shard| shard.verdict.is_equal()),
        shards,
    })
}

/// What a tenant, whose part of the plan this is, is to have in one table.
fn expected<'a>(planned: &'a ShardPlan, part: Option<&TenantShard>, owned: &'a OwnedTable) -> Expected<'a> {
    let name = &owned.table.name;
    let rows = part.and_then(|part| part.tables.iter().find(|rows| rows.table == *name));
    Expected {
        owned,
        adaptation: planned.adaptations.get(name),
        taken: rows.map(|rows| rows.fingerprint).unwrap_or_default(),
        shaped: rows.map(TenantTable::shaped).unwrap_or_default(),
        live: rows.map(TenantTable::expected).unwrap_or_default(),
        left: rows.map(|rows| rows.left).unwrap_or_default(),
    }
}
