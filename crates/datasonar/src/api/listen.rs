//! A stream of the jobs that end, for `datasonar listen --forward-to`, which passes their webhooks on to a program under
//! development.
//!
//! The stream is read from the store, since the job may have ended in another process. What ends at nearly the same time in
//! two places may become visible out of order, so that a little of the past is read again and again; what was told already is
//! remembered for as long.

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use datasonar_store::{Environment, Job, JobId, JobKind, JobStatus, Scope};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    auth::{Caller, KeyHash},
    jobs::Queried,
    problem::Problem,
    types,
};
use crate::{
    app::App,
    fetch::{FairSemaphore, Permit, Requester},
};

/// How many may listen at once, of all accounts. When an account comes that has fewer seats than its share, one that has more
/// loses one: the stream ends, and the client may come again with its cursor.
const LISTENERS: usize = 100;
static SEATS: LazyLock<FairSemaphore> = LazyLock::new(|| FairSemaphore::new(LISTENERS));
/// How long a seat is waited for.
const SEAT_WITHIN: Duration = Duration::from_secs(3);
/// The longest wait before the store is asked again.
const POLL: Duration = Duration::from_secs(1);
/// The longest silence.
const IDLE: Duration = Duration::from_secs(15);
/// How late a job may become visible.
const LATENESS: SignedDuration = SignedDuration::from_secs(5);
const LIMIT: u32 = 100;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(listen))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListenQuery {
    /// A `cursor` of an earlier stream, to go on behind it; without one, from now on.
    after: Option<String>,
}

/// A line of the stream.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    /// The stream has begun.
    Ready { cursor: String },
    /// A job has ended. `GET /v1/jobs/{id}/payload` has the body of its webhook.
    Ended {
        cursor: String,
        #[schema(format = Uuid)]
        job_id: String,
        #[schema(value_type = String)]
        kind: JobKind,
        #[schema(value_type = String)]
        status: JobStatus,
        /// Its delivery, if it has an endpoint.
        #[schema(format = Uuid)]
        delivery_id: Option<String>,
        /// The length of the payload.
        bytes: u64,
    },
    /// Nothing has happened for a while.
    Idle,
}

/// A place in the order of ends.
type Position = (Timestamp, JobId);

fn cursor((time, job): Position) -> String {
    format!("{}-{job}", time.as_millisecond())
}

fn position(cursor: &str) -> Option<Position> {
    let (time, job) = cursor.split_once('-')?;
    Some((Timestamp::from_millisecond(time.parse().ok()?).ok()?, job.parse().ok()?))
}

/// Follow the jobs that end, as JSON lines, for as long as you stay connected and the API key is not revoked.
#[utoipa::path(
    get, path = "/v1/webhooks/listen", tag = "Webhooks", params(ListenQuery),
    responses((status = 200, description = "One event a line", body = Event, content_type = "application/x-ndjson"))
)]
async fn listen(
    State(app): State<App>,
    Caller(scope): Caller,
    KeyHash(key): KeyHash,
    Queried(query): Queried<ListenQuery>,
) -> Result<Response, Problem> {
    let from = match query.after {
        None => (app.clock.now(), JobId(Uuid::nil())),
        Some(text) => position(&text).ok_or_else(|| types::parameter("after", "is not a cursor"))?,
    };
    // The environments of an account share its seats.
    let tenant = Scope { environment: Environment::Production, ..scope };
    let seat = SEATS.acquire(Requester { tenant, job: app.ids.uuid() }, 1);
    let seat = tokio::time::timeout(SEAT_WITHIN, seat).await;
    let seat = seat.map_err(|_| Problem::unavailable("too many are listening; try again later"))?;
    let feed = Feed { app, scope, key, from, last: from, told: BTreeSet::new(), is_ready: false, seat };
    let lines = stream::try_unfold(feed, async |mut feed: Feed| {
        let events = feed.next().await?;
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, &event).expect("it has string keys only");
            lines.push(b'\n');
        }
        Ok::<_, Problem>(Some((lines, feed)))
    });
    // A failure of the store ends the stream; the client comes again with its cursor.
    let lines = lines.take_while(|line| std::future::ready(line.is_ok()));
    let lines = lines.map(|line| line.map_err(|_| std::io::Error::other("the stream has ended")));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, Body::from_stream(lines)).into_response())
}

struct Feed {
    app: App,
    scope: Scope,
    /// What is stored of the listener's key: the stream ends when it is revoked.
    key: [u8; 32],
    /// Where the listener came in: what ended before is not told.
    from: Position,
    /// The last that was told.
    last: Position,
    /// What was told of the time that is read again.
    told: BTreeSet<Position>,
    is_ready: bool,
    seat: Permit,
}

impl Feed {
    /// Waits for the next events: at least one.
    async fn next(&mut self) -> Result<Vec<Event>, Problem> {
        if !std::mem::replace(&mut self.is_ready, true) {
            return Ok(vec![Event::Ready { cursor: cursor(self.from) }]);
        }
        let silent_until = Instant::now() + IDLE;
        loop {
            let app = self.app.clone();
            let ended = app.wake.ended().notified();
            if app.store.authenticate(self.key).await?.is_none() {
                return Err(Problem::new(StatusCode::UNAUTHORIZED, "this API key was revoked"));
            }
            let jobs = self.ended().await?;
            if !jobs.is_empty() {
                return Ok(jobs.iter().map(|job| self.event(job)).collect());
            }
            if Instant::now() >= silent_until {
                return Ok(vec![Event::Idle]);
            }
            tokio::select! {
                biased;
                () = self.seat.preempted() => {
                    return Err(Problem::unavailable("too many are listening; go on with the last cursor"));
                }
                _ = tokio::time::timeout(POLL, ended) => {}
            }
        }
    }

    /// The jobs that have ended and were not told yet.
    async fn ended(&mut self) -> Result<Vec<Job>, Problem> {
        let again = self.last.0.checked_sub(LATENESS).unwrap_or(Timestamp::MIN);
        self.told.retain(|(time, _)| *time >= again);
        let mut after = self.from.max((again, JobId(Uuid::nil())));
        let mut new = Vec::new();
        loop {
            let jobs = self.app.store.ended_jobs(self.scope, after, LIMIT).await?;
            let is_last = jobs.len() < LIMIT as usize;
            for job in jobs {
                let Some(time) = job.completed_at else { continue };
                after = (time, job.id);
                if self.told.insert(after) {
                    self.last = self.last.max(after);
                    new.push(job);
                }
            }
            if is_last || !new.is_empty() {
                return Ok(new);
            }
        }
    }

    fn event(&self, job: &Job) -> Event {
        Event::Ended {
            cursor: cursor((job.completed_at.unwrap_or_default(), job.id)),
            job_id: job.id.to_string(),
            kind: job.kind,
            status: job.status,
            delivery_id: job.delivery.map(|(id, _)| id.to_string()),
            bytes: self.app.results.payload(job).0,
        }
    }
}
