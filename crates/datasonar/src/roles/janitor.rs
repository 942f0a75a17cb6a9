//! The janitor: deletes what retention has passed, and blobs that no row refers to.
//!
//! Rows go first, blobs after: what dies in between leaves orphans, which the sweep finds. It never touches the result of
//! a delivery that is still owed, and never a young blob, whose row may be about to be written.

use std::{sync::Arc, time::Duration};

use datasonar_store::{JobId, Store, StoreError};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::health::{Health, steady};
use crate::{
    blobs::{Blobs, BlobsError},
    clock::Clock,
    people::People,
};

/// How often it looks for what has expired.
const INTERVAL: SignedDuration = SignedDuration::from_mins(1);
/// How often it looks for orphans, and how old a job of theirs must be: older than any request may take.
const SWEEP_INTERVAL: SignedDuration = SignedDuration::from_hours(1);
const ORPHAN_AGE: SignedDuration = SignedDuration::from_hours(24);
/// How many jobs one step of the store takes.
const BATCH: u32 = 100;
/// How many ids are asked about at once.
const IDS: usize = 1_000;

/// What a janitor is made of.
pub struct JanitorParts {
    /// The rows.
    pub store: Arc<dyn Store>,
    /// The bytes.
    pub blobs: Blobs,
    /// People, whose sessions and links expire.
    pub people: People,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where failures of the store are told.
    pub health: Health,
    /// How long after a job's end its deliveries and their attempts are kept.
    pub log_retention: Duration,
}

/// The janitor.
pub struct Janitor(JanitorParts);

/// Why cleaning stopped; it is taken up at the next turn.
#[derive(Debug, thiserror::Error)]
enum JanitorError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blobs(#[from] BlobsError),
}

impl Janitor {
    /// Puts a janitor together.
    pub fn new(parts: JanitorParts) -> Self {
        Self(parts)
    }

    /// Cleans until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut sweep_at = self.0.clock.now();
            loop {
                let now = self.0.clock.now();
                if let Err(error) = self.clean(now).await {
                    tracing::warn!(%error, "what has expired could not be deleted; it will be tried again");
                }
                if now >= sweep_at {
                    sweep_at = now + SWEEP_INTERVAL;
                    if let Err(error) = self.sweep(now).await {
                        tracing::warn!(%error, "orphaned blobs could not be swept; it will be tried again");
                    }
                }
                self.0.clock.sleep_until(now + INTERVAL).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// Deletes results, then logs, then sessions and links, that have expired.
    async fn clean(&self, now: Timestamp) -> Result<(), JanitorError> {
        let JanitorParts { store, blobs, people, health, .. } = &self.0;
        loop {
            let expired = steady(health, "janitor", || store.expire_results(now, BATCH)).await?;
            for job in &expired {
                blobs.delete_job(*job).await?;
            }
            if !expired.is_empty() {
                tracing::info!(jobs = expired.len(), "results have expired and were deleted");
            }
            if expired.len() < BATCH as usize {
                break;
            }
        }
        let kept = SignedDuration::try_from(self.0.log_retention).unwrap_or(SignedDuration::MAX);
        let before = now.checked_sub(kept).unwrap_or(Timestamp::MIN);
        while steady(health, "janitor", || store.delete_logs(before, now, BATCH)).await? >= u64::from(BATCH) {}
        while steady(health, "janitor", || people.delete_expired(BATCH)).await? >= u64::from(BATCH) {}
        Ok(())
    }

    /// Deletes the blobs of jobs that are old enough and have no row that refers to them.
    async fn sweep(&self, now: Timestamp) -> Result<(), JanitorError> {
        let JanitorParts { store, blobs, health, .. } = &self.0;
        let is_old = |job: &JobId| minted_at(*job).is_some_and(|time| now.duration_since(time) > ORPHAN_AGE);
        let mut jobs = std::pin::pin!(blobs.jobs().try_filter(|job| std::future::ready(is_old(job))).try_chunks(IDS));
        while let Some(ids) = jobs.try_next().await.map_err(|error| error.1)? {
            for orphan in steady(health, "janitor", || store.unknown_jobs(ids.clone())).await? {
                tracing::info!(job = %orphan, "orphaned blobs were deleted");
                blobs.delete_job(orphan).await?;
            }
        }
        Ok(())
    }
}

/// When an id was made: ids are UUIDs of version 7.
fn minted_at(job: JobId) -> Option<Timestamp> {
    let (seconds, nanoseconds) = job.0.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
}
