//! robots.txt (RFC 9309), for those who ask that it be respected.
//!
//! A site's rules are fetched once and kept for a while. As the RFC has it: rules that are not there allow everything,
//! rules that cannot be had because the server fails or is out of reach allow nothing.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use moka::future::Cache;
use texting_robots::Robot;
use url::Url;
use uuid::Uuid;

use super::fetcher::{Fetch, Fetcher};

/// How much of a robots.txt is looked at: the least that the RFC (section 2.5) asks for.
const MAX_BYTES: u64 = 500 * 1024;
/// How long rules are kept; the RFC (section 2.4) allows a day.
const KEEP: Duration = Duration::from_secs(60 * 60);
const KEEP_SITES: u64 = 10_000;
/// What a site may ask for at most, and name.
const MAX_CRAWL_DELAY: Duration = Duration::from_secs(60);
const MAX_SITEMAPS: usize = 1_000;
const TIMEOUT: Duration = Duration::from_secs(20);

/// The rules of sites.
#[derive(Clone)]
pub struct Robots {
    fetcher: Fetcher,
    /// The product token that rules are looked up for.
    agent: Arc<str>,
    sites: Cache<String, Rules>,
}

/// The rules of a site.
#[derive(Clone)]
pub enum Rules {
    /// It has none.
    AllowAll,
    /// They cannot be had.
    AllowNone,
    /// Those of its robots.txt.
    Some(Arc<Robot>),
}

impl Rules {
    /// Whether a URL of the site may be fetched.
    pub fn allowed(&self, url: &Url) -> bool {
        match self {
            Self::AllowAll => true,
            Self::AllowNone => false,
            Self::Some(robot) => robot.allowed(url.as_str()),
        }
    }

    /// The least time between two requests that the site asks for.
    pub fn crawl_delay(&self) -> Duration {
        let Self::Some(robot) = self else { return Duration::ZERO };
        let asked = robot.delay.and_then(|seconds| Duration::try_from_secs_f32(seconds).ok());
        asked.unwrap_or_default().min(MAX_CRAWL_DELAY)
    }

    /// The sitemaps that it names.
    pub fn sitemaps(&self) -> Vec<Url> {
        let Self::Some(robot) = self else { return Vec::new() };
        robot.sitemaps.iter().take(MAX_SITEMAPS).filter_map(|url| Url::parse(url.trim()).ok()).collect()
    }
}

impl Robots {
    /// Fetches rules through `fetcher`, for the product named first in `user_agent`.
    pub fn new(fetcher: Fetcher, user_agent: &str) -> Self {
        let agent = user_agent.split(['/', ' ']).next().unwrap_or_default().into();
        Self { fetcher, agent, sites: Cache::builder().max_capacity(KEEP_SITES).time_to_live(KEEP).build() }
    }

    /// The product token that rules are looked up for.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// The rules of the site that `url` is on.
    pub async fn rules(&self, url: &Url, lane: Uuid) -> Rules {
        let Ok(robots_url) = url.join("/robots.txt") else { return Rules::AllowNone };
        let site = url.origin().ascii_serialization();
        self.sites.get_with(site, self.load(robots_url, lane)).await
    }

    async fn load(&self, url: Url, lane: Uuid) -> Rules {
        let headers = HeaderMap::new();
        let fetch = Fetch {
            url: &url,
            headers: &headers,
            timeout: TIMEOUT,
            max_bytes: MAX_BYTES,
            lane,
            gap: Duration::ZERO,
            guard: None,
        };
        let outcome = self.fetcher.fetch(fetch).await;
        match outcome.result {
            Ok(fetched) if fetched.status.is_success() => match Robot::new(&self.agent, &fetched.body) {
                Ok(robot) => Rules::Some(Arc::new(robot)),
                Err(_) => Rules::AllowAll,
            },
            Ok(fetched) if fetched.status.is_client_error() => Rules::AllowAll,
            Ok(fetched) if fetched.status.is_redirection() => Rules::AllowAll,
            Ok(_) | Err(_) => Rules::AllowNone,
        }
    }
}
