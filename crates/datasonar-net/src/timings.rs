//! Where the time of a request went.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Where the time of a request went, by tokio's clock.
///
/// A part is `None` when it did not happen: no DNS for a literal address, none of the first three on a pooled connection,
/// and nothing after the part that failed. After redirects the parts are the last request's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Resolving the name.
    pub dns: Option<Duration>,
    /// Connecting over TCP, over all addresses tried.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request being handed to the connection to the head of its response.
    pub first_byte: Option<Duration>,
    /// The whole call.
    pub total: Duration,
}

/// What is known of a request while it runs, so that one that is cut off can still be told of.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) started: Instant,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) timings: Timings,
    pub(crate) stage: &'static str,
}

impl Trace {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), remote: None, timings: Timings::default(), stage: "connecting to" }
    }

    /// Forgets the parts of an earlier request; the whole goes on.
    pub(crate) fn next_request(&mut self) {
        self.remote = None;
        self.timings = Timings::default();
    }

    /// The timings up to now.
    pub(crate) fn timings(&self) -> Timings {
        Timings { total: self.started.elapsed(), ..self.timings }
    }
}
