//! Connections of one command to one server.
//!
//! A connection goes back only when its user says that it is clean ([`Lease::release`]); dropped in any other
//! way it is closed, and the server rolls its transaction back. So a failed or cancelled piece of work can
//! never leak an open transaction, half a COPY or a setting into the next one.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::Target;
use super::error::failure;
use crate::error::{Error, Result};
use crate::limits::CONNECTION_FRESH;

/// A bounded set of connections with the same set-up.
pub struct Pool {
    target: Target,
    /// Statements that every new connection runs once.
    setup: Vec<String>,
    /// One permit a connection that may exist.
    slots: Arc<Semaphore>,
    /// Open and clean, nobody uses them since these instants.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
}

impl Pool {
    /// A pool of at most `connections_max` connections; opens none. `setup` must be SQL of our own making.
    pub fn new(target: Target, connections_max: usize, setup: Vec<String>) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(connections_max.max(1)));
        Arc::new(Self { target, setup, slots, idle: Mutex::default() })
    }

    /// What the pool connects to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// An idle connection that still answers (asked where it was idle for long), or a new one; waits while all are in
    /// use.
    pub async fn lease(self: &Arc<Self>) -> Result<Lease> {
        let slot = Arc::clone(&self.slots);
        let slot = slot.acquire_owned().await.map_err(|_| Error::bug("the connection pool is closed"))?;
        while let Some((mut connection, since)) = self.take_idle() {
            if since.elapsed() < CONNECTION_FRESH || connection.ping().await.is_ok() {
                return Ok(Lease { connection: Some(connection), pool: Arc::clone(self), _slot: slot });
            }
        }
        let mut connection = self.target.connect().await?;
        for statement in &self.setup {
            // Safe: see `Pool::new`.
            let sql = sqlx::AssertSqlSafe(statement.clone());
            sqlx::raw_sql(sql).execute(&mut connection).await.map_err(|error| {
                failure(format!("unable to prepare a connection to shard '{}'", self.target.name()), error)
            })?;
        }
        Ok(Lease { connection: Some(connection), pool: Arc::clone(self), _slot: slot })
    }

    fn take_idle(&self) -> Option<(PgConnection, Instant)> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// A connection in use. Dropping it closes it.
pub struct Lease {
    /// `Some` until the lease ends.
    connection: Option<PgConnection>,
    pool: Arc<Pool>,
    _slot: OwnedSemaphorePermit,
}

impl Lease {
    /// Gives a clean connection back: no open transaction, nothing unread.
    pub fn release(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push((connection, Instant::now()));
        }
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        #[expect(clippy::expect_used, reason = "only `release` takes it, and consumes the lease")]
        self.connection.as_ref().expect("a lease holds its connection")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        #[expect(clippy::expect_used, reason = "only `release` takes it, and consumes the lease")]
        self.connection.as_mut().expect("a lease holds its connection")
    }
}
