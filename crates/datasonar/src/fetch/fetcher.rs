//! A fetch: tries, the pauses between them, and the permits they need.

use std::time::Duration;

use datasonar_net::{Client, FetchError, FetchErrorKind, FetchRequest, Fetched, RedirectGuard};
use http::{HeaderMap, StatusCode, header};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::{
    hosts::Hosts,
    turns::{Turn, Turns},
};
use crate::clock::Ids;

/// The pause before the first retry; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The operator's limits.
#[derive(Clone, Copy, Debug)]
pub struct FetchSettings {
    /// Pages in flight in this process.
    pub concurrency: usize,
    /// Requests to one host at a time.
    pub per_host_concurrency: usize,
    /// The least gap between two requests to one host.
    pub per_host_delay: Duration,
    /// Further tries after a transient failure.
    pub retries: u32,
}

/// Gets URLs.
#[derive(Clone)]
pub struct Fetcher {
    client: Client,
    hosts: Hosts,
    slots: Turns,
    retries: u32,
    ids: Ids,
}

/// What to get.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    /// The URL.
    pub url: &'a Url,
    /// Request headers.
    pub headers: &'a HeaderMap,
    /// For all tries and the pauses between them. Waiting for the host or for a slot does not count.
    pub timeout: Duration,
    /// The largest body, decoded.
    pub max_bytes: u64,
    /// Whether a longer body is cut there, rather than refused.
    pub is_prefix_enough: bool,
    /// On whose behalf: lanes are served in turn.
    pub lane: Uuid,
    /// The least time between this request's begin and that of the next to its host; the operator's may be longer.
    pub gap: Duration,
    /// Asked of the targets of redirects.
    pub guard: Option<&'a RedirectGuard>,
}

/// What came of a fetch, or of whatever else was tried in its way.
pub struct Outcome<T = Fetched, E = FetchError> {
    /// The document, of whatever status; or why there is none.
    pub result: Result<T, E>,
    /// What was spent of the time-out.
    pub spent: Duration,
    /// The fetch slot: held until the document has been dealt with, because a document is memory.
    pub slot: Turn,
}

/// What came of one try, as far as it decides about the next.
pub trait Tried {
    /// Who answered, and how.
    fn answer(&self) -> Option<Answer<'_>>;

    /// Whether the host was not reached as it will be a little later.
    fn may_succeed_later(&self) -> bool;
}

/// A host's answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The URL that answered.
    pub url: &'a Url,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

impl Tried for Result<Fetched, FetchError> {
    fn answer(&self) -> Option<Answer<'_>> {
        let fetched = self.as_ref().ok()?;
        Some(Answer { url: &fetched.final_url, status: fetched.status, headers: &fetched.headers })
    }

    fn may_succeed_later(&self) -> bool {
        self.as_ref().is_err_and(|error| error.is_transient() && error.kind != FetchErrorKind::Timeout)
    }
}

impl Fetcher {
    /// Fetches through a client.
    pub fn new(client: Client, settings: FetchSettings, ids: Ids) -> Self {
        Self {
            client,
            hosts: Hosts::new(settings.per_host_concurrency, settings.per_host_delay),
            slots: Turns::new(settings.concurrency),
            retries: settings.retries,
            ids,
        }
    }

    /// Enters hosts by these gates, in place of its own.
    pub fn with_hosts(self, hosts: Hosts) -> Self {
        Self { hosts, ..self }
    }

    /// Gets a URL, trying again after transient failures (no connection, a broken one, 429 and most 5xx).
    pub async fn fetch(&self, fetch: Fetch<'_>) -> Outcome {
        self.tries(fetch, &self.slots, |timeout| {
            self.client.fetch(FetchRequest {
                headers: fetch.headers.clone(),
                max_body_bytes: fetch.max_bytes,
                is_prefix_enough: fetch.is_prefix_enough,
                timeout,
                guard: fetch.guard.cloned(),
                ..FetchRequest::new(fetch.url.clone())
            })
        })
        .await
    }

    /// Does `once` as a fetch does its requests: when it is the host's turn and there is one of `slots`, and again after
    /// transient failures. It is told how much is left of the time-out.
    pub async fn tries<T, E, F>(
        &self,
        fetch: Fetch<'_>,
        slots: &Turns,
        mut once: impl FnMut(Duration) -> F,
    ) -> Outcome<T, E>
    where
        F: Future<Output = Result<T, E>>,
        Result<T, E>: Tried,
    {
        let host = fetch.url.host_str().unwrap_or_default();
        let mut spent = Duration::ZERO;
        let mut tries = 0;
        loop {
            let (host_turn, slot) = self.hosts.enter(host, fetch.lane, fetch.gap, slots).await;
            let begin = Instant::now();
            let result = once(fetch.timeout.saturating_sub(spent)).await;
            spent += begin.elapsed();
            self.learn(host, &result);
            drop(host_turn);
            let pause = if tries < self.retries { self.pause(&result, tries) } else { None };
            match pause {
                Some(pause) if spent + pause < fetch.timeout => {
                    drop(slot);
                    tokio::time::sleep(pause).await;
                    spent += pause;
                    tries += 1;
                }
                _ => return Outcome { result, spent, slot },
            }
        }
    }

    /// Slows down for a host that says it is overloaded. What answered may be another host, after redirects: then it is not
    /// known which of the two is meant, and both are spared.
    fn learn(&self, host: &str, tried: &impl Tried) {
        let Some(answer) = tried.answer() else { return };
        let final_host = answer.url.host_str().filter(|other| *other != host);
        let rest = retry_after(answer.headers);
        for host in [Some(host), final_host].into_iter().flatten() {
            match answer.status {
                StatusCode::TOO_MANY_REQUESTS => self.hosts.overloaded(host, rest),
                StatusCode::SERVICE_UNAVAILABLE if !rest.is_zero() => self.hosts.overloaded(host, rest),
                StatusCode::SERVICE_UNAVAILABLE => self.hosts.in_trouble(host),
                _ => self.hosts.answered(host),
            }
        }
    }

    /// How long to wait before another try; `None` when it would not help.
    fn pause(&self, tried: &impl Tried, tries: u32) -> Option<Duration> {
        let asked = match tried.answer() {
            None if tried.may_succeed_later() => Duration::ZERO,
            Some(answer) if is_transient(answer.status) => retry_after(answer.headers),
            _ => return None,
        };
        let own = FIRST_PAUSE * 2_u32.saturating_pow(tries);
        Some(own.mul_f64(1.0 + 0.5 * self.ids.fraction()).max(asked))
    }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The seconds of `Retry-After` (RFC 9110, section 10.2.3); its other form, a date, is passed over.
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs)
}
