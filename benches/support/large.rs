//! A large embedded store, made of raw rows: 100,000 jobs, 300,000 deliveries, 1,000,000 attempts, of 29 days.
#![allow(dead_code, unreachable_pub, reason = "each benchmark, in its crate, uses its part")]

use std::path::Path;

use rusqlite::Connection;
use uuid::Uuid;

pub const JOBS: u32 = 100_000;
pub const DELIVERIES: u32 = 300_000;
pub const ATTEMPTS: u32 = 1_000_000;
/// One job every 25 seconds lie within this many days.
pub const DAYS: i64 = 29;

/// The id of a job by its number.
pub fn job(begin: i64, number: u32) -> Uuid {
    let ms = u64::try_from(begin).expect("it is after 1970") * 1000 + u64::from(number) * 25_000;
    Uuid::from_u64_pair((ms << 16) | 0x7000, u64::from(number))
}

/// Fills a store that is closed: all rows are an account's, which is made if it is missing; the first is made at `begin`, in seconds
/// since 1970, and all within [`DAYS`].
pub fn fill(path: &Path, account: Uuid, begin: i64) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;").unwrap();
    let numbers = |count: u32| {
        format!("WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count} - 1)")
    };
    let id = |n: &str, gap: u32, mark: u32| {
        format!("unhex(printf('%012x%04x%016x', {begin}000 + {n} * {gap}, {mark}, {n}))")
    };
    let (job, delivery) = (id("n", 25_000, 0x7000), id("n", 8_333, 0x7001));
    let account = format!("X'{}'", account.simple());
    let endpoint = "'https://h' || (n % 200) || '.example/hook/' || (n % 400)";
    let host = "'h' || (n % 200) || '.example'";
    // Of a hundred hosts, seven refuse or hang: all that is owed to them has failed.
    let dead = "n % 100 IN (3, 7, 21, 22, 55, 80, 91)";
    let cause = format!(
        "CASE WHEN {dead} THEN CASE n % 3 WHEN 0 THEN 'timeout' WHEN 1 THEN '503' ELSE 'connect_error' END ELSE '200' END"
    );
    let until = begin + 2 * DAYS * 86_400;
    let sql = [
        format!("INSERT OR IGNORE INTO accounts (id, email, plan, created_at, built_in) VALUES ({account}, 'a', 'b', 0, 1)"),
        format!(
            "INSERT INTO jobs (id, account, environment, kind, status, options, webhook_url, webhook_host, created_at, completed_at,
            expires_at, total, succeeded, failed, tasks_left, tasks_claimable) {} SELECT {job}, {account}, 'production',
            CASE n % 10 WHEN 0 THEN 'crawl' WHEN 1 THEN 'batch' ELSE 'scrape' END,
            CASE WHEN n > {JOBS} - 300 THEN 'started' WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END, '{{\"format\":\"markdown\"}}',
            CASE WHEN n % 8 = 0 THEN NULL ELSE {endpoint} END, CASE WHEN n % 8 = 0 THEN NULL ELSE {host} END,
            {begin}000 + n * 25000, {begin}000 + n * 25000 + 900, {until}000, 1, 1, 0, 0, 0 FROM numbers",
            numbers(JOBS)
        ),
        format!(
            "INSERT INTO deliveries (id, job, account, environment, url, host, status, created_at, last_attempt_at, next_attempt_at,
            next_trigger, attempts, automatic_attempts, lane, last_code, last_cause, last_ms) {} SELECT {delivery}, {}, {account},
            'production', {endpoint}, {host}, CASE WHEN {dead} THEN 'failed' WHEN n > {DELIVERIES} - 500 THEN 'pending' ELSE 'delivered' END,
            {begin}000 + n * 8333, {begin}000 + n * 8333 + 500, CASE WHEN {dead} AND n % 2 = 0 THEN {until}000 + n END, 'automatic', 3, 3, 'retry', 200, {cause}, 120
            FROM numbers",
            numbers(DELIVERIES),
            id("n", 25_000, 0x7000)
        ),
        format!(
            "INSERT INTO attempts (id, delivery, number, trigger, started_at, request_headers, request_bytes, response_status,
            response_headers, response_body, timings) {} SELECT {}, a.id, numbers.n / {DELIVERIES} + 1, 'automatic', {begin}000 + numbers.n % {DELIVERIES} * 8333 + 10,
            '[[\"content-type\",\"application/json\"]]', 500, 200, '[]', zeroblob(200), '{{\"total_ms\":120}}'
            FROM numbers JOIN (SELECT row_number() OVER (ORDER BY id) - 1 AS place, id FROM deliveries) a ON a.place = numbers.n % {DELIVERIES}",
            numbers(ATTEMPTS),
            id("numbers.n", 3_000, 0x7002)
        ),
        format!(
            "INSERT INTO activity {} SELECT {account}, 'production', {begin} / 600 + n, 900, 20, 18, 2, 400, 380, 60, 5, 1,
            9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1 FROM numbers",
            numbers(u32::try_from(DAYS * 144).unwrap())
        ),
        format!(
            "INSERT INTO endpoint_days {} SELECT {account}, 'production', {begin} / 86400 + n / 200, {host}, 90, 50, n % 200 / 20, n % 200 / 40,
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
