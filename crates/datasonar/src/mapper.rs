//! The map of a site: the URLs that one of its pages links to and those that its sitemaps name, found at once and without a job.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    cpu,
    crawl::{Admission, LinkSource, PageKey, Scope, SitemapLimits, SitemapUse, Sites, follow},
    fetch::{Gap, Requester, SiteRules},
    scrape::{Format, Formats, Limits, Plan, ScrapeOptions, Scraper, Target},
};

/// A site is looked at for so long; what is known then is answered.
const MOST: Duration = Duration::from_secs(60);
/// Entries of sitemaps that are looked at.
const ENTRIES: u64 = 1_000_000;

/// What is asked of a map.
pub struct MapQuery {
    /// Where to look.
    pub url: Url,
    /// Which URLs are wanted.
    pub scope: Arc<Scope>,
    /// Only URLs that contain this, in whatever case.
    pub search: Option<String>,
    /// Which sources are used.
    pub sitemap: SitemapUse,
    /// Leave out what robots.txt disallows.
    pub respect_robots: bool,
    /// How many URLs are answered at most.
    pub limit: usize,
    /// Asked before each sitemap.
    pub admission: Admission,
}

/// The URLs of a site.
#[derive(Debug, Default)]
pub struct SiteMap {
    /// Those that the page links to first, then those of the sitemaps, each once.
    pub urls: Vec<String>,
    /// Whether there are, or may be, more.
    pub truncated: bool,
}

/// Makes maps of sites.
#[derive(Clone)]
pub struct Mapper {
    /// Their rules and sitemaps.
    pub sites: Sites,
    /// Reads their pages.
    pub scraper: Arc<Scraper>,
    /// Bounds of a page.
    pub limits: Limits,
}

impl Mapper {
    /// Looks for URLs until there are as many as wanted, no more, or a minute has passed since the request arrived, waiting for
    /// hosts and slots included. A site that cannot be reached has none.
    pub async fn map(&self, query: MapQuery, requester: Requester, arrived: Instant) -> SiteMap {
        let mut listed = Listed { query: Arc::new(query), keys: HashSet::new(), map: SiteMap::default() };
        if tokio::time::timeout_at(arrived + MOST, self.look(&mut listed, requester)).await.is_err() {
            listed.map.truncated = true;
        }
        listed.map
    }

    async fn look(&self, listed: &mut Listed, requester: Requester) {
        let query = listed.query.clone();
        let rules = self.sites.robots.rules(&query.url, requester).await;
        listed.add(vec![query.url.clone()], &rules).await;
        if query.sitemap != SitemapUse::Only {
            self.links(listed, &rules, requester).await;
        }
        if query.sitemap == SitemapUse::Skip || (query.respect_robots && rules.is_unreachable()) {
            return;
        }
        let limits = SitemapLimits {
            entries: ENTRIES,
            gap: Gap::default(),
            scope: query.scope.clone(),
            admission: query.admission.clone(),
        };
        let mut walk = self.sites.sitemaps.walk(self.sites.sitemaps_of(&query.url, &rules), limits, requester);
        while !listed.is_over()
            && let Some((_, entries)) = walk.next().await
        {
            listed.add(entries.into_iter().map(|entry| entry.url).collect(), &rules).await;
        }
        listed.map.truncated |= walk.was_cut();
    }

    /// Lists what the page links to.
    async fn links(&self, listed: &mut Listed, rules: &SiteRules, requester: Requester) {
        let query = listed.query.clone();
        let options = ScrapeOptions {
            format: Formats::Several(vec![Format::Links]),
            respect_robots: Some(query.respect_robots),
            ..ScrapeOptions::default()
        };
        let agent = self.sites.robots.agent();
        let plan = Plan::new(&options, &self.limits).expect("these options contradict no limit");
        let plan = plan.for_crawl(&options, agent, Gap::default(), &query.url);
        let target = Target { url: query.url.as_str(), requester, origin: None, arrived: None, door: None };
        let scraped = self.scraper.scrape(target, &plan.into(), &CancellationToken::new()).await;
        let Some(facts) = scraped.facts else { return };
        let source = LinkSource { page: &facts.page, robots_tags: &facts.robots_tags };
        let links = follow(source, agent, query.respect_robots).map(|link| link.url.clone()).collect();
        listed.add(links, rules).await;
        listed.map.truncated |= facts.page.more_links > 0;
    }
}

/// The URLs found so far.
struct Listed {
    query: Arc<MapQuery>,
    keys: HashSet<PageKey>,
    map: SiteMap,
}

impl Listed {
    /// Whether there are more than wanted.
    fn is_over(&self) -> bool {
        self.map.truncated && self.map.urls.len() >= self.query.limit
    }

    /// Adds those that are wanted, allowed, and new.
    async fn add(&mut self, urls: Vec<Url>, rules: &SiteRules) {
        let (query, rules) = (self.query.clone(), rules.clone());
        let search = query.search.as_deref().map(str::to_lowercase);
        let is_wanted = move |url: &Url| {
            let has = |search: &String| url.as_str().to_lowercase().contains(search);
            (!query.respect_robots || rules.allowed(url))
                && query.scope.check(url, 0).is_ok()
                && search.as_ref().is_none_or(has)
        };
        let query = self.query.clone();
        let keyed = move || -> Vec<(PageKey, Url)> {
            urls.into_iter().filter(is_wanted).map(|url| (query.scope.keys.of(&url), url)).collect()
        };
        for (key, url) in cpu::run_sound(keyed).await {
            if self.keys.contains(&key) {
                continue;
            }
            if self.map.urls.len() >= self.query.limit {
                self.map.truncated = true;
                return;
            }
            self.keys.insert(key);
            self.map.urls.push(url.into());
        }
    }
}
