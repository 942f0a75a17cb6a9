//! Jobs: one accepted request each.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Allowance, DeliveryId, DeliveryStatus, JobId, NewCrawl, NewTask, Scope, SkipCounts};

macro_rules! names {
    ($type:ident { $($variant:ident => $name:literal),* $(,)? }) => {
        impl $type {
            /// The name used in the API and in rows.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($name => Ok(Self::$variant),)*
                    _ => Err(format!("`{text}` is not one of {}", [$(concat!("`", $name, "`")),*].join(", "))),
                }
            }
        }
    };
}
pub(crate) use names;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// One URL; its result is one page result.
    Scrape,
    /// A list of URLs.
    Batch,
    /// A site.
    Crawl,
    /// A trial of an endpoint: made ended, with one result (see [`crate::NewTest`]).
    Test,
}

names!(JobKind { Scrape => "scrape", Batch => "batch", Crawl => "crawl", Test => "test" });

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Accepted; no task was claimed yet.
    Pending,
    /// A task was claimed.
    Started,
    /// Every URL has its result.
    Completed,
    /// Cancelled, or a single scrape whose page failed.
    Failed,
}

names!(JobStatus { Pending => "pending", Started => "started", Completed => "completed", Failed => "failed" });

impl JobStatus {
    /// Tells whether the job will not change any more.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// Where the URLs of a job are kept. Tasks refer to ranges of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobInput {
    /// In the row.
    Inline(Vec<u8>),
    /// In the blob store, under this key.
    Blob(String),
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where deliveries are sent.
    pub url: String,
    /// The endpoint's host and port.
    pub host: String,
}

/// A job to be accepted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub scope: Scope,
    /// What it does.
    pub kind: JobKind,
    /// The request's options: JSON that the store keeps and does not read.
    pub options: String,
    /// The endpoint its one delivery is owed to.
    pub webhook: Option<Webhook>,
    /// What there is to do.
    pub work: NewWork,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The caller's idempotency key, if one was sent.
    pub idempotency: Option<Idempotency>,
    /// What its scope may use, if that is limited.
    pub allowance: Option<Allowance>,
}

/// What a job is to do.
#[derive(Clone, Debug)]
pub enum NewWork {
    /// A list of URLs, known from the start.
    Listed {
        /// Where they are.
        input: JobInput,
        /// Its tasks in order; their positions are their `seq`.
        tasks: Vec<NewTask>,
    },
    /// A site.
    Crawl(NewCrawl),
}

/// A caller's promise that requests with the same key are one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key as sent.
    pub key: String,
    /// A hash of the route and body.
    pub fingerprint: [u8; 32],
    /// The answer to give again: kept, not read, by the store.
    pub answer: String,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submission {
    /// The job was accepted.
    Accepted,
    /// The idempotency key was used before with the same request: this was answered then. Nothing was changed.
    Repeated {
        /// The first answer.
        answer: String,
    },
}

/// Why a job is `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// `cancelled`, or the code of the page's failure.
    pub code: String,
    /// For people.
    pub message: String,
}

/// A job as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub scope: Scope,
    /// What it does.
    pub kind: JobKind,
    /// Where it stands.
    pub status: JobStatus,
    /// The request's options.
    pub options: String,
    /// The endpoint its delivery is owed to.
    pub webhook_url: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first task was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// When its result is deleted.
    pub expires_at: Option<Timestamp>,
    /// When its cancelling was asked for.
    pub cancelled_at: Option<Timestamp>,
    /// How many URLs it has; those of a crawl, so far.
    pub total: u64,
    /// How many of them succeeded so far.
    pub succeeded: u64,
    /// How many of them failed so far.
    pub failed: u64,
    /// What it skipped, if it is a crawl.
    pub skipped: SkipCounts,
    /// How many segments its finished tasks wrote.
    pub segments: u64,
    /// The sum of the raw bytes of these segments.
    pub result_bytes: u64,
    /// Whether its results were deleted, their retention having passed.
    pub results_deleted: bool,
    /// Why it is `failed`.
    pub error: Option<JobError>,
    /// Its delivery, once it is owed.
    pub delivery: Option<(DeliveryId, DeliveryStatus)>,
}

/// Which jobs to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobFilter {
    /// Only those that stand there.
    pub status: Option<JobStatus>,
    /// Only those that do this.
    pub kind: Option<JobKind>,
}

/// A part of a list that is sorted newest first by id.
#[derive(Clone, Copy, Debug)]
pub struct Page<Id> {
    /// At most so many rows.
    pub limit: u32,
    /// Only rows older than this one.
    pub before: Option<Id>,
}
