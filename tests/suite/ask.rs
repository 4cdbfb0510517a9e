//! Questions to the live database about rows that are not there, on both back ends: they mean what the server's own
//! indexes, keys and checks mean, and they write nothing.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use reinstate::model::wire::{Tuples, encode};
use reinstate::model::{
    DatabaseUrl, OwnedTable, Rule, ShardName, TableName, Tenancy, TenantId, UniqueKey, row_hash,
};
use reinstate::shard::{self, Answer, Claim, Question, Rows, Shard, find_table};

use crate::cluster::{Cluster, psql};

const SCHEMA: &str = r#"
create schema "Odd";
create type "Odd".mood as enum ('sad', 'ok');
create domain "Odd".handle as text not null check (value <> '');
create type "Odd".pair as (a int, b text);
create table tenants (id bigint primary key);
create table people (
  gone int, id int primary key, tenant int8 references tenants, email text, handle "Odd".handle, mood "Odd".mood,
  tags text[], both_ "Odd".pair, during int4range, active bool, room int, code int, note varchar(9),
  loud text generated always as (upper(note)) stored,
  unique nulls not distinct (room, code), exclude using gist (during with &&));
alter table people drop column gone;
create unique index people_email on people (lower(email));
create unique index people_active on people (handle) where active;
create unique index people_loud on people (loud);
insert into tenants values (1), (2);
insert into people values
  (1, 1, 'Ann@x', 'ann', 'ok', '{a,NULL}', '(1,x)', '[1,5)', true, 1, null, 'one'),
  (2, 2, 'bob@x', 'bob', 'sad', '{{1,2},{3,4}}', null, '[5,9)', false, 2, 2, 'two'),
  (3, null, null, 'cid', null, null, '(,)', 'empty', null, null, 7, null);
"#;

/// Rows to ask about: those of an equal table that differs in a few values.
const ASKED: &str = r#"
create table asked (like people);
insert into asked (id, tenant, email, handle, mood, tags, both_, during, active, room, code, note) values
  (1, 1, 'ann@X', 'zed', 'ok', '{a,NULL}', '(1,x)', '[20,21)', true, 9, 9, 'three'),
  (4, 3, null, 'ann', 'sad', null, null, '[4,6)', true, 1, null, 'TWO'),
  (5, null, 'eve', 'bob', null, null, null, null, true, 1, 1, null),
  (6, 2, 'dan', 'ann', null, null, null, null, false, null, null, 'six');
"#;

struct Asking {
    shard: Arc<dyn Shard>,
    owned: OwnedTable,
    tuples: Tuples,
}

impl Asking {
    /// Rows of `asked`, seen as rows of `people`.
    async fn open(url: &str, schema: &str) -> Self {
        let url = DatabaseUrl::parse(url).expect("URL");
        let shard = shard::open(&ShardName::new("shop"), &url, 2).await.expect("shard");
        let facts = shard.facts().await.expect("facts");
        let name = |table: &str| TableName::new(schema, table);
        let direct = |column: &str| Rule::Direct { column: column.into() };
        let rules = [("people", direct("tenant")), ("asked", direct("tenant"))];
        let tenancy = Tenancy { rules: rules.map(|(table, rule)| (name(table), rule)).into() };
        let owned = |table: &str| OwnedTable {
            table: find_table(&facts, &name(table)).expect("table").clone(),
            owners: tenancy.owners(&name(table), &facts.tables).expect("rule").expect("owners"),
        };
        let (asked, mut people) = (owned("asked"), owned("people"));
        // What is asked about has the columns of the snapshot: here in the order of the other table.
        people.table.columns = asked.table.columns.clone();
        let mut batches: Vec<RecordBatch> = Vec::new();
        for tenant in ["1", "2", "3"] {
            let rows = shard.read(&asked, &TenantId::new(tenant)).await.expect("read");
            batches.extend(rows.try_collect::<Vec<_>>().await.expect("rows"));
        }
        let mut tuples = Tuples::default();
        for tuple in batches.iter().map(|batch| encode(&people.table, batch).expect("encode")) {
            tuples.ends.extend(tuple.ends.iter().map(|end| end + tuples.bytes.len()));
            tuples.bytes.extend(tuple.bytes);
        }
        Self { shard, owned: people, tuples }
    }

    async fn ask(&self, question: Question<'_>) -> Vec<Answer> {
        let rows = Rows { owned: &self.owned, tuples: &self.tuples };
        Shard::ask(self.shard.as_ref(), &rows, &question).await.expect("answers")
    }

    /// (asked row, owners of the live row) of each collision.
    async fn taken(&self, key: &UniqueKey) -> Vec<(usize, Vec<String>)> {
        let answers = self.ask(Question::Taken(key)).await;
        let owners = |answer: Answer| {
            answer.live.expect("a live row").owners.iter().map(TenantId::to_string).collect()
        };
        answers.into_iter().map(|answer| (answer.row, owners(answer))).collect()
    }

    fn key(&self, name: &str) -> UniqueKey {
        self.owned.table.keys().find(|key| key.name == name).expect("key").clone()
    }

    async fn failing(&self, conditions: &[&str]) -> Vec<(usize, usize)> {
        let conditions: Vec<String> = conditions.iter().map(|text| (*text).to_owned()).collect();
        let answers = self.ask(Question::Fails(&conditions)).await;
        answers.into_iter().map(|answer| (answer.row, answer.part)).collect()
    }
}

/// The asked rows by tenant are 1, 6 (tenant 2) and 4 (tenant 3); 5 has none and is left out.
#[tokio::test]
async fn postgres_keys_mean_what_the_servers_indexes_mean() {
    let url = Cluster::start().new_database();
    psql(&url, &format!("{SCHEMA}{ASKED}"));
    let asking = Asking::open(&url, "public").await;
    let owner = |tenant: &str| vec![tenant.to_owned()];
    let none = Vec::<(usize, Vec<String>)>::new();
    assert_eq!(asking.taken(&asking.key("people_pkey")).await, [(0, owner("1"))]);
    assert_eq!(asking.taken(&asking.key("people_email")).await, [(0, owner("1"))], "lower(email)");
    assert_eq!(asking.taken(&asking.key("people_active")).await, [(2, owner("1"))], "where active");
    assert_eq!(asking.taken(&asking.key("people_loud")).await, [(2, owner("2"))], "a generated column");
    assert_eq!(asking.taken(&asking.key("people_room_code_key")).await, [(2, owner("1"))], "NULLs are equal");
    let overlapping = [(2, owner("1")), (2, owner("2"))];
    assert_eq!(asking.taken(&asking.key("people_during_excl")).await, overlapping, "an exclusion constraint");
    psql(&url, "delete from people");
    assert_eq!(asking.taken(&asking.key("people_during_excl")).await, none);
}

#[tokio::test]
async fn postgres_a_live_row_comes_with_its_wire_form() {
    let url = Cluster::start().new_database();
    psql(&url, &format!("{SCHEMA}{ASKED}"));
    psql(&url, "delete from asked; insert into asked select * from people where id < 3");
    let asking = Asking::open(&url, "public").await;
    let answers = asking.ask(Question::Taken(&asking.key("people_pkey"))).await;
    assert_eq!(answers.len(), 2);
    for (answer, tuple) in answers.iter().zip(asking.tuples.iter()) {
        let live = answer.live.as_ref().expect("live");
        assert_eq!(row_hash(&live.tuple), row_hash(tuple), "the same row has the same hash");
    }
}

#[tokio::test]
async fn postgres_parents_and_conditions() {
    let url = Cluster::start().new_database();
    psql(&url, &format!("{SCHEMA}{ASKED}"));
    let asking = Asking::open(&url, "public").await;
    let foreign = asking.owned.table.foreign_keys[0].clone();
    let lost = asking.ask(Question::NoParent { key: &foreign, lock: false }).await;
    assert_eq!(lost.iter().map(|answer| answer.row).collect::<Vec<_>>(), [2], "tenant 3 does not exist");
    let conditions = ["id < 5", "email <> 'dan'", "loud IS NOT NULL", "room > 0"];
    assert_eq!(asking.failing(&conditions).await, [(1, 0), (1, 1)], "NULL is not false");

    // In a session the parents that are there stay there.
    asking.shard.prepare_journal().await.expect("journal");
    let plan = reinstate::model::PlanHash::new("0123");
    let Claim::Session(mut session) = asking.shard.begin(&plan, &TenantId::new("1")).await.expect("begin")
    else {
        panic!("a session")
    };
    let rows = Rows { owned: &asking.owned, tuples: &asking.tuples };
    let lost = session.ask(&rows, &Question::NoParent { key: &foreign, lock: true }).await.expect("answers");
    assert_eq!(lost.len(), 1);
    let locked = psql(
        &url,
        "select count(*) from tenants where id not in (select id from tenants for update skip locked)",
    );
    assert_eq!(locked, "2");
    session.abort().await.expect("abort");
}

#[tokio::test]
async fn sqlite_keys_parents_and_conditions() {
    let dir = tempfile::tempdir().expect("dir");
    let url = format!("sqlite:{}", dir.path().join("shop.db").display());
    let options: sqlx::sqlite::SqliteConnectOptions = url.parse().expect("URL");
    let mut connection =
        sqlx::ConnectOptions::connect(&options.create_if_missing(true)).await.expect("SQLite");
    let sql = "
        CREATE TABLE tenants (id INTEGER PRIMARY KEY);
        CREATE TABLE people (id INTEGER PRIMARY KEY, tenant INTEGER REFERENCES tenants, email TEXT COLLATE NOCASE,
                             UNIQUE (email));
        CREATE TABLE asked (id INTEGER, tenant INTEGER, email TEXT);
        INSERT INTO tenants VALUES (1), (2);
        INSERT INTO people VALUES (1, 1, 'Ann'), (2, 2, NULL);
        INSERT INTO asked VALUES (1, 1, 'x'), (5, 2, 'ANN'), (6, 3, NULL)";
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("filled");
    let asking = Asking::open(&url, "main").await;
    let primary = UniqueKey { columns: vec!["id".into()], ..UniqueKey::default() };
    assert_eq!(asking.taken(&primary).await, [(0, vec!["1".to_owned()])]);
    let email = UniqueKey { columns: vec!["email".into()], ..UniqueKey::default() };
    assert_eq!(asking.taken(&email).await, [(1, vec!["1".to_owned()])], "NOCASE, and no NULL");
    let foreign = asking.owned.table.foreign_keys[0].clone();
    let lost = asking.ask(Question::NoParent { key: &foreign, lock: false }).await;
    assert_eq!(lost.iter().map(|answer| answer.row).collect::<Vec<_>>(), [2]);
    assert_eq!(asking.failing(&["id < 5", "email <> 'x'"]).await, [(0, 1), (1, 0), (2, 0)]);
}
