//! Deliveries: the log of what was sent where and what came back, and sending it again with one click.

use askama::Template;
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::Response,
    routing::{get, post},
};
use datasonar_store::{
    Attempt, Delivery, DeliveryId, DeliverySearch, DeliveryStatus, EndpointSearch, Job, JobId, LastAttempt,
    ListedDelivery, Part as Listed, Position, StoreError, Webhook,
};
use futures::TryStreamExt;
use jiff::{civil::Date, tz::TimeZone};
use serde::Deserialize;

use super::kit::{
    self, Chrome, Failure, Form, LiveQuery, News, Queried, Section, Viewer, bytes, download, duration_ms, page,
    redirect_with,
};
use crate::{app::App, jobs::endpoint_host, wake::Bell};

/// How many are listed at once.
const LISTED: u32 = 50;
/// How much of a payload is shown.
const SHOWN_BYTES: usize = 16 * 1024;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/deliveries", get(list))
        .route("/deliveries/{id}", get(show))
        .route("/deliveries/{id}/live", get(live))
        .route("/deliveries/{id}/payload", get(payload))
        .route("/deliveries/{id}/replay", post(replay))
}

/// A line of the log.
pub(super) struct Row {
    pub(super) delivery: Delivery,
    last: Option<LastAttempt>,
}

impl From<ListedDelivery> for Row {
    fn from(listed: ListedDelivery) -> Self {
        Self { delivery: listed.delivery, last: listed.last }
    }
}

impl Row {
    /// What came of the last attempt.
    pub(super) fn outcome(&self) -> String {
        self.last.as_ref().map_or_else(|| "no attempt yet".to_owned(), |last| cause(&last.cause))
    }

    pub(super) fn latency(&self) -> String {
        self.last.as_ref().map_or_else(|| "–".to_owned(), |last| duration_ms(last.latency_ms))
    }

    pub(super) fn id_end(&self) -> String {
        self.delivery.id.to_string()[28..].to_owned()
    }
}

/// What came of an attempt, as people say it: a status code, or what went wrong.
pub(super) fn cause(cause: &str) -> String {
    match cause {
        "" => "no attempt".to_owned(),
        cause => cause.replace('_', " "),
    }
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct DeliveriesPage {
    chrome: Chrome,
    rows: Vec<Row>,
    query: ListQuery,
    /// The queries of the parts before and after.
    newer: Option<String>,
    older: Option<String>,
}

impl DeliveriesPage {
    fn has_status(&self, name: &str) -> bool {
        self.query.status.is_some_and(|status| status.as_str() == name)
    }

    fn is_filtered(&self) -> bool {
        !self.query.pairs().is_empty()
    }

    fn job(&self) -> String {
        self.query.job.map(|job| job.to_string()).unwrap_or_default()
    }

    fn text<'a>(&self, text: &'a Option<String>) -> &'a str {
        text.as_deref().unwrap_or_default()
    }
}

#[derive(Default, Deserialize)]
struct ListQuery {
    status: Option<DeliveryStatus>,
    job: Option<JobId>,
    /// A host, or a whole URL.
    endpoint: Option<String>,
    /// A status code, or what went wrong.
    answer: Option<String>,
    /// Days of UTC, the last of them included.
    since: Option<Date>,
    until: Option<Date>,
    before: Option<DeliveryId>,
    after: Option<DeliveryId>,
}

impl ListQuery {
    /// Its filters, as they stand in an address.
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let Self { status, job, endpoint, answer, since, until, .. } = self;
        let mut pairs = Vec::new();
        let mut add = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
        add("status", status.map(|status| status.as_str().to_owned()));
        add("job", job.map(|job| job.to_string()));
        add("endpoint", endpoint.clone());
        add("answer", answer.clone());
        add("since", since.map(|day| day.to_string()));
        add("until", until.map(|day| day.to_string()));
        pairs
    }

    fn link(&self, name: &str, id: DeliveryId) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair(name, &id.to_string()).extend_pairs(self.pairs());
        query.finish()
    }

    fn search(&self) -> DeliverySearch {
        let start = |day: Date| day.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp());
        let endpoint = self.endpoint.as_deref().map(str::trim);
        DeliverySearch {
            status: self.status,
            job: self.job,
            endpoint: endpoint.map(|text| match text.contains("://") {
                true => EndpointSearch::Endpoint(Webhook { host: endpoint_host(text), url: text.to_owned() }),
                false => EndpointSearch::Host(text.to_ascii_lowercase()),
            }),
            since: self.since.and_then(start),
            until: self.until.and_then(|day| day.tomorrow().ok()).and_then(start),
            cause: self.answer.as_deref().map(|text| text.trim().to_ascii_lowercase().replace(' ', "_")),
        }
    }
}

async fn list(State(app): State<App>, viewer: Viewer, Queried(query): Queried<ListQuery>) -> Result<Response, Failure> {
    let from = match (query.before, query.after) {
        (Some(id), _) => Position::OlderThan(id),
        (None, Some(id)) => Position::NewerThan(id),
        (None, None) => Position::Newest,
    };
    let found = app.store.find_deliveries(viewer.scope, query.search(), Listed { limit: LISTED, from }).await?;
    let rows = found.rows.into_iter().map(Row::from).collect();
    let (newer, older) =
        (found.newer.map(|id| query.link("after", id)), found.older.map(|id| query.link("before", id)));
    let chrome = Chrome::new(&viewer, Section::Deliveries, "Deliveries");
    page(&DeliveriesPage { chrome, rows, query, newer, older })
}

/// A part of an attempt's time, as a bar of the waterfall.
struct Part {
    name: &'static str,
    from: u64,
    ms: u64,
}

/// An attempt, as it is shown.
struct Shown {
    attempt: Attempt,
    parts: Vec<Part>,
    body: String,
    is_last: bool,
}

impl Shown {
    fn new(attempt: Attempt, is_last: bool) -> Self {
        let times = attempt.timings;
        let mut parts = Vec::new();
        let mut from = 0;
        for (name, ms) in [
            ("DNS", times.dns_ms),
            ("connect", times.connect_ms),
            ("TLS", times.tls_ms),
            ("first byte", times.first_byte_ms),
        ] {
            if let Some(ms) = ms {
                parts.push(Part { name, from, ms });
                from += ms;
            }
        }
        if times.total_ms > from {
            parts.push(Part { name: "rest", from, ms: times.total_ms - from });
        }
        let body = String::from_utf8_lossy(&attempt.response_body).into_owned();
        Self { attempt, parts, body, is_last }
    }

    /// A part of the time, as a share of the width.
    #[expect(clippy::cast_precision_loss, reason = "an attempt takes minutes at most")]
    fn share(&self, ms: &u64) -> String {
        format!("{:.1}%", *ms as f64 * 100.0 / self.attempt.timings.total_ms.max(1) as f64)
    }

    /// What came of it, as a class of badges.
    fn class(&self) -> &'static str {
        if self.attempt.error.is_none() { "delivered" } else { "failed" }
    }

    fn sent(&self) -> String {
        bytes(self.attempt.request_bytes)
    }

    fn took(&self) -> String {
        duration_ms(self.attempt.timings.total_ms)
    }
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct DeliveryPage {
    chrome: Chrome,
    delivery: Delivery,
    /// Newest first.
    attempts: Vec<Shown>,
    payload: Option<Payload>,
    /// Where its events are, if there are any to come.
    live: Option<String>,
}

impl DeliveryPage {
    fn id_end(&self) -> String {
        self.delivery.id.to_string()[28..].to_owned()
    }
}

/// The beginning of what is sent.
struct Payload {
    text: String,
    length: u64,
    is_whole: bool,
}

impl Payload {
    fn size(&self) -> String {
        bytes(self.length)
    }
}

async fn find(app: &App, viewer: &Viewer, id: &str) -> Result<Delivery, Failure> {
    let id: DeliveryId = id.parse().map_err(|_| Failure::NotFound("delivery"))?;
    app.store.delivery(viewer.scope, id).await.map_err(Failure::of("delivery"))
}

async fn show(State(app): State<App>, viewer: Viewer, Path(id): Path<String>) -> Result<Response, Failure> {
    let delivery = find(&app, &viewer, &id).await?;
    let attempts = app.store.attempts(viewer.scope, delivery.id).await?;
    let last = attempts.len();
    let attempts = attempts.into_iter().enumerate().map(|(place, attempt)| Shown::new(attempt, place + 1 == last));
    let attempts: Vec<Shown> = attempts.rev().collect();
    let job = app.store.job(viewer.scope, delivery.job).await.map_err(Failure::of("job"))?;
    let payload = beginning(&app, &job).await?;
    let chrome = Chrome::new(&viewer, Section::Deliveries, format!("Delivery {}", delivery.id));
    let live = (!is_settled(&delivery))
        .then(|| format!("{}?seen={}", viewer.path(&format!("/deliveries/{}/live", delivery.id)), seen(&delivery)));
    page(&DeliveryPage { chrome, delivery, attempts, payload, live })
}

/// What a page that shows a delivery has seen of it.
fn seen(delivery: &Delivery) -> String {
    format!("{}-{}", delivery.status, delivery.attempts)
}

/// Whether no attempt is to come.
fn is_settled(delivery: &Delivery) -> bool {
    delivery.status != DeliveryStatus::Pending && delivery.next_attempt_at.is_none()
}

/// Tells a page that is looked at of each attempt, while any is to come.
async fn live(
    State(app): State<App>,
    viewer: Viewer,
    Path(id): Path<String>,
    Queried(query): Queried<LiveQuery>,
) -> Result<Response, Failure> {
    let delivery = find(&app, &viewer, &id).await?;
    let (scope, id) = (viewer.scope, delivery.id);
    let look = move |app: App, had: String| async move {
        let delivery = app.store.delivery(scope, id).await?;
        let now = seen(&delivery);
        let news = match () {
            () if now != had => {
                let told = format!("The delivery is {}, after {} attempts.", delivery.status, delivery.attempts);
                News::Changed(told)
            }
            () if is_settled(&delivery) => News::Over,
            () => News::Nothing,
        };
        Ok((news, now))
    };
    Ok(kit::live(&app, &viewer, query.seen.unwrap_or_else(|| seen(&delivery)), look))
}

/// Reads the beginning of a payload, unless it was deleted.
async fn beginning(app: &App, job: &Job) -> Result<Option<Payload>, Failure> {
    if job.results_deleted {
        return Ok(None);
    }
    let (length, mut stream) = app.results.payload(job);
    let mut read = Vec::new();
    while read.len() < SHOWN_BYTES {
        let Some(part) = stream.try_next().await.map_err(|error| Failure::internal(&error))? else { break };
        read.extend_from_slice(&part[..part.len().min(SHOWN_BYTES - read.len())]);
    }
    let is_whole = read.len() as u64 == length;
    // Cut where a letter ends.
    let end = match std::str::from_utf8(&read) {
        Ok(_) => read.len(),
        Err(error) => error.valid_up_to(),
    };
    Ok(Some(Payload { text: String::from_utf8_lossy(&read[..end]).into_owned(), length, is_whole }))
}

async fn payload(State(app): State<App>, viewer: Viewer, Path(id): Path<String>) -> Result<Response, Failure> {
    let delivery = find(&app, &viewer, &id).await?;
    let job = app.store.job(viewer.scope, delivery.job).await.map_err(Failure::of("job"))?;
    if job.results_deleted {
        return Err(Failure::conflict("the result has expired and was deleted"));
    }
    let (length, body) = app.results.payload(&job);
    let mut response = download(&format!("delivery-{}.json", delivery.id), "application/json", Body::from_stream(body));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

#[derive(Deserialize)]
struct Replay {
    /// Where to go on: to the delivery, or back to the list.
    back: Option<String>,
}

async fn replay(
    State(app): State<App>,
    Path(id): Path<String>,
    Form { viewer, fields }: Form<Replay>,
) -> Result<Response, Failure> {
    let delivery = find(&app, &viewer, &id).await?;
    match app.store.replay_delivery(viewer.scope, delivery.id, app.clock.now()).await {
        Err(StoreError::NotFound) => return Err(Failure::NotFound("delivery")),
        other => other?,
    }
    app.wake.ring(Bell::Deliveries);
    let to = match fields.back.as_deref() {
        Some("dead-letters") => viewer.path("/dead-letters"),
        Some("deliveries") => viewer.path("/deliveries"),
        _ => viewer.path(&format!("/deliveries/{}", delivery.id)),
    };
    Ok(redirect_with(&to, "Replayed: the same id and the same bytes are sent again now."))
}
