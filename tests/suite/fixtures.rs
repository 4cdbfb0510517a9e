//! What other tests stand upon: the oracle tells databases apart, and the fixture schemas are what they claim.

use crate::cluster::{Cluster, psql};
use crate::oracle::{
    Conditions, Rows, differences, rows_pg, rows_sqlite, table_hashes_pg, table_hashes_sqlite,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};
use tempfile::TempDir;

/// The fixture schemas: name, SQLite, PostgreSQL.
const SCHEMAS: [(&str, &str, &str); 4] = [
    (
        "catalogue",
        include_str!("../../fixtures/schemas/catalogue.sqlite.sql"),
        include_str!("../../fixtures/schemas/catalogue.postgres.sql"),
    ),
    (
        "identity",
        include_str!("../../fixtures/schemas/identity.sqlite.sql"),
        include_str!("../../fixtures/schemas/identity.postgres.sql"),
    ),
    (
        "issues",
        include_str!("../../fixtures/schemas/issues.sqlite.sql"),
        include_str!("../../fixtures/schemas/issues.postgres.sql"),
    ),
    (
        "docs",
        include_str!("../../fixtures/schemas/docs.sqlite.sql"),
        include_str!("../../fixtures/schemas/docs.postgres.sql"),
    ),
];

/// A SQLite file in a folder of its own.
struct Database {
    _folder: TempDir,
    url: String,
}

impl Database {
    async fn new(sql: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("shard.db").display());
        let database = Self { _folder: folder, url };
        database.run(sql).await;
        database
    }

    async fn connect(&self) -> SqliteConnection {
        let options: SqliteConnectOptions = self.url.parse().expect("a URL");
        options.create_if_missing(true).connect().await.expect("a connection")
    }

    async fn run(&self, sql: &str) {
        // Safe: constants of this file.
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut self.connect().await).await.expect("the statements run");
    }

    async fn hashes(&self) -> crate::oracle::TableHashes {
        table_hashes_sqlite(&self.url, Rows::All).await
    }
}

/// Values that are easily taken for each other, in a table without a key and in one with an odd name.
const NASTY: &str = "
    create table history (tenant integer, value);
    insert into history values
        (1, null), (1, ''), (1, x''), (1, 1), (1, '1'), (1, 1.0), (1, x'31'), (1, 0.1), (1, 0.1),
        (1, cast(x'610062' as text)), (2, 9223372036854775807), (2, 9223372036854775808.0), (null, 'nobody');
    create table \"odd \"\"name\" (\"a b\" text, twice text generated always as (\"a b\" || \"a b\") virtual);
    insert into \"odd \"\"name\" values ('x');
    create table reinstate_journal (plan text);";

#[tokio::test]
async fn a_copy_is_equal_whatever_the_order_of_its_rows() {
    let original = Database::new(NASTY).await;
    let copy = Database::new(NASTY).await;
    copy.run(
        "create temp table rows as select * from history;
         delete from history;
         insert into history select * from temp.rows order by random();
         insert into reinstate_journal values ('a plan')",
    )
    .await;
    let hashes = original.hashes().await;
    assert_eq!(differences(&hashes, &copy.hashes().await), [""; 0]);
    assert_eq!(hashes.keys().collect::<Vec<_>>(), ["history", "odd \"name"]);
    assert_eq!(hashes["history"].rows, 13);
}

#[tokio::test]
async fn one_changed_value_is_a_difference() {
    for change in [
        "update history set value = '' where value is null",
        "update history set value = x'' where value = ''",
        "update history set value = '1' where value = 1 and typeof(value) = 'integer'",
        "update history set value = 1 where typeof(value) = 'real' and value = 1.0",
        "update history set value = x'31' where typeof(value) = 'text' and value = '1'",
        "update history set value = cast(x'610063' as text) where value = cast(x'610062' as text)",
        "update history set value = 0.1 + 1e-17 * 2 where rowid = 8",
        "update history set value = 9223372036854775806 where value = 9223372036854775807",
        "update history set tenant = 2 where value is null",
        "delete from history where rowid = 9",
        "insert into history values (1, 0.1)",
    ] {
        let database = Database::new(NASTY).await;
        let before = database.hashes().await;
        database.run(change).await;
        let found = differences(&before, &database.hashes().await);
        assert_eq!(found.len(), 1, "{change}: {found:?}");
        assert!(found[0].starts_with("history: "), "{found:?}");
    }
}

#[tokio::test]
async fn equal_rows_count_as_often_as_they_occur() {
    let one = Database::new("create table t (a); insert into t values (1), (1), (2)").await;
    let other = Database::new("create table t (a); insert into t values (1), (2), (2)").await;
    assert_eq!(differences(&one.hashes().await, &other.hashes().await).len(), 1);
    assert_eq!(rows_sqlite(&one.url, "t", "true").await, ["1", "1", "2"]);
}

#[tokio::test]
async fn victims_and_neighbours_are_told_apart() {
    let database = Database::new(NASTY).await;
    let victim = Conditions::from([("history".to_owned(), "tenant = 1".to_owned())]);
    let (of, all_but) = (Rows::Of(&victim), Rows::AllBut(&victim));
    let victims = table_hashes_sqlite(&database.url, of).await;
    let neighbours = table_hashes_sqlite(&database.url, all_but).await;
    assert_eq!(
        victims.iter().map(|(name, table)| (name.as_str(), table.rows)).collect::<Vec<_>>(),
        [("history", 10)]
    );
    // A row whose condition is NULL is a neighbour's, and so are tables without a condition.
    assert_eq!(neighbours["history"].rows, 3);
    assert_eq!(neighbours["odd \"name"].rows, 1);

    database.run("update history set value = 'changed' where tenant is null").await;
    assert_eq!(differences(&victims, &table_hashes_sqlite(&database.url, of).await), [""; 0]);
    assert_eq!(differences(&neighbours, &table_hashes_sqlite(&database.url, all_but).await).len(), 1);
}

#[tokio::test]
#[should_panic(expected = "conditions on tables that do not exist")]
async fn a_condition_on_a_table_that_does_not_exist_is_a_mistake() {
    let database = Database::new("create table t (a)").await;
    let mistyped = Conditions::from([("tt".to_owned(), "true".to_owned())]);
    table_hashes_sqlite(&database.url, Rows::AllBut(&mistyped)).await;
}

/// The same for PostgreSQL, with an inherited and a partitioned table and a column of the row alias's usual name.
const NASTY_PG: &str = "
    create schema app;
    create table app.history (tenant int, t text, f float8, n numeric, at timestamptz, j jsonb, b bytea);
    insert into app.history values
        (1, null, 0, 1.0, '2024-01-01 00:00Z', '{}', ''), (1, '', '-0', 1.00, '2024-01-01 00:00Z', '{}', null),
        (1, 'a,b', 0.1, 'NaN', 'infinity', '[1]', '\\x00'), (1, 'a,b', 0.1, 'NaN', 'infinity', '[1]', '\\x00'),
        (2, '(', 1e300, 0, null, 'null', null), (null, 'nobody', null, null, null, null, null);
    create table app.heir () inherits (app.history);
    insert into app.heir (tenant) values (1);
    create table app.parts (tenant int, day date) partition by list (tenant);
    create table app.parts_1 partition of app.parts for values in (1);
    create table app.parts_rest partition of app.parts default;
    insert into app.parts values (1, '2024-01-01'), (2, '2024-01-01'), (3, null);
    create table public.\"Odd \"\"name\" (a int);
    create schema reinstate;
    create table reinstate.journal (plan text);";

#[tokio::test]
async fn postgres_is_asked_the_same_questions() {
    let (url, copy) = (Cluster::start().new_database(), Cluster::start().new_database());
    for url in [&url, &copy] {
        psql(url, NASTY_PG);
    }
    let before = table_hashes_pg(&url, &[], Rows::All).await;
    let counted: Vec<_> = before.iter().map(|(name, table)| (name.as_str(), table.rows)).collect();
    let expected = [("app.heir", 1), ("app.history", 6), ("app.parts", 3), ("public.Odd \"name", 0)];
    assert_eq!(counted, expected);
    assert_eq!(table_hashes_pg(&url, &["public"], Rows::All).await.len(), 1);

    psql(&copy, "update only app.history set t = t; insert into reinstate.journal values ('a plan')");
    assert_eq!(differences(&before, &table_hashes_pg(&copy, &[], Rows::All).await), [""; 0]);

    for change in [
        "update only app.history set t = '' where t is null",
        "update only app.history set f = '-0' where b = ''",
        "update only app.history set n = 1.00 where b = ''",
        "update only app.history set at = '2024-01-01 00:00:00.000001Z' where b = ''",
        "update only app.history set b = null where b = ''",
        "delete from only app.history where ctid = (select max(ctid) from only app.history where t = 'a,b')",
        "update app.parts set day = '2024-01-02' where tenant = 2",
    ] {
        let before = table_hashes_pg(&url, &[], Rows::All).await;
        psql(&url, change);
        let found = differences(&before, &table_hashes_pg(&url, &[], Rows::All).await);
        assert_eq!(found.len(), 1, "{change}: {found:?}");
    }
}

#[tokio::test]
async fn postgres_tells_victims_and_neighbours_apart() {
    let url = Cluster::start().new_database();
    psql(&url, NASTY_PG);
    let conditions = ["app.history", "app.parts"].map(|table| (table.to_owned(), "tenant = 1".to_owned()));
    let victim = Conditions::from(conditions);
    let victims = table_hashes_pg(&url, &[], Rows::Of(&victim)).await;
    let neighbours = table_hashes_pg(&url, &[], Rows::AllBut(&victim)).await;
    let rows =
        |hashes: &crate::oracle::TableHashes| hashes.values().map(|table| table.rows).collect::<Vec<_>>();
    assert_eq!(rows(&victims), [4, 1]);
    assert_eq!(rows(&neighbours), [1, 2, 2, 0]);
    let found = rows_pg(&url, "app.parts", "tenant > 1").await;
    assert_eq!(found, ["(2,2024-01-01)", "(3,)"]);
}

#[tokio::test]
async fn every_foreign_key_of_the_fixture_schemas_has_an_index() {
    for (name, sqlite, _) in SCHEMAS {
        let database = Database::new(sqlite).await;
        let missing = "
            select t.name || '.' || k.\"from\" from pragma_table_list t, pragma_foreign_key_list(t.name) k
            where not exists (
                select 1 from pragma_index_list(t.name) i, pragma_index_info(i.name) c
                where c.seqno = 0 and c.name = k.\"from\")";
        let missing = sqlx::query(missing).fetch_all(&mut database.connect().await).await.expect("the keys");
        let missing: Vec<String> = missing.iter().map(|row| row.get(0)).collect();
        assert_eq!(missing, [""; 0], "in schema '{name}'");
    }
}

#[tokio::test]
async fn postgres_takes_the_fixture_schemas() {
    for (name, _, postgres) in SCHEMAS {
        let url = Cluster::start().new_database();
        psql(&url, postgres);
        let tables = table_hashes_pg(&url, &["public"], Rows::All).await;
        assert_eq!(tables.len(), postgres.matches("CREATE TABLE").count(), "in schema '{name}': {tables:?}");
    }
    let missing =
        "select conrelid::regclass || '.' || conname from pg_constraint k where contype = 'f' and not exists
        (select 1 from pg_index i where i.indrelid = k.conrelid and i.indkey[0] = k.conkey[1])";
    let url = Cluster::start().new_database();
    for (.., postgres) in SCHEMAS {
        psql(&url, postgres);
    }
    assert_eq!(psql(&url, missing).trim(), "", "foreign keys without an index");
}

#[test]
fn both_dialects_of_a_fixture_schema_have_the_same_tables_and_columns() {
    for (name, sqlite, postgres) in SCHEMAS {
        let columns = names(sqlite);
        assert!(columns.len() > 3, "{columns:?}");
        assert_eq!(columns, names(postgres), "in schema '{name}'");
    }
}

/// First words of all lines within `CREATE TABLE`: names of columns, and kinds of constraints.
fn names(schema: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut table = None;
    for line in schema.lines() {
        if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
            table = rest.split_whitespace().next();
        } else if line.starts_with(')') {
            table = None;
        } else if let (Some(table), Some(column)) = (table, line.split_whitespace().next()) {
            names.push(format!("{table}.{column}"));
        }
    }
    names
}
