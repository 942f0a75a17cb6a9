//! Schedules: jobs that start by themselves, at the times of a cron expression.
//!
//! What a schedule is to do is kept as it was sent, and read each time by the very steps that read a request
//! ([`crate::jobs::Terms`]), so that a schedule makes the job that the API would make of the same body. When it runs is
//! [`cron`]'s to tell, what becomes of a run [`decide`]'s. A run is recorded in the transaction that accepts its job: there is
//! one job for each time of a schedule, however many schedulers there are.

pub mod cron;
pub mod decide;

use std::sync::Arc;

use datasonar_store::{
    DueSchedule, Idempotency, JobId, NewSchedule, Overlap, RunDecision, RunSchedule, RunTrigger, Schedule,
    ScheduleChange, ScheduleId, Scope, Store, StoreError, Submission,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use self::{
    cron::{Rule, RuleError},
    decide::{Decision, Standing, decide},
};
use crate::{
    clock::{Clock, Ids},
    jobs::{
        JobRequest, Jobs, JobsError, Trace, read_job,
        secrets::{OpenError, keep_masked, open_job, seal_job},
    },
    scrape::FieldError,
    wake::{Bell, Wake},
};

/// The longest name, in characters.
const MAX_NAME: usize = 200;
/// How long a reason in the history may be, in characters.
const MAX_REASON: usize = 1_000;

/// How many runs may be asked for within a moment.
const SAME_TIME: u32 = 100;
const MILLISECOND: SignedDuration = SignedDuration::from_millis(1);

/// Keeps schedules and starts their jobs.
#[derive(Clone)]
pub struct Schedules {
    store: Arc<dyn Store>,
    jobs: Jobs,
    clock: Arc<dyn Clock>,
    ids: Ids,
    wake: Wake,
}

/// What is wanted of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What people call it.
    pub name: String,
    /// When it runs.
    pub cron: String,
    /// On the clocks of which zone.
    pub timezone: String,
    /// What it does when its last job has not ended.
    pub overlap: Overlap,
    /// Whether it rests.
    pub paused: bool,
    /// A kind, and the body of the endpoint that makes such jobs.
    pub job: Map<String, Value>,
}

/// Why something was not done about a schedule.
#[derive(Debug, thiserror::Error)]
pub enum SchedulesError {
    /// What is wanted cannot be followed.
    #[error("{}", reason(.0))]
    Fields(Vec<FieldError>),
    /// The rows could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its job could not be accepted.
    #[error(transparent)]
    Jobs(#[from] JobsError),
}

impl Schedules {
    /// Keeps schedules in a store.
    pub fn new(store: Arc<dyn Store>, jobs: Jobs, clock: Arc<dyn Clock>, ids: Ids, wake: Wake) -> Self {
        Self { store, jobs, clock, ids, wake }
    }

    /// Makes a schedule to be created.
    ///
    /// # Errors
    /// When it cannot be followed: everything that is wrong.
    pub fn plan(&self, scope: Scope, wanted: Wanted) -> Result<NewSchedule, SchedulesError> {
        let (rule, request) = self.check(&wanted).map_err(SchedulesError::Fields)?;
        let now = self.clock.now();
        let next_run_at = if wanted.paused { None } else { rule.next(now) };
        let id = ScheduleId(self.ids.uuid());
        Ok(NewSchedule {
            id,
            scope,
            name: wanted.name,
            cron: wanted.cron,
            timezone: wanted.timezone,
            overlap: wanted.overlap,
            paused: wanted.paused,
            kind: request.pages.kind(),
            job: seal_job(self.jobs.sealer(), scope, id, wanted.job),
            created_at: now,
            next_run_at,
            idempotency: None,
        })
    }

    /// Keeps a schedule that was planned: when this answers, it is durable.
    ///
    /// # Errors
    /// When the store fails, or the idempotency key was used with another request.
    pub async fn create(&self, new: NewSchedule) -> Result<Submission, SchedulesError> {
        let submission = self.store.create_schedule(new).await?;
        self.wake.ring(Bell::Schedules);
        Ok(submission)
    }

    /// Changes a schedule. Its next time stays unless its times change or it goes on after a pause. Masked values in its job are
    /// kept as they are, see [`keep_masked`].
    ///
    /// # Errors
    /// When what is wanted cannot be followed; [`StoreError::Conflict`] when the schedule is not as it was given any more.
    pub async fn change(&self, schedule: &Schedule, mut wanted: Wanted) -> Result<(), SchedulesError> {
        // A job that cannot be read keeps nothing, and can be replaced as a whole.
        let present = self.open(schedule).unwrap_or_default();
        keep_masked(&mut wanted.job, present).map_err(|errors| SchedulesError::Fields(within_job(errors)))?;
        let (rule, request) = self.check(&wanted).map_err(SchedulesError::Fields)?;
        let now = self.clock.now();
        let is_same_rule = (&wanted.cron, &wanted.timezone) == (&schedule.cron, &schedule.timezone);
        let next_run_at = match schedule.next_run_at {
            _ if wanted.paused => None,
            Some(next) if is_same_rule => Some(next),
            _ => rule.next(now),
        };
        let change = ScheduleChange {
            name: wanted.name,
            cron: wanted.cron,
            timezone: wanted.timezone,
            overlap: wanted.overlap,
            paused: wanted.paused,
            kind: request.pages.kind(),
            job: seal_job(self.jobs.sealer(), schedule.scope, schedule.id, wanted.job),
            next_run_at,
        };
        self.store.change_schedule(schedule.scope, schedule.id, schedule.version, change, now).await?;
        self.wake.ring(Bell::Schedules);
        Ok(())
    }

    /// Starts a schedule's job now, whatever else of it is open or planned. Its next time stays. `idempotency` makes the
    /// caller's key of the job's id.
    ///
    /// # Errors
    /// When its job is not acceptable any more, or cannot be accepted now.
    pub async fn run_now(
        &self,
        schedule: &Schedule,
        idempotency: impl FnOnce(JobId) -> Option<Idempotency>,
    ) -> Result<Submission, SchedulesError> {
        let request = self.request(schedule).map_err(SchedulesError::Fields)?;
        let mut new = self.jobs.prepare(schedule.scope, request).await?;
        new.idempotency = idempotency(new.id);
        let trace = Trace::of(&new);
        let now = self.clock.now();
        let row = self.jobs.row(new).await?;
        let mut run = RunSchedule {
            schedule: schedule.id,
            version: schedule.version,
            planned_at: now,
            next_run_at: schedule.next_run_at,
            decision: RunDecision::Start(Box::new(row)),
            trigger: RunTrigger::Manual,
            now,
        };
        let mut recorded = self.store.run_schedule(run.clone()).await;
        for _ in 1..SAME_TIME {
            let Err(StoreError::Conflict(_)) = recorded else { break };
            // A schedule has one run for each time: the next millisecond may be free.
            run.planned_at += MILLISECOND;
            recorded = self.store.run_schedule(run.clone()).await;
        }
        self.settle(&recorded, Some(trace)).await;
        Ok(recorded?)
    }

    /// Decides what becomes of a schedule that is due, and does it. Answers whether there was anything to do.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else was first.
    pub async fn run_due(&self, due: &DueSchedule) -> Result<bool, SchedulesError> {
        let DueSchedule { schedule, is_open, queued } = due;
        let now = self.clock.now();
        let standing = Standing {
            overlap: schedule.overlap,
            paused: schedule.paused,
            next_run_at: schedule.next_run_at,
            is_open: *is_open,
            queued: *queued,
        };
        let rule = Rule::new(&schedule.cron, &schedule.timezone);
        let next = |after| rule.as_ref().ok().and_then(|rule| rule.next(after));
        let Some(step) = decide(&standing, now, next) else { return Ok(false) };
        let (decision, trace) = match (&rule, step.decision) {
            (Err(error), _) => (RunDecision::Refuse(short(&format!("its times cannot be read: {error}"))), None),
            (Ok(_), Decision::Skip) => (RunDecision::Skip, None),
            (Ok(_), Decision::Queue) => (RunDecision::Queue, None),
            (Ok(_), Decision::Start) => match self.request(schedule) {
                Ok(request) => {
                    let new = self.jobs.prepare(schedule.scope, request).await?;
                    let trace = Trace::of(&new);
                    (RunDecision::Start(Box::new(self.jobs.row(new).await?)), Some(trace))
                }
                Err(errors) => (RunDecision::Refuse(reason(&errors)), None),
            },
        };
        let mut run = RunSchedule {
            schedule: schedule.id,
            version: schedule.version,
            planned_at: step.planned_at,
            next_run_at: step.next_run_at,
            decision,
            trigger: RunTrigger::Cron,
            now,
        };
        let mut recorded = self.store.run_schedule(run.clone()).await;
        self.settle(&recorded, trace).await;
        if let Err(StoreError::LimitReached(reached)) = &recorded {
            // Its time is not made up for: that would take from the times that come.
            run.decision = RunDecision::Refuse(short(&reached.to_string()));
            recorded = self.store.run_schedule(run).await;
        }
        recorded?;
        Ok(true)
    }

    /// Wakes those who wait for a run's job, and tidies up after one that did not come of it.
    async fn settle(&self, recorded: &Result<Submission, StoreError>, trace: Option<Trace>) {
        match (recorded, trace) {
            (Ok(Submission::Accepted), Some(_)) => self.jobs.accepted(),
            (
                Ok(Submission::Repeated { .. })
                | Err(
                    StoreError::Conflict(_)
                    | StoreError::NotFound
                    | StoreError::IdempotencyMismatch
                    | StoreError::LimitReached(_),
                ),
                Some(trace),
            ) => self.jobs.discard(trace).await,
            // Nothing came of it, or the outcome is unknown and left to the sweep.
            _ => {}
        }
    }

    /// Reads what is wanted as it will be read each time.
    fn check(&self, wanted: &Wanted) -> Result<(Rule, JobRequest), Vec<FieldError>> {
        let mut errors = Vec::new();
        let length = wanted.name.chars().count();
        if wanted.name.trim().is_empty() || length > MAX_NAME || wanted.name.chars().any(char::is_control) {
            let detail = format!("must have 1 to {MAX_NAME} characters, and none that steer a terminal");
            errors.push(FieldError::new("/name", detail));
        }
        let rule = Rule::new(&wanted.cron, &wanted.timezone)
            .map_err(|error| match error {
                RuleError::Cron(why) => errors.push(FieldError::new("/cron", why)),
                RuleError::Zone(why) => errors.push(FieldError::new("/timezone", why)),
            })
            .ok();
        let request =
            read_job(self.jobs.terms(), wanted.job.clone()).map_err(|wrong| errors.extend(within_job(wrong))).ok();
        match (rule, request) {
            (Some(rule), Some(request)) if errors.is_empty() => Ok((rule, request)),
            _ => Err(errors),
        }
    }

    /// Reads a schedule's job as it is kept.
    fn request(&self, schedule: &Schedule) -> Result<JobRequest, Vec<FieldError>> {
        let job = self.open(schedule).map_err(|error| vec![FieldError::new("/job", error.to_string())])?;
        read_job(self.jobs.terms(), job).map_err(within_job)
    }

    /// Reads a schedule's job as it was sent.
    fn open(&self, schedule: &Schedule) -> Result<Map<String, Value>, OpenError> {
        open_job(self.jobs.sealer(), schedule.scope, schedule.id, &schedule.job)
    }
}

/// The next times of a schedule, at most so many; none while it is paused.
pub fn upcoming(schedule: &Schedule, now: Timestamp, count: usize) -> Vec<Timestamp> {
    let (Some(first), Ok(rule)) = (schedule.next_run_at, Rule::new(&schedule.cron, &schedule.timezone)) else {
        return Vec::new();
    };
    // A first time that has passed unseen is made up for at once; what follows is counted from now.
    let mut times = vec![first];
    times.extend(rule.upcoming(first.max(now), count.saturating_sub(1)));
    times
}

/// Places of errors in a job, as places in what holds it.
fn within_job(errors: Vec<FieldError>) -> Vec<FieldError> {
    let within = |error: FieldError| FieldError { pointer: format!("/job{}", error.pointer), ..error };
    errors.into_iter().map(within).collect()
}

/// What is wrong, in one line for the history.
fn reason(errors: &[FieldError]) -> String {
    let all: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
    short(&all.join("; "))
}

fn short(text: &str) -> String {
    text.chars().take(MAX_REASON).collect()
}
