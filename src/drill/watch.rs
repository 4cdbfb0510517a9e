//! Looks at the catalogue as a router would, all the time while tenants come back: only victims may be kept off, and a
//! victim that is served must be whole.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Scene;
use super::database::Database;
use super::files::Media;
use crate::error::{Error, Result};
use crate::model::TenantId;

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Faults that are kept.
const FAULTS_MAX: usize = 20;

/// Somebody who looks.
pub struct Watch {
    stop: watch::Sender<bool>,
    open: watch::Receiver<usize>,
    task: JoinHandle<Vec<String>>,
}

/// Sites that are kept off, and those of the victims that are not.
const LOOK: &str =
    "SELECT CAST(id AS text) || ' ' || state FROM sites WHERE state = 'restoring' OR id IN {tenants}";

impl Watch {
    /// Begins to look.
    pub fn begin(scene: &Scene<'_>) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (sender, open) = watch::channel(0);
        let catalogue = scene.stage.database("catalogue")?.clone();
        let (media, flags) = (scene.media.clone(), scene.flags.state());
        let victims = scene.victims.iter().cloned().collect();
        let task = tokio::spawn(async move {
            let mut eye = Eye { catalogue, media, victims, open: BTreeSet::new(), faults: vec![] };
            loop {
                eye.look(|tenant| flags.knows(tenant)).await;
                sender.send_replace(eye.open.len());
                if *stopped.borrow() {
                    return eye.faults;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self { stop, open, task })
    }

    /// How many victims are served, as it changes.
    pub fn open(&self) -> watch::Receiver<usize> {
        self.open.clone()
    }

    /// Looks a last time and tells what was wrong.
    pub async fn end(self) -> Result<Vec<String>> {
        self.stop.send_replace(true);
        self.task.await.map_err(|error| Error::bug("who watches the gates has stopped").because(error))
    }
}

struct Eye {
    catalogue: Database,
    media: Media,
    victims: BTreeSet<TenantId>,
    open: BTreeSet<String>,
    faults: Vec<String>,
}

impl Eye {
    async fn look(&mut self, has_flags: impl Fn(&TenantId) -> bool) {
        // A server that is away is looked at later.
        let victims: Vec<TenantId> = self.victims.iter().cloned().collect();
        let Ok(found) = self.catalogue.texts(LOOK, &victims).await else { return };
        for line in found {
            let (id, state) = line.split_once(' ').unwrap_or_default();
            let tenant = TenantId::new(id);
            let is_victim = self.victims.contains(&tenant);
            if !is_victim {
                self.fault(format!("neighbour {id} was kept off"));
            } else if state != "restoring" && self.open.insert(id.to_owned()) {
                if !has_flags(&tenant) {
                    self.fault(format!("site {id} was served without its flags"));
                }
                if !self.media.is_whole(&tenant).unwrap_or_default() {
                    self.fault(format!("site {id} was served without all its files"));
                }
            }
        }
    }

    fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_MAX && !self.faults.contains(&what) {
            self.faults.push(what);
        }
    }
}
