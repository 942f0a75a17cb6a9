//! Schedules: what runs by itself, in plain words, with its next and its last runs.

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use datasonar_store::{Overlap, Page, Run, RunOutcome, Schedule, ScheduleId, ScheduleOverview, StoreError, Submission};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::kit::{Chrome, Failure, Form, Queried, Section, Viewer, exact, page, redirect_with, wrong_fields};
use crate::{
    app::App,
    jobs::secrets::shown_job,
    schedules::{
        SchedulesError, Wanted,
        cron::{Rule, RuleError},
        upcoming,
    },
};

/// How many schedules, next times and runs are listed.
const LISTED: u32 = 50;
const NEXT: usize = 5;
const RUNS: u32 = 20;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/schedules", get(list).post(create))
        .route("/schedules/new", get(blank))
        .route("/schedules/{id}", get(show).post(change))
        .route("/schedules/{id}/pause", post(pause))
        .route("/schedules/{id}/run", post(run))
        .route("/schedules/{id}/delete", post(delete))
}

/// Times in plain words.
fn words(cron: &str, timezone: &str) -> String {
    match Rule::new(cron, timezone) {
        Ok(rule) => format!("{} ({timezone})", rule.describe().trim_end_matches('.')),
        Err(RuleError::Cron(why)) => format!("The cron line {why}."),
        Err(RuleError::Zone(why)) => format!("The time zone {why}."),
    }
}

/// A run, as it is shown.
struct RunRow {
    run: Run,
}

impl RunRow {
    fn outcome(&self) -> &'static str {
        match self.run.outcome {
            RunOutcome::Started(_) => "started",
            RunOutcome::Queued => "queued",
            RunOutcome::Skipped => "skipped",
            RunOutcome::Refused(_) => "refused",
        }
    }

    fn class(&self) -> &'static str {
        match self.run.outcome {
            RunOutcome::Started(_) => "on",
            _ => self.outcome(),
        }
    }

    fn reason(&self) -> Option<&str> {
        match &self.run.outcome {
            RunOutcome::Refused(why) => Some(why),
            RunOutcome::Skipped => Some("the job before had not ended"),
            RunOutcome::Queued => Some("waits for the job before"),
            RunOutcome::Started(_) => None,
        }
    }

    fn job(&self) -> Option<String> {
        match &self.run.outcome {
            RunOutcome::Started(job) => Some(job.to_string()),
            _ => None,
        }
    }
}

/// A schedule, as the list shows it.
struct Row {
    schedule: Schedule,
    words: String,
    last: Option<RunRow>,
}

impl From<ScheduleOverview> for Row {
    fn from(overview: ScheduleOverview) -> Self {
        let ScheduleOverview { schedule, last } = overview;
        Self { words: words(&schedule.cron, &schedule.timezone), last: last.map(|run| RunRow { run }), schedule }
    }
}

#[derive(Template)]
#[template(path = "schedules.html")]
struct SchedulesPage {
    chrome: Chrome,
    rows: Vec<Row>,
    older: Option<String>,
}

#[derive(Deserialize)]
struct ListQuery {
    before: Option<ScheduleId>,
}

async fn list(State(app): State<App>, viewer: Viewer, Queried(query): Queried<ListQuery>) -> Result<Response, Failure> {
    let part = Page { limit: LISTED + 1, before: query.before };
    let mut found = app.store.schedules_with_runs(viewer.scope, part).await?;
    let has_more = found.len() > LISTED as usize;
    found.truncate(LISTED as usize);
    let older = found.last().filter(|_| has_more).map(|last| format!("before={}", last.schedule.id));
    let rows = found.into_iter().map(Row::from).collect();
    page(&SchedulesPage { chrome: Chrome::new(&viewer, Section::Schedules, "Schedules"), rows, older })
}

/// What was typed.
#[derive(Clone, Debug, Deserialize)]
struct Typed {
    name: Option<String>,
    cron: Option<String>,
    timezone: Option<String>,
    overlap: Option<Overlap>,
    job: Option<String>,
    /// What it would do is to be shown, and nothing done.
    preview: Option<String>,
}

const EXAMPLE: &str = r#"{
  "kind": "crawl",
  "url": "https://example.com/",
  "max_pages": 1000,
  "format": "markdown",
  "webhook_url": "https://yourapp.com/datasonar-callback"
}"#;

impl Typed {
    /// As a schedule is wanted; what its job cannot be read as is told.
    fn wanted(&self, paused: bool) -> Result<Wanted, String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default().trim().to_owned();
        let job: Map<String, Value> = serde_json::from_str(&text(&self.job))
            .map_err(|error| format!("The job is not a JSON object: {error}."))?;
        let timezone = Some(text(&self.timezone)).filter(|zone| !zone.is_empty()).unwrap_or_else(|| "UTC".to_owned());
        let overlap = self.overlap.unwrap_or(Overlap::Skip);
        Ok(Wanted { name: text(&self.name), cron: text(&self.cron), timezone, overlap, paused, job })
    }

    /// When it would run: in plain words, and the next times.
    fn reading(&self, now: Timestamp) -> (String, Vec<Timestamp>) {
        let cron = self.cron.as_deref().unwrap_or_default().trim();
        let timezone = self.timezone.as_deref().map(str::trim).filter(|zone| !zone.is_empty()).unwrap_or("UTC");
        let next = Rule::new(cron, timezone).map(|rule| rule.upcoming(now, NEXT)).unwrap_or_default();
        (words(cron, timezone), next)
    }
}

#[derive(Template)]
#[template(path = "schedule.html")]
struct SchedulePage {
    chrome: Chrome,
    schedule: Option<Schedule>,
    words: String,
    next: Vec<Timestamp>,
    runs: Vec<RunRow>,
    typed: Typed,
    wrong: Option<String>,
}

impl SchedulePage {
    fn is_paused(&self) -> bool {
        self.schedule.as_ref().is_some_and(|schedule| schedule.paused)
    }

    fn overlaps(&self, name: &str) -> bool {
        self.typed.overlap.unwrap_or(Overlap::Skip).as_str() == name
    }

    fn text<'a>(&self, value: &'a Option<String>) -> &'a str {
        value.as_deref().unwrap_or_default()
    }

    /// A time on the schedule's own clocks.
    fn local(&self, time: &Timestamp) -> String {
        let zone = self.typed.timezone.as_deref().map(str::trim).filter(|zone| !zone.is_empty()).unwrap_or("UTC");
        time.in_tz(zone).map_or_else(|_| exact(*time), |time| time.strftime("%a %-d %b %Y, %H:%M:%S").to_string())
    }
}

fn chrome(viewer: &Viewer, title: &str) -> Chrome {
    Chrome::new(viewer, Section::Schedules, title)
}

async fn blank(viewer: Viewer) -> Result<Response, Failure> {
    blank_of(&viewer, EXAMPLE.to_owned())
}

/// A schedule to be made of this job.
pub(super) fn blank_of(viewer: &Viewer, job: String) -> Result<Response, Failure> {
    let typed = Typed {
        name: None,
        cron: Some("30 2 * * *".to_owned()),
        timezone: Some("UTC".to_owned()),
        overlap: None,
        job: Some(job),
        preview: None,
    };
    draw_blank(viewer, typed, None)
}

fn draw_blank(viewer: &Viewer, typed: Typed, wrong: Option<String>) -> Result<Response, Failure> {
    let is_wrong = wrong.is_some();
    let (words, next) = typed.reading(viewer.now);
    let drawn = page(&SchedulePage {
        chrome: chrome(viewer, "New schedule"),
        schedule: None,
        words,
        next,
        runs: Vec::new(),
        typed,
        wrong,
    })?;
    Ok(if is_wrong { (StatusCode::UNPROCESSABLE_ENTITY, drawn).into_response() } else { drawn })
}

/// Says what is wrong with a schedule, if that is what went wrong.
fn told(error: SchedulesError) -> Result<String, Failure> {
    match error {
        SchedulesError::Fields(errors) => Ok(wrong_fields(&errors)),
        error => Err(error.into()),
    }
}

async fn create(State(app): State<App>, Form { viewer, fields }: Form<Typed>) -> Result<Response, Failure> {
    if fields.preview.is_some() {
        return draw_blank(&viewer, fields, None);
    }
    let wanted = match fields.wanted(false) {
        Ok(wanted) => wanted,
        Err(wrong) => return draw_blank(&viewer, fields, Some(wrong)),
    };
    let new = match app.schedules.plan(viewer.scope, wanted) {
        Ok(new) => new,
        Err(error) => return draw_blank(&viewer, fields, Some(told(error)?)),
    };
    let id = new.id;
    match app.schedules.create(new).await? {
        Submission::Accepted | Submission::Repeated { .. } => {}
    }
    Ok(redirect_with(&viewer.path(&format!("/schedules/{id}")), "The schedule is made."))
}

async fn find(app: &App, viewer: &Viewer, id: &str) -> Result<Schedule, Failure> {
    let id: ScheduleId = id.parse().map_err(|_| Failure::NotFound("schedule"))?;
    app.store.schedule(viewer.scope, id).await.map_err(Failure::of("schedule"))
}

fn typed_of(schedule: &Schedule) -> Typed {
    let job = shown_job(&schedule.job);
    Typed {
        name: Some(schedule.name.clone()),
        cron: Some(schedule.cron.clone()),
        timezone: Some(schedule.timezone.clone()),
        overlap: Some(schedule.overlap),
        job: serde_json::to_string_pretty(&job).ok(),
        preview: None,
    }
}

async fn show(State(app): State<App>, viewer: Viewer, Path(id): Path<String>) -> Result<Response, Failure> {
    let schedule = find(&app, &viewer, &id).await?;
    let typed = typed_of(&schedule);
    draw(&app, &viewer, schedule, typed, None).await
}

async fn draw(
    app: &App,
    viewer: &Viewer,
    schedule: Schedule,
    typed: Typed,
    wrong: Option<String>,
) -> Result<Response, Failure> {
    let part = Page { limit: RUNS, before: None };
    let runs = app.store.runs(viewer.scope, schedule.id, part).await.map_err(Failure::of("schedule"))?;
    let is_wrong = wrong.is_some();
    // What is kept is told as it will happen; what was typed, as it would.
    let (words, next) = match typed.preview {
        Some(_) => typed.reading(viewer.now),
        None => (words(&schedule.cron, &schedule.timezone), upcoming(&schedule, viewer.now, NEXT)),
    };
    let drawn = page(&SchedulePage {
        chrome: chrome(viewer, &schedule.name),
        words,
        next,
        runs: runs.into_iter().map(|run| RunRow { run }).collect(),
        schedule: Some(schedule),
        typed,
        wrong,
    })?;
    Ok(if is_wrong { (StatusCode::UNPROCESSABLE_ENTITY, drawn).into_response() } else { drawn })
}

async fn change(
    State(app): State<App>,
    Path(id): Path<String>,
    Form { viewer, fields }: Form<Typed>,
) -> Result<Response, Failure> {
    let schedule = find(&app, &viewer, &id).await?;
    if fields.preview.is_some() {
        return draw(&app, &viewer, schedule, fields, None).await;
    }
    let wanted = match fields.wanted(schedule.paused) {
        Ok(wanted) => wanted,
        Err(wrong) => return draw(&app, &viewer, schedule, fields, Some(wrong)).await,
    };
    match app.schedules.change(&schedule, wanted).await {
        Ok(()) => Ok(redirect_with(&viewer.path(&format!("/schedules/{id}")), "Saved.")),
        Err(SchedulesError::Store(StoreError::Conflict(_))) => {
            Err(Failure::conflict("the schedule was changed meanwhile, or just ran; load the page again"))
        }
        Err(error) => {
            let wrong = told(error)?;
            draw(&app, &viewer, schedule, fields, Some(wrong)).await
        }
    }
}

#[derive(Deserialize)]
struct Pause {
    paused: Option<String>,
}

async fn pause(
    State(app): State<App>,
    Path(id): Path<String>,
    Form { viewer, fields }: Form<Pause>,
) -> Result<Response, Failure> {
    let schedule = find(&app, &viewer, &id).await?;
    let paused = fields.paused.is_some();
    let wanted = typed_of(&schedule).wanted(paused).map_err(Failure::conflict)?;
    app.schedules.change(&schedule, wanted).await?;
    let told = if paused { "The schedule rests." } else { "The schedule goes on, at its next time." };
    Ok(redirect_with(&viewer.path(&format!("/schedules/{id}")), told))
}

#[derive(Deserialize)]
struct Nothing {}

async fn run(
    State(app): State<App>,
    Path(id): Path<String>,
    Form { viewer, .. }: Form<Nothing>,
) -> Result<Response, Failure> {
    let schedule = find(&app, &viewer, &id).await?;
    app.schedules.run_now(&schedule, |_| None).await?;
    Ok(redirect_with(&viewer.path(&format!("/schedules/{id}")), "A run has started. Its next time stays as it was."))
}

async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
    Form { viewer, .. }: Form<Nothing>,
) -> Result<Response, Failure> {
    let schedule = find(&app, &viewer, &id).await?;
    app.store.delete_schedule(viewer.scope, schedule.id).await.map_err(Failure::of("schedule"))?;
    Ok(redirect_with(&viewer.path("/schedules"), "The schedule is deleted. Its jobs stay."))
}
