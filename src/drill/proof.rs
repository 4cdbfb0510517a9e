//! The drill's proof, independent of the engine: every row of every table read by plain SQL and hashed.
//!
//! Victims: their rows after the rescue are those of just before the accident, their gates with them; so are their
//! files and their flags, put back once each. Neighbours: all other rows of the live shards are those of a mirror that
//! was copied before the rescue, never saw it, and received the same writes; all other files are those of before, and
//! those they added; nobody ever saw one of them kept off, nor a victim served before it was whole.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Scene;
use super::database::RowsHash;
use super::files::{self, Files};
use super::flags::Flags;
use super::stage::{Mirror, Stage};
use super::tables::TABLES;
use crate::error::Result;
use crate::model::TenantId;

/// What the comparison found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Proof {
    /// Rows of the victims that were compared.
    pub victim_rows: u64,
    /// Tables in which the victims' rows are not what they were.
    pub victims_differ: Vec<String>,
    /// Rows of the neighbours, and shared rows, that were compared.
    pub neighbour_rows: u64,
    /// Tables in which the neighbours' rows are not those of the mirror.
    pub neighbours_differ: Vec<String>,
    /// Files of the victims that were compared.
    pub victim_files: u64,
    /// Files of the neighbours that were compared.
    pub neighbour_files: u64,
    /// Files that are missing, changed, or not expected; the first ones.
    pub files_differ: Vec<String>,
    /// Sites whose flags are not what they were, or were not put back exactly once; the first ones.
    pub flags_differ: Vec<String>,
    /// What was wrong at the gates while tenants came back.
    pub gates: Vec<String>,
}

/// How many files and sites are named.
const NAMED_MAX: usize = 20;

/// What was there just before the accident.
pub struct Before {
    rows: Rows,
    files: Files,
    flags: Flags,
}

impl Before {
    /// Looks at everything of the victims, and at all files and flags.
    pub async fn look(scene: &Scene<'_>) -> Result<Self> {
        let rows = victims_rows(scene.stage, scene.victims).await?;
        Ok(Self { rows, files: scene.media.live()?, flags: scene.flags.flags() })
    }
}

impl Proof {
    /// Whether nothing differs.
    pub fn holds(&self) -> bool {
        let faults = [
            &self.victims_differ,
            &self.neighbours_differ,
            &self.files_differ,
            &self.flags_differ,
            &self.gates,
        ];
        faults.iter().all(|faults| faults.is_empty())
    }
}

/// Rows by shard and table.
type Rows = BTreeMap<String, RowsHash>;

/// The victims' rows.
async fn victims_rows(stage: &Stage, victims: &[TenantId]) -> Result<Rows> {
    let mut found = BTreeMap::new();
    for table in &TABLES {
        for (shard, name) in table.places() {
            found.insert(name, stage.database(shard)?.hash(table, victims, true).await?);
        }
    }
    Ok(found)
}

/// Compares what is live with what it has to be. `uploads`: files that neighbours added.
pub async fn compare(scene: &Scene<'_>, mirror: &Mirror, before: Before, uploads: Files) -> Result<Proof> {
    let mut proof = Proof::default();
    rows(scene, mirror, &before.rows, &mut proof).await?;
    let (victims_before, neighbours_before) = files::split(before.files, scene.victims);
    let (victims, neighbours) = files::split(scene.media.live()?, scene.victims);
    proof.victim_files = victims.len() as u64;
    proof.neighbour_files = neighbours.len() as u64;
    let expected: Files = neighbours_before.into_iter().chain(uploads).collect();
    proof.files_differ = differences(&victims_before, &victims);
    proof.files_differ.extend(differences(&expected, &neighbours));
    proof.flags_differ = differences(&before.flags, &scene.flags.flags());
    let once = scene.victims.iter().map(|id| (id.to_string(), 1)).collect();
    proof.flags_differ.extend(differences(&once, &scene.flags.restored()));
    Ok(proof)
}

async fn rows(scene: &Scene<'_>, mirror: &Mirror, before: &Rows, proof: &mut Proof) -> Result<()> {
    let (stage, victims) = (scene.stage, scene.victims);
    let after = victims_rows(stage, victims).await?;
    for table in &TABLES {
        for (shard, name) in table.places() {
            proof.victim_rows += after[&name].0;
            if after[&name] != before[&name] {
                proof.victims_differ.push(name.clone());
            }
            let live = stage.database(shard)?.hash(table, victims, false).await?;
            let mirrored = mirror.database(shard)?.hash(table, victims, false).await?;
            let stray = mirror.database(shard)?.hash(table, victims, true).await?;
            proof.neighbour_rows += live.0;
            if live != mirrored || stray.0 != 0 {
                proof.neighbours_differ.push(name);
            }
        }
    }
    Ok(())
}

/// The first names under which two maps do not hold the same.
fn differences<V: PartialEq>(expected: &BTreeMap<String, V>, found: &BTreeMap<String, V>) -> Vec<String> {
    let names = expected.keys().chain(found.keys().filter(|name| !expected.contains_key(*name)));
    names.filter(|name| expected.get(*name) != found.get(*name)).take(NAMED_MAX).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::{FlagService, Fleet, Ground, Media, Options};
    use crate::progress::Silent;

    #[tokio::test]
    async fn every_kind_of_damage_is_named() {
        let (ground, chaos) = (Ground::Files, None);
        let options =
            Options { ground, tenants: 6, victims: 2, scale: 0.01, seed: 3, jobs: 1, keep: false, chaos };
        let stage = Stage::set(&options.ground).await.expect("stage");
        let fleet = Fleet::new(options.tenants, options.scale, options.seed);
        let victims = fleet.choose_victims(options.victims, options.seed);
        let neighbour = fleet.sites.iter().find(|site| !victims.contains(&site.id)).expect("a neighbour");
        let media = Media::new(stage.folder());
        media.build(&fleet, options.seed).expect("files");
        stage.build(&fleet, &Silent).await.expect("rows");
        let flags = FlagService::start(&fleet, options.seed).await.expect("flags");
        let (options, stage, contacts) = (&options, &stage, "");
        let scene = Scene { options, stage, media: &media, flags: &flags, victims: &victims, contacts };
        let (first, second) =
            (Before::look(&scene).await.expect("rows"), Before::look(&scene).await.expect("rows"));
        let mirror = stage.mirror().await.expect("mirror");
        for table in TABLES.iter().rev() {
            for shard in table.shards() {
                mirror.database(shard).expect("mirror").delete(table, &victims).await.expect("deleted");
            }
        }
        let proof = compare(&scene, &mirror, first, Files::new()).await.expect("proof");
        let ids: Vec<String> = victims.iter().map(ToString::to_string).collect();
        assert_eq!(proof.flags_differ, ids, "nobody has put their flags back");
        assert!(Proof { flags_differ: vec![], ..proof }.holds());

        let run = async |shard: &str, sql: &str, id: &TenantId| {
            let values = [crate::drill::fleet::Value::Text(id.to_string())];
            assert!(stage.database(shard).expect("shard").execute(sql, &values).await.expect("run") > 0);
        };
        run("catalogue", "UPDATE sites SET state = 'restoring' WHERE id = $1", &victims[0]).await;
        run("identity", "UPDATE users SET name = 'another' WHERE site_id = $1", &neighbour.id).await;
        let logo = |id: &TenantId| format!("{}/{id}/logo.png", files::PREFIX);
        let live = stage.folder().join(files::LIVE);
        std::fs::remove_file(live.join(logo(&victims[1]))).expect("removed");
        std::fs::write(live.join(logo(&neighbour.id)), "another").expect("written");
        let proof = compare(&scene, &mirror, second, Files::new()).await.expect("proof");
        assert_eq!(proof.victims_differ, ["catalogue.sites"]);
        assert_eq!(proof.neighbours_differ, ["identity.users"]);
        assert_eq!(proof.files_differ, [logo(&victims[1]), logo(&neighbour.id)]);
        assert!(!Proof { flags_differ: vec![], ..proof }.holds());
    }

    #[test]
    fn what_is_missing_changed_or_too_much_is_named() {
        let map = |pairs: &[(&str, u8)]| pairs.iter().map(|(name, v)| ((*name).to_owned(), *v)).collect();
        let expected = map(&[("a", 1), ("b", 2), ("c", 3)]);
        assert_eq!(differences(&expected, &map(&[("a", 1), ("b", 3), ("d", 4)])), ["b", "c", "d"]);
        assert!(differences(&expected, &expected).is_empty());
    }
}
