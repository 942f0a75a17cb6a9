//! Scraping while the client waits.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use datasonar_store::{Scope, UsageSample};
use futures::{FutureExt, StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    auth::Caller,
    body::object,
    problem::Problem,
    types::{Batch, BatchRequest, BatchResult, ScrapeRequest, Single},
};
use crate::{
    app::App,
    fetch::Requester,
    jobs::segment::JOINT,
    scrape::{ErrorCode, PageError, PageResult, Plan, Scraped, Target},
};

const MAX_URLS: usize = 100;
const MAX_CONCURRENCY: usize = 25;
const DEFAULT_CONCURRENCY: usize = 5;
const MAX_TIMEOUT: u64 = 600;
const DEFAULT_TIMEOUT: u64 = 120;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(scrape)).routes(routes!(scrape_batch))
}

/// Scrape one URL and wait for it.
#[utoipa::path(
    post, path = "/v1/scrape", tag = "Scrape", request_body = ScrapeRequest,
    responses(
        (status = 200, description = "The page", body = PageResult),
        (status = 403, description = "Disallowed by robots.txt", body = PageResult),
        (status = 422, description = "A field is invalid (a problem), or the URL cannot be fetched (a page result)", body = PageResult),
        (status = 502, description = "The target failed", body = PageResult),
        (status = 504, description = "The target took too long", body = PageResult),
    )
)]
async fn scrape(State(app): State<App>, Caller(scope): Caller, request: Request) -> Result<Response, Problem> {
    let arrived = Instant::now();
    let fields = object(request, app.settings.max_request_bytes).await?;
    let (own, plan, _) = app.jobs.terms().split::<Single>(fields.members, &["url"])?;
    let is_charged = app.plans.charge(scope, 1).await?;
    let requester = Requester { tenant: scope, job: app.ids.uuid() };
    let target = Target { url: &own.url, requester, origin: None, arrived: Some(arrived), door: None };
    let scraped = app.scraper.scrape(target, &plan, &CancellationToken::new()).await;
    count(&app, scope, std::slice::from_ref(&scraped), is_charged);
    let status = match scraped.error.as_ref().map(|error| error.code) {
        None => StatusCode::OK,
        Some(ErrorCode::InvalidUrl | ErrorCode::BlockedAddress) => StatusCode::UNPROCESSABLE_ENTITY,
        Some(ErrorCode::RobotsDisallowed) => StatusCode::FORBIDDEN,
        Some(ErrorCode::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        Some(_) => StatusCode::BAD_GATEWAY,
    };
    Ok(json(status, scraped.json.into()))
}

/// Scrape up to 100 URLs and wait for them.
#[utoipa::path(
    post, path = "/v1/scrape/batch", tag = "Scrape", request_body = BatchRequest,
    responses((status = 200, description = "One result for each URL, in order", body = BatchResult))
)]
async fn scrape_batch(State(app): State<App>, Caller(scope): Caller, request: Request) -> Result<Response, Problem> {
    let begin = Instant::now();
    let fields = object(request, app.settings.max_request_bytes).await?;
    let (own, plan, _) = app.jobs.terms().split::<Batch>(fields.members, &["urls", "concurrency", "timeout"])?;
    let within = |value, most: usize, field: &str| match value {
        1.. if value <= most => Ok(value),
        _ => Err(Problem::field(field, format!("must be 1 to {most}"))),
    };
    within(own.urls.len(), MAX_URLS, "/urls").map_err(|_| {
        Problem::field("/urls", format!("must have 1 to {MAX_URLS} URLs; /v1/scrape/batch/async takes more"))
    })?;
    let concurrency = within(own.concurrency.unwrap_or(DEFAULT_CONCURRENCY), MAX_CONCURRENCY, "/concurrency")?;
    let timeout = match own.timeout.unwrap_or(DEFAULT_TIMEOUT) {
        seconds @ 1..=MAX_TIMEOUT => Duration::from_secs(seconds),
        _ => return Err(Problem::field("/timeout", format!("must be 1 to {MAX_TIMEOUT} seconds"))),
    };
    if !own.urls.iter().any(|url| app.jobs.terms().is_fetchable(url)) {
        return Err(Problem::field("/urls", "none of the URLs can be fetched"));
    }
    let is_charged = app.plans.charge(scope, own.urls.len() as u64).await?;
    let requester = Requester { tenant: scope, job: app.ids.uuid() };
    let pages = scrape_all(&app, requester, &own.urls, &plan, concurrency, begin + timeout).await;
    count(&app, scope, &pages, is_charged);
    let failed = pages.iter().filter(|page| page.error.is_some()).count();
    let head = format!(
        r#"{{"status":"success","total":{},"succeeded":{},"failed":{failed},"time_ms":{},"results":["#,
        pages.len(),
        pages.len() - failed,
        begin.elapsed().as_millis()
    );
    let results: Vec<Bytes> = pages.into_iter().map(|page| page.json).collect();
    let body = [head.as_bytes(), &results.join(JOINT), b"]}"].concat();
    Ok(json(StatusCode::OK, body.into()))
}

async fn scrape_all(
    app: &App,
    requester: Requester,
    urls: &[String],
    plan: &Arc<Plan>,
    concurrency: usize,
    deadline: Instant,
) -> Vec<Scraped> {
    let stop = CancellationToken::new();
    let mut pages: Vec<Option<Scraped>> = urls.iter().map(|_| None).collect();
    let mut scraping = Vec::with_capacity(urls.len());
    for (index, url) in urls.iter().enumerate() {
        let page = app.scraper.scrape(target(url, requester), plan, &stop);
        scraping.push(page.map(move |page| (index, page)).boxed());
    }
    let mut scraping = stream::iter(scraping).buffer_unordered(concurrency);
    while let Ok(Some((index, page))) = tokio::time::timeout_at(deadline, scraping.next()).await {
        pages[index] = Some(page);
    }
    let late = |url: &String| {
        let why = PageError::new(ErrorCode::Timeout, "the batch's time was over before this page was done");
        Scraped::failed(target(url, requester), why)
    };
    pages.into_iter().zip(urls).map(|(page, url)| page.unwrap_or_else(|| late(url))).collect()
}

/// A page of a batch. Its limit counts from its first request; that of the batch, from the arrival of the call.
fn target(url: &str, requester: Requester) -> Target<'_> {
    Target { url, requester, origin: None, arrived: None, door: None }
}

/// An answer that is JSON already.
pub(super) fn json(status: StatusCode, body: Body) -> Response {
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Adds what pages came to to the usage, without making the client wait for it.
fn count(app: &App, scope: Scope, pages: &[Scraped], is_charged: bool) {
    let sample = UsageSample {
        scope,
        at: app.clock.now(),
        pages: pages.len() as u64,
        succeeded: pages.iter().filter(|page| page.error.is_none()).count() as u64,
        time_ms: pages.iter().map(|page| page.time_ms).sum(),
        is_charged,
    };
    let store = app.store.clone();
    tokio::spawn(async move {
        if let Err(error) = store.record_usage(vec![sample]).await {
            tracing::warn!(%error, "usage could not be recorded");
        }
    });
}
