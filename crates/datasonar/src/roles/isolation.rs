//! Working on a task that two processes died with, so that the page that ends a third is known.
//!
//! **Motivation.** A page may end the process that works on it: by the memory it takes, by a defect in a library. Its task would be
//! claimed again and end the next one, for ever, and whatever else that process had in its hands would go round with it.
//!
//! **Protocol.** The store counts the deaths of a task's holders and isolates it at the second
//! ([`Isolation`](datasonar_store::Isolation)). From then on each page of it
//! 1. waits until it is alone: nothing else is processed by this process, and no other page of an isolated task begins;
//! 2. is marked in the store as being worked on alone;
//! 3. is fetched and processed;
//! 4. has its result kept in the store, which deletes the mark. It is never worked on again.
//!
//! A page that was in progress alone at [`GIVEN_UP_AFTER`] deaths is given up: its result is an error. So a page that ends its process
//! costs four deaths, two that isolate its task and two that convict it; every other page keeps its result.
//!
//! **A slow page does not stop the process.** A page that is still being fetched or rendered after [`SLICE`] is marked as one that has others
//! beside it, and lets them go on, until it is to be processed: then it is alone again. A death at which it was not alone is
//! no evidence against it, as any other page may have caused it. But from one such death to the next its slice is four times as
//! long, so that a page that ends its process late while it is fetched is alone then after a few more deaths.
//!
//! **What it does not do.** It does not know why a process died: an operator's `kill -9` counts like any death. That costs speed, and a result
//! only if it hits the same page twice in the moments in which it is alone. What is done for a task as a whole before its pages
//! (its options, the robots.txt of a crawl's start) is blamed on no page.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use datasonar_store::{
    Isolation, JobError, KeptPage, KeptResult, PageDeaths, PageMark, Segment, SkipReason, Store, StoreError, TaskLease,
};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use super::health::{Health, steady};
use crate::{
    blobs::{Blobs, BlobsError},
    jobs::segment,
    scrape::{Alone, Door, ErrorCode, PageError, Phase, ProcessingGate, Scraped},
};

/// At so many deaths, at which it was worked on alone, a page is given up.
const GIVEN_UP_AFTER: u32 = 2;
/// How long a page may be alone while it is fetched.
const SLICE: Duration = Duration::from_millis(500);
/// How much longer after each death at which it was not alone.
const LONGER: u32 = 4;

/// What is said of a page that was given up.
const GIVEN_UP: &str = "the page was given up after it ended two workers";

/// An isolated task that is being worked on.
pub(super) struct Isolated {
    lease: TaskLease,
    store: Arc<dyn Store>,
    health: Health,
    blobs: Blobs,
    gate: ProcessingGate,
    /// The position of the task's first URL in its job.
    first: u64,
    deaths: BTreeMap<u32, PageDeaths>,
    /// Held by the page that is alone, or is next: so tasks offer one page at a time, and take turns.
    turn: Mutex<()>,
}

/// What an isolated task is worked on with.
pub(super) struct IsolatedParts {
    pub(super) lease: TaskLease,
    pub(super) store: Arc<dyn Store>,
    pub(super) health: Health,
    pub(super) blobs: Blobs,
    pub(super) gate: ProcessingGate,
    pub(super) first: u64,
}

impl Isolated {
    /// Puts together what is known of a task. Tells which of its pages are done.
    pub(super) fn new(parts: IsolatedParts, known: Isolation) -> (Self, Vec<KeptPage>) {
        let IsolatedParts { lease, store, health, blobs, gate, first } = parts;
        let deaths = known.deaths.into_iter().map(|deaths| (deaths.page, deaths)).collect();
        (Self { lease, store, health, blobs, gate, first, deaths, turn: Mutex::default() }, known.kept)
    }

    fn deaths(&self, index: usize) -> PageDeaths {
        self.deaths.get(&place(index)).copied().unwrap_or_default()
    }

    /// Tells why a page is not worked on any more, if it is not.
    pub(super) fn given_up(&self, index: usize, url: &str) -> Option<PageError> {
        if self.deaths(index).alone < GIVEN_UP_AFTER {
            return None;
        }
        let TaskLease { job, seq, .. } = self.lease;
        tracing::error!(%job, task = seq, url, "{GIVEN_UP}");
        metrics::counter!("datasonar_pages_given_up_total").increment(1);
        Some(PageError::new(ErrorCode::Internal, GIVEN_UP))
    }

    /// Works on a page, alone as far as that is possible. It is alone until what is returned beside the output is dropped, if it is at the end.
    ///
    /// # Errors
    /// When the store fails, or the lease is lost.
    pub(super) async fn work<T>(
        &self,
        index: usize,
        door: &Door,
        work: impl Future<Output = T>,
    ) -> Result<(T, Option<Apart<'_>>), StoreError> {
        let mut work = std::pin::pin!(work);
        let slice = SLICE.saturating_mul(LONGER.saturating_pow(self.deaths(index).beside));
        let mut apart = Some(self.apart(index).await?);
        let mut until = Instant::now() + slice;
        let mut is_inside = false;
        loop {
            tokio::select! {
                biased;
                output = &mut work => return Ok((output, apart)),
                phase = door.changed() => match phase {
                    Phase::Waiting => {
                        if apart.is_none() {
                            apart = Some(self.apart(index).await?);
                        }
                        is_inside = true;
                        door.open();
                    }
                    Phase::Outside => {
                        is_inside = false;
                        until = Instant::now() + slice;
                    }
                    Phase::Inside => {}
                },
                () = tokio::time::sleep_until(until), if apart.is_some() && !is_inside => {
                    self.mark(index, false).await?;
                    apart = None;
                }
            }
        }
    }

    async fn apart(&self, index: usize) -> Result<Apart<'_>, StoreError> {
        let turn = self.turn.lock().await;
        let apart = Apart { _alone: self.gate.alone().await, _turn: turn };
        self.mark(index, true).await?;
        Ok(apart)
    }

    async fn mark(&self, index: usize, is_alone: bool) -> Result<(), StoreError> {
        let mark = PageMark { page: place(index), is_alone };
        steady(&self.health, "worker", || self.store.mark_page(self.lease, mark)).await
    }

    /// Keeps the result of a page. Returns it as the segment that it is of the task.
    ///
    /// # Errors
    /// When the store or the blobs fail, or the lease is lost.
    pub(super) async fn keep(&self, index: usize, scraped: &Scraped) -> Result<Segment, KeepError> {
        let run = segment::Run::of_one(self.first + index as u64, scraped.json.clone());
        let segment = run.write(&self.blobs, self.lease).await?;
        let error = scraped
            .error
            .as_ref()
            .map(|error| JobError { code: error.code.as_str().to_owned(), message: error.message.clone() });
        let result = KeptResult::Page { segment: segment.clone(), error, time_ms: scraped.time_ms };
        self.store_kept(index, result).await?;
        Ok(segment)
    }

    /// Keeps that a page has no result.
    ///
    /// # Errors
    /// When the store fails, or the lease is lost.
    pub(super) async fn keep_dropped(&self, index: usize, reason: SkipReason) -> Result<(), StoreError> {
        self.store_kept(index, KeptResult::Dropped(reason)).await
    }

    async fn store_kept(&self, index: usize, result: KeptResult) -> Result<(), StoreError> {
        let kept = KeptPage { page: place(index), result };
        steady(&self.health, "worker", || self.store.keep_page(self.lease, kept.clone())).await
    }
}

/// While this is held, one page is worked on alone.
pub(super) struct Apart<'a> {
    _alone: Alone,
    _turn: MutexGuard<'a, ()>,
}

/// Why a result could not be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error(transparent)]
    Blobs(#[from] BlobsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn place(index: usize) -> u32 {
    u32::try_from(index).expect("a task has few URLs")
}
