//! Which headers a caller may set, and which follow a redirect to another origin.

use http::header::{self, HeaderMap, HeaderName};

/// The most headers a caller may set.
pub const MAX_CALLER_HEADERS: usize = 64;

/// The most bytes of names and values in a caller's headers.
pub const MAX_CALLER_HEADER_BYTES: usize = 16 * 1024;

/// Headers that belong to the connection or the message, not to the caller; besides these everything under `proxy-`.
const OURS: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// Headers that say nothing about who asks; all others stay behind when a redirect leaves the origin.
const SAFE_ANYWHERE: [HeaderName; 6] =
    [header::ACCEPT, header::ACCEPT_LANGUAGE, header::CACHE_CONTROL, header::DNT, header::PRAGMA, header::USER_AGENT];

/// Headers that a caller may not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadersRefused {
    /// A header that the client sets itself, or that would change what the message means.
    #[error("the header `{0}` cannot be set")]
    Forbidden(HeaderName),
    /// More than [`MAX_CALLER_HEADERS`].
    #[error("more than {MAX_CALLER_HEADERS} headers")]
    TooMany,
    /// More than [`MAX_CALLER_HEADER_BYTES`].
    #[error("more than {MAX_CALLER_HEADER_BYTES} bytes of headers")]
    TooLarge,
}

/// Checks headers that a caller wants to send, so that they can be refused when they are accepted, not when they are sent.
///
/// `Host`, `Content-Length`, `Accept-Encoding` and the hop-by-hop headers of RFC 9110, section 7.6.1 are refused, and
/// everything under `Proxy-`. [`crate::Client`] leaves forbidden headers out if they reach it all the same.
///
/// # Errors
/// The first reason found, for people.
pub fn check_caller_headers(headers: &HeaderMap) -> Result<(), HeadersRefused> {
    if headers.len() > MAX_CALLER_HEADERS {
        return Err(HeadersRefused::TooMany);
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MAX_CALLER_HEADER_BYTES {
        return Err(HeadersRefused::TooLarge);
    }
    match headers.keys().find(|name| is_ours(name)) {
        Some(name) => Err(HeadersRefused::Forbidden(name.clone())),
        None => Ok(()),
    }
}

fn is_ours(name: &HeaderName) -> bool {
    OURS.contains(&name.as_str()) || name.as_str().starts_with("proxy-")
}

/// Leaves out what [`check_caller_headers`] forbids.
pub(crate) fn allowed(mut headers: HeaderMap) -> HeaderMap {
    let ours: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    headers
}

/// Leaves only what may be told to an origin that the caller did not name.
pub fn safe_for_another_origin(headers: &HeaderMap) -> HeaderMap {
    let mut safe = HeaderMap::new();
    for (name, value) in headers {
        if SAFE_ANYWHERE.contains(name) && !value.is_sensitive() {
            safe.append(name.clone(), value.clone());
        }
    }
    safe
}
