//! The operator's wish to stop, as long work hears of it.

use std::future::pending;

use tokio::sync::watch;

/// Becomes true when the work is to stop.
pub type Stop = watch::Receiver<bool>;

/// Waits until the work is to stop; for ever if nobody is left who could say so.
pub async fn stopped(stop: &Stop) {
    let mut stop = stop.clone();
    if stop.wait_for(|stop| *stop).await.is_err() {
        pending::<()>().await;
    }
}
