//! What only SQLite does: its catalog, its one writer, what its hooks cannot see, its journal modes.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::bench::{Bench, Sqlite};
use crate::fixture::{Fixture, Snapshot, plan, session};
use futures::{StreamExt, TryStreamExt, stream};
use reinstate::database::is_transient;
use reinstate::error::Kind;
use reinstate::limits::{BATCH_ROWS_MAX, QUEUE_BATCHES_MAX};
use reinstate::model::{DatabaseUrl, Link, Rule, ShardName, TableName, Tenancy, TenantId, TypeKind};
use reinstate::shard::{self, Claim, TableWrites, find_table};
use reinstate::source::{Scan, live};
use sqlx::{Connection, Executor};

fn name(table: &str) -> TableName {
    TableName::new("main", table)
}

fn direct(columns: &[(&str, &str)]) -> Tenancy {
    let rules = columns.iter().map(|(table, column)| {
        let column = (*column).to_owned();
        (name(table), Rule::Direct { column })
    });
    Tenancy { rules: rules.collect() }
}

async fn facts(bench: &Sqlite) -> shard::Facts {
    let shard = shard::open(&ShardName::new("shop"), &bench.url(), 1).await.expect("open");
    shard.facts().await.expect("facts")
}

/// All rows of `tables`, each owned by its column `site`.
async fn owned_by_site(fixture: &Fixture<Sqlite>, tables: &[&str]) -> Snapshot {
    let columns: Vec<(&str, &str)> = tables.iter().map(|table| (*table, "site")).collect();
    fixture.snapshot_of(&direct(&columns), tables).await
}

// --- catalog -----------------------------------------------------------------------------------------

#[tokio::test]
async fn the_catalog_tells_every_odd_shape() {
    let bench = Sqlite::new().await;
    bench
        .execute(
            r#"CREATE TABLE "Sites ""x""" ("Id" INTEGER PRIMARY KEY, "a b" TEXT UNIQUE, low TEXT);
               CREATE UNIQUE INDEX on_lower ON "Sites ""x""" (lower("a b"));
               CREATE UNIQUE INDEX partial ON "Sites ""x""" (low) WHERE low > '';
               CREATE INDEX plain ON "Sites ""x""" (low);
               CREATE TABLE child (b INT, a INT, up INT REFERENCES "sites ""X""", gone INT REFERENCES nowhere (x),
                   full INT AS (a + b) STORED, half INT AS (a) VIRTUAL, PRIMARY KEY (a, b),
                   FOREIGN KEY (A, B) REFERENCES CHILD) WITHOUT ROWID;
               CREATE TABLE keyless (anything, "of" DECIMAL(10,2));
               CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT);
               CREATE VIEW seen AS SELECT * FROM child;
               CREATE TRIGGER before_delete BEFORE DELETE ON keyless BEGIN INSERT INTO counted VALUES (NULL); END;
               CREATE TRIGGER instead INSTEAD OF INSERT ON seen BEGIN SELECT 1; END;
               CREATE VIRTUAL TABLE words USING fts5(body);
               CREATE TABLE reinstate_journal (other INT)"#,
        )
        .await;
    let facts = facts(&bench).await;
    let names: Vec<&str> = facts.tables.iter().map(|table| table.name.table.as_str()).collect();
    assert_eq!(names, ["Sites \"x\"", "child", "counted", "keyless"]);
    let table = |table: &str| find_table(&facts, &name(table)).expect("table");

    let sites = table("Sites \"x\"");
    assert_eq!(sites.primary_key, ["Id"]);
    let keys: Vec<(&str, &[String])> =
        sites.unique_keys.iter().map(|key| (key.name.as_str(), key.columns.as_slice())).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.contains(&("on_lower", &[])) && keys.contains(&("partial", &[])), "{keys:?}");
    assert!(keys.iter().any(|(_, columns)| *columns == ["a b"]), "{keys:?}");

    let child = table("child");
    assert_eq!(child.primary_key, ["a", "b"]);
    let stored: Vec<&str> = child.stored_columns().map(|column| column.name.as_str()).collect();
    assert_eq!(stored, ["b", "a", "up", "gone"]);
    assert_eq!(child.columns.len(), 6);
    let keys: Vec<_> = child
        .foreign_keys
        .iter()
        .map(|key| {
            (key.name.as_str(), key.columns.join(","), key.parent.to_string(), key.parent_columns.join(","))
        })
        .collect();
    let key = |name, columns: &str, parent: &str, up: &str| {
        (name, columns.to_owned(), parent.to_owned(), up.to_owned())
    };
    assert_eq!(
        keys,
        [
            key("fk_child_1", "up", "main.\"Sites \"\"x\"\"\"", "Id"),
            key("fk_child_2", "gone", "main.nowhere", "x"),
            key("fk_child_3", "a,b", "main.child", "a,b"),
        ]
    );
    assert!(child.foreign_keys.iter().all(|key| key.deferrable));

    let keyless = table("keyless");
    assert!(keyless.primary_key.is_empty());
    assert_eq!(keyless.column("of").expect("column").type_name, "DECIMAL(10,2)");
    assert_eq!((keyless.triggers.len(), keyless.triggers[0].on_insert), (1, false));
    assert_eq!(
        facts.warnings,
        ["virtual table 'main.words' cannot be restored; rebuild it from the tables it was made of"]
    );
}

#[tokio::test]
async fn kinds_follow_the_values_and_without_values_the_declared_type() {
    let bench = Sqlite::new().await;
    bench
        .execute(
            "CREATE TABLE t (site INT, ints TEXT, empty REAL, mixed INT, late INT);
             INSERT INTO t (site, ints, mixed) VALUES (1, x'01', 1), (1, x'02', 1.5), (1, NULL, NULL)",
        )
        .await;
    let source = live::open(&ShardName::new("shop"), &bench.url(), &direct(&[("t", "site")]), 1)
        .await
        .expect("source");
    let kinds: Vec<TypeKind> = source.describe().tables[0].columns.iter().map(|column| column.kind).collect();
    use TypeKind::*;
    assert_eq!(kinds, [Int64, Bytes, Float64, Opaque, Int64]);
    let declared: Vec<TypeKind> =
        facts(&bench).await.tables[0].columns.iter().map(|column| column.kind).collect();
    assert_eq!(declared, [Int64, Text, Float64, Int64, Int64]);
}

// --- write set ---------------------------------------------------------------------------------------

#[tokio::test]
async fn rows_that_no_hook_sees_are_ours_as_far_as_we_wrote_them() {
    let fixture = Fixture::numbered(Sqlite::new().await).await;
    fixture
        .bench
        .execute(
            "CREATE TABLE settings (site INT, key TEXT, value TEXT, PRIMARY KEY (site, key)) WITHOUT ROWID;
             INSERT INTO settings VALUES (8, 'a', '1'), (8, 'b', '2'), (7, 'a', '0');",
        )
        .await;
    let snapshot = owned_by_site(&fixture, &["settings"]).await;
    fixture.bench.execute("DELETE FROM settings WHERE site = 8").await;
    let shard = fixture.open().await;
    shard.prepare_journal().await.expect("journal");
    for (trigger, unattributed) in [
        ("SELECT 1", 0),
        (
            "CREATE TRIGGER meddle AFTER INSERT ON settings
             BEGIN UPDATE settings SET value = 'x' WHERE site = 7; END",
            2,
        ),
    ] {
        fixture.bench.execute(trigger).await;
        let mut session = session(shard.as_ref(), &plan(), fixture.victim()).await;
        snapshot.write(session.as_mut(), fixture.victim()).await.expect("written");
        let writes = session.write_set().await.expect("write set");
        let expected = TableWrites { inserted: 2, updated: 0, deleted: 0 };
        assert_eq!(writes.tables, [(name("settings"), expected)].into());
        assert_eq!(writes.unattributed, unattributed, "{trigger}");
        session.abort().await.expect("aborted");
    }
}

#[tokio::test]
async fn rows_are_never_deleted_to_make_room() {
    // Neither the update hook nor total_changes() tells of a row that OR REPLACE deletes.
    for replace in [
        "CREATE TABLE notes (id INTEGER PRIMARY KEY ON CONFLICT REPLACE, site INT, text TEXT)",
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, site INT, text TEXT);
         CREATE TABLE latest (only INTEGER PRIMARY KEY, text TEXT);
         INSERT INTO latest VALUES (1, 'a neighbour''s');
         CREATE TRIGGER keep AFTER INSERT ON notes
         BEGIN INSERT OR REPLACE INTO latest VALUES (1, new.text); END",
    ] {
        let fixture = Fixture::numbered(Sqlite::new().await).await;
        fixture.bench.execute(replace).await;
        fixture.bench.execute("INSERT INTO notes VALUES (1, 8, 'lost')").await;
        let snapshot = owned_by_site(&fixture, &["notes"]).await;
        fixture.bench.execute("UPDATE notes SET site = 9, text = 'a neighbour''s'").await;
        if replace.contains("latest") {
            fixture.bench.execute("DELETE FROM notes").await;
        }
        let before = fixture.bench.dump().await;
        let shard = fixture.open().await;
        let error =
            snapshot.restore(shard.as_ref(), &plan(), fixture.victim()).await.expect_err("in the way");
        assert!(error.chain().contains("UNIQUE constraint failed"), "{}", error.chain());
        assert_eq!(fixture.bench.dump().await, before);
    }
}

#[tokio::test]
async fn a_trigger_that_empties_a_table_is_seen() {
    let fixture = Fixture::numbered(Sqlite::new().await).await;
    fixture
        .bench
        .execute(
            "CREATE TABLE notes (site INT); INSERT INTO notes VALUES (8);
             CREATE TABLE queue (a INT); INSERT INTO queue VALUES (1), (2), (3);
             CREATE TABLE gone (a INT);
             CREATE TRIGGER empty AFTER INSERT ON notes BEGIN DELETE FROM queue; END",
        )
        .await;
    let snapshot = owned_by_site(&fixture, &["notes"]).await;
    let shard = fixture.open().await;
    shard.prepare_journal().await.expect("journal");
    let mut session = session(shard.as_ref(), &plan(), fixture.victim()).await;
    snapshot.write(session.as_mut(), fixture.victim()).await.expect("written");
    let writes = session.write_set().await.expect("write set");
    let deleted = writes.tables.get(&name("queue")).map_or(0, |writes| writes.deleted);
    assert_eq!(deleted + writes.unattributed, 3, "{writes:?}");
    session.abort().await.expect("aborted");
}

// --- one writer --------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_one_command_wait_for_each_other() {
    let fixture = Fixture::numbered(Sqlite::new().await).await;
    let snapshot = fixture.snapshot().await;
    fixture.delete(0).await;
    fixture.delete(1).await;
    let shard = fixture.open().await;
    shard.prepare_journal().await.expect("journal");
    let (plan_a, plan_b) = (plan(), plan());
    let (a, b) = tokio::join!(
        snapshot.restore(shard.as_ref(), &plan_a, &fixture.tenants[0]),
        snapshot.restore(shard.as_ref(), &plan_b, &fixture.tenants[1]),
    );
    a.and(b).expect("both restored");
    assert_eq!(shard.journal(&plan()).await.expect("journal").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_that_writes_for_a_moment_is_waited_for() {
    let fixture = Fixture::numbered(Sqlite::new().await).await;
    let shard = fixture.open().await;
    shard.prepare_journal().await.expect("journal");
    let mut neighbour = fixture.bench.connect().await;
    neighbour.execute("BEGIN IMMEDIATE; UPDATE sites SET host = 'busy' WHERE id = 7").await.expect("locked");
    let started = Instant::now();
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        neighbour.execute("COMMIT").await.expect("committed");
    };
    let plan = plan();
    let (claim, ()) = tokio::join!(shard.begin(&plan, fixture.victim()), release);
    assert!(matches!(claim.expect("begin"), Claim::Session(_)));
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_in_the_way_of_a_commit_is_transient() {
    let fixture = Fixture::numbered(Sqlite::new().await).await;
    // In the rollback modes a commit has to wait for every reader.
    fixture.bench.execute("PRAGMA journal_mode = DELETE").await;
    let facts = facts(&fixture.bench).await;
    assert!(facts.warnings[0].starts_with("journal mode is 'delete'"), "{:?}", facts.warnings);
    let before = fixture.bench.dump().await;
    let snapshot = fixture.snapshot().await;
    fixture.delete(1).await;
    let shard = fixture.open().await;
    shard.prepare_journal().await.expect("journal");
    let reader = fixture.source().await;
    let error = snapshot.restore(shard.as_ref(), &plan(), fixture.victim()).await.expect_err("busy");
    assert!(is_transient(&error), "{}", error.chain());
    assert!(error.chain().ends_with("database is locked"), "{}", error.chain());
    drop(reader);
    snapshot.restore(shard.as_ref(), &plan(), fixture.victim()).await.expect("restored");
    assert_eq!(fixture.bench.dump().await, before);
}

#[tokio::test]
async fn a_file_opened_for_reading_is_an_obstacle_and_refused() {
    let fixture = Fixture::numbered(Sqlite::new().await).await;
    let url = DatabaseUrl::parse(&format!("{}?mode=ro", fixture.bench.url().expose())).expect("url");
    let shard = shard::open(&ShardName::new("shop"), &url, 1).await.expect("open");
    let facts = shard.facts().await.expect("facts");
    assert_eq!(facts.obstacles.len(), facts.tables.len());
    assert_eq!(facts.obstacles[&name("sites")], ["the file is read-only"]);
    let error = shard.prepare_journal().await.expect_err("read-only");
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.chain().ends_with("attempt to write a readonly database"), "{}", error.chain());
}

#[tokio::test]
async fn a_reader_rolls_back_what_a_killed_writer_left() {
    let fixture = Fixture::numbered(Sqlite::new().await).await;
    fixture.bench.execute("PRAGMA journal_mode = DELETE; CREATE TABLE filler (a)").await;
    let before = fixture.bench.dump().await;
    // A writer with a tiny cache spills into the file before it commits; what it leaves when it is killed is
    // copied by another process, since no descriptor of the file may be closed in this one.
    let mut writer = fixture.bench.connect().await;
    writer
        .execute("PRAGMA cache_size = 1; BEGIN IMMEDIATE; UPDATE sites SET host = host || '!'")
        .await
        .expect("written");
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
                INSERT INTO filler SELECT randomblob(2000) FROM n";
    writer.execute(fill).await.expect("spilled");
    let crashed = Sqlite::new().await;
    let path = fixture.bench.path();
    for suffix in ["", "-journal"] {
        let mut copy = Command::new("cp");
        copy.arg(format!("{}{suffix}", path.display())).arg(format!("{}{suffix}", crashed.path().display()));
        assert!(copy.status().expect("cp").success(), "{suffix}");
    }
    writer.close().await.expect("closed");
    let spilled = std::fs::metadata(crashed.path()).expect("copied").len();
    assert!(spilled > 500_000, "the writer wrote only {spilled} bytes before it was killed");
    let shard = shard::open(&ShardName::new("shop"), &crashed.url(), 1).await.expect("rolled back");
    assert_eq!(shard.facts().await.expect("facts").tables.len(), 7);
    assert_eq!(crashed.dump().await, before);
    assert!(!crashed.path().with_extension("db-journal").exists());
}

// --- source ------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_sees_one_instant_while_neighbours_write() {
    let bench = Sqlite::new().await;
    let rows = BATCH_ROWS_MAX * (QUEUE_BATCHES_MAX + 2);
    bench
        .execute(&format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, site INT, v TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO t SELECT i, i % 5, 'old' FROM n"
        ))
        .await;
    let source = live::open(&ShardName::new("shop"), &bench.url(), &direct(&[("t", "site")]), 1)
        .await
        .expect("source");
    let change =
        "UPDATE t SET v = 'new'; DELETE FROM t WHERE id % 2 = 0; INSERT INTO t VALUES (1000000, 1, 'new')";
    bench.execute(change).await;
    // A stream that is left half-way must not hold up the next one.
    let mut half = source.scan(&name("t"), &Scan::default()).await.expect("scan");
    half.next().await.expect("a batch").expect("read");
    drop(half);
    // Nor one that nobody has begun to read.
    let unread = source.scan(&name("t"), &Scan::default()).await.expect("scan");
    tokio::task::yield_now().await;
    let stream = source.scan(&name("t"), &Scan::default()).await.expect("scan");
    let read = tokio::time::timeout(Duration::from_secs(60), stream.try_collect());
    let batches: Vec<_> = read.await.expect("no dead lock").expect("batches");
    drop(unread);
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), rows);
    assert!(batches.len() > QUEUE_BATCHES_MAX, "batches are bounded");
    for batch in &batches {
        use arrow::array::AsArray;
        let values = batch.column_by_name("v").expect("column").as_string::<i32>();
        assert!(values.iter().all(|value| value == Some("old")));
    }
}

#[tokio::test]
async fn an_ambiguous_parent_is_undecided() {
    let bench = Sqlite::new().await;
    bench
        .execute("CREATE TABLE p (ref INT, site INT); CREATE TABLE c (p INT); INSERT INTO c VALUES (1)")
        .await;
    let mut tenancy = direct(&[("p", "site")]);
    let derived = Rule::Derived(Link::new(vec!["p".into()], name("p"), vec!["ref".into()]));
    tenancy.rules.insert(name("c"), derived);
    let source = live::open(&ShardName::new("shop"), &bench.url(), &tenancy, 1).await.expect("source");
    let error = source.scan(&name("c"), &Scan::default()).await.err().expect("ambiguous");
    assert_eq!(error.kind(), Kind::Undecided);
    assert_eq!(
        error.chain(),
        "unable to derive the owner of 'main.c' from 'main.p': its columns (ref) are no key"
    );
}

#[tokio::test]
async fn text_that_is_no_utf8_stops_the_scan() {
    let bench = Sqlite::new().await;
    bench.execute("CREATE TABLE t (site INT, v TEXT); INSERT INTO t VALUES (1, CAST(x'c328' AS TEXT))").await;
    let source = live::open(&ShardName::new("shop"), &bench.url(), &direct(&[("t", "site")]), 1)
        .await
        .expect("source");
    let stream = source.scan(&name("t"), &Scan::default()).await.expect("scan");
    let error = stream.try_collect::<Vec<_>>().await.expect_err("not UTF-8");
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(error.chain(), "unable to read table 'main.t': column 'v' holds text that is not UTF-8");
}

#[tokio::test]
async fn ids_are_equal_as_text_whatever_the_column_makes_of_them() {
    let bench = Sqlite::new().await;
    bench
        .execute(
            "CREATE TABLE loose (site);
             CREATE TABLE folded (site TEXT COLLATE NOCASE);
             CREATE TABLE number (site NUMERIC);
             INSERT INTO loose VALUES (7), ('7'), ('07'), ('x'), (NULL);
             INSERT INTO folded VALUES ('x'), ('X'), ('7');
             INSERT INTO number VALUES (7), ('07'), (7.0), ('x'), (7.5)",
        )
        .await;
    let tenancy = direct(&[("loose", "site"), ("folded", "site"), ("number", "site")]);
    let name = ShardName::new("shop");
    let source = live::open(&name, &bench.url(), &tenancy, 1).await.expect("source");
    let shard = shard::open(&name, &bench.url(), 1).await.expect("open");
    let tables = &source.describe().tables;
    for (table, counts) in [
        ("loose", [("7", 2), ("07", 1), ("x", 1), ("X", 0)]),
        ("folded", [("7", 1), ("07", 0), ("x", 1), ("X", 1)]),
        // The column itself has made the number 7 of '07' and 7.0.
        ("number", [("7", 3), ("07", 0), ("x", 1), ("X", 0)]),
    ] {
        let table = find_owned(tables, &tenancy, table);
        let ids = counts.map(|(id, _)| TenantId::new(id));
        let found = shard.live_rows(&table, &ids).await.expect("counted");
        let expected = counts.iter().filter(|(_, rows)| *rows > 0);
        assert_eq!(
            found,
            expected.map(|(id, rows)| (TenantId::new(*id), *rows)).collect(),
            "{}",
            table.table.name
        );
        for (id, rows) in counts {
            let live: Vec<_> = shard
                .read(&table, &TenantId::new(id))
                .await
                .expect("read")
                .try_collect()
                .await
                .expect("rows");
            assert_eq!(
                live.iter().map(|batch| batch.num_rows() as u64).sum::<u64>(),
                rows,
                "{} {id}",
                table.table.name
            );
            assert_eq!(
                crate::fixture::fingerprint(&live, &TenantId::new(id)).rows,
                rows,
                "{} {id}",
                table.table.name
            );
        }
    }
}

fn find_owned(
    tables: &[reinstate::model::Table],
    tenancy: &Tenancy,
    table: &str,
) -> reinstate::model::OwnedTable {
    let path = tenancy.owners(&name(table), tables).expect("rule").expect("owned");
    let table = tables.iter().find(|other| other.name == name(table)).expect("table").clone();
    reinstate::model::OwnedTable { table, owners: path }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_of_many_columns_keep_to_the_limits_of_a_statement() {
    let fixture = Fixture::numbered(Sqlite::new().await).await;
    let columns: Vec<String> = (0..600).map(|i| format!("c{i} INT")).collect();
    let values: Vec<String> = (0..600).map(|i| format!("i * {i}")).collect();
    fixture
        .bench
        .execute(&format!(
            "CREATE TABLE wide (site INT, {}); CREATE TABLE long (site INT, i INT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
             INSERT INTO wide SELECT 8, {} FROM n;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             INSERT INTO long SELECT 8, i FROM n",
            columns.join(", "),
            values.join(", ")
        ))
        .await;
    let before = fixture.bench.dump().await;
    let snapshot = owned_by_site(&fixture, &["wide", "long"]).await;
    fixture.bench.execute("DELETE FROM wide; DELETE FROM long").await;
    let shard = fixture.open().await;
    shard.prepare_journal().await.expect("journal");
    let mut session = session(shard.as_ref(), &plan(), fixture.victim()).await;
    for owned in &snapshot.tables {
        let chunks = snapshot.chunks(owned, fixture.victim(), BATCH_ROWS_MAX);
        session.write(owned, stream::iter(chunks).map(Ok).boxed()).await.expect("written");
        let expected = snapshot.fingerprint(owned, fixture.victim());
        assert_eq!(session.read_back(owned, fixture.victim()).await.expect("read back"), expected);
    }
    session.commit().await.expect("committed");
    assert_eq!(fixture.bench.dump().await, before);
}
