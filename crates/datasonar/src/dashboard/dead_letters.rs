//! Dead letters: deliveries that were given up, by endpoint and cause, and sending them again: one by one, or all of an endpoint.

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};
use datasonar_store::{
    CappedCount, DeadLetterGroup, DeadLetterKey, DeliveryId, DeliveryStatus, NewReplay, Page, Replay, ReplayId,
    ReplayStatus, Selection,
};
use serde::Deserialize;

use super::{
    deliveries::{Row, cause},
    kit::{Chrome, Failure, Form, Queried, Section, Viewer, count, page, redirect_with},
};
use crate::{app::App, wake::Bell};

/// How many groups, letters of one and bulk replays are listed.
const GROUPS: u32 = 50;
const LETTERS: u32 = 50;
const REPLAYS: u32 = 5;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/dead-letters", get(show))
        .route("/dead-letters/group", get(group))
        .route("/dead-letters/replay", get(ask).post(replay))
        .route("/dead-letters/replays/{id}/cancel", post(cancel))
}

fn said(count: CappedCount) -> String {
    let number = super::kit::count(count.count);
    if count.is_capped { format!("at least {number}") } else { number }
}

/// A group, as it is shown.
struct Shown {
    group: DeadLetterGroup,
}

impl Shown {
    fn count(&self) -> String {
        said(self.group.count)
    }

    fn cause(&self) -> String {
        cause(&self.group.key.cause)
    }

    /// The query that names it.
    fn query(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("url", &self.group.key.url).append_pair("cause", &self.group.key.cause).finish()
    }

    fn replay(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).append_pair("url", &self.group.key.url).finish()
    }
}

/// A bulk replay, as it is shown.
struct Bulk {
    replay: Replay,
}

impl Bulk {
    fn is_open(&self) -> bool {
        self.replay.status == ReplayStatus::Started
    }

    fn of(&self) -> &str {
        self.replay.selection.url.as_deref().unwrap_or("all endpoints")
    }

    fn sent(&self) -> String {
        format!("{} of {}", count(self.replay.replayed), count(self.replay.matched))
    }
}

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLettersPage {
    chrome: Chrome,
    total: String,
    groups: Vec<Shown>,
    replays: Vec<Bulk>,
}

async fn show(State(app): State<App>, viewer: Viewer) -> Result<Response, Failure> {
    let letters = app.store.dead_letters(viewer.scope, GROUPS).await?;
    let replays = app.store.replays(viewer.scope, Page { limit: REPLAYS, before: None }).await?;
    page(&DeadLettersPage {
        chrome: Chrome::new(&viewer, Section::DeadLetters, "Dead letters"),
        total: said(letters.total),
        groups: letters.groups.into_iter().map(|group| Shown { group }).collect(),
        replays: replays.into_iter().map(|replay| Bulk { replay }).collect(),
    })
}

#[derive(Deserialize)]
struct GroupQuery {
    url: String,
    #[serde(default)]
    cause: String,
    after: Option<DeliveryId>,
}

#[derive(Template)]
#[template(path = "dead_letter_group.html")]
struct GroupPage {
    chrome: Chrome,
    url: String,
    cause: String,
    rows: Vec<Row>,
    next: Option<String>,
    replay: String,
}

async fn group(
    State(app): State<App>,
    viewer: Viewer,
    Queried(query): Queried<GroupQuery>,
) -> Result<Response, Failure> {
    let GroupQuery { url, cause: code, after } = query;
    let key = DeadLetterKey { url: url.clone(), cause: code.clone() };
    let mut found = app.store.dead_letters_of(viewer.scope, key, after, LETTERS + 1).await?;
    let has_more = found.len() > LETTERS as usize;
    found.truncate(LETTERS as usize);
    let rows: Vec<Row> = found.into_iter().map(Row::from).collect();
    let next = rows.last().filter(|_| has_more).map(|row| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("url", &url).append_pair("cause", &code).append_pair("after", &row.delivery.id.to_string());
        query.finish()
    });
    let replay = url::form_urlencoded::Serializer::new(String::new()).append_pair("url", &url).finish();
    let chrome = Chrome::new(&viewer, Section::DeadLetters, "Dead letters");
    page(&GroupPage { chrome, url, cause: cause(&code), rows, next, replay })
}

#[derive(Deserialize)]
struct Which {
    url: Option<String>,
}

impl Which {
    fn selection(&self) -> Selection {
        Selection { status: Some(DeliveryStatus::Failed), since: None, until: None, url: self.url.clone() }
    }
}

#[derive(Template)]
#[template(path = "dead_letter_replay.html")]
struct ReplayPage {
    chrome: Chrome,
    url: Option<String>,
    count: u64,
    said: String,
}

/// Says how many would be sent again, before any is.
async fn ask(State(app): State<App>, viewer: Viewer, Queried(which): Queried<Which>) -> Result<Response, Failure> {
    let found = app.store.count_replayable(viewer.scope, which.selection()).await?;
    let chrome = Chrome::new(&viewer, Section::DeadLetters, "Replay dead letters");
    let more = if found.is_capped { "at least " } else { "" };
    page(&ReplayPage { chrome, url: which.url, count: found.count, said: format!("{more}{}", count(found.count)) })
}

async fn replay(State(app): State<App>, Form { viewer, fields }: Form<Which>) -> Result<Response, Failure> {
    let (id, created_at) = (ReplayId(app.ids.uuid()), app.clock.now());
    let new = NewReplay { id, scope: viewer.scope, selection: fields.selection(), created_at };
    let replay = app.store.submit_replay(new).await?;
    app.wake.ring(Bell::Replays);
    let told = format!("{} deliveries are being sent again. Those that arrive leave this list.", count(replay.matched));
    Ok(redirect_with(&viewer.path("/dead-letters"), &told))
}

#[derive(Deserialize)]
struct Nothing {}

async fn cancel(
    State(app): State<App>,
    Path(id): Path<String>,
    Form { viewer, .. }: Form<Nothing>,
) -> Result<Response, Failure> {
    let id: ReplayId = id.parse().map_err(|_| Failure::NotFound("replay"))?;
    app.store.cancel_replay(viewer.scope, id, app.clock.now()).await.map_err(Failure::of("replay"))?;
    Ok(redirect_with(
        &viewer.path("/dead-letters"),
        "The replay is stopped. What it had marked by then is sent all the same.",
    ))
}
