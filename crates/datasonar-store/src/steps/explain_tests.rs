//! No question reads a whole table, and no search looks at more than it may.

use std::collections::BTreeSet;

use super::*;
use crate::postgres::{Connector, PostgresStore};
use crate::sql::params;
use crate::sqlite::{SqliteStore, Threading};
use crate::{AccountId, Environment, Insight};

const JOBS: u32 = 9_000;

/// The id of a row by its number, in the SQL of each database, `n` being the number; one job each hundred milliseconds.
const SQLITE_ID: &str = "unhex(printf('%012x%04x%016x', 1800000000000 + n * 100, 28672, n))";
const POSTGRES_ID: &str =
    "decode(lpad(to_hex(1800000000000 + n * 100), 12, '0') || '7000' || lpad(to_hex(n), 16, '0'), 'hex')";

fn scope() -> Scope {
    Scope { account: AccountId(Uuid::from_u128(7)), environment: Environment::Production }
}

fn id(number: u64) -> Uuid {
    Uuid::from_u64_pair(((1_800_000_000_000 + number * 100) << 16) | 0x7000, number)
}

/// Fills a store with jobs, each with a delivery: of a hundred, three have failed; one host of thirty is asked for.
async fn fill<E: Engine>(store: &E, id: &'static str) {
    let numbers =
        format!("WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {JOBS} - 1)");
    let account = "(SELECT id FROM accounts)";
    let status = "CASE WHEN n % 100 < 3 THEN 'failed' ELSE 'completed' END";
    let jobs = format!(
        "INSERT INTO jobs (id, account, environment, kind, status, options, webhook_url, webhook_host, created_at, completed_at, total,
        tasks_left, tasks_claimable) {numbers} SELECT {id}, {account}, 'production',
        CASE WHEN n % 2 = 0 THEN 'batch' ELSE 'scrape' END, {status}, '{{}}', 'https://h' || (n % 30) || '.example/hook',
        'h' || (n % 30) || '.example', 1800000000000 + n * 100, 5, 1, 0, 0 FROM numbers"
    );
    let deliveries = format!(
        "INSERT INTO deliveries (id, job, account, environment, url, host, status, created_at, next_trigger, attempts, last_code,
        last_cause, last_ms) {numbers} SELECT {id}, {id}, {account}, 'production', 'https://h' || (n % 30) || '.example/hook',
        'h' || (n % 30) || '.example', CASE WHEN n % 100 < 3 THEN 'failed' ELSE 'delivered' END, 1800000000000 + n * 100,
        'automatic', 1, 503, CASE WHEN n % 100 < 3 THEN '503' ELSE '200' END, 9 FROM numbers"
    );
    let attempts = format!(
        "INSERT INTO attempts (id, delivery, number, trigger, started_at, request_headers, request_bytes, response_headers,
        response_body, timings) {numbers} SELECT {id}, {id}, 1, 'automatic', 5, '[]', 1, '[]', {id}, '{{\"total_ms\":1}}' FROM numbers"
    );
    let schedules = format!(
        "INSERT INTO schedules (id, account, environment, name, cron, timezone, overlap, paused, kind, job, created_at, updated_at, version)
        {numbers} SELECT {id}, {account}, 'production', 'n', '0 0 * * *', 'UTC', 'skip', 0, 'scrape', '{{}}', 5, 5, 1 FROM numbers
        WHERE n < 200"
    );
    let runs = format!(
        "INSERT INTO runs (schedule, planned_at, trigger, outcome, job, at) {numbers} SELECT {id}, 7, 'cron', 'started', {id}, 7
        FROM numbers WHERE n < 200"
    );
    let fill = move |c: &Connection| {
        let account = "INSERT INTO accounts (id, email, plan, created_at, built_in) VALUES (?, '', '', 0, 1)";
        c.prepare(account).run(params![scope().account])?;
        c.prepare(&jobs).execute(params![])?;
        c.prepare(&deliveries).execute(params![])?;
        c.prepare(&attempts).execute(params![])?;
        c.prepare(&schedules).execute(params![])?;
        c.prepare(&runs).execute(params![])?;
        Ok(c.prepare("ANALYZE").execute(params![]).map(drop)?)
    };
    store.write(fill).await.unwrap();
}

fn asked() -> Asked {
    let endpoint = Webhook { url: "https://h0.example/hook".to_owned(), host: "h0.example".to_owned() };
    let now = Timestamp::from_second(1_800_000_000 + 900).unwrap();
    Asked { scope: scope(), now, job: JobId(id(1_000)), schedule: ScheduleId(id(7)), endpoint }
}

/// What may not be gone through as a whole, `members` and `keys` of an account being few.
const WATCHED: [&str; 12] = [
    "jobs",
    "deliveries",
    "attempts",
    "segments",
    "schedules",
    "runs",
    "tasks",
    "skipped",
    "replays",
    "sessions",
    "users",
    "links",
];

async fn sqlite() -> std::sync::Arc<SqliteStore> {
    let store = SqliteStore::in_memory(Threading::Inline).await.unwrap();
    fill(&*store, SQLITE_ID).await;
    store
}

#[tokio::test]
async fn sqlite_finds_everything_by_an_index() {
    let told = explained(&*sqlite().await, asked(), "EXPLAIN QUERY PLAN").await.unwrap();
    assert!(told.len() > 100, "{}", told.len());
    let mut names = BTreeSet::new();
    for Explained { question, sql, plan } in &told {
        assert!(!plan.is_empty());
        for line in plan {
            let is_whole = WATCHED.iter().any(|table| {
                let scan = format!("SCAN {table}");
                line.starts_with(&scan) && line[scan.len()..].chars().next().is_none_or(|next| next == ' ')
            });
            // Aliases: a table that is joined is never gone through either.
            let is_alias = ["SCAN j", "SCAN d", "SCAN s", "SCAN r", "SCAN c"]
                .iter()
                .any(|scan| line == scan || line.starts_with(&format!("{scan} ")));
            assert!(!is_whole && !is_alias, "{question}: {sql}\n{plan:#?}");
            names.extend(line.split("INDEX ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned));
        }
    }
    for index in ["jobs_by_host", "deliveries_by_host", "deliveries_troubled", "deliveries_dead"] {
        assert!(names.contains(index), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_finds_everything_by_an_index() {
    let server = std::env::var("TEST_POSTGRES").expect("TEST_POSTGRES names a server");
    let name = format!("explained_{}", std::process::id());
    let (admin, create) = (format!("{server}/postgres"), format!("CREATE DATABASE {name}"));
    let work = move || ::postgres::Client::connect(&admin, ::postgres::NoTls).unwrap().batch_execute(&create).unwrap();
    tokio::task::spawn_blocking(work).await.unwrap();
    let store = PostgresStore::open(Connector::new(&format!("{server}/{name}"), None).unwrap()).await.unwrap();
    fill(&*store, POSTGRES_ID).await;
    let told = explained(&*store, asked(), "EXPLAIN").await.unwrap();
    assert!(told.len() > 100, "{}", told.len());
    for Explained { question, sql, plan } in &told {
        let is_whole = |line: &&String| {
            ["jobs", "deliveries", "attempts", "segments"]
                .iter()
                .any(|table| line.contains(&format!("Seq Scan on {table}")))
        };
        assert_eq!(plan.iter().find(is_whole), None, "{question}: {sql}\n{plan:#?}");
    }
    store.close().await;
}

/// Where nothing fits, a search stops and says from where to go on; in the end it has seen everything.
#[tokio::test]
async fn a_search_looks_at_no_more_than_it_may() {
    let store = sqlite().await;
    // Those of the host h1 are odd, and so are all scrapes: no batch has an endpoint there.
    let search = || JobSearch {
        status: Some(JobStatus::Completed),
        kind: Some(JobKind::Batch),
        text: None,
        ..JobSearch::default()
    };
    let lacking = || JobSearch { has_endpoint: Some(false), ..search() };
    let ask = async |search, from| store.find_jobs(scope(), search, Part { limit: 50, from }).await.unwrap();
    let full = ask(search(), Position::Newest).await;
    assert_eq!((full.rows.len(), full.older), (50, full.rows.last().map(|job| job.id)));
    let (mut from, mut asked) = (Position::Newest, 0);
    loop {
        asked += 1;
        let part = ask(lacking(), from).await;
        assert_eq!(part.rows, []);
        match part.older {
            Some(place) => from = Position::OlderThan(place),
            None => break,
        }
    }
    assert_eq!(asked, 2, "4,500 batches, of which 4,000 are looked at at once");
    let up = ask(lacking(), Position::NewerThan(JobId(id(0)))).await;
    assert!(up.rows.is_empty() && up.newer.is_some());
    // One leads to few: everything is seen at once.
    let host = JobSearch { host: Some("h1.example".to_owned()), ..search() };
    assert_eq!(
        (ask(host.clone(), Position::Newest).await.rows, ask(host, Position::Newest).await.older),
        (vec![], None)
    );
}

/// Where there are more than are counted, that is told.
#[tokio::test]
async fn counts_stop() {
    let store = sqlite().await;
    let sql = "UPDATE deliveries SET status = 'failed', last_cause = '503'";
    let more = format!(
        "INSERT INTO deliveries (id, job, account, environment, url, host, status, created_at, next_trigger, attempts, last_cause)
        WITH RECURSIVE numbers (n) AS (SELECT {JOBS} UNION ALL SELECT n + 1 FROM numbers WHERE n < {JOBS} + 5999)
        SELECT {SQLITE_ID}, {SQLITE_ID}, (SELECT id FROM accounts), 'production', 'https://late.example/', 'late.example', 'failed',
        1800000000000 + n * 100, 'automatic', 1, '503' FROM numbers"
    );
    let change = move |c: &Connection| {
        c.prepare(sql).execute(params![])?;
        Ok(c.prepare(&more).execute(params![])?)
    };
    assert_eq!(store.write(change).await.unwrap(), 6_000);
    let standing = store.standing(scope()).await.unwrap();
    assert_eq!((standing.dead_letters.count, standing.dead_letters.is_capped), (10_000, true));
    let dead = store.dead_letters(scope(), 100).await.unwrap();
    assert!(dead.total.is_capped);
    assert_eq!((dead.groups.len(), dead.groups[0].count), (31, crate::CappedCount { count: 300, is_capped: false }));
    let late = dead.groups.last().unwrap();
    assert_eq!(late.host, "late.example");
    assert_eq!(late.newest.as_millisecond(), 1_800_000_000_000 + 14_999 * 100, "not only of those that were counted");
    assert_eq!((late.count.count, late.count.is_capped), (1_000, true));
    // An endpoint with an address of its own for each job: there are more groups than are gone through.
    let apart = "UPDATE deliveries SET url = url || '?' || created_at WHERE created_at < 1800000600000";
    store.write(|c: &Connection| Ok(c.prepare(apart).execute(params![])?)).await.unwrap();
    let dead = store.dead_letters(scope(), 3).await.unwrap();
    let oldest: Vec<_> = dead.groups.iter().map(|group| group.oldest.as_millisecond() - 1_800_000_000_000).collect();
    assert_eq!(oldest, [0, 100, 200]);
    assert!(dead.groups.iter().all(|group| (group.count.count, group.count.is_capped) == (1, false)));
}
