//! What a page's browser may ask for: the decision about each request, before it leaves and when it was answered.
//!
//! This is courtesy and thrift: a page's picture files are not fetched when nobody looks at it, the caller's headers go to the
//! caller's site alone, robots.txt binds where it binds fetching. What may be reached is not decided here but in
//! [`super::proxy`], which nothing gets past.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use url::{Origin, Url};

use super::proxy::MARK;

/// Requests of a page, redirects included.
pub(super) const MAX_REQUESTS: u32 = 1_000;
/// Redirects of the page itself, its scripts' included.
pub(super) const MAX_REDIRECTS: u32 = 10;

/// A GIF of one transparent pixel.
const PIXEL: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\0\0\0!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// A request that the browser holds back until it hears what becomes of it.
#[derive(Debug)]
pub(super) struct Paused {
    /// What the browser calls it.
    pub(super) id: String,
    pub(super) url: Option<Url>,
    pub(super) kind: Kind,
    /// Whether it is the page itself.
    pub(super) is_page: bool,
    /// Its answer, if it has one.
    pub(super) answer: Option<(StatusCode, HeaderMap)>,
    headers: Vec<(String, String)>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Document,
    Image,
    /// Sound, film and type: nothing that text is made of.
    Media,
    /// Told to somebody, or for later: not for what the page is now.
    Aside,
    Other,
}

impl Paused {
    /// Reads the event `Fetch.requestPaused` of the page whose frame is `page`.
    pub(super) fn read(params: &Value, page: &str) -> Option<Self> {
        let request = &params["request"];
        let accepts_pictures = request["headers"]["Accept"].as_str().is_some_and(|accept| accept.starts_with("image/"));
        let kind = match params["resourceType"].as_str()? {
            "Document" => Kind::Document,
            "Image" => Kind::Image,
            "Media" | "Font" | "TextTrack" => Kind::Media,
            "Ping" | "CSPViolationReport" | "Manifest" | "Prefetch" => Kind::Aside,
            // The icon of a tab that nobody sees.
            "Other" if accepts_pictures => Kind::Aside,
            _ => Kind::Other,
        };
        let headers = request["headers"].as_object().into_iter().flatten();
        let status = params["responseStatusCode"].as_u64().and_then(|code| u16::try_from(code).ok());
        let status = status.and_then(|code| StatusCode::from_u16(code).ok());
        Some(Self {
            id: params["requestId"].as_str()?.to_owned(),
            url: request["url"].as_str().and_then(|url| Url::parse(url).ok()),
            kind,
            is_page: kind == Kind::Document && params["frameId"] == page,
            answer: status.map(|status| (status, answer_headers(&params["responseHeaders"]))),
            headers: headers.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect(),
        })
    }

    /// The command that lets it go on, with the caller's headers put over its own.
    ///
    /// Another origin learns the page's origin at most from `Referer`, and one without TLS nothing, whatever policy the page has.
    pub(super) fn go_on(&self, caller: &HeaderMap) -> (&'static str, Value) {
        let mut params = json!({"requestId": self.id});
        let is_referer = |name: &str| name.eq_ignore_ascii_case(header::REFERER.as_str());
        let tells_more =
            self.headers.iter().any(|(name, value)| is_referer(name) && self.referer(value) != Some(value.clone()));
        if !caller.is_empty() || tells_more {
            let own = self.headers.iter().filter(|(name, _)| !caller.contains_key(name.as_str()));
            let own = own.filter_map(|(name, value)| {
                let value = if is_referer(name) { self.referer(value)? } else { value.clone() };
                Some(json!({"name": name, "value": value}))
            });
            let given = caller
                .iter()
                .filter_map(|(name, value)| Some(json!({"name": name.as_str(), "value": value.to_str().ok()?})));
            params["headers"] = own.chain(given).collect();
        }
        ("Fetch.continueRequest", params)
    }

    /// What of a `Referer` may be told to where this request goes: `strict-origin-when-cross-origin`.
    fn referer(&self, text: &str) -> Option<String> {
        let (from, to) = (Url::parse(text).ok()?, self.url.as_ref()?);
        if from.origin() == to.origin() {
            return Some(text.to_owned());
        }
        let is_downgrade = from.scheme() == "https" && to.scheme() != "https";
        (!is_downgrade).then(|| format!("{}/", from.origin().ascii_serialization()))
    }

    /// The command that lets its answer come in.
    pub(super) fn take(&self) -> (&'static str, Value) {
        ("Fetch.continueResponse", json!({"requestId": self.id}))
    }

    /// The command that ends it.
    pub(super) fn refuse(&self) -> (&'static str, Value) {
        ("Fetch.failRequest", json!({"requestId": self.id, "errorReason": "BlockedByClient"}))
    }

    /// The command that answers it with an empty picture: a page that sees its pictures fail may put others in their place.
    pub(super) fn blank(&self) -> (&'static str, Value) {
        let headers = json!([{"name": "Content-Type", "value": "image/gif"}, {"name": "Access-Control-Allow-Origin", "value": "*"}]);
        let body = BASE64_STANDARD.encode(PIXEL);
        let params = json!({"requestId": self.id, "responseCode": 200, "responseHeaders": headers, "body": body});
        ("Fetch.fulfillRequest", params)
    }

    /// Whether its answer sends it elsewhere.
    pub(super) fn is_redirected(&self) -> bool {
        self.answer.as_ref().is_some_and(|(status, headers)| {
            matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) && headers.contains_key(header::LOCATION)
        })
    }

    /// Whether its answer is the proxy's own, which says so by its mark.
    pub(super) fn is_refusal(&self, mark: &str) -> bool {
        self.answer.as_ref().is_some_and(|(_, headers)| headers.get(MARK).is_some_and(|value| value == mark))
    }
}

/// What becomes of a request that is not for the page itself.
pub(super) enum Verdict {
    GoesOn,
    Blank,
    Refused,
}

/// Decides about a request for a part of a page. `is_seen`: a picture will be taken of the page.
pub(super) fn judge(kind: Kind, is_seen: bool, requests: u32) -> Verdict {
    match kind {
        _ if requests > MAX_REQUESTS => Verdict::Refused,
        Kind::Aside => Verdict::Refused,
        Kind::Image if !is_seen => Verdict::Blank,
        Kind::Media if !is_seen => Verdict::Refused,
        _ => Verdict::GoesOn,
    }
}

/// The caller's headers, and where they may go.
#[derive(Clone, Debug)]
pub(super) struct CallerHeaders {
    all: HeaderMap,
    /// Those that say nothing about who asks.
    safe: HeaderMap,
    /// The origins that receive them: the page's own and those that the caller named.
    origins: Vec<Origin>,
    /// Whether the page has left these origins: then for good.
    has_left: bool,
}

impl CallerHeaders {
    pub(super) fn new(all: &HeaderMap, url: &Url, further: &[Origin]) -> Self {
        // The browser is told who it is in another way, which its scripts see, too.
        let mut all = all.clone();
        all.remove(header::USER_AGENT);
        let safe = datasonar_net::safe_for_another_origin(&all);
        Self { all, safe, origins: [&[url.origin()], further].concat(), has_left: false }
    }

    /// Those for the page itself at a URL that it is at now.
    pub(super) fn of_page(&mut self, url: &Url) -> &HeaderMap {
        self.has_left |= !self.origins.contains(&url.origin());
        if self.has_left { &self.safe } else { &self.all }
    }

    /// Those for a part of the page: its site may need them to know the caller, others get none.
    pub(super) fn of_part(&self, url: Option<&Url>) -> HeaderMap {
        match url {
            Some(url) if !self.has_left && self.origins.contains(&url.origin()) => {
                let mut headers = self.all.clone();
                // What a script accepts is its own affair.
                headers.remove(header::ACCEPT);
                headers
            }
            _ => HeaderMap::new(),
        }
    }
}

fn answer_headers(list: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for item in list.as_array().into_iter().flatten().take(256) {
        let (Some(name), Some(value)) = (item["name"].as_str(), item["value"].as_str()) else { continue };
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paused(kind: &str, frame: &str, more: Value) -> Paused {
        let mut params = json!({
            "requestId": "r1", "frameId": frame, "resourceType": kind,
            "request": {"url": "http://site.example/a", "headers": {"Accept": "*/*", "X-Own": "1"}},
        });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Paused::read(&params, "page").unwrap()
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_page_is_the_document_of_its_own_frame() {
        assert!(paused("Document", "page", json!({})).is_page);
        assert!(!paused("Document", "other", json!({})).is_page);
        assert!(!paused("XHR", "page", json!({})).is_page);
        assert!(Paused::read(&json!({"requestId": 7}), "page").is_none());
    }

    #[test]
    fn the_callers_headers_come_before_the_browsers() {
        let (method, params) =
            paused("Document", "page", json!({})).go_on(&headers(&[("x-own", "2"), ("cookie", "a=b")]));
        assert_eq!(method, "Fetch.continueRequest");
        let expected = json!([
            {"name": "Accept", "value": "*/*"}, {"name": "x-own", "value": "2"}, {"name": "cookie", "value": "a=b"}
        ]);
        assert_eq!(params["headers"], expected);
        assert!(paused("XHR", "page", json!({})).go_on(&HeaderMap::new()).1.get("headers").is_none());
    }

    #[test]
    fn other_origins_are_told_the_pages_origin_at_most() {
        let sent = |from: &str, to: &str| {
            let event = json!({
                "requestId": "1", "resourceType": "XHR", "frameId": "page",
                "request": {"url": to, "headers": {"referer": from}},
            });
            let (_, params) = Paused::read(&event, "page").unwrap().go_on(&HeaderMap::new());
            match params.get("headers") {
                None => from.to_owned(),
                Some(headers) => headers[0]["value"].as_str().unwrap_or_default().to_owned(),
            }
        };
        let page = "https://site.example/a?token=1";
        assert_eq!(sent(page, "https://site.example/b"), page);
        assert_eq!(sent(page, "https://other.example/b"), "https://site.example/");
        assert_eq!(sent(page, "http://other.example/b"), "");
        assert_eq!(sent(page, "http://site.example/b"), "");
        assert_eq!(sent("http://site.example/a?b", "http://site.example:81/"), "http://site.example/");
        assert_eq!(sent("https://other.example/", "https://site.example/b"), "https://other.example/");
    }

    #[test]
    fn the_callers_headers_stay_on_the_callers_site() {
        let url = |text: &str| Url::parse(text).unwrap();
        let all = headers(&[("authorization", "secret"), ("accept-language", "de"), ("user-agent", "me")]);
        let mut caller = CallerHeaders::new(&all, &url("http://site.example/a"), &[url("http://api.example").origin()]);
        assert_eq!(caller.of_part(Some(&url("http://site.example/api"))).len(), 2);
        assert!(caller.of_part(Some(&url("http://other.example/api"))).is_empty());
        assert!(caller.of_part(None).is_empty());
        assert!(caller.of_part(Some(&url("https://site.example/api"))).is_empty(), "another scheme");
        assert_eq!(caller.of_part(Some(&url("http://api.example/x"))).len(), 2, "named by the caller");
        assert_eq!(caller.of_page(&url("http://site.example/b")).len(), 2);
        assert_eq!(*caller.of_page(&url("http://other.example/")), headers(&[("accept-language", "de")]));
        assert_eq!(*caller.of_page(&url("http://site.example/b")), headers(&[("accept-language", "de")]), "for good");
        assert!(caller.of_part(Some(&url("http://site.example/api"))).is_empty());
    }

    #[test]
    fn answers_are_read() {
        let of = |status: u16, list: Value| {
            paused("Document", "page", json!({"responseStatusCode": status, "responseHeaders": list}))
        };
        assert!(of(302, json!([{"name": "Location", "value": "/b"}])).is_redirected());
        assert!(!of(302, json!([])).is_redirected());
        assert!(!of(200, json!([{"name": "Location", "value": "/b"}])).is_redirected());
        let refusal = of(502, json!([{"name": "X-Datasonar-Gate", "value": "abc"}]));
        assert!(refusal.is_refusal("abc") && !refusal.is_refusal("abd"));
        assert!(!of(502, json!([])).is_refusal("abc"));
    }

    #[test]
    fn pictures_are_fetched_for_who_looks() {
        assert!(matches!(judge(Kind::Image, false, 1), Verdict::Blank));
        assert!(matches!(judge(Kind::Image, true, 1), Verdict::GoesOn));
        assert!(matches!(judge(Kind::Media, false, 1), Verdict::Refused));
        assert!(matches!(judge(Kind::Aside, true, 1), Verdict::Refused));
        assert!(matches!(judge(Kind::Document, true, 1), Verdict::GoesOn));
        assert!(matches!(judge(Kind::Other, false, MAX_REQUESTS), Verdict::GoesOn));
        assert!(matches!(judge(Kind::Other, false, MAX_REQUESTS + 1), Verdict::Refused));
    }
}
