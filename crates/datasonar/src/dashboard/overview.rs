//! The overview: what needs attention first, then how the last hours went.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use datasonar_store::{
    Activity, ActivityBucket, BUCKET_MS, EndpointHealth, Histogram, JobSearch, Part, Position, Standing,
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{
    jobs::Row,
    kit::{
        Chrome, Failure, Queried, Section, Viewer,
        chart::{Chart, Series, Unit},
        count, duration_ms, page, percent,
    },
};
use crate::app::App;

/// How many jobs, and how many endpoints, are listed.
const JOBS: u32 = 8;
const ENDPOINTS: u32 = 5;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/", get(show))
}

/// How far back one looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Span {
    #[serde(rename = "24h")]
    Day,
    #[serde(rename = "7d")]
    Week,
    #[serde(rename = "30d")]
    Month,
}

impl Span {
    const ALL: [(Self, &'static str, &'static str); 3] =
        [(Self::Day, "24h", "24 hours"), (Self::Week, "7d", "7 days"), (Self::Month, "30d", "30 days")];

    fn length(self) -> SignedDuration {
        SignedDuration::from_hours(match self {
            Self::Day => 24,
            Self::Week => 24 * 7,
            Self::Month => 24 * 30,
        })
    }

    /// How much a bar stands for: some hundred of them fill the width.
    fn bucket_ms(self) -> i64 {
        match self {
            Self::Day => 2 * BUCKET_MS,
            Self::Week => 12 * BUCKET_MS,
            Self::Month => 48 * BUCKET_MS,
        }
    }
}

/// Something that needs attention.
struct Concern {
    text: String,
    href: String,
    is_bad: bool,
}

/// An endpoint that fails.
struct Endpoint {
    host: String,
    success: String,
    failed: String,
    latency: String,
    dead_letters: u64,
}

impl From<&EndpointHealth> for Endpoint {
    fn from(health: &EndpointHealth) -> Self {
        Self {
            host: health.host.clone(),
            success: percent(health.delivered, health.delivered + health.failed),
            failed: count(health.failed),
            latency: latency(&health.latency, 50),
            dead_letters: health.dead_letters,
        }
    }
}

fn latency(histogram: &Histogram, share: u8) -> String {
    histogram.percentile(share).map_or_else(|| "–".to_owned(), duration_ms)
}

/// A choice of how far back one looks.
struct Choice {
    name: &'static str,
    label: &'static str,
    is_here: bool,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    chrome: Chrome,
    choices: Vec<Choice>,
    concerns: Vec<Concern>,
    tiles: Vec<(&'static str, String, String)>,
    charts: Vec<Chart>,
    endpoints: Vec<Endpoint>,
    jobs: Vec<Row>,
    is_new: bool,
}

#[derive(Deserialize)]
struct Query {
    span: Option<Span>,
}

async fn show(State(app): State<App>, viewer: Viewer, Queried(query): Queried<Query>) -> Result<Response, Failure> {
    let span = query.span.unwrap_or(Span::Day);
    let bucket = span.bucket_ms();
    // Whole buckets, the last of them under way.
    let end = (viewer.now.as_millisecond().div_euclid(bucket) + 1) * bucket;
    let until = Timestamp::from_millisecond(end).unwrap_or(viewer.now);
    let since = until.saturating_sub(span.length()).unwrap_or(viewer.now);
    let (scope, store) = (viewer.scope, &app.store);
    let (buckets, standing, endpoints, jobs) = tokio::try_join!(
        store.activity(scope, since, until, bucket),
        store.standing(scope),
        store.endpoints(scope, since, ENDPOINTS),
        store.find_jobs(scope, JobSearch::default(), Part { limit: JOBS, from: Position::Newest }),
    )?;
    let whole = buckets.iter().fold(Activity::default(), |mut sum, bucket| {
        sum.add(&bucket.counts);
        sum
    });
    let choices = Span::ALL.map(|(choice, name, label)| Choice { name, label, is_here: choice == span });
    page(&OverviewPage {
        chrome: Chrome::new(&viewer, Section::Overview, "Overview"),
        choices: choices.into(),
        concerns: concerns(&viewer, &standing, &endpoints),
        tiles: tiles(&whole, &standing),
        charts: charts(&buckets, bucket),
        endpoints: endpoints.iter().map(Endpoint::from).collect(),
        is_new: jobs.rows.is_empty(),
        jobs: jobs.rows.into_iter().map(|job| Row::new(job, viewer.now)).collect(),
    })
}

/// What needs attention, worst first.
fn concerns(viewer: &Viewer, standing: &Standing, endpoints: &[EndpointHealth]) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let letters = standing.dead_letters;
    if letters.count > 0 {
        let at_least = if letters.is_capped { "at least " } else { "" };
        let (number, are) = (count(letters.count), if letters.count == 1 { "delivery was" } else { "deliveries were" });
        let text = format!("{at_least}{number} {are} given up. Mend the endpoint, then replay.");
        concerns.push(Concern { text, href: viewer.path("/dead-letters"), is_bad: true });
    }
    for endpoint in
        endpoints.iter().filter(|endpoint| endpoint.failed > endpoint.delivered && endpoint.dead_letters == 0)
    {
        let text = format!("{} fails more often than it answers: {} attempts.", endpoint.host, count(endpoint.failed));
        let query: String = url::form_urlencoded::byte_serialize(endpoint.host.as_bytes()).collect();
        concerns.push(Concern { text, href: viewer.path(&format!("/deliveries?endpoint={query}")), is_bad: true });
    }
    if standing.schedules_paused.count > 0 {
        let number = standing.schedules_paused.count;
        let text = format!("{number} {} paused.", if number == 1 { "schedule is" } else { "schedules are" });
        concerns.push(Concern { text, href: viewer.path("/schedules"), is_bad: false });
    }
    concerns
}

fn tiles(whole: &Activity, standing: &Standing) -> Vec<(&'static str, String, String)> {
    let open = standing.jobs_pending.count + standing.jobs_started.count;
    let attempts = whole.attempts_delivered + whole.attempts_failed;
    vec![
        ("Open jobs", count(open), format!("{} running", count(standing.jobs_started.count))),
        ("Jobs ended", count(whole.jobs_completed + whole.jobs_failed), format!("{} failed", count(whole.jobs_failed))),
        ("Pages", count(whole.pages), format!("{} succeeded", percent(whole.pages_succeeded, whole.pages))),
        ("Attempts delivered", percent(whole.attempts_delivered, attempts), format!("of {}", count(attempts))),
        ("Endpoint latency", latency(&whole.latency, 50), format!("p95 {}", latency(&whole.latency, 95))),
        ("Deliveries due", count(standing.deliveries_pending.count), "waiting or under way".to_owned()),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "charts have a resolution of some hundred steps")]
fn charts(buckets: &[ActivityBucket], bucket_ms: i64) -> Vec<Chart> {
    let times: Vec<Timestamp> = buckets.iter().map(|bucket| bucket.begin).collect();
    let series = |name, tone, value: &dyn Fn(&Activity) -> Option<f64>| Series {
        name,
        tone,
        values: buckets.iter().map(|bucket| value(&bucket.counts)).collect(),
    };
    let minutes = bucket_ms as f64 / 60_000.0;
    let latency = |share: u8| move |counts: &Activity| counts.latency.percentile(share).map(|ms| ms as f64);
    vec![
        Chart::bars(
            "Pages a minute",
            Unit::Count,
            &times,
            vec![
                series("succeeded", "good", &|counts| Some(counts.pages_succeeded as f64 / minutes)),
                series("failed", "bad", &|counts| {
                    Some(counts.pages.saturating_sub(counts.pages_succeeded) as f64 / minutes)
                }),
            ],
        ),
        Chart::bars(
            "Attempts at deliveries",
            Unit::Count,
            &times,
            vec![
                series("delivered", "good", &|counts| Some(counts.attempts_delivered as f64)),
                series("failed", "bad", &|counts| Some(counts.attempts_failed as f64)),
            ],
        ),
        Chart::lines(
            "Latency of endpoints",
            Unit::Ms,
            &times,
            vec![
                series("p50", "one", &latency(50)),
                series("p95", "two", &latency(95)),
                series("p99", "three", &latency(99)),
            ],
        ),
        Chart::bars(
            "Jobs",
            Unit::Count,
            &times,
            vec![
                series("completed", "good", &|counts| Some(counts.jobs_completed as f64)),
                series("failed", "bad", &|counts| Some(counts.jobs_failed as f64)),
            ],
        ),
    ]
}
