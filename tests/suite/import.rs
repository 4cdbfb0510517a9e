//! Parquet files as a source: what is imported is what `snapshot create` would have taken of the same tenants, and what
//! cannot be imported is refused by name before anything is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use reinstate::model::{Fingerprint, ShardName, TableName, TenantId};
use reinstate::snapshot::{self, Snapshot, Store};

use crate::bench::{Bench, Postgres, Sqlite};
use crate::export::{export, write, write_folder};
use crate::ownership::schema::Shop;

/// Rows of each tenant in each table, by their fingerprints.
type Owned = BTreeMap<(TenantId, TableName), Fingerprint>;

/// What the newest snapshot of a store says of these tenants.
async fn owned(store: &Path, tenants: &[&str]) -> Owned {
    let (store, shard) = (Store::open(&store.display().to_string()).expect("store"), ShardName::new("shop"));
    let newest = snapshot::list(&store, Some(&shard)).await.expect("list").pop().expect("a snapshot");
    let snapshot = Snapshot::open(&store, &shard, &newest.id).await.expect("open");
    let mut owned = Owned::new();
    for tenant in tenants.iter().map(|tenant| TenantId::new(*tenant)) {
        for entry in snapshot.index().of_tenant(&tenant) {
            *owned.entry((tenant.clone(), entry.table.clone())).or_default() += entry.fingerprint;
        }
    }
    owned
}

/// Every row of these tenants in the data files of a store's newest snapshot, as text.
fn rows(store: &Path, tenants: &[&str]) -> Vec<String> {
    let mut folders = vec![store.join("shop")];
    let mut rows = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains("/data/") {
                let file = std::fs::File::open(&path).expect("a data file");
                let table =
                    path.parent().and_then(Path::file_name).expect("a table").to_string_lossy().into_owned();
                for batch in ParquetRecordBatchReader::try_new(file, 1024).expect("Parquet") {
                    rows.extend(texts(&table, &batch.expect("a batch"), tenants));
                }
            }
        }
    }
    rows.sort();
    rows
}

fn texts(table: &str, batch: &RecordBatch, tenants: &[&str]) -> Vec<String> {
    let shown = |array: &ArrayRef| match array.data_type() {
        // Printing would need a table of time zones.
        DataType::Timestamp(..) => cast(array, &DataType::Int64).expect("microseconds"),
        _ => Arc::clone(array),
    };
    let columns: Vec<ArrayRef> = batch.columns().iter().map(shown).collect();
    let cell = |column: usize, row| array_value_to_string(&columns[column], row).expect("a value");
    let owned = (0..batch.num_rows()).filter(|row| tenants.contains(&cell(0, *row).as_str()));
    owned
        .map(|row| {
            (0..batch.num_columns()).fold(table.to_owned(), |text, column| text + " " + &cell(column, row))
        })
        .collect()
}

/// Imports are those of `snapshot create`, row for row.
async fn equals_what_create_takes(shop: Shop<impl Bench>, tenants: &[&str], all: &[&str]) -> Owned {
    shop.run(&["snapshot", "create"]).exits(0);
    export(shop.bench.url().expose(), &shop.path("export")).await;
    std::fs::rename(shop.path("store"), shop.path("created")).expect("moved");
    println!("{}", shop.import(tenants).exits(0).stderr);
    shop.run(&["snapshot", "verify"]).exits(0);
    assert_eq!(rows(&shop.path("store"), all), rows(&shop.path("created"), tenants));
    // Rows of nobody, as far as an import can tell them: those of tables without hops all come, others may.
    let (imported, created) = (rows(&shop.path("store"), &[""]), rows(&shop.path("created"), &[""]));
    let strangers: Vec<_> = imported.iter().filter(|row| !created.contains(row)).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    let labels =
        |rows: Vec<String>| rows.into_iter().filter(|row| row.contains(".labels ")).collect::<Vec<_>>();
    assert_eq!(labels(imported), labels(created));
    let (created, imported) =
        (owned(&shop.path("created"), tenants).await, owned(&shop.path("store"), all).await);
    assert!(created.len() > 1, "{created:?}");
    assert_eq!(imported, created, "of the listed tenants every row, of others none");
    imported
}

/// Values that programs get wrong, of every type that has a way out of Parquet.
const TYPES: &str = r#"
CREATE TYPE mood AS ENUM ('sad', 'so, so');
CREATE DOMAIN positive AS integer CHECK (value > 0);
CREATE TABLE sites (id uuid PRIMARY KEY);
CREATE TABLE kinds (site uuid, b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision, t text,
    c character(5), v varchar(9), y bytea, d date, tm time, ts timestamp, tz timestamptz, u uuid, j json, jb jsonb,
    n numeric, nd numeric(12,4), m mood, p positive, a8 bigint[], at text[], an numeric[], au uuid[], ad date[],
    twice integer GENERATED ALWAYS AS (i2 % 2) STORED);
INSERT INTO sites VALUES ('00112233-4455-6677-8899-aabbccddeeff'), ('ffffffff-ffff-ffff-ffff-ffffffffffff');
INSERT INTO kinds VALUES
    ('00112233-4455-6677-8899-aabbccddeeff', true, -32768, -2147483648, -9223372036854775808, 'NaN', '-Infinity', '',
     'ab', 'é', '', 'infinity', '24:00', '-infinity', 'infinity', '00000000-0000-0000-0000-000000000000',
     '{ "a":  1 }', '{"a": 1e10, "b": [null]}', 'NaN', 0, 'so, so', 1, '{1,NULL,-3}', '{"a \"b\"",NULL,"NULL",""}',
     '{1.50,NaN}', '{00112233-4455-6677-8899-aabbccddeeff}', '{infinity,2000-02-29}'),
    ('00112233-4455-6677-8899-aabbccddeeff', false, 1, 1, 1, 0.1, 5e-324, E'\\\\N\t\u00e9', '', '', '\x00ff', '4714-11-24 BC', '00:00:00.000001',
     '4714-11-24 00:00:00 BC', '294246-12-31 23:59:59.999999+00', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '[]', '"x"',
     '-12345678901234567890.0000', -99999999.9999, 'sad', 2, '{}', '{}', '{}', '{}', '{}'),
    ('00112233-4455-6677-8899-aabbccddeeff', NULL, NULL, NULL, NULL, '-0', '-0', NULL, NULL, NULL, NULL, NULL, NULL,
     '2024-02-29 12:34:56.789', '1969-12-31 23:59:59.5+00', NULL, NULL, NULL, 0.00000, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('ffffffff-ffff-ffff-ffff-ffffffffffff', NULL, 7, 7, 7, 7, 7, 'neighbour', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, 1e400::numeric, 7, NULL, 7, NULL, NULL, NULL, NULL, NULL);
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_that_has_a_way_comes_bit_for_bit() {
    let rules = "\"S.sites\" = { rule = \"root\", key = \"id\" }\n\"S.kinds\" = { rule = \"direct\", column = \"site\" }\n";
    let shop = Shop::with(Postgres::new().await, TYPES, rules).await;
    let tenants = ["00112233-4455-6677-8899-aabbccddeeff"];
    let found = equals_what_create_takes(shop, &tenants, &tenants).await;
    let rows: Vec<u64> = found.values().map(|fingerprint| fingerprint.rows).collect();
    assert_eq!(rows, [3, 1]);
}

/// Keys of several columns, of columns that are NULL, and of types that differ between the two sides.
const KEYS: &str = "
CREATE TABLE sites (code character(4) PRIMARY KEY);
CREATE TABLE projects (id {int} PRIMARY KEY, site varchar(9));
CREATE TABLE issues (project numeric(20,0) NOT NULL, number smallint NOT NULL, since date, PRIMARY KEY (project, number));
CREATE TABLE comments (id {int} PRIMARY KEY, project {int}, number {int});
CREATE TABLE votes (comment text, weight integer);
CREATE TABLE days (since date PRIMARY KEY, site text);
CREATE TABLE plans (since date, what text);
CREATE TABLE empty (id {int} PRIMARY KEY, project {int});
CREATE TABLE labels (id {int} PRIMARY KEY, name text);
INSERT INTO sites VALUES ('a'), ('b');
INSERT INTO projects SELECT n, CASE n % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' END FROM generate_series(1, 30) n;
INSERT INTO issues SELECT p, n, NULL FROM generate_series(1, 35) p, generate_series(1, 3) n;
INSERT INTO comments SELECT n, nullif(n % 33, 7), nullif(n % 4, 0) FROM generate_series(1, 400) n;
INSERT INTO votes SELECT n::text, n FROM generate_series(300, 450) n;
INSERT INTO votes VALUES (NULL, 1), ('0300', 2), ('x', 3);
INSERT INTO days SELECT date '2024-02-20' + n, CASE n % 2 WHEN 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 20) n;
INSERT INTO plans SELECT date '2024-02-20' + n % 25, 'again' FROM generate_series(1, 60) n;
INSERT INTO labels VALUES (1, 'everybody''s'), (2, NULL);
";

const KEY_RULES: &str = r#"
"S.sites" = { rule = "root", key = "code" }
"S.projects" = { rule = "direct", column = "site" }
"S.issues" = { rule = "derived", columns = ["project"], parent = "S.projects", parent_columns = ["id"] }
"S.comments" = { rule = "derived", columns = ["project", "number"], parent = "S.issues", parent_columns = ["project", "number"] }
"S.votes" = { rule = "derived", columns = ["comment"], parent = "S.comments", parent_columns = ["id"] }
"S.days" = { rule = "direct", column = "site" }
"S.plans" = { rule = "derived", columns = ["since"], parent = "S.days", parent_columns = ["since"] }
"S.empty" = { rule = "derived", columns = ["project"], parent = "S.projects", parent_columns = ["id"] }
"S.labels" = { rule = "shared" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_all_kinds_lead_to_their_owners() {
    let shop = Shop::with(Postgres::new().await, KEYS, KEY_RULES).await;
    let found = equals_what_create_takes(shop, &["b"], &["a", "b"]).await;
    assert_eq!(found.len(), 7, "{found:?}");
    let shop = Shop::with(Postgres::new().await, KEYS, KEY_RULES).await;
    equals_what_create_takes(shop, &["b", "a"], &["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_holds_what_create_takes_on_postgres() {
    equals_what_create_takes(Shop::new(Postgres::new().await).await, &["7", "8"], &["7", "8", "9"]).await;
    equals_what_create_takes(Shop::new(Postgres::new().await).await, &["8"], &["7", "8", "9"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_holds_what_create_takes_on_sqlite() {
    equals_what_create_takes(Shop::new(Sqlite::new().await).await, &["7", "8"], &["7", "8", "9"]).await;
    equals_what_create_takes(Shop::new(Sqlite::new().await).await, &["9"], &["7", "8", "9"]).await;
}

/// An export of the shop with a change to it, and what the import says.
async fn refused(change: impl FnOnce(&Path), code: i32, expected: &str) {
    let shop = Shop::new(Sqlite::new().await).await;
    export(shop.bench.url().expose(), &shop.path("export")).await;
    change(&shop.path("export"));
    let run = shop.import(&["7"]);
    let (error, got) = (run.error(), run.code);
    assert_eq!((got, error.as_str()), (code, expected), "{}", run.stderr);
    assert!(shop.run(&["snapshot", "list"]).exits(0).stdout.contains("no snapshot"), "nothing is left of it");
}

fn projects(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from(vec![70, 71, 80]));
    RecordBatch::try_from_iter(std::iter::once(("id", id)).chain(columns)).expect("a batch")
}

fn replace(folder: &Path, batch: &RecordBatch) {
    std::fs::remove_dir_all(folder).expect("removed");
    write_folder(folder, batch);
}

fn sites() -> ArrayRef {
    Arc::new(Int64Array::from(vec![7, 7, 8]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_files_are_missing_or_come_twice_is_refused() {
    let missing = |export: &Path| std::fs::remove_dir_all(export.join("main.projects")).expect("removed");
    let expected = "error: unable to find the files of table 'main.projects' in folder 'export'\n\
        hint: they are looked for in 'main.projects.parquet' and 'main.projects/'; an empty folder is an empty table, and the rule \"excluded\" leaves one out";
    refused(missing, 3, expected).await;
    let twice =
        |export: &Path| write(&export.join("projects.parquet"), &projects(vec![("site_id", sites())]), 0);
    let expected = "error: unable to tell which files hold table 'main.projects': 'export/main.projects' or 'export/projects.parquet'\n\
        hint: leave one of them in the folder";
    refused(twice, 2, expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_that_do_not_fit_are_refused_before_anything_is_read() {
    let more = |export: &Path| {
        replace(&export.join("main.projects"), &projects(vec![("site_id", sites()), ("colour", sites())]));
    };
    let expected = "error: unable to import table 'main.projects': \
        file 'export/main.projects/1/part-00000.gz.parquet' has column 'colour', which the live table has not\n\
        hint: its values could not come back; export the table without the column if nobody will miss them";
    refused(more, 3, expected).await;
    let typed = |export: &Path| {
        let float: ArrayRef = Arc::new(Float64Array::from(vec![7.0, 7.0, 8.0]));
        replace(&export.join("main.projects"), &projects(vec![("site_id", float)]));
    };
    let expected = "error: unable to tell the owners of table 'main.projects': \
        its column 'site_id' (INTEGER) comes as float64, by which no tenant is found\n\
        hint: export the column as the database prints it, or take the snapshot from a live database";
    refused(typed, 3, expected).await;
    let unowned = |export: &Path| replace(&export.join("main.projects"), &projects(vec![]));
    let expected = "error: unable to decide who owns the rows of 'main.cards': table 'main.projects' has no column 'site_id'\n\
        hint: correct the table's rule in reinstate.toml, or export the table with all its columns";
    refused(unowned, 6, expected).await;
    let keyless = |export: &Path| {
        let batch = RecordBatch::try_from_iter([("site_id", sites())]).expect("a batch");
        replace(&export.join("main.projects"), &batch);
    };
    let expected = "error: unable to import table 'main.projects': its files lack column 'id'\n\
        hint: it is part of the primary key; export the table with it";
    refused(keyless, 3, expected).await;
    let uneven = |export: &Path| {
        let batch = RecordBatch::try_from_iter([("id", sites())]).expect("a batch");
        write(&export.join("main.projects/2.parquet"), &batch, 0);
    };
    let expected = "error: unable to read table 'main.projects': \
        file 'export/main.projects/1/part-00000.gz.parquet' has column 'site_id', and file 'export/main.projects/2.parquet' has not\n\
        hint: export the table again, all of it at once";
    refused(uneven, 3, expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_files_are_refused_by_their_names() {
    let cut = |export: &Path| {
        let path = export.join("main.projects/1/part-00000.gz.parquet");
        let bytes = std::fs::read(&path).expect("read");
        std::fs::write(&path, &bytes[..bytes.len() - 20]).expect("written");
    };
    let unreadable = "error: unable to read file 'export/main.projects/1/part-00000.gz.parquet' of table 'main.projects': ";
    let expected = format!(
        "{unreadable}Parquet error: Invalid Parquet file. Corrupt footer\nhint: export the table again"
    );
    refused(cut, 3, &expected).await;
    let text = |export: &Path| {
        std::fs::write(export.join("main.projects/1/part-00000.gz.parquet"), "id,site_id\n70,7\n")
            .expect("written");
    };
    refused(text, 3, &expected).await;
    let rotten = |export: &Path| {
        let path = export.join("main.projects/1/part-00000.gz.parquet");
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[30..60].fill(0xa5);
        std::fs::write(&path, bytes).expect("written");
    };
    let expected = format!(
        "{unreadable}Parquet argument error: External: incomplete deflate stream\nhint: the file is damaged; export the table again"
    );
    refused(rotten, 3, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_do_not_fit_are_refused_where_they_are_met() {
    let sql = "CREATE TABLE sites (id uuid PRIMARY KEY)";
    let shop =
        Shop::with(Postgres::new().await, sql, "\"S.sites\" = { rule = \"root\", key = \"id\" }\n").await;
    std::fs::create_dir(shop.path("export")).expect("a folder");
    let id: ArrayRef = Arc::new(StringArray::from(vec!["7"]));
    write(&shop.path("export/sites.parquet"), &RecordBatch::try_from_iter([("id", id)]).expect("a batch"), 0);
    let run = shop.import(&["7"]).exits(3);
    let expected = "error: unable to import column 'id' of table 'public.sites': file 'export/sites.parquet' holds a value that is no uuid\n\
        hint: export the column as the database prints it, or without it";
    assert_eq!(run.error(), expected);
    let id: ArrayRef = Arc::new(Float64Array::from(vec![7.0]));
    write(&shop.path("export/sites.parquet"), &RecordBatch::try_from_iter([("id", id)]).expect("a batch"), 0);
    let run = shop.import(&["7"]).exits(3);
    let expected = "error: unable to import column 'id' of table 'public.sites': there is no exact way from Float64 to uuid (file 'export/sites.parquet')\n\
        hint: export it as the text that the database prints, or without the column";
    assert_eq!(run.error(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_folder_is_an_empty_table_and_a_column_less_a_column_more_since() {
    let shop = Shop::new(Sqlite::new().await).await;
    export(shop.bench.url().expose(), &shop.path("export")).await;
    std::fs::remove_dir_all(shop.path("export/main.issues")).expect("removed");
    std::fs::create_dir(shop.path("export/main.issues")).expect("a folder");
    std::fs::create_dir(shop.path("export/main.strangers")).expect("a folder");
    std::fs::rename(shop.path("export/main.docs"), shop.path("export/docs.parquet")).expect("renamed");
    let (id, site): (ArrayRef, ArrayRef) =
        (Arc::new(Int64Array::from(vec![1])), Arc::new(Int64Array::from(vec![7])));
    let batch = RecordBatch::try_from_iter([("id", id), ("site_id", site)]).expect("a batch");
    replace(&shop.path("export/main.labels"), &batch);
    let run = shop.import(&["7", "77"]).exits(0);
    for note in [
        "note: 'main.strangers' is no table of shard 'shop' and is left out",
        "note: tenant '77' has no row in the export",
    ] {
        assert!(run.stderr.contains(note), "{}", run.stderr);
    }
    let owned = owned(&shop.path("store"), &["7", "77"]).await;
    assert!(owned.keys().all(|(_, table)| table.table != "issues"), "{owned:?}");
    assert!(owned.keys().any(|(_, table)| table.table == "docs"), "{owned:?}");
    let id = shop.run(&["--json", "snapshot", "list"]).exits(0).json();
    let id = id["snapshots"][0]["id"].as_str().expect("an id").to_owned();
    let shown = shop.run(&["--json", "snapshot", "show", &id]).exits(0).json();
    let tables = shown["tables"].as_array().expect("tables");
    let labels = tables.iter().find(|entry| entry["table"]["name"] == "main.labels").expect("labels");
    let columns: Vec<_> = labels["table"]["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| &column["name"])
        .collect();
    assert_eq!(columns, ["id", "site_id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_point_to_come_and_a_folder_that_is_not_there_are_refused() {
    let shop = Shop::new(Sqlite::new().await).await;
    let run = shop.import(&["7"]).exits(2);
    let expected = "error: unable to read folder 'export': No such file or directory (os error 2)\n\
        hint: --from takes the folder that holds a folder or a file for each table";
    assert_eq!(run.error(), expected);
    let args = ["snapshot", "import", "--from", "export", "--shard", "shop", "--at", "2126-01-01T00:00:00Z"];
    let run = shop.run(&[&args[..], &["--tenants", "imported.txt"]].concat()).exits(2);
    let expected = "error: unable to import what was exported at 2126-01-01T00:00:00Z: it is to come\n\
        hint: --at is the instant that the export shows";
    assert_eq!(run.error(), expected);
}
