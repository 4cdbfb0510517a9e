//! Changes that take more than one table, a file or another kind of database to show.

use std::fs::File;

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Place, rows};
use crate::cluster::{Cluster, psql};
use crate::world::{Kind, World, tenants};

const PROJECTS: &str = "
    create table sites (id int primary key, name text);
    create table projects (id int primary key, site_id int not null references sites, note text, size int);
    create table issues (id int primary key, project_id int not null references projects, body text);
    create table keyless (site_id int not null references sites, what text, old text);
    insert into sites values (1, 'victim'), (2, 'neighbour');
    insert into projects values (10, 1, 'first', 5), (11, 1, null, 6), (20, 2, 'theirs', 7);
    insert into issues values (100, 10, 'a'), (101, 11, 'b'), (200, 20, 'c');
    insert into keyless values (1, 'x', 'y'), (1, 'x', 'y'), (2, 'z', 'z');
";

const DELETE: &str = "delete from keyless where site_id = 1; delete from issues where id < 200;
                      delete from projects where site_id = 1; delete from sites where id = 1;";

const TABLES: [&str; 4] = ["sites", "projects", "issues", "keyless"];

fn projects() -> Place {
    let place = Place::new(PROJECTS);
    place.take_snapshot();
    place
}

fn change_config(place: &Place, change: impl FnOnce(String) -> String) {
    let path = place.dir.path().join("reinstate.toml");
    let text = change(std::fs::read_to_string(&path).expect("read"));
    std::fs::write(path, text).expect("write");
}

/// Every row of a Parquet file as `column=value …`, sorted.
fn parquet_rows(file: &std::path::Path) -> Vec<String> {
    let file = File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("reader");
    let mut found = Vec::new();
    for batch in reader {
        let batch: RecordBatch = batch.expect("batch");
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let cells = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
                format!("{}={}", field.name(), array_value_to_string(column, row).expect("text"))
            });
            found.push(cells.collect::<Vec<_>>().join(" "));
        }
    }
    found.sort();
    found
}

#[test]
fn values_of_dropped_columns_are_kept_in_a_file_a_tenant_and_table() {
    let place = projects();
    let mirror = Cluster::start().new_database();
    psql(&mirror, PROJECTS);
    psql(&place.url, DELETE);
    let change = "alter table projects drop note; alter table keyless drop old;";
    psql(&place.url, change);
    psql(&mirror, change);
    let refused = place.plan(&[1], &[]).exits(6);
    for text in
        ["column 'note' of table 'public.projects' does not exist any more, but 1 rows", "--allow-dropped"]
    {
        assert!(refused.error().contains(text), "{}", refused.error());
    }
    let plan = place.plan(&[1], &["--allow-dropped"]).exits(0);
    let said = "column 'note' of table 'public.projects' does not exist any more; 1 values of the tenants go to Parquet files";
    assert!(plan.stdout.contains(said), "{}", plan.stdout);
    let apply = place.run(&["apply", "plan.json", "--confirm", "1"]).exits(0);
    assert!(
        apply.stderr.contains("values of dropped columns: 2 Parquet files in plan.dropped"),
        "{}",
        apply.stderr
    );
    place.run(&["verify", "plan.json"]).exits(0);
    assert_eq!(place.rows(&TABLES), rows(&mirror, &TABLES));
    let folder = place.dir.path().join("plan.dropped/main");
    assert_eq!(
        parquet_rows(&folder.join("public%2Eprojects/1.parquet")),
        ["id=10 note=first", "id=11 note="]
    );
    let whole = "site_id=1 what=x old=y";
    assert_eq!(
        parquet_rows(&folder.join("public%2Ekeyless/1.parquet")),
        [whole, whole],
        "no key: whole rows"
    );
    let files = std::fs::read_dir(folder.join("public%2Eprojects")).expect("folder").count();
    assert_eq!(files, 1, "nothing unfinished is left");
}

#[test]
fn a_file_that_cannot_be_written_rolls_the_tenant_back() {
    let place = projects();
    psql(&place.url, DELETE);
    psql(&place.url, "alter table projects drop note");
    let damaged = place.rows(&TABLES);
    place.plan(&[1], &["--allow-dropped"]).exits(0);
    std::fs::write(place.dir.path().join("taken"), "a file").expect("write");
    let apply = place.run(&["apply", "plan.json", "--confirm", "1", "--dropped", "taken"]).exits(5);
    assert!(apply.stdout.contains("unable to write dropped values to 'taken/main/"), "{}", apply.stdout);
    assert_eq!(place.rows(&TABLES), damaged);
    place.run(&["apply", "plan.json", "--confirm", "1", "--dropped", "elsewhere"]).exits(0);
    assert!(place.dir.path().join("elsewhere/main/public%2Eprojects/1.parquet").exists());
}

#[test]
fn owner_columns_may_be_renamed_where_rules_and_renames_say_so() {
    let place = projects();
    let mirror = Cluster::start().new_database();
    psql(&mirror, PROJECTS);
    psql(&place.url, DELETE);
    let change = "alter table sites rename name to title; alter table projects rename site_id to tenant_id;
                  alter table projects rename id to pid; alter table issues rename project_id to pid;";
    psql(&place.url, change);
    psql(&mirror, change);
    change_config(&place, |text| {
        text.replace("\"project_id\"", "\"pid\"")
            .replace("parent_columns = [\"id\"]", "parent_columns = [\"pid\"]")
            .replace(
                "\"public.projects\" = { rule = \"direct\", column = \"site_id\" }",
                "\"public.projects\" = { rule = \"direct\", column = \"tenant_id\" }",
            )
            .replace("name = \"name\"", "name = \"title\"")
    });
    let other_rule = place.plan(&[1], &[]).exits(6);
    assert!(other_rule.error().contains("but snapshot"), "{}", other_rule.error());
    place.configure(
        "[shards.main.drift]
         \"public.sites\" = { renamed = { name = \"title\" } }
         \"public.projects\" = { renamed = { site_id = \"tenant_id\", id = \"pid\" } }
         \"public.issues\" = { renamed = { project_id = \"pid\" } }",
    );
    let plan = place.plan(&[1], &[]).exits(0);
    assert!(plan.stdout.contains("victim"), "the name is found by its old column: {}", plan.stdout);
    place.run(&["apply", "plan.json", "--confirm", "1"]).exits(0);
    place.run(&["verify", "plan.json"]).exits(0);
    assert_eq!(place.rows(&TABLES), rows(&mirror, &TABLES));
}

#[test]
fn a_table_that_is_gone_renamed_or_split_is_refused_by_name() {
    let place = projects();
    psql(&place.url, DELETE);
    for change in [
        "alter table issues rename to tickets",
        "alter table tickets rename to tickets_open; create table tickets_done (like tickets_open)",
        "drop table tickets_open, tickets_done",
    ] {
        psql(&place.url, change);
        let plan = place.plan(&[1], &[]).exits(6);
        assert!(
            plan.error().contains("'public.issues'") || plan.error().contains("'public.tickets"),
            "{}",
            plan.error()
        );
    }
    let rule = |text: &str| {
        text.lines().find(|line| line.starts_with("\"public.issues\"")).expect("the rule").to_owned()
    };
    change_config(&place, |text| text.replace(&rule(&text), ""));
    let plan = place.plan(&[1], &[]).exits(6);
    let said = "table 'public.issues' does not exist any more, and has 2 rows of the tenants";
    assert!(plan.error().contains(said), "{}", plan.error());
    // Whoever says that nobody will miss the rows gets the rest.
    change_config(&place, |text| {
        let excluded =
            "\"public.issues\" = { rule = \"excluded\", reason = \"moved elsewhere\" }\n\"public.projects\"";
        text.replacen("\"public.projects\"", excluded, 1)
    });
    let plan = place.plan(&[1], &[]).exits(0);
    let said = "table 'public.issues' does not exist any more and is excluded (moved elsewhere): 2 rows stay in the snapshot";
    assert!(plan.stdout.contains(said), "{}", plan.stdout);
    place.run(&["apply", "plan.json", "--confirm", "1"]).exits(0);
}

#[test]
fn declarations_about_a_table_that_is_nowhere_are_refused() {
    let place = projects();
    psql(&place.url, DELETE);
    place.configure("[shards.main.drift]\n\"public.isues\" = { renamed = { a = \"b\" } }");
    let plan = place.plan(&[1], &[]).exits(2);
    assert!(plan.error().contains("its drift names table 'public.isues'"), "{}", plan.error());
    change_config(&place, |text| text.replace("renamed = {", "rename = {"));
    let plan = place.plan(&[1], &[]).exits(2);
    assert!(plan.error().contains("unknown field `rename`"), "{}", plan.error());
}

#[test]
fn a_schema_that_changes_between_plan_and_apply_needs_a_new_plan() {
    let place = projects();
    psql(&place.url, DELETE);
    for change in [
        "alter table projects add check (size > 0)",
        "create type mood as enum ('a'); alter table projects add mood mood",
        "alter type mood add value 'b'",
    ] {
        place.plan(&[1], &[]).exits(0);
        psql(&place.url, change);
        let apply = place.run(&["apply", "plan.json", "--confirm", "1"]).exits(3);
        assert!(apply.error().contains("its schema was changed after the dry run"), "{}", apply.error());
    }
}

#[tokio::test]
async fn sqlite_copes_with_added_renamed_and_dropped_columns() {
    let world = World::with_snapshot(Kind::Sqlite).await;
    let mirror = World::new(Kind::Sqlite).await;
    let victims = &tenants()[..2];
    world.delete(victims).await;
    let change = "ALTER TABLE issues RENAME COLUMN summary TO title;
                  ALTER TABLE issues ADD COLUMN rank INTEGER NOT NULL DEFAULT 3;
                  ALTER TABLE issues ADD COLUMN note TEXT;
                  ALTER TABLE history ADD COLUMN region TEXT NOT NULL DEFAULT 'eu';
                  ALTER TABLE history ADD COLUMN weight NUMERIC NOT NULL DEFAULT 1.5;
                  ALTER TABLE issues DROP COLUMN score;";
    world.sql("product", change).await;
    mirror.sql("product", change).await;
    let undeclared = world.plan(victims).exits(6);
    assert!(
        undeclared.error().contains("column 'summary' of table 'main.issues' does not exist any more"),
        "{}",
        undeclared.error()
    );
    let config = world.read("reinstate.toml");
    let declared = "[shards.product.drift]
        \"main.issues\" = { renamed = { summary = \"title\" } }
        \"main.history\" = { values = { region = \"eu\", weight = 1.5 } }";
    world.write("reinstate.toml", &format!("{config}\n{declared}\n"));
    let refused = world.plan(victims).exits(6);
    assert!(refused.error().contains("column 'score' of table 'main.issues'"), "{}", refused.error());
    world.list(victims);
    let plan =
        world.run(&["plan", "--tenants", "tenants.txt", "-o", "drift.json", "--allow-dropped"]).exits(0);
    for said in ["is now 'title', as declared", "take the declared value '1.5'", "go to Parquet files"] {
        assert!(plan.stdout.contains(said), "{}", plan.stdout);
    }
    world.run(&["apply", "drift.json", "--confirm", "2"]).exits(0);
    world.run(&["verify", "drift.json"]).exits(0);
    assert_eq!(world.dump().await, mirror.dump().await);
    let file = world.path("drift.dropped/product/main%2Eissues/9001.parquet");
    assert!(parquet_rows(&file).iter().all(|row| row.contains("score=")), "{:?}", parquet_rows(&file));
}
