//! What content is derived from: a page as it was sent, or as a browser made it.

use datasonar_net::Fetched;
use http::{HeaderMap, StatusCode, header};
use url::Url;

use crate::render::{Rendered, Screenshot, shell};

/// A page, with the answer that it came in.
pub(super) enum Document {
    /// As it was sent.
    Fetched(Fetched),
    /// As a browser made it.
    Rendered(Rendered),
}

impl Document {
    /// The URL that answered; of a rendered page, the one that it was at when it was read.
    pub(super) fn final_url(&self) -> &Url {
        match self {
            Self::Fetched(fetched) => &fetched.final_url,
            Self::Rendered(rendered) => &rendered.final_url,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Fetched(fetched) => fetched.status,
            Self::Rendered(rendered) => rendered.status,
        }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Fetched(fetched) => &fetched.headers,
            Self::Rendered(rendered) => &rendered.headers,
        }
    }

    /// Its type. A rendered page's charset is the browser's, whatever the page says of itself.
    pub(super) fn content_type(&self) -> Option<&str> {
        match self {
            Self::Fetched(fetched) => fetched.headers.get(header::CONTENT_TYPE)?.to_str().ok(),
            Self::Rendered(_) => Some("text/html; charset=utf-8"),
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        match self {
            Self::Fetched(fetched) => &fetched.body,
            Self::Rendered(rendered) => &rendered.html,
        }
    }

    pub(super) fn screenshot(&self) -> Option<&Screenshot> {
        match self {
            Self::Fetched(_) => None,
            Self::Rendered(rendered) => rendered.screenshot.as_ref(),
        }
    }

    /// Whether it is HTML that shows nothing until its scripts have run. Looks through it: for a thread that may be busy.
    pub(super) fn is_shell(&self) -> bool {
        let Self::Fetched(fetched) = self else { return false };
        let kind = self.content_type().unwrap_or("text/html").to_ascii_lowercase();
        let is_html = kind.starts_with("text/html") || kind.starts_with("application/xhtml+xml");
        is_html && shell::needs_browser(&shell::look(&fetched.body))
    }
}
