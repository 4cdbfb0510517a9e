//! What the drill showed, for someone who has never seen reinstate.

use std::fmt::Write;

use serde::Serialize;

use super::chaos::Chaos;
use super::neighbours::Work;
use super::proof::Proof;
use super::rescue::Rescue;
use super::score::Score;
use super::tables::SHARDS;
use super::{Lost, Scene, Times, seconds};
use crate::report::format::{bytes, count};
use crate::workflow::{Site, State, StepState};

/// The drill's result.
#[derive(Clone, Debug, Serialize)]
pub struct DrillReport {
    /// The version of this format.
    pub format: u32,
    /// Whether everything came back and nothing else changed.
    pub good: bool,
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
    /// Media files deleted.
    pub files_lost: u64,
    /// Feature flags deleted.
    pub flags_lost: u64,
    /// Whether detection found exactly the victims.
    pub detected_exactly: bool,
    /// Tenants restored with all their steps, and served.
    pub restored: usize,
    /// Tenants that their contacts have signed off.
    pub signed_off: usize,
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
    /// What the drill is about.
    pub score: Score,
    /// What was done to the engine and the databases meanwhile.
    pub chaos: Option<Chaos>,
    /// Seconds: building the fleet.
    pub build_s: f64,
    /// Seconds: snapshots of all shards.
    pub snapshot_s: f64,
    /// Seconds: detection.
    pub detect_s: f64,
    /// Seconds: dry run and approvals.
    pub plan_s: f64,
    /// Seconds: restore.
    pub apply_s: f64,
    /// Seconds: independent verification.
    pub verify_s: f64,
    /// Where everything is kept, if it is.
    pub kept: Option<String>,
    /// How to stop the servers that were left running.
    pub to_stop: Vec<String>,
}

/// What the report is made of.
pub(super) struct Facts {
    pub(super) rows_built: u64,
    pub(super) lost: Lost,
    pub(super) rescued: Rescue,
    pub(super) work: Work,
    pub(super) proof: Proof,
    pub(super) times: Times,
}

pub(super) fn assemble(scene: &Scene<'_>, facts: Facts) -> DrillReport {
    let Facts { rows_built, lost, rescued, work, proof, times } = facts;
    let mut detected = rescued.detected;
    detected.sort();
    let sites = &rescued.standing.sites;
    let journalled = || rescued.standing.journals.iter().flat_map(|(_, entries)| entries);
    let mut report = DrillReport {
        format: 2,
        good: false,
        database: scene.stage.kind().into(),
        seed: scene.options.seed,
        tenants: scene.options.tenants,
        rows: rows_built,
        victims: scene.victims.len(),
        rows_lost: lost.rows,
        files_lost: lost.files,
        flags_lost: lost.flags,
        detected_exactly: detected == scene.victims,
        restored: sites.iter().filter(|site| site.state >= State::Open).count(),
        signed_off: sites.iter().filter(|site| site.state == State::Accepted).count(),
        rows_restored: journalled().map(|entry| entry.rows).sum(),
        bytes_restored: journalled().map(|entry| entry.bytes).sum(),
        verified: rescued.certificates.iter().filter(|certificate| certificate.equal).count(),
        problems: sites.iter().filter_map(problem).collect(),
        score: Score::new(rescued.begun_at, sites, &rescued.standing.events, work),
        chaos: rescued.chaos,
        proof,
        build_s: times.build.as_secs_f64(),
        snapshot_s: times.snapshot.as_secs_f64(),
        detect_s: times.detect.as_secs_f64(),
        plan_s: times.plan.as_secs_f64(),
        apply_s: times.apply.as_secs_f64(),
        verify_s: times.verify.as_secs_f64(),
        kept: None,
        to_stop: vec![],
    };
    report.good = report.is_good();
    report
}

/// Why a site is not served.
fn problem(site: &Site) -> Option<String> {
    if site.state >= State::Open {
        return None;
    }
    let failed = site.steps.iter().find_map(|(name, state)| match state {
        StepState::Failed { problem, .. } => Some(format!(", step '{name}': {problem}")),
        _ => None,
    });
    Some(format!("site {} is {}{}", site.tenant, site.state.name(), failed.unwrap_or_default()))
}

impl DrillReport {
    /// Whether everything came back and nothing else changed.
    pub fn is_good(&self) -> bool {
        let all = [self.restored, self.signed_off, self.verified];
        self.detected_exactly
            && all.iter().all(|count| *count == self.victims)
            && self.rows_restored == self.rows_lost
            && self.proof.holds()
    }
}

/// The report in words.
pub fn text(report: &DrillReport) -> String {
    let time = |value: f64| seconds(std::time::Duration::from_secs_f64(value));
    let mut out = format!("DRILL REPORT ({}, seed {})\n\n", report.database, report.seed);
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "{name:<16}{text}");
    };
    line(
        "The fleet",
        format!(
            "{} sites in {} shards (catalogue, identity, two products), {} rows; media files; a service of feature flags",
            report.tenants,
            SHARDS.len(),
            count(report.rows),
        ),
    );
    line(
        "The accident",
        format!(
            "one script deleted {} sites everywhere: {} rows, {} files, {} flags; the others went on working",
            report.victims,
            count(report.rows_lost),
            count(report.files_lost),
            count(report.flags_lost)
        ),
    );
    let found = if report.detected_exactly { "exactly the deleted sites" } else { "NOT the deleted sites" };
    line("Who was gone", format!("found by comparing the live shards with the snapshots: {found}"));
    line(
        "What came back",
        format!(
            "{} of {} sites, {} rows, {}, each read back and compared before its commit; behind closed gates until whole",
            report.restored,
            report.victims,
            count(report.rows_restored),
            bytes(report.bytes_restored)
        ),
    );
    for problem in &report.problems {
        line("", problem.clone());
    }
    line("Who said so", "the plan was signed by two others than its author".to_owned());
    line("", format!("{} of {} sites were signed off by their contacts", report.signed_off, report.victims));
    if let Some(chaos) = &report.chaos {
        let Chaos { runs, kills, crashes } = chaos;
        let text =
            format!("apply was killed {kills} times, databases crashed {crashes} times; {runs} starts");
        line("Chaos", text);
    }
    line(
        "Time",
        format!(
            "snapshots {}; detect {}, plan {}, restore {}, verify {}",
            time(report.snapshot_s),
            time(report.detect_s),
            time(report.plan_s),
            time(report.apply_s),
            time(report.verify_s)
        ),
    );
    out.push('\n');
    proof_text(&mut out, report);
    out.push('\n');
    report.score.text(&mut out);
    ending(&mut out, report);
    out
}

fn ending(out: &mut String, report: &DrillReport) {
    if let Some(kept) = &report.kept {
        let _ = writeln!(
            out,
            "\nEverything is kept in {kept}: try `reinstate -c {kept}/reinstate.toml status {kept}/plan.json`"
        );
        for line in &report.to_stop {
            let _ = writeln!(out, "a server of the drill goes on running: {line}");
        }
    }
    let verdict = match report.good {
        true => "GOOD: everything is back, nothing else changed.",
        false => "NOT GOOD: see above.",
    };
    let _ = write!(out, "\n{verdict}");
}

fn proof_text(out: &mut String, report: &DrillReport) {
    let proof = &report.proof;
    let _ = writeln!(out, "Proof, by plain SQL and file hashes outside the engine:");
    let mut line = |name: &str, good: String, differ: &[String]| {
        let _ = match differ {
            [] => writeln!(out, "  {name:<16}{good}"),
            those => writeln!(out, "  {name:<16}WRONG: {}", those.join(", ")),
        };
    };
    line(
        "the restored",
        format!("{} rows are those of just before the accident, in every column", count(proof.victim_rows)),
        &proof.victims_differ,
    );
    line(
        "the neighbours",
        format!(
            "{} rows equal a mirror that never saw the restore and got the same writes",
            count(proof.neighbour_rows)
        ),
        &proof.neighbours_differ,
    );
    line(
        "files",
        format!(
            "{} restored and {} of neighbours, byte by byte",
            count(proof.victim_files),
            count(proof.neighbour_files)
        ),
        &proof.files_differ,
    );
    line("flags", "as before the accident, each site's put back once".to_owned(), &proof.flags_differ);
    line(
        "gates",
        "no neighbour was kept off, no site was served before it was whole".to_owned(),
        &proof.gates,
    );
    let second = format!("{} of {} sites found equal to the snapshot", report.verified, report.victims);
    line("second look", second, &[]);
}
