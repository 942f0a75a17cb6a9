//! A generated site: pages in a known link graph, with robots rules, sitemaps, redirects, aliases and traps. What a crawl of
//! it must fetch is computed from the graph, not recorded.
//!
//! Pages form a tree, so that all can be reached, with further links across it. A link to a page is spelled in many ways.
//! Everything is a pure function of the page's number, so that a site of any size takes no memory.
#![allow(dead_code, reason = "tests and benchmarks each use their part")]

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    fmt::Write as _,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What a site is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// How many pages it has.
    pub(crate) pages: usize,
    /// How many children a page has in the tree.
    pub(crate) fan_out: usize,
    /// How many links across the tree a page has.
    pub(crate) across: usize,
    /// Every so many-th page is below `/private/`, which robots.txt disallows; 0 for none.
    pub(crate) private_every: usize,
    /// Every so many-th page has no link to it but is in the sitemap; 0 for none.
    pub(crate) orphan_every: usize,
    /// Every so many-th page is linked to by a redirect as well, and by an alias that names it as canonical; 0 for none.
    pub(crate) alias_every: usize,
    /// Every so many-th page is answered with 404; 0 for none.
    pub(crate) missing_every: usize,
    /// Whether the home page leads to a page below `/private/` by a redirect.
    pub(crate) leads_to_private: bool,
    /// Whether the home page leads to traps.
    pub(crate) has_traps: bool,
    /// How long a page's text is, in bytes.
    pub(crate) text: usize,
}

impl Shape {
    /// Pages that all work, and nothing else.
    pub(crate) const fn plain(pages: usize) -> Self {
        Self {
            pages,
            fan_out: 20,
            across: 3,
            private_every: 0,
            orphan_every: 0,
            alias_every: 0,
            missing_every: 0,
            leads_to_private: false,
            has_traps: false,
            text: 400,
        }
    }

    /// Some of everything.
    pub(crate) const fn mixed(pages: usize) -> Self {
        Self {
            private_every: 17,
            orphan_every: 29,
            alias_every: 7,
            missing_every: 31,
            leads_to_private: true,
            ..Self::plain(pages)
        }
    }

    fn is_nth(self, page: usize, every: usize) -> bool {
        page > 0 && every > 0 && page.is_multiple_of(every)
    }

    pub(crate) fn is_private(self, page: usize) -> bool {
        self.is_nth(page, self.private_every)
    }

    pub(crate) fn is_orphan(self, page: usize) -> bool {
        self.is_nth(page, self.orphan_every)
    }

    pub(crate) fn is_missing(self, page: usize) -> bool {
        self.is_nth(page, self.missing_every)
    }

    pub(crate) fn has_alias(self, page: usize) -> bool {
        self.is_nth(page, self.alias_every) && !self.is_private(page) && !self.is_missing(page) && !self.is_orphan(page)
    }

    /// The path of a page.
    pub(crate) fn path(self, page: usize) -> String {
        match page {
            0 => "/".to_owned(),
            _ if self.is_private(page) => format!("/private/page-{page}"),
            _ => format!("/section-{}/page-{page}", page % 13),
        }
    }

    fn page_of(self, path: &str) -> Option<usize> {
        if path == "/" {
            return Some(0);
        }
        let page = path.rsplit_once("page-")?.1.parse().ok()?;
        (page < self.pages && self.path(page) == path).then_some(page)
    }

    /// The pages that a page links to: its children and some across the tree.
    pub(crate) fn links(self, page: usize) -> Vec<usize> {
        if self.is_missing(page) {
            return Vec::new();
        }
        let children = (1..=self.fan_out).map(|n| page * self.fan_out + n);
        let across = (0..self.across).map(|n| scramble(page * 31 + n + 1) % self.pages);
        children.chain(across).chain([0]).filter(|to| *to < self.pages && !self.is_orphan(*to)).collect()
    }

    /// The pages that are to be fetched with their depths, from the home page on.
    pub(crate) fn reachable(self, robots: bool, sitemap: bool, max_depth: Option<u32>) -> BTreeMap<usize, u32> {
        let mut found = BTreeMap::from([(0, 0)]);
        let mut queue = VecDeque::from([(0, 0)]);
        if sitemap && max_depth != Some(0) {
            // Sitemaps are read with the home page: what they name is found as if it had links to it.
            for page in (1..self.pages).filter(|page| self.is_orphan(*page) && !(robots && self.is_private(*page))) {
                found.insert(page, 1);
                queue.push_back((page, 1));
            }
        }
        // Depths in the queue never fall, but for the sitemap's pages at its start.
        queue.make_contiguous().sort_by_key(|(_, depth)| *depth);
        while let Some((page, depth)) = queue.pop_front() {
            if max_depth.is_some_and(|most| depth >= most) {
                continue;
            }
            for to in self.links(page) {
                if robots && self.is_private(to) {
                    continue;
                }
                if let Entry::Vacant(entry) = found.entry(to) {
                    entry.insert(depth + 1);
                    let at = queue.partition_point(|(_, other)| *other <= depth + 1);
                    queue.insert(at, (to, depth + 1));
                }
            }
        }
        found
    }
}

/// A running site.
pub(crate) struct Generated {
    pub(crate) shape: Shape,
    pub(crate) port: u16,
    hits: Arc<Vec<AtomicU32>>,
    others: Arc<AtomicU32>,
}

impl Generated {
    /// Serves a site on loopback for as long as the runtime lives.
    pub(crate) async fn start(shape: Shape) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hits: Arc<Vec<AtomicU32>> = Arc::new((0..shape.pages).map(|_| AtomicU32::new(0)).collect());
        let others = Arc::new(AtomicU32::new(0));
        let site = Serving { shape, port, hits: hits.clone(), others: others.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let site = site.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(|request: Request<Incoming>| {
                        let answer = site.answer(request.uri());
                        std::future::ready(Ok::<_, std::convert::Infallible>(answer))
                    });
                    let stream = TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
                });
            }
        });
        Self { shape, port, hits, others }
    }

    /// Where a crawl begins.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The URL of a page, as spelled in the sitemap.
    pub(crate) fn page_url(&self, page: usize) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.shape.path(page))
    }

    /// How often a page was fetched under its own path.
    pub(crate) fn hits(&self, page: usize) -> u32 {
        self.hits[page].load(Ordering::Relaxed)
    }

    /// How many requests there were for anything that is no page.
    pub(crate) fn others(&self) -> u32 {
        self.others.load(Ordering::Relaxed)
    }

    /// The page that a URL names, however it is spelled.
    pub(crate) fn page_of(&self, url: &str) -> Option<usize> {
        let url = url::Url::parse(url).unwrap();
        assert_eq!(url.port(), Some(self.port), "{url}");
        self.shape.page_of(&decoded(url.path()))
    }
}

#[derive(Clone)]
struct Serving {
    shape: Shape,
    port: u16,
    hits: Arc<Vec<AtomicU32>>,
    others: Arc<AtomicU32>,
}

impl Serving {
    fn answer(&self, uri: &http::Uri) -> Response<Full<Bytes>> {
        let path = decoded(uri.path());
        let query = uri.query().unwrap_or_default();
        if let Some(page) = self.shape.page_of(&path) {
            if query.starts_with("from=") {
                self.others.fetch_add(1, Ordering::Relaxed);
            } else {
                self.hits[page].fetch_add(1, Ordering::Relaxed);
            }
            if self.shape.is_missing(page) {
                return answer(StatusCode::NOT_FOUND, "text/html", "gone");
            }
            return answer(StatusCode::OK, "text/html; charset=utf-8", self.page(page));
        }
        self.others.fetch_add(1, Ordering::Relaxed);
        if let Some(to) = path.strip_prefix("/go/").and_then(|page| page.parse::<usize>().ok()) {
            let location = self.shape.path(to);
            return Response::builder()
                .status(StatusCode::FOUND)
                .header(header::LOCATION, location)
                .body(Full::default())
                .unwrap();
        }
        match path.as_str() {
            "/robots.txt" => answer(StatusCode::OK, "text/plain", self.robots()),
            "/sitemap.xml" => answer(StatusCode::OK, "application/xml", self.sitemap_index()),
            "/pages.xml.gz" => answer(StatusCode::OK, "application/gzip", self.sitemap()),
            "/bomb.xml.gz" if self.shape.has_traps => answer(StatusCode::OK, "application/gzip", bomb()),
            _ if self.shape.has_traps => self.trap(&path),
            _ => answer(StatusCode::NOT_FOUND, "text/html", "no such page"),
        }
    }

    fn robots(&self) -> String {
        let sitemap = format!("http://127.0.0.1:{}/sitemap.xml", self.port);
        format!("User-agent: *\nDisallow: /private/\n\nSitemap: {sitemap}\n")
    }

    fn sitemap_index(&self) -> String {
        let mut maps = vec!["pages.xml.gz"];
        if self.shape.has_traps {
            maps.extend(["bomb.xml.gz", "sitemap.xml", "missing.xml"]);
        }
        let maps = maps.into_iter().fold(String::new(), |mut maps, map| {
            write!(maps, "<sitemap><loc>http://127.0.0.1:{}/{map}</loc></sitemap>", self.port).unwrap();
            maps
        });
        format!(
            r#"<?xml version="1.0"?><sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{maps}</sitemapindex>"#
        )
    }

    /// Names the pages that nothing links to, compressed.
    fn sitemap(&self) -> Vec<u8> {
        let mut xml = r#"<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">"#.to_owned();
        for page in (1..self.shape.pages).filter(|page| self.shape.is_orphan(*page)) {
            let path = self.shape.path(page);
            write!(xml, "<url><loc>http://127.0.0.1:{}{path}</loc><lastmod>2026-01-02</lastmod></url>", self.port)
                .unwrap();
        }
        gzip((xml + "</urlset>").as_bytes())
    }

    fn page(&self, page: usize) -> String {
        let shape = self.shape;
        let path = shape.path(page);
        let mut html = format!(
            "<!doctype html><html lang=en><head><title>Page {page}</title><link rel=canonical href=\"{path}\"></head><body>\
             <nav><a href=\"/\">Home</a> <a href=\"http://localhost:{}/\">Elsewhere</a></nav><main><h1>Page {page}</h1><p>",
            self.port
        );
        while html.len() < shape.text {
            write!(html, "Words of page {page}, {} of them, make a paragraph. ", html.len()).unwrap();
        }
        html.push_str("</p><ul>");
        for (n, to) in shape.links(page).into_iter().enumerate() {
            write!(html, "<li><a href=\"{}\">Page {to}</a>", self.spelled(page, n, to)).unwrap();
            if shape.has_alias(to) {
                write!(html, " <a href=\"/go/{to}\">moved</a> <a href=\"{}?from={page}\">alias</a>", shape.path(to))
                    .unwrap();
            }
        }
        if page == 0 && shape.leads_to_private {
            // Whoever follows it comes where robots.txt forbids.
            write!(html, "<li><a href=\"/go/{}\">forbidden</a>", shape.private_every).unwrap();
        }
        if page == 0 && shape.has_traps {
            for trap in ["/calendar/2026/1", "/deep/", "/loop/1", "/many", "/session"] {
                write!(html, "<li><a href=\"{trap}\">{trap}</a>").unwrap();
            }
        }
        html + "</ul></main></body></html>"
    }

    /// One of the ways to write a link to a page.
    fn spelled(&self, from: usize, n: usize, to: usize) -> String {
        let path = self.shape.path(to);
        match scramble(from + n * 7) % 6 {
            0 => format!("HTTP://127.0.0.1:{}{path}", self.port),
            1 => format!("{path}#part-{n}"),
            2 => path.replacen("page", "p%61ge", 1),
            3 => format!("/nowhere/..{path}"),
            4 => format!("//127.0.0.1:{}{path}#", self.port),
            _ => path,
        }
    }

    /// Pages without an end.
    fn trap(&self, path: &str) -> Response<Full<Bytes>> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let links = match parts[..] {
            ["calendar", year, month] => {
                let (year, month): (u32, u32) = (year.parse().unwrap_or(0), month.parse().unwrap_or(1));
                format!("<a href=\"/calendar/{}/{}\">next</a>", year + month / 12, month % 12 + 1)
            }
            ["deep", ..] => "<a href=\"deep/\">deeper</a>".to_owned(),
            ["loop", n] => {
                let location = if n == "1" { "/loop/2" } else { "/loop/1" };
                return Response::builder()
                    .status(StatusCode::FOUND)
                    .header(header::LOCATION, location)
                    .body(Full::default())
                    .unwrap();
            }
            ["many"] => (0..100_000).fold(String::new(), |mut all, n| {
                write!(all, "<a href=/many/{n}>").unwrap();
                all
            }),
            ["session"] => {
                let id = self.others.load(Ordering::Relaxed);
                format!("<a href=\"/session?PHPSESSID={id:032x}\">again</a>")
            }
            _ => return answer(StatusCode::NOT_FOUND, "text/html", "no such page"),
        };
        answer(StatusCode::OK, "text/html", format!("<!doctype html><title>Trap</title><p>A trap.</p>{links}"))
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(status).header(header::CONTENT_TYPE, kind).body(Full::new(body.into())).unwrap()
}

/// A gigabyte of nothing, in a megabyte.
fn bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..200 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn decoded(path: &str) -> String {
    path.replace("%61", "a")
}

/// Spreads numbers about.
fn scramble(n: usize) -> usize {
    let mut n = n as u64 ^ 0x5bd1_e995;
    n = (n ^ (n >> 15)).wrapping_mul(0x2c1b_3c6d_2c1b_3c6d);
    ((n ^ (n >> 29)) >> 3) as usize
}
