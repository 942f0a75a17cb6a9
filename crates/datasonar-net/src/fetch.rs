//! Fetching a page: redirects followed by hand, codings undone, everything bounded.
//!
//! Each redirect starts from nothing: its URL is checked, its name resolved, its addresses checked, as if a caller had just
//! named it. The methods stay `GET`, which makes the differences between the redirecting statuses moot.
//! What it does not do: keep cookies, obey robots.txt, render.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;
use url::{Origin, Url};

use crate::channel::{Channel, MAX_HEADERS};
use crate::client::{Client, FETCH_KEEP, NoResponse, no_body};
use crate::connect::Target;
use crate::credentials;
use crate::decode::{self, BodyError, LargeBodies, Limit, Share};
use crate::fetch_error::{FetchError, FetchErrorKind};
use crate::headers;
use crate::timings::{Timings, Trace};

/// The largest body of a redirect that is read, in bytes, so that its connection can be used again.
const MAX_DRAINED_BYTES: u64 = 16 * 1024;

/// How long that may take.
const DRAIN_WITHIN: Duration = Duration::from_millis(200);

/// A page to fetch.
#[derive(Clone)]
pub struct FetchRequest {
    /// What to fetch. Credentials in it are sent as `Authorization: Basic` unless [`FetchRequest::headers`] has one.
    pub url: Url,
    /// The caller's own headers, see [`crate::check_caller_headers`]. When a redirect changes the origin, all but `Accept`,
    /// `Accept-Language`, `Cache-Control`, `DNT`, `Pragma` and `User-Agent` stay behind for good.
    pub headers: HeaderMap,
    /// Further origins that may receive all headers when a redirect leads to them. A downgrade from https to http is
    /// another origin.
    pub headers_origins: Vec<Origin>,
    /// How many redirects are followed.
    pub max_redirects: u8,
    /// The largest body accepted, in bytes, after decoding.
    pub max_body_bytes: u64,
    /// Whether a longer body is cut there, rather than refused.
    pub is_prefix_enough: bool,
    /// The time for everything, from the first connection to the last byte, over all redirects.
    pub timeout: Duration,
    /// Asked of each redirect's target, besides what is checked of it in any case.
    pub guard: Option<RedirectGuard>,
    /// Told of each part of the body that arrives.
    pub progress: Option<Progress>,
    /// Decides when a body over 256 KiB may be in memory, in place of [`crate::ClientOptions::body_memory`].
    pub large_bodies: Option<Arc<dyn LargeBodies>>,
}

impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchRequest").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// Is told how many bytes of a body have arrived, each time some do. A call must not block.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(usize) + Send + Sync>);

impl Progress {
    /// Tells a function.
    pub fn new(note: impl Fn(usize) + Send + Sync + 'static) -> Self {
        Self(Arc::new(note))
    }

    /// Tells of bytes that have arrived.
    pub fn note(&self, bytes: usize) {
        (self.0)(bytes);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// Decides which redirects are followed.
#[derive(Clone)]
pub struct RedirectGuard(Arc<dyn Fn(Url) -> BoxFuture<'static, bool> + Send + Sync>);

impl RedirectGuard {
    /// Follows redirects to the URLs for which `allows` answers `true`.
    pub fn new(allows: impl Fn(Url) -> BoxFuture<'static, bool> + Send + Sync + 'static) -> Self {
        Self(Arc::new(allows))
    }

    /// Tells whether a redirect to a URL is followed.
    pub async fn allows(&self, url: Url) -> bool {
        (self.0)(url).await
    }
}

impl fmt::Debug for RedirectGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedirectGuard")
    }
}

impl FetchRequest {
    /// A request with the contract's defaults: 10 redirects, 10 MiB, 30 s.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            headers: HeaderMap::new(),
            headers_origins: Vec::new(),
            max_redirects: 10,
            max_body_bytes: 10 * 1024 * 1024,
            is_prefix_enough: false,
            timeout: Duration::from_secs(30),
            guard: None,
            progress: None,
            large_bodies: None,
        }
    }
}

/// A page that was fetched, whatever its status.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The URL that answered, without credentials; its fragment is the last one named on the way.
    pub final_url: Url,
    /// Its status.
    pub status: StatusCode,
    /// Its headers. `Content-Encoding` and `Content-Length` are gone if the body was decoded.
    pub headers: HeaderMap,
    /// Its body, decoded; of any charset.
    pub body: Bytes,
    /// Who answered.
    pub remote: SocketAddr,
    /// How many redirects were followed.
    pub redirects: u8,
    /// Where the time went.
    pub timings: Timings,
    /// A large body's permit to be in memory: given back with the last clone of this.
    #[expect(dead_code, reason = "it is held, not read")]
    share: Share,
}

/// Where a fetch stands; outlives its future, for the error when time runs out.
struct Journey {
    url: Url,
    headers: HeaderMap,
    /// The origins that may receive all headers.
    trusted: Vec<Origin>,
    redirects: u8,
    status: Option<StatusCode>,
    trace: Trace,
}

impl Client {
    /// Fetches a page with `GET`, following redirects.
    ///
    /// Any final status is a success here, redirects without a usable `Location` included: the caller decides. Memory
    /// needed is bounded by `max_body_bytes` and some 200 KiB.
    ///
    /// # Errors
    /// [`FetchError`], with what is known of how far it came.
    pub async fn fetch(&self, request: FetchRequest) -> Result<Fetched, FetchError> {
        let mut progress = Journey {
            url: request.url.clone(),
            headers: request.headers.clone(),
            trusted: [&[request.url.origin()], &request.headers_origins[..]].concat(),
            redirects: 0,
            status: None,
            trace: Trace::start(),
        };
        credentials::take(&mut progress.url, &mut progress.headers);
        let fetched = timeout(request.timeout, self.follow(&request, &mut progress)).await;
        let error = match fetched {
            Ok(Ok(fetched)) => return Ok(fetched),
            Ok(Err(error)) => error,
            Err(_elapsed) => {
                FetchError::new(FetchErrorKind::Timeout, format!("no complete answer within {:?}", request.timeout))
            }
        };
        Err(FetchError {
            final_url: Some(progress.url),
            status: progress.status,
            redirects: progress.redirects,
            ..error
        })
    }

    async fn follow(&self, request: &FetchRequest, progress: &mut Journey) -> Result<Fetched, FetchError> {
        loop {
            progress.trace.next_request();
            progress.status = None;
            self.policy().check_url(&progress.url)?;
            let target = Target::of(&progress.url, true)
                .ok_or_else(|| FetchError::new(FetchErrorKind::InvalidUrl, "the URL has no host"))?;
            let (channel, response) = self.get(&target, progress).await?;
            progress.status = Some(response.status());
            if let Some(next) = location(&response, &progress.url)? {
                if progress.redirects >= request.max_redirects {
                    let message = format!("more than {} redirects", request.max_redirects);
                    return Err(FetchError::new(FetchErrorKind::TooManyRedirects, message));
                }
                if let Some(guard) = &request.guard
                    && !guard.allows(next.clone()).await
                {
                    let message = format!("the redirect to {next} is not to be followed");
                    return Err(FetchError::new(FetchErrorKind::RedirectRefused, message));
                }
                progress.redirects += 1;
                self.drain(target, channel, response).await;
                progress.go_to(next);
                continue;
            }
            let (head, body) = response.into_parts();
            // What maps frames does not tell how long they are together.
            let announced = body.size_hint().exact();
            let body = body.map_frame({
                let progress = request.progress.clone();
                move |frame| {
                    if let (Some(progress), Some(data)) = (&progress, frame.data_ref()) {
                        progress.note(data.len());
                    }
                    frame
                }
            });
            let memory = request.large_bodies.as_deref().unwrap_or(&self.inner.body_memory);
            let limit = Limit { bytes: request.max_body_bytes, cuts: request.is_prefix_enough, announced };
            let read = decode::read(body, &head.headers, limit, memory).await?;
            let remote = channel.remote;
            self.release(target, channel, FETCH_KEEP);
            let mut headers = head.headers;
            if read.was_coded {
                headers.remove(header::CONTENT_ENCODING);
                headers.remove(header::CONTENT_LENGTH);
            }
            return Ok(Fetched {
                final_url: progress.url.clone(),
                status: head.status,
                headers,
                body: read.bytes,
                share: read.share,
                remote,
                redirects: progress.redirects,
                timings: progress.trace.timings(),
            });
        }
    }

    /// Sends one `GET`. A pooled connection that turns out to be dead is replaced by a fresh one, once.
    async fn get(&self, target: &Target, progress: &mut Journey) -> Result<(Channel, Response<Incoming>), FetchError> {
        let answered = match self.try_get(target, progress, false).await {
            Err(failed) if failed.is_stale() => {
                self.forget(target);
                self.try_get(target, progress, true).await
            }
            answered => answered,
        };
        let (channel, response) = answered?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(FetchError::new(FetchErrorKind::Protocol, "the server switched protocols unasked"));
        }
        if response.headers().len() > MAX_HEADERS {
            return Err(FetchError::new(FetchErrorKind::Protocol, "the response's headers are too many"));
        }
        Ok((channel, response))
    }

    async fn try_get(
        &self,
        target: &Target,
        progress: &mut Journey,
        fresh: bool,
    ) -> Result<(Channel, Response<Incoming>), NoResponse> {
        let trace = &mut progress.trace;
        let mut channel = self.channel(target, fresh, self.inner.connect_timeout, trace).await?;
        let mut request = self.request(&channel, Method::GET, &progress.url, &progress.headers, no_body(), None)?;
        request.headers_mut().entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(decode::ACCEPT_ENCODING));
        let asked = tokio::time::Instant::now();
        match channel.exchange(request).await {
            Ok(response) => {
                trace.timings.first_byte = Some(asked.elapsed());
                Ok((channel, response))
            }
            Err(failed) => Err(NoResponse::Exchange { error: failed.error, was_reused: channel.is_reused }),
        }
    }

    /// Reads the small body that redirects have, so that the connection can serve the next request.
    async fn drain(&self, target: Target, channel: Channel, response: Response<Incoming>) {
        let mut body = response.into_body();
        if body.size_hint().upper().is_none_or(|upper| upper > MAX_DRAINED_BYTES) {
            return;
        }
        let to_end = async {
            while let Some(frame) = body.frame().await {
                if frame.is_err() {
                    return false;
                }
            }
            true
        };
        if timeout(DRAIN_WITHIN, to_end).await == Ok(true) {
            self.release(target, channel, FETCH_KEEP);
        }
    }
}

impl Journey {
    fn go_to(&mut self, mut next: Url) {
        if !self.trusted.contains(&next.origin()) {
            self.headers = headers::safe_for_another_origin(&self.headers);
        }
        credentials::take(&mut next, &mut self.headers);
        self.url = next;
    }
}

/// Where a response redirects to, if it does.
///
/// Follows Fetch ("location URL"): relative to the URL that answered, and with its fragment unless it names another.
fn location(response: &Response<Incoming>, from: &Url) -> Result<Option<Url>, FetchError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(header::LOCATION) else {
        return Ok(None);
    };
    let location = String::from_utf8_lossy(location.as_bytes());
    let Ok(mut next) = from.join(&location) else {
        return Err(FetchError::new(FetchErrorKind::InvalidUrl, "the redirect's Location is not a URL"));
    };
    if next.fragment().is_none() {
        next.set_fragment(from.fragment());
    }
    Ok(Some(next))
}

impl From<BodyError> for FetchError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(message) => Self::new(FetchErrorKind::BodyTooLarge, message),
            BodyError::Decode(message) => Self::new(FetchErrorKind::Decode, message),
            BodyError::Connection(message) => Self::new(FetchErrorKind::Protocol, message),
        }
    }
}
