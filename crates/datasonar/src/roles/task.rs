//! One task from its claim to its end.
//!
//! Its URLs are scraped all at once, as far as hosts and slots let them; its results are gathered in order and spilled
//! as partial segments when they grow, so that a hundred large pages cost no more memory than a hundred small ones.
//! Everything it wrote becomes real in one transaction at the end. Dying before that costs the work, never a result.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use datasonar_store::{
    ClaimedTask, DeliveryId, Discovery, Finish, FinishTask, JobError, JobKind, Segment, Store, StoreError,
};
use futures::{StreamExt, future::try_join_all, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use super::{
    health::{Health, steady},
    worker::Waiting,
};
use crate::{
    blobs::{Blobs, BlobsError},
    clock::{Clock, Ids},
    jobs::{JobOptions, read_urls, segment::Gathering},
    scrape::{Limits, PageError, Plan, Scraped, Scraper, Target},
    wake::Wake,
};

/// A task whose results pass this size is spilled.
const SPILL_BYTES: usize = 4 * 1024 * 1024;
/// So is one of some size when all tasks together pass this.
const SPILL_ALL_BYTES: usize = 32 * 1024 * 1024;
const SPILL_SOME_BYTES: usize = 512 * 1024;

/// What every task needs.
pub struct Tools {
    /// The rows.
    pub store: Arc<dyn Store>,
    /// The bytes.
    pub blobs: Blobs,
    /// Scrapes URLs.
    pub scraper: Arc<Scraper>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Ids,
    /// Rung when a delivery is owed.
    pub wake: Wake,
    /// Defaults of options.
    pub limits: Limits,
    /// How long results are kept.
    pub retention: Duration,
    /// Bytes of results held by all tasks.
    pub held_bytes: AtomicUsize,
}

/// A task that is being worked on.
pub(super) struct OpenTask {
    pub(super) tools: Arc<Tools>,
    pub(super) health: Health,
    /// Ends the task early.
    pub(super) cancelled: CancellationToken,
    pub(super) waiting: Waiting,
    pub(super) claimed: ClaimedTask,
}

/// What the pages of a task came to.
#[derive(Default)]
struct Tally {
    succeeded: u32,
    failed: u32,
    time_ms: u64,
    error: Option<PageError>,
}

/// Counts held bytes among those of all tasks until it is dropped.
struct HeldBytes<'a> {
    all: &'a AtomicUsize,
    own: usize,
}

impl OpenTask {
    /// Does the task, and retries what can be mended by trying again. What cannot is logged, and left to the lease's end.
    pub(super) async fn run(mut self) {
        let lease = self.claimed.lease;
        let worked = self.work().await;
        let (segments, tally) = match worked {
            Ok(worked) => worked,
            Err(error) => {
                tracing::error!(job = %lease.job, task = lease.seq, %error, "the task could not be done");
                self.health.fail("blobs", "the blob storage does not work");
                // Given back after a pause, so that a task that cannot be done does not go round and round.
                tokio::time::sleep(Duration::from_secs(2)).await;
                let _ = self.tools.store.release_tasks(vec![lease]).await;
                return;
            }
        };
        self.health.mend("blobs");
        let finish = self.finish(segments, tally);
        let finished = steady(&self.health, "worker", || self.tools.store.finish_task(finish.clone()));
        match finished.await {
            Ok(Finish::Task) => {}
            Ok(Finish::Job { delivery }) => {
                self.tools.wake.ended().notify_waiters();
                if delivery.is_some() {
                    self.tools.wake.deliveries().notify_one();
                }
            }
            Err(StoreError::LeaseLost) => {
                tracing::warn!(job = %lease.job, task = lease.seq, "the task was finished by somebody else");
            }
            Err(error) => tracing::error!(job = %lease.job, task = lease.seq, %error, "the task could not be finished"),
        }
    }

    async fn work(&mut self) -> Result<(Vec<Segment>, Tally), BlobsError> {
        let tools = self.tools.clone();
        let urls = read_urls(&tools.blobs, self.claimed.lease, &self.claimed.input, self.claimed.urls).await?;
        let plan = self.plan();
        let lane = self.claimed.lease.job.0;
        let mut pages: FuturesUnordered<_> = urls
            .iter()
            .enumerate()
            .map(|(index, url)| {
                let (plan, cancelled, scraper) = (&plan, &self.cancelled, &tools.scraper);
                async move {
                    let scraped = match plan {
                        _ if cancelled.is_cancelled() => Scraped::cancelled(url),
                        Ok(plan) => scraper.scrape(Target { url, lane }, plan, cancelled).await,
                        Err(error) => Scraped::failed(url, error.clone()),
                    };
                    (index, scraped)
                }
            })
            .collect();
        let mut tally = Tally::default();
        let mut segments = Vec::new();
        let mut gathering = Gathering::new(self.claimed.first, self.claimed.urls);
        let mut held = HeldBytes { all: &tools.held_bytes, own: 0 };
        while let Some((index, scraped)) = pages.next().await {
            self.waiting.done();
            tally.count(&scraped);
            gathering.take(index, scraped.json);
            if held.grow_to(gathering.held_bytes()) {
                segments.extend(self.write(&mut gathering).await?);
                held.grow_to(0);
            }
        }
        segments.extend(self.write(&mut gathering).await?);
        segments.sort_by_key(|segment| segment.first);
        Ok((segments, tally))
    }

    /// The job's options, made ready. They were checked when the job was accepted; the operator's limits may have
    /// changed since.
    fn plan(&self) -> Result<Arc<Plan>, PageError> {
        let refused = |detail: String| PageError::new(crate::scrape::ErrorCode::Internal, detail);
        let options: JobOptions = serde_json::from_str(&self.claimed.options)
            .map_err(|_| refused("the job's options cannot be read".to_owned()))?;
        Plan::new(&options.scrape, &self.tools.limits).map(Arc::new).map_err(|errors| {
            let first = errors.first().map(|error| format!("{}: {}", error.pointer, error.detail));
            refused(format!("the job's options are not allowed any more: {}", first.unwrap_or_default()))
        })
    }

    async fn write(&self, gathering: &mut Gathering) -> Result<Vec<Segment>, BlobsError> {
        let lease = self.claimed.lease;
        try_join_all(gathering.drain().into_iter().map(|run| run.write(&self.tools.blobs, lease))).await
    }

    fn finish(&self, segments: Vec<Segment>, tally: Tally) -> FinishTask {
        let is_single = self.claimed.kind == JobKind::Scrape;
        let page_error = tally
            .error
            .filter(|_| is_single)
            .map(|error| JobError { code: error.code.as_str().to_owned(), message: error.message });
        FinishTask {
            lease: self.claimed.lease,
            segments,
            succeeded: tally.succeeded,
            failed: tally.failed,
            time_ms: tally.time_ms,
            page_error,
            dropped: Vec::new(),
            discovery: Discovery::default(),
            delivery: DeliveryId(self.tools.ids.uuid()),
            now: self.tools.clock.now(),
            retention: self.tools.retention,
        }
    }
}

impl Tally {
    fn count(&mut self, scraped: &Scraped) {
        let outcome = scraped.error.as_ref().map_or("success", |error| error.code.as_str());
        metrics::counter!("datasonar_pages_total", "outcome" => outcome).increment(1);
        #[expect(clippy::cast_precision_loss, reason = "a histogram needs no exact milliseconds")]
        metrics::histogram!("datasonar_page_seconds").record(scraped.time_ms as f64 / 1_000.0);
        match &scraped.error {
            None => self.succeeded += 1,
            Some(error) => {
                self.failed += 1;
                self.error = Some(error.clone());
            }
        }
        self.time_ms += scraped.time_ms;
    }
}

impl HeldBytes<'_> {
    /// Takes note of the task's present size. Tells whether it is time to spill.
    fn grow_to(&mut self, bytes: usize) -> bool {
        let all = if bytes >= self.own {
            let more = bytes - self.own;
            self.all.fetch_add(more, Ordering::Relaxed) + more
        } else {
            let less = self.own - bytes;
            self.all.fetch_sub(less, Ordering::Relaxed) - less
        };
        self.own = bytes;
        bytes > SPILL_BYTES || (all > SPILL_ALL_BYTES && bytes > SPILL_SOME_BYTES)
    }
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        self.grow_to(0);
    }
}
