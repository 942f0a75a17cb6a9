//! Making a job by hand: a form for each kind, checked as the API checks requests, with the call that would do the same.

use askama::Template;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Multipart, State, multipart::Field},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use datasonar_store::{JobKind, Submission};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    kit::{Chrome, Failure, Queried, Section, Upload, Viewer, page, redirect_with, shell_call, wrong_fields},
    schedules,
};
use crate::{
    app::App,
    jobs::{Asked, Submit, UrlWriter, blocking},
};

/// The longest list that is pasted; a longer one is a file.
const PASTED_BYTES: usize = 8 * 1024 * 1024;
/// The longest other field.
const FIELD_BYTES: usize = 64 * 1024;
/// The longest line of a file that may be a URL.
const LINE_BYTES: usize = 64 * 1024;
/// How many URLs the call that is shown lists.
const SHOWN_URLS: usize = 3;

pub(super) fn routes() -> Router<App> {
    // Its own bounds are those of each field, and MAX_REQUEST_BYTES for a file.
    Router::new().route("/jobs/new", get(show).post(create).layer(DefaultBodyLimit::disable()))
}

/// What was typed.
#[derive(Clone, Debug, Default)]
struct Values {
    kind: String,
    url: String,
    urls: String,
    format: String,
    render: String,
    webhook_url: String,
    whole_page: bool,
    timeout: String,
    max_pages: String,
    max_depth: String,
    include_paths: String,
    exclude_paths: String,
    subdomains: bool,
    wants_curl: bool,
    wants_schedule: bool,
}

impl Values {
    fn set(&mut self, name: &str, value: String) {
        match name {
            "kind" => self.kind = value,
            "url" => self.url = value.trim().to_owned(),
            "urls" => self.urls = value,
            "format" => self.format = value,
            "render" => self.render = value,
            "webhook_url" => self.webhook_url = value.trim().to_owned(),
            "whole_page" => self.whole_page = true,
            "timeout" => self.timeout = value,
            "max_pages" => self.max_pages = value,
            "max_depth" => self.max_depth = value,
            "include_paths" => self.include_paths = value,
            "exclude_paths" => self.exclude_paths = value,
            "subdomains" => self.subdomains = true,
            "curl" => self.wants_curl = true,
            "schedule" => self.wants_schedule = true,
            _ => {}
        }
    }

    fn kind(&self) -> JobKind {
        match &*self.kind {
            "batch" => JobKind::Batch,
            "crawl" => JobKind::Crawl,
            _ => JobKind::Scrape,
        }
    }

    /// The body of the call that does the same, without the list of a batch.
    fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        if self.kind() != JobKind::Batch {
            members.insert("url".to_owned(), json!(self.url));
        }
        let format = if self.format.is_empty() { "markdown" } else { &self.format };
        members.insert("format".to_owned(), json!(format));
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                members.insert(name.to_owned(), value);
            }
        };
        add("only_main_content", self.whole_page.then_some(json!(false)));
        add("render", (!self.render.is_empty()).then(|| json!(self.render)));
        add("timeout", number(&self.timeout));
        if self.kind() == JobKind::Crawl {
            add("max_pages", number(&self.max_pages));
            add("max_depth", number(&self.max_depth));
            add("include_paths", list(&self.include_paths));
            add("exclude_paths", list(&self.exclude_paths));
            add("allow_subdomains", self.subdomains.then_some(json!(true)));
        }
        add("webhook_url", (!self.webhook_url.is_empty()).then(|| json!(self.webhook_url)));
        members
    }

    fn pasted(&self) -> Vec<String> {
        lines(&self.urls)
    }

    /// The job that a schedule would keep.
    fn schedule(&self) -> String {
        let mut job = Map::new();
        job.insert("kind".to_owned(), json!(self.kind().as_str()));
        job.extend(self.members());
        if self.kind() == JobKind::Batch {
            job.insert("urls".to_owned(), json!(self.pasted()));
        }
        serde_json::to_string_pretty(&job).unwrap_or_default()
    }

    /// The call that does the same.
    fn curl(&self, server: &str) -> String {
        let mut members = self.members();
        let path = match self.kind() {
            JobKind::Batch => {
                let urls = self.pasted();
                let mut shown: Vec<Value> = urls.iter().take(SHOWN_URLS).map(|url| json!(url)).collect();
                if urls.len() > SHOWN_URLS || urls.is_empty() {
                    shown.push(json!("…"));
                }
                members.insert("urls".to_owned(), json!(shown));
                "/v1/scrape/batch/async"
            }
            JobKind::Crawl => "/v1/crawl",
            _ => "/v1/scrape/async",
        };
        let body = serde_json::to_string_pretty(&members).unwrap_or_default();
        shell_call("POST", &format!("{server}{path}"), true, Some(&body))
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// A number as JSON; what is none stays as it is, and is refused for what it is.
fn number(text: &str) -> Option<Value> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number)))
}

fn list(text: &str) -> Option<Value> {
    let lines = lines(text);
    (!lines.is_empty()).then(|| json!(lines))
}

#[derive(Template)]
#[template(path = "new_job.html")]
struct NewJobPage {
    chrome: Chrome,
    values: Values,
    wrong: Option<String>,
    /// The call that does the same.
    curl: String,
}

impl NewJobPage {
    fn is(&self, kind: &str) -> bool {
        self.values.kind().as_str() == kind
    }

    fn has_format(&self, name: &str) -> bool {
        self.values.format == name
    }

    fn renders(&self, name: &str) -> bool {
        self.values.render == name
    }
}

#[derive(Deserialize)]
struct Query {
    kind: Option<String>,
}

async fn show(State(app): State<App>, viewer: Viewer, Queried(query): Queried<Query>) -> Result<Response, Failure> {
    let values = Values { kind: query.kind.unwrap_or_default(), ..Values::default() };
    draw(&app, &viewer, values, None)
}

fn draw(app: &App, viewer: &Viewer, values: Values, wrong: Option<String>) -> Result<Response, Failure> {
    let (chrome, curl) = (Chrome::new(viewer, Section::Jobs, "New job"), values.curl(&app.public_url));
    page(&NewJobPage { chrome, values, wrong, curl })
}

/// Draws the form again, with what was typed and what is wrong with it.
fn again(app: &App, viewer: &Viewer, values: Values, wrong: String) -> Result<Response, Failure> {
    let drawn = draw(app, viewer, values, Some(wrong))?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, drawn).into_response())
}

async fn create(State(app): State<App>, Upload { viewer, parts }: Upload) -> Result<Response, Failure> {
    let id = app.jobs.mint();
    let (values, file) = read(parts, app.jobs.urls(id), app.settings.max_request_bytes).await?;
    if values.wants_schedule {
        return schedules::blank_of(&viewer, values.schedule());
    }
    if values.wants_curl {
        return draw(&app, &viewer, values, None);
    }
    let new = if let Some(file) = file.filter(|_| values.kind() == JobKind::Batch) {
        let Asked { options, webhook_url } = match app.jobs.terms().asked(values.members()) {
            Ok(asked) => asked,
            Err(errors) => return again(&app, &viewer, values, wrong_fields(&errors)),
        };
        if !file.has_valid() {
            return again(
                &app,
                &viewer,
                values,
                "None of the lines of the file is a URL that can be fetched.".to_owned(),
            );
        }
        let work = blocking(move || UrlWriter::finish(file)).await?;
        Submit { id, scope: viewer.scope, kind: JobKind::Batch, options, webhook_url, work, idempotency: None }
    } else {
        let mut members = values.members();
        if values.kind() == JobKind::Batch {
            members.insert("urls".to_owned(), json!(values.pasted()));
        }
        match app.jobs.terms().read(values.kind(), members) {
            Ok(request) => app.jobs.prepare(viewer.scope, request).await?,
            Err(errors) => return again(&app, &viewer, values, wrong_fields(&errors)),
        }
    };
    let id = new.id;
    match app.jobs.submit(new).await? {
        Submission::Accepted | Submission::Repeated { .. } => {}
    }
    Ok(redirect_with(
        &viewer.path(&format!("/jobs/{id}")),
        "Queued. You may leave this page: the job goes on, and calls back when it is done.",
    ))
}

/// Reads a form: its fields, and the lines of its file, which go to where they are kept as they come.
async fn read(mut parts: Multipart, urls: UrlWriter, most_bytes: u64) -> Result<(Values, Option<UrlWriter>), Failure> {
    let broken = |_| Failure::invalid("the form ended early, or is not one");
    let (mut values, mut writer) = (Values::default(), Some(urls));
    let mut file = None;
    while let Some(field) = parts.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            let is_chosen = field.file_name().is_some_and(|name| !name.is_empty());
            if let (true, Some(writer)) = (is_chosen, writer.take()) {
                file = Some(write_lines(field, writer, most_bytes).await?);
            }
            continue;
        }
        let most = if name == "urls" { PASTED_BYTES } else { FIELD_BYTES };
        values.set(&name, text(field, most).await?);
    }
    Ok((values, file.filter(|file| file.count() > 0)))
}

async fn text(mut field: Field<'_>, most: usize) -> Result<String, Failure> {
    let mut read = Vec::new();
    while let Some(part) = field.chunk().await.map_err(|_| Failure::invalid("the form ended early"))? {
        if read.len() + part.len() > most {
            let told = "this is more than a form takes: upload the list as a file instead";
            return Err(Failure::Refused(StatusCode::PAYLOAD_TOO_LARGE, told.to_owned()));
        }
        read.extend_from_slice(&part);
    }
    Ok(String::from_utf8_lossy(&read).into_owned())
}

/// Writes the lines of a file as URLs, on threads that may block, a piece at a time.
async fn write_lines(mut field: Field<'_>, mut writer: UrlWriter, most_bytes: u64) -> Result<UrlWriter, Failure> {
    let (mut rest, mut left) = (Vec::new(), most_bytes);
    loop {
        let part = field.chunk().await.map_err(|_| Failure::invalid("the file ended early"))?;
        let is_end = part.is_none();
        let length = part.as_ref().map_or(0, |part| part.len() as u64);
        left = left.checked_sub(length).ok_or_else(|| {
            let told = format!("the file is longer than {most_bytes} bytes");
            Failure::Refused(StatusCode::PAYLOAD_TOO_LARGE, told)
        })?;
        rest.extend_from_slice(part.as_deref().unwrap_or_default());
        let end = if is_end { rest.len() } else { rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
        let whole: Vec<u8> = rest.drain(..end).collect();
        if rest.len() > LINE_BYTES {
            return Err(Failure::invalid("a line of the file is too long to be a URL: one URL a line is expected"));
        }
        if !whole.is_empty() {
            writer = blocking(move || {
                let text = String::from_utf8_lossy(&whole);
                text.lines().map(str::trim).filter(|line| !line.is_empty()).try_for_each(|line| writer.push(line))?;
                Ok(writer)
            })
            .await?;
        }
        if is_end {
            return Ok(writer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_that_is_shown_says_what_the_form_says() {
        let values = Values {
            kind: "batch".to_owned(),
            urls: " https://a.example/\n\nhttps://b.example/it's\n".to_owned(),
            webhook_url: "https://hooks.example/".to_owned(),
            whole_page: true,
            render: "auto".to_owned(),
            ..Values::default()
        };
        let curl = values.curl("https://sonar.example");
        assert!(curl.starts_with("curl -X POST https://sonar.example/v1/scrape/batch/async \\\n"), "{curl}");
        assert!(
            curl.contains("\"only_main_content\": false")
                && curl.contains("\"render\": \"auto\"")
                && curl.contains("\"webhook_url\": \"https://hooks.example/\""),
            "{curl}"
        );
        assert!(curl.contains(r"b.example/it'\''s"), "quoted for a shell: {curl}");
        let crawl = Values {
            kind: "crawl".to_owned(),
            url: "https://a.example/".to_owned(),
            max_pages: "x".to_owned(),
            ..Values::default()
        };
        assert_eq!(crawl.members()["max_pages"], json!("x"), "refused by whoever checks it, not here");
    }
}
