//! What requests and answers look like. The API's description is made from these.

use axum::http::StatusCode;
use datasonar_store::{Attempt, Delivery, Environment, FoundUrl, Job, JobKind, JobStatus, SkipCounts, SkippedUrl};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use crate::{
    crawl::CrawlOptions,
    jobs::PayloadKind,
    scrape::{PageResult, ScrapeOptions},
};

/// RFC 3339, UTC, milliseconds.
pub(super) fn time(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// `POST /v1/scrape`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "requests are read member by member; this describes them")]
#[schema(example = json!({"url": "https://example.com/", "format": "markdown"}))]
pub(super) struct ScrapeRequest {
    /// An absolute http or https URL.
    url: String,
    #[serde(flatten)]
    options: ScrapeOptions,
}

/// `POST /v1/scrape/async`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "requests are read member by member; this describes them")]
#[schema(example = json!({"url": "https://example.com/", "webhook_url": "https://yourapp.com/datasonar-callback"}))]
pub(super) struct ScrapeAsyncRequest {
    /// An absolute http or https URL.
    url: String,
    /// Where the result is POSTed: an https URL.
    webhook_url: Option<String>,
    /// What is POSTed: `full` (the default), or a `reference` to the results.
    webhook_payload: Option<PayloadKind>,
    /// A body longer than this becomes a reference.
    #[schema(minimum = 1)]
    webhook_max_bytes: Option<u64>,
    #[serde(flatten)]
    options: ScrapeOptions,
}

/// `POST /v1/scrape/batch`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "requests are read member by member; this describes them")]
#[schema(example = json!({"urls": ["https://example.com/a", "https://example.com/b"]}))]
pub(super) struct BatchRequest {
    /// 1 to 100 URLs.
    urls: Vec<String>,
    /// How many are scraped at once: 1 to 25, 5 by default.
    concurrency: Option<u32>,
    /// Seconds over all: 1 to 600, 120 by default. URLs not reached in time are `timeout` results.
    timeout: Option<u64>,
    #[serde(flatten)]
    options: ScrapeOptions,
}

/// `POST /v1/scrape/batch/async`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "requests are read member by member; this describes them")]
#[schema(example = json!({"urls": ["https://example.com/a", "https://example.com/b"], "webhook_url": "https://yourapp.com/datasonar-callback"}))]
pub(super) struct BatchAsyncRequest {
    /// Any number of URLs. A malformed one among them becomes an `invalid_url` result.
    urls: Vec<String>,
    /// Where the result is POSTed: an https URL.
    webhook_url: Option<String>,
    /// What is POSTed: `full` (the default), or a `reference` to the results.
    webhook_payload: Option<PayloadKind>,
    /// A body longer than this becomes a reference.
    #[schema(minimum = 1)]
    webhook_max_bytes: Option<u64>,
    #[serde(flatten)]
    options: ScrapeOptions,
}

/// The members of a waiting scrape's request that are no options.
#[derive(Deserialize)]
pub(super) struct Single {
    pub(super) url: String,
}

/// `POST /v1/crawl`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "requests are read member by member; this describes them")]
#[schema(example = json!({"url": "https://example.com/", "max_pages": 1000, "webhook_url": "https://yourapp.com/datasonar-callback"}))]
pub(super) struct CrawlRequest {
    /// Where to begin: an absolute http or https URL.
    url: String,
    /// Where the result is POSTed: an https URL.
    webhook_url: Option<String>,
    /// What is POSTed: `full` (the default), or a `reference` to the results.
    webhook_payload: Option<PayloadKind>,
    /// A body longer than this becomes a reference.
    #[schema(minimum = 1)]
    webhook_max_bytes: Option<u64>,
    #[serde(flatten)]
    crawl: CrawlOptions,
    /// Here, `respect_robots` is true by default.
    #[serde(flatten)]
    options: ScrapeOptions,
}

/// The members of a waiting batch's request that are no options.
#[derive(Deserialize)]
pub(super) struct Batch {
    pub(super) urls: Vec<String>,
    pub(super) concurrency: Option<usize>,
    pub(super) timeout: Option<u64>,
}

/// A job was accepted.
#[derive(Serialize, ToSchema)]
pub(super) struct Queued {
    /// `queued`.
    #[schema(example = "queued")]
    pub(super) status: &'static str,
    /// Its id.
    #[schema(format = Uuid)]
    pub(super) job_id: String,
}

/// The result of a batch.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is put together from page results as they were serialised; this describes it")]
pub(super) struct BatchResult {
    /// `success`; `error` for a job that was cancelled.
    status: String,
    total: u64,
    succeeded: u64,
    failed: u64,
    time_ms: u64,
    /// One for each URL, in the order submitted.
    results: Vec<PageResult>,
}

/// The result of a job: a page result for a single scrape, a batch result otherwise.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is put together from page results as they were serialised; this describes it")]
pub(super) enum JobResult {
    Page(Box<PageResult>),
    Batch(BatchResult),
}

/// A job.
#[derive(Serialize, ToSchema)]
pub(super) struct JobView {
    #[schema(format = Uuid)]
    pub(super) job_id: String,
    /// What it does.
    #[schema(value_type = String, example = "batch")]
    kind: JobKind,
    /// `pending`, `started`, `completed` or `failed`.
    #[schema(value_type = String, example = "completed")]
    status: JobStatus,
    #[schema(value_type = String, example = "production")]
    environment: Environment,
    created_at: String,
    started_at: Option<String>,
    completed_at: Option<String>,
    /// When its result is deleted.
    expires_at: Option<String>,
    progress: Progress,
    webhook_url: Option<String>,
    /// What a crawl found and did not fetch.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<Skipped>,
    /// Its delivery, once it is owed.
    delivery: Option<DeliveryLink>,
    error: Option<ErrorView>,
    /// With `include_result=true`, once the job has ended.
    #[serde(skip)]
    #[schema(required = false)]
    #[expect(dead_code, reason = "it is streamed behind the other members")]
    result: Option<JobResult>,
}

/// How far a job has come.
#[derive(Serialize, ToSchema)]
struct Progress {
    total: u64,
    succeeded: u64,
    failed: u64,
}

/// How many URLs a crawl found and did not fetch.
#[derive(Serialize, ToSchema)]
struct Skipped {
    /// Disallowed by robots.txt.
    robots: u64,
    /// Not asked for: by host, path or depth.
    out_of_scope: u64,
    /// Fetched, and found to be a page that is there already.
    duplicate: u64,
    /// More than `max_pages`.
    over_limit: u64,
}

impl From<SkipCounts> for Skipped {
    fn from(counts: SkipCounts) -> Self {
        let SkipCounts { robots, out_of_scope, duplicate, over_limit } = counts;
        Self { robots, out_of_scope, duplicate, over_limit }
    }
}

/// A URL that a crawl found and did not fetch.
#[derive(Serialize, ToSchema)]
pub(super) struct SkippedView {
    url: String,
    /// `robots`, `out_of_scope`, `duplicate` or `over_limit`.
    reason: &'static str,
    depth: u32,
    found_on: Option<String>,
}

impl From<SkippedUrl> for SkippedView {
    fn from(skipped: SkippedUrl) -> Self {
        let FoundUrl { url, depth, found_on, .. } = skipped.url;
        Self { url, reason: skipped.reason.as_str(), depth, found_on }
    }
}

/// A job's delivery.
#[derive(Serialize, ToSchema)]
struct DeliveryLink {
    id: String,
    /// `pending`, `delivered` or `failed`.
    status: &'static str,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorView {
    code: String,
    message: String,
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        Self {
            job_id: job.id.to_string(),
            kind: job.kind,
            status: job.status,
            environment: job.scope.environment,
            created_at: time(job.created_at),
            started_at: job.started_at.map(time),
            completed_at: job.completed_at.map(time),
            expires_at: job.expires_at.map(time),
            progress: Progress { total: job.total, succeeded: job.succeeded, failed: job.failed },
            webhook_url: job.webhook_url.clone(),
            skipped: (job.kind == JobKind::Crawl).then(|| Skipped::from(job.skipped)),
            delivery: job.delivery.map(|(id, status)| DeliveryLink { id: id.to_string(), status: status.as_str() }),
            error: job
                .error
                .as_ref()
                .map(|error| ErrorView { code: error.code.clone(), message: error.message.clone() }),
            result: None,
        }
    }
}

/// A part of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    /// To be sent as `cursor` for what follows; null at the end.
    pub(super) next_cursor: Option<String>,
}

/// A delivery.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryView {
    /// The `webhook-id` of every attempt.
    id: String,
    job_id: String,
    webhook_url: String,
    /// `pending`, `delivered` or `failed`.
    status: &'static str,
    created_at: String,
    /// When the next attempt is due; null when none is.
    next_attempt_at: Option<String>,
    delivered_at: Option<String>,
    /// The attempts made, first first.
    attempts: Vec<AttemptView>,
}

impl DeliveryView {
    pub(super) fn new(delivery: &Delivery, attempts: &[Attempt]) -> Self {
        Self {
            id: delivery.id.to_string(),
            job_id: delivery.job.to_string(),
            webhook_url: delivery.url.clone(),
            status: delivery.status.as_str(),
            created_at: time(delivery.created_at),
            next_attempt_at: delivery.next_attempt_at.map(time),
            delivered_at: delivery.delivered_at.map(time),
            // Read after the delivery, there may be one more than it knows of: both are to be of one moment.
            attempts: attempts.iter().take(delivery.attempts as usize).map(AttemptView::from).collect(),
        }
    }
}

/// One POST of a delivery.
#[derive(Serialize, ToSchema)]
struct AttemptView {
    id: String,
    number: u32,
    /// `automatic`, `replay` or `test`.
    trigger: &'static str,
    started_at: String,
    /// Each a name and a value.
    request_headers: Vec<(String, String)>,
    request_bytes: u64,
    /// The address that was dialled.
    remote: Option<String>,
    response_code: Option<u16>,
    response_headers: Vec<(String, String)>,
    /// The first 16 KiB.
    response_body: String,
    latency_ms: u64,
    timings: TimingsView,
    error: Option<ErrorView>,
}

/// How long the parts of an attempt took; null where a part was not reached or a connection was used again.
#[derive(Serialize, ToSchema)]
struct TimingsView {
    dns_ms: Option<u64>,
    connect_ms: Option<u64>,
    tls_ms: Option<u64>,
    first_byte_ms: Option<u64>,
    total_ms: u64,
}

impl From<&Attempt> for AttemptView {
    fn from(attempt: &Attempt) -> Self {
        let timings = attempt.timings;
        Self {
            id: attempt.id.to_string(),
            number: attempt.number,
            trigger: attempt.trigger.as_str(),
            started_at: time(attempt.started_at),
            request_headers: attempt.request_headers.clone(),
            request_bytes: attempt.request_bytes,
            remote: attempt.remote.clone(),
            response_code: attempt.response_status,
            response_headers: attempt.response_headers.clone(),
            response_body: String::from_utf8_lossy(&attempt.response_body).into_owned(),
            latency_ms: timings.total_ms,
            timings: TimingsView {
                dns_ms: timings.dns_ms,
                connect_ms: timings.connect_ms,
                tls_ms: timings.tls_ms,
                first_byte_ms: timings.first_byte_ms,
                total_ms: timings.total_ms,
            },
            error: attempt
                .error
                .as_ref()
                .map(|error| ErrorView { code: error.code.clone(), message: error.message.clone() }),
        }
    }
}

/// What came of a test event.
#[derive(Serialize, ToSchema)]
pub(super) struct TestView {
    /// The delivery it is logged as.
    #[schema(format = Uuid)]
    delivery_id: String,
    /// The made-up job.
    #[schema(format = Uuid)]
    job_id: String,
    #[serde(flatten)]
    attempt: AttemptView,
}

impl TestView {
    pub(super) fn new(delivery: &Delivery, attempt: &Attempt) -> Self {
        Self {
            delivery_id: delivery.id.to_string(),
            job_id: delivery.job.to_string(),
            attempt: AttemptView::from(attempt),
        }
    }
}

/// A webhook secret.
#[derive(Serialize, ToSchema)]
pub(super) struct SecretView {
    pub(super) id: String,
    /// As it is to be used for verifying.
    #[schema(example = "whsec_…")]
    pub(super) secret: String,
    pub(super) created_at: String,
    /// When it stops signing; null for the newest.
    pub(super) expires_at: Option<String>,
}

/// All secrets that sign.
#[derive(Serialize, ToSchema)]
pub(super) struct SecretList {
    /// Newest first.
    pub(super) data: Vec<SecretView>,
}

/// How many rows of a list are wanted, and from where on.
pub(super) fn limit(limit: Option<&str>) -> Result<u32, Problem> {
    const DEFAULT: u32 = 50;
    const MOST: u32 = 200;
    match limit.map(str::parse) {
        None => Ok(DEFAULT),
        Some(Ok(limit @ 1..=MOST)) => Ok(limit),
        Some(_) => Err(parameter("limit", format!("must be 1 to {MOST}"))),
    }
}

/// A query parameter that cannot be followed.
pub(super) fn parameter(name: &str, detail: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("query parameter `{name}`: {detail}"))
}
