//! Which errors may pass by themselves, and how patiently a tenant is tried again.

use std::future::Future;

use backon::{ExponentialBuilder, Retryable};

use crate::database::is_transient;
use crate::error::Result;
use crate::limits::{RETRY_DELAY, TENANT_ATTEMPTS_MAX};

/// Runs `work` again after a deadlock or a lock time-out: the neighbours won, the tenant was rolled back, nothing
/// is lost.
pub async fn with_patience<T, F: Future<Output = Result<T>>>(work: impl FnMut() -> F) -> Result<T> {
    let policy = ExponentialBuilder::default()
        .with_min_delay(RETRY_DELAY)
        .with_max_times(TENANT_ATTEMPTS_MAX - 1)
        .with_jitter();
    work.retry(policy).when(is_transient).await
}
