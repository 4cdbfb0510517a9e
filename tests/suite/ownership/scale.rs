//! One tenant's rows among very many are found through indexes, whichever way leads to them.

use reinstate::database::postgres::owner::{self, TENANT_FROM_SETTING};
use reinstate::database::postgres::{catalog, owner::rows};
use reinstate::model::{Belongs, Tenancy};
use sqlx::{Connection, PgConnection};

use crate::bench::{Bench, Postgres};
use crate::cluster::psql;
use crate::postgres::support::name;

const BIG: &str = "
CREATE TABLE projects (id bigint PRIMARY KEY, site_id bigint NOT NULL);
CREATE INDEX ON projects (site_id);
CREATE TABLE notes (id bigint PRIMARY KEY, site_id bigint, project_id bigint, code text, body text);
CREATE INDEX ON notes (site_id);
CREATE INDEX ON notes (project_id);
CREATE INDEX ON notes (code);
CREATE TABLE users (id bigint PRIMARY KEY, email text);
CREATE TABLE members (site_id bigint, user_id bigint, PRIMARY KEY (site_id, user_id));
CREATE TABLE sessions (id bigint PRIMARY KEY, user_id bigint);
CREATE INDEX ON sessions (user_id);
CREATE TABLE folders (id bigint PRIMARY KEY, parent_id bigint, site_id bigint);
CREATE INDEX ON folders (parent_id);
CREATE INDEX ON folders (site_id);
CREATE TABLE pages (id bigint PRIMARY KEY, folder_id bigint);
CREATE INDEX ON pages (folder_id);
INSERT INTO folders SELECT n, CASE WHEN n > 1000 THEN n / 3 END, CASE WHEN n <= 1000 THEN n END
    FROM generate_series(1, 100000) n;
INSERT INTO pages SELECT n, n FROM generate_series(1, 100000) n;
INSERT INTO projects SELECT n, n % 1000 FROM generate_series(1, 5000) n;
INSERT INTO notes SELECT n, CASE WHEN n % 3 = 0 THEN n % 1000 END, CASE WHEN n % 3 = 1 THEN n % 5000 END,
    CASE WHEN n % 3 = 2 THEN (n % 5000)::text END, 'note ' || n FROM generate_series(1, 100000) n;
INSERT INTO users SELECT n, n || '@x' FROM generate_series(1, 100000) n;
INSERT INTO members SELECT n % 1000, n FROM generate_series(1, 100000) n;
INSERT INTO sessions SELECT n, n FROM generate_series(1, 100000) n;
ANALYZE";

const RULES: &str = r#"
"public.projects" = { rule = "direct", column = "site_id" }
"public.members" = { rule = "direct", column = "site_id" }
"public.notes" = { rule = "either", ways = [
  { column = "site_id" },
  { columns = ["project_id"], parent = "public.projects", parent_columns = ["id"] },
  { columns = ["code"], parent = "public.projects", parent_columns = ["id"] },
] }
"public.users" = { rule = "referenced", by = [{ table = "public.members", columns = ["user_id"], key = ["id"] }] }
"public.sessions" = { rule = "derived", columns = ["user_id"], parent = "public.users", parent_columns = ["id"] }
"public.folders" = { rule = "either", ways = [
  { column = "site_id" }, { columns = ["parent_id"], parent = "public.folders", parent_columns = ["id"] },
] }
"public.pages" = { rule = "derived", columns = ["folder_id"], parent = "public.folders", parent_columns = ["id"] }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenant_among_many_is_found_through_indexes() {
    let bench = Postgres::new().await;
    bench.execute(BIG).await;
    let url = bench.url().expose().to_owned();
    let mut connection = PgConnection::connect(&url).await.expect("connect");
    sqlx::raw_sql("set search_path to pg_catalog").execute(&mut connection).await.expect("search path");
    let catalog = catalog::read(&mut connection).await.expect("catalog");
    let tenancy: Tenancy = toml::from_str(RULES).expect("rules");
    for (table, belongs) in [
        ("notes", Belongs::ToOne),
        ("users", Belongs::ToReferrers),
        ("sessions", Belongs::WithParent),
        ("folders", Belongs::ToOne),
        ("pages", Belongs::ToOne),
    ] {
        let table = name(&format!("public.{table}"));
        let owners = tenancy.owners(&table, &catalog.tables).expect("rule").expect("owned");
        assert_eq!(owners.belongs, belongs);
        let from = rows(&catalog.relations, &table).expect("from");
        let predicate =
            owner::belongs_to(&catalog.relations, &table, &owners, TENANT_FROM_SETTING).expect("predicate");
        let explain =
            format!("set reinstate.tenant = '700'; EXPLAIN SELECT r.* FROM {from} WHERE {predicate}");
        let plan = psql(&url, &explain);
        assert!(!plan.contains("Seq Scan"), "{explain}\n{plan}");
        let count = format!("set reinstate.tenant = '700'; SELECT count(*) FROM {from} WHERE {predicate}");
        let brute = match table.table.as_str() {
            "notes" => {
                "SELECT count(*) FROM notes n LEFT JOIN projects p ON p.id = n.project_id
                 LEFT JOIN projects q ON q.id::text = n.code WHERE 700 IN (n.site_id, p.site_id, q.site_id)"
            }
            // Four levels: 700; 2100 and so on; 6300 and so on …
            "folders" | "pages" => {
                "SELECT count(*) FROM folders WHERE id = 700 OR id / 3 = 700 OR id / 9 = 700 OR id / 27 = 700
                 OR id / 81 = 700"
            }
            _ => "SELECT count(*) FROM members WHERE site_id = 700",
        };
        assert_eq!(psql(&url, &count), psql(&url, brute), "{table}");
    }
}
