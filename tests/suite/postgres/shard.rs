//! The shard outside a transaction, and every type on its way through.

use arrow::array::AsArray;
use futures::TryStreamExt;
use reinstate::model::{HASH_COLUMN, Rule, TenantId};
use reinstate::source::Scan;

use super::support::*;
use crate::cluster::{Cluster, psql};

/// One column of every kind, and of everything that travels as it is.
const TYPES: &str = include_str!("types.sql");

fn copied(database: &str) -> String {
    let columns = "string_agg(quote_ident(attname), ', ' order by attnum)";
    let columns = psql(
        database,
        &format!(
            "select {columns} from pg_attribute where attrelid = 'app.types'::regclass
             and attnum > 0 and attgenerated = ''"
        ),
    );
    let binary = "\\copy (select COLUMNS from app.types order by k) to program 'md5sum' with (format binary)";
    psql(database, &binary.replace("COLUMNS", &columns))
}

#[tokio::test]
async fn every_type_comes_back_bit_for_bit() {
    let database = Cluster::start().new_database();
    psql(&database, TYPES);
    let rules = tenancy(&[("app.types", direct("site"))]);
    let shard = open_shard(&database).await;
    shard.prepare_journal().await.expect("journal");
    let facts = shard.facts().await.expect("facts");
    let table = owned(&facts, &rules, "app.types");
    let before = (copied(&database), psql(&database, "select t from app.types t order by k"));
    assert!(before.0.len() >= 32, "{}", before.0);

    let batches = {
        let source = open_source(&database, &rules).await;
        scan(source.as_ref(), "app.types", &Scan::default()).await
    };
    assert_eq!(rows(&batches), 3);
    psql(&database, "delete from app.types");
    let tenant = TenantId::new("1");
    let mut session = session(shard.as_ref(), "1").await;
    assert_eq!(session.write(&table, chunks(&table.table, batches.clone())).await.expect("write"), 3);
    let read_back = session.read_back(&table, &tenant).await.expect("read back");
    assert_eq!(read_back, fingerprint(&table.table, &batches));
    session.commit().await.expect("commit");
    assert_eq!((copied(&database), psql(&database, "select t from app.types t order by k")), before);

    // The eye of the verification sees the same rows in another way.
    let seen: Vec<_> = shard.read(&table, &tenant).await.expect("read").try_collect().await.expect("rows");
    assert_eq!(fingerprint(&table.table, &seen), read_back);
    let hashes = |batches: &[arrow::array::RecordBatch]| {
        let of = |batch: &arrow::array::RecordBatch| {
            let hashes = batch.column_by_name(HASH_COLUMN).expect("hashes").as_fixed_size_binary();
            hashes.iter().map(|hash| hash.expect("a hash").to_vec()).collect::<Vec<_>>()
        };
        let mut all: Vec<Vec<u8>> = batches.iter().flat_map(of).collect();
        all.sort();
        all
    };
    assert_eq!(hashes(&seen), hashes(&batches));
}

const KEYS: &str = "
create table sites (id bigint primary key, slug varchar(3) unique, uid uuid unique);
create table by_slug (slug varchar(3) references sites (slug), n int);
create table by_uid (uid uuid references sites (uid), n int);
create table issues (id int primary key, site bigint references sites);
create table comments (id int, issue int references issues);
insert into sites values (7, 'abc', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), (8, 'de', null);
insert into by_slug values ('abc', 1), ('abc', 2), ('de', 3);
insert into by_uid values ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1);
insert into issues values (1, 7), (2, 8), (3, 7);
insert into comments select c, 1 + c % 3 from generate_series(1, 30) c;
";

#[tokio::test]
async fn live_rows_are_counted_for_ids_of_every_shape() {
    let database = Cluster::start().new_database();
    psql(&database, KEYS);
    let rules = tenancy(&[
        ("public.sites", Rule::Root { key: "id".into(), name: None }),
        ("public.issues", direct("site")),
        ("public.comments", derived("issue", "public.issues", "id")),
        ("public.by_slug", direct("slug")),
        ("public.by_uid", direct("uid")),
    ]);
    let shard = open_shard(&database).await;
    let facts = shard.facts().await.expect("facts");
    let hostile = ["'; drop table sites; --", "7 or true", "{7}", "\"", "007", " 7", "99999999999999999999"];
    type Case<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, u64)]);
    let cases: [Case; 6] = [
        ("public.comments", &["7", "8", "9"], &[("7", 20), ("8", 10)]),
        ("public.comments", &["7", "abc"], &[("7", 20)]),
        ("public.issues", &hostile, &[]),
        // A cast to varchar(3) would make 'abcdef' find 'abc'.
        ("public.by_slug", &["abcdef", "de"], &[("de", 1)]),
        (
            "public.by_uid",
            &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "x"],
            &[("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", 1)],
        ),
        ("public.by_slug", &[], &[]),
    ];
    for (table, ids, expected) in cases {
        let table = owned(&facts, &rules, table);
        let ids: Vec<TenantId> = ids.iter().map(|id| TenantId::new(*id)).collect();
        let live = shard.live_rows(&table, &ids).await.expect("count");
        let live: Vec<(&str, u64)> = live.iter().map(|(id, rows)| (id.as_str(), *rows)).collect();
        assert_eq!(live, expected, "{} {ids:?}", table.table.name);
        // Reading row by row and counting agree.
        for id in &ids {
            let seen: Vec<_> = shard.read(&table, id).await.expect("read").try_collect().await.expect("rows");
            let counted =
                expected.iter().find(|(known, _)| *known == id.as_str()).map_or(0, |(_, rows)| *rows);
            assert_eq!(rows(&seen) as u64, counted, "{} {id}", table.table.name);
            assert!(owners(&seen).iter().all(|owner| owner.as_deref() == Some(id.as_str())));
        }
    }
    assert_eq!(psql(&database, "select count(*) from sites"), "2");
}

#[tokio::test]
async fn a_session_takes_a_hostile_id_as_data() {
    let database = Cluster::start().new_database();
    let id = "'; drop table sites; -- \" \\ $1 {";
    psql(&database, "create table sites (id text primary key, v text)");
    psql(&database, &format!("insert into sites values ($i${id}$i$, 'x'), ('neighbour', 'y')"));
    let rules = tenancy(&[("public.sites", Rule::Root { key: "id".into(), name: None })]);
    let shard = open_shard(&database).await;
    shard.prepare_journal().await.expect("journal");
    let table = owned(&shard.facts().await.expect("facts"), &rules, "public.sites");
    let wanted = Scan { tenants: Some(vec![TenantId::new(id)]), columns: None };
    let source = open_source(&database, &rules).await;
    let batches = scan(source.as_ref(), "public.sites", &wanted).await;
    drop(source);
    assert_eq!(owners(&batches), [Some(id.to_owned())]);
    psql(&database, "delete from sites where v = 'x'");
    let mut session = session(shard.as_ref(), id).await;
    session.write(&table, chunks(&table.table, batches.clone())).await.expect("write");
    let read_back = session.read_back(&table, &TenantId::new(id)).await.expect("read back");
    assert_eq!(read_back, fingerprint(&table.table, &batches));
    session.record(&entry(id)).await.expect("record");
    session.commit().await.expect("commit");
    assert_eq!(psql(&database, "select count(*) from sites"), "2");
    assert_eq!(shard.journal(&plan()).await.expect("journal")[0].tenant, TenantId::new(id));
}

#[tokio::test]
async fn partitioned_rows_go_through_the_root_and_are_counted_there() {
    let database = Cluster::start().new_database();
    psql(
        &database,
        "create table events (site int, at int, body text) partition by range (at);
         create table events_1 partition of events for values from (0) to (10);
         create table events_2 (body text, gone int, at int, site int);
         alter table events_2 drop column gone;
         alter table events attach partition events_2 for values from (10) to (20);
         insert into events select i % 2, i, repeat('toast', 10000) from generate_series(0, 19) i",
    );
    let rules = tenancy(&[("public.events", direct("site"))]);
    let shard = open_shard(&database).await;
    shard.prepare_journal().await.expect("journal");
    let table = owned(&shard.facts().await.expect("facts"), &rules, "public.events");
    let everything = "select e::text from events e order by 1";
    let before = psql(&database, everything);
    let source = open_source(&database, &rules).await;
    let wanted = Scan { tenants: Some(vec![TenantId::new("1")]), columns: None };
    let batches = scan(source.as_ref(), "public.events", &wanted).await;
    drop(source);
    psql(&database, "delete from events where site = 1");
    let mut session = session(shard.as_ref(), "1").await;
    session.write(&table, chunks(&table.table, batches)).await.expect("write");
    let set = session.write_set().await.expect("write set");
    assert_eq!(set.tables.len(), 1, "{set:?}");
    assert_eq!(set.tables[&name("public.events")].inserted, 10);
    session.commit().await.expect("commit");
    assert_eq!(psql(&database, everything), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_create_the_journal_at_the_same_moment() {
    for _ in 0..3 {
        let database = Cluster::start().new_database();
        let mut creating = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let shard = open_shard(&database).await;
            creating.spawn(async move { shard.prepare_journal().await });
        }
        while let Some(created) = creating.join_next().await {
            created.expect("join").expect("journal");
        }
        assert_eq!(psql(&database, "select count(*) from reinstate.journal"), "0");
    }
}

#[tokio::test]
async fn a_role_without_create_uses_the_journal_that_a_dba_made() {
    let cluster = Cluster::start();
    let database = cluster.new_database();
    open_shard(&database).await.prepare_journal().await.expect("by the DBA");
    psql(&database, "create role porter login; grant usage on schema reinstate to porter");
    let porter = open_shard(&database.replace("postgres@", "porter@")).await;
    let error = porter.prepare_journal().await.expect_err("no INSERT yet");
    assert_eq!(
        error.hints(),
        ["GRANT SELECT, INSERT ON TABLE reinstate.journal, reinstate.event, reinstate.gate TO the role"]
    );
    psql(&database, "grant select, insert on reinstate.journal, reinstate.event, reinstate.gate to porter");
    porter.prepare_journal().await.expect("granted");
    assert!(porter.journal(&plan()).await.expect("journal").is_empty());
}
