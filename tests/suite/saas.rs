//! A whole product (fixtures/schemas/harbour.*): everything that real multi-tenant schemas were found to have.
//!
//! Tests: A `two_workspaces_come_…`, B `init_is_right_…`, C `a_trigger_that_…`, D `what_vanished_…`, E `an_old_row_…`,
//! F `two_workspaces_that_are_tied_…`.
//! What A does not bring back it names in `SIDE_EFFECTS`.
//!
//! | what real schemas contain | in Harbour | shown by |
//! |---|---|---|
//! | references without foreign keys | `ci.builds`, `audit_log`, `feed`, `ci.artifacts` | A |
//! | alternative owners, by row | `labels`, `uploads`, `activities` | A |
//! | own and shared rows in one table | `roles`, `ci.runners` | A |
//! | NOT NULL by a check | `projects.workspace_id` | B |
//! | six levels | workspaces, projects, repositories, pipelines, stages, jobs, job_logs | A |
//! | join tables without a tenant column | `issue_labels`, `assignees` | A, B |
//! | polymorphic pairs, text for uuid, a false friend | `activities`; `billing.invoices` | A, B |
//! | soft composite references, arrays of ids | `ci.artifacts`, `chat.digests` | A |
//! | rows owned by who points at them | `users` and `sessions`, `files` and `file_scans` | A |
//! | shared catalogues that changed since | `plans`, `issue_types` | A, D |
//! | ties between tenants | `merge_requests`, `issue_links` | A, F |
//! | local state tables | `local.issue_states` | A |
//! | keys of five columns, to non-primary keys, none at all | `ci.metrics`, `project_settings`, `oddities` | A |
//! | cycles of keys that cannot wait, self references | projects, repositories, pipelines; `comments` | A |
//! | partitions, sub-partitions, keys to and from one | `ci.jobs`, `ci.reruns` | A |
//! | inheritance, rules, row security, unlogged, typed | `chat.*`, `bookmarks`, `sites` | A |
//! | one name in several schemas, MixedCase | `events`, `ItemTags` | A |
//! | dropped columns, 559 columns | `workspaces`, `wide` | A |
//! | generated columns, identity ALWAYS | `issues`, `projects` | A |
//! | shared and unowned sequences | `milestones`, `epics` | A |
//! | unique indexes, partial, on expressions, exclusion | `workspaces`, `users`, `roles`, `ci.bookings` | A, D |
//! | NOT VALID keys and checks | `ci.builds`, `comments` | A, E |
//! | triggers that number, write elsewhere, cannot run | `issues`, `webhooks`, `ci.events` | A, C |
//! | delete queues | `deleted_records` | A |
//! | search tables and materialised views | `search.documents`, `search.counts` | A |
//! | odd values | `oddities` | A |
//! | a thousand tables | generated | `many_tables` |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reinstate::config::Config;
use reinstate::model::Rule;

use crate::cluster::{Cluster, psql};
use crate::world::{Run, command, output};

const SCHEMA: &str = include_str!("../../fixtures/schemas/harbour.postgres.sql");
const ROWS: &str = include_str!("../../fixtures/schemas/harbour.rows.sql");
const RULES: &str = include_str!("../../fixtures/schemas/harbour.reinstate.toml");

/// Rows of every table, as sorted text.
type Dump = BTreeMap<String, Vec<String>>;

struct Harbour {
    folder: tempfile::TempDir,
    url: String,
}

impl Harbour {
    fn new() -> Self {
        let url = Cluster::start().new_database();
        psql(&url, &format!("{SCHEMA}\n{ROWS}\n{}", wide_table()));
        let harbour = Self { folder: tempfile::tempdir().expect("temp dir"), url };
        let rules = format!("{RULES}\"public.wide\" = {{ rule = \"direct\", column = \"workspace_id\" }}\n");
        std::fs::write(harbour.path("reinstate.toml"), rules).expect("rules");
        harbour
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sql(&self, sql: &str) -> String {
        psql(&self.url, sql)
    }

    #[must_use = "assert the exit code"]
    fn run(&self, args: &[&str]) -> Run {
        let mut command = command(self.folder.path(), args);
        command.env("HARBOUR_URL", &self.url);
        output(command)
    }

    fn store(&self) -> String {
        format!("file://{}", self.path("store").display())
    }

    fn snapshot(&self) -> Run {
        self.run(&["snapshot", "create", "--store", &self.store()]).exits(0)
    }

    /// As the application does it.
    fn delete(&self, workspaces: &[u32]) {
        for workspace in workspaces {
            self.sql(&format!("CALL delete_workspace({workspace})"));
        }
    }

    fn plan(&self, workspaces: &[u32]) -> Run {
        let list: String = workspaces.iter().map(|id| format!("{id}\n")).collect();
        std::fs::write(self.path("tenants.txt"), list).expect("list");
        self.run(&["plan", "--tenants", "tenants.txt", "--store", &self.store(), "-o", "plan.json"])
    }

    /// Every row of every table of its own, by plain SQL; the engine's journal left out.
    fn dump(&self) -> Dump {
        let query = "select format('select %L, t::text from only %s t;', c.oid::regclass, c.oid::regclass)
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.relkind in ('r', 'm') and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'reinstate')
            order by 1";
        let mut dump = Dump::new();
        // The separator of psql's unaligned output ends the name; a line break inside a value only splits its line.
        for line in self.sql(&self.sql(query)).lines() {
            let (table, row) = line.split_once('|').unwrap_or(("", line));
            dump.entry(table.to_owned()).or_default().push(row.to_owned());
        }
        dump.values_mut().for_each(|rows| rows.sort());
        dump
    }
}

/// A table of 559 columns.
fn wide_table() -> String {
    let columns: Vec<String> = (0..557).map(|n| format!("c{n} int")).collect();
    format!(
        "CREATE TABLE wide (id int PRIMARY KEY, workspace_id bigint NOT NULL REFERENCES workspaces ON DELETE CASCADE, {});
         INSERT INTO wide (id, workspace_id, c7, c556) SELECT w, w, 7, -w FROM generate_series(101, 105) w;",
        columns.join(", ")
    )
}

/// Lines of one dump that the other lacks, with their table.
fn lacking(of: &Dump, other: &Dump) -> Vec<String> {
    let mut lacking = Vec::new();
    for (table, rows) in of {
        let mut left = other.get(table).cloned().unwrap_or_default();
        for row in rows {
            match left.iter().position(|other| other == row) {
                Some(at) => drop(left.remove(at)),
                None => lacking.push(format!("{table} {row}")),
            }
        }
    }
    lacking
}

/// How many of these lines there are, by table.
fn by_table(lines: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
    }
    counts
}

/// What a deletion did to others, and what follows the data by itself: no row of the deleted, and named in the plan
/// or in the rules. Lines that were there before and are not there after the restore, by table.
const SIDE_EFFECTS: [(&str, usize); 4] = [
    // A stayer's link to a victim's issue went with the issue.
    ("issue_links", 1),
    // A stayer's merge request lost its source.
    ("merge_requests", 1),
    ("local.issue_states", 12),
    ("search.documents", 12),
];

/// What nobody owns or two have a part in, said when the snapshot is taken.
const SNAPSHOT_NOTES: [&str; 5] = [
    "no tenant owns 1 rows of table 'public.users'",
    "no tenant owns 1 rows of table 'public.sessions'",
    "no tenant owns 1 rows of table 'chat.digests'",
    "2 rows of table 'public.issue_links' of shard 'harbour' point (by issue_links_to_issue_fkey) at rows of other tenants",
    "2 rows of table 'public.merge_requests' of shard 'harbour' point (by merge_requests_source_project_id_fkey)",
];

/// What the restore will not do, said in the plan.
const PLAN_NOTES: [&str; 11] = [
    "1 rows of tenant '103' in 'public.issue_links' pointed (by issue_links_to_issue_fkey) at rows of tenant '102'",
    "1 rows of tenant '103' in 'public.merge_requests' pointed (by merge_requests_source_project_id_fkey) at rows of",
    "foreign key 'builds_runner' of 'ci.builds' is NOT VALID",
    "triggers are off on insert into 'ci.jobs': defaults",
    "table 'search.documents' is kept by trigger 'searchable' of 'public.issues', which does not fire: it goes stale",
    "triggers are off on insert into 'public.issues': numbered, searchable, told",
    "triggers fire on insert into 'public.projects', even with triggers off: looked",
    "triggers are off on insert into 'public.webhooks': outbox",
    "materialised view 'search.counts' is made of 'public.issues': refresh it after the restore",
    "2 entries of deletion queue public.deleted_records of shard harbour name restored rows of public.projects will be",
    "13 rows that others point at too are live and stay as they are, with what hangs from them",
];

#[test]
fn two_workspaces_come_back_and_what_cannot_is_named() {
    let harbour = Harbour::new();
    let snapshot = harbour.snapshot();
    for note in SNAPSHOT_NOTES {
        assert!(snapshot.stderr.contains(note), "'{note}' in\n{}", snapshot.stderr);
    }
    let before = harbour.dump();
    harbour.delete(&[102, 104]);
    // Since the snapshot, the catalogues went on.
    harbour
        .sql("UPDATE plans SET monthly = '13.50' WHERE id = 2; INSERT INTO issue_types VALUES (4, 'Chore')");
    let damaged = harbour.dump();
    assert!(lacking(&before, &damaged).len() > 400);

    let plan = harbour.plan(&[102, 104]).exits(0);
    for note in PLAN_NOTES {
        assert!(plan.stdout.contains(note), "'{note}' in\n{}", plan.stdout);
    }
    harbour.run(&["apply", "plan.json", "--confirm", "2"]).exits(0);
    let after = harbour.dump();
    let missing = lacking(&before, &after);
    let mut expected = BTreeMap::from(SIDE_EFFECTS);
    expected.insert("plans", 1);
    assert_eq!(by_table(&missing), expected, "{missing:#?}");
    // Nothing is new but what was new before the restore: the catalogues. The queue of the deleted is empty again.
    let new = lacking(&after, &before);
    assert_eq!(
        by_table(&new),
        BTreeMap::from([("issue_types", 1), ("merge_requests", 1), ("plans", 1)]),
        "{new:#?}"
    );
    let gone = lacking(&damaged, &after);
    assert_eq!(
        by_table(&gone),
        BTreeMap::from([("deleted_records", 6)]),
        "what was live is as it was: {gone:#?}"
    );
    harbour.run(&["verify", "plan.json"]).exits(0);
}

/// What `init` says of a table that neither foreign keys nor an unambiguous name decide: it marks each.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Marked {
    /// Its proposal is the reviewed rule: `CHECK`.
    Right,
    /// Its proposal is not what a person of the product decided: `CHECK`.
    Other,
    /// It proposes none: `DECIDE`.
    Open,
}

/// Every other table must be right, and unmarked.
const MARKED: [(&str, Marked, &str); 16] = [
    ("public.files", Marked::Right, "belongs to whoever points at it, by its name"),
    ("public.file_scans", Marked::Right, "hangs from files"),
    ("public.identities", Marked::Right, "hangs from users"),
    ("public.sessions", Marked::Right, "hangs from users"),
    ("public.issue_labels", Marked::Right, "a join table: the label's owner or the issue's"),
    ("ci.artifacts", Marked::Right, "a reference that rows may lack, by name"),
    ("ci.reruns", Marked::Right, "a reference that rows may lack"),
    ("public.users", Marked::Other, "which of those that point at it make it theirs?"),
    ("public.issue_links", Marked::Other, "two ways that may lead to two tenants"),
    ("public.templates", Marked::Other, "the giver is not the owner"),
    ("public.bookmark_log", Marked::Other, "a log that nobody reads"),
    ("search.documents", Marked::Other, "kept by triggers"),
    ("local.issue_states", Marked::Other, "state of this machine"),
    ("public.activities", Marked::Open, "a kind that names no table"),
    ("chat.votable", Marked::Open, "no way to a tenant, no row, and nothing references it"),
    ("public.deleted_records", Marked::Open, "names rows that are gone"),
];

/// Rules that lead to the same owners as the reviewed ones.
const AS_GOOD: &str = r#"
version = 1
[shards.h]
url = "postgres://h/h"
[shards.h.tables]
"public.workspaces" = { rule = "root", key = "id", name = "name" }
"public.wide" = { rule = "direct", column = "workspace_id" }
"billing.lines" = { rule = "direct", column = "workspace_id" }
"ci.metric_notes" = { rule = "direct", column = "workspace_id" }
"#;

fn rules(text: &str) -> BTreeMap<String, Rule> {
    let config = Config::parse(text, Path::new("reinstate.toml"), |_| Some("postgres://h/h".to_owned()));
    let shards = config.expect("a configuration").shards;
    let tables = shards.into_values().flat_map(|shard| shard.tenancy.rules);
    tables.map(|(table, rule)| (table.to_string(), rule)).collect()
}

#[test]
fn init_is_right_wherever_it_is_sure() {
    let harbour = Harbour::new();
    let shard = format!("harbour={}", harbour.url);
    let inferred = harbour.path("inferred.toml");
    let file = inferred.to_str().expect("UTF-8");
    harbour.run(&["init", "--shard", &shard, "--root", "public.workspaces", "-o", file]).exits(6);
    let text = std::fs::read_to_string(&inferred).expect("inferred rules");
    let (inferred, reviewed, as_good) = (rules(&text), rules(RULES), rules(AS_GOOD));
    // The line above a table says whether a person must look.
    let lines: Vec<&str> = text.lines().collect();
    let marked = |table: &str| {
        let at = lines
            .iter()
            .position(|line| line.trim_start_matches("# ").starts_with(&format!("\"{table}\" =")));
        let above = at.and_then(|at| lines.get(at.checked_sub(1)?));
        above.is_none_or(|line| line.starts_with("# CHECK: ") || line.starts_with("# DECIDE: "))
    };
    let tables = harbour.sql(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_'
           AND n.nspname NOT IN ('information_schema', 'reinstate')",
    );
    let right = |table: &str| {
        let rule = inferred.get(table);
        rule.is_some() && (rule == reviewed.get(table) || rule == as_good.get(table))
    };
    let mut wrong = Vec::new();
    for table in tables.lines() {
        let found = match (marked(table), inferred.contains_key(table), right(table)) {
            (false, _, true) => None,
            (true, true, true) => Some(Marked::Right),
            (true, true, false) => Some(Marked::Other),
            (true, false, _) => Some(Marked::Open),
            (false, _, false) => {
                wrong.push(format!("{table} is wrong and not marked: {:?}", inferred.get(table)));
                continue;
            }
        };
        let expected = MARKED.iter().find(|(name, ..)| *name == table).map(|(_, marked, _)| *marked);
        if found != expected {
            wrong.push(format!("{table} is {found:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{text}", wrong.join("\n"));
    assert_eq!(tables.lines().count(), 62);
}

#[test]
fn a_trigger_that_cannot_run_stops_its_tenant_and_leaves_nothing() {
    let harbour = Harbour::new();
    harbour.snapshot();
    let before = harbour.dump();
    harbour.delete(&[105]);
    let damaged = harbour.dump();
    harbour.plan(&[105]).exits(0);
    let apply = harbour.run(&["apply", "plan.json", "--confirm", "1"]).exits(5);
    assert!(apply.stdout.contains("public.outbox"), "{}", apply.stdout);
    assert_eq!(harbour.dump(), damaged);
    // Where the trigger can run, it writes where nobody planned to.
    harbour.sql("CREATE TABLE outbox (what text); ALTER TABLE outbox OWNER TO postgres");
    let _ = std::fs::remove_file(harbour.path("plan.json"));
    let rules = std::fs::read_to_string(harbour.path("reinstate.toml")).expect("rules");
    let outbox = "\"public.outbox\" = { rule = \"excluded\", reason = \"a queue\" }\n";
    std::fs::write(harbour.path("reinstate.toml"), rules + outbox).expect("rules");
    harbour.plan(&[105]).exits(0);
    let apply = harbour.run(&["apply", "plan.json", "--confirm", "1"]).exits(5);
    assert!(apply.stdout.contains("public.outbox"), "{}", apply.stdout);
    // What is left is to switch it off for the time of the restore.
    harbour.sql("ALTER TABLE ci.events DISABLE TRIGGER outbox; ALTER TABLE webhooks DISABLE TRIGGER outbox");
    let _ = std::fs::remove_file(harbour.path("plan.json"));
    harbour.plan(&[105]).exits(0);
    harbour.run(&["apply", "plan.json", "--confirm", "1"]).exits(0);
    let missing = lacking(&before, &harbour.dump());
    assert_eq!(
        by_table(&missing),
        BTreeMap::from([("local.issue_states", 6), ("search.documents", 6)]),
        "{missing:#?}"
    );
}

/// What the live database has become since the snapshot is found when the plan is made, and nothing is written.
#[test]
fn what_vanished_or_was_taken_since_is_named_in_the_plan() {
    let harbour = Harbour::new();
    harbour.snapshot();
    harbour.delete(&[102, 104]);
    // 104 used a plan that is gone; the name of 102 is the neighbour's now, in other letters.
    harbour.sql(
        "UPDATE workspaces SET plan_id = 1 WHERE id = 101; DELETE FROM plans WHERE id = 3;
         UPDATE workspaces SET slug = 'sPACE-102', deleted_at = NULL WHERE id = 105;",
    );
    let damaged = harbour.dump();
    let plan = harbour.plan(&[102, 104]).exits(6);
    for text in [
        "workspaces_plan_id_fkey",
        "id=104 at plan_id=3",
        "workspaces_slug",
        "id=102 by id=105 of tenant 105",
    ] {
        assert!(plan.error().contains(text), "'{text}' in\n{}", plan.error());
    }
    assert_eq!(harbour.dump(), damaged);
}

#[test]
fn an_old_row_that_breaks_a_check_is_named_in_the_plan() {
    let harbour = Harbour::new();
    harbour.sql("DELETE FROM ci.builds WHERE id = 1");
    harbour.snapshot();
    harbour.delete(&[103]);
    let damaged = harbour.dump();
    let plan = harbour.plan(&[103]).exits(6);
    for text in ["not_empty", "'public.comments'"] {
        assert!(plan.error().contains(text), "'{text}' in\n{}", plan.error());
    }
    assert_eq!(harbour.dump(), damaged);
}

/// With triggers off nobody checks a key that was never validated: a build whose runner never was comes back.
#[test]
fn an_old_row_that_breaks_a_key_comes_back_as_it_was() {
    let harbour = Harbour::new();
    harbour.sql("DELETE FROM comments WHERE body = ''");
    harbour.snapshot();
    let before = harbour.dump();
    harbour.delete(&[103]);
    assert_eq!(harbour.sql("SELECT count(*) FROM ci.builds WHERE id = 1"), "0");
    harbour.plan(&[103]).exits(0);
    harbour.run(&["apply", "plan.json", "--confirm", "1"]).exits(0);
    assert_eq!(harbour.sql("SELECT runner_id FROM ci.builds WHERE id = 1"), "77");
    let missing = lacking(&before, &harbour.dump());
    assert!(missing.iter().all(|row| !row.starts_with("ci.builds")), "{missing:#?}");
    harbour.run(&["verify", "plan.json"]).exits(0);
}

/// Issues and merge requests of two workspaces point at each other's: neither can come back first.
#[test]
fn two_workspaces_that_are_tied_both_ways_are_named_in_the_plan() {
    let harbour = Harbour::new();
    harbour.sql("DELETE FROM comments WHERE body = ''");
    harbour.snapshot();
    harbour.delete(&[102, 103]);
    let damaged = harbour.dump();
    let plan = harbour.plan(&[102, 103]).exits(6);
    for text in [
        "point ('issue_links_to_issue_fkey') at rows of 'public.issues' of tenant 103, which cannot come back before",
        "point ('issue_links_to_issue_fkey') at rows of 'public.issues' of tenant 102, which cannot come back before",
    ] {
        assert!(plan.error().contains(text), "'{text}' in\n{}", plan.error());
    }
    assert_eq!(harbour.dump(), damaged);
}
