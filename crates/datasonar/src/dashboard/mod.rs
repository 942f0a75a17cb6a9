//! The dashboard: pages for people, drawn by the server. Each file is a page or a few that belong together: a handler asks the steps
//! below for what it shows, and a template of `templates/` says how it looks. What all pages share is in [`kit`].
//!
//! Every page works without its script; the script only spares reloading. All that a page shows of other people's bytes (scraped
//! pages, answers of endpoints) is hostile, and shown as text.

mod assets;
mod dead_letters;
mod deliveries;
mod jobs;
mod kit;
mod new_job;
mod overview;
mod reference;
mod schedules;
mod settings;
mod sign_in;

use axum::{Extension, Router, middleware, response::Redirect, routing::get};

use datasonar_store::Environment;
use utoipa::openapi::OpenApi;

use crate::app::App;
use kit::{Viewer, guard};
pub use sign_in::Peer;

/// All pages of a server; `document` describes its API.
pub fn routes(app: &App, document: &'static OpenApi) -> Router<App> {
    let mut router = Router::new().route("/", get(home));
    // Each by its name and not by a parameter, which would match `/v1` too.
    for environment in [Environment::Production, Environment::Sandbox] {
        router = router
            .nest(&format!("/{environment}"), pages().layer(Extension(environment)))
            .route(&format!("/{environment}/"), get(home).layer(Extension(environment)));
    }
    router
        .merge(sign_in::routes())
        .merge(reference::routes(document))
        .merge(assets::routes())
        .layer(middleware::from_fn_with_state(app.clone(), kit::dress))
        .layer(middleware::from_fn(guard::headers))
}

/// The pages within an environment.
fn pages() -> Router<App> {
    Router::new()
        .merge(overview::routes())
        .merge(deliveries::routes())
        .merge(dead_letters::routes())
        .merge(schedules::routes())
        .merge(jobs::routes())
        .merge(new_job::routes())
        .merge(settings::routes())
        .fallback(nowhere)
}

/// What no page is at.
async fn nowhere() -> kit::Failure {
    kit::Failure::NotFound("page")
}

/// The first page of whoever is signed in.
async fn home(viewer: Viewer) -> Redirect {
    Redirect::to(&viewer.path(""))
}
