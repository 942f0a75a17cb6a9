//! The client: its options, and how a request finds a connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};
use rustls_pki_types::CertificateDer;
use url::{Position, Url};

use crate::address::AddressPolicy;
use crate::body::{BodySource, UploadBody};
use crate::channel::{self, Channel};
use crate::connect::{ConnectError, Connector, Target};
use crate::decode::BodyMemory;
use crate::dial::{Dial, TcpDialer};
use crate::headers;
use crate::pool::Pool;
use crate::resolve::{Resolve, SystemResolver};
use crate::timings::Trace;
use crate::tls::Tls;

/// How a [`Client`] behaves. Made by [`ClientOptions::new`]; fields are then set, or updated with `..`.
#[derive(Clone)]
pub struct ClientOptions {
    /// Which addresses may be dialled.
    pub policy: AddressPolicy,
    /// The `User-Agent` of requests that bring none. `Datasonar` by default.
    pub user_agent: String,
    /// Certificate authorities trusted besides Mozilla's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// How long name resolution, TCP and TLS may take together. 10 s by default. Posts carry their own.
    pub connect_timeout: Duration,
    /// How many idle connections are kept per scheme, host and port. 16 by default; 0 turns pooling off.
    pub pool_idle_per_host: usize,
    /// The most bytes of a response's status line and headers. 64 KiB by default. Besides, at most 200 headers are taken.
    pub max_header_bytes: usize,
    /// The bytes that fetched bodies over 256 KiB may take together, until their [`crate::Fetched`] is dropped. A fetch whose
    /// body grows beyond 256 KiB waits until all that it may still become is free; the wait counts towards its time limit.
    /// 240 MiB by default.
    pub body_memory: u64,
    /// Turns names into addresses. The system's resolver by default.
    pub resolver: Arc<dyn Resolve>,
    /// Opens connections. TCP by default.
    pub dialer: Arc<dyn Dial>,
}

impl ClientOptions {
    /// The defaults, with the given policy.
    pub fn new(policy: AddressPolicy) -> Self {
        Self {
            policy,
            user_agent: "Datasonar".to_owned(),
            extra_roots: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            pool_idle_per_host: 16,
            max_header_bytes: 64 * 1024,
            body_memory: 240 * 1024 * 1024,
            resolver: Arc::new(SystemResolver::new()),
            dialer: Arc::new(TcpDialer),
        }
    }
}

/// Options that no client can be made of.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An extra root is not a certificate authority's certificate.
    #[error("a certificate authority's certificate is unusable: {0}")]
    Root(#[source] rustls::Error),
    /// The user agent has bytes that a header cannot carry.
    #[error("the user agent `{0}` cannot be sent in a header")]
    UserAgent(String),
}

/// The guarded HTTP client. Cloning is cheap and shares the connections.
///
/// Ignores `HTTP_PROXY` and its relatives: a proxy would dial in our place, unchecked. Keeps no cookies. Needs a tokio
/// runtime, to which its connections' tasks belong.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) connector: Connector,
    pool: Arc<Pool>,
    user_agent: HeaderValue,
    pub(crate) connect_timeout: Duration,
    max_header_bytes: usize,
    pub(crate) body_memory: BodyMemory,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("policy", &self.inner.connector.policy).finish_non_exhaustive()
    }
}

/// Why no response began.
pub(crate) enum NoResponse {
    /// The URL cannot be put into a request.
    Url(String),
    /// There was no connection to ask on.
    Connect(ConnectError),
    /// The connection broke, or what came back is not HTTP.
    Exchange {
        error: hyper::Error,
        /// Whether the connection had served a request before, so that it may simply have been closed as idle.
        was_reused: bool,
    },
}

/// How long an unused connection is kept after a fetch.
pub(crate) const FETCH_KEEP: Duration = Duration::from_secs(30);

impl Client {
    /// Makes a client. Opens no connection and reads no file.
    ///
    /// # Errors
    /// [`ClientError`] if an option is unusable.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let user_agent = HeaderValue::from_str(&options.user_agent)
            .map_err(|_| ClientError::UserAgent(options.user_agent.clone()))?;
        let connector = Connector {
            policy: options.policy,
            resolver: options.resolver,
            dialer: options.dialer,
            tls: Tls::new(&options.extra_roots).map_err(ClientError::Root)?,
        };
        let inner = Inner {
            connector,
            pool: Arc::new(Pool::new(options.pool_idle_per_host)),
            user_agent,
            connect_timeout: options.connect_timeout,
            max_header_bytes: options.max_header_bytes,
            body_memory: BodyMemory::new(options.body_memory),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The policy that every address is checked against.
    pub fn policy(&self) -> &AddressPolicy {
        &self.inner.connector.policy
    }

    /// Finds a connection: an idle one, unless a fresh one is wanted, or a new one.
    pub(crate) async fn channel(
        &self,
        target: &Target,
        fresh: bool,
        limit: Duration,
        trace: &mut Trace,
    ) -> Result<Channel, NoResponse> {
        while let Some(mut channel) = if fresh { None } else { self.inner.pool.take(target) } {
            if channel.is_ready().await {
                trace.remote = Some(channel.remote);
                return Ok(channel);
            }
            if channel.is_shared() {
                self.inner.pool.forget(target);
            }
        }
        let made = self.inner.connector.connect(target, limit, trace).await.map_err(NoResponse::Connect)?;
        let channel = Channel::start(made, self.inner.max_header_bytes).await;
        let channel = channel.map_err(|error| NoResponse::Exchange { error, was_reused: false })?;
        if let Some(shared) = channel.share() {
            self.inner.pool.put(target.clone(), shared, FETCH_KEEP);
        }
        Ok(channel)
    }

    /// Gives a connection back whose last response was read to its end.
    pub(crate) fn release(&self, target: Target, channel: Channel, keep: Duration) {
        if !channel.is_shared() {
            self.inner.pool.put(target, channel, keep);
        }
    }

    /// Drops the idle connections to a target, after one of them was found dead.
    pub(crate) fn forget(&self, target: &Target) {
        self.inner.pool.forget(target);
    }

    /// Writes the request for a URL in the form that the connection's protocol wants.
    pub(crate) fn request(
        &self,
        channel: &Channel,
        method: Method,
        url: &Url,
        caller: &HeaderMap,
        body: UploadBody,
        content_length: Option<u64>,
    ) -> Result<Request<UploadBody>, NoResponse> {
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let path = &url[Position::BeforePath..Position::AfterQuery];
        let bad = || NoResponse::Url("the URL cannot be put into a request".to_owned());
        let mut request = Request::new(body);
        *request.method_mut() = method;
        let mut headers = headers::allowed(caller.clone());
        if channel.is_h2() {
            let uri = Uri::builder().scheme(url.scheme()).authority(host).path_and_query(path).build();
            *request.uri_mut() = uri.map_err(|_| bad())?;
            *request.version_mut() = Version::HTTP_2;
        } else {
            *request.uri_mut() = Uri::builder().path_and_query(path).build().map_err(|_| bad())?;
            headers.insert(header::HOST, HeaderValue::from_str(host).map_err(|_| bad())?);
        }
        headers.entry(header::USER_AGENT).or_insert_with(|| self.inner.user_agent.clone());
        if let Some(length) = content_length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

impl NoResponse {
    /// Whether a request without side effects should simply be sent again on a fresh connection.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Self::Exchange { was_reused: true, error, .. } if !error.is_parse())
    }

    /// What happened, for people.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Url(message) => message.clone(),
            Self::Connect(
                ConnectError::Blocked(message)
                | ConnectError::Refused(message)
                | ConnectError::Connect(message)
                | ConnectError::Timeout(message),
            ) => message.clone(),
            Self::Connect(ConnectError::Tls { message, .. }) => message.clone(),
            Self::Connect(ConnectError::Dns(error)) => error.message.clone(),
            Self::Exchange { error, .. } => channel::explain(error),
        }
    }
}

/// An upload body with nothing in it.
pub(crate) fn no_body() -> UploadBody {
    UploadBody::new(BodySource::bytes(Bytes::new()))
}
