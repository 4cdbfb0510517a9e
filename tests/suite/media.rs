//! Media, from backups to live stores, in folders and on a real S3 server. The oracle is every file of the live
//! store, by its path and hash, before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reinstate::Result;
use reinstate::environment::Environment;
use reinstate::error::Kind;
use reinstate::media::{Found, Media, Restored, restore, survey};
use reinstate::model::TenantId;
use reinstate::progress::{Progress, Silent};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::s3::S3;

/// An id that is no path, and does not look like a name.
const ODD: &str = "a b%2F#é";
const LARGE: usize = (8 << 20) + 1;

/// Every file below a folder, by path, with the hash of its bytes.
pub type Tree = BTreeMap<String, String>;

pub fn tree(folder: &Path) -> Tree {
    let mut found = Tree::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).expect("folder") {
            let entry = entry.expect("entry");
            if entry.file_type().expect("kind").is_dir() {
                folders.push(entry.path());
            } else {
                let path =
                    entry.path().strip_prefix(folder).expect("below").to_str().expect("text").to_owned();
                found
                    .insert(path, blake3::hash(&fs::read(entry.path()).expect("bytes")).to_hex().to_string());
            }
        }
    }
    found
}

pub fn write(folder: &Path, path: &str, bytes: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().expect("folder")).expect("folders");
    fs::write(path, bytes).expect("file");
}

fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

/// Three tenants; the first one's folder begins like that of the second.
fn fill(folder: &Path) {
    for (seed, tenant) in (1..).zip(["1", "10", ODD]) {
        let at = |name: &str| format!("sites/{tenant}/media/{name}");
        write(folder, &at("empty"), b"");
        write(folder, &at("logo.png"), &bytes(5_000, seed));
        write(folder, &at("a/b/c/deep.bin"), &bytes(70_000, seed + 10));
        write(folder, &at("film.mp4"), &bytes(if tenant == "10" { 2_000 } else { LARGE }, seed + 20));
    }
    write(folder, "sites/index.html", b"everybody's");
}

const OBJECTS: u64 = 4;

/// A backup and a live store that were equal until the tenant was deleted.
struct World {
    media: Media,
    environment: Environment,
    backup: PathBuf,
    live: PathBuf,
    _folders: TempDir,
    _s3: S3,
}

fn media(from: String, to: String) -> Media {
    Media {
        from,
        to,
        prefix: "sites/{tenant}/media".into(),
        parallel: 3,
        from_env: String::new(),
        to_env: String::new(),
        after: None,
    }
}

impl World {
    async fn new(from: &str, to: &str) -> Self {
        let folders = tempfile::tempdir().expect("folder");
        let s3 = S3::start(&["backup", "live"]).await;
        let place = |kind: &str, name: &str| match kind {
            "file" => {
                let folder = folders.path().join(name);
                fs::create_dir(&folder).expect("folder");
                (format!("file://{}", folder.display()), folder)
            }
            _ => (format!("s3://{name}/path of it"), s3.folder(name).join("path of it")),
        };
        let ((from, backup), (to, live)) = (place(from, "backup"), place(to, "live"));
        fill(&backup);
        fill(&live);
        let environment = s3.environment();
        Self { media: media(from, to), environment, backup, live, _folders: folders, _s3: s3 }
    }

    fn delete(&self, tenant: &str) {
        fs::remove_dir_all(self.live.join("sites").join(tenant)).expect("deleted");
    }

    async fn survey(&self, tenant: &str) -> Found {
        survey(&self.media, "uploads", &TenantId::new(tenant), &self.environment).await.expect("survey")
    }

    async fn restore(&self, tenant: &str) -> Result<Restored> {
        let (_keep, stop) = watch::channel(false);
        restore(&self.media, "uploads", &TenantId::new(tenant), &self.environment, &stop, &Silent).await
    }
}

async fn comes_back(from: &str, to: &str, tenant: &str) {
    let world = World::new(from, to).await;
    let before = tree(&world.live);
    world.delete(tenant);
    assert_eq!(tree(&world.live).len() as u64, before.len() as u64 - OBJECTS);
    let found = world.survey(tenant).await;
    let size = 5_000 + 70_000 + LARGE as u64;
    assert_eq!(found, Found { objects: OBJECTS, bytes: size, ..Found::default() });
    let restored = world.restore(tenant).await.expect("restored");
    assert_eq!(tree(&world.live), before, "{from} to {to}");
    let all = Restored { objects: OBJECTS, bytes: size, ..Restored::default() };
    assert_eq!(restored, Restored { copied: OBJECTS, ..all.clone() });
    // A second time nothing is written; one that is missing again comes back alone.
    assert_eq!(world.survey(tenant).await, Found { in_place: OBJECTS, ..found });
    let again = world.restore(tenant).await.expect("again");
    assert_eq!(again, Restored { already_there: OBJECTS, ..all.clone() });
    fs::remove_file(world.live.join("sites").join(tenant).join("media/film.mp4")).expect("removed");
    let third = world.restore(tenant).await.expect("the third time");
    assert_eq!(third, Restored { copied: 1, already_there: OBJECTS - 1, ..all });
    assert_eq!(tree(&world.live), before);
}

#[tokio::test]
async fn from_folder_to_folder() {
    comes_back("file", "file", "1").await;
    comes_back("file", "file", ODD).await;
}

#[tokio::test]
async fn from_bucket_to_bucket() {
    comes_back("s3", "s3", "1").await;
    comes_back("s3", "s3", ODD).await;
}

#[tokio::test]
async fn between_folder_and_bucket() {
    comes_back("file", "s3", "1").await;
    comes_back("s3", "file", "1").await;
}

async fn another_content_stays(kind: &str) {
    let world = World::new("file", kind).await;
    let at = |name: &str| world.live.join("sites/1/media").join(name);
    fs::remove_file(at("empty")).expect("removed");
    fs::write(at("logo.png"), b"shorter").expect("another size");
    fs::write(at("film.mp4"), bytes(LARGE, 99)).expect("the same size");
    let before = tree(&world.live);
    assert_eq!(world.survey("1").await.different, 1);
    let restored = world.restore("1").await.expect("restored");
    assert_eq!((restored.copied, restored.already_there), (1, 1));
    let told = restored.clone().complete("uploads", &TenantId::new("1")).expect_err("incomplete").chain();
    assert!(
        told.starts_with("unable to restore 2 of 4 objects of media 'uploads' of tenant '1': '"),
        "{told}"
    );
    let mut failed: Vec<(String, String)> = Vec::new();
    for one in restored.failed {
        failed.push((one.object.rsplit('/').next().expect("name").to_owned(), one.why));
    }
    let another = "unable to restore it: another object of this name is there";
    let expected = [
        ("film.mp4".to_owned(), format!("{another}, of the same size, with other content")),
        ("logo.png".to_owned(), format!("{another}, of 7 bytes instead of 5000")),
    ];
    assert_eq!(failed, expected);
    let mut after = tree(&world.live);
    assert!(after.remove("sites/1/media/empty").is_some(), "what was missing came back");
    assert_eq!(after, before, "nothing was replaced");
}

#[tokio::test]
async fn a_folders_other_content_is_named_and_stays() {
    another_content_stays("file").await;
}

#[tokio::test]
async fn a_buckets_other_content_is_named_and_stays() {
    another_content_stays("s3").await;
}

/// Between "is it there?" and the write, the application writes an object of the same name.
#[tokio::test]
async fn an_object_that_appears_meanwhile_is_not_replaced() {
    let folders = tempfile::tempdir().expect("folder");
    let live = Arc::new(std::sync::Mutex::new(PathBuf::new()));
    let at = Arc::clone(&live);
    let s3 = S3::watched(
        &["live"],
        Arc::new(move |request| {
            let query = request.uri().query().unwrap_or_default();
            let completes = request.method() == "POST" && query.contains("uploadId=");
            let puts = request.method() == "PUT" && !query.contains("uploadId=");
            if completes || puts {
                let name = request.uri().path().rsplit('/').next().expect("name");
                write(&at.lock().expect("path").join("sites/1/media"), name, b"the application's");
            }
        }),
    )
    .await;
    *live.lock().expect("path") = s3.folder("live");
    write(folders.path(), "sites/1/media/small", b"the backup's");
    write(folders.path(), "sites/1/media/large", &bytes(LARGE, 1));
    let media = media(format!("file://{}", folders.path().display()), "s3://live".into());
    let (_keep, stop) = watch::channel(false);
    let tenant = TenantId::new("1");
    let restored = restore(&media, "m", &tenant, &s3.environment(), &stop, &Silent).await.expect("restored");
    assert_eq!((restored.copied, restored.failed.len()), (0, 2), "{restored:?}");
    for name in ["small", "large"] {
        let content = fs::read(s3.folder("live").join("sites/1/media").join(name)).expect("content");
        assert_eq!(content, b"the application's", "{name}");
    }
}

/// A store that says it has written something, and has not.
#[tokio::test]
async fn a_copy_that_reads_back_differently_is_named() {
    let folders = tempfile::tempdir().expect("folder");
    let live = Arc::new(std::sync::Mutex::new(PathBuf::new()));
    let at = Arc::clone(&live);
    let s3 = S3::watched(
        &["live"],
        Arc::new(move |request| {
            if request.method() == "GET" && request.uri().path().ends_with("/rots") {
                write(&at.lock().expect("path"), "sites/1/media/rots", b"rotten");
            }
        }),
    )
    .await;
    *live.lock().expect("path") = s3.folder("live");
    write(folders.path(), "sites/1/media/rots", b"fresh!");
    write(folders.path(), "sites/1/media/stays", b"fresh!");
    let media = media(format!("file://{}", folders.path().display()), "s3://live".into());
    let (_keep, stop) = watch::channel(false);
    let tenant = TenantId::new("1");
    let restored = restore(&media, "m", &tenant, &s3.environment(), &stop, &Silent).await.expect("restored");
    assert_eq!((restored.copied, restored.bytes), (1, 6));
    let expected = "unable to trust the copy: what is read back is not what was written";
    assert_eq!(restored.failed[0].object, "s3://live/sites/1/media/rots");
    assert_eq!(restored.failed[0].why, expected);
}

#[tokio::test]
async fn what_a_browser_is_told_of_an_object_comes_along() {
    use object_store::{Attribute, Attributes, GetOptions, ObjectStore, PutOptions};
    let s3 = S3::start(&["backup", "live"]).await;
    let open = |bucket: &str| {
        let builder = s3.variables("").into_iter().fold(
            object_store::aws::AmazonS3Builder::new().with_bucket_name(bucket),
            |builder, (name, value)| builder.with_config(name.to_lowercase().parse().expect("key"), value),
        );
        builder.build().expect("bucket")
    };
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, "image/svg+xml"),
        (Attribute::CacheControl, "max-age=60"),
        (Attribute::ContentDisposition, "inline"),
        (Attribute::Metadata("author".into()), "anna"),
    ]);
    for (name, length) in [("small", 10), ("large", LARGE)] {
        let options = PutOptions { attributes: attributes.clone(), ..PutOptions::default() };
        let path = format!("sites/1/media/{name}").into();
        open("backup").put_opts(&path, bytes(length, 1).into(), options).await.expect("put");
    }
    let media = media("s3://backup".into(), "s3://live/".into());
    let (_keep, stop) = watch::channel(false);
    let restored =
        restore(&media, "m", &TenantId::new("1"), &s3.environment(), &stop, &Silent).await.expect("restored");
    assert_eq!(restored.copied, 2, "{restored:?}");
    for name in ["small", "large"] {
        let path = format!("sites/1/media/{name}").into();
        let got = open("live").get_opts(&path, GetOptions::default()).await.expect("got");
        assert_eq!(got.attributes, attributes, "{name}");
    }
}

/// Asks to stop after some objects.
struct StopsAfter(AtomicU64, watch::Sender<bool>);

impl Progress for StopsAfter {
    fn begin(&self, _what: &str, _rows: Option<u64>) {}
    fn advance(&self, rows: u64, _bytes: u64) {
        if self.0.fetch_sub(rows, Ordering::Relaxed) <= rows {
            self.1.send_replace(true);
        }
    }
    fn note(&self, _line: &str) {}
    fn finish(&self) {}
}

#[tokio::test]
async fn it_stops_when_it_is_told_and_goes_on_where_it_was() {
    for kind in ["file", "s3"] {
        let world = World::new("file", kind).await;
        for number in 0..200 {
            let path = format!("sites/1/media/many/{number}");
            write(&world.backup, &path, &bytes(1_000, number));
            write(&world.live, &path, &bytes(1_000, number));
        }
        let before = tree(&world.live);
        world.delete("1");
        let (send, stop) = watch::channel(false);
        let progress = StopsAfter(20.into(), send);
        let (tenant, begun) = (TenantId::new("1"), Instant::now());
        let stopped = restore(&world.media, "uploads", &tenant, &world.environment, &stop, &progress).await;
        let error = stopped.expect_err("stopped");
        assert_eq!(error.kind(), Kind::Interrupted);
        assert_eq!(error.chain(), "unable to finish media 'uploads' of tenant '1': it was stopped");
        assert!(begun.elapsed() < Duration::from_secs(5));
        let there = tree(&world.live).len();
        assert!((before.len() - 204 + 20..before.len() - 100).contains(&there), "{there} files");
        let restored = world.restore("1").await.expect("resumed");
        assert!(restored.already_there >= 20 && restored.is_complete(), "{restored:?}");
        assert_eq!(tree(&world.live), before);
    }
}

/// What a killed process runs: this very program, told by a variable what to copy.
const KILLED: &str = "REINSTATE_TEST_MEDIA_KILLED";

#[tokio::test]
async fn the_process_that_is_killed() {
    let Ok(media) = std::env::var(KILLED) else { return };
    let media: Media = serde_json::from_str(&media).expect("media");
    let (_keep, stop) = watch::channel(false);
    let tenant = TenantId::new("1");
    restore(&media, "m", &tenant, &Environment::of_process(), &stop, &Silent).await.expect("restored");
}

async fn survives_kills(kind: &str) {
    let mut world = World::new("file", kind).await;
    for number in 0..150 {
        let path = format!("sites/1/media/many/{number}");
        write(&world.backup, &path, &bytes(40_000, number));
        write(&world.live, &path, &bytes(40_000, number));
    }
    world.media.to_env = if kind == "file" { String::new() } else { "LIVE_".into() };
    let before = tree(&world.live);
    world.delete("1");
    let mut rng = fastrand::Rng::with_seed(5);
    let mut killed_between = 0;
    for _ in 0..8 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "media::the_process_that_is_killed"])
            .env(KILLED, serde_json::to_string(&world.media).expect("JSON"))
            .envs(world._s3.variables("LIVE_"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("child");
        tokio::time::sleep(Duration::from_millis(rng.u64(20..250))).await;
        child.kill().expect("SIGKILL");
        let killed = child.wait().expect("wait").code().is_none();
        let mut there = tree(&world.live);
        there.retain(|path, _| !path.contains("/.reinstate-"));
        let complete = there.len() == before.len();
        killed_between += u32::from(killed && !complete && there.len() > before.len() - 154);
        assert!(there.iter().all(|(path, hash)| before.get(path) == Some(hash)), "half an object");
    }
    assert!(killed_between > 0, "no kill fell between two objects");
    world.media.to_env = String::new();
    assert!(world.restore("1").await.expect("resumed").is_complete());
    assert_eq!(tree(&world.live), before, "no trace of the killed runs is left");
}

#[tokio::test]
async fn a_folder_survives_kills() {
    survives_kills("file").await;
}

#[tokio::test]
async fn a_bucket_survives_kills() {
    survives_kills("s3").await;
}

#[tokio::test]
async fn ids_that_would_lead_elsewhere_are_refused() {
    let world = World::new("file", "file").await;
    let before = tree(&world.live);
    for id in ["..", ".", "1/../10", "10/media/..", "/", "1/media"] {
        let error = world.restore(id).await.expect_err("refused");
        assert_eq!(error.kind(), Kind::Refused);
        let expected = "its id would change the path 'sites/{tenant}/media'";
        assert_eq!(error.chain(), format!("unable to find the media of tenant '{id}': {expected}"));
    }
    assert_eq!(tree(&world.live), before);
}

#[tokio::test]
async fn links_lead_nowhere() {
    let world = World::new("file", "file").await;
    world.delete("1");
    let before = tree(&world.live);
    std::os::unix::fs::symlink(world.live.join("sites/10"), world.live.join("sites/1")).expect("link");
    let not_followed = "it is neither a file nor a folder (symbolic links are not followed)";
    let error = world.restore("1").await.expect_err("refused");
    assert!(error.chain().ends_with(not_followed), "{}", error.chain());
    fs::remove_file(world.live.join("sites/1")).expect("unlinked");
    assert_eq!(tree(&world.live), before);
    // In the backup a link is content that would be missing without a word.
    std::os::unix::fs::symlink("logo.png", world.backup.join("sites/1/media/link.png")).expect("link");
    let error = survey(&world.media, "m", &TenantId::new("1"), &world.environment).await.expect_err("link");
    assert!(
        error.chain().contains("link.png': ") && error.chain().ends_with(not_followed),
        "{}",
        error.chain()
    );
}

#[tokio::test]
async fn stores_that_cannot_be_opened_are_named_without_secrets() {
    let world = World::new("file", "s3").await;
    let of = async |media: &Media, environment: &Environment| {
        let found = survey(media, "uploads", &TenantId::new("1"), environment).await;
        let error = found.expect_err("refused");
        format!("{} {:?}", error.chain(), error.hints())
    };
    let missing = media("file:///nowhere/at/all".into(), world.media.to.clone());
    let told = of(&missing, &world.environment).await;
    assert!(
        told.starts_with("unable to open media 'uploads': unable to open folder '/nowhere/at/all': "),
        "{told}"
    );
    let itself = media(world.media.to.clone(), world.media.to.clone());
    let told = of(&itself, &world.environment).await;
    assert!(told.starts_with("unable to use media 'uploads': it copies a store into itself"), "{told}");
    let mut elsewhere = world.media.clone();
    elsewhere.to_env = "LIVE_".into();
    let told = of(&elsewhere, &world.environment).await;
    assert!(told.contains("no variable is set whose name begins with 'LIVE_AWS_'"), "{told}");
    let wrong: Environment = world
        ._s3
        .variables("")
        .into_iter()
        .map(|(name, value)| {
            let value = if name.ends_with("SECRET_ACCESS_KEY") { "another-secret".to_owned() } else { value };
            (name, value)
        })
        .collect();
    let told = of(&world.media, &wrong).await;
    assert!(told.contains("s3://live/path of it/sites/1/media") && told.contains("403"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}
