//! Posting a body: webhooks.
//!
//! One request, one outcome; redirects are not followed and nothing is retried, with one exception: a pooled connection
//! that was closed before anything of the request was handed to it is replaced by a fresh one. Whatever may have reached
//! the receiver is reported as it is ([`PostErrorKind::Reset`]), for the caller's schedule to decide.
//!
//! Posts speak HTTP/1.1 only. A webhook is one body to one host: HTTP/2 would put deliveries to an endpoint on one
//! connection, where one slow body or one `GOAWAY` holds up the others, and where "the last byte of the body was sent"
//! cannot be told for one of them. Every server speaks HTTP/1.1.
//!
//! Idle connections are kept for four seconds, less than the five after which common servers close them, or less still if
//! the receiver says so (`Keep-Alive: timeout=`): a request must not meet a connection that is just being closed.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Url;

use crate::body::{BodySource, UploadBody};
use crate::channel::{Channel, Unanswered};
use crate::client::Client;
use crate::connect::Target;
use crate::credentials;
use crate::meter::Waiting;
use crate::post_error::{PostError, PostErrorKind};
use crate::timings::{Timings, Trace};

/// How long an idle connection is kept after a post.
const KEEP: Duration = Duration::from_secs(4);

/// A body to send, and how long to wait for whom.
#[derive(Debug)]
pub struct PostRequest {
    /// The method, `POST` as a rule.
    pub method: Method,
    /// Where to. Credentials in it are sent as `Authorization: Basic` unless [`PostRequest::headers`] has one.
    pub url: Url,
    /// Headers to send; `Host`, `Content-Length` and the hop-by-hop ones are ours.
    pub headers: HeaderMap,
    /// What to send.
    pub body: BodySource,
    /// From the last byte of the body handed to the socket to the status line.
    pub response_timeout: Duration,
    /// How long the upload may stand still.
    pub stall_timeout: Duration,
    /// How long name resolution, TCP and TLS may take together.
    pub connect_timeout: Duration,
    /// How many bytes of the response's body are read; the rest is not.
    pub max_response_bytes: usize,
    /// How long reading the response's body may take; what came until then counts.
    pub read_deadline: Duration,
    /// Whether anything but `https` is refused.
    pub https_only: bool,
}

impl PostRequest {
    /// A `POST` with the contract's limits: 30 s for the response and for a stall, 10 s for connecting and for reading,
    /// 16 KiB of response, `https` only.
    pub fn new(url: Url, headers: HeaderMap, body: BodySource) -> Self {
        Self {
            method: Method::POST,
            url,
            headers,
            body,
            response_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            max_response_bytes: 16 * 1024,
            read_deadline: Duration::from_secs(10),
            https_only: true,
        }
    }
}

/// How a post went.
#[derive(Debug)]
pub struct PostOutcome {
    /// Who was connected to, if anyone.
    pub remote: Option<SocketAddr>,
    /// Where the time went.
    pub timings: Timings,
    /// The response, of any status, or why there is none.
    pub result: Result<PostResponse, PostError>,
}

/// What a receiver answered.
#[derive(Clone, Debug)]
pub struct PostResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The first `max_response_bytes` of the body, as received: no content coding is undone, none is asked for.
    pub body: Bytes,
    /// Whether the body goes on: longer than the limit, slower than the deadline, or cut off.
    pub truncated: bool,
}

impl Client {
    /// Sends a body and reads the answer. Never follows a redirect.
    ///
    /// The body is streamed; memory needed is a chunk of it and some 200 KiB. A response that comes before the whole body
    /// is sent counts, and ends the upload. Dropping the future closes the connection.
    pub async fn post(&self, request: PostRequest) -> PostOutcome {
        let mut trace = Trace::start();
        let result = self.try_post(request, &mut trace).await;
        PostOutcome { remote: trace.remote, timings: trace.timings(), result }
    }

    async fn try_post(&self, request: PostRequest, trace: &mut Trace) -> Result<PostResponse, PostError> {
        let PostRequest { method, mut url, mut headers, body, .. } = request;
        if request.https_only && url.scheme() != "https" {
            return Err(PostError::new(PostErrorKind::NotHttps, "the URL is not https"));
        }
        self.policy().check_url(&url)?;
        credentials::take(&mut url, &mut headers);
        let target =
            Target::of(&url, false).ok_or_else(|| PostError::new(PostErrorKind::InvalidUrl, "the URL has no host"))?;
        let limits = Limits {
            stall: request.stall_timeout,
            response: request.response_timeout,
            max_bytes: request.max_response_bytes,
            read: request.read_deadline,
        };
        let length = body.content_length();
        let mut body = UploadBody::new(body);
        let mut fresh = false;
        loop {
            let mut channel = self.channel(&target, fresh, request.connect_timeout, trace).await?;
            let message = self.request(&channel, method.clone(), &url, &headers, body, Some(length))?;
            let asked = Instant::now();
            match upload(&mut channel, message, &limits).await {
                Ok(response) => {
                    trace.timings.first_byte = Some(asked.elapsed());
                    return Ok(self.finish(target, channel, response, &limits).await);
                }
                Err(Failed::NotSent(unsent)) if channel.is_reused && !fresh => {
                    body = unsent;
                    fresh = true;
                    self.forget(&target);
                }
                Err(Failed::NotSent(_)) => {
                    return Err(PostError::new(PostErrorKind::Reset, "the connection was closed at once"));
                }
                Err(Failed::Broken(error)) => return Err(error),
            }
        }
    }

    /// Reads the response's body as far as it is wanted; gives the connection back if it can be used again.
    async fn finish(
        &self,
        target: Target,
        channel: Channel,
        response: Response<Incoming>,
        limits: &Limits,
    ) -> PostResponse {
        let (head, body) = response.into_parts();
        let (body, truncated) = read_some(body, limits).await;
        let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if !truncated && !switched && channel.meter.is_sent() {
            self.release(target, channel, keep(&head.headers));
        }
        PostResponse { status: head.status, headers: head.headers, body, truncated }
    }
}

struct Limits {
    stall: Duration,
    response: Duration,
    max_bytes: usize,
    read: Duration,
}

enum Failed {
    /// Nothing was sent; here is the body back.
    NotSent(UploadBody),
    Broken(PostError),
}

/// Sends the request and waits for the head of the response, as long as the upload moves and the receiver is in time.
async fn upload(
    channel: &mut Channel,
    request: http::Request<UploadBody>,
    limits: &Limits,
) -> Result<Response<Incoming>, Failed> {
    let meter = std::sync::Arc::clone(&channel.meter);
    let fail = |kind, message: String| Err(Failed::Broken(PostError::new(kind, message)));
    let exchange = channel.exchange(request);
    tokio::pin!(exchange);
    loop {
        let (until, _) = meter.deadline(limits.stall, limits.response);
        tokio::select! {
            biased;
            answered = &mut exchange => match answered {
                Ok(response) => return Ok(response),
                Err(Unanswered { request: Some(request), .. }) => return Err(Failed::NotSent(request.into_body())),
                Err(Unanswered { error, .. }) => {
                    return Err(Failed::Broken(match meter.source_error() {
                        Some(message) => PostError::new(PostErrorKind::BodySource, message),
                        None => PostError::broken(&error, meter.written()),
                    }));
                }
            },
            () = meter.sent() => {}
            () = sleep_until(until) => {
                // What moved while we slept has moved the deadline too.
                let (until, waiting) = meter.deadline(limits.stall, limits.response);
                if until > Instant::now() {
                    continue;
                }
                return match waiting {
                    Waiting::Response if meter.has_received() => fail(
                        PostErrorKind::HeadersTimeout,
                        format!("the response's headers did not end within {:?} of the last byte", limits.response),
                    ),
                    Waiting::Response => {
                        fail(PostErrorKind::Timeout, format!("no response within {:?} of the last byte", limits.response))
                    }
                    Waiting::Upload => {
                        fail(PostErrorKind::UploadStalled, format!("the receiver took no bytes for {:?}", limits.stall))
                    }
                    Waiting::Source => {
                        fail(PostErrorKind::BodySource, format!("the body's source gave no bytes for {:?}", limits.stall))
                    }
                };
            }
        }
    }
}

/// Reads at most the bytes and the time allowed; says whether the body goes on.
async fn read_some(mut body: Incoming, limits: &Limits) -> (Bytes, bool) {
    let until = Instant::now() + limits.read;
    let mut read = BytesMut::new();
    while !body.is_end_stream() {
        let frame = match timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return (read.freeze(), true),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let room = limits.max_bytes - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return (read.freeze(), true);
        }
    }
    (read.freeze(), false)
}

/// How long the connection may be kept: a second less than the receiver says, and never longer than [`KEEP`].
fn keep(headers: &HeaderMap) -> Duration {
    let named = headers.get("keep-alive").and_then(|value| value.to_str().ok());
    let seconds = named.into_iter().flat_map(|value| value.split(',')).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse::<u64>().ok())?
    });
    match seconds {
        _ if headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close")) => {
            Duration::ZERO
        }
        Some(seconds) => KEEP.min(Duration::from_secs(seconds.saturating_sub(1))),
        None => KEEP,
    }
}
