//! When tenants will be back: from what those that are back took. Pure.
//!
//! ```text
//! steps that are done ─► seconds = a + b × bytes, a line for each kind of step    ┐
//!   how many at a time ─► how many go at full speed beside each other (capacity)  ├─► the rest played through:
//!   tenant by tenant   ─► steps of a tenant beside each other, pauses between     ┘   tenants, rings, all; a range
//! ```
//!
//! What the capacity is shows only when several tenants were at work at once; till then all answers up to `jobs` are
//! kept, and the range is as wide as they are apart. Nothing here knows about holds: the clock runs while work is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::limits::ESTIMATE_SAMPLES_MAX;
use crate::model::TenantId;

/// A step of a tenant that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The tenant.
    pub tenant: TenantId,
    /// The kind of step, by which its speed is known again: a shard's name, a hook's.
    pub step: String,
    /// What it moved; 0 where bytes mean nothing.
    pub bytes: u64,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// A tenant that is not back yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The tenant.
    pub tenant: TenantId,
    /// Its ring, counted from 0; a ring begins when those before it are done.
    pub ring: usize,
    /// Its steps that are not done: kind, and bytes.
    pub steps: Vec<(String, u64)>,
}

/// A time from now on, as a range: in four of five cases it is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// What is expected.
    pub expected_ms: u64,
    /// The least, most likely.
    pub low_ms: u64,
    /// The most, most likely.
    pub high_ms: u64,
}

/// When what remains will be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// All of it.
    pub overall: Span,
    /// Each ring with tenants that are not back.
    pub rings: BTreeMap<usize, Span>,
    /// Each such tenant.
    pub tenants: BTreeMap<TenantId, Span>,
    /// Tenants whose times it comes from; without any it is a guess about an ordinary machine.
    pub tenants_known: usize,
}

/// Seconds of a step by its bytes.
#[derive(Clone, Copy, Debug)]
struct Line {
    base: f64,
    per_byte: f64,
}

/// An ordinary step, where nothing is known: 40 ms and 10 MB/s.
const ORDINARY: Line = Line { base: 0.04, per_byte: 1e-7 };
/// How much two tenants of the same size differ (standard deviation of the logarithm), where nothing is known, and how
/// many tenants it takes to outweigh that.
const SPREAD_ORDINARY: f64 = 0.7;
const SPREAD_WEIGHT: f64 = 2.0;
/// Weight of the ordinary shape of a line, in samples.
const SHAPE_WEIGHT: f64 = 0.1;
/// Rounds in which a line finds its weights.
const FIT_ROUNDS: usize = 5;
/// Standard deviations on both sides that hold four of five cases.
const RANGE: f64 = 1.28;
/// Capacities that are tried, as far as `jobs` goes.
const CAPACITIES: [f64; 12] = [1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0];

/// Estimates what remains, in the order in which it is done, `jobs` tenants at a time.
pub fn estimate(samples: &[Sample], remaining: &[Remaining], jobs: usize) -> Estimate {
    let samples = newest(samples);
    let crowds = crowds(&samples);
    let tenants_known = samples.iter().map(|sample| &sample.tenant).collect::<BTreeSet<_>>().len();
    let pace = pace(&samples);
    let jobs = jobs.max(1);
    let tried = CAPACITIES.iter().filter(|capacity| **capacity <= jobs as f64);
    let models: Vec<Model<'_>> = tried.map(|capacity| Model::fit(&samples, &crowds, *capacity)).collect();
    let plays: Vec<Play<'_>> = models.iter().map(|model| model.play(remaining, jobs, pace)).collect();
    let best = models.iter().map(|model| model.likelihood).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = models.iter().map(|model| (model.likelihood - best).exp()).collect();
    let span = |of: &dyn Fn(&Play<'_>) -> Option<Expected>| {
        let all: Vec<Option<Expected>> = plays.iter().map(of).collect();
        mixed(weights.iter().copied().zip(all.into_iter().flatten()))
    };
    let rings: BTreeSet<usize> = remaining.iter().map(|tenant| tenant.ring).collect();
    let ring = |ring: &usize| (*ring, span(&|play| play.rings.get(ring).copied()));
    let tenant =
        |left: &Remaining| (left.tenant.clone(), span(&|play| play.tenants.get(&left.tenant).copied()));
    Estimate {
        overall: span(&|play| play.rings.values().last().copied()),
        rings: rings.iter().map(ring).collect(),
        tenants: remaining.iter().map(tenant).collect(),
        tenants_known,
    }
}

/// Seconds, and how uncertain they are (variance of the logarithm).
#[derive(Clone, Copy)]
struct Expected {
    seconds: f64,
    variance: f64,
}

/// One answer out of several with their weights.
fn mixed(answers: impl Iterator<Item = (f64, Expected)>) -> Span {
    let answers: Vec<(f64, f64, f64)> =
        answers.map(|(weight, it)| (weight, it.seconds.max(1e-3).ln(), it.variance)).collect();
    let all: f64 = answers.iter().map(|(weight, ..)| weight).sum();
    if all <= 0.0 {
        return Span::default();
    }
    let mean = answers.iter().map(|(weight, log, _)| weight * log).sum::<f64>() / all;
    let variance =
        answers.iter().map(|(weight, log, variance)| weight * (variance + (log - mean).powi(2))).sum::<f64>()
            / all;
    let at = |deviations: f64| (1e3 * (mean + deviations * variance.sqrt()).exp()).round() as u64;
    Span { expected_ms: at(0.0), low_ms: at(-RANGE), high_ms: at(RANGE) }
}

/// The newest samples, as many as are looked at: a shard's speed of hours ago says little.
fn newest(samples: &[Sample]) -> Vec<&Sample> {
    let mut newest: Vec<&Sample> = samples.iter().collect();
    newest.sort_by_key(|sample| std::cmp::Reverse(sample.ended_at));
    newest.truncate(ESTIMATE_SAMPLES_MAX);
    newest
}

fn seconds(sample: &Sample) -> f64 {
    sample.ended_at.duration_since(sample.began_at).as_secs_f64().max(1e-4)
}

/// How many steps were at work at once while each sample was, itself included.
fn crowds(samples: &[&Sample]) -> Vec<f64> {
    let mut edges: Vec<(Timestamp, f64)> = samples.iter().map(|sample| (sample.began_at, 1.0)).collect();
    edges.extend(samples.iter().map(|sample| (sample.ended_at, -1.0)));
    edges.sort_by_key(|(at, _)| *at);
    // Work done up to each edge: the time that all steps together were at work.
    let (mut work, mut at_work, mut before) = (0.0, 0.0, None);
    let mut done: BTreeMap<Timestamp, f64> = BTreeMap::new();
    for (at, change) in edges {
        work += at_work * before.map_or(0.0, |before| at.duration_since(before).as_secs_f64());
        done.insert(at, work);
        at_work += change;
        before = Some(at);
    }
    let upto = |at: &Timestamp| done.get(at).copied().unwrap_or_default();
    let crowd = |sample: &&Sample| (upto(&sample.ended_at) - upto(&sample.began_at)) / seconds(sample);
    samples.iter().map(crowd).map(|crowd| crowd.max(1.0)).collect()
}

/// How long a tenant takes for a second of its steps: less than one where these go beside each other, more where there
/// are pauses between them. The middle one of those known.
fn pace(samples: &[&Sample]) -> f64 {
    let mut tenants: BTreeMap<&TenantId, (Timestamp, Timestamp, f64)> = BTreeMap::new();
    for sample in samples {
        let (began, ended, work) =
            tenants.entry(&sample.tenant).or_insert((sample.began_at, sample.ended_at, 0.0));
        (*began, *ended) = ((*began).min(sample.began_at), (*ended).max(sample.ended_at));
        *work += seconds(sample);
    }
    let of = |(began, ended, work): &(Timestamp, Timestamp, f64)| {
        ended.duration_since(*began).as_secs_f64() / work
    };
    let mut paces: Vec<f64> = tenants.values().map(of).collect();
    paces.sort_by(f64::total_cmp);
    paces.get(paces.len() / 2).map_or(1.0, |pace| pace.clamp(0.1, 3.0))
}

/// What the samples say if so many steps go at full speed beside each other.
struct Model<'a> {
    capacity: f64,
    fits: BTreeMap<&'a str, Fit>,
    /// Of steps without a sample.
    other: Fit,
    /// How much two tenants of the same size differ (variance of the logarithm).
    spread: f64,
    /// Logarithm of how well the capacity explains the samples.
    likelihood: f64,
}

impl<'a> Model<'a> {
    fn fit(samples: &[&'a Sample], crowds: &[f64], capacity: f64) -> Self {
        let alone = |(sample, crowd): (&&'a Sample, &f64)| {
            (*sample, sample.bytes as f64, seconds(sample) / (crowd / capacity).max(1.0))
        };
        let points: Vec<(&Sample, f64, f64)> = samples.iter().zip(crowds).map(alone).collect();
        let took: f64 = points.iter().map(|(.., seconds)| seconds).sum();
        let ordinary: f64 = points.iter().map(|(_, bytes, _)| ORDINARY.at(*bytes)).sum();
        let level = if ordinary > 0.0 { took / ordinary } else { 1.0 };
        let largest = points.iter().map(|(_, bytes, _)| *bytes).fold(1e6, f64::max);
        let other = Line::fit(&[(largest, level * ORDINARY.at(largest))]);
        let mut by_step: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for (sample, bytes, seconds) in &points {
            by_step.entry(&sample.step).or_default().push((*bytes, *seconds));
        }
        let fits: BTreeMap<&str, Fit> =
            by_step.into_iter().map(|(step, points)| (step, Line::fit(&points))).collect();
        let mut by_tenant: BTreeMap<&TenantId, (f64, f64)> = BTreeMap::new();
        for (sample, bytes, seconds) in &points {
            let (took, expected) = by_tenant.entry(&sample.tenant).or_default();
            *took += seconds;
            *expected += fits.get(sample.step.as_str()).unwrap_or(&other).line.at(*bytes);
        }
        let residuals = by_tenant.values().map(|(took, expected)| (took / expected).ln().powi(2));
        let tenants = by_tenant.len() as f64;
        let spread =
            (SPREAD_WEIGHT * SPREAD_ORDINARY.powi(2) + residuals.sum::<f64>()) / (SPREAD_WEIGHT + tenants);
        Self { capacity, fits, other, spread, likelihood: -tenants / 2.0 * spread.ln() }
    }

    /// Plays the remaining tenants through, in their order, rings after each other.
    fn play<'r>(&self, remaining: &'r [Remaining], jobs: usize, pace: f64) -> Play<'r> {
        let mut play = Play { rings: BTreeMap::new(), tenants: BTreeMap::new() };
        let mut by_ring: BTreeMap<usize, Vec<&'r Remaining>> = BTreeMap::new();
        for tenant in remaining {
            by_ring.entry(tenant.ring).or_default().push(tenant);
        }
        let (mut now, mut all) = (0.0_f64, Pile::default());
        for (ring, tenants) in by_ring {
            let mut waiting = tenants.into_iter();
            let mut at_work: Vec<(&Remaining, Pile<'_>, f64)> = Vec::new();
            loop {
                while let Some(left) = (at_work.len() < jobs).then(|| waiting.next()).flatten() {
                    let mut own = Pile::default();
                    own.add(self, &left.steps);
                    all.add(self, &left.steps);
                    let seconds = own.seconds * pace;
                    at_work.push((left, own, seconds));
                }
                // All at work go on till the first of them is done, the slower the more of them there are.
                let Some(first) = at_work.iter().map(|(.., seconds)| *seconds).min_by(f64::total_cmp) else {
                    break;
                };
                now += first * (at_work.len() as f64 / pace / self.capacity).max(1.0);
                at_work.iter_mut().for_each(|(.., seconds)| *seconds -= first);
                for (left, own, _) in at_work.extract_if(.., |(.., seconds)| *seconds <= 0.0) {
                    let variance = own.variance(self);
                    play.tenants.insert(&left.tenant, Expected { seconds: now, variance });
                }
            }
            play.rings.insert(ring, Expected { seconds: now, variance: all.variance(self) });
        }
        play
    }

    fn of(&self, step: &str) -> &Fit {
        self.fits.get(step).unwrap_or(&self.other)
    }
}

/// Steps of one or more tenants.
#[derive(Default)]
struct Pile<'r> {
    seconds: f64,
    /// Squares of what the tenants take.
    squares: f64,
    /// Steps and bytes by kind.
    steps: BTreeMap<&'r str, (f64, f64)>,
}

impl<'r> Pile<'r> {
    fn add(&mut self, model: &Model<'_>, steps: &'r [(String, u64)]) {
        let mut seconds = 0.0;
        for (step, bytes) in steps {
            let (count, all) = self.steps.entry(step).or_default();
            (*count, *all) = (*count + 1.0, *all + *bytes as f64);
            seconds += model.of(step).line.at(*bytes as f64);
        }
        self.seconds += seconds;
        self.squares += seconds.powi(2);
    }

    /// What tenants differ by evens out, the more of them there are; what is not known of the lines does not.
    fn variance(&self, model: &Model<'_>) -> f64 {
        let doubt = |(step, (count, bytes)): (&&str, &(f64, f64))| model.of(step).sums.doubt(*count, *bytes);
        let doubt: f64 = self.steps.iter().map(doubt).sum();
        if self.seconds > 0.0 {
            model.spread * (self.squares + doubt.powi(2)) / self.seconds.powi(2)
        } else {
            0.0
        }
    }
}

struct Play<'r> {
    rings: BTreeMap<usize, Expected>,
    tenants: BTreeMap<&'r TenantId, Expected>,
}

impl Line {
    fn at(self, bytes: f64) -> f64 {
        self.base + self.per_byte * bytes
    }

    /// Least squares of what steps differ by in proportion, without negative parts. Few samples are helped by the
    /// ordinary shape at their own level.
    fn fit(points: &[(f64, f64)]) -> Fit {
        let took: f64 = points.iter().map(|(_, seconds)| seconds).sum();
        let level = took / points.iter().map(|(bytes, _)| ORDINARY.at(*bytes)).sum::<f64>();
        let largest = points.iter().map(|(bytes, _)| *bytes).fold(0.0, f64::max);
        let shape = [0.0, largest].map(|bytes| (bytes, level * ORDINARY.at(bytes), SHAPE_WEIGHT));
        let all: Vec<_> = points.iter().map(|(bytes, took)| (*bytes, *took, 1.0)).chain(shape).collect();
        let mut line = Self { base: ORDINARY.base * level, per_byte: ORDINARY.per_byte * level };
        let mut sums = Sums::default();
        // The line itself says how long a step should take, and so how much its seconds count.
        for _ in 0..FIT_ROUNDS {
            sums = Sums::default();
            for (bytes, seconds, weight) in &all {
                sums.add(*bytes, *seconds, weight / line.at(*bytes).max(1e-6).powi(2));
            }
            line = sums.line();
        }
        Fit { line, sums }
    }
}

/// A line and what it was made of.
#[derive(Clone, Copy)]
struct Fit {
    line: Line,
    sums: Sums,
}

/// Weighted sums over the points of a line.
#[derive(Clone, Copy, Default)]
struct Sums {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Sums {
    fn add(&mut self, x: f64, y: f64, weight: f64) {
        self.weight += weight;
        self.x += weight * x;
        self.y += weight * y;
        self.xx += weight * x * x;
        self.xy += weight * x * y;
    }

    /// How far the points are from all being of one size; 0 where they are.
    fn determinant(&self) -> f64 {
        let determinant = self.weight * self.xx - self.x * self.x;
        if determinant > 1e-12 * self.weight * self.xx { determinant } else { 0.0 }
    }

    fn line(&self) -> Line {
        let determinant = self.determinant();
        let flat = Line { base: self.y / self.weight, per_byte: 0.0 };
        if determinant == 0.0 {
            return flat;
        }
        let line = Line {
            base: (self.xx * self.y - self.x * self.xy) / determinant,
            per_byte: (self.weight * self.xy - self.x * self.y) / determinant,
        };
        match line {
            Line { per_byte, .. } if per_byte < 0.0 => flat,
            Line { base, .. } if base < 0.0 => Line { base: 0.0, per_byte: self.xy / self.xx },
            _ => line,
        }
    }

    /// How uncertain so many steps of so many bytes are (standard deviation, in spreads): small where they are like the
    /// points, large where the line is drawn out.
    fn doubt(&self, steps: f64, bytes: f64) -> f64 {
        match self.determinant() {
            0.0 => steps / self.weight.sqrt(),
            determinant => {
                let squares =
                    steps * steps * self.xx - 2.0 * steps * bytes * self.x + bytes * bytes * self.weight;
                (squares / determinant).max(0.0).sqrt()
            }
        }
    }
}

impl Span {
    /// What is expected.
    pub fn expected(&self) -> Duration {
        Duration::from_millis(self.expected_ms)
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use jiff::SignedDuration;

    use super::*;

    /// What the shards of a fleet really take, and how bytes are spread over them.
    const TRUTH: [(&str, f64, f64, f64); 4] = [
        ("identity", 0.03, 0.6e-7, 0.2),
        ("pager", 0.05, 1.4e-7, 0.3),
        ("product", 0.08, 0.9e-7, 0.5),
        ("catalogue", 0.02, 0.0, 0.0),
    ];

    /// A fleet like the drill's: few large tenants, many small ones, the largest first.
    fn fleet(count: usize, rings: &[usize]) -> Vec<Remaining> {
        let ring = |index: usize| {
            let ends = rings.iter().scan(0, |end, size| {
                *end += size;
                Some(*end)
            });
            ends.into_iter().take_while(|end| *end <= index).count()
        };
        let tenant = |index: usize| {
            let bytes = 4e7 / (index as f64 + 1.0).powf(0.8) + 2e4;
            let steps = TRUTH.iter().map(|(step, _, _, share)| ((*step).to_owned(), (bytes * share) as u64));
            let tenant = TenantId::new(index.to_string());
            Remaining { tenant, ring: ring(index), steps: steps.collect() }
        };
        (0..count).map(tenant).collect()
    }

    /// Restores tenants as a machine would that lets `capacity` of them go at full speed, with noise: what was done,
    /// and the seconds it took.
    fn run(
        tenants: &[Remaining],
        jobs: usize,
        capacity: f64,
        noise: f64,
        rng: &mut Rng,
    ) -> (Vec<Sample>, f64) {
        let (mut samples, mut now) = (Vec::new(), 0.0_f64);
        let at = |seconds: f64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs_f64(seconds);
        let rings: BTreeSet<usize> = tenants.iter().map(|tenant| tenant.ring).collect();
        for ring in rings {
            let mut here = tenants.iter().filter(|tenant| tenant.ring == ring);
            // Tenant, step, seconds left of it, and when it began.
            let mut at_work: Vec<(&Remaining, usize, f64, f64)> = Vec::new();
            let mut cost = |tenant: &Remaining, step: usize| {
                // Six dice: close enough to a normal distribution.
                let normal = (0..6).map(|_| rng.f64() - 0.5).sum::<f64>() * 2.0_f64.sqrt();
                let (_, base, per_byte, _) = TRUTH[step];
                (base + per_byte * tenant.steps[step].1 as f64) * (noise * normal).exp()
            };
            loop {
                while let Some(next) = (at_work.len() < jobs).then(|| here.next()).flatten() {
                    at_work.push((next, 0, cost(next, 0), now));
                }
                let Some(first) = at_work.iter().map(|it| it.2).min_by(f64::total_cmp) else { break };
                now += first * (at_work.len() as f64 / capacity).max(1.0);
                for (tenant, step, left, began) in &mut at_work {
                    *left -= first;
                    if *left <= 0.0 {
                        let ((name, bytes), id) = (tenant.steps[*step].clone(), tenant.tenant.clone());
                        let (began_at, ended_at) = (at(*began), at(now));
                        samples.push(Sample { tenant: id, step: name, bytes, began_at, ended_at });
                        (*step, *began) = (*step + 1, now);
                        *left = if *step < TRUTH.len() { cost(tenant, *step) } else { 0.0 };
                    }
                }
                at_work.retain(|it| it.1 < TRUTH.len());
            }
        }
        (samples, now)
    }

    /// Expected over actual, and whether the actual time is in the range, when the first ring is done.
    fn after_the_canary(rings: &[usize], jobs: usize, capacity: f64, seed: u64) -> (f64, bool) {
        let mut fleet = fleet(200, rings);
        // As rings.rs picks them: the largest, one of middle size, hard cases of any size.
        for (place, picked) in [100, 12, 37, 150].into_iter().enumerate().take(rings[0] - 1) {
            let (a, b) = (fleet[place + 1].steps.clone(), fleet[picked].steps.clone());
            (fleet[place + 1].steps, fleet[picked].steps) = (b, a);
        }
        let mut rng = Rng::with_seed(seed);
        let (canary, rest): (Vec<Remaining>, Vec<Remaining>) = fleet.into_iter().partition(|it| it.ring == 0);
        let (samples, _) = run(&canary, jobs, capacity, 0.3, &mut rng);
        let (_, actual) = run(&rest, jobs, capacity, 0.3, &mut rng);
        let span = estimate(&samples, &rest, jobs).overall;
        let is_in = (span.low_ms as f64..=span.high_ms as f64).contains(&(actual * 1e3));
        (span.expected().as_secs_f64() / actual, is_in)
    }

    fn share(of: impl Iterator<Item = bool>) -> f64 {
        let all: Vec<bool> = of.collect();
        all.iter().filter(|is_so| **is_so).count() as f64 / all.len() as f64
    }

    #[test]
    fn after_a_canary_ring_of_five_the_rest_is_known_within_a_fifth() {
        for (jobs, capacity) in [(1, 1.0), (2, 1.4), (2, 2.0), (4, 2.0), (4, 1.0)] {
            let found: Vec<_> =
                (0..50).map(|seed| after_the_canary(&[5, 10, 60], jobs, capacity, seed)).collect();
            let within = share(found.iter().map(|(ratio, _)| (0.8..=1.2).contains(ratio)));
            let ranged = share(found.iter().map(|(_, is_in)| *is_in));
            assert!(within >= 0.8, "{jobs} jobs, capacity {capacity}: {within} {found:?}");
            assert!(ranged >= 0.8, "{jobs} jobs, capacity {capacity}: {ranged} {found:?}");
        }
    }

    #[test]
    fn after_a_single_tenant_the_range_is_honest() {
        for (jobs, capacity) in [(1, 1.0), (2, 1.0), (2, 2.0), (4, 1.5), (4, 3.0)] {
            let found: Vec<_> =
                (0..50).map(|seed| after_the_canary(&[1, 10, 60], jobs, capacity, seed)).collect();
            let ranged = share(found.iter().map(|(_, is_in)| *is_in));
            assert!(ranged >= 0.8, "{jobs} jobs, capacity {capacity}: {ranged} {found:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_a_wide_guess_and_gets_narrower() {
        let rings = [5, 10, 60];
        let fleet = fleet(200, &rings);
        let width = |span: Span| span.high_ms as f64 / span.low_ms as f64;
        let (samples, _) = run(&fleet, 2, 1.5, 0.3, &mut Rng::with_seed(1));
        let after = |tenants: usize| {
            let done: Vec<Sample> = samples
                .iter()
                .filter(|it| fleet[..tenants].iter().any(|tenant| tenant.tenant == it.tenant))
                .cloned()
                .collect();
            estimate(&done, &fleet[tenants..], 2)
        };
        let (before, early, late) = (after(0), after(5), after(75));
        assert_eq!((before.tenants_known, early.tenants_known), (0, 5));
        let widths = [before, early.clone(), late].map(|estimate| width(estimate.overall));
        assert!(widths.is_sorted_by(|a, b| a > b) && widths[2] < 1.6, "{widths:?}");
        assert_eq!(early.rings.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        let of_rings: Vec<u64> = early.rings.values().map(|span| span.expected_ms).collect();
        assert!(of_rings.is_sorted() && of_rings.last() == Some(&early.overall.expected_ms));
        assert_eq!(early.tenants.len(), 195);
        assert!(early.tenants.values().all(|span| span.low_ms <= span.expected_ms));
        assert_eq!(estimate(&samples, &[], 2), Estimate { tenants_known: 200, ..Estimate::default() });
    }

    #[test]
    fn steps_beside_each_other_and_pauses_count() {
        let at = |ms: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_millis(ms);
        let sample = |tenant: &str, step: &str, from, to| Sample {
            tenant: TenantId::new(tenant),
            step: step.to_owned(),
            bytes: 0,
            began_at: at(from),
            ended_at: at(to),
        };
        let (a, b) = (sample("1", "a", 0, 1_000), sample("1", "b", 0, 1_000));
        assert_eq!(pace(&[&a, &b]), 0.5);
        assert_eq!(crowds(&[&a, &b]), [2.0, 2.0]);
        let late = sample("1", "b", 3_000, 4_000);
        assert_eq!(pace(&[&a, &late]), 2.0);
        let half = sample("2", "a", 500, 1_500);
        assert_eq!(crowds(&[&a, &half]), [1.5, 1.5]);
    }
}
