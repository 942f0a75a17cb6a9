//! One task from its claim to its end.
//!
//! Its URLs are scraped all at once, as far as hosts and slots let them; its results are gathered in order and spilled
//! as partial segments when they grow, so that a hundred large pages cost no more memory than a hundred small ones.
//! Everything it wrote becomes real in one transaction at the end. Dying before that costs the work, never a result. The pages of a task
//! that two processes died with are worked on one by one: [`isolation`](super::isolation).

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use datasonar_store::{
    ClaimedTask, DeliveryId, Discovery, DroppedPage, Finish, FinishTask, JobError, JobKind, KeptPage, Segment, Store,
    StoreError, TaskInput,
};
use futures::{StreamExt, future::try_join_all, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    crawl::Crawl,
    health::{Health, steady},
    isolation::{Isolated, IsolatedParts},
    pages::{Done, Pages, PagesError, Tally},
    worker::Waiting,
};
use crate::{
    blobs::{Blobs, BlobsError},
    clock::{Clock, Ids},
    crawl::{Scope, Sites},
    crypto::Sealer,
    fetch::{Gap, Requester},
    jobs::{read_urls, secrets::open_options, segment::Gathering},
    plans::Plans,
    scrape::{Limits, PageError, Plan, Scraper},
    wake::{Bell, Wake},
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
    /// Decrypts the headers of jobs.
    pub sealer: Sealer,
    /// Rung when a delivery is owed.
    pub wake: Wake,
    /// Defaults of options.
    pub limits: Limits,
    /// How long the results of an account are kept.
    pub plans: Plans,
    /// Bytes of results held by all tasks.
    pub held_bytes: AtomicUsize,
    /// What is known of sites.
    pub sites: Sites,
}

/// What a task came to.
struct Worked {
    segments: Vec<Segment>,
    tally: Tally,
    dropped: Vec<DroppedPage>,
    discovery: Discovery,
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

/// Counts held bytes among those of all tasks until it is dropped.
struct HeldBytes<'a> {
    all: &'a AtomicUsize,
    own: usize,
}

impl OpenTask {
    /// Does the task, and retries what can be mended by trying again. What cannot is logged, and left to the lease's end. Tells whether the
    /// lease was lost.
    pub(super) async fn run(mut self) -> bool {
        let lease = self.claimed.lease;
        let worked = self.work().await;
        let worked = match worked {
            Ok(worked) => worked,
            Err(PagesError::Store(StoreError::LeaseLost)) => {
                tracing::warn!(job = %lease.job, task = lease.seq, "the task was taken by somebody else");
                return true;
            }
            Err(error) => {
                tracing::error!(job = %lease.job, task = lease.seq, %error, "the task could not be done");
                if matches!(error, PagesError::Blobs(_)) {
                    self.health.fail("blobs", "the blob storage does not work");
                }
                // Given back after a pause, so that a task that cannot be done does not go round and round.
                tokio::time::sleep(Duration::from_secs(2)).await;
                let _ = self.tools.store.release_tasks(vec![lease]).await;
                return false;
            }
        };
        self.health.mend("blobs");
        let retention = steady(&self.health, "worker", || self.tools.plans.retention(self.claimed.scope.account)).await;
        let retention = match retention {
            Ok(retention) => retention,
            Err(error) => {
                tracing::error!(job = %lease.job, task = lease.seq, %error, "the task could not be finished");
                return false;
            }
        };
        let finish = self.finish(worked, retention);
        let finished = steady(&self.health, "worker", || self.tools.store.finish_task(finish.clone()));
        match finished.await {
            Ok(Finish::Task) => {}
            Ok(Finish::Job { delivery }) => {
                self.tools.wake.ring(Bell::Ended);
                if delivery.is_some() {
                    self.tools.wake.ring(Bell::Deliveries);
                }
            }
            Err(StoreError::LeaseLost) => {
                tracing::warn!(job = %lease.job, task = lease.seq, "the task was finished by somebody else");
                return true;
            }
            Err(error) => tracing::error!(job = %lease.job, task = lease.seq, %error, "the task could not be finished"),
        }
        false
    }

    async fn work(&mut self) -> Result<Worked, PagesError> {
        let tools = self.tools.clone();
        let urls = read_urls(&tools.blobs, self.claimed.lease, &self.claimed.input, self.claimed.urls).await?;
        let (plan, crawl) = match self.plan().await {
            Ok((plan, crawl)) => (Ok(plan), crawl),
            Err(error) => (Err(error), None),
        };
        let input = self.claimed.input.clone();
        let found = match &input {
            TaskInput::Found(found) => &found[..],
            TaskInput::Range { .. } => &[],
        };
        let mut done = Done::new(Gathering::new(self.claimed.first, self.claimed.urls));
        let (isolated, kept) = self.isolation();
        let kept = done.take_kept(kept, &urls, crawl.as_ref());
        kept.iter().for_each(|_| self.waiting.done());
        let (cancelled, requester) = (self.cancelled.clone(), self.requester());
        let scraper = &tools.scraper;
        let pages = Pages { scraper, urls: &urls, found, requester, plan, crawl, cancelled: &cancelled, isolated };
        let mut held = HeldBytes { all: &tools.held_bytes, own: 0 };
        {
            let open = (0..urls.len()).filter(|index| !kept.contains(index));
            let mut open: FuturesUnordered<_> = open.map(|index| pages.page(index)).collect();
            // Those of an isolated task are read with its page.
            let mut are_sitemaps_read = pages.isolated.is_some();
            let mut sitemaps = pin!(pages.sitemaps());
            loop {
                let page = tokio::select! {
                    biased;
                    read = &mut sitemaps, if !are_sitemaps_read => {
                        read?;
                        are_sitemaps_read = true;
                        continue;
                    }
                    Some(page) = open.next() => page?,
                    else => break,
                };
                self.waiting.done();
                done.take(page, &urls);
                if held.grow_to(done.gathering.held_bytes()) {
                    done.segments.extend(self.write(&mut done.gathering).await?);
                    held.grow_to(0);
                }
            }
        }
        let Done { tally, mut segments, mut gathering } = done;
        segments.extend(self.write(&mut gathering).await?);
        segments.sort_by_key(|segment| segment.first);
        let (discovery, dropped) = pages.crawl.map(Crawl::into_parts).unwrap_or_default();
        Ok(Worked { segments, tally, dropped, discovery })
    }

    /// What is needed to work on the task page by page, if its pages are to be, and which of them are done.
    fn isolation(&mut self) -> (Option<Isolated>, Vec<KeptPage>) {
        let Some(known) = self.claimed.isolation.take() else { return (None, Vec::new()) };
        let lease = self.claimed.lease;
        metrics::counter!("datasonar_tasks_isolated_total").increment(1);
        tracing::warn!(
            job = %lease.job, task = lease.seq, kept = known.kept.len(), suspected = known.deaths.len(),
            "two workers died while they held the task; its pages are worked on one by one"
        );
        let parts = IsolatedParts {
            lease,
            store: self.tools.store.clone(),
            health: self.health.clone(),
            blobs: self.tools.blobs.clone(),
            gate: self.tools.scraper.gate().clone(),
            first: self.claimed.first,
        };
        let (isolated, kept) = Isolated::new(parts, known);
        (Some(isolated), kept)
    }

    /// The job's options, made ready. They were checked when the job was accepted; the operator's limits may have
    /// changed since.
    async fn plan(&self) -> Result<(Arc<Plan>, Option<Crawl>), PageError> {
        let refused = |detail: String| PageError::new(crate::scrape::ErrorCode::Internal, detail);
        let ClaimedTask { scope: owner, lease, options: row, .. } = &self.claimed;
        let options = open_options(&self.tools.sealer, *owner, lease.job, row).map_err(|error| {
            tracing::error!(job = %lease.job, %error, "the job's options cannot be read");
            refused(format!("the job's options cannot be read: {error}"))
        })?;
        let not_allowed = |error: Option<String>| {
            refused(format!("the job's options are not allowed any more: {}", error.unwrap_or_default()))
        };
        let plan = Plan::new(&options.scrape, &self.tools.limits).map_err(|errors| {
            not_allowed(errors.first().map(|error| format!("{}: {}", error.pointer, error.detail)))
        })?;
        let (Some(asked), TaskInput::Found(urls)) = (options.crawl, &self.claimed.input) else {
            return Ok((Arc::new(plan), None));
        };
        let sites = self.tools.sites.clone();
        let start = Url::parse(&asked.start).map_err(|_| not_allowed(None))?;
        let scope = Scope::new(&start, &asked.options).map_err(|errors| {
            not_allowed(errors.first().map(|error| format!("{}: {}", error.pointer, error.detail)))
        })?;
        let lease = self.claimed.lease;
        let mut gap = Gap { own: asked.options.delay(), ..Gap::default() };
        if options.scrape.respect_robots != Some(false) && !self.cancelled.is_cancelled() {
            gap.site = sites.robots.rules(&start, self.requester()).await.crawl_delay().unwrap_or_default();
        }
        let plan = Arc::new(plan.for_crawl(&options.scrape, sites.robots.agent(), gap, &start));
        let crawl = Crawl {
            requester: self.requester(),
            lease,
            store: self.tools.store.clone(),
            health: self.health.clone(),
            sites,
            plans: self.tools.plans.clone(),
            owner: self.claimed.scope,
            scope: Arc::new(scope),
            options: asked.options,
            plan: plan.clone(),
            urls: urls.clone(),
            cancelled: self.cancelled.clone(),
            told: Mutex::default(),
        };
        Ok((plan, Some(crawl)))
    }

    fn requester(&self) -> Requester {
        Requester { tenant: self.claimed.scope, job: self.claimed.lease.job.0 }
    }

    async fn write(&self, gathering: &mut Gathering) -> Result<Vec<Segment>, BlobsError> {
        let lease = self.claimed.lease;
        try_join_all(gathering.drain().into_iter().map(|run| run.write(&self.tools.blobs, lease))).await
    }

    fn finish(&self, worked: Worked, retention: Duration) -> FinishTask {
        let Worked { segments, tally, dropped, discovery } = worked;
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
            errors: tally.errors.into_values().collect(),
            page_error,
            dropped,
            discovery,
            delivery: DeliveryId(self.tools.ids.uuid()),
            now: self.tools.clock.now(),
            retention,
        }
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
