//! Who the caller is, and what it has used.

use axum::{Json, extract::State};
use datasonar_store::Usage;
use jiff::{Timestamp, Unit, tz::TimeZone};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{auth::Caller, problem::Problem};
use crate::app::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(me))
}

/// The caller's account.
#[derive(Serialize, ToSchema)]
struct Me {
    user: User,
    usage: UsageView,
}

#[derive(Serialize, ToSchema)]
struct User {
    email: String,
    plan: String,
    /// Pages a month; null where there is no limit.
    limit: Option<u64>,
}

/// Usage of the key's environment. A request is a page asked of a target site; months and days are UTC.
#[derive(Serialize, ToSchema)]
struct UsageView {
    requests_this_month: u64,
    requests_today: u64,
    /// Of this month.
    avg_response_ms: u64,
    /// Of this month, from 0 to 1.
    success_rate: f64,
}

/// See who the key belongs to and what was used.
#[utoipa::path(get, path = "/v1/me", tag = "Account", responses((status = 200, description = "The account", body = Me)))]
async fn me(State(app): State<App>, Caller(scope): Caller) -> Result<Json<Me>, Problem> {
    let (month, today) = starts(app.clock.now()).ok_or_else(|| Problem::internal(&"the time is out of range"))?;
    let account = app.store.account(Some(scope.account)).await?;
    let (month, today) = (app.store.usage(scope, month).await?, app.store.usage(scope, today).await?);
    Ok(Json(Me {
        user: User { email: account.email, plan: account.plan, limit: None },
        usage: UsageView {
            requests_this_month: month.pages,
            requests_today: today.pages,
            avg_response_ms: month.time_ms.checked_div(month.pages).unwrap_or(0),
            success_rate: rate(month),
        },
    }))
}

fn rate(usage: Usage) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown to four digits")]
    let rate = usage.succeeded as f64 / usage.pages.max(1) as f64;
    (rate * 10_000.0).round() / 10_000.0
}

/// When the present month and day began, in UTC.
fn starts(now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let today = now.to_zoned(TimeZone::UTC).start_of_day().ok()?;
    let month = today.with().day(1).build().ok()?;
    debug_assert_eq!(month.round(Unit::Day).ok().as_ref(), Some(&month));
    Some((month.timestamp(), today.timestamp()))
}
