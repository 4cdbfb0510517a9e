//! `--memory` is a setting that holds for every command that reads rows (P8), whatever the size of a tenant or of the
//! snapshot: peaks of the real command line, on real PostgreSQL. What does not fit goes to files, and the rows are
//! the right ones all the same.

use crate::cluster::{Cluster, psql};
use crate::world::{Run, command, output, output_and_peak};

/// A tracker of sites, issues and comments. Comments come first by name, and point at issues of the other end.
struct Tracker {
    url: String,
    folder: tempfile::TempDir,
}

/// What the code of a debug build takes beyond that of a release build, at the least: `reinstate --version` holds
/// 18 and 8 MiB.
const DEBUG_CODE: u64 = if cfg!(debug_assertions) { 8 << 20 } else { 0 };

impl Tracker {
    /// So many rows; `site` is whose issue number `g` is, of so many sites.
    fn new(sites: u32, issues: u32, comments: u32, site: &str) -> Self {
        let tracker =
            Self { url: Cluster::start().new_database(), folder: tempfile::tempdir().expect("temp dir") };
        tracker.sql(&format!(
            "CREATE TABLE sites (id bigint PRIMARY KEY, name text NOT NULL);
             CREATE TABLE issues (id bigint PRIMARY KEY, site bigint NOT NULL REFERENCES sites, title text NOT NULL);
             CREATE TABLE comments (id bigint PRIMARY KEY, issue bigint NOT NULL REFERENCES issues,
                 answers bigint REFERENCES comments, body text NOT NULL);
             INSERT INTO sites SELECT g, 'site ' || g FROM generate_series(1, {sites}) g;
             INSERT INTO issues SELECT g, {site}, 'the quick brown fox ' || g FROM generate_series(1, {issues}) g;
             INSERT INTO comments SELECT g, 1 + (g::bigint * 7919) % {issues},
                 CASE WHEN g % 3 = 0 AND g + {issues} <= {comments} THEN g + {issues} END,
                 'jumps over the lazy dog ' || g || repeat('x', 60) FROM generate_series(1, {comments}) g;
             CREATE INDEX ON issues (site);
             CREATE INDEX ON comments (issue);
             CREATE INDEX ON comments (answers);
             ANALYZE"
        ));
        let (shard, store) = (format!("bank={}", tracker.url), tracker.folder.path().join("store"));
        let store = format!("file://{}", store.display());
        tracker.run(&["init", "--shard", &shard, "--root", "public.sites", "--store", &store]).exits(0);
        tracker
    }

    fn sql(&self, sql: &str) -> String {
        psql(&self.url, sql)
    }

    fn run(&self, args: &[&str]) -> Run {
        output(command(self.folder.path(), args))
    }

    /// Runs a command with so many MiB; its peak.
    fn peak(&self, args: &[&str], code: i32, setting: u64) -> u64 {
        let memory = format!("{setting}MiB");
        let args = [args, &["--memory", &memory]].concat();
        let (run, peak) = output_and_peak(command(self.folder.path(), &args));
        let _ = run.exits(code);
        let most = (setting << 20) + DEBUG_CODE;
        assert!(
            (1 << 20..most).contains(&peak),
            "{} held {} KiB of {}",
            args.join(" "),
            peak >> 10,
            most >> 10
        );
        peak
    }

    /// Deletes these sites, all of them.
    fn delete(&self, sites: &str) {
        self.sql(&format!(
            "DELETE FROM comments USING issues WHERE comments.issue = issues.id AND issues.site IN ({sites});
             DELETE FROM issues WHERE site IN ({sites});
             DELETE FROM sites WHERE id IN ({sites})"
        ));
    }

    /// Rows and a hash of every row's text, by queries outside the engine.
    fn checksum(&self) -> Vec<String> {
        let one = |table: &&str| {
            let hash = "sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint::numeric)";
            self.sql(&format!("SELECT count(*), {hash} FROM {table} t"))
        };
        ["sites", "issues", "comments"].iter().map(one).collect()
    }

    fn list(&self, sites: &[u32]) {
        let list: String = sites.iter().map(|site| format!("{site}\n")).collect();
        std::fs::write(self.folder.path().join("sites.txt"), list).expect("list");
    }
}

#[test]
fn one_huge_tenant_comes_back_within_the_setting() {
    // All but a few rows are site 1's: 300,000, in 40 MB.
    let tracker = Tracker::new(5, 100_000, 200_000, "CASE WHEN g > 1000 THEN 1 ELSE 1 + g % 5 END");
    let before = tracker.checksum();
    tracker.list(&[1]);
    tracker.peak(&["snapshot", "create"], 0, 64);
    tracker.delete("1");
    tracker.peak(&["diff", "-o", "gone.txt"], 0, 64);
    tracker.peak(&["plan", "--tenants", "gone.txt", "-o", "plan.json"], 0, 64);
    tracker.peak(&["apply", "plan.json", "--confirm", "1"], 0, 64);
    tracker.peak(&["verify", "plan.json"], 0, 64);
    assert_eq!(tracker.checksum(), before, "every row is what it was");

    // Damaged: most rows are live, some are gone.
    tracker.sql("DELETE FROM comments WHERE id % 7 = 0 AND id <= 100000 AND issue > 1000");
    tracker.peak(&["verify", "plan.json"], 1, 80);
    let plan = ["plan", "--tenants", "sites.txt", "--on-conflict", "skip-identical", "-o", "rest.json"];
    tracker.peak(&plan, 0, 80);
    tracker.peak(&["apply", "rest.json", "--confirm", "1"], 0, 80);
    assert_eq!(tracker.checksum(), before, "every row is what it was");
}

#[test]
fn a_snapshot_ten_times_as_large_takes_no_more_memory() {
    let sites: Vec<u32> = (1..=20).collect();
    let list = sites.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let peaks = |size: u32| {
        let tracker = Tracker::new(60 * size, 3_000 * size, 6_000 * size, &format!("1 + g % {}", 60 * size));
        let before = tracker.checksum();
        tracker.list(&sites);
        tracker.run(&["snapshot", "create"]).exits(0);
        tracker.delete(&list);
        let plan = [
            "plan",
            "--tenants",
            "sites.txt",
            "--max-tenants",
            "20",
            "--reason",
            "a test",
            "-o",
            "plan.json",
        ];
        let plan = tracker.peak(&plan, 0, 64);
        let apply = tracker.peak(&["apply", "plan.json", "--confirm", "20"], 0, 64);
        let verify = tracker.peak(&["verify", "plan.json"], 0, 64);
        assert_eq!(tracker.checksum(), before, "every row is what it was");
        [plan, apply, verify]
    };
    let (small, large) = (peaks(1), peaks(10));
    let is_flat = small.iter().zip(&large).all(|(small, large)| *large < small + (6 << 20));
    assert!(is_flat, "plan, apply and verify held {small:?} bytes, and of ten times as many rows {large:?}");
}
