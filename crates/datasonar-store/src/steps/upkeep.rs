//! What keeps the store small and tells how it is.

use crate::sql::{Connection, Row, params};
use jiff::Timestamp;

use super::{activity, bulk, dispatch, schedules, tasks};
use crate::sql::codec::{Millis, count, unsigned};
use crate::{JobId, Result, Totals};

/// For how long an idempotency key counts.
pub(super) const IDEMPOTENCY_MS: i64 = 24 * 60 * 60 * 1000;

/// How many idempotency keys are deleted at a time.
const KEYS: u32 = 10_000;

pub(super) fn free_leases(connection: &Connection) -> Result<()> {
    tasks::free(connection)?;
    dispatch::free(connection)
}

pub(super) fn expire_results(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<JobId>> {
    const SELECT: &str = "SELECT id FROM jobs j INDEXED BY jobs_kept
        WHERE results_deleted = 0 AND expires_at IS NOT NULL AND expires_at <= ?
        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.job = j.id AND (d.next_attempt_at IS NOT NULL OR d.lease_expires_at IS NOT NULL))
        ORDER BY expires_at LIMIT ?";
    const DELETE: [&str; 10] = [
        "DELETE FROM segments WHERE job = ?",
        "DELETE FROM kept_pages WHERE job = ?",
        "DELETE FROM page_marks WHERE job = ?",
        "DELETE FROM task_crashes WHERE job = ?",
        "DELETE FROM tasks WHERE job = ?",
        "DELETE FROM inputs WHERE job = ?",
        "DELETE FROM seen WHERE job = ?",
        "DELETE FROM found WHERE job = ?",
        "DELETE FROM skipped WHERE job = ?",
        "DELETE FROM job_errors WHERE job = ?",
    ];
    const UPDATE: &str = "UPDATE jobs SET results_deleted = 1 WHERE id = ?";
    let expired = ids(connection, SELECT, now, limit)?;
    for job in &expired {
        for statement in DELETE.into_iter().chain([UPDATE]) {
            connection.prepare(statement).run([job])?;
        }
    }
    Ok(expired)
}

pub(super) fn delete_logs(connection: &Connection, before: Timestamp, now: Timestamp, limit: u32) -> Result<u64> {
    const SELECT: &str = "SELECT id FROM jobs INDEXED BY jobs_expired WHERE results_deleted = 1 AND completed_at < ?
        ORDER BY completed_at LIMIT ?";
    const DELETE: [&str; 4] = [
        "DELETE FROM crawls WHERE job = ?",
        "DELETE FROM attempts WHERE delivery IN (SELECT id FROM deliveries WHERE job = ?)",
        "DELETE FROM deliveries WHERE job = ?",
        "DELETE FROM jobs WHERE id = ?",
    ];
    const DELETE_KEYS: &str = "DELETE FROM idempotency WHERE (account, environment, key) IN
        (SELECT account, environment, key FROM idempotency WHERE created_at <= ? ORDER BY created_at LIMIT ?)";
    let jobs = ids(connection, SELECT, before, limit)?;
    for job in &jobs {
        for statement in DELETE {
            connection.prepare(statement).run([job])?;
        }
    }
    bulk::delete_ended(connection, before, limit)?;
    schedules::delete_runs(connection, before, limit)?;
    activity::forget(connection, now)?;
    let oldest = now.as_millisecond() - IDEMPOTENCY_MS;
    connection.prepare(DELETE_KEYS).run(params![oldest, KEYS])?;
    Ok(jobs.len() as u64)
}

fn ids(connection: &Connection, sql: &str, time: Timestamp, limit: u32) -> Result<Vec<JobId>> {
    let select = connection.prepare(sql);
    Ok(select.query_map(params![Millis(time), limit], |row| row.get(0))?)
}

pub(super) fn unknown_jobs(connection: &Connection, ids: &[JobId]) -> Result<Vec<JobId>> {
    const SELECT: &str = "SELECT 1 FROM jobs WHERE id = ? AND results_deleted = 0";
    let select = connection.prepare(SELECT);
    let mut unknown = Vec::new();
    for id in ids {
        if !select.exists([id])? {
            unknown.push(*id);
        }
    }
    Ok(unknown)
}

/// Each count walks an index that holds only what it counts.
pub(super) fn totals(connection: &Connection) -> Result<Totals> {
    const SELECT: &str = "SELECT
        (SELECT count(*) FROM jobs WHERE status IN ('pending', 'started')) AS jobs_open,
        (SELECT count(*) FROM tasks WHERE state = 'pending')
            + (SELECT count(*) FROM tasks WHERE state = 'isolated') AS tasks_pending,
        (SELECT count(*) FROM tasks WHERE state = 'leased') AS tasks_leased,
        (SELECT count(*) FROM deliveries WHERE status IN ('pending', 'failed') AND status = 'pending')
            AS deliveries_pending,
        (SELECT count(*) FROM deliveries WHERE status IN ('pending', 'failed') AND status = 'failed')
            AS deliveries_failed";
    let read = |row: &Row| {
        Ok(Totals {
            jobs_open: unsigned(row, "jobs_open")?,
            tasks_pending: unsigned(row, "tasks_pending")?,
            tasks_leased: unsigned(row, "tasks_leased")?,
            deliveries_pending: unsigned(row, "deliveries_pending")?,
            deliveries_failed: unsigned(row, "deliveries_failed")?,
        })
    };
    Ok(connection.prepare(SELECT).query_row(params![], read)?)
}

/// Writes, so that a full or read-only disk shows.
pub(super) fn ping(connection: &Connection) -> Result<()> {
    const UPDATE: &str = "UPDATE meta SET value = value + ? WHERE name = 'pings'";
    connection.prepare(UPDATE).run([count(1)])?;
    Ok(())
}
