//! Accepting jobs.

use crate::sql::{Connection, OptionalExtension, Row, params};
use jiff::Timestamp;

use super::activity::Tally;
use super::tasks::add_runnable;
use super::upkeep::IDEMPOTENCY_MS;
use super::{allowance, frontier};
use crate::sql::codec::{Millis, count, narrow};
use crate::sql::corrupt;
use crate::{
    Idempotency, JobId, JobInput, JobStatus, NewCrawl, NewJob, NewTask, NewWork, Result, Scope, StoreError, Submission,
};

pub(super) fn submit(connection: &Connection, job: &NewJob) -> Result<Submission> {
    check(job)?;
    if let Some(idempotency) = &job.idempotency
        && let Some(answer) = answered(connection, job.scope, idempotency, job.created_at)?
    {
        return Ok(Submission::Repeated { answer });
    }
    let most_pages = allowance::admit(connection, job)?;
    if let Some(idempotency) = &job.idempotency {
        remember(connection, job.scope, idempotency, job.created_at)?;
    }
    match &job.work {
        NewWork::Listed { input, tasks } => {
            let total = tasks.iter().map(|task| u64::from(task.urls)).sum();
            insert_job(connection, job, total, narrow(tasks.len())?)?;
            insert_input(connection, job.id, input)?;
            insert_tasks(connection, job.id, tasks)?;
            add_runnable(connection, job.scope.account, 1)?;
        }
        NewWork::Crawl(crawl) => {
            insert_job(connection, job, 0, 0)?;
            let max_pages = most_pages.map_or(crawl.max_pages, |most| most.min(crawl.max_pages));
            frontier::begin(connection, job.id, &NewCrawl { max_pages, ..crawl.clone() })?;
        }
    }
    let mut tally = Tally::default();
    tally.at(job.scope, job.created_at).jobs_accepted += 1;
    tally.write(connection)?;
    Ok(Submission::Accepted)
}

/// A job that could never end, or whose tasks have no input, is a defect of the caller.
fn check(job: &NewJob) -> Result<()> {
    let NewWork::Listed { input, tasks } = &job.work else { return Ok(()) };
    if tasks.is_empty() || tasks.iter().any(|task| task.urls == 0) {
        return Err(corrupt("a job needs a task, and a task a URL"));
    }
    let JobInput::Inline(bytes) = input else { return Ok(()) };
    let end = tasks.iter().map(|task| task.input_offset.saturating_add(task.input_bytes.into())).max();
    if end > Some(bytes.len() as u64) {
        return Err(corrupt("a task's range lies outside its job's input"));
    }
    Ok(())
}

/// The answer given to the same request within the last 24 hours.
pub(super) fn answered(
    connection: &Connection,
    scope: Scope,
    idempotency: &Idempotency,
    now: Timestamp,
) -> Result<Option<String>> {
    const SELECT: &str = "SELECT fingerprint, answer FROM idempotency
        WHERE account = ? AND environment = ? AND key = ? AND created_at > ?";
    let oldest = now.as_millisecond() - IDEMPOTENCY_MS;
    let read = |row: &Row| Ok((row.get::<_, [u8; 32]>("fingerprint")?, row.get::<_, String>("answer")?));
    let select = connection.prepare(SELECT);
    let found = select.query_row(params![scope.account, scope.environment, idempotency.key, oldest], read);
    match found.optional()? {
        None => Ok(None),
        Some((fingerprint, answer)) if fingerprint == idempotency.fingerprint => Ok(Some(answer)),
        Some(_) => Err(StoreError::IdempotencyMismatch),
    }
}

/// Keeps the key; one that is too old to count is replaced.
pub(super) fn remember(connection: &Connection, scope: Scope, idempotency: &Idempotency, now: Timestamp) -> Result<()> {
    const REPLACE: &str = "INSERT INTO idempotency (account, environment, key, fingerprint, answer, created_at)
        VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (account, environment, key) DO UPDATE
        SET fingerprint = excluded.fingerprint, answer = excluded.answer, created_at = excluded.created_at";
    let Idempotency { key, fingerprint, answer } = idempotency;
    connection.prepare(REPLACE).run(params![
        scope.account,
        scope.environment,
        key,
        fingerprint,
        answer,
        Millis(now)
    ])?;
    Ok(())
}

/// Inserts the row of a job with so many URLs and tasks, all of which can be claimed.
fn insert_job(connection: &Connection, job: &NewJob, total: u64, tasks: i64) -> Result<()> {
    check_new(connection, job.id)?;
    const INSERT: &str = "INSERT INTO jobs
        (id, account, environment, kind, status, options, webhook_url, webhook_host, created_at, total, tasks_left,
        tasks_claimable) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)";
    connection.prepare(INSERT).run(params![
        job.id,
        job.scope.account,
        job.scope.environment,
        job.kind,
        JobStatus::Pending,
        job.options,
        job.webhook.as_ref().map(|webhook| &webhook.url),
        job.webhook.as_ref().map(|webhook| &webhook.host),
        Millis(job.created_at),
        count(total),
        tasks,
    ])?;
    Ok(())
}

/// Ids are minted at random; one that is there has been used twice.
pub(super) fn check_new(connection: &Connection, job: JobId) -> Result<()> {
    if connection.prepare("SELECT 1 FROM jobs WHERE id = ?").exists([job])? {
        return Err(StoreError::Conflict("a job with this id exists".to_owned()));
    }
    Ok(())
}

fn insert_input(connection: &Connection, job: JobId, input: &JobInput) -> Result<()> {
    const INSERT: &str = "INSERT INTO inputs (job, bytes, blob_key) VALUES (?, ?, ?)";
    let (bytes, key) = match input {
        JobInput::Inline(bytes) => (Some(bytes), None),
        JobInput::Blob(key) => (None, Some(key)),
    };
    connection.prepare(INSERT).run(params![job, bytes, key])?;
    Ok(())
}

fn insert_tasks(connection: &Connection, job: JobId, tasks: &[NewTask]) -> Result<()> {
    const INSERT: &str = "INSERT INTO tasks (job, seq, state, input_offset, input_bytes, first, urls)
        VALUES (?, ?, 'pending', ?, ?, ?, ?)";
    let insert = connection.prepare(INSERT);
    let mut first = 0_u64;
    for (seq, task) in tasks.iter().enumerate() {
        let seq: u32 = narrow(seq)?;
        insert.run(params![job, seq, count(task.input_offset), task.input_bytes, count(first), task.urls])?;
        first += u64::from(task.urls);
    }
    Ok(())
}
