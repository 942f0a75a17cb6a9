//! Claiming tasks.
//!
//! Who is served is decided by [`fair`](super::fair), which asks for accounts and jobs in the order of their last turns
//! and looks at no more of them than it serves or must pass over. So a claim costs the same with one open job and with
//! a hundred thousand, with ten tasks and with fifty thousand. The statements name their indexes: a plan that walks
//! finished tasks would be right, and slow only where nobody looks.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::sql::{Connection, OptionalExtension, Row, owned, params};
use jiff::Timestamp;

use super::accounts::scope;
use super::fair::{self, Candidate, Candidates, Grant};
use super::frontier;
use super::isolation;
use super::jobs::current;
use super::tasks::{add_runnable, expect_lapse, take_back};
use crate::sql::codec::{Millis, later, unsigned};
use crate::sql::corrupt;
use crate::{
    AccountId, ClaimTasks, ClaimedTask, JobId, JobInput, JobKind, Result, Scope, StoreError, TaskInput, TaskLease,
};

/// How many accounts or jobs are read at a time.
const CHUNK: u32 = 16;
/// How many jobs of an account are few: they are read at once.
const FEW_JOBS: u32 = 64;

pub(super) fn claim(connection: &Connection, claim: &ClaimTasks) -> Result<Vec<ClaimedTask>> {
    take_back(connection, claim.now)?;
    let mut claimed = claim_in_turn(connection, claim)?;
    claimed.extend(isolation::claim(connection, claim)?);
    if !claimed.is_empty() {
        lease(connection, claim, &claimed)?;
    }
    Ok(claimed)
}

/// Picks tasks that are not suspected of anything. Those that are found to be are set apart, whatever the claim has room for.
fn claim_in_turn(connection: &Connection, claim: &ClaimTasks) -> Result<Vec<ClaimedTask>> {
    let mut waiting = Waiting::new(connection);
    let grants = fair::allocate(claim, &mut waiting)?;
    if grants.is_empty() {
        return Ok(Vec::new());
    }
    let found = find(connection, &grants, &waiting.from)?;
    let turns = Turns::take(connection, &grants, &waiting)?;
    let jobs = charge(connection, claim, &grants, &found, &turns)?;
    let mut claimed = Vec::with_capacity(claim.limit as usize);
    for ((grant, rows), common) in grants.iter().zip(&found).zip(&jobs) {
        for row in rows {
            if isolation::is_suspect(connection, claim.owner, grant.job, row)? {
                isolation::set_apart(connection, grant.job, row.get("seq")?)?;
            } else {
                claimed.push(read(row, grant.job, common)?);
            }
        }
    }
    Ok(claimed)
}

/// The first claimable tasks of each job. What lies before where a job's claimable tasks begin, as its row tells, is passed over.
fn find(connection: &Connection, grants: &[Grant], from: &HashMap<JobId, u32>) -> Result<Vec<Vec<Row>>> {
    const SELECT: &str = "SELECT t.seq, t.epoch, t.owner, t.crashes, t.input_offset, t.input_bytes, t.first, t.urls, i.blob_key,
        CASE WHEN i.bytes IS NOT NULL
            THEN substr(i.bytes, CAST(t.input_offset + 1 AS INTEGER), CAST(t.input_bytes AS INTEGER)) END AS bytes,
        CASE WHEN t.depth IS NOT NULL THEN (SELECT f.urls FROM found f WHERE f.job = t.job AND f.seq = t.seq) END AS found
        FROM tasks t INDEXED BY tasks_pending LEFT JOIN inputs i ON i.job = t.job
        WHERE t.job = ? AND t.seq >= ? AND t.state = 'pending' ORDER BY t.seq LIMIT ?";
    let select = connection.prepare(SELECT);
    let from = |grant: &Grant| from.get(&grant.job).copied().unwrap_or(0);
    let each = grants.iter().map(|grant| owned![grant.job, from(grant), grant.tasks]);
    let mut found = select.query_all(each)?;
    for (grant, rows) in grants.iter().zip(&mut found) {
        if rows.len() != grant.tasks as usize {
            *rows = select.query(params![grant.job, 0, grant.tasks])?;
        }
        if rows.len() != grant.tasks as usize {
            return Err(corrupt("a job has fewer claimable tasks than it counts"));
        }
    }
    Ok(found)
}

/// The numbers of the turns that are given: accounts have theirs, and each account's jobs. Where one is alone it takes no turns, and nothing
/// is noted of it, unless it is new: that spares the index a change.
struct Turns {
    /// By the place of the grant: the turn of its job.
    jobs: Vec<Option<i64>>,
}

impl Turns {
    fn take(connection: &Connection, grants: &[Grant], waiting: &Waiting<'_>) -> Result<Self> {
        const LAST: &str = "SELECT coalesce(max(served), 0) FROM turns";
        const ACCOUNT: &str = "UPDATE turns SET served = ? WHERE account = ?";
        if !waiting.is_account_alone() {
            let last: i64 = connection.prepare(LAST).query_row(params![], |row| row.get(0))?;
            // An account's turn is that of its last grant.
            let mut accounts = BTreeMap::new();
            for (turn, grant) in (last + 1..).zip(grants) {
                accounts.insert(grant.account, turn);
            }
            let update = connection.prepare(ACCOUNT);
            for (account, turn) in accounts {
                update.run(params![turn, account])?;
            }
        }
        let mut last = HashMap::new();
        for (account, jobs) in waiting.jobs.iter().filter(|(_, jobs)| !jobs.is_one_alone()) {
            last.insert(*account, if jobs.ended { jobs.last } else { last_turn(connection, *account)? });
        }
        let jobs = grants.iter().map(|grant| {
            let turn = last.get_mut(&grant.account)?;
            *turn += 1;
            Some(*turn)
        });
        Ok(Self { jobs: jobs.collect() })
    }
}

/// The last turn that one of an account's waiting jobs had.
fn last_turn(connection: &Connection, account: AccountId) -> Result<i64> {
    const LAST: &str = "SELECT served FROM jobs INDEXED BY jobs_runnable
        WHERE account = ? AND tasks_claimable > 0 ORDER BY served DESC, id DESC LIMIT 1";
    Ok(connection.prepare(LAST).query_row([account], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// What a job's tasks have in common.
pub(super) struct Common {
    pub(super) scope: Scope,
    pub(super) kind: JobKind,
    pub(super) options: String,
    pub(super) created_at: Timestamp,
    pub(super) cancelled: bool,
}

/// Takes what is granted off what each job has to give, in one writing of its row; it is started now, if it was not.
fn charge(
    connection: &Connection,
    claim: &ClaimTasks,
    grants: &[Grant],
    found: &[Vec<Row>],
    turns: &Turns,
) -> Result<Vec<Common>> {
    const UPDATE: &str = current!(
        "SET served = coalesce(?2, served), tasks_claimable = tasks_claimable - ?3, claimable_from = ?4,
        status = CASE WHEN status = 'pending' THEN 'started' ELSE status END, started_at = coalesce(started_at, ?5)",
        "RETURNING account, environment, kind, options, created_at, cancelled_at IS NOT NULL AS cancelled,
        tasks_claimable"
    );
    let mut each = Vec::with_capacity(grants.len());
    for (place, (grant, rows)) in grants.iter().zip(found).enumerate() {
        let last = rows.last().ok_or_else(|| corrupt("a job was granted nothing"))?;
        let from = last.get::<_, u32>("seq")?.saturating_add(1);
        each.push(owned![grant.job, turns.jobs[place], grant.tasks, from, Millis(claim.now)]);
    }
    let updated = connection.prepare(UPDATE).query_all(each.into_iter())?;
    let mut ended = BTreeMap::<AccountId, i64>::new();
    let mut jobs = Vec::with_capacity(grants.len());
    for (grant, rows) in grants.iter().zip(&updated) {
        let row = rows.first().ok_or_else(|| corrupt("a task has no job"))?;
        if row.get::<_, i64>("tasks_claimable")? == 0 {
            *ended.entry(grant.account).or_default() += 1;
        }
        jobs.push(Common {
            scope: scope(row)?,
            kind: row.get("kind")?,
            options: row.get("options")?,
            created_at: row.get::<_, Millis>("created_at")?.0,
            cancelled: row.get("cancelled")?,
        });
    }
    ended.into_iter().try_for_each(|(account, jobs)| add_runnable(connection, account, -jobs))?;
    Ok(jobs)
}

fn lease(connection: &Connection, claim: &ClaimTasks, claimed: &[ClaimedTask]) -> Result<()> {
    const UPDATE: &str = "UPDATE tasks SET state = 'leased', epoch = epoch + 1, owner = ?, lease_expires_at = ?
        WHERE job = ? AND seq = ?";
    let expires_at = later(claim.now, claim.lease);
    expect_lapse(connection, expires_at)?;
    let update = connection.prepare(UPDATE);
    for task in claimed {
        update.run(params![claim.owner, expires_at, task.lease.job, task.lease.seq])?;
    }
    Ok(())
}

pub(super) fn read(row: &Row, job: JobId, common: &Common) -> Result<ClaimedTask> {
    let inline: Option<Vec<u8>> = row.get("bytes")?;
    let found: Option<String> = row.get("found")?;
    let bytes = row.get("input_bytes")?;
    let input = match (row.get("blob_key")?, inline, found) {
        (Some(key), None, None) => {
            let offset = unsigned(row, "input_offset")?;
            TaskInput::Range { input: JobInput::Blob(key), offset, bytes }
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
        isolation: None,
    })
}

/// The accounts and jobs that wait, read from the rows as they are asked for.
struct Waiting<'a> {
    connection: &'a Connection,
    accounts: Chunks<(AccountId, u32)>,
    jobs: HashMap<AccountId, Chunks<(JobId, u32)>>,
    /// How many jobs of an account wait.
    runnable: HashMap<AccountId, u32>,
    /// Where the claimable tasks of the jobs begin.
    from: HashMap<JobId, u32>,
}

/// A list of which a part is read at a time.
struct Chunks<T> {
    read: VecDeque<T>,
    /// Where the next part begins: after this turn and id.
    after: (i64, Vec<u8>),
    ended: bool,
    /// How many were read.
    told: usize,
    /// The last turn that one of them had.
    last: i64,
    /// Whether one of them never had a turn.
    is_new: bool,
}

impl<T> Chunks<T> {
    fn new() -> Self {
        Self { read: VecDeque::new(), after: (-1, Vec::new()), ended: false, told: 0, last: 0, is_new: false }
    }

    fn put(&mut self, served: i64, id: &[u8], one: T) {
        self.after = (served, id.to_owned());
        self.told += 1;
        self.last = self.last.max(served);
        self.is_new |= served == 0;
        self.read.push_back(one);
    }

    /// Whether there is no more than one, who had a turn before.
    fn is_one_alone(&self) -> bool {
        self.ended && self.told == 1 && !self.is_new
    }
}

impl<'a> Waiting<'a> {
    fn new(connection: &'a Connection) -> Self {
        let accounts = Chunks::new();
        Self { connection, accounts, jobs: HashMap::new(), runnable: HashMap::new(), from: HashMap::new() }
    }

    fn is_account_alone(&self) -> bool {
        self.accounts.is_one_alone()
    }
}

impl Candidates for Waiting<'_> {
    type Error = StoreError;

    fn next_account(&mut self) -> Result<Option<AccountId>> {
        const SELECT: &str = "SELECT served, account, runnable FROM turns INDEXED BY turns_runnable
            WHERE runnable > 0 AND (served, account) > (?, ?) ORDER BY served, account LIMIT ?";
        let chunks = &mut self.accounts;
        if chunks.read.is_empty() && !chunks.ended {
            let select = self.connection.prepare(SELECT);
            let rows = select.query(params![chunks.after.0, chunks.after.1, CHUNK])?;
            for row in &rows {
                let account: AccountId = row.get(1)?;
                chunks.put(row.get(0)?, account.0.as_bytes(), (account, row.get(2)?));
            }
            chunks.ended = rows.len() < CHUNK as usize;
        }
        let Some((account, runnable)) = chunks.read.pop_front() else { return Ok(None) };
        self.runnable.insert(account, runnable);
        Ok(Some(account))
    }

    fn next_job(&mut self, account: AccountId) -> Result<Option<Candidate>> {
        const SELECT: &str = "SELECT served, id, tasks_claimable, claimable_from FROM jobs INDEXED BY jobs_runnable
            WHERE account = ? AND tasks_claimable > 0 AND (served, id) > (?, ?) ORDER BY served, id LIMIT ?";
        // What PostgreSQL still keeps of earlier turns for others has lower numbers: few jobs are found from the end, without passing it.
        const FEW: &str = "SELECT served, id, tasks_claimable, claimable_from FROM jobs INDEXED BY jobs_runnable
            WHERE account = ? AND tasks_claimable > 0 ORDER BY served DESC, id DESC LIMIT ?";
        let chunks = self.jobs.entry(account).or_insert_with(Chunks::new);
        if chunks.read.is_empty() && !chunks.ended {
            let runnable = self.runnable.get(&account).copied().unwrap_or(u32::MAX);
            let rows = if runnable <= FEW_JOBS {
                let mut rows = self.connection.prepare(FEW).query(params![account, runnable])?;
                rows.reverse();
                chunks.ended = true;
                rows
            } else {
                let rows =
                    self.connection.prepare(SELECT).query(params![account, chunks.after.0, chunks.after.1, CHUNK])?;
                chunks.ended = rows.len() < CHUNK as usize;
                rows
            };
            for row in &rows {
                let job: JobId = row.get(1)?;
                chunks.put(row.get(0)?, job.0.as_bytes(), (job, row.get(2)?));
                self.from.insert(job, row.get(3)?);
            }
        }
        Ok(chunks.read.pop_front().map(|(job, tasks)| Candidate { job, tasks }))
    }
}
