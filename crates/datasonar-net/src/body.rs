//! What is sent: a request's body, of a length known beforehand.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};

use crate::meter::Meter;

/// Any error, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body and its exact length.
///
/// The length is sent as `Content-Length`. A source that ends short of it, or oversteps it with a chunk, fails the request
/// as [`crate::PostErrorKind::BodySource`]; the peer then sees the connection end before the body does. Bytes are pulled
/// only as fast as the peer takes them, so that the memory needed is a chunk of the source plus at most 64 KiB.
pub struct BodySource {
    body: UnsyncBoxBody<Bytes, BoxError>,
    content_length: u64,
}

impl BodySource {
    /// No body.
    pub fn empty() -> Self {
        Self::new(Empty::new(), 0)
    }

    /// A body held in memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let content_length = bytes.len() as u64;
        Self::new(Full::new(bytes), content_length)
    }

    /// A body of exactly `content_length` bytes. Trailers are not sent.
    pub fn new<B>(body: B, content_length: u64) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self { body: body.map_err(Into::into).boxed_unsync(), content_length }
    }

    /// A body of exactly `content_length` bytes, from a stream of chunks.
    pub fn stream<S, E>(stream: S, content_length: u64) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        Self::new(StreamBody::new(stream.map_ok(Frame::data)), content_length)
    }

    /// The exact length in bytes.
    pub fn content_length(&self) -> u64 {
        self.content_length
    }
}

impl std::fmt::Debug for BodySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodySource").field("content_length", &self.content_length).finish_non_exhaustive()
    }
}

/// A body as hyper takes it: holds the source to its word and tells the connection's meter what happens.
pub(crate) struct UploadBody {
    source: BodySource,
    remaining: u64,
    meter: Option<Arc<Meter>>,
}

impl UploadBody {
    pub(crate) fn new(source: BodySource) -> Self {
        let remaining = source.content_length;
        Self { source, remaining, meter: None }
    }

    /// Reports to the meter of the connection that the body is about to be sent on.
    pub(crate) fn report_to(&mut self, meter: Arc<Meter>) {
        meter.begin(self.remaining == 0);
        self.meter = Some(meter);
    }

    fn fail(&self, message: String) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(meter) = &self.meter {
            meter.source_failed(message.clone());
        }
        Poll::Ready(Some(Err(message.into())))
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if this.remaining == 0 {
                return Poll::Ready(None);
            }
            let polled = Pin::new(&mut this.source.body).poll_frame(cx);
            if let Some(meter) = &this.meter {
                meter.source_waits(polled.is_pending());
            }
            let declared = this.source.content_length;
            let data = match ready!(polled) {
                None => {
                    return this.fail(format!("the body ended {} bytes short of {declared}", this.remaining));
                }
                Some(Err(error)) => return this.fail(error.to_string()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => data,
                    Err(_trailers) => continue,
                },
            };
            let Some(remaining) = this.remaining.checked_sub(data.len() as u64) else {
                return this.fail(format!("the body is longer than {declared} bytes"));
            };
            this.remaining = remaining;
            if let (0, Some(meter)) = (remaining, &this.meter) {
                meter.body_ended();
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
