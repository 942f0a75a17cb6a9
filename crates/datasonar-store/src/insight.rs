//! What a person asks who looks at a scope as a whole: what happens in it, what stands where, what needs attention.
//!
//! **Role.** [`Insight`] answers what a dashboard shows. Every answer is found by an index or in rows that the steps keep while they do
//! their work ([`ActivityBucket`], [`EndpointHealth`], [`PageErrors`]); none reads a whole table, however much there is.
//!
//! **Protocol.** Lists are looked through in bounded pieces: where few rows fit a search, a page may hold fewer than its limit, or none, and
//! still say where to go on. Counts stop at [`COUNTED`].
//!
//! **What it does not do.** It changes nothing, but for noting when keys were used.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    Delivery, DeliveryId, DeliveryStatus, Histogram, Job, JobId, JobKind, JobStatus, KeyId, Page, Result, Run,
    Schedule, ScheduleId, Scope, Selection, Webhook,
};

/// Up to where is counted.
pub const COUNTED: u64 = 10_000;
/// Up to where the dead letters of one group are counted.
pub const GROUP_COUNTED: u64 = 1_000;
/// The length of a bucket as stored, in milliseconds. Buckets that are asked for are multiples of it.
pub const BUCKET_MS: i64 = 10 * 60 * 1000;
/// For how many days what happened is told.
pub const ACTIVITY_DAYS: i64 = 90;
/// How many buckets may be asked for at once.
pub const MOST_BUCKETS: usize = 2_000;
/// How many URLs are told for each code by which pages of a job failed.
pub const ERROR_URLS: usize = 5;
/// How much of each of these URLs is kept.
pub const ERROR_URL_BYTES: usize = 2_048;
/// The code of failed pages whose code is not known.
pub const UNKNOWN_ERROR: &str = "unknown";

/// Answers what a dashboard shows. All of it is within a scope. Every store of this crate does.
#[async_trait]
pub trait Insight: Send + Sync {
    /// What happened from `since` (taken down to a multiple of [`BUCKET_MS`]) until before `until`, in buckets of `bucket_ms`, oldest
    /// first; those in which nothing happened, too. The last may reach beyond `until`.
    ///
    /// # Errors
    /// [`crate::StoreError::Corrupt`] when `bucket_ms` is no multiple of [`BUCKET_MS`], or there are more than [`MOST_BUCKETS`].
    async fn activity(
        &self,
        scope: Scope,
        since: Timestamp,
        until: Timestamp,
        bucket_ms: i64,
    ) -> Result<Vec<ActivityBucket>>;

    /// How much there is of what.
    async fn standing(&self, scope: Scope) -> Result<Standing>;

    /// Lists the jobs that fit, newest first.
    async fn find_jobs(&self, scope: Scope, search: JobSearch, part: Part<JobId>) -> Result<Listing<Job, JobId>>;

    /// Lists the deliveries that fit, newest first.
    async fn find_deliveries(
        &self,
        scope: Scope,
        search: DeliverySearch,
        part: Part<DeliveryId>,
    ) -> Result<Listing<ListedDelivery, DeliveryId>>;

    /// The deliveries that are `failed`, by endpoint and cause: the `limit` groups whose oldest are the oldest, in that order.
    async fn dead_letters(&self, scope: Scope, limit: u32) -> Result<DeadLetters>;

    /// Counts the deliveries of a selection that could be replayed, as [`crate::Store::count_deliveries`] does, of the first
    /// [`COUNTED`] that fit.
    async fn count_replayable(&self, scope: Scope, selection: Selection) -> Result<CappedCount>;

    /// The deliveries that are `failed` of one endpoint and cause, oldest first: up to `limit` after the one given.
    async fn dead_letters_of(
        &self,
        scope: Scope,
        group: DeadLetterKey,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<ListedDelivery>>;

    /// The hosts that attempts were made at on the UTC days from `since` on: those first that have the most new dead letters, then the
    /// most failed attempts. Attempts of the last [`ACTIVITY_DAYS`] days are known.
    async fn endpoints(&self, scope: Scope, since: Timestamp, limit: u32) -> Result<Vec<EndpointHealth>>;

    /// The codes by which pages of a job failed, the most frequent first. Nothing once its results were deleted.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`] when there is no such job in the scope.
    async fn job_errors(&self, scope: Scope, job: JobId) -> Result<Vec<PageErrors>>;

    /// Lists schedules, newest first, each with its last run.
    async fn schedules_with_runs(&self, scope: Scope, page: Page<ScheduleId>) -> Result<Vec<ScheduleOverview>>;

    /// Notes when keys were last used. A time before the one noted, and a key that is not there, change nothing.
    async fn touch_keys(&self, uses: Vec<(KeyId, Timestamp)>) -> Result<()>;
}

/// What happened in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivityBucket {
    /// When it begins.
    pub begin: Timestamp,
    /// What happened in it.
    pub counts: Activity,
}

/// What happened. Tests of endpoints count by their attempts alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Jobs that were accepted.
    pub jobs_accepted: u64,
    /// Jobs that ended as `completed`.
    pub jobs_completed: u64,
    /// Jobs that ended as `failed`.
    pub jobs_failed: u64,
    /// Pages that have a result: those of jobs when their task was finished, those of requests that waited for them at once.
    pub pages: u64,
    /// How many of them succeeded.
    pub pages_succeeded: u64,
    /// Attempts that were answered with a 2xx.
    pub attempts_delivered: u64,
    /// Attempts that failed.
    pub attempts_failed: u64,
    /// Deliveries that an attempt made dead letters.
    pub dead_letters: u64,
    /// How long the attempts took.
    pub latency: Histogram,
}

impl Activity {
    /// Adds what happened in another span of time.
    pub fn add(&mut self, other: &Self) {
        self.jobs_accepted += other.jobs_accepted;
        self.jobs_completed += other.jobs_completed;
        self.jobs_failed += other.jobs_failed;
        self.pages += other.pages;
        self.pages_succeeded += other.pages_succeeded;
        self.attempts_delivered += other.attempts_delivered;
        self.attempts_failed += other.attempts_failed;
        self.dead_letters += other.dead_letters;
        self.latency.add(&other.latency);
    }
}

/// A count that stops at [`COUNTED`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CappedCount {
    /// How many were counted.
    pub count: u64,
    /// Whether there are more.
    pub is_capped: bool,
}

/// How much there is of what in a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Jobs that are `pending`.
    pub jobs_pending: CappedCount,
    /// Jobs that are `started`.
    pub jobs_started: CappedCount,
    /// Deliveries that are `pending`.
    pub deliveries_pending: CappedCount,
    /// Deliveries that are `failed`.
    pub dead_letters: CappedCount,
    /// Schedules that run.
    pub schedules_active: CappedCount,
    /// Schedules that rest.
    pub schedules_paused: CappedCount,
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<Id> {
    /// At most so many rows.
    pub limit: u32,
    /// Where it begins.
    pub from: Position<Id>,
}

/// A place in a list that is sorted newest first by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position<Id> {
    /// Its beginning.
    Newest,
    /// After this row: what is older.
    OlderThan(Id),
    /// Before this row: what is newer and nearest to it.
    NewerThan(Id),
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T, Id> {
    /// Its rows, newest first, whichever way was gone.
    pub rows: Vec<T>,
    /// From where to go on to newer ones ([`Position::NewerThan`]), if there may be any.
    pub newer: Option<Id>,
    /// From where to go on to older ones ([`Position::OlderThan`]), if there may be any.
    pub older: Option<Id>,
}

/// Which jobs to list: those that fit all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobSearch {
    /// Those that stand there.
    pub status: Option<JobStatus>,
    /// Those that do this.
    pub kind: Option<JobKind>,
    /// Those created then or later.
    pub since: Option<Timestamp>,
    /// Those created before.
    pub until: Option<Timestamp>,
    /// Those with an endpoint on this host (with its port, if it has one).
    pub host: Option<String>,
    /// Those with an endpoint, or without one.
    pub has_endpoint: Option<bool>,
    /// What a person typed: an id or its beginning (four digits at least), or the host of an endpoint.
    pub text: Option<String>,
}

/// Which deliveries to list: those that fit all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliverySearch {
    /// Those that stand there.
    pub status: Option<DeliveryStatus>,
    /// Those to this endpoint.
    pub endpoint: Option<EndpointSearch>,
    /// That of this job.
    pub job: Option<JobId>,
    /// Those that became owed then or later.
    pub since: Option<Timestamp>,
    /// Those that became owed before.
    pub until: Option<Timestamp>,
    /// Those whose last attempt ended so: see [`LastAttempt::cause`].
    pub cause: Option<String>,
}

/// An endpoint, or all on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointSearch {
    /// All on a host (with its port, if it has one).
    Host(String),
    /// One.
    Endpoint(Webhook),
}

/// How the last attempt of a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// The answer's status code.
    pub code: Option<u16>,
    /// In a word: the class of what went wrong, such as `timeout`; the status code where the answer as such was the matter (`503`), or was
    /// a success (`200`).
    pub cause: String,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
}

/// A delivery with what is told of its last attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedDelivery {
    /// The delivery; it knows how many attempts were made.
    pub delivery: Delivery,
    /// Its last attempt, if one was made.
    pub last: Option<LastAttempt>,
}

/// Deliveries that are `failed` to one endpoint by one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterKey {
    /// The endpoint.
    pub url: String,
    /// The cause ([`LastAttempt::cause`]); empty where no attempt was recorded.
    pub cause: String,
}

/// A group of dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterGroup {
    /// What they have in common.
    pub key: DeadLetterKey,
    /// The endpoint's host.
    pub host: String,
    /// How many there are; counted up to [`GROUP_COUNTED`].
    pub count: CappedCount,
    /// When the oldest became owed.
    pub oldest: Timestamp,
    /// When the newest became owed.
    pub newest: Timestamp,
    /// When the first of them is attempted again, if one is: of the oldest, as many as are counted.
    pub next_attempt_at: Option<Timestamp>,
}

/// The dead letters of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    /// How many there are.
    pub total: CappedCount,
    /// By endpoint and cause. Where these are more than 500, some of which all are new may be missing.
    pub groups: Vec<DeadLetterGroup>,
}

/// How a host took the attempts of some days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHealth {
    /// The host, with its port, if it has one.
    pub host: String,
    /// Attempts that were answered with a 2xx.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Deliveries that an attempt made dead letters.
    pub dead_letters: u64,
    /// How long the attempts took.
    pub latency: Histogram,
}

/// Pages of a job that failed by one code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageErrors {
    /// The code, such as `timeout`.
    pub code: String,
    /// How many.
    pub count: u64,
    /// The URLs of some of them, [`ERROR_URLS`] at most, of the first that were told; each no longer than [`ERROR_URL_BYTES`].
    pub urls: Vec<String>,
}

/// A schedule with the last of its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleOverview {
    /// The schedule; it knows its next time.
    pub schedule: Schedule,
    /// The run of its latest time, if there was one.
    pub last: Option<Run>,
}
