//! The scoreboard: what somebody who must promise a recovery time wants to know.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::neighbours::Work;
use crate::report::format::count;
use crate::workflow::{Event, Site, What};

/// Sites an hour in April 2022: 883 in two weeks.
const SITES_PER_HOUR_2022: f64 = 2.7;
/// What bringing 883 sites back in four hours takes.
const SITES_PER_HOUR_NEEDED: f64 = 221.0;

/// The figures.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    /// From "who is gone?" until the first site was served, in seconds.
    pub first_site_s: f64,
    /// Until the last one was.
    pub last_site_s: f64,
    /// Sites an hour, by that.
    pub sites_per_hour: f64,
    /// What was predicted, and what came.
    pub predictions: Vec<Prediction>,
    /// Writes of the neighbours before anything else went on.
    pub neighbours_idle: Latency,
    /// Writes of the neighbours while sites came back.
    pub neighbours_during: Latency,
}

/// How long the rest was expected to take.
#[derive(Clone, Debug, Serialize)]
pub struct Prediction {
    /// After which ring.
    pub ring: String,
    /// Seconds until the last site.
    pub expected_s: f64,
    /// At the least.
    pub low_s: f64,
    /// At the most.
    pub high_s: f64,
    /// What it took.
    pub actual_s: f64,
    /// How far off the expectation was.
    pub error_percent: f64,
}

/// How long writes took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Writes that were measured.
    pub writes: usize,
    /// Half of them took at most this, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 took at most this.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Latency {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share).ceil() as usize;
            times.get(index.saturating_sub(1)).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        Self { writes: times.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

impl Score {
    /// What the events and the neighbours tell. `begun_at`: when somebody asked who is gone.
    pub fn new(begun_at: Timestamp, sites: &[Site], events: &[Event], work: Work) -> Self {
        let opened = sites.iter().filter_map(|site| site.opened_at);
        let (first, last) = (opened.clone().min(), opened.clone().max());
        let since = |from: Timestamp, to: Option<Timestamp>| {
            to.map_or(0.0, |to| to.duration_since(from).as_secs_f64().max(0.0))
        };
        let last_site_s = since(begun_at, last);
        let predictions = events.iter().filter_map(|event| {
            let What::Estimated { ring, overall, .. } = &event.what else { return None };
            let seconds = |ms: u64| ms as f64 / 1000.0;
            let (expected_s, actual_s) = (seconds(overall.expected_ms), since(event.at, last));
            let error_percent = if actual_s > 0.0 { (expected_s - actual_s) / actual_s * 100.0 } else { 0.0 };
            let (low_s, high_s) = (seconds(overall.low_ms), seconds(overall.high_ms));
            Some(Prediction { ring: ring.clone(), expected_s, low_s, high_s, actual_s, error_percent })
        });
        Self {
            first_site_s: since(begun_at, first),
            last_site_s,
            sites_per_hour: opened.count() as f64 / last_site_s.max(0.001) * 3600.0,
            predictions: predictions.collect(),
            neighbours_idle: Latency::of(work.idle),
            neighbours_during: Latency::of(work.during),
        }
    }

    /// In words, beside the incident.
    pub fn text(&self, out: &mut String) {
        let seconds = |value: f64| super::seconds(Duration::from_secs_f64(value));
        let mut line = |name: &str, here: String, there: &str| {
            let text = format!("  {name:<40}{here:<24}{there}");
            let _ = writeln!(out, "{}", text.trim_end());
        };
        line("SCOREBOARD", "this drill".into(), "the incident of April 2022");
        line("first site served after", seconds(self.first_site_s), "days");
        line("last site served after (RTO)", seconds(self.last_site_s), "two weeks");
        let needed = format!("{SITES_PER_HOUR_2022} ({SITES_PER_HOUR_NEEDED} are an RTO of 4 hours)");
        line("sites an hour (of this drill's size)", count(self.sites_per_hour as u64), &needed);
        for it in self.predictions.iter().take(1) {
            let off = format!("{} left: {:+.0} %", seconds(it.expected_s), it.error_percent);
            line(&format!("predicted after ring '{}'", it.ring), off, "no prediction held");
        }
        for (when, it) in [("before", self.neighbours_idle), ("meanwhile", self.neighbours_during)] {
            let name = format!("neighbours' writes, p50/p99 {when}");
            line(&name, format!("{:.1}/{:.1} ms of {}", it.p50_ms, it.p99_ms, count(it.writes as u64)), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_measured_values() {
        let times = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(Latency::of(times), Latency { writes: 200, p50_ms: 100.0, p99_ms: 198.0, max_ms: 200.0 });
        assert_eq!(Latency::of(vec![]), Latency::default());
    }
}
