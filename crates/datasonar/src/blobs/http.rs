//! How the S3 client reaches the network: through the one crate that opens sockets.
//!
//! The operator names these addresses, so that any may be dialled. Each exchange has a deadline, body and all. Everything
//! that this client asks of a storage may be asked twice, so that whatever breaks on the way is reported as not sent and
//! is tried again, by the client's own rules. What a storage says about a refusal is cut down to its code and its message:
//! the rest repeats what was signed, and with which key.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use datasonar_net::{BodySource, Client, FetchError, FetchErrorKind, ResponseBody};
use http::{Method, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    },
};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use url::{Host, Url};

/// How long connecting may take.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long an exchange may take with the machine's own service for credentials: where there is none, nobody answers.
const METADATA_WITHIN: Duration = Duration::from_secs(2);
/// The longest answer that is not an object: a page of a list has a thousand keys.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// How much of an answer's code and of its message is told.
const MAX_TOLD_CHARS: usize = 300;

/// The network, as the S3 client sees it.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) client: Client,
    /// How long one exchange may take, from the first byte sent to the last received.
    pub(super) exchange_within: Duration,
}

impl HttpConnector for Network {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Network {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let is_metadata = matches!(url.host(), Some(Host::Ipv4(address)) if address.is_link_local());
        let deadline = Instant::now() + if is_metadata { METADATA_WITHIN } else { self.exchange_within };
        let is_read = parts.method == Method::GET;
        let length = body.content_length() as u64;
        let body = (length > 0).then(|| BodySource::new(body, length));
        let sent = self.client.send(parts.method, url, parts.headers, body);
        let response = timeout_at(deadline, sent).await.map_err(|_| late())?.map_err(broken)?;
        let (mut head, body) = response.into_parts();
        // Only objects have one: what is read in pieces can be resumed in the middle.
        if is_read && head.status.is_success() && head.headers.contains_key(header::ETAG) {
            return Ok(HttpResponse::from_parts(head, HttpResponseBody::new(Timed::new(body, deadline))));
        }
        let limited = Limited::new(body, MAX_ANSWER_BYTES).collect();
        let answer = timeout_at(deadline, limited).await.map_err(|_| late())?.map_err(|error| {
            match error.downcast::<FetchError>() {
                Ok(error) => broken(*error),
                Err(error) => HttpError::new_boxed(HttpErrorKind::Unknown, error),
            }
        })?;
        let mut answer = answer.to_bytes();
        if head.status.is_redirection() && head.status != StatusCode::NOT_MODIFIED {
            let region = head.headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
            answer = elsewhere(region).into();
            head.status = StatusCode::MISDIRECTED_REQUEST;
        } else if !head.status.is_success() {
            answer = told(&answer).into();
        }
        if head.status == StatusCode::RANGE_NOT_SATISFIABLE {
            // What lies after the end is not there.
            head.status = StatusCode::NOT_FOUND;
        }
        Ok(HttpResponse::from_parts(head, answer.into()))
    }
}

/// A response's body with a deadline.
struct Timed {
    body: ResponseBody,
    deadline: Pin<Box<Sleep>>,
}

impl Timed {
    fn new(body: ResponseBody, deadline: Instant) -> Self {
        Self { body, deadline: Box::pin(sleep_until(deadline)) }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(broken))),
            Poll::Pending => self.deadline.as_mut().poll(cx).map(|()| Some(Err(late()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn late() -> HttpError {
    HttpError::new(HttpErrorKind::Request, FetchFailed("there was no answer in time".to_owned()))
}

fn broken(error: FetchError) -> HttpError {
    let kind = match error.kind {
        FetchErrorKind::Dns | FetchErrorKind::Connect => HttpErrorKind::Connect,
        FetchErrorKind::InvalidUrl | FetchErrorKind::BlockedAddress => HttpErrorKind::Unknown,
        _ if error.is_transient() => HttpErrorKind::Request,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, FetchFailed(error.message))
}

/// Why there was no answer, without the URL: whoever asked knows it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct FetchFailed(String);

fn elsewhere(region: Option<&str>) -> String {
    match region {
        Some(region) => format!("the bucket is in the region {region}: set AWS_REGION to it"),
        None => "the bucket is at another address: check AWS_REGION and AWS_ENDPOINT_URL".to_owned(),
    }
}

/// What an answer in XML says, without what it repeats of the request.
fn told(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (inner, _) = rest.split_once("</")?;
        Some(inner.chars().filter(|next| !next.is_control()).take(MAX_TOLD_CHARS).collect::<String>())
    };
    let told: Vec<String> = [element("Code"), element("Message")].into_iter().flatten().collect();
    told.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_without_what_was_signed() {
        let answer = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code>\n<Message>The signature does not \
                      match.</Message><AWSAccessKeyId>AKIA1</AWSAccessKeyId><StringToSign>AWS4</StringToSign></Error>";
        assert_eq!(told(answer.as_bytes()), "SignatureDoesNotMatch: The signature does not match.");
        assert_eq!(told(b"<html>nginx</html>"), "");
        assert_eq!(told(b"<Code>cut off"), "");
        assert_eq!(told(format!("<Code>{}</Code>", "x".repeat(1_000)).as_bytes()).len(), MAX_TOLD_CHARS);
    }
}
