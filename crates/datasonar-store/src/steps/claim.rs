//! Claiming tasks.
//!
//! Who is served is decided by [`fair`](super::fair), which asks for accounts and jobs in the order of their last turns
//! and looks at no more of them than it serves or must pass over. So a claim costs the same with one open job and with
//! a hundred thousand, with ten tasks and with fifty thousand. The statements name their indexes: a plan that walks
//! finished tasks would be right, and slow only where nobody looks.

use std::collections::{HashMap, VecDeque};

use crate::sql::{Connection, Row, params};
use jiff::Timestamp;

use super::accounts::scope;
use super::fair::{self, Candidate, Candidates, Grant};
use super::frontier;
use super::tasks::{add_claimable, take_back};
use crate::sql::codec::{Millis, later, unsigned};
use crate::sql::corrupt;
use crate::{
    AccountId, ClaimTasks, ClaimedTask, JobId, JobInput, JobKind, JobStatus, Result, Scope, StoreError, TaskInput,
    TaskLease,
};

/// How many accounts or jobs are read at a time.
const CHUNK: u32 = 16;

pub(super) fn claim(connection: &Connection, claim: &ClaimTasks) -> Result<Vec<ClaimedTask>> {
    take_back(connection, claim.now)?;
    let grants = fair::allocate(claim, &mut Waiting::new(connection))?;
    if grants.is_empty() {
        return Ok(Vec::new());
    }
    stamp(connection, &grants)?;
    let mut claimed = Vec::with_capacity(claim.limit as usize);
    for grant in &grants {
        take(connection, claim, grant, &mut claimed)?;
    }
    Ok(claimed)
}

/// Notes the turns that were given, in their order.
fn stamp(connection: &Connection, grants: &[Grant]) -> Result<()> {
    const NEXT: &str = "UPDATE meta SET value = value + ? WHERE name = 'served' RETURNING value";
    const JOB: &str = "UPDATE jobs SET served = ? WHERE id = ?";
    const ACCOUNT: &str = "UPDATE turns SET served = ? WHERE account = ?";
    let turns = grants.len() as i64;
    let last: i64 = connection.prepare(NEXT).query_row([turns], |row| row.get(0))?;
    let mut accounts = HashMap::new();
    let job = connection.prepare(JOB);
    for (turn, grant) in (last - turns + 1..).zip(grants) {
        job.run(params![turn, grant.job])?;
        accounts.insert(grant.account, turn);
    }
    let account = connection.prepare(ACCOUNT);
    for (id, turn) in accounts {
        account.run(params![turn, id])?;
    }
    Ok(())
}

/// What a job's tasks have in common.
struct Common {
    scope: Scope,
    kind: JobKind,
    options: String,
    created_at: Timestamp,
    cancelled: bool,
    blob: Option<String>,
}

/// Leases the first claimable tasks of a job.
fn take(connection: &Connection, claim: &ClaimTasks, grant: &Grant, claimed: &mut Vec<ClaimedTask>) -> Result<()> {
    const SELECT: &str = "SELECT t.seq, t.epoch, t.input_offset, t.input_bytes, t.first, t.urls,
        CASE WHEN i.bytes IS NOT NULL
            THEN substr(i.bytes, CAST(t.input_offset + 1 AS INTEGER), CAST(t.input_bytes AS INTEGER)) END AS bytes,
        CASE WHEN t.depth IS NOT NULL THEN (SELECT f.urls FROM found f WHERE f.job = t.job AND f.seq = t.seq) END AS found
        FROM tasks t INDEXED BY tasks_pending LEFT JOIN inputs i ON i.job = t.job
        WHERE t.job = ? AND t.state = 'pending' ORDER BY t.seq LIMIT ?";
    const LEASE: &str = "UPDATE tasks SET state = 'leased', epoch = epoch + 1, owner = ?, lease_expires_at = ?
        WHERE job = ? AND seq = ?";
    let job = grant.job;
    let common = start(connection, job, claim.now)?;
    let before = claimed.len();
    let select = connection.prepare(SELECT);
    let rows = select.query(params![job, grant.tasks])?;
    for row in &rows {
        claimed.push(read(row, job, &common)?);
    }
    let taken = &claimed[before..];
    if taken.len() != grant.tasks as usize {
        return Err(corrupt("a job has fewer claimable tasks than it counts"));
    }
    let expires_at = later(claim.now, claim.lease);
    let lease = connection.prepare(LEASE);
    for task in taken {
        lease.run(params![claim.owner, expires_at, job, task.lease.seq])?;
    }
    add_claimable(connection, job, -i64::from(grant.tasks))
}

/// Reads what a job's tasks have in common, and marks it as started.
fn start(connection: &Connection, job: JobId, now: Timestamp) -> Result<Common> {
    const SELECT: &str = "SELECT j.account, j.environment, j.kind, j.status, j.options, j.created_at,
        j.cancelled_at IS NOT NULL AS cancelled, i.blob_key
        FROM jobs j LEFT JOIN inputs i ON i.job = j.id WHERE j.id = ?";
    const START: &str = "UPDATE jobs SET status = ?, started_at = ? WHERE id = ?";
    let read = |row: &Row| {
        let common = Common {
            scope: scope(row)?,
            kind: row.get("kind")?,
            options: row.get("options")?,
            created_at: row.get::<_, Millis>("created_at")?.0,
            cancelled: row.get("cancelled")?,
            blob: row.get("blob_key")?,
        };
        Ok((common, row.get::<_, JobStatus>("status")?))
    };
    let (common, status) = connection.prepare(SELECT).query_row([job], read)?;
    if status == JobStatus::Pending {
        connection.prepare(START).run(params![JobStatus::Started, Millis(now), job])?;
    }
    Ok(common)
}

fn read(row: &Row, job: JobId, common: &Common) -> Result<ClaimedTask> {
    let inline: Option<Vec<u8>> = row.get("bytes")?;
    let found: Option<String> = row.get("found")?;
    let bytes = row.get("input_bytes")?;
    let input = match (&common.blob, inline, found) {
        (Some(key), None, None) => {
            let offset = unsigned(row, "input_offset")?;
            TaskInput::Range { input: JobInput::Blob(key.clone()), offset, bytes }
        }
        (None, Some(inline), None) => TaskInput::Range { input: JobInput::Inline(inline), offset: 0, bytes },
        (None, None, Some(found)) => TaskInput::Found(frontier::read(&found)?),
        _ => return Err(corrupt("a task's URLs have not exactly one place")),
    };
    Ok(ClaimedTask {
        lease: TaskLease { job, seq: row.get("seq")?, epoch: row.get::<_, u32>("epoch")?.saturating_add(1) },
        scope: common.scope,
        kind: common.kind,
        options: common.options.clone(),
        created_at: common.created_at,
        input,
        first: unsigned(row, "first")?,
        urls: row.get("urls")?,
        cancelled: common.cancelled,
    })
}

/// The accounts and jobs that wait, read from the rows as they are asked for.
struct Waiting<'a> {
    connection: &'a Connection,
    accounts: Chunks<AccountId>,
    jobs: HashMap<AccountId, Chunks<(JobId, u32)>>,
}

/// A list of which a part is read at a time.
struct Chunks<T> {
    read: VecDeque<T>,
    /// Where the next part begins: after this turn and id.
    after: (i64, Vec<u8>),
    ended: bool,
}

impl<T> Chunks<T> {
    fn new() -> Self {
        Self { read: VecDeque::new(), after: (-1, Vec::new()), ended: false }
    }
}

impl<'a> Waiting<'a> {
    fn new(connection: &'a Connection) -> Self {
        Self { connection, accounts: Chunks::new(), jobs: HashMap::new() }
    }
}

impl Candidates for Waiting<'_> {
    type Error = StoreError;

    fn next_account(&mut self) -> Result<Option<AccountId>> {
        const SELECT: &str = "SELECT served, account FROM turns INDEXED BY turns_runnable WHERE runnable > 0 AND (served, account) > (?, ?)
            ORDER BY served, account LIMIT ?";
        let chunks = &mut self.accounts;
        if chunks.read.is_empty() && !chunks.ended {
            let select = self.connection.prepare(SELECT);
            let rows = select.query(params![chunks.after.0, chunks.after.1, CHUNK])?;
            for row in &rows {
                let account: AccountId = row.get(1)?;
                chunks.after = (row.get(0)?, account.0.as_bytes().to_vec());
                chunks.read.push_back(account);
            }
            chunks.ended = chunks.read.len() < CHUNK as usize;
        }
        Ok(chunks.read.pop_front())
    }

    fn next_job(&mut self, account: AccountId) -> Result<Option<Candidate>> {
        const SELECT: &str = "SELECT served, id, tasks_claimable FROM jobs INDEXED BY jobs_runnable
            WHERE account = ? AND tasks_claimable > 0 AND (served, id) > (?, ?) ORDER BY served, id LIMIT ?";
        let chunks = self.jobs.entry(account).or_insert_with(Chunks::new);
        if chunks.read.is_empty() && !chunks.ended {
            let select = self.connection.prepare(SELECT);
            let rows = select.query(params![account, chunks.after.0, chunks.after.1, CHUNK])?;
            for row in &rows {
                let job: JobId = row.get(1)?;
                chunks.after = (row.get(0)?, job.0.as_bytes().to_vec());
                chunks.read.push_back((job, row.get(2)?));
            }
            chunks.ended = chunks.read.len() < CHUNK as usize;
        }
        Ok(chunks.read.pop_front().map(|(job, tasks)| Candidate { job, tasks }))
    }
}
