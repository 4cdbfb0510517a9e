//! What a failing INSERT or COPY would tell, the plan tells: demands of SQLite's tables, keys of equal values and other
//! bytes, and keys made of defaults. Against the whole database.

use crate::constraints::{Lost, everything, lose, silently};
use crate::world::{Dump, Kind, Run, World, tenants};

/// A plan for these tenants that names all of `words`.
fn plan_says(world: &World, tenants: &[i64], code: i32, words: &[&str]) -> Run {
    let run = world.plan(tenants).exits(code);
    let told = format!("{}{}", run.stdout, run.error());
    for word in words {
        assert!(told.contains(word), "'{word}' in\n{told}");
    }
    run
}

/// The dump without rows of these tenants in tables that name them.
fn without(mut dump: Dump, tenants: &[i64]) -> Dump {
    for table in ["catalogue.sites", "product.settings", "product.history", "product.projects"] {
        let rows = dump.get_mut(table).expect("table");
        rows.retain(|row| !tenants.iter().any(|tenant| row.contains(&tenant.to_string())));
    }
    dump
}

/// SQLite cannot add a check: a person makes the table anew.
async fn remake(world: &World, table: &str, shard: &str, columns: &str) {
    let sql = format!(
        "ALTER TABLE {table} RENAME TO old; CREATE TABLE {table} ({columns});
         INSERT INTO {table} SELECT * FROM old; DROP TABLE old"
    );
    world.sql(shard, &sql).await;
}

#[tokio::test]
async fn sqlite_rows_that_a_table_does_not_take_block_their_tenant_only() {
    let world = World::with_snapshot(Kind::Sqlite).await;
    let before = world.dump().await;
    let victims = &tenants()[..5];
    world.delete(victims).await;
    // Checks of a column and of the table; what CHECK makes of NULL; types that SQLite converts; an odd name.
    let columns = "id bigint PRIMARY KEY, name text NOT NULL CHECK (name NOT LIKE '%9001'),
                   host text NOT NULL UNIQUE COLLATE NOCASE, CONSTRAINT \"odd ' name\" CHECK (id <> '9002' OR NULL),
                   CHECK (id <> 9003 OR host = 'S9003.EXAMPLE.NET')";
    remake(&world, "sites", "catalogue", columns).await;
    let columns =
        "site_id bigint NOT NULL, name text NOT NULL, value text CHECK (site_id <> 9004 OR value NOT NULL),
                   PRIMARY KEY (site_id, name)";
    remake(&world, "settings", "product", columns).await;
    let lost = world.dump().await;
    plan_says(
        &world,
        victims,
        6,
        &[
            "1 rows of 'main.sites' of shard 'catalogue' do not fit: CHECK constraint failed: name NOT LIKE '%9001': id=9001",
            "1 rows of 'main.settings' of shard 'product' do not fit: CHECK constraint failed",
            "site_id=9004 name=quota",
            "LEFT OUT: tenant 9001",
            "LEFT OUT: tenant 9004",
        ],
    );
    assert_eq!(world.dump().await, lost, "a plan writes nothing");
    // NULL is not false, and the collation of the column decides.
    world.apply(3).exits(0);
    world.run(&["verify", "plan.json"]).exits(0);
    let after = world.dump().await;
    let blocked = [9001, 9004];
    for (table, rows) in without(before, &blocked) {
        if ["catalogue.sites", "product.settings", "product.history", "product.projects"]
            .contains(&table.as_str())
        {
            assert_eq!(after[&table], rows, "{table}");
        }
    }
}

#[tokio::test]
async fn sqlite_every_kind_of_unique_key_is_found() {
    let world = World::with_snapshot(Kind::Sqlite).await;
    let before = world.dump().await;
    let victims = &tenants()[..7];
    world.delete(victims).await;
    world
        .sql(
            "catalogue",
            "CREATE UNIQUE INDEX by_name ON sites (lower(name));
             CREATE UNIQUE INDEX some_hosts ON sites (substr(host, 6) DESC) WHERE id IN (9002, 9011);
             CREATE UNIQUE INDEX caseless ON sites (host COLLATE NOCASE);
             CREATE UNIQUE INDEX pairs ON sites ((id / 2)) -- of two (
                 WHERE id IN (9004, 9005);
             CREATE UNIQUE INDEX two ON sites (substr(name, 1, 4), max(id, 9011) COLLATE BINARY ASC) WHERE id IN (9006, 9011);
             UPDATE sites SET name = 'SITE 9001' WHERE id = 9012;
             UPDATE sites SET host = 'S9003.EXAMPLE.NET' WHERE id = 9010",
        )
        .await;
    let lost = world.dump().await;
    plan_says(
        &world,
        victims,
        6,
        &[
            "('by_name') that is taken: id=9001 by id=9012 of tenant 9012",
            "('some_hosts') that is taken: id=9002 by id=9011 of tenant 9011",
            "('caseless') that is taken: id=9003 by id=9010 of tenant 9010",
            "do not fit: UNIQUE constraint failed: index 'pairs', among the rows that come back: id=9005",
            "('two') that is taken: id=9006 by id=9011 of tenant 9011",
            "2 tenants, ",
        ],
    );
    assert_eq!(world.dump().await, lost, "a plan writes nothing");
    world.apply(2).exits(0);
    let after = world.dump().await;
    for id in [9004, 9007] {
        let of = |dump: &Dump| -> Vec<String> {
            let all = dump["catalogue.sites"].iter().chain(&dump["product.projects"]);
            all.filter(|row| row.contains(&id.to_string())).cloned().collect()
        };
        assert_eq!(of(&after), of(&before));
    }
    assert_eq!(after["catalogue.sites"].len(), lost["catalogue.sites"].len() + 2);
}

/// Each pair of columns holds equal values of different bytes; the parent of `n` is the tenant's own, or outside.
const ALIKE: &str = "create extension citext;
    create collation caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    create table wide (n int primary key, site_id int references sites, amount numeric unique, who citext unique,
                       day timestamp unique, zoned timestamptz unique, word text collate caseless unique,
                       ratio float8 unique, doc jsonb unique, code text unique);
    create table narrow (id int primary key, site_id int not null references sites,
                         amount numeric constraint of_amount references wide (amount),
                         who citext constraint of_who references wide (who),
                         day date constraint of_day references wide (day),
                         zoned timestamp constraint of_zoned references wide (zoned),
                         word text collate caseless constraint of_word references wide (word),
                         ratio float8 constraint of_ratio references wide (ratio),
                         doc jsonb constraint of_doc references wide (doc),
                         code char(6) constraint of_code references wide (code),
                         bound int constraint of_bound references wide (amount),
                         twice int generated always as (id * 2) stored constraint of_twice references wide (n));
    insert into wide select n, case when n < 20 then 1 + n % 3 end, n + 0.00, 'Who' || n,
                            timestamp '2026-01-01' + n * interval '1 day',
                            timestamp '2026-01-01' + n * interval '1 day', 'Word' || n,
                            case when n = 0 then '-0'::float8 else n end, format('{\"a\": %s.0}', n)::jsonb,
                            'c' || n
        from generate_series(0, 40) n;
    insert into narrow select n, 1 + n % 3, n + 0.0, 'wHO' || n, date '2026-01-01' + n,
                              timestamp '2026-01-01' + n * interval '1 day', 'wORD' || n, n,
                              format('{\"a\": %s.00}', n)::jsonb, 'c' || n, n
        from generate_series(0, 20) n;";

fn alike() -> Lost {
    // The generated key of row 0 to 20 points at 0 to 40: half of it is the tenant's own, and of other tenants.
    lose(ALIKE, "delete from narrow where site_id = 1; delete from wide where site_id = 1")
}

#[test]
fn references_of_equal_values_and_other_bytes_are_answered_by_the_tenants_own_rows() {
    for constraints in ["--constraints=engine", "--constraints=server"] {
        let lost = alike();
        lost.shop.plan_with(&[constraints]).exits(0);
        lost.comes_back();
    }
}

/// Whoever is outside of the tenant and gone is named by the plan, not by a failing write.
#[test]
fn references_of_equal_values_and_other_bytes_that_lead_nowhere_are_named() {
    let columns = ["amount", "who", "day", "zoned", "word", "ratio", "doc", "code", "bound"];
    let set: Vec<String> = columns.iter().map(|column| format!("{column} = n.{column}")).collect();
    let set = set.join(", ");
    let schema = format!("{ALIKE} update narrow set {set} from narrow n where narrow.id = 3 and n.id = 20;");
    let lost = lose(&schema, "delete from narrow where site_id = 1; delete from wide where site_id = 1");
    // Row 20 of `wide` is nobody's.
    lost.shop.plan().exits(0);
    silently(&lost.shop, "delete from wide where n = 20");
    let now = everything(&lost.shop);
    let plan = lost.shop.plan().exits(6);
    let told = format!("{}{}", plan.stdout, plan.error());
    for column in columns {
        let said = format!(
            "1 rows of 'public.narrow' of shard 'main' point ('of_{column}') at rows of 'public.wide'"
        );
        assert!(told.contains(&said), "'{said}' in\n{told}");
        assert!(told.contains(&format!("id=3 at {column}=")), "{column} in\n{told}");
    }
    assert_eq!(everything(&lost.shop), now);
}

/// Two tenants of the list whose rows are tied by values of other bytes: one waits for the other.
#[test]
fn a_tenant_that_points_at_another_by_other_bytes_comes_after_it() {
    let schema = format!("{ALIKE} update narrow set amount = 4.0, who = 'whO4' where id = 3;");
    let lost = lose(
        &schema,
        "delete from narrow where site_id in (1, 2); delete from wide where site_id in (1, 2);
                              delete from sites where id = 2",
    );
    std::fs::write(lost.shop.dir.path().join("both.txt"), "1\n2\n").expect("list");
    let plan = ["plan", "--tenants", "both.txt", "-o", "plan.json"];
    let plan = lost.shop.run(&plan).exits(0);
    assert!(!plan.stdout.contains("LEFT OUT"), "{}", plan.stdout);
    lost.shop.run(&["apply", "plan.json", "--confirm", "2"]).exits(0);
    assert_eq!(everything(&lost.shop), lost.before);
}

/// Foreign keys of new columns: what a constant default points at is looked for, any other must be declared.
#[test]
fn a_foreign_key_over_a_new_columns_default_is_decided_by_the_plan() {
    let schema = "create table kinds (id int primary key); insert into kinds values (1), (2);
        create table issues (id int primary key, site_id int not null references sites);
        insert into issues select n, 1 + n % 3 from generate_series(1, 30) n;";
    let lost = lose(schema, "delete from issues where site_id = 1");
    lost.shop.sql("alter table issues add kind int not null default 2 constraint of_kind references kinds");
    lost.shop.sql("alter table issues add other int constraint of_other references kinds");
    lost.shop.plan().exits(0);
    silently(&lost.shop, "delete from kinds where id = 2");
    let plan = lost.shop.plan().exits(6);
    assert!(
        plan.error().contains("point ('of_kind') at rows of 'public.kinds' that are"),
        "{}",
        plan.error()
    );
    lost.shop.sql(
        "insert into kinds values (2); create function kind() returns int language sql as 'select 1';
                   alter table issues alter kind set default kind()",
    );
    let plan = lost.shop.plan().exits(6);
    let said = "where rows of 'public.issues' would point by foreign key 'of_kind': its column 'kind' is new";
    assert!(plan.error().contains(said), "{}", plan.error());
    let toml = lost.shop.dir.path().join("reinstate.toml");
    let text = std::fs::read_to_string(&toml).expect("configuration");
    let declared = "\n[shards.main.drift]\n\"public.issues\" = { values = { kind = 1 } }\n";
    std::fs::write(&toml, text + declared).expect("configuration");
    lost.shop.plan().exits(0);
    lost.shop.apply().exits(0);
    assert_eq!(lost.shop.sql("select distinct kind from issues where site_id = 1"), "1");
}

/// SQLite compares with the collation and the affinity of the parent's column.
#[tokio::test]
async fn sqlite_references_of_equal_values_and_other_bytes() {
    let world = World::new(Kind::Sqlite).await;
    let rows = "INSERT INTO codes VALUES ('Abc', 9001); INSERT INTO numbers VALUES (7, 9001);
                INSERT INTO uses VALUES (1, 9001, 'aBC', '7.0'), (2, 9001, 'zED', NULL)";
    let sql = format!(
        "CREATE TABLE \"codes\" (code TEXT COLLATE NOCASE PRIMARY KEY, site_id bigint NOT NULL, CHECK (code <> '')) WITHOUT ROWID;
         CREATE TABLE numbers (number NUMERIC PRIMARY KEY, site_id bigint NOT NULL);
         CREATE TABLE uses (id INTEGER PRIMARY KEY, site_id bigint NOT NULL, code TEXT REFERENCES codes, number TEXT REFERENCES numbers);
         INSERT INTO codes VALUES ('Zed', 9012); {rows}"
    );
    world.sql("product", &sql).await;
    world.init();
    world.run(&["snapshot", "create"]).exits(0);
    let before = world.dump().await;
    let tables = ["codes", "numbers", "uses"];
    let mut kept = Vec::new();
    for table in tables {
        kept.push(world.rows("product", table).await);
    }
    let victims = &tenants()[..1];
    world.delete(victims).await;
    for table in ["uses", "codes", "numbers"] {
        world.sql("product", &format!("DELETE FROM {table} WHERE site_id = 9001")).await;
    }
    plan_says(&world, victims, 0, &["1 tenant"]);
    world.sql("product", "DELETE FROM codes").await;
    let _ = std::fs::remove_file(world.path("plan.json"));
    let told = world.plan(victims).exits(6).error();
    assert!(
        told.contains("at rows of 'main.codes' that are neither live") && told.contains("id=2 at code=zED"),
        "{told}"
    );
    assert!(!told.contains("main.numbers"), "{told}");
    world.sql("product", "INSERT INTO codes VALUES ('Zed', 9012)").await;
    world.plan(victims).exits(0);
    world.apply(1).exits(0);
    for (table, rows) in tables.iter().zip(kept) {
        assert_eq!(world.rows("product", table).await, rows, "{table}");
    }
    assert_eq!(world.dump().await, before);
}

/// PostgreSQL: rows that come back and share a key which the table has got since, with each other.
#[test]
fn a_key_that_is_new_and_that_rows_share_with_each_other_is_found_by_the_plan() {
    let schema = "create table issues (id int primary key, site_id int not null references sites, code text, mark text);
        insert into issues select n, 1 + n % 3, 'code ' || n, 'mark ' || n from generate_series(1, 30) n;
        update issues set code = 'Shared' where id in (3, 4);
        update issues set mark = case id when 9 then 'TWICE' else 'twice' end where id in (6, 9, 12);";
    let lost = lose(schema, "delete from issues where site_id in (1, 2); delete from sites where id = 2");
    lost.shop.sql("create unique index codes on issues (code)");
    lost.shop.sql("create unique index marks on issues (lower(mark)) where id < 12");
    let now = everything(&lost.shop);
    std::fs::write(lost.shop.dir.path().join("both.txt"), "1\n2\n").expect("list");
    let plan = ["plan", "--tenants", "both.txt", "-o", "plan.json"];
    let refused = lost.shop.run(&plan).exits(6);
    let told = format!("{}{}", refused.stdout, refused.error());
    for word in [
        "('codes') that is taken: id=4 by id=3 of tenant 1, which comes back too",
        "('marks') that is taken: id=9 by id=6 of tenant 1, which comes back too",
    ] {
        assert!(told.contains(word), "'{word}' in\n{told}");
    }
    assert!(!told.contains("id=12"), "the index does not speak of it: {told}");
    assert_eq!(everything(&lost.shop), now);
    lost.shop.sql("drop index codes; drop index marks");
    lost.shop.run(&plan).exits(0);
    lost.shop.run(&["apply", "plan.json", "--confirm", "2"]).exits(0);
    assert_eq!(everything(&lost.shop), lost.before);
}
