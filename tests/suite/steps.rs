//! A whole site through the command line: rows, media, a hook and a check.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::media::{tree, write};
use crate::world::{Kind, World, tenants};

/// What the hook was told, a line a call.
fn calls(text: &str) -> BTreeMap<String, Vec<Value>> {
    let mut calls = BTreeMap::<String, Vec<Value>>::new();
    for line in text.lines() {
        let call: Value = serde_json::from_str(line).expect("JSON");
        calls.entry(call["tenant"].as_str().expect("tenant").to_owned()).or_default().push(call);
    }
    calls
}

#[tokio::test]
async fn rows_media_hooks_and_checks_make_a_site() {
    let world = World::new(Kind::Sqlite).await;
    let folders = tempfile::tempdir().expect("folder");
    let (backup, live, told) =
        (folders.path().join("backup"), folders.path().join("live"), folders.path().join("told"));
    for id in tenants() {
        for folder in [&backup, &live] {
            write(folder, &format!("sites/{id}/logo.png"), id.to_string().repeat(100).as_bytes());
        }
    }
    world.init();
    let config = world.read("reinstate.toml");
    world.write(
        "reinstate.toml",
        &format!(
            "{config}\n[media.uploads]\nfrom = \"file://{}\"\nto = \"file://{}\"\nprefix = \"sites/{{tenant}}/\"\n\
             [hooks.flags]\ncommand = [\"sh\", \"-c\", \"cat >> {told}; echo >> {told}\"]\n\
             [checks.logo]\ncommand = [\"test\", \"-f\", \"{}/sites/{{tenant}}/logo.png\"]\nretries = 0\n",
            backup.display(),
            live.display(),
            live.display(),
            told = told.display(),
        ),
    );
    world.run(&["snapshot", "create"]).exits(0);
    let (before, media) = (world.dump().await, tree(&live));
    let victims = &tenants()[..3];
    world.delete(victims).await;
    for id in victims {
        fs::remove_dir_all(live.join(format!("sites/{id}"))).expect("deleted");
    }
    let spoilt = victims[1];
    write(&live, &format!("sites/{spoilt}/logo.png"), b"another");
    world.plan(victims).exits(0);

    let run = world.apply(3).exits(5);
    let expected = format!(
        "unable to restore 1 of 1 objects of media 'uploads' of tenant '{spoilt}': '{}/sites/{spoilt}/logo.png': \
         unable to restore it: another object of this name is there, of 7 bytes instead of 400",
        live.display()
    );
    assert!(run.stderr.contains(&expected), "{expected}\n{}", run.stderr);
    let others = [victims[0].to_string(), victims[2].to_string()];
    let first = calls(&fs::read_to_string(&told).expect("told"));
    assert_eq!(first.keys().cloned().collect::<Vec<_>>(), others, "a hook comes after the media");
    let hosts = world.rows("catalogue", "sites").await;
    assert!(!hosts.iter().any(|row| row.contains(&spoilt.to_string())), "the catalogue comes last");

    fs::remove_file(live.join(format!("sites/{spoilt}/logo.png"))).expect("removed");
    world.apply(3).exits(0);
    assert_eq!(world.dump().await, before);
    assert_eq!(tree(&live), media);
    let all = calls(&fs::read_to_string(&told).expect("told"));
    assert_eq!(all.len(), 3);
    assert!(all.values().all(|calls| calls.len() == 1), "what was done is not done again: {all:?}");
    let key = |id: i64| all[&id.to_string()][0]["idempotency_key"].to_string();
    assert_ne!(key(victims[0]), key(victims[2]));
}
