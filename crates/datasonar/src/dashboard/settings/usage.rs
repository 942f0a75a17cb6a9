//! Settings → Usage: what was used of what there is, and how long things are kept.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};

use super::{Tab, tabs};
use crate::{
    app::App,
    dashboard::kit::{Chrome, Failure, Viewer, When, count, duration_ms, page, percent, span},
    plans::Calendar,
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
    limits: Vec<LimitLine>,
    /// Pages that are set aside for jobs that have not ended.
    reserved: Option<String>,
    /// When the next month begins.
    resets: When,
    results_kept: String,
    logs_kept: String,
}

/// Something that the plan limits.
struct LimitLine {
    name: &'static str,
    /// How much there is of it.
    most: String,
    /// How much of it was used, where that is told.
    used: Option<String>,
    /// For a meter: from 0 to 100.
    percent: Option<u64>,
}

/// A limit and what was used of it.
fn limit(name: &'static str, most: Option<u64>, used: Option<u64>) -> LimitLine {
    let used = used.filter(|_| most.is_some());
    let percent = most.zip(used).map(|(most, used)| (used.saturating_mul(100) / most.max(1)).min(100));
    LimitLine { name, most: most.map_or_else(|| "no limit".to_owned(), count), used: used.map(count), percent }
}

async fn show(State(app): State<App>, viewer: Viewer) -> Result<Response, Failure> {
    let account = app.store.account(Some(viewer.scope.account)).await?;
    let Calendar { today, month, next_month } = Calendar::of(viewer.now);
    let mut lines = Vec::new();
    for (name, since) in [("Today", today), ("This month", month)] {
        let usage = app.store.usage(viewer.scope, since).await?;
        lines.push(Line {
            name,
            pages: count(usage.pages),
            success: percent(usage.succeeded, usage.pages),
            average: usage.time_ms.checked_div(usage.pages).map_or_else(|| "–".to_owned(), duration_ms),
        });
    }
    let (allowed, spent) = (app.plans.of(viewer.scope.account).await?.limits, app.plans.spent(viewer.scope).await?);
    let reserved = spent.map_or(0, |spent| spent.reserved);
    page(&UsagePage {
        chrome: super::chrome(&viewer, "Usage"),
        tabs: tabs(&viewer, "Usage"),
        plan: account.plan,
        email: account.email,
        lines,
        limits: vec![
            limit("Pages this month", allowed.pages_per_month, spent.map(|spent| spent.pages + spent.reserved)),
            limit("Jobs open at once", allowed.concurrent_jobs, spent.map(|spent| spent.open_jobs)),
            limit("Calls a minute", allowed.requests_per_minute, None),
        ],
        reserved: (reserved > 0).then(|| count(reserved)),
        resets: When::new(next_month, viewer.now),
        results_kept: span(allowed.result_retention),
        logs_kept: span(app.settings.log_retention),
    })
}
