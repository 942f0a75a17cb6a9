//! The API reference at `/docs`, drawn from our own OpenAPI document like every other page: it needs no script, follows the theme, and whoever listens to
//! it hears headings and tables. No session is needed to read it. `outline` takes the document apart.

mod outline;

use std::sync::OnceLock;

use askama::Template;
use axum::{
    Extension, Router,
    extract::State,
    http::HeaderMap,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use utoipa::openapi::OpenApi;

use super::{
    assets,
    kit::{self, Failure},
};
use crate::app::App;
use outline::{Outline, Prose};

#[derive(Template)]
#[template(path = "reference.html")]
struct ReferencePage<'a> {
    style: &'static str,
    icon: &'static str,
    theme: &'static str,
    outline: &'a Outline,
    public_url: &'a str,
    callback_headers: Vec<(&'static str, Prose)>,
}

pub(super) fn routes(document: &'static OpenApi) -> Router<App> {
    // Addresses with a slash at their end are in bookmarks and in people's fingers.
    Router::new().route("/docs", get(show)).route("/docs/", get(show)).layer(Extension(document))
}

/// What a callback carries beside its body.
const CALLBACK_HEADERS: [(&str, &str); 6] = [
    ("X-Datasonar-Job-Id", "The job that has ended."),
    (
        "X-Datasonar-Signature",
        "`sha256=HEX`: the HMAC-SHA256 of the raw body, keyed with the secret as shown. For 24 hours after a rotation two, with a comma between them, the \
         newest first.",
    ),
    ("X-Datasonar-Attempt", "Which attempt this is, counted from 1."),
    ("webhook-id", "The delivery's id, the same at every attempt and replay: deduplicate by it."),
    ("webhook-timestamp", "When this attempt was signed, in seconds since 1970."),
    ("webhook-signature", "`v1,BASE64`, as any library for Standard Webhooks verifies it."),
];

async fn show(
    State(app): State<App>,
    Extension(document): Extension<&'static OpenApi>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    // Once for all servers of a process, and by the first who asks: starting does not wait for it.
    static OUTLINE: OnceLock<Outline> = OnceLock::new();
    let page = ReferencePage {
        style: assets::style(),
        icon: assets::icon(),
        theme: kit::theme(&headers),
        outline: OUTLINE.get_or_init(|| Outline::new(document)),
        public_url: &app.public_url,
        callback_headers: CALLBACK_HEADERS.map(|(name, text)| (name, Prose::new(text))).into(),
    };
    let html = page.render().map_err(|error| Failure::internal(&error))?;
    Ok(Html(html).into_response())
}
