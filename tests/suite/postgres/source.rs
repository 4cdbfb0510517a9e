use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::{StreamExt, TryStreamExt};
use reinstate::error::Kind;
use reinstate::model::{HASH_COLUMN, Rule, ShardName, TENANT_COLUMN, Tenancy, TenantId, row_hash, wire};
use reinstate::source::{Scan, live};

use super::support::*;
use crate::cluster::{Cluster, psql};

const FLEET: &str = "
create table sites (id bigint primary key, host text);
create table projects (id bigint primary key, site bigint references sites, name text);
create table issues (id bigint primary key, project bigint references projects, title text);
create table comments (id bigint primary key, issue bigint references issues, body text);
create table labels (id int, name text);
insert into sites select s, 'site ' || s from generate_series(1, 7) s;
insert into projects select p, 1 + p % 7, 'project' from generate_series(1, 50) p;
insert into projects values (51, null, 'a template of all');
insert into issues select i, 1 + i % 51, 'issue' from generate_series(1, 1000) i;
insert into comments select c, 1 + c % 1000, repeat('x', c % 50) from generate_series(1, 30000) c;
insert into labels select l, 'label' from generate_series(1, 5) l;
";

fn fleet() -> Tenancy {
    tenancy(&[
        ("public.sites", Rule::Root { key: "id".into(), name: Some("host".into()) }),
        ("public.projects", direct("site")),
        ("public.issues", derived("project", "public.projects", "id")),
        ("public.comments", derived("issue", "public.issues", "id")),
        ("public.labels", Rule::Shared),
    ])
}

#[tokio::test]
async fn a_scan_finds_the_owners_through_three_levels() {
    let database = Cluster::start().new_database();
    psql(&database, FLEET);
    let source = open_source(&database, &fleet()).await;
    let expected = psql(
        &database,
        "select p.site from comments c join issues i on i.id = c.issue join projects p on p.id = i.project
         order by p.site::text nulls first",
    );
    let expected: Vec<Option<String>> =
        expected.split('\n').map(|owner| (!owner.is_empty()).then(|| owner.to_owned())).collect();
    let batches = scan(source.as_ref(), "public.comments", &Scan::default()).await;
    assert_eq!(owners(&batches), expected);
    assert!(expected[0].is_none(), "rows of a project without a site belong to nobody");
    let labels = scan(source.as_ref(), "public.labels", &Scan::default()).await;
    assert_eq!(owners(&labels), vec![None; 5]);

    // The hash beside each row is the one of the row's own wire form, without the owner.
    let comments =
        source.describe().tables.iter().find(|t| t.name == name("public.comments")).expect("table");
    let batch = &batches[0];
    let tuples = wire::encode(comments, batch).expect("encode");
    let hashes = batch.column_by_name(HASH_COLUMN).expect("hashes").as_fixed_size_binary();
    for (row, tuple) in tuples.iter().enumerate() {
        assert_eq!(hashes.value(row), row_hash(tuple).to_le_bytes());
    }
}

#[tokio::test]
async fn a_scan_keeps_to_the_tenants_and_columns_that_were_asked_for() {
    let database = Cluster::start().new_database();
    psql(&database, FLEET);
    let source = open_source(&database, &fleet()).await;
    let wanted = Scan {
        tenants: Some(["3", "'; drop table comments; --", "{\"", "none"].map(TenantId::new).to_vec()),
        columns: Some(vec!["body".into(), "id".into()]),
    };
    let batches = scan(source.as_ref(), "public.comments", &wanted).await;
    let expected: usize = psql(
        &database,
        "select count(*) from comments c join issues i on i.id = c.issue
         join projects p on p.id = i.project where p.site = 3",
    )
    .parse()
    .expect("count");
    assert!(expected > 0);
    assert_eq!(owners(&batches), vec![Some("3".to_owned()); expected]);
    let columns: Vec<String> = batches[0].schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(columns, [TENANT_COLUMN, "id", "body"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_under_concurrent_writes_yields_the_rows_of_its_instant() {
    let database = Cluster::start().new_database();
    // Wide rows, so that the table is cut into several ranges.
    psql(
        &database,
        "create table t (id bigint primary key, site int, n int not null, filler text);
         alter table t alter filler set storage plain;
         insert into t select i, i % 9, 0, repeat('x', 6000) from generate_series(1, 40000) i;
         delete from t where id % 10 = 0",
    );
    let tenancy = tenancy(&[("public.t", direct("site"))]);
    let source = open_source(&database, &tenancy).await;
    let over = Arc::new(AtomicBool::new(false));
    let neighbour = {
        let (database, over) = (database.clone(), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut from = 40_001;
            while !over.load(Ordering::Relaxed) {
                psql(
                    &database,
                    &format!(
                        "update t set n = n + 1 where id % 3 = 0 and id < 9000;
                         delete from t where id in (select id from t where n > 0 limit 100);
                         insert into t select i, 1, 1, repeat('y', 6000)
                           from generate_series({from}, {from} + 500) i;
                         vacuum t",
                    ),
                );
                from += 1000;
            }
            from
        })
    };
    let scanned = Scan { columns: Some(vec!["id".into(), "n".into()]), ..Scan::default() };
    let mut ids: Vec<i64> = Vec::new();
    for _ in 0..2 {
        // The second scan begins after much has been written.
        ids.clear();
        for batch in scan(source.as_ref(), "public.t", &scanned).await {
            ids.extend(batch.column(1).as_primitive::<Int64Type>().values());
            assert!(
                batch
                    .column(2)
                    .as_primitive::<arrow::datatypes::Int32Type>()
                    .values()
                    .iter()
                    .all(|&n| n == 0)
            );
        }
        ids.sort_unstable();
        let expected: Vec<i64> = (1..=40_000).filter(|id| id % 10 != 0).collect();
        assert_eq!(ids, expected);
    }
    over.store(true, Ordering::Relaxed);
    assert!(neighbour.join().expect("neighbour") > 40_001, "nobody wrote meanwhile");
}

#[tokio::test]
async fn partitions_come_as_one_table_and_children_by_inheritance_as_another() {
    let database = Cluster::start().new_database();
    psql(
        &database,
        "create table events (site int, at int, body text) partition by range (at);
         create table events_1 partition of events for values from (0) to (10);
         create table events_2 (body text, gone int, at int, site int);
         alter table events_2 drop column gone;
         alter table events attach partition events_2 for values from (10) to (20);
         insert into events select i % 3, i, 'b' from generate_series(0, 19) i;
         create table base (site int, id int); create table child (more int) inherits (base);
         insert into base values (1, 1); insert into child values (2, 2, 2)",
    );
    let rules = ["public.events", "public.base", "public.child"].map(|table| (table, direct("site")));
    let source = open_source(&database, &tenancy(&rules)).await;
    assert_eq!(rows(&scan(source.as_ref(), "public.events", &Scan::default()).await), 20);
    assert_eq!(owners(&scan(source.as_ref(), "public.base", &Scan::default()).await), [Some("1".into())]);
    assert_eq!(owners(&scan(source.as_ref(), "public.child", &Scan::default()).await), [Some("2".into())]);
}

#[tokio::test]
async fn dropping_a_stream_stops_it_and_the_source_goes_on() {
    let database = Cluster::start().new_database();
    psql(
        &database,
        "create table t (id bigint, site int, filler text);
         insert into t select i, 1, repeat('x', 100) from generate_series(1, 100000) i;
         create table u (site int); insert into u values (1)",
    );
    let source =
        open_source(&database, &tenancy(&[("public.t", direct("site")), ("public.u", direct("site"))])).await;
    // Streams that nobody reads hold no connection.
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.push(source.scan(&name("public.t"), &Scan::default()).await.expect("scan"));
    }
    for _ in 0..5 {
        let mut stream = source.scan(&name("public.t"), &Scan::default()).await.expect("scan");
        stream.next().await.expect("a batch").expect("good");
    }
    assert_eq!(rows(&scan(source.as_ref(), "public.u", &Scan::default()).await), 1);
    let copying = "select count(*) from pg_stat_activity where application_name = 'reinstate'
                   and datname = current_database() and query like 'COPY%public\".\"t%' and state = 'active'";
    let mut left = String::new();
    for _ in 0..100 {
        left = psql(&database, copying);
        if left == "0" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(left, "0", "a dropped scan goes on");
}

#[tokio::test]
async fn what_cannot_be_decided_or_read_is_refused_by_name() {
    let database = Cluster::start().new_database();
    psql(
        &database,
        "create table sites (id int primary key); create table p (ref int, site int);
         create table c (ref int)",
    );
    let mut rules = tenancy(&[
        ("public.sites", Rule::Root { key: "id".into(), name: None }),
        ("public.p", direct("site")),
        ("public.c", derived("ref", "public.p", "ref")),
    ]);
    let open = async |rules: &Tenancy| live::open(&ShardName::new("shop"), &url(&database), rules, 1).await;
    let source = open(&rules).await.expect("open");
    let error = source.scan(&name("public.c"), &Scan::default()).await.err().expect("not unique");
    assert_eq!(
        error.to_string(),
        "unable to decide who owns the rows of 'public.c': (ref) is not unique in 'public.p'"
    );
    rules.rules.remove(&name("public.p"));
    let source = open(&rules).await.expect("open");
    let error = source.scan(&name("public.p"), &Scan::default()).await.err().expect("no rule");
    assert_eq!(
        error.chain(),
        "unable to decide who owns the rows of 'public.p': table 'public.p' has no rule"
    );
}

#[tokio::test]
async fn a_standby_can_be_read_but_not_written() {
    let primary = Cluster::start_with(&[]);
    let database = primary.create_database("shop");
    psql(&database, FLEET);
    let standby = primary.start_standby();
    let copy = standby.url("shop");
    let source = open_source(&copy, &fleet()).await;
    assert!(source.describe().position.is_some());
    let batches = scan(source.as_ref(), "public.issues", &Scan::default()).await;
    assert_eq!(rows(&batches), 1000);
    let live = open_source(&database, &fleet()).await;
    assert_eq!(live.describe().identity, source.describe().identity, "a standby is the same database");

    let shard = open_shard(&copy).await;
    let facts = shard.facts().await.expect("facts");
    assert!(facts.obstacles[&name("public.sites")][0].starts_with("the server is a standby"));
    let error = shard.prepare_journal().await.expect_err("read-only");
    assert_eq!(error.kind(), Kind::Refused, "{}", error.chain());
}

#[tokio::test]
async fn a_truncate_between_snapshot_and_scan_waits() {
    let database = Cluster::start().new_database();
    psql(&database, FLEET);
    let source = open_source(&database, &fleet()).await;
    let blocked = std::panic::catch_unwind(|| psql(&database, "set lock_timeout = 200; truncate comments"));
    assert!(blocked.is_err(), "nothing keeps DDL away from the snapshot");
    let stream = source.scan(&name("public.comments"), &Scan::default()).await.expect("scan");
    let batches: Vec<_> = stream.try_collect().await.expect("batches");
    assert_eq!(rows(&batches), 30_000);
}

#[tokio::test]
async fn a_table_that_is_truncated_while_the_snapshot_is_taken_is_not_read_as_empty() {
    let database = Cluster::start().new_database();
    psql(&database, FLEET);
    let neighbour = {
        let database = database.clone();
        std::thread::spawn(move || psql(&database, "begin; truncate comments; select pg_sleep(1.2); commit"))
    };
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    // The snapshot is older than the commit, the lock is had after it.
    let opened = live::open(&ShardName::new("shop"), &url(&database), &fleet(), 1).await;
    let error = opened.err().expect("the rows are gone");
    assert_eq!(
        error.to_string(),
        "unable to take a snapshot: table 'public.comments' was truncated or rewritten at this moment"
    );
    assert_eq!(error.kind(), Kind::Interrupted);
    neighbour.join().expect("neighbour");
}

#[tokio::test]
async fn rows_that_row_security_hides_are_an_error_and_not_missing() {
    let database = Cluster::start().new_database();
    psql(
        &database,
        "create table t (site int); insert into t values (1), (2); create role guard login;
         grant select on t to guard; alter table t enable row level security;
         create policy one on t using (site = 1)",
    );
    let source =
        open_source(&database.replace("postgres@", "guard@"), &tenancy(&[("public.t", direct("site"))]))
            .await;
    let stream = source.scan(&name("public.t"), &Scan::default()).await.expect("scan");
    let error = stream.try_collect::<Vec<_>>().await.expect_err("hidden rows");
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(
        error.chain(),
        "unable to read table 'public.t': query would be affected by \
         row-level security policy for table \"t\""
    );
}

#[tokio::test]
async fn a_snapshot_that_lost_its_locks_is_not_read_on() {
    let database = Cluster::start().new_database();
    psql(&database, FLEET);
    let source = open_source(&database, &fleet()).await;
    scan(source.as_ref(), "public.sites", &Scan::default()).await;
    // The leader is the oldest connection; the readers stay.
    psql(
        &database,
        "select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'reinstate' and datname = current_database()
         order by backend_start limit 1",
    );
    let stream = source.scan(&name("public.comments"), &Scan::default()).await.expect("scan");
    let error = stream.try_collect::<Vec<_>>().await.expect_err("no locks");
    assert_eq!(error.to_string(), "unable to keep the snapshot of shard 'shop' open");
    assert_eq!(error.kind(), Kind::Interrupted);
}
