//! A workload nobody here wrote: pgbench's tables on real PostgreSQL, the tenant is the branch (`bid`), and pgbench
//! itself is the neighbour. No foreign keys, no index on the tenant column, a table without a primary key.

use std::process::{Child, Command, Stdio};

use crate::cluster::{Cluster, binary, psql};
use crate::world::{Run, command, output, output_and_peak};

const VICTIMS: [u32; 3] = [1, 2, 3];

/// pgbench's own transaction, on the branches that nobody deleted.
const NEIGHBOURS: &str = "\
\\set bid random(4, 20)
\\set aid random(1, 100000) + (:bid - 1) * 100000
\\set tid random(1, 10) + (:bid - 1) * 10
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
";

const TABLES: [&str; 4] = ["pgbench_branches", "pgbench_tellers", "pgbench_accounts", "pgbench_history"];

struct Bank {
    url: String,
    folder: tempfile::TempDir,
}

impl Bank {
    fn pgbench(&self, args: &[&str]) -> Command {
        let mut pgbench = Command::new(binary("pgbench"));
        pgbench.args(args).arg(&self.url).stdout(Stdio::null()).stderr(Stdio::null());
        pgbench
    }

    fn neighbours(&self) -> Neighbours {
        let script = self.folder.path().join("neighbours.sql");
        std::fs::write(&script, NEIGHBOURS).expect("script");
        let script = script.display().to_string();
        Neighbours(
            self.pgbench(&["-n", "-c", "2", "-T", "3600", "-R", "150", "-f", &script])
                .spawn()
                .expect("pgbench"),
        )
    }

    /// Rows and a hash of every row's text, table by table, by a query outside the engine.
    fn checksum(&self, filter: &str) -> Vec<String> {
        let one = |table: &&str| {
            let sql = format!(
                "SELECT count(*), sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint::numeric),
                        sum(('x' || substr(md5(t::text), 16, 15))::bit(60)::bigint::numeric)
                 FROM {table} t WHERE {filter}"
            );
            format!("{table} {}", psql(&self.url, &sql).trim())
        };
        TABLES.iter().map(one).collect()
    }

    fn reinstate(&self, args: &[&str]) -> Run {
        output(command(self.folder.path(), args))
    }

    fn restore(&self, victims: &[u32], plan: &str) {
        let list: String = victims.iter().map(|bid| format!("{bid}\n")).collect();
        std::fs::write(self.folder.path().join("bids.txt"), list).expect("list");
        let run = self.reinstate(&["plan", "--tenants", "bids.txt", "-o", plan]).exits(0);
        assert!(run.stdout.contains("public.pgbench_accounts"), "{}", run.stdout);
        let apply = command(self.folder.path(), &["apply", plan, "--confirm", &victims.len().to_string()]);
        let (run, peak) = output_and_peak(apply);
        let _ = run.exits(0);
        assert!((1 << 20..96 << 20).contains(&peak), "apply held {} MiB", peak >> 20);
    }
}

/// pgbench in the background.
struct Neighbours(Child);

impl Neighbours {
    fn stop(mut self) {
        self.assert_at_work();
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }

    fn assert_at_work(&mut self) {
        assert!(self.0.try_wait().expect("wait").is_none(), "pgbench has ended: its neighbours met an error");
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn three_branches_come_back_while_pgbench_goes_on() {
    let cluster = Cluster::start();
    let bank = Bank { url: cluster.new_database(), folder: tempfile::tempdir().expect("temp dir") };
    assert!(bank.pgbench(&["-i", "-q", "-s", "20"]).status().expect("pgbench").success());
    // History for every branch, the victims' too.
    assert!(bank.pgbench(&["-n", "-t", "300", "-c", "2"]).status().expect("pgbench").success());

    let store = format!("file://{}", bank.folder.path().join("store").display());
    let shard = format!("bank={}", bank.url);
    bank.reinstate(&["init", "--shard", &shard, "--root", "public.pgbench_branches", "--store", &store])
        .exits(0);
    let victims = VICTIMS.map(|bid| bid.to_string()).join(", ");
    let (theirs, others) = (format!("bid IN ({victims})"), format!("bid NOT IN ({victims})"));
    let before = bank.checksum(&theirs);
    assert!(before[2].starts_with("pgbench_accounts 300000|"), "{before:?}");
    assert!(!before[3].starts_with("pgbench_history 0|"), "the victims have history: {before:?}");

    let mut pgbench = bank.neighbours();
    // Two million rows, 220 MB on their way, in less memory than that (P8).
    let create = command(bank.folder.path(), &["snapshot", "create", "--memory", "64MiB"]);
    let (run, peak) = output_and_peak(create);
    let _ = run.exits(0);
    assert!((1 << 20..180 << 20).contains(&peak), "create held {} MiB", peak >> 20);
    for table in TABLES.iter().rev() {
        psql(&bank.url, &format!("DELETE FROM {table} WHERE {theirs}"));
    }
    // Two branches while pgbench is at work.
    bank.restore(&VICTIMS[..2], "first.json");
    pgbench.assert_at_work();
    pgbench.stop();

    // The third with pgbench stopped, to compare the neighbours just before and just after.
    let neighbours = bank.checksum(&others);
    bank.restore(&VICTIMS[2..], "second.json");
    assert_eq!(bank.checksum(&others), neighbours, "every other row is what pgbench left");
    assert_eq!(bank.checksum(&theirs), before, "the three branches are the snapshot's");

    let pgbench = bank.neighbours();
    bank.reinstate(&["verify", "first.json"]).exits(0);
    bank.reinstate(&["verify", "second.json"]).exits(0);
    pgbench.stop();
}
