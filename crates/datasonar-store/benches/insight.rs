//! What a dashboard's questions cost on a large embedded store: 100,000 jobs, 300,000 deliveries, 1,000,000 attempts.
//!
//! The rows are put there by raw inserts; each question is then asked as the server asks it. Beside its times stand the statements
//! that it led to, with the plans that SQLite has for them.
//!
//! `cargo bench -p datasonar-store --features conformance --bench insight -- [--plans]`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use std::{collections::BTreeSet, time::Duration};

use datasonar_store::{
    AccountId, BUCKET_MS, DeadLetterKey, DeliverySearch, DeliveryStatus, EndpointSearch, Environment, Insight, JobId,
    JobKind, JobSearch, JobStatus, Page, Part, Position, ScheduleId, Scope, Webhook,
    conformance::plans::{Asked, on_sqlite},
    sqlite::{SqliteStore, Threading},
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use uuid::Uuid;

/// How often each question is asked.
const TIMES: usize = 30;
/// When the first row was made, in seconds since 1970.
const BEGIN: i64 = 1_800_000_000;
const ACCOUNT: Uuid = Uuid::from_u128(7);

#[path = "../../../benches/support/large.rs"]
mod large;

use large::{DAYS, JOBS};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    SqliteStore::open(&path, Threading::Inline).await.unwrap().close().await;
    large::fill(&path, ACCOUNT, BEGIN);
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
    let scope = Scope { account: AccountId(ACCOUNT), environment: Environment::Production };
    let endpoint = Webhook { url: "https://h7.example/hook/7".to_owned(), host: "h7.example".to_owned() };
    let now = Timestamp::from_second(BEGIN + DAYS * 24 * 60 * 60).unwrap();
    let schedule = ScheduleId(Uuid::from_u64_pair(((BEGIN.unsigned_abs() * 1000 + 7) << 16) | 0x7003, 7));
    Asked { scope, now, job: JobId(large::job(BEGIN, JOBS / 2)), schedule, endpoint }
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
    let Asked { scope, now, job, endpoint, .. } = asked.clone();
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
    let Asked { scope, now, job, endpoint, .. } = asked.clone();
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
    let Asked { scope, now, job, endpoint, .. } = asked.clone();
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
