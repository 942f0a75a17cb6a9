//! The trait that every store implements.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    Account, AccountId, Advance, Attempt, Caller, ClaimDeliveries, ClaimTasks, ClaimedDelivery, ClaimedTask, Delivery,
    DeliveryFilter, DeliveryId, DeliveryLease, Discovery, DueEndpoint, DueSchedule, Finish, FinishTask, FinishedTask,
    Insight, Job, JobFilter, JobId, KeptPage, Key, KeyId, NewJob, NewKey, NewReplay, NewSchedule, NewSecret, NewTest,
    Page, PageMark, Renewal, Replay, ReplayId, Result, Run, RunSchedule, Schedule, ScheduleChange, ScheduleId, Scope,
    Secret, Selection, Setup, SkippedUrl, Submission, TaskLease, UrlKey, Usage, UsageSample, Verdict,
};

/// How much there is to do, for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Jobs that have not ended.
    pub jobs_open: u64,
    /// Tasks that nobody holds.
    pub tasks_pending: u64,
    /// Tasks that are leased.
    pub tasks_leased: u64,
    /// Deliveries that are `pending`.
    pub deliveries_pending: u64,
    /// Deliveries that are `failed`.
    pub deliveries_failed: u64,
}

/// The steps of the domain, each one transaction.
///
/// Held as `Arc<dyn Store>`. A step that answers `Ok` is durable. A step that answers an error has changed nothing.
/// Times are passed in as `now`; ids are minted by the caller.
#[async_trait]
pub trait Store: Insight + Send + Sync + 'static {
    // ---- accounts, keys and secrets

    /// Fills an empty store with its built-in account. Answers whether it was empty; otherwise nothing is changed.
    async fn set_up(&self, setup: Setup) -> Result<bool>;

    /// Finds the account; the built-in one when `id` is `None`.
    async fn account(&self, id: Option<AccountId>) -> Result<Account>;

    /// Tells who the key with this hash speaks for; `None` when there is none or it was revoked.
    async fn authenticate(&self, hash: [u8; 32]) -> Result<Option<Caller>>;

    /// Stores a key.
    async fn create_key(&self, key: NewKey) -> Result<()>;

    /// Lists an account's keys, newest first, the revoked ones too.
    async fn keys(&self, account: AccountId) -> Result<Vec<Key>>;

    /// Revokes a key; one that was revoked before stays as it is.
    async fn revoke_key(&self, account: AccountId, key: KeyId, now: Timestamp) -> Result<()>;

    /// Lists the secrets that sign for a scope at `now`, newest first.
    async fn secrets(&self, scope: Scope, now: Timestamp) -> Result<Vec<Secret>>;

    /// Makes `new` the newest secret of its scope; the one before expires `overlap` later. Those that are to expire
    /// sooner do so.
    async fn rotate_secret(&self, new: NewSecret, overlap: Duration) -> Result<()>;

    /// Adds pages to the usage of their scopes and days.
    async fn record_usage(&self, samples: Vec<UsageSample>) -> Result<()>;

    /// Sums the usage of a scope over the UTC days from `since` on.
    async fn usage(&self, scope: Scope, since: Timestamp) -> Result<Usage>;

    // ---- jobs

    /// Accepts a job with its tasks, or finds that its idempotency key was used within the last 24 hours.
    ///
    /// # Errors
    /// [`crate::StoreError::IdempotencyMismatch`] when the key was used with another fingerprint;
    /// [`crate::StoreError::Conflict`] when a job with this id exists; [`crate::StoreError::Corrupt`] when it has no
    /// task, a task has no URL, one lies outside an inline input, or a crawl may have no page.
    async fn submit_job(&self, job: NewJob) -> Result<Submission>;

    /// Finds a job.
    async fn job(&self, scope: Scope, id: JobId) -> Result<Job>;

    /// Lists jobs, newest first.
    async fn jobs(&self, scope: Scope, filter: JobFilter, page: Page<JobId>) -> Result<Vec<Job>>;

    /// Lists up to `limit` jobs that have ended, in the order of their ends (of those with one end, by id), from the
    /// first after the position `after` on. A job may show before a position that was read already when the clocks of
    /// those who end jobs differ.
    async fn ended_jobs(&self, scope: Scope, after: (Timestamp, JobId), limit: u32) -> Result<Vec<Job>>;

    /// Asks for a job's cancelling: its open tasks are claimed with `cancelled` set, its leases renewed as
    /// [`Renewal::Cancelled`], and it ends as `failed` with the error `cancelled` when its last task is finished.
    ///
    /// # Errors
    /// [`crate::StoreError::Conflict`] when it has ended. Asking twice is no error.
    async fn cancel_job(&self, scope: Scope, id: JobId, now: Timestamp) -> Result<()>;

    /// Reads the results of up to `limit` finished tasks of a job in order, from the task at `seq` on, and stops before
    /// the first that is not finished: what is read is a gapless run.
    async fn finished_tasks(&self, job: JobId, seq: u32, limit: u32) -> Result<Vec<FinishedTask>>;

    /// Lists what a crawl skipped, in that order: up to `limit` URLs after the one with the number `after`, each with its
    /// number (numbers begin at 1).
    async fn skipped(&self, scope: Scope, id: JobId, after: u64, limit: u32) -> Result<Vec<(u64, SkippedUrl)>>;

    // ---- tasks

    /// Claims tasks whose lease is free or has expired. Serves accounts in turn, then their jobs in turn: the one that
    /// was served longest ago first, new ones before all. A task that two processes died with (claims of others that were not given
    /// back) is isolated from then on, and claimed only within the claim's room for those: see [`Isolation`](crate::Isolation).
    async fn claim_tasks(&self, claim: ClaimTasks) -> Result<Vec<ClaimedTask>>;

    /// Makes leases hold until `now + lease`; tells for each what became of it, in the order given.
    async fn renew_tasks(&self, leases: Vec<TaskLease>, now: Timestamp, lease: Duration) -> Result<Vec<Renewal>>;

    /// Finishes a task; when it is the job's last, ends the job and owes its delivery in the same transaction. The task of a
    /// crawl hands over what it has found. Pages that it dropped make room for others: URLs that were skipped for the limit
    /// are taken in, as far as they are listed, before those found now.
    ///
    /// # Errors
    /// [`crate::StoreError::LeaseLost`] when the lease's epoch is not the task's, or the task is finished. A lease that
    /// has merely run out is good until another claims the task. [`crate::StoreError::Corrupt`] when the segments do not
    /// hold exactly one result for each URL, or the counts do not add up to them.
    async fn finish_task(&self, finish: FinishTask) -> Result<Finish>;

    /// Takes note of what a task of a crawl has found so far: new URLs become tasks, in the order given, as long as the job
    /// has fewer than `max_pages` results to be; the rest are skipped. Doing it twice changes nothing. A job that is being
    /// cancelled finds nothing any more.
    ///
    /// # Errors
    /// [`crate::StoreError::LeaseLost`] as [`finish_task`](Self::finish_task).
    async fn discover(&self, lease: TaskLease, discovery: Discovery) -> Result<()>;

    /// Tells whether a page of a crawl, by its index in the task and its own key, is the first to be all of the pages `keys`,
    /// and makes it so. It is not when one of them was, or is to be, fetched as another; from then on it is taken for that
    /// one. Asked again, the answer is the same.
    ///
    /// # Errors
    /// [`crate::StoreError::LeaseLost`] as [`finish_task`](Self::finish_task).
    async fn claim_page(&self, lease: TaskLease, index: u32, own: UrlKey, keys: Vec<UrlKey>) -> Result<bool>;

    /// Gives leases back, so that the tasks can be claimed at once. Those that are lost change nothing but this: a death that was
    /// counted for one is taken back, since whoever gives it back lives.
    async fn release_tasks(&self, leases: Vec<TaskLease>) -> Result<()>;

    /// Marks a page of an isolated task as being worked on, until it is kept. Marking it again replaces how.
    ///
    /// # Errors
    /// [`crate::StoreError::LeaseLost`] as [`finish_task`](Self::finish_task); [`crate::StoreError::Corrupt`] when the task has no such
    /// page.
    async fn mark_page(&self, lease: TaskLease, mark: PageMark) -> Result<()>;

    /// Keeps what a page of an isolated task came to: later claims of the task tell it. Deletes its marks. Keeping it again replaces it.
    /// It counts nowhere until the task is finished, with all results.
    ///
    /// # Errors
    /// [`crate::StoreError::LeaseLost`] as [`finish_task`](Self::finish_task); [`crate::StoreError::Corrupt`] when the task is not
    /// isolated, has no such page, or the segment is not one result at its position.
    async fn keep_page(&self, lease: TaskLease, kept: KeptPage) -> Result<()>;

    // ---- deliveries

    /// Stores a trial of an endpoint: a job of the kind `test` that has ended with one result, and its delivery, leased
    /// already. It counts for no usage. The delivery is not attempted again by itself: whatever the verdict on its
    /// attempt, nothing is due after it, and it is `failed` when that brought no success, when its lease is given back
    /// or when it runs out (then the lease is lost at once). It can be replayed like any other.
    ///
    /// # Errors
    /// [`crate::StoreError::Conflict`] when a job or delivery with this id exists; [`crate::StoreError::Corrupt`] when
    /// the segment does not hold exactly one result.
    async fn submit_test(&self, test: NewTest) -> Result<ClaimedDelivery>;

    /// Returns the endpoints that are owed deliveries which are due and not leased: each once in each lane, first attempts
    /// before retries, longest due first. Deliveries whose leases have run out count from then on.
    ///
    /// The cost grows with the number of endpoints that are owed anything, not with the number of deliveries. Of each
    /// account and environment, at most `2 * limit` endpoints are examined in each lane: the first `limit` by key, and
    /// `limit` from a position that `turn` determines, so that calls with successive turns reach all of them.
    async fn due_endpoints(&self, now: Timestamp, limit: u32, turn: u32) -> Result<Vec<DueEndpoint>>;

    /// Claims deliveries that are due: of each share at most its limit, longest due first. They come in the order of the
    /// shares.
    async fn claim_deliveries(&self, claim: ClaimDeliveries) -> Result<Vec<ClaimedDelivery>>;

    /// Makes leases hold until `now + hold`; tells for each, in the order given, whether it does. One that does not is
    /// lost.
    async fn renew_deliveries(&self, leases: Vec<DeliveryLease>, now: Timestamp, hold: Duration) -> Result<Vec<bool>>;

    /// Logs an attempt and what follows from it. `delivered_at` is set at the first `delivered`; a delivery that was
    /// delivered before stays so whatever a later attempt brings.
    ///
    /// # Errors
    /// [`crate::StoreError::LeaseLost`] when the lease was taken over.
    async fn finish_attempt(
        &self,
        lease: DeliveryLease,
        attempt: Attempt,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<()>;

    /// Gives a lease back without an attempt, to be claimed again at `next_attempt_at`; at once when a replay was asked
    /// for meanwhile.
    ///
    /// # Errors
    /// [`crate::StoreError::LeaseLost`] when it was taken over.
    async fn release_delivery(&self, lease: DeliveryLease, next_attempt_at: Timestamp) -> Result<()>;

    /// When the earliest delivery that nobody holds is due.
    async fn next_delivery_at(&self) -> Result<Option<Timestamp>>;

    /// Finds a delivery.
    async fn delivery(&self, scope: Scope, id: DeliveryId) -> Result<Delivery>;

    /// Lists deliveries, newest first.
    async fn deliveries(&self, scope: Scope, filter: DeliveryFilter, page: Page<DeliveryId>) -> Result<Vec<Delivery>>;

    /// Lists a delivery's attempts, first first.
    async fn attempts(&self, scope: Scope, id: DeliveryId) -> Result<Vec<Attempt>>;

    /// Makes a delivery due at `now`, logged as a replay; its status stays. One whose replay is due or under way already
    /// stays as it is. While an attempt of the schedule is under way, the replay follows it.
    ///
    /// # Errors
    /// [`crate::StoreError::Conflict`] when the job's results were deleted.
    async fn replay_delivery(&self, scope: Scope, id: DeliveryId, now: Timestamp) -> Result<()>;

    // ---- bulk replays

    /// Counts the deliveries of a selection that could be replayed: those whose results were not deleted.
    async fn count_deliveries(&self, scope: Scope, selection: Selection) -> Result<u64>;

    /// Starts a bulk replay of the deliveries that are there. Those that come later do not belong to it.
    ///
    /// # Errors
    /// [`crate::StoreError::Conflict`] when one with this id exists.
    async fn submit_replay(&self, new: NewReplay) -> Result<Replay>;

    /// Finds a bulk replay.
    async fn replay(&self, scope: Scope, id: ReplayId) -> Result<Replay>;

    /// Lists bulk replays, newest first.
    async fn replays(&self, scope: Scope, page: Page<ReplayId>) -> Result<Vec<Replay>>;

    /// Stops a bulk replay. What it has marked by then is sent all the same.
    ///
    /// # Errors
    /// [`crate::StoreError::Conflict`] when it has ended, by itself or by this.
    async fn cancel_replay(&self, scope: Scope, id: ReplayId, now: Timestamp) -> Result<()>;

    /// Takes one bulk replay a step further: of those that can go on, the one that was advanced longest ago, new ones
    /// before all. Looks at up to `limit` deliveries after the one it looked at last, and marks those that fit its
    /// selection now as [`replay_delivery`](Self::replay_delivery) does; a delivery with a replay due or under way
    /// counts as marked. Passes over those that do not fit (any more) or whose results were deleted. Stops while
    /// `window` replays of its scope, whoever asked for them, are due or under way. Ends it when nothing is left.
    async fn advance_replays(&self, now: Timestamp, limit: u32, window: u32) -> Result<Advance>;

    // ---- schedules

    /// Creates a schedule, or finds that its idempotency key was used within the last 24 hours.
    ///
    /// # Errors
    /// [`crate::StoreError::IdempotencyMismatch`] when the key was used with another fingerprint.
    async fn create_schedule(&self, new: NewSchedule) -> Result<Submission>;

    /// Finds a schedule.
    async fn schedule(&self, scope: Scope, id: ScheduleId) -> Result<Schedule>;

    /// Lists schedules, newest first.
    async fn schedules(&self, scope: Scope, page: Page<ScheduleId>) -> Result<Vec<Schedule>>;

    /// Changes a schedule. A run that waits goes on waiting.
    ///
    /// # Errors
    /// [`crate::StoreError::Conflict`] when it is not of this version any more.
    async fn change_schedule(
        &self,
        scope: Scope,
        id: ScheduleId,
        version: u32,
        change: ScheduleChange,
        now: Timestamp,
    ) -> Result<()>;

    /// Deletes a schedule and its runs. Its jobs stay.
    async fn delete_schedule(&self, scope: Scope, id: ScheduleId) -> Result<()>;

    /// Lists the runs of a schedule, latest time first, from before the time `page.before` on.
    async fn runs(&self, scope: Scope, id: ScheduleId, page: Page<Timestamp>) -> Result<Vec<Run>>;

    /// Tells which schedules are due, up to `limit`: those whose time has come, earliest first, then those of which a run waits
    /// while none of the last hundred jobs they started is open. None that is paused.
    async fn due_schedules(&self, now: Timestamp, limit: u32) -> Result<Vec<DueSchedule>>;

    /// When the next schedule's time comes, of those that are not paused.
    async fn next_schedule_at(&self) -> Result<Option<Timestamp>>;

    /// Records what comes of one of a schedule's times, accepts the job if one starts, and moves the schedule to its next time,
    /// all in one. What a person asked for moves nothing. A job whose idempotency key was used before is answered as it was then, and
    /// nothing is recorded.
    ///
    /// # Errors
    /// [`crate::StoreError::Conflict`] when the schedule is of another version or does not plan this time any more, or there was
    /// a run at this time; and as [`submit_job`](Self::submit_job).
    async fn run_schedule(&self, run: RunSchedule) -> Result<Submission>;

    // ---- upkeep

    /// Frees every lease: to be called by a process that knows that no other lives, at its start. A holder of a task counts as dead.
    async fn free_leases(&self) -> Result<()>;

    /// Deletes the results (tasks, segments, input) of up to `limit` ended jobs that expired by `now` and whose delivery
    /// is not owed any more (no attempt is due or under way). The jobs stay, with `results_deleted` set. Answers their
    /// ids: the caller deletes their blobs.
    async fn expire_results(&self, now: Timestamp, limit: u32) -> Result<Vec<JobId>>;

    /// Deletes up to `limit` jobs whose results were deleted and that ended before `before`, with their deliveries and
    /// attempts; also up to `limit` bulk replays that ended before `before`, and idempotency keys older than 24 hours at
    /// `now`. Answers how many jobs were deleted.
    async fn delete_logs(&self, before: Timestamp, now: Timestamp, limit: u32) -> Result<u64>;

    /// Picks from `ids` those of which no job with results is known: blobs kept for them are orphans.
    async fn unknown_jobs(&self, ids: Vec<JobId>) -> Result<Vec<JobId>>;

    /// Counts what there is to do.
    async fn totals(&self) -> Result<Totals>;

    /// Answers when the store can be read and written.
    async fn ping(&self) -> Result<()>;
}
