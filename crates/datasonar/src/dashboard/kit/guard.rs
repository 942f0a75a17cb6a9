//! What keeps browsers from being used against their owners: headers on every answer, and tokens that forms must bring back.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use ring::hmac;

/// Nothing but our own stylesheet, script and images; nobody may frame us; forms go to ourselves.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
    frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Adds what every page must have, unless the page says otherwise.
pub(in crate::dashboard) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The token that forms of a session carry. Only whoever reads a page of ours knows it: it is made of the session's own, which no
/// script can read.
pub(in crate::dashboard) fn token(session: &str) -> String {
    hex::encode(hmac::sign(&key(session), FORM).as_ref())
}

/// Whether a form brings the right token.
pub(super) fn is_token(session: &str, brought: &str) -> bool {
    hex::decode(brought).is_ok_and(|tag| hmac::verify(&key(session), FORM, &tag).is_ok())
}

const FORM: &[u8] = b"form";

fn key(session: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, session.as_bytes())
}

/// Whether a browser says that a request comes from a page of another site. Browsers that say nothing are not to be kept out.
pub(in crate::dashboard) fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let (Some(origin), Some(host)) = (text("origin"), text("host")) else { return false };
    origin.split_once("://").is_none_or(|(_, from)| !from.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_other_sites_are_told_apart() {
        let foreign = |pairs: &[(&'static str, &'static str)]| {
            is_foreign(
                &pairs
                    .iter()
                    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                    .collect(),
            )
        };
        assert!(!foreign(&[]));
        assert!(!foreign(&[("sec-fetch-site", "same-origin")]));
        assert!(foreign(&[("sec-fetch-site", "cross-site")]));
        assert!(foreign(&[("sec-fetch-site", "same-site")]));
        assert!(!foreign(&[("origin", "https://sonar.example"), ("host", "sonar.example")]));
        assert!(foreign(&[("origin", "https://evil.example"), ("host", "sonar.example")]));
        assert!(foreign(&[("origin", "null"), ("host", "sonar.example")]));
    }

    #[test]
    fn a_token_is_that_of_its_session() {
        assert!(is_token("one", &token("one")));
        assert!(!is_token("one", &token("two")));
        assert!(!is_token("one", ""));
    }
}
