//! Jobs: the list, one job with its progress and results, and what may be done about it. Making one is in [`new_job`](super::new_job).

use askama::Template;
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use datasonar_store::{
    DeliveryStatus, Job, JobId, JobKind, JobSearch, JobStatus, PageErrors, Part, Position as Place, Scope, Submission,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::kit::{
    self, Chrome, Failure, Form, LiveQuery, News, Queried, Section, Viewer, bytes as size, count, download,
    duration_ms, frame_page, page, percent, redirect_with,
};
use crate::{
    app::App,
    jobs::{JobOptions, Position},
    scrape::shown_url,
};

/// How many are listed at once.
const LISTED: u32 = 50;
/// How many results are shown at once.
const RESULTS: u32 = 25;
/// How much of a page's content is shown.
const SHOWN_CHARS: usize = 4_000;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/jobs", get(list))
        .route("/jobs/{id}", get(show))
        .route("/jobs/{id}/live", get(live))
        .route("/jobs/{id}/cancel", post(cancel))
        .route("/jobs/{id}/again", post(again))
        .route("/jobs/{id}/results.jsonl", get(lines))
        .route("/jobs/{id}/result.json", get(whole))
        .route("/jobs/{id}/frame/{at}", get(frame))
}

#[derive(Default, Deserialize)]
struct ListQuery {
    status: Option<JobStatus>,
    kind: Option<JobKind>,
    q: Option<String>,
    before: Option<JobId>,
    after: Option<JobId>,
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    chrome: Chrome,
    jobs: Vec<Row>,
    status: Option<JobStatus>,
    kind: Option<JobKind>,
    text: String,
    older: Option<String>,
    newer: Option<String>,
}

impl JobsPage {
    fn has_status(&self, name: &str) -> bool {
        self.status.is_some_and(|status| status.as_str() == name)
    }

    fn has_kind(&self, name: &str) -> bool {
        self.kind.is_some_and(|kind| kind.as_str() == name)
    }

    fn is_filtered(&self) -> bool {
        self.status.is_some() || self.kind.is_some() || !self.text.is_empty()
    }
}

/// A job, as lists show it.
pub(super) struct Row {
    pub(super) job: Job,
    now: Timestamp,
}

impl Row {
    pub(super) fn new(job: Job, now: Timestamp) -> Self {
        Self { job, now }
    }

    pub(super) fn done(&self) -> String {
        count(self.job.succeeded + self.job.failed)
    }

    fn total(&self) -> String {
        count(self.job.total)
    }

    /// How long it took, or has taken so far.
    fn took(&self) -> String {
        let Some(begin) = self.job.started_at else { return "–".to_owned() };
        let ms = self.job.completed_at.unwrap_or(self.now).as_millisecond() - begin.as_millisecond();
        duration_ms(u64::try_from(ms).unwrap_or(0))
    }

    fn success(&self) -> String {
        percent(self.job.succeeded, self.job.succeeded + self.job.failed)
    }

    pub(super) fn id_end(&self) -> String {
        end_of(self.job.id)
    }

    pub(super) fn name(&self) -> &'static str {
        name_of(self.job.kind)
    }

    /// What tells it from others of its kind: the URL of a scrape, where a crawl begins, or who is called back.
    fn about(&self) -> Option<String> {
        let options: Option<JobOptions> = serde_json::from_str(&self.job.options).ok();
        options.and_then(begin_of).or_else(|| self.job.webhook_url.clone())
    }
}

/// The one URL that a job is about, unless it is a batch.
fn begin_of(options: JobOptions) -> Option<String> {
    options.crawl.map(|crawl| crawl.start).or(options.url).map(|url| shown_url(&url))
}

/// Enough of an id to tell it from its neighbours.
fn end_of(id: JobId) -> String {
    id.to_string()[28..].to_owned()
}

/// A kind of jobs, as a heading.
fn name_of(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Scrape => "Scrape",
        JobKind::Batch => "Batch",
        JobKind::Crawl => "Crawl",
        JobKind::Test => "Test event",
    }
}

async fn list(State(app): State<App>, viewer: Viewer, Queried(query): Queried<ListQuery>) -> Result<Response, Failure> {
    let ListQuery { status, kind, q, before, after } = query;
    let text = q.unwrap_or_default().trim().to_owned();
    // A whole id is looked up, whatever it is the id of.
    if let Ok(id) = text.parse::<JobId>()
        && app.store.job(viewer.scope, id).await.is_ok()
    {
        return Ok(super::kit::redirect(&viewer.path(&format!("/jobs/{id}"))));
    }
    let search = JobSearch { status, kind, text: (!text.is_empty()).then(|| text.clone()), ..JobSearch::default() };
    let from = match (before, after) {
        (Some(id), _) => Place::OlderThan(id),
        (None, Some(id)) => Place::NewerThan(id),
        (None, None) => Place::Newest,
    };
    let found = app.store.find_jobs(viewer.scope, search, Part { limit: LISTED, from }).await?;
    let link = |name: &str, id: JobId| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair(name, &id.to_string());
        query.extend_pairs(status.map(|status| ("status", status.as_str())));
        query.extend_pairs(kind.map(|kind| ("kind", kind.as_str())));
        if !text.is_empty() {
            query.append_pair("q", &text);
        }
        query.finish()
    };
    let (older, newer) = (found.older.map(|id| link("before", id)), found.newer.map(|id| link("after", id)));
    let jobs = found.rows.into_iter().map(|job| Row::new(job, viewer.now)).collect();
    let chrome = Chrome::new(&viewer, Section::Jobs, "Jobs");
    page(&JobsPage { chrome, jobs, status, kind, older, newer, text })
}

async fn find(app: &App, scope: Scope, id: &str) -> Result<Job, Failure> {
    let id: JobId = id.parse().map_err(|_| Failure::NotFound("job"))?;
    app.store.job(scope, id).await.map_err(Failure::of("job"))
}

/// A page result, as it is shown.
struct Shown {
    url: String,
    final_url: Option<String>,
    is_success: bool,
    status_code: Option<u64>,
    error: Option<String>,
    title: Option<String>,
    time: String,
    /// The beginning of its content, by format.
    contents: Vec<(String, String)>,
    /// Where it is among the results.
    at: String,
    has_html: bool,
}

impl Shown {
    fn new(bytes: &Bytes, at: String) -> Self {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let error = &value["error"];
        let contents = match &value["content"] {
            Value::Null => Vec::new(),
            Value::Object(formats) if error.is_null() && formats.keys().all(|name| FORMATS.contains(&&**name)) => {
                formats.iter().map(|(name, content)| (name.clone(), beginning(content))).collect()
            }
            content => vec![("content".to_owned(), beginning(content))],
        };
        Self {
            url: text(&value["url"]).unwrap_or_default(),
            final_url: text(&value["final_url"]).filter(|url| Some(url.as_str()) != value["url"].as_str()),
            is_success: value["status"] == "success",
            status_code: value["status_code"].as_u64(),
            error: (!error.is_null()).then(|| {
                format!(
                    "{}: {}",
                    error["code"].as_str().unwrap_or_default(),
                    error["message"].as_str().unwrap_or_default()
                )
            }),
            title: text(&value["metadata"]["title"]),
            time: duration_ms(value["time_ms"].as_u64().unwrap_or(0)),
            has_html: html_of(&value).is_some(),
            contents,
            at,
        }
    }
}

const FORMATS: [&str; 7] = ["markdown", "text", "html", "raw_html", "links", "json", "screenshot"];

/// The page as HTML, if that was asked for.
fn html_of(value: &Value) -> Option<&str> {
    match &value["content"] {
        Value::Object(formats) => ["html", "raw_html"].iter().find_map(|name| formats.get(*name)?.as_str()),
        Value::String(text) => Some(&**text).filter(|text| text.trim_start().starts_with('<')),
        _ => None,
    }
}

fn beginning(content: &Value) -> String {
    let text = match content {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What changes while a job runs: drawn into the page, and sent to it again and again.
#[derive(Template)]
#[template(path = "job_progress.html")]
struct Progress {
    row: Row,
    rate: String,
    left: Option<String>,
}

impl Progress {
    fn new(job: &Job, now: Timestamp) -> Self {
        let row = Row::new(job.clone(), now);
        let done = job.succeeded + job.failed;
        let begin = job.started_at.unwrap_or(now);
        let ms = (job.completed_at.unwrap_or(now).as_millisecond() - begin.as_millisecond()).max(1).unsigned_abs();
        let a_minute = done.saturating_mul(60_000) / ms;
        let left = (job.kind != JobKind::Crawl && !job.status.has_ended() && done > 0)
            .then(|| duration_ms(ms.saturating_mul(job.total.saturating_sub(done)) / done));
        // Of a moment, nothing can be told.
        let rate = if ms < 1_000 { "–".to_owned() } else { count(a_minute) };
        Self { row, rate, left }
    }
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    chrome: Chrome,
    job: Job,
    progress: String,
    errors: Vec<PageErrors>,
    results: Vec<Shown>,
    next: Option<String>,
    is_first: bool,
    options: Vec<(String, String)>,
    size: String,
    /// How long it waited for its first page.
    waited: Option<String>,
    /// Where its events are, if there are any to come.
    live: Option<String>,
}

impl JobPage {
    fn name(&self) -> &'static str {
        name_of(self.job.kind)
    }

    fn id_end(&self) -> String {
        end_of(self.job.id)
    }
}

#[derive(Deserialize)]
struct ShowQuery {
    from: Option<String>,
}

/// What was asked of a job, line by line: what is as usual is left out.
fn asked(job: &Job) -> Vec<(String, String)> {
    let options: JobOptions = serde_json::from_str(&job.options).unwrap_or_default();
    let options = options.masked();
    let usual = serde_json::to_value(JobOptions::default().scrape).unwrap_or_default();
    let mut lines = Vec::new();
    if let Some(url) = &options.url {
        lines.push(("url".to_owned(), shown_url(url)));
    }
    if let Some(crawl) = &options.crawl {
        lines.push(("start".to_owned(), shown_url(&crawl.start)));
        if let Ok(Value::Object(members)) = serde_json::to_value(&crawl.options) {
            lines.extend(
                members.into_iter().filter(|(_, value)| !is_nothing(value)).map(|(name, value)| (name, plain(&value))),
            );
        }
    }
    if let Ok(Value::Object(members)) = serde_json::to_value(&options.scrape) {
        let told = |(name, value): &(String, Value)| name == "format" || usual.get(name) != Some(value);
        lines.extend(members.into_iter().filter(told).map(|(name, value)| (name, plain(&value))));
    }
    lines
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        _ => false,
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

async fn show(
    State(app): State<App>,
    viewer: Viewer,
    Path(id): Path<String>,
    Queried(query): Queried<ShowQuery>,
) -> Result<Response, Failure> {
    let job = find(&app, viewer.scope, &id).await?;
    let from: Position = query.from.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default();
    let (mut results, mut next) = (Vec::new(), None);
    if !job.results_deleted {
        let found = app.results.page(&job, from, RESULTS).await?;
        results.extend(found.results.iter().zip(&found.positions).map(|(bytes, at)| Shown::new(bytes, at.to_string())));
        next = found.has_more.then(|| found.next.to_string());
    }
    let errors = app.store.job_errors(viewer.scope, job.id).await.map_err(Failure::of("job"))?;
    let progress = Progress::new(&job, viewer.now).render().map_err(|error| Failure::internal(&error))?;
    let chrome = Chrome::new(&viewer, Section::Jobs, format!("Job {}", job.id));
    let (options, size) = (asked(&job), size(job.result_bytes));
    let since = |time: Timestamp| time.as_millisecond() - job.created_at.as_millisecond();
    let waited = job.started_at.map(|time| duration_ms(u64::try_from(since(time)).unwrap_or(0)));
    let live =
        (!is_settled(&job)).then(|| format!("{}?seen={}", viewer.path(&format!("/jobs/{}/live", job.id)), seen(&job)));
    let is_first = query.from.is_none();
    page(&JobPage { chrome, progress, errors, results, next, is_first, options, size, waited, live, job })
}

/// What a page that shows a job has seen of it.
fn seen(job: &Job) -> String {
    let delivery = job.delivery.as_ref().map_or("none", |(_, status)| status.as_str());
    format!("{}-{delivery}", job.status)
}

/// Whether there is nothing more to come: the job has ended, and its delivery is not on its way.
fn is_settled(job: &Job) -> bool {
    let is_owed = job.delivery.as_ref().is_some_and(|(_, status)| *status == DeliveryStatus::Pending);
    job.status.has_ended() && !is_owed
}

/// Tells a page that is looked at how its job gets on, until the job has ended and its callback has arrived.
async fn live(
    State(app): State<App>,
    viewer: Viewer,
    Path(id): Path<String>,
    Queried(query): Queried<LiveQuery>,
) -> Result<Response, Failure> {
    let job = find(&app, viewer.scope, &id).await?;
    let (scope, id) = (viewer.scope, job.id);
    let look = move |app: App, had: String| async move {
        let job = app.store.job(scope, id).await?;
        let now = seen(&job);
        if job.status.has_ended() && now != had {
            let delivery = job.delivery.as_ref().map(|(_, status)| format!(" Its delivery is {status}."));
            return Ok((News::Changed(format!("The job is {}.{}", job.status, delivery.unwrap_or_default())), now));
        }
        if is_settled(&job) {
            return Ok((News::Over, now));
        }
        if job.status.has_ended() {
            return Ok((News::Nothing, now));
        }
        let news = match Progress::new(&job, app.clock.now()).render() {
            Ok(html) => News::Part { id: "progress", html },
            Err(_) => News::Over,
        };
        Ok((news, now))
    };
    Ok(kit::live(&app, &viewer, query.seen.unwrap_or_else(|| seen(&job)), look))
}

#[derive(Deserialize)]
struct Nothing {}

async fn cancel(
    State(app): State<App>,
    Path(id): Path<String>,
    Form { viewer, .. }: Form<Nothing>,
) -> Result<Response, Failure> {
    let job = find(&app, viewer.scope, &id).await?;
    app.jobs.cancel(viewer.scope, job.id).await?;
    let told = "The job is being cancelled. Pages that are finished are kept.";
    Ok(redirect_with(&viewer.path(&format!("/jobs/{}", job.id)), told))
}

async fn again(
    State(app): State<App>,
    Path(id): Path<String>,
    Form { viewer, .. }: Form<Nothing>,
) -> Result<Response, Failure> {
    let job = find(&app, viewer.scope, &id).await?;
    let new = app.jobs.again(&app.results, &job).await?;
    let id = new.id;
    match app.jobs.submit(new).await? {
        Submission::Accepted | Submission::Repeated { .. } => {}
    }
    Ok(redirect_with(&viewer.path(&format!("/jobs/{id}")), "Queued again, with the same pages and options."))
}

async fn lines(State(app): State<App>, viewer: Viewer, Path(id): Path<String>) -> Result<Response, Failure> {
    let job = find(&app, viewer.scope, &id).await?;
    kept(&job)?;
    let body = Body::from_stream(app.results.ndjson(&job));
    Ok(download(&format!("job-{}.jsonl", job.id), "application/x-ndjson", body))
}

async fn whole(State(app): State<App>, viewer: Viewer, Path(id): Path<String>) -> Result<Response, Failure> {
    let job = find(&app, viewer.scope, &id).await?;
    kept(&job)?;
    if !job.status.has_ended() {
        return Err(Failure::conflict("the job has not ended; its results so far are there as JSON lines"));
    }
    let (_, body) = app.results.result(&job);
    Ok(download(&format!("job-{}.json", job.id), "application/json", Body::from_stream(body)))
}

fn kept(job: &Job) -> Result<(), Failure> {
    if job.results_deleted { Err(Failure::conflict("the results have expired and were deleted")) } else { Ok(()) }
}

/// A page's HTML for a frame: without scripts, without our origin, and without fetching anything.
async fn frame(
    State(app): State<App>,
    viewer: Viewer,
    Path((id, at)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let job = find(&app, viewer.scope, &id).await?;
    kept(&job)?;
    let at: Position = at.parse().map_err(|_| Failure::NotFound("page"))?;
    let found = app.results.page(&job, at, 1).await?;
    let value: Value = found.results.first().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    let html = html_of(&value).ok_or(Failure::NotFound("page"))?.to_owned();
    Ok(frame_page(html).into_response())
}
