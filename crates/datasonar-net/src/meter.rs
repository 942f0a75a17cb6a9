//! Watches a connection's upload: when did it last make progress, when had everything gone out?
//!
//! Hyper tells neither, but a webhook's deadlines need both: the response timeout counts from the last byte of the body
//! handed to the socket, and an upload is stalled when no byte has moved for a while. The meter sits between hyper and
//! the (TLS) stream; [`crate::body::UploadBody`] tells it when the body's end was handed over, and the flush that follows
//! is the moment of "sent": hyper flushes its stream only once its own buffer is empty.
//!
//! It also keeps a broken write side to itself: a peer that answers `413` and closes makes writes fail while its answer is
//! still waiting to be read. The write then pends instead of failing, and reading decides how the exchange ends.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dial::Connection;

/// What is known of the upload under way on one connection.
pub(crate) struct Meter {
    state: Mutex<State>,
    sent: Notify,
}

struct State {
    progress: Instant,
    written: u64,
    received: bool,
    flushed: bool,
    body_ended: bool,
    sent: Option<Instant>,
    source_waiting: bool,
    source_error: Option<String>,
    write_broken: bool,
}

/// Which deadline an upload runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The peer takes no bytes.
    Upload,
    /// The source of the body gives none.
    Source,
    /// Everything is sent; the peer does not answer.
    Response,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let state = State {
            progress: Instant::now(),
            written: 0,
            received: false,
            flushed: false,
            body_ended: false,
            sent: None,
            source_waiting: false,
            source_error: None,
            write_broken: false,
        };
        Self { state: Mutex::new(state), sent: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts watching a new request.
    pub(crate) fn begin(&self, body_is_empty: bool) {
        let mut state = self.lock();
        state.progress = Instant::now();
        state.written = 0;
        state.received = false;
        state.flushed = false;
        state.body_ended = body_is_empty;
        state.sent = None;
        state.source_waiting = false;
        state.source_error = None;
    }

    /// The last byte of the body has been handed over.
    pub(crate) fn body_ended(&self) {
        self.lock().body_ended = true;
    }

    /// The source has no bytes yet (`true`), or has given some.
    pub(crate) fn source_waits(&self, waits: bool) {
        self.lock().source_waiting = waits;
    }

    /// The source failed; kept because hyper reports it as a failure of the connection.
    pub(crate) fn source_failed(&self, message: String) {
        self.lock().source_error = Some(message);
    }

    pub(crate) fn source_error(&self) -> Option<String> {
        self.lock().source_error.clone()
    }

    /// Bytes of the request, headers included, that were handed to the stream.
    pub(crate) fn written(&self) -> u64 {
        self.lock().written
    }

    /// Whether anything came back.
    pub(crate) fn has_received(&self) -> bool {
        self.lock().received
    }

    /// Whether the whole request was handed to the socket.
    pub(crate) fn is_sent(&self) -> bool {
        self.lock().sent.is_some()
    }

    /// Waits until the whole request was handed to the socket. May return early; may be called by one task at a time.
    pub(crate) async fn sent(&self) {
        self.sent.notified().await;
    }

    /// Tells until when to wait, and for what, as things stand.
    pub(crate) fn deadline(&self, stall: Duration, response: Duration) -> (Instant, Waiting) {
        let state = self.lock();
        match state.sent {
            Some(sent) => (sent + response, Waiting::Response),
            None if state.source_waiting && state.flushed => (state.progress + stall, Waiting::Source),
            None => (state.progress + stall, Waiting::Upload),
        }
    }

    fn wrote(&self, bytes: usize) {
        let mut state = self.lock();
        state.progress = Instant::now();
        state.written += bytes as u64;
        state.flushed = false;
    }

    fn flushed(&self) {
        let mut state = self.lock();
        state.flushed = true;
        if state.body_ended && state.sent.is_none() {
            state.sent = Some(Instant::now());
            drop(state);
            self.sent.notify_one();
        }
    }
}

/// A connection whose upload is watched.
pub(crate) struct Metered {
    stream: Box<dyn Connection>,
    meter: Arc<Meter>,
}

impl Metered {
    pub(crate) fn new(stream: Box<dyn Connection>, meter: Arc<Meter>) -> Self {
        Self { stream, meter }
    }

    fn written(&self, result: io::Result<usize>) -> Poll<io::Result<usize>> {
        match result {
            Ok(bytes) => {
                self.meter.wrote(bytes);
                Poll::Ready(Ok(bytes))
            }
            Err(_) => {
                // Nothing wakes this write again; the read side is polled by the same task and will end the exchange.
                self.meter.lock().write_broken = true;
                Poll::Pending
            }
        }
    }

    fn is_broken(&self) -> bool {
        self.meter.lock().write_broken
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if buf.filled().len() > before {
            self.meter.lock().received = true;
        }
        match read {
            // A peer that closes TCP without TLS's close_notify. Bodies with a length or in chunks notice when they were cut
            // short; for the rest this is what browsers accept.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_broken() {
            return Poll::Pending;
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_broken() {
            return Poll::Pending;
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_broken() {
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
            Ok(()) => {
                self.meter.flushed();
                Poll::Ready(Ok(()))
            }
            Err(_) => {
                self.meter.lock().write_broken = true;
                Poll::Pending
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_broken() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
