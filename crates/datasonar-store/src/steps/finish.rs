//! Finishing a task, and with the last one its job.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::Joint;
use crate::sql::{Connection, Row, owned, params};

use super::accounts::{add_usage, scope};
use super::activity::Tally;
use super::frontier;
use super::isolation;
use super::jobs::current;
use super::page_errors;
use super::tasks::add_claimable;
use crate::sql::codec::{Json, Millis, count, later, unsigned};
use crate::sql::corrupt;
use crate::{
    DeliveryId, DeliveryStatus, Finish, FinishTask, JobError, JobId, JobKind, JobStatus, Lane, Result, Scope, Segment,
    SegmentData, StoreError, Trigger, UsageSample, Webhook, endpoint,
};

/// The code of pages, and of a job, that were cancelled.
const CANCELLED: &str = "cancelled";

/// Finishes of tasks are done together: their jobs and their usage are counted once for all.
impl Joint for FinishTask {
    type Answer = Finish;

    fn run(connection: &Connection, items: &[Self]) -> Result<Vec<Result<Finish>>> {
        let tasks = find(connection, items)?;
        let mut answers = Vec::with_capacity(items.len());
        let mut sound = Vec::with_capacity(items.len());
        for (index, (finish, task)) in items.iter().zip(tasks).enumerate() {
            let is_again = items[..index].iter().any(|before| before.lease == finish.lease) && task.is_some();
            let task = if is_again { None } else { task };
            let checked = task.ok_or(StoreError::LeaseLost).and_then(|task| check(finish, &task).map(|()| task));
            answers.push(checked.map(|task| {
                sound.push((index, finish, task));
                Finish::Task
            }));
        }
        for (_, finish, task) in &sound {
            close_task(connection, finish, task)?;
        }
        count_usage(connection, &sound)?;
        page_errors::add(connection, sound.iter().map(|(_, finish, _)| *finish))?;
        let mut tally = Tally::default();
        for (_, finish, task) in &sound {
            let counts = tally.at(task.scope, finish.now);
            counts.pages += u64::from(finish.succeeded + finish.failed);
            counts.pages_succeeded += u64::from(finish.succeeded);
        }
        for (last, job) in count_jobs(connection, &sound)? {
            let (index, finish, task) = &sound[last];
            let (status, delivery) = end_job(connection, finish, task.scope, job)?;
            let counts = tally.at(task.scope, finish.now);
            counts.jobs_completed += u64::from(status == JobStatus::Completed);
            counts.jobs_failed += u64::from(status == JobStatus::Failed);
            answers[*index] = Ok(Finish::Job { delivery });
        }
        tally.write(connection)?;
        Ok(answers)
    }
}

/// A task that is finished: its place among all that are, what its holder says, its row.
type Sound<'f> = (usize, &'f FinishTask, Task);

struct Task {
    scope: Scope,
    pending: bool,
    first: u64,
    urls: u32,
    /// Of a crawl's task.
    depth: Option<u32>,
    cancelled: bool,
    /// A holder of it died.
    has_crashed: bool,
}

/// Finds the tasks whose leases are still their callers'.
fn find(connection: &Connection, items: &[FinishTask]) -> Result<Vec<Option<Task>>> {
    const JOB: &str = "SELECT account, environment, cancelled_at IS NOT NULL AS cancelled FROM jobs
        WHERE id = ? ORDER BY version DESC LIMIT 1";
    const TASK: &str = "SELECT state = 'pending' AS pending, first, urls, depth, crashes > 0 AS has_crashed FROM tasks
        WHERE job = ? AND seq = ? AND epoch = ? AND state <> 'finished'";
    let ids: BTreeSet<JobId> = items.iter().map(|finish| finish.lease.job).collect();
    let rows = connection.prepare(JOB).query_all(ids.iter().map(|job| owned![job]))?;
    let jobs: BTreeMap<JobId, &Row> =
        ids.into_iter().zip(&rows).filter_map(|(job, rows)| Some((job, rows.first()?))).collect();
    let leases = items.iter().map(|finish| finish.lease);
    let tasks = connection.prepare(TASK).query_all(leases.map(|lease| owned![lease.job, lease.seq, lease.epoch]))?;
    let read = |finish: &FinishTask, rows: &Vec<Row>| {
        let Some((task, job)) = rows.first().zip(jobs.get(&finish.lease.job)) else { return Ok(None) };
        Ok(Some(Task {
            scope: scope(job)?,
            pending: task.get("pending")?,
            first: unsigned(task, "first")?,
            urls: task.get("urls")?,
            depth: task.get("depth")?,
            cancelled: job.get("cancelled")?,
            has_crashed: task.get("has_crashed")?,
        }))
    };
    items.iter().zip(&tasks).map(|(finish, rows)| read(finish, rows)).collect()
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
    page_errors::check(finish)
}

pub(super) fn insert_segments(connection: &Connection, job: JobId, seq: u32, segments: &[Segment]) -> Result<()> {
    (0..).zip(segments).try_for_each(|(position, segment)| insert_segment(connection, job, seq, position, segment))
}

pub(super) fn insert_segment(
    connection: &Connection,
    job: JobId,
    seq: u32,
    position: u64,
    segment: &Segment,
) -> Result<()> {
    const INSERT: &str = "INSERT INTO segments
        (job, seq, position, first, count, raw_bytes, sha256, blob_key, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let Segment { first, count: results, raw_bytes, sha256, data } = segment;
    let (key, bytes) = match data {
        SegmentData::Blob(key) => (Some(key), None),
        SegmentData::Inline(bytes) => (None, Some(bytes)),
    };
    let (position, first, raw_bytes) = (count(position), count(*first), count(*raw_bytes));
    let row = params![job, seq, position, first, results, raw_bytes, sha256, key, bytes];
    Ok(connection.prepare(INSERT).run(row)?)
}

/// Ends a task: what it found, its segments, its lease.
fn close_task(connection: &Connection, finish: &FinishTask, task: &Task) -> Result<()> {
    const UPDATE: &str = "UPDATE tasks SET state = 'finished', owner = NULL, lease_expires_at = NULL
        WHERE job = ? AND seq = ?";
    if task.pending {
        // Its lease had run out, and nobody has claimed it since.
        add_claimable(connection, finish.lease.job, -1)?;
    }
    if let Some(depth) = task.depth {
        frontier::finish(connection, finish, depth, task.cancelled)?;
    }
    if task.has_crashed {
        isolation::forget(connection, finish.lease)?;
    }
    insert_segments(connection, finish.lease.job, finish.lease.seq, &finish.segments)?;
    connection.prepare(UPDATE).run(params![finish.lease.job, finish.lease.seq])?;
    Ok(())
}

/// Adds what was finished to the usage of each scope and day. Pages that were cancelled were asked of nobody.
fn count_usage(connection: &Connection, sound: &[Sound<'_>]) -> Result<()> {
    let sample = |(_, finish, task): &Sound<'_>| UsageSample {
        scope: task.scope,
        at: finish.now,
        pages: u64::from(finish.succeeded + finish.failed).saturating_sub(cancelled(finish)),
        succeeded: finish.succeeded.into(),
        time_ms: finish.time_ms,
        is_charged: false,
    };
    add_usage(connection, &sound.iter().map(sample).collect::<Vec<_>>())
}

fn cancelled(finish: &FinishTask) -> u64 {
    finish.errors.iter().filter(|errors| errors.code == CANCELLED).map(|errors| errors.count).sum()
}

/// A job as the counting of finished tasks leaves it.
struct Counted {
    kind: JobKind,
    cancelled: bool,
    webhook: Option<Webhook>,
}

/// Counts what was finished for each job. Answers the jobs of which nothing is left, each with the place of the task that was its last.
fn count_jobs(connection: &Connection, sound: &[Sound<'_>]) -> Result<Vec<(usize, Counted)>> {
    const UPDATE: &str = current!(
        "SET tasks_left = tasks_left - ?2, succeeded = succeeded + ?3, failed = failed + ?4, segments = segments + ?5,
        result_bytes = result_bytes + ?6",
        "RETURNING tasks_left, kind, cancelled_at IS NOT NULL AS cancelled, webhook_url, webhook_host"
    );
    #[derive(Default)]
    struct Sum {
        last: usize,
        tasks: i64,
        succeeded: i64,
        failed: i64,
        segments: i64,
        bytes: u64,
    }
    let mut jobs: BTreeMap<JobId, Sum> = BTreeMap::new();
    for (place, (_, finish, _)) in sound.iter().enumerate() {
        let sum = jobs.entry(finish.lease.job).or_default();
        sum.last = place;
        sum.tasks += 1;
        sum.succeeded += i64::from(finish.succeeded);
        sum.failed += i64::from(finish.failed);
        sum.segments += finish.segments.len() as i64;
        sum.bytes += finish.segments.iter().map(|segment| segment.raw_bytes).sum::<u64>();
    }
    let updates =
        jobs.iter().map(|(job, sum)| owned![job, sum.tasks, sum.succeeded, sum.failed, sum.segments, count(sum.bytes)]);
    let updated = connection.prepare(UPDATE).query_all(updates)?;
    let mut ended = Vec::new();
    for (rows, sum) in updated.iter().zip(jobs.values()) {
        let row = rows.first().ok_or_else(|| corrupt("a task has no job"))?;
        if row.get::<_, i64>("tasks_left")? > 0 {
            continue;
        }
        let (url, host): (Option<String>, Option<String>) = (row.get("webhook_url")?, row.get("webhook_host")?);
        let webhook = url.zip(host).map(|(url, host)| Webhook { url, host });
        ended.push((sum.last, Counted { kind: row.get("kind")?, cancelled: row.get("cancelled")?, webhook }));
    }
    Ok(ended)
}

fn end_job(
    connection: &Connection,
    finish: &FinishTask,
    scope: Scope,
    job: Counted,
) -> Result<(JobStatus, Option<DeliveryId>)> {
    const UPDATE: &str = "UPDATE jobs SET status = ?, error = ?, completed_at = ?, expires_at = ? WHERE id = ?";
    let error = match (job.cancelled, job.kind) {
        (true, _) => Some(JobError { code: CANCELLED.to_owned(), message: "the job was cancelled".to_owned() }),
        (false, JobKind::Scrape) => finish.page_error.clone(),
        (false, JobKind::Batch | JobKind::Crawl | JobKind::Test) => None,
    };
    let status = if error.is_some() { JobStatus::Failed } else { JobStatus::Completed };
    connection.prepare(UPDATE).run(params![
        status,
        error.map(Json),
        Millis(finish.now),
        later(finish.now, finish.retention),
        finish.lease.job
    ])?;
    let Some(webhook) = job.webhook else { return Ok((status, None)) };
    owe(connection, finish, finish.lease.job, scope, &webhook)?;
    Ok((status, Some(finish.delivery)))
}

/// Owes the job's one delivery, at once.
fn owe(connection: &Connection, finish: &FinishTask, job: JobId, scope: Scope, webhook: &Webhook) -> Result<()> {
    const INSERT: &str = "INSERT INTO deliveries
        (id, job, account, environment, url, host, endpoint, status, created_at, next_attempt_at, next_trigger, lane, era)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11, (SELECT value FROM meta WHERE name = 'replays'))";
    connection.prepare(INSERT).run(params![
        finish.delivery,
        job,
        scope.account,
        scope.environment,
        webhook.url,
        webhook.host,
        endpoint::key(scope, &webhook.url),
        DeliveryStatus::Pending,
        Millis(finish.now),
        Trigger::Automatic,
        Lane::First
    ])?;
    Ok(())
}
