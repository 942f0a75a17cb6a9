//! From a URL to its page result: fetch or render, then extract on a thread of its own, then serialise, once.

use std::{num::NonZero, sync::Arc, time::Duration};

use bytes::Bytes;
use datasonar_extract as extract;
use datasonar_net::{AddressPolicy, FetchErrorKind, RedirectGuard};
use futures::FutureExt;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    document::Document,
    gate::{Door, ProcessingGate},
    masked::shown_url,
    options::{Format, Plan, Render},
    page_result::{Content, ErrorCode, Keyed, PageContent, PageError, PagePicture, PageResult, PageStatus},
};
use crate::{
    cpu::{self, Priority},
    fetch::{FairSemaphore, Fetch, Fetcher, Held, Outcome, Requester, Robots, TimeLimit},
    render::{Arrival, Page, RenderErrorKind, Renderer},
};

/// The longest that deriving the content of one page may take.
const EXTRACT_TIMEOUT: Duration = Duration::from_secs(10);
/// The memory that most documents need, in bytes: so much, and so much for each byte of theirs.
const USUAL_MEMORY: usize = 8 * 1024 * 1024;
const USUAL_MEMORY_PER_BYTE: usize = 24;
/// Documents that usually need more memory than this, in bytes, are large: bodies from about 340 KiB on.
const SMALL_MEMORY: u64 = 16 * 1024 * 1024;
/// What a page that is waited for may take beyond its time limit, so that one that ends by itself can say how.
const GRACE: Duration = Duration::from_millis(500);

/// What a scraper is made of.
pub struct ScraperParts {
    /// Gets documents.
    pub fetcher: Fetcher,
    /// Gets them with a browser.
    pub renderer: Renderer,
    /// Knows what sites allow.
    pub robots: Robots,
    /// Which addresses may be dialled.
    pub policy: AddressPolicy,
    /// How many documents are worked on at once.
    pub cpus: NonZero<usize>,
    /// The memory in bytes that documents worked on may take together.
    pub memory: u64,
    /// The longest page result, in bytes of JSON.
    pub max_result: u64,
    /// Called before a document is processed, with its URL.
    pub before_processing: Option<BeforeProcessing>,
}

/// Called before a document is processed, with its URL.
pub type BeforeProcessing = Arc<dyn Fn(&Url) + Send + Sync>;

/// Turns URLs into page results.
pub struct Scraper {
    fetcher: Fetcher,
    renderer: Renderer,
    robots: Robots,
    policy: AddressPolicy,
    /// For small documents. Each takes [`SMALL_MEMORY`] at most, so that these permits bound their memory, too.
    cpus: FairSemaphore,
    /// For large documents, which are worked on at a lower priority.
    background_cpus: FairSemaphore,
    /// Bytes of memory that large documents take.
    memory: FairSemaphore,
    max_memory: u64,
    max_result: u64,
    gate: ProcessingGate,
    before_processing: Option<BeforeProcessing>,
}

/// A document that was got, and what getting it took.
struct Got {
    document: Document,
    spent: Duration,
    /// Held until the document has been dealt with.
    held: Option<Arc<Held>>,
}

/// What came of a document.
enum Derived {
    Page(Scraped),
    /// It is nothing without its scripts, and may be rendered.
    IsShell,
    /// It was dropped while it waited for a processor, since another tenant lacked its slot.
    GaveWay,
}

/// The URL to scrape, and on whose behalf.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// As submitted.
    pub url: &'a str,
    /// The tenant, and the job or a number of its own for a call that waits.
    pub requester: Requester,
    /// How a crawl came to it.
    pub origin: Option<Origin<'a>>,
    /// When the client asked, where it waits for the page: the time limit then counts from there.
    pub arrived: Option<Instant>,
    /// Where the page waits before it is processed; without one, it is processed beside others.
    pub door: Option<&'a Arc<Door>>,
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
    /// The code of why it has no content, if it has none.
    pub fn error_code(&self) -> Option<ErrorCode> {
        self.error.as_ref().map(|error| error.code)
    }

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
        let ScraperParts { fetcher, renderer, robots, policy, cpus, memory, max_result, before_processing } = parts;
        Self {
            fetcher,
            renderer,
            robots,
            policy,
            cpus: FairSemaphore::new(cpus.get()),
            background_cpus: FairSemaphore::new(cpus.get()),
            memory: FairSemaphore::new(usize::try_from(memory).unwrap_or(usize::MAX)),
            max_memory: memory,
            max_result,
            gate: ProcessingGate::default(),
            before_processing,
        }
    }

    /// Scrapes one URL. There is always a page result; `stop` ends it early as `cancelled`. Where the client waits, there is
    /// one within half a second of the time limit, whatever the page waits for.
    pub async fn scrape(&self, target: Target<'_>, plan: &Arc<Plan>, stop: &CancellationToken) -> Scraped {
        let page = async {
            let Some(arrived) = target.arrived else { return self.page(target, plan).await };
            let deadline = arrived + plan.timeout + GRACE;
            tokio::time::timeout_at(deadline, self.page(target, plan)).await.unwrap_or_else(|_| late(target, plan))
        };
        stop.run_until_cancelled(page).await.unwrap_or_else(|| Scraped::cancelled(target))
    }

    /// The gate that pages pass to be processed.
    pub fn gate(&self) -> &ProcessingGate {
        &self.gate
    }

    /// Ends what it has running besides itself: its browsers. It scrapes no more.
    pub async fn close(&self) {
        self.renderer.close().await;
    }

    async fn page(&self, target: Target<'_>, plan: &Arc<Plan>) -> Scraped {
        let url = match self.check(target, plan).await {
            Ok(url) => url,
            Err(error) => return Scraped::failed(target, error),
        };
        let guard = plan.respect_robots.then(|| self.guard(target.requester));
        let time = match target.arrived {
            Some(arrived) => TimeLimit::since(arrived, plan.timeout),
            None => TimeLimit::of_first_request(plan.timeout),
        };
        let (headers, headers_origins) = plan.headers.for_url(&url);
        let fetch = Fetch {
            url: &url,
            headers,
            headers_origins,
            time: &time,
            max_bytes: plan.max_bytes,
            is_prefix_enough: false,
            requester: target.requester,
            gap: plan.gap,
            guard: guard.as_ref(),
        };
        let mut way = plan.render;
        loop {
            let next = match way {
                Render::Always => self.rendered(target, plan, fetch).await,
                Render::Auto => self.fetched(target, plan, fetch, true).await,
                Render::Never => self.fetched(target, plan, fetch, false).await,
            };
            way = match next {
                Next::Done(scraped) => return *scraped,
                Next::Fetch(way) if !time.left().is_zero() => way,
                Next::Fetch(_) => return late(target, plan),
            };
        }
    }

    /// The page as it is sent; or rendered next, if it is nothing then and may be.
    async fn fetched(&self, target: Target<'_>, plan: &Arc<Plan>, fetch: Fetch<'_>, may_render: bool) -> Next {
        let Outcome { result, spent, held, .. } = self.fetcher.fetch(fetch).await;
        let fetched = match result {
            Ok(fetched) => fetched,
            Err(error) => {
                let code = match error.kind {
                    FetchErrorKind::RedirectRefused => ErrorCode::RobotsDisallowed,
                    kind => ErrorCode::from_name(kind.code()).unwrap_or(ErrorCode::Internal),
                };
                let page = target.failed(PageError::new(code, error.message), milliseconds(spent));
                return Next::done(PageResult {
                    final_url: error.final_url.map(String::from),
                    status_code: error.status.map(|status| status.as_u16()),
                    ..page
                });
            }
        };
        if !fetched.status.is_success() {
            return Next::done(refused(target, (&fetched.final_url, fetched.status, &fetched.headers), spent, plan));
        }
        let got = Got { document: Document::Fetched(fetched), spent, held };
        match self.derive(target, plan, got, may_render).await {
            Derived::Page(scraped) => Next::done(scraped),
            Derived::IsShell => Next::Fetch(Render::Always),
            Derived::GaveWay => Next::Fetch(if may_render { Render::Auto } else { Render::Never }),
        }
    }

    /// The page as a browser makes it; as it is sent next, if it is nothing to render.
    async fn rendered(&self, target: Target<'_>, plan: &Arc<Plan>, fetch: Fetch<'_>) -> Next {
        let page = Page {
            url: fetch.url,
            headers: fetch.headers,
            headers_origins: fetch.headers_origins,
            max_bytes: fetch.max_bytes,
            wait_for: plan.wait_for.as_deref(),
            screenshot: plan.formats.contains(&Format::Screenshot),
            guard: fetch.guard,
        };
        let render = |timeout, _| self.renderer.render(page, timeout);
        let outcome = self.fetcher.tries(fetch, self.renderer.slots(), render).await;
        let Outcome { result, spent, held, .. } = outcome;
        let error = match result {
            Ok(rendered) => {
                let got = Got { document: Document::Rendered(rendered), spent, held };
                return match self.derive(target, plan, got, false).await {
                    Derived::Page(scraped) => Next::done(scraped),
                    Derived::IsShell => unreachable!("a rendered page is not looked at as a shell"),
                    Derived::GaveWay => Next::Fetch(Render::Always),
                };
            }
            Err(error) => error,
        };
        drop(held);
        if error.kind == RenderErrorKind::NotHtml && !page.screenshot {
            return Next::Fetch(Render::Never);
        }
        let answer = error.answer.as_deref();
        if let (RenderErrorKind::Refused, Some(Arrival { url, status, headers })) = (error.kind, answer) {
            return Next::done(refused(target, (url, *status, headers), spent, plan));
        }
        let code = ErrorCode::from_name(error.code()).unwrap_or(ErrorCode::Internal);
        Next::done(PageResult {
            final_url: answer.map(|answer| answer.url.to_string()),
            status_code: answer.map(|answer| answer.status.as_u16()),
            ..target.failed(PageError::new(code, error.message.clone()), milliseconds(spent))
        })
    }

    /// Derives a document's content, on a thread that may be busy.
    ///
    /// Most documents need a small part of the memory that they may take: they ask for that first. One that needs more is worked on
    /// again with all that it may take; if that is more than there is for all documents, with all there is, and alone.
    /// Large documents wait for memory and for threads of a lower priority, so that small ones never wait behind them.
    async fn derive(&self, target: Target<'_>, plan: &Arc<Plan>, got: Got, may_render: bool) -> Derived {
        let bytes = got.document.body().len();
        let most = self.max_memory.min(extract::default_memory(bytes) as u64);
        let usual = most.min((USUAL_MEMORY + USUAL_MEMORY_PER_BYTE * bytes) as u64);
        let mut next = (got, usual);
        loop {
            let (got, memory) = next;
            match self.derive_within(target, plan, got, may_render, (memory, most)).await {
                Ok(derived) => return derived,
                Err(got) => next = (*got, most),
            }
        }
    }

    /// Does the same within so many bytes of memory, of so many that the document may take; gives it back if it needs more.
    async fn derive_within(
        &self,
        target: Target<'_>,
        plan: &Arc<Plan>,
        got: Got,
        may_render: bool,
        (memory, most): (u64, u64),
    ) -> Result<Derived, Box<Got>> {
        let is_small = memory <= SMALL_MEMORY;
        let passed = async {
            // Before a thread is waited for: whoever is alone must not wait for one that others hold at the gate.
            let (inside, beside) = match target.door {
                Some(door) => (Some(door.enter().await), None),
                None => (None, Some(self.gate.beside().await)),
            };
            if is_small {
                return (self.cpus.acquire(target.requester, 1).await, None, inside, beside);
            }
            // Memory first, so that no processor is held by what waits for memory.
            let bytes = self.memory.acquire(target.requester, memory).await;
            (self.background_cpus.acquire(target.requester, 1).await, Some(bytes), inside, beside)
        };
        let gives_way = async {
            match &got.held {
                Some(held) => held.preempted().await,
                None => std::future::pending().await,
            }
        };
        let held = tokio::select! {
            biased;
            held = passed => held,
            () = gives_way => return Ok(Derived::GaveWay),
        };
        let page = target.failed(PageError::new(ErrorCode::Internal, "the page has no content"), 0);
        let plan = plan.clone();
        let before = self.before_processing.clone();
        let max_result = self.max_result;
        let limit = EXTRACT_TIMEOUT.min(plan.timeout.saturating_sub(got.spent).max(Duration::from_secs(1)));
        let work = move || {
            let _held = held;
            if let Some(before) = before {
                before(got.document.final_url());
            }
            if may_render && got.document.is_shell() {
                return Ok(Derived::IsShell);
            }
            let bounds = Bounds { memory, is_all: memory == most, time: limit, max_result };
            derive(page, got, &plan, &bounds).map(Derived::Page)
        };
        let priority = if is_small { Priority::Normal } else { Priority::Background };
        cpu::run_at(priority, work).await.unwrap_or_else(|_| {
            tracing::error!(url = shown_url(target.url), "extracting a page panicked");
            let error = PageError::new(ErrorCode::Internal, "the page could not be processed");
            Ok(Derived::Page(Scraped::failed(target, error)))
        })
    }

    /// Lets robots.txt bind redirects, too: it is asked for each page, however one comes there.
    fn guard(&self, requester: Requester) -> RedirectGuard {
        let robots = self.robots.clone();
        RedirectGuard::new(move |url| {
            let robots = robots.clone();
            async move { robots.rules(&url, requester).await.allowed(&url) }.boxed()
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
        if plan.respect_robots && !self.robots.rules(&url, target.requester).await.allowed(&url) {
            return Err(PageError::new(ErrorCode::RobotsDisallowed, "the site's robots.txt disallows this page"));
        }
        Ok(url)
    }
}

/// What is done next for a page.
enum Next {
    Done(Box<Scraped>),
    /// It is fetched or rendered, with the time that is left.
    Fetch(Render),
}

impl Next {
    fn done(page: impl Into<Scraped>) -> Self {
        Self::Done(Box::new(page.into()))
    }
}

/// The page result of a URL whose time is over.
fn late(target: Target<'_>, plan: &Plan) -> Scraped {
    let why = format!(
        "no result within {:?}: waiting for robots.txt, for the host, for a slot, for a browser and for a processor counts",
        plan.timeout
    );
    let spent = target.arrived.map_or(plan.timeout, |arrived| arrived.elapsed());
    target.failed(PageError::new(ErrorCode::Timeout, why), milliseconds(spent)).into()
}

/// The page result of an answer whose status is not a success.
fn refused(target: Target<'_>, answer: (&Url, StatusCode, &HeaderMap), spent: Duration, plan: &Plan) -> Scraped {
    let (url, status, headers) = answer;
    let message = format!("the page answered {status}");
    let page = PageResult {
        final_url: Some(url.to_string()),
        status_code: Some(status.as_u16()),
        ..target.failed(PageError::new(ErrorCode::HttpStatus, message), milliseconds(spent))
    };
    Scraped { facts: plan.is_crawl.then(|| facts(url, headers, None)), ..page.into() }
}

fn facts(url: &Url, headers: &HeaderMap, page: Option<extract::CrawlFacts>) -> Box<PageFacts> {
    let tags = headers.get_all("x-robots-tag").iter();
    Box::new(PageFacts {
        final_url: url.clone(),
        robots_tags: tags.map(|tag| String::from_utf8_lossy(tag.as_bytes()).into_owned()).collect(),
        page: page.unwrap_or_default(),
    })
}

/// Derives the content of a document. Takes a while: for a thread that may be busy. `page` is its result without content.
/// Gives the document back if it needs more memory than this and may take more.
fn derive(page: PageResult, got: Got, plan: &Plan, bounds: &Bounds) -> Result<Scraped, Box<Got>> {
    let begin = Instant::now();
    let (from, spent) = (&got.document, got.spent);
    let document = extract::Document { url: from.final_url(), content_type: from.content_type(), body: from.body() };
    let memory = usize::try_from(bounds.memory).unwrap_or(usize::MAX);
    let extracted = extract::extract_within(&document, &plan.extract, memory, &|| begin.elapsed() > bounds.time);
    if matches!(extracted, Err(extract::ExtractError::TooLarge { .. })) && !bounds.is_all {
        return Err(Box::new(got));
    }
    let page = PageResult {
        final_url: Some(from.final_url().to_string()),
        status_code: Some(from.status().as_u16()),
        time_ms: milliseconds(spent + begin.elapsed()),
        ..page
    };
    let (page, of_page) = match extracted {
        Ok(extracted) => {
            let page = PageResult {
                status: PageStatus::Success,
                error: None,
                content: content(extracted.contents, from, plan),
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
    let page = if page.json_len() as u64 > bounds.max_result { too_large(page, bounds.max_result) } else { page };
    Ok(Scraped { facts: plan.is_crawl.then(|| facts(from.final_url(), from.headers(), of_page)), ..page.into() })
}

/// What a document may take while its content is derived.
struct Bounds {
    /// In bytes.
    memory: u64,
    /// Whether it may take no more than that.
    is_all: bool,
    time: Duration,
    /// The longest page result, in bytes of JSON.
    max_result: u64,
}

/// The page result of a page whose content is longer than a result may be.
fn too_large(page: PageResult, most: u64) -> PageResult {
    let message = format!(
        "the page's content takes more than {most} bytes: ask for fewer formats, or for less of the page with include_selectors, or raise \
         RESULT_MAX_BYTES"
    );
    PageResult {
        status: PageStatus::Error,
        content: None,
        metadata: None,
        error: Some(PageError::new(ErrorCode::BodyTooLarge, message)),
        ..page
    }
}

/// The contents in the order asked for. Those of text are in that order, too.
fn content(texts: Vec<(extract::Format, extract::Content)>, from: &Document, plan: &Plan) -> Option<PageContent> {
    let mut texts = texts.into_iter();
    let mut contents = plan.formats.iter().filter_map(|format| {
        let content = match format {
            Format::Screenshot => Content::Screenshot(PagePicture::from(from.screenshot()?)),
            _ => Content::from(texts.next()?.1),
        };
        Some((*format, content))
    });
    if plan.keyed {
        return Some(PageContent::Several(Keyed(contents.collect())));
    }
    contents.next().map(|(_, content)| PageContent::One(content))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
