//! What operators and their tools look at. No key is needed.

use std::sync::OnceLock;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::problem::Problem;
use crate::app::App;

/// Histogram buckets for times, in seconds.
const SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(alive)).routes(routes!(ready)).routes(routes!(metrics))
}

/// Whether the process lives.
#[utoipa::path(
    get, path = "/healthz", tag = "Operation", security(()),
    responses((status = 200, description = "It does", content_type = "text/plain", body = String))
)]
async fn alive() -> &'static str {
    "ok\n"
}

/// Whether the process can work.
#[utoipa::path(
    get, path = "/readyz", tag = "Operation", security(()),
    responses(
        (status = 200, description = "It can", content_type = "text/plain", body = String),
        (status = 503, description = "It cannot, and why", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    if let Some(reason) = app.not_ready.borrow().clone() {
        return Err(Problem::unavailable(reason));
    }
    app.store.ping().await?;
    Ok("ready\n")
}

/// Metrics for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "Operation", security(()),
    responses((status = 200, description = "Prometheus' text format", content_type = "text/plain", body = String))
)]
async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let recorder = recorder();
    let totals = app.store.totals().await?;
    #[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
    for (name, value) in [
        ("datasonar_jobs_open", totals.jobs_open),
        ("datasonar_tasks_pending", totals.tasks_pending),
        ("datasonar_tasks_leased", totals.tasks_leased),
        ("datasonar_deliveries_pending", totals.deliveries_pending),
        ("datasonar_deliveries_failed", totals.deliveries_failed),
    ] {
        metrics::gauge!(name).set(value as f64);
    }
    recorder.run_upkeep();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], recorder.render()).into_response())
}

/// The process's recorder, installed by the first who asks.
pub(super) fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .expect("the buckets are not empty");
        builder.install_recorder().expect("no other recorder is installed in this process")
    })
}

/// Counts a request once it is answered.
pub(super) fn count(method: &str, route: &str, status: StatusCode, seconds: f64) {
    let (method, route) = (method.to_owned(), route.to_owned());
    metrics::counter!(
        "datasonar_http_requests_total", "method" => method, "route" => route.clone(),
        "status" => status.as_u16().to_string()
    )
    .increment(1);
    metrics::histogram!("datasonar_http_request_seconds", "route" => route).record(seconds);
}
