//! Plans, outcomes, certificates and snapshots in words and tables.

use std::fmt::Write;

use super::format::{bytes, count};
use super::sites;
use super::table::table;
use crate::model::{SnapshotId, TenantId};
use crate::plan::{Constraints, Plan, Prover, Repaired, TenantPlan, TenantShard};
use crate::replay::{Outcome, ShardStatus, TenantOutcome};
use crate::snapshot::{Manifest, PruneReport, State, Summary, VerifyReport};
use crate::survey::{Damage, DamagedTenant};
use crate::verify::certificate::Certificate;

/// Tenants of a plan that are shown table by table; more are shown shard by shard unless asked for.
const DETAILED_TENANTS_MAX: usize = 10;
/// Failures that are shown in full.
const PROBLEMS_SHOWN_MAX: usize = 20;

/// A plan for the person who has to approve it.
pub fn plan(plan: &Plan, detail: bool) -> String {
    let mut out = String::new();
    let tenants = plan.tenants.len();
    let kind = if plan.repair.is_some() { "Repair plan" } else { "Plan" };
    let _ = writeln!(out, "{kind} {}", plan.hash);
    if let Some(reason) = &plan.reason {
        let _ = writeln!(out, "Reason: {reason}");
    }
    if plan.approvals_min > 0 {
        let (needed, author) = (plan.approvals_min, plan.author.as_deref().unwrap_or_default());
        let noun = plural(needed, "approval");
        let _ = writeln!(out, "Needs {needed} {noun} by others than its author '{author}'");
    }
    for shard in &plan.shards {
        let _ = writeln!(
            out,
            "Shard '{}': snapshot {} of {}, into {}",
            shard.name, shard.snapshot, shard.taken_at, shard.target
        );
        let _ = writeln!(out, "  keys: {}", proved(&shard.constraints));
        for drift in &shard.drift {
            let _ = writeln!(out, "  drift: {drift}");
        }
        for warning in &shard.warnings {
            let _ = writeln!(out, "  note: {warning}");
        }
    }
    out.push_str(&rings(plan));
    out.push_str(&sites::steps(plan));
    out.push('\n');
    if detail || tenants <= DETAILED_TENANTS_MAX {
        out.push_str(&plan_by_table(plan));
    } else {
        out.push_str(&plan_by_shard(plan));
    }
    out.push_str(&settled(plan));
    out.push_str(&queued(plan));
    let left: u64 = plan
        .tenants
        .iter()
        .flat_map(|tenant| &tenant.shards)
        .flat_map(|shard| &shard.tables)
        .map(|table| table.left)
        .sum();
    if left > 0 {
        let _ = write!(
            out,
            "\n\n{} rows that others point at too are live and stay as they are, with what hangs from them.",
            count(left)
        );
    }
    let _ = write!(
        out,
        "\n\n{tenants} {}, {} rows, {} will be inserted{}; nothing else is written.",
        plural(tenants, "tenant"),
        count(plan.rows()),
        bytes(plan.bytes()),
        [repaired(plan), cleared(plan)].concat()
    );
    out
}

/// Who comes back before whom is begun, and why.
fn rings(plan: &Plan) -> String {
    let mut out = String::new();
    for ring in &plan.rings {
        let stops = match ring.failures_max {
            0 => "the first failure stops the run".to_owned(),
            failures => format!("more than {failures} failures stop the run"),
        };
        let noun = plural(ring.tenants, "tenant");
        let _ = writeln!(out, "Ring '{}': {} {noun}; {stops}", ring.name, ring.tenants);
        for why in &ring.why {
            let _ = writeln!(out, "  {why}");
        }
    }
    out
}

/// What a repair does beyond inserting.
fn repaired(plan: &Plan) -> String {
    if plan.repair.is_none() {
        return String::new();
    }
    let (updated, deleted) = plan.repaired();
    format!(", {} updated, {} deleted", count(updated), count(deleted))
}

/// What is deleted beside a tenant's own rows: entries of deletion queues only.
fn cleared(plan: &Plan) -> String {
    let links = plan.shards.iter().flat_map(|shard| &shard.queues).filter(|link| link.clear);
    let queues: std::collections::BTreeSet<String> = links.map(|link| format!("'{}'", link.queue)).collect();
    if queues.is_empty() {
        return String::new();
    }
    let queues = queues.into_iter().collect::<Vec<_>>().join(", ");
    format!(", and the entries of {queues} about these rows deleted")
}

/// What deletion queues hold about rows that come back.
fn queued(plan: &Plan) -> String {
    let mut out = String::new();
    for tenant in &plan.tenants {
        for shard in &tenant.shards {
            for (table, queue, entries) in shard
                .tables
                .iter()
                .flat_map(|rows| rows.queued.iter().map(|(queue, n)| (&rows.table, queue, n)))
            {
                let links = plan.shard(&shard.shard).map(|shard| shard.queues.as_slice()).unwrap_or_default();
                let fate = match links.iter().any(|link| link.queue == *queue && link.clear) {
                    true => "will be deleted",
                    false => "and stay: what works them off may delete what hangs from the rows again",
                };
                let _ = write!(
                    out,
                    "\ntenant {}: {} entries of deletion queue {queue} of shard {} name restored rows of {table} {fate}",
                    tenant.label(),
                    count(*entries),
                    shard.shard
                );
            }
        }
    }
    if out.is_empty() { out } else { format!("\n{out}") }
}

/// What stays as it is live, and who is left out.
fn settled(plan: &Plan) -> String {
    let mut out = String::new();
    for tenant in &plan.tenants {
        let tables =
            tenant.shards.iter().flat_map(|shard| shard.tables.iter().map(move |table| (shard, table)));
        for (shard, table) in tables {
            let Some(settled) = &table.settled else { continue };
            let place = format!("{} of shard {}", table.table, shard.shard);
            let policy = if settled.repaired.is_some() { "repair" } else { settled.policy.name() };
            let repaired = |of: fn(&Repaired) -> u64| settled.repaired.as_ref().map_or(0, of);
            let counts = [
                (repaired(|it| it.updated), "rows are live with other values and get the snapshot's"),
                (repaired(|it| it.deleted.rows), "live rows are not in the snapshot and are deleted"),
                (settled.identical, "identical rows are live and stay"),
                (settled.different, "rows are live with other values and stay so"),
                (settled.ghosts, "live rows are not in the snapshot and stay"),
                (settled.erased.len() as u64, "rows stay erased"),
            ];
            let what = counts.iter().filter(|(rows, _)| *rows > 0);
            let what: Vec<String> = what.map(|(rows, text)| format!("{} {text}", count(*rows))).collect();
            let _ = write!(out, "\ntenant {}, {place} ({policy}): {}", tenant.label(), what.join(", "));
        }
    }
    for tenant in &plan.blocked {
        let _ = write!(out, "\nLEFT OUT: tenant {}", tenant.label());
        for obstacle in &tenant.obstacles {
            let _ = write!(out, "\n  {obstacle}");
        }
    }
    if out.is_empty() { out } else { format!("\n{out}") }
}

fn proved(constraints: &Constraints) -> String {
    let how = match constraints.by {
        Prover::Server => "checked by the server, triggers on",
        Prover::Engine => "proved by the engine, triggers off",
    };
    format!("{how} ({})", constraints.reason)
}

fn plan_by_table(plan: &Plan) -> String {
    let mut rows = Vec::new();
    for tenant in &plan.tenants {
        for shard in &tenant.shards {
            for part in &shard.tables {
                rows.push(vec![
                    tenant.id.to_string(),
                    tenant.name.clone().unwrap_or_default(),
                    shard.shard.to_string(),
                    part.table.to_string(),
                    count(part.written()),
                    bytes(part.inserted_bytes()),
                    count(part.live_rows + part.left),
                ]);
            }
        }
    }
    table(&["TENANT", "NAME", "SHARD", "TABLE", "ROWS", "BYTES", "LIVE"], &[4, 5, 6], rows)
}

fn plan_by_shard(plan: &Plan) -> String {
    let line = |tenant: &TenantPlan, shard: &TenantShard| {
        let live: u64 = shard.tables.iter().map(|table| table.live_rows + table.left).sum();
        vec![
            tenant.id.to_string(),
            tenant.name.clone().unwrap_or_default(),
            shard.shard.to_string(),
            shard.tables.len().to_string(),
            count(shard.rows()),
            bytes(shard.bytes()),
            count(live),
        ]
    };
    let rows =
        plan.tenants.iter().flat_map(|tenant| tenant.shards.iter().map(move |shard| line(tenant, shard)));
    table(&["TENANT", "NAME", "SHARD", "TABLES", "ROWS", "BYTES", "LIVE"], &[3, 4, 5, 6], rows.collect())
}

/// What a run did.
pub fn outcome(plan: &Plan, outcome: &Outcome) -> String {
    let (back, tenants) = (outcome.back(), outcome.tenants.len());
    let seconds = outcome.elapsed().as_secs_f64();
    let rows = outcome.rows_written();
    let mut out = String::new();
    // Whom a hold has kept back has no problem.
    let told = |tenant: &&TenantOutcome| !tenant.is_back() && (outcome.held.is_none() || tenant.has_failed());
    for tenant in outcome.tenants.iter().filter(told).take(PROBLEMS_SHOWN_MAX) {
        let _ = writeln!(out, "{}", tenant.line());
        for hint in tenant.problem().map(|(_, problem)| problem.hints.as_slice()).unwrap_or_default() {
            let _ = writeln!(out, "  hint: {hint}");
        }
    }
    if let Some(held) = &outcome.held {
        let _ = writeln!(out, "HELD: {held}");
    }
    let earlier = already_back(outcome);
    let verified = if outcome.tenants.iter().all(TenantOutcome::is_verified) {
        ", each read back and compared with the snapshot before its commit"
    } else {
        ", NOT YET VERIFIED"
    };
    let _ = write!(
        out,
        "{back} of {tenants} {} back{verified}: {} rows written in {seconds:.2} s ({} rows/s)",
        plural(tenants, "tenant"),
        count(rows),
        count((rows as f64 / seconds.max(0.001)) as u64),
    );
    if earlier > 0 {
        let _ = write!(out, "; {earlier} by an earlier run");
    }
    if back < tenants {
        let _ = write!(
            out,
            "\n{} not back; run the same command again to finish: it repeats nothing",
            tenants - back
        );
    }
    let _ = write!(out, "\nplan {}", plan.hash);
    out
}

fn already_back(outcome: &Outcome) -> usize {
    let earlier = |status: &ShardStatus| matches!(status, ShardStatus::AlreadyBack { .. });
    outcome.tenants.iter().filter(|tenant| tenant.shards.iter().all(|shard| earlier(&shard.status))).count()
}

/// What an independent verification found.
pub fn certificates(certificates: &[Certificate]) -> String {
    let mut out = String::new();
    for certificate in certificates.iter().filter(|certificate| !certificate.equal) {
        let _ = writeln!(out, "tenant {} differs from the snapshot:", certificate.tenant);
        for shard in &certificate.shards {
            for table in shard.verdict.tables().iter().filter(|table| !table.is_equal()) {
                let (expected, found) = (table.expected.rows, table.found.rows);
                let _ = writeln!(
                    out,
                    "  {} {}: {found} rows live, {expected} in the snapshot",
                    shard.shard, table.table
                );
                for difference in &table.differences {
                    let _ = writeln!(out, "    {difference}");
                }
            }
        }
    }
    let equal = certificates.iter().filter(|certificate| certificate.equal).count();
    let rows: u64 = certificates.iter().flat_map(|c| &c.shards).map(|shard| shard.verdict.rows()).sum();
    let _ = write!(
        out,
        "{equal} of {} {} equal to the snapshot in every row and column ({} rows compared)",
        certificates.len(),
        plural(certificates.len(), "tenant"),
        count(rows)
    );
    out
}

/// The snapshots of a store.
pub fn snapshots(summaries: &[Summary]) -> String {
    let rows = summaries.iter().map(|summary| {
        vec![
            summary.shard.to_string(),
            summary.id.to_string(),
            format!("{:.0}", summary.taken_at),
            summary.retain_until.map(|at| format!("{at:.0}")).unwrap_or_default(),
            summary.tenants.to_string(),
            count(summary.rows),
            bytes(summary.bytes),
            match &summary.state {
                State::Complete => "complete".into(),
                State::Incomplete => "incomplete".into(),
                State::Damaged(what) => format!("damaged: {what}"),
            },
        ]
    });
    let head = ["SHARD", "SNAPSHOT", "TAKEN AT", "RETAIN UNTIL", "TENANTS", "ROWS", "BYTES", "STATE"];
    table(&head, &[4, 5, 6], rows.collect())
}

/// What a snapshot holds.
pub fn manifest(manifest: &Manifest) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Snapshot {} of shard '{}'", manifest.id, manifest.shard);
    let _ = writeln!(
        out,
        "taken at {} from {} (version {})",
        manifest.taken_at, manifest.identity, manifest.server_version
    );
    if let Some(position) = &manifest.position {
        let _ = writeln!(out, "WAL position near {position}");
    }
    let _ = writeln!(out, "cannot be pruned before {:.0}\n", manifest.retain_until);
    let rows = manifest.tables.iter().map(|entry| {
        let rule = manifest.tenancy.rules.get(&entry.table.name).map_or("none", |rule| rule.name());
        let size: u64 = entry.files.iter().map(|file| file.bytes).sum();
        vec![
            entry.table.name.to_string(),
            rule.into(),
            count(entry.rows_owned),
            count(entry.rows_shared),
            count(entry.rows_unowned),
            count(entry.rows_disputed),
            entry.files.len().to_string(),
            bytes(size),
        ]
    });
    let head = ["TABLE", "RULE", "ROWS OWNED", "SHARED", "UNOWNED", "DISPUTED", "FILES", "BYTES"];
    out.push_str(&table(&head, &[2, 3, 4, 5, 6, 7], rows.collect()));
    doubts(manifest).iter().for_each(|line| out.push_str(&format!("\nnote: {line}")));
    out
}

/// Rows of a snapshot that no restore brings back, or not whole.
pub fn doubts(manifest: &Manifest) -> Vec<String> {
    let shard = &manifest.shard;
    let mut lines = Vec::new();
    for entry in &manifest.tables {
        let name = &entry.table.name;
        if entry.rows_unowned > 0 {
            let rows = count(entry.rows_unowned);
            lines.push(format!(
                "no tenant owns {rows} rows of table '{name}' of shard '{shard}'; no restore brings them back"
            ));
        }
        if entry.rows_disputed > 0 {
            let (rows, named) = (count(entry.rows_disputed), entry.disputed.join(", "));
            lines.push(format!(
                "the ways of {rows} rows of table '{name}' of shard '{shard}' lead to different tenants ({named}); \
                 no restore brings them back"
            ));
        }
    }
    lines.extend(manifest.ties.iter().map(|ties| {
        format!(
            "{} rows of table '{}' of shard '{shard}' point (by {}) at rows of other tenants in '{}'",
            count(ties.rows),
            ties.table,
            ties.key,
            ties.parent
        )
    }));
    lines
}

/// What reading a snapshot again found.
pub fn verified(id: &SnapshotId, report: &VerifyReport) -> String {
    let mut out = String::new();
    for problem in &report.problems {
        let _ = writeln!(out, "snapshot {id}: {}: {}", problem.file, problem.what);
        if !problem.tenants.is_empty() {
            let named: Vec<&str> =
                problem.tenants.iter().take(PROBLEMS_SHOWN_MAX).map(TenantId::as_str).collect();
            let more = problem.tenants.len() - named.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let _ = writeln!(out, "  tenants that cannot be trusted: {}{more}", named.join(", "));
        }
    }
    let _ = match report.problems.len() {
        0 => write!(out, "snapshot {id}: every byte is as it was written"),
        count => write!(out, "snapshot {id}: {count} {}", plural(count, "problem")),
    };
    out
}

/// What was pruned, or would be.
pub fn pruned(report: &PruneReport) -> String {
    let verb = if report.dry_run { "would be deleted" } else { "deleted" };
    let mut lines = Vec::new();
    for gone in &report.pruned {
        let what = if gone.complete { "" } else { "incomplete " };
        lines.push(format!(
            "{what}snapshot {} of shard '{}' {verb}: {} files, {}",
            gone.id,
            gone.shard,
            gone.files,
            bytes(gone.bytes)
        ));
    }
    lines.extend(
        report
            .kept
            .iter()
            .map(|kept| format!("snapshot {} of shard '{}' kept: {}", kept.id, kept.shard, kept.reason)),
    );
    lines.push(format!("{} {verb}, {} kept", report.pruned.len(), report.kept.len()));
    lines.join("\n")
}

/// Who is gone, who is damaged.
pub fn damage(tenants: &[DamagedTenant], detail: bool) -> String {
    let gone = tenants.iter().filter(|tenant| tenant.deleted).count();
    let mut rows = Vec::new();
    for tenant in tenants {
        let state = if tenant.deleted { "deleted" } else { "differs" };
        let sum = |tables: &[Damage], place: String| {
            let total = |of: fn(&Damage) -> u64| count(tables.iter().map(of).sum());
            let name = tenant.name.clone().unwrap_or_default();
            let counts = [total(|it| it.missing), total(|it| it.changed), total(|it| it.extra)];
            let words = [tenant.id.to_string(), name, state.to_owned(), place];
            words.into_iter().chain(counts).collect::<Vec<String>>()
        };
        if detail {
            let place = |it: &Damage| format!("{} {}", it.shard, it.table);
            rows.extend(tenant.tables.iter().map(|it| sum(std::slice::from_ref(it), place(it))));
        } else {
            rows.push(sum(&tenant.tables, format!("{} tables", tenant.tables.len())));
        }
    }
    let summary = format!(
        "{gone} {} deleted, {} with rows that differ from the snapshot",
        plural(gone, "tenant"),
        tenants.len() - gone
    );
    if rows.is_empty() {
        return summary;
    }
    format!(
        "{}\n\n{summary}",
        table(&["TENANT", "NAME", "STATE", "WHERE", "MISSING", "CHANGED", "EXTRA"], &[4, 5, 6], rows)
    )
}

/// `1 tenant`, `2 tenants`: the noun alone.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}
