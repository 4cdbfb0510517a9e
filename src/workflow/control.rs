//! What may be said to a run while it runs: stop, pause, skip, try again. By a signal, or by an event that another
//! command adds, from any machine.

use std::collections::BTreeSet;
use std::sync::Mutex;

use tokio::sync::watch;

use super::diary::Diary;
use super::event::{Event, What};
use crate::limits::CONTROL_POLL;
use crate::model::TenantId;
use crate::progress::Progress;

/// What was said so far.
pub struct Control {
    stop: watch::Sender<bool>,
    paused: watch::Sender<bool>,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    skipped: BTreeSet<TenantId>,
    again: BTreeSet<TenantId>,
}

impl Control {
    /// As the events before the run left it: what was skipped stays so, a pause goes on, a stop was for others.
    pub fn new(events: &[Event]) -> Self {
        let control = Self {
            stop: watch::Sender::new(false),
            paused: watch::Sender::new(false),
            asked: Mutex::default(),
        };
        for event in events.iter().filter(|event| event.what != What::StopRequested) {
            control.take(&event.what);
        }
        if let Ok(mut asked) = control.asked.lock() {
            asked.again.clear();
        }
        control
    }

    fn take(&self, what: &What) -> Option<String> {
        let mut asked = self.asked.lock().ok()?;
        Some(match what {
            What::StopRequested => {
                self.stop.send_replace(true);
                "stops when the tenants at work are done".to_owned()
            }
            What::Paused => {
                self.paused.send_replace(true);
                "begins no tenant until it is resumed".to_owned()
            }
            What::Resumed => {
                self.paused.send_replace(false);
                "goes on".to_owned()
            }
            What::Skipped { tenants, .. } => {
                asked.skipped.extend(tenants.iter().cloned());
                asked.again.retain(|tenant| !tenants.contains(tenant));
                format!("skips {} tenants", tenants.len())
            }
            What::Retried { tenants } => {
                asked.skipped.retain(|tenant| !tenants.contains(tenant));
                asked.again.extend(tenants.iter().cloned());
                format!("tries {} tenants again", tenants.len())
            }
            _ => return None,
        })
    }

    /// Listens to the signals and to the events after a number, for ever.
    pub async fn listen(
        &self,
        diary: &Diary,
        mut after: u64,
        mut signal: watch::Receiver<bool>,
        progress: &dyn Progress,
    ) {
        loop {
            let signalled = async {
                // A sender that is gone says nothing any more.
                if signal.wait_for(|stop| *stop).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = signalled => {
                    self.stop.send_replace(true);
                    std::future::pending::<()>().await;
                }
                () = tokio::time::sleep(CONTROL_POLL) => {}
            }
            // What cannot be read now is read the next time; the run has its own ways to find that a shard is gone.
            for event in diary.after(after).await.unwrap_or_default() {
                after = after.max(event.number);
                if let Some(said) = self.take(&event.what) {
                    progress.note(&format!("{} asked: the run {said}", event.who));
                }
            }
        }
    }

    /// Ends the run when what is at work is done.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Becomes true when nothing new shall begin.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Whether nothing new shall begin.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until the run is not paused, or is stopped.
    pub async fn go(&self) {
        let (mut paused, mut stop) = (self.paused.subscribe(), self.stop.subscribe());
        // Both senders live as long as this.
        tokio::select! {
            _ = paused.wait_for(|paused| !*paused) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Whether a person took a tenant out.
    pub fn is_skipped(&self, tenant: &TenantId) -> bool {
        self.asked.lock().is_ok_and(|asked| asked.skipped.contains(tenant))
    }

    /// Whether somebody asked to try a tenant again; says so once.
    pub fn again(&self, tenant: &TenantId) -> bool {
        self.asked.lock().is_ok_and(|mut asked| asked.again.remove(tenant))
    }
}
