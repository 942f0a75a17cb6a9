//! From a URL to its page result: fetch, then extract on a thread of its own, then serialise, once.

use std::{num::NonZero, sync::Arc, time::Duration};

use bytes::Bytes;
use datasonar_extract as extract;
use datasonar_net::{AddressPolicy, FetchErrorKind, Fetched, RedirectGuard};
use futures::FutureExt;
use http::header;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::{
    options::{Plan, Render},
    page_result::{Content, ErrorCode, Keyed, PageContent, PageError, PageResult, PageStatus},
};
use crate::cpu;
use crate::fetch::{Fetch, Fetcher, Robots, Turns};

/// The longest that deriving the content of one page may take.
const EXTRACT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a scraper is made of.
pub struct ScraperParts {
    /// Gets documents.
    pub fetcher: Fetcher,
    /// Knows what sites allow.
    pub robots: Robots,
    /// Which addresses may be dialled.
    pub policy: AddressPolicy,
    /// How many documents are worked on at once.
    pub cpus: NonZero<usize>,
}

/// Turns URLs into page results.
pub struct Scraper {
    fetcher: Fetcher,
    robots: Robots,
    policy: AddressPolicy,
    cpus: Turns,
}

/// The URL to scrape, and on whose behalf.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// As submitted.
    pub url: &'a str,
    /// The job, or a number of its own for a call that waits: lanes are served in turn.
    pub lane: Uuid,
    /// How a crawl came to it.
    pub origin: Option<Origin<'a>>,
}

/// How a crawl came to a URL.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// How many links from the start.
    pub depth: u32,
    /// The page or sitemap that named it.
    pub found_on: Option<&'a str>,
}

impl Target<'_> {
    fn failed(&self, error: PageError, time_ms: u64) -> PageResult {
        PageResult {
            depth: self.origin.map(|origin| origin.depth),
            found_on: self.origin.and_then(|origin| origin.found_on).map(str::to_owned),
            ..PageResult::failed(self.url, error, time_ms)
        }
    }
}

/// What a crawl goes on from.
#[derive(Clone, Debug)]
pub struct PageFacts {
    /// The URL after redirects.
    pub final_url: Url,
    /// The values of its `X-Robots-Tag` headers.
    pub robots_tags: Vec<String>,
    /// What the page says of itself; nothing for one that is no HTML, or was refused.
    pub page: extract::CrawlFacts,
}

/// A page result, serialised.
#[derive(Clone, Debug)]
pub struct Scraped {
    /// Its JSON.
    pub json: Bytes,
    /// Why it has no content, if it has none.
    pub error: Option<PageError>,
    /// How long it took, in milliseconds.
    pub time_ms: u64,
    /// What a crawl goes on from, if the page was fetched and the plan asks for it.
    pub facts: Option<Box<PageFacts>>,
}

impl Scraped {
    /// The page result of a URL that gave no content.
    pub fn failed(target: Target<'_>, error: PageError) -> Self {
        target.failed(error, 0).into()
    }

    /// The page result of a URL whose job was cancelled before it was fetched.
    pub fn cancelled(target: Target<'_>) -> Self {
        Self::failed(target, PageError::new(ErrorCode::Cancelled, "the job was cancelled before this page was fetched"))
    }
}

impl From<PageResult> for Scraped {
    fn from(page: PageResult) -> Self {
        Self { json: page.to_json(), error: page.error, time_ms: page.time_ms, facts: None }
    }
}

impl Scraper {
    /// Puts a scraper together.
    pub fn new(parts: ScraperParts) -> Self {
        Self { fetcher: parts.fetcher, robots: parts.robots, policy: parts.policy, cpus: Turns::new(parts.cpus.get()) }
    }

    /// Scrapes one URL. There is always a page result; `stop` ends it early as `cancelled`.
    pub async fn scrape(&self, target: Target<'_>, plan: &Arc<Plan>, stop: &CancellationToken) -> Scraped {
        stop.run_until_cancelled(self.page(target, plan)).await.unwrap_or_else(|| Scraped::cancelled(target))
    }

    async fn page(&self, target: Target<'_>, plan: &Arc<Plan>) -> Scraped {
        let url = match self.check(target, plan).await {
            Ok(url) => url,
            Err(error) => return Scraped::failed(target, error),
        };
        let guard = plan.respect_robots.then(|| self.guard(target.lane));
        let outcome = self
            .fetcher
            .fetch(Fetch {
                url: &url,
                headers: &plan.headers,
                timeout: plan.timeout,
                max_bytes: plan.max_bytes,
                lane: target.lane,
                gap: plan.gap,
                guard: guard.as_ref(),
            })
            .await;
        let time_ms = milliseconds(outcome.spent);
        let fetched = match outcome.result {
            Ok(fetched) => fetched,
            Err(error) => {
                let code = match error.kind {
                    FetchErrorKind::RedirectRefused => ErrorCode::RobotsDisallowed,
                    kind => ErrorCode::from_name(kind.code()).unwrap_or(ErrorCode::Internal),
                };
                let page = target.failed(PageError::new(code, error.message), time_ms);
                return PageResult {
                    final_url: error.final_url.map(String::from),
                    status_code: error.status.map(|status| status.as_u16()),
                    ..page
                }
                .into();
            }
        };
        if !fetched.status.is_success() {
            return refused(target, &fetched, time_ms, plan);
        }
        let turn = self.cpus.take(target.lane).await;
        let page = target.failed(PageError::new(ErrorCode::Internal, "the page has no content"), 0);
        let plan = plan.clone();
        let limit = EXTRACT_TIMEOUT.min(plan.timeout.saturating_sub(outcome.spent).max(Duration::from_secs(1)));
        let work = move || {
            let (_turn, _slot) = (turn, outcome.slot);
            derive(page, fetched, &plan, outcome.spent, limit)
        };
        cpu::run(work).await.unwrap_or_else(|_| {
            tracing::error!(url = target.url, "extracting a page panicked");
            Scraped::failed(target, PageError::new(ErrorCode::Internal, "the page could not be processed"))
        })
    }

    /// Lets robots.txt bind redirects, too: it is asked for each page, however one comes there.
    fn guard(&self, lane: Uuid) -> RedirectGuard {
        let robots = self.robots.clone();
        RedirectGuard::new(move |url| {
            let robots = robots.clone();
            async move { robots.rules(&url, lane).await.allowed(&url) }.boxed()
        })
    }

    /// Everything that can be said of a URL before it is fetched.
    async fn check(&self, target: Target<'_>, plan: &Plan) -> Result<Url, PageError> {
        let url = Url::parse(target.url)
            .map_err(|error| PageError::new(ErrorCode::InvalidUrl, format!("not an absolute URL: {error}")))?;
        self.policy.check_url(&url).map_err(|refused| {
            let code = ErrorCode::from_name(refused.code()).unwrap_or(ErrorCode::InvalidUrl);
            PageError::new(code, refused.to_string())
        })?;
        if plan.render == Render::Always {
            return Err(PageError::new(ErrorCode::RenderError, "this server has no browser to render pages with"));
        }
        if plan.respect_robots && !self.robots.rules(&url, target.lane).await.allowed(&url) {
            return Err(PageError::new(ErrorCode::RobotsDisallowed, "the site's robots.txt disallows this page"));
        }
        Ok(url)
    }
}

/// The page result of a document whose status is not a success.
fn refused(target: Target<'_>, fetched: &Fetched, time_ms: u64, plan: &Plan) -> Scraped {
    let message = format!("the page answered {}", fetched.status);
    let page = PageResult {
        final_url: Some(fetched.final_url.to_string()),
        status_code: Some(fetched.status.as_u16()),
        ..target.failed(PageError::new(ErrorCode::HttpStatus, message), time_ms)
    };
    Scraped { facts: plan.is_crawl.then(|| facts(fetched, None)), ..page.into() }
}

fn facts(fetched: &Fetched, page: Option<extract::CrawlFacts>) -> Box<PageFacts> {
    let tags = fetched.headers.get_all("x-robots-tag").iter();
    Box::new(PageFacts {
        final_url: fetched.final_url.clone(),
        robots_tags: tags.map(|tag| String::from_utf8_lossy(tag.as_bytes()).into_owned()).collect(),
        page: page.unwrap_or_default(),
    })
}

/// Derives the content of a document. Takes a while: for a thread that may be busy. `page` is its result without content.
fn derive(page: PageResult, fetched: Fetched, plan: &Plan, spent: Duration, limit: Duration) -> Scraped {
    let begin = Instant::now();
    let content_type = fetched.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let document = extract::Document { url: &fetched.final_url, content_type, body: &fetched.body };
    let extracted = extract::extract(&document, &plan.extract, &|| begin.elapsed() > limit);
    let page = PageResult {
        final_url: Some(fetched.final_url.to_string()),
        status_code: Some(fetched.status.as_u16()),
        time_ms: milliseconds(spent + begin.elapsed()),
        ..page
    };
    let (page, of_page) = match extracted {
        Ok(extracted) => {
            let page = PageResult {
                status: PageStatus::Success,
                error: None,
                content: content(extracted.contents, plan.keyed),
                metadata: Some(extracted.metadata.into()),
                ..page
            };
            (page, extracted.crawl_facts)
        }
        Err(error) => {
            let code = ErrorCode::from_name(error.code()).unwrap_or(ErrorCode::Internal);
            (PageResult { error: Some(PageError::new(code, error.to_string())), ..page }, None)
        }
    };
    Scraped { facts: plan.is_crawl.then(|| facts(&fetched, of_page)), ..page.into() }
}

fn content(contents: Vec<(extract::Format, extract::Content)>, keyed: bool) -> Option<PageContent> {
    let mut contents = contents.into_iter().map(|(format, content)| (format, Content::from(content)));
    if keyed {
        return Some(PageContent::Several(Keyed(contents.collect())));
    }
    contents.next().map(|(_, content)| PageContent::One(content))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
