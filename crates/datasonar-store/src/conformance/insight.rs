//! Checks of what is answered to those who look at a scope as a whole.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::samples::*;
use crate::{
    ACTIVITY_DAYS, Activity, ActivityBucket, AttemptError, BUCKET_MS, CappedCount, ClaimedDelivery, DeadLetterKey,
    DeliveryId, DeliverySearch, DeliveryStatus, EndpointSearch, FinishTask, JobId, JobKind, JobSearch, JobStatus,
    LastAttempt, Listing, MOST_BUCKETS, NewJob, PageErrors, Part, Position, Scope, StoreError, UNKNOWN_ERROR,
    UsageSample, Verdict,
};

const NEWEST: Part<JobId> = Part { limit: ALL, from: Position::Newest };

async fn activity(store: &Tested, scope: Scope, buckets: i64) -> Vec<ActivityBucket> {
    let until = at(0) + SignedDuration::from_millis(BUCKET_MS * buckets);
    store.activity(scope, at(0), until, BUCKET_MS).await.unwrap()
}

/// How an attempt ended: its error, the answer's code, how many milliseconds it took.
type End<'a> = (Option<&'a str>, Option<u16>, u64);

/// An attempt that ended as it is told.
async fn attempted(
    store: &Tested,
    claimed: &ClaimedDelivery,
    now: Timestamp,
    (error, code, ms): End<'_>,
    status: DeliveryStatus,
) {
    let mut made = attempt(claimed, now, None);
    made.error = error.map(|code| AttemptError { code: code.to_owned(), message: "it failed".to_owned() });
    made.response_status = code;
    made.timings.total_ms = ms;
    let next_attempt_at = (status == DeliveryStatus::Pending).then_some(after(now, seconds(30)));
    store.finish_attempt(claimed.lease, made, Verdict { status, next_attempt_at }, now).await.unwrap();
}

/// What jobs, pages and attempts come to is told by buckets, the empty ones too, and keeps to its scope.
pub async fn activity_is_counted_where_it_happens(store: Tested) {
    let scope = scope();
    assert!(activity(&store, scope, 3).await.iter().all(|bucket| bucket.counts == Activity::default()));
    let kept = submit(&store, silent(batch(scope, 2))).await;
    submit(&store, NewJob { created_at: at(700), ..scrape(scope) }).await;
    submit(&store, scrape(sandbox_of(scope))).await;
    let tasks = claim(&store, ALL).await;
    for task in &tasks {
        let mut finish = FinishTask { now: at(1300), ..outcome(task) };
        if task.lease.job == kept && task.lease.seq == 0 {
            (finish.now, finish.succeeded, finish.failed) = (at(10), 7, 3);
        }
        store.finish_task(finish).await.unwrap();
    }
    let dead = claim_due(&store, ALL, at(1300)).await;
    for claimed in dead {
        attempted(&store, &claimed, at(1300), (Some("timeout"), None, 30_000), DeliveryStatus::Failed).await;
    }
    store
        .record_usage(vec![UsageSample { scope, at: at(20), pages: 4, succeeded: 1, time_ms: 9, is_charged: false }])
        .await
        .unwrap();
    let told = activity(&store, scope, 3).await;
    let begins: Vec<_> = told.iter().map(|bucket| bucket.begin).collect();
    assert_eq!(begins, [at(0), at(600), at(1200)]);
    let none = Activity::default();
    assert_eq!(told[0].counts, Activity { jobs_accepted: 1, pages: 14, pages_succeeded: 8, ..none });
    assert_eq!(told[1].counts, Activity { jobs_accepted: 1, ..none });
    let mut last =
        Activity { jobs_completed: 2, pages: 11, pages_succeeded: 11, attempts_failed: 1, dead_letters: 1, ..none };
    last.latency.record(30_000);
    assert_eq!(told[2].counts, last);
    let wide = store.activity(scope, at(599), at(1801), BUCKET_MS * 2).await.unwrap();
    assert_eq!(wide.iter().map(|bucket| bucket.begin).collect::<Vec<_>>(), [at(0), at(1200)]);
    assert_eq!((wide[0].counts.jobs_accepted, wide[1].counts), (2, last));
    assert_eq!(activity(&store, self::scope(), 1).await[0].counts, none);
}

/// Many at once are counted as one after another.
pub async fn activity_of_steps_done_together_is_complete(store: Tested) {
    let scope = scope();
    for _ in 0..40 {
        submit(&store, scrape(scope)).await;
    }
    let tasks = claim(&store, ALL).await;
    let finishing = tasks.iter().enumerate().map(|(number, task)| {
        let (store, failed) = (store.clone(), u32::from(number % 4 == 0));
        let page_error = (failed == 1).then(|| crate::JobError { code: "timeout".into(), message: String::new() });
        let errors = page_error.iter().map(|error| PageErrors { code: error.code.clone(), count: 1, urls: Vec::new() });
        let errors = errors.collect();
        let finish = FinishTask { succeeded: 1 - failed, failed, page_error, errors, ..outcome(task) };
        tokio::spawn(async move { store.finish_task(finish).await.unwrap() })
    });
    for finished in finishing.collect::<Vec<_>>() {
        finished.await.unwrap();
    }
    let attempts = claim_due(&store, ALL, at(20)).await.into_iter().map(|claimed| {
        let store = store.clone();
        tokio::spawn(async move { succeed(&store, &claimed, at(20)).await })
    });
    for made in attempts.collect::<Vec<_>>() {
        made.await.unwrap();
    }
    let told = activity(&store, scope, 1).await[0].counts;
    let expected = Activity {
        jobs_accepted: 40,
        jobs_completed: 30,
        jobs_failed: 10,
        pages: 40,
        pages_succeeded: 30,
        attempts_delivered: 40,
        ..Activity::default()
    };
    assert_eq!(Activity { latency: expected.latency, ..told }, expected);
    assert_eq!(told.latency.count(), 40);
    assert_eq!(told.latency.percentile(50), Some(60), "between 40 and 80 ms");
    let hosts = store.endpoints(scope, at(0), ALL).await.unwrap();
    assert_eq!((hosts.len(), hosts[0].host.as_str(), hosts[0].delivered), (1, "example.com", 40));
    assert_eq!(hosts[0].latency, told.latency);
}

/// A step that is refused, or done again, counts nothing; a test counts by its attempt alone.
pub async fn what_did_not_happen_is_not_counted(store: Tested) {
    let scope = scope();
    submit(&store, keyed(silent(scrape(scope)), "key", 1)).await;
    store.submit_job(keyed(silent(scrape(scope)), "key", 1)).await.unwrap();
    store.submit_job(keyed(silent(scrape(scope)), "key", 2)).await.unwrap_err();
    let task = claim(&store, ALL).await.remove(0);
    store.finish_task(FinishTask { succeeded: 9, ..outcome(&task) }).await.unwrap_err();
    finish(&store, &task).await;
    assert!(matches!(store.finish_task(outcome(&task)).await, Err(StoreError::LeaseLost)));
    let test = store.submit_test(trial(scope)).await.unwrap();
    attempted(&store, &test, at(1), (Some("http_status"), Some(500), 7), DeliveryStatus::Pending).await;
    store
        .finish_attempt(
            test.lease,
            attempt(&test, at(2), None),
            Verdict { status: DeliveryStatus::Delivered, next_attempt_at: None },
            at(2),
        )
        .await
        .unwrap_err();
    let told = activity(&store, scope, 1).await[0].counts;
    let mut expected = Activity {
        jobs_accepted: 1,
        jobs_completed: 1,
        pages: 1,
        pages_succeeded: 1,
        attempts_failed: 1,
        dead_letters: 1,
        ..Activity::default()
    };
    expected.latency.record(7);
    assert_eq!(told, expected);
}

/// Buckets are multiples of ten minutes, and not too many.
pub async fn activity_is_asked_for_within_bounds(store: Tested) {
    let scope = scope();
    for wrong in [0, -BUCKET_MS, BUCKET_MS + 1] {
        assert!(matches!(store.activity(scope, at(0), at(9), wrong).await, Err(StoreError::Corrupt(_))));
    }
    let until = at(0) + SignedDuration::from_millis(BUCKET_MS) * i32::try_from(MOST_BUCKETS).unwrap();
    assert_eq!(store.activity(scope, at(0), until, BUCKET_MS).await.unwrap().len(), MOST_BUCKETS);
    let beyond = store.activity(scope, at(0), after(until, seconds(1)), BUCKET_MS).await;
    assert!(matches!(beyond, Err(StoreError::Corrupt(_))));
    assert_eq!(store.activity(scope, at(9), at(9), BUCKET_MS).await.unwrap(), []);
    assert_eq!(store.activity(scope, at(9), at(8), BUCKET_MS).await.unwrap(), []);
}

/// What happened longer ago than is told is deleted with the logs.
pub async fn old_activity_is_forgotten(store: Tested) {
    let account = super::accounts::set_up(&store).await;
    let scope = Scope { account, ..scope() };
    ended(&store, scope).await;
    succeed(&store, &claim_delivery(&store, at(10)).await, at(10)).await;
    let day = SignedDuration::from_hours(24);
    let kept = at(0) + day * i32::try_from(ACTIVITY_DAYS).unwrap();
    store.delete_logs(Timestamp::UNIX_EPOCH, kept, ALL).await.unwrap();
    assert_eq!(activity(&store, scope, 1).await[0].counts.jobs_accepted, 1);
    assert_eq!(store.endpoints(scope, at(0), ALL).await.unwrap().len(), 1);
    store.delete_logs(Timestamp::UNIX_EPOCH, kept + day, ALL).await.unwrap();
    assert_eq!(activity(&store, scope, 1).await[0].counts, Activity::default());
    assert_eq!(store.endpoints(scope, at(0), ALL).await.unwrap(), []);
}

async fn jobs(store: &Tested, scope: Scope, search: JobSearch) -> Vec<JobId> {
    let listed = store.find_jobs(scope, search, NEWEST).await.unwrap();
    assert_eq!((listed.newer, listed.older), (None, None));
    listed.rows.into_iter().map(|job| job.id).collect()
}

/// Jobs are found by all that is asked for at once.
pub async fn jobs_are_searched(store: Tested) {
    let scope = scope();
    let on = |host: &str, job: NewJob| NewJob { webhook: Some(endpoint(host)), ..job };
    let (done, _) = ended(&store, scope).await;
    let a = submit(&store, on("a.example", scrape(scope))).await;
    let b = submit(&store, on("b.example:8443", batch(scope, 1))).await;
    let quiet = submit(&store, silent(batch(scope, 1))).await;
    submit(&store, on("a.example", scrape(sandbox_of(scope)))).await;
    submit(&store, on("a.example", scrape(self::scope()))).await;
    let all = JobSearch::default;
    assert_eq!(jobs(&store, scope, all()).await, [quiet, b, a, done]);
    let pending = || JobSearch { status: Some(JobStatus::Pending), ..all() };
    assert_eq!(jobs(&store, scope, pending()).await, [quiet, b, a]);
    let batches = || JobSearch { kind: Some(JobKind::Batch), ..all() };
    assert_eq!(jobs(&store, scope, batches()).await, [quiet, b]);
    assert_eq!(jobs(&store, scope, JobSearch { has_endpoint: Some(true), ..all() }).await, [b, a, done]);
    assert_eq!(jobs(&store, scope, JobSearch { has_endpoint: Some(false), ..pending() }).await, [quiet]);
    assert_eq!(jobs(&store, scope, JobSearch { has_endpoint: Some(true), ..batches() }).await, [b]);
    let host = |host: &str| JobSearch { host: Some(host.to_owned()), ..all() };
    assert_eq!(jobs(&store, scope, host("A.example")).await, [a]);
    assert_eq!(jobs(&store, scope, JobSearch { status: Some(JobStatus::Completed), ..host("a.example") }).await, []);
    assert_eq!(
        jobs(
            &store,
            scope,
            JobSearch { kind: Some(JobKind::Scrape), status: Some(JobStatus::Pending), ..host("a.example") }
        )
        .await,
        [a]
    );
    let text = |text: &str| JobSearch { text: Some(text.to_owned()), ..all() };
    assert_eq!(jobs(&store, scope, text(" b.example:8443 ")).await, [b]);
    assert_eq!(jobs(&store, scope, text("")).await, [quiet, b, a, done]);
    assert_eq!(jobs(&store, scope, text(&a.to_string())).await, [a]);
    assert_eq!(jobs(&store, scope, text(&a.0.simple().to_string().to_uppercase()[..30])).await, [a]);
    assert_eq!(
        jobs(&store, scope, text(&a.to_string()[..14])).await,
        [a],
        "ids of samples differ in their first digits"
    );
    assert_eq!(jobs(&store, scope, text("ffff")).await, []);
    assert_eq!(jobs(&store, sandbox_of(scope), text(&a.to_string())).await, []);
    let minted = |id: JobId| {
        let (seconds, nanoseconds) = id.0.get_timestamp().unwrap().to_unix();
        Timestamp::new(seconds as i64, nanoseconds as i32).unwrap()
    };
    assert_eq!(jobs(&store, scope, JobSearch { since: Some(minted(b)), ..all() }).await, [quiet, b]);
    assert_eq!(jobs(&store, scope, JobSearch { until: Some(minted(b)), ..all() }).await, [a, done]);
    let one = JobSearch { since: Some(minted(a)), until: Some(minted(b)), ..all() };
    assert_eq!(jobs(&store, scope, one).await, [a]);
}

/// Lists are walked both ways, without repeating or missing a row.
pub async fn parts_of_lists_join(store: Tested) {
    let scope = scope();
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.insert(0, submit(&store, batch(scope, 1)).await);
    }
    let part = async |limit, from| {
        let listed = store.find_jobs(scope, JobSearch::default(), Part { limit, from }).await.unwrap();
        Listing {
            rows: listed.rows.iter().map(|job| job.id).collect::<Vec<_>>(),
            newer: listed.newer,
            older: listed.older,
        }
    };
    let first = part(3, Position::Newest).await;
    assert_eq!(first, Listing { rows: ids[..3].to_vec(), newer: None, older: Some(ids[2]) });
    let second = part(3, Position::OlderThan(ids[2])).await;
    assert_eq!(second, Listing { rows: ids[3..6].to_vec(), newer: Some(ids[3]), older: Some(ids[5]) });
    let last = part(3, Position::OlderThan(ids[5])).await;
    assert_eq!(last, Listing { rows: vec![ids[6]], newer: Some(ids[6]), older: None });
    let back = part(3, Position::NewerThan(ids[6])).await;
    assert_eq!(back, Listing { rows: ids[3..6].to_vec(), newer: Some(ids[3]), older: Some(ids[5]) });
    let begin = part(3, Position::NewerThan(ids[3])).await;
    assert_eq!(begin, Listing { rows: ids[..3].to_vec(), newer: None, older: Some(ids[2]) });
    let beyond = part(3, Position::OlderThan(ids[6])).await;
    assert_eq!((beyond.rows.len(), beyond.older), (0, None));
    let back = part(1, Position::NewerThan(beyond.newer.unwrap())).await;
    assert_eq!(back.rows, [ids[6]]);
    let above = part(3, Position::NewerThan(ids[0])).await;
    assert_eq!((above.rows.len(), above.newer), (0, None));
    assert_eq!(part(1, Position::OlderThan(above.older.unwrap())).await.rows, [ids[0]]);
    assert_eq!(part(0, Position::Newest).await.rows, []);
    for edge in [Uuid::nil(), Uuid::max()] {
        part(3, Position::OlderThan(JobId(edge))).await;
        part(3, Position::NewerThan(JobId(edge))).await;
    }
}

/// Five deliveries, and how their last attempts ended: the first is the newest.
async fn five(store: &Tested, scope: Scope) -> [DeliveryId; 5] {
    let hosts = ["a.example", "a.example", "b.example", "b.example", "c.example"];
    let ends: [Option<(End<'_>, DeliveryStatus)>; 5] = [
        Some(((None, Some(204), 11), DeliveryStatus::Delivered)),
        Some(((Some("http_status"), Some(503), 12), DeliveryStatus::Pending)),
        Some(((Some("timeout"), Some(200), 30_000), DeliveryStatus::Failed)),
        Some(((Some("http_status"), Some(503), 14), DeliveryStatus::Failed)),
        None,
    ];
    let mut ids = Vec::new();
    for (host, end) in hosts.into_iter().zip(ends) {
        let id = owed(store, scope, host, at(10)).await;
        ids.insert(0, id);
        if let Some((end, status)) = end {
            let claimed = claim_delivery(store, at(10)).await;
            attempted(store, &claimed, at(10), end, status).await;
        }
    }
    ids.try_into().unwrap()
}

/// Deliveries are found by all that is asked for at once, and tell how their last attempt ended.
pub async fn deliveries_are_searched(store: Tested) {
    let scope = scope();
    let [waiting, dead, slow, tried, done] = five(&store, scope).await;
    let page = Part { limit: ALL, from: Position::Newest };
    let list = async |scope: Scope, search: DeliverySearch| -> Vec<DeliveryId> {
        let listed = store.find_deliveries(scope, search, page).await.unwrap();
        assert_eq!((listed.newer, listed.older), (None, None));
        listed.rows.into_iter().map(|row| row.delivery.id).collect()
    };
    let all = DeliverySearch::default;
    assert_eq!(list(scope, all()).await, [waiting, dead, slow, tried, done]);
    let status = |status| DeliverySearch { status: Some(status), ..all() };
    assert_eq!(list(scope, status(DeliveryStatus::Failed)).await, [dead, slow]);
    assert_eq!(list(scope, status(DeliveryStatus::Pending)).await, [waiting, tried]);
    let cause = |cause: &str| DeliverySearch { cause: Some(cause.to_owned()), ..all() };
    assert_eq!(list(scope, cause("503")).await, [dead, tried]);
    assert_eq!(list(scope, cause("timeout")).await, [slow]);
    assert_eq!(list(scope, cause("204")).await, [done]);
    assert_eq!(list(scope, cause("200")).await, []);
    assert_eq!(
        list(scope, DeliverySearch { cause: Some("503".to_owned()), ..status(DeliveryStatus::Failed) }).await,
        [dead]
    );
    let host = |host: &str| DeliverySearch { endpoint: Some(EndpointSearch::Host(host.to_owned())), ..all() };
    assert_eq!(list(scope, host("a.example")).await, [tried, done]);
    assert_eq!(list(scope, DeliverySearch { cause: Some("503".to_owned()), ..host("A.example") }).await, [tried]);
    let url = |host: &str| DeliverySearch { endpoint: Some(EndpointSearch::Endpoint(endpoint(host))), ..all() };
    assert_eq!(list(scope, url("b.example")).await, [dead, slow]);
    let mut elsewhere = endpoint("b.example");
    elsewhere.url.push('2');
    let elsewhere = DeliverySearch { endpoint: Some(EndpointSearch::Endpoint(elsewhere)), ..all() };
    assert_eq!(list(scope, elsewhere).await, []);
    let rows = store.find_deliveries(scope, all(), page).await.unwrap().rows;
    let job = rows[1].delivery.job;
    assert_eq!(list(scope, DeliverySearch { job: Some(job), ..all() }).await, [dead]);
    assert_eq!(list(scope, DeliverySearch { job: Some(job), ..status(DeliveryStatus::Pending) }).await, []);
    assert_eq!(list(scope, DeliverySearch { job: Some(JobId(uuid())), ..all() }).await, []);
    assert_eq!(list(sandbox_of(scope), DeliverySearch { job: Some(job), ..all() }).await, []);
    assert_eq!(list(self::scope(), all()).await, []);
    let last = |code, cause: &str, latency_ms| Some(LastAttempt { code, cause: cause.to_owned(), latency_ms });
    let told: Vec<_> = rows.into_iter().map(|row| (row.delivery.attempts, row.last)).collect();
    let expected = [
        (0, None),
        (1, last(Some(503), "503", 14)),
        (1, last(Some(200), "timeout", 30_000)),
        (1, last(Some(503), "503", 12)),
        (1, last(Some(204), "204", 11)),
    ];
    assert_eq!(told, expected);
    let minted = |id: DeliveryId| {
        let (seconds, nanoseconds) = id.0.get_timestamp().unwrap().to_unix();
        Timestamp::new(seconds as i64, nanoseconds as i32).unwrap()
    };
    let span = DeliverySearch { since: Some(minted(tried)), until: Some(minted(dead)), ..all() };
    assert_eq!(list(scope, span).await, [slow, tried]);
}

/// Dead letters are told by endpoint and cause, those first that have waited longest, and listed oldest first.
pub async fn dead_letters_are_grouped(store: Tested) {
    let scope = scope();
    let none = store.dead_letters(scope, ALL).await.unwrap();
    assert_eq!((none.total.count, none.groups.len()), (0, 0));
    let kill = async |host: &str, owed_at: i64, error: &str, next: Option<i64>| {
        let id = owed(&store, scope, host, at(owed_at)).await;
        let claimed = claim_due(&store, ALL, at(owed_at)).await;
        let claimed = claimed.into_iter().find(|claimed| claimed.delivery.id == id).unwrap();
        let mut made = attempt(&claimed, at(owed_at), Some(error));
        made.response_status = None;
        let verdict = Verdict { status: DeliveryStatus::Failed, next_attempt_at: next.map(at) };
        store.finish_attempt(claimed.lease, made, verdict, at(owed_at)).await.unwrap();
        id
    };
    let late = kill("a.example", 100, "timeout", Some(9_000)).await;
    let first = kill("b.example", 20, "timeout", None).await;
    let other = kill("b.example", 30, "tls_error", Some(8_000)).await;
    let second = kill("b.example", 40, "timeout", Some(7_000)).await;
    let told = store.dead_letters(scope, ALL).await.unwrap();
    assert_eq!(told.total, CappedCount { count: 4, is_capped: false });
    let brief = |limit| {
        let store = store.clone();
        async move {
            let groups = store.dead_letters(scope, limit).await.unwrap().groups.into_iter();
            groups
                .map(|g| (g.host, g.key.cause, g.count.count, g.oldest, g.newest, g.next_attempt_at))
                .collect::<Vec<_>>()
        }
    };
    let row = |host: &str, cause: &str, count, oldest, newest, next: i64| {
        (host.to_owned(), cause.to_owned(), count, at(oldest), at(newest), Some(at(next)))
    };
    let expected = [
        row("b.example", "timeout", 2, 20, 40, 7_000),
        row("b.example", "tls_error", 1, 30, 30, 8_000),
        row("a.example", "timeout", 1, 100, 100, 9_000),
    ];
    assert_eq!(brief(ALL).await, expected);
    assert_eq!(brief(1).await, expected[..1]);
    let list = async |host: &str, cause: &str, after, limit| -> Vec<DeliveryId> {
        let key = DeadLetterKey { url: endpoint(host).url, cause: cause.to_owned() };
        let listed = store.dead_letters_of(scope, key, after, limit).await.unwrap();
        listed.into_iter().map(|row| row.delivery.id).collect()
    };
    assert_eq!(list("b.example", "timeout", None, ALL).await, [first, second]);
    assert_eq!(list("b.example", "timeout", None, 1).await, [first]);
    assert_eq!(list("b.example", "timeout", Some(first), ALL).await, [second]);
    assert_eq!(list("b.example", "tls_error", None, ALL).await, [other]);
    assert_eq!(list("a.example", "timeout", None, ALL).await, [late]);
    let again = claim_due(&store, ALL, at(9_000)).await;
    for claimed in &again {
        succeed(&store, claimed, at(9_000)).await;
    }
    assert_eq!(again.len(), 3);
    let left = store.dead_letters(scope, ALL).await.unwrap();
    assert_eq!((left.total.count, left.groups.len(), left.groups[0].next_attempt_at), (1, 1, None));
    assert_eq!(list("b.example", "timeout", None, ALL).await, [first]);
    assert_eq!(store.dead_letters(sandbox_of(scope), ALL).await.unwrap().total.count, 0);
    assert_eq!(store.standing(scope).await.unwrap().dead_letters.count, 1);
}

/// Hosts are told with what came of their attempts, the worst first.
pub async fn endpoints_are_told_worst_first(store: Tested) {
    let scope = scope();
    five(&store, scope).await;
    let told = store.endpoints(scope, at(0), ALL).await.unwrap();
    let brief: Vec<_> =
        told.iter().map(|host| (host.host.as_str(), host.delivered, host.failed, host.dead_letters)).collect();
    assert_eq!(brief, [("b.example", 0, 2, 2), ("a.example", 1, 1, 0)]);
    assert_eq!((told[0].latency.count(), told[1].latency.percentile(100)), (2, Some(20)));
    assert_eq!(store.endpoints(scope, at(0), 1).await.unwrap().len(), 1);
    assert_eq!(store.endpoints(scope, at(24 * 60 * 60), ALL).await.unwrap(), []);
    assert_eq!(store.endpoints(sandbox_of(scope), at(0), ALL).await.unwrap(), []);
}

/// What stands where is counted.
pub async fn what_stands_where_is_counted(store: Tested) {
    let scope = scope();
    five(&store, scope).await;
    submit(&store, batch(scope, 2)).await;
    claim(&store, 1).await;
    submit(&store, batch(scope, 1)).await;
    submit(&store, batch(sandbox_of(scope), 1)).await;
    for paused in [true, false, false] {
        store.create_schedule(super::schedules::resting(scope, paused)).await.unwrap();
    }
    let told = store.standing(scope).await.unwrap();
    let counts = [
        told.jobs_pending,
        told.jobs_started,
        told.deliveries_pending,
        told.dead_letters,
        told.schedules_active,
        told.schedules_paused,
    ];
    assert_eq!(counts.map(|count| count.count), [1, 1, 2, 2, 2, 1]);
    assert!(counts.iter().all(|count| !count.is_capped));
    assert_eq!(store.standing(self::scope()).await.unwrap(), crate::Standing::default());
}

fn errors(code: &str, count: u64, urls: &[&str]) -> PageErrors {
    PageErrors { code: code.to_owned(), count, urls: urls.iter().map(|url| (*url).to_owned()).collect() }
}

/// The codes by which pages failed are counted over a job's tasks, with some URLs, and go with its results.
pub async fn errors_are_counted_by_code(store: Tested) {
    let scope = scope();
    let job = submit(&store, silent(batch(scope, 4))).await;
    let tasks = claim(&store, ALL).await;
    let finish = async |task: usize, failed: u32, errors: Vec<PageErrors>| {
        let finish = FinishTask { succeeded: 10 - failed, failed, errors, ..outcome(&tasks[task]) };
        store.finish_task(finish).await
    };
    assert_eq!(store.job_errors(scope, job).await.unwrap(), []);
    let beyond = finish(0, 1, vec![errors("timeout", 2, &[])]).await;
    assert!(matches!(beyond, Err(StoreError::Corrupt(_))));
    finish(0, 3, vec![errors("timeout", 1, &["a\n\""]), errors("dns_error", 1, &["b"])]).await.unwrap();
    finish(1, 0, Vec::new()).await.unwrap();
    finish(2, 6, vec![errors("timeout", 6, &["c", "d", "e", "f", "g"])]).await.unwrap();
    finish(3, 4, vec![errors("timeout", 3, &["h"])]).await.unwrap();
    let told = store.job_errors(scope, job).await.unwrap();
    let expected = [
        errors("timeout", 10, &["a\n\"", "c", "d", "e", "f"]),
        errors(UNKNOWN_ERROR, 2, &[]),
        errors("dns_error", 1, &["b"]),
    ];
    assert_eq!(told, expected);
    assert_eq!(told.iter().map(|one| one.count).sum::<u64>(), store.job(scope, job).await.unwrap().failed);
    for other in [sandbox_of(scope), self::scope()] {
        assert!(matches!(store.job_errors(other, job).await, Err(StoreError::NotFound)));
    }
    store.expire_results(after(at(11), RETENTION), ALL).await.unwrap();
    assert_eq!(store.job_errors(scope, job).await.unwrap(), []);
}

/// Of what is told of errors no more is kept than is asked for.
pub async fn urls_of_errors_are_bounded(store: Tested) {
    let scope = scope();
    let job = submit(&store, silent(batch(scope, 1))).await;
    let task = claim(&store, ALL).await.remove(0);
    let long = "\u{e4}".repeat(5_000);
    let many = errors("timeout", 10, &[long.as_str(); 10]);
    store.finish_task(FinishTask { succeeded: 0, failed: 10, errors: vec![many], ..outcome(&task) }).await.unwrap();
    let told = store.job_errors(scope, job).await.unwrap().remove(0);
    assert_eq!((told.count, told.urls.len()), (10, crate::ERROR_URLS));
    assert!(told.urls.iter().all(|url| url.len() == crate::ERROR_URL_BYTES && long.starts_with(url)));
}

/// Keys have names, and when they were last used is noted; what is older than what is noted changes nothing.
pub async fn uses_of_keys_are_noted(store: Tested) {
    let account = super::accounts::set_up(&store).await;
    let keys = async || store.keys(account).await.unwrap();
    let before = keys().await;
    assert!(before.iter().all(|key| key.last_used_at.is_none() && key.name.starts_with("key ")));
    let id = before[0].id;
    let unknown = crate::KeyId(uuid());
    store.touch_keys(vec![(id, at(50)), (unknown, at(60))]).await.unwrap();
    assert_eq!(keys().await[0].last_used_at, Some(at(50)));
    store.touch_keys(vec![(id, at(40))]).await.unwrap();
    assert_eq!(keys().await[0].last_used_at, Some(at(50)));
    store.touch_keys(vec![(id, at(70))]).await.unwrap();
    assert_eq!(keys().await[0].last_used_at, Some(at(70)));
    assert!(keys().await[1..].iter().all(|key| key.last_used_at.is_none()));
}
