//! Sites to be scraped: fast, slow, failing, redirecting, hanging, endless, and worse.

use std::{collections::BTreeMap, fmt::Write, io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, BufStream, DuplexStream};

use super::{
    Web, Wire,
    http::{Request, respond},
};
use crate::{dice::Dice, oracle::Property};

/// What a site is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SiteKind {
    /// Answers, after up to so many milliseconds.
    Plain(u64),
    /// Fails the first time it is asked for a page.
    Flaky,
    /// Fails every time, by page: 404, 500, 503 with a wish to be left alone.
    Failing,
    /// Leads on, and in a circle.
    Redirecting,
    /// Never answers.
    Hanging,
    /// Never ends.
    Endless,
    /// Breaks off in the middle.
    Breaking,
    /// Answers with what is no HTTP.
    Garbage,
    /// Takes no connection.
    Refusing,
    /// Pages whose results are blobs.
    Big,
    /// So many pages that lead to each other.
    Linked(u64),
    /// Answers; some of its pages end whoever processes them.
    Poisonous,
}

/// How long a fetch may take, and so may be held back: more than FETCH_TIMEOUT here.
const HELD: Duration = Duration::from_secs(10);

/// The operator's limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteLimits {
    pub(crate) concurrency: usize,
    pub(crate) delay: Duration,
}

/// A site.
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) kind: SiteKind,
    pub(crate) limits: SiteLimits,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// How often each page was asked for.
    pages: BTreeMap<String, u32>,
    /// Requests under way.
    open: Vec<Arc<Wire>>,
    /// Each process's last request.
    last: BTreeMap<String, Last>,
}

struct Last {
    at: u64,
    path: String,
    /// It got no answer, so that it may be sent again on a fresh connection: that is the same fetch.
    is_broken: bool,
}

type Stream = BufStream<DuplexStream>;

impl Site {
    pub(crate) fn new(name: String, kind: SiteKind, limits: SiteLimits) -> Arc<Self> {
        Arc::new(Self { name, kind, limits, seen: Mutex::default() })
    }

    pub(crate) fn draw(dice: &mut Dice) -> SiteKind {
        match dice.of(0..21) {
            0..6 => SiteKind::Plain(dice.of(1..400)),
            6..8 => SiteKind::Plain(dice.of(2_000..15_000)),
            8..10 => SiteKind::Flaky,
            10 => SiteKind::Failing,
            11..13 => SiteKind::Redirecting,
            13 => SiteKind::Hanging,
            14 => SiteKind::Endless,
            15 => SiteKind::Breaking,
            16 => SiteKind::Garbage,
            17 => SiteKind::Refusing,
            18 => SiteKind::Poisonous,
            _ => SiteKind::Big,
        }
    }

    /// Whether the page at a path ends the process that processes it.
    pub(crate) fn is_poison(&self, path: &str) -> bool {
        match self.kind {
            SiteKind::Poisonous => path.bytes().map(u64::from).sum::<u64>() % 6 == 0,
            // One in the middle of a crawl.
            SiteKind::Linked(pages) => pages % 3 == 0 && path == "/p2",
            _ => false,
        }
    }

    pub(super) async fn serve(self: Arc<Self>, web: Arc<Web>, stream: DuplexStream, wire: Arc<Wire>) {
        let mut stream = BufStream::new(stream);
        while let Ok(Some(request)) = Request::read(&mut stream).await {
            let times = self.begin(&web, &request, &wire);
            let answered = self.answer(&web, &request, times, &mut stream).await;
            self.end(&wire, answered.is_err());
            if answered.is_err() {
                return;
            }
        }
    }

    /// Takes note of a request. Tells how often its page was asked for before.
    fn begin(&self, web: &Web, request: &Request, wire: &Arc<Wire>) -> u32 {
        let (world, host) = (&web.world, &wire.host.name);
        let now = world.now();
        let mut seen = self.seen.lock();
        seen.open.retain(|other| !other.is_closed());
        seen.open.push(wire.clone());
        let at_once = seen.open.iter().filter(|other| other.host.name == *host).count();
        let last = seen.last.insert(host.clone(), Last { at: now, path: request.path.clone(), is_broken: false });
        let times = seen.pages.entry(request.path.clone()).or_default();
        *times += 1;
        let before = *times - 1;
        drop(seen);
        world.note(&self.name, format_args!("{host} asks for {}", request.path));
        if at_once > self.limits.concurrency {
            let what = format!("{host} has {at_once} requests at {} at once", self.name);
            world.oracle().broken(Property::HostLimits, what);
        }
        // What a redirect leads to is the same fetch.
        let is_same = |last: &Last| request.path.starts_with("/to/") || (last.is_broken && last.path == request.path);
        let gap = last.filter(|last| !is_same(last)).map(|last| Duration::from_millis(now - last.at));
        // What was held back by the network comes together.
        let was_held = wire.host.was_cut_within(HELD);
        if let Some(gap) = gap.filter(|gap| *gap < self.limits.delay && !was_held) {
            let what = format!("{host} asked {} again after {gap:?}; {:?} are allowed", self.name, self.limits.delay);
            world.oracle().broken(Property::HostLimits, what);
        }
        before
    }

    fn end(&self, wire: &Arc<Wire>, is_broken: bool) {
        let mut seen = self.seen.lock();
        if let Some(last) = seen.last.get_mut(&wire.host.name) {
            last.is_broken = is_broken;
        }
        if let Some(place) = seen.open.iter().position(|other| Arc::ptr_eq(other, wire)) {
            seen.open.swap_remove(place);
        }
    }

    async fn answer(&self, web: &Web, request: &Request, times: u32, on: &mut Stream) -> io::Result<()> {
        let path = request.path.as_str();
        if matches!(path, "/robots.txt" | "/sitemap.xml") {
            return respond(on, 404, "", b"").await;
        }
        let number = path.bytes().map(u64::from).sum::<u64>();
        match self.kind {
            SiteKind::Plain(slow_ms) => {
                web.world.dawdle(slow_ms).await;
                self.page(on, path).await
            }
            SiteKind::Flaky if times == 0 => match number % 3 {
                0 => respond(on, 500, "", b"").await,
                1 => respond(on, 503, "Retry-After: 1\r\n", b"").await,
                _ => Err(io::ErrorKind::ConnectionReset.into()),
            },
            SiteKind::Failing => match number % 3 {
                0 => respond(on, 404, "", b"nothing here").await,
                1 => respond(on, 500, "", b"").await,
                _ => respond(on, 503, "Retry-After: 2\r\n", b"").await,
            },
            SiteKind::Redirecting if !path.starts_with("/to/") => {
                respond(on, 302, &format!("Location: /to{path}\r\n"), b"").await
            }
            SiteKind::Redirecting if number % 4 == 0 => respond(on, 302, &format!("Location: {path}\r\n"), b"").await,
            SiteKind::Redirecting if number % 4 == 1 => {
                respond(on, 302, &format!("Location: http://{}/\r\n", super::INWARD), b"").await
            }
            SiteKind::Hanging => hang(on).await,
            SiteKind::Endless => {
                on.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n").await?;
                loop {
                    on.write_all(b"and so on and on and on\n").await?;
                    on.flush().await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            SiteKind::Breaking => {
                on.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n<p>This page is").await?;
                on.flush().await?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            SiteKind::Garbage => {
                on.write_all(b"\x00\x01\x02 SSH-2.0 no web here\r\n\r\n").await?;
                on.flush().await?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            SiteKind::Big => {
                let mut dice = Dice::new(number);
                let mut text = String::with_capacity(50_000);
                while text.len() < 50_000 {
                    write!(text, "{:x} ", dice.next()).expect("text can be written to memory");
                }
                respond(on, 200, "Content-Type: text/plain\r\n", text.as_bytes()).await
            }
            SiteKind::Linked(pages) => {
                web.world.dawdle(200).await;
                let page: u64 = path.trim_start_matches("/p").parse().unwrap_or(0);
                let mut body = format!("<html><title>Page {page}</title><body><p>This is page {page}.</p>");
                for next in [2 * page + 1, 2 * page + 2, 7 * page % pages, 0] {
                    if next < pages {
                        write!(body, "<a href=\"/p{next}#top\">page {next}</a> ").expect("it is in memory");
                    }
                }
                respond(on, 200, "Content-Type: text/html\r\n", body.as_bytes()).await
            }
            SiteKind::Flaky | SiteKind::Redirecting | SiteKind::Refusing | SiteKind::Poisonous => {
                self.page(on, path).await
            }
        }
    }

    async fn page(&self, on: &mut Stream, path: &str) -> io::Result<()> {
        let name = &self.name;
        let body =
            format!("<html><title>{path}</title><body><main><p>This is {path} of {name}.</p></main></body></html>");
        respond(on, 200, "Content-Type: text/html\r\n", body.as_bytes()).await
    }
}

/// Waits for the other side to give up.
async fn hang(on: &mut Stream) -> io::Result<()> {
    tokio::io::copy(on, &mut tokio::io::sink()).await?;
    Err(io::ErrorKind::ConnectionReset.into())
}
