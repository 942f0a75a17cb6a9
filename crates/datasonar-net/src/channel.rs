//! One HTTP connection: a request goes in, a response comes out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::body::UploadBody;
use crate::connect::Established;
use crate::meter::{Meter, Metered};

/// The most headers of a response.
pub(crate) const MAX_HEADERS: usize = 200;

/// Hyper's buffers per connection, each way, in bytes. Hyper asks for 8 KiB at least.
const MIN_BUFFER_BYTES: usize = 64 * 1024;

/// How long a pooled connection may take to say that it is ready; it is once its task has run.
const READY_WITHIN: Duration = Duration::from_millis(100);

/// A connection with HTTP on it. Dropping the last holder closes the socket, whatever is under way.
pub(crate) struct Channel {
    sender: Sender,
    pub(crate) meter: Arc<Meter>,
    pub(crate) remote: SocketAddr,
    /// Whether a request was sent on it before.
    pub(crate) is_reused: bool,
    driver: Arc<AbortOnDropHandle<()>>,
}

enum Sender {
    H1(http1::SendRequest<UploadBody>),
    H2(http2::SendRequest<UploadBody>),
}

/// A request that got no response.
pub(crate) struct Unanswered {
    pub(crate) error: hyper::Error,
    /// The request, if nothing of it was sent.
    pub(crate) request: Option<Box<Request<UploadBody>>>,
}

impl Channel {
    /// Starts HTTP on a new connection, in a task that ends with the channel.
    pub(crate) async fn start(on: Established, max_header_bytes: usize) -> Result<Self, hyper::Error> {
        let meter = Arc::new(Meter::new());
        let remote = on.remote;
        let io = TokioIo::new(Metered::new(on.stream, Arc::clone(&meter)));
        let (sender, driver) = if on.h2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
                .initial_stream_window_size(1024 * 1024)
                .initial_connection_window_size(4 * 1024 * 1024)
                .handshake(io)
                .await?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            (Sender::H2(sender), driver)
        } else {
            let (sender, connection) = http1::Builder::new()
                .max_headers(MAX_HEADERS)
                .max_header_size(max_header_bytes)
                .max_buf_size(max_header_bytes.max(MIN_BUFFER_BYTES))
                // The web is older than its standards.
                .allow_obsolete_multiline_headers_in_responses(true)
                .allow_spaces_after_header_name_in_responses(true)
                .ignore_invalid_headers_in_responses(true)
                .handshake(io)
                .await?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            (Sender::H1(sender), driver)
        };
        let driver = Arc::new(AbortOnDropHandle::new(driver));
        Ok(Self { sender, meter, remote, is_reused: false, driver })
    }

    pub(crate) fn is_h2(&self) -> bool {
        matches!(self.sender, Sender::H2(_))
    }

    /// Whether several requests can be on it at once.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_h2()
    }

    /// Another handle to the same connection, if requests can share it.
    pub(crate) fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::H1(_) => None,
            Sender::H2(sender) => Some(Self {
                sender: Sender::H2(sender.clone()),
                meter: Arc::clone(&self.meter),
                remote: self.remote,
                is_reused: true,
                driver: Arc::clone(&self.driver),
            }),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::H1(sender) => sender.is_closed(),
            Sender::H2(sender) => sender.is_closed(),
        }
    }

    /// Waits until the connection takes a request; `false` if it is of no more use.
    pub(crate) async fn is_ready(&mut self) -> bool {
        let ready = async {
            match &mut self.sender {
                Sender::H1(sender) => sender.ready().await,
                Sender::H2(sender) => sender.ready().await,
            }
        };
        matches!(timeout(READY_WITHIN, ready).await, Ok(Ok(())))
    }

    /// Sends a request and waits for the head of its response. Informational responses (1xx) are passed over.
    pub(crate) async fn exchange(
        &mut self,
        mut request: Request<UploadBody>,
    ) -> Result<Response<Incoming>, Unanswered> {
        request.body_mut().report_to(Arc::clone(&self.meter));
        let sent = match &mut self.sender {
            Sender::H1(sender) => sender.try_send_request(request).await,
            Sender::H2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut failed: TrySendError<Request<UploadBody>>| Unanswered {
            request: failed.take_message().map(Box::new),
            error: failed.into_error(),
        })
    }
}

/// Says in a few words what went wrong on a connection.
pub(crate) fn explain(error: &hyper::Error) -> String {
    let io = std::iter::successors(std::error::Error::source(error), |error| error.source())
        .find_map(|source| source.downcast_ref::<std::io::Error>());
    if error.is_parse_too_large() {
        "the response's headers are too large".to_owned()
    } else if error.is_parse() {
        format!("the response is not valid HTTP: {error}")
    } else if let Some(io) = io {
        match io.kind() {
            std::io::ErrorKind::ConnectionReset => "the connection was reset".to_owned(),
            _ => format!("the connection broke: {io}"),
        }
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "the connection was closed before the response was complete".to_owned()
    } else {
        match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    }
}
