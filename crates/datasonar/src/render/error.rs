//! Why a page was not rendered.

use std::{fmt, sync::Arc, time::Duration};

use datasonar_net::{FetchError, FetchErrorKind};
use http::{HeaderMap, StatusCode};
use url::Url;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderErrorKind {
    /// The page was not got, as a fetch would not have got it, or took too long.
    Fetch(FetchErrorKind),
    /// The page answered with a status that is no success.
    Refused,
    /// What is there is not HTML: there is nothing to render.
    NotHtml,
    /// The page, or how it is to be rendered, is to blame; or there is no browser.
    Page,
    /// The document that something was asked of had gone.
    Lost,
    /// The browser is to blame: another may do.
    Browser,
}

/// A page that was not rendered.
#[derive(Clone, Debug)]
pub struct RenderError {
    /// What kind of failure it was.
    pub kind: RenderErrorKind,
    /// What happened, for people.
    pub message: String,
    /// The answer that was come to, if there was one.
    pub answer: Option<Arc<Arrival>>,
    pub(super) is_transient: bool,
}

/// An answer that a page came to.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Who answered, without credentials.
    pub url: Url,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
}

impl RenderError {
    fn new(kind: RenderErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), answer: None, is_transient: false }
    }

    /// The page is to blame.
    pub(super) fn page(message: impl Into<String>) -> Self {
        Self::new(RenderErrorKind::Page, message)
    }

    /// The browser is to blame.
    pub(super) fn browser(message: String) -> Self {
        Self::new(RenderErrorKind::Browser, format!("the page could not be rendered: {message}"))
    }

    pub(super) fn lost(message: String) -> Self {
        Self::new(RenderErrorKind::Lost, format!("the page could not be rendered: {message}"))
    }

    /// A failure that a fetch could have had.
    pub(super) fn of(kind: FetchErrorKind, message: impl Into<String>) -> Self {
        Self { is_transient: kind.is_transient(), ..Self::new(RenderErrorKind::Fetch(kind), message) }
    }

    /// A fetch's own failure.
    pub(super) fn fetch(error: FetchError) -> Self {
        Self { is_transient: error.is_transient(), ..Self::new(RenderErrorKind::Fetch(error.kind), error.message) }
    }

    pub(super) fn timeout(limit: Duration) -> Self {
        Self::of(FetchErrorKind::Timeout, format!("the page was not rendered within {limit:?}"))
    }

    pub(super) fn starved() -> Self {
        Self::page("the page takes more memory than RENDER_MEMORY allows")
    }

    /// Whether the host may well answer otherwise a little later.
    pub fn is_transient(&self) -> bool {
        self.is_transient && self.kind != RenderErrorKind::Fetch(FetchErrorKind::Timeout)
    }

    /// The contract's code for it.
    pub fn code(&self) -> &'static str {
        match self.kind {
            RenderErrorKind::Fetch(FetchErrorKind::RedirectRefused) => "robots_disallowed",
            RenderErrorKind::Fetch(kind) => kind.code(),
            RenderErrorKind::Refused => "http_status",
            RenderErrorKind::NotHtml => "unsupported_content",
            RenderErrorKind::Page | RenderErrorKind::Lost | RenderErrorKind::Browser => "render_error",
        }
    }
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RenderError {}
