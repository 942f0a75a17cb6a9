//! Finishing a task, and with the last one its job.

use crate::sql::{Connection, OptionalExtension, Row, params};

use super::accounts::{add_usage, scope};
use super::frontier;
use super::tasks::add_claimable;
use crate::sql::codec::{Json, Millis, count, later, unsigned};
use crate::sql::corrupt;
use crate::{
    DeliveryId, DeliveryStatus, Finish, FinishTask, JobError, JobId, JobKind, JobStatus, Lane, Result, Scope, Segment,
    SegmentData, StoreError, Trigger, UsageSample, Webhook,
};

pub(super) fn finish(connection: &Connection, finish: &FinishTask) -> Result<Finish> {
    let task = find(connection, finish)?;
    check(finish, &task)?;
    if task.pending {
        // Its lease had run out, and nobody has claimed it since.
        add_claimable(connection, finish.lease.job, -1)?;
    }
    if let Some(depth) = task.depth {
        frontier::finish(connection, finish, depth, task.cancelled)?;
    }
    insert_segments(connection, finish.lease.job, finish.lease.seq, &finish.segments)?;
    close_task(connection, finish)?;
    add_usage(
        connection,
        &UsageSample {
            scope: task.scope,
            at: finish.now,
            pages: (finish.succeeded + finish.failed).into(),
            succeeded: finish.succeeded.into(),
            time_ms: finish.time_ms,
        },
    )?;
    let job = count_task(connection, finish)?;
    if job.tasks_left > 0 {
        return Ok(Finish::Task);
    }
    let delivery = end_job(connection, finish, task.scope, job)?;
    Ok(Finish::Job { delivery })
}

struct Task {
    scope: Scope,
    pending: bool,
    first: u64,
    urls: u32,
    /// Of a crawl's task.
    depth: Option<u32>,
    cancelled: bool,
}

/// Finds the task, if its lease is still the caller's.
fn find(connection: &Connection, finish: &FinishTask) -> Result<Task> {
    const SELECT: &str = "SELECT j.account, j.environment, t.state = 'pending' AS pending, t.first, t.urls,
        t.depth, j.cancelled_at IS NOT NULL AS cancelled
        FROM tasks t JOIN jobs j ON j.id = t.job
        WHERE t.job = ? AND t.seq = ? AND t.epoch = ? AND t.state <> 'finished'";
    let read = |row: &Row| {
        Ok(Task {
            scope: scope(row)?,
            pending: row.get("pending")?,
            first: unsigned(row, "first")?,
            urls: row.get("urls")?,
            depth: row.get("depth")?,
            cancelled: row.get("cancelled")?,
        })
    };
    let lease = finish.lease;
    let select = connection.prepare(SELECT);
    select.query_row(params![lease.job, lease.seq, lease.epoch], read).optional()?.ok_or(StoreError::LeaseLost)
}

/// One page result for each URL of the task that was not dropped, no fewer and no more, in order.
fn check(finish: &FinishTask, task: &Task) -> Result<()> {
    let is_sound = finish.dropped.is_sorted_by(|a, b| a.index < b.index)
        && finish.dropped.last().is_none_or(|last| last.index < task.urls);
    if !is_sound || (task.depth.is_none() && !finish.dropped.is_empty()) {
        return Err(corrupt("a task cannot drop these pages"));
    }
    let mut dropped = finish.dropped.iter().map(|page| task.first + u64::from(page.index)).peekable();
    let mut next = task.first;
    for segment in &finish.segments {
        while dropped.next_if_eq(&next).is_some() {
            next += 1;
        }
        if segment.first != next || segment.count == 0 {
            return Err(corrupt("a task's segments are not in order"));
        }
        for _ in 0..segment.count {
            while dropped.next_if_eq(&next).is_some() {
                next += 1;
            }
            next += 1;
        }
    }
    while dropped.next_if_eq(&next).is_some() {
        next += 1;
    }
    if next - task.first != u64::from(task.urls) {
        return Err(corrupt("a task's segments do not hold one result for each of its URLs"));
    }
    let results = u64::from(task.urls) - finish.dropped.len() as u64;
    if u64::from(finish.succeeded) + u64::from(finish.failed) != results {
        return Err(corrupt("a task's counts do not add up to its URLs"));
    }
    Ok(())
}

pub(super) fn insert_segments(connection: &Connection, job: JobId, seq: u32, segments: &[Segment]) -> Result<()> {
    const INSERT: &str = "INSERT INTO segments
        (job, seq, position, first, count, raw_bytes, sha256, blob_key, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let insert = connection.prepare(INSERT);
    for (position, segment) in segments.iter().enumerate() {
        let Segment { first, count: results, raw_bytes, sha256, data } = segment;
        let (key, bytes) = match data {
            SegmentData::Blob(key) => (Some(key), None),
            SegmentData::Inline(bytes) => (None, Some(bytes)),
        };
        insert.execute(params![
            job,
            seq,
            position as i64,
            count(*first),
            results,
            count(*raw_bytes),
            sha256,
            key,
            bytes
        ])?;
    }
    Ok(())
}

fn close_task(connection: &Connection, finish: &FinishTask) -> Result<()> {
    const UPDATE: &str = "UPDATE tasks SET state = 'finished', owner = NULL, lease_expires_at = NULL
        WHERE job = ? AND seq = ?";
    connection.prepare(UPDATE).execute(params![finish.lease.job, finish.lease.seq])?;
    Ok(())
}

/// A job as the counting of a finished task leaves it.
struct Counted {
    tasks_left: i64,
    kind: JobKind,
    cancelled: bool,
    webhook: Option<Webhook>,
}

fn count_task(connection: &Connection, finish: &FinishTask) -> Result<Counted> {
    const UPDATE: &str = "UPDATE jobs SET tasks_left = tasks_left - 1, succeeded = succeeded + ?,
        failed = failed + ?, segments = segments + ?, result_bytes = result_bytes + ? WHERE id = ?
        RETURNING tasks_left, kind, cancelled_at IS NOT NULL AS cancelled, webhook_url, webhook_host";
    let read = |row: &Row| {
        let (url, host): (Option<String>, Option<String>) = (row.get("webhook_url")?, row.get("webhook_host")?);
        Ok(Counted {
            tasks_left: row.get("tasks_left")?,
            kind: row.get("kind")?,
            cancelled: row.get("cancelled")?,
            webhook: url.zip(host).map(|(url, host)| Webhook { url, host }),
        })
    };
    let raw_bytes = finish.segments.iter().map(|segment| segment.raw_bytes).sum();
    let update = connection.prepare(UPDATE);
    let job = update.query_row(
        params![finish.succeeded, finish.failed, finish.segments.len() as i64, count(raw_bytes), finish.lease.job],
        read,
    )?;
    Ok(job)
}

fn end_job(connection: &Connection, finish: &FinishTask, scope: Scope, job: Counted) -> Result<Option<DeliveryId>> {
    const UPDATE: &str = "UPDATE jobs SET status = ?, error = ?, completed_at = ?, expires_at = ? WHERE id = ?";
    let error = match (job.cancelled, job.kind) {
        (true, _) => Some(JobError { code: "cancelled".to_owned(), message: "the job was cancelled".to_owned() }),
        (false, JobKind::Scrape) => finish.page_error.clone(),
        (false, JobKind::Batch | JobKind::Crawl | JobKind::Test) => None,
    };
    let status = if error.is_some() { JobStatus::Failed } else { JobStatus::Completed };
    connection.prepare(UPDATE).execute(params![
        status,
        error.map(Json),
        Millis(finish.now),
        later(finish.now, finish.retention),
        finish.lease.job
    ])?;
    let Some(webhook) = job.webhook else { return Ok(None) };
    owe(connection, finish, finish.lease.job, scope, &webhook)?;
    Ok(Some(finish.delivery))
}

/// Owes the job's one delivery, at once.
fn owe(connection: &Connection, finish: &FinishTask, job: JobId, scope: Scope, webhook: &Webhook) -> Result<()> {
    const INSERT: &str = "INSERT INTO deliveries
        (id, job, account, environment, url, host, status, created_at, next_attempt_at, next_trigger, lane, era)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, (SELECT value FROM meta WHERE name = 'replays'))";
    connection.prepare(INSERT).execute(params![
        finish.delivery,
        job,
        scope.account,
        scope.environment,
        webhook.url,
        webhook.host,
        DeliveryStatus::Pending,
        Millis(finish.now),
        Trigger::Automatic,
        Lane::First
    ])?;
    Ok(())
}
