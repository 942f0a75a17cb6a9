//! Bulk replays: many deliveries sent again, as one durable piece of work that can be watched and cancelled.

use axum::{
    Json,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use datasonar_store::{DeliveryStatus, NewReplay, Page, Replay, ReplayId, Scope, Selection, StoreError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    auth::Caller,
    body::object,
    jobs::{Queried, cursor, id, next_cursor},
    problem::Problem,
    types::{self, List, time},
};
use crate::{
    app::App,
    jobs::members::{typed, unknown},
    wake::Bell,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(list)).routes(routes!(show, cancel))
}

/// Which deliveries to send again. Without any field: all dead letters.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"status": "failed", "dry_run": true}))]
struct ReplayRequest {
    /// Those that stand there: `failed` (the default), `pending`, `delivered` or `any`.
    #[schema(value_type = Option<String>, example = "failed")]
    status: Option<StatusChoice>,
    /// Those that became owed at this time or later (RFC 3339).
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Those that became owed before this time (RFC 3339).
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Those owed to exactly this endpoint.
    webhook_url: Option<String>,
    /// Count them, and send nothing.
    dry_run: Option<bool>,
}

const FIELDS: &[&str] = &["status", "since", "until", "webhook_url", "dry_run"];

/// A status, or none in particular.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusChoice {
    Pending,
    Delivered,
    Failed,
    Any,
}

/// What a bulk replay comes to.
#[derive(Serialize, ToSchema)]
struct ReplayStarted {
    /// How many deliveries it sends again; in a dry run, would send.
    replayed: u64,
    /// The same number.
    count: u64,
    /// Whether nothing is sent.
    dry_run: bool,
    /// Its id, to follow or to cancel it; null in a dry run.
    #[schema(format = Uuid)]
    replay_id: Option<String>,
}

/// A bulk replay.
#[derive(Serialize, ToSchema)]
struct ReplayView {
    #[schema(format = Uuid)]
    replay_id: String,
    /// `started`, `completed` or `cancelled`.
    status: &'static str,
    created_at: String,
    completed_at: Option<String>,
    /// What it was asked for.
    filter: FilterView,
    progress: ReplayProgress,
}

/// What a bulk replay was asked for.
#[derive(Serialize, ToSchema)]
struct FilterView {
    status: Option<&'static str>,
    since: Option<String>,
    until: Option<String>,
    webhook_url: Option<String>,
}

/// How far a bulk replay has come.
#[derive(Serialize, ToSchema)]
struct ReplayProgress {
    /// How many deliveries fitted when it was asked for.
    total: u64,
    /// How many of them were sent again so far, or are about to be.
    replayed: u64,
}

impl From<&Replay> for ReplayView {
    fn from(replay: &Replay) -> Self {
        let Selection { status, since, until, url } = &replay.selection;
        Self {
            replay_id: replay.id.to_string(),
            status: replay.status.as_str(),
            created_at: time(replay.created_at),
            completed_at: replay.completed_at.map(time),
            filter: FilterView {
                status: status.map(DeliveryStatus::as_str),
                since: since.map(time),
                until: until.map(time),
                webhook_url: url.clone(),
            },
            progress: ReplayProgress { total: replay.matched, replayed: replay.replayed },
        }
    }
}

/// Send many deliveries again: the same ids, the same bytes.
#[utoipa::path(
    post, path = "/v1/deliveries/replay", tag = "Deliveries", request_body = ReplayRequest,
    responses(
        (status = 200, description = "A dry run: how many there are", body = ReplayStarted),
        (status = 202, description = "Accepted: the bulk replay is durable", body = ReplayStarted),
    )
)]
async fn start(State(app): State<App>, Caller(scope): Caller, request: Request) -> Result<Response, Problem> {
    let members = object(request, app.settings.max_request_bytes).await?.members;
    unknown(&members, FIELDS)?;
    let asked: ReplayRequest = typed(members)?;
    let selection = Selection {
        status: match asked.status.unwrap_or(StatusChoice::Failed) {
            StatusChoice::Pending => Some(DeliveryStatus::Pending),
            StatusChoice::Delivered => Some(DeliveryStatus::Delivered),
            StatusChoice::Failed => Some(DeliveryStatus::Failed),
            StatusChoice::Any => None,
        },
        since: asked.since,
        until: asked.until,
        url: asked.webhook_url,
    };
    let answer = |count, dry_run, replay_id| ReplayStarted { replayed: count, count, dry_run, replay_id };
    if asked.dry_run.unwrap_or(false) {
        let count = app.store.count_deliveries(scope, selection).await?;
        return Ok(Json(answer(count, true, None)).into_response());
    }
    let new = NewReplay { id: ReplayId(app.ids.uuid()), scope, selection, created_at: app.clock.now() };
    let replay = app.store.submit_replay(new).await?;
    app.wake.ring(Bell::Replays);
    Ok((StatusCode::ACCEPTED, Json(answer(replay.matched, false, Some(replay.id.to_string())))).into_response())
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

/// List bulk replays, newest first.
#[utoipa::path(
    get, path = "/v1/deliveries/replays", tag = "Deliveries", params(ListQuery),
    responses((status = 200, description = "A part of the list", body = List<ReplayView>))
)]
async fn list(
    State(app): State<App>,
    Caller(scope): Caller,
    Queried(query): Queried<ListQuery>,
) -> Result<Json<List<ReplayView>>, Problem> {
    let limit = types::limit(query.limit.as_deref())?;
    let page = Page { limit: limit + 1, before: cursor(query.cursor)? };
    let mut replays = app.store.replays(scope, page).await?;
    let next_cursor = next_cursor(&mut replays, limit, |replay| replay.id.to_string());
    Ok(Json(List { data: replays.iter().map(ReplayView::from).collect(), next_cursor }))
}

async fn find(app: &App, scope: Scope, text: &str) -> Result<Replay, Problem> {
    let id: ReplayId = id(text, "bulk replay")?;
    match app.store.replay(scope, id).await {
        Err(StoreError::NotFound) => Err(Problem::not_found("bulk replay")),
        other => Ok(other?),
    }
}

/// Look at a bulk replay and its progress.
#[utoipa::path(
    get, path = "/v1/deliveries/replays/{id}", tag = "Deliveries",
    params(("id" = String, Path, description = "The bulk replay's id")),
    responses((status = 200, description = "The bulk replay", body = ReplayView))
)]
async fn show(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(replay_id): Path<String>,
) -> Result<Json<ReplayView>, Problem> {
    Ok(Json((&find(&app, scope, &replay_id).await?).into()))
}

/// Cancel a bulk replay. Deliveries that are about to be sent are sent all the same.
#[utoipa::path(
    delete, path = "/v1/deliveries/replays/{id}", tag = "Deliveries",
    params(("id" = String, Path, description = "The bulk replay's id")),
    responses(
        (status = 202, description = "Cancelled", body = ReplayView),
        (status = 409, description = "It has ended"),
    )
)]
async fn cancel(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(replay_id): Path<String>,
) -> Result<Response, Problem> {
    let replay = find(&app, scope, &replay_id).await?;
    app.store.cancel_replay(scope, replay.id, app.clock.now()).await?;
    let replay = find(&app, scope, &replay_id).await?;
    Ok((StatusCode::ACCEPTED, Json(ReplayView::from(&replay))).into_response())
}
