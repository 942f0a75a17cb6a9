//! The URLs of a site, at once and without a job.

use std::collections::HashSet;

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;
use url::Url;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{auth::Caller, body::object, problem::Problem};
use crate::{
    app::App,
    crawl::{CrawlOptions, LinkSource, Scope, SitemapLimits, SitemapUse, follow},
    fetch::SiteRules,
    jobs::members::{typed, unknown},
    scrape::{FieldError, Formats, Limits, Plan, ScrapeOptions, Target},
};

const DEFAULT_LIMIT: usize = 5_000;
const MAX_LIMIT: usize = 50_000;
/// A site is looked at for so long; what is known then is answered.
const MOST: Duration = Duration::from_secs(60);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(map))
}

/// `POST /v1/map`.
#[derive(Deserialize, ToSchema)]
struct MapRequest {
    /// Where to look: an absolute http or https URL.
    url: String,
    /// How many URLs are answered at most: 1 to 50,000, 5,000 by default.
    #[schema(minimum = 1, maximum = 50_000)]
    limit: Option<usize>,
    /// Only URLs that contain this, in whatever case.
    search: Option<String>,
    /// Whether sitemaps are read; `only` leaves the links of the page out.
    #[serde(default)]
    sitemap: SitemapUse,
    /// URLs of other hosts of the same registrable domain, too.
    #[serde(default)]
    allow_subdomains: bool,
    /// URLs that differ only in their query are told once.
    #[serde(default)]
    ignore_query_parameters: bool,
    /// Leave out what robots.txt disallows: true by default.
    respect_robots: Option<bool>,
}

const FIELDS: &[&str] =
    &["url", "limit", "search", "sitemap", "allow_subdomains", "ignore_query_parameters", "respect_robots"];

/// The URLs of a site.
#[derive(Serialize, ToSchema)]
struct MapView {
    /// Those that the page links to first, then those of the sitemaps, each once.
    urls: Vec<String>,
    /// Whether there are, or may be, more.
    truncated: bool,
}

/// List the URLs of a site: those that one page links to and those that its sitemaps name.
#[utoipa::path(
    post, path = "/v1/map", tag = "Scrape", request_body = MapRequest,
    responses((status = 200, description = "URLs", body = MapView))
)]
async fn map(State(app): State<App>, _caller: Caller, request: Request) -> Result<axum::Json<MapView>, Problem> {
    let fields = object(request, app.settings.max_request_bytes).await?;
    unknown(&fields.members, FIELDS)?;
    let asked: MapRequest = typed(fields.members).map_err(|error| vec![error])?;
    let limit = match asked.limit {
        None => DEFAULT_LIMIT,
        Some(limit @ 1..=MAX_LIMIT) => limit,
        Some(_) => return Err(Problem::field("/limit", &format!("must be 1 to {MAX_LIMIT}"))),
    };
    let url = Url::parse(&asked.url).ok().filter(|url| app.policy.check_url(url).is_ok());
    let url = url
        .ok_or_else(|| Problem::field("/url", "is not a URL that can be fetched: http or https, with a public host"))?;
    let options = CrawlOptions {
        allow_subdomains: asked.allow_subdomains,
        ignore_query_parameters: asked.ignore_query_parameters,
        ..CrawlOptions::default()
    };
    let scope = Scope::new(&url, &options).map_err(|errors| {
        errors.into_iter().map(|error| FieldError::new(error.pointer, error.detail)).collect::<Vec<_>>()
    })?;
    let search = asked.search.as_deref().map(str::to_lowercase);
    let mut listed =
        Listed { scope, search, limit, keys: HashSet::new(), view: MapView { urls: Vec::new(), truncated: false } };
    let binds = asked.respect_robots.unwrap_or(true);
    let look = look(&app, &url, asked.sitemap, binds, &mut listed);
    if tokio::time::timeout(MOST, look).await.is_err() {
        listed.view.truncated = true;
    }
    Ok(axum::Json(listed.view))
}

async fn look(app: &App, url: &Url, sitemap: SitemapUse, binds: bool, listed: &mut Listed) {
    let lane = app.ids.uuid();
    let rules = app.sites.robots.rules(url, lane).await;
    let is_closed = binds && rules.is_unreachable();
    let allows = |url: &Url, rules: &SiteRules| !binds || rules.allowed(url);
    if allows(url, &rules) {
        listed.add(url);
    }
    if sitemap != SitemapUse::Only {
        let options = ScrapeOptions {
            format: Formats::Several(vec![datasonar_extract::Format::Links]),
            ..ScrapeOptions::default()
        };
        let limits = Limits { timeout: app.settings.fetch_timeout, max_bytes: app.settings.fetch_max_bytes };
        let Ok(plan) = Plan::new(&options, &limits) else { return };
        let options = ScrapeOptions { respect_robots: Some(binds), ..options };
        let plan = plan.for_crawl(&options, app.sites.robots.agent(), Duration::ZERO);
        let target = Target { url: url.as_str(), lane, origin: None };
        let scraped = app.scraper.scrape(target, &plan.into(), &CancellationToken::new()).await;
        if let Some(facts) = scraped.facts {
            let source = LinkSource { page: &facts.page, robots_tags: &facts.robots_tags };
            for link in follow(source, app.sites.robots.agent(), binds).filter(|link| allows(&link.url, &rules)) {
                listed.add(&link.url);
            }
            listed.view.truncated |= facts.page.more_links > 0;
        }
    }
    if sitemap == SitemapUse::Skip || is_closed {
        return;
    }
    let files = app.sites.sitemaps_of(url, &rules);
    let mut walk = app.sites.sitemaps.walk(files, SitemapLimits { entries: 1_000_000, gap: Duration::ZERO }, lane);
    while !listed.is_full()
        && let Some((_, entries)) = walk.next().await
    {
        for entry in entries.iter().filter(|entry| allows(&entry.url, &rules)) {
            listed.add(&entry.url);
        }
    }
}

/// The URLs found so far.
struct Listed {
    scope: Scope,
    search: Option<String>,
    limit: usize,
    keys: HashSet<crate::crawl::PageKey>,
    view: MapView,
}

impl Listed {
    fn is_full(&self) -> bool {
        self.view.urls.len() >= self.limit
    }

    fn add(&mut self, url: &Url) {
        let is_wanted = |search: &String| url.as_str().to_lowercase().contains(search);
        if self.scope.check(url, 0).is_err() || !self.search.as_ref().is_none_or(is_wanted) {
            return;
        }
        if self.is_full() {
            self.view.truncated = true;
        } else if self.keys.insert(self.scope.keys.of(url)) {
            self.view.urls.push(url.to_string());
        }
    }
}
