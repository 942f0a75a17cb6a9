//! The frontier of a crawl: what was found, what was skipped, and which page is which.
//!
//! The tasks of a crawl are made of URLs as they are found. A task holds URLs of one depth, and those of the next depth can
//! be claimed only when none of this one is unfinished: so a crawl walks its site breadth first, and the depth of a URL is the
//! least number of links from the start.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::job::names;

/// 128 bits that stand for a page, whatever the spelling of its URL: minted by the caller, compared here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Uuid", into = "Uuid")]
pub struct UrlKey(pub [u8; 16]);

impl From<Uuid> for UrlKey {
    fn from(bits: Uuid) -> Self {
        Self(bits.into_bytes())
    }
}

impl From<UrlKey> for Uuid {
    fn from(key: UrlKey) -> Self {
        Self::from_bytes(key.0)
    }
}

/// How many URLs a crawl's task has at most.
pub const URLS_PER_CRAWL_TASK: u32 = 100;

/// How many of a crawl's skipped URLs are listed; more are only counted.
pub const SKIPPED_LISTED: u64 = 10_000;

/// A crawl to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCrawl {
    /// How many results it has at most; at least one.
    pub max_pages: u64,
    /// Where it begins.
    pub start: FoundUrl,
}

/// A URL to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundUrl {
    /// Which page it is.
    pub key: UrlKey,
    /// As it is fetched.
    pub url: String,
    /// How many links from the start.
    pub depth: u32,
    /// The URL of the page or sitemap that named it; none for the start.
    pub found_on: Option<String>,
}

/// Why a URL that was found is not fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// robots.txt disallows it.
    Robots,
    /// The crawl was not asked for it.
    OutOfScope,
    /// It was fetched, and is a page that the crawl has already.
    Duplicate,
    /// The crawl has as many pages as it may.
    OverLimit,
}

names!(SkipReason {
    Robots => "robots", OutOfScope => "out_of_scope", Duplicate => "duplicate", OverLimit => "over_limit",
});

/// A URL that was found and is not fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedUrl {
    /// The URL, with the depth it would have.
    pub url: FoundUrl,
    /// Why.
    pub reason: SkipReason,
}

/// What a task of a crawl has found, in that order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// To be fetched, if they are new and the crawl has room.
    pub found: Vec<FoundUrl>,
    /// Not to be fetched. Each page is skipped once.
    pub skipped: Vec<SkippedUrl>,
}

/// A page of a crawl's task that has no result: it turned out to be another, or one that may not be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedPage {
    /// Its place in the task.
    pub index: u32,
    /// What is listed instead.
    pub skipped: SkippedUrl,
}

/// How many URLs a crawl skipped. Each is counted once while [`SKIPPED_LISTED`] are not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkipCounts {
    /// Disallowed by robots.txt.
    pub robots: u64,
    /// Not asked for.
    pub out_of_scope: u64,
    /// Pages that were there already.
    pub duplicate: u64,
    /// More than the crawl may have.
    pub over_limit: u64,
}
