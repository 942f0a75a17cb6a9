//! The contract's block for one URL, the same in every endpoint, webhook and poll.

use std::io;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::options::Format;
use crate::render::Screenshot;

/// The result for one URL.
#[derive(Debug, Serialize, ToSchema)]
pub struct PageResult {
    /// The URL as submitted.
    pub url: String,
    /// The URL after redirects; null where nothing was fetched.
    pub final_url: Option<String>,
    /// Whether there is content or an error.
    pub status: PageStatus,
    /// The page's HTTP status code; null where none was received.
    pub status_code: Option<u16>,
    /// The page in the format asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<PageContent>,
    /// What the page says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Why there is no content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<PageError>,
    /// How long the page took, in milliseconds.
    pub time_ms: u64,
    /// Of a crawl: how many links the page is from the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// Of a crawl: the page or sitemap that named it first; missing for the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_on: Option<String>,
}

/// Whether a page gave content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PageStatus {
    /// There is content.
    Success,
    /// There is an error instead.
    Error,
}

/// Why a page failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PageError {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl PageError {
    /// A code with its explanation.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The classes of a page's failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            /// The code as sent.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Reads a code.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

error_codes! {
    /// Not an absolute http or https URL.
    InvalidUrl = "invalid_url",
    /// The host's address may not be fetched from.
    BlockedAddress = "blocked_address",
    /// The site's robots.txt forbids it.
    RobotsDisallowed = "robots_disallowed",
    /// The host's name has no address.
    DnsError = "dns_error",
    /// The host could not be reached, or broke off.
    ConnectError = "connect_error",
    /// No secure connection could be made.
    TlsError = "tls_error",
    /// The page took too long.
    Timeout = "timeout",
    /// The page answered with a 4xx or 5xx.
    HttpStatus = "http_status",
    /// More than ten redirects, or a loop.
    TooManyRedirects = "too_many_redirects",
    /// The body is larger than accepted.
    BodyTooLarge = "body_too_large",
    /// The body is of a kind that has no content to derive.
    UnsupportedContent = "unsupported_content",
    /// The body could not be decompressed or decoded.
    DecodeError = "decode_error",
    /// The page could not be rendered.
    RenderError = "render_error",
    /// The job was cancelled before the page was fetched.
    Cancelled = "cancelled",
    /// A failure of the service itself.
    Internal = "internal",
}

/// The content of a page: in one format, or an object keyed by format.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum PageContent {
    /// In the one format asked for.
    One(Content),
    /// In each format asked for, in that order.
    #[schema(value_type = std::collections::BTreeMap<String, Content>)]
    Several(Keyed),
}

/// Contents by format, in the order asked for.
#[derive(Debug)]
pub struct Keyed(pub Vec<(Format, Content)>);

impl Serialize for Keyed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (format, content) in &self.0 {
            map.serialize_entry(format, content)?;
        }
        map.end()
    }
}

/// The content of a page in one format.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Content {
    /// `markdown`, `text`, `html` and `raw_html`.
    Text(String),
    /// `links`.
    Links(Vec<PageLink>),
    /// `screenshot`.
    Screenshot(PagePicture),
    /// `json`.
    #[schema(value_type = Object)]
    Json(Box<RawValue>),
}

/// A picture of a page.
#[derive(Debug, Serialize, ToSchema)]
pub struct PagePicture {
    /// `image/png`.
    pub media_type: &'static str,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The picture, in base64 (RFC 4648, section 4).
    pub data: String,
}

impl From<&Screenshot> for PagePicture {
    /// Takes a while: for a thread that may be busy.
    fn from(from: &Screenshot) -> Self {
        let (width, height) = (from.width, from.height);
        Self { media_type: "image/png", width, height, data: BASE64_STANDARD.encode(&from.png) }
    }
}

impl From<datasonar_extract::Content> for Content {
    fn from(content: datasonar_extract::Content) -> Self {
        match content {
            datasonar_extract::Content::Text(text) => Self::Text(text),
            datasonar_extract::Content::Links(links) => {
                Self::Links(links.into_iter().map(|link| PageLink { url: link.url, text: link.text }).collect())
            }
            datasonar_extract::Content::Json(json) => Self::Json(json.into_raw()),
        }
    }
}

/// A link of a page.
#[derive(Debug, Serialize, ToSchema)]
pub struct PageLink {
    /// Absolute.
    pub url: String,
    /// What the link says.
    pub text: String,
}

/// What a page says of itself.
#[derive(Debug, Default, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the names are the contract's and say it all")]
pub struct Metadata {
    pub title: Option<String>,
    pub description: Option<String>,
    pub language: Option<String>,
    pub author: Option<String>,
    pub published_at: Option<String>,
    pub canonical_url: Option<String>,
    pub site_name: Option<String>,
    pub image: Option<String>,
    pub content_type: Option<String>,
}

impl From<datasonar_extract::Metadata> for Metadata {
    fn from(from: datasonar_extract::Metadata) -> Self {
        Self {
            title: from.title,
            description: from.description,
            language: from.language,
            author: from.author,
            published_at: from.published_at,
            canonical_url: from.canonical_url,
            site_name: from.site_name,
            image: from.image,
            content_type: from.content_type,
        }
    }
}

impl PageResult {
    /// The result of a URL that gave no content.
    pub fn failed(url: &str, error: PageError, time_ms: u64) -> Self {
        Self {
            url: url.to_owned(),
            final_url: None,
            status: PageStatus::Error,
            status_code: None,
            content: None,
            metadata: None,
            error: Some(error),
            time_ms,
            depth: None,
            found_on: None,
        }
    }

    /// Its JSON, as it goes into segments and answers. It takes no more memory than its length.
    pub fn to_json(&self) -> Bytes {
        let mut json = Vec::with_capacity(self.json_len());
        serde_json::to_writer(&mut json, self).expect("a page result has string keys only");
        json.into_boxed_slice().into()
    }

    /// Returns the length of its JSON in bytes. Takes a while, and no memory.
    pub fn json_len(&self) -> usize {
        let mut length = Length(0);
        serde_json::to_writer(&mut length, self).expect("a page result has string keys only");
        length.0
    }
}

/// Counts what is written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
