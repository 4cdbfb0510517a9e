//! What a repair could do beyond its rows, or could not do at all: known by name when the plan is made.

use super::{apply, plan};
use crate::world::{Dump, Kind, World, on_both};

on_both! {
    sqlite_who_points_at_a_row_that_goes_blocks, postgres_who_points_at_a_row_that_goes_blocks
        => who_points_at_a_row_that_goes_blocks;
    sqlite_who_comes_to_point_there_rolls_back, postgres_who_comes_to_point_there_rolls_back
        => who_comes_to_point_there_rolls_back;
    sqlite_keys_that_others_follow, postgres_keys_that_others_follow => keys_that_others_follow;
    sqlite_triggers_on_update, postgres_triggers_on_update => triggers_on_update;
}

/// A world with more tables, each with a tenant in `site_id`, and a snapshot.
async fn world(kind: Kind, tables: &str, direct: &[&str]) -> World {
    let world = World::new(kind).await;
    world.sql("product", tables).await;
    world.init();
    let schema = if kind == Kind::Postgres { "public" } else { "main" };
    let mut config = String::new();
    for line in world.read("reinstate.toml").lines() {
        let named = direct.iter().find(|table| line.starts_with(&format!("\"{schema}.{table}\" = {{")));
        config += &match named {
            Some(table) => {
                format!("\"{schema}.{table}\" = {{ rule = \"direct\", column = \"site_id\" }}\n")
            }
            None => format!("{line}\n"),
        };
    }
    world.write("reinstate.toml", &config);
    world.run(&["snapshot", "create"]).exits(0);
    world
}

async fn dump(world: &World, more: &[&str]) -> Dump {
    let mut dump = world.dump().await;
    for table in more {
        dump.insert((*table).into(), world.rows("product", table).await);
    }
    dump
}

/// Who proves the keys, where that can be chosen.
fn provers(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Sqlite => &["server"],
        Kind::Postgres => &["server", "engine"],
    }
}

const LINKS: &str = "CREATE TABLE links (id bigint PRIMARY KEY, site_id bigint NOT NULL,
                     project_id bigint REFERENCES projects (id) ON DELETE CASCADE)";

/// A neighbour's row hangs from an extra one, and would go with it; the tenant's own that goes too is in nobody's way.
async fn who_points_at_a_row_that_goes_blocks(kind: Kind) {
    for prover in provers(kind) {
        let world = world(kind, LINKS, &["links"]).await;
        let whole = dump(&world, &["links"]).await;
        world.sql("product", "INSERT INTO projects VALUES (70001, 9003, 'new')").await;
        world.sql("product", "INSERT INTO links VALUES (1, 9012, 70001), (2, 9003, 70001)").await;
        let broken = dump(&world, &["links"]).await;
        let flags = &["--delete-extra", "--constraints", prover];
        let run = plan(&world, &[9003], flags).exits(6);
        for text in ["1 live rows of", "would go or get another key", "id=70001 by id=1 of tenant 9012"] {
            assert!(run.error().contains(text), "'{text}' in\n{}", run.error());
        }
        assert!(run.error().contains("without --delete-extra extra rows stay"), "{}", run.error());
        // What stays is in nobody's way.
        plan(&world, &[9003], &["--constraints", prover]).exits(0);
        assert_eq!(dump(&world, &["links"]).await, broken);
        world.sql("product", "DELETE FROM links WHERE id = 1").await;
        plan(&world, &[9003], flags).exits(0);
        apply(&world, 1).exits(0);
        assert_eq!(dump(&world, &["links"]).await, whole);
    }
}

/// The same, only after the plan was made: nothing of the neighbour's goes.
async fn who_comes_to_point_there_rolls_back(kind: Kind) {
    for prover in provers(kind) {
        let world = world(kind, LINKS, &["links"]).await;
        world.sql("product", "INSERT INTO projects VALUES (70001, 9003, 'new')").await;
        plan(&world, &[9003], &["--delete-extra", "--constraints", prover]).exits(0);
        world.sql("product", "INSERT INTO links VALUES (1, 9012, 70001)").await;
        let broken = dump(&world, &["links"]).await;
        let run = apply(&world, 1).exits(5);
        let says = match *prover {
            "server" => "links': 0 inserted, 0 updated, 1 deleted",
            _ => {
                "row id=1 of 'public.links' points by foreign key 'links_project_id_fkey' at a row that would go"
            }
        };
        assert!(run.stdout.contains(says), "'{says}' in\n{}", run.stdout);
        assert_eq!(dump(&world, &["links"]).await, broken);
    }
}

/// A key that is not the primary one changes, and rows that point at it would change with it.
async fn keys_that_others_follow(kind: Kind) {
    let tables = "CREATE TABLE codes (id bigint PRIMARY KEY, site_id bigint NOT NULL, code text UNIQUE);
                  CREATE TABLE uses (id bigint PRIMARY KEY, site_id bigint NOT NULL,
                    code text REFERENCES codes (code) ON UPDATE CASCADE);
                  INSERT INTO codes VALUES (1, 9003, 'a'), (2, 9012, 'b');
                  INSERT INTO uses VALUES (1, 9003, 'a'), (2, 9012, 'b')";
    let more = &["codes", "uses"];
    for prover in provers(kind) {
        let world = world(kind, tables, &["uses"]).await;
        let whole = dump(&world, more).await;
        let damage = "UPDATE codes SET code = 'x' WHERE id = 1; UPDATE uses SET code = 'x' WHERE id = 1";
        world.sql("product", damage).await;
        let broken = dump(&world, more).await;
        let run = plan(&world, &[9003], &["--constraints", prover]);
        if *prover == "server" {
            // The cascade would change the row below before its turn comes.
            let run = run.exits(6);
            assert!(run.error().contains("id=1 by id=1 of tenant 9003"), "{}", run.error());
            assert_eq!(dump(&world, more).await, broken);
        } else {
            run.exits(0);
            apply(&world, 1).exits(0);
            assert_eq!(dump(&world, more).await, whole);
            world.sql("product", "UPDATE codes SET code = 'x' WHERE id = 1").await;
        }
        world.sql("product", "INSERT INTO uses VALUES (3, 9012, 'x')").await;
        let broken = dump(&world, more).await;
        let run = plan(&world, &[9003], &["--constraints", prover]).exits(6);
        assert!(run.error().contains("id=1 by id=3 of tenant 9012"), "{}", run.error());
        // And where the neighbour comes after the plan.
        if *prover == "engine" {
            world.sql("product", "DELETE FROM uses WHERE id = 3").await;
            plan(&world, &[9003], &["--constraints", prover]).exits(0);
            world.sql("product", "INSERT INTO uses VALUES (3, 9012, 'x')").await;
            let run = apply(&world, 1).exits(5);
            assert!(run.stdout.contains("row id=3 of 'public.uses' points by foreign key"), "{}", run.stdout);
        }
        assert_eq!(dump(&world, more).await, broken);
    }
}

/// `updated_at`, kept by a trigger: out of the way with triggers off, named in the plan and rolled back otherwise.
async fn triggers_on_update(kind: Kind) {
    let tables = match kind {
        Kind::Postgres => {
            "CREATE TABLE notes (id bigint PRIMARY KEY, site_id bigint NOT NULL, note text, changed text);
             CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
               $$BEGIN NEW.changed := 'now'; RETURN NEW; END$$;
             CREATE TRIGGER touch BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION touch();
             INSERT INTO notes VALUES (1, 9003, 'a', 'then'), (2, 9012, 'b', 'then')"
        }
        Kind::Sqlite => {
            "CREATE TABLE notes (id INTEGER PRIMARY KEY, site_id bigint NOT NULL, note text, changed text);
             CREATE TRIGGER touch AFTER UPDATE OF note ON notes
               BEGIN UPDATE notes SET changed = 'now' WHERE id = NEW.id; END;
             INSERT INTO notes VALUES (1, 9003, 'a', 'then'), (2, 9012, 'b', 'then')"
        }
    };
    for prover in provers(kind) {
        let world = world(kind, tables, &[]).await;
        let whole = dump(&world, &["notes"]).await;
        world.sql("product", "UPDATE notes SET note = 'lost' WHERE id = 1").await;
        let broken = dump(&world, &["notes"]).await;
        assert_ne!(broken, whole);
        let run = plan(&world, &[9003], &["--constraints", prover]).exits(0);
        let named = run.stdout.contains("notes': touch; one that changes values (updated_at)");
        assert_eq!(named, *prover == "server", "{}", run.stdout);
        if *prover == "server" {
            apply(&world, 1).exits(5);
            assert_eq!(dump(&world, &["notes"]).await, broken);
        } else {
            apply(&world, 1).exits(0);
            assert_eq!(dump(&world, &["notes"]).await, whole);
        }
    }
}

/// A row of another partition since: it moves back.
#[tokio::test]
async fn postgres_rows_move_back_to_their_partitions() {
    let tables =
        "CREATE TABLE tasks (id bigint, site_id bigint NOT NULL, state text, PRIMARY KEY (id, site_id))
                    PARTITION BY RANGE (site_id);
                  CREATE TABLE tasks_1 PARTITION OF tasks FOR VALUES FROM (0) TO (100000)
                    PARTITION BY LIST (state);
                  CREATE TABLE open PARTITION OF tasks_1 FOR VALUES IN ('open');
                  CREATE TABLE done PARTITION OF tasks_1 FOR VALUES IN ('done');
                  INSERT INTO tasks SELECT n, 9001 + n % 12, 'open' FROM generate_series(1, 300) n";
    // A key must hold the columns that partition: here there is none below.
    let tables = tables.replace(", PRIMARY KEY (id, site_id))", ", kind text)");
    let tables = tables.replace("'open' FROM", "'open', 'x' FROM");
    let keyed =
        "CREATE TABLE jobs (id bigint, site_id bigint NOT NULL, size int, note text, PRIMARY KEY (id, size))
                   PARTITION BY RANGE (size);
                 CREATE TABLE small PARTITION OF jobs FOR VALUES FROM (0) TO (10);
                 CREATE TABLE large PARTITION OF jobs FOR VALUES FROM (10) TO (1000);
                 INSERT INTO jobs SELECT n, 9001 + n % 12, n % 20, 'x' FROM generate_series(1, 300) n";
    for prover in provers(Kind::Postgres) {
        let world = world(Kind::Postgres, &format!("{tables}; {keyed}"), &[]).await;
        let more = &["tasks", "jobs", "open", "done", "small", "large"];
        let whole = dump(&world, more).await;
        let damage = "UPDATE tasks SET state = 'done' WHERE site_id = 9003;
                      UPDATE jobs SET size = size + 10 WHERE site_id = 9003 AND size < 10;
                      UPDATE jobs SET note = 'y' WHERE site_id = 9003 AND id > 200";
        world.sql("product", damage).await;
        assert_ne!(dump(&world, more).await, whole);
        plan(&world, &[9003], &["--delete-extra", "--constraints", prover]).exits(0);
        apply(&world, 1).exits(0);
        assert_eq!(dump(&world, more).await, whole);
        world.run(&["verify", "repair.json"]).exits(0);
    }
}

/// No UPDATE sets such a number: the plan says so, and how it is done.
#[tokio::test]
async fn postgres_another_number_blocks() {
    let tables = "CREATE TABLE notes (id bigint PRIMARY KEY, site_id bigint NOT NULL, number bigint
                    GENERATED ALWAYS AS IDENTITY, note text);
                  INSERT INTO notes (id, site_id, note) VALUES (1, 9003, 'a'), (2, 9003, 'b'), (3, 9012, 'c')";
    let world = world(Kind::Postgres, tables, &[]).await;
    let whole = dump(&world, &["notes"]).await;
    let damage = "DELETE FROM notes WHERE id = 1; UPDATE notes SET note = 'x' WHERE id = 2;
                  INSERT INTO notes (id, site_id, note) VALUES (1, 9003, 'a')";
    world.sql("product", damage).await;
    let broken = dump(&world, &["notes"]).await;
    let run = plan(&world, &[9003], &[]).exits(6);
    assert!(
        run.error().contains("another value in column 'number', which no UPDATE can set"),
        "{}",
        run.error()
    );
    assert!(run.error().contains(": id=1") && !run.error().contains("id=2"), "{}", run.error());
    assert!(run.error().contains("delete the live rows named above by hand"), "{}", run.error());
    assert_eq!(dump(&world, &["notes"]).await, broken);
    world.sql("product", "DELETE FROM notes WHERE id = 1").await;
    plan(&world, &[9003], &[]).exits(0);
    apply(&world, 1).exits(0);
    assert_eq!(dump(&world, &["notes"]).await, whole);
}
