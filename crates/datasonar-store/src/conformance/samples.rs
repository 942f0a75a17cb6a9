//! What the checks are made of: ids, scopes, jobs and the steps that bring a job along.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::{
    AccountId, Attempt, AttemptError, AttemptId, ClaimDeliveries, ClaimTasks, ClaimedDelivery, ClaimedTask, DeliveryId,
    DeliveryLease, DeliveryStatus, Discovery, DueEndpoint, Environment, Finish, FinishTask, FoundUrl, Idempotency,
    JobId, JobInput, JobKind, Lane, NewCrawl, NewJob, NewSecret, NewTask, NewTest, NewWork, ProcessId, Scope, SecretId,
    Segment, SegmentData, Share, Submission, TaskLease, Timings, UrlKey, Verdict, Webhook, WholeStore,
};

/// The store under test.
pub type Tested = Arc<dyn WholeStore>;

/// How long leases hold.
pub const LEASE: Duration = Duration::from_secs(60);
/// How long results are kept.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A limit beyond everything that the checks make.
pub const ALL: u32 = 100_000;

/// A time: so many seconds after one that all checks share.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A duration of so many seconds.
pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A time plus a duration.
pub fn after(time: Timestamp, by: Duration) -> Timestamp {
    time + SignedDuration::try_from(by).unwrap()
}

/// A new UUID, greater than those made before.
pub fn uuid() -> Uuid {
    static LAST: AtomicU64 = AtomicU64::new(1);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let high = ((0x0190_0000_0000 + number) << 16) | 0x7000;
    Uuid::from_u64_pair(high, (0x8000 << 48) | number)
}

/// A new scope: an account's production.
pub fn scope() -> Scope {
    Scope { account: AccountId(uuid()), environment: Environment::Production }
}

/// The other environment of the same account.
pub fn sandbox_of(scope: Scope) -> Scope {
    Scope { environment: Environment::Sandbox, ..scope }
}

/// A new process.
pub fn process() -> ProcessId {
    ProcessId(uuid())
}

/// A batch of so many tasks of ten URLs each, with an endpoint and its input in a blob, accepted at `at(0)`.
pub fn batch(scope: Scope, tasks: u32) -> NewJob {
    let id = JobId(uuid());
    NewJob {
        id,
        scope,
        kind: JobKind::Batch,
        options: r#"{"format":"markdown"}"#.to_owned(),
        webhook: Some(endpoint("example.com")),
        work: NewWork::Listed {
            input: JobInput::Blob(format!("inputs/{id}")),
            tasks: (0..tasks)
                .map(|seq| NewTask { input_offset: u64::from(seq) * 250, input_bytes: 250, urls: 10 })
                .collect(),
        },
        created_at: at(0),
        idempotency: None,
        allowance: None,
    }
}

/// A scrape of one URL, with an endpoint and its input in the row.
pub fn scrape(scope: Scope) -> NewJob {
    let url = b"https://example.com/".to_vec();
    let task = NewTask { input_offset: 0, input_bytes: url.len() as u32, urls: 1 };
    let work = NewWork::Listed { input: JobInput::Inline(url), tasks: vec![task] };
    NewJob { kind: JobKind::Scrape, work, ..batch(scope, 0) }
}

/// The same job, with other tasks.
pub fn with_tasks(mut job: NewJob, of_it: impl IntoIterator<Item = NewTask>) -> NewJob {
    if let NewWork::Listed { tasks, .. } = &mut job.work {
        *tasks = of_it.into_iter().collect();
    }
    job
}

/// A crawl of so many pages, that begins at page 0.
pub fn crawl(scope: Scope, max_pages: u64) -> NewJob {
    let work = NewWork::Crawl(NewCrawl { max_pages, start: FoundUrl { found_on: None, ..found(0, 0) } });
    NewJob { kind: JobKind::Crawl, work, ..batch(scope, 0) }
}

/// A page by its number, found on another.
pub fn found(page: u32, depth: u32) -> FoundUrl {
    let url = format!("https://example.com/{page}");
    FoundUrl { key: key(page), url, depth, found_on: Some("https://example.com/".to_owned()) }
}

/// A page's key.
pub fn key(page: u32) -> UrlKey {
    UrlKey(u128::from(page).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
}

/// An endpoint on a host.
pub fn endpoint(host: &str) -> Webhook {
    Webhook { url: format!("https://{host}/hook"), host: host.to_owned() }
}

/// A trial of an endpoint at `at(0)`.
pub fn trial(scope: Scope) -> NewTest {
    let (job, delivery) = (JobId(uuid()), DeliveryId(uuid()));
    let bytes = br#"{"test":true}"#.to_vec();
    let segment = Segment { first: 0, count: 1, raw_bytes: 13, sha256: [3; 32], data: SegmentData::Inline(bytes) };
    NewTest {
        job,
        delivery,
        scope,
        webhook: endpoint("example.com"),
        options: "{}".to_owned(),
        segment,
        owner: process(),
        now: at(0),
        lease: LEASE,
        retention: RETENTION,
    }
}

/// The same job, with an idempotency key.
pub fn keyed(job: NewJob, key: &str, fingerprint: u8) -> NewJob {
    let answer = format!(r#"{{"job_id":"{}"}}"#, job.id);
    let idempotency = Idempotency { key: key.to_owned(), fingerprint: [fingerprint; 32], answer };
    NewJob { idempotency: Some(idempotency), ..job }
}

/// The same job, without an endpoint.
pub fn silent(job: NewJob) -> NewJob {
    NewJob { webhook: None, ..job }
}

/// Submits a job that is to be accepted.
pub async fn submit(store: &Tested, job: NewJob) -> JobId {
    let id = job.id;
    assert_eq!(store.submit_job(job).await.unwrap(), Submission::Accepted);
    id
}

/// A claim of at most `limit` tasks at `at(0)`, with no other bound.
pub fn claiming(limit: u32) -> ClaimTasks {
    ClaimTasks {
        owner: process(),
        limit,
        per_job: ALL,
        held: Vec::new(),
        newcomers_only: false,
        rooms: Vec::new(),
        isolated: ALL,
        isolated_held: Vec::new(),
        now: at(0),
        lease: LEASE,
    }
}

/// Claims tasks that a bound does not matter for.
pub async fn claim(store: &Tested, limit: u32) -> Vec<ClaimedTask> {
    claim_at(store, limit, at(0)).await
}

/// Claims tasks at a time.
pub async fn claim_at(store: &Tested, limit: u32, now: Timestamp) -> Vec<ClaimedTask> {
    store.claim_tasks(ClaimTasks { now, ..claiming(limit) }).await.unwrap()
}

/// The job and position of each task claimed.
pub fn places(tasks: &[ClaimedTask]) -> Vec<(JobId, u32)> {
    tasks.iter().map(|task| (task.lease.job, task.lease.seq)).collect()
}

/// How many tasks of a job are among those claimed.
pub fn of(tasks: &[ClaimedTask], job: JobId) -> usize {
    tasks.iter().filter(|task| task.lease.job == job).count()
}

/// The outcome of a task: all pages succeeded, one segment of 100 bytes for each page.
pub fn outcome(task: &ClaimedTask) -> FinishTask {
    let segment = Segment {
        first: task.first,
        count: task.urls,
        raw_bytes: u64::from(task.urls) * 100,
        sha256: [task.lease.seq as u8; 32],
        data: SegmentData::Blob(format!("{}/{}", task.lease.job, task.lease.seq)),
    };
    FinishTask {
        lease: task.lease,
        segments: vec![segment],
        succeeded: task.urls,
        failed: 0,
        time_ms: u64::from(task.urls) * 10,
        errors: Vec::new(),
        page_error: None,
        dropped: Vec::new(),
        discovery: Discovery::default(),
        delivery: DeliveryId(uuid()),
        now: at(10),
        retention: RETENTION,
    }
}

/// Finishes a task at `at(10)`.
pub async fn finish(store: &Tested, task: &ClaimedTask) -> Finish {
    store.finish_task(outcome(task)).await.unwrap()
}

/// A lease on no task there is.
pub fn unknown_lease() -> TaskLease {
    TaskLease { job: JobId(uuid()), seq: 0, epoch: 1 }
}

/// Claims and finishes all there is; answers the delivery of the job that ended last.
pub async fn run_all(store: &Tested) -> Option<DeliveryId> {
    let mut last = None;
    for task in claim(store, ALL).await {
        if let Finish::Job { delivery } = finish(store, &task).await {
            last = delivery;
        }
    }
    last
}

/// Submits a scrape and runs it to its end at `at(10)`; answers it and its delivery.
pub async fn ended(store: &Tested, scope: Scope) -> (JobId, DeliveryId) {
    let job = submit(store, scrape(scope)).await;
    (job, run_all(store).await.unwrap())
}

/// The key of the endpoint on a host.
pub fn endpoint_key(scope: Scope, host: &str) -> String {
    crate::endpoint::key(scope, &endpoint(host).url)
}

/// A share of a claim, of the endpoint on a host.
pub fn share(scope: Scope, host: &str, lane: Lane, limit: u32) -> Share {
    Share { endpoint: endpoint_key(scope, host), lane, limit }
}

/// A share of a claim for each endpoint.
pub fn shares_of(due: Vec<DueEndpoint>, limit: u32) -> Vec<Share> {
    due.into_iter().map(|due| Share { endpoint: due.endpoint, lane: due.lane, limit }).collect()
}

/// Claims exactly these shares.
pub async fn claim_shares(store: &Tested, shares: Vec<Share>, now: Timestamp) -> Vec<ClaimedDelivery> {
    store.claim_deliveries(ClaimDeliveries { owner: process(), shares, now, lease: LEASE }).await.unwrap()
}

/// Claims at most `limit` of what is due in each lane of each endpoint.
pub async fn claim_due(store: &Tested, limit: u32, now: Timestamp) -> Vec<ClaimedDelivery> {
    let due = store.due_endpoints(now, ALL, 0).await.unwrap();
    claim_shares(store, shares_of(due, limit), now).await
}

/// Submits a scrape whose endpoint is on a host and runs it to its end at a time; returns its delivery.
pub async fn owed(store: &Tested, scope: Scope, host: &str, now: Timestamp) -> DeliveryId {
    owed_to(store, scope, endpoint(host), now).await
}

/// Submits a scrape with an endpoint and runs it to its end at a time; returns its delivery.
pub async fn owed_to(store: &Tested, scope: Scope, webhook: Webhook, now: Timestamp) -> DeliveryId {
    submit(store, NewJob { webhook: Some(webhook), ..scrape(scope) }).await;
    let task = claim(store, 1).await.remove(0);
    match store.finish_task(FinishTask { now, ..outcome(&task) }).await.unwrap() {
        Finish::Job { delivery: Some(delivery) } => delivery,
        other => panic!("it owes nothing: {other:?}"),
    }
}

/// Claims the one delivery that is due.
pub async fn claim_delivery(store: &Tested, now: Timestamp) -> ClaimedDelivery {
    let mut claimed = claim_due(store, ALL, now).await;
    assert_eq!(claimed.len(), 1, "one delivery is due");
    claimed.remove(0)
}

/// How many deliveries could be claimed at a time; claims them.
pub async fn due(store: &Tested, now: Timestamp) -> usize {
    claim_due(store, ALL, now).await.len()
}

/// Whether a lease could be renewed; renews it.
pub async fn renew(store: &Tested, lease: DeliveryLease, now: Timestamp) -> bool {
    store.renew_deliveries(vec![lease], now, LEASE).await.unwrap() == [true]
}

/// The attempt that follows from a claim.
pub fn attempt(claimed: &ClaimedDelivery, now: Timestamp, error: Option<&str>) -> Attempt {
    Attempt {
        id: AttemptId(uuid()),
        delivery: claimed.delivery.id,
        number: claimed.delivery.attempts + 1,
        trigger: claimed.delivery.next_trigger,
        started_at: now,
        request_headers: vec![("webhook-id".to_owned(), claimed.delivery.id.to_string())],
        request_bytes: 512,
        remote: Some("203.0.113.7:443".to_owned()),
        response_status: Some(if error.is_some() { 500 } else { 200 }),
        response_headers: vec![("server".to_owned(), "x".to_owned()), ("server".to_owned(), "y".to_owned())],
        response_body: vec![0, 255, b'"'],
        timings: Timings { total_ms: 42, connect_ms: Some(7), ..Timings::default() },
        error: error.map(|code| AttemptError { code: code.to_owned(), message: "it failed".to_owned() }),
    }
}

/// Records that an attempt begun at `now` succeeded.
pub async fn succeed(store: &Tested, claimed: &ClaimedDelivery, now: Timestamp) {
    let verdict = Verdict { status: DeliveryStatus::Delivered, next_attempt_at: None };
    store.finish_attempt(claimed.lease, attempt(claimed, now, None), verdict, now).await.unwrap();
}

/// Records that an attempt begun at `now` failed, and when the next is due.
pub async fn fail(
    store: &Tested,
    claimed: &ClaimedDelivery,
    now: Timestamp,
    status: DeliveryStatus,
    next_attempt_at: Option<Timestamp>,
) {
    let verdict = Verdict { status, next_attempt_at };
    store.finish_attempt(claimed.lease, attempt(claimed, now, Some("http_status")), verdict, now).await.unwrap();
}

/// A secret made at a time.
pub fn secret(scope: Scope, created_at: Timestamp) -> NewSecret {
    let id = SecretId(uuid());
    NewSecret { id, scope, sealed: id.0.as_bytes().to_vec(), created_at }
}
