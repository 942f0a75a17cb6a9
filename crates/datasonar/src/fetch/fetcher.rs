//! A fetch: tries, the pauses between them, and the permits they need.

use std::{sync::Arc, time::Duration};

use datasonar_net::{Client, FetchError, FetchErrorKind, FetchRequest, Fetched, RedirectGuard};
use datasonar_store::Scope;
use http::{HeaderMap, StatusCode, header};
use tokio::time::Instant;
use url::{Origin, Url};

use super::{
    fair_semaphore::{FairSemaphore, Permit, Priority, Requester},
    held::Held,
    hosts::{Gap, Hosts},
    time_limit::TimeLimit,
};
use crate::clock::Ids;

/// The pause before the first retry; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How many bodies over 1 MiB may be in memory at once; a body that grows beyond waits for its turn.
const LARGE_BODIES: usize = 24;
/// Where there are more tenants than permits, a page that has to give way again and again keeps its permits for longer each
/// time, up to this.
const LONGEST_HOLD: Duration = Duration::from_secs(6);

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
    slots: FairSemaphore,
    /// For bodies that are large, see [`LARGE_BODIES`].
    bodies: FairSemaphore,
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
    /// Origins besides the URL's own that receive all headers when a redirect leads there.
    pub headers_origins: &'a [Origin],
    /// The time for all tries, the pauses between them, and waiting for the host and for slots. [`TimeLimit`] says from when
    /// on it counts.
    pub time: &'a TimeLimit,
    /// The largest body, decoded.
    pub max_bytes: u64,
    /// On whose behalf.
    pub requester: Requester,
    /// The least time between this request's begin and that of the next to its host; the operator's may be longer.
    pub gap: Gap,
    /// Asked of the targets of redirects.
    pub guard: Option<&'a RedirectGuard>,
}

/// What came of a fetch, or of whatever else was tried in its way.
pub struct Outcome<T = Fetched, E = FetchError> {
    /// The document, of whatever status; or why there is none.
    pub result: Result<T, E>,
    /// What was spent of the time.
    pub spent: Duration,
    /// The fetch slot and what else is held until the document has been dealt with, because a document is memory. There is
    /// none where time was over while waiting for it.
    pub held: Option<Arc<Held>>,
    /// Whether the slot had to be given to another tenant before the answer was complete, so that a failure may not be the
    /// host's.
    pub was_preempted: bool,
}

/// What came of one try, as far as it decides about the next.
pub trait Tried {
    /// Who answered, and how.
    fn answer(&self) -> Option<Answer<'_>>;

    /// Whether the host was not reached as it will be a little later.
    fn may_succeed_later(&self) -> bool;

    /// The failure of a page whose time was over before there was an answer.
    fn timed_out(message: String) -> Self;
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

    fn timed_out(message: String) -> Self {
        Err(FetchError::timeout(message))
    }
}

impl Fetcher {
    /// Fetches through a client.
    pub fn new(client: Client, settings: FetchSettings, ids: Ids) -> Self {
        Self {
            client,
            hosts: Hosts::new(settings.per_host_concurrency, settings.per_host_delay),
            slots: FairSemaphore::new(settings.concurrency),
            bodies: FairSemaphore::new(LARGE_BODIES),
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
        self.tries(fetch, &self.slots, |timeout, held| {
            self.client.fetch(FetchRequest {
                headers: fetch.headers.clone(),
                headers_origins: fetch.headers_origins.to_vec(),
                max_body_bytes: fetch.max_bytes,
                timeout,
                guard: fetch.guard.cloned(),
                progress: Some(held.progress()),
                large_bodies: Some(held),
                ..FetchRequest::new(fetch.url.clone())
            })
        })
        .await
    }

    /// Does `once` as a fetch does its requests: when it is the host's turn and there is one of `slots`, and again after
    /// transient failures. It is told how much time is left, and tells of its progress. When another tenant lacks a slot or
    /// the host, it may be dropped and done again later, within the same time.
    pub async fn tries<T, E, F>(
        &self,
        fetch: Fetch<'_>,
        slots: &FairSemaphore,
        mut once: impl FnMut(Duration, Arc<Held>) -> F,
    ) -> Outcome<T, E>
    where
        F: Future<Output = Result<T, E>>,
        Result<T, E>: Tried,
    {
        let host = fetch.url.host_str().unwrap_or_default();
        let time = fetch.time;
        let (mut tries, mut preemptions) = (0, 0);
        let mut last = None;
        loop {
            let Some((host_permit, held)) = self.enter(host, fetch, slots, preemptions).await else {
                let late = || Tried::timed_out(self.late(host, fetch));
                let (spent, was_preempted) = (time.spent(), preemptions > 0);
                return Outcome { result: last.unwrap_or_else(late), spent, held: None, was_preempted };
            };
            time.begin();
            let result = tokio::select! {
                biased;
                result = once(time.left(), held.clone()) => result,
                () = host_permit.preempted() => { preemptions += 1; continue }
                () = held.preempted() => { preemptions += 1; continue }
            };
            self.learn(host, fetch.requester.tenant, &result);
            drop(host_permit);
            let pause = if tries < self.retries { self.pause(&result, tries) } else { None };
            match pause {
                Some(pause) if pause < time.left() => {
                    drop(held);
                    last = Some(result);
                    tokio::time::sleep(pause).await;
                    tries += 1;
                }
                _ => {
                    return Outcome { result, spent: time.spent(), held: Some(held), was_preempted: preemptions > 0 };
                }
            }
        }
    }

    /// Waits for the host and a slot; `None` if there is no time for that.
    async fn enter(
        &self,
        host: &str,
        fetch: Fetch<'_>,
        slots: &FairSemaphore,
        preemptions: u32,
    ) -> Option<(Permit, Arc<Held>)> {
        let Fetch { time, requester, .. } = fetch;
        let rests = self.hosts.rests_until(host, requester.tenant);
        if time.left().is_zero() || rests.is_some_and(|rests| time.deadline().is_some_and(|deadline| rests >= deadline))
        {
            return None;
        }
        let hold = Duration::from_secs(1 << preemptions.min(6)).min(LONGEST_HOLD);
        let priority = Priority { resumes: time.has_begun(), hold };
        let (host_permit, slot) = time.run(self.hosts.enter(host, requester, fetch.gap, slots, priority)).await?;
        Some((host_permit, Arc::new(Held::new(slot, self.bodies.clone(), requester))))
    }

    /// Why a page has no answer, though nothing was asked of the host in the end.
    fn late(&self, host: &str, fetch: Fetch<'_>) -> String {
        let rest = self.hosts.rests_until(host, fetch.requester.tenant).map(|rests| rests - Instant::now());
        match rest.filter(|rest| *rest > fetch.time.left()) {
            Some(rest) => format!("the host asked for a pause, which lasts for another {} s", rest.as_secs() + 1),
            None => {
                format!("no complete answer within {:?}, waiting for the host and a slot included", fetch.time.limit())
            }
        }
    }

    /// Slows a tenant down for a host that says it is overloaded: for the one that answered. A host that only redirected there
    /// answered well.
    fn learn(&self, host: &str, tenant: Scope, tried: &impl Tried) {
        let Some(answer) = tried.answer() else { return };
        let final_host = answer.url.host_str().unwrap_or(host);
        if final_host != host {
            self.hosts.answered(host, tenant);
        }
        let rest = retry_after(answer.headers);
        match answer.status {
            StatusCode::TOO_MANY_REQUESTS => self.hosts.overloaded(final_host, tenant, rest),
            StatusCode::SERVICE_UNAVAILABLE if !rest.is_zero() => self.hosts.overloaded(final_host, tenant, rest),
            StatusCode::SERVICE_UNAVAILABLE => self.hosts.in_trouble(final_host, tenant),
            _ => self.hosts.answered(final_host, tenant),
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
