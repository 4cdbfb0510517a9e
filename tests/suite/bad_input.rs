//! Everything a stressed operator can get wrong, and everything that can be broken: exact words, exact exit code,
//! and nothing written.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::cluster::{Cluster, psql};
use crate::world::{Dump, Kind, Run, World, damage, output, tenants};

/// A world whose first two tenants are gone, and what it looks like.
async fn broken_world(kind: Kind) -> (World, Dump) {
    let world = World::with_snapshot(kind).await;
    world.delete(&tenants()[..2]).await;
    let dump = world.dump().await;
    (world, dump)
}

/// Refused with these words, and nothing was written.
async fn refused(world: &World, before: &Dump, run: Run, code: i32, error: &str) {
    let run = run.exits(code);
    assert_eq!(run.error(), error);
    assert_eq!(&world.dump().await, before, "nothing was written");
}

fn id(world: &World, shard: &str) -> String {
    world.snapshot_folder(shard).file_name().expect("name").to_string_lossy().into_owned()
}

fn plan_list(world: &World, list: &str, more: &[&str]) -> Run {
    world.write("list.txt", list);
    world.run(&[&["plan", "--tenants", "list.txt", "-o", "list.json"], more].concat())
}

#[tokio::test]
async fn an_unknown_tenant_refuses_the_list() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    let snapshot = id(&world, "catalogue");
    let run = plan_list(&world, "9001\n424242\n", &[]);
    let error = format!(
        "error: unable to plan: '424242' is not a tenant of snapshot '{snapshot}'\n\
         hint: check the id, or name a snapshot from before the deletion with --at or --snapshot"
    );
    refused(&world, &before, run, 3, &error).await;
    assert!(!world.path("list.json").exists(), "no plan was written");
}

#[tokio::test]
async fn an_urgent_tenant_must_be_in_the_list() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    world.write("urgent.txt", "9002\n9001\n");
    let run = plan_list(&world, "9001\n", &["--urgent", "urgent.txt"]);
    let error = "error: unable to put tenant '9002' first: it is not in the tenant list\n\
                 hint: --urgent names some of the tenants of --tenants";
    refused(&world, &before, run, 2, error).await;
}

#[tokio::test]
async fn an_id_of_another_kind_is_named_with_its_table() {
    let (world, before) = broken_world(Kind::Postgres).await;
    let snapshot = id(&world, "catalogue");
    let run = plan_list(&world, "9001\n3\n", &[]);
    let error = format!(
        "error: unable to plan: '3' is not a tenant of snapshot '{snapshot}', it is an id of \
         table 'public.comments' of shard 'product' and table 'public.issues' of shard 'product' and \
         table 'public.labels' of shard 'product' and table 'public.projects' of shard 'product'\n\
         hint: the list mixes kinds of ids; list tenant ids only"
    );
    refused(&world, &before, run, 3, &error).await;
}

#[tokio::test]
async fn an_id_that_looks_like_sql_is_only_an_id() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let (world, before) = broken_world(kind).await;
        let snapshot = id(&world, "catalogue");
        let run = plan_list(&world, "9001'; DROP TABLE history; --\n", &[]);
        let error = format!(
            "error: unable to plan: '9001'; DROP TABLE history; --' is not a tenant of snapshot '{snapshot}'\n\
             hint: check the id, or name a snapshot from before the deletion with --at or --snapshot"
        );
        refused(&world, &before, run, 3, &error).await;
    }
}

#[tokio::test]
async fn an_empty_list_is_refused() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    let run = plan_list(&world, "\n# nobody\n", &[]);
    let error = "error: unable to plan: the tenant list is empty\n\
                 hint: give one tenant id a line; `reinstate diff -o FILE` lists the tenants that are gone";
    refused(&world, &before, run, 3, error).await;
}

#[tokio::test]
async fn more_tenants_than_the_cap_need_a_number_and_a_reason() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    let all: String = tenants().iter().map(|id| format!("{id}\n")).collect();
    let error = "error: unable to plan 12 tenants: the limit is 10\n\
                 hint: if 12 is right, add --max-tenants 12 --reason TEXT; the reason is kept in the plan";
    refused(&world, &before, plan_list(&world, &all, &[]), 3, error).await;
    let error = "error: unable to raise --max-tenants above 10 without a reason\n\
                 hint: add --reason TEXT; it is kept in the plan";
    refused(&world, &before, plan_list(&world, &all, &["--max-tenants", "12"]), 3, error).await;
}

#[tokio::test]
async fn a_file_that_exists_is_not_written_over() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    world.write("list.json", "mine");
    let error = "error: unable to write 'list.json': it exists already\n\
                 hint: name another file with -o, or remove this one";
    refused(&world, &before, plan_list(&world, "9001\n", &[]), 2, error).await;
    assert_eq!(world.read("list.json"), "mine");
}

#[tokio::test]
async fn a_plan_that_was_edited_is_refused() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    world.plan(&tenants()[..2]).exits(0);
    world.write("plan.json", &world.read("plan.json").replacen("9002", "9003", 1));
    let error = "error: unable to trust plan 'plan.json': it was changed after the dry run\n\
                 hint: make the plan again with `reinstate plan`";
    refused(&world, &before, world.apply(2), 3, error).await;
    world.write("plan.json", "{\"format\": 9}");
    let error = "error: unable to read plan 'plan.json': its format is version 9, this reinstate reads version 2\n\
                 hint: make the plan again with `reinstate plan`";
    refused(&world, &before, world.apply(2), 3, error).await;
}

#[tokio::test]
async fn apply_wants_the_number_of_tenants() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    world.plan(&tenants()[..2]).exits(0);
    let error = "error: unable to apply the plan: it holds 2 tenants, but 3 were confirmed\n\
                 hint: read the plan again; confirm with the number of tenants it shows";
    refused(&world, &before, world.apply(3), 3, error).await;
    let error = "error: unable to apply the plan: its 2 tenants were not confirmed\n\
                 hint: add --confirm 2 where no terminal can ask";
    refused(&world, &before, world.run(&["apply", "plan.json"]), 3, error).await;
}

#[tokio::test]
async fn another_database_is_refused_unless_it_is_meant() {
    let (world, _) = broken_world(Kind::Sqlite).await;
    let product = world.path("product.db").display().to_string();
    let copy = world.path("copy.db").display().to_string();
    std::fs::copy(&product, &copy).expect("copy");
    world.write("reinstate.toml", &world.read("reinstate.toml").replace("product.db", "copy.db"));
    let before = world.dump().await;
    let snapshot = id(&world, "product");
    let error = format!(
        "error: unable to plan for shard 'product': snapshot '{snapshot}' was taken from sqlite file '{product}', \
         but the target is sqlite file '{copy}'\n\
         hint: correct the shard's URL, or add --into product if this other database is meant"
    );
    let run = plan_list(&world, "9001\n9002\n", &[]);
    refused(&world, &before, run, 3, &error).await;
    plan_list(&world, "9001\n9002\n", &["--into", "product"]).exits(0);
    // And a plan made for one database is not applied to another.
    world.write("reinstate.toml", &world.read("reinstate.toml").replace("copy.db", "product.db"));
    let error = format!(
        "error: unable to restore into shard 'product': the plan is for sqlite file '{copy}', but the configuration \
         leads to sqlite file '{product}'\n\
         hint: correct the shard's URL, or make a new plan for this database"
    );
    let run = world.run(&["apply", "list.json", "--confirm", "2"]);
    refused(&world, &before, run, 3, &error).await;
}

#[tokio::test]
async fn a_schema_that_changed_after_the_dry_run_needs_a_new_plan() {
    let (world, _) = broken_world(Kind::Postgres).await;
    world.plan(&tenants()[..2]).exits(0);
    world
        .sql("product", "ALTER TABLE settings ADD COLUMN since date, ADD COLUMN origin text DEFAULT 'new'")
        .await;
    let before = world.dump().await;
    let error = "error: unable to restore into shard 'product': its schema was changed after the dry run\n\
                 hint: make the plan again; it shows what differs";
    refused(&world, &before, world.apply(2), 3, error).await;
    // What a rule covers is shown in the new plan, and holds.
    let plan = plan_list(&world, "9001\n9002\n", &[]).exits(0);
    for rule in [
        "drift: column 'since' of table 'public.settings' is new: it stays NULL in restored rows",
        "drift: column 'origin' of table 'public.settings' is new: restored rows take its default",
    ] {
        assert!(plan.stdout.contains(rule), "{}", plan.stdout);
    }
    world.run(&["apply", "list.json", "--confirm", "2"]).exits(0);
    world.run(&["verify", "list.json"]).exits(0);
    let origin = "SELECT DISTINCT coalesce(since::text, 'NULL'), origin FROM settings WHERE site_id = 9001";
    assert_eq!(psql(world.url("product"), origin), "NULL|new");
}

#[tokio::test]
async fn drift_that_no_rule_covers_is_refused_by_name() {
    let (world, _) = broken_world(Kind::Postgres).await;
    world
        .sql(
            "product",
            "ALTER TABLE settings DROP COLUMN value; ALTER TABLE issues ALTER COLUMN done TYPE text",
        )
        .await;
    let before = world.dump().await;
    let error = format!(
        "error: unable to plan for shard 'product': its schema is not the one of snapshot '{}': column 'done' of \
         table 'public.issues' was boolean, now it is text; column 'value' of table 'public.settings' does not exist \
         any more, but 1 rows of the tenants have a value\n\
         hint: bring the schema of the target back to the snapshot's, or restore from a snapshot taken since\n\
         hint: --allow-dropped restores without the values of dropped columns, which `apply` keeps in Parquet files\n\
         hint: renamed columns and values of new ones can be declared in [shards.NAME.drift] of the configuration",
        id(&world, "product")
    );
    refused(&world, &before, plan_list(&world, "9001\n", &[]), 6, &error).await;
}

#[tokio::test]
async fn a_table_without_a_rule_stops_the_plan() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    world.sql("product", "CREATE TABLE invoices (id INTEGER PRIMARY KEY, amount INTEGER)").await;
    let error = "error: unable to plan for shard 'product': no rule for 'main.invoices'\n\
                 hint: say who owns the rows of each in the configuration (root, direct, derived, shared or excluded)\n\
                 hint: `reinstate why TABLE` shows what the schema tells";
    refused(&world, &before, plan_list(&world, "9001\n", &[]), 6, error).await;
    let check = world.run(&["init", "--check"]).exits(6);
    assert!(check.stdout.contains("shard 'product': table 'main.invoices' has no rule"), "{}", check.stdout);
    let why = world.run(&["why", "main.invoices"]).exits(0);
    assert!(why.stdout.contains("no foreign key and no column leads to a tenant"), "{}", why.stdout);
}

#[tokio::test]
async fn a_role_without_the_privileges_is_refused_at_plan_time() {
    let (world, before) = broken_world(Kind::Postgres).await;
    let url = world.url("product");
    psql(
        url,
        "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    );
    psql(url, "GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO reader");
    world.write(
        "reinstate.toml",
        &world.read("reinstate.toml").replace(url, &url.replace("postgres@", "reader@")),
    );
    let error = "error: unable to restore into shard 'product': table 'public.comments', 'public.history', \
                 'public.issue_labels', 'public.issues', 'public.projects', 'public.settings': role 'reader' has no \
                 insert privilege on it\n\
                 hint: a restore needs SELECT and INSERT on every table it writes, and must see all rows";
    refused(&world, &before, plan_list(&world, "9001\n", &[]), 3, error).await;
}

#[tokio::test]
async fn a_configuration_with_an_unknown_key_is_refused_with_its_line() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    let config = world.read("reinstate.toml").replacen(
        "[shards.catalogue]\n",
        "[shards.catalogue]\ncolour = \"red\"\n",
        1,
    );
    world.write("reinstate.toml", &config);
    let line = config.lines().position(|line| line.starts_with("colour")).expect("line") + 1;
    let error = format!(
        "error: unable to read configuration 'reinstate.toml' line {line}: unknown field `colour`, expected one of \
         `url`, `url_env`, `tables`, `conflicts`, `ignored`, `drift`, `deletion_queues`, `after`\n\
         hint: `reinstate init --help` shows the format"
    );
    refused(&world, &before, plan_list(&world, "9001\n", &[]), 2, &error).await;
}

// --- damaged snapshots -------------------------------------------------------------------------------

fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn data_file(world: &World, table: &str) -> PathBuf {
    let all = files(&world.snapshot_folder("product"));
    all.into_iter().find(|path| path.to_string_lossy().contains(table)).expect("data file")
}

/// One flipped bit, wherever it is in a data file: the plan refuses, `snapshot verify` names file and tenants.
#[tokio::test]
async fn a_flipped_bit_in_the_rows_is_found_by_plan_and_verify() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    world.run(&["snapshot", "verify"]).exits(0);
    let file = data_file(&world, "main.comments");
    // The first data page lies right behind the magic number.
    damage(&file, |bytes| bytes[60] ^= 0b0001_0000);
    let run = plan_list(&world, "9001\n9002\n", &[]).exits(3);
    let error = format!(
        "error: unable to read snapshot '{}': file 'data/main.comments/part-00000.parquet' is damaged: Arrow: Parquet \
         argument error: External: Data corruption detected\n\
         hint: `reinstate snapshot verify` says what is damaged; `reinstate snapshot list` shows the others",
        id(&world, "product")
    );
    assert_eq!(run.error(), error);
    assert_eq!(world.dump().await, before);
    let run = world.run(&["snapshot", "verify"]).exits(1);
    assert!(run.stdout.contains("main.comments/part-00000.parquet"), "{}", run.stdout);
}

#[tokio::test]
async fn a_truncated_and_a_missing_file_are_named() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    let snapshot = id(&world, "product");
    let file = data_file(&world, "main.issues");
    let size = std::fs::metadata(&file).expect("file").len();
    damage(&file, |bytes| bytes.truncate(bytes.len() - 100));
    let run = plan_list(&world, "9001\n", &[]).exits(3);
    let expected = format!(
        "error: unable to read snapshot '{snapshot}': file 'data/main.issues/part-00000.parquet' holds {} bytes, \
         {size} were written",
        size - 100
    );
    assert_eq!(run.error().lines().next(), Some(expected.as_str()));
    std::fs::remove_file(&file).expect("remove");
    let run = plan_list(&world, "9001\n", &[]).exits(3);
    let expected = format!(
        "error: unable to read snapshot '{snapshot}': file 'data/main.issues/part-00000.parquet' is missing"
    );
    assert_eq!(run.error().lines().next(), Some(expected.as_str()));
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn a_manifest_of_a_future_version_or_an_edited_one_is_refused() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    let snapshot = id(&world, "product");
    let manifest = world.snapshot_folder("product").join("manifest.json");
    let whole = std::fs::read(&manifest).expect("manifest");
    let edit = |from: &str, to: &str| {
        let text = String::from_utf8(whole.clone()).expect("UTF-8").replacen(from, to, 1);
        assert_ne!(text.as_bytes(), whole, "'{from}' is in the manifest");
        damage(&manifest, |bytes| *bytes = text.into_bytes());
    };
    edit("\"format\": 1", "\"format\": 9");
    let run = plan_list(&world, "9001\n", &["--snapshot", &snapshot]).exits(3);
    let expected = format!(
        "error: unable to read snapshot '{snapshot}': its format is version 9, this reinstate reads version 1"
    );
    assert_eq!(run.error().lines().next(), Some(expected.as_str()));
    edit("\"rows_owned\": ", "\"rows_owned\": 1");
    let run = plan_list(&world, "9001\n", &["--snapshot", &snapshot]).exits(3);
    let expected = format!(
        "error: unable to trust snapshot '{snapshot}': manifest.json was changed after it was written"
    );
    assert_eq!(run.error().lines().next(), Some(expected.as_str()));
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn a_plan_is_refused_when_its_snapshot_was_exchanged() {
    let (world, before) = broken_world(Kind::Sqlite).await;
    world.plan(&tenants()[..2]).exits(0);
    let manifest = world.snapshot_folder("product").join("manifest.json");
    damage(&manifest, |bytes| bytes.push(b'\n'));
    let run = world.apply(2).exits(3);
    assert!(run.error().contains("unable to trust snapshot"), "{}", run.error());
    assert_eq!(world.dump().await, before);
}

// --- the world around ----------------------------------------------------------------------------------

/// A full disk while a snapshot is written: a clear error, and nothing that looks like a snapshot.
#[tokio::test]
async fn a_full_disk_leaves_no_snapshot_behind() {
    let world = World::new(Kind::Sqlite).await;
    world.init();
    // A limit on the size of files stands for the full disk: no privilege is needed to set it.
    let binary = env!("CARGO_BIN_EXE_reinstate");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" snapshot create --shard product", binary]);
    command.current_dir(world.path("")).env_clear().process_group(0);
    let run = output(command).exits(5);
    assert!(run.error().starts_with("error: unable to write '"), "{}", run.error());
    assert!(run.error().contains("File too large"), "{}", run.error());
    let list = world.run(&["snapshot", "list"]).exits(0);
    assert!(!list.stdout.contains("complete"), "{}", list.stdout);
    world.run(&["snapshot", "create"]).exits(0);
}

/// The server goes away in the middle of a tenant: exit code 4, and the rest can be done later.
#[tokio::test]
async fn a_server_that_is_gone_in_the_middle_can_be_resumed() {
    let world = World::with_snapshot(Kind::Postgres).await;
    let victims = &tenants()[..3];
    let before = world.dump().await;
    world.delete(victims).await;
    world.plan(victims).exits(0);
    // A lock makes apply wait in the middle of its transaction; then its connections are cut, as by a crash.
    let url = world.url("product").to_owned();
    let mut holder = Command::new(crate::cluster::binary("psql"))
        .args(["-X", "-q", "-c", "BEGIN; LOCK TABLE comments IN SHARE MODE; SELECT pg_sleep(30)", &url])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("psql");
    wait_until(
        &url,
        "SELECT count(*) FROM pg_locks WHERE relation = 'comments'::regclass AND mode = 'ShareLock' AND granted",
    );
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND \
                   application_name LIKE 'reinstate%' AND wait_event_type = 'Lock'";
    let apply = {
        let command = world.command(&["apply", "plan.json", "--confirm", "3", "--jobs", "1"]);
        std::thread::spawn(move || output(command))
    };
    wait_until(&url, waiting);
    psql(
        &Cluster::start().url("postgres"),
        &format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND application_name LIKE 'reinstate%'",
            database(&url)
        ),
    );
    let run = apply.join().expect("apply").exits(4);
    assert!(run.stdout.contains("0 of 3 tenants back"), "{}", run.stdout);
    assert!(run.stdout.contains("shard 'product'"), "{}", run.stdout);
    holder.kill().expect("kill");
    holder.wait().expect("wait");
    psql(
        &Cluster::start().url("postgres"),
        &format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            database(&url)
        ),
    );
    world.apply(3).exits(0);
    assert_eq!(world.dump().await, before);
}

/// The whole server stops while apply is in the middle of a tenant: exit code 4, and the next command says so too.
#[test]
fn a_server_that_stops_is_told_by_every_command() {
    let cluster = Cluster::start_with(&[]);
    let url = cluster.new_database();
    psql(
        &url,
        "CREATE TABLE sites (id int PRIMARY KEY, host text);
         CREATE TABLE pages (id int PRIMARY KEY, site_id int NOT NULL REFERENCES sites (id), body text);
         INSERT INTO sites SELECT n, 'host ' || n FROM generate_series(1, 3) n;
         INSERT INTO pages SELECT n, 1 + n % 3, 'body' FROM generate_series(1, 300) n",
    );
    let folder = tempfile::tempdir().expect("temp dir");
    let run = |args: &[&str]| output(crate::world::command(folder.path(), args));
    let store = folder.path().join("store").display().to_string();
    let _ = run(&["init", "--shard", &format!("shop={url}"), "--root", "public.sites", "--store", &store])
        .exits(0);
    let _ = run(&["snapshot", "create"]).exits(0);
    psql(&url, "DELETE FROM pages WHERE site_id < 3; DELETE FROM sites WHERE id < 3");
    std::fs::write(folder.path().join("tenants.txt"), "1\n2\n").expect("list");
    let _ = run(&["plan", "--tenants", "tenants.txt", "-o", "plan.json"]).exits(0);

    let mut holder = Command::new(crate::cluster::binary("psql"))
        .args(["-X", "-q", "-c", "BEGIN; LOCK TABLE pages IN SHARE MODE; SELECT pg_sleep(30)", &url])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("psql");
    wait_until(
        &url,
        "SELECT count(*) FROM pg_locks WHERE relation = 'pages'::regclass AND mode = 'ShareLock' AND granted",
    );
    let apply =
        crate::world::command(folder.path(), &["apply", "plan.json", "--confirm", "2", "--jobs", "1"]);
    let apply = std::thread::spawn(move || output(apply));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'reinstate%' AND \
                   wait_event_type = 'Lock'";
    wait_until(&url, waiting);
    drop(cluster);
    let apply = apply.join().expect("apply").exits(4);
    assert!(apply.stdout.contains("0 of 2 tenants back"), "{}", apply.stdout);
    holder.wait().expect("psql ends with its server");
    let status = run(&["status", "plan.json"]).exits(4);
    assert!(
        status.error().starts_with("error: unable to connect to shard 'shop' at postgres://"),
        "{}",
        status.error()
    );
}

/// Waits until a count is above zero.
fn wait_until(url: &str, count: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while psql(url, count) == "0" {
        assert!(std::time::Instant::now() < deadline, "in vain: {count}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn database(url: &str) -> &str {
    url.rsplit('/').next().expect("database")
}

/// A password is in no output, wherever the error comes from.
#[tokio::test]
async fn a_password_is_never_printed() {
    let folder = tempfile::tempdir().expect("temp dir");
    let secret = "s3cr3t-pa55word";
    let port = Cluster::start().port();
    let urls = [
        format!("postgres://postgres:{secret}@127.0.0.1:{port}/no_such_database"),
        format!("postgres://postgres:{secret}@127.0.0.1:1/nobody_listens"),
        format!("postgres://postgres:{secret}@[bad"),
        format!("mysql://postgres:{secret}@127.0.0.1/other"),
    ];
    for url in &urls {
        let shard = format!("shop={url}");
        for json in [&[][..], &["--json"]] {
            let args = [&["init", "--shard", &shard, "--root", "public.sites"], json].concat();
            let mut command = crate::world::command(folder.path(), &args);
            command.env("REINSTATE_LOG", "trace");
            let run = output(command);
            assert_ne!(run.code, 0);
            assert!(
                !run.stdout.contains(secret) && !run.stderr.contains(secret),
                "{}{}",
                run.stdout,
                run.stderr
            );
        }
    }
    let world = World::new(Kind::Postgres).await;
    let url = world.url("catalogue").replace("postgres@", &format!("postgres:{secret}@"));
    let args =
        ["init", "--shard", &format!("shop={url}"), "--root", "public.sites", "-o", "with-password.toml"];
    world.run(&args).exits(0);
    assert!(!world.read("with-password.toml").contains(secret));
    assert!(world.read("with-password.toml").contains("url_env = \"SHOP_URL\""));
}
