//! Schedules: jobs that start by themselves.
//!
//! What a schedule's times are, and what comes of one, is decided by the caller; here it is made sure that a time has one run,
//! however many callers decide at once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

use crate::{Idempotency, JobId, JobKind, JobStatus, NewJob, ScheduleId, Scope, job::names};

/// What a schedule does when a job of its has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The run is left out.
    #[default]
    Skip,
    /// The run waits; one at most.
    Queue,
    /// The run starts all the same.
    Allow,
}

names!(Overlap { Skip => "skip", Queue => "queue", Allow => "allow" });

/// Why there was a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunTrigger {
    /// Its time had come.
    Cron,
    /// A person asked for it.
    Manual,
}

names!(RunTrigger { Cron => "cron", Manual => "manual" });

/// A schedule as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// Whose it is.
    pub scope: Scope,
    /// What it is called.
    pub name: String,
    /// Its times: kept, not read.
    pub cron: String,
    /// The zone these are meant in.
    pub timezone: String,
    /// What it does when a job of its has not ended.
    pub overlap: Overlap,
    /// Whether it rests: then it is never due.
    pub paused: bool,
    /// What its jobs do.
    pub kind: JobKind,
    /// The request its jobs are made of: JSON that is kept, not read.
    pub job: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Its next time, if it has one.
    pub next_run_at: Option<Timestamp>,
    /// Higher with each change, and with each run at a time of its own.
    pub version: u32,
}

/// A schedule to be created.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// Its id.
    pub id: ScheduleId,
    /// Whose it is.
    pub scope: Scope,
    /// What it is called.
    pub name: String,
    /// Its times.
    pub cron: String,
    /// The zone these are meant in.
    pub timezone: String,
    /// What it does when a job of its has not ended.
    pub overlap: Overlap,
    /// Whether it rests.
    pub paused: bool,
    /// What its jobs do.
    pub kind: JobKind,
    /// The request its jobs are made of.
    pub job: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its first time.
    pub next_run_at: Option<Timestamp>,
    /// The caller's idempotency key, if one was sent.
    pub idempotency: Option<Idempotency>,
}

/// What a schedule is to be from now on.
#[derive(Clone, Debug)]
pub struct ScheduleChange {
    /// What it is called.
    pub name: String,
    /// Its times.
    pub cron: String,
    /// The zone these are meant in.
    pub timezone: String,
    /// What it does when a job of its has not ended.
    pub overlap: Overlap,
    /// Whether it rests.
    pub paused: bool,
    /// What its jobs do.
    pub kind: JobKind,
    /// The request its jobs are made of.
    pub job: String,
    /// Its next time.
    pub next_run_at: Option<Timestamp>,
}

/// A schedule that is due: its time has come, or a run of its waits and no job of its is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueSchedule {
    /// The schedule.
    pub schedule: Schedule,
    /// Whether one of the last jobs that it started has not ended.
    pub is_open: bool,
    /// The time whose run waits.
    pub queued: Option<Timestamp>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Its job was accepted.
    Started(JobId),
    /// It waits for the job before.
    Queued,
    /// It was left out.
    Skipped,
    /// Its job could not be accepted, for this reason.
    Refused(String),
}

/// What came of one of a schedule's times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The schedule.
    pub schedule: ScheduleId,
    /// The time. A schedule has one run for each.
    pub planned_at: Timestamp,
    /// What came of it.
    pub outcome: RunOutcome,
    /// Why it was.
    pub trigger: RunTrigger,
    /// When that was decided.
    pub at: Timestamp,
    /// Where its job stands now, if it started and its job is known.
    pub job_status: Option<JobStatus>,
}

/// What is to come of a run.
#[derive(Clone, Debug)]
pub enum RunDecision {
    /// This job is accepted.
    Start(Box<NewJob>),
    /// It waits for the job before.
    Queue,
    /// It is left out.
    Skip,
    /// Its job cannot be accepted, for this reason.
    Refuse(String),
}

/// A run to be recorded.
#[derive(Clone, Debug)]
pub struct RunSchedule {
    /// The schedule.
    pub schedule: ScheduleId,
    /// The version on which the decision was made; a person's run does not look at it.
    pub version: u32,
    /// Its time.
    pub planned_at: Timestamp,
    /// The schedule's next time, after a run at one of its own.
    pub next_run_at: Option<Timestamp>,
    /// What is to come of it.
    pub decision: RunDecision,
    /// Why it is.
    pub trigger: RunTrigger,
    /// The time of the decision.
    pub now: Timestamp,
}
