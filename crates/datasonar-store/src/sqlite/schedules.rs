//! A stand-in until the store's own is merged.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

use super::{codec::Millis, submit};
use crate::{
    DueSchedule, NewSchedule, Page, Result, Run, RunDecision, RunOutcome, RunSchedule, RunTrigger, Schedule,
    ScheduleChange, ScheduleId, Scope, StoreError, Submission,
};

fn tables(c: &Connection) -> Result<()> {
    c.execute_batch(
        "CREATE TABLE IF NOT EXISTS standin_schedules (id BLOB PRIMARY KEY, account BLOB, environment TEXT,
            next_run_at INTEGER, queued INTEGER, json TEXT);
        CREATE TABLE IF NOT EXISTS standin_runs (schedule BLOB, planned_at INTEGER, json TEXT,
            PRIMARY KEY (schedule, planned_at));",
    )?;
    Ok(())
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("stand-in")
}

fn read<T: DeserializeOwned>(text: String) -> T {
    serde_json::from_str(&text).expect("stand-in")
}

fn put(c: &Connection, s: &Schedule, queued: Option<Timestamp>) -> Result<()> {
    c.execute(
        "INSERT OR REPLACE INTO standin_schedules VALUES (?, ?, ?, ?, ?, ?)",
        params![
            s.id.0.as_bytes(),
            s.scope.account,
            s.scope.environment,
            s.next_run_at.map(Millis),
            queued.map(Millis),
            text(s)
        ],
    )?;
    Ok(())
}

fn get(c: &Connection, id: ScheduleId) -> Result<(Schedule, Option<Timestamp>)> {
    c.query_row("SELECT json, queued FROM standin_schedules WHERE id = ?", [id.0.as_bytes()], |row| {
        Ok((read(row.get(0)?), row.get::<_, Option<Millis>>(1)?.map(|at| at.0)))
    })
    .optional()?
    .ok_or(StoreError::NotFound)
}

pub(super) fn create(c: &Connection, new: NewSchedule) -> Result<Submission> {
    tables(c)?;
    if let Some(idempotency) = &new.idempotency {
        if let Some(answer) = submit::answered(c, new.scope, idempotency, new.created_at)? {
            return Ok(Submission::Repeated { answer });
        }
        submit::remember(c, new.scope, idempotency, new.created_at)?;
    }
    let NewSchedule { id, scope, name, cron, timezone, overlap, paused, kind, job, created_at, next_run_at, .. } = new;
    let updated_at = created_at;
    let version = 1;
    let s = Schedule {
        id,
        scope,
        name,
        cron,
        timezone,
        overlap,
        paused,
        kind,
        job,
        created_at,
        updated_at,
        next_run_at,
        version,
    };
    put(c, &s, None)?;
    Ok(Submission::Accepted)
}

pub(super) fn schedule(c: &Connection, scope: Scope, id: ScheduleId) -> Result<Schedule> {
    tables(c)?;
    get(c, id).and_then(|(s, _)| if s.scope == scope { Ok(s) } else { Err(StoreError::NotFound) })
}

pub(super) fn schedules(c: &Connection, scope: Scope, page: Page<ScheduleId>) -> Result<Vec<Schedule>> {
    tables(c)?;
    let mut select = c.prepare("SELECT json FROM standin_schedules ORDER BY id DESC")?;
    let all: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let all = all.into_iter().map(read::<Schedule>).filter(|s| s.scope == scope);
    Ok(all.filter(|s| page.before.is_none_or(|before| s.id < before)).take(page.limit as usize).collect())
}

pub(super) fn change(
    c: &Connection,
    scope: Scope,
    id: ScheduleId,
    version: u32,
    change: ScheduleChange,
    now: Timestamp,
) -> Result<()> {
    let old = schedule(c, scope, id)?;
    if old.version != version {
        return Err(StoreError::Conflict("the schedule was changed meanwhile".to_owned()));
    }
    let (_, queued) = get(c, id)?;
    let ScheduleChange { name, cron, timezone, overlap, paused, kind, job, next_run_at } = change;
    let s = Schedule {
        name,
        cron,
        timezone,
        overlap,
        paused,
        kind,
        job,
        next_run_at,
        updated_at: now,
        version: version + 1,
        ..old
    };
    put(c, &s, queued)
}

pub(super) fn delete(c: &Connection, scope: Scope, id: ScheduleId) -> Result<()> {
    schedule(c, scope, id)?;
    c.execute("DELETE FROM standin_schedules WHERE id = ?", [id.0.as_bytes()])?;
    c.execute("DELETE FROM standin_runs WHERE schedule = ?", [id.0.as_bytes()])?;
    Ok(())
}

fn all_runs(c: &Connection, id: ScheduleId) -> Result<Vec<Run>> {
    let mut select = c.prepare("SELECT json FROM standin_runs WHERE schedule = ? ORDER BY planned_at DESC")?;
    let rows: Vec<String> = select.query_map([id.0.as_bytes()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut runs: Vec<Run> = rows.into_iter().map(read).collect();
    for run in &mut runs {
        if let RunOutcome::Started(job) = run.outcome {
            run.job_status =
                c.query_row("SELECT status FROM jobs WHERE id = ?", params![job], |row| row.get(0)).optional()?;
        }
    }
    Ok(runs)
}

pub(super) fn runs(c: &Connection, scope: Scope, id: ScheduleId, page: Page<Timestamp>) -> Result<Vec<Run>> {
    schedule(c, scope, id)?;
    let runs = all_runs(c, id)?.into_iter();
    Ok(runs.filter(|run| page.before.is_none_or(|before| run.planned_at < before)).take(page.limit as usize).collect())
}

pub(super) fn due(c: &Connection, now: Timestamp, limit: u32) -> Result<Vec<DueSchedule>> {
    tables(c)?;
    let mut select = c.prepare("SELECT json, queued FROM standin_schedules ORDER BY next_run_at")?;
    let all: Vec<(String, Option<Millis>)> =
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut due = Vec::new();
    for (json, queued) in all {
        let schedule: Schedule = read(json);
        let runs = all_runs(c, schedule.id)?;
        let is_open = runs.iter().any(|run| run.job_status.is_some_and(|status| !status.has_ended()));
        let is_due = schedule.next_run_at.is_some_and(|next| next <= now) || (queued.is_some() && !is_open);
        if is_due && !schedule.paused && due.len() < limit as usize {
            due.push(DueSchedule { schedule, is_open, queued: queued.map(|at| at.0) });
        }
    }
    Ok(due)
}

pub(super) fn next_at(c: &Connection) -> Result<Option<Timestamp>> {
    tables(c)?;
    let next: Option<Millis> = c.query_row("SELECT min(next_run_at) FROM standin_schedules", [], |row| row.get(0))?;
    Ok(next.map(|at| at.0))
}

pub(super) fn run(c: &Connection, run: RunSchedule) -> Result<Submission> {
    tables(c)?;
    let (mut s, mut queued) = get(c, run.schedule)?;
    let is_waiting = queued == Some(run.planned_at);
    if run.trigger == RunTrigger::Cron {
        if s.version != run.version || (s.next_run_at != Some(run.planned_at) && !is_waiting) {
            return Err(StoreError::Conflict("the schedule does not plan this time".to_owned()));
        }
        s.next_run_at = run.next_run_at;
        // A change that was made of the schedule as it was before must not bring its old time back.
        s.version += 1;
    }
    let mut submission = Submission::Accepted;
    let outcome = match run.decision {
        RunDecision::Start(job) => {
            submission = submit::submit(c, &job)?;
            if submission != Submission::Accepted {
                return Ok(submission);
            }
            RunOutcome::Started(job.id)
        }
        RunDecision::Queue => {
            queued = Some(run.planned_at);
            RunOutcome::Queued
        }
        RunDecision::Skip => RunOutcome::Skipped,
        RunDecision::Refuse(why) => RunOutcome::Refused(why),
    };
    if is_waiting && outcome != RunOutcome::Queued {
        queued = None;
    }
    let row = Run {
        schedule: run.schedule,
        planned_at: run.planned_at,
        outcome,
        trigger: run.trigger,
        at: run.now,
        job_status: None,
    };
    let sql = if is_waiting { "INSERT OR REPLACE" } else { "INSERT OR IGNORE" };
    let sql = format!("{sql} INTO standin_runs VALUES (?, ?, ?)");
    if c.execute(&sql, params![run.schedule.0.as_bytes(), Millis(run.planned_at), text(&row)])? == 0 {
        return Err(StoreError::Conflict("there was a run at this time".to_owned()));
    }
    put(c, &s, queued)?;
    Ok(submission)
}
