//! Finding, listing and cancelling jobs, and reading their results back.

use crate::sql::{self, Connection, OptionalExtension, Row, ToValue, owned, params};
use jiff::Timestamp;

use super::accounts::scope;
use crate::sql::codec::{Json, Millis, last_id, time, unsigned};
use crate::sql::corrupt;
use crate::{
    DeliveryId, DeliveryStatus, FinishedTask, Job, JobFilter, JobId, JobStatus, Page, Result, Scope, Segment,
    SegmentData, SkipCounts, StoreError,
};

/// The writing of a row of a job that is written often: of the job `?1`. The row is found by the key that grows with each writing, so that
/// what it costs does not depend on how many versions of it PostgreSQL must still keep for others.
macro_rules! current {
    ($set:literal, $returning:literal) => {
        concat!(
            "UPDATE jobs ",
            $set,
            ", version = version + 1 WHERE id = ?1
            AND version = (SELECT c.version FROM jobs c WHERE c.id = ?1 ORDER BY c.version DESC LIMIT 1) ",
            $returning
        )
    };
}
pub(super) use current;

/// The beginning of every statement that reads whole jobs.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT j.id, j.account, j.environment, j.kind, j.status, j.options, j.webhook_url, j.created_at,
            j.started_at, j.completed_at, j.expires_at, j.cancelled_at, j.error, j.results_deleted, j.total,
            j.succeeded, j.failed, j.segments, j.result_bytes, d.id AS delivery_id, d.status AS delivery_status,
            coalesce(c.robots, 0) AS robots, coalesce(c.out_of_scope, 0) AS out_of_scope,
            coalesce(c.duplicate, 0) AS duplicate, coalesce(c.over_limit, 0) AS over_limit
            FROM jobs j LEFT JOIN deliveries d ON d.job = j.id LEFT JOIN crawls c ON c.job = j.id ",
            $rest
        )
    };
}

pub(super) fn job(connection: &Connection, scope: Scope, id: JobId) -> Result<Job> {
    by_id(connection, id)?.filter(|job| job.scope == scope).ok_or(StoreError::NotFound)
}

/// Finds a job of whatever scope.
/// Finds jobs by their ids; each once, in the order given.
pub(super) fn by_ids(connection: &Connection, ids: impl Iterator<Item = JobId>) -> Result<Vec<Option<Job>>> {
    const SELECT: &str = select!("WHERE j.id = ?");
    let found = connection.prepare(SELECT).query_all(ids.map(|id| owned![id]))?;
    found.iter().map(|rows| Ok(rows.first().map(read).transpose()?)).collect()
}

pub(super) fn by_id(connection: &Connection, id: JobId) -> Result<Option<Job>> {
    Ok(connection.prepare(select!("WHERE j.id = ?")).query_row([id], read).optional()?)
}

/// One statement for each combination of filters, so that each walks an index in the order wanted. Where both are
/// given, the status leads (`coalesce` keeps the kind's index out): the jobs that stand somewhere in particular are few.
pub(super) fn jobs(connection: &Connection, scope: Scope, filter: JobFilter, page: Page<JobId>) -> Result<Vec<Job>> {
    const ALL: &str = select!("WHERE j.account = ? AND j.environment = ? AND j.id < ? ORDER BY j.id DESC LIMIT ?");
    const BY_KIND: &str =
        select!("WHERE j.account = ? AND j.environment = ? AND j.kind = ? AND j.id < ? ORDER BY j.id DESC LIMIT ?");
    const BY_STATUS: &str =
        select!("WHERE j.account = ? AND j.environment = ? AND j.status = ? AND j.id < ? ORDER BY j.id DESC LIMIT ?");
    const BY_BOTH: &str = select!(
        "WHERE j.account = ? AND j.environment = ? AND j.status = ? AND coalesce(j.kind, '') = ? AND j.id < ?
        ORDER BY j.id DESC LIMIT ?"
    );
    let Scope { account, environment } = scope;
    let before = page.before.unwrap_or(JobId(last_id()));
    let limit = page.limit;
    let rows = match (filter.status, filter.kind) {
        (None, None) => collect(connection, ALL, params![account, environment, before, limit]),
        (None, Some(kind)) => collect(connection, BY_KIND, params![account, environment, kind, before, limit]),
        (Some(status), None) => collect(connection, BY_STATUS, params![account, environment, status, before, limit]),
        (Some(status), Some(kind)) => {
            collect(connection, BY_BOTH, params![account, environment, status, kind, before, limit])
        }
    };
    Ok(rows?)
}

pub(super) fn ended(connection: &Connection, scope: Scope, after: (Timestamp, JobId), limit: u32) -> Result<Vec<Job>> {
    const SELECT: &str = select!(
        "WHERE j.account = ? AND j.environment = ? AND j.completed_at IS NOT NULL AND (j.completed_at, j.id) > (?, ?)
        ORDER BY j.completed_at, j.id LIMIT ?"
    );
    let (at, id) = after;
    Ok(collect(connection, SELECT, params![scope.account, scope.environment, Millis(at), id, limit])?)
}

fn collect(connection: &Connection, sql: &str, params: &[&dyn ToValue]) -> sql::Result<Vec<Job>> {
    connection.prepare(sql).query_map(params, read)
}

pub(super) fn cancel(connection: &Connection, scope: Scope, id: JobId, now: Timestamp) -> Result<()> {
    const SELECT: &str = "SELECT status FROM jobs WHERE id = ? AND account = ? AND environment = ?";
    const UPDATE: &str = "UPDATE jobs SET cancelled_at = coalesce(cancelled_at, ?) WHERE id = ?";
    let select = connection.prepare(SELECT);
    let status = select.query_row(params![id, scope.account, scope.environment], |row| row.get::<_, JobStatus>(0));
    match status.optional()? {
        None => Err(StoreError::NotFound),
        Some(status) if status.has_ended() => Err(StoreError::Conflict("the job has ended".to_owned())),
        Some(_) => {
            connection.prepare(UPDATE).run(params![Millis(now), id])?;
            Ok(())
        }
    }
}

pub(super) fn finished_tasks(connection: &Connection, job: JobId, seq: u32, limit: u32) -> Result<Vec<FinishedTask>> {
    const SELECT: &str = "SELECT seq, state, first, urls FROM tasks WHERE job = ? AND seq >= ? ORDER BY seq LIMIT ?";
    let mut tasks = Vec::new();
    let select = connection.prepare(SELECT);
    let rows = select.query(params![job, seq, limit])?;
    for row in &rows {
        if row.get::<_, String>("state")? != "finished" {
            break;
        }
        let seq = row.get("seq")?;
        tasks.push(FinishedTask {
            seq,
            first: unsigned(row, "first")?,
            urls: row.get("urls")?,
            segments: segments(connection, job, seq)?,
        });
    }
    Ok(tasks)
}

fn segments(connection: &Connection, job: JobId, seq: u32) -> Result<Vec<Segment>> {
    const SELECT: &str = "SELECT first, count, raw_bytes, sha256, blob_key, bytes FROM segments
        WHERE job = ? AND seq = ? ORDER BY position";
    let rows = connection.prepare(SELECT).query(params![job, seq])?;
    rows.iter().map(segment_of).collect()
}

/// Reads a segment from its row.
pub(super) fn segment_of(row: &Row) -> Result<Segment> {
    let data = match (row.get("blob_key")?, row.get("bytes")?) {
        (Some(key), None) => SegmentData::Blob(key),
        (None, Some(bytes)) => SegmentData::Inline(bytes),
        _ => return Err(corrupt("a segment has not exactly one place")),
    };
    Ok(Segment {
        first: unsigned(row, "first")?,
        count: row.get("count")?,
        raw_bytes: unsigned(row, "raw_bytes")?,
        sha256: row.get("sha256")?,
        data,
    })
}

fn read(row: &Row) -> sql::Result<Job> {
    let delivery: Option<DeliveryId> = row.get("delivery_id")?;
    let standing: Option<DeliveryStatus> = row.get("delivery_status")?;
    Ok(Job {
        id: row.get("id")?,
        scope: scope(row)?,
        kind: row.get("kind")?,
        status: row.get("status")?,
        options: row.get("options")?,
        webhook_url: row.get("webhook_url")?,
        created_at: row.get::<_, Millis>("created_at")?.0,
        started_at: time(row, "started_at")?,
        completed_at: time(row, "completed_at")?,
        expires_at: time(row, "expires_at")?,
        cancelled_at: time(row, "cancelled_at")?,
        total: unsigned(row, "total")?,
        succeeded: unsigned(row, "succeeded")?,
        failed: unsigned(row, "failed")?,
        skipped: SkipCounts {
            robots: unsigned(row, "robots")?,
            out_of_scope: unsigned(row, "out_of_scope")?,
            duplicate: unsigned(row, "duplicate")?,
            over_limit: unsigned(row, "over_limit")?,
        },
        segments: unsigned(row, "segments")?,
        result_bytes: unsigned(row, "result_bytes")?,
        results_deleted: row.get("results_deleted")?,
        error: row.get::<_, Option<Json<_>>>("error")?.map(|error| error.0),
        delivery: delivery.zip(standing),
    })
}
