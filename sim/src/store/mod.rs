//! The store as a process sees it: every call may fail before it is done, be done and not answered, be answered late, or be
//! the last thing that the process does. What was really done is told to the oracle, whatever the process hears of it.

mod mutation;
mod watched;

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;
use datasonar_store::*;
use jiff::Timestamp;

pub use mutation::Mutation;
pub(crate) use mutation::Rows;

use crate::{host::Host, trace::Answer, world::World};

/// The one store, as one process sees it.
pub(crate) struct FaultyStore {
    pub(crate) rows: Arc<Rows>,
    pub(crate) host: Arc<Host>,
    pub(crate) world: Arc<World>,
}

fn lost(what: &str) -> StoreError {
    StoreError::Unavailable(what.to_owned())
}

impl FaultyStore {
    /// Makes a call, or not.
    async fn pass<T, A, F>(&self, name: &str, args: &A, call: F) -> Result<T>
    where
        T: Debug,
        A: Debug + Sync,
        F: Future<Output = Result<T>>,
    {
        let Self { host, world, .. } = self;
        host.living().await;
        world.dawdle(host.slow()).await;
        if !host.reaches_store().await {
            world.note(&host.name, format_args!("{name} is cut off"));
            return Err(lost("the store cannot be reached"));
        }
        host.living().await;
        let weather = &world.weather;
        if world.strikes(weather.dies_before) {
            world.note(&host.name, format_args!("dies before {name} {args:?}"));
            host.die().await;
        }
        if world.strikes(weather.fails) {
            world.note(&host.name, format_args!("{name} fails"));
            return Err(lost("the connection was refused"));
        }
        let result = call.await;
        world.note_call(&host.name, format_args!("{name} {args:?}"), format_args!(" -> {}", Answer(&result)));
        if world.strikes(weather.dies_after) {
            world.note(&host.name, format_args!("dies before it hears of {name}"));
            host.die().await;
        }
        if world.strikes(weather.loses_answer) {
            world.note(&host.name, format_args!("the answer to {name} is lost"));
            return Err(lost("the connection was lost"));
        }
        if world.strikes(weather.late) {
            let late = world.dice().milliseconds(500..20_000);
            tokio::time::sleep(late).await;
        }
        host.living().await;
        result
    }
}

/// Every call goes through [`FaultyStore::pass`]; those with a `by` to a method of that name, which tells the oracle.
macro_rules! faulty {
    ($trait:ident: $( $name:ident($($arg:ident: $type:ty),*) -> $out:ty $(, by $watched:ident)?; )*) => {
        #[async_trait]
        impl $trait for FaultyStore {
            $(
                async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                    let args = ($($arg.clone(),)*);
                    self.pass(stringify!($name), &args, faulty!(@call self $name ($($arg),*) $($watched)?)).await
                }
            )*
        }
    };
    (@call $self:ident $name:ident ($($arg:ident),*)) => { $self.rows.store.$name($($arg),*) };
    (@call $self:ident $name:ident ($($arg:ident),*) $watched:ident) => { $self.$watched($($arg),*) };
}

faulty! {
    Store:
    set_up(setup: Setup) -> bool;
    account(id: Option<AccountId>) -> Account;
    authenticate(hash: [u8; 32]) -> Option<Caller>;
    create_key(key: NewKey) -> ();
    keys(account: AccountId) -> Vec<Key>;
    revoke_key(account: AccountId, key: KeyId, now: Timestamp) -> ();
    secrets(scope: Scope, now: Timestamp) -> Vec<Secret>;
    rotate_secret(new: NewSecret, overlap: Duration) -> ();
    record_usage(samples: Vec<UsageSample>) -> ();
    usage(scope: Scope, since: Timestamp) -> Usage;
    submit_job(job: NewJob) -> Submission;
    job(scope: Scope, id: JobId) -> Job;
    jobs(scope: Scope, filter: JobFilter, page: Page<JobId>) -> Vec<Job>;
    ended_jobs(scope: Scope, after: (Timestamp, JobId), limit: u32) -> Vec<Job>;
    cancel_job(scope: Scope, id: JobId, now: Timestamp) -> ();
    finished_tasks(job: JobId, seq: u32, limit: u32) -> Vec<FinishedTask>;
    skipped(scope: Scope, id: JobId, after: u64, limit: u32) -> Vec<(u64, SkippedUrl)>;
    claim_tasks(claim: ClaimTasks) -> Vec<ClaimedTask>, by watch_claim_tasks;
    renew_tasks(leases: Vec<TaskLease>, now: Timestamp, lease: Duration) -> Vec<Renewal>;
    finish_task(finish: FinishTask) -> Finish, by watch_finish_task;
    discover(lease: TaskLease, discovery: Discovery) -> ();
    claim_page(lease: TaskLease, index: u32, own: UrlKey, keys: Vec<UrlKey>) -> bool;
    release_tasks(leases: Vec<TaskLease>) -> (), by watch_release_tasks;
    mark_page(lease: TaskLease, mark: PageMark) -> (), by watch_mark_page;
    keep_page(lease: TaskLease, kept: KeptPage) -> (), by watch_keep_page;
    submit_test(test: NewTest) -> ClaimedDelivery, by watch_submit_test;
    due_endpoints(now: Timestamp, limit: u32, turn: u32) -> Vec<DueEndpoint>;
    claim_deliveries(claim: ClaimDeliveries) -> Vec<ClaimedDelivery>, by watch_claim_deliveries;
    renew_deliveries(leases: Vec<DeliveryLease>, now: Timestamp, hold: Duration) -> Vec<bool>;
    finish_attempt(lease: DeliveryLease, attempt: Attempt, verdict: Verdict, now: Timestamp) -> (), by watch_finish_attempt;
    release_delivery(lease: DeliveryLease, next_attempt_at: Timestamp) -> ();
    next_delivery_at() -> Option<Timestamp>;
    delivery(scope: Scope, id: DeliveryId) -> Delivery;
    deliveries(scope: Scope, filter: DeliveryFilter, page: Page<DeliveryId>) -> Vec<Delivery>;
    attempts(scope: Scope, id: DeliveryId) -> Vec<Attempt>;
    replay_delivery(scope: Scope, id: DeliveryId, now: Timestamp) -> ();
    count_deliveries(scope: Scope, selection: Selection) -> u64;
    submit_replay(new: NewReplay) -> Replay;
    replay(scope: Scope, id: ReplayId) -> Replay;
    replays(scope: Scope, page: Page<ReplayId>) -> Vec<Replay>;
    cancel_replay(scope: Scope, id: ReplayId, now: Timestamp) -> ();
    advance_replays(now: Timestamp, limit: u32, window: u32) -> Advance;
    create_schedule(new: NewSchedule) -> Submission;
    schedule(scope: Scope, id: ScheduleId) -> Schedule;
    schedules(scope: Scope, page: Page<ScheduleId>) -> Vec<Schedule>;
    change_schedule(scope: Scope, id: ScheduleId, version: u32, change: ScheduleChange, now: Timestamp) -> ();
    delete_schedule(scope: Scope, id: ScheduleId) -> ();
    runs(scope: Scope, id: ScheduleId, page: Page<Timestamp>) -> Vec<Run>;
    due_schedules(now: Timestamp, limit: u32) -> Vec<DueSchedule>;
    next_schedule_at() -> Option<Timestamp>;
    run_schedule(run: RunSchedule) -> Submission;
    free_leases() -> ();
    expire_results(now: Timestamp, limit: u32) -> Vec<JobId>;
    delete_logs(before: Timestamp, now: Timestamp, limit: u32) -> u64;
    unknown_jobs(ids: Vec<JobId>) -> Vec<JobId>;
    totals() -> Totals;
    ping() -> ();
}

faulty! {
    Insight:
    activity(scope: Scope, since: Timestamp, until: Timestamp, bucket_ms: i64) -> Vec<ActivityBucket>;
    standing(scope: Scope) -> Standing;
    find_jobs(scope: Scope, search: JobSearch, part: Part<JobId>) -> Listing<Job, JobId>;
    find_deliveries(scope: Scope, search: DeliverySearch, part: Part<DeliveryId>) -> Listing<ListedDelivery, DeliveryId>;
    dead_letters(scope: Scope, limit: u32) -> DeadLetters;
    count_replayable(scope: Scope, selection: Selection) -> CappedCount;
    dead_letters_of(scope: Scope, group: DeadLetterKey, after: Option<DeliveryId>, limit: u32) -> Vec<ListedDelivery>;
    endpoints(scope: Scope, since: Timestamp, limit: u32) -> Vec<EndpointHealth>;
    job_errors(scope: Scope, job: JobId) -> Vec<PageErrors>;
    schedules_with_runs(scope: Scope, page: Page<ScheduleId>) -> Vec<ScheduleOverview>;
    touch_keys(uses: Vec<(KeyId, Timestamp)>) -> ();
}

faulty! {
    People:
    create_link(new: NewLink) -> ();
    link(hash: TokenHash, now: Timestamp) -> Option<Link>;
    accept_link(hash: TokenHash, user: NewUser, session: NewSession, now: Timestamp) -> UserId;
    invitations(account: AccountId, now: Timestamp) -> Vec<Link>;
    withdraw_link(account: AccountId, link: LinkId) -> ();
    user_by_email(email: String) -> Option<User>;
    open_session(user: UserId, password_hash: String, session: NewSession) -> ();
    session(hash: TokenHash, now: Timestamp, idle: Duration) -> Option<Session>;
    sessions(user: UserId) -> Vec<OpenSession>;
    close_session(hash: TokenHash) -> ();
    close_sessions(user: UserId, except: Option<TokenHash>) -> u64;
    set_password(user: UserId, old_hash: String, new_hash: String, keep: Option<TokenHash>) -> ();
    members(account: AccountId) -> Vec<Member>;
    remove_member(account: AccountId, user: UserId) -> ();
    change_role(account: AccountId, user: UserId, role: MemberRole) -> ();
    note_failure(subjects: Vec<(Subject, Brake)>, now: Timestamp) -> Option<Timestamp>;
    failures(subject: Subject, since: Timestamp) -> u64;
    forgive_failure(subject: Subject, at: Timestamp) -> ();
    forget_failures(subject: Subject) -> ();
    delete_expired_people(expiry: PeopleExpiry, limit: u32) -> u64;
}

faulty! {
    Accounts:
    create_account(new: NewAccount) -> ();
    accounts(after: Option<AccountId>, limit: u32) -> Vec<Account>;
    account_by_email(email: String) -> Option<Account>;
    set_plan(account: AccountId, plan: String) -> ();
    take_requests(take: TakeRequests) -> TakenRequests;
    charge_pages(scope: Scope, pages: u64, allowance: Allowance, now: Timestamp) -> ();
    spent(scope: Scope, since: Timestamp) -> Spent;
}
