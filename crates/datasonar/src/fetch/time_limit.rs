//! The time that a page may take, and when it begins to count.

use std::{sync::OnceLock, time::Duration};

use tokio::time::Instant;

/// The time limit of one page, over everything that is done for it.
///
/// For a call that is waited for it counts from the arrival of the request, so that the caller has its answer in time: reading
/// robots.txt and waiting for the host, for a slot, for a browser or for a processor all count.
///
/// For a page of an asynchronous job it counts from the moment at which the page's first request may begin: when it has got
/// through the queue of its host and has a slot. Before that it waits for its own job's other pages, which is no fault of the
/// page. Everything from then on counts: tries, the pauses between them, waiting for the host and for a slot again, also after
/// the slot was given to another tenant, and waiting for a browser.
#[derive(Debug)]
pub struct TimeLimit {
    limit: Duration,
    begun: OnceLock<Instant>,
}

impl TimeLimit {
    /// Counts from a moment on.
    pub fn since(begun: Instant, limit: Duration) -> Self {
        Self { limit, begun: OnceLock::from(begun) }
    }

    /// Counts from when the first request may begin.
    pub fn of_first_request(limit: Duration) -> Self {
        Self { limit, begun: OnceLock::new() }
    }

    /// Begins to count, unless it does already.
    pub(super) fn begin(&self) {
        self.begun.get_or_init(Instant::now);
    }

    /// Tells whether it counts.
    pub fn has_begun(&self) -> bool {
        self.begun.get().is_some()
    }

    /// The whole time.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The time that has passed; zero before it counts.
    pub fn spent(&self) -> Duration {
        self.begun.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(self.spent())
    }

    /// When it is over, if it counts.
    pub fn deadline(&self) -> Option<Instant> {
        self.begun.get().map(|begun| *begun + self.limit)
    }

    /// Runs a future until the time is over; `None` if it was over first. Before the time counts, it runs to its end.
    pub async fn run<F: Future>(&self, future: F) -> Option<F::Output> {
        match self.deadline() {
            Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
            None => Some(future.await),
        }
    }
}
