//! The demonstration's site: 32 hosts on one port, with pages that succeed, fail, hesitate and redirect.
//!
//! What a URL comes to depends on its index alone, so that a checker can know without asking. Pages are counted as they
//! are fetched: a test can tell what was fetched twice.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    check::Expected,
    pages::{self, TEMPLATES, Template},
};
use crate::cli::local::each_connection;

/// How many hosts the site has.
const HOSTS: usize = 32;
const KINDS: [&str; 6] = ["news", "shop", "docs", "forum", "list", "blog"];

/// What a site is to be.
#[derive(Clone, Copy, Debug)]
pub struct SiteOptions {
    /// How many pages it has.
    pub urls: usize,
    /// Whether some pages fail, hesitate or redirect.
    pub trouble: bool,
    /// Whether pages are of all sizes; otherwise all are small.
    pub all_sizes: bool,
    /// How long every page takes at least.
    pub pace: Duration,
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self { urls: 2_000, trouble: true, all_sizes: true, pace: Duration::ZERO }
    }
}

/// A running site. Dropping it closes its port and its connections.
pub struct Site {
    address: SocketAddr,
    pages: Arc<Pages>,
    accepting: JoinHandle<()>,
}

struct Pages {
    options: SiteOptions,
    templates: Vec<Template>,
    port: u16,
    hits: Vec<AtomicU32>,
}

/// What a page does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Show,
    Hesitate(u64),
    Fail(u16),
    FailOnce,
    Redirect,
    Break,
}

fn act(index: usize) -> Act {
    if index % 97 == 13 {
        return Act::Hesitate(300 + (index as u64 * 37) % 500);
    }
    match (index % 211, index % 331, index % 227, index % 103, index % 509) {
        (7, ..) => Act::Fail(404),
        (_, 9, ..) => Act::Fail(500),
        (_, _, 11, ..) => Act::FailOnce,
        (_, _, _, 3, _) => Act::Redirect,
        (_, _, _, _, 5) => Act::Break,
        _ => Act::Show,
    }
}

impl Site {
    /// Starts on a free port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(options: SiteOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let hits = (0..options.urls).map(|_| AtomicU32::new(0)).collect();
        let pages = Arc::new(Pages { options, templates: pages::render(), port: address.port(), hits });
        let accepting = tokio::spawn(accept(listener, pages.clone()));
        Ok(Self { address, pages, accepting })
    }

    /// All its URLs, in order.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        let port = self.address.port();
        (0..self.pages.options.urls).map(move |index| url(index, port))
    }

    /// The URL of a page that answers at once.
    pub fn quick_url(&self) -> String {
        url(1, self.address.port())
    }

    /// What the URL at `index` must come to.
    pub fn expect(&self, index: usize) -> Expected {
        match self.pages.act(index) {
            Act::Fail(status) => Expected::Status(status),
            Act::Break => Expected::Failure("connect_error"),
            Act::Show | Act::Hesitate(_) | Act::FailOnce | Act::Redirect => {
                Expected::Page(self.pages.template(index).sentence(index))
            }
        }
    }

    /// How often the page at `index` was asked for.
    pub fn hits(&self, index: usize) -> u32 {
        self.pages.hits[index].load(Ordering::Relaxed)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn url(index: usize, port: u16) -> String {
    let kind = KINDS[index % HOSTS % KINDS.len()];
    format!("http://{}/{kind}/{index}", host(index, port))
}

/// The host of the page at `index`, as a request names it.
fn host(index: usize, port: u16) -> String {
    let host = index % HOSTS;
    format!("{}-{host}.localhost:{port}", KINDS[host % KINDS.len()])
}

async fn accept(listener: TcpListener, pages: Arc<Pages>) {
    let builder = auto::Builder::new(TokioExecutor::new());
    each_connection(listener, |stream| {
        let _ = stream.set_nodelay(true);
        let pages = pages.clone();
        let service = service_fn(move |request| {
            let pages = pages.clone();
            async move { pages.answer(&request).await }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        async move {
            // Pages that break off end their connection with an error.
            let _ = connection.await;
        }
    })
    .await;
}

/// A page that breaks off.
#[derive(Debug, thiserror::Error)]
#[error("the page breaks off")]
struct Broken;

type Page = Response<Full<Bytes>>;

impl Pages {
    fn act(&self, index: usize) -> Act {
        if self.options.trouble { act(index) } else { Act::Show }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Result<Page, Broken> {
        let path = request.uri().path();
        let index = path.rsplit('/').next().and_then(|text| text.parse::<usize>().ok());
        let Some(index) = index.filter(|&index| index < self.hits.len()) else {
            return Ok(self.status(404));
        };
        let asked = request.headers().get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
        if asked != host(index, self.port).as_bytes() {
            return Ok(self.status(421));
        }
        let hits = self.hits[index].fetch_add(1, Ordering::Relaxed);
        if !self.options.pace.is_zero() {
            tokio::time::sleep(self.options.pace).await;
        }
        let zipped = request
            .headers()
            .get(header::ACCEPT_ENCODING)
            .is_some_and(|value| value.to_str().is_ok_and(|text| text.contains("gzip")));
        match self.act(index) {
            Act::Show => {}
            Act::Hesitate(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Act::Fail(status) => return Ok(self.status(status)),
            Act::FailOnce if hits == 0 => return Ok(self.status(503)),
            Act::FailOnce => {}
            Act::Redirect if path.starts_with("/moved/") => {}
            Act::Redirect => {
                let mut response = self.status(301);
                let target = format!("/moved/{index}").parse().expect("a path makes a header");
                response.headers_mut().insert(header::LOCATION, target);
                return Ok(response);
            }
            Act::Break => return Err(Broken),
        }
        Ok(self.page(index, zipped && index % 3 == 0))
    }

    /// The template of the page at `index`. The first six are the small ones, one of each kind.
    fn template(&self, index: usize) -> &Template {
        &self.templates[index % if self.options.all_sizes { TEMPLATES } else { KINDS.len() }]
    }

    fn page(&self, index: usize, is_zipped: bool) -> Page {
        let template = self.template(index);
        let body = if is_zipped { template.zipped_page(index) } else { template.page(index) };
        let mut response = Response::new(Full::new(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(template.content_type));
        if is_zipped {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    fn status(&self, status: u16) -> Page {
        let mut response = Response::new(Full::new(Bytes::from_static(b"<h1>This is not the page you look for</h1>")));
        *response.status_mut() = StatusCode::from_u16(status).expect("statuses here are constants");
        response
    }
}

#[cfg(test)]
mod tests {
    use datasonar_net::{AddressPolicy, Client, ClientOptions, FetchErrorKind, FetchRequest};
    use encoding_rs::Encoding;

    use super::*;

    fn client() -> Client {
        Client::new(ClientOptions::new(AddressPolicy::unrestricted())).unwrap()
    }

    fn request(url: &str) -> FetchRequest {
        FetchRequest::new(url.parse().unwrap())
    }

    /// The text of a page, by the charset that its header or its head declares.
    fn text(page: &datasonar_net::Fetched) -> String {
        let declared = page.headers[header::CONTENT_TYPE].to_str().unwrap().split("charset=").nth(1);
        let encoding =
            declared.and_then(|label| Encoding::for_label(label.as_bytes())).unwrap_or(encoding_rs::SHIFT_JIS);
        encoding.decode(&page.body).0.into_owned()
    }

    #[tokio::test]
    async fn every_url_comes_to_what_it_is_said_to() {
        let site = Site::start(SiteOptions { urls: 1_100, ..SiteOptions::default() }).await.unwrap();
        let client = client();
        let mut seen = std::collections::BTreeMap::<_, u32>::new();
        for (index, url) in site.urls().enumerate() {
            // Whoever hesitates is believed.
            if matches!(act(index), Act::Hesitate(_)) {
                continue;
            }
            let mut fetched = client.fetch(request(&url)).await;
            if act(index) == Act::FailOnce {
                assert_eq!(fetched.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
                fetched = client.fetch(request(&url)).await;
            }
            let kind = match (site.expect(index), fetched) {
                (Expected::Page(sentence), Ok(page)) => {
                    assert_eq!(page.status, StatusCode::OK);
                    assert!(text(&page).contains(&sentence), "{url}");
                    if page.redirects == 0 { "page" } else { "redirect" }
                }
                (Expected::Status(status), Ok(page)) => {
                    assert_eq!(page.status, status, "{url}");
                    "status"
                }
                (Expected::Failure("connect_error"), Err(error)) => {
                    assert_eq!(error.kind, FetchErrorKind::Protocol);
                    "break"
                }
                (expected, fetched) => panic!("{url}: expected {expected:?}, found {fetched:?}"),
            };
            *seen.entry(kind).or_default() += 1;
        }
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), ["break", "page", "redirect", "status"], "{seen:?}");
    }

    #[tokio::test]
    async fn pages_are_counted_and_only_given_to_their_host() {
        let site = Site::start(SiteOptions { urls: 10, trouble: false, ..SiteOptions::default() }).await.unwrap();
        let client = client();
        let urls: Vec<String> = site.urls().collect();
        for _ in 0..2 {
            client.fetch(request(&urls[4])).await.unwrap();
        }
        assert_eq!((site.hits(3), site.hits(4)), (0, 2));
        let elsewhere = urls[4].replace("list-4", "news-0");
        assert_eq!(client.fetch(request(&elsewhere)).await.unwrap().status, StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(site.hits(4), 2);
    }
}
