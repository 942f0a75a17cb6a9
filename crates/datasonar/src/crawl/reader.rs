//! Reads the sitemaps of a site, one file at a time, so that nothing grows with the site.
//!
//! Files of other hosts than the site's own are read only where that host's robots.txt names them (sitemaps.org, "cross submits"),
//! and so are the files that such a file names on the same host. Redirects lead nowhere else either. Each file is admitted before
//! it is asked for, so that it can be counted. A walk asks for at most [`SitemapLimits::files`] files, and for the robots.txt of at
//! most as many other hosts.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use datasonar_net::RedirectGuard;
use futures::{FutureExt, future::BoxFuture};
use http::HeaderMap;
use url::{Origin, Url};

use super::{
    key::{Keys, PageKey},
    scope::Scope,
    sitemap::{Entry, Sitemap},
};
use crate::{
    cpu,
    fetch::{Fetch, Fetcher, Gap, Requester, Robots, TimeLimit},
};

/// How far indexes may name each other.
const MAX_NESTING: u8 = 3;
/// The largest file, as it is sent.
const MAX_BYTES: u64 = 50 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a reading is bounded by.
#[derive(Clone, Debug)]
pub struct SitemapLimits {
    /// Entries, in all files.
    pub entries: u64,
    /// The least time between two requests to a host.
    pub gap: Gap,
    /// Which hosts are the site's own.
    pub scope: Arc<Scope>,
    /// Asked before each file.
    pub admission: Admission,
}

/// Decides whether one more file is asked for, and counts it.
#[derive(Clone)]
pub struct Admission(Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>);

impl Admission {
    /// Asks for files for as long as `admits` returns `true`.
    pub fn new(admits: impl Fn() -> BoxFuture<'static, bool> + Send + Sync + 'static) -> Self {
        Self(Arc::new(admits))
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admission")
    }
}

/// Reads sitemaps.
#[derive(Clone)]
pub struct SitemapReader {
    fetcher: Fetcher,
    robots: Robots,
    files: usize,
}

impl SitemapReader {
    /// Reads through a fetcher, at most so many files for one site.
    pub fn new(fetcher: Fetcher, robots: Robots, files: usize) -> Self {
        Self { fetcher, robots, files }
    }

    /// Begins to read these files and those that they name, breadth first.
    pub fn walk(&self, files: Vec<Url>, limits: SitemapLimits, requester: Requester) -> SitemapWalk {
        SitemapWalk {
            reader: self.clone(),
            left: limits.entries,
            limits,
            requester,
            queue: files.into_iter().map(|url| Queued { url, nesting: 0, trusted: None }).collect(),
            seen: HashSet::new(),
            asked: 0,
            strangers: HashSet::new(),
            was_cut: false,
        }
    }
}

/// A file that is to be read.
struct Queued {
    url: Url,
    nesting: u8,
    /// The origin of the file that named it, if that was read with the agreement of its host.
    trusted: Option<Origin>,
}

/// A reading of the sitemaps of a site.
pub struct SitemapWalk {
    reader: SitemapReader,
    limits: SitemapLimits,
    left: u64,
    requester: Requester,
    queue: VecDeque<Queued>,
    seen: HashSet<PageKey>,
    /// Files that were asked for.
    asked: usize,
    /// Other origins whose robots.txt was asked.
    strangers: HashSet<Origin>,
    was_cut: bool,
}

impl SitemapWalk {
    /// The pages of the next file that lists some, with its URL. A file that cannot be had lists none.
    pub async fn next(&mut self) -> Option<(Url, Vec<Entry>)> {
        while let Some(Queued { url: file, nesting, trusted }) = self.queue.pop_front() {
            if self.left == 0 {
                return None;
            }
            if self.seen.contains(&Keys::default().of(&file)) || !self.is_agreed(&file, trusted.as_ref()).await {
                continue;
            }
            if self.asked >= self.reader.files || !(self.limits.admission.0)().await {
                self.was_cut = true;
                tracing::debug!(%file, read = self.asked, "no further sitemaps of this site are read");
                return None;
            }
            self.asked += 1;
            self.seen.insert(Keys::default().of(&file));
            let Some(sitemap) = self.file(&file).await else { continue };
            if sitemap.is_cut {
                tracing::debug!(%file, "the sitemap is broken or too long");
            }
            if nesting < MAX_NESTING {
                let trusted = (!self.limits.scope.is_own(&file)).then(|| file.origin());
                let named = sitemap.sitemaps.into_iter();
                self.queue.extend(named.map(|url| Queued { url, nesting: nesting + 1, trusted: trusted.clone() }));
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

    /// Whether files were left out because there were too many.
    pub fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// Whether a file may be asked for: it is on one of the site's own hosts, or its host agrees.
    async fn is_agreed(&mut self, file: &Url, trusted: Option<&Origin>) -> bool {
        let origin = file.origin();
        if self.limits.scope.is_own(file) || trusted == Some(&origin) {
            return true;
        }
        if !self.strangers.contains(&origin) && self.strangers.len() >= self.reader.files {
            return false;
        }
        self.strangers.insert(origin);
        let key = Keys::default().of(file);
        let rules = self.reader.robots.rules(file, self.requester).await;
        rules.sitemaps().iter().any(|named| Keys::default().of(named) == key)
    }

    async fn file(&self, url: &Url) -> Option<Sitemap> {
        let (headers, time) = (HeaderMap::new(), TimeLimit::of_first_request(TIMEOUT));
        let (scope, origin) = (self.limits.scope.clone(), url.origin());
        let guard = RedirectGuard::new(move |to| {
            let follows = scope.is_own(&to) || to.origin() == origin;
            async move { follows }.boxed()
        });
        let fetch = Fetch {
            url,
            headers: &headers,
            headers_origins: &[],
            time: &time,
            max_bytes: MAX_BYTES,
            requester: self.requester,
            gap: self.limits.gap,
            guard: Some(&guard),
        };
        let outcome = self.reader.fetcher.fetch(fetch).await;
        let fetched = outcome.result.ok().filter(|fetched| fetched.status.is_success())?;
        let held = outcome.held;
        let work = move || {
            let _held = held;
            Sitemap::read(&fetched.final_url, &fetched.body)
        };
        cpu::run(work).await.ok()
    }
}
