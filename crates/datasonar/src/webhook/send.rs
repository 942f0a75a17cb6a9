//! One attempt: read the body twice, first to sign it, then to send it, and tell what came of it.
//!
//! Nothing is decided here but what counts as delivered: a 2xx, and nothing else. What follows from it is [`super::retry`]'s,
//! what is recorded the dispatcher's.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use datasonar_net::{BodySource, Client, PostOutcome, PostRequest};
use datasonar_store::{Attempt, AttemptError, AttemptId, ClaimedDelivery, Lane, Timings};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::{
    retry::Outcome,
    sign::{MalformedSecret, Signatures, Signer},
};
use crate::{
    clock::{Clock, Ids},
    cpu,
    crypto::{CryptoError, Sealer},
    jobs::{ByteStream, Results, ResultsError},
};

/// How every webhook introduces itself.
pub const USER_AGENT: &str = "Datasonar-Webhooks/1";

/// Bodies up to this size are kept from the first reading for the second.
const KEEP_BYTES: u64 = 64 * 1024;
/// What a longer body takes of memory while it is read, at most: a few segments.
const READ_BYTES: u64 = 16 * 1024 * 1024;
/// What all that are read at once may take: those of first attempts, and those of retries, whose endpoints may well take
/// nothing for a while.
const FIRST_BYTES: u64 = 192 * 1024 * 1024;
const RETRY_BYTES: u64 = 64 * 1024 * 1024;
/// Pieces longer than this are hashed on a thread of their own.
const HASH_INLINE_BYTES: usize = 64 * 1024;

/// What a sender is made of.
pub struct SenderParts {
    /// The way out.
    pub client: Client,
    /// Reads bodies.
    pub results: Results,
    /// Opens secrets.
    pub sealer: Sealer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Ids,
    /// How long an endpoint may take to answer, from the last byte of the body on; and how long an upload may stand still.
    pub timeout: Duration,
}

/// Sends deliveries. Cloning is cheap, and shares the memory that bodies may take.
#[derive(Clone)]
pub struct Sender {
    parts: Arc<SenderParts>,
    /// In KiB.
    first: Arc<Semaphore>,
    /// In KiB.
    retry: Arc<Semaphore>,
}

/// Why no attempt could be made: a failure of ours, not of the endpoint.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A secret does not open.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// A secret is not one.
    #[error(transparent)]
    Secret(#[from] MalformedSecret),
    /// The body cannot be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
}

/// An attempt that was made.
#[derive(Debug)]
pub struct Sent {
    /// To be logged.
    pub attempt: Attempt,
    /// To be decided upon.
    pub outcome: Outcome,
}

impl Sender {
    /// Puts a sender together.
    pub fn new(parts: SenderParts) -> Self {
        let memory = |bytes: u64| Arc::new(Semaphore::new(usize::try_from(bytes / 1024).unwrap_or(usize::MAX)));
        Self { parts: Arc::new(parts), first: memory(FIRST_BYTES), retry: memory(RETRY_BYTES) }
    }

    /// How long an endpoint may take to answer.
    pub fn timeout(&self) -> Duration {
        self.parts.timeout
    }

    /// Waits until a body may be read.
    async fn memory(&self, lane: Lane, length: u64) -> Option<OwnedSemaphorePermit> {
        if length <= KEEP_BYTES {
            return None;
        }
        let memory = match lane {
            Lane::First => &self.first,
            Lane::Retry => &self.retry,
        };
        let share = u32::try_from(length.min(READ_BYTES) / 1024).expect("it is small");
        // The semaphore is never closed.
        memory.clone().acquire_many_owned(share).await.ok()
    }

    /// Makes one attempt at a delivery.
    ///
    /// # Errors
    /// When none could be made, for reasons that are not the endpoint's.
    pub async fn send(&self, claimed: &ClaimedDelivery) -> Result<Sent, SendError> {
        let (delivery, parts) = (&claimed.delivery, &*self.parts);
        let (length, body) = parts.results.payload(&claimed.job);
        let memory = self.memory(delivery.lane, length).await;
        let (job_id, id) = (claimed.job.id.to_string(), delivery.id.to_string());
        let started_at = parts.clock.now();
        let secrets = claimed
            .secrets
            .iter()
            .map(|secret| parts.sealer.open(secret.scope, secret.id, &secret.sealed))
            .collect::<Result<Vec<_>, _>>()?;
        let timestamp = started_at.as_second();
        let signer = Signer::new(secrets.iter().map(String::as_str), &id, timestamp)?;

        let (signatures, kept) = sign(signer, body, length).await?;
        let number = delivery.attempts + 1;
        let headers = headers(&job_id, &id, number, timestamp, &signatures);
        let source = match kept {
            Some(body) => BodySource::bytes(body),
            None => BodySource::stream(holding(parts.results.payload(&claimed.job).1, memory), length),
        };
        let request_headers = listed(&headers);
        let url = Url::parse(&delivery.url).expect("an endpoint's URL was parsed when its job was accepted");
        let limits = PostRequest::new(url, headers, source);
        let request = PostRequest { response_timeout: parts.timeout, stall_timeout: parts.timeout, ..limits };
        let posted = parts.client.post(request).await;
        let attempt = Attempt {
            id: AttemptId(parts.ids.uuid()),
            delivery: delivery.id,
            number,
            trigger: delivery.next_trigger,
            started_at,
            request_headers,
            request_bytes: length,
            remote: posted.remote.map(|remote| remote.to_string()),
            response_status: None,
            response_headers: Vec::new(),
            response_body: Vec::new(),
            timings: timings(&posted),
            error: None,
        };
        Ok(judge(attempt, posted, parts.clock.now()))
    }
}

/// Holds on to a share of memory until the body has been read to its end.
fn holding(body: ByteStream, memory: Option<OwnedSemaphorePermit>) -> ByteStream {
    stream::unfold((body, memory), async |(mut body, memory)| body.next().await.map(|bytes| (bytes, (body, memory))))
        .boxed()
}

/// Reads a body to its end and signs it; keeps it when it is small.
///
/// # Errors
/// When the body cannot be read.
pub async fn sign<E>(
    mut signer: Signer,
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    length: u64,
) -> Result<(Signatures, Option<Bytes>), E> {
    let mut kept = (length <= KEEP_BYTES).then(BytesMut::new);
    while let Some(bytes) = body.try_next().await? {
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&bytes);
        }
        if bytes.len() <= HASH_INLINE_BYTES {
            signer.update(&bytes);
        } else {
            let hash = move || {
                signer.update(&bytes);
                signer
            };
            signer = cpu::run_sound(hash).await;
        }
    }
    Ok((signer.finish(), kept.map(BytesMut::freeze)))
}

/// The headers of an attempt: `id` is the `webhook-id`, the same at every attempt, `number` the attempt's, from 1,
/// `timestamp` when it began, in seconds.
///
/// # Panics
/// When an id has characters that no id has.
pub fn headers(job_id: &str, id: &str, number: u32, timestamp: i64, signatures: &Signatures) -> HeaderMap {
    let text = |text: &str| HeaderValue::from_str(text).expect("ids, numbers and signatures are visible ASCII");
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::USER_AGENT, HeaderValue::from_static(USER_AGENT)),
        (HeaderName::from_static("x-datasonar-job-id"), text(job_id)),
        (HeaderName::from_static("x-datasonar-signature"), text(&signatures.body)),
        (HeaderName::from_static("x-datasonar-attempt"), text(&number.to_string())),
        (HeaderName::from_static("webhook-id"), text(id)),
        (HeaderName::from_static("webhook-timestamp"), text(&timestamp.to_string())),
        (HeaderName::from_static("webhook-signature"), text(&signatures.standard)),
    ])
}

/// Fills in what the endpoint answered, and tells whether that is a delivery.
fn judge(attempt: Attempt, posted: PostOutcome, ended_at: Timestamp) -> Sent {
    let response = match posted.result {
        Ok(response) => response,
        Err(error) => {
            let error = AttemptError { code: error.code().to_owned(), message: error.message };
            return Sent {
                attempt: Attempt { error: Some(error), ..attempt },
                outcome: Outcome::Failed { retry_after: None },
            };
        }
    };
    let status = response.status;
    let outcome = match status {
        status if status.is_success() => Outcome::Delivered,
        StatusCode::GONE => Outcome::Gone,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Outcome::Failed { retry_after: retry_after(&response.headers, ended_at) }
        }
        _ => Outcome::Failed { retry_after: None },
    };
    let error = (outcome != Outcome::Delivered).then(|| AttemptError {
        code: if status.is_redirection() { "redirect" } else { "http_status" }.to_owned(),
        message: match response.headers.get(header::LOCATION) {
            Some(location) if status.is_redirection() => {
                let location = String::from_utf8_lossy(location.as_bytes());
                format!("the endpoint answered {status}; redirects are not followed: {location:?}")
            }
            _ => format!("the endpoint answered {status}"),
        },
    });
    let attempt = Attempt {
        response_status: Some(status.as_u16()),
        response_headers: listed(&response.headers),
        response_body: response.body.to_vec(),
        error,
        ..attempt
    };
    Sent { attempt, outcome }
}

/// `Retry-After` (RFC 9110, section 10.2.3), in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

fn timings(posted: &PostOutcome) -> Timings {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Timings {
        dns_ms: posted.timings.dns.map(milliseconds),
        connect_ms: posted.timings.connect.map(milliseconds),
        tls_ms: posted.timings.tls.map(milliseconds),
        first_byte_ms: posted.timings.first_byte.map(milliseconds),
        total_ms: milliseconds(posted.timings.total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-1"), None);
    }
}
