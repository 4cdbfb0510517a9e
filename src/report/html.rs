//! The report as one HTML file: nothing from elsewhere, no scripts, made to be printed. Every value is escaped by the
//! templates.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::format::{bytes, count};
use super::incident::{Incident, Moment, RingReport, TenantReport, Until, seconds};
use crate::model::TenantId;
use crate::workflow::StepState;

/// Nothing is loaded or run, whatever stands in the report.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2733; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #c8d0d8 }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 } th { text-align: left; font-weight: 600; color: #51606f }
th, td { padding: .25rem .7rem .25rem 0; vertical-align: top; border-bottom: 1px solid #e6eaee; overflow-wrap: anywhere }
td.n, th.n { text-align: right } code { font-size: .85em; overflow-wrap: anywhere } .dim { color: #51606f }
.bad { color: #a3271b; font-weight: 600 } .good { color: #1c6b3a }
@media print { body { font-size: 10pt; margin: 0; max-width: none } h3, tr { break-inside: avoid } h2 { break-after: avoid } }
";

/// The whole report.
pub fn report(incident: &Incident<'_>) -> String {
    let title = "Restore report";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width";
                title { (title) " " (short(incident.plan)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p.dim { "Plan " code { (incident.plan) } ", as of " (time(incident.as_of)) }
                (summary(incident))
                (rings(incident))
                (foreseen(incident))
                (lost(incident))
                (side_effects(incident))
                (moments("Notes for the next shift", &incident.notes))
                (tenants(incident))
                (warnings(incident))
                (moments("Timeline", &incident.timeline))
            }
        }
    };
    page.into_string()
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

fn until(rest: Option<Until>) -> Markup {
    html! {
        @if let Some(rest) = rest {
            (time(rest.expected_at)) br; span.dim { (time(rest.earliest_at)) " to " (time(rest.latest_at)) }
        }
    }
}

fn summary(incident: &Incident<'_>) -> Markup {
    html! {
        @if let Some(reason) = incident.reason { p { (reason) } }
        table {
            tr { th { "Planned" } td { (time(incident.planned_at)) @if let Some(author) = incident.author { " by " bdi { (author) } } } }
            tr { th { "Tenants" } td {
                @for (state, tenants) in &incident.states { (count(*tenants as u64)) " " (state.name()) br; }
                @if incident.left_out > 0 { span.bad { (incident.left_out) " left out of the plan" } }
            } }
            tr { th { "Rows back" } td { (count(incident.rows)) } }
            @if incident.rest.is_some() { tr { th { "All back, if work goes on" } td { (until(incident.rest)) } } }
        }
    }
}

fn rings(incident: &Incident<'_>) -> Markup {
    let limit =
        |ring: &RingReport<'_>| ring.failures_max.map(|failures| failures.to_string()).unwrap_or_default();
    html! {
        h2 { "Rings" }
        table {
            tr { th { "Ring" } th.n { "Tenants" } th.n { "Back" } th.n { "Failed" } th.n { "May fail" } th { "Done" } }
            @for ring in &incident.rings {
                tr {
                    td { (ring.name) } td.n { (ring.tenants) } td.n { (ring.back) } td.n { (ring.failed) }
                    td.n { (limit(ring)) } td { (until(ring.rest)) }
                }
            }
        }
        @for ring in &incident.rings {
            @if !ring.why.is_empty() {
                p { "Why these in ring " (ring.name) ":" }
                ul { @for why in ring.why { li { bdi { (why) } } } }
            }
        }
    }
}

fn foreseen(incident: &Incident<'_>) -> Markup {
    html! {
        @if !incident.foreseen.is_empty() {
            h2 { "Foreseen and come" }
            table {
                tr { th { "Made at" } th { "After ring" } th { "Of" } th.n { "Expected" } th.n { "Range" } th.n { "Came" } }
                @for it in &incident.foreseen {
                    tr {
                        td { (time(it.at)) } td { (it.after) } td { @if let Some(ring) = it.of { "ring " (ring) } @else { "all" } }
                        td.n { (seconds(it.expected.expected_ms)) }
                        td.n { (seconds(it.expected.low_ms)) " to " (seconds(it.expected.high_ms)) }
                        td.n { @match it.actual_ms { Some(actual) => { (seconds(actual)) } None => { "open" } } }
                    }
                }
            }
        }
    }
}

fn whose(tenant: Option<&TenantId>) -> Markup {
    html! { @match tenant { Some(tenant) => { bdi { (tenant) } } None => { span.dim { "all" } } } }
}

fn lost(incident: &Incident<'_>) -> Markup {
    html! {
        h2 { "What did not come back" }
        table {
            tr { th { "Tenant" } th { "What, and why" } }
            @for it in &incident.lost { tr { td { (whose(it.tenant.as_ref())) } td { bdi { (it.what) } } } }
        }
    }
}

fn side_effects(incident: &Incident<'_>) -> Markup {
    html! {
        @if !incident.side_effects.is_empty() {
            h2 { "To look after" }
            table {
                tr { th { "Tenant" } th { "What" } th { "Done" } }
                @for it in &incident.side_effects {
                    tr { td { (whose(it.tenant)) } td { bdi { (it.text) } } td { "☐" } }
                }
            }
        }
    }
}

fn moments(title: &str, moments: &[Moment]) -> Markup {
    html! {
        @if !moments.is_empty() {
            h2 { (title) }
            table {
                tr { th { "When" } th { "Who" } th { "Tenant" } th { "What" } }
                @for it in moments {
                    tr {
                        td { (time(it.at)) } td { bdi { (it.who) } }
                        td { @if let Some(tenant) = &it.tenant { bdi { (tenant) } } } td { bdi { (it.text) } }
                    }
                }
            }
        }
    }
}

fn warnings(incident: &Incident<'_>) -> Markup {
    html! {
        @if !incident.warnings.is_empty() {
            h2 { "Said when the plan was made" }
            ul { @for warning in &incident.warnings { li { bdi { (warning) } } } }
        }
    }
}

fn tenants(incident: &Incident<'_>) -> Markup {
    html! {
        h2 { "Tenants" }
        @for tenant in &incident.tenants { (certificate(tenant)) }
    }
}

fn certificate(tenant: &TenantReport<'_>) -> Markup {
    let state = tenant.state.map_or("left out of the plan", |state| state.name());
    let is_good = tenant.opened_at.is_some();
    html! {
        h3 {
            bdi { (tenant.id) } @if let Some(name) = tenant.name { " " bdi { (name) } } ": "
            span.good[is_good].bad[!is_good] { (state) }
        }
        p.dim {
            "Contact: " bdi { (tenant.contact) }
            @if let Some(ring) = tenant.ring { ". Ring " (ring) }
            @if let Some(at) = tenant.opened_at { ". Back at " (time(at)) }
            "."
        }
        @if tenant.rest.is_some() { p { "Expected at " (until(tenant.rest)) } }
        @if !tenant.certificate.is_empty() {
            table {
                tr { th { "Shard" } th { "As of" } th { "Snapshot" } th.n { "Rows" } th.n { "Bytes" } th { "Committed" } th { "Fingerprint" } }
                @for part in &tenant.certificate {
                    tr {
                        td { (part.shard) } td { @if let Some(at) = part.restore_point { (time(at)) } }
                        td { code { (part.snapshot) } } td.n { (count(part.rows)) } td.n { (bytes(part.bytes)) }
                        td { (time(part.recorded_at)) } td { code { (format!("{:032x}", part.fingerprint.sum)) } }
                    }
                }
            }
        }
        (steps(tenant))
        @for it in &tenant.signed { p { (time(it.at)) ": " bdi { (it.text) } } }
    }
}

/// The steps beside the shards' that are done: those the table above shows.
fn steps(tenant: &TenantReport<'_>) -> Markup {
    let in_table = |name: &str| tenant.certificate.iter().any(|part| part.shard.as_str() == name);
    let shown: Vec<_> = tenant.steps.iter().filter(|step| !in_table(step.name)).collect();
    html! {
        @if !shown.is_empty() {
            table {
                tr { th { "Step" } th { "Stands" } }
                @for step in shown {
                    tr { td { (step.name) } td { @match step.state {
                        StepState::Waiting => { "not begun" }
                        StepState::Begun { at } => { "begun at " (time(*at)) }
                        StepState::Done { result, .. } => { "done: " bdi { (result) } }
                        StepState::Failed { at, problem } => { span.bad { "failed" } " at " (time(*at)) ": " bdi { (problem) } }
                    } } }
                }
            }
        }
    }
}
