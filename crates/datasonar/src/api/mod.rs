//! The HTTP API. Each file is a part of it: handlers that parse, call one step below, and shape the answer; nothing here
//! knows rows, segments or target sites.

mod auth;
mod batch;
mod body;
mod deliveries;
mod health;
mod jobs;
mod listen;
mod map;
mod me;
mod openapi;
mod problem;
mod replays;
mod schedules;
mod scrape;
mod types;
mod webhooks;

use axum::{
    Json, Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;

pub use openapi::document;

use crate::{app::App, config::Role};

/// All routes of a process, with those of `pages` beside the API's: without the role `api`, only those that operators look at.
pub fn router(app: App, pages: Router<App>) -> Router {
    health::recorder();
    let router = if app.settings.roles.contains(&Role::Api) {
        let (router, document) = openapi::assembled();
        router.clone().merge(Router::new().route("/openapi.json", get(move || describe(document.clone())))).merge(pages)
    } else {
        health::routes().into()
    };
    router
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

/// The reason why a request's host cannot be used. Whoever accepts connections attaches it to the request, which then is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongHost(pub &'static str);

async fn describe(document: OpenApi) -> Json<OpenApi> {
    Json(document)
}

/// Gives the request its id, counts and logs it.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = app.ids.uuid();
    let method = request.method().as_str().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let is_api = request.uri().path() == "/v1" || request.uri().path().starts_with("/v1/");
    let begin = Instant::now();
    let mut response = problem::identify(id, request, next).await;
    if is_api {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    let elapsed = begin.elapsed();
    health::count(&method, &route, response.status(), elapsed.as_secs_f64());
    tracing::debug!(%id, method, route, status = response.status().as_u16(), elapsed_us = elapsed.as_micros(), "answered");
    response
}
