//! Jobs: accepting them, looking at them, reading their results, cancelling them.

use axum::{
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use datasonar_store::{Idempotency, Job, JobFilter, JobKind, Page, Scope, Submission};
use futures::{FutureExt, StreamExt};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    auth::Caller,
    body::{Fields, batch, object},
    problem::Problem,
    scrape::json,
    types::{self, BatchAsyncRequest, CrawlRequest, JobView, List, Queued, ScrapeAsyncRequest, SkippedView, parameter},
};
use crate::{
    app::App,
    crypto::sha256,
    jobs::{Asked, Position, Results, Submit, UrlWriter, blocking},
    scrape::PageResult,
};

const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(scrape_async))
        .routes(routes!(batch_async))
        .routes(routes!(crawl))
        .routes(routes!(list))
        .routes(routes!(show, cancel))
        .routes(routes!(results))
        .routes(routes!(skipped))
        .routes(routes!(payload))
}

/// Queue one URL.
#[utoipa::path(
    post, path = "/v1/scrape/async", tag = "Jobs", request_body = ScrapeAsyncRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body within 24 hours is one request")),
    responses((status = 202, description = "Accepted: the job is durable", body = Queued))
)]
async fn scrape_async(State(app): State<App>, Caller(scope): Caller, request: Request) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?;
    let fields = object(request, app.settings.max_request_bytes).await?;
    let request = app.jobs.terms().read(JobKind::Scrape, fields.members)?;
    let new = app.jobs.prepare(scope, request).await?;
    submit(&app, new, key, fields.fingerprint).await
}

/// Queue any number of URLs.
#[utoipa::path(
    post, path = "/v1/scrape/batch/async", tag = "Jobs", request_body = BatchAsyncRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body within 24 hours is one request")),
    responses((status = 202, description = "Accepted: the job is durable", body = Queued))
)]
async fn batch_async(State(app): State<App>, Caller(scope): Caller, request: Request) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?;
    let id = app.jobs.mint();
    let (Fields { members, fingerprint }, urls) =
        batch(request, app.settings.max_request_bytes, scope.account, app.jobs.urls(id)).await?;
    let Asked { options, webhook_url } = app.jobs.terms().asked(members)?;
    let urls = urls.ok_or_else(|| Problem::field("/urls", "is missing"))?;
    if urls.count() == 0 {
        return Err(Problem::field("/urls", "is empty"));
    }
    if !urls.has_valid() {
        return Err(Problem::field("/urls", "none of the URLs can be fetched"));
    }
    let work = blocking(move || UrlWriter::finish(urls)).await?;
    let new = Submit { id, scope, kind: JobKind::Batch, options, webhook_url, work, idempotency: None };
    submit(&app, new, key, fingerprint).await
}

/// Queue a site.
#[utoipa::path(
    post, path = "/v1/crawl", tag = "Jobs", request_body = CrawlRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body within 24 hours is one request")),
    responses((status = 202, description = "Accepted: the job is durable", body = Queued))
)]
async fn crawl(State(app): State<App>, Caller(scope): Caller, request: Request) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?;
    let fields = object(request, app.settings.max_request_bytes).await?;
    let request = app.jobs.terms().read(JobKind::Crawl, fields.members)?;
    let new = app.jobs.prepare(scope, request).await?;
    submit(&app, new, key, fields.fingerprint).await
}

async fn submit(app: &App, mut new: Submit, key: Option<String>, fingerprint: [u8; 32]) -> Result<Response, Problem> {
    let queued = Queued { status: "queued", job_id: new.id.to_string() };
    let answer = serde_json::to_string(&queued).expect("it has string keys only");
    // The same key on another route is another request.
    let fingerprint = sha256(&[new.kind.as_str().as_bytes(), &fingerprint].concat());
    new.idempotency = key.map(|key| Idempotency { key, fingerprint, answer: answer.clone() });
    let answer = match app.jobs.submit(new).await? {
        Submission::Accepted => answer,
        Submission::Repeated { answer } => answer,
    };
    Ok(json(StatusCode::ACCEPTED, answer.into()))
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let is_sound =
        (1..=MAX_IDEMPOTENCY_KEY_BYTES).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    match key.to_str() {
        Ok(key) if is_sound => Ok(Some(key.to_owned())),
        _ => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("an Idempotency-Key is 1 to {MAX_IDEMPOTENCY_KEY_BYTES} visible ASCII characters"),
        )),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// 1 to 200; 50 by default.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// `next_cursor` of the part before.
    cursor: Option<String>,
    /// `pending`, `started`, `completed` or `failed`.
    status: Option<String>,
    /// `scrape`, `batch` or `crawl`.
    kind: Option<String>,
}

/// List jobs, newest first.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "Jobs", params(ListQuery),
    responses((status = 200, description = "A part of the list", body = List<JobView>))
)]
async fn list(
    State(app): State<App>,
    Caller(scope): Caller,
    Queried(query): Queried<ListQuery>,
) -> Result<axum::Json<List<JobView>>, Problem> {
    let limit = types::limit(query.limit.as_deref())?;
    let filter = JobFilter { status: choice("status", query.status)?, kind: choice("kind", query.kind)? };
    let page = Page { limit: limit + 1, before: cursor(query.cursor)? };
    let mut jobs = app.store.jobs(scope, filter, page).await?;
    let next_cursor = next_cursor(&mut jobs, limit, |job| job.id.to_string());
    Ok(axum::Json(List { data: jobs.iter().map(JobView::from).collect(), next_cursor }))
}

/// Reads a query parameter that is one of a few names.
pub(super) fn choice<T: std::str::FromStr<Err = String>>(
    name: &str,
    value: Option<String>,
) -> Result<Option<T>, Problem> {
    value.map(|value| value.parse().map_err(|error| parameter(name, error))).transpose()
}

/// Reads a cursor that is an id.
pub(super) fn cursor<T: std::str::FromStr>(value: Option<String>) -> Result<Option<T>, Problem> {
    value.map(|value| value.parse().map_err(|_| parameter("cursor", "is not a `next_cursor` of this list"))).transpose()
}

/// Cuts off the one row too many that was read to learn whether there are more.
pub(super) fn next_cursor<T>(rows: &mut Vec<T>, limit: u32, id: impl Fn(&T) -> String) -> Option<String> {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    rows.last().filter(|_| more).map(id)
}

/// Reads an id of a path; what is no id is the id of nothing.
pub(super) fn id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}

async fn find(app: &App, scope: Scope, text: &str) -> Result<Job, Problem> {
    match app.store.job(scope, id(text, "job")?).await {
        Err(datasonar_store::StoreError::NotFound) => Err(Problem::not_found("job")),
        other => Ok(other?),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ShowQuery {
    /// `true` adds the result of a job that has ended.
    #[param(value_type = Option<bool>)]
    include_result: Option<String>,
}

/// Look at a job.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "Jobs", params(("id" = String, Path, description = "The job's id"), ShowQuery),
    responses((status = 200, description = "The job", body = JobView))
)]
async fn show(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(job_id): Path<String>,
    Queried(query): Queried<ShowQuery>,
) -> Result<Response, Problem> {
    let with_result = match query.include_result.as_deref() {
        None | Some("false" | "0") => false,
        Some("" | "true" | "1") => true,
        Some(_) => return Err(parameter("include_result", "is `true` or `false`")),
    };
    let job = find(&app, scope, &job_id).await?;
    let view = serde_json::to_string(&JobView::from(&job)).expect("it has string keys only");
    if !with_result || !job.status.has_ended() || job.results_deleted {
        return Ok(json(StatusCode::OK, view.into()));
    }
    let (length, result) = app.results.result(&job);
    let result = Results::for_client(&job, result)?;
    let head = format!(r#"{},"result":"#, view.strip_suffix('}').expect("an object ends so"));
    let length = head.len() as u64 + length + 1;
    let part = |bytes: Bytes| std::future::ready(Ok(bytes)).into_stream();
    let body = part(head.into()).chain(result).chain(part(Bytes::from_static(b"}")));
    Ok(sized(json(StatusCode::OK, Body::from_stream(body)), length))
}

/// Read the body of a job's webhook, whether it has an endpoint or not.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/payload", tag = "Jobs", params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The exact bytes that are sent", content_type = "application/json"),
        (status = 409, description = "The job has not ended"),
        (status = 410, description = "The result has expired"),
    )
)]
async fn payload(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(job_id): Path<String>,
) -> Result<Response, Problem> {
    let job = find(&app, scope, &job_id).await?;
    if !job.status.has_ended() {
        return Err(Problem::new(StatusCode::CONFLICT, "the job has not ended"));
    }
    send_payload(&app, &job)
}

/// The body of a job's webhook, with its length.
pub(super) fn send_payload(app: &App, job: &Job) -> Result<Response, Problem> {
    if job.results_deleted {
        return Err(Problem::new(StatusCode::GONE, "the result has expired and was deleted"));
    }
    let (length, body) = app.results.payload(job);
    let body = Results::for_client(job, body)?;
    Ok(sized(json(StatusCode::OK, Body::from_stream(body)), length))
}

/// Says how long a streamed answer is.
pub(super) fn sized(mut response: Response, length: u64) -> Response {
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Cancel a job. Pages that are finished are kept.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", tag = "Jobs", params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 202, description = "It will end as `failed`, with the error `cancelled`", body = JobView),
        (status = 409, description = "It has ended", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn cancel(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(job_id): Path<String>,
) -> Result<Response, Problem> {
    let job = find(&app, scope, &job_id).await?;
    app.jobs.cancel(scope, job.id).await?;
    let job = find(&app, scope, &job_id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(JobView::from(&job))).into_response())
}

/// Read what a crawl found and did not fetch, in the order found: the first 10,000 URLs.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/skipped", tag = "Jobs",
    params(("id" = String, Path, description = "The job's id"), ResultsQuery),
    responses((status = 200, description = "URLs, each with its reason", body = List<SkippedView>))
)]
async fn skipped(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(job_id): Path<String>,
    Queried(query): Queried<ResultsQuery>,
) -> Result<axum::Json<List<SkippedView>>, Problem> {
    let job = find(&app, scope, &job_id).await?;
    let limit = types::limit(query.limit.as_deref())?;
    let after = cursor(query.cursor)?.unwrap_or(0);
    let mut rows = app.store.skipped(scope, job.id, after, limit + 1).await?;
    let next_cursor = next_cursor(&mut rows, limit, |(number, _)| number.to_string());
    Ok(axum::Json(List { data: rows.into_iter().map(|(_, url)| SkippedView::from(url)).collect(), next_cursor }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ResultsQuery {
    /// 1 to 200; 50 by default.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// `next_cursor` of the part before.
    cursor: Option<String>,
}

/// Read a job's page results in order, while it runs too: as far as they are finished without a gap. With
/// `Accept: application/x-ndjson` all of them are streamed, one a line; otherwise they come in parts, and `next_cursor` is
/// null once the job has ended and all were read.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/results", tag = "Jobs",
    params(("id" = String, Path, description = "The job's id"), ResultsQuery),
    responses((status = 200, description = "Page results", body = List<PageResult>))
)]
async fn results(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(job_id): Path<String>,
    Queried(query): Queried<ResultsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = find(&app, scope, &job_id).await?;
    if job.results_deleted {
        return Err(Problem::new(StatusCode::GONE, "the results have expired and were deleted"));
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("application/x-ndjson") || accept.contains("application/jsonl") {
        let mut response = Body::from_stream(Results::for_client(&job, app.results.ndjson(&job))?).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        return Ok(response);
    }
    let limit = types::limit(query.limit.as_deref())?;
    let from: Position = cursor(query.cursor)?.unwrap_or_default();
    let page = app.results.page(&job, from, limit).await?;
    // The job was looked at first: when it had ended, all of its results were there.
    let is_over = job.status.has_ended() && !page.has_more;
    let cursor = if is_over { "null".to_owned() } else { format!("\"{}\"", page.next) };
    let body =
        [br#"{"data":["#, &page.results.join(&b","[..])[..], br#"],"next_cursor":"#, cursor.as_bytes(), b"}"].concat();
    Ok(json(StatusCode::OK, body.into()))
}

/// A query that is not one: `a=1&a=2` and the like.
pub(super) struct Queried<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> axum::extract::FromRequestParts<S> for Queried<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.body_text())),
        }
    }
}
