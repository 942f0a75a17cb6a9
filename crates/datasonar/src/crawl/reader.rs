//! Reads the sitemaps of a site, one file at a time, so that nothing grows with the site.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use http::HeaderMap;
use url::Url;
use uuid::Uuid;

use super::{
    key::{Keys, PageKey},
    sitemap::{Entry, Sitemap},
};
use crate::{
    cpu,
    fetch::{Fetch, Fetcher},
};

/// Files that are read for one site, at most; and how far indexes may name each other.
const MAX_FILES: usize = 1_000;
const MAX_NESTING: u8 = 3;
/// The largest file, as it is sent.
const MAX_BYTES: u64 = 50 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a reading is bounded by.
#[derive(Clone, Copy, Debug)]
pub struct SitemapLimits {
    /// Entries, in all files.
    pub entries: u64,
    /// The least time between two requests to a host.
    pub gap: Duration,
}

/// Reads sitemaps.
#[derive(Clone)]
pub struct SitemapReader {
    fetcher: Fetcher,
}

impl SitemapReader {
    /// Reads through a fetcher.
    pub fn new(fetcher: Fetcher) -> Self {
        Self { fetcher }
    }

    /// Begins to read these files and those that they name, breadth first.
    pub fn walk(&self, files: Vec<Url>, limits: SitemapLimits, lane: Uuid) -> SitemapWalk {
        SitemapWalk {
            fetcher: self.fetcher.clone(),
            gap: limits.gap,
            left: limits.entries,
            lane,
            queue: files.into_iter().map(|file| (file, 0)).collect(),
            seen: HashSet::new(),
        }
    }
}

/// A reading of the sitemaps of a site.
pub struct SitemapWalk {
    fetcher: Fetcher,
    gap: Duration,
    left: u64,
    lane: Uuid,
    queue: VecDeque<(Url, u8)>,
    seen: HashSet<PageKey>,
}

impl SitemapWalk {
    /// The pages of the next file that lists some, with its URL. A file that cannot be had lists none.
    pub async fn next(&mut self) -> Option<(Url, Vec<Entry>)> {
        while let Some((file, nesting)) = self.queue.pop_front() {
            if self.seen.len() >= MAX_FILES || self.left == 0 {
                return None;
            }
            if !self.seen.insert(Keys::default().of(&file)) {
                continue;
            }
            let Some(sitemap) = self.file(&file).await else { continue };
            if sitemap.is_cut {
                tracing::debug!(%file, "the sitemap is broken or too long");
            }
            if nesting < MAX_NESTING {
                self.queue.extend(sitemap.sitemaps.into_iter().map(|file| (file, nesting + 1)));
            }
            let mut pages = sitemap.pages;
            pages.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= pages.len() as u64;
            if !pages.is_empty() {
                return Some((file, pages));
            }
        }
        None
    }

    async fn file(&self, url: &Url) -> Option<Sitemap> {
        let headers = HeaderMap::new();
        let fetch = Fetch {
            url,
            headers: &headers,
            timeout: TIMEOUT,
            max_bytes: MAX_BYTES,
            is_prefix_enough: false,
            lane: self.lane,
            gap: self.gap,
            guard: None,
        };
        let outcome = self.fetcher.fetch(fetch).await;
        let fetched = outcome.result.ok().filter(|fetched| fetched.status.is_success())?;
        let slot = outcome.slot;
        let work = move || {
            let _slot = slot;
            Sitemap::read(&fetched.final_url, &fetched.body)
        };
        cpu::run(work).await.ok()
    }
}
