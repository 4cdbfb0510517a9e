//! Reads and adds events, in the catalogue's shard.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::event::{Event, What};
use super::site::Site;
use crate::error::{Error, Result};
use crate::model::{PlanHash, TenantId};
use crate::shard::Shard;

/// Times that an event of the run is tried with the next number; others add events at the same moment.
const ATTEMPTS_MAX: usize = 20;

/// The events of one plan, and who adds to them.
pub struct Diary {
    shard: Arc<dyn Shard>,
    plan: PlanHash,
    run: String,
    who: String,
    /// The last number of the run's events that is known.
    last: Mutex<u64>,
}

impl Diary {
    /// Of a plan, in the shard of its catalogue. `run` names the execution or command that adds events.
    pub fn new(shard: Arc<dyn Shard>, plan: PlanHash, run: String, who: String) -> Self {
        Self { shard, plan, run, who, last: Mutex::new(0) }
    }

    /// All events, the run's first.
    pub async fn events(&self) -> Result<Vec<Event>> {
        let records = self.shard.events(&self.plan, None).await?;
        let events: Vec<Event> = records.into_iter().map(Event::parse).collect::<Result<_>>()?;
        let of_run = events.iter().filter(|event| event.tenant.is_none()).map(|event| event.number);
        let mut last = self.last.lock().await;
        *last = of_run.fold(*last, u64::max);
        Ok(events)
    }

    /// The run's events after a number.
    pub async fn after(&self, number: u64) -> Result<Vec<Event>> {
        self.shard.events(&self.plan, Some(number)).await?.into_iter().map(Event::parse).collect()
    }

    /// Adds an event of the run; its number.
    pub async fn add(&self, what: What) -> Result<u64> {
        let mut last = self.last.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let event = self.event(None, *last + 1, what.clone());
            if self.shard.append(&event.record(&self.plan)?).await? {
                *last = event.number;
                return Ok(event.number);
            }
            let numbers = self.after(*last).await?.into_iter().map(|event| event.number);
            *last = numbers.fold(*last, u64::max);
        }
        Err(Error::failed("unable to add an event: others add theirs all the time").hint("try again"))
    }

    /// Adds an event of a site, if that may happen to it; `false` if somebody else has added one meanwhile.
    pub async fn add_to(&self, site: &mut Site, what: What) -> Result<bool> {
        let event = self.next(site, what)?;
        if !self.shard.append(&event.record(&self.plan)?).await? {
            return Ok(false);
        }
        site.take(&event);
        Ok(true)
    }

    /// The next event of a site, if it may happen to it.
    pub fn next(&self, site: &Site, what: What) -> Result<Event> {
        if let Some(why) = site.refuses(&what) {
            return Err(Error::refused(format!("unable to go on with tenant '{}': {why}", site.tenant)));
        }
        Ok(self.event(Some(site.tenant.clone()), site.last + 1, what))
    }

    fn event(&self, tenant: Option<TenantId>, number: u64, what: What) -> Event {
        let (run, who) = (self.run.clone(), self.who.clone());
        Event { tenant, number, at: Timestamp::now(), run, who, what }
    }

    /// The plan.
    pub fn plan(&self) -> &PlanHash {
        &self.plan
    }
}
