//! What a dashboard's questions cost on a large embedded store: 100,000 jobs, 300,000 deliveries, 1,000,000 attempts.
//!
//! The rows are put there by raw inserts; each question is then asked as the server asks it. Beside its times stand the statements
//! that it led to, with the plans that SQLite has for them.
//!
//! `cargo bench -p datasonar-store --features conformance --bench insight -- [--plans]`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use std::{collections::BTreeSet, path::Path, time::Duration};

use datasonar_store::{
    AccountId, BUCKET_MS, DeadLetterKey, DeliverySearch, DeliveryStatus, EndpointSearch, Environment, Insight, JobId,
    JobKind, JobSearch, JobStatus, Page, Part, Position, Scope, Webhook,
    conformance::plans::{Asked, on_sqlite},
    sqlite::{SqliteStore, Threading},
};
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tokio::time::Instant;
use uuid::Uuid;

const JOBS: u32 = 100_000;
const DELIVERIES: u32 = 300_000;
const ATTEMPTS: u32 = 1_000_000;
/// How often each question is asked.
const TIMES: usize = 30;
/// When the first row was made, in seconds since 1970; after it one job every 25 seconds, so that all lie within some 29 days.
const BEGIN: i64 = 1_800_000_000;
const DAYS: i64 = 29;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    SqliteStore::open(&path, Threading::Inline).await.unwrap().close().await;
    fill(&path);
    let store = SqliteStore::open(&path, Threading::Inline).await.unwrap();
    let asked = asked();
    println!("{:<58} {:>8} {:>10} {:>10}", "question", "rows", "median", "slowest");
    ask_all(&store, &asked).await;
    let plans = on_sqlite(&store, asked).await.unwrap();
    let told: BTreeSet<String> = plans.iter().map(|one| format!("{}: {}", one.question, one.plan.join("; "))).collect();
    println!("\n{} statements, of which none reads a whole table; plans that differ:", plans.len());
    told.iter().for_each(|line| println!("  {line}"));
}

fn asked() -> Asked {
    let scope = Scope { account: AccountId(Uuid::from_u128(7)), environment: Environment::Production };
    let endpoint = Webhook { url: "https://h7.example/hook/7".to_owned(), host: "h7.example".to_owned() };
    let now = Timestamp::from_second(BEGIN + DAYS * 24 * 60 * 60).unwrap();
    Asked { scope, now, job: job(JOBS / 2), endpoint }
}

/// The id of a job by its number.
fn job(number: u32) -> JobId {
    let ms = u64::try_from(BEGIN).unwrap() * 1000 + u64::from(number) * 25_000;
    JobId(Uuid::from_u64_pair((ms << 16) | 0x7000, u64::from(number)))
}

fn fill(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;").unwrap();
    let numbers = |count: u32| {
        format!("WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count} - 1)")
    };
    let id = |n: &str, gap: u32, mark: u32| {
        format!("unhex(printf('%012x%04x%016x', {BEGIN}000 + {n} * {gap}, {mark}, {n}))")
    };
    let (job, delivery) = (id("n", 25_000, 0x7000), id("n", 8_333, 0x7001));
    let account = "X'00000000000000000000000000000007'";
    let endpoint = "'https://h' || (n % 200) || '.example/hook/' || (n % 400)";
    let host = "'h' || (n % 200) || '.example'";
    // Of a hundred hosts, seven refuse or hang: all that is owed to them has failed.
    let dead = "n % 100 IN (3, 7, 21, 22, 55, 80, 91)";
    let cause = format!(
        "CASE WHEN {dead} THEN CASE n % 3 WHEN 0 THEN 'timeout' WHEN 1 THEN '503' ELSE 'connect_error' END ELSE '200' END"
    );
    let sql = [
        format!("INSERT INTO accounts (id, email, plan, created_at, built_in) VALUES ({account}, 'a', 'b', 0, 1)"),
        format!(
            "INSERT INTO jobs (id, account, environment, kind, status, options, webhook_url, webhook_host, created_at, completed_at,
            expires_at, total, succeeded, failed, tasks_left, tasks_claimable) {} SELECT {job}, {account}, 'production',
            CASE n % 10 WHEN 0 THEN 'crawl' WHEN 1 THEN 'batch' ELSE 'scrape' END,
            CASE WHEN n > {JOBS} - 300 THEN 'started' WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END, '{{\"format\":\"markdown\"}}',
            CASE WHEN n % 8 = 0 THEN NULL ELSE {endpoint} END, CASE WHEN n % 8 = 0 THEN NULL ELSE {host} END,
            {BEGIN}000 + n * 25000, 1, 1, 1, 1, 0, 0, 0 FROM numbers",
            numbers(JOBS)
        ),
        format!(
            "INSERT INTO deliveries (id, job, account, environment, url, host, status, created_at, last_attempt_at, next_attempt_at,
            next_trigger, attempts, automatic_attempts, lane, last_code, last_cause, last_ms) {} SELECT {delivery}, {}, {account},
            'production', {endpoint}, {host}, CASE WHEN {dead} THEN 'failed' WHEN n > {DELIVERIES} - 500 THEN 'pending' ELSE 'delivered' END,
            {BEGIN}000 + n * 8333, 5, CASE WHEN {dead} AND n % 2 = 0 THEN {BEGIN}000 + n END, 'automatic', 3, 3, 'retry', 200, {cause}, 120
            FROM numbers",
            numbers(DELIVERIES),
            id("n", 25_000, 0x7000)
        ),
        format!(
            "INSERT INTO attempts (id, delivery, number, trigger, started_at, request_headers, request_bytes, response_status,
            response_headers, response_body, timings) {} SELECT {}, a.id, numbers.n / {DELIVERIES} + 1, 'automatic', 5,
            '[[\"content-type\",\"application/json\"]]', 500, 200, '[]', zeroblob(200), '{{\"total_ms\":120}}'
            FROM numbers JOIN (SELECT row_number() OVER (ORDER BY id) - 1 AS place, id FROM deliveries) a ON a.place = numbers.n % {DELIVERIES}",
            numbers(ATTEMPTS),
            id("numbers.n", 3_000, 0x7002)
        ),
        format!(
            "INSERT INTO activity {} SELECT {account}, 'production', {BEGIN} / 600 + n, 900, 20, 18, 2, 400, 380, 60, 5, 1,
            9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1 FROM numbers",
            numbers(u32::try_from(DAYS * 144).unwrap())
        ),
        format!(
            "INSERT INTO endpoint_days {} SELECT {account}, 'production', {BEGIN} / 86400 + n / 200, {host}, 90, 50, n % 200 / 20, n % 200 / 40,
            9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1 FROM numbers",
            numbers(u32::try_from(DAYS * 200).unwrap())
        ),
        format!(
            "INSERT INTO job_errors {} SELECT {job}, 'timeout', 3, 1, 1, '\"https://example.com/\"' || char(10) FROM numbers",
            numbers(JOBS)
        ),
        format!(
            "INSERT INTO schedules {} SELECT {}, {account}, 'production', 'nightly', '0 3 * * *', 'UTC', 'skip', n % 2, 'scrape', '{{}}', 5, 5, 5, NULL, 1
            FROM numbers",
            numbers(200),
            id("n", 1, 0x7003)
        ),
        format!(
            "INSERT INTO runs {} SELECT {}, n, 'cron', 'skipped', NULL, NULL, n FROM numbers",
            numbers(20_000),
            id("(n % 200)", 1, 0x7003)
        ),
        "PRAGMA wal_checkpoint(TRUNCATE)".to_owned(),
    ];
    for sql in sql {
        // The deliveries are more than the jobs: those beyond belong to jobs whose results and rows are not of interest here.
        connection.execute_batch(&sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
}

/// Asks something often; tells how many rows it led to and how long it took.
async fn time<F: Future<Output = usize>>(question: &str, ask: impl Fn() -> F) {
    let mut took = Vec::with_capacity(TIMES);
    let mut rows = 0;
    for _ in 0..TIMES {
        let begin = Instant::now();
        rows = ask().await;
        took.push(begin.elapsed());
    }
    took.sort();
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
    println!("{question:<58} {rows:>8} {:>10} {:>10}", ms(took[TIMES / 2]), ms(took[TIMES - 1]));
}

async fn ask_all(store: &SqliteStore, asked: &Asked) {
    let Asked { scope, now, job, endpoint } = asked.clone();
    let ago = |days: i64| now - SignedDuration::from_hours(24 * days);
    for (name, days, bucket) in [("a day by 10 minutes", 1, 1), ("a week by hours", 7, 6), ("29 days by days", 29, 144)]
    {
        let ask = || async { store.activity(scope, ago(days), now, BUCKET_MS * bucket).await.unwrap().len() };
        time(&format!("activity: {name}"), ask).await;
    }
    time("standing", || async { store.standing(scope).await.map(|_| 6).unwrap() }).await;
    time("dead letters: 50 groups", || async { store.dead_letters(scope, 50).await.unwrap().groups.len() }).await;
    let key = DeadLetterKey { url: endpoint.url.clone(), cause: "503".to_owned() };
    time("dead letters: 50 of a group", || async {
        store.dead_letters_of(scope, key.clone(), None, 50).await.unwrap().len()
    })
    .await;
    for days in [1, 7, 29] {
        time(&format!("endpoints: {days} days"), || async {
            store.endpoints(scope, ago(days), 50).await.unwrap().len()
        })
        .await;
    }
    time("errors of a job", || async { store.job_errors(scope, job).await.unwrap().len() }).await;
    let page = Page { limit: 50, before: None };
    time("schedules with runs", || async { store.schedules_with_runs(scope, page).await.unwrap().len() }).await;
    ask_jobs(store, asked).await;
    ask_deliveries(store, asked).await;
}

async fn ask_jobs(store: &SqliteStore, asked: &Asked) {
    let Asked { scope, now, job, endpoint } = asked.clone();
    let (all, host) = (JobSearch::default, Some(endpoint.host));
    let day = now - SignedDuration::from_hours(24);
    let searches = [
        ("all", all()),
        ("failed", JobSearch { status: Some(JobStatus::Failed), ..all() }),
        ("failed crawls", JobSearch { status: Some(JobStatus::Failed), kind: Some(JobKind::Crawl), ..all() }),
        ("completed crawls", JobSearch { status: Some(JobStatus::Completed), kind: Some(JobKind::Crawl), ..all() }),
        ("of a host", JobSearch { host: host.clone(), ..all() }),
        ("of a host, failed, of a day", JobSearch { status: Some(JobStatus::Failed), since: Some(day), host, ..all() }),
        ("without endpoint", JobSearch { has_endpoint: Some(false), ..all() }),
        (
            "failed batches: none there is",
            JobSearch { status: Some(JobStatus::Failed), kind: Some(JobKind::Batch), ..all() },
        ),
        ("an id", JobSearch { text: Some(job.to_string()), ..all() }),
        ("a host that is typed", JobSearch { text: Some("h9.example".to_owned()), ..all() }),
    ];
    for (name, search) in searches {
        for (way, from) in [("", Position::Newest), (", upwards from the middle", Position::NewerThan(job))] {
            let part = Part { limit: 50, from };
            let ask = || async { store.find_jobs(scope, search.clone(), part).await.unwrap().rows.len() };
            time(&format!("jobs: {name}{way}"), ask).await;
        }
    }
}

async fn ask_deliveries(store: &SqliteStore, asked: &Asked) {
    let Asked { scope, now, job, endpoint } = asked.clone();
    let all = DeliverySearch::default;
    let day = now - SignedDuration::from_hours(24);
    let host = Some(EndpointSearch::Host("h8.example".to_owned()));
    let (failed, timeout) = (Some(DeliveryStatus::Failed), Some("timeout".to_owned()));
    let searches = [
        ("all", all()),
        ("failed", DeliverySearch { status: failed, ..all() }),
        ("of a host", DeliverySearch { endpoint: host.clone(), ..all() }),
        ("to an endpoint", DeliverySearch { endpoint: Some(EndpointSearch::Endpoint(endpoint)), ..all() }),
        ("timeout", DeliverySearch { cause: timeout.clone(), ..all() }),
        (
            "timeout, failed, of a day",
            DeliverySearch { cause: timeout.clone(), status: failed, since: Some(day), ..all() },
        ),
        ("of a host, timeout: none there is", DeliverySearch { endpoint: host, cause: timeout.clone(), ..all() }),
        ("200, failed: none there is", DeliverySearch { cause: Some("200".to_owned()), status: failed, ..all() }),
        (
            "delivered, timeout: none there is",
            DeliverySearch { cause: timeout, status: Some(DeliveryStatus::Delivered), ..all() },
        ),
        ("of a job", DeliverySearch { job: Some(job), ..all() }),
    ];
    let part = Part { limit: 50, from: Position::Newest };
    for (name, search) in searches {
        let ask = || async { store.find_deliveries(scope, search.clone(), part).await.unwrap().rows.len() };
        time(&format!("deliveries: {name}"), ask).await;
    }
}
