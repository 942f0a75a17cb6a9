//! The secrets that sign webhooks, and trying an endpoint.

use std::time::Duration;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use datasonar_store::{NewSecret, Scope, SecretId, Webhook};
use serde::Deserialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    auth::Caller,
    body::object,
    problem::Problem,
    types::{SecretList, SecretView, TestView, time},
};
use crate::{
    app::App,
    crypto::new_webhook_secret,
    jobs::{
        endpoint_host,
        members::{typed, unknown},
    },
    webhook::test_event::TestError,
};

/// How many tests may be under way at once.
static SEATS: Semaphore = Semaphore::const_new(32);

/// How long a secret goes on signing beside its successor.
pub const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(rotate)).routes(routes!(test))
}

async fn secrets(app: &App, scope: Scope) -> Result<Vec<SecretView>, Problem> {
    let secrets = app.store.secrets(scope, app.clock.now()).await?;
    secrets
        .into_iter()
        .map(|secret| {
            let text = app.sealer.open(secret.scope, secret.id, &secret.sealed);
            Ok(SecretView {
                id: secret.id.to_string(),
                secret: text.map_err(|error| Problem::internal(&error))?,
                created_at: time(secret.created_at),
                expires_at: secret.expires_at.map(time),
            })
        })
        .collect()
}

/// List the secrets that sign, newest first.
#[utoipa::path(
    get, path = "/v1/webhooks/secrets", tag = "Webhooks",
    responses((status = 200, description = "The secrets", body = SecretList))
)]
async fn list(State(app): State<App>, Caller(scope): Caller) -> Result<Json<SecretList>, Problem> {
    Ok(Json(SecretList { data: secrets(&app, scope).await? }))
}

/// Make a new secret. The one before goes on signing beside it for 24 hours.
#[utoipa::path(
    post, path = "/v1/webhooks/secrets/rotate", tag = "Webhooks",
    responses((status = 201, description = "The new secret", body = SecretView))
)]
async fn rotate(State(app): State<App>, Caller(scope): Caller) -> Result<Response, Problem> {
    let id = SecretId(app.ids.uuid());
    let sealed = app.sealer.seal(scope, id, &new_webhook_secret(&app.ids));
    app.store.rotate_secret(NewSecret { id, scope, sealed, created_at: app.clock.now() }, OVERLAP).await?;
    let newest = secrets(&app, scope).await?.into_iter().next();
    let newest = newest.ok_or_else(|| Problem::internal(&"the new secret is not there"))?;
    Ok((StatusCode::CREATED, Json(newest)).into_response())
}

/// Which endpoint to try.
#[derive(Deserialize, ToSchema)]
struct TestRequest {
    /// An https URL.
    webhook_url: String,
}

/// Send a signed test event, once, and wait for what comes of it. It is logged as a delivery of its own.
#[utoipa::path(
    post, path = "/v1/webhooks/test", tag = "Webhooks", request_body = TestRequest,
    responses((status = 200, description = "The attempt, whatever came of it", body = TestView))
)]
async fn test(State(app): State<App>, Caller(scope): Caller, request: Request) -> Result<Json<TestView>, Problem> {
    let members = object(request, app.settings.max_request_bytes).await?.members;
    unknown(&members, &["webhook_url"])?;
    let TestRequest { webhook_url } = typed(members)?;
    app.jobs.terms().check_endpoint(Some(&webhook_url))?;
    let seat =
        SEATS.try_acquire().map_err(|_| Problem::unavailable("too many tests are under way; try again later"))?;
    // A task of its own, so that the attempt is logged though the caller goes away.
    let sent = tokio::spawn(async move {
        let _seat = seat;
        let webhook = Webhook { host: endpoint_host(&webhook_url), url: webhook_url };
        app.test_events.send(scope, webhook).await
    });
    let sent = sent.await.map_err(|error| Problem::internal(&error))?;
    let (delivery, attempt) = sent.map_err(|error| match error {
        TestError::Store(error) => error.into(),
        error => Problem::internal(&error),
    })?;
    Ok(Json(TestView::new(&delivery, &attempt)))
}
