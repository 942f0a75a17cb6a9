//! What a crawl's task does besides scraping its URLs: it asks which pages are the first to be what they are, follows their
//! links, reads the site's sitemaps, and tells the store what it found.
//!
//! What was found goes to the store with the task's end, or before that when it is much. Telling it twice changes nothing, so a
//! task that dies and is done again does no harm.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use datasonar_store::{
    Discovery, DroppedPage, FoundUrl, SKIPPED_LISTED, Scope as Tenant, SkipReason, SkippedUrl, Store, StoreError,
    TaskLease, UrlKey,
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use url::{Position, Url};

use super::health::{Health, steady};
use crate::{
    cpu,
    crawl::{CrawlOptions, LinkSource, Scope, SitemapLimits, SitemapUse, Sites, follow},
    fetch::{Requester, SiteRules},
    jobs::admit_sitemaps,
    plans::Plans,
    scrape::{PageFacts, Plan},
};

/// So many URLs are told to the store at once, before the task's end.
const TOLD_AT_ONCE: usize = 1_000;
/// URLs that a task remembers having told, so that the links that every page has are told once.
const REMEMBERED: usize = 100_000;
/// The sites whose robots.txt is asked before their URLs are told. Those of more are asked when they are fetched.
const SITES_ASKED: usize = 8;

/// The crawl that a task belongs to.
pub(super) struct Crawl {
    pub(super) requester: Requester,
    pub(super) lease: TaskLease,
    pub(super) store: Arc<dyn Store>,
    pub(super) health: Health,
    pub(super) sites: Sites,
    pub(super) plans: Plans,
    /// Whose it is.
    pub(super) owner: Tenant,
    pub(super) scope: Arc<Scope>,
    pub(super) options: CrawlOptions,
    pub(super) plan: Arc<Plan>,
    /// The task's URLs.
    pub(super) urls: Vec<FoundUrl>,
    /// The job was cancelled: nothing is looked for any more.
    pub(super) cancelled: CancellationToken,
    pub(super) told: Mutex<Told>,
}

/// What was found and is not told yet, and what was.
#[derive(Default)]
pub(super) struct Told {
    waiting: Discovery,
    /// Pages without a result.
    dropped: Vec<DroppedPage>,
    keys: HashSet<UrlKey>,
}

/// A URL that was found, before robots.txt is asked.
struct Lead {
    url: Url,
    key: UrlKey,
    is_in_scope: bool,
}

impl Crawl {
    /// Goes on from a page. Tells whether it has a result: it has none when it turned out to be another page of the crawl.
    ///
    /// # Errors
    /// When the store fails, or the lease is lost.
    pub(super) async fn page(&self, index: usize, facts: PageFacts) -> Result<bool, StoreError> {
        let found = &self.urls[index];
        let keys = self.other_keys(found, &facts);
        let is_first = if keys.is_empty() {
            true
        } else {
            let at = u32::try_from(index).expect("a task has few URLs");
            steady(&self.health, "worker", || self.store.claim_page(self.lease, at, found.key, keys.clone())).await?
        };
        if !is_first {
            self.drop_page(index, SkipReason::Duplicate);
        }
        if self.options.sitemap != SitemapUse::Only && !self.cancelled.is_cancelled() {
            self.follow(found, facts).await?;
        }
        Ok(is_first)
    }

    /// Takes note of a page that robots.txt disallows, as was seen only when it was to be fetched. Tells whether it has a result
    /// all the same, as the start has.
    pub(super) fn disallowed(&self, index: usize) -> bool {
        let is_start = self.urls[index].found_on.is_none();
        if !is_start {
            self.drop_page(index, SkipReason::Robots);
        }
        is_start
    }

    /// Tells the store what was found so far.
    ///
    /// # Errors
    /// When the store fails, or the lease is lost.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.told.lock().waiting);
        if waiting == Discovery::default() {
            return Ok(());
        }
        steady(&self.health, "worker", || self.store.discover(self.lease, waiting.clone())).await
    }

    /// Tells why a page has no result.
    pub(super) fn dropped(&self, index: usize) -> Option<SkipReason> {
        let told = self.told.lock();
        told.dropped.iter().find(|page| page.index as usize == index).map(|page| page.skipped.reason)
    }

    /// Takes note of a page that has no result.
    pub(super) fn drop_page(&self, index: usize, reason: SkipReason) {
        let skipped = SkippedUrl { url: self.urls[index].clone(), reason };
        let index = u32::try_from(index).expect("a task has few URLs");
        self.told.lock().dropped.push(DroppedPage { index, skipped });
    }

    /// The pages that a page turned out to be, besides the one it was found as.
    fn other_keys(&self, found: &FoundUrl, facts: &PageFacts) -> Vec<UrlKey> {
        let canonical = facts.page.canonical_url.as_ref();
        let canonical = canonical.filter(|canonical| self.scope.believes_canonical(&facts.final_url, canonical));
        let mut keys: Vec<UrlKey> = Vec::new();
        for url in [Some(&facts.final_url), canonical].into_iter().flatten() {
            let key = UrlKey(self.scope.keys.of(url).0);
            if key != found.key && !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    async fn follow(&self, found: &FoundUrl, facts: PageFacts) -> Result<(), StoreError> {
        // A page that led elsewhere is not the site's, and its links are not either.
        if facts.page.links.is_empty() || !self.scope.is_on_site(&facts.final_url) {
            return Ok(());
        }
        let (depth, on) = (found.depth + 1, facts.final_url.to_string());
        let (scope, agent, binds) =
            (self.scope.clone(), self.sites.robots.agent().to_owned(), self.plan.respect_robots);
        let leads = cpu::run_sound(move || {
            let source = LinkSource { page: &facts.page, robots_tags: &facts.robots_tags };
            follow(source, &agent, binds).map(|link| lead(&scope, link.url.clone(), depth)).collect::<Vec<_>>()
        });
        self.tell(leads.await, depth, &on).await
    }

    /// Reads the site's sitemaps, if this is the task that holds the start.
    ///
    /// # Errors
    /// When the store fails, or the lease is lost.
    pub(super) async fn sitemaps(&self) -> Result<(), StoreError> {
        let start = match &self.urls[..] {
            [start] if start.depth == 0 && start.found_on.is_none() => start,
            _ => return Ok(()),
        };
        if self.options.sitemap == SitemapUse::Skip || self.options.max_depth == Some(0) {
            return Ok(());
        }
        let Ok(url) = Url::parse(&start.url) else { return Ok(()) };
        let rules = self.sites.robots.rules(&url, self.requester).await;
        if rules.is_unreachable() && self.plan.respect_robots {
            return Ok(());
        }
        let files = self.sites.sitemaps_of(&url, &rules);
        let limits = SitemapLimits {
            entries: self.options.max_pages.saturating_add(SKIPPED_LISTED),
            gap: self.plan.gap,
            scope: self.scope.clone(),
            // A crawl has set aside all pages that it may find: its sitemaps come on top.
            admission: admit_sitemaps(self.plans.clone(), self.owner, false),
        };
        let mut walk = self.sites.sitemaps.walk(files, limits, self.requester);
        while let Some((file, entries)) = walk.next().await {
            let scope = self.scope.clone();
            let leads =
                cpu::run_sound(move || entries.into_iter().map(|entry| lead(&scope, entry.url, 1)).collect::<Vec<_>>());
            self.tell(leads.await, 1, file.as_str()).await?;
            if self.cancelled.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    /// Sorts what was found, and hands it to the store as soon as it is much.
    async fn tell(&self, mut leads: Vec<Lead>, depth: u32, on: &str) -> Result<(), StoreError> {
        {
            let mut told = self.told.lock();
            if told.keys.len() > REMEMBERED {
                told.keys.clear();
            }
            leads.retain(|lead| told.keys.insert(lead.key));
        }
        let rules = if self.plan.respect_robots { self.rules(&leads).await } else { HashMap::new() };
        let sort = move || -> Vec<(Lead, Option<SkipReason>)> {
            let skipped = |lead: &Lead| {
                let allowed = || rules.get(site(&lead.url)).is_none_or(|rules| rules.allowed(&lead.url));
                (!lead.is_in_scope)
                    .then_some(SkipReason::OutOfScope)
                    .or_else(|| (!allowed()).then_some(SkipReason::Robots))
            };
            leads.into_iter().map(|lead| (skipped(&lead), lead)).map(|(reason, lead)| (lead, reason)).collect()
        };
        for (lead, reason) in cpu::run_sound(sort).await {
            let url = FoundUrl { key: lead.key, url: lead.url.into(), depth, found_on: Some(on.to_owned()) };
            let much = {
                let waiting = &mut self.told.lock().waiting;
                match reason {
                    None => waiting.found.push(url),
                    Some(reason) => waiting.skipped.push(SkippedUrl { url, reason }),
                }
                let is_much = waiting.found.len() + waiting.skipped.len() >= TOLD_AT_ONCE;
                is_much.then(|| std::mem::take(waiting))
            };
            if let Some(much) = much {
                steady(&self.health, "worker", || self.store.discover(self.lease, much.clone())).await?;
            }
        }
        Ok(())
    }

    /// The rules of the sites that are led to, by site; of the first few.
    async fn rules(&self, leads: &[Lead]) -> HashMap<String, SiteRules> {
        let mut rules = HashMap::new();
        let mut last = "";
        for lead in leads.iter().filter(|lead| lead.is_in_scope) {
            if rules.len() >= SITES_ASKED {
                break;
            }
            let site = site(&lead.url);
            if site != last && !rules.contains_key(site) {
                rules.insert(site.to_owned(), self.sites.robots.rules(&lead.url, self.requester).await);
            }
            last = site;
        }
        rules
    }

    /// What is left to tell at the task's end: what it found, and which of its pages have no result.
    pub(super) fn into_parts(self) -> (Discovery, Vec<DroppedPage>) {
        let Told { waiting, mut dropped, .. } = self.told.into_inner();
        dropped.sort_unstable_by_key(|page| page.index);
        (waiting, dropped)
    }
}

fn lead(scope: &Scope, url: Url, depth: u32) -> Lead {
    let is_in_scope = scope.check(&url, depth).is_ok();
    Lead { key: UrlKey(scope.keys.of(&url).0), is_in_scope, url }
}

/// Scheme, host and port.
fn site(url: &Url) -> &str {
    &url[..Position::BeforePath]
}
