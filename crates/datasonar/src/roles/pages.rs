//! The pages of a task: working on each, and taking what it came to.

use std::{collections::BTreeMap, sync::Arc};

use datasonar_store::{
    ERROR_URLS, FoundUrl, JobError, KeptPage, KeptResult, PageErrors, Segment, SkipReason, StoreError,
};
use futures::{TryFutureExt, future::try_join};
use tokio_util::sync::CancellationToken;

use super::{
    crawl::Crawl,
    isolation::{Isolated, KeepError},
};
use crate::{
    blobs::BlobsError,
    fetch::Requester,
    jobs::segment::Gathering,
    scrape::{Door, ErrorCode, Origin, PageError, Plan, Scraped, Scraper, Target, shown_url},
};

/// Why the pages of a task could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum PagesError {
    #[error(transparent)]
    Blobs(#[from] BlobsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<KeepError> for PagesError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Blobs(error) => Self::Blobs(error),
            KeepError::Store(error) => Self::Store(error),
        }
    }
}

/// The pages of a task that is being worked on.
pub(super) struct Pages<'a> {
    pub(super) scraper: &'a Scraper,
    pub(super) urls: &'a [String],
    /// How a crawl came to them.
    pub(super) found: &'a [FoundUrl],
    pub(super) requester: Requester,
    /// The job's options; why there is no page, if they cannot be used.
    pub(super) plan: Result<Arc<Plan>, PageError>,
    pub(super) crawl: Option<Crawl>,
    pub(super) cancelled: &'a CancellationToken,
    /// Keeps pages apart, if the task is isolated.
    pub(super) isolated: Option<Isolated>,
}

/// A page that is done.
pub(super) struct DonePage {
    index: usize,
    /// Its result; none for a page of a crawl that was dropped.
    scraped: Option<Scraped>,
    /// The result as a segment of its own, if it was kept as that.
    segment: Option<Segment>,
}

/// What is done of a task.
pub(super) struct Done {
    pub(super) tally: Tally,
    pub(super) segments: Vec<Segment>,
    /// Results that are in no segment yet.
    pub(super) gathering: Gathering,
}

/// What the pages of a task came to.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) succeeded: u32,
    pub(super) failed: u32,
    pub(super) time_ms: u64,
    pub(super) error: Option<PageError>,
    /// By code.
    pub(super) errors: BTreeMap<&'static str, PageErrors>,
}

impl Pages<'_> {
    /// Does one page, apart from others if the task is isolated.
    ///
    /// # Errors
    /// When the store or the blobs fail, or the lease is lost.
    pub(super) async fn page(&self, index: usize) -> Result<DonePage, PagesError> {
        match &self.isolated {
            Some(isolated) if !self.cancelled.is_cancelled() => self.page_apart(isolated, index).await,
            _ => Ok(DonePage { index, scraped: self.scrape(index, None).await?, segment: None }),
        }
    }

    async fn page_apart(&self, isolated: &Isolated, index: usize) -> Result<DonePage, PagesError> {
        if let Some(error) = isolated.given_up(index, &self.urls[index]) {
            let scraped = Scraped::failed(self.target(index, None), error);
            let segment = Some(isolated.keep(index, &scraped).await?);
            return Ok(DonePage { index, scraped: Some(scraped), segment });
        }
        let door = Arc::new(Door::default());
        let work = try_join(self.scrape(index, Some(&door)), self.sitemaps().map_err(PagesError::from));
        let (done, apart) = isolated.work(index, &door, work).await?;
        let (scraped, ()) = done?;
        if scraped.as_ref().is_some_and(|page| page.error_code() == Some(ErrorCode::Cancelled)) {
            return Ok(DonePage { index, scraped, segment: None });
        }
        // Before the page is kept, since it is not worked on again.
        if let Some(crawl) = &self.crawl {
            crawl.flush().await?;
        }
        let segment = match &scraped {
            Some(scraped) => Some(isolated.keep(index, scraped).await?),
            None => {
                let reason = self.crawl.as_ref().and_then(|crawl| crawl.dropped(index));
                isolated.keep_dropped(index, reason.unwrap_or(SkipReason::Duplicate)).await?;
                None
            }
        };
        drop(apart);
        Ok(DonePage { index, scraped, segment })
    }

    fn target<'t>(&'t self, index: usize, door: Option<&'t Arc<Door>>) -> Target<'t> {
        let origin = self.found.get(index).map(|url| Origin { depth: url.depth, found_on: url.found_on.as_deref() });
        Target { url: &self.urls[index], requester: self.requester, origin, arrived: None, door }
    }

    /// Scrapes one page, and goes on from it in a crawl. There is no result if the page is another one's.
    async fn scrape(&self, index: usize, door: Option<&Arc<Door>>) -> Result<Option<Scraped>, PagesError> {
        let target = self.target(index, door);
        let mut scraped = match &self.plan {
            _ if self.cancelled.is_cancelled() => Scraped::cancelled(target),
            Ok(plan) => self.scraper.scrape(target, plan, self.cancelled).await,
            Err(error) => Scraped::failed(target, error.clone()),
        };
        let is_disallowed = scraped.error_code() == Some(ErrorCode::RobotsDisallowed);
        let is_kept = match (&self.crawl, scraped.facts.take()) {
            (Some(crawl), Some(facts)) => crawl.page(index, *facts).await?,
            (Some(crawl), None) if is_disallowed => crawl.disallowed(index),
            _ => true,
        };
        Ok(is_kept.then_some(scraped))
    }

    /// Reads the sitemaps of a crawl's site, if the task holds its start.
    ///
    /// # Errors
    /// When the store fails, or the lease is lost.
    pub(super) async fn sitemaps(&self) -> Result<(), StoreError> {
        match &self.crawl {
            Some(crawl) => crawl.sitemaps().await,
            None => Ok(()),
        }
    }
}

impl Done {
    pub(super) fn new(gathering: Gathering) -> Self {
        Self { tally: Tally::default(), segments: Vec::new(), gathering }
    }

    /// Takes what a page came to.
    pub(super) fn take(&mut self, page: DonePage, urls: &[String]) {
        let DonePage { index, scraped, segment } = page;
        if let Some(scraped) = &scraped {
            self.tally.count(scraped, &urls[index]);
        }
        match (scraped, segment) {
            (_, Some(segment)) => {
                self.segments.push(segment);
                self.gathering.written(index);
            }
            (Some(scraped), None) => self.gathering.take(index, scraped.json),
            (None, None) => self.gathering.drop_page(index),
        }
    }

    /// Takes pages that were done by an earlier holder of the task. Returns which.
    pub(super) fn take_kept(&mut self, kept: Vec<KeptPage>, urls: &[String], crawl: Option<&Crawl>) -> Vec<usize> {
        let mut done = Vec::with_capacity(kept.len());
        for KeptPage { page, result } in kept {
            let index = page as usize;
            match result {
                KeptResult::Page { segment, error, time_ms } => {
                    let error = error.map(|JobError { code, message }| {
                        PageError::new(ErrorCode::from_name(&code).unwrap_or(ErrorCode::Internal), message)
                    });
                    self.tally.add(error.as_ref(), time_ms, &urls[index]);
                    self.segments.push(segment);
                    self.gathering.written(index);
                }
                KeptResult::Dropped(reason) => {
                    // Without its crawl, whose options cannot be read any more, it is a page like any other.
                    let Some(crawl) = crawl else { continue };
                    crawl.drop_page(index, reason);
                    self.gathering.drop_page(index);
                }
            }
            done.push(index);
        }
        done
    }
}

impl Tally {
    fn count(&mut self, scraped: &Scraped, url: &str) {
        let outcome = scraped.error.as_ref().map_or("success", |error| error.code.as_str());
        metrics::counter!("datasonar_pages_total", "outcome" => outcome).increment(1);
        #[expect(clippy::cast_precision_loss, reason = "a histogram needs no exact milliseconds")]
        metrics::histogram!("datasonar_page_seconds").record(scraped.time_ms as f64 / 1_000.0);
        self.add(scraped.error.as_ref(), scraped.time_ms, url);
    }

    /// Adds a page that was counted before.
    fn add(&mut self, error: Option<&PageError>, time_ms: u64, url: &str) {
        match error {
            None => self.succeeded += 1,
            Some(error) => {
                self.failed += 1;
                self.error = Some(error.clone());
                let code = error.code.as_str();
                let new = || PageErrors { code: code.to_owned(), count: 0, urls: Vec::new() };
                let alike = self.errors.entry(code).or_insert_with(new);
                alike.count += 1;
                if alike.urls.len() < ERROR_URLS {
                    alike.urls.push(shown_url(url));
                }
            }
        }
        self.time_ms += time_ms;
    }
}
