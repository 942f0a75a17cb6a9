//! robots.txt (RFC 9309), for those who ask that it be respected: fetched once, and kept for a while.
//!
//! As the RFC has it: rules that are not there (4xx, or behind too many redirects) allow everything; rules that cannot be
//! had, because the server fails or is out of reach, allow nothing. Rules that were had before are good for a day when they
//! cannot be had again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use datasonar_net::{FetchErrorKind, Fetched};
use datasonar_store::Scope;
use http::HeaderMap;
use moka::future::Cache;
use parking_lot::Mutex;
use tokio::time::Instant;
use url::Url;

use super::{
    fair_semaphore::Requester,
    fetcher::{Fetch, Fetcher},
    hosts::Gap,
    robots_rules::RobotsRules,
    time_limit::TimeLimit,
};

/// Bytes of a robots.txt that are fetched; what follows is left. It is a little more than [`RobotsRules`] reads, which leaves out the line that is cut.
const MAX_BYTES: u64 = 512 * 1024;
/// How long rules are kept.
const KEEP: Duration = Duration::from_secs(60 * 60);
/// How long it is taken for granted that a site's rules cannot be had.
const KEEP_FAILURE: Duration = Duration::from_secs(10 * 60);
/// How long rules are good that cannot be had again; the RFC (section 2.4) says a day.
const GOOD: Duration = Duration::from_secs(24 * 60 * 60);
const KEEP_SITES: u64 = 10_000;
const TIMEOUT: Duration = Duration::from_secs(20);

/// The rules of sites.
#[derive(Clone)]
pub struct Robots {
    fetcher: Fetcher,
    /// The product token that rules are looked up for.
    agent: Arc<str>,
    /// By origin.
    sites: Cache<String, Arc<Site>>,
}

/// What is known of a site. A tenant that finds it out of date asks once, however many of its pages wait for the answer; it
/// does not wait for what another tenant asks, which may itself be waiting for that tenant's slots.
#[derive(Default)]
struct Site {
    known: Mutex<Option<Known>>,
    /// The tenants that ask, or wait for who does.
    asking: Mutex<BTreeMap<Scope, Arc<tokio::sync::Mutex<()>>>>,
}

struct Known {
    rules: SiteRules,
    /// When to ask again.
    until: Instant,
    /// When the rules were had, if they were.
    had: Option<Instant>,
}

/// The rules of one site. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct SiteRules(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    sitemaps: Vec<Url>,
}

#[derive(Debug)]
enum Kind {
    /// There are rules; perhaps none that matter.
    Known(RobotsRules),
    /// There may be rules, but they cannot be had.
    Unreachable,
}

impl SiteRules {
    fn new(rules: RobotsRules, at: &Url) -> Self {
        let urls = rules.sitemaps().iter().filter_map(|sitemap| at.join(sitemap).ok());
        let sitemaps = urls.filter(|url| matches!(url.scheme(), "http" | "https")).collect();
        Self(Arc::new(Inner { kind: Kind::Known(rules), sitemaps }))
    }

    fn unreachable() -> Self {
        Self(Arc::new(Inner { kind: Kind::Unreachable, sitemaps: Vec::new() }))
    }

    /// Tells whether `url`, which is of this site, may be fetched.
    pub fn allowed(&self, url: &Url) -> bool {
        match &self.0.kind {
            Kind::Known(rules) => rules.allows(url),
            Kind::Unreachable => false,
        }
    }

    /// Tells whether nothing is allowed because the rules could not be had.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.0.kind, Kind::Unreachable)
    }

    /// How far apart the site wants requests to begin, a minute at most.
    pub fn crawl_delay(&self) -> Option<Duration> {
        match &self.0.kind {
            Kind::Known(rules) => rules.crawl_delay(),
            Kind::Unreachable => None,
        }
    }

    /// The sitemaps that are named, on whatever host, at most 1,000.
    pub fn sitemaps(&self) -> &[Url] {
        &self.0.sitemaps
    }
}

impl Robots {
    /// Fetches rules through `fetcher`, for the product named first in `user_agent`.
    pub fn new(fetcher: Fetcher, user_agent: &str) -> Self {
        let is_token = |next: char| next.is_ascii_alphabetic() || matches!(next, '-' | '_');
        let agent = user_agent.split(|next| !is_token(next)).next().unwrap_or_default().into();
        Self { fetcher, agent, sites: Cache::builder().max_capacity(KEEP_SITES).time_to_idle(GOOD).build() }
    }

    /// The product token by which sites address us.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// Tells whether the rules of its site allow `url` to be fetched.
    pub async fn allow(&self, url: &Url, requester: Requester) -> bool {
        self.rules(url, requester).await.allowed(url)
    }

    /// The rules of the site that `url` is of: its scheme, host and port.
    pub async fn rules(&self, url: &Url, requester: Requester) -> SiteRules {
        let Ok(robots_url) = url.join("/robots.txt") else { return SiteRules::unreachable() };
        let site = self.sites.get_with(url.origin().ascii_serialization(), async { Arc::default() }).await;
        if let Some(rules) = site.current() {
            return rules;
        }
        let asking = site.asking.lock().entry(requester.tenant).or_default().clone();
        let asks = asking.lock().await;
        if let Some(rules) = site.current() {
            return rules;
        }
        let loaded = self.load(&robots_url, requester).await;
        drop(asks);
        // Who waits still holds its part of the lock, and will find what was learned.
        site.asking.lock().retain(|_, asking| Arc::strong_count(asking) > 1);
        match loaded {
            Loaded::Rules(rules) => site.learn(Some(rules)),
            Loaded::Unreachable => site.learn(None),
            Loaded::GivenWay => site.last_known().unwrap_or_else(SiteRules::unreachable),
        }
    }

    /// Asks a site for its rules.
    async fn load(&self, url: &Url, requester: Requester) -> Loaded {
        let (headers, time) = (HeaderMap::new(), TimeLimit::of_first_request(TIMEOUT));
        let fetch = Fetch {
            url,
            headers: &headers,
            headers_origins: &[],
            time: &time,
            max_bytes: MAX_BYTES,
            is_prefix_enough: true,
            requester,
            gap: Gap::default(),
            guard: None,
        };
        let outcome = self.fetcher.fetch(fetch).await;
        let rules = match outcome.result {
            Ok(fetched) if fetched.status.is_success() => self.read(&fetched),
            // A redirect that leads nowhere, or a status that says that there is nothing.
            Ok(fetched) if fetched.status.is_client_error() || fetched.status.is_redirection() => {
                RobotsRules::default()
            }
            Err(error) if error.kind == FetchErrorKind::TooManyRedirects => RobotsRules::default(),
            Err(_) if outcome.was_preempted => return Loaded::GivenWay,
            Ok(_) | Err(_) => return Loaded::Unreachable,
        };
        Loaded::Rules(SiteRules::new(rules, url))
    }

    fn read(&self, fetched: &Fetched) -> RobotsRules {
        RobotsRules::parse(&fetched.body, &self.agent)
    }
}

/// What came of asking for rules.
enum Loaded {
    Rules(SiteRules),
    Unreachable,
    /// Time was over because slots were needed by others: that says nothing about the site.
    GivenWay,
}

impl Site {
    /// The rules, as long as they need not be asked for.
    fn current(&self) -> Option<SiteRules> {
        let known = self.known.lock();
        known.as_ref().filter(|known| Instant::now() < known.until).map(|known| known.rules.clone())
    }

    /// The rules that were had last, if they are still good.
    fn last_known(&self) -> Option<SiteRules> {
        let known = self.known.lock();
        known.as_ref().filter(|known| known.is_good(Instant::now())).map(|known| known.rules.clone())
    }

    /// Takes note of the rules, or that they cannot be had. Returns those that hold now.
    fn learn(&self, rules: Option<SiteRules>) -> SiteRules {
        let now = Instant::now();
        let mut known = self.known.lock();
        let fresh = match rules {
            Some(rules) => Known { rules, until: now + KEEP, had: Some(now) },
            None => {
                let old = known.take().filter(|old| old.is_good(now));
                let (rules, had) = old.map_or_else(|| (SiteRules::unreachable(), None), |old| (old.rules, old.had));
                Known { rules, until: now + KEEP_FAILURE, had }
            }
        };
        known.insert(fresh).rules.clone()
    }
}

impl Known {
    fn is_good(&self, now: Instant) -> bool {
        self.had.is_some_and(|had| now < had + GOOD)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use futures::future::join_all;

    use datasonar_store::{AccountId, Environment};
    use uuid::Uuid;

    use super::*;
    use crate::fetch::memory_net::{Answer, MemoryNet, ok, redirect, status};

    const RULES: &str = "user-agent: *\ndisallow: /no\ncrawl-delay: 3\nsitemap: /s.xml\nsitemap: https://cdn.example/s.xml.gz\n\
        sitemap: ftp://x.example/\n";

    fn nobody() -> Requester {
        let tenant = Scope { account: AccountId(Uuid::nil()), environment: Environment::Production };
        Requester { tenant, job: Uuid::nil() }
    }

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn robots(net: &MemoryNet) -> Robots {
        Robots::new(net.fetcher(), "FooBot/1.0 (+https://foo.example)")
    }

    async fn rules(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> SiteRules {
        robots(&MemoryNet::new(answer)).rules(&url("http://a.example/"), nobody()).await
    }

    fn allows_all(rules: &SiteRules) -> bool {
        rules.allowed(&url("http://a.example/no")) && !rules.is_unreachable()
    }

    fn allows_none(rules: &SiteRules) -> bool {
        !rules.allowed(&url("http://a.example/")) && rules.is_unreachable()
    }

    #[tokio::test]
    async fn a_site_says_what_is_allowed_how_fast_and_where_its_sitemaps_are() {
        let rules = rules(|_| ok(RULES)).await;
        assert!(rules.allowed(&url("http://a.example/yes")) && !rules.allowed(&url("http://a.example/no")));
        assert_eq!(rules.crawl_delay(), Some(Duration::from_secs(3)));
        assert_eq!(rules.sitemaps(), [url("http://a.example/s.xml"), url("https://cdn.example/s.xml.gz")]);
        assert!(!rules.is_unreachable());
    }

    #[tokio::test]
    async fn rules_that_are_not_there_allow_everything() {
        for code in [400, 401, 403, 404, 410, 429, 451, 499, 304] {
            assert!(allows_all(&rules(move |_| status(code)).await), "{code}");
        }
        assert!(allows_all(&rules(|_| redirect("/robots.txt")).await), "a redirect without end");
        assert!(allows_all(&rules(|_| ok("<!doctype html><p>not found")).await));
    }

    #[tokio::test]
    async fn rules_that_cannot_be_had_allow_nothing() {
        for code in [500, 502, 503, 504, 599] {
            assert!(allows_none(&rules(move |_| status(code)).await), "{code}");
        }
        assert!(allows_none(&rules(|_| None).await), "a broken connection");
        assert!(allows_none(&rules(|_| redirect("http://none.invalid/robots.txt")).await), "an unknown host");
    }

    #[tokio::test]
    async fn rules_that_are_too_long_are_read_up_to_the_limit() {
        let head = "user-agent: *\ndisallow: /no\n";
        for length in [499 << 10, 500 << 10, (500 << 10) + 1, 512 << 10, (512 << 10) + 1, 6 << 20] {
            let mut file = head.as_bytes().to_vec();
            file.resize(length, b'#');
            let rules = rules(move |_| ok(file.clone())).await;
            assert!(
                rules.allowed(&url("http://a.example/yes")) && !rules.allowed(&url("http://a.example/no")),
                "{length}"
            );
        }
        // The line that the limit cuts would forbid more than its author meant.
        let mut file = vec![b'#'; (500 << 10) - 10];
        file.splice(..head.len(), head.bytes());
        file.extend_from_slice(b"\ndisallow: /yesterday\n");
        file.resize(6 << 20, b'#');
        let rules = rules(move |_| ok(file.clone())).await;
        assert!(rules.allowed(&url("http://a.example/yes")) && !rules.allowed(&url("http://a.example/no")));
    }

    #[tokio::test]
    async fn redirects_are_followed_to_other_hosts_and_the_rules_stay_the_sites() {
        let hops = |target: &str| match target {
            "a.example/robots.txt" => redirect("http://b.example/5"),
            "b.example/0" => ok(RULES),
            hop => redirect(&format!("/{}", hop.chars().last().and_then(|n| n.to_digit(10)).unwrap() - 1)),
        };
        let rules = rules(hops).await;
        assert!(!rules.allowed(&url("http://a.example/no")));
        assert_eq!(rules.sitemaps()[0], url("http://a.example/s.xml"));
    }

    #[tokio::test]
    async fn a_site_is_a_scheme_a_host_and_a_port_and_asked_once() {
        let net = MemoryNet::new(|_| ok(RULES));
        let robots = robots(&net);
        let of = |text: &'static str| {
            let robots = robots.clone();
            async move { robots.allow(&url(text), nobody()).await }
        };
        let answers = join_all([of("http://a.example/no"), of("http://a.example/yes"), of("http://a.example:81/yes")]);
        assert_eq!(answers.await, [false, true, true]);
        let mut asked = net.asked();
        asked.sort();
        assert_eq!(asked, ["a.example/robots.txt", "a.example:81/robots.txt"]);
    }

    #[tokio::test(start_paused = true)]
    async fn rules_are_kept_an_hour_failures_ten_minutes_and_good_rules_a_day() {
        let code = Arc::new(AtomicU16::new(200));
        let net = MemoryNet::new({
            let code = code.clone();
            move |_| match code.load(Ordering::Relaxed) {
                200 => ok(RULES),
                code => status(code),
            }
        });
        let robots = robots(&net);
        let (no, yes) = (url("http://a.example/no"), url("http://a.example/yes"));
        let allows = async || (robots.allow(&yes, nobody()).await, robots.allow(&no, nobody()).await);
        let after = async |minutes: u64, status: u16| {
            code.store(status, Ordering::Relaxed);
            tokio::time::advance(Duration::from_secs(minutes * 60)).await;
            (allows().await, net.asked().len())
        };
        assert_eq!(after(0, 200).await, ((true, false), 1));
        assert_eq!(after(59, 500).await, ((true, false), 0), "kept");
        assert_eq!(after(1, 500).await, ((true, false), 1), "asked again, in vain: the old ones are good");
        assert_eq!(after(9, 500).await, ((true, false), 0));
        assert_eq!(after(1, 500).await, ((true, false), 1));
        assert_eq!(after(22 * 60, 500).await, ((true, false), 1));
        assert_eq!(after(60, 500).await, ((false, false), 1), "a day is over");
        assert_eq!(after(9, 200).await, ((false, false), 0));
        assert_eq!(after(1, 200).await, ((true, false), 1), "there again");
        assert_eq!(after(60, 404).await, ((true, true), 1), "gone for good");
    }

    #[test]
    fn the_product_token_is_the_name_alone() {
        let agent = |user_agent| Robots::new(MemoryNet::new(|_| None).fetcher(), user_agent).agent().to_owned();
        assert_eq!(agent("Datasonar/0.1.0"), "Datasonar");
        assert_eq!(agent("My_Bot-News (x)"), "My_Bot-News");
        assert_eq!(agent(""), "");
    }
}
