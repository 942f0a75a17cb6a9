//! Tasks whose workers died: counting deaths, setting such tasks apart, and what is known of their pages.
//!
//! **A death is counted once, by claim.** It is noted when a task is claimed, or freed, while its row still names another process as
//! its holder: a lease that was given back names nobody, and a process that claims its own lapsed lease again has not died. The
//! note carries the epoch of the dead claim, so that a holder that comes back after all, say after an outage of the database, can
//! have exactly its own note deleted (`withdraw`): a lapse that was no death costs speed and never a result.
//!
//! **The second death sets a task apart.** In the state `isolated` a task is not among those that are shared out by
//! [`fair`](super::fair): it is claimed in a lane of its own, of which a claimer says how much room it has. So however many tasks
//! are suspected, they take no turn and no room from healthy ones. In the lane, tasks with the fewest deaths come first, and an
//! account has one at a time with each claimer, so that those who send poison do not keep others from being cleared.
//!
//! **A page is judged by marks.** The holder of an isolated task marks a page before it works on it, and says whether it works
//! on it alone. Keeping its result deletes the mark. A mark whose claim died stays, and is evidence.
//!
//! An isolated task stays one until it is finished, so that the rows its pages have left are known to be there.

use std::collections::BTreeSet;

use crate::sql::codec::{Json, Millis, count, unsigned};
use crate::sql::{Connection, Row, params};

use super::accounts::scope;
use super::claim::{Common, read};
use super::finish::insert_segment;
use super::frontier::hold;
use super::jobs::segment_of;
use crate::sql::corrupt;
use crate::{
    AccountId, ClaimTasks, ClaimedTask, Isolation, JobId, KeptPage, KeptResult, PageDeaths, PageMark, ProcessId,
    Result, SkipReason, TaskLease,
};

/// A task whose holders died so often is worked on page by page.
const ISOLATED_FROM: u32 = 2;
/// How many isolated tasks a claim looks at, to find some of accounts that have none with the claimer.
const LOOKED_AT: u32 = 1000;

/// Counts the death of a task's holder, if this row of a pending task shows one. Tells whether the task is to be isolated.
pub(super) fn is_suspect(connection: &Connection, claimer: ProcessId, job: JobId, row: &Row) -> Result<bool> {
    const COUNT: &str = "UPDATE tasks SET crashes = crashes + 1 WHERE job = ? AND seq = ?";
    let holder: Option<ProcessId> = row.get("owner")?;
    let mut crashes: u32 = row.get("crashes")?;
    if holder.is_some_and(|holder| holder != claimer) {
        let (seq, epoch): (u32, u32) = (row.get("seq")?, row.get("epoch")?);
        note(connection, TaskLease { job, seq, epoch })?;
        connection.prepare(COUNT).run(params![job, seq])?;
        crashes += 1;
    }
    Ok(crashes >= ISOLATED_FROM)
}

fn note(connection: &Connection, lease: TaskLease) -> Result<()> {
    const INSERT: &str = "INSERT INTO task_crashes (job, seq, epoch) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
    Ok(connection.prepare(INSERT).run(params![lease.job, lease.seq, lease.epoch])?)
}

/// Counts the deaths of all holders, before their leases are freed.
pub(super) fn count_all(connection: &Connection) -> Result<()> {
    const SELECT: [&str; 2] = [
        "SELECT job, seq, epoch FROM tasks WHERE state = 'leased' AND owner IS NOT NULL",
        "SELECT job, seq, epoch FROM tasks WHERE state = 'pending' AND owner IS NOT NULL",
    ];
    const COUNT: &str = "UPDATE tasks SET crashes = crashes + 1 WHERE job = ? AND seq = ?";
    let lease = |row: &Row| Ok(TaskLease { job: row.get(0)?, seq: row.get(1)?, epoch: row.get(2)? });
    let count = connection.prepare(COUNT);
    for select in SELECT {
        for held in connection.prepare(select).query_map(params![], lease)? {
            note(connection, held)?;
            count.run(params![held.job, held.seq])?;
        }
    }
    Ok(())
}

/// Takes back the death that was counted for a claim: its holder lives. A task that is isolated already stays so.
pub(super) fn withdraw(connection: &Connection, lease: TaskLease) -> Result<()> {
    const DELETE: &str = "DELETE FROM task_crashes WHERE job = ? AND seq = ? AND epoch = ?";
    const COUNT: &str =
        "UPDATE tasks SET crashes = crashes - 1 WHERE job = ?1 AND seq = ?2 AND crashes > 0 AND crashes < ?3";
    if connection.prepare(DELETE).execute(params![lease.job, lease.seq, lease.epoch])? > 0 {
        connection.prepare(COUNT).run(params![lease.job, lease.seq, ISOLATED_FROM])?;
    }
    Ok(())
}

/// Makes a pending task one that is claimed in the lane of isolated ones.
pub(super) fn set_apart(connection: &Connection, job: JobId, seq: u32) -> Result<()> {
    const UPDATE: &str = "UPDATE tasks SET state = 'isolated', epoch = epoch + 1, owner = NULL, lease_expires_at = NULL
        WHERE job = ? AND seq = ?";
    Ok(connection.prepare(UPDATE).run(params![job, seq])?)
}

/// Picks the isolated tasks that a claimer has room for. Their leases are given by the caller.
pub(super) fn claim(connection: &Connection, claim: &ClaimTasks) -> Result<Vec<ClaimedTask>> {
    const WAITING: &str =
        "SELECT t.job, t.seq, j.account FROM tasks t INDEXED BY tasks_isolated JOIN jobs j ON j.id = t.job
        WHERE t.state = 'isolated' ORDER BY t.crashes, t.job, t.seq LIMIT ?";
    const SELECT: &str = "SELECT t.seq, t.epoch, t.input_offset, t.input_bytes, t.first, t.urls, i.blob_key,
        CASE WHEN i.bytes IS NOT NULL
            THEN substr(i.bytes, CAST(t.input_offset + 1 AS INTEGER), CAST(t.input_bytes AS INTEGER)) END AS bytes,
        CASE WHEN t.depth IS NOT NULL THEN (SELECT f.urls FROM found f WHERE f.job = t.job AND f.seq = t.seq) END AS found,
        j.account, j.environment, j.kind, j.options, j.created_at, j.cancelled_at IS NOT NULL AS cancelled
        FROM tasks t JOIN jobs j ON j.id = t.job LEFT JOIN inputs i ON i.job = t.job WHERE t.job = ? AND t.seq = ?";
    if claim.isolated == 0 {
        return Ok(Vec::new());
    }
    let place = |row: &Row| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let waiting: Vec<(JobId, u32, AccountId)> = connection.prepare(WAITING).query_map(params![LOOKED_AT], place)?;
    let mut served: BTreeSet<AccountId> = claim.isolated_held.iter().copied().collect();
    let mut claimed = Vec::new();
    for (job, seq, account) in waiting {
        if claimed.len() >= claim.isolated as usize {
            break;
        }
        if !served.insert(account) {
            continue;
        }
        let rows = connection.prepare(SELECT).query(params![job, seq])?;
        let row = rows.first().ok_or_else(|| corrupt("a task has no job"))?;
        let common = Common {
            scope: scope(row)?,
            kind: row.get("kind")?,
            options: row.get("options")?,
            created_at: row.get::<_, Millis>("created_at")?.0,
            cancelled: row.get("cancelled")?,
        };
        let task = read(row, job, &common)?;
        let isolation = known(connection, task.lease, task.first)?;
        claimed.push(ClaimedTask { isolation: Some(isolation), ..task });
    }
    Ok(claimed)
}

/// What is known of a task's pages: those that are done, and those that were in progress when holders died.
fn known(connection: &Connection, lease: TaskLease, first: u64) -> Result<Isolation> {
    const MARKS: &str = "SELECT m.page, count(CASE WHEN m.alone <> 0 THEN 1 END) AS alone,
        count(CASE WHEN m.alone = 0 THEN 1 END) AS beside FROM page_marks m
        JOIN task_crashes c ON c.job = m.job AND c.seq = m.seq AND c.epoch = m.epoch
        WHERE m.job = ? AND m.seq = ? GROUP BY m.page ORDER BY m.page";
    const KEPT: &str = "SELECT page, time_ms, error, reason FROM kept_pages WHERE job = ? AND seq = ? ORDER BY page";
    const SEGMENTS: &str = "SELECT first, count, raw_bytes, sha256, blob_key, bytes FROM segments
        WHERE job = ? AND seq = ? AND position = ?";
    let deaths =
        |row: &Row| Ok(PageDeaths { page: row.get("page")?, alone: row.get("alone")?, beside: row.get("beside")? });
    let deaths = connection.prepare(MARKS).query_map(params![lease.job, lease.seq], deaths)?;
    let mut kept = Vec::new();
    for row in &connection.prepare(KEPT).query(params![lease.job, lease.seq])? {
        let page: u32 = row.get("page")?;
        let result = match row.get::<_, Option<SkipReason>>("reason")? {
            Some(reason) => KeptResult::Dropped(reason),
            None => {
                let rows = connection.prepare(SEGMENTS).query(params![lease.job, lease.seq, page])?;
                let segment = segment_of(rows.first().ok_or_else(|| corrupt("a page that was kept has no result"))?)?;
                if segment.first != first + u64::from(page) {
                    return Err(corrupt("a page that was kept has the result of another"));
                }
                let error = row.get::<_, Option<Json<_>>>("error")?.map(|error| error.0);
                KeptResult::Page { segment, error, time_ms: unsigned(row, "time_ms")? }
            }
        };
        kept.push(KeptPage { page, result });
    }
    Ok(Isolation { kept, deaths })
}

/// Marks a page as being worked on.
pub(super) fn mark(connection: &Connection, lease: TaskLease, mark: PageMark) -> Result<()> {
    const UPSERT: &str = "INSERT INTO page_marks (job, seq, epoch, page, alone) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (job, seq, epoch, page) DO UPDATE SET alone = excluded.alone";
    if mark.page >= hold(connection, lease)?.urls {
        return Err(corrupt("a task has no such page"));
    }
    Ok(connection.prepare(UPSERT).run(params![lease.job, lease.seq, lease.epoch, mark.page, mark.is_alone])?)
}

/// Keeps what a page came to, whatever becomes of its task's holder from now on, and deletes its mark.
pub(super) fn keep(connection: &Connection, lease: TaskLease, kept: &KeptPage) -> Result<()> {
    const DELETE: [&str; 3] = [
        "DELETE FROM kept_pages WHERE job = ? AND seq = ? AND page = ?",
        "DELETE FROM segments WHERE job = ? AND seq = ? AND position = ?",
        "DELETE FROM page_marks WHERE job = ? AND seq = ? AND page = ?",
    ];
    const INSERT: &str = "INSERT INTO kept_pages (job, seq, page, time_ms, error, reason) VALUES (?, ?, ?, ?, ?, ?)";
    let TaskLease { job, seq, .. } = lease;
    let held = hold(connection, lease)?;
    if kept.page >= held.urls || !held.is_isolated {
        return Err(corrupt("a task keeps no such page"));
    }
    for delete in DELETE {
        connection.prepare(delete).run(params![job, seq, kept.page])?;
    }
    let (time_ms, error, reason) = match &kept.result {
        KeptResult::Dropped(reason) => (0, None, Some(*reason)),
        KeptResult::Page { segment, error, time_ms } => {
            if segment.count != 1 || segment.first != held.first + u64::from(kept.page) {
                return Err(corrupt("a page that is kept has one result, its own"));
            }
            insert_segment(connection, job, seq, kept.page.into(), segment)?;
            (*time_ms, error.as_ref().map(Json), None)
        }
    };
    Ok(connection.prepare(INSERT).run(params![job, seq, kept.page, count(time_ms), error, reason])?)
}

/// Deletes what was noted of a task that is being finished, and the results that its finish brings again.
pub(super) fn forget(connection: &Connection, lease: TaskLease) -> Result<()> {
    const DELETE: [&str; 4] = [
        "DELETE FROM segments WHERE job = ? AND seq = ?",
        "DELETE FROM kept_pages WHERE job = ? AND seq = ?",
        "DELETE FROM page_marks WHERE job = ? AND seq = ?",
        "DELETE FROM task_crashes WHERE job = ? AND seq = ?",
    ];
    DELETE.into_iter().try_for_each(|delete| Ok(connection.prepare(delete).run(params![lease.job, lease.seq])?))
}
