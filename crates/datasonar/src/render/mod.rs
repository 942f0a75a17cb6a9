//! Gets one URL with a browser: what a page is once its scripts have run, and what it looks like.
//!
//! Layers: [`Renderer`] (a page, tried twice where the browser is to blame) → `pool` (browsers, started when one is needed) →
//! `browser` (one process) and `tab` (one page in it) → `cdp` (what is said to it). Whatever a browser fetches goes through
//! [`proxy`], which lets it go where a fetch may go; `requests` decides what is fetched at all. [`shell`] tells pages that are
//! nothing without their scripts.
//!
//! What it does not do: wait for a host's turn, try again what the host is to blame for ([`crate::fetch::Fetcher::tries`]
//! does both), or derive content.

mod browser;
mod cdp;
mod error;
mod find;
mod pool;
mod processes;
mod profile;
mod proxy;
mod reading;
mod requests;
pub mod shell;
mod tab;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use datasonar_net::{Client, FetchErrorKind, RedirectGuard, take_credentials};
use http::{HeaderMap, StatusCode};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout_at},
};
use url::{Origin, Url};

use browser::Launcher;
pub use error::{Arrival, RenderError, RenderErrorKind};
use pool::Pool;
use profile::Homes;
use proxy::Proxy;
use tab::Room;

use crate::{
    clock::Ids,
    fetch::{Answer, FairSemaphore, Tried},
};

/// The operator's choices.
#[derive(Clone, Debug)]
pub struct RenderSettings {
    /// Pages at a time in this process.
    pub concurrency: usize,
    /// The browser; the first that is installed, if none is named.
    pub browser: Option<PathBuf>,
    /// What a page may take of the memory, in bytes.
    pub memory: u64,
    /// As whom the browser runs, where the server is root.
    pub user: String,
    /// Whether the browser's own sandbox is on.
    pub sandbox: bool,
    /// Browsers have their directories here, where they run as the server's user.
    pub data_dir: PathBuf,
    /// The run directory of this server, if it was given one, for the directories of browsers that run as another user.
    pub run_dir: Option<PathBuf>,
    /// How pages see us, added to the browser's own name.
    pub user_agent: String,
}

/// A page to render.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Its URL.
    pub url: &'a Url,
    /// Request headers for its origin.
    pub headers: &'a HeaderMap,
    /// Further origins that receive them.
    pub headers_origins: &'a [Origin],
    /// The largest document, serialised.
    pub max_bytes: u64,
    /// An element to wait for; else it is waited until the page is at rest.
    pub wait_for: Option<&'a str>,
    /// Whether a picture is wanted.
    pub screenshot: bool,
    /// Asked of every URL that the page leads on to.
    pub guard: Option<&'a RedirectGuard>,
}

/// What a page was when it was read.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Its URL then, without credentials.
    pub final_url: Url,
    /// The status of the answer that it was made of.
    pub status: StatusCode,
    /// That answer's headers.
    pub headers: HeaderMap,
    /// Its document, as HTML in UTF-8.
    pub html: Bytes,
    /// Its picture, if one was wanted.
    pub screenshot: Option<Screenshot>,
}

/// A picture of a page.
#[derive(Clone, Debug)]
pub struct Screenshot {
    /// PNG.
    pub png: Bytes,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl Tried for Result<Rendered, RenderError> {
    fn answer(&self) -> Option<Answer<'_>> {
        match self {
            Ok(rendered) => {
                Some(Answer { url: &rendered.final_url, status: rendered.status, headers: &rendered.headers })
            }
            Err(error) => {
                let Arrival { url, status, headers } = &**error.answer.as_ref()?;
                Some(Answer { url, status: *status, headers })
            }
        }
    }

    fn may_succeed_later(&self) -> bool {
        self.as_ref().is_err_and(RenderError::is_transient)
    }

    fn timed_out(message: String) -> Self {
        Err(RenderError::of(FetchErrorKind::Timeout, message))
    }
}

/// Renders pages. Cloning is cheap.
#[derive(Clone)]
pub struct Renderer(Arc<Inner>);

struct Inner {
    client: Client,
    ids: Ids,
    product: String,
    slots: FairSemaphore,
    pool: Arc<Pool>,
    homes: Homes,
    proxy: OnceCell<Proxy>,
}

impl Renderer {
    /// Puts a renderer together. Starts nothing: the first page does. What the browser asks for leaves by `client`.
    pub fn new(settings: RenderSettings, client: Client, ids: Ids) -> Self {
        let RenderSettings { concurrency, browser, memory, user, sandbox, data_dir, run_dir, user_agent } = settings;
        let homes = Homes::new(&data_dir, run_dir.as_deref());
        Self(Arc::new(Inner {
            client,
            ids,
            product: user_agent,
            slots: FairSemaphore::new(concurrency),
            pool: Arc::new(Pool::new(Launcher { program: browser, user, sandbox, memory, homes: homes.clone() })),
            homes,
            proxy: OnceCell::new(),
        }))
    }

    /// Removes the directories of browsers whose servers were killed. For a server's start; takes a while, for a thread that may
    /// block.
    pub fn sweep(&self) {
        let removed = self.0.homes.sweep();
        if removed > 0 {
            tracing::info!(removed, "removed directories of browsers that a server left when it was killed");
        }
    }

    /// The places for pages: one is to be held for each that is rendered.
    pub fn slots(&self) -> &FairSemaphore {
        &self.0.slots
    }

    /// Renders a page within `limit`, which includes waiting for a browser.
    ///
    /// A page that the browser failed is rendered once more, in another. Dropping the future throws the page's context away.
    ///
    /// # Errors
    /// [`RenderError`], with what is known of how far it came.
    pub async fn render(&self, page: Page<'_>, limit: Duration) -> Result<Rendered, RenderError> {
        let (mut url, mut headers) = (page.url.clone(), page.headers.clone());
        take_credentials(&mut url, &mut headers);
        let page = Page { url: &url, headers: &headers, ..page };
        let deadline = Instant::now() + limit;
        match self.once(&page, deadline, limit).await {
            Err(error) if error.kind == RenderErrorKind::Browser && Instant::now() < deadline => {
                tracing::info!(%url, %error, "a page is rendered again");
                self.once(&page, deadline, limit).await
            }
            first => first,
        }
    }

    /// Renders a page in a browser that has a place for it.
    async fn once(&self, page: &Page<'_>, deadline: Instant, limit: Duration) -> Result<Rendered, RenderError> {
        let start = || Proxy::start(self.0.client.clone(), self.0.ids.clone());
        let proxy = self.0.proxy.get_or_try_init(start).await;
        let proxy =
            proxy.map_err(|error| RenderError::page(format!("the browser's way out cannot be opened: {error}")))?;
        let lease = timeout_at(deadline, self.0.pool.lease()).await;
        let lease = lease.map_err(|_| RenderError::timeout(limit))?;
        let lease = lease.map_err(|error| RenderError::page(error.to_string()))?;
        let room = Room { proxy, policy: self.0.client.policy(), product: &self.0.product };
        tab::render(lease, &room, page, deadline.saturating_duration_since(Instant::now())).await
    }

    /// Ends all browsers, and waits for it. No page is rendered any more.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }
}
