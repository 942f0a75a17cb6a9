//! The secrets that sign webhooks, and trying an endpoint.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use datasonar_store::Webhook;
use serde::Deserialize;
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
    jobs::{
        endpoint_host,
        members::{typed, unknown},
    },
    webhook::{
        secrets::{SecretsError, SigningSecret},
        test_event::TestError,
    },
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(rotate)).routes(routes!(test))
}

fn view(secret: SigningSecret) -> SecretView {
    let SigningSecret { id, text, created_at, expires_at } = secret;
    SecretView { id: id.to_string(), secret: text, created_at: time(created_at), expires_at: expires_at.map(time) }
}

impl From<SecretsError> for Problem {
    fn from(error: SecretsError) -> Self {
        match error {
            SecretsError::Store(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

/// List the secrets that sign, newest first.
#[utoipa::path(
    get, path = "/v1/webhooks/secrets", tag = "Webhooks",
    responses((status = 200, description = "The secrets", body = SecretList))
)]
async fn list(State(app): State<App>, Caller(scope): Caller) -> Result<Json<SecretList>, Problem> {
    Ok(Json(SecretList { data: app.secrets.list(scope).await?.into_iter().map(view).collect() }))
}

/// Make a new secret. The one before goes on signing beside it for 24 hours.
#[utoipa::path(
    post, path = "/v1/webhooks/secrets/rotate", tag = "Webhooks",
    responses((status = 201, description = "The new secret", body = SecretView))
)]
async fn rotate(State(app): State<App>, Caller(scope): Caller) -> Result<Response, Problem> {
    let newest = app.secrets.rotate(scope).await?;
    Ok((StatusCode::CREATED, Json(view(newest))).into_response())
}

/// Which endpoint to try.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"webhook_url": "https://yourapp.com/datasonar-callback"}))]
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
    // A task of its own, so that the attempt is logged though the caller goes away.
    let sent = tokio::spawn(async move {
        let webhook = Webhook { host: endpoint_host(&webhook_url), url: webhook_url };
        app.test_events.try_send(scope, webhook).await
    });
    let sent = sent.await.map_err(|error| Problem::internal(&error))?;
    let sent = sent.map_err(|error| match error {
        TestError::Store(error) => error.into(),
        error => Problem::internal(&error),
    })?;
    let (delivery, attempt) =
        sent.ok_or_else(|| Problem::unavailable("too many tests are under way; try again later"))?;
    Ok(Json(TestView::new(&delivery, &attempt)))
}
