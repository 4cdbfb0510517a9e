//! Fidelity: what comes back is what was there, bit for bit, for every type and every kind of table.
//!
//! The oracle is `COPY … (FORMAT binary)` of whole tables by psql, before the deletion and after the restore.

use std::process::Stdio;

use crate::cluster::{Cluster, psql};
use crate::world::{Run, command, output};

/// One database with a root table `public.sites` (tenants 1 to 3), a configuration and a store.
pub struct Shop {
    pub dir: tempfile::TempDir,
    pub url: String,
}

const SITES: &str = "create table public.sites (id int primary key, name text);
    insert into public.sites values (1, 'victim'), (2, 'neighbour'), (3, 'other');\n";

impl Shop {
    pub fn new(sql: &str) -> Self {
        let url = Cluster::start().new_database();
        psql(&url, &format!("{SITES}{sql}"));
        Self { dir: tempfile::tempdir().expect("temp dir"), url }
    }

    pub fn init(&self) {
        self.try_init().exits(0);
    }

    #[must_use = "assert the exit code"]
    pub fn try_init(&self) -> Run {
        let store = format!("file://{}", self.dir.path().join("store").display());
        let shard = format!("main={}", self.url);
        self.run(&["init", "--shard", &shard, "--root", "public.sites", "--store", &store])
    }

    pub fn with_snapshot(sql: &str) -> Self {
        let shop = Self::new(sql);
        shop.init();
        shop.run(&["snapshot", "create"]).exits(0);
        shop
    }

    pub fn run(&self, args: &[&str]) -> Run {
        output(command(self.dir.path(), args))
    }

    pub fn sql(&self, sql: &str) -> String {
        psql(&self.url, sql)
    }

    #[must_use = "assert the exit code"]
    pub fn plan(&self) -> Run {
        self.plan_with(&[])
    }

    /// A plan for tenant 1 with more arguments.
    #[must_use = "assert the exit code"]
    pub fn plan_with(&self, more: &[&str]) -> Run {
        std::fs::write(self.dir.path().join("tenants.txt"), "1\n").expect("write");
        let _ = std::fs::remove_file(self.dir.path().join("plan.json"));
        self.run(&[&["plan", "--tenants", "tenants.txt", "-o", "plan.json"], more].concat())
    }

    pub fn apply(&self) -> Run {
        self.run(&["apply", "plan.json", "--confirm", "1"])
    }

    /// The binary form of what a query selects.
    pub fn binary(&self, query: &str) -> Vec<u8> {
        let file = self.dir.path().join("copy.bin");
        psql(&self.url, &format!("\\copy ({query}) to '{}' (format binary)", file.display()));
        std::fs::read(file).expect("read")
    }

    pub fn binaries(&self, queries: &[&str]) -> Vec<Vec<u8>> {
        queries.iter().map(|query| self.binary(query)).collect()
    }
}

fn assert_equal(queries: &[&str], before: &[Vec<u8>], after: &[Vec<u8>]) {
    for (query, (before, after)) in queries.iter().zip(before.iter().zip(after)) {
        assert!(before.len() > 21, "{query}: no rows to compare");
        assert!(before == after, "{query}: {} bytes before, {} after", before.len(), after.len());
    }
}

#[test]
fn every_type_comes_back_bit_for_bit() {
    let shop = Shop::with_snapshot(include_str!("fidelity/types.sql"));
    let queries = ["select * from app.torture order by k", "select * from public.sites order by id"];
    let before = shop.binaries(&queries);
    assert!(before[0].len() > 500_000, "the long values are there: {} bytes", before[0].len());
    shop.sql("delete from app.torture where site = 1; delete from public.sites where id = 1");
    assert_ne!(before, shop.binaries(&queries));
    shop.plan().exits(0);
    shop.apply().exits(0);
    assert_equal(&queries, &before, &shop.binaries(&queries));
    shop.run(&["verify", "plan.json"]).exits(0);
}

/// PostgreSQL sends an empty tsquery, but takes none back in binary form: COPY of its own output fails too.
#[test]
fn an_empty_tsquery_is_refused_by_name_when_the_plan_is_made() {
    let shop = Shop::with_snapshot(
        "create table searches (k int primary key, site_id int not null references sites, query tsquery);
         insert into searches values (1, 1, ''), (2, 2, 'a & b');",
    );
    let file = shop.dir.path().join("own.bin");
    shop.binary("select * from searches");
    std::fs::rename(shop.dir.path().join("copy.bin"), &file).expect("rename");
    let own =
        format!("create temp table t (like searches);\n\\copy t from '{}' (format binary)", file.display());
    let url = shop.url.clone();
    let refused = std::panic::catch_unwind(|| psql(&url, &own)).expect_err("psql takes it back");
    let said = refused.downcast_ref::<String>().expect("a message");
    assert!(said.contains("malformed tsquery"), "{said}");
    shop.sql("delete from searches where site_id = 1; delete from sites where id = 1");
    let plan = shop.plan().exits(6);
    let said = "column 'query' of table 'public.searches': that of k=1 \
                is empty, which PostgreSQL sends but does not take back";
    assert!(plan.error().contains(said), "{}", plan.error());
}

#[test]
fn every_kind_of_table_comes_back() {
    let shop = Shop::with_snapshot(include_str!("fidelity/tables.sql"));
    let queries = [
        "select * from always order by k",
        "select * from by_default order by k",
        "select * from events order by site_id, at",
        "select * from keyless t order by t::text",
        "select * from ranked order by k",
        "select * from \"Sales Dept\".\"Odd \"\" name\" order by \"select\"",
        "select * from \"Sales Dept\".\"a.b\" order by 1",
        "select * from \"user\" order by 1",
        "select * from only pets order by k",
        "select * from dogs order by k",
        "select k, site_id, a, b from shuffled order by k",
    ];
    let before = shop.binaries(&queries);
    shop.sql(
        "delete from always where site_id = 1; delete from by_default where site_id = 1;
         delete from events where site_id = 1; delete from keyless where site_id = 1;
         delete from ranked where site_id = 1; delete from \"Sales Dept\".\"Odd \"\" name\" where \"Site Nr\" = 1;
         delete from \"Sales Dept\".\"a.b\" where \"group\" = 1; delete from \"user\" where \"table\" = 1;
         delete from pets where site_id = 1; delete from shuffled where site_id = 1;
         delete from sites where id = 1;",
    );
    // Since the snapshot: other partitions, and a table with another order of columns.
    shop.sql(
        "alter table events detach partition events_2026;
         create table events_2026_a partition of events for values from ('2026-01-01') to ('2026-07-01');
         create table events_2026_b partition of events for values from ('2026-07-01') to ('2027-01-01');
         insert into events select * from events_2026;
         drop table events_2026;
         create table again (b int, gone text, site_id int not null references sites, a text, k int primary key);
         insert into again (k, site_id, a, b) select k, site_id, a, b from shuffled;
         drop table shuffled;
         alter table again drop column gone;
         alter table again rename to shuffled;",
    );
    shop.plan().exits(0);
    shop.apply().exits(0);
    assert_equal(&queries, &before, &shop.binaries(&queries));
    assert_eq!(shop.sql("select count(*) from events_2026_a where site_id = 1"), "1");
    assert_eq!(shop.sql("select count(*) from events_2026_b where site_id = 1"), "1");
    assert_eq!(
        shop.sql("insert into always (site_id, a) values (2, 1) returning k"),
        "7",
        "beyond what was restored"
    );
    shop.run(&["verify", "plan.json"]).exits(0);
}

#[test]
fn a_missing_partition_is_named_when_the_plan_is_made() {
    let shop = Shop::with_snapshot(include_str!("fidelity/tables.sql"));
    let queries = ["select * from events order by site_id, at", "select * from always order by k"];
    let before = shop.binaries(&queries);
    shop.sql(
        "delete from always where site_id = 1; delete from by_default where site_id = 1;
         delete from events where site_id = 1; delete from keyless where site_id = 1;
         delete from ranked where site_id = 1; delete from \"Sales Dept\".\"Odd \"\" name\" where \"Site Nr\" = 1;
         delete from \"Sales Dept\".\"a.b\" where \"group\" = 1; delete from \"user\" where \"table\" = 1;
         delete from pets where site_id = 1; delete from shuffled where site_id = 1;
         delete from sites where id = 1;
         drop table events_2025;",
    );
    let plan = shop.plan().exits(6);
    let said = "table 'public.events' has no partition to go to: ";
    assert!(plan.error().contains(said), "{}", plan.error());
    // What the message asks for is enough.
    shop.sql("create table events_2025 partition of events for values from ('2025-01-01') to ('2026-01-01')");
    shop.plan().exits(0);
    shop.apply().exits(0);
    assert_equal(&queries, &before, &shop.binaries(&queries));
}

#[test]
fn a_deferrable_key_that_a_neighbour_took_is_found_by_the_plan_or_rolls_the_tenant_back() {
    let shop = Shop::with_snapshot(
        "create table slots (k int primary key, site_id int not null references sites, slot int,
                             unique (slot) deferrable initially deferred);
         insert into slots values (1, 1, 10), (2, 2, 20);",
    );
    shop.sql("delete from slots where site_id = 1; delete from sites where id = 1; insert into slots values (3, 2, 10)");
    let plan = shop.plan().exits(6);
    assert!(
        plan.error().contains("('slots_slot_key') that is taken: k=1 by k=3 of tenant 2"),
        "{}",
        plan.error()
    );
    shop.sql("delete from slots where k = 3");
    shop.plan().exits(0);
    // Taken after the dry run.
    shop.sql("insert into slots values (3, 2, 10)");
    let apply = shop.apply();
    assert!(apply.code == 5 && apply.stdout.contains("slots_slot_key"), "{}", apply.stdout);
    assert_eq!(shop.sql("select k, slot from slots order by k"), "2|20\n3|10");
}

#[test]
fn row_security_is_refused_by_name_when_the_plan_is_made() {
    let shop = Shop::with_snapshot(
        "create table notes (k int primary key, site_id int not null references sites, body text);
         insert into notes values (1, 1, 'mine'), (2, 2, 'theirs');",
    );
    let database = shop.url.rsplit('/').next().expect("database").to_owned();
    shop.sql(
        "delete from notes where site_id = 1; delete from sites where id = 1;
         alter table notes enable row level security;
         create role secured login; grant select, insert on all tables in schema public to secured;",
    );
    let config = shop.dir.path().join("reinstate.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    let secured = Cluster::start().url_as("secured", &database);
    std::fs::write(&config, text.replace(&shop.url, &secured)).expect("write");
    let plan = shop.plan().exits(3);
    assert!(plan.error().contains("'public.notes'"), "{}", plan.error());
    assert!(plan.error().contains("row security hides rows; use a role with BYPASSRLS"), "{}", plan.error());
}

#[test]
fn a_large_object_that_went_with_its_tenant_is_refused_by_name() {
    let shop = Shop::with_snapshot(
        "create extension lo;
         create table files (k int primary key, site_id int not null references sites, body lo, raw oid, other oid);
         select lo_from_bytea(7, 'text'), lo_from_bytea(8, 'text');
         insert into files values (1, 1, 7, 8, 99), (2, 1, null, null, 99);",
    );
    shop.sql("delete from files; delete from sites where id = 1");
    shop.plan().exits(0);
    shop.sql("select lo_unlink(7)");
    let plan = shop.plan().exits(6);
    let refused = "column 'body' of table 'public.files' names large objects that are gone, and snapshots do not \
                   hold them: k=1";
    assert!(plan.error().contains(refused), "{}", plan.error());
    assert!(!plan.error().contains("'raw'") && !plan.error().contains("'other'"), "{}", plan.error());
}

/// Runs to the end; returns the highest resident set in MiB that was seen.
fn peak(shop: &Shop, args: &[&str]) -> u64 {
    let mut child = command(shop.dir.path(), args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) / 1024);
        if let Some(status) = child.try_wait().expect("wait") {
            assert!(status.success(), "{args:?}: {status}");
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_value_of_a_hundred_megabytes_comes_back() {
    let shop = Shop::new(
        "create table blobs (k int primary key, site_id int not null references sites, body bytea);
         alter table blobs alter body set storage external;
         insert into blobs select 1, 1, decode(repeat(string_agg(md5(n::text), ''), 100), 'hex')
             from generate_series(1, 65536) n;
         insert into blobs values (2, 2, 'small');",
    );
    shop.init();
    let sums = "select k, length(body), sha256(body) from blobs order by k";
    let before = shop.sql(sums);
    assert!(before.contains("|104857600|"), "{before}");
    let create = peak(&shop, &["snapshot", "create"]);
    shop.sql("delete from blobs where site_id = 1; delete from sites where id = 1");
    shop.plan().exits(0);
    let apply = peak(&shop, &["apply", "plan.json", "--confirm", "1"]);
    assert_eq!(shop.sql(sums), before);
    eprintln!("peak memory with a value of 100 MiB: create {create} MiB, apply {apply} MiB");
    // A value is never cut, so that some copies of it are in memory at a time; not a number of them without bound.
    assert!(create < 1600 && apply < 1600, "create {create} MiB, apply {apply} MiB");
}

/// The statements of the page, as they stand there.
fn documented_grants() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/privileges.md");
    let text = std::fs::read_to_string(page).expect("docs/privileges.md");
    let blocks: Vec<String> = text
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("end of the block").to_owned())
        .collect();
    assert_eq!(blocks.len(), 2, "the journal, and the tables");
    blocks
}

#[test]
fn the_documented_privileges_are_enough_and_needed() {
    let admin = Cluster::start().create_database("shop");
    psql(
        &admin,
        "revoke all on database shop from public; revoke all on schema public from public;
         create schema app;
         create table app.sites (id int primary key, name text);
         create table app.posts (k int generated always as identity primary key,
                                 site_id int not null references app.sites, body text);
         insert into app.sites values (1, 'victim'), (2, 'neighbour');
         insert into app.posts (site_id, body) select 1 + n % 2, n::text from generate_series(1, 50) n;",
    );
    let [journal, tables] = &documented_grants()[..] else { unreachable!("counted") };
    psql(&admin, journal);
    let url = Cluster::start().url_as("restorer", "shop");
    let shop = Shop { dir: tempfile::tempdir().expect("temp dir"), url };
    let store = format!("file://{}", shop.dir.path().join("store").display());
    let shard = format!("main={}", shop.url);
    shop.run(&["init", "--shard", &shard, "--root", "app.sites", "--store", &store]).exits(0);
    shop.run(&["snapshot", "create"]).exits(3);
    psql(&admin, tables);
    shop.run(&["snapshot", "create"]).exits(0);
    let rows = "select t::text from app.posts t order by k";
    let before = psql(&admin, rows);
    psql(
        &admin,
        "delete from app.posts where site_id = 1; delete from app.sites where id = 1;
                  select setval('app.posts_k_seq', 1)",
    );
    psql(&admin, "revoke insert on app.posts from restorer");
    let refused = shop.plan().exits(3);
    assert!(refused.error().contains("role 'restorer' has no insert privilege on it"), "{}", refused.error());
    psql(&admin, "revoke update on sequence app.posts_k_seq from restorer");
    psql(&admin, tables);
    shop.plan().exits(0);
    shop.apply().exits(0);
    assert_eq!(psql(&admin, rows), before);
    assert_eq!(psql(&admin, "select last_value from app.posts_k_seq"), "50");
    shop.run(&["verify", "plan.json"]).exits(0);
}
