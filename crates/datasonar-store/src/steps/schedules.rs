//! Schedules and their runs.

use crate::sql::{self, Connection, OptionalExtension, Row, params};
use jiff::Timestamp;

use super::accounts::scope;
use super::submit;
use crate::sql::codec::{Millis, last_id, time};
use crate::sql::corrupt;
use crate::{
    DueSchedule, JobId, NewSchedule, Page, Result, Run, RunDecision, RunOutcome, RunSchedule, RunTrigger, Schedule,
    ScheduleChange, ScheduleId, ScheduleOverview, Scope, StoreError, Submission,
};

/// So many of the last jobs of a schedule are looked at to learn whether one is open.
const OPEN_AMONG: u32 = 100;

/// The columns of a schedule.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, account, environment, name, cron, timezone, overlap, paused, kind, job, created_at, updated_at,
            next_run_at, queued_at, version FROM schedules ",
            $rest
        )
    };
}

pub(super) fn create(connection: &Connection, new: &NewSchedule) -> Result<Submission> {
    const INSERT: &str = "INSERT INTO schedules
        (id, account, environment, name, cron, timezone, overlap, paused, kind, job, created_at, updated_at,
        next_run_at, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12, 1)";
    if let Some(idempotency) = &new.idempotency {
        if let Some(answer) = submit::answered(connection, new.scope, idempotency, new.created_at)? {
            return Ok(Submission::Repeated { answer });
        }
        submit::remember(connection, new.scope, idempotency, new.created_at)?;
    }
    connection.prepare(INSERT).run(params![
        new.id,
        new.scope.account,
        new.scope.environment,
        new.name,
        new.cron,
        new.timezone,
        new.overlap,
        new.paused,
        new.kind,
        new.job,
        Millis(new.created_at),
        new.next_run_at.map(Millis),
    ])?;
    Ok(Submission::Accepted)
}

pub(super) fn schedule(connection: &Connection, scope: Scope, id: ScheduleId) -> Result<Schedule> {
    let (schedule, _) = find(connection, id)?;
    if schedule.scope == scope { Ok(schedule) } else { Err(StoreError::NotFound) }
}

/// A schedule of whatever scope, and the time whose run waits.
fn find(connection: &Connection, id: ScheduleId) -> Result<(Schedule, Option<Timestamp>)> {
    let select = connection.prepare(select!("WHERE id = ?"));
    select.query_row([id], read).optional()?.ok_or(StoreError::NotFound)
}

pub(super) fn schedules(connection: &Connection, scope: Scope, page: Page<ScheduleId>) -> Result<Vec<Schedule>> {
    const SELECT: &str = select!("WHERE account = ? AND environment = ? AND id < ? ORDER BY id DESC LIMIT ?");
    let before = page.before.unwrap_or(ScheduleId(last_id()));
    let select = connection.prepare(SELECT);
    let rows = select.query_map(params![scope.account, scope.environment, before, page.limit], read)?;
    Ok(rows.into_iter().map(|(schedule, _)| schedule).collect())
}

pub(super) fn change(
    connection: &Connection,
    scope: Scope,
    id: ScheduleId,
    version: u32,
    change: &ScheduleChange,
    now: Timestamp,
) -> Result<()> {
    const UPDATE: &str =
        "UPDATE schedules SET name = ?, cron = ?, timezone = ?, overlap = ?, paused = ?, kind = ?, job = ?,
        next_run_at = ?, updated_at = ?, version = version + 1 WHERE id = ?";
    if schedule(connection, scope, id)?.version != version {
        return Err(StoreError::Conflict("the schedule was changed meanwhile".to_owned()));
    }
    connection.prepare(UPDATE).run(params![
        change.name,
        change.cron,
        change.timezone,
        change.overlap,
        change.paused,
        change.kind,
        change.job,
        change.next_run_at.map(Millis),
        Millis(now),
        id
    ])?;
    Ok(())
}

pub(super) fn delete(connection: &Connection, scope: Scope, id: ScheduleId) -> Result<()> {
    schedule(connection, scope, id)?;
    for delete in ["DELETE FROM runs WHERE schedule = ?", "DELETE FROM schedules WHERE id = ?"] {
        connection.prepare(delete).run([id])?;
    }
    Ok(())
}

pub(super) fn runs(connection: &Connection, scope: Scope, id: ScheduleId, page: Page<Timestamp>) -> Result<Vec<Run>> {
    const SELECT: &str = "SELECT r.schedule, r.planned_at, r.trigger, r.outcome, r.job, r.reason, r.at, j.status
        FROM runs r LEFT JOIN jobs j ON j.id = r.job
        WHERE r.schedule = ? AND r.planned_at < ? ORDER BY r.planned_at DESC LIMIT ?";
    schedule(connection, scope, id)?;
    let before = page.before.unwrap_or(Timestamp::MAX);
    let select = connection.prepare(SELECT);
    let rows = select.query(params![id, Millis(before), page.limit])?;
    let mut runs = Vec::new();
    for row in &rows {
        runs.push(read_run(row)?);
    }
    Ok(runs)
}

/// The last run of each is found by its key.
pub(super) fn with_runs(
    connection: &Connection,
    scope: Scope,
    page: Page<ScheduleId>,
) -> Result<Vec<ScheduleOverview>> {
    const SELECT: &str = "SELECT s.id, s.account, s.environment, s.name, s.cron, s.timezone, s.overlap, s.paused, s.kind, s.job AS job_body,
        s.created_at, s.updated_at, s.next_run_at, s.queued_at, s.version,
        r.schedule, r.planned_at, r.trigger, r.outcome, r.job, r.reason, r.at, j.status
        FROM schedules s LEFT JOIN runs r ON r.schedule = s.id
            AND r.planned_at = (SELECT max(l.planned_at) FROM runs l WHERE l.schedule = s.id)
        LEFT JOIN jobs j ON j.id = r.job
        WHERE s.account = ? AND s.environment = ? AND s.id < ? ORDER BY s.id DESC LIMIT ?";
    let before = page.before.unwrap_or(ScheduleId(last_id()));
    let select = connection.prepare(SELECT);
    let rows = select.query(params![scope.account, scope.environment, before, page.limit])?;
    let overview = |row: &Row| -> Result<ScheduleOverview> {
        let has_run = row.get::<_, Option<ScheduleId>>("schedule")?.is_some();
        let (schedule, _) = read_as(row, "job_body")?;
        Ok(ScheduleOverview { schedule, last: has_run.then(|| read_run(row)).transpose()? })
    };
    rows.iter().map(overview).collect()
}

/// Those whose time has come first, then those of which a run waits.
pub(super) fn due(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<DueSchedule>> {
    const BY_TIME: &str = select!(
        "INDEXED BY schedules_due WHERE paused = 0 AND next_run_at IS NOT NULL AND next_run_at <= ?
        ORDER BY next_run_at, id LIMIT ?"
    );
    const WAITING: &str = select!("INDEXED BY schedules_queued WHERE paused = 0 AND queued_at IS NOT NULL ORDER BY id");
    let select = connection.prepare(BY_TIME);
    let come: Vec<_> = select.query_map(params![Millis(now), limit], read)?;
    let mut due = Vec::with_capacity(come.len());
    for (schedule, queued) in come {
        due.push(DueSchedule { is_open: is_open(connection, schedule.id)?, schedule, queued });
    }
    let select = connection.prepare(WAITING);
    let mut waiting = select.query_map(params![], read)?.into_iter();
    while due.len() < limit as usize
        && let Some(row) = waiting.next()
    {
        let (schedule, queued) = row;
        let is_told = due.iter().any(|due| due.schedule.id == schedule.id);
        if !is_told && !is_open(connection, schedule.id)? {
            due.push(DueSchedule { schedule, is_open: false, queued });
        }
    }
    Ok(due)
}

fn is_open(connection: &Connection, id: ScheduleId) -> Result<bool> {
    const SELECT: &str = "SELECT 1 FROM
        (SELECT job FROM runs INDEXED BY runs_started WHERE schedule = ? AND job IS NOT NULL
            ORDER BY planned_at DESC LIMIT ?) r
        JOIN jobs j ON j.id = r.job WHERE j.status IN ('pending', 'started')";
    Ok(connection.prepare(SELECT).exists(params![id, OPEN_AMONG])?)
}

pub(super) fn next_at(connection: &Connection) -> Result<Option<Timestamp>> {
    const SELECT: &str = "SELECT min(next_run_at) AS at FROM schedules INDEXED BY schedules_due
        WHERE paused = 0 AND next_run_at IS NOT NULL";
    Ok(connection.prepare(SELECT).query_row(params![], |row| time(row, "at"))?)
}

pub(super) fn run(connection: &Connection, run: &RunSchedule) -> Result<Submission> {
    let (schedule, queued) = find(connection, run.schedule)?;
    let is_waiting = queued == Some(run.planned_at);
    if run.trigger == RunTrigger::Cron {
        let is_planned = schedule.next_run_at == Some(run.planned_at) || is_waiting;
        if schedule.version != run.version || !is_planned {
            return Err(StoreError::Conflict("the schedule does not plan this time any more".to_owned()));
        }
    }
    let (outcome, job, reason) = match &run.decision {
        RunDecision::Start(job) => {
            if let repeated @ Submission::Repeated { .. } = submit::submit(connection, job)? {
                return Ok(repeated);
            }
            ("started", Some(job.id), None)
        }
        RunDecision::Queue => ("queued", None, None),
        RunDecision::Skip => ("skipped", None, None),
        RunDecision::Refuse(reason) => ("refused", None, Some(reason)),
    };
    record(connection, run, is_waiting, outcome, job, reason)?;
    if run.trigger == RunTrigger::Cron {
        let queued = match &run.decision {
            RunDecision::Queue => Some(run.planned_at),
            _ if is_waiting => None,
            _ => queued,
        };
        go_on(connection, run, queued)?;
    }
    Ok(Submission::Accepted)
}

/// Writes the run; that of a time that waited is written anew.
fn record(
    connection: &Connection,
    run: &RunSchedule,
    is_waiting: bool,
    outcome: &str,
    job: Option<JobId>,
    reason: Option<&String>,
) -> Result<()> {
    const INSERT: &str = "INSERT INTO runs (schedule, planned_at, trigger, outcome, job, reason, at)
        VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    const DELETE: &str = "DELETE FROM runs WHERE schedule = ? AND planned_at = ? AND outcome = 'queued'";
    let (schedule, planned_at) = (run.schedule, Millis(run.planned_at));
    if is_waiting && run.trigger == RunTrigger::Cron {
        connection.prepare(DELETE).run(params![schedule, planned_at])?;
    }
    let row = params![schedule, planned_at, run.trigger, outcome, job, reason, Millis(run.now)];
    if connection.prepare(INSERT).execute(row)? == 0 {
        return Err(StoreError::Conflict("there was a run at this time".to_owned()));
    }
    Ok(())
}

/// Moves a schedule to its next time.
fn go_on(connection: &Connection, run: &RunSchedule, queued: Option<Timestamp>) -> Result<()> {
    const UPDATE: &str = "UPDATE schedules SET next_run_at = ?, queued_at = ?, version = version + 1 WHERE id = ?";
    connection.prepare(UPDATE).run(params![run.next_run_at.map(Millis), queued.map(Millis), run.schedule])?;
    Ok(())
}

/// Deletes up to `limit` runs that were decided before `before`, but for those that wait.
pub(super) fn delete_runs(connection: &Connection, before: Timestamp, limit: u32) -> Result<()> {
    const DELETE: &str = "DELETE FROM runs WHERE (schedule, planned_at) IN
        (SELECT schedule, planned_at FROM runs INDEXED BY runs_by_age WHERE at < ? AND outcome <> 'queued'
            ORDER BY at LIMIT ?)";
    connection.prepare(DELETE).run(params![Millis(before), limit])?;
    Ok(())
}

fn read(row: &Row) -> sql::Result<(Schedule, Option<Timestamp>)> {
    read_as(row, "job")
}

/// Reads a schedule whose job stands in a column of another name.
fn read_as(row: &Row, job: &str) -> sql::Result<(Schedule, Option<Timestamp>)> {
    let schedule = Schedule {
        id: row.get("id")?,
        scope: scope(row)?,
        name: row.get("name")?,
        cron: row.get("cron")?,
        timezone: row.get("timezone")?,
        overlap: row.get("overlap")?,
        paused: row.get("paused")?,
        kind: row.get("kind")?,
        job: row.get(job)?,
        created_at: row.get::<_, Millis>("created_at")?.0,
        updated_at: row.get::<_, Millis>("updated_at")?.0,
        next_run_at: time(row, "next_run_at")?,
        version: row.get("version")?,
    };
    Ok((schedule, time(row, "queued_at")?))
}

fn read_run(row: &Row) -> Result<Run> {
    let (job, reason): (Option<JobId>, Option<String>) = (row.get("job")?, row.get("reason")?);
    let outcome = match (row.get::<_, String>("outcome")?.as_str(), job, reason) {
        ("started", Some(job), None) => RunOutcome::Started(job),
        ("queued", None, None) => RunOutcome::Queued,
        ("skipped", None, None) => RunOutcome::Skipped,
        ("refused", None, Some(reason)) => RunOutcome::Refused(reason),
        _ => return Err(corrupt("a run has no outcome")),
    };
    Ok(Run {
        schedule: row.get("schedule")?,
        planned_at: row.get::<_, Millis>("planned_at")?.0,
        outcome,
        trigger: row.get("trigger")?,
        at: row.get::<_, Millis>("at")?.0,
        job_status: row.get("status")?,
    })
}
