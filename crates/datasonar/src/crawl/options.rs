//! What may be asked of a crawl.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most pages one crawl may have.
const MAX_PAGES: u64 = 1_000_000;
/// The longest gap that may be asked for between two requests to a host, in milliseconds.
const MAX_DELAY_MS: u64 = 600_000;

/// What is asked of a crawl, besides where it begins and how its pages are scraped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct CrawlOptions {
    /// How many results there are at most: 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000, default = 1_000)]
    pub max_pages: u64,
    /// How many links away from the start a page may be.
    pub max_depth: Option<u32>,
    /// Regular expressions, one of which must match a page's path.
    pub include_paths: Vec<String>,
    /// Regular expressions, none of which may match a page's path.
    pub exclude_paths: Vec<String>,
    /// Follow links to other hosts of the same registrable domain.
    pub allow_subdomains: bool,
    /// Follow links to any host.
    pub allow_external_links: bool,
    /// URLs that differ only in their query are one page.
    pub ignore_query_parameters: bool,
    /// What sitemaps are good for.
    pub sitemap: SitemapUse,
    /// The least time between two requests to a host, in milliseconds.
    #[schema(maximum = 600_000)]
    pub delay_ms: u64,
}

/// What a crawl does with sitemaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SitemapUse {
    /// Fetch what they name, besides what is linked to.
    #[default]
    Include,
    /// Do not read them.
    Skip,
    /// Fetch what they name, and follow no links.
    Only,
}

/// An option that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionError {
    /// Where it stands in the request (RFC 6901).
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl OptionError {
    pub(super) fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl Default for CrawlOptions {
    fn default() -> Self {
        Self {
            max_pages: 1_000,
            max_depth: None,
            include_paths: Vec::new(),
            exclude_paths: Vec::new(),
            allow_subdomains: false,
            allow_external_links: false,
            ignore_query_parameters: false,
            sitemap: SitemapUse::default(),
            delay_ms: 0,
        }
    }
}

impl CrawlOptions {
    /// The names of all fields, as sent.
    pub const FIELDS: &'static [&'static str] = &[
        "max_pages",
        "max_depth",
        "include_paths",
        "exclude_paths",
        "allow_subdomains",
        "allow_external_links",
        "ignore_query_parameters",
        "sitemap",
        "delay_ms",
    ];

    /// The least time between two requests to a host.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// What is out of bounds.
    pub(super) fn errors(&self) -> Vec<OptionError> {
        let mut errors = Vec::new();
        if !(1..=MAX_PAGES).contains(&self.max_pages) {
            errors.push(OptionError::new("/max_pages", format!("must be 1 to {MAX_PAGES}")));
        }
        if self.delay_ms > MAX_DELAY_MS {
            errors.push(OptionError::new("/delay_ms", format!("must be at most {MAX_DELAY_MS}")));
        }
        errors
    }
}
