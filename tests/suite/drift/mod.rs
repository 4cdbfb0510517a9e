//! Drift: the schema changes between the snapshot and the restore. Every change is decided in the plan, none by a
//! statement that fails.
//!
//! ```text
//! cases   one table and one tenant each      live     snapshot, victims deleted, schema changed, restored
//!                                            mirror   nobody deleted, schema changed: what the server itself makes
//!                                                     of the rows is the oracle
//! ```

mod cases;
mod tables;

use cases::{CASES, Case, DECLARED, Decision, TYPES};

use crate::cluster::{Cluster, psql};
use crate::world::{Run, command, output};

const NEIGHBOUR: usize = 1000;

/// A database with a store and a configuration.
struct Place {
    dir: tempfile::TempDir,
    url: String,
}

impl Place {
    fn new(sql: &str) -> Self {
        let url = Cluster::start().new_database();
        psql(&url, sql);
        Self { dir: tempfile::tempdir().expect("temp dir"), url }
    }

    fn take_snapshot(&self) {
        let store = format!("file://{}", self.dir.path().join("store").display());
        let shard = format!("main={}", self.url);
        self.run(&["init", "--shard", &shard, "--root", "public.sites", "--store", &store]).exits(0);
        self.run(&["snapshot", "create"]).exits(0);
    }

    fn configure(&self, text: &str) {
        let path = self.dir.path().join("reinstate.toml");
        let config = std::fs::read_to_string(&path).expect("read");
        std::fs::write(path, format!("{config}\n{text}")).expect("write");
    }

    fn run(&self, args: &[&str]) -> Run {
        output(command(self.dir.path(), args))
    }

    fn plan(&self, tenants: &[usize], more: &[&str]) -> Run {
        let list: String = tenants.iter().map(|tenant| format!("{tenant}\n")).collect();
        std::fs::write(self.dir.path().join("tenants.txt"), list).expect("write");
        let _ = std::fs::remove_file(self.dir.path().join("plan.json"));
        let plan = [
            "plan",
            "--tenants",
            "tenants.txt",
            "-o",
            "plan.json",
            "--max-tenants",
            "200",
            "--reason",
            "test",
        ];
        self.run(&[&plan, more].concat())
    }

    /// The rows of these tables as text.
    fn rows(&self, tables: &[&str]) -> Vec<String> {
        rows(&self.url, tables)
    }
}

fn rows(url: &str, tables: &[&str]) -> Vec<String> {
    let of = |table: &&str| format!("select '{table}: ' || \"the row\"::text from {table} as \"the row\"");
    let sql = tables.iter().map(of).collect::<Vec<_>>().join(" union all ");
    psql(url, &format!("{sql} order by 1")).lines().map(str::to_owned).collect()
}

/// The tables of all cases with their rows; case `i` is tenant `i`.
fn schema() -> String {
    let mut sql =
        format!("create table sites (id int primary key); insert into sites values ({NEIGHBOUR}); {TYPES}");
    for (tenant, case) in CASES.iter().enumerate() {
        let Case { table, columns, victim, neighbour, .. } = case;
        sql.push_str(&format!("insert into sites values ({tenant});\n"));
        sql.push_str(&format!(
            "create table {table} ({columns}, site_id int not null references sites, k serial primary key);\n"
        ));
        let stored = columns.split(", ").filter(|column| !column.contains("generated always"));
        let names: Vec<&str> = stored.filter_map(|column| column.split(' ').next()).collect();
        let names = names.join(", ");
        let owned = victim.iter().map(|row| (row, tenant)).chain([(neighbour, NEIGHBOUR)]);
        for (row, owner) in owned {
            sql.push_str(&format!("insert into {table} ({names}, site_id) values ({row}, {owner});\n"));
        }
    }
    sql
}

fn change(case: &Case) -> String {
    case.change
        .split(' ')
        .map(|word| if word == "T" { case.table } else { word })
        .collect::<Vec<_>>()
        .join(" ")
        + ";\n"
}

fn is_covered(case: &Case) -> bool {
    matches!(case.decision, Decision::Covered(_))
}

#[test]
fn every_change_is_decided_in_the_plan_and_restored_as_the_server_would_have_changed_it() {
    assert!(CASES.len() >= 50, "{} cases", CASES.len());
    let live = Place::new(&schema());
    live.take_snapshot();
    live.configure(DECLARED);
    let mirror = Cluster::start().new_database();
    psql(&mirror, &schema());
    let deletes: String = CASES
        .iter()
        .map(|case| format!("delete from {} where site_id <> {NEIGHBOUR};\n", case.table))
        .collect();
    psql(&live.url, &format!("{deletes} delete from sites where id <> {NEIGHBOUR}"));
    psql(&live.url, &CASES.iter().map(change).collect::<String>());
    psql(&mirror, &CASES.iter().filter(|case| is_covered(case)).map(change).collect::<String>());

    let tables: Vec<&str> = CASES.iter().map(|case| case.table).chain(["sites"]).collect();
    let damaged = live.rows(&tables);
    for (tenant, Case { table, decision, .. }) in CASES.iter().enumerate() {
        match decision {
            Decision::Covered(text) => {
                let plan = live.plan(&[tenant], &[]);
                assert_eq!(plan.code, 0, "{table}: {}", plan.stderr);
                let drift: Vec<&str> =
                    plan.stdout.lines().filter(|line| line.trim().starts_with("drift: ")).collect();
                let said = if text.is_empty() {
                    drift.is_empty()
                } else {
                    drift.iter().any(|line| line.contains(text))
                };
                assert!(said, "{table}: {drift:#?} where '{text}' was to be said");
            }
            Decision::Refused(text) => {
                let plan = live.plan(&[tenant], &[]);
                assert_eq!(plan.code, 6, "{table}: {}{}", plan.stdout, plan.stderr);
                assert!(plan.error().contains(text), "{table}: {}", plan.error());
                assert!(plan.error().contains(&format!("'public.{table}'")), "{table}: {}", plan.error());
            }
        }
    }
    assert_eq!(live.rows(&tables), damaged, "plans write nothing");

    let covered: Vec<usize> = (0..CASES.len()).filter(|tenant| is_covered(&CASES[*tenant])).collect();
    live.plan(&covered, &[]).exits(0);
    live.run(&["apply", "plan.json", "--confirm", &covered.len().to_string()]).exits(0);
    live.run(&["verify", "plan.json"]).exits(0);
    for (tenant, case) in CASES.iter().enumerate() {
        if is_covered(case) {
            assert_eq!(live.rows(&[case.table]), rows(&mirror, &[case.table]), "{}", case.table);
        } else {
            let rows =
                psql(&live.url, &format!("select count(*) from {} where site_id = {tenant}", case.table));
            assert_eq!(rows, "0", "{}", case.table);
        }
    }
}
