//! Media: the objects of a tenant, copied by prefix from a backup to the live store.
//!
//! ```text
//!  backup ──list──► found ──► there already? ──yes──► compare, leave alone
//!                                   └─no─► create-only copy ──► read back, compare
//! ```
//!
//! Nothing that exists is ever replaced, so a second run copies what is missing and compares the rest. A [`place`]
//! is a [`folder`] of the file system or a [`bucket`].

mod bucket;
mod copy;
mod folder;
mod place;
mod prefix;

use std::fmt;

use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::limits::{
    MEDIA_FAILURES_MAX, MEDIA_FAILURES_NAMED_MAX, MEDIA_PARALLEL_DEFAULT, MEDIA_PARALLEL_MAX,
    MEDIA_STOP_GRACE,
};
use crate::model::TenantId;
use crate::progress::Progress;
use crate::stop::{Stop, stopped};
use copy::{Copier, Done};
use place::{Found as Object, Place};

/// One `[media.NAME]` of `reinstate.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// The backup: `file:///FOLDER`, `s3://BUCKET` or `s3://BUCKET/PATH`.
    pub from: String,
    /// The live store, in the same form.
    pub to: String,
    /// The folder of a tenant's objects, the same in both: `sites/{tenant}`.
    pub prefix: String,
    /// Objects copied at a time.
    #[serde(default = "parallel_default")]
    pub parallel: usize,
    /// What stands before `AWS_` in the names of the variables for `from`: `BACKUP_` for `BACKUP_AWS_ACCESS_KEY_ID`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from_env: String,
    /// The same for `to`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to_env: String,
    /// The steps before it, unless the default is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
}

fn parallel_default() -> usize {
    MEDIA_PARALLEL_DEFAULT
}

/// What the backup holds of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them the live store has already, with the same size: they will be compared.
    pub in_place: u64,
    /// How many of them the live store has with another size: they will fail.
    pub different: u64,
}

/// What became of a tenant's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restored {
    /// Objects that were looked at.
    pub objects: u64,
    /// Bytes of those that are in place now.
    pub bytes: u64,
    /// Objects that were copied and read back.
    pub copied: u64,
    /// Objects that were there and are equal.
    pub already_there: u64,
    /// The others; after [`MEDIA_FAILURES_MAX`] of them no further object is tried.
    pub failed: Vec<Failed>,
}

/// An object that is not in place, or not with the backup's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// Its name in the live store.
    pub object: String,
    /// Why, in words.
    pub why: String,
}

impl Restored {
    /// Whether every object of the backup is in place.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    /// An error that names the first objects that are not in place, if there are such.
    pub fn complete(self, name: &str, tenant: &TenantId) -> Result<Self> {
        if self.is_complete() {
            return Ok(self);
        }
        let named: Vec<String> =
            self.failed.iter().take(MEDIA_FAILURES_NAMED_MAX).map(Failed::to_string).collect();
        let more = self.failed.len() - named.len();
        let more = if more == 0 { String::new() } else { format!("; {more} more") };
        let what = format!(
            "{} of {} objects of media '{name}' of tenant '{tenant}'",
            self.failed.len(),
            self.objects
        );
        Err(Error::failed(format!("unable to restore {what}: {}{more}", named.join("; ")))
            .hint("the others are in place; see to these, then retry the tenant"))
    }

    fn add(&mut self, to: &Place, object: &Object, done: Result<Done>, progress: &dyn Progress) {
        self.objects += 1;
        progress.advance(1, object.bytes);
        match done {
            Ok(Done::Copied) => self.copied += 1,
            Ok(Done::AlreadyThere) => self.already_there += 1,
            Err(error) => {
                let failed = Failed { object: to.shown(&object.key), why: error.chain() };
                progress.note(&format!("not restored: {failed}"));
                return self.failed.push(failed);
            }
        }
        self.bytes += object.bytes;
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}': {}", self.object, self.why)
    }
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { objects, bytes, copied, already_there, failed } = self;
        write!(
            f,
            "{objects} objects, {bytes} bytes in place: {copied} copied, {already_there} there already"
        )?;
        if failed.is_empty() { Ok(()) } else { write!(f, ", {} failed", failed.len()) }
    }
}

impl Media {
    /// Refuses what can be seen to be wrong without a tenant or a connection.
    pub fn check_settings(&self, name: &str) -> Result<()> {
        let wrong = |what: &str| Error::usage(format!("unable to use media '{name}': {what}"));
        prefix::check(&self.prefix).map_err(|error| error.within(format!("unable to use media '{name}'")))?;
        for url in [&self.from, &self.to] {
            place::parse(url).map_err(|error| error.within(format!("unable to use media '{name}'")))?;
        }
        if self.from.trim_end_matches('/') == self.to.trim_end_matches('/') && self.from_env == self.to_env {
            return Err(
                wrong("it copies a store into itself").hint("`from` is the backup, `to` the live store")
            );
        }
        if !(1..=MEDIA_PARALLEL_MAX).contains(&self.parallel) {
            return Err(wrong(&format!("parallel = {} is not 1 to {MEDIA_PARALLEL_MAX}", self.parallel)));
        }
        Ok(())
    }

    fn open(&self, name: &str, tenant: &TenantId, environment: &Environment) -> Result<(Copier, String)> {
        self.check_settings(name)?;
        let within = |error: Error| error.within(format!("unable to open media '{name}'"));
        let prefix = prefix::of(&self.prefix, tenant)?;
        let from = Place::open(&self.from, &self.from_env, environment).map_err(within)?;
        let to = Place::open(&self.to, &self.to_env, environment).map_err(within)?;
        Ok((Copier { from, to }, prefix))
    }
}

/// Counts a tenant's objects in the backup, and those of them that the live store has; writes nothing.
pub async fn survey(
    media: &Media,
    name: &str,
    tenant: &TenantId,
    environment: &Environment,
) -> Result<Found> {
    let (Copier { from, to }, prefix) = media.open(name, tenant, environment)?;
    // A deleted tenant has nothing there, and its objects need not be asked for one by one.
    let empty = to.list(&prefix).try_next().await?.is_none();
    let sizes = from.list(&prefix).map_ok(|object| {
        let to = &to;
        async move {
            let live = if empty { None } else { to.size(&object.key).await? };
            Ok((object.bytes, live))
        }
    });
    let mut sizes = sizes.try_buffer_unordered(media.parallel);
    let mut found = Found::default();
    while let Some((bytes, live)) = sizes.try_next().await? {
        found.objects += 1;
        found.bytes += bytes;
        match live {
            Some(live) if live == bytes => found.in_place += 1,
            Some(_) => found.different += 1,
            None => {}
        }
    }
    Ok(found)
}

/// Copies what is missing of a tenant's objects and compares the rest. What fails is named in the result, and does
/// not hold up the others; `progress` counts objects as it counts rows elsewhere.
pub async fn restore(
    media: &Media,
    name: &str,
    tenant: &TenantId,
    environment: &Environment,
    stop: &Stop,
    progress: &dyn Progress,
) -> Result<Restored> {
    let (copier, prefix) = media.open(name, tenant, environment)?;
    let interrupted = || {
        Error::interrupted(format!("unable to finish media '{name}' of tenant '{tenant}': it was stopped"))
            .hint("run it again: what is there already is not copied again")
    };
    let grace = async {
        stopped(stop).await;
        tokio::time::sleep(MEDIA_STOP_GRACE).await;
    };
    tokio::select! {
        restored = run(&copier, &prefix, media.parallel, stop, progress) => {
            let restored = restored?;
            if *stop.borrow() { Err(interrupted()) } else { Ok(restored) }
        }
        // A server that does not answer must not hold up who wants to stop.
        () = grace => Err(interrupted()),
    }
}

async fn run(
    copier: &Copier,
    prefix: &str,
    parallel: usize,
    stop: &Stop,
    progress: &dyn Progress,
) -> Result<Restored> {
    copier.to.sweep(prefix).await?;
    let objects = copier.from.list(prefix).take_until(Box::pin(stopped(stop)));
    let mut copies = objects
        .map_ok(|object| async move {
            let done = copier.copy(&object, stop).await;
            Ok((object, done))
        })
        .try_buffer_unordered(parallel);
    let mut restored = Restored::default();
    while let Some((object, done)) = copies.try_next().await? {
        restored.add(&copier.to, &object, done, progress);
        if restored.failed.len() >= MEDIA_FAILURES_MAX {
            break;
        }
    }
    restored.failed.sort_by(|one, other| one.object.cmp(&other.object));
    Ok(restored)
}
