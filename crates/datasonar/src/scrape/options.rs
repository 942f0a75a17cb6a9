//! What a caller may ask of a page, as it is sent, kept with the job, and made ready for use.

use std::{collections::BTreeMap, time::Duration};

use datasonar_extract as extract;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use url::{Origin, Url};
use utoipa::ToSchema;

use super::masked::MASK;
use crate::fetch::Gap;

/// Scrape options, accepted by every endpoint that scrapes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScrapeOptions {
    /// The format of `content`, or an array of one to eight formats: `content` is then an object keyed by format. A format that is
    /// named twice counts once.
    pub format: Formats,
    /// Leave out navigation, headers, footers and the like.
    pub only_main_content: bool,
    /// Keep only what these CSS selectors match, instead of looking for the main content.
    pub include_selectors: Vec<String>,
    /// Remove what these CSS selectors match.
    pub exclude_selectors: Vec<String>,
    /// Request headers. They go to the origin (scheme, host and port) of each URL that the request names and, in a crawl, of
    /// its start URL; not to other origins that redirects, links or sitemaps lead to. `Accept`, `Accept-Language`,
    /// `Cache-Control`, `DNT`, `Pragma` and `User-Agent` go to every page. Values are encrypted at rest and never shown again.
    pub headers: BTreeMap<String, String>,
    /// Further origins that receive `headers`, such as `https://api.example.com`: 20 at most.
    pub headers_origins: Vec<String>,
    /// Seconds for one page, its redirects and retries included. Counts from the arrival of a request that waits for the page,
    /// and from the page's first request in a job or a batch; from then on waiting counts, too.
    pub timeout: Option<u64>,
    /// The longest body to accept, in bytes after decompression.
    pub max_bytes: Option<u64>,
    /// Whether to render the page in a browser: `never` by default, `always` if a screenshot is asked for.
    pub render: Option<Render>,
    /// A CSS selector to wait for when rendering, rather than for the page to come to rest.
    pub wait_for: Option<String>,
    /// Fetch only what the site's robots.txt allows. The default is false for URLs named by the caller.
    pub respect_robots: Option<bool>,
}

impl ScrapeOptions {
    /// The names of all fields, as sent.
    pub const FIELDS: &'static [&'static str] = &[
        "format",
        "only_main_content",
        "include_selectors",
        "exclude_selectors",
        "headers",
        "headers_origins",
        "timeout",
        "max_bytes",
        "render",
        "wait_for",
        "respect_robots",
    ];
}

impl Default for ScrapeOptions {
    fn default() -> Self {
        Self {
            format: Formats::default(),
            only_main_content: true,
            include_selectors: Vec::new(),
            exclude_selectors: Vec::new(),
            headers: BTreeMap::new(),
            headers_origins: Vec::new(),
            timeout: None,
            max_bytes: None,
            render: None,
            wait_for: None,
            respect_robots: None,
        }
    }
}

/// One format or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a format (`markdown`, `text`, `html`, `raw_html`, `links`, `json`, `screenshot`) or an array of them"
)]
pub enum Formats {
    /// `content` is the page in this format.
    One(Format),
    /// `content` is an object with a member for each format.
    Several(Vec<Format>),
}

/// A format's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Markdown of the content.
    Markdown,
    /// Plain text of the content.
    Text,
    /// Cleaned HTML of the content.
    Html,
    /// The page's source, decoded; what became of it, if it was rendered.
    RawHtml,
    /// The links of the content.
    Links,
    /// The content as structure.
    Json,
    /// A picture of the whole page; it is rendered for it.
    Screenshot,
}

impl Format {
    /// The same, if it is derived from a page's text.
    fn of_text(self) -> Option<extract::Format> {
        match self {
            Self::Markdown => Some(extract::Format::Markdown),
            Self::Text => Some(extract::Format::Text),
            Self::Html => Some(extract::Format::Html),
            Self::RawHtml => Some(extract::Format::RawHtml),
            Self::Links => Some(extract::Format::Links),
            Self::Json => Some(extract::Format::Json),
            Self::Screenshot => None,
        }
    }
}

impl Default for Formats {
    fn default() -> Self {
        Self::One(Format::Markdown)
    }
}

/// Whether to render a page in a browser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Render {
    /// Fetch the page and take it as it is.
    #[default]
    Never,
    /// Render only pages that have no content without it.
    Auto,
    /// Render every page.
    Always,
}

/// A caller's request headers, and the origins that receive them.
#[derive(Clone, Debug, Default)]
pub struct CallerHeaders {
    all: HeaderMap,
    /// Those that say nothing about the caller.
    safe: HeaderMap,
    /// The origins that receive all of them, besides that of the URL that is fetched, unless this is a crawl's.
    origins: Vec<Origin>,
    is_crawl: bool,
}

impl CallerHeaders {
    /// Headers for the origins of the URLs that the caller named, and for `origins`.
    fn new(all: HeaderMap, origins: Vec<Origin>) -> Self {
        Self { safe: datasonar_net::safe_for_another_origin(&all), all, origins, is_crawl: false }
    }

    /// The same for a crawl: a URL's own origin receives them only if it is that of the start or a further one.
    fn for_crawl(mut self, start: &Url) -> Self {
        self.origins.push(start.origin());
        Self { is_crawl: true, ..self }
    }

    /// Returns the headers for a URL, and the origins where they may go from there.
    pub fn for_url(&self, url: &Url) -> (&HeaderMap, &[Origin]) {
        if self.is_crawl && !self.origins.contains(&url.origin()) {
            (&self.safe, &[])
        } else {
            (&self.all, &self.origins)
        }
    }
}

/// The operator's defaults and bounds for options.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a page whose options name no `timeout`.
    pub timeout: Duration,
    /// For a page whose options name no `max_bytes`; none may ask for more.
    pub max_bytes: u64,
}

/// An option that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where it stands in the body (RFC 6901).
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl FieldError {
    /// Names a field and what is wrong with it.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Options checked and made ready, once for all the pages of a job.
#[derive(Debug)]
pub struct Plan {
    /// How content is derived.
    pub extract: extract::Options,
    /// What `content` is made of, in this order.
    pub formats: Vec<Format>,
    /// Whether `content` is an object keyed by format.
    pub keyed: bool,
    /// The caller's request headers, and where they go.
    pub headers: CallerHeaders,
    /// The time limit for one page, see [`crate::fetch::TimeLimit`].
    pub timeout: Duration,
    /// After decompression.
    pub max_bytes: u64,
    /// Whether to render.
    pub render: Render,
    /// What to wait for when rendering.
    pub wait_for: Option<String>,
    /// Whether robots.txt binds.
    pub respect_robots: bool,
    /// The least time between two requests to a host.
    pub gap: Gap,
    /// Whether what a crawl goes on from is wanted of each page.
    pub is_crawl: bool,
}

/// The most `headers_origins`.
const MAX_HEADERS_ORIGINS: usize = 20;
/// The longest of them, in bytes.
const MAX_ORIGIN_BYTES: usize = 300;
/// The longest `wait_for`, in bytes.
const MAX_SELECTOR_BYTES: usize = 2_000;
/// Entries of a list of formats, at most.
const MAX_FORMATS: usize = 8;
/// The longest `timeout` that may be asked for, in seconds.
const MAX_TIMEOUT_SECONDS: u64 = 300;

impl Plan {
    /// The same for the pages of a crawl: robots.txt binds unless it is said otherwise, and links are wanted. `agent` is the
    /// crawler's product token. The caller's headers stay on the origin of `start`, unless the caller named more.
    #[must_use]
    pub fn for_crawl(self, options: &ScrapeOptions, agent: &str, gap: Gap, start: &Url) -> Self {
        Self {
            headers: self.headers.for_crawl(start),
            extract: self.extract.with_crawl_facts(agent),
            respect_robots: options.respect_robots.unwrap_or(true),
            gap,
            is_crawl: true,
            ..self
        }
    }

    /// Checks options.
    ///
    /// # Errors
    /// Everything that is wrong with them, each with its place.
    pub fn new(options: &ScrapeOptions, limits: &Limits) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let (formats, keyed) = match &options.format {
            Formats::One(format) => (vec![*format], false),
            Formats::Several(formats) => (set_of(formats), true),
        };
        if formats.is_empty() {
            errors.push(FieldError::new("/format", "name at least one format"));
        }
        if let Formats::Several(named) = &options.format
            && named.len() > MAX_FORMATS
        {
            let detail = format!("names {} formats; name each once, {MAX_FORMATS} at most", named.len());
            errors.push(FieldError::new("/format", detail));
        }
        let render = rendering(options, &formats).map_err(|error| errors.push(error));
        if options.wait_for.as_ref().is_some_and(|selector| !(1..=MAX_SELECTOR_BYTES).contains(&selector.trim().len()))
        {
            errors.push(FieldError::new(
                "/wait_for",
                format!("must be a CSS selector of 1 to {MAX_SELECTOR_BYTES} bytes"),
            ));
        }
        let timeout = match options.timeout {
            None => limits.timeout,
            Some(seconds @ 1..=MAX_TIMEOUT_SECONDS) => Duration::from_secs(seconds),
            Some(_) => {
                errors.push(FieldError::new("/timeout", format!("must be 1 to {MAX_TIMEOUT_SECONDS} seconds")));
                limits.timeout
            }
        };
        let max_bytes = match options.max_bytes {
            None => limits.max_bytes,
            Some(bytes) if (1..=limits.max_bytes).contains(&bytes) => bytes,
            Some(_) => {
                errors.push(FieldError::new("/max_bytes", format!("must be 1 to {}", limits.max_bytes)));
                limits.max_bytes
            }
        };
        let headers = CallerHeaders::new(
            headers(&options.headers, &mut errors),
            headers_origins(&options.headers_origins, &mut errors),
        );
        let extract = extract::Options::new(
            formats.iter().filter_map(|format| format.of_text()).collect(),
            options.only_main_content,
            &options.include_selectors,
            &options.exclude_selectors,
        )
        .map_err(|error| errors.push(FieldError::new(format!("/{}/{}", error.list, error.index), error.reason)));
        match (extract, render) {
            (Ok(extract), Ok(render)) if errors.is_empty() => Ok(Self {
                extract,
                formats,
                keyed,
                headers,
                timeout,
                max_bytes,
                render,
                wait_for: options.wait_for.clone(),
                respect_robots: options.respect_robots.unwrap_or(false),
                gap: Gap::default(),
                is_crawl: false,
            }),
            _ => Err(errors),
        }
    }
}

/// The formats that are named, each once, in the order in which they are named first.
fn set_of(named: &[Format]) -> Vec<Format> {
    let mut formats: Vec<Format> = Vec::with_capacity(named.len().min(MAX_FORMATS));
    for format in named {
        if !formats.contains(format) {
            formats.push(*format);
        }
    }
    formats
}

/// Whether to render: a screenshot cannot be had otherwise.
fn rendering(options: &ScrapeOptions, formats: &[Format]) -> Result<Render, FieldError> {
    match (options.render, formats.contains(&Format::Screenshot)) {
        (Some(Render::Never), true) => Err(FieldError::new(
            "/render",
            "`never` contradicts the format `screenshot`: leave it out, or say `always`",
        )),
        (_, true) => Ok(Render::Always),
        (render, false) => Ok(render.unwrap_or_default()),
    }
}

fn headers(named: &BTreeMap<String, String>, errors: &mut Vec<FieldError>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Checked before the map is filled: a `HeaderMap` has a size past which it panics.
    if named.len() > datasonar_net::MAX_CALLER_HEADERS {
        errors.push(FieldError::new("/headers", format!("more than {} headers", datasonar_net::MAX_CALLER_HEADERS)));
        return headers;
    }
    for (name, value) in named {
        let pointer = || format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"));
        if value == MASK {
            errors.push(FieldError::new(pointer(), "is masked: send the header's value"));
            continue;
        }
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => {
                headers.insert(name, value);
            }
            (Err(_), _) => errors.push(FieldError::new(pointer(), "is not a header name")),
            (_, Err(_)) => errors.push(FieldError::new(pointer(), "is not a header value")),
        }
    }
    if let Err(refused) = datasonar_net::check_caller_headers(&headers) {
        errors.push(FieldError::new("/headers", refused.to_string()));
    }
    headers
}

/// Reads origins: each is a scheme, a host and perhaps a port, and nothing else.
fn headers_origins(named: &[String], errors: &mut Vec<FieldError>) -> Vec<Origin> {
    if named.len() > MAX_HEADERS_ORIGINS {
        let detail = format!("has more than {MAX_HEADERS_ORIGINS} origins");
        errors.push(FieldError::new("/headers_origins", detail));
        return Vec::new();
    }
    let mut origins = Vec::new();
    for (index, text) in named.iter().enumerate() {
        match origin(text) {
            Some(origin) => origins.push(origin),
            None => errors.push(FieldError::new(
                format!("/headers_origins/{index}"),
                "is not an origin: write a scheme, a host and, if need be, a port, such as `https://api.example.com`",
            )),
        }
    }
    origins
}

fn origin(text: &str) -> Option<Origin> {
    if text.len() > MAX_ORIGIN_BYTES {
        return None;
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let is_bare = url.username().is_empty() && url.password().is_none() && url.path() == "/";
    // The parser drops the `@` of an empty user name, and cannot tell an empty query or fragment from none.
    let is_bare = is_bare && url.query().is_none() && url.fragment().is_none() && !text.contains(['@', '\\', '*']);
    is_bare.then(|| url.origin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (text, expected) in [
            ("https://api.example.com", Some("https://api.example.com")),
            ("HTTPS://API.example.com:443/", Some("https://api.example.com")),
            ("http://[2001:db8::1]:8080", Some("http://[2001:db8::1]:8080")),
            ("https://bücher.example", Some("https://xn--bcher-kva.example")),
        ] {
            assert_eq!(origin(text).map(|origin| origin.ascii_serialization()).as_deref(), expected, "{text}");
        }
        for text in [
            "",
            "*",
            "null",
            "api.example.com",
            "//api.example.com",
            "ftp://a.example",
            "data:,x",
            "https://a.example/b",
            "https://a.example?",
            "https://a.example/#",
            "https://me@a.example",
            "https://@a.example",
            "https://*.a.example",
            "https://a.example:99999",
            "https://a.example\\b",
            "https://",
        ] {
            assert_eq!(origin(text).map(|origin| origin.ascii_serialization()), None, "{text}");
        }
        assert!(origin(&format!("https://{}.example", "a".repeat(300))).is_none());
    }

    #[test]
    fn a_crawls_headers_stay_on_its_origins() {
        let url = |text: &str| Url::parse(text).unwrap();
        let all = HeaderMap::from_iter([
            (HeaderName::from_static("x-api-key"), HeaderValue::from_static("hush")),
            (HeaderName::from_static("accept-language"), HeaderValue::from_static("de")),
        ]);
        let named = CallerHeaders::new(all, vec![url("https://api.example").origin()]);
        let count = |headers: &CallerHeaders, to: &str| headers.for_url(&url(to)).0.len();
        assert_eq!(count(&named, "https://anywhere.example/"), 2, "the caller named it");
        let crawl = named.for_crawl(&url("https://a.example/docs"));
        for (to, expected) in [
            ("https://a.example/b", 2),
            ("https://api.example/", 2),
            ("http://a.example/b", 1),
            ("https://a.example:8443/", 1),
            ("https://www.a.example/", 1),
        ] {
            assert_eq!(count(&crawl, to), expected, "{to}");
        }
    }

    #[test]
    fn formats_are_a_set_of_eight_at_most() {
        let limits = Limits { timeout: Duration::from_secs(30), max_bytes: 1000 };
        let plan = |formats: Vec<Format>| {
            Plan::new(&ScrapeOptions { format: Formats::Several(formats), ..ScrapeOptions::default() }, &limits)
        };
        let twice = plan(vec![Format::Text, Format::Markdown, Format::Text]).unwrap();
        assert_eq!((twice.formats, twice.keyed), (vec![Format::Text, Format::Markdown], true));
        assert_eq!(plan(vec![Format::Markdown; 8]).unwrap().formats, [Format::Markdown]);
        let errors = plan(vec![Format::Markdown; 2000]).unwrap_err();
        assert_eq!(errors[0].pointer, "/format");
        assert!(errors[0].detail.contains("2000 formats"), "{}", errors[0].detail);
    }
}
