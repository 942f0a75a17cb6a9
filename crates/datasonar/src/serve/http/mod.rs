//! Accepts connections and hands their requests to the router.
//!
//! A connection costs little until it has sent a request: a task that waits for the first bytes, and nothing of hyper's before they say which version
//! of HTTP follows. Every wait for a client has a deadline: for the head of its first request from the moment the connection is accepted, for the next
//! request, for the bytes of a request body, and for taking the bytes of a response. The number of connections is limited, in total and per network.

mod body;
mod client;
mod files;
mod host;
mod limits;
mod socket;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ipnet::IpNet;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    body::{Paced, Tracked},
    limits::Connections,
    socket::Socket,
};
use crate::{dashboard::Peer, roles::DRAIN};

/// Time limit for the head of a request: for the first one from the moment the connection is accepted, for later ones on HTTP/1.1 from the end of the
/// previous response, so that it limits how long a kept connection may be idle as well.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Time that an HTTP/2 connection may be open without a stream.
const IDLE: Duration = Duration::from_secs(60);
/// Interval of HTTP/2 pings, and the time a client has to answer one.
const PING: Duration = Duration::from_secs(20);
/// Time that a closing connection has to take what it is still owed.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Time that accepting pauses when the system has no more to give, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the system may hold before they are accepted.
const BACKLOG: u32 = 1_024;
/// Bytes that the system holds of a response which a client is slow to take.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;
/// The longest head of an HTTP/1.1 request, and the buffer of a connection, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// Header lists on HTTP/2, in bytes.
const HEADER_LIST_BYTES: u32 = 16 * 1024;
/// HTTP/2 streams per connection.
const STREAMS: u32 = 64;
/// HTTP/2 flow control: bytes a client may send before they are read, per stream and per connection.
const WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// HTTP/2 streams that a client may reset before they are handled, and that may fail by its fault, before its connection is closed.
const RESETS: usize = 20;
const FAULTS: usize = 100;
/// The first bytes of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Limits of the HTTP front.
pub(super) struct FrontOptions {
    /// Connections at a time; by default as many as [`limits::default_total`] says.
    pub(super) max_connections: Option<usize>,
    /// Networks whose `X-Forwarded-For` and `Forwarded` are believed.
    pub(super) trusted_proxies: Vec<IpNet>,
    /// Files that this process may have open.
    pub(super) open_files: u64,
}

/// What all connections share.
struct Front {
    router: Router,
    trusted_proxies: Vec<IpNet>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    stop: CancellationToken,
}

/// Binds the socket that connections arrive at.
///
/// # Errors
/// When the address is not available.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until told to stop, then lets requests under way finish for a while.
pub(super) async fn serve(listener: TcpListener, router: Router, options: FrontOptions, stop: CancellationToken) {
    let FrontOptions { max_connections, trusted_proxies, open_files } = options;
    let total = max_connections.unwrap_or_else(|| limits::default_total(open_files));
    let connections = Connections::new(total, trusted_proxies.clone());
    let front = Arc::new(Front { router, trusted_proxies, http1: http1(), http2: http2(), stop: stop.clone() });
    let watch = tokio::spawn(files::watch(open_files, stop.clone()));
    let tasks = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                files::accept_failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        match connections.admit(peer.ip()) {
            Ok(seat) => {
                let front = front.clone();
                tasks.spawn(async move {
                    front.connection(stream, peer).await;
                    drop(seat);
                });
            }
            Err(refusal) => limits::shed(stream, refusal),
        }
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::info!("some requests were still open and were broken off");
    }
    watch.abort();
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(HEAD_BYTES).max_headers(100);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST_BYTES)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(FAULTS)
        .max_send_buf_size(WINDOW_BYTES as usize)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

impl Front {
    /// Serves one connection until it ends or misses a deadline.
    async fn connection(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr) {
        let deadline = Instant::now() + HEAD_WITHIN;
        let sniffed = self.stop.run_until_cancelled(tokio::time::timeout_at(deadline, sniff(&mut stream))).await;
        let Some(Ok(Ok((is_http2, first)))) = sniffed else { return };
        let activity = Arc::new(Activity::default());
        let socket = TokioIo::new(Socket::new(stream, first));
        let service = service_fn({
            let (front, activity) = (self.clone(), activity.clone());
            move |request| front.clone().answer(request, peer, activity.clone())
        });
        // Boxed, so that a connection that has sent nothing does not carry the state of both.
        if is_http2 {
            let connection = Box::pin(self.http2.serve_connection(socket, service));
            self.until_idle(connection, &activity, deadline, true, |connection| connection.graceful_shutdown()).await;
        } else {
            let connection = Box::pin(self.http1.serve_connection(socket, service));
            self.until_idle(connection, &activity, deadline, false, |connection| connection.graceful_shutdown()).await;
        }
    }

    /// Drives a connection, and closes it when it is idle, when its client takes nothing, or when the server stops.
    async fn until_idle<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<Box<C>>,
        activity: &Activity,
        first: Instant,
        is_http2: bool,
        close: impl Fn(Pin<&mut C>),
    ) {
        let within = tokio::select! {
            ended = &mut connection => return log(ended),
            () = activity.idle(first) => CLOSE_WITHIN,
            () = activity.stalled(), if is_http2 => {
                tracing::debug!("a client took nothing of its responses; its connection is closed");
                return;
            }
            () = self.stop.cancelled() => DRAIN,
        };
        close(connection.as_mut());
        if let Ok(ended) = tokio::time::timeout(within, connection).await {
            log(ended);
        }
    }

    /// Answers one request of a connection.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        activity: Arc<Activity>,
    ) -> Result<Response<Tracked>, Infallible> {
        let open = activity.begin();
        let address = client::address(peer.ip(), request.headers(), &self.trusted_proxies);
        let mut request = request.map(|body| Body::new(Paced::new(body)));
        if let Err(wrong) = host::check(&request) {
            request.extensions_mut().insert(wrong);
        }
        request.extensions_mut().insert(Peer(address));
        let response = TowerToHyperService::new(self.router.clone()).call(request).await?;
        Ok(response.map(|body| Tracked::new(body, open)))
    }
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Reads until the version of HTTP is known. Returns whether it is HTTP/2, and what was read.
async fn sniff(stream: &mut TcpStream) -> io::Result<(bool, Bytes)> {
    let mut first = [0; PREFACE.len()];
    let mut read = 0;
    while read < PREFACE.len() && first[..read] == PREFACE[..read] {
        match stream.read(&mut first[read..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
    }
    Ok((first == PREFACE, Bytes::copy_from_slice(&first[..read])))
}

/// The requests of a connection that are being answered.
#[derive(Default)]
struct Activity {
    open: AtomicUsize,
    /// Responses whose next bytes wait for the client.
    waiting: AtomicUsize,
    /// Counts the bytes that were taken, roughly: it changes when some are.
    taken: AtomicUsize,
    changed: Notify,
}

impl Activity {
    /// Counts a request until what is returned is dropped.
    fn begin(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        Open { activity: self.clone(), is_waiting: false }
    }

    /// Returns when no request was open until `first`, or for as long as [`IDLE`] later.
    async fn idle(&self, first: Instant) {
        let mut until = first;
        loop {
            let changed = self.changed.notified();
            if self.open.load(Ordering::Relaxed) > 0 {
                changed.await;
            } else if tokio::time::timeout_at(until, changed).await.is_err() {
                return;
            }
            until = Instant::now() + IDLE;
        }
    }

    /// Returns when every open response has waited for the client, and none got on, for as long as [`socket::STALL`].
    async fn stalled(&self) {
        let mut timer = pin!(tokio::time::interval(socket::STALL / 2));
        let (mut taken, mut times) = (0, 0);
        loop {
            timer.tick().await;
            let now = self.taken.load(Ordering::Relaxed);
            let waiting = self.waiting.load(Ordering::Relaxed);
            let stands = waiting > 0 && waiting == self.open.load(Ordering::Relaxed) && now == taken;
            (taken, times) = (now, if stands { times + 1 } else { 0 });
            if times == 2 {
                return;
            }
        }
    }
}

/// A request that is being answered, until the last byte of its response was handed over.
struct Open {
    activity: Arc<Activity>,
    is_waiting: bool,
}

impl Open {
    /// Notes whether the next bytes wait for the client, rather than the client for them.
    fn wait(&mut self, is_waiting: bool) {
        self.activity.taken.fetch_add(1, Ordering::Relaxed);
        if self.is_waiting != is_waiting {
            self.is_waiting = is_waiting;
            let waiting = &self.activity.waiting;
            let _ = if is_waiting {
                waiting.fetch_add(1, Ordering::Relaxed)
            } else {
                waiting.fetch_sub(1, Ordering::Relaxed)
            };
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.wait(false);
        self.activity.open.fetch_sub(1, Ordering::Relaxed);
        self.activity.changed.notify_one();
    }
}

#[cfg(test)]
mod tests;
