//! A thousand tables: what a command costs must follow the rows, not the schema.
//!
//! A tree of foreign keys under the tenants (four tables below each table), 50 tenants, each with rows in one
//! branch of it. The server logs every statement, so that round trips are counted outside the engine.

use std::fmt::Write;
use std::time::Instant;

use crate::cluster::{Cluster, psql};
use crate::world::{command, output};

const TABLES: usize = 1_000;
const TENANTS: usize = 50;
/// Tables below each table.
const BRANCHES: usize = 4;
/// Victims of the test; tenant N starts its walk at table N, so all walk different ways.
const VICTIMS: [usize; 10] = [1, 2, 3, 7, 11, 19, 23, 37, 41, 50];
/// Tables next to the root in which a tenant begins.
const STARTS: usize = 5;

/// The table above; table 0 is the root.
fn parent(table: usize) -> usize {
    (table - 1) / BRANCHES
}

/// The tables in which a tenant has rows: some leaves with all that is above them, parents first.
fn tables_of(tenant: usize) -> Vec<usize> {
    let mut tables = std::collections::BTreeSet::new();
    for start in 0..STARTS {
        let mut table = TABLES - 1 - (tenant * 17 + start * 191) % 700;
        while table > 0 {
            tables.insert(table);
            table = parent(table);
        }
    }
    tables.into_iter().collect()
}

fn schema() -> String {
    let mut sql = String::from("CREATE TABLE t0 (id bigint PRIMARY KEY, name text NOT NULL);\n");
    for table in 1..TABLES {
        let up = parent(table);
        let _ = writeln!(
            sql,
            "CREATE TABLE t{table} (id bigint PRIMARY KEY, up bigint NOT NULL REFERENCES t{up}, note text);
             CREATE INDEX ON t{table} (up);"
        );
    }
    sql
}

fn rows() -> String {
    let mut sql = String::new();
    for tenant in 1..=TENANTS {
        let _ = writeln!(sql, "INSERT INTO t0 VALUES ({tenant}, 'tenant {tenant}');");
        for table in tables_of(tenant) {
            let up = if parent(table) == 0 { tenant } else { tenant * 10 };
            let _ = writeln!(
                sql,
                "INSERT INTO t{table} VALUES ({}, {up}, 'naïve'), ({}, {up}, NULL);",
                tenant * 10,
                tenant * 10 + 1
            );
        }
    }
    sql
}

/// All rows of all tables as sorted text, by one query outside the engine.
fn dump(url: &str) -> String {
    let selects: Vec<String> =
        (0..TABLES).map(|table| format!("SELECT 't{table} ' || t::text AS line FROM t{table} t")).collect();
    psql(url, &format!("SELECT line FROM ({}) every ORDER BY line", selects.join(" UNION ALL ")))
}

fn delete(url: &str) {
    let mut sql = String::from("BEGIN;\n");
    for tenant in VICTIMS {
        for table in tables_of(tenant).into_iter().rev() {
            let _ = writeln!(sql, "DELETE FROM t{table} WHERE id / 10 = {tenant};");
        }
        let _ = writeln!(sql, "DELETE FROM t0 WHERE id = {tenant};");
    }
    psql(url, &(sql + "COMMIT;"));
}

/// Statements that the server has executed so far: COPY, simple and prepared ones.
fn statements(cluster: &Cluster) -> usize {
    let log = cluster.log();
    log.lines().filter(|line| line.contains("LOG:  statement: ") || line.contains("LOG:  execute ")).count()
}

#[test]
fn a_table_without_rows_of_the_tenant_costs_no_round_trip() {
    let settings = [("log_statement", "all"), ("max_locks_per_transaction", "256")];
    let cluster = Cluster::start_with(&settings);
    let url = cluster.new_database();
    psql(&url, &format!("BEGIN; {} {} COMMIT", schema(), rows()));
    let folder = tempfile::tempdir().expect("temp dir");
    let list: String = VICTIMS.iter().map(|tenant| format!("{tenant}\n")).collect();
    std::fs::write(folder.path().join("tenants.txt"), list).expect("list");
    let run = |args: &[&str]| {
        let (before, start) = (statements(&cluster), Instant::now());
        let run = output(command(folder.path(), args)).exits(0);
        let count = statements(&cluster) - before;
        eprintln!("{}: {:.1} s, {count} statements", args[0], start.elapsed().as_secs_f64());
        (run, count)
    };

    let store = format!("file://{}", folder.path().join("store").display());
    let shard = format!("wide={url}");
    let (_, init) = run(&["init", "--shard", &shard, "--root", "public.t0", "--store", &store]);
    assert!(init < 40, "the catalog is read in a few queries: {init}");
    run(&["snapshot", "create"]);
    let before = dump(&url);
    delete(&url);
    assert_ne!(dump(&url), before);
    run(&["plan", "--tenants", "tenants.txt", "-o", "plan.json"]);
    let (_, apply) = run(&["apply", "plan.json", "--confirm", &VICTIMS.len().to_string()]);
    assert_eq!(dump(&url), before, "every row of every table is as before");

    // One COPY in and one COPY out for each table that holds rows, and a dozen for the transaction itself.
    let held: usize = VICTIMS.iter().map(|tenant| 1 + tables_of(*tenant).len()).sum();
    assert!(held / VICTIMS.len() < 30, "a tenant has rows in few tables: {held}");
    let bound = 2 * held + 20 * VICTIMS.len() + 60;
    assert!(apply < bound, "{apply} statements for {held} tables with rows of {} tenants", VICTIMS.len());
    run(&["verify", "plan.json"]);
}
