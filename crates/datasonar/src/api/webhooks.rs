//! The secrets that sign webhooks.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use datasonar_store::{NewSecret, Scope, SecretId};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    auth::Caller,
    problem::Problem,
    types::{SecretList, SecretView, time},
};
use crate::{app::App, crypto::new_webhook_secret};

/// How long a secret goes on signing beside its successor.
pub const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(rotate))
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
