//! Leases on tasks: renewing them, giving them back, and the counting of what can be claimed.
//!
//! A task whose lease has run out stays its holder's until another claims it: renewing or finishing it before that is
//! no error. Giving a lease back raises the epoch, so that its holder cannot use it any more.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sql::{Connection, OptionalExtension, Row, owned, params};
use jiff::Timestamp;

use super::isolation;
use super::jobs::current;
use crate::sql::codec::{Millis, later};
use crate::sql::corrupt;
use crate::{AccountId, JobId, Renewal, Result, TaskLease};

/// How many lapsed leases a claim takes back at most.
const LAPSED: u32 = 1000;
/// How often it is noted up to when there are none.
const NOTED_EACH_MS: i64 = 1000;

pub(super) fn renew(
    connection: &Connection,
    leases: &[TaskLease],
    now: Timestamp,
    hold: Duration,
) -> Result<Vec<Renewal>> {
    const SELECT: &str =
        "SELECT t.state, j.cancelled_at IS NOT NULL AS cancelled FROM tasks t JOIN jobs j ON j.id = t.job
        WHERE t.job = ? AND t.seq = ? AND t.epoch = ? AND t.state <> 'finished'";
    const UPDATE: &str = "UPDATE tasks SET state = 'leased', lease_expires_at = ? WHERE job = ? AND seq = ?";
    let expires_at = later(now, hold);
    let found =
        connection.prepare(SELECT).query_all(leases.iter().map(|lease| owned![lease.job, lease.seq, lease.epoch]))?;
    let mut renewals = Vec::with_capacity(leases.len());
    for (lease, rows) in leases.iter().zip(&found) {
        let Some(row) = rows.first() else {
            renewals.push(Renewal::Lost);
            continue;
        };
        connection.prepare(UPDATE).run(params![expires_at, lease.job, lease.seq])?;
        if row.get::<_, String>("state")? == "pending" {
            add_claimable(connection, lease.job, -1)?;
        }
        renewals.push(if row.get("cancelled")? { Renewal::Cancelled } else { Renewal::Held });
    }
    Ok(renewals)
}

pub(super) fn release(connection: &Connection, leases: &[TaskLease]) -> Result<()> {
    const SELECT: &str =
        "SELECT state = 'leased' FROM tasks WHERE job = ? AND seq = ? AND epoch = ? AND state <> 'finished'";
    const UPDATE: &str = "UPDATE tasks SET state = 'pending', epoch = epoch + 1, owner = NULL, lease_expires_at = NULL
        WHERE job = ? AND seq = ?";
    let select = connection.prepare(SELECT);
    let update = connection.prepare(UPDATE);
    for lease in leases {
        let found = select.query_row(params![lease.job, lease.seq, lease.epoch], |row| row.get(0)).optional()?;
        let Some(leased) = found else {
            isolation::withdraw(connection, *lease)?;
            continue;
        };
        update.run(params![lease.job, lease.seq])?;
        if leased {
            add_claimable(connection, lease.job, 1)?;
        }
    }
    Ok(())
}

/// Gives back every lease on a task, those too that have run out and were taken back, but whose holder might yet come.
pub(super) fn free(connection: &Connection) -> Result<()> {
    const COUNT: &str = "SELECT job, count(*) FROM tasks WHERE state = 'leased' GROUP BY job";
    const UPDATE: [&str; 2] = [
        "UPDATE tasks SET state = 'pending', epoch = epoch + 1, owner = NULL, lease_expires_at = NULL
            WHERE state = 'leased'",
        "UPDATE tasks SET epoch = epoch + 1, owner = NULL, lease_expires_at = NULL
            WHERE state = 'pending' AND owner IS NOT NULL",
    ];
    isolation::count_all(connection)?;
    let read = |row: &Row| Ok((row.get::<_, JobId>(0)?, row.get::<_, i64>(1)?));
    let freed: Vec<_> = connection.prepare(COUNT).query_map(params![], read)?;
    for update in UPDATE {
        connection.prepare(update).run(params![])?;
    }
    freed.into_iter().try_for_each(|(job, tasks)| add_claimable(connection, job, tasks))
}

/// Makes tasks whose leases have run out claimable. Their epoch rises when they are claimed.
///
/// `meta`'s `lapsed` is a time up to which no lease is left that has run out: what lies before it in the index was given up, and is passed by.
pub(super) fn take_back(connection: &Connection, now: Timestamp) -> Result<()> {
    const SELECT: &str = "SELECT job, seq FROM tasks INDEXED BY tasks_leased WHERE state = 'leased'
        AND lease_expires_at > (SELECT value FROM meta WHERE name = 'lapsed') AND lease_expires_at <= ?
        ORDER BY lease_expires_at LIMIT ?";
    const UPDATE: &str = "UPDATE tasks SET state = 'pending' WHERE job = ? AND seq = ?";
    const LAPSED_UP_TO: &str = "UPDATE meta SET value = ?1 WHERE name = 'lapsed' AND value < ?2";
    let read = |row: &Row| Ok((row.get::<_, JobId>(0)?, row.get::<_, u32>(1)?));
    let select = connection.prepare(SELECT);
    let lapsed: Vec<_> = select.query_map(params![Millis(now), LAPSED], read)?;
    if lapsed.len() < LAPSED as usize {
        let now = now.as_millisecond();
        connection.prepare(LAPSED_UP_TO).run(params![now, now - NOTED_EACH_MS])?;
    }
    let update = connection.prepare(UPDATE);
    let mut by_job = BTreeMap::<JobId, i64>::new();
    for (job, seq) in lapsed {
        update.run(params![job, seq])?;
        *by_job.entry(job).or_default() += 1;
    }
    by_job.into_iter().try_for_each(|(job, tasks)| add_claimable(connection, job, tasks))
}

/// Sees to it that a lease which ends at this time is found when it has run out: clocks may differ by more than a lease.
pub(super) fn expect_lapse(connection: &Connection, expires_at: Millis) -> Result<()> {
    const UPDATE: &str = "UPDATE meta SET value = ?1 - 1 WHERE name = 'lapsed' AND value >= ?1";
    connection.prepare(UPDATE).run([expires_at])?;
    Ok(())
}

/// Adds to the number of a job's claimable tasks, which may be any of its tasks. But for claiming, the only place that changes it, since the
/// number of its account's runnable jobs hangs on it.
pub(super) fn add_claimable(connection: &Connection, job: JobId, tasks: i64) -> Result<()> {
    const UPDATE: &str = current!(
        "SET tasks_claimable = tasks_claimable + ?2, claimable_from = CASE WHEN ?2 > 0 THEN 0 ELSE claimable_from END",
        "RETURNING account, tasks_claimable"
    );
    let read = |row: &Row| Ok((row.get::<_, AccountId>(0)?, row.get::<_, i64>(1)?));
    let updated = connection.prepare(UPDATE).query_row(params![job, tasks], read).optional()?;
    let Some((account, claimable)) = updated else { return Err(corrupt("a task has no job")) };
    let runnable = i64::from(claimable > 0) - i64::from(claimable - tasks > 0);
    if runnable == 0 { Ok(()) } else { add_runnable(connection, account, runnable) }
}

/// Adds to the number of an account's jobs that have claimable tasks.
pub(super) fn add_runnable(connection: &Connection, account: AccountId, jobs: i64) -> Result<()> {
    const UPSERT: &str = "INSERT INTO turns (account, runnable) VALUES (?1, ?2)
        ON CONFLICT (account) DO UPDATE SET runnable = turns.runnable + ?2";
    connection.prepare(UPSERT).run(params![account, jobs])?;
    Ok(())
}
