//! A test event: a real delivery of made-up results to an endpoint that somebody wants to try.
//!
//! It is stored like any other, as the delivery of a job of the kind `test`, so that it is logged, can be looked at and
//! replayed; but it is attempted once, at once, while its caller waits.

use std::{sync::Arc, time::Duration};

use datasonar_store::{
    Attempt, Delivery, DeliveryId, DeliveryStatus, JobId, NewTest, ProcessId, Scope, Store, StoreError, TaskLease,
    Verdict, Webhook,
};

use tokio::sync::Semaphore;

use super::{
    retry::Outcome,
    send::{SendError, Sender},
};
use crate::{
    blobs::{Blobs, BlobsError},
    clock::{Clock, Ids},
    jobs::{JobOptions, segment::Gathering},
    plans::Plans,
    scrape::{Content, PageContent, PageResult, PageStatus},
};

/// How long a test's lease outlives the longest attempt's wait for an answer.
const LEASE_MARGIN: Duration = Duration::from_secs(60);
/// How many tests may be under way at once.
static SEATS: Semaphore = Semaphore::const_new(32);
const CONTENT: &str = "# It works\n\nThis is a test event of Datasonar. A real one carries the pages of your job.";

/// Why no test event could be sent.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The rows could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The result could not be written.
    #[error(transparent)]
    Blobs(#[from] BlobsError),
    /// No attempt could be made.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// Sends test events.
#[derive(Clone)]
pub struct TestEvents {
    /// The rows.
    pub store: Arc<dyn Store>,
    /// The bytes.
    pub blobs: Blobs,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Ids,
    /// Makes attempts.
    pub sender: Sender,
    /// How long the made-up results of an account are kept.
    pub plans: Plans,
}

impl TestEvents {
    /// Sends a test event, unless too many are under way: `None` then.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn try_send(&self, scope: Scope, webhook: Webhook) -> Result<Option<(Delivery, Attempt)>, TestError> {
        let Ok(_seat) = SEATS.try_acquire() else { return Ok(None) };
        self.send(scope, webhook).await.map(Some)
    }

    /// Sends a test event and logs the attempt, whatever comes of it.
    ///
    /// # Errors
    /// When it could not be stored, or no attempt could be made for reasons that are not the endpoint's.
    pub async fn send(&self, scope: Scope, webhook: Webhook) -> Result<(Delivery, Attempt), TestError> {
        let job = JobId(self.ids.uuid());
        let page = PageResult {
            url: "https://example.com/".to_owned(),
            final_url: Some("https://example.com/".to_owned()),
            status: PageStatus::Success,
            status_code: Some(200),
            content: Some(PageContent::One(Content::Text(CONTENT.to_owned()))),
            metadata: None,
            error: None,
            time_ms: 1,
            depth: None,
            found_on: None,
        };
        let mut gathering = Gathering::new(0, 1);
        gathering.take(0, serde_json::to_vec(&page).expect("it has string keys only").into());
        let run = gathering.drain().pop().expect("one page result makes one run");
        let segment = run.write(&self.blobs, TaskLease { job, seq: 0, epoch: 1 }).await?;
        let claimed = self
            .store
            .submit_test(NewTest {
                job,
                delivery: DeliveryId(self.ids.uuid()),
                scope,
                webhook,
                options: serde_json::to_string(&JobOptions::default()).expect("it has string keys only"),
                segment,
                owner: ProcessId(self.ids.uuid()),
                now: self.clock.now(),
                lease: self.sender.timeout() * 2 + LEASE_MARGIN,
                retention: self.plans.retention(scope.account).await?,
            })
            .await?;
        let sent = self.sender.send(&claimed).await?;
        let status =
            if sent.outcome == Outcome::Delivered { DeliveryStatus::Delivered } else { DeliveryStatus::Failed };
        let verdict = Verdict { status, next_attempt_at: None };
        self.store.finish_attempt(claimed.lease, sent.attempt.clone(), verdict, self.clock.now()).await?;
        Ok((claimed.delivery, sent.attempt))
    }
}
