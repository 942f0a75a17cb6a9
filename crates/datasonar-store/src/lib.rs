//! The rows of Datasonar, and the steps that may change them.
//!
//! [`Store`] is the only way to a row. Each of its methods is one step of the domain and one transaction: it happens
//! wholly or not at all, and once it has answered, its effect survives the death of the process. What a step decides
//! (which task is next, whether a job has ended) is decided inside the transaction; what needs a clock, an id or chance
//! is decided by the caller and passed in.
//!
//! This crate knows no HTTP and reads no clock. It keeps coordination only: the bytes of inputs and results live in the
//! blob store, and rows refer to them.

mod account;
mod accounts;
mod allowance;
mod audit;
mod delivery;
pub mod endpoint;
mod error;
mod frontier;
mod group;
mod histogram;
mod host;
mod id;
mod insight;
mod job;
mod moving;
mod people;
pub mod postgres;
mod replay;
mod schedule;
mod segment;
mod sql;
pub mod sqlite;
mod steps;
mod store;
mod task;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

pub use account::{
    Account, Caller, Environment, Key, NewAccount, NewKey, NewSecret, Scope, Secret, Setup, Usage, UsageSample,
};
pub use accounts::Accounts;
pub use allowance::{Allowance, Limit, LimitReached, PageAllowance, Spent, TakeRequests, TakenRequests};
pub use audit::{Audit, AuditedCrawl, AuditedDelivery, AuditedInput, AuditedJob, AuditedTask, Counts, TaskCounts};
pub use delivery::{
    Attempt, AttemptError, ClaimDeliveries, ClaimedDelivery, Delivery, DeliveryFilter, DeliveryLease, DeliveryStatus,
    DueEndpoint, Lane, NewTest, Share, Timings, Trigger, Verdict,
};
pub use error::{Result, StoreError};
pub use frontier::{
    Discovery, DroppedPage, FoundUrl, NewCrawl, SKIPPED_LISTED, SkipCounts, SkipReason, SkippedUrl,
    URLS_PER_CRAWL_TASK, UrlKey,
};
pub use histogram::{Histogram, LATENCY_BOUNDS_MS, LATENCY_CLASSES};
pub use host::{HostAsk, HostGrant, HostKey, HostShares, ShareHosts};
pub use id::{
    AccountId, AttemptId, DeliveryId, JobId, KeyId, LinkId, ProcessId, ReplayId, ScheduleId, SecretId, UserId,
};
pub use insight::{
    ACTIVITY_DAYS, Activity, ActivityBucket, BUCKET_MS, COUNTED, CappedCount, DeadLetterGroup, DeadLetterKey,
    DeadLetters, DeliverySearch, ERROR_URL_BYTES, ERROR_URLS, EndpointHealth, EndpointSearch, GROUP_COUNTED, Insight,
    JobSearch, LastAttempt, ListedDelivery, Listing, MOST_BUCKETS, PageErrors, Part, Position, ScheduleOverview,
    Standing, UNKNOWN_ERROR,
};
pub use job::{
    Idempotency, Job, JobError, JobFilter, JobInput, JobKind, JobStatus, NewJob, NewWork, Page, Submission, Webhook,
};
pub use moving::{BlobPlace, CarriedPlace, CarriedRows, Movable, MoveBegin, MoveMark, NamedBlob, TableDigest};
pub use people::{
    Brake, LINKS_OF_AN_ACCOUNT, Link, Member, MemberRole, Membership, NewLink, NewSession, NewUser, OpenSession,
    People, PeopleExpiry, SEEN_WITHIN, SESSIONS_OF_A_USER, Session, Subject, TokenHash, User, WholeStore,
};
pub use replay::{Advance, NewReplay, Replay, ReplayStatus, Selection};
pub use schedule::{
    DueSchedule, NewSchedule, Overlap, Run, RunDecision, RunOutcome, RunSchedule, RunTrigger, Schedule, ScheduleChange,
};
pub use segment::{Segment, SegmentData};
pub use store::{Store, Totals};
pub use task::{
    AccountRoom, ClaimTasks, ClaimedTask, Finish, FinishTask, FinishedTask, Isolation, KeptPage, KeptResult, NewTask,
    PageDeaths, PageMark, Renewal, TaskInput, TaskLease,
};
