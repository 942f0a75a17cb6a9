//! Deliveries: what was sent where, what came back, and sending it again.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use datasonar_store::{Delivery, DeliveryFilter, DeliveryId, Page, Scope, StoreError};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    auth::Caller,
    jobs::{Queried, choice, cursor, id, next_cursor, send_payload},
    problem::Problem,
    types::{self, DeliveryView, List},
};
use crate::{app::App, wake::Bell};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(payload)).routes(routes!(replay))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// 1 to 200; 50 by default.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// `next_cursor` of the part before.
    cursor: Option<String>,
    /// `pending`, `delivered` or `failed`.
    status: Option<String>,
    /// Only the delivery of this job.
    job_id: Option<String>,
}

/// List deliveries, newest first, each with its attempts.
#[utoipa::path(
    get, path = "/v1/deliveries", tag = "Deliveries", params(ListQuery),
    responses((status = 200, description = "A part of the list", body = List<DeliveryView>))
)]
async fn list(
    State(app): State<App>,
    Caller(scope): Caller,
    Queried(query): Queried<ListQuery>,
) -> Result<Json<List<DeliveryView>>, Problem> {
    let limit = types::limit(query.limit.as_deref())?;
    let job =
        query.job_id.map(|text| text.parse().map_err(|_| types::parameter("job_id", "is not an id"))).transpose()?;
    let filter = DeliveryFilter { status: choice("status", query.status)?, job };
    let page = Page { limit: limit + 1, before: cursor(query.cursor)? };
    let mut deliveries = app.store.deliveries(scope, filter, page).await?;
    let next_cursor = next_cursor(&mut deliveries, limit, |delivery| delivery.id.to_string());
    let mut data = Vec::with_capacity(deliveries.len());
    for delivery in &deliveries {
        data.push(view(&app, scope, delivery).await?);
    }
    Ok(Json(List { data, next_cursor }))
}

async fn view(app: &App, scope: Scope, delivery: &Delivery) -> Result<DeliveryView, Problem> {
    let attempts = app.store.attempts(scope, delivery.id).await?;
    Ok(DeliveryView::new(delivery, &attempts))
}

async fn find(app: &App, scope: Scope, text: &str) -> Result<Delivery, Problem> {
    let id: DeliveryId = id(text, "delivery")?;
    match app.store.delivery(scope, id).await {
        Err(StoreError::NotFound) => Err(Problem::not_found("delivery")),
        other => Ok(other?),
    }
}

/// Look at a delivery and its attempts.
#[utoipa::path(
    get, path = "/v1/deliveries/{id}", tag = "Deliveries",
    params(("id" = String, Path, description = "The delivery's id")),
    responses((status = 200, description = "The delivery", body = DeliveryView))
)]
async fn show(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(delivery_id): Path<String>,
) -> Result<Json<DeliveryView>, Problem> {
    let delivery = find(&app, scope, &delivery_id).await?;
    Ok(Json(view(&app, scope, &delivery).await?))
}

/// Read the exact bytes that were or will be sent.
#[utoipa::path(
    get, path = "/v1/deliveries/{id}/payload", tag = "Deliveries",
    params(("id" = String, Path, description = "The delivery's id")),
    responses((status = 200, description = "The body of every attempt", content_type = "application/json"))
)]
async fn payload(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(delivery_id): Path<String>,
) -> Result<Response, Problem> {
    let delivery = find(&app, scope, &delivery_id).await?;
    let job = app.store.job(scope, delivery.job).await?;
    send_payload(&app, &job)
}

/// Send a delivery again, now, whatever its status: the same id, the same bytes.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/replay", tag = "Deliveries",
    params(("id" = String, Path, description = "The delivery's id")),
    responses((status = 202, description = "An attempt is due now", body = DeliveryView))
)]
async fn replay(
    State(app): State<App>,
    Caller(scope): Caller,
    Path(delivery_id): Path<String>,
) -> Result<Response, Problem> {
    let delivery = find(&app, scope, &delivery_id).await?;
    app.store.replay_delivery(scope, delivery.id, app.clock.now()).await?;
    app.wake.ring(Bell::Deliveries);
    let delivery = find(&app, scope, &delivery_id).await?;
    Ok((StatusCode::ACCEPTED, Json(view(&app, scope, &delivery).await?)).into_response())
}
