//! Settings → Usage: what was used of what there is, and how long things are kept.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use jiff::{Timestamp, tz::TimeZone};

use super::{Tab, tabs};
use crate::{
    app::App,
    dashboard::kit::{Chrome, Failure, Viewer, count, duration_ms, page, percent, span},
};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/settings/usage", get(show))
}

/// A line of what was used.
struct Line {
    name: &'static str,
    pages: String,
    success: String,
    average: String,
}

#[derive(Template)]
#[template(path = "settings_usage.html")]
struct UsagePage {
    chrome: Chrome,
    tabs: Vec<Tab>,
    plan: String,
    email: String,
    lines: Vec<Line>,
    results_kept: String,
    logs_kept: String,
}

/// When the present day and month began, in UTC.
fn starts(now: Timestamp) -> Option<[Timestamp; 2]> {
    let today = now.to_zoned(TimeZone::UTC).start_of_day().ok()?;
    let month = today.with().day(1).build().ok()?;
    Some([today.timestamp(), month.timestamp()])
}

async fn show(State(app): State<App>, viewer: Viewer) -> Result<Response, Failure> {
    let account = app.store.account(Some(viewer.scope.account)).await?;
    let starts = starts(viewer.now).ok_or_else(|| Failure::internal(&"the time is out of range"))?;
    let mut lines = Vec::new();
    for (name, since) in ["Today", "This month"].into_iter().zip(starts) {
        let usage = app.store.usage(viewer.scope, since).await?;
        lines.push(Line {
            name,
            pages: count(usage.pages),
            success: percent(usage.succeeded, usage.pages),
            average: usage.time_ms.checked_div(usage.pages).map_or_else(|| "–".to_owned(), duration_ms),
        });
    }
    page(&UsagePage {
        chrome: super::chrome(&viewer, "Usage"),
        tabs: tabs(&viewer, "Usage"),
        plan: account.plan,
        email: account.email,
        lines,
        results_kept: span(app.settings.result_retention),
        logs_kept: span(app.settings.log_retention),
    })
}
