//! Who the caller is, what it may use, and what it has used.

use axum::{Json, extract::State};
use datasonar_store::Usage;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{auth::Caller, problem::Problem, types::time};
use crate::{app::App, plans::Calendar};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(me))
}

/// The caller's account.
#[derive(Serialize, ToSchema)]
struct Me {
    user: User,
    usage: UsageView,
    limits: LimitsView,
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

/// What the plan allows the key's environment, and what is left of it. Null where there is no limit.
#[derive(Serialize, ToSchema)]
struct LimitsView {
    /// As `user.limit`.
    pages_per_month: Option<u64>,
    /// Of this month, without those that are set aside for jobs that have not ended.
    pages_left: Option<u64>,
    /// Pages that jobs which have not ended may still ask for.
    pages_reserved: Option<u64>,
    /// When the next month begins.
    resets_at: String,
    /// Calls of this API.
    requests_per_minute: Option<u64>,
    /// Jobs that may be open at once.
    concurrent_jobs: Option<u64>,
    /// Jobs that are.
    open_jobs: Option<u64>,
    /// How long results are kept, in seconds.
    result_retention: u64,
}

/// See who the key belongs to, what was used and what is left.
#[utoipa::path(get, path = "/v1/me", tag = "Account", responses((status = 200, description = "The account", body = Me)))]
async fn me(State(app): State<App>, Caller(scope): Caller) -> Result<Json<Me>, Problem> {
    let Calendar { today, month, next_month } = Calendar::of(app.clock.now());
    let account = app.store.account(Some(scope.account)).await?;
    let (this_month, today) = (app.store.usage(scope, month).await?, app.store.usage(scope, today).await?);
    let limits = app.plans.of(scope.account).await?.limits;
    let spent = app.plans.spent(scope).await?;
    Ok(Json(Me {
        user: User { email: account.email, plan: account.plan, limit: limits.pages_per_month },
        usage: UsageView {
            requests_this_month: this_month.pages,
            requests_today: today.pages,
            avg_response_ms: this_month.time_ms.checked_div(this_month.pages).unwrap_or(0),
            success_rate: rate(this_month),
        },
        limits: LimitsView {
            pages_per_month: limits.pages_per_month,
            pages_left: limits.pages_per_month.zip(spent).map(|(most, spent)| spent.left_of(most)),
            pages_reserved: spent.map(|spent| spent.reserved),
            resets_at: time(next_month),
            requests_per_minute: limits.requests_per_minute,
            concurrent_jobs: limits.concurrent_jobs,
            open_jobs: spent.map(|spent| spent.open_jobs),
            result_retention: limits.result_retention.as_secs(),
        },
    }))
}

fn rate(usage: Usage) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown to four digits")]
    let rate = usage.succeeded as f64 / usage.pages.max(1) as f64;
    (rate * 10_000.0).round() / 10_000.0
}
