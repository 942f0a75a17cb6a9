//! The URLs of a site, at once and without a job.

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{auth::Caller, body::object, problem::Problem};
use crate::{
    app::App,
    crawl::{CrawlOptions, Scope, SitemapUse},
    fetch::Requester,
    jobs::{
        admit_sitemaps,
        members::{typed, unknown},
    },
    mapper::{MapQuery, SiteMap},
    scrape::FieldError,
};

const DEFAULT_LIMIT: usize = 5_000;
const MAX_LIMIT: usize = 50_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(map))
}

/// `POST /v1/map`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"url": "https://example.com/", "search": "price"}))]
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
async fn map(State(app): State<App>, Caller(owner): Caller, request: Request) -> Result<axum::Json<MapView>, Problem> {
    let arrived = Instant::now();
    let fields = object(request, app.settings.max_request_bytes).await?;
    unknown(&fields.members, FIELDS)?;
    let asked: MapRequest = typed(fields.members).map_err(|error| vec![error])?;
    let limit = match asked.limit {
        None => DEFAULT_LIMIT,
        Some(limit @ 1..=MAX_LIMIT) => limit,
        Some(_) => return Err(Problem::field("/limit", format!("must be 1 to {MAX_LIMIT}"))),
    };
    let url = Url::parse(&asked.url).ok().filter(|url| app.policy.check_url(url).is_ok());
    let url = url
        .ok_or_else(|| Problem::field("/url", "is not a URL that can be fetched: http or https, with a public host"))?;
    let options = CrawlOptions {
        allow_subdomains: asked.allow_subdomains,
        ignore_query_parameters: asked.ignore_query_parameters,
        ..CrawlOptions::default()
    };
    let limits = Scope::new(&url, &options).map_err(|errors| {
        errors.into_iter().map(|error| FieldError::new(error.pointer, error.detail)).collect::<Vec<_>>()
    })?;
    let query = MapQuery {
        url,
        scope: limits.into(),
        search: asked.search,
        sitemap: asked.sitemap,
        respect_robots: asked.respect_robots.unwrap_or(true),
        limit,
        admission: admit_sitemaps(app.plans.clone(), owner, true),
    };
    let requester = Requester { tenant: owner, job: app.ids.uuid() };
    let SiteMap { urls, truncated } = app.mapper.map(query, requester, arrived).await;
    Ok(axum::Json(MapView { urls, truncated }))
}
