//! Schedules: jobs that start by themselves. Making, changing and deleting them, running one now, and what came of each run.

use axum::{
    Json,
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
};
use datasonar_store::{
    Idempotency, JobStatus, NewSchedule, Overlap, Page, Run, RunOutcome, Schedule, ScheduleId, Scope, StoreError,
    Submission,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    auth::Caller,
    body::object,
    jobs::{Queried, cursor, id, idempotency_key, next_cursor},
    problem::Problem,
    scrape::json,
    types::{self, BatchAsyncRequest, CrawlRequest, List, ScrapeAsyncRequest, time},
};
use crate::{
    app::App,
    crypto::sha256,
    jobs::{
        members::{typed, unknown},
        secrets::shown_job,
    },
    schedules::{SchedulesError, Wanted, upcoming},
};

/// How many of its next times, and of its last runs, a schedule shows.
const SHOWN: usize = 5;
/// How often a change is tried again when the scheduler or another client changed the schedule meanwhile.
const CHANGE_TRIES: u32 = 5;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, change, delete))
        .routes(routes!(run_now))
        .routes(routes!(runs))
}

/// `POST /v1/schedules`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"name": "Prices", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "job": {"kind": "crawl", "url": "https://example.com/"}}))]
struct ScheduleRequest {
    /// What people call it: 1 to 200 characters.
    name: String,
    /// When it runs: minute, hour, day of the month, month, weekday; or six fields with seconds first; or `@hourly`, `@daily`,
    /// `@weekly`, `@monthly`, `@yearly`.
    #[schema(example = "30 2 * * *")]
    cron: String,
    /// On the clocks of which time zone: an IANA name. `UTC` by default.
    #[schema(value_type = Option<String>, example = "Europe/Berlin")]
    #[serde(default)]
    timezone: Option<String>,
    /// When the job before has not ended: `skip` this run (the default), `queue` one, or `allow` both.
    #[schema(value_type = Option<OverlapName>)]
    #[serde(default)]
    overlap: Option<Overlap>,
    /// Whether it rests.
    #[serde(default)]
    paused: Option<bool>,
    /// What it does: a kind, and the body of the endpoint that makes such jobs.
    #[schema(value_type = ScheduledJob)]
    job: Map<String, Value>,
}

/// `PATCH /v1/schedules/{id}`: what is to be changed.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"paused": true}))]
struct ScheduleChangeRequest {
    name: Option<String>,
    cron: Option<String>,
    timezone: Option<String>,
    #[schema(value_type = Option<OverlapName>)]
    overlap: Option<Overlap>,
    paused: Option<bool>,
    /// The whole job, not parts of it.
    #[schema(value_type = Option<ScheduledJob>)]
    job: Option<Map<String, Value>>,
}

const FIELDS: &[&str] = &["name", "cron", "timezone", "overlap", "paused", "job"];

/// What a schedule does.
#[derive(ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(dead_code, reason = "jobs are read member by member; this describes them")]
enum ScheduledJob {
    /// As `POST /v1/scrape/async`.
    Scrape(Box<ScrapeAsyncRequest>),
    /// As `POST /v1/scrape/batch/async`.
    Batch(Box<BatchAsyncRequest>),
    /// As `POST /v1/crawl`.
    Crawl(Box<CrawlRequest>),
}

/// What a schedule does when the job before has not ended.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it stands in for the store's enum, which knows nothing of schemas")]
enum OverlapName {
    /// The run is left out.
    Skip,
    /// The run waits for its end; one at most.
    Queue,
    /// The run starts all the same.
    Allow,
}

/// A schedule.
#[derive(Serialize, ToSchema)]
struct ScheduleView {
    #[schema(format = Uuid)]
    id: String,
    name: String,
    cron: String,
    timezone: String,
    #[schema(value_type = OverlapName)]
    overlap: Overlap,
    paused: bool,
    /// As it was sent, but values of `headers` and credentials in URLs are masked. A change that sends the masks back keeps the
    /// values, as long as the job goes to no further origin.
    #[schema(value_type = ScheduledJob)]
    job: Value,
    created_at: String,
    updated_at: String,
    /// Null while it is paused.
    next_run_at: Option<String>,
    /// The next five times, the first of them `next_run_at`.
    next_runs: Vec<String>,
    /// The last five runs, newest first.
    last_runs: Vec<RunView>,
    /// The jobs of these runs.
    last_jobs: Vec<JobLink>,
}

/// A job of a schedule.
#[derive(Clone, Serialize, ToSchema)]
struct JobLink {
    #[schema(format = Uuid)]
    job_id: String,
    /// `pending`, `started`, `completed` or `failed`; null once the job was deleted.
    #[schema(value_type = Option<String>)]
    status: Option<JobStatus>,
}

/// What came of a time of a schedule, or of a run that was asked for.
#[derive(Serialize, ToSchema)]
struct RunView {
    /// The time it was planned for.
    planned_at: String,
    /// When it was decided.
    decided_at: String,
    /// `cron`, or `manual` for one that was asked for.
    trigger: &'static str,
    /// `started`; `queued` until the job before has ended; `skipped` because of that job; `refused` because the schedule's job
    /// is not acceptable any more.
    outcome: &'static str,
    /// Why it was refused.
    reason: Option<String>,
    /// Its job.
    #[schema(format = Uuid)]
    job_id: Option<String>,
    /// Where its job stands.
    #[schema(value_type = Option<String>)]
    job_status: Option<JobStatus>,
}

impl From<&Run> for RunView {
    fn from(run: &Run) -> Self {
        let (outcome, reason, job_id) = match &run.outcome {
            RunOutcome::Started(job) => ("started", None, Some(job.to_string())),
            RunOutcome::Queued => ("queued", None, None),
            RunOutcome::Skipped => ("skipped", None, None),
            RunOutcome::Refused(why) => ("refused", Some(why.clone()), None),
        };
        Self {
            planned_at: time(run.planned_at),
            decided_at: time(run.at),
            trigger: run.trigger.as_str(),
            outcome,
            reason,
            job_id,
            job_status: run.job_status,
        }
    }
}

impl ScheduleView {
    fn new(schedule: &Schedule, runs: &[Run], now: Timestamp) -> Self {
        let last_runs: Vec<RunView> = runs.iter().map(RunView::from).collect();
        let link = |run: &RunView| Some(JobLink { job_id: run.job_id.clone()?, status: run.job_status });
        Self {
            id: schedule.id.to_string(),
            name: schedule.name.clone(),
            cron: schedule.cron.clone(),
            timezone: schedule.timezone.clone(),
            overlap: schedule.overlap,
            paused: schedule.paused,
            job: Value::Object(shown_job(&schedule.job)),
            created_at: time(schedule.created_at),
            updated_at: time(schedule.updated_at),
            next_run_at: schedule.next_run_at.map(time),
            next_runs: upcoming(schedule, now, SHOWN).into_iter().map(time).collect(),
            last_jobs: last_runs.iter().filter_map(link).collect(),
            last_runs,
        }
    }
}

/// A run was asked for.
#[derive(Serialize, ToSchema)]
struct RunStarted {
    /// `queued`.
    #[schema(example = "queued")]
    status: &'static str,
    /// Its job.
    #[schema(format = Uuid)]
    job_id: String,
    /// Whether another job of the schedule was open: a run that is asked for does not wait for it.
    overlaps: bool,
}

impl From<SchedulesError> for Problem {
    fn from(error: SchedulesError) -> Self {
        match error {
            SchedulesError::Fields(errors) => Self::fields(errors),
            SchedulesError::Store(error) => error.into(),
            SchedulesError::Jobs(error) => error.into(),
        }
    }
}

/// Make a schedule.
#[utoipa::path(
    post, path = "/v1/schedules", tag = "Schedules", request_body = ScheduleRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body within 24 hours is one request")),
    responses((status = 201, description = "The schedule is durable", body = ScheduleView))
)]
async fn create(State(app): State<App>, Caller(scope): Caller, request: Request) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?;
    let fields = object(request, app.settings.max_request_bytes).await?;
    unknown(&fields.members, FIELDS)?;
    let asked: ScheduleRequest = typed(fields.members)?;
    let wanted = Wanted {
        name: asked.name,
        cron: asked.cron,
        timezone: asked.timezone.unwrap_or_else(|| "UTC".to_owned()),
        overlap: asked.overlap.unwrap_or(Overlap::Skip),
        paused: asked.paused.unwrap_or(false),
        job: asked.job,
    };
    let mut new = app.schedules.plan(scope, wanted)?;
    let view = ScheduleView::new(&planned(&new), &[], new.created_at);
    let answer = serde_json::to_string(&view).expect("it has string keys only");
    let fingerprint = sha256(&[&b"schedule"[..], &fields.fingerprint].concat());
    new.idempotency = key.map(|key| Idempotency { key, fingerprint, answer: answer.clone() });
    let answer = match app.schedules.create(new).await? {
        Submission::Accepted => answer,
        Submission::Repeated { answer } => answer,
    };
    Ok(json(StatusCode::CREATED, answer.into()))
}

/// A schedule as it will be stored.
fn planned(new: &NewSchedule) -> Schedule {
    Schedule {
        id: new.id,
        scope: new.scope,
        name: new.name.clone(),
        cron: new.cron.clone(),
        timezone: new.timezone.clone(),
        overlap: new.overlap,
        paused: new.paused,
        kind: new.kind,
        job: new.job.clone(),
        created_at: new.created_at,
        updated_at: new.created_at,
        next_run_at: new.next_run_at,
        version: 1,
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
}

/// List schedules, newest first.
#[utoipa::path(
    get, path = "/v1/schedules", tag = "Schedules", params(ListQuery),
    responses((status = 200, description = "A part of the list", body = List<ScheduleView>))
)]
async fn list(
    State(app): State<App>,
    Caller(scope): Caller,
    Queried(query): Queried<ListQuery>,
) -> Result<Json<List<ScheduleView>>, Problem> {
    let limit = types::limit(query.limit.as_deref())?;
    let page = Page { limit: limit + 1, before: cursor(query.cursor)? };
    let mut schedules = app.store.schedules(scope, page).await?;
    let next_cursor = next_cursor(&mut schedules, limit, |schedule| schedule.id.to_string());
    let mut data = Vec::with_capacity(schedules.len());
    for schedule in &schedules {
        match view(&app, schedule).await {
            Ok(view) => data.push(view),
            // It was deleted just now.
            Err(StoreError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(List { data, next_cursor }))
}

async fn view(app: &App, schedule: &Schedule) -> Result<ScheduleView, StoreError> {
    let page = Page { limit: SHOWN as u32, before: None };
    let runs = app.store.runs(schedule.scope, schedule.id, page).await?;
    Ok(ScheduleView::new(schedule, &runs, app.clock.now()))
}

/// What was not found is a schedule.
fn named(error: StoreError) -> Problem {
    match error {
        StoreError::NotFound => Problem::not_found("schedule"),
        other => other.into(),
    }
}

async fn find(app: &App, scope: Scope, text: &str) -> Result<Schedule, Problem> {
    let id: ScheduleId = id(text, "schedule")?;
    app.store.schedule(scope, id).await.map_err(named)
}

/// Look at a schedule: its next times and its last runs.
#[utoipa::path(
    get, path = "/v1/schedules/{id}", tag = "Schedules",
    params(("id" = String, Path, description = "The schedule's id")),
    responses((status = 200, description = "The schedule", body = ScheduleView))
)]
async fn show(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(schedule_id): Path<String>,
) -> Result<Json<ScheduleView>, Problem> {
    let schedule = find(&app, scope, &schedule_id).await?;
    Ok(Json(view(&app, &schedule).await.map_err(named)?))
}

/// Change a schedule. What is not named stays. One that goes on after a pause runs at its next time; what passed meanwhile is
/// not made up for.
#[utoipa::path(
    patch, path = "/v1/schedules/{id}", tag = "Schedules", request_body = ScheduleChangeRequest,
    params(("id" = String, Path, description = "The schedule's id")),
    responses((status = 200, description = "The schedule as it is now", body = ScheduleView))
)]
async fn change(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(schedule_id): Path<String>,
    request: Request,
) -> Result<Json<ScheduleView>, Problem> {
    // A schedule that is not there is told of before what is wrong with the change, but not without reading that.
    let members = object(request, app.settings.max_request_bytes).await;
    let mut schedule = find(&app, scope, &schedule_id).await?;
    let members = members?.members;
    unknown(&members, FIELDS)?;
    let asked: ScheduleChangeRequest = typed(members)?;
    for attempt in 1.. {
        match app.schedules.change(&schedule, merged(&schedule, &asked)).await {
            // The change names only what is to be changed: it fits whatever the schedule is now.
            Err(SchedulesError::Store(StoreError::Conflict(_))) if attempt < CHANGE_TRIES => {
                schedule = find(&app, scope, &schedule_id).await?;
            }
            Err(SchedulesError::Store(error)) => return Err(named(error)),
            done => {
                done?;
                break;
            }
        }
    }
    let schedule = find(&app, scope, &schedule_id).await?;
    Ok(Json(view(&app, &schedule).await.map_err(named)?))
}

/// What a schedule is to be after a change.
fn merged(schedule: &Schedule, asked: &ScheduleChangeRequest) -> Wanted {
    let kept = |new: &Option<String>, old: &String| new.as_ref().unwrap_or(old).clone();
    let job = || shown_job(&schedule.job);
    Wanted {
        name: kept(&asked.name, &schedule.name),
        cron: kept(&asked.cron, &schedule.cron),
        timezone: kept(&asked.timezone, &schedule.timezone),
        overlap: asked.overlap.unwrap_or(schedule.overlap),
        paused: asked.paused.unwrap_or(schedule.paused),
        job: asked.job.clone().unwrap_or_else(job),
    }
}

/// Delete a schedule with its history. Its jobs stay, those under way too.
#[utoipa::path(
    delete, path = "/v1/schedules/{id}", tag = "Schedules",
    params(("id" = String, Path, description = "The schedule's id")),
    responses((status = 204, description = "It is gone"))
)]
async fn delete(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(schedule_id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id: ScheduleId = id(&schedule_id, "schedule")?;
    app.store.delete_schedule(scope, id).await.map_err(named)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Run a schedule's job now, paused or not, whatever its `overlap` says: it waits for no other job, and none is left out for
/// it. Its next time stays.
#[utoipa::path(
    post, path = "/v1/schedules/{id}/run", tag = "Schedules",
    params(
        ("id" = String, Path, description = "The schedule's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours is one run"),
    ),
    responses((status = 202, description = "Accepted: the job is durable", body = RunStarted))
)]
async fn run_now(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(schedule_id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?;
    let schedule = find(&app, scope, &schedule_id).await?;
    let page = Page { limit: SHOWN as u32, before: None };
    let runs = app.store.runs(scope, schedule.id, page).await.map_err(named)?;
    let overlaps = runs.iter().any(|run| run.job_status.is_some_and(|status| !status.has_ended()));
    let mut answer = String::new();
    let fingerprint = sha256(format!("run {}", schedule.id).as_bytes());
    let run = app.schedules.run_now(&schedule, |job| {
        let started = RunStarted { status: "queued", job_id: job.to_string(), overlaps };
        answer = serde_json::to_string(&started).expect("it has string keys only");
        key.map(|key| Idempotency { key, fingerprint, answer: answer.clone() })
    });
    let submission = match run.await {
        Err(SchedulesError::Store(error)) => return Err(named(error)),
        submission => submission?,
    };
    let answer = match submission {
        Submission::Accepted => answer,
        Submission::Repeated { answer } => answer,
    };
    Ok(json(StatusCode::ACCEPTED, answer.into()))
}

/// List what came of a schedule's times, newest first.
#[utoipa::path(
    get, path = "/v1/schedules/{id}/runs", tag = "Schedules",
    params(("id" = String, Path, description = "The schedule's id"), ListQuery),
    responses((status = 200, description = "A part of the history", body = List<RunView>))
)]
async fn runs(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(schedule_id): Path<String>,
    Queried(query): Queried<ListQuery>,
) -> Result<Json<List<RunView>>, Problem> {
    let limit = types::limit(query.limit.as_deref())?;
    let schedule = find(&app, scope, &schedule_id).await?;
    let page = Page { limit: limit + 1, before: cursor(query.cursor)? };
    let mut runs = app.store.runs(scope, schedule.id, page).await.map_err(named)?;
    let next_cursor = next_cursor(&mut runs, limit, |run| time(run.planned_at));
    Ok(Json(List { data: runs.iter().map(RunView::from).collect(), next_cursor }))
}
