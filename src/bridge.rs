//! The one bridge between I/O and computing.
//!
//! Tokio's workers wait for sockets and files; a decode or a sort of some milliseconds on them would stall every
//! connection that shares the worker, and with it the transactions that hold locks on a live shard. So whatever
//! computes goes to rayon's pool, and the number of jobs on the way is bounded: the work queue never grows.

use std::sync::LazyLock;

use tokio::sync::{Semaphore, oneshot};

use crate::error::{Error, Result};

static SLOTS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(rayon::current_num_threads() * 2));

/// Runs `work` on rayon and waits for it without blocking the async worker.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let gone = |_| Error::bug("the computing pool stopped");
    let _slot = SLOTS.acquire().await.map_err(|_| Error::bug("the computing pool is closed"))?;
    let (sender, receiver) = oneshot::channel();
    rayon::spawn(move || {
        // The receiver is gone when the caller was cancelled; then nobody wants the result.
        let _ = sender.send(work());
    });
    receiver.await.map_err(gone)
}
