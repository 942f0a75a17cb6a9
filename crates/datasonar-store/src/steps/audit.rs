//! Reading what an auditor compares: see [`crate::Audit`].
//!
//! Nothing here relies on what is to be checked: what a step takes for granted (a place for each segment, a row for each
//! job) may be what is wrong.

use async_trait::async_trait;

use super::Engine;
use crate::sql::codec::unsigned;
use crate::sql::{self, Connection, Row, params};
use crate::{
    Audit, AuditedCrawl, AuditedDelivery, AuditedInput, AuditedJob, AuditedTask, Counts, JobId, JobInput, JobStatus,
    Result, Segment, SegmentData, TaskCounts,
};

#[async_trait]
impl<E: Engine> Audit for E {
    async fn audited_count(&self) -> Result<u64> {
        const SELECT: &str = "SELECT count(*) AS jobs FROM jobs";
        self.read(|c| Ok(c.prepare(SELECT).query_row(params![], |row| unsigned(row, "jobs"))?)).await
    }

    async fn audited_jobs(&self, after: Option<JobId>, limit: u32) -> Result<Vec<AuditedJob>> {
        self.read(move |c| jobs(c, after, limit)).await
    }

    async fn audited_tasks(&self, job: JobId, seq: u32, limit: u32) -> Result<Vec<AuditedTask>> {
        self.read(move |c| tasks_of(c, job, seq, limit)).await
    }

    async fn audited_strays(&self) -> Result<Vec<String>> {
        self.read(strays).await
    }
}

fn jobs(connection: &Connection, after: Option<JobId>, limit: u32) -> Result<Vec<AuditedJob>> {
    const SELECT: &str =
        "SELECT id, kind, status, completed_at IS NOT NULL AS has_end, webhook_url IS NOT NULL AS has_webhook,
        results_deleted, total, succeeded + failed AS results, failed, segments, result_bytes, tasks_left, tasks_claimable
        FROM jobs WHERE id > ? ORDER BY id LIMIT ?";
    let after = after.unwrap_or(JobId(uuid::Uuid::nil()));
    let mut jobs = connection.prepare(SELECT).query_map(params![after, limit], read_job)?;
    for job in &mut jobs {
        add_tasks(connection, job)?;
        add_segments(connection, job)?;
        job.errors = errors(connection, job.id)?;
        job.input = input(connection, job.id)?;
        job.deliveries = deliveries(connection, job.id)?;
        job.crawl = frontier(connection, job.id)?;
    }
    Ok(jobs)
}

fn read_job(row: &Row) -> sql::Result<AuditedJob> {
    let status: JobStatus = row.get("status")?;
    let counted = Counts {
        urls: unsigned(row, "total")?,
        tasks_left: unsigned(row, "tasks_left")?,
        tasks_claimable: unsigned(row, "tasks_claimable")?,
        segments: unsigned(row, "segments")?,
        result_bytes: unsigned(row, "result_bytes")?,
    };
    Ok(AuditedJob {
        id: row.get("id")?,
        kind: row.get("kind")?,
        status,
        has_end: row.get("has_end")?,
        has_webhook: row.get("has_webhook")?,
        results_deleted: row.get("results_deleted")?,
        counted,
        found: Counts::default(),
        results: unsigned(row, "results")?,
        failed: unsigned(row, "failed")?,
        errors: 0,
        tasks: TaskCounts::default(),
        input: None,
        deliveries: Vec::new(),
        crawl: None,
    })
}

fn add_tasks(connection: &Connection, job: &mut AuditedJob) -> Result<()> {
    const SELECT: &str = "SELECT count(*) AS tasks, coalesce(max(seq) + 1, 0) AS seq_end,
        CAST(coalesce(sum(urls), 0) AS BIGINT) AS urls,
        count(CASE WHEN state <> 'finished' THEN 1 END) AS tasks_left,
        count(CASE WHEN state = 'pending' THEN 1 END) AS claimable,
        count(CASE WHEN state = 'finished' AND (owner IS NOT NULL OR lease_expires_at IS NOT NULL) THEN 1 END) AS held,
        count(CASE WHEN first <> before THEN 1 END) AS misplaced
        FROM (SELECT seq, urls, state, owner, lease_expires_at, first,
            coalesce(lag(first + urls) OVER (ORDER BY seq), 0) AS before FROM tasks WHERE job = ?) AS placed";
    const LISTS: &str = "SELECT count(*) AS lists FROM found WHERE job = ?";
    let (mut found, mut tasks) = (job.found, job.tasks);
    connection.prepare(SELECT).query_row([job.id], |row| {
        tasks.count = unsigned(row, "tasks")?;
        tasks.end = unsigned(row, "seq_end")?;
        found.urls = unsigned(row, "urls")?;
        found.tasks_left = unsigned(row, "tasks_left")?;
        found.tasks_claimable = unsigned(row, "claimable")?;
        tasks.finished_and_held = unsigned(row, "held")?;
        tasks.misplaced = unsigned(row, "misplaced")?;
        Ok(())
    })?;
    tasks.lists = connection.prepare(LISTS).query_row([job.id], |row| unsigned(row, "lists"))?;
    (job.found, job.tasks) = (found, tasks);
    Ok(())
}

fn add_segments(connection: &Connection, job: &mut AuditedJob) -> Result<()> {
    const SELECT: &str = "SELECT count(*) AS segments, CAST(coalesce(sum(raw_bytes), 0) AS BIGINT) AS bytes,
        CAST(coalesce(sum(count), 0) AS BIGINT) AS results FROM segments s WHERE job = ?
        AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.job = s.job AND t.seq = s.seq AND t.state <> 'finished')";
    let read = |row: &Row| Ok((unsigned(row, "segments")?, unsigned(row, "bytes")?, unsigned(row, "results")?));
    (job.found.segments, job.found.result_bytes, job.tasks.results) =
        connection.prepare(SELECT).query_row([job.id], read)?;
    Ok(())
}

fn errors(connection: &Connection, job: JobId) -> Result<u64> {
    const SELECT: &str = "SELECT CAST(coalesce(sum(count), 0) AS BIGINT) AS errors FROM job_errors WHERE job = ?";
    Ok(connection.prepare(SELECT).query_row([job], |row| unsigned(row, "errors"))?)
}

fn input(connection: &Connection, job: JobId) -> Result<Option<AuditedInput>> {
    const SELECT: &str = "SELECT bytes, blob_key,
        (SELECT coalesce(max(input_offset + input_bytes), 0) FROM tasks WHERE tasks.job = inputs.job) AS input_end
        FROM inputs WHERE job = ?";
    let read = |row: &Row| {
        let place = match (row.get("blob_key")?, row.get("bytes")?) {
            (Some(key), None) => Some(JobInput::Blob(key)),
            (None, Some(bytes)) => Some(JobInput::Inline(bytes)),
            _ => None,
        };
        let end = unsigned(row, "input_end")?;
        Ok(place.map(|place| AuditedInput { place, end }))
    };
    Ok(connection.prepare(SELECT).query_map([job], read)?.into_iter().next().flatten())
}

fn deliveries(connection: &Connection, job: JobId) -> Result<Vec<AuditedDelivery>> {
    const SELECT: &str = "SELECT d.attempts AS counted, count(a.number) AS logged,
        coalesce(min(a.number), 0) AS first_number, coalesce(max(a.number), 0) AS last_number
        FROM deliveries d LEFT JOIN attempts a ON a.delivery = d.id WHERE d.job = ? GROUP BY d.id, d.attempts";
    let read = |row: &Row| {
        Ok(AuditedDelivery {
            counted: unsigned(row, "counted")?,
            logged: unsigned(row, "logged")?,
            first: unsigned(row, "first_number")?,
            last: unsigned(row, "last_number")?,
        })
    };
    Ok(connection.prepare(SELECT).query_map([job], read)?)
}

fn frontier(connection: &Connection, job: JobId) -> Result<Option<AuditedCrawl>> {
    const SELECT: &str = "SELECT max_pages, admitted, tasks FROM crawls WHERE job = ?";
    let read = |row: &Row| {
        Ok(AuditedCrawl {
            max_pages: unsigned(row, "max_pages")?,
            admitted: unsigned(row, "admitted")?,
            tasks: unsigned(row, "tasks")?,
        })
    };
    Ok(connection.prepare(SELECT).query_map([job], read)?.into_iter().next())
}

fn tasks_of(connection: &Connection, job: JobId, seq: u32, limit: u32) -> Result<Vec<AuditedTask>> {
    const SELECT: &str = "SELECT seq, state = 'finished' AS is_finished, first, urls, depth IS NOT NULL AS is_crawl,
        crashes >= 2 AS is_isolated FROM tasks WHERE job = ? AND seq >= ? ORDER BY seq LIMIT ?";
    let read = |row: &Row| {
        Ok(AuditedTask {
            seq: row.get("seq")?,
            is_finished: row.get("is_finished")?,
            first: unsigned(row, "first")?,
            urls: row.get("urls")?,
            is_crawl: row.get("is_crawl")?,
            is_isolated: row.get("is_isolated")?,
            segments: Vec::new(),
        })
    };
    let mut tasks = connection.prepare(SELECT).query_map(params![job, seq, limit], read)?;
    for task in &mut tasks {
        task.segments = segments(connection, job, task.seq)?;
    }
    Ok(tasks)
}

/// A segment without a place has an empty one: nothing fits its hash.
fn segments(connection: &Connection, job: JobId, seq: u32) -> Result<Vec<Segment>> {
    const SELECT: &str = "SELECT first, count, raw_bytes, sha256, blob_key, bytes FROM segments
        WHERE job = ? AND seq = ? ORDER BY position";
    let read = |row: &Row| {
        let data = match row.get("blob_key")? {
            Some(key) => SegmentData::Blob(key),
            None => SegmentData::Inline(row.get::<_, Option<_>>("bytes")?.unwrap_or_default()),
        };
        Ok(Segment {
            first: unsigned(row, "first")?,
            count: row.get("count")?,
            raw_bytes: unsigned(row, "raw_bytes")?,
            sha256: row.get("sha256")?,
            data,
        })
    };
    Ok(connection.prepare(SELECT).query_map(params![job, seq], read)?)
}

fn strays(connection: &Connection) -> Result<Vec<String>> {
    const ORPHANS: [(&str, &str); 10] = [
        ("tasks", "SELECT count(*) AS rows FROM tasks t WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = t.job)"),
        (
            "task_crashes",
            "SELECT count(*) AS rows FROM task_crashes t WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = t.job)",
        ),
        (
            "page_marks",
            "SELECT count(*) AS rows FROM page_marks t WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = t.job)",
        ),
        (
            "kept_pages",
            "SELECT count(*) AS rows FROM kept_pages t WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = t.job)",
        ),
        (
            "segments",
            "SELECT count(*) AS rows FROM segments t WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = t.job)",
        ),
        ("inputs", "SELECT count(*) AS rows FROM inputs t WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = t.job)"),
        (
            "deliveries",
            "SELECT count(*) AS rows FROM deliveries t WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = t.job)",
        ),
        ("crawls", "SELECT count(*) AS rows FROM crawls t WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = t.job)"),
        (
            "job_errors",
            "SELECT count(*) AS rows FROM job_errors t WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = t.job)",
        ),
        (
            "attempts",
            "SELECT count(*) AS rows FROM attempts t WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.id = t.delivery)",
        ),
    ];
    const TURNS: &str = "SELECT count(*) AS rows FROM turns t
        WHERE runnable <> (SELECT count(*) FROM jobs j WHERE j.account = t.account AND j.tasks_claimable > 0)";
    let count = |sql: &str| connection.prepare(sql).query_row(params![], |row| unsigned(row, "rows"));
    let mut found = Vec::new();
    for (table, sql) in ORPHANS {
        match count(sql)? {
            0 => {}
            rows => found.push(format!("{rows} rows of the table {table} belong to nothing")),
        }
    }
    match count(TURNS)? {
        0 => {}
        rows => found.push(format!("{rows} accounts have another number of jobs to run than is counted for them")),
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance::samples::*;
    use crate::postgres::{Connector, PostgresStore};
    use crate::sqlite::{SqliteStore, Threading};
    use crate::{DeliveryStatus, Discovery, KeptPage, KeptResult};

    /// Jobs in all states, each made by the steps.
    async fn fill(store: &Tested) {
        let scope = scope();
        let (_, delivery) = ended(store, scope).await;
        fail(store, &claim_delivery(store, at(20)).await, at(20), DeliveryStatus::Pending, Some(at(30))).await;
        succeed(store, &claim_delivery(store, at(30)).await, at(30)).await;
        store.replay_delivery(scope, delivery, at(40)).await.unwrap();
        succeed(store, &claim_delivery(store, at(40)).await, at(40)).await;
        store.submit_test(trial(scope)).await.unwrap();
        submit(store, silent(batch(scope, 3))).await;
        submit(store, crawl(scope, 50)).await;
        for task in claim(store, 3).await {
            let found = if task.lease.seq == 0 { (1..30).map(|page| found(page, 1)).collect() } else { Vec::new() };
            let mut finish = outcome(&task);
            (finish.succeeded, finish.failed) = (finish.succeeded - 1, 1);
            finish.discovery = Discovery { found, skipped: Vec::new() };
            store.finish_task(finish).await.ok();
        }
        for _ in 0..2 {
            claim(store, ALL).await;
            store.free_leases().await.unwrap();
        }
        submit(store, batch(self::scope(), 1)).await;
        for task in claim(store, ALL).await.iter().filter(|task| task.isolation.is_some()) {
            let data = SegmentData::Inline(b"{}".to_vec());
            let segment = Segment { first: task.first, count: 1, raw_bytes: 2, sha256: [0; 32], data };
            let result = KeptResult::Page { segment, error: None, time_ms: 1 };
            store.keep_page(task.lease, KeptPage { page: 0, result }).await.unwrap();
        }
        submit(store, batch(scope, 2)).await;
        claim(store, 1).await;
    }

    async fn audit(store: &impl Audit) -> Vec<String> {
        let mut told = store.audited_strays().await.unwrap();
        let (mut after, mut jobs) = (None, 0);
        loop {
            let page = store.audited_jobs(after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for job in &page {
                jobs += 1;
                told.extend(job.violations());
                let mut seq = 0;
                loop {
                    let tasks = store.audited_tasks(job.id, seq, 2).await.unwrap();
                    let Some(last) = tasks.last() else { break };
                    seq = last.seq + 1;
                    told.extend(tasks.iter().flat_map(AuditedTask::violations));
                }
            }
        }
        assert_eq!(jobs, store.audited_count().await.unwrap());
        told
    }

    const DAMAGE: [(&str, &str); 17] = [
        ("UPDATE jobs SET tasks_left = tasks_left + 1 WHERE status = 'started'", "unfinished tasks, there are"),
        ("UPDATE jobs SET tasks_claimable = 7 WHERE tasks_claimable > 0", "row counts 7 claimable tasks"),
        ("UPDATE jobs SET succeeded = succeeded + 1 WHERE status = 'completed'", "results of"),
        ("UPDATE jobs SET completed_at = NULL WHERE kind = 'test'", "has not the time of its end"),
        ("UPDATE tasks SET lease_expires_at = 5 WHERE state = 'finished'", "finished and still leased"),
        ("UPDATE tasks SET first = first + 1 WHERE seq = 1", "do not begin where the one before ends"),
        ("UPDATE segments SET first = first + 1", "there are no results from"),
        ("UPDATE segments SET count = count + 1", "its results end at"),
        ("DELETE FROM segments", "its segments hold 0"),
        ("DELETE FROM inputs", "its input is missing"),
        ("DELETE FROM deliveries", "must have 1 deliveries and has 0"),
        ("DELETE FROM attempts WHERE number = 2", "2 are logged"),
        ("UPDATE attempts SET number = number + 1 WHERE number = 3", "numbered from 1 to 4"),
        ("UPDATE crawls SET admitted = admitted + 1", "its frontier admitted"),
        ("DELETE FROM found", "unfinished tasks have a list of URLs"),
        ("UPDATE job_errors SET count = count + 1", "are told by their codes"),
        ("DELETE FROM jobs", "of the table tasks belong to nothing"),
    ];

    async fn damage<S: Engine>(store: &Arc<S>, sql: &'static str) {
        store.write(move |c| Ok(c.prepare(sql).execute(params![])?)).await.unwrap();
    }

    async fn sqlite() -> Arc<SqliteStore> {
        let store = SqliteStore::in_memory(Threading::Inline).await.unwrap();
        fill(&(store.clone() as Tested)).await;
        store
    }

    async fn postgres(number: usize) -> Arc<PostgresStore> {
        let server = std::env::var("TEST_POSTGRES")
            .expect("TEST_POSTGRES names a server: `scripts/postgres start FOLDER` starts one");
        let name = format!("audit_{}_{number}", std::process::id());
        let (admin, create) = (format!("{server}/postgres"), format!("CREATE DATABASE {name}"));
        let work =
            move || ::postgres::Client::connect(&admin, ::postgres::NoTls).unwrap().batch_execute(&create).unwrap();
        tokio::task::spawn_blocking(work).await.unwrap();
        let store = PostgresStore::open(Connector::new(&format!("{server}/{name}"), None).unwrap()).await.unwrap();
        fill(&(store.clone() as Tested)).await;
        store
    }

    #[tokio::test]
    async fn what_the_steps_make_is_sound_and_damage_is_found() {
        assert_eq!(audit(&*sqlite().await).await, [""; 0]);
        for (sql, expected) in DAMAGE {
            let store = sqlite().await;
            damage(&store, sql).await;
            let told = audit(&*store).await;
            assert!(told.iter().any(|one| one.contains(expected)), "{sql}: {told:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgresql_too() {
        for (number, (sql, expected)) in DAMAGE.into_iter().enumerate().step_by(5) {
            let store = postgres(number).await;
            assert_eq!(audit(&*store).await, [""; 0]);
            damage(&store, sql).await;
            let told = audit(&*store).await;
            assert!(told.iter().any(|one| one.contains(expected)), "{sql}: {told:?}");
            store.close().await;
        }
    }
}
