//! Random schemas, random rows, random victims: what comes back is what a brute-force computation in memory says,
//! row for row, and nothing else changed.
//!
//! ```text
//! seed ─► schema ─► rows ─► SQL ─► snapshot ─► victims' rows deleted ─► neighbours write ─► plan, apply, verify
//!           └► rules as a reinstate.toml          └ by brute force        └ in memory too    └► compare all rows
//! ```
//!
//! `REINSTATE_PROPERTY_CASES=5000` runs more cases, `REINSTATE_PROPERTY_SEED=17` only that one; a case that fails
//! prints its seed, tables, rules and victims.

mod case;
mod neighbours;
mod owners;
mod rows;
mod schema;
mod sql;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::cluster::Cluster;

const CASES_DEFAULT: u64 = 300;
const WORKERS: usize = 4;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn random_tenants_of_random_schemas_come_back_and_nothing_else_changes() {
    let seeds = match setting("REINSTATE_PROPERTY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("REINSTATE_PROPERTY_CASES").unwrap_or(CASES_DEFAULT),
    };
    let count = seeds.end - seeds.start;
    let next = Arc::new(AtomicU64::new(seeds.start));
    let failures = Arc::new(Mutex::new(Vec::new()));
    let totals = Arc::new(Mutex::new(case::Totals::default()));
    let workers: Vec<_> = (0..WORKERS.min(usize::try_from(count).expect("a small number")))
        .map(|_| {
            let (next, failures, totals) = (next.clone(), failures.clone(), totals.clone());
            let end = seeds.end;
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    let mut bench = case::Bench::open(&Cluster::start().new_database()).await;
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return;
                        }
                        match bench.run(seed).await {
                            Ok(seen) => totals.lock().expect("totals").add(&seen),
                            Err(failure) => {
                                eprintln!("seed {seed}: {}", failure.lines().next().unwrap_or_default());
                                failures.lock().expect("failures").push((seed, failure));
                            }
                        }
                    }
                });
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("a worker");
    }
    let mut failures = std::mem::take(&mut *failures.lock().expect("failures"));
    failures.sort();
    let totals = totals.lock().expect("totals");
    eprintln!("{count} cases: {totals}");
    if let Some((seed, failure)) = failures.first() {
        panic!("{} of {count} cases failed; REINSTATE_PROPERTY_SEED={seed}:\n{failure}", failures.len());
    }
    assert!(count == 1 || totals.is_varied(count), "{totals}");
}
