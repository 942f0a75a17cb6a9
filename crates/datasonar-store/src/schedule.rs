//! Schedules: jobs that start by themselves. (A stand-in until the store's own is merged.)

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Idempotency, JobId, JobKind, JobStatus, NewJob, ScheduleId, Scope, job::names};

/// What a schedule does when its last job has not ended.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a stand-in")]
pub struct Schedule {
    pub id: ScheduleId,
    pub scope: Scope,
    pub name: String,
    pub cron: String,
    pub timezone: String,
    pub overlap: Overlap,
    pub paused: bool,
    pub kind: JobKind,
    pub job: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub next_run_at: Option<Timestamp>,
    pub version: u32,
}

/// A schedule to be created.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "a stand-in")]
pub struct NewSchedule {
    pub id: ScheduleId,
    pub scope: Scope,
    pub name: String,
    pub cron: String,
    pub timezone: String,
    pub overlap: Overlap,
    pub paused: bool,
    pub kind: JobKind,
    pub job: String,
    pub created_at: Timestamp,
    pub next_run_at: Option<Timestamp>,
    pub idempotency: Option<Idempotency>,
}

/// New values.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "a stand-in")]
pub struct ScheduleChange {
    pub name: String,
    pub cron: String,
    pub timezone: String,
    pub overlap: Overlap,
    pub paused: bool,
    pub kind: JobKind,
    pub job: String,
    pub next_run_at: Option<Timestamp>,
}

/// A schedule that is due.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "a stand-in")]
pub struct DueSchedule {
    pub schedule: Schedule,
    pub is_open: bool,
    pub queued: Option<Timestamp>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a stand-in")]
pub enum RunOutcome {
    Started(JobId),
    Queued,
    Skipped,
    Refused(String),
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a stand-in")]
pub struct Run {
    pub schedule: ScheduleId,
    pub planned_at: Timestamp,
    pub outcome: RunOutcome,
    pub trigger: RunTrigger,
    pub at: Timestamp,
    pub job_status: Option<JobStatus>,
}

/// What a run comes to.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "a stand-in")]
pub enum RunDecision {
    Start(Box<NewJob>),
    Queue,
    Skip,
    Refuse(String),
}

/// A run to be recorded.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "a stand-in")]
pub struct RunSchedule {
    pub schedule: ScheduleId,
    pub version: u32,
    pub planned_at: Timestamp,
    pub next_run_at: Option<Timestamp>,
    pub decision: RunDecision,
    pub trigger: RunTrigger,
    pub now: Timestamp,
}
