//! The drill itself, small, on both back ends.

use crate::cluster::{Cluster, psql};
use crate::world::{command, output};

#[test]
fn sqlite_the_drill_ends_well() {
    let folder = tempfile::tempdir().expect("temp dir");
    let args = ["drill", "--tenants", "40", "--victims", "8", "--scale", "0.05"];
    let run = output(command(folder.path(), &args)).exits(0);
    assert!(run.stdout.contains("GOOD: everything is back, nothing else changed."), "{}", run.stdout);
    assert!(run.stdout.contains("8 of 8 tenants"), "{}", run.stdout);
}

#[test]
fn postgres_the_drill_ends_well_and_cleans_up() {
    let cluster = Cluster::start();
    let url = cluster.url("postgres");
    let folder = tempfile::tempdir().expect("temp dir");
    let args = ["drill", "--shard", &url, "--tenants", "40", "--victims", "8", "--scale", "0.05", "--json"];
    let report = output(command(folder.path(), &args)).exits(0).json();
    assert_eq!(report["restored"], 8);
    assert_eq!(report["verified"], 8);
    assert_eq!(report["rows_restored"], report["rows_lost"]);
    assert!(report["neighbour_writes"].as_u64() > Some(0), "{report}");
    let left = psql(&url, "SELECT count(*) FROM pg_database WHERE datname LIKE 'reinstate_drill%'");
    assert_eq!(left.trim(), "0");
}

#[test]
fn a_drill_without_neighbours_is_refused() {
    let folder = tempfile::tempdir().expect("temp dir");
    let run = output(command(folder.path(), &["drill", "--tenants", "5", "--victims", "5"])).exits(2);
    assert_eq!(
        run.error(),
        "error: unable to delete 5 of 5 tenants: there must be victims and neighbours\nhint: --victims from 1 to --tenants minus 1"
    );
}
