//! What people and machines are shown: progress while it lasts, and text of plans, outcomes and certificates after.
//! Builds values and strings; `cli::output` alone prints.

pub mod audit;
pub mod contacts;
pub mod format;
pub mod html;
pub mod incident;
pub mod lost;
pub mod outside;
pub mod progress;
pub mod sites;
mod table;
pub mod text;

use serde::Serialize;

use crate::approval::Approval;
use crate::plan::ApprovedPlan;
use crate::replay::Outcome;
use crate::verify::certificate::Certificate;

/// The report of a run, as `--json` prints it.
#[derive(Serialize)]
pub struct RunReport<'a> {
    /// The version of this format.
    pub format: u32,
    /// Tenants of the plan.
    pub tenants: usize,
    /// Tenants that are back in every shard.
    pub tenants_back: usize,
    /// Rows this run wrote.
    pub rows_written: u64,
    /// How long the run took.
    pub elapsed_ms: u64,
    /// Why the plan was allowed more tenants than the default.
    pub reason: Option<&'a str>,
    /// Who made the plan.
    pub author: Option<&'a str>,
    /// Who approved it.
    pub approvals: &'a [Approval],
    /// Tenant by tenant.
    pub outcome: &'a Outcome,
    /// What the verification found that was put off till all were back.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub certificates: &'a [Certificate],
}

impl<'a> RunReport<'a> {
    /// The report of `outcome`.
    pub fn new(approved: &'a ApprovedPlan, outcome: &'a Outcome, certificates: &'a [Certificate]) -> Self {
        let plan = approved.plan();
        Self {
            format: 1,
            tenants: plan.tenants.len(),
            tenants_back: outcome.back(),
            rows_written: outcome.rows_written(),
            elapsed_ms: u64::try_from(outcome.elapsed().as_millis()).unwrap_or(u64::MAX),
            reason: plan.reason.as_deref(),
            author: plan.author.as_deref(),
            approvals: approved.approvals(),
            outcome,
            certificates,
        }
    }
}
