//! The steps of the domain, as statements: what SQLite and PostgreSQL have in common, which is all but the connection.
//!
//! **Role.** Each function here is a step or a part of one, and runs in the transaction of its caller. This module says which steps
//! write and which only read, for every [`Engine`].
//!
//! **Protocol.** A step may be run again, when the database gave its transaction up: it changes nothing but rows. Steps that write
//! are never under way at the same time (each engine sees to that), so that what a step has read stays so until its end.

mod accounts;
mod activity;
mod allowance;
mod attempts;
mod audit;
mod bulk;
mod claim;
mod deliveries;
mod dispatch;
mod due;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod explain;
mod fair;
mod finish;
mod frontier;
mod hosts;
mod insight;
mod isolation;
mod jobs;
mod listing;
mod moving;
mod page_errors;
mod people;
mod replay;
mod schedules;
mod secrets;
mod submit;
mod tasks;
mod trial;
mod upkeep;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::group::Joint;
use crate::sql::Connection;
use crate::{
    Account, AccountId, Advance, Attempt, Caller, ClaimDeliveries, ClaimTasks, ClaimedDelivery, ClaimedTask, Delivery,
    DeliveryFilter, DeliveryId, DeliveryLease, Discovery, DueEndpoint, DueSchedule, Finish, FinishTask, FinishedTask,
    HostGrant, HostShares, Job, JobFilter, JobId, KeptPage, Key, KeyId, NewJob, NewKey, NewReplay, NewSchedule,
    NewSecret, NewTest, Page, PageMark, Renewal, Replay, ReplayId, Result, Run, RunSchedule, Schedule, ScheduleChange,
    ScheduleId, Scope, Secret, Selection, Setup, ShareHosts, SkippedUrl, Store, Submission, TaskLease, Totals, UrlKey,
    Usage, UsageSample, Verdict,
};

/// A database that runs steps.
#[async_trait]
pub(crate) trait Engine: Send + Sync + 'static {
    /// Runs a step that writes, together with whatever else waits; answers when it is durable.
    async fn write<T, F>(&self, step: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static;

    /// As [`write`](Self::write), for a step that is done together with those of its kind.
    async fn join<J: Joint>(&self, item: J) -> Result<J::Answer>;

    /// Runs a step that only reads, in one read transaction.
    async fn read<T, F>(&self, step: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static;
}

#[async_trait]
impl<E: Engine> HostShares for E {
    async fn share_hosts(&self, share: ShareHosts) -> Result<Vec<HostGrant>> {
        self.write(move |c| hosts::share(c, &share)).await
    }
}

#[async_trait]
impl<E: Engine> Store for E {
    async fn set_up(&self, setup: Setup) -> Result<bool> {
        self.write(move |c| accounts::set_up(c, &setup)).await
    }

    async fn account(&self, id: Option<AccountId>) -> Result<Account> {
        self.read(move |c| allowance::find(c, id)).await
    }

    async fn authenticate(&self, hash: [u8; 32]) -> Result<Option<Caller>> {
        self.read(move |c| accounts::authenticate(c, hash)).await
    }

    async fn create_key(&self, key: NewKey) -> Result<()> {
        self.write(move |c| accounts::create_key(c, &key)).await
    }

    async fn keys(&self, account: AccountId) -> Result<Vec<Key>> {
        self.read(move |c| accounts::keys(c, account)).await
    }

    async fn revoke_key(&self, account: AccountId, key: KeyId, now: Timestamp) -> Result<()> {
        self.write(move |c| accounts::revoke_key(c, account, key, now)).await
    }

    async fn secrets(&self, scope: Scope, now: Timestamp) -> Result<Vec<Secret>> {
        self.read(move |c| secrets::secrets(c, scope, now)).await
    }

    async fn rotate_secret(&self, new: NewSecret, overlap: Duration) -> Result<()> {
        self.write(move |c| secrets::rotate(c, &new, overlap)).await
    }

    async fn record_usage(&self, samples: Vec<UsageSample>) -> Result<()> {
        self.write(move |c| accounts::record_usage(c, &samples)).await
    }

    async fn usage(&self, scope: Scope, since: Timestamp) -> Result<Usage> {
        self.read(move |c| accounts::usage(c, scope, since)).await
    }

    async fn submit_job(&self, job: NewJob) -> Result<Submission> {
        self.write(move |c| submit::submit(c, &job)).await
    }

    async fn job(&self, scope: Scope, id: JobId) -> Result<Job> {
        self.read(move |c| jobs::job(c, scope, id)).await
    }

    async fn jobs(&self, scope: Scope, filter: JobFilter, page: Page<JobId>) -> Result<Vec<Job>> {
        self.read(move |c| jobs::jobs(c, scope, filter, page)).await
    }

    async fn ended_jobs(&self, scope: Scope, after: (Timestamp, JobId), limit: u32) -> Result<Vec<Job>> {
        self.read(move |c| jobs::ended(c, scope, after, limit)).await
    }

    async fn cancel_job(&self, scope: Scope, id: JobId, now: Timestamp) -> Result<()> {
        self.write(move |c| jobs::cancel(c, scope, id, now)).await
    }

    async fn finished_tasks(&self, job: JobId, seq: u32, limit: u32) -> Result<Vec<FinishedTask>> {
        self.read(move |c| jobs::finished_tasks(c, job, seq, limit)).await
    }

    async fn skipped(&self, scope: Scope, id: JobId, after: u64, limit: u32) -> Result<Vec<(u64, SkippedUrl)>> {
        self.read(move |c| frontier::skipped(c, scope, id, after, limit)).await
    }

    async fn claim_tasks(&self, claim: ClaimTasks) -> Result<Vec<ClaimedTask>> {
        self.write(move |c| claim::claim(c, &claim)).await
    }

    async fn renew_tasks(&self, leases: Vec<TaskLease>, now: Timestamp, lease: Duration) -> Result<Vec<Renewal>> {
        self.write(move |c| tasks::renew(c, &leases, now, lease)).await
    }

    async fn finish_task(&self, finish: FinishTask) -> Result<Finish> {
        self.join(finish).await
    }

    async fn discover(&self, lease: TaskLease, discovery: Discovery) -> Result<()> {
        self.write(move |c| frontier::discover(c, lease, &discovery)).await
    }

    async fn claim_page(&self, lease: TaskLease, index: u32, own: UrlKey, keys: Vec<UrlKey>) -> Result<bool> {
        self.write(move |c| frontier::claim_page(c, lease, index, own, &keys)).await
    }

    async fn release_tasks(&self, leases: Vec<TaskLease>) -> Result<()> {
        self.write(move |c| tasks::release(c, &leases)).await
    }

    async fn mark_page(&self, lease: TaskLease, mark: PageMark) -> Result<()> {
        self.write(move |c| isolation::mark(c, lease, mark)).await
    }

    async fn keep_page(&self, lease: TaskLease, kept: KeptPage) -> Result<()> {
        self.write(move |c| isolation::keep(c, lease, &kept)).await
    }

    async fn submit_test(&self, test: NewTest) -> Result<ClaimedDelivery> {
        self.write(move |c| trial::submit(c, &test)).await
    }

    /// One transaction of two: what was looked at in the first is forgotten when the second is needed.
    async fn due_endpoints(&self, now: Timestamp, limit: u32, turn: u32) -> Result<Vec<DueEndpoint>> {
        let look = due::Look { now, limit, turn };
        match self.read(move |c| due::look(c, look)).await? {
            Some(endpoints) => Ok(endpoints),
            None => self.write(move |c| due::prepare_and_look(c, look)).await,
        }
    }

    async fn claim_deliveries(&self, claim: ClaimDeliveries) -> Result<Vec<ClaimedDelivery>> {
        self.write(move |c| dispatch::claim(c, &claim)).await
    }

    async fn renew_deliveries(&self, leases: Vec<DeliveryLease>, now: Timestamp, hold: Duration) -> Result<Vec<bool>> {
        self.write(move |c| dispatch::renew(c, &leases, now, hold)).await
    }

    async fn finish_attempt(
        &self,
        lease: DeliveryLease,
        attempt: Attempt,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<()> {
        self.join(dispatch::MadeAttempt { lease, attempt, verdict, now }).await
    }

    async fn release_delivery(&self, lease: DeliveryLease, next_attempt_at: Timestamp) -> Result<()> {
        self.write(move |c| dispatch::release(c, lease, next_attempt_at)).await
    }

    async fn next_delivery_at(&self) -> Result<Option<Timestamp>> {
        self.read(dispatch::next_at).await
    }

    async fn delivery(&self, scope: Scope, id: DeliveryId) -> Result<Delivery> {
        self.read(move |c| deliveries::delivery(c, scope, id)).await
    }

    async fn deliveries(&self, scope: Scope, filter: DeliveryFilter, page: Page<DeliveryId>) -> Result<Vec<Delivery>> {
        self.read(move |c| deliveries::deliveries(c, scope, filter, page)).await
    }

    async fn attempts(&self, scope: Scope, id: DeliveryId) -> Result<Vec<Attempt>> {
        self.read(move |c| attempts::attempts(c, scope, id)).await
    }

    async fn replay_delivery(&self, scope: Scope, id: DeliveryId, now: Timestamp) -> Result<()> {
        self.write(move |c| replay::replay(c, scope, id, now)).await
    }

    async fn count_deliveries(&self, scope: Scope, selection: Selection) -> Result<u64> {
        self.read(move |c| bulk::count_deliveries(c, scope, &selection)).await
    }

    async fn submit_replay(&self, new: NewReplay) -> Result<Replay> {
        self.write(move |c| bulk::submit(c, &new)).await
    }

    async fn replay(&self, scope: Scope, id: ReplayId) -> Result<Replay> {
        self.read(move |c| bulk::replay(c, scope, id)).await
    }

    async fn replays(&self, scope: Scope, page: Page<ReplayId>) -> Result<Vec<Replay>> {
        self.read(move |c| bulk::replays(c, scope, page)).await
    }

    async fn cancel_replay(&self, scope: Scope, id: ReplayId, now: Timestamp) -> Result<()> {
        self.write(move |c| bulk::cancel(c, scope, id, now)).await
    }

    async fn advance_replays(&self, now: Timestamp, limit: u32, window: u32) -> Result<Advance> {
        self.write(move |c| bulk::advance(c, now, limit, window)).await
    }

    async fn free_leases(&self) -> Result<()> {
        self.write(upkeep::free_leases).await
    }

    async fn expire_results(&self, now: Timestamp, limit: u32) -> Result<Vec<JobId>> {
        self.write(move |c| upkeep::expire_results(c, now, limit)).await
    }

    async fn delete_logs(&self, before: Timestamp, now: Timestamp, limit: u32) -> Result<u64> {
        self.write(move |c| upkeep::delete_logs(c, before, now, limit)).await
    }

    async fn unknown_jobs(&self, ids: Vec<JobId>) -> Result<Vec<JobId>> {
        self.read(move |c| upkeep::unknown_jobs(c, &ids)).await
    }

    async fn totals(&self) -> Result<Totals> {
        self.read(upkeep::totals).await
    }

    async fn ping(&self) -> Result<()> {
        self.write(upkeep::ping).await
    }

    async fn create_schedule(&self, new: NewSchedule) -> Result<Submission> {
        self.write(move |c| schedules::create(c, &new)).await
    }

    async fn schedule(&self, scope: Scope, id: ScheduleId) -> Result<Schedule> {
        self.read(move |c| schedules::schedule(c, scope, id)).await
    }

    async fn schedules(&self, scope: Scope, page: Page<ScheduleId>) -> Result<Vec<Schedule>> {
        self.read(move |c| schedules::schedules(c, scope, page)).await
    }

    async fn change_schedule(
        &self,
        scope: Scope,
        id: ScheduleId,
        version: u32,
        change: ScheduleChange,
        now: Timestamp,
    ) -> Result<()> {
        self.write(move |c| schedules::change(c, scope, id, version, &change, now)).await
    }

    async fn delete_schedule(&self, scope: Scope, id: ScheduleId) -> Result<()> {
        self.write(move |c| schedules::delete(c, scope, id)).await
    }

    async fn runs(&self, scope: Scope, id: ScheduleId, page: Page<Timestamp>) -> Result<Vec<Run>> {
        self.read(move |c| schedules::runs(c, scope, id, page)).await
    }

    async fn due_schedules(&self, now: Timestamp, limit: u32) -> Result<Vec<DueSchedule>> {
        self.read(move |c| schedules::due(c, now, limit)).await
    }

    async fn next_schedule_at(&self) -> Result<Option<Timestamp>> {
        self.read(schedules::next_at).await
    }

    async fn run_schedule(&self, run: RunSchedule) -> Result<Submission> {
        self.write(move |c| schedules::run(c, &run)).await
    }
}
