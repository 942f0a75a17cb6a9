//! When two URLs are the same page.
//!
//! A URL's key is a hash of its normalised form: what RFC 3986, section 6.2.2, says is the same is the same (case, percent
//! encoding, dot segments, default ports), and beyond that fragments, credentials, trailing dots of host names, empty
//! queries and well-known session ids make no difference. The scheme does, and the order of the query's parameters.
//! What is fetched keeps its own spelling.

use std::{borrow::Cow, fmt::Write};

use ring::digest;
use thiserror::Error;
use url::Url;

use crate::fetch::percent::{is_plain, is_unreserved, octet};

/// The longest URL a crawl follows, in bytes.
pub const MAX_URL_BYTES: usize = 8 * 1024;

/// Stands for a page, whatever its URL's spelling: the first 128 bits of the SHA-256 of the normalised form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageKey(pub [u8; 16]);

/// A URL that no crawl follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnusableUrl {
    /// It does not parse.
    #[error("not an absolute URL: {0}")]
    NotAbsolute(#[from] url::ParseError),
    /// Its scheme is neither `http` nor `https`.
    #[error("the scheme must be http or https")]
    Scheme,
    /// It is longer than [`MAX_URL_BYTES`].
    #[error("longer than {MAX_URL_BYTES} bytes")]
    TooLong,
}

/// Reads a URL as a crawl fetches it: absolute, `http` or `https`, of bounded length, without a fragment.
///
/// # Errors
/// [`UnusableUrl`], which says what it is instead.
pub fn parse(text: &str) -> Result<Url, UnusableUrl> {
    if text.len() > MAX_URL_BYTES {
        return Err(UnusableUrl::TooLong);
    }
    let mut url = Url::parse(text)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UnusableUrl::Scheme);
    }
    url.set_fragment(None);
    // Percent-encoding may have made it longer.
    if url.as_str().len() > MAX_URL_BYTES { Err(UnusableUrl::TooLong) } else { Ok(url) }
}

/// Makes keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Whether URLs that differ only in their query are the same page.
    pub ignore_query: bool,
}

impl Keys {
    /// The key of a URL.
    pub fn of(self, url: &Url) -> PageKey {
        let hash = digest::digest(&digest::SHA256, self.normalised(url).as_bytes());
        PageKey(hash.as_ref()[..16].try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The form of a URL that all of its spellings have in common.
    pub fn normalised(self, url: &Url) -> String {
        let mut normal = String::with_capacity(url.as_str().len());
        normal.push_str(url.scheme());
        normal.push_str("://");
        normal.push_str(host(url));
        if let Some(port) = url.port() {
            let _ = write!(normal, ":{port}");
        }
        push_path(&mut normal, &encoding_normalised(url.path()));
        if !self.ignore_query
            && let Some(query) = url.query()
        {
            push_query(&mut normal, &encoding_normalised(query));
        }
        normal
    }
}

/// The host, in lower case, without the dot that says that it is absolute.
pub(super) fn host(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default();
    match host.trim_end_matches('.') {
        "" => host,
        host => host,
    }
}

/// Appends a path without session ids.
fn push_path(normal: &mut String, path: &str) {
    if path.is_empty() {
        normal.push('/');
        return;
    }
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        // ASP.NET without cookies: `/app/(S(lit3py55t21z5v55vlm25s55))/page`. It is never last.
        if segments.peek().is_some() && is_cookieless_session(segment) {
            continue;
        }
        normal.push('/');
        let mut parameters = segment.split(';');
        let name = parameters.next().unwrap_or_default();
        // Without its parameters it would be a dot segment, which it is not.
        let is_dots = matches!(name, "." | "..");
        normal.push_str(name);
        for parameter in parameters.filter(|parameter| is_dots || !is_session(parameter)) {
            normal.push(';');
            normal.push_str(parameter);
        }
    }
}

/// Appends a query without session ids; nothing if nothing is left.
fn push_query(normal: &mut String, query: &str) {
    let mut separator = '?';
    if !query.split('&').any(is_session) {
        if !query.is_empty() {
            normal.push(separator);
            normal.push_str(query);
        }
        return;
    }
    for parameter in query.split('&').filter(|parameter| !is_session(parameter)) {
        normal.push(separator);
        normal.push_str(parameter);
        separator = '&';
    }
}

/// Tells whether a parameter is a session id, by a name that is used for nothing else, or by a name that is often used for
/// one and a value that looks like one.
fn is_session(parameter: &str) -> bool {
    const NAMES: [&str; 9] = [
        "jsessionid",
        "phpsessid",
        "asp.net_sessionid",
        "cftoken",
        "cfid",
        "oscsid",
        "zenid",
        "sessionid",
        "session_id",
    ];
    const PERHAPS: [&str; 3] = ["sid", "sessid", "s"];
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let is = |other: &&str| name.eq_ignore_ascii_case(other);
    let prefix = "aspsessionid";
    NAMES.iter().any(is)
        || name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        || (PERHAPS.iter().any(is) && is_token(value))
}

/// Tells whether a value is long, and mixes letters and digits: no word and no number.
fn is_token(value: &str) -> bool {
    const LEAST: usize = 20;
    value.len() >= LEAST
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn is_cookieless_session(segment: &str) -> bool {
    let id = segment.strip_prefix("(S(").and_then(|rest| rest.strip_suffix("))"));
    id.is_some_and(|id| id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// A path or query with its percent-encoding made uniform: unreserved characters plain, hexadecimal digits in upper case,
/// what may not stand there encoded, a `%` that encodes nothing as `%25`.
pub(super) fn encoding_normalised(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if bytes.iter().all(|&byte| byte != b'%' && is_plain(byte)) {
        return Cow::Borrowed(text);
    }
    let mut normal = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        let encoded = if byte == b'%' { octet(bytes.get(at..at + 2)) } else { None };
        match encoded {
            Some(decoded) => {
                at += 2;
                if is_unreserved(decoded) {
                    normal.push(char::from(decoded));
                } else {
                    let _ = write!(normal, "%{decoded:02X}");
                }
            }
            None if byte != b'%' && is_plain(byte) => normal.push(char::from(byte)),
            None => {
                let _ = write!(normal, "%{byte:02X}");
            }
        }
    }
    Cow::Owned(normal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(url: &str) -> String {
        Keys::default().normalised(&parse(url).unwrap())
    }

    #[test]
    fn spellings_of_one_page() {
        for (normal_form, spellings) in [
            (
                "http://example.com/",
                &[
                    "http://example.com",
                    "HTTP://EXAMPLE.com:80/",
                    "http://example.com./",
                    "http://user:word@example.com/#part",
                    "http://example.com/?",
                    "http://example.com/a/..",
                    "http://example.com/%2e/",
                    " http://example.com/\n",
                    "http:\\\\example.com\\",
                    "http://example.com?#",
                    "http://example.com/?PHPSESSID=0",
                ][..],
            ),
            ("https://example.com/", &["https://example.com:443", "https://example.com.:443/."]),
            ("https://example.com:80/", &["https://example.com:080"]),
            ("http://xn--bcher-kva.example/", &["http://bücher.example", "http://B%C3%9Ccher.example/"]),
            ("http://127.0.0.1/", &["http://127.1", "http://0x7f000001/", "http://2130706433/"]),
            ("http://[::1]/", &["http://[0:0:0:0:0:0:0:1]/"]),
            ("http://h/~a/b-c", &["http://h/%7ea/b%2Dc", "http://h/%7Ea/b-c", "http://h/x/../~a/./b-c"]),
            ("http://h/%C3%A9?q=%C3%A9", &["http://h/é?q=é", "http://h/%c3%a9?q=%c3%A9"]),
            ("http://h/a%7Cb?%7C%20", &["http://h/a|b?| #", "http://h/a%7cb?%7C%20"]),
            ("http://h/100%25", &["http://h/100%", "http://h/100%25"]),
            ("http://h/a%2Fb", &["http://h/a%2fb"]),
            ("http://h/?q=%27", &["http://h/?q='", "http://h/?q=%27"]),
        ] {
            for spelling in spellings {
                assert_eq!(normal(spelling), normal_form, "{spelling}");
            }
        }
    }

    #[test]
    fn pages_that_differ() {
        for (a, b) in [
            ("http://h/", "https://h/"),
            ("http://h/a", "http://h/a/"),
            ("http://h/a", "http://h/A"),
            ("http://h/a%2Fb", "http://h/a/b"),
            ("http://h/?a=1&b=2", "http://h/?b=2&a=1"),
            ("http://h/?a", "http://h/?a="),
            ("http://h/?a+b", "http://h/?a%20b"),
            ("http://h/a;v=1", "http://h/a;v=2"),
            ("http://h/?sid=1", "http://h/?sid=2"),
            ("http://h/?sid=internationalisation", "http://h/?sid=disestablishmentarian"),
            ("http://h/?sid=12345678901234567890", "http://h/?sid=12345678901234567891"),
            ("http://h/?id=0123456789abcdef0123456789abcdef", "http://h/?id=1123456789abcdef0123456789abcdef"),
            ("http://h:81/", "http://h:82/"),
            ("http://www.h/", "http://h/"),
        ] {
            let key = |url| Keys::default().of(&parse(url).unwrap());
            assert_ne!(key(a), key(b), "{a} {b}");
        }
    }

    #[test]
    fn sessions_make_no_difference() {
        for (with, without) in [
            ("http://h/a.do;jsessionid=1A2B3C", "http://h/a.do"),
            ("http://h/a.do;JSESSIONID=1A2B3C;v=2?x=1", "http://h/a.do;v=2?x=1"),
            ("http://h/?x=1&PHPSESSID=abc&y=2", "http://h/?x=1&y=2"),
            ("http://h/?PHPSESSID=abc", "http://h/"),
            ("http://h/a?ASPSESSIONIDQQBTSRDT=LK&b", "http://h/a?b"),
            ("http://h/a?CFID=1&CFTOKEN=2", "http://h/a"),
            ("http://h/a?sid=0123456789abcdef0123456789abcdef", "http://h/a"),
            ("http://h/(S(lit3py55t21z5v55vlm25s55))/a.aspx", "http://h/a.aspx"),
            ("http://h/a?jsession%69d=1", "http://h/a"),
        ] {
            assert_eq!(normal(with), normal(without), "{with}");
        }
        assert_eq!(normal("http://h/a/..;jsessionid=1/b"), "http://h/a/..;jsessionid=1/b");
    }

    #[test]
    fn queries_are_ignored_when_asked_to() {
        let keys = Keys { ignore_query: true };
        assert_eq!(keys.normalised(&parse("http://h/a?b=1#c").unwrap()), "http://h/a");
    }

    #[test]
    fn what_is_fetched_keeps_its_spelling_but_for_the_fragment() {
        let url = parse("http://h/%7ea;jsessionid=1?PHPSESSID=2#part").unwrap();
        assert_eq!(url.as_str(), "http://h/%7ea;jsessionid=1?PHPSESSID=2");
    }

    #[test]
    fn what_no_crawl_follows() {
        assert_eq!(parse("ftp://h/"), Err(UnusableUrl::Scheme));
        assert_eq!(parse("mailto:a@h"), Err(UnusableUrl::Scheme));
        assert!(matches!(parse("/a"), Err(UnusableUrl::NotAbsolute(_))));
        let long = |bytes: usize| format!("http://h/{}", "a".repeat(bytes - "http://h/".len()));
        assert!(parse(&long(MAX_URL_BYTES)).is_ok());
        assert_eq!(parse(&long(MAX_URL_BYTES + 1)), Err(UnusableUrl::TooLong));
        assert_eq!(parse(&format!("http://h/{}", "é".repeat(2000))), Err(UnusableUrl::TooLong));
    }

    fn urls() -> impl Strategy<Value = Url> {
        let piece = prop_oneof![
            8 => "[a-zA-Z0-9._~-]{0,4}",
            4 => "%[0-9a-fA-F]{2}",
            2 => "[%;=&?/.:@!$'()*+,|{}^`\\[\\]]{1,3}",
            1 => "\\PC{0,2}",
            1 => Just(";jsessionid=1".to_owned()),
            1 => Just("PHPSESSID=1".to_owned()),
            1 => Just("%%341".to_owned()),
            1 => Just("/..;jsessionid=1/".to_owned()),
            1 => Just("/(S(lit3py55t21z5v55vlm25s55))/".to_owned()),
        ];
        let pieces = proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
        let host = prop_oneof![Just("h"), Just("h."), Just("User:pw@EXAMPLE.com:80"), Just("h:8080"), Just("h..")];
        (prop_oneof![Just("http"), Just("https")], host, pieces.clone(), proptest::option::of(pieces))
            .prop_map(|(scheme, host, path, query)| {
                let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                format!("{scheme}://{host}/{path}{query}")
            })
            .prop_filter_map("not a URL", |text| parse(&text).ok())
    }

    /// The same URL with some of its characters percent-encoded, in either case, and an empty segment-and-back in the path.
    fn respelled(url: &Url, choices: &[bool]) -> String {
        let mut choices = choices.iter().copied().cycle();
        let mut choose = || choices.next().unwrap_or(false);
        let mut respell = |text: &str| {
            let mut out = String::new();
            let mut after_percent = 0;
            for character in text.chars() {
                if character == '%' {
                    after_percent = 3;
                }
                let is_free = after_percent == 0 && u8::try_from(character).is_ok_and(is_unreserved);
                if is_free && choose() {
                    let digits = format!("%{:02x}", u32::from(character));
                    out.push_str(&if choose() { digits.to_uppercase() } else { digits });
                } else {
                    out.push(character);
                }
                after_percent = i32::max(after_percent - 1, 0);
            }
            out
        };
        let path = respell(url.path());
        let query = url.query().map(|query| format!("?{}", respell(query))).unwrap_or_default();
        let host = url.host_str().unwrap().to_uppercase();
        let port = url.port_or_known_default().unwrap();
        format!("{}://me@{host}:{port}/x/..{path}{query}#part", url.scheme())
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(url in urls(), ignore_query: bool) {
            let keys = Keys { ignore_query };
            let once = keys.normalised(&url);
            let again: Url = once.parse().unwrap();
            prop_assert_eq!(again.as_str(), &once, "the normal form is a URL in WHATWG's normal form");
            prop_assert_eq!(keys.normalised(&again), once);
        }

        #[test]
        fn equal_spellings_have_equal_keys(url in urls(), choices in proptest::collection::vec(any::<bool>(), 1..64)) {
            let other: Url = respelled(&url, &choices).parse().unwrap();
            prop_assert_eq!(Keys::default().normalised(&other), Keys::default().normalised(&url));
            prop_assert_eq!(Keys::default().of(&other), Keys::default().of(&url));
        }
    }
}
