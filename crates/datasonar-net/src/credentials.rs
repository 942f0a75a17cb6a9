//! Credentials written into a URL: sent as a header, and nowhere else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use url::Url;

/// Takes `user:password@` out of a URL, so that neither a result nor a message shows it, and sends it as `Authorization:
/// Basic` (RFC 7617) unless the caller set that header.
pub fn take(url: &mut Url, headers: &mut HeaderMap) {
    if url.username().is_empty() && url.password().is_none() {
        return;
    }
    let mut pair = percent_decode(url.username());
    pair.push(b':');
    pair.extend(percent_decode(url.password().unwrap_or_default()));
    if let Ok(mut value) = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))) {
        value.set_sensitive(true);
        headers.entry(header::AUTHORIZATION).or_insert(value);
    }
    // Neither fails on a URL that has credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_a_header() {
        let mut url = Url::parse("https://Aladdin:open%20sesame@example.com/").unwrap();
        let mut headers = HeaderMap::new();
        take(&mut url, &mut headers);
        assert_eq!(url.as_str(), "https://example.com/");
        assert_eq!(headers[header::AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
