//! Why a page could not be fetched.

use std::fmt;

use http::StatusCode;
use url::Url;

use crate::address::UrlRefused;
use crate::client::NoResponse;
use crate::connect::ConnectError;
use crate::resolve::ResolveErrorKind;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FetchErrorKind {
    /// The URL, or one that a redirect names, cannot be fetched by its form: scheme, host, length.
    InvalidUrl,
    /// Every address of the host is one that may not be dialled.
    BlockedAddress,
    /// The host name could not be resolved.
    Dns,
    /// No address took the connection.
    Connect,
    /// The handshake failed: an unknown authority, a wrong name, an expired certificate, no common version.
    Tls,
    /// Time ran out, for connecting or as a whole.
    Timeout,
    /// More redirects than were allowed.
    TooManyRedirects,
    /// A redirect that the caller's guard did not allow.
    RedirectRefused,
    /// The decoded body is larger than allowed, or expands too much.
    BodyTooLarge,
    /// The body is not what its `Content-Encoding` says, or ends early.
    Decode,
    /// The connection broke, or what came back is not HTTP within the limits.
    Protocol,
}

impl FetchErrorKind {
    /// Whether the same request may well succeed a little later.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Dns | Self::Connect | Self::Timeout | Self::Protocol)
    }

    /// The contract's code for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidUrl => "invalid_url",
            Self::BlockedAddress => "blocked_address",
            Self::Dns => "dns_error",
            Self::Connect | Self::Protocol => "connect_error",
            Self::Tls => "tls_error",
            Self::Timeout => "timeout",
            Self::TooManyRedirects => "too_many_redirects",
            Self::RedirectRefused => "redirect_refused",
            Self::BodyTooLarge => "body_too_large",
            Self::Decode => "decode_error",
        }
    }
}

/// A page that could not be fetched.
#[derive(Clone, Debug)]
pub struct FetchError {
    /// What kind of failure it was.
    pub kind: FetchErrorKind,
    /// What happened, for people. Names hosts and addresses; never headers, credentials or content.
    pub message: String,
    /// The URL that was being asked for when it failed, without credentials; `None` if the first was refused.
    pub final_url: Option<Url>,
    /// The status of the last response, if its head arrived.
    pub status: Option<StatusCode>,
    /// Redirects followed.
    pub redirects: u8,
    pub(crate) is_transient: bool,
}

impl FetchError {
    /// The failure of a fetch whose time was over before it was made.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(FetchErrorKind::Timeout, message)
    }

    pub(crate) fn new(kind: FetchErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            final_url: None,
            status: None,
            redirects: 0,
            is_transient: kind.is_transient(),
        }
    }

    fn transient(mut self, is_transient: bool) -> Self {
        self.is_transient = is_transient;
        self
    }

    /// Whether the same request may well succeed a little later.
    ///
    /// Finer than the kind's answer: a name that does not exist is permanent, a resolver that does not answer is not.
    pub fn is_transient(&self) -> bool {
        self.is_transient
    }

    /// The contract's code for it.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FetchError {}

impl From<UrlRefused> for FetchError {
    fn from(refused: UrlRefused) -> Self {
        let kind =
            if refused.is_blocked_address() { FetchErrorKind::BlockedAddress } else { FetchErrorKind::InvalidUrl };
        Self::new(kind, refused.to_string())
    }
}

impl From<NoResponse> for FetchError {
    fn from(failed: NoResponse) -> Self {
        let (kind, is_transient) = match &failed {
            NoResponse::Url(_) => (FetchErrorKind::InvalidUrl, false),
            NoResponse::Connect(ConnectError::Blocked(_)) => (FetchErrorKind::BlockedAddress, false),
            NoResponse::Connect(ConnectError::Dns(error)) => {
                (FetchErrorKind::Dns, error.kind == ResolveErrorKind::Unavailable)
            }
            NoResponse::Connect(ConnectError::Refused(_) | ConnectError::Connect(_)) => (FetchErrorKind::Connect, true),
            NoResponse::Connect(ConnectError::Tls { transient, .. }) => (FetchErrorKind::Tls, *transient),
            NoResponse::Connect(ConnectError::Timeout(_)) => (FetchErrorKind::Timeout, true),
            NoResponse::Exchange { error, .. } => (FetchErrorKind::Protocol, !error.is_parse()),
        };
        Self::new(kind, failed.message()).transient(is_transient)
    }
}
