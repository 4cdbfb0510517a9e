//! Retention: nothing inside it can be pruned, whatever else is wrong.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use reinstate::model::SnapshotId;
use reinstate::snapshot::{PruneReport, State, list, prune};

use super::memory::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);

async fn pruned(place: &Place, now: Timestamp) -> Vec<SnapshotId> {
    let report = prune(&place.store, now, false).await.expect("prune");
    report.pruned.into_iter().map(|pruned| pruned.id).collect()
}

async fn left(place: &Place) -> Vec<SnapshotId> {
    list(&place.store, None).await.expect("list").into_iter().map(|summary| summary.id).collect()
}

async fn three(place: &Place) -> Vec<SnapshotId> {
    let mut ids = Vec::new();
    for instant in ["2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"] {
        let mut source = Memory::new().taken_at(instant);
        source.add_issues(3, 100);
        ids.push(place.create(&source).await.id);
    }
    ids
}

#[tokio::test]
async fn nothing_inside_the_retention_is_pruned_and_the_newest_stays_after_it() {
    let place = Place::new();
    let ids = three(&place).await;
    let now = Timestamp::now();
    assert_eq!(pruned(&place, now).await, []);
    assert_eq!(pruned(&place, now + 29 * DAY).await, []);
    let later = now + 31 * DAY;
    let dry = prune(&place.store, later, true).await.expect("prune");
    assert_eq!(dry.pruned.len(), 2);
    assert_eq!(left(&place).await, ids);
    let report = prune(&place.store, later, false).await.expect("prune");
    assert_eq!(report, PruneReport { dry_run: false, ..dry });
    let oldest_first: Vec<&SnapshotId> = report.pruned.iter().map(|pruned| &pruned.id).collect();
    assert_eq!(oldest_first, [&ids[0], &ids[1]]);
    assert_eq!((report.pruned[0].files, report.pruned[0].complete), (3, true));
    assert_eq!(report.kept[0].reason, "it is the newest complete one of its shard");
    assert_eq!(left(&place).await, [ids[2].clone()]);
    let shard = fs::read_dir(place.folder.path().join("product")).expect("folder").count();
    assert_eq!(shard, 1, "empty folders are left behind");
}

#[tokio::test]
async fn a_damaged_manifest_keeps_its_snapshot() {
    let place = Place::new();
    let ids = three(&place).await;
    place.tamper(&ids[0], "manifest.json", |bytes| bytes[100] ^= 1);
    let later = Timestamp::now() + 31 * DAY;
    assert_eq!(pruned(&place, later).await, [ids[1].clone()]);
    let report = prune(&place.store, later, false).await.expect("prune");
    let kept = report.kept.iter().find(|kept| kept.id == ids[0]).expect("kept");
    assert!(kept.reason.starts_with("a person must look at it: unable to "), "{}", kept.reason);
}

#[tokio::test]
async fn a_snapshot_that_lost_a_file_is_not_the_newest_complete_one() {
    let place = Place::new();
    let ids = three(&place).await;
    fs::remove_file(place.file(&ids[2], "tenants.parquet")).expect("remove");
    assert_eq!(pruned(&place, Timestamp::now()).await, []);
    assert_eq!(pruned(&place, Timestamp::now() + 31 * DAY).await, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(left(&place).await, [ids[1].clone()]);
}

#[tokio::test]
async fn a_folder_without_manifest_goes_when_it_is_a_day_old() {
    let place = Place::new();
    let ids = three(&place).await;
    fs::remove_file(place.file(&ids[1], "manifest.json")).expect("remove");
    assert_eq!(list(&place.store, None).await.expect("list")[1].state, State::Incomplete);
    let now = Timestamp::now();
    assert_eq!(pruned(&place, now).await, []);
    assert_eq!(pruned(&place, now + SignedDuration::from_hours(23)).await, []);
    assert_eq!(pruned(&place, now + SignedDuration::from_hours(25)).await, [ids[1].clone()]);
    assert_eq!(left(&place).await, [ids[0].clone(), ids[2].clone()]);
}

#[tokio::test]
async fn what_a_killed_create_left_half_written_goes_with_its_folder() {
    let place = Place::new();
    let folder = place.folder.path().join("product").join("20261101T000000Z-0a1b2c");
    let staged = folder.join("data/public.issues/part-00000.parquet#1");
    fs::create_dir_all(staged.parent().expect("parent")).expect("folder");
    fs::write(&staged, b"half").expect("write");
    let now = Timestamp::now();
    assert_eq!(pruned(&place, now).await, []);
    // Only the half-written file is old: the folders were changed a moment ago.
    let old = SystemTime::now() - Duration::from_secs(26 * 60 * 60);
    File::options().write(true).open(&staged).expect("open").set_modified(old).expect("touch");
    assert_eq!(pruned(&place, now).await, []);
    assert_eq!(pruned(&place, now + SignedDuration::from_hours(25)).await.len(), 1);
    assert!(!folder.exists());
}

#[tokio::test]
async fn other_folders_are_left_alone() {
    let place = Place::new();
    let ids = three(&place).await;
    let foreign = place.folder.path().join("product/lost+found/x");
    fs::create_dir_all(foreign.parent().expect("parent")).expect("folder");
    fs::write(&foreign, b"x").expect("write");
    fs::write(place.folder.path().join("README"), b"x").expect("write");
    assert_eq!(left(&place).await, ids);
    pruned(&place, Timestamp::now() + 100 * DAY).await;
    assert!(foreign.exists());
}
