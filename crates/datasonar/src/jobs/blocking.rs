//! Work on URLs that are all here, on threads that may be blocked.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::JobsError;
use crate::cpu;

/// How many threads may be busy with URLs that are all here. Those who keep URLs wait for other threads that write files:
/// there must always be some left.
static SHORT: Semaphore = Semaphore::const_new(8);

/// Waits for one of the few threads that may be busy at once.
pub async fn permit() -> SemaphorePermit<'static> {
    SHORT.acquire().await.expect("this semaphore is never closed")
}

/// Does what may block, on a thread that may be blocked.
///
/// # Errors
/// When the work fails or panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JobsError> + Send + 'static,
) -> Result<T, JobsError> {
    let permit = permit().await;
    let work = move || {
        let _permit = permit;
        work()
    };
    cpu::block(work).await.unwrap_or_else(|panic| Err(JobsError::Panicked(cpu::said(&panic))))
}
