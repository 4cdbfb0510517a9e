//! `init` on real databases: what it finds, what it leaves to a person, and that its answers come from the rows.

use std::path::Path;
use std::time::Instant;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};

use crate::cluster::{Cluster, psql};
use crate::world::{Run, command, output};

/// A folder with a configuration, and the shard that it is about.
struct Shop {
    folder: tempfile::TempDir,
    url: String,
}

impl Shop {
    fn postgres(sql: &str) -> Self {
        let url = Cluster::start().new_database();
        psql(&url, sql);
        Self { folder: tempfile::tempdir().expect("a folder"), url }
    }

    async fn sqlite(sql: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("shop.db").display());
        let shop = Self { folder, url };
        shop.sqlite_sql(sql).await;
        shop
    }

    async fn sqlite_sql(&self, sql: &str) {
        let file = self.folder.path().join("shop.db");
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.expect("SQLite opens");
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect("SQL");
        connection.close().await.expect("close");
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, args: &[&str]) -> Run {
        output(command(self.path(), args))
    }

    fn init(&self, root: &str, more: &[&str]) -> Run {
        let shard = format!("shop={}", self.url);
        self.run(&[&["init", "--shard", &shard, "--root", root][..], more].concat())
    }

    fn config(&self) -> String {
        std::fs::read_to_string(self.path().join("reinstate.toml")).expect("a configuration")
    }

    fn write_config(&self, text: &str) {
        std::fs::write(self.path().join("reinstate.toml"), text).expect("write");
    }

    /// The comment of a table and its rule, as they stand in the configuration.
    fn lines(&self, table: &str) -> (String, String) {
        let config = self.config();
        let lines: Vec<&str> = config.lines().collect();
        let named = |line: &&str| line.trim_start_matches("# ").starts_with(&format!("\"{table}\" = {{"));
        let at = lines.iter().position(named).unwrap_or_else(|| panic!("no {table} in\n{config}"));
        (lines[at - 1].to_owned(), lines[at].replace(&format!("\"{table}\" = "), ""))
    }

    /// `expected`: table, start of its comment, rule; a rule that is commented out begins with `# `.
    fn has(&self, expected: &[(&str, &str, &str)]) {
        for (table, comment, rule) in expected {
            let (found_comment, found_rule) = self.lines(table);
            assert_eq!(found_rule, *rule, "{table}: {found_comment}");
            assert!(found_comment.starts_with(comment), "{table}: {found_comment}");
        }
    }
}

const DECLARED: &str = "
CREATE TABLE organizations (id bigint PRIMARY KEY, slug text UNIQUE, name text);
CREATE TABLE projects (id bigint PRIMARY KEY, organization_id bigint REFERENCES organizations,
    CONSTRAINT owned CHECK (organization_id IS NOT NULL));
CREATE TABLE notes (id bigint PRIMARY KEY, organization_id bigint REFERENCES organizations,
    project_id bigint REFERENCES projects, CHECK (num_nonnulls(organization_id, project_id) = 1));
CREATE TABLE pins (id bigint PRIMARY KEY, slug text NOT NULL REFERENCES organizations (slug));
CREATE TABLE runs (id bigint, project_id bigint NOT NULL REFERENCES projects, at date,
    PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE runs_old PARTITION OF runs FOR VALUES FROM ('2020-01-01') TO ('2026-01-01');
CREATE TABLE logs (id bigint PRIMARY KEY, project_id bigint NOT NULL REFERENCES projects);
CREATE TABLE logs_archive () INHERITS (logs);
CREATE TABLE users (id bigint PRIMARY KEY, email text);
CREATE TABLE members (project_id bigint REFERENCES projects, user_id bigint REFERENCES users,
    PRIMARY KEY (project_id, user_id));
CREATE TABLE sessions (id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users);
CREATE TABLE issue_types (id bigint PRIMARY KEY, name text);
CREATE TABLE issues (id bigint PRIMARY KEY, project_id bigint NOT NULL REFERENCES projects,
    issue_type_id bigint REFERENCES issue_types, parent_id bigint REFERENCES issues);
CREATE TABLE project_links (id bigint PRIMARY KEY, source_id bigint NOT NULL REFERENCES projects,
    target_id bigint NOT NULL REFERENCES projects);
CREATE TABLE geo_states (id bigint PRIMARY KEY, project_id bigint NOT NULL REFERENCES projects);
CREATE TABLE schema_migrations (version text PRIMARY KEY);
CREATE TABLE settings (id bigint PRIMARY KEY, value text);
";

#[test]
fn keys_of_every_shape_lead_to_the_tenant() {
    let shop = Shop::postgres(DECLARED);
    let run = shop.init("public.organizations", &[]).exits(6);
    let project = r#"{ rule = "derived", columns = ["project_id"], parent = "public.projects", parent_columns = ["id"] }"#;
    let by_member = r#"{ rule = "referenced", by = [{ columns = ["user_id"], key = ["id"], table = "public.members" }] }"#;
    shop.has(&[
        ("public.organizations", "# the table that lists", r#"{ rule = "root", key = "id", name = "name" }"#),
        ("public.projects", "# foreign key", r#"{ rule = "direct", column = "organization_id" }"#),
        (
            "public.notes",
            "# foreign key",
            concat!(
                r#"{ rule = "either", ways = [{ column = "organization_id" }, "#,
                r#"{ columns = ["project_id"], parent = "public.projects", parent_columns = ["id"] }] }"#
            ),
        ),
        (
            "public.pins",
            "# foreign key",
            r#"{ rule = "derived", columns = ["slug"], parent = "public.organizations", parent_columns = ["slug"] }"#,
        ),
        ("public.runs", "# foreign key", project),
        ("public.logs_archive", "# inherits from public.logs", project),
        ("public.users", "# CHECK: no way to a tenant, and named like people", by_member),
        ("public.members", "# foreign key", project),
        (
            "public.sessions",
            "# CHECK: foreign key",
            r#"{ rule = "derived", columns = ["user_id"], parent = "public.users", parent_columns = ["id"] }"#,
        ),
        ("public.issue_types", "# no way to a tenant; referenced by public.issues", r#"{ rule = "shared" }"#),
        ("public.issues", "# foreign key", project),
        (
            "public.project_links",
            "# CHECK: foreign key",
            concat!(
                r#"{ rule = "either", ways = [{ columns = ["source_id"], parent = "public.projects", parent_columns = ["id"] }, "#,
                r#"{ columns = ["target_id"], parent = "public.projects", parent_columns = ["id"] }] }"#
            ),
        ),
        ("public.geo_states", "# CHECK: foreign key", project),
        ("public.settings", "# DECIDE: no foreign key", r#"# { rule = "shared" }"#),
    ]);
    assert!(!shop.config().contains("runs_old"), "a partition is no table of its own");
    assert!(
        run.stdout.ends_with(
            "A person must decide:\n  shard 'shop': table 'public.settings' (0 rows): \
             no foreign key and no column leads to a tenant\n"
        ),
        "{}",
        run.stdout
    );
}

/// Keys that only the leaves declare: what each has is the table's, what some have is a supposition that the rows
/// confirm or refute.
const LEAVES: &str = "
CREATE TABLE sites (id bigint PRIMARY KEY);
CREATE TABLE projects (id bigint PRIMARY KEY, site_id bigint NOT NULL REFERENCES sites);
INSERT INTO sites SELECT generate_series(1, 3);
INSERT INTO projects SELECT n, 1 + n % 3 FROM generate_series(1, 40) n;
CREATE TABLE runs (id bigint, about bigint NOT NULL, at int) PARTITION BY RANGE (at);
CREATE TABLE runs_a PARTITION OF runs FOR VALUES FROM (0) TO (10);
CREATE TABLE runs_b PARTITION OF runs FOR VALUES FROM (10) TO (20) PARTITION BY LIST (at);
CREATE TABLE runs_b1 PARTITION OF runs_b FOR VALUES IN (10);
CREATE TABLE runs_b2 PARTITION OF runs_b DEFAULT;
ALTER TABLE runs_a ADD FOREIGN KEY (about) REFERENCES projects;
ALTER TABLE runs_b ADD FOREIGN KEY (about) REFERENCES projects;
CREATE TABLE steps (id bigint, about bigint, at int) PARTITION BY RANGE (at);
CREATE TABLE steps_a PARTITION OF steps FOR VALUES FROM (0) TO (10);
CREATE TABLE steps_b PARTITION OF steps FOR VALUES FROM (10) TO (20);
ALTER TABLE steps_a ADD FOREIGN KEY (about) REFERENCES projects;
INSERT INTO steps SELECT n, n, n % 20 FROM generate_series(1, 40) n;
CREATE TABLE marks (id bigint, about bigint, at int) PARTITION BY RANGE (at);
CREATE TABLE marks_a PARTITION OF marks FOR VALUES FROM (0) TO (10);
CREATE TABLE marks_b PARTITION OF marks FOR VALUES FROM (10) TO (20);
ALTER TABLE marks_a ADD FOREIGN KEY (about) REFERENCES projects;
INSERT INTO marks SELECT n, CASE WHEN n % 20 < 10 THEN n ELSE 1000 + n END, n % 20 FROM generate_series(1, 40) n;
CREATE TABLE logs (id bigint, about bigint);
CREATE TABLE logs_old (FOREIGN KEY (about) REFERENCES projects) INHERITS (logs);
CREATE TABLE logs_new (FOREIGN KEY (about) REFERENCES projects) INHERITS (logs);
INSERT INTO logs SELECT n, n FROM generate_series(1, 40) n;
";

#[test]
fn keys_of_leaves_count_as_far_as_they_go() {
    let shop = Shop::postgres(LEAVES);
    shop.init("public.sites", &[]).exits(6);
    let project =
        r#"{ rule = "derived", columns = ["about"], parent = "public.projects", parent_columns = ["id"] }"#;
    let refuted = format!("# {project}");
    let part = "only parts of the table have a foreign key by about to public.projects";
    shop.has(&[
        ("public.runs", "# foreign key runs_a_about_fkey to public.projects (", project),
        ("public.steps", &format!("# CHECK: {part}; 40 of 40 values are found there (1.000)"), project),
        ("public.marks", &format!("# DECIDE: {part}; 20 of 40 values are found there (0.500)"), &refuted),
        ("public.logs", &format!("# CHECK: {part}; 40 of 40 values"), project),
        ("public.logs_old", "# CHECK: foreign key logs_old_about_fkey to public.projects", project),
    ]);
}

/// Two ways that weigh the same, whatever they are made of, are marked, and `why` tells both.
#[test]
fn two_equally_good_ways_are_marked() {
    let shop = Shop::postgres(
        "CREATE TABLE sites (id bigint PRIMARY KEY);
         CREATE TABLE projects (id bigint PRIMARY KEY, site_id bigint NOT NULL REFERENCES sites);
         CREATE TABLE groups (id bigint PRIMARY KEY, site_id bigint NOT NULL REFERENCES sites);
         INSERT INTO sites SELECT generate_series(1, 3);
         INSERT INTO projects SELECT n, 1 + n % 3 FROM generate_series(1, 40) n;
         INSERT INTO groups SELECT n, 1 + n % 2 FROM generate_series(1, 40) n;
         CREATE TABLE links (id bigint PRIMARY KEY, project_id bigint NOT NULL REFERENCES projects,
             group_id bigint NOT NULL REFERENCES groups);
         CREATE TABLE pins (id bigint PRIMARY KEY, project_id bigint REFERENCES projects,
             group_id bigint REFERENCES groups);
         CREATE TABLE votes (id bigint PRIMARY KEY, from_type text NOT NULL, from_id bigint NOT NULL,
             to_type text NOT NULL, to_id bigint NOT NULL);
         INSERT INTO votes SELECT n, 'Project', n, 'Group', n FROM generate_series(1, 40) n",
    );
    let run = shop.init("public.sites", &[]).exits(0);
    for (table, ways) in [
        ("links", ["(project_id) -> public.projects", "(group_id) -> public.groups"]),
        ("pins", ["(project_id) -> public.projects", "(group_id) -> public.groups"]),
        (
            "votes",
            [
                "(from_id) -> public.projects where from_type = 'Project'",
                "(to_id) -> public.groups where to_type = 'Group'",
            ],
        ),
    ] {
        assert!(run.stdout.contains(&format!("'public.{table}' taken as")), "{}", run.stdout);
        let (comment, rule) = shop.lines(&format!("public.{table}"));
        assert!(comment.starts_with("# CHECK: "), "{comment}");
        let why = shop.run(&["why", &format!("public.{table}"), "--json"]).exits(0).json();
        let told = why["tables"][0]["ways"].as_array().expect("ways").iter();
        let told: Vec<(&str, bool, &str)> = told
            .map(|way| {
                let text = |name: &str| way[name].as_str().unwrap_or_default();
                (text("way"), way["taken"] == true, text("why"))
            })
            .collect();
        for way in ways {
            let (_, taken, why) =
                told.iter().find(|(told, ..)| *told == way).unwrap_or_else(|| panic!("{told:?}"));
            assert!(
                *taken || why.ends_with("not taken, though it could be meant as well"),
                "{way}: {why} ({rule})"
            );
        }
    }
}

/// Rows for every guess; `{big}` makes a text of a number that a UUID or an array is compared with.
const LOOSE: &str = "
CREATE TABLE accounts (id integer PRIMARY KEY, name text);
CREATE TABLE projects (id integer PRIMARY KEY, account_id integer NOT NULL);
CREATE TABLE issues (id integer PRIMARY KEY, project_id integer NOT NULL);
CREATE TABLE votes (id integer PRIMARY KEY, issue_id text NOT NULL);
CREATE TABLE boards (id integer PRIMARY KEY, issue_ids {array} NOT NULL);
CREATE TABLE events (id integer PRIMARY KEY, target_type text NOT NULL, target_id integer NOT NULL);
CREATE TABLE payments (id integer PRIMARY KEY, payment_method_type text NOT NULL, payment_method_id integer);
CREATE TABLE widgets (id integer PRIMARY KEY, project_id integer NOT NULL);
CREATE TABLE drafts (id integer PRIMARY KEY, project_id integer NOT NULL);
CREATE TABLE few (id integer PRIMARY KEY, project_id integer NOT NULL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
INSERT INTO accounts SELECT i, 'Account ' || i FROM n;
INSERT INTO projects SELECT id, id FROM accounts;
INSERT INTO issues SELECT id, CASE WHEN id = 200 THEN 999 ELSE id END FROM accounts;
INSERT INTO votes SELECT id, id FROM accounts;
INSERT INTO boards SELECT id, {pair} FROM accounts WHERE id < 200;
INSERT INTO events SELECT id, CASE id % 2 WHEN 0 THEN 'Issue' ELSE 'App\\Models\\Project' END, id FROM accounts;
INSERT INTO payments SELECT id, CASE id % 2 WHEN 0 THEN 'card' ELSE 'iban' END, id FROM accounts;
INSERT INTO widgets SELECT id, id + 100 FROM accounts;
INSERT INTO few SELECT id, id FROM accounts WHERE id < 4;
";

fn check_loose(shop: &Shop, schema: &str) {
    let run = shop.init(&format!("{schema}.accounts"), &[]).exits(6);
    let link = |column: &str, parent: &str, more: &str| {
        format!(
            r#"{{ rule = "derived", columns = ["{column}"]{more}, parent = "{schema}.{parent}", parent_columns = ["id"] }}"#
        )
    };
    let by_project = link("project_id", "projects", "");
    let events = format!(
        concat!(
            r#"{{ rule = "either", ways = [{{ columns = ["target_id"], parent = "{0}.projects", "#,
            r#"parent_columns = ["id"], when = {{ column = "target_type", equals = 'App\Models\Project' }} }}, "#,
            r#"{{ columns = ["target_id"], parent = "{0}.issues", parent_columns = ["id"], "#,
            r#"when = {{ column = "target_type", equals = "Issue" }} }}] }}"#
        ),
        schema
    );
    let table = |name: &str| format!("{schema}.{name}");
    let votes = link("issue_id", "issues", "");
    let boards = link("issue_ids", "issues", ", each = true");
    let open_project = format!("# {by_project}");
    shop.has(&[
        (
            &table("projects"),
            "# column account_id is named and typed like a reference to the root; 200 of 200 values are found there (1.000) (0.97)",
            r#"{ rule = "direct", column = "account_id" }"#,
        ),
        (
            &table("issues"),
            &format!(
                "# column project_id is named like a reference to {schema}.projects; 199 of 200 values are found there (0.995) (0.95)"
            ),
            &by_project,
        ),
        (&table("votes"), "# column issue_id is named like", &votes),
        (&table("boards"), "# array issue_ids is named like", &boards),
        (&table("events"), "# column target_id references", &events),
        (
            &table("widgets"),
            &format!(
                "# DECIDE: column project_id is named like a reference to {schema}.projects; \
                 100 of 200 values are found there (0.500), but fewer than 0.99 of the values resolve"
            ),
            &open_project,
        ),
        (&table("drafts"), "# DECIDE: column project_id is named like", &open_project),
        (&table("few"), "# CHECK: column project_id is named like", &by_project),
        (&table("payments"), "# DECIDE: no foreign key and no column", r#"# { rule = "shared" }"#),
    ]);
    let open: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with("  shard")).collect();
    let tables: Vec<&str> = open.iter().map(|line| line.split('\'').nth(3).expect("a table")).collect();
    assert_eq!(
        tables.last(),
        Some(&table("drafts").as_str()),
        "the table without rows comes last: {tables:?}"
    );
    assert!(open.iter().any(|line| line.contains(".widgets' (200 rows): ")), "{open:?}");

    let why = shop.run(&["why", &table("widgets"), "--json"]).exits(0).json();
    let way = &why["tables"][0]["ways"][0];
    assert_eq!((way["taken"].as_bool(), way["hit_rate"].as_f64()), (Some(false), Some(0.5)), "{why}");
    assert_eq!(way["rows"].as_u64(), Some(200));
}

#[test]
fn names_are_checked_on_the_rows_of_postgres() {
    let sql = LOOSE.replace("{array}", "bigint[]").replace("{pair}", "ARRAY[id, id + 1]");
    check_loose(&Shop::postgres(&sql), "public");
}

#[tokio::test]
async fn names_are_checked_on_the_rows_of_sqlite() {
    let sql = LOOSE.replace("{array}", "text").replace("{pair}", "json_array(id, id + 1)");
    check_loose(&Shop::sqlite(&sql).await, "main");
}

#[tokio::test]
async fn without_asking_the_rows_names_stay_questions() {
    let sql = LOOSE.replace("{array}", "text").replace("{pair}", "json_array(id, id + 1)");
    let shop = Shop::sqlite(&sql).await;
    shop.init("main.accounts", &["--no-probe"]).exits(6);
    shop.has(&[
        ("main.projects", "# column account_id is named", r#"{ rule = "direct", column = "account_id" }"#),
        (
            "main.issues",
            "# DECIDE: column project_id is named like a reference to main.projects, but the rows were not asked",
            r#"# { rule = "derived", columns = ["project_id"], parent = "main.projects", parent_columns = ["id"] }"#,
        ),
    ]);
}

#[test]
fn uuids_kept_as_text_and_soft_keys_of_several_columns_resolve() {
    let shop = Shop::postgres(
        "CREATE TABLE accounts (id uuid PRIMARY KEY);
         CREATE TABLE tasks (id bigint, inserted_at timestamptz, account_id text NOT NULL, PRIMARY KEY (id, inserted_at));
         CREATE TABLE steps (id bigint PRIMARY KEY, task_id bigint NOT NULL, task_inserted_at timestamptz NOT NULL);
         INSERT INTO accounts SELECT md5(n::text)::uuid FROM generate_series(1, 50) n;
         INSERT INTO tasks SELECT n, now(), md5(n::text)::uuid::text FROM generate_series(1, 50) n;
         INSERT INTO tasks VALUES (0, now(), 'no uuid at all');
         INSERT INTO tasks SELECT 100 + n, now(), md5('1')::uuid FROM generate_series(1, 150) n;
         INSERT INTO steps SELECT n, t.id, t.inserted_at FROM tasks t, generate_series(1, 1) m, LATERAL (SELECT t.id AS n) x",
    );
    shop.init("public.accounts", &[]).exits(0);
    shop.has(&[
        (
            "public.tasks",
            "# column account_id is named and typed like a reference to the root; 200 of 201 values",
            r#"{ rule = "direct", column = "account_id" }"#,
        ),
        (
            "public.steps",
            "# column task_id, task_inserted_at is named like a reference to public.tasks; 201 of 201 values",
            concat!(
                r#"{ rule = "derived", columns = ["task_id", "task_inserted_at"], parent = "public.tasks", "#,
                r#"parent_columns = ["id", "inserted_at"] }"#
            ),
        ),
    ]);
}

#[tokio::test]
async fn a_name_that_another_shard_refutes_is_a_question() {
    let shop =
        Shop::sqlite("CREATE TABLE sites (id integer PRIMARY KEY); INSERT INTO sites VALUES (1), (2)").await;
    let product = Cluster::start().new_database();
    psql(
        &product,
        "CREATE TABLE good (id bigint PRIMARY KEY, site_id bigint NOT NULL);
         CREATE TABLE bad (id bigint PRIMARY KEY, site_id bigint NOT NULL);
         INSERT INTO good SELECT n, 1 + n % 2 FROM generate_series(1, 50) n;
         INSERT INTO bad SELECT n, n FROM generate_series(1, 50) n",
    );
    let product = format!("product={product}");
    shop.init("main.sites", &["--shard", &product]).exits(6);
    shop.has(&[
        (
            "public.good",
            "# column site_id is named and typed like a reference to the root; 2 of 2 values are found there",
            r#"{ rule = "direct", column = "site_id" }"#,
        ),
        (
            "public.bad",
            "# DECIDE: column site_id is named and typed like a reference to the root; 2 of 50 values",
            r#"# { rule = "direct", column = "site_id" }"#,
        ),
    ]);
}

#[tokio::test]
async fn an_update_keeps_what_a_person_wrote() {
    let shop = Shop::sqlite(
        "CREATE TABLE sites (id integer PRIMARY KEY);
         CREATE TABLE pages (id integer PRIMARY KEY, site_id integer NOT NULL REFERENCES sites);
         CREATE TABLE parts (id integer PRIMARY KEY, page integer NOT NULL);
         CREATE TABLE geo_nodes (id integer PRIMARY KEY, site_id integer REFERENCES sites);
         CREATE TABLE plans (id integer PRIMARY KEY)",
    )
    .await;
    let written = format!(
        "version = 1 # mine\n\n[init]\nnames = {{ page = \"main.pages.id\" }}\nexclude = [\"main.geo_*\"]\n\n\
         [shards.shop]\nurl = \"{}\"\n\n[shards.shop.tables]\n\
         \"main.sites\" = {{ rule = \"root\", key = \"id\" }}\n\
         # a person's decision\n\"main.pages\" = {{ rule = \"shared\" }}\n",
        shop.url
    );
    shop.write_config(&written);
    let error = shop.init("main.sites", &[]).exits(2).error();
    assert_eq!(
        error,
        "error: unable to write 'reinstate.toml': it exists already\n\
         hint: name another file with -o, or remove this one\n\
         hint: `reinstate init --update` adds what is new to it"
    );
    shop.run(&["init", "--update"]).exits(6);
    let config = shop.config();
    assert!(config.starts_with(&written), "{config}");
    // Nobody owns pages by that decision, and so nothing leads to a tenant from its parts.
    shop.has(&[
        (
            "main.geo_nodes",
            "# excluded by 'main.geo_*' of [init]",
            "{ rule = \"excluded\", reason = \"excluded by 'main.geo_*' of [init]\" }",
        ),
        ("main.plans", "# DECIDE: no foreign key", "# { rule = \"shared\" }"),
        ("main.parts", "# DECIDE: no foreign key", "# { rule = \"shared\" }"),
    ]);
    shop.run(&["init", "--update"]).exits(6);
    assert_eq!(shop.config(), config, "an update without news changes nothing");

    let decided = written.replace("# a person's decision\n\"main.pages\" = { rule = \"shared\" }\n", "");
    shop.write_config(&decided);
    shop.run(&["init", "--update"]).exits(6);
    shop.has(&[
        ("main.pages", "# foreign key", r#"{ rule = "direct", column = "site_id" }"#),
        (
            "main.parts",
            "# [init] says that column page references main.pages",
            r#"{ rule = "derived", columns = ["page"], parent = "main.pages", parent_columns = ["id"] }"#,
        ),
    ]);
}

#[test]
fn the_check_fails_for_a_new_table_and_a_new_owner_column() {
    let shop = Shop::postgres(
        "CREATE TABLE sites (id bigint PRIMARY KEY);
         CREATE TABLE users (id bigint PRIMARY KEY, site_id bigint NOT NULL REFERENCES sites);
         CREATE TABLE pages (id bigint PRIMARY KEY, site_id bigint NOT NULL REFERENCES sites,
             author_id bigint REFERENCES users)",
    );
    shop.init("public.sites", &[]).exits(0);
    assert!(shop.config().contains("[shards.shop.ignored]\n\"public.pages\" = [\"author_id\"]\n"));
    let check = shop.run(&["init", "--check"]).exits(0);
    assert_eq!(check.stdout, "3 tables checked\nevery table has a rule\n");

    psql(
        &shop.url,
        "ALTER TABLE pages ADD editor_id bigint REFERENCES users; ALTER TABLE users ADD sites_id bigint;
         CREATE TABLE news (id bigint PRIMARY KEY)",
    );
    let check = shop.run(&["init", "--check"]).exits(6);
    assert_eq!(
        check.stdout,
        "4 tables checked\nA person must decide:\n  \
         shard 'shop': table 'public.news' has no rule\n  \
         shard 'shop': table 'public.pages': column 'editor_id' looks like an owner's (foreign key \
         pages_editor_id_fkey to public.users) and is neither part of the rule nor ignored\n  \
         shard 'shop': table 'public.users': column 'sites_id' looks like an owner's (named and typed like a \
         reference to the root) and is neither part of the rule nor ignored\n"
    );
    let json = shop.run(&["init", "--check", "--json"]).exits(6).json();
    assert_eq!(json["unclassified"][0]["columns"][0], "editor_id");
    assert_eq!(json["undecided"].as_array().map(Vec::len), Some(3));

    let decided = shop
        .config()
        .replace("[\"author_id\"]", "[\"author_id\", \"editor_id\"]\n\"public.users\" = [\"sites_id\"]")
        .replace("[shards.shop.tables]\n", "[shards.shop.tables]\n\"public.news\" = { rule = \"shared\" }\n");
    shop.write_config(&decided);
    shop.run(&["init", "--check"]).exits(0);
}

/// 1,400 relations and 1,700 foreign keys: a tree of six levels, every seventh table with two leaves, half of the
/// others with keys of two columns, and tables that know their parent by name alone.
fn wide_schema() -> (String, usize, usize) {
    let (mut sql, mut relations, mut keys) = (String::new(), 1, 0);
    sql.push_str("CREATE TABLE t0 (a bigint, id bigint, PRIMARY KEY (id), UNIQUE (a, id));\n");
    for table in 1..1_050 {
        let up = (table - 1) / 4;
        let (composite, partitioned) = (table % 2 == 0, table % 7 == 0);
        let reference = if composite {
            format!("FOREIGN KEY (a, up) REFERENCES t{up} (a, id)")
        } else {
            format!("FOREIGN KEY (up) REFERENCES t{up} (id)")
        };
        let other = if table > 40 && table % 3 > 0 {
            keys += 1;
            format!(", other bigint REFERENCES t{}", table % 40)
        } else {
            String::new()
        };
        // A partitioned table has leaves that carry the same keys; nobody references it.
        if partitioned && table > 262 {
            sql.push_str(&format!(
                "CREATE TABLE t{table} (a bigint, id bigint, up bigint NOT NULL{other}, {reference}) PARTITION BY HASH (id);
                 CREATE TABLE t{table}_0 PARTITION OF t{table} FOR VALUES WITH (MODULUS 3, REMAINDER 0);
                 CREATE TABLE t{table}_1 PARTITION OF t{table} FOR VALUES WITH (MODULUS 3, REMAINDER 1);
                 CREATE TABLE t{table}_2 PARTITION OF t{table} FOR VALUES WITH (MODULUS 3, REMAINDER 2);\n"
            ));
            relations += 3;
        } else {
            sql.push_str(&format!(
                "CREATE TABLE t{table} (a bigint, id bigint PRIMARY KEY, up bigint NOT NULL{other},
                     UNIQUE (a, id), {reference});\n"
            ));
        }
        relations += 1;
        keys += 1;
    }
    for table in 0..50 {
        sql.push_str(&format!("CREATE TABLE loose_{table} (id bigint PRIMARY KEY, t{table}_id bigint);\n"));
        relations += 1;
    }
    (sql, relations, keys)
}

/// Statements that the server has executed so far.
fn statements(cluster: &Cluster) -> usize {
    let log = cluster.log();
    log.lines().filter(|line| line.contains("LOG:  statement: ") || line.contains("LOG:  execute ")).count()
}

#[test]
fn a_schema_of_1400_relations_takes_few_statements() {
    let cluster = Cluster::start_with(&[("log_statement", "all"), ("max_locks_per_transaction", "2048")]);
    let url = cluster.new_database();
    let (sql, relations, keys) = wide_schema();
    psql(&url, &format!("BEGIN; {sql} COMMIT"));
    assert!(relations >= 1_400 && keys >= 1_700, "{relations} relations, {keys} foreign keys");
    let shop = Shop { folder: tempfile::tempdir().expect("a folder"), url };
    let (before, start) = (statements(&cluster), Instant::now());
    let run = shop.init("public.t0", &[]).exits(6);
    let count = statements(&cluster) - before;
    eprintln!(
        "init of {relations} relations, {keys} foreign keys: {:?}, {count} statements",
        start.elapsed()
    );
    assert!(count < 40, "the catalog is read in a few queries: {count}");
    assert!(
        run.stdout.starts_with("1100 tables, rules written"),
        "{}",
        run.stdout.lines().next().unwrap_or("")
    );
    let start = Instant::now();
    shop.run(&["init", "--check"]).exits(6);
    eprintln!("init --check: {:?}", start.elapsed());
}
