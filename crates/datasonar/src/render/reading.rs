//! What a browser says, read: its document, its errors, its pictures.

use datasonar_net::FetchErrorKind;
use http::{HeaderMap, StatusCode, header};

use super::RenderError;

/// Reads the document through the browser's own functions: a page can put elements in the place of a document's properties.
pub(super) const READ: &str = "(() => {
    const own = (of, name) => Object.getOwnPropertyDescriptor(of.prototype, name).get;
    const root = own(Document, 'documentElement').call(document);
    if (!root) return {};
    const html = (own(Document, 'doctype').call(document) ? '<!DOCTYPE html>' : '') + own(Element, 'outerHTML').call(root);
    return html.length > MAX ? {length: html.length} : {html, url: location.href};
})()";

/// The failure of what passes a bound.
pub(super) fn too_large(what: &str, max: u64) -> RenderError {
    RenderError::of(FetchErrorKind::BodyTooLarge, format!("{what} is larger than {max} bytes"))
}

/// Whether a success is a page that a browser shows, rather than nothing, or a file.
pub(super) fn is_page(status: StatusCode, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let kind = text(header::CONTENT_TYPE);
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_html = matches!(kind, "" | "text/html" | "application/xhtml+xml");
    let is_empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    is_html && !is_empty && !text(header::CONTENT_DISPOSITION).trim_start().starts_with("attachment")
}

/// The class of a browser's network error; `None` for one that is not of the network.
pub(super) fn kind_of(name: &str) -> Option<FetchErrorKind> {
    match name {
        "ERR_TOO_MANY_REDIRECTS" => Some(FetchErrorKind::TooManyRedirects),
        "ERR_TIMED_OUT" | "ERR_CONNECTION_TIMED_OUT" => Some(FetchErrorKind::Timeout),
        "ERR_NAME_NOT_RESOLVED" => Some(FetchErrorKind::Dns),
        "ERR_CONTENT_DECODING_FAILED" | "ERR_CONTENT_DECODING_INIT_FAILED" => Some(FetchErrorKind::Decode),
        "ERR_UNSAFE_PORT" | "ERR_INVALID_URL" | "ERR_UNSAFE_REDIRECT" | "ERR_INVALID_REDIRECT" => {
            Some(FetchErrorKind::InvalidUrl)
        }
        _ if name.starts_with("ERR_CERT_") || name.starts_with("ERR_SSL_") || name.starts_with("ERR_BAD_SSL") => {
            Some(FetchErrorKind::Tls)
        }
        _ if [
            "ERR_CONNECTION_",
            "ERR_HTTP2_",
            "ERR_INVALID_",
            "ERR_EMPTY_",
            "ERR_RESPONSE_",
            "ERR_INCOMPLETE_",
            "ERR_TUNNEL_",
            "ERR_PROXY_",
            "ERR_SOCKET_",
            "ERR_ADDRESS_",
            "ERR_CONTENT_LENGTH_",
        ]
        .iter()
        .any(|class| name.starts_with(class)) =>
        {
            Some(FetchErrorKind::Protocol)
        }
        _ => None,
    }
}

/// The size that a PNG's head says it has.
pub(super) fn png_size(png: &[u8]) -> Option<(u32, u32)> {
    let head = png.strip_prefix(b"\x89PNG\r\n\x1a\n")?.get(4..16)?.strip_prefix(b"IHDR")?;
    let number = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    Some((number(0)?, number(4)?))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn errors_have_the_classes_of_a_fetch() {
        for (name, kind) in [
            ("ERR_CERT_AUTHORITY_INVALID", Some(FetchErrorKind::Tls)),
            ("ERR_SSL_PROTOCOL_ERROR", Some(FetchErrorKind::Tls)),
            ("ERR_CONNECTION_RESET", Some(FetchErrorKind::Protocol)),
            ("ERR_CONNECTION_TIMED_OUT", Some(FetchErrorKind::Timeout)),
            ("ERR_EMPTY_RESPONSE", Some(FetchErrorKind::Protocol)),
            ("ERR_TUNNEL_CONNECTION_FAILED", Some(FetchErrorKind::Protocol)),
            ("ERR_TOO_MANY_REDIRECTS", Some(FetchErrorKind::TooManyRedirects)),
            ("ERR_UNSAFE_PORT", Some(FetchErrorKind::InvalidUrl)),
            ("ERR_ABORTED", None),
            ("ERR_BLOCKED_BY_CLIENT", None),
        ] {
            assert_eq!(kind_of(name), kind, "{name}");
        }
    }

    #[test]
    fn pages_are_html_that_is_shown() {
        let of = |status, list: &[(http::HeaderName, &'static str)]| {
            let headers = list.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            is_page(status, &headers)
        };
        assert!(of(StatusCode::OK, &[(header::CONTENT_TYPE, "Text/HTML; charset=x")]));
        assert!(of(StatusCode::OK, &[(header::CONTENT_TYPE, "application/xhtml+xml")]));
        assert!(of(StatusCode::OK, &[]));
        assert!(!of(StatusCode::OK, &[(header::CONTENT_TYPE, "application/pdf")]));
        assert!(!of(StatusCode::NO_CONTENT, &[]));
        let file = [(header::CONTENT_TYPE, "text/html"), (header::CONTENT_DISPOSITION, "Attachment; filename=a.html")];
        assert!(!of(StatusCode::OK, &file));
    }

    #[test]
    fn a_picture_says_how_large_it_is() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x05\0\0\0\x0b\xb8\x08\x02".to_vec();
        assert_eq!(png_size(&png), Some((1_280, 3_000)));
        png.truncate(20);
        assert_eq!(png_size(&png), None);
        assert_eq!(png_size(b"GIF89a"), None);
    }
}
