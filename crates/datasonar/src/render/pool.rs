//! The browsers of a process: none until a page needs one, and replaced when they are worn, idle, or gone.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    browser::{Browser, Launcher, Lease},
    find::LaunchError,
};

/// After a start that failed, no other is tried for so long.
const REST: Duration = Duration::from_secs(5);
/// How long browsers may take to end when the server does. They are killed outright: only a machine in trouble takes longer, and
/// whoever stops us must not be kept waiting by it.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// Browsers, as many as the pages need that are in them at a time.
pub(super) struct Pool {
    launcher: Launcher,
    state: Mutex<State>,
    /// Cancelled when there are to be no more browsers.
    closing: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Those that are given pages.
    usable: Vec<Arc<Browser>>,
    /// Those that live until their last page has left.
    retired: Vec<Weak<Browser>>,
    failed: Option<(Instant, LaunchError)>,
    is_closed: bool,
}

impl Pool {
    pub(super) fn new(launcher: Launcher) -> Self {
        Self { launcher, state: Mutex::default(), closing: CancellationToken::new() }
    }

    /// A place in a browser: in one that runs, if there is room. A browser that is being started for a page goes on starting
    /// when the page is dropped: it is there for the next.
    ///
    /// # Errors
    /// When there is no browser, or none starts.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, LaunchError> {
        let stopping = || LaunchError::Failed("the server is stopping".to_owned());
        let pool = self.clone();
        let leasing = async move { pool.closing.run_until_cancelled(pool.find()).await };
        // What fails here but for the server's stop is a defect, and tokio has told of it.
        tokio::spawn(leasing).await.ok().flatten().unwrap_or_else(|| Err(stopping()))
    }

    async fn find(&self) -> Result<Lease, LaunchError> {
        // Whoever waits here waits for a browser that is being started, and will find room in it.
        let mut state = self.state.lock().await;
        if state.is_closed {
            return Err(LaunchError::Failed("the server is stopping".to_owned()));
        }
        state.sort();
        if let Some(lease) = state.usable.iter().find_map(Browser::lease) {
            return Ok(lease);
        }
        if let Some((at, error)) = &state.failed
            && at.elapsed() < REST
        {
            return Err(error.clone());
        }
        let launched = self.launcher.launch().await;
        state.failed = launched.as_ref().err().map(|error| (Instant::now(), error.clone()));
        if let Some((_, error)) = &state.failed {
            tracing::warn!(%error, "no browser");
        }
        let browser = launched?;
        let lease = browser.lease().expect("a new browser has room");
        state.usable.push(browser);
        Ok(lease)
    }

    /// Ends all browsers and waits until they are gone. There will be no others.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        let browsers: Vec<Arc<Browser>> = {
            let mut state = self.state.lock().await;
            let state = std::mem::replace(&mut *state, State { is_closed: true, ..State::default() });
            let retired = state.retired.iter().filter_map(Weak::upgrade);
            state.usable.iter().cloned().chain(retired).collect()
        };
        for browser in &browsers {
            browser.kill();
        }
        let all = async {
            for browser in browsers {
                browser.ended().await;
            }
        };
        if tokio::time::timeout(CLOSE_WITHIN, all).await.is_err() {
            tracing::error!("browsers did not end in time");
        }
    }
}

impl State {
    /// Puts aside those that are to be given no more pages: they end when their last page has left.
    fn sort(&mut self) {
        self.retired.retain(|browser| browser.strong_count() > 0);
        let (usable, retired): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.usable).into_iter().partition(|browser| browser.is_usable());
        self.usable = usable;
        self.retired.extend(retired.iter().map(Arc::downgrade));
    }
}
