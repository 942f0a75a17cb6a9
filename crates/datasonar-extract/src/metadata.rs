//! What a page says of itself.

use serde::Serialize;

/// What a page says of itself. Serialises to the contract's keys in the contract's order, `null` when absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// The page's title, without the site's name around it.
    pub title: Option<String>,
    /// A sentence or two about the page.
    pub description: Option<String>,
    /// A BCP 47 tag, as the page gives it.
    pub language: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// When it was published: an ISO 8601 date or RFC 3339 time.
    pub published_at: Option<String>,
    /// The page's preferred URL, absolute.
    pub canonical_url: Option<String>,
    /// The name of the site.
    pub site_name: Option<String>,
    /// The URL of an image that stands for the page, absolute.
    pub image: Option<String>,
    /// The document's media type, without parameters.
    pub content_type: Option<String>,
}
