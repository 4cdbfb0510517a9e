//! Tables in which triggers write down what was deleted, for a worker: entries about restored rows are named in the
//! plan, and taken out where the configuration says so. Nobody else's are. On both back ends, against every table.

use crate::world::{Dump, Kind, World, on_both, tenants};

/// Queues of three kinds: one for several tables with keys as text, one for one table, one with a key of two columns.
const QUEUES: &str = "
CREATE TABLE deleted_records (table_name text NOT NULL, record text NOT NULL);
CREATE TABLE purge (comment_id bigint PRIMARY KEY){blind};
CREATE TABLE gone_settings (site_id bigint, name text, n integer);
";

const TRIGGERS_SQLITE: &str = "
CREATE TRIGGER q1 AFTER DELETE ON issues BEGIN INSERT INTO deleted_records VALUES ('issues', OLD.id); END;
CREATE TRIGGER q2 AFTER DELETE ON projects BEGIN INSERT INTO deleted_records VALUES ('projects', OLD.id); END;
CREATE TRIGGER q3 AFTER DELETE ON comments BEGIN INSERT INTO purge VALUES (OLD.id); END;
CREATE TRIGGER q4 AFTER DELETE ON settings BEGIN INSERT INTO gone_settings VALUES (OLD.site_id, OLD.name, 1); END;
";

const TRIGGERS_POSTGRES: &str = "
CREATE FUNCTION record() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN INSERT INTO deleted_records VALUES (TG_ARGV[0], OLD.id); RETURN NULL; END$$;
CREATE FUNCTION purge() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN INSERT INTO purge VALUES (OLD.id); RETURN NULL; END$$;
CREATE FUNCTION setting() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN INSERT INTO gone_settings VALUES (OLD.site_id, OLD.name, 1); RETURN NULL; END$$;
CREATE TRIGGER q1 AFTER DELETE ON issues FOR EACH ROW EXECUTE FUNCTION record('issues');
CREATE TRIGGER q2 AFTER DELETE ON projects FOR EACH ROW EXECUTE FUNCTION record('projects');
CREATE TRIGGER q3 AFTER DELETE ON comments FOR EACH ROW EXECUTE FUNCTION purge();
CREATE TRIGGER q4 AFTER DELETE ON settings FOR EACH ROW EXECUTE FUNCTION setting();
";

/// Entries that no restore of 9001 and 9002 may touch: a neighbour's, of a table without a link, without a row.
const OTHERS: &str = "
INSERT INTO deleted_records VALUES ('labels', '1'), ('issues', '100000'), ('issues', '01'), ('projects', 'x');
INSERT INTO purge VALUES (100000);
INSERT INTO gone_settings VALUES (9012, 'theme', 1), (9001, 'other', 1), (NULL, 'theme', 1);
";

const RULES: &str = r#"
[shards.product.tables."S.deleted_records"]
rule = "excluded"
reason = "a queue"
[shards.product.tables."S.purge"]
rule = "excluded"
reason = "a queue"
[shards.product.tables."S.gone_settings"]
rule = "excluded"
reason = "a queue"
"#;

const DECLARED: &str = r#"
[shards.product.deletion_queues]
"S.deleted_records" = { clear = CLEAR, links = [
    { table = "S.issues", columns = ["record"], key = ["id"], when = { column = "table_name", equals = "issues" } },
    { table = "S.projects", columns = ["record"], key = ["id"], when = { column = "table_name", equals = "projects" } },
] }
"S.purge" = { clear = CLEAR, links = [{ table = "S.comments", columns = ["comment_id"], key = ["id"] }] }
"S.gone_settings" = { clear = CLEAR, links = [
    { table = "S.settings", columns = ["name", "site_id"], key = ["name", "site_id"] },
] }
"#;

struct Queues(World);

impl Queues {
    /// A world with queues and a snapshot; `declared` is added to the configuration.
    async fn new(kind: Kind, declared: &str) -> Self {
        let world = World::new(kind).await;
        world.init();
        // The update hook of SQLite does not see what happens in such a table.
        let blind = if kind == Kind::Sqlite { " WITHOUT ROWID" } else { "" };
        world.sql("product", &QUEUES.replace("{blind}", blind)).await;
        let triggers = if kind == Kind::Sqlite { TRIGGERS_SQLITE } else { TRIGGERS_POSTGRES };
        world.sql("product", triggers).await;
        world.sql("product", OTHERS).await;
        let queues = Self(world);
        let config = queues.0.read("reinstate.toml") + &queues.named(&format!("{RULES}{declared}"));
        queues.0.write("reinstate.toml", &config);
        queues.0.run(&["snapshot", "create"]).exits(0);
        queues
    }

    fn named(&self, text: &str) -> String {
        let schema = if self.0.kind == Kind::Postgres { "public" } else { "main" };
        text.replace("S.", &format!("{schema}."))
    }

    async fn dump(&self) -> Dump {
        let mut dump = self.0.dump().await;
        for queue in ["deleted_records", "purge", "gone_settings"] {
            dump.insert(queue.into(), self.0.rows("product", queue).await);
        }
        dump
    }

    fn plan(&self, tenants: &[i64], more: &[&str]) -> crate::world::Run {
        let _ = std::fs::remove_file(self.0.path("plan.json"));
        self.0.list(tenants);
        self.0.run(&[&["plan", "--tenants", "tenants.txt", "-o", "plan.json"], more].concat())
    }
}

fn cleared() -> String {
    DECLARED.replace("CLEAR", "true")
}

fn reported() -> String {
    DECLARED.replace("CLEAR", "false")
}

async fn entries_of_restored_rows_go_and_no_others(kind: Kind) {
    let queues = Queues::new(kind, &cleared()).await;
    // 9003 is deleted too and stays so: its entries are the worker's.
    queues.0.delete(&tenants()[2..3]).await;
    let before = queues.dump().await;
    assert!(before["deleted_records"].len() > 6 && before["purge"].len() > 3, "{before:?}");
    queues.0.delete(&tenants()[..2]).await;
    let deleted = queues.dump().await;
    assert!(deleted["purge"].len() > before["purge"].len() + 10);

    let run = queues.plan(&tenants()[..2], &[]).exits(0);
    let issues = count(&before, &deleted, "deleted_records", "issues");
    let projects = count(&before, &deleted, "deleted_records", "projects");
    assert!(issues > projects && projects > 0);
    let json: serde_json::Value = serde_json::from_str(&queues.0.read("plan.json")).expect("JSON");
    let named = |table: &str, queue: &str| queued(&json, &queues.named(table), &queues.named(queue));
    assert_eq!(named("S.issues", "S.deleted_records"), issues);
    assert_eq!(named("S.projects", "S.deleted_records"), projects);
    assert_eq!(named("S.comments", "S.purge"), deleted["purge"].len() - before["purge"].len());
    assert_eq!(
        named("S.settings", "S.gone_settings"),
        deleted["gone_settings"].len() - before["gone_settings"].len()
    );
    for text in
        ["entries of deletion queue", "will be deleted", "about these rows deleted; nothing else is written"]
    {
        assert!(run.stdout.contains(text), "'{text}' in\n{}", run.stdout);
    }
    assert!(!run.stdout.contains("seem to be queued"), "{}", run.stdout);
    assert_eq!(queues.dump().await, deleted, "the dry run wrote nothing");

    // Said once more since the plan: no less stale than the first time.
    queues.0.sql("product", "INSERT INTO deleted_records VALUES ('issues', '1')").await;
    let run = queues.0.apply(2).exits(0);
    assert!(run.stderr.contains("entries of deletion queues cleared"), "{}", run.stderr);
    assert_eq!(queues.dump().await, before);
    queues.0.run(&["verify", "plan.json"]).exits(0);
    queues.0.apply(2).exits(0);
    assert_eq!(queues.dump().await, before);
}

/// Entries of a queue that came with a deletion and contain `what`.
fn count(before: &Dump, after: &Dump, queue: &str, what: &str) -> usize {
    let of = |dump: &Dump| dump[queue].iter().filter(|row| row.contains(what)).count();
    of(after) - of(before)
}

/// Entries that the plan names, over all tenants.
fn queued(plan: &serde_json::Value, table: &str, queue: &str) -> usize {
    let items = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let shards = items(&plan["tenants"]).into_iter().flat_map(|tenant| items(&tenant["shards"]));
    let tables = shards.flat_map(|shard| items(&shard["tables"])).filter(|rows| rows["table"] == table);
    tables.map(|rows| rows["queued"][queue].as_u64().unwrap_or_default() as usize).sum()
}

async fn without_clear_they_are_named_and_stay(kind: Kind) {
    let queues = Queues::new(kind, &reported()).await;
    let before = queues.dump().await;
    queues.0.delete(&tenants()[..1]).await;
    let deleted = queues.dump().await;
    let run = queues.plan(&tenants()[..1], &[]).exits(0);
    for text in
        ["entries of deletion queue", "and stay: what works them off", "will be inserted; nothing else"]
    {
        assert!(run.stdout.contains(text), "'{text}' in\n{}", run.stdout);
    }
    queues.0.apply(1).exits(0);
    let mut expected = before;
    for queue in ["deleted_records", "purge", "gone_settings"] {
        expected.insert(queue.into(), deleted[queue].clone());
    }
    assert_eq!(queues.dump().await, expected);
}

/// What does not come back stays queued: a row that was lawfully erased, one that is live.
async fn entries_of_rows_that_do_not_come_back_stay(kind: Kind) {
    let queues = Queues::new(kind, &cleared()).await;
    let mut expected = queues.dump().await;
    queues.0.delete(&tenants()[..1]).await;
    queues.0.sql("product", "INSERT INTO settings VALUES (9001, 'theme', 'mine')").await;
    let deleted = queues.dump().await;
    queues.0.write(
        "tombstones",
        &queues.named("{\"shard\": \"product\", \"table\": \"S.settings\", \"key\": {\"site_id\": 9001, \"name\": \"quota\"}}"),
    );
    queues.plan(&tenants()[..1], &["--tombstones", "tombstones", "--on-conflict", "keep-live"]).exits(0);
    queues.0.apply(1).exits(0);
    let of_9001 = |row: &&String| row.contains("9001") && (row.contains("theme") || row.contains("quota"));
    let left: Vec<String> = deleted["gone_settings"].iter().filter(of_9001).cloned().collect();
    assert_eq!(left.len(), 2);
    expected.get_mut("gone_settings").expect("queue").extend(left);
    expected.get_mut("gone_settings").expect("queue").sort();
    let settings = expected.get_mut("product.settings").expect("table");
    settings.retain(|row| !of_9001(&row));
    settings.extend(deleted["product.settings"].iter().filter(of_9001).cloned());
    settings.sort();
    assert_eq!(queues.dump().await, expected);
}

/// Whoever keeps DELETE from taking an entry, or makes it take more, rolls the tenant back.
async fn meddling_triggers_roll_back(kind: Kind) {
    let queues = Queues::new(kind, &cleared()).await;
    queues.0.delete(&tenants()[..1]).await;
    let (keeps, takes) = match kind {
        Kind::Sqlite => (
            "CREATE TRIGGER meddler BEFORE DELETE ON gone_settings BEGIN SELECT raise(ignore); END",
            "CREATE TRIGGER meddler AFTER DELETE ON gone_settings BEGIN DELETE FROM purge WHERE comment_id = 100000; END",
        ),
        Kind::Postgres => (
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
             CREATE TRIGGER meddler BEFORE DELETE ON gone_settings FOR EACH ROW EXECUTE FUNCTION keep()",
            "CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN DELETE FROM purge WHERE comment_id = 100000; RETURN NULL; END$$;
             CREATE TRIGGER meddler AFTER DELETE ON gone_settings FOR EACH ROW EXECUTE FUNCTION take()",
        ),
    };
    for (trigger, says) in
        [(keeps, "about restored rows of"), (takes, "the transaction wrote more than the tenant's rows")]
    {
        queues.0.sql("product", trigger).await;
        let broken = queues.dump().await;
        queues.plan(&tenants()[..1], &["--constraints", "server"]).exits(0);
        let run = queues.0.apply(1).exits(5);
        assert!(run.stdout.contains(says), "'{says}' in\n{}", run.stdout);
        assert_eq!(queues.dump().await, broken);
        let on = if kind == Kind::Postgres { " ON gone_settings" } else { "" };
        queues.0.sql("product", &format!("DROP TRIGGER meddler{on}")).await;
    }
}

async fn wrong_declarations_are_refused(kind: Kind) {
    let queues = Queues::new(kind, "").await;
    queues
        .0
        .sql("product", "CREATE TABLE notes (issue text, stamp date, purged bigint REFERENCES purge)")
        .await;
    let config = queues.0.read("reinstate.toml");
    let rule = queues.named("[shards.product.tables.\"S.notes\"]\nrule = \"excluded\"\nreason = \"notes\"\n");
    let config = config + &rule;
    queues.0.delete(&tenants()[..1]).await;
    let deleted = queues.dump().await;
    let head = "[shards.product.deletion_queues]\n";
    let purge = r#"{ table = "S.comments", columns = ["comment_id"], key = ["id"] }"#;
    let records = r#"{ table = "S.issues", columns = ["record"], key = ["id"] }"#;
    for (declared, says) in [
        (format!("\"S.purge\" = {{ clean = true, links = [{purge}] }}"), "unknown field `clean`"),
        ("\"S.purge\" = { links = [] }".to_owned(), "it has no links"),
        (format!("\"S.porge\" = {{ links = [{purge}] }}"), "the database has no table"),
        (
            format!("\"S.purge\" = {{ links = [{}] }}", purge.replace("comment_id", "id")),
            "has no column 'id'",
        ),
        (
            format!("\"S.purge\" = {{ links = [{}] }}", purge.replace("S.comments", "S.labels")),
            "tenants own no rows",
        ),
        (
            format!("\"S.purge\" = {{ links = [{}] }}", purge.replace("\"id\"", "\"body\"")),
            "(body) is no unique key",
        ),
        (
            format!(
                "\"S.purge\" = {{ links = [{}] }}",
                purge.replace("}", ", when = { column = \"kind\", equals = \"x\" } }")
            ),
            "has no column 'kind'",
        ),
        (
            format!("\"S.notes\" = {{ links = [{}] }}", purge.replace("comment_id", "stamp")),
            "cannot be compared with 'id'",
        ),
        (
            format!("\"S.purge\" = {{ links = [{}] }}", purge.replace("\"id\"", "\"id\", \"body\"")),
            "the same length",
        ),
        (
            format!(
                "\"S.deleted_records\" = {{ links = [{records}, {}] }}",
                records.replace("issues", "projects")
            ),
            "the same entries would name rows of",
        ),
        (format!("\"S.purge\" = {{ clear = true, links = [{purge}] }}"), "point at its entries"),
        (
            format!("\"S.history\" = {{ clear = true, links = [{}] }}", records.replace("record", "what")),
            "tenants own rows of it",
        ),
    ] {
        queues.0.write("reinstate.toml", &format!("{config}{head}{}\n", queues.named(&declared)));
        let run = queues.plan(&tenants()[..1], &[]).exits(2);
        assert!(run.error().contains(says), "'{says}' in\n{}", run.error());
    }
    assert_eq!(queues.dump().await, deleted);
}

on_both! {
    sqlite_entries_of_restored_rows_go_and_no_others, postgres_entries_of_restored_rows_go_and_no_others
        => entries_of_restored_rows_go_and_no_others;
    sqlite_without_clear_they_are_named_and_stay, postgres_without_clear_they_are_named_and_stay
        => without_clear_they_are_named_and_stay;
    sqlite_entries_of_rows_that_do_not_come_back_stay, postgres_entries_of_rows_that_do_not_come_back_stay
        => entries_of_rows_that_do_not_come_back_stay;
    sqlite_meddling_triggers_roll_back, postgres_meddling_triggers_roll_back => meddling_triggers_roll_back;
    sqlite_wrong_declarations_are_refused, postgres_wrong_declarations_are_refused
        => wrong_declarations_are_refused;
}

/// The privilege is missed when the plan is made; a queue that nobody declared comes with its declaration.
#[tokio::test]
async fn postgres_a_role_that_may_not_delete_is_refused_at_plan_time() {
    let queues = Queues::new(Kind::Postgres, "").await;
    queues.0.delete(&tenants()[..1]).await;
    let run = queues.plan(&tenants()[..1], &[]).exits(0);
    let shape = "or declare it: [shards.product.deletion_queues] \"public.purge\" = { clear = true, links = \
                 [{ table = \"public.comments\", columns = [\"comment_id\"], key = [\"id\"] }] }";
    assert!(run.stdout.contains(shape), "'{shape}' in\n{}", run.stdout);

    let grants = "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO sweeper;
                  GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO sweeper";
    let role = "DO $$BEGIN CREATE ROLE sweeper LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$$;";
    queues.0.sql("product", &format!("{role} {grants}; GRANT CREATE ON SCHEMA public TO sweeper")).await;
    let config = queues.0.read("reinstate.toml");
    let url = queues.0.url("product");
    let config = config.replace(url, &url.replace("postgres@", "sweeper@")) + &queues.named(&cleared());
    queues.0.write("reinstate.toml", &config);
    let run = queues.plan(&tenants()[..1], &[]).exits(3);
    for text in [
        "unable to clear deletion queue 'public.",
        "role 'sweeper' may not read and delete its rows",
        "GRANT SELECT, DELETE ON",
    ] {
        assert!(run.error().contains(text), "'{text}' in\n{}", run.error());
    }
    queues.0.write("reinstate.toml", &config.replace("clear = true", "clear = false"));
    queues.plan(&tenants()[..1], &[]).exits(0);
    queues.0.write("reinstate.toml", &config);
    queues.0.sql("product", "GRANT DELETE ON deleted_records, purge, gone_settings TO sweeper").await;
    queues.plan(&tenants()[..1], &[]).exits(0);
}
