//! Why a post got no response.

use crate::address::UrlRefused;
use crate::channel::explain;
use crate::client::NoResponse;
use crate::connect::{CertificateFault, ConnectError};

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PostErrorKind {
    /// The URL cannot be posted to by its form. Nothing was sent.
    InvalidUrl,
    /// The URL is not `https`, and had to be. Nothing was sent.
    NotHttps,
    /// Every address of the host is one that may not be dialled. Nothing was sent.
    BlockedAddress,
    /// The host name could not be resolved. Nothing was sent.
    Dns,
    /// The host refused the connection. Nothing was sent.
    Refused,
    /// No address took the connection. Nothing was sent.
    Connect,
    /// Resolving, connecting or the TLS handshake took too long. Nothing was sent.
    ConnectTimeout,
    /// The certificate's time is over or has not begun. Nothing was sent.
    CertificateExpired,
    /// The certificate is another host's. Nothing was sent.
    CertificateWrongHost,
    /// The certificate leads to no root that is trusted. Nothing was sent.
    CertificateUntrusted,
    /// The TLS handshake failed otherwise. Nothing was sent.
    Tls,
    /// The receiver stopped taking bytes before the body's end.
    UploadStalled,
    /// Nothing of a response came in time.
    Timeout,
    /// A response began in time, but its headers did not end in time.
    HeadersTimeout,
    /// The connection was closed or reset before the response was there. The receiver may have the body.
    Reset,
    /// What came back is not HTTP within the limits.
    Protocol,
    /// The body's source failed, stood still, or did not have the length it said. The receiver has part of it at most.
    BodySource,
}

impl PostErrorKind {
    /// A stable code for it, in the contract's words where those have one.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidUrl => "invalid_url",
            Self::NotHttps => "not_https",
            Self::BlockedAddress => "blocked_address",
            Self::Dns => "dns_error",
            Self::Refused => "connection_refused",
            Self::Connect => "connect_error",
            Self::ConnectTimeout => "connect_timeout",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateWrongHost => "certificate_wrong_host",
            Self::CertificateUntrusted => "certificate_untrusted",
            Self::Tls => "tls_error",
            Self::UploadStalled => "upload_stalled",
            Self::Timeout => "timeout",
            Self::HeadersTimeout => "headers_timeout",
            Self::Reset => "connection_reset",
            Self::Protocol => "protocol_error",
            Self::BodySource => "body_source",
        }
    }
}

/// A post that got no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PostError {
    /// What kind of failure it was.
    pub kind: PostErrorKind,
    /// What happened, for people. Names hosts and addresses; never headers, credentials or content.
    pub message: String,
}

impl PostError {
    pub(crate) fn new(kind: PostErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The connection broke after `written` bytes of the request.
    pub(crate) fn broken(error: &hyper::Error, written: u64) -> Self {
        let kind = if error.is_parse() { PostErrorKind::Protocol } else { PostErrorKind::Reset };
        Self::new(kind, format!("{} ({written} bytes of the request were sent)", explain(error)))
    }

    /// A stable code for it.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }
}

impl From<UrlRefused> for PostError {
    fn from(refused: UrlRefused) -> Self {
        let kind = if refused.is_blocked_address() { PostErrorKind::BlockedAddress } else { PostErrorKind::InvalidUrl };
        Self::new(kind, refused.to_string())
    }
}

impl From<NoResponse> for PostError {
    fn from(failed: NoResponse) -> Self {
        let kind = match &failed {
            NoResponse::Url(_) => PostErrorKind::InvalidUrl,
            NoResponse::Connect(ConnectError::Blocked(_)) => PostErrorKind::BlockedAddress,
            NoResponse::Connect(ConnectError::Dns(_)) => PostErrorKind::Dns,
            NoResponse::Connect(ConnectError::Refused(_)) => PostErrorKind::Refused,
            NoResponse::Connect(ConnectError::Connect(_)) => PostErrorKind::Connect,
            NoResponse::Connect(ConnectError::Tls { certificate, .. }) => match certificate {
                Some(CertificateFault::Expired) => PostErrorKind::CertificateExpired,
                Some(CertificateFault::WrongHost) => PostErrorKind::CertificateWrongHost,
                Some(CertificateFault::Untrusted) => PostErrorKind::CertificateUntrusted,
                None => PostErrorKind::Tls,
            },
            NoResponse::Connect(ConnectError::Timeout(_)) => PostErrorKind::ConnectTimeout,
            NoResponse::Exchange { error, .. } if error.is_parse() => PostErrorKind::Protocol,
            NoResponse::Exchange { .. } => PostErrorKind::Reset,
        };
        Self::new(kind, failed.message())
    }
}
