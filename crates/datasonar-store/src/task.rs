//! Tasks: slices of a job, the unit of claiming, and the leases held on them.
//!
//! A task is `pending`, `leased` or `finished`; one that two processes died with waits as `isolated` instead of `pending`. Claiming raises its epoch; every later write carries the epoch it was
//! claimed with and changes nothing when that is no longer the task's: a worker that was stopped past its lease and
//! wakes up cannot undo what another did since.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    AccountId, DeliveryId, Discovery, DroppedPage, FoundUrl, JobError, JobId, JobInput, JobKind, PageErrors, ProcessId,
    Scope, Segment, SkipReason,
};

/// A task to be made with its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// Where its URLs begin in the job's input.
    pub input_offset: u64,
    /// How many bytes of the input are its.
    pub input_bytes: u32,
    /// How many URLs these are; at least one.
    pub urls: u32,
}

/// The right to work on a task: the job, the task's position in it, and the epoch of the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskLease {
    /// The job.
    pub job: JobId,
    /// The task's position in it.
    pub seq: u32,
    /// The claim's number, higher with each.
    pub epoch: u32,
}

/// What a worker asks for when it claims.
#[derive(Clone, Debug)]
pub struct ClaimTasks {
    /// Who claims.
    pub owner: ProcessId,
    /// At most so many tasks.
    pub limit: u32,
    /// No job may hold more than this many of the claimer's tasks while another job has a task to give.
    pub per_job: u32,
    /// How many tasks the claimer holds already, by job.
    pub held: Vec<(JobId, u32)>,
    /// When true, only jobs that are not in `held` are served: the claimer is full, and looks for newcomers only.
    pub newcomers_only: bool,
    /// Accounts that are served otherwise.
    pub rooms: Vec<AccountRoom>,
    /// At most so many isolated tasks, besides; of each account one.
    pub isolated: u32,
    /// Accounts of which the claimer holds an isolated task already: they get no other.
    pub isolated_held: Vec<AccountId>,
    /// The time.
    pub now: Timestamp,
    /// For how long the leases are to hold.
    pub lease: Duration,
}

/// What one account may get of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRoom {
    /// The account.
    pub account: AccountId,
    /// At most so many tasks.
    pub limit: u32,
    /// When true, only its jobs that are not in [`ClaimTasks::held`] are served; takes the place of
    /// [`ClaimTasks::newcomers_only`].
    pub newcomers_only: bool,
}

/// A task with all that is needed to work on it.
#[derive(Clone, Debug)]
pub struct ClaimedTask {
    /// The right to it.
    pub lease: TaskLease,
    /// Whose it is.
    pub scope: Scope,
    /// What the job does.
    pub kind: JobKind,
    /// The job's options.
    pub options: String,
    /// When the job was accepted.
    pub created_at: Timestamp,
    /// Its URLs.
    pub input: TaskInput,
    /// The position in the job of its first URL.
    pub first: u64,
    /// How many URLs it has.
    pub urls: u32,
    /// Whether the job's cancelling was asked for: then its URLs are not fetched, and their results are `cancelled`.
    pub cancelled: bool,
    /// Two processes died while they held it: its pages are to be worked on one by one.
    pub isolation: Option<Isolation>,
}

/// What is known of an isolated task's pages.
///
/// Its holder marks each page before working on it ([`Store::mark_page`](crate::Store::mark_page)) and keeps what it came to
/// ([`Store::keep_page`](crate::Store::keep_page)). So a death shows which pages were in progress, and costs no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Pages that are done, in order.
    pub kept: Vec<KeptPage>,
    /// Pages that were in progress when holders died, in order.
    pub deaths: Vec<PageDeaths>,
}

/// How often processes died while a page of an isolated task was in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageDeaths {
    /// Its index in the task.
    pub page: u32,
    /// Nothing else was processed then.
    pub alone: u32,
    /// Others were, so that one of these may have been the cause.
    pub beside: u32,
}

/// A page of an isolated task that is being worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageMark {
    /// Its index in the task.
    pub page: u32,
    /// Nothing else is processed by this process.
    pub is_alone: bool,
}

/// A page of an isolated task that is done before its task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPage {
    /// Its index in the task.
    pub page: u32,
    /// What it came to.
    pub result: KeptResult,
}

/// What a page of an isolated task came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptResult {
    /// A page result.
    Page {
        /// The result alone.
        segment: Segment,
        /// Why it failed, if it did.
        error: Option<JobError>,
        /// How long it took, in milliseconds.
        time_ms: u64,
    },
    /// None: it is a crawl's, and was dropped.
    Dropped(SkipReason),
}

/// Where a task's URLs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskInput {
    /// In the job's input.
    Range {
        /// The job's input: what is inline is already cut to this task's range.
        input: JobInput,
        /// Where this task's URLs begin; 0 for an inline input.
        offset: u64,
        /// How many bytes of it are this task's.
        bytes: u32,
    },
    /// Here: the URLs of a crawl's task.
    Found(Vec<FoundUrl>),
}

/// What became of a lease that was to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It holds.
    Held,
    /// It holds, and the job's cancelling was asked for.
    Cancelled,
    /// It is lost: the work is to be dropped.
    Lost,
}

/// A finished task's outcome.
#[derive(Clone, Debug)]
pub struct FinishTask {
    /// The right to finish it.
    pub lease: TaskLease,
    /// Its results in order: together they hold exactly one page result for each of its URLs that was not dropped.
    pub segments: Vec<Segment>,
    /// The pages of a crawl that have no result, in order.
    pub dropped: Vec<DroppedPage>,
    /// What the task of a crawl has found, besides what it told before.
    pub discovery: Discovery,
    /// How many pages succeeded.
    pub succeeded: u32,
    /// How many pages failed.
    pub failed: u32,
    /// By which codes pages failed. Those that failed and are in none of these are counted as [`crate::UNKNOWN_ERROR`].
    pub errors: Vec<PageErrors>,
    /// The sum of the pages' times, in milliseconds (for the usage).
    pub time_ms: u64,
    /// Why the page failed, where the job is a single scrape.
    pub page_error: Option<JobError>,
    /// The id its job's delivery gets, should this end the job.
    pub delivery: DeliveryId,
    /// The time.
    pub now: Timestamp,
    /// For how long the job's result is kept once it has ended.
    pub retention: Duration,
}

/// What finishing a task brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Other tasks of the job are left.
    Task,
    /// It was the last: the job has ended.
    Job {
        /// The delivery that is now owed, where the job has an endpoint.
        delivery: Option<DeliveryId>,
    },
}

/// A task's results, as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedTask {
    /// Its position in the job.
    pub seq: u32,
    /// The position in the job of its first URL.
    pub first: u64,
    /// How many URLs it has; of a crawl's task some may have been dropped.
    pub urls: u32,
    /// Its results in order.
    pub segments: Vec<Segment>,
}
