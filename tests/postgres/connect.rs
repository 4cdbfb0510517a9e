use reinstate::error::Kind;
use reinstate::model::ShardName;
use reinstate::{Error, shard};

use super::support::url;
use crate::cluster::{Cluster, psql};

async fn refused(database: &str) -> Error {
    shard::open(&ShardName::new("shop"), &url(database), 2).await.err().expect("no connection")
}

#[tokio::test]
async fn a_missing_database_is_a_mistake_in_the_url() {
    let database = Cluster::start().url("nowhere");
    let error = refused(&database).await;
    assert_eq!(error.kind(), Kind::Usage);
    assert_eq!(
        error.chain(),
        format!("unable to connect to shard 'shop' at {database}: database \"nowhere\" does not exist")
    );
}

#[tokio::test]
async fn a_server_that_is_away_can_be_waited_for_and_the_password_is_not_shown() {
    // Nothing listens on port 1.
    let error = refused("postgres://sre:hunter2@127.0.0.1:1/shop").await;
    assert_eq!(error.kind(), Kind::Interrupted);
    assert!(
        error
            .to_string()
            .ends_with("unable to connect to shard 'shop' at postgres://sre:***@127.0.0.1:1/shop"),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_role_without_privileges_is_told_which() {
    let cluster = Cluster::start();
    let database = cluster.new_database();
    psql(
        &database,
        "create table sites (id serial primary key); create role clerk login;
         alter table sites enable row level security",
    );
    let database = database.replace("postgres@", "clerk@");
    let shard = super::support::open_shard(&database).await;
    let facts = shard.facts().await.expect("facts");
    assert_eq!(facts.role, "clerk");
    let obstacles: Vec<String> = facts.obstacles.into_values().flatten().collect();
    assert_eq!(
        obstacles,
        [
            "role 'clerk' has no select privilege on it",
            "role 'clerk' has no insert privilege on it",
            "row security hides rows from role 'clerk'; use a role with BYPASSRLS or the table's owner",
            "role 'clerk' may not read and move sequence 'public.sites_id_seq' (SELECT, UPDATE)",
        ]
    );
    let error = shard.prepare_journal().await.expect_err("no CREATE on the database");
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.hints().iter().any(|hint| hint.contains("CREATE TABLE IF NOT EXISTS reinstate.journal")));
}

#[tokio::test]
async fn a_server_that_does_not_count_takes_no_rows() {
    let cluster = Cluster::start();
    let database = cluster.new_database();
    psql(&database, "create table t (id int)");
    psql(
        &database,
        "do $$ begin execute format('alter database %I set track_counts = off', current_database()); end $$",
    );
    let shard = super::support::open_shard(&database).await;
    let facts = shard.facts().await.expect("facts");
    assert!(
        facts.obstacles.into_values().flatten().any(|obstacle| obstacle.starts_with("'track_counts' is off"))
    );
    shard.prepare_journal().await.expect("journal");
    let begun = shard.begin(&super::support::plan(), &reinstate::model::TenantId::new("1")).await;
    assert_eq!(begun.err().expect("refused").kind(), Kind::Refused);
}
