//! Settings → Webhooks: the secret of the environment, its rotation, how to verify with it, and trying an endpoint.

use askama::Template;
use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use datasonar_store::Webhook;
use jiff::Timestamp;
use serde::Deserialize;

use super::{Tab, samples, tabs};
use crate::{
    app::App,
    dashboard::kit::{Chrome, Failure, Form, Queried, Viewer, page, redirect_with},
    jobs::endpoint_host,
    webhook::secrets::SecretsError,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/settings/webhooks", get(show))
        .route("/settings/webhooks/reveal", post(reveal))
        .route("/settings/webhooks/rotate", post(rotate))
        .route("/settings/webhooks/test", post(test))
}

struct SecretRow {
    id: String,
    /// Its text, once it was asked for.
    text: Option<String>,
    /// Enough to recognise it.
    hint: String,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

#[derive(Template)]
#[template(path = "settings_webhooks.html")]
struct WebhooksPage {
    chrome: Chrome,
    tabs: Vec<Tab>,
    secrets: Vec<SecretRow>,
    samples: Vec<samples::Sample>,
    language: String,
    code: &'static str,
}

impl From<SecretsError> for Failure {
    fn from(error: SecretsError) -> Self {
        match error {
            SecretsError::Store(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

#[derive(Default, Deserialize)]
struct Query {
    language: Option<String>,
}

async fn show(State(app): State<App>, viewer: Viewer, Queried(query): Queried<Query>) -> Result<Response, Failure> {
    draw(&app, &viewer, query, None).await
}

async fn draw(app: &App, viewer: &Viewer, query: Query, revealed: Option<&str>) -> Result<Response, Failure> {
    let secrets = app.secrets.list(viewer.scope).await?;
    let secrets = secrets.into_iter().map(|secret| {
        let id = secret.id.to_string();
        SecretRow {
            hint: secret.text.chars().take("whsec_".len() + 4).collect(),
            text: (revealed == Some(&*id)).then_some(secret.text),
            id,
            created_at: secret.created_at,
            expires_at: secret.expires_at,
        }
    });
    let samples = samples::samples();
    let chosen =
        samples.iter().find(|sample| Some(sample.language) == query.language.as_deref()).unwrap_or(&samples[0]);
    page(&WebhooksPage {
        chrome: super::chrome(viewer, "Webhooks"),
        tabs: tabs(viewer, "Webhooks"),
        secrets: secrets.collect(),
        language: chosen.language.to_owned(),
        code: chosen.code,
        samples,
    })
}

#[derive(Deserialize)]
struct Reveal {
    id: String,
}

/// Shows a secret to an owner: as the answer to a form, so that its text is in no address, no history and no cache.
async fn reveal(State(app): State<App>, form: Form<Reveal>) -> Result<Response, Failure> {
    form.viewer.owner()?;
    draw(&app, &form.viewer, Query::default(), Some(&form.fields.id)).await
}

#[derive(Deserialize)]
struct Nothing {}

async fn rotate(State(app): State<App>, Form { viewer, .. }: Form<Nothing>) -> Result<Response, Failure> {
    viewer.owner()?;
    app.secrets.rotate(viewer.scope).await?;
    let notice = "A new secret signs from now on. The one before signs beside it for 24 hours.";
    Ok(redirect_with(&viewer.path("/settings/webhooks"), notice))
}

#[derive(Deserialize)]
struct Test {
    webhook_url: Option<String>,
}

async fn test(State(app): State<App>, form: Form<Test>) -> Result<Response, Failure> {
    let viewer = form.viewer;
    let url = form.fields.webhook_url.unwrap_or_default().trim().to_owned();
    app.jobs
        .terms()
        .check_endpoint(Some(&url))
        .map_err(|error| Failure::invalid(format!("the endpoint {}", error.detail)))?;
    let scope = viewer.scope;
    // A task of its own, so that the attempt is logged though the browser goes away.
    let sent = tokio::spawn(async move {
        let webhook = Webhook { host: endpoint_host(&url), url };
        app.test_events.try_send(scope, webhook).await
    });
    let sent = sent.await.map_err(|error| Failure::internal(&error))?;
    let (delivery, attempt) = sent
        .map_err(|error| Failure::internal(&error))?
        .ok_or_else(|| Failure::conflict("too many tests are under way; try again in a moment"))?;
    let notice = match (&attempt.error, attempt.response_status) {
        (None, Some(status)) => format!("Your endpoint answered {status} after {} ms.", attempt.timings.total_ms),
        (Some(error), _) => format!("The test event did not arrive: {}.", error.message),
        (None, None) => "The test event was sent.".to_owned(),
    };
    Ok(redirect_with(&viewer.path(&format!("/deliveries/{}", delivery.id)), &notice))
}
