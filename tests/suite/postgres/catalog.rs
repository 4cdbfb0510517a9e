use reinstate::model::{Firing, Table, TypeKind};
use reinstate::shard::{Facts, find_table};

use super::support::{name, open_shard};
use crate::cluster::{Cluster, psql};

const SCHEMA: &str = r#"
create schema app;
create type app.mood as enum ('sad', 'happy, "very"');
create domain app.id as bigint check (value > 0);
create domain app.deep_id as app.id;
create type app.pair as (a int, b app.mood);
create table app.sites (id app.deep_id primary key, host varchar(40) not null unique, lower_host text
    generated always as (lower(host)) stored);
create table app.projects (
    site app.deep_id not null references app.sites,
    no int not null,
    dropped text,
    name text,
    mood app.mood,
    parent int,
    primary key (site, no),
    foreign key (site, parent) references app.projects (site, no) deferrable
);
alter table app.projects drop column dropped;
create unique index by_name on app.projects (name) where name is not null;
create unique index by_lower on app.projects (lower(name));
create table app.events (site bigint references app.sites, at date, no bigint generated always as identity,
    body jsonb,
    primary key (at, no)) partition by range (at);
create table app.events_old partition of app.events for values from (minvalue) to ('2026-01-01')
    partition by hash (no);
create table app.events_old_0 partition of app.events_old for values with (modulus 1, remainder 0);
create table app.events_new partition of app.events default;
create table app.notes (no serial, other bigint default nextval('app.shared_numbers'));
"#;

const TRIGGERS: &str = r#"
create function app.nothing() returns trigger language plpgsql as 'begin return null; end';
create trigger counts after insert or delete on app.projects for each row execute function app.nothing();
create trigger cleans after delete on app.projects for each row execute function app.nothing();
create trigger sleeps after insert on app.projects for each row execute function app.nothing();
alter table app.projects disable trigger sleeps;
create trigger of_root after insert on app.events for each row execute function app.nothing();
create trigger of_leaf after insert on app.events_new for each row execute function app.nothing();
create view app.sites_view as select * from app.sites;
create schema reinstate;
create table reinstate.journal (plan text);
create temporary table scratch (id int);
create table "Odd ""name"".x" ("Select" int primary key, "a.b" "char");
"#;

fn kinds(table: &Table) -> Vec<(&str, &str, TypeKind)> {
    table.columns.iter().map(|c| (c.name.as_str(), c.type_name.as_str(), c.kind)).collect()
}

async fn facts_of(schema: &str) -> Facts {
    let database = Cluster::start().new_database();
    psql(&database, schema);
    open_shard(&database).await.facts().await.expect("facts")
}

#[tokio::test]
async fn the_catalog_of_an_odd_schema_is_read() {
    let schema = format!(
        "create schema app; create sequence app.shared_numbers increment -2;{}{TRIGGERS}",
        SCHEMA.replace("create schema app;", "")
    );
    let facts = facts_of(&schema).await;
    let tables: Vec<String> = facts.tables.iter().map(|table| table.name.to_string()).collect();
    assert_eq!(
        tables,
        ["app.events", "app.notes", "app.projects", "app.sites", "public.\"Odd \"\"name\"\".x\""]
    );
    let table = |text: &str| find_table(&facts, &name(text)).expect("table");

    let sites = table("app.sites");
    assert_eq!(
        kinds(sites),
        [
            ("id", "app.deep_id", TypeKind::Int64),
            ("host", "character varying(40)", TypeKind::Text),
            ("lower_host", "text", TypeKind::Text)
        ]
    );
    assert_eq!(
        sites.columns.iter().map(|c| (c.not_null, c.generated)).collect::<Vec<_>>(),
        [(true, false), (true, false), (false, true)]
    );
    assert_eq!(sites.unique_keys[0].columns, ["host"]);

    let projects = table("app.projects");
    assert_eq!(projects.primary_key, ["site", "no"]);
    assert_eq!(kinds(projects)[3], ("mood", "app.mood", TypeKind::Text));
    let keys: Vec<(&str, &[String])> =
        projects.unique_keys.iter().map(|key| (key.name.as_str(), key.columns.as_slice())).collect();
    assert_eq!(keys, [("by_lower", &[][..]), ("by_name", &[][..])]);
    let itself = &projects.foreign_keys[1];
    assert_eq!(
        (&itself.columns, &itself.parent_columns),
        (&vec!["site".into(), "parent".into()], &vec!["site".into(), "no".into()])
    );
    assert!(itself.deferrable && itself.parent == projects.name);
    assert!(!projects.foreign_keys[0].deferrable);
    let triggers: Vec<(&str, bool)> =
        projects.triggers.iter().map(|t| (t.name.as_str(), t.on_insert)).collect();
    assert_eq!(triggers, [("cleans", false), ("counts", true)]);

    let events = table("app.events");
    assert_eq!(events.foreign_keys.len(), 1, "the copies of the leaves are left out");
    let triggers: Vec<&str> = events.triggers.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(triggers, ["of_leaf", "of_root"]);
    assert_eq!(events.sequences[0].name, name("app.events_no_seq"));

    let notes = table("app.notes");
    let sequences: Vec<(String, &str, i64)> =
        notes.sequences.iter().map(|s| (s.name.to_string(), s.column.as_str(), s.increment)).collect();
    assert_eq!(sequences, [("app.notes_no_seq".into(), "no", 1), ("app.shared_numbers".into(), "other", -2)]);
    assert_eq!(
        kinds(table("public.\"Odd \"\"name\"\".x\"")),
        [("Select", "integer", TypeKind::Int32), ("a.b", "\"char\"", TypeKind::Opaque)]
    );
    assert!(facts.obstacles.is_empty(), "{:?}", facts.obstacles);
}

#[tokio::test]
async fn a_type_without_a_binary_form_is_an_obstacle_however_deep_it_is() {
    let facts = facts_of(
        "create type deep as (a int, b aclitem[]); create domain over as deep;
         create table good (a int); create table bad (id int, x over[])",
    )
    .await;
    let obstacles: Vec<(String, Vec<String>)> =
        facts.obstacles.into_iter().map(|(table, obstacles)| (table.to_string(), obstacles)).collect();
    assert_eq!(
        obstacles,
        [("public.bad".to_owned(), vec!["column 'x': type 'public.over[]' has no binary form".to_owned()])]
    );
}

#[tokio::test]
async fn not_null_may_stand_in_a_check_or_a_domain_and_a_value_may_come_by_default() {
    let facts = facts_of(
        r#"create domain filled as int not null default 7;
           create table t (
               plain int, declared int not null, checked int check (checked is not null),
               "Odd" int check ("Odd" is not null), other int check (other is not null or plain is null),
               unproven int, of_domain filled, dated date default now(),
               counted bigint generated always as identity);
           alter table t add check (unproven is not null) not valid;"#,
    )
    .await;
    let table = find_table(&facts, &name("public.t")).expect("table");
    let flagged = |flag: fn(&reinstate::model::Column) -> bool| -> Vec<&str> {
        table.columns.iter().filter(|column| flag(column)).map(|column| column.name.as_str()).collect()
    };
    assert_eq!(flagged(|c| c.not_null), ["declared", "checked", "Odd", "of_domain", "counted"]);
    assert_eq!(flagged(|c| c.has_default), ["of_domain", "dated", "counted"]);
}

/// A key that every leaf has is the table's; a unique one only if no two leaves can have the same.
#[tokio::test]
async fn keys_of_all_leaves_are_those_of_the_table() {
    let facts = facts_of(
        "create table kinds (id int primary key);
         create table all_have (id int, at int, kind int) partition by range (at);
         create table all_1 partition of all_have for values from (0) to (10) partition by list (at);
         create table all_11 partition of all_1 default;
         create table all_2 partition of all_have for values from (10) to (20);
         alter table all_1 add primary key (at, id), add foreign key (kind) references kinds;
         alter table all_2 add primary key (at, id), add unique (id),
             add foreign key (kind) references kinds deferrable not valid;
         alter table all_11 add unique (id);
         create table some_have (id int, at int, kind int) partition by range (at);
         create table some_1 partition of some_have for values from (0) to (10);
         create table some_2 partition of some_have for values from (10) to (20);
         alter table some_2 add primary key (at, id), add foreign key (kind) references kinds;
         create table alone (id int, kind int) partition by list (id);
         create table alone_1 partition of alone default;
         alter table alone_1 add primary key (id), add foreign key (kind) references kinds;",
    )
    .await;
    let shown = |table: &str| {
        let table = find_table(&facts, &name(table)).expect("table");
        let unique: Vec<String> = table
            .unique_keys
            .iter()
            .map(|key| format!("{} {:?} {}", key.name, key.columns, key.predicate.is_some()))
            .collect();
        let foreign: Vec<String> = table
            .foreign_keys
            .iter()
            .map(|key| format!("{} {} {}", key.name, key.validated, key.deferrable))
            .collect();
        let parts: Vec<&str> = table.partition_keys.iter().map(|part| part.key.name.as_str()).collect();
        (table.primary_key.join(" "), unique.join(", "), foreign.join(", "), parts.join(", "))
    };
    let expected = |primary: &str, unique: &str, foreign: &str, parts: &str| {
        (primary.to_owned(), unique.to_owned(), foreign.to_owned(), parts.to_owned())
    };
    assert_eq!(
        shown("public.all_have"),
        expected("at id", "all_11_id_key [] true, all_2_id_key [] true", "all_1_kind_fkey false false", "")
    );
    assert_eq!(shown("public.some_have"), expected("", "some_2_pkey [] true", "", "some_2_kind_fkey"));
    assert_eq!(shown("public.alone"), expected("id", "", "alone_1_kind_fkey true false", ""));
}

/// Two rows collide in an index when its operators hold between its terms: all that is needed to ask for it.
#[tokio::test]
async fn unique_and_exclusion_keys_tell_what_they_compare() {
    let facts = facts_of(
        r#"create extension citext; create extension btree_gist;
           create schema app; create collation app.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
           create function app.strip(text) returns text language sql immutable as 'select trim($1)';
           create table t (
               id int, host citext, "Mixed Case" text, alive bool, n int, during tstzrange, room int,
               primary key (id) deferrable,
               unique (n) deferrable initially deferred,
               constraint booked exclude using gist (room with =, during with &&) where (alive) deferrable);
           create unique index by_blind on t ("Mixed Case" collate app.blind, host) where alive;
           create unique index by_strip on t (app.strip("Mixed Case"), (n + 1)) nulls not distinct;
           create table p (at int, k int, primary key (at, k)) partition by range (at);
           create table p1 partition of p for values from (0) to (10);
           create unique index p1_k on p1 (k) where k > 5;
           create index p_at on p (at);"#,
    )
    .await;
    let shown = |table: &str| -> Vec<String> {
        let table = find_table(&facts, &name(table)).expect("table");
        let show = |key: &reinstate::model::UniqueKey| {
            let terms: Vec<String> = key
                .terms
                .iter()
                .map(|term| format!("{} {}", term.sql, term.operator.as_deref().unwrap_or_default()))
                .collect();
            let flags = [
                (key.deferrable, " deferrable"),
                (key.exclusion, " exclusion"),
                (key.nulls_not_distinct, " nulls equal"),
            ];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, text)| *text).collect();
            let predicate = key.predicate.as_ref().map(|sql| format!(" where {sql}")).unwrap_or_default();
            format!("{}: {}{predicate}{flags}", key.name, terms.join(", "))
        };
        table.keys().map(show).collect()
    };
    assert_eq!(
        shown("public.t"),
        [
            "t_pkey: id OPERATOR(pg_catalog.=) deferrable",
            "booked: room OPERATOR(pg_catalog.=), during OPERATOR(pg_catalog.&&) where alive deferrable exclusion",
            "by_blind: \"Mixed Case\" COLLATE app.blind OPERATOR(pg_catalog.=), host OPERATOR(public.=) where alive",
            "by_strip: app.strip(\"Mixed Case\") OPERATOR(pg_catalog.=), \
             ((n + 1)) OPERATOR(pg_catalog.=) nulls equal",
            "t_n_key: n OPERATOR(pg_catalog.=) deferrable",
        ]
    );
    assert_eq!(
        shown("public.p"),
        [
            "p_pkey: at OPERATOR(pg_catalog.=), k OPERATOR(pg_catalog.=)",
            "p1_k: k OPERATOR(pg_catalog.=) where (k > 5) AND ((at IS NOT NULL) AND (at >= 0) AND (at < 10))",
        ]
    );
    let columns = |key: &str| {
        let table = find_table(&facts, &name("public.t")).expect("table");
        table.keys().find(|found| found.name == key).expect("key").columns.clone()
    };
    assert_eq!(columns("t_n_key"), ["n"]);
    assert_eq!(columns("t_pkey"), ["id"]);
    assert!(["booked", "by_blind", "by_strip"].iter().all(|key| columns(key).is_empty()));
}

#[tokio::test]
async fn checks_foreign_keys_and_triggers_tell_how_they_hold() {
    let facts = facts_of(
        r#"create extension citext;
           create table parent (id bigint primary key, tag text, who citext unique, unique (id, tag));
           create table queue (id int); create table other (id int);
           create table t (id int references parent, tag varchar(9), who citext references parent (who),
               n int constraint positive check (n > 0),
               constraint whole foreign key (id, tag) references parent (id, tag) match full);
           alter table t add constraint late check (n < 10 or tag is null) not valid;
           alter table t add constraint loose foreign key (n) references parent (id) not valid;
           create function queues() returns trigger language plpgsql as
               'begin insert into queue values (old.id); return null; end';
           create function touches() returns trigger language plpgsql as
               'begin update public.other set id = 1; return new; end';
           create trigger always before insert on t for each row execute function touches();
           create trigger deleted after delete on t for each row execute function queues();
           create trigger disabled before insert on t for each row execute function touches();
           create trigger replica before insert on t for each row execute function touches();
           alter table t enable always trigger always; alter table t disable trigger disabled;
           alter table t enable replica trigger replica;"#,
    )
    .await;
    let table = find_table(&facts, &name("public.t")).expect("table");
    let checks: Vec<(&str, &str, bool)> =
        table.checks.iter().map(|c| (c.name.as_str(), c.expression.as_str(), c.validated)).collect();
    assert_eq!(checks, [("late", "((n < 10) OR (tag IS NULL))", false), ("positive", "(n > 0)", true)]);
    assert_eq!(table.checks[0].columns, ["n", "tag"]);
    let keys: Vec<(&str, bool, bool, String)> = table
        .foreign_keys
        .iter()
        .map(|key| (key.name.as_str(), key.validated, key.match_full, key.operators.join(" ")))
        .collect();
    let equal = |count: usize| vec!["OPERATOR(pg_catalog.=)"; count].join(" ");
    assert_eq!(
        keys,
        [
            ("loose", false, false, equal(1)),
            ("t_id_fkey", true, false, equal(1)),
            ("t_who_fkey", true, false, "OPERATOR(public.=)".to_owned()),
            ("whole", true, true, equal(2)),
        ]
    );
    let triggers: Vec<(&str, bool, bool, Firing, String)> = table
        .triggers
        .iter()
        .map(|t| {
            let writes: Vec<String> = t.writes.iter().map(ToString::to_string).collect();
            (t.name.as_str(), t.on_insert, t.on_delete, t.firing, writes.join(" "))
        })
        .collect();
    assert_eq!(
        triggers,
        [
            ("always", true, false, Firing::Always, "public.other".into()),
            ("deleted", false, true, Firing::Ordinary, "public.queue".into()),
            ("replica", true, false, Firing::Replica, "public.other".into()),
        ]
    );
    assert_eq!(table.triggers[1].function, Some(name("public.queues")));
}
