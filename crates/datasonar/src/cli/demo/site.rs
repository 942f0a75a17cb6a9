//! The demonstration's site: 32 hosts on one port, with pages that succeed, fail, hesitate and redirect.
//!
//! What a URL comes to depends on its index alone, so that a checker can know without asking. Pages are counted as they
//! are fetched: a test can tell what was fetched twice.

use std::{
    convert::Infallible,
    io::{self, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{Request, Response, StatusCode, header};
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

/// A running site. Dropping it stops it.
pub struct Site {
    address: SocketAddr,
    pages: Arc<Pages>,
    accepting: JoinHandle<()>,
}

struct Pages {
    options: SiteOptions,
    templates: Vec<Template>,
    /// The templates, compressed.
    zipped: Vec<(Bytes, Bytes)>,
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
        let templates = pages::render();
        let zipped = templates.iter().map(|template| (zip(&template.head), zip(&template.tail))).collect();
        let hits = (0..options.urls).map(|_| AtomicU32::new(0)).collect();
        let pages = Arc::new(Pages { options, templates, zipped, hits });
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
            Act::Fail(_) => Expected::Failure("http_status"),
            Act::Break => Expected::Failure("connect_error"),
            Act::Show | Act::Hesitate(_) | Act::FailOnce | Act::Redirect => Expected::Page(pages::sentence(index)),
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
    let host = index % HOSTS;
    let kind = KINDS[host % KINDS.len()];
    format!("http://{kind}-{host}.localhost:{port}/{kind}/{index}")
}

async fn accept(listener: TcpListener, pages: Arc<Pages>) {
    let builder = auto::Builder::new(TokioExecutor::new());
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let pages = pages.clone();
        let service = service_fn(move |request| {
            let pages = pages.clone();
            async move { pages.answer(&request).await }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::spawn(async move {
            // Pages that break off end their connection with an error.
            let _ = connection.await;
        });
    }
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

    fn page(&self, index: usize, zipped: bool) -> Page {
        let variant = if self.options.all_sizes { index % TEMPLATES } else { index % 6 };
        let template = &self.templates[variant];
        let sentence = pages::sentence(index);
        let (head, sentence, tail) = match zipped {
            // Members of a gzip stream can be put one behind the other.
            true => (&self.zipped[variant].0, zip(sentence.as_bytes()), &self.zipped[variant].1),
            false => (&template.head, Bytes::from(sentence), &template.tail),
        };
        let mut body = BytesMut::with_capacity(head.len() + sentence.len() + tail.len());
        body.extend_from_slice(head);
        body.extend_from_slice(&sentence);
        body.extend_from_slice(tail);
        let mut response = Response::new(Full::new(body.freeze()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(template.content_type));
        if zipped {
            headers.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
        }
        response
    }

    fn status(&self, status: u16) -> Page {
        let mut response = Response::new(Full::new(Bytes::from_static(b"<h1>This is not the page you look for</h1>")));
        *response.status_mut() = StatusCode::from_u16(status).expect("statuses here are constants");
        response
    }
}

fn zip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let zipped: Result<_, Infallible> = encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_err(|error| unreachable!("memory takes whatever is written: {error}"));
    let Ok(zipped) = zipped;
    zipped.into()
}
