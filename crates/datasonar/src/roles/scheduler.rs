//! The scheduler: starts the jobs of schedules whose time has come.
//!
//! What becomes of a run is decided by pure functions and recorded in one step of the store, together with its job. The step
//! checks that the schedule still plans that time, so that any number of schedulers may look at the same rows: the first
//! makes the job, and the others find nothing left to do.

use std::{sync::Arc, time::Duration};

use datasonar_store::{DueSchedule, Store, StoreError};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::health::{Health, steady};
use crate::{
    clock::Clock,
    schedules::{Schedules, SchedulesError},
    wake::Wake,
};

/// How many schedules a look takes.
const BATCH: u32 = 100;
/// The longest wait before it looks again: other processes change schedules and end jobs, too.
const POLL: Duration = Duration::from_secs(1);

/// What a scheduler is made of.
pub struct SchedulerParts {
    /// The rows.
    pub store: Arc<dyn Store>,
    /// Starts jobs.
    pub schedules: Schedules,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Rung when a schedule was made or changed.
    pub wake: Wake,
    /// Where failures of the store are told.
    pub health: Health,
}

/// The scheduler.
pub struct Scheduler(SchedulerParts);

impl Scheduler {
    /// Puts a scheduler together.
    pub fn new(parts: SchedulerParts) -> Self {
        Self(parts)
    }

    /// Starts jobs until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            loop {
                let next = match self.look().await {
                    Ok(Look::More) => continue,
                    Ok(Look::Rest(next)) => next,
                    Err(error) => {
                        tracing::error!(%error, "schedules could not be looked at");
                        None
                    }
                };
                self.rest(next).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// Runs what is due.
    async fn look(&self) -> Result<Look, StoreError> {
        let SchedulerParts { store, clock, health, .. } = &self.0;
        let due = steady(health, "scheduler", || store.due_schedules(clock.now(), BATCH)).await?;
        let mut ran = false;
        for due in &due {
            ran |= self.attend(due).await;
        }
        if ran {
            // There may be more of them, and one that waited may be followed by the time that is due now.
            return Ok(Look::More);
        }
        let next = steady(health, "scheduler", || store.next_schedule_at()).await?;
        // What is due and did not run waits for the next look, not for its time.
        Ok(Look::Rest(next.filter(|next| *next > clock.now())))
    }

    /// Does what is to be done about a schedule. Answers whether it was done; otherwise it is looked at again.
    async fn attend(&self, due: &DueSchedule) -> bool {
        let schedule = &due.schedule;
        match self.0.schedules.run_due(due).await {
            Ok(ran) => ran,
            Err(SchedulesError::Store(StoreError::Conflict(_) | StoreError::NotFound)) => {
                tracing::debug!(schedule = %schedule.id, "another was first, or it was changed");
                false
            }
            Err(error) => {
                tracing::warn!(schedule = %schedule.id, %error, "a schedule could not be run; it will be tried again");
                false
            }
        }
    }

    /// Waits until there may be something to do.
    async fn rest(&self, next: Option<Timestamp>) {
        let SchedulerParts { clock, wake, .. } = &self.0;
        let due = async {
            match next {
                Some(next) => clock.sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = due => {}
            () = wake.schedules().notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// What a look came to.
enum Look {
    /// Something was done: look again at once.
    More,
    /// Nothing is left to do before this time.
    Rest(Option<Timestamp>),
}
