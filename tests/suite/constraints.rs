//! Triggers off: the engine proves what the server then leaves out, and what triggers would have done does not
//! happen.
//!
//! The oracle is every row of every table by psql, before and after.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, binary, psql};
use crate::fidelity::Shop;

/// Every row of every table of the users, as text.
pub fn everything(shop: &Shop) -> Vec<String> {
    let tables = shop.sql(
        "select c.oid::regclass from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_'
           and n.nspname not in ('information_schema', 'reinstate') order by 1",
    );
    let rows = |table: &str| -> Vec<String> {
        let rows = shop.sql(&format!("select t::text from {table} t order by 1"));
        rows.lines().map(|row| format!("{table} {row}")).collect()
    };
    tables.lines().flat_map(rows).collect()
}

/// Runs SQL with triggers off, as a script that breaks things would.
pub fn silently(shop: &Shop, sql: &str) {
    shop.sql(&format!("set session_replication_role = replica; {sql}"));
}

/// A shop after the accident, what it held before, and what it holds now.
pub struct Lost {
    pub shop: Shop,
    pub before: Vec<String>,
    broken: Vec<String>,
}

/// Deletes site 1 by `delete`.
pub fn lose(schema: &str, delete: &str) -> Lost {
    let shop = Shop::new(schema);
    let init = shop.try_init();
    let toml = shop.dir.path().join("reinstate.toml");
    let text = std::fs::read_to_string(&toml).expect("configuration");
    // Tables that nobody owns are named by `init`, which leaves them to a person: they are shared here.
    let named = init.stdout.split("table 'public.").skip(1).filter_map(|text| text.split('\'').next());
    let undecided = named.filter(|table| !text.contains(&format!("\n\"public.{table}\" = ")));
    let rules: String =
        undecided.map(|table| format!("\"public.{table}\" = {{ rule = \"shared\" }}\n")).collect();
    std::fs::write(&toml, format!("{text}{rules}")).expect("configuration");
    shop.run(&["snapshot", "create"]).exits(0);
    let before = everything(&shop);
    silently(&shop, &format!("{delete}; delete from sites where id = 1"));
    let broken = everything(&shop);
    assert_ne!(before, broken);
    Lost { shop, before, broken }
}

impl Lost {
    pub fn comes_back(&self) {
        let apply = self.shop.apply().exits(0);
        assert_eq!(everything(&self.shop), self.before, "{}", apply.stdout);
        self.shop.run(&["verify", "plan.json"]).exits(0);
    }

    /// From now on as a role that may read and insert, and what `rights` say of `{role}`; its name.
    fn work_as_a_role(&mut self, rights: &str) -> String {
        let admin = self.shop.url.clone();
        let database = psql(&admin, "select current_database()");
        let role = format!("role_of_{database}");
        psql(
            &admin,
            &format!(
                "create role {role} login; grant create on database {database} to {role};
                 grant select, insert on all tables in schema public to {role}; {}",
                rights.replace("{role}", &role)
            ),
        );
        self.shop.url = Cluster::start().url_as(&role, &database);
        let toml = self.shop.dir.path().join("reinstate.toml");
        let text = std::fs::read_to_string(&toml).expect("configuration");
        std::fs::write(&toml, text.replace(&admin, &self.shop.url)).expect("configuration");
        role
    }

    /// The plan is applied, fails with these words, and leaves nothing.
    fn fails(&self, words: &[&str]) {
        let now = everything(&self.shop);
        let apply = self.shop.apply().exits(5);
        for word in words {
            assert!(apply.stdout.contains(word), "'{word}' in\n{}{}", apply.stdout, apply.stderr);
        }
        assert_eq!(everything(&self.shop), now, "nothing was written");
    }
}

const ISSUES: &str = "create table kinds (id int primary key, name text);
    insert into kinds values (1, 'bug'), (2, 'wish');
    create table issues (id int primary key, site_id int not null references sites,
                         kind_id int constraint of_kind references kinds);
    insert into issues select n, 1 + n % 3, 1 + n % 2 from generate_series(1, 60) n;
    insert into issues values (61, 3, null);";

/// A parent that is no row of the tenant and is gone: no key of a restored row may break.
#[test]
fn a_broken_key_stops_the_tenant_and_is_named() {
    let lost = lose(ISSUES, "delete from issues where site_id = 1");
    let plan = lost.shop.plan().exits(0);
    assert!(
        plan.stdout.contains("keys: proved by the engine, triggers off (the role may turn triggers off)"),
        "{}",
        plan.stdout
    );
    silently(&lost.shop, "delete from kinds where id = 2");
    let row = "unable to restore table 'public.issues': row id=";
    let key = " points by foreign key 'of_kind' at id=2 of 'public.kinds', which is not there";
    lost.fails(&[row, key]);
    lost.shop.sql("insert into kinds values (2, 'wish')");
    lost.comes_back();
}

/// One rigid circle of two tables, a table that points at itself, forwards and backwards.
const CIRCLES: &str =
    "create table teams (id int primary key, site_id int not null references sites, lead_id int);
    create table people (id int primary key, site_id int not null references sites,
                         team_id int not null references teams, boss_id int references people);
    insert into teams select n, 1 + n % 3, n from generate_series(1, 30) n;
    insert into people select n, 1 + n % 3, n, nullif(n % 28 + 3, 5) from generate_series(1, 30) n;
    alter table teams add constraint leads foreign key (lead_id) references people;";

#[test]
fn keys_in_circles_come_back_with_triggers_off_alone() {
    let lost = lose(CIRCLES, "delete from people where site_id = 1; delete from teams where site_id = 1");
    let refused = lost.shop.plan_with(&["--constraints=server"]).exits(6);
    for word in ["form a cycle", "--constraints=engine"] {
        assert!(refused.error().contains(word), "{}", refused.error());
    }
    silently(&lost.shop, "update people set boss_id = 1 where boss_id is null");
    let before: Vec<String> = lost.before.clone();
    silently(
        &lost.shop,
        "update people set boss_id = null where id in (select id from people where boss_id = 1)",
    );
    lost.shop.plan_with(&["--constraints=engine"]).exits(0);
    let apply = lost.shop.apply().exits(0);
    assert_eq!(everything(&lost.shop), before, "{}", apply.stdout);
}

/// Child and parent of different types; equal values of different bytes; domains; more columns than one.
const TYPES: &str = "create extension citext;
    create domain code as text not null check (value <> '');
    create table wide (id bigint primary key, site_id int not null references sites, tag text unique,
                       amount numeric unique, who citext unique, fixed char(6) unique, u uuid unique,
                       unique (site_id, id));
    create table narrow (id smallint primary key, site_id int not null references sites, other code,
                         wide_id int references wide, tag varchar(9) references wide (tag),
                         amount numeric references wide (amount), who citext references wide (who),
                         fixed char(6) references wide (fixed), u uuid references wide (u),
                         constraint pair foreign key (site_id, wide_id) references wide (site_id, id));
    create table outer_keys (id int primary key, tag text unique, amount numeric unique, who citext unique);
    create table pointing (id int primary key, site_id int not null references sites, other code,
                           far_id smallint references outer_keys, tag varchar(9) references outer_keys (tag),
                           amount numeric references outer_keys (amount), who citext references outer_keys (who));
    insert into outer_keys select n, 't' || n, n + 0.50, 'Who' || n from generate_series(-3, 20) n;
    insert into wide select n, 1 + abs(n) % 3, 't' || n, n + 0.50, 'Who' || n, 'f' || n, md5(n::text)::uuid
        from generate_series(-6, 30) n;
    insert into narrow select n, 1 + abs(n) % 3, 'x', n, 't' || n, n + 0.5, 'wHO' || n, 'f' || n, md5(n::text)::uuid
        from generate_series(-6, 30) n;
    insert into pointing select n, 1 + abs(n) % 3, 'x', n, 't' || n, n + 0.5, 'wHO' || n
        from generate_series(-3, 20) n;";

#[test]
fn keys_are_equal_as_the_server_has_it() {
    let delete = "delete from narrow where site_id = 1; delete from wide where site_id = 1;
                  delete from pointing where site_id = 1";
    let lost = lose(TYPES, delete);
    lost.shop.plan().exits(0);
    for (column, value, other) in
        [("id", "-3", "99"), ("tag", "'t0'", "'?'"), ("amount", "3.50", "99"), ("who", "'Who6'", "'?'")]
    {
        let change = |from: &str, to: &str| {
            silently(&lost.shop, &format!("update outer_keys set {column} = {to} where {column} = {from}"));
        };
        change(value, other);
        let key = if column == "id" { "far_id" } else { column };
        lost.fails(&[&format!("points by foreign key 'pointing_{key}_fkey' at {column}=")]);
        change(other, value);
    }
    lost.comes_back();
}

/// Triggers of all kinds, and what follows a table without being told.
const TRIGGERS: &str =
    "create table notes (id int primary key, site_id int not null references sites, body text,
                                            changed timestamptz);
    create table search (note_id int, words text);
    create function stamps() returns trigger language plpgsql as
        'begin new.changed := now(); new.body := upper(new.body); return new; end';
    create function indexes() returns trigger language plpgsql as
        'begin insert into search values (new.id, new.body); return null; end';
    create function counts() returns trigger language plpgsql as
        'begin update sites set name = name || new.id where id = 2; return null; end';
    insert into notes select n, 1 + n % 3, 'note ' || n, '2026-01-01' from generate_series(1, 30) n;
    create trigger stamps before insert or update on notes for each row execute function stamps();
    create trigger indexes after insert on notes for each row execute function indexes();
    create trigger counts after insert on notes for each row execute function counts();
    create view note_view as select site_id, count(*) from notes group by 1;
    create materialized view note_counts as select * from note_view;";

#[test]
fn triggers_that_assign_and_write_elsewhere_do_not_matter() {
    let lost = lose(TRIGGERS, "delete from notes where site_id = 1");
    let plan = lost.shop.plan().exits(0);
    for note in [
        "note: triggers are off on insert into 'public.notes': counts, indexes, stamps",
        "note: table 'public.search' is kept by trigger 'indexes' of 'public.notes', which does not fire: it goes stale",
        "note: materialised view 'public.note_counts' is made of 'public.notes': refresh it after the restore",
    ] {
        assert!(plan.stdout.contains(note), "'{note}' in\n{}", plan.stdout);
    }
    lost.comes_back();
}

#[test]
fn with_triggers_on_they_are_found_and_roll_the_tenant_back() {
    let lost = lose(TRIGGERS, "delete from notes where site_id = 1");
    let plan = lost.shop.plan_with(&["--constraints=server"]).exits(0);
    for note in [
        "keys: checked by the server, triggers on (asked for)",
        "note: triggers fire on insert into 'public.notes'",
    ] {
        assert!(plan.stdout.contains(note), "'{note}' in\n{}", plan.stdout);
    }
    let apply = lost.shop.apply().exits(5);
    assert!(apply.stdout.contains("before commit"), "{}", apply.stdout);
    assert_eq!(everything(&lost.shop), lost.broken);
}

#[test]
fn a_trigger_that_always_fires_is_warned_of_and_held_to_the_write_set() {
    let lost = lose(TRIGGERS, "delete from notes where site_id = 1");
    lost.shop.sql(
        "alter table notes enable always trigger counts; alter table notes enable replica trigger indexes",
    );
    let plan = lost.shop.plan().exits(0);
    let note = "note: triggers fire on insert into 'public.notes', even with triggers off: counts, indexes";
    assert!(plan.stdout.contains(note), "{}", plan.stdout);
    lost.fails(&[
        "table 'public.search': 10 inserted",
        "'counts' on 'public.notes', 'indexes' on 'public.notes'",
    ]);
}

/// A worker that goes through the queue later would delete what has just come back: the plan says where to look.
#[test]
fn a_queue_of_deleted_keys_is_named() {
    let lost = lose(
        "create table posts (id int primary key, site_id int not null references sites, body text);
         create table deleted_posts (post_id int, at timestamptz default now());
         create table totals (posts int);
         create function queues() returns trigger language plpgsql as
             'begin insert into deleted_posts (post_id) select id from gone; update totals set posts = 0; return null; end';
         create function other() returns trigger language plpgsql as 'begin update totals set posts = 1; return null; end';
         insert into posts select n, 1 + n % 3, 'post' from generate_series(1, 9) n;
         create trigger queues after delete on posts referencing old table as gone for each statement
             execute function queues();
         create trigger other after delete on posts for each row execute function other();",
        "set session_replication_role = origin; delete from posts where site_id = 1",
    );
    assert_eq!(lost.shop.sql("select count(*) from deleted_posts"), "3");
    let plan = lost.shop.plan().exits(0);
    let note = "rows deleted from 'public.posts' seem to be queued in 'public.deleted_posts' (by the text of trigger 'queues')";
    assert!(plan.stdout.contains(note), "{}", plan.stdout);
    assert!(!plan.stdout.contains("queued in 'public.totals'"), "{}", plan.stdout);
    lost.shop.apply().exits(0);
    assert_eq!(lost.shop.sql("select count(*) from posts where site_id = 1"), "3");
    assert_eq!(
        lost.shop.sql("select count(*) from deleted_posts"),
        "3",
        "nothing is deleted that is not declared"
    );
}

/// Keys that the server rechecks by triggers.
const DEFERRABLE: &str = "create extension btree_gist;
    create table seats (id int primary key deferrable, site_id int not null references sites, place int,
                        number int, during int4range, room text collate \"C\",
                        constraint one_place unique (place) deferrable initially deferred,
                        constraint no_nulls unique nulls not distinct (number) deferrable,
                        constraint no_overlap exclude using gist (room with =, during with &&)
                            where (number > 0) deferrable initially deferred);
    insert into seats select n, 1 + n % 3, n, n, int4range(n * 10, n * 10 + 5), 'r' from generate_series(1, 12) n;";

#[test]
fn a_neighbour_who_took_a_deferrable_key_is_found() {
    let lost = lose(DEFERRABLE, "delete from seats where site_id = 1");
    lost.shop.plan().exits(0);
    let at = "unable to restore table 'public.seats': row id=3 and live row id=";
    for (took, key) in [
        ("3, 2, 100, 100, '[1000,1001)', 'r'", "3 share the key 'seats_pkey'"),
        ("100, 2, 3, 100, '[1000,1001)', 'r'", "100 share the key 'one_place'"),
        ("100, 2, 100, 3, '[1000,1001)', 'r'", "100 share the key 'no_nulls'"),
        ("100, 2, 100, 100, '[31,32)', 'r'", "100 share the key 'no_overlap'"),
    ] {
        lost.shop.sql(&format!("insert into seats values ({took})"));
        lost.fails(&[at, key]);
        lost.shop.sql("delete from seats where id = 100 or id = 3 and site_id = 2");
    }
    // Not in the index, or of no effect there.
    lost.shop.sql("insert into seats values (100, 2, 100, -3, '[31,32)', 'r'), (101, 2, null, null, '[31,32)', 'other')");
    lost.shop.apply().exits(0);
    lost.shop.sql("delete from seats where id >= 100");
    assert_eq!(everything(&lost.shop), lost.before);
}

/// psql in another process, which stays in its transaction for a while.
fn meanwhile(shop: &Shop, sql: &str, seconds: f32) -> Child {
    let script = format!("begin; {sql}; select pg_sleep({seconds}); commit;");
    let child = Command::new(binary("psql"))
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &shop.url, "-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql starts");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !shop.sql("select state, wait_event from pg_stat_activity").contains("PgSleep") {
        assert!(Instant::now() < deadline, "the neighbour does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// A neighbour's row that is written, not committed, and not seen: two equal keys must not come of it.
#[test]
fn a_neighbour_who_is_about_to_commit_a_deferrable_key_is_waited_for() {
    let lost = lose(DEFERRABLE, "delete from seats where site_id = 1");
    lost.shop.plan().exits(0);
    let sql = "insert into seats values (100, 2, 3, 100, '[1000,1001)', 'r')";
    let mut neighbour = meanwhile(&lost.shop, sql, 4.0);
    let apply = lost.shop.apply().exits(5);
    assert!(apply.stdout.contains("live row id=100 share the key 'one_place'"), "{}", apply.stdout);
    assert!(neighbour.wait().expect("psql").success());
    let places = lost.shop.sql("select count(*), count(distinct place) from seats");
    assert_eq!(places, "9|9", "the index holds");
}

/// A parent that a neighbour is deleting, not yet committed: the engine waits for it as the server's own check would.
#[test]
fn a_parent_that_is_being_deleted_is_waited_for() {
    let lost = lose(ISSUES, "delete from issues where site_id = 1");
    lost.shop.plan().exits(0);
    silently(&lost.shop, "update issues set kind_id = 1 where kind_id = 2");
    let mut neighbour = meanwhile(&lost.shop, "delete from kinds where id = 2", 4.0);
    let apply = lost.shop.apply().exits(5);
    assert!(apply.stdout.contains("'of_kind' at id=2"), "{}", apply.stdout);
    assert!(neighbour.wait().expect("psql").success());
    assert_eq!(lost.shop.sql("select count(*) from issues where kind_id = 2"), "0");
}

/// Issue 3 breaks a key that nobody ever validated.
fn not_valid() -> Lost {
    let schema = format!(
        "{ISSUES} update issues set kind_id = 77 where id = 3;
         alter table issues add constraint of_kind foreign key (kind_id) references kinds not valid;"
    );
    let schema = schema.replace("kind_id int constraint of_kind references kinds", "kind_id int");
    lose(&schema, "delete from issues where site_id = 1")
}

/// Rows that broke a key which nobody ever validated come back as they were; where it holds, it is kept.
#[test]
fn rows_that_broke_a_key_that_is_not_valid_come_back_as_they_were() {
    let lost = not_valid();
    let plan = lost.shop.plan().exits(0);
    let note =
        "foreign key 'of_kind' of 'public.issues' is NOT VALID: rows that break it come back as they were";
    assert!(plan.stdout.contains(note), "{}", plan.stdout);
    lost.comes_back();
}

/// A server that checks every new row refuses such rows; the plan says so, whatever the reason that triggers stay on.
#[test]
fn rows_that_break_a_key_that_is_not_valid_are_refused_where_the_server_checks_it() {
    let mut lost = not_valid();
    let refused = "1 rows of 'public.issues' of shard 'main' point ('of_kind') at rows of 'public.kinds' that are \
        neither live nor come back: id=3 at kind_id=77";
    let plan = lost.shop.plan_with(&["--constraints=server"]).exits(6);
    assert!(plan.error().contains(refused), "{}", plan.error());
    // May turn triggers off, and may not lock what is referenced.
    lost.work_as_a_role("grant set on parameter session_replication_role to {role}");
    let plan = lost.shop.plan().exits(6);
    assert!(plan.error().contains(refused), "{}", plan.error());
}

/// A key of one partition, which says nothing of the others.
#[test]
fn a_key_of_one_partition_is_proved_for_its_rows() {
    let lost = lose(
        "create table kinds (id int primary key); insert into kinds values (1);
         create table events (id int, site_id int not null references sites, kind_id int) partition by range (id);
         create table events_low partition of events for values from (0) to (10);
         create table events_high partition of events for values from (10) to (100);
         alter table events_high add constraint of_high foreign key (kind_id) references kinds;
         insert into events select n, 1 + n % 3, case when n < 10 then 5 else 1 end from generate_series(1, 20) n;",
        "delete from events where site_id = 1",
    );
    lost.shop.plan().exits(0);
    silently(&lost.shop, "delete from kinds");
    lost.fails(&["row id=1", "by foreign key 'of_high' at id=1 of 'public.kinds'"]);
    lost.shop.sql("insert into kinds values (1)");
    lost.comes_back();
    // What is missing already is found by the plan; rows of the other partition point at nothing.
    silently(
        &lost.shop,
        "delete from events where site_id = 1; delete from sites where id = 1; delete from kinds",
    );
    std::fs::remove_file(lost.shop.dir.path().join("plan.json")).expect("the plan goes");
    let plan = lost.shop.plan().exits(6).error();
    assert!(
        plan.contains("3 rows of 'public.events'") && plan.contains("point ('of_high') at rows of"),
        "{plan}"
    );
    assert!(!plan.contains("kind_id=5"), "{plan}");
}

/// A unique key that one partition has for itself, taken by a neighbour there; in the other the value is free.
#[test]
fn a_taken_key_of_one_partition_is_found_by_the_plan() {
    let lost = lose(
        "create table seats (id int, site_id int not null references sites, place int) partition by range (id);
         create table seats_low partition of seats for values from (0) to (10);
         create table seats_high partition of seats for values from (10) to (100);
         alter table seats_low add constraint of_low unique (place);
         insert into seats select n, 1 + n % 3, n from generate_series(1, 20) n;",
        "delete from seats where site_id = 1",
    );
    lost.shop.sql("insert into seats values (30, 2, 3), (5, 2, 18) on conflict do nothing");
    lost.shop.plan().exits(0);
    std::fs::remove_file(lost.shop.dir.path().join("plan.json")).expect("the plan goes");
    lost.shop.sql("delete from seats where id = 5; insert into seats values (5, 2, 6)");
    let plan = lost.shop.plan().exits(6).error();
    assert!(plan.contains("of_low"), "{plan}");
    lost.shop.sql("delete from seats where id in (5, 30); insert into seats values (5, 3, 5)");
    lost.shop.plan().exits(0);
    lost.comes_back();
}

/// Who may not turn triggers off, or not lock what is referenced, has the server check.
#[test]
fn the_choice_follows_the_rights_of_the_role() {
    let mut lost = lose(ISSUES, "delete from issues where site_id = 1");
    let admin = lost.shop.url.clone();
    let role = lost.work_as_a_role("");
    let plan = lost.shop.plan().exits(0);
    let reason =
        format!("checked by the server, triggers on (role '{role}' may not set 'session_replication_role')");
    assert!(plan.stdout.contains(&reason), "{}", plan.stdout);
    let refused = lost.shop.plan_with(&["--constraints=engine"]).exits(3);
    assert!(refused.error().contains("by the engine: role"), "{}", refused.error());

    psql(&admin, &format!("grant set on parameter session_replication_role to {role}"));
    let plan = lost.shop.plan().exits(0);
    let reason = "triggers on (the role may not lock rows of 'public.";
    assert!(plan.stdout.contains(reason), "{}", plan.stdout);

    psql(&admin, &format!("grant update (id) on kinds, sites to {role}"));
    let plan = lost.shop.plan().exits(0);
    assert!(plan.stdout.contains("proved by the engine, triggers off"), "{}", plan.stdout);
    lost.shop.apply().exits(0);
    lost.shop.url = admin;
    assert_eq!(everything(&lost.shop), lost.before);
}
