//! The contract of the shard seam, and of the live source that feeds it, over every back end.
//!
//! A back end is done when all cases pass. The oracle is the whole database, read by plain SQL outside the
//! engine.

use std::time::Duration;

use crate::bench::{Bench, Postgres, Sqlite};
use crate::fixture::{Fixture, OWNED, Snapshot, entry, fingerprint, plan, session};
use futures::{StreamExt, TryStreamExt, stream};
use reinstate::database::is_transient;
use reinstate::error::{Error, Kind};
use reinstate::limits::TABLES_ASKED_MAX;
use reinstate::model::{Fingerprint, OwnedTable, PlanHash, Rule, TenantId};
use reinstate::shard::{Claim, Session, Shard, TableWrites, find_table};
use reinstate::source::Scan;

macro_rules! conformance {
    ($($case:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Sqlite::new().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Postgres::new().await).await;
            })*
        }
        mod postgres_with_triggers_off {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Postgres::quiet().await).await;
            })*
        }
    };
}

conformance! {
    a_deleted_tenant_comes_back_row_for_row
    an_aborted_session_leaves_the_database_as_it_was
    a_dropped_session_leaves_the_database_as_it_was
    a_restored_tenant_is_done_for_its_plan
    the_journal_survives_reopening
    a_tenant_is_claimed_once_at_a_time
    a_trigger_that_writes_a_neighbour_is_in_the_write_set
    ghost_rows_change_the_fingerprint
    tables_with_rows_of_the_tenant_are_named
    a_changed_row_changes_the_fingerprint
    live_rows_are_counted_by_tenant
    rows_are_read_as_the_source_read_them
    the_source_gives_every_row_once_with_its_owner
    facts_tell_tables_keys_and_triggers
    ids_that_look_like_sql_are_data
    a_duplicate_key_fails_and_leaves_nothing
    a_missing_parent_fails_and_leaves_nothing
    a_failed_session_cannot_commit
    rows_that_cannot_be_had_fail_the_session
    new_rows_get_ids_past_the_restored_ones
    values_of_every_kind_come_back
}

/// Deletes the victim and says what the database held before.
async fn lose_victim<B: Bench>(fixture: &Fixture<B>) -> (Snapshot, crate::bench::Dump, crate::bench::Dump) {
    let before = fixture.bench.dump().await;
    let snapshot = fixture.snapshot().await;
    fixture.delete(1).await;
    let lost = fixture.bench.dump().await;
    for table in OWNED {
        assert!(lost[table].len() < before[table].len(), "{table} lost nothing");
    }
    (snapshot, before, lost)
}

async fn a_deleted_tenant_comes_back_row_for_row(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let (snapshot, before, _) = lose_victim(&fixture).await;
    let shard = fixture.open().await;
    shard.prepare_journal().await.expect("journal");
    let mut session = session(shard.as_ref(), &plan(), fixture.victim()).await;
    snapshot.write(session.as_mut(), fixture.victim()).await.expect("written");

    for owned in &snapshot.tables {
        let expected = snapshot.fingerprint(owned, fixture.victim());
        assert!(expected.rows > 0);
        let actual = session.read_back(owned, fixture.victim()).await.expect("read back");
        assert_eq!(actual, expected, "{}", owned.table.name);
    }
    session.record(&entry(&plan(), fixture.victim())).await.expect("recorded");
    let writes = session.write_set().await.expect("write set");
    assert_eq!(writes.unattributed, 0);
    for owned in &snapshot.tables {
        let inserted = snapshot.fingerprint(owned, fixture.victim()).rows;
        let expected = TableWrites { inserted, updated: 0, deleted: 0 };
        assert_eq!(writes.tables.get(&owned.table.name), Some(&expected), "{}", owned.table.name);
    }
    assert_eq!(writes.tables.len(), OWNED.len(), "{writes:?}");
    session.commit().await.expect("committed");
    assert_eq!(fixture.bench.dump().await, before);
}

async fn an_aborted_session_leaves_the_database_as_it_was(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let (snapshot, before, lost) = lose_victim(&fixture).await;
    let shard = fixture.open().await;
    shard.prepare_journal().await.expect("journal");
    let mut aborted = session(shard.as_ref(), &plan(), fixture.victim()).await;
    snapshot.write(aborted.as_mut(), fixture.victim()).await.expect("written");
    aborted.record(&entry(&plan(), fixture.victim())).await.expect("recorded");
    aborted.abort().await.expect("aborted");
    assert_eq!(fixture.bench.dump().await, lost);
    assert_eq!(shard.journal(&plan()).await.expect("journal"), []);
    // The next attempt starts from a clean base line.
    let mut again = session(shard.as_ref(), &plan(), fixture.victim()).await;
    assert_eq!(again.write_set().await.expect("write set"), Default::default());
    again.abort().await.expect("aborted");
    snapshot.restore(shard.as_ref(), &plan(), fixture.victim()).await.expect("restored");
    assert_eq!(fixture.bench.dump().await, before);
}

async fn a_dropped_session_leaves_the_database_as_it_was(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let (snapshot, before, lost) = lose_victim(&fixture).await;
    let shard = fixture.open().await;
    shard.prepare_journal().await.expect("journal");
    let mut dropped = session(shard.as_ref(), &plan(), fixture.victim()).await;
    snapshot.write(dropped.as_mut(), fixture.victim()).await.expect("written");
    dropped.record(&entry(&plan(), fixture.victim())).await.expect("recorded");
    drop(dropped);
    assert_eq!(fixture.bench.dump().await, lost);
    // The lock goes with the connection, a moment later.
    for _ in 0..100 {
        match shard.begin(&plan(), fixture.victim()).await.expect("begin") {
            Claim::Session(session) => {
                session.abort().await.expect("aborted");
                break;
            }
            Claim::Held { .. } => tokio::time::sleep(Duration::from_millis(20)).await,
            Claim::Done(_) => panic!("nothing was committed"),
        }
    }
    snapshot.restore(shard.as_ref(), &plan(), fixture.victim()).await.expect("restored");
    assert_eq!(fixture.bench.dump().await, before);
}

async fn a_restored_tenant_is_done_for_its_plan(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let (snapshot, before, _) = lose_victim(&fixture).await;
    let shard = fixture.open().await;
    let written = snapshot.restore(shard.as_ref(), &plan(), fixture.victim()).await.expect("restored");
    match shard.begin(&plan(), fixture.victim()).await.expect("begin") {
        Claim::Done(found) => assert_eq!(found, written),
        _ => panic!("the journal was not asked"),
    }
    // Neither another plan nor another tenant is done by it.
    for (plan, tenant) in [(PlanHash::new("other"), fixture.victim()), (plan(), &fixture.tenants[0])] {
        session(shard.as_ref(), &plan, tenant).await.abort().await.expect("aborted");
    }
    assert_eq!(fixture.bench.dump().await, before);
}

async fn the_journal_survives_reopening(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let shard = fixture.open().await;
    assert_eq!(shard.journal(&plan()).await.expect("no journal yet"), []);
    let (snapshot, _, _) = lose_victim(&fixture).await;
    let written = snapshot.restore(shard.as_ref(), &plan(), fixture.victim()).await.expect("restored");
    drop(shard);
    let shard = fixture.open().await;
    shard.prepare_journal().await.expect("there already");
    assert_eq!(shard.journal(&plan()).await.expect("journal"), [written]);
    assert_eq!(shard.journal(&PlanHash::new("other")).await.expect("journal"), []);
}

async fn a_tenant_is_claimed_once_at_a_time(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let (ours, theirs) = (fixture.open().await, fixture.open().await);
    ours.prepare_journal().await.expect("journal");
    let session = session(ours.as_ref(), &plan(), fixture.victim()).await;
    match theirs.begin(&plan(), fixture.victim()).await.expect("begin") {
        Claim::Held { by } => assert!(!by.is_empty()),
        _ => panic!("two sessions for one tenant"),
    }
    session.abort().await.expect("aborted");
    crate::fixture::session(theirs.as_ref(), &plan(), fixture.victim()).await.abort().await.expect("aborted");
}

async fn a_trigger_that_writes_a_neighbour_is_in_the_write_set(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let (snapshot, _, lost) = lose_victim(&fixture).await;
    fixture.bench.execute(fixture.bench.meddling_trigger()).await;
    let shard = fixture.open().await;
    let mut session = session_without_journal(&fixture, shard.as_ref()).await;
    snapshot.write(session.as_mut(), fixture.victim()).await.expect("written");
    let writes = session.write_set().await.expect("write set");
    let of = |name| writes.tables.get(&fixture.bench.table(name)).copied().expect("written");
    let (updated, deleted) = if fixture.bench.is_quiet() { (0, 0) } else { (6, 1) };
    assert_eq!(of("projects"), TableWrites { inserted: 2, updated, deleted: 0 });
    assert_eq!(of("history"), TableWrites { inserted: 3, updated: 0, deleted });
    assert_eq!(of("comments"), TableWrites { inserted: 3, updated: 0, deleted: 0 });
    session.abort().await.expect("aborted");
    assert_eq!(fixture.bench.dump().await, lost);
}

async fn session_without_journal<B: Bench>(fixture: &Fixture<B>, shard: &dyn Shard) -> Box<dyn Session> {
    shard.prepare_journal().await.expect("journal");
    session(shard, &plan(), fixture.victim()).await
}

async fn ghost_rows_change_the_fingerprint(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let (snapshot, _, _) = lose_victim(&fixture).await;
    fixture
        .bench
        .execute("INSERT INTO sites VALUES (8, 'squatter'); INSERT INTO history VALUES (8, 'late')")
        .await;
    let shard = fixture.open().await;
    let mut session = session_without_journal(&fixture, shard.as_ref()).await;
    let history = snapshot.table("history");
    let expected = snapshot.fingerprint(history, fixture.victim());
    let chunks = snapshot.chunks(history, fixture.victim(), 100);
    session.write(history, stream::iter(chunks).map(Ok).boxed()).await.expect("written");
    let actual = session.read_back(history, fixture.victim()).await.expect("read back");
    assert_eq!(actual.rows, expected.rows + 1);
    session.abort().await.expect("aborted");
}

async fn tables_with_rows_of_the_tenant_are_named(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let (snapshot, _, _) = lose_victim(&fixture).await;
    let shard = fixture.open().await;
    let mut session = session_without_journal(&fixture, shard.as_ref()).await;
    let all: Vec<&OwnedTable> = snapshot.tables.iter().collect();
    // Every table holds rows of the neighbours, none of the victim.
    let held = session.tables_with_rows(&all, fixture.victim()).await.expect("asked");
    assert!(held.is_empty(), "{held:?}");
    assert!(session.tables_with_rows(&[], fixture.victim()).await.expect("asked").is_empty());
    let names: Vec<_> = all.iter().map(|owned| owned.table.name.clone()).collect();
    assert_eq!(session.tables_with_rows(&all, &fixture.tenants[0]).await.expect("asked"), names);
    for name in ["sites", "history"] {
        let chunks = snapshot.chunks(snapshot.table(name), fixture.victim(), 100);
        session.write(snapshot.table(name), stream::iter(chunks).map(Ok).boxed()).await.expect("written");
    }
    // More questions than one statement holds, and a table that is asked about twice is named twice.
    let many: Vec<&OwnedTable> = all.iter().copied().cycle().take(3 * TABLES_ASKED_MAX).collect();
    let held = session.tables_with_rows(&many, fixture.victim()).await.expect("asked");
    let written = [fixture.bench.table("sites"), fixture.bench.table("history")];
    let expected: Vec<_> =
        many.iter().map(|owned| owned.table.name.clone()).filter(|name| written.contains(name)).collect();
    assert_eq!(held, expected);
    session.abort().await.expect("aborted");
}

async fn a_changed_row_changes_the_fingerprint(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let snapshot = fixture.snapshot().await;
    let shard = fixture.open().await;
    for (table, change) in [
        ("comments", "UPDATE comments SET body = 'second ' WHERE id = 21"),
        ("issues", "UPDATE issues SET score = 1.5000000000000002 WHERE project = 200 AND number = 1"),
        ("issues", "UPDATE issues SET title = '' WHERE project = 200 AND number = 2"),
        ("history", "UPDATE history SET note = 'seen' WHERE site = 8"),
    ] {
        fixture.bench.execute(change).await;
        let owned = snapshot.table(table);
        let live = read_fingerprint(shard.as_ref(), owned, fixture.victim()).await;
        let expected = snapshot.fingerprint(owned, fixture.victim());
        assert_eq!(live.rows, expected.rows, "{change}");
        assert_ne!(live, expected, "{change}");
        let mut session = session_without_journal(&fixture, shard.as_ref()).await;
        assert_eq!(session.read_back(owned, fixture.victim()).await.expect("read back"), live, "{change}");
        session.abort().await.expect("aborted");
    }
}

async fn read_fingerprint(shard: &dyn Shard, owned: &OwnedTable, tenant: &TenantId) -> Fingerprint {
    let batches: Vec<_> =
        shard.read(owned, tenant).await.expect("read").try_collect().await.expect("batches");
    for batch in &batches {
        assert_eq!(batch.schema(), owned.table.arrow_schema_hashed());
    }
    fingerprint(&batches, tenant)
}

async fn live_rows_are_counted_by_tenant(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let snapshot = fixture.snapshot().await;
    fixture.delete(1).await;
    let shard = fixture.open().await;
    let ids: Vec<TenantId> = ["7", "8", "9", "10", "07", "7 ", "seven", ""].map(TenantId::new).into();
    for (table, rows) in [("sites", 1), ("projects", 2), ("issues", 4), ("comments", 3), ("history", 3)] {
        let counts = shard.live_rows(snapshot.table(table), &ids).await.expect("counted");
        let expected = [(TenantId::new("7"), rows), (TenantId::new("9"), rows)];
        assert_eq!(counts, expected.into(), "{table}");
    }
    assert_eq!(shard.live_rows(snapshot.table("sites"), &[]).await.expect("counted"), [].into());
}

async fn rows_are_read_as_the_source_read_them(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let snapshot = fixture.snapshot().await;
    let shard = fixture.open().await;
    for owned in &snapshot.tables {
        for tenant in &fixture.tenants {
            let live = read_fingerprint(shard.as_ref(), owned, tenant).await;
            assert!(live.rows > 0);
            assert_eq!(live, snapshot.fingerprint(owned, tenant), "{}", owned.table.name);
        }
        let nobody = read_fingerprint(shard.as_ref(), owned, &TenantId::new("404")).await;
        assert_eq!(nobody, Fingerprint::default());
    }
}

async fn the_source_gives_every_row_once_with_its_owner(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let dump = fixture.bench.dump().await;
    let source = fixture.source().await;
    assert_eq!(source.describe().tables.len(), 6);
    // Opened together, read one after the other, and one of them never.
    let mut streams = Vec::new();
    for table in &source.describe().tables {
        streams.push((table.clone(), source.scan(&table.name, &Scan::default()).await.expect("scan")));
    }
    drop(streams.pop());
    for (table, stream) in streams {
        let batches: Vec<_> = stream.try_collect().await.expect("batches");
        let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(rows, dump[&table.name.table].len(), "{}", table.name);
        let owned: u64 = fixture.tenants.iter().map(|tenant| fingerprint(&batches, tenant).rows).sum();
        let ownerless = match table.name.table.as_str() {
            "labels" => 2,
            "projects" => 1,
            _ => 0,
        };
        assert_eq!(owned, rows as u64 - ownerless, "{}", table.name);
    }
    // Only some tenants, only some columns: in the table's order, and without the hash of a part of a row.
    let scan = Scan {
        tenants: Some(vec![TenantId::new("9"), TenantId::new("404")]),
        columns: Some(vec!["body".to_owned(), "id".to_owned()]),
    };
    let comments = source.scan(&fixture.bench.table("comments"), &scan).await.expect("scan");
    let batches: Vec<_> = comments.try_collect().await.expect("batches");
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);
    let schema = batches[0].schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["reinstate_tenant", "id", "body"]);
}

async fn facts_tell_tables_keys_and_triggers(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let shard = fixture.open().await;
    shard.prepare_journal().await.expect("journal");
    fixture.bench.execute(fixture.bench.meddling_trigger()).await;
    let facts = shard.facts().await.expect("facts");
    assert_eq!(facts.tables.len(), 6, "the journal is no user table");
    assert!(facts.obstacles.is_empty(), "{:?}", facts.obstacles);
    let table = |name| find_table(&facts, &fixture.bench.table(name)).expect("table");
    assert_eq!(table("issues").primary_key, ["project", "number"]);
    assert!(table("history").primary_key.is_empty());
    assert!(table("sites").unique_keys.iter().any(|key| key.columns == ["host"]));
    let trigger = &table("comments").triggers[0];
    assert_eq!((trigger.name.as_str(), trigger.on_insert), ("meddle", true));
    let key = &table("comments").foreign_keys[0];
    assert_eq!(key.columns, ["project", "number"]);
    assert_eq!(
        (key.parent.table.as_str(), key.parent_columns.as_slice()),
        ("issues", &["project".to_owned(), "number".to_owned()][..])
    );
    assert!(table("projects").foreign_keys.iter().any(|key| key.parent.table == "projects"));
    assert!(table("sites").column("host").expect("column").not_null);
    assert!(fixture.source().await.describe().identity.is_same(&facts.identity));
}

async fn ids_that_look_like_sql_are_data(bench: impl Bench) {
    let ids =
        ["'; DROP TABLE sites; --", "x' OR '1'='1", "007", "7", "%", "\\", "\"q\"", "{1,2}", "$1", "grün"];
    let fixture = Fixture::named(bench, &ids).await;
    let before = fixture.bench.dump().await;
    let snapshot = fixture.snapshot().await;
    let shard = fixture.open().await;
    let counts = shard.live_rows(snapshot.table("comments"), &fixture.tenants).await.expect("counted");
    assert_eq!(counts, fixture.tenants.iter().map(|tenant| (tenant.clone(), 3)).collect());
    for index in 0..ids.len() {
        fixture.delete(index).await;
        snapshot.restore(shard.as_ref(), &plan(), &fixture.tenants[index]).await.expect("restored");
        let owned = snapshot.table("issues");
        let tenant = &fixture.tenants[index];
        assert_eq!(
            read_fingerprint(shard.as_ref(), owned, tenant).await,
            snapshot.fingerprint(owned, tenant)
        );
    }
    assert_eq!(fixture.bench.dump().await, before);
    assert_eq!(shard.journal(&plan()).await.expect("journal").len(), ids.len());
}

async fn a_duplicate_key_fails_and_leaves_nothing(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let before = fixture.bench.dump().await;
    let snapshot = fixture.snapshot().await;
    let shard = fixture.open().await;
    let mut session = session_without_journal(&fixture, shard.as_ref()).await;
    let sites = snapshot.table("sites");
    let chunks = snapshot.chunks(sites, fixture.victim(), 1);
    let error = session.write(sites, stream::iter(chunks).map(Ok).boxed()).await.expect_err("there already");
    assert_eq!(error.kind(), Kind::Failed);
    let text = error.chain();
    let unable = format!("unable to write rows of table '{}.sites': ", fixture.bench.schema());
    assert!(text.starts_with(&unable) && text.to_lowercase().contains("unique"), "{text}");
    assert!(!is_transient(&error));
    assert!(error.hints()[0].contains("a live row has the same key"), "{:?}", error.hints());
    session.abort().await.expect("aborted");
    assert_eq!(fixture.bench.dump().await, before);
}

async fn a_missing_parent_fails_and_leaves_nothing(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let (snapshot, _, lost) = lose_victim(&fixture).await;
    let shard = fixture.open().await;
    let mut session = session_without_journal(&fixture, shard.as_ref()).await;
    let comments = snapshot.table("comments");
    let chunks = snapshot.chunks(comments, fixture.victim(), 100);
    if fixture.bench.is_quiet() {
        // The engine asks what the server does not check.
        let projects = snapshot.table("projects");
        let chunks = snapshot.chunks(projects, fixture.victim(), 100);
        session.write(projects, stream::iter(chunks).map(Ok).boxed()).await.expect("nobody looks");
        let mut keys = projects.table.foreign_keys.iter();
        let key = keys.find(|key| key.parent.table == "sites").expect("key");
        let broken = session.broken_reference(projects, fixture.victim(), key, None).await.expect("asked");
        assert_eq!(broken.expect("no site").key.to_string(), "id=8");
        session.abort().await.expect("aborted");
        assert_eq!(fixture.bench.dump().await, lost);
        return;
    }
    // At the statement or at the commit, as the database likes.
    let error = match session.write(comments, stream::iter(chunks).map(Ok).boxed()).await {
        Ok(_) => session.commit().await.expect_err("no parents"),
        Err(error) => {
            session.abort().await.expect("aborted");
            error
        }
    };
    assert_eq!(error.kind(), Kind::Failed);
    assert!(error.chain().to_lowercase().contains("foreign key"), "{}", error.chain());
    assert_eq!(fixture.bench.dump().await, lost);
}

async fn a_failed_session_cannot_commit(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let (snapshot, _, lost) = lose_victim(&fixture).await;
    let shard = fixture.open().await;
    let mut session = session_without_journal(&fixture, shard.as_ref()).await;
    snapshot.write(session.as_mut(), fixture.victim()).await.expect("written");
    let sites = snapshot.table("sites");
    let twice = snapshot.chunks(sites, fixture.victim(), 1);
    session.write(sites, stream::iter(twice).map(Ok).boxed()).await.expect_err("there already");
    assert_eq!(session.commit().await.expect_err("refused").kind(), Kind::Bug);
    assert_eq!(fixture.bench.dump().await, lost);
}

async fn rows_that_cannot_be_had_fail_the_session(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    let (snapshot, before, lost) = lose_victim(&fixture).await;
    let shard = fixture.open().await;
    let mut session = session_without_journal(&fixture, shard.as_ref()).await;
    let sites = snapshot.table("sites");
    let first = snapshot.chunks(sites, fixture.victim(), 1).into_iter().map(Ok);
    let broken = first.chain([Err(Error::refused("unable to read 'part-00000.parquet'"))]);
    let error =
        session.write(sites, stream::iter(broken.collect::<Vec<_>>()).boxed()).await.expect_err("broken");
    assert_eq!(error.chain(), "unable to read 'part-00000.parquet'");
    session.abort().await.expect("aborted");
    assert_eq!(fixture.bench.dump().await, lost);
    snapshot
        .restore(shard.as_ref(), &plan(), fixture.victim())
        .await
        .expect("the shard is as good as before");
    assert_eq!(fixture.bench.dump().await, before);
}

async fn new_rows_get_ids_past_the_restored_ones(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    fixture
        .bench
        .execute("INSERT INTO comments (id, project, number, body) VALUES (5000, 200, 1, 'last')")
        .await;
    let (snapshot, _, _) = lose_victim(&fixture).await;
    let shard = fixture.open().await;
    let facts = shard.facts().await.expect("facts");
    let mut session = session_without_journal(&fixture, shard.as_ref()).await;
    snapshot.write(session.as_mut(), fixture.victim()).await.expect("written");
    let comments = find_table(&facts, &fixture.bench.table("comments")).expect("table");
    for sequence in &comments.sequences {
        session.advance_sequences(&[(sequence.clone(), 5000)]).await.expect("moved");
        session.advance_sequences(&[(sequence.clone(), 20)]).await.expect("never back");
    }
    session.commit().await.expect("committed");
    fixture.bench.execute("INSERT INTO comments (project, number, body) VALUES (200, 1, 'new')").await;
    let dump = fixture.bench.dump().await;
    assert!(
        dump["comments"].iter().any(|row| row.contains("5001") && row.contains("new")),
        "{:?}",
        dump["comments"]
    );
}

async fn values_of_every_kind_come_back(bench: impl Bench) {
    let fixture = Fixture::numbered(bench).await;
    fixture.bench.execute(fixture.bench.kinds()).await;
    let before = fixture.bench.dump().await;
    let mut tenancy = fixture.tenancy();
    tenancy.rules.insert(fixture.bench.table("kinds"), Rule::Direct { column: "site".to_owned() });
    let snapshot = fixture.snapshot_of(&tenancy, &["kinds"]).await;
    let kinds = snapshot.table("kinds");
    fixture.bench.execute("DELETE FROM kinds WHERE site = 8").await;
    let shard = fixture.open().await;
    let mut session = session_without_journal(&fixture, shard.as_ref()).await;
    snapshot.write(session.as_mut(), fixture.victim()).await.expect("written");
    let expected = snapshot.fingerprint(kinds, fixture.victim());
    assert_eq!(session.read_back(kinds, fixture.victim()).await.expect("read back"), expected);
    session.commit().await.expect("committed");
    assert_eq!(read_fingerprint(shard.as_ref(), kinds, fixture.victim()).await, expected);
    assert_eq!(fixture.bench.dump().await, before);
}
