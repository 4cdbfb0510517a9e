//! What the drill showed, for someone who has never seen reinstate.

use std::fmt::Write;

use serde::Serialize;

use super::fleet::Fleet;
use super::neighbours::Work;
use super::proof::Proof;
use super::stage::Stage;
use super::{Options, Times, seconds};
use crate::model::TenantId;
use crate::replay::{Outcome, ShardStatus};
use crate::report::format::{bytes, count};
use crate::verify::certificate::Certificate;

/// The incident's best rate in April 2022, tenants an hour (771 sites in three days).
const TENANTS_PER_HOUR_2022: f64 = 10.7;

/// The drill's result.
#[derive(Clone, Debug, Serialize)]
pub struct DrillReport {
    /// The version of this format.
    pub format: u32,
    /// Kind of the databases.
    pub database: String,
    /// Seed of fleet and accident.
    pub seed: u64,
    /// Tenants of the fleet.
    pub tenants: usize,
    /// Rows of the fleet.
    pub rows: u64,
    /// Tenants deleted.
    pub victims: usize,
    /// Rows deleted.
    pub rows_lost: u64,
    /// Whether detection found exactly the victims.
    pub detected_exactly: bool,
    /// Tenants restored, verified before commit.
    pub restored: usize,
    /// Rows restored.
    pub rows_restored: u64,
    /// Bytes restored, in wire form.
    pub bytes_restored: u64,
    /// Tenants that the independent verification found equal.
    pub verified: usize,
    /// Problems of tenants that did not come back.
    pub problems: Vec<String>,
    /// The drill's own comparison.
    pub proof: Proof,
    /// Writes of the neighbours while tenants came back.
    pub neighbour_writes: u64,
    /// The slowest of them, in milliseconds.
    pub neighbour_slowest_ms: u64,
    /// Seconds: building the fleet.
    pub build_s: f64,
    /// Seconds: snapshots of all shards.
    pub snapshot_s: f64,
    /// Seconds: detection.
    pub detect_s: f64,
    /// Seconds: dry run.
    pub plan_s: f64,
    /// Seconds: restore.
    pub apply_s: f64,
    /// Seconds: independent verification.
    pub verify_s: f64,
    /// Where everything is kept, if it is.
    pub kept: Option<String>,
}

/// What the report is made of.
pub(super) struct Facts<'a> {
    pub(super) options: &'a Options,
    pub(super) stage: &'a Stage,
    pub(super) fleet: &'a Fleet,
    pub(super) victims: &'a [TenantId],
    pub(super) rows_built: u64,
    pub(super) rows_lost: u64,
    pub(super) detected: Vec<TenantId>,
    pub(super) outcome: Outcome,
    pub(super) certificates: Vec<Certificate>,
    pub(super) work: Work,
    pub(super) proof: Proof,
    pub(super) times: Times,
}

pub(super) fn assemble(facts: Facts<'_>) -> DrillReport {
    let bytes_of = |status: &ShardStatus| match status {
        ShardStatus::Restored { bytes, .. } => *bytes,
        _ => 0,
    };
    let outcome = &facts.outcome;
    let mut detected = facts.detected;
    detected.sort();
    DrillReport {
        format: 1,
        database: facts.stage.kind().into(),
        seed: facts.options.seed,
        tenants: facts.fleet.sites.len(),
        rows: facts.rows_built,
        victims: facts.victims.len(),
        rows_lost: facts.rows_lost,
        detected_exactly: detected == facts.victims,
        restored: outcome.back(),
        rows_restored: outcome.rows_written(),
        bytes_restored: outcome
            .tenants
            .iter()
            .flat_map(|tenant| &tenant.shards)
            .map(|s| bytes_of(&s.status))
            .sum(),
        verified: facts.certificates.iter().filter(|certificate| certificate.equal).count(),
        problems: outcome
            .tenants
            .iter()
            .filter(|tenant| !tenant.is_back())
            .map(|tenant| tenant.line())
            .collect(),
        proof: facts.proof,
        neighbour_writes: facts.work.writes,
        neighbour_slowest_ms: u64::try_from(facts.work.slowest.as_millis()).unwrap_or(u64::MAX),
        build_s: facts.times.build.as_secs_f64(),
        snapshot_s: facts.times.snapshot.as_secs_f64(),
        detect_s: facts.times.detect.as_secs_f64(),
        plan_s: facts.times.plan.as_secs_f64(),
        apply_s: facts.times.apply.as_secs_f64(),
        verify_s: facts.times.verify.as_secs_f64(),
        kept: None,
    }
}

impl DrillReport {
    /// Whether everything came back and nothing else changed.
    pub fn is_good(&self) -> bool {
        self.detected_exactly
            && self.restored == self.victims
            && self.verified == self.victims
            && self.rows_restored == self.rows_lost
            && self.proof.holds()
    }

    /// From "who is gone?" to the last verified tenant, in seconds.
    pub fn recovery_s(&self) -> f64 {
        self.detect_s + self.plan_s + self.apply_s + self.verify_s
    }
}

/// The report in words.
pub fn text(report: &DrillReport) -> String {
    let time = |value: f64| seconds(std::time::Duration::from_secs_f64(value));
    let mut out = String::new();
    let _ = writeln!(out, "DRILL REPORT ({}, seed {})\n", report.database, report.seed);
    let _ = writeln!(
        out,
        "The fleet       {} tenants in 3 shards (catalogue, identity, product), {} rows; snapshot of all in {}",
        report.tenants,
        count(report.rows),
        time(report.snapshot_s)
    );
    let _ = writeln!(
        out,
        "The accident    one script hard-deleted {} tenants: {} rows gone; the others went on writing",
        report.victims,
        count(report.rows_lost)
    );
    let _ = writeln!(
        out,
        "Who was gone    found by comparing the live shards with the snapshot: {}",
        if report.detected_exactly { "exactly the deleted tenants" } else { "NOT the deleted tenants" }
    );
    let _ = writeln!(
        out,
        "What came back  {} of {} tenants, {} rows, {}, each read back and compared before its commit",
        report.restored,
        report.victims,
        count(report.rows_restored),
        bytes(report.bytes_restored)
    );
    for problem in &report.problems {
        let _ = writeln!(out, "                {problem}");
    }
    out.push('\n');
    proof_text(&mut out, report);
    let _ = writeln!(
        out,
        "\nRecovery time   {} from \"who is gone?\" to the last verified tenant:",
        time(report.recovery_s())
    );
    let _ = writeln!(
        out,
        "                detect {}, plan {}, restore {}, verify {}",
        time(report.detect_s),
        time(report.plan_s),
        time(report.apply_s),
        time(report.verify_s)
    );
    let per_hour = report.restored as f64 / report.recovery_s().max(0.001) * 3600.0;
    let _ = writeln!(
        out,
        "                {} tenants an hour at this size; the incident of 2022 managed {TENANTS_PER_HOUR_2022:.1} (of far larger ones)",
        count(per_hour as u64)
    );
    if let Some(kept) = &report.kept {
        let _ = writeln!(
            out,
            "\nEverything is kept in {kept}: try `reinstate -c {kept}/reinstate.toml status {kept}/plan.json`"
        );
    }
    let _ = write!(
        out,
        "\n{}",
        if report.is_good() {
            "GOOD: everything is back, nothing else changed."
        } else {
            "NOT GOOD: see above."
        }
    );
    out
}

fn proof_text(out: &mut String, report: &DrillReport) {
    let proof = &report.proof;
    let _ = writeln!(out, "Proof, by plain SQL outside the engine:");
    let _ = match proof.victims_differ.as_slice() {
        [] => writeln!(
            out,
            "  the restored    {} rows are those of just before the accident, in every column",
            count(proof.victim_rows)
        ),
        tables => writeln!(out, "  the restored    DIFFER from before the accident in {}", tables.join(", ")),
    };
    let _ = match proof.neighbours_differ.as_slice() {
        [] => writeln!(
            out,
            "  the neighbours  {} rows equal a mirror that never saw the restore and got the same writes",
            count(proof.neighbour_rows)
        ),
        tables => writeln!(out, "  the neighbours  DIFFER from the mirror in {}", tables.join(", ")),
    };
    let _ = writeln!(
        out,
        "                  {} writes of theirs while tenants came back, the slowest took {} ms",
        count(report.neighbour_writes),
        report.neighbour_slowest_ms
    );
    let _ = writeln!(
        out,
        "  second look     {} of {} tenants found equal to the snapshot by the independent verification",
        report.verified, report.victims
    );
}
