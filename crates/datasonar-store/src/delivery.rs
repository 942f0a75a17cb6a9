//! Deliveries: one payload owed to one endpoint, and the attempts made to hand it over.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AttemptId, DeliveryId, Job, JobId, ProcessId, Scope, Secret, Segment, Webhook, job::names};

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Due or under way.
    Pending,
    /// An attempt was answered with a 2xx.
    Delivered,
    /// Given up but for the late attempts: a dead letter.
    Failed,
}

names!(DeliveryStatus { Pending => "pending", Delivered => "delivered", Failed => "failed" });

/// What set an attempt off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The retry schedule.
    Automatic,
    /// A person.
    Replay,
    /// A trial of an endpoint.
    Test,
}

names!(Trigger { Automatic => "automatic", Replay => "replay", Test => "test" });

/// The queue an attempt waits in: first attempts never wait behind the retries of what failed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// First attempts, and those that a person asked for.
    First,
    /// Attempts of the schedule after its first of the delivery.
    Retry,
}

names!(Lane { First => "first", Retry => "retry" });

/// A delivery as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its id: the `webhook-id` of every attempt.
    pub id: DeliveryId,
    /// The job whose result it hands over.
    pub job: JobId,
    /// Whose it is.
    pub scope: Scope,
    /// The endpoint.
    pub url: String,
    /// The endpoint's host and port.
    pub host: String,
    /// The endpoint's key, as [`crate::endpoint::key`] computes it. Empty if a program that knew no keys stored the
    /// delivery and it has not been due since.
    pub endpoint: String,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// When it became owed.
    pub created_at: Timestamp,
    /// When its first attempt began.
    pub first_attempt_at: Option<Timestamp>,
    /// When its last attempt ended.
    pub last_attempt_at: Option<Timestamp>,
    /// When the next is due, if one is.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was first answered with a 2xx.
    pub delivered_at: Option<Timestamp>,
    /// How many attempts were made, of any trigger.
    pub attempts: u32,
    /// How many of them the retry schedule made.
    pub automatic_attempts: u32,
    /// Whether the schedule has made its last: a replay that fails does not begin it again.
    pub schedule_ended: bool,
    /// The trigger of the next attempt.
    pub next_trigger: Trigger,
    /// The lane of the next attempt.
    pub lane: Lane,
}

/// An endpoint that is owed deliveries now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueEndpoint {
    /// Its key.
    pub endpoint: String,
    /// Whose deliveries they are.
    pub scope: Scope,
    /// The host and port.
    pub host: String,
    /// The lane they wait in.
    pub lane: Lane,
    /// Since when the first of them has been due.
    pub since: Timestamp,
}

/// What a dispatcher asks for when it claims.
#[derive(Clone, Debug)]
pub struct ClaimDeliveries {
    /// Who claims.
    pub owner: ProcessId,
    /// What it asks for of each endpoint.
    pub shares: Vec<Share>,
    /// The time.
    pub now: Timestamp,
    /// For how long the leases are to hold.
    pub lease: Duration,
}

/// A claim's part for one endpoint and lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The endpoint's key.
    pub endpoint: String,
    /// The lane.
    pub lane: Lane,
    /// At most so many deliveries.
    pub limit: u32,
}

/// A trial of an endpoint, to be made at once.
#[derive(Clone, Debug)]
pub struct NewTest {
    /// The id of its job.
    pub job: JobId,
    /// The id of its delivery.
    pub delivery: DeliveryId,
    /// Whose it is.
    pub scope: Scope,
    /// The endpoint.
    pub webhook: Webhook,
    /// The job's options: JSON that the store keeps and does not read.
    pub options: String,
    /// The job's one result.
    pub segment: Segment,
    /// Who is to make the attempt.
    pub owner: ProcessId,
    /// The time.
    pub now: Timestamp,
    /// For how long the lease on the delivery is to hold.
    pub lease: Duration,
    /// For how long the job's result is kept.
    pub retention: Duration,
}

/// The right to make an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryLease {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The claim's number, higher with each.
    pub epoch: u32,
}

/// A delivery with all that is needed for an attempt.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    /// The right to it.
    pub lease: DeliveryLease,
    /// The delivery.
    pub delivery: Delivery,
    /// The job whose result it hands over.
    pub job: Job,
    /// The secrets that sign it, newest first: those of its scope that had not expired at the claim.
    pub secrets: Vec<Secret>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptError {
    /// Its class, such as `timeout`, `tls_error` or `http_status`.
    pub code: String,
    /// For people.
    pub message: String,
}

/// How long the parts of an attempt took, in milliseconds; `None` where a part was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Resolving the endpoint's name.
    pub dns_ms: Option<u64>,
    /// Connecting.
    pub connect_ms: Option<u64>,
    /// The TLS handshake.
    pub tls_ms: Option<u64>,
    /// From the first byte sent to the status line.
    pub first_byte_ms: Option<u64>,
    /// All of it.
    pub total_ms: u64,
}

/// One POST of a delivery, as logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its number within the delivery, from 1.
    pub number: u32,
    /// What set it off.
    pub trigger: Trigger,
    /// When it began.
    pub started_at: Timestamp,
    /// The headers sent.
    pub request_headers: Vec<(String, String)>,
    /// The length of the body.
    pub request_bytes: u64,
    /// The address dialled.
    pub remote: Option<String>,
    /// The answer's status code.
    pub response_status: Option<u16>,
    /// The answer's headers.
    pub response_headers: Vec<(String, String)>,
    /// The first 16 KiB of the answer's body.
    pub response_body: Vec<u8>,
    /// How long it took.
    pub timings: Timings,
    /// Why it failed; `None` when it succeeded.
    pub error: Option<AttemptError>,
}

/// What follows from an attempt: decided by the caller, recorded with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where the delivery stands now.
    pub status: DeliveryStatus,
    /// When the schedule makes the next attempt, if it does.
    pub next_attempt_at: Option<Timestamp>,
}

/// Which deliveries to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeliveryFilter {
    /// Only those that stand there.
    pub status: Option<DeliveryStatus>,
    /// Only those of this job.
    pub job: Option<JobId>,
}
