//! A schema in which a tenant's rows are found in every way there is, its rows, and whose they are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reinstate::config::Config;
use reinstate::model::{ShardName, Tenancy};
use tempfile::TempDir;

use crate::bench::Bench;
use crate::world::{Run, command, output};

/// Tables, and an index for each way up.
const DDL: &str = "
CREATE TABLE sites (id {int} PRIMARY KEY, name text NOT NULL);
CREATE TABLE projects (id {int} PRIMARY KEY, site_id {int} NOT NULL REFERENCES sites (id));
CREATE INDEX projects_site ON projects (site_id);
CREATE TABLE issues (id {int} PRIMARY KEY, project_id {int} NOT NULL REFERENCES projects (id), title text);
CREATE INDEX issues_project ON issues (project_id);
CREATE TABLE docs (code varchar(20) PRIMARY KEY, site varchar(10) NOT NULL);
CREATE TABLE notes (id {int} PRIMARY KEY, site_id {int}, project_id {int}, doc text, body text);
CREATE TABLE replies (id {int} PRIMARY KEY, note_id {int} NOT NULL REFERENCES notes (id));
CREATE TABLE events (id {int} PRIMARY KEY, target_type text, target_id text, payment_type text);
CREATE TABLE labels (id {int} PRIMARY KEY, site_id {int}, name text);
CREATE TABLE boards (id {int} PRIMARY KEY, label_ids {ints}, name text);
CREATE TABLE users (id {int} PRIMARY KEY, email text NOT NULL UNIQUE, avatar_id {int});
CREATE TABLE members (site_id {int} NOT NULL REFERENCES sites (id), user_id {int} NOT NULL REFERENCES users (id),
    PRIMARY KEY (site_id, user_id));
CREATE INDEX members_user ON members (user_id);
CREATE TABLE files (id {int} PRIMARY KEY, path text);
CREATE TABLE sessions (id {int} PRIMARY KEY, user_id {int} NOT NULL, token text);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE TABLE folders (id {int} PRIMARY KEY, parent_id {int}, site_id {int});
CREATE TABLE topics (id {int} PRIMARY KEY, parent_id {int} REFERENCES topics (id),
    project_id {int} REFERENCES projects (id));
CREATE TABLE posts (id {int} PRIMARY KEY, topic_id {int} NOT NULL REFERENCES topics (id));
CREATE TABLE icons (id {int} PRIMARY KEY);
CREATE TABLE cards (id {int} PRIMARY KEY, above text, kind text, topic_id {int}, icon_id {int});
";

/// Rows, and the tenants of each; `shared` and `disputed` rows have none.
pub const ROWS: &[(&str, &str, &[&str])] = &[
    ("sites", "7, 'seven'", &["7"]),
    ("sites", "8, 'eight'", &["8"]),
    ("sites", "9, 'nine'", &["9"]),
    ("projects", "70, 7", &["7"]),
    ("projects", "71, 7", &["7"]),
    ("projects", "80, 8", &["8"]),
    ("projects", "90, 9", &["9"]),
    ("issues", "700, 70, 'a'", &["7"]),
    ("issues", "701, 71, NULL", &["7"]),
    ("issues", "800, 80, 'b'", &["8"]),
    ("issues", "900, 90, 'c'", &["9"]),
    ("docs", "'d7', '7'", &["7"]),
    ("docs", "'d8', '8'", &["8"]),
    // Alternative owners: a column, a reference, a reference to a table whose tenant column has another type.
    ("notes", "1, 7, NULL, NULL, 'by site'", &["7"]),
    ("notes", "2, NULL, 70, NULL, 'by project'", &["7"]),
    ("notes", "3, NULL, NULL, 'd7', 'by document'", &["7"]),
    ("notes", "4, 7, 71, 'd7', 'all agree'", &["7"]),
    ("notes", "5, 8, 80, NULL, 'two agree'", &["8"]),
    ("notes", "6, NULL, NULL, NULL, 'everybody''s'", &[]),
    ("notes", "7, 7, 80, NULL, 'disputed'", &[]),
    ("notes", "8, NULL, 70, 'd8', 'disputed'", &[]),
    ("notes", "9, 9, NULL, 'gone', 'a way to nowhere'", &["9"]),
    // The row below follows all ways of the row above.
    ("replies", "1, 1", &["7"]),
    ("replies", "2, 3", &["7"]),
    ("replies", "3, 5", &["8"]),
    ("replies", "4, 6", &[]),
    ("replies", "5, 7", &[]),
    // Polymorphic: text that points at numbers and at text.
    ("events", "1, 'Issue', '700', NULL", &["7"]),
    ("events", "2, 'App\\Models\\Issue', '800', NULL", &["8"]),
    ("events", "3, 'Doc', 'd8', NULL", &["8"]),
    ("events", "4, 'Site', '9', NULL", &["9"]),
    ("events", "5, 'Planet', '700', 'Issue'", &[]),
    ("events", "6, NULL, '700', 'Doc'", &[]),
    ("events", "7, 'Issue', 'd8', NULL", &[]),
    ("labels", "1, 7, 'bug'", &["7"]),
    ("labels", "2, 7, 'wish'", &["7"]),
    ("labels", "3, 8, 'bug'", &["8"]),
    ("labels", "4, NULL, 'predefined'", &[]),
    // Arrays: all elements that have an owner must have the same.
    ("boards", "1, {[:1:]}, 'one'", &["7"]),
    ("boards", "2, {[:2,1,4,99:]}, 'the shared and the missing have no say'", &["7"]),
    ("boards", "3, {[:3,3:]}, 'twice'", &["8"]),
    ("boards", "4, {[:1,3:]}, 'disputed'", &[]),
    ("boards", "5, {[::]}, 'empty'", &[]),
    ("boards", "6, NULL, 'none'", &[]),
    // Referenced: every tenant that points at the row.
    ("users", "1, 'ann@x', 1", &["7"]),
    ("users", "2, 'bob@x', NULL", &["7", "8"]),
    ("users", "3, 'cy@x', 2", &["8"]),
    ("users", "4, 'nobody@x', 3", &[]),
    ("users", "5, 'dee@x', 1", &["7", "8", "9"]),
    ("members", "7, 1", &["7"]),
    ("members", "7, 2", &["7"]),
    ("members", "8, 2", &["8"]),
    ("members", "8, 3", &["8"]),
    ("members", "7, 5", &["7"]),
    ("members", "8, 5", &["8"]),
    ("members", "9, 5", &["9"]),
    // Referenced by referenced rows.
    ("files", "1, 'ann and dee'", &["7", "8", "9"]),
    ("files", "2, 'cy'", &["8"]),
    ("files", "3, 'nobody'", &[]),
    // What hangs from them.
    ("sessions", "1, 1, 'a'", &["7"]),
    ("sessions", "2, 2, 'b'", &["7", "8"]),
    ("sessions", "3, 2, 'b'", &["7", "8"]),
    ("sessions", "4, 3, 'c'", &["8"]),
    ("sessions", "5, 4, 'n'", &[]),
    ("sessions", "6, 77, 'of no user'", &[]),
    // Trees: a row has the owners of all rows above it.
    ("folders", "1, NULL, 7", &["7"]),
    ("folders", "2, 1, NULL", &["7"]),
    ("folders", "3, 2, NULL", &["7"]),
    ("folders", "4, 3, 7", &["7"]),
    ("folders", "5, NULL, 8", &["8"]),
    ("folders", "6, 5, NULL", &["8"]),
    ("folders", "7, 6, 7", &[]),
    ("folders", "8, 7, NULL", &[]),
    ("folders", "9, NULL, NULL", &[]),
    ("folders", "10, 9, NULL", &[]),
    ("folders", "11, 99, NULL", &[]),
    // Rows above themselves.
    ("folders", "12, 13, NULL", &[]),
    ("folders", "13, 12, NULL", &[]),
    ("folders", "14, 14, NULL", &[]),
    ("folders", "15, 16, NULL", &["9"]),
    ("folders", "16, 15, 9", &["9"]),
    ("topics", "1, NULL, 70", &["7"]),
    ("topics", "2, 1, NULL", &["7"]),
    ("topics", "3, NULL, 80", &["8"]),
    ("topics", "4, 3, NULL", &["8"]),
    ("topics", "5, 4, 80", &["8"]),
    ("posts", "1, 1", &["7"]),
    ("posts", "2, 2", &["7"]),
    ("posts", "3, 5", &["8"]),
    // Referenced from a tree that hangs from a tree; text that points at numbers.
    ("icons", "1", &["7"]),
    ("icons", "2", &["7", "8"]),
    ("icons", "3", &[]),
    ("cards", "1, NULL, 'Card', 2, 1", &["7"]),
    ("cards", "2, '1', 'Card', NULL, 1", &["7"]),
    ("cards", "3, '2', 'Card', NULL, 2", &["7"]),
    ("cards", "4, '2', 'Site', NULL, NULL", &[]),
    ("cards", "5, 'x', 'Card', 4, NULL", &["8"]),
    ("cards", "6, '5', 'Card', NULL, 2", &["8"]),
    ("cards", "7, '5', 'Card', 2, NULL", &[]),
];

/// The rules, with `S` for the schema.
const RULES: &str = r#"
"S.sites" = { rule = "root", key = "id", name = "name" }
"S.projects" = { rule = "direct", column = "site_id" }
"S.issues" = { rule = "derived", columns = ["project_id"], parent = "S.projects", parent_columns = ["id"] }
"S.docs" = { rule = "direct", column = "site" }
"S.notes" = { rule = "either", ways = [
  { column = "site_id" },
  { columns = ["project_id"], parent = "S.projects", parent_columns = ["id"] },
  { columns = ["doc"], parent = "S.docs", parent_columns = ["code"] },
] }
"S.replies" = { rule = "derived", columns = ["note_id"], parent = "S.notes", parent_columns = ["id"] }
"S.events" = { rule = "either", ways = [
  { columns = ["target_id"], parent = "S.issues", parent_columns = ["id"], when = { column = "target_type", equals = "Issue" } },
  { columns = ["target_id"], parent = "S.issues", parent_columns = ["id"], when = { column = "target_type", equals = 'App\Models\Issue' } },
  { columns = ["target_id"], parent = "S.docs", parent_columns = ["code"], when = { column = "target_type", equals = "Doc" } },
  { columns = ["target_id"], parent = "S.sites", parent_columns = ["id"], when = { column = "target_type", equals = "Site" } },
] }
"S.labels" = { rule = "direct", column = "site_id" }
"S.boards" = { rule = "derived", columns = ["label_ids"], parent = "S.labels", parent_columns = ["id"], each = true }
"S.users" = { rule = "referenced", by = [{ table = "S.members", columns = ["user_id"], key = ["id"] }] }
"S.members" = { rule = "direct", column = "site_id" }
"S.files" = { rule = "referenced", by = [{ table = "S.users", columns = ["avatar_id"], key = ["id"] }] }
"S.sessions" = { rule = "derived", columns = ["user_id"], parent = "S.users", parent_columns = ["id"] }
"S.folders" = { rule = "either", ways = [
  { column = "site_id" }, { columns = ["parent_id"], parent = "S.folders", parent_columns = ["id"] },
] }
"S.topics" = { rule = "either", ways = [
  { columns = ["parent_id"], parent = "S.topics", parent_columns = ["id"] },
  { columns = ["project_id"], parent = "S.projects", parent_columns = ["id"] },
] }
"S.posts" = { rule = "derived", columns = ["topic_id"], parent = "S.topics", parent_columns = ["id"] }
"S.cards" = { rule = "either", ways = [
  { columns = ["topic_id"], parent = "S.topics", parent_columns = ["id"] },
  { columns = ["above"], parent = "S.cards", parent_columns = ["id"], when = { column = "kind", equals = "Card" } },
] }
"S.icons" = { rule = "referenced", by = [{ table = "S.cards", columns = ["icon_id"], key = ["id"] }] }
"#;

/// A template in the database's dialect, arrays included.
pub fn dialect(bench: &dyn Bench, template: &str) -> String {
    let words: [(&str, &str); 3] = match bench.schema() {
        "main" => [("{ints}", "text"), ("{[:", "'["), (":]}", "]'")],
        _ => [("{ints}", "bigint[]"), ("{[:", "'{"), (":]}", "}'")],
    };
    bench
        .dialect(&words.iter().fold(template.to_owned(), |text, (word, dialect)| text.replace(word, dialect)))
}

/// Makes the tables and their rows.
pub async fn fill(bench: &dyn Bench) {
    let rows: String =
        ROWS.iter().map(|(table, values, _)| format!("INSERT INTO {table} VALUES ({values});\n")).collect();
    bench.execute(&dialect(bench, &format!("{DDL}{rows}"))).await;
}

/// The tables, each once.
pub fn tables() -> Vec<&'static str> {
    let mut tables: Vec<&str> = ROWS.iter().map(|(table, ..)| *table).collect();
    tables.dedup();
    tables
}

/// Tenants of the rows of a table, NULL for a row without any; sorted.
pub fn owners(table: &str) -> Vec<Option<String>> {
    let of = |tenants: &&[&str]| match tenants {
        [] => vec![None],
        tenants => tenants.iter().map(|tenant| Some((*tenant).to_owned())).collect(),
    };
    let mut owners: Vec<_> =
        ROWS.iter().filter(|(name, ..)| *name == table).flat_map(|(_, _, tenants)| of(tenants)).collect();
    owners.sort();
    owners
}

/// Rows of each tenant in a table.
pub fn counts(table: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for owner in owners(table).into_iter().flatten() {
        *counts.entry(owner).or_default() += 1;
    }
    counts
}

/// The configuration of a shard named `shop`, the store beside it.
pub fn configuration(bench: &dyn Bench, store: &str) -> String {
    configuration_of(bench, store, RULES)
}

fn configuration_of(bench: &dyn Bench, store: &str, rules: &str) -> String {
    let rules = rules.replace("S.", &format!("{}.", bench.schema()));
    format!(
        "version = 1\nstore = \"{store}\"\n[shards.shop]\nurl = \"{}\"\n[shards.shop.tables]\n{rules}",
        url(bench)
    )
}

fn url(bench: &dyn Bench) -> String {
    bench.url().expose().to_owned()
}

pub fn tenancy(bench: &dyn Bench) -> Tenancy {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("reinstate.toml");
    std::fs::write(&path, configuration(bench, "file:///nowhere")).expect("written");
    let config = Config::load(&path).expect("the configuration is valid");
    config.shard(&ShardName::new("shop")).expect("shard").tenancy.clone()
}

/// A database with a configuration and a store beside it, and the real binary.
pub struct Shop<B> {
    pub bench: B,
    folder: TempDir,
}

impl<B: Bench> Shop<B> {
    /// With the rows and rules of this file.
    pub async fn new(bench: B) -> Self {
        fill(&bench).await;
        Self::configured(bench, RULES)
    }

    /// With others.
    pub async fn with(bench: B, sql: &str, rules: &str) -> Self {
        bench.execute(&dialect(&bench, sql)).await;
        Self::configured(bench, rules)
    }

    fn configured(bench: B, rules: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let shop = Self { bench, folder };
        let store = format!("file://{}", shop.path("store").display());
        let text = configuration_of(&shop.bench, &store, rules);
        std::fs::write(shop.path("reinstate.toml"), text).expect("written");
        shop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[must_use = "assert the exit code"]
    pub fn plan(&self, tenants: &[&str]) -> Run {
        std::fs::write(self.path("tenants.txt"), tenants.join("\n")).expect("written");
        self.run(&["plan", "--tenants", "tenants.txt", "-o", "plan.json"])
    }

    #[must_use = "assert the exit code"]
    pub fn apply(&self, tenants: usize) -> Run {
        self.run(&["apply", "plan.json", "--confirm", &tenants.to_string()])
    }

    /// Makes a snapshot of these tenants out of the files in `export`.
    #[must_use = "assert the exit code"]
    pub fn import(&self, tenants: &[&str]) -> Run {
        std::fs::write(self.path("imported.txt"), tenants.join("\n")).expect("written");
        let at = "2026-01-01T00:00:00Z";
        let args = [
            "snapshot",
            "import",
            "--from",
            "export",
            "--shard",
            "shop",
            "--at",
            at,
            "--tenants",
            "imported.txt",
        ];
        self.run(&args)
    }

    pub fn command(&self, args: &[&str]) -> std::process::Command {
        command(self.folder.path(), args)
    }

    #[must_use = "assert the exit code"]
    pub fn run(&self, args: &[&str]) -> Run {
        output(command(self.folder.path(), args))
    }
}
