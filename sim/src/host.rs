//! One process of the simulation, from its start to its death: what cuts it off, slows it down and ends it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::clock::OffClock;

/// A process.
#[derive(Debug)]
pub(crate) struct Host {
    /// Its slot and how often that was started: `c2`.
    pub(crate) name: String,
    pub(crate) clock: OffClock,
    /// It died: whatever it still does comes to nothing.
    pub(crate) dead: CancellationToken,
    /// Until when it cannot reach the store, and how that shows.
    store: Mutex<Cut>,
    /// Until when it cannot reach the network.
    network: Mutex<bool>,
    /// When it was last away.
    away_at: Mutex<Option<Instant>>,
    /// Rung when one of the two has changed. (A watch channel wakes in an order of its own chance.)
    changed: Notify,
    /// The most milliseconds that a call of the store takes.
    pub(crate) slow_ms: AtomicU64,
}

/// Whether the way to the store is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    None,
    /// Calls fail at once.
    Refused,
    /// Calls wait, and fail when the cut is over.
    Silent,
}

impl Host {
    pub(crate) fn new(name: String, begin: Instant, off_ms: i64, slow_ms: u64) -> Arc<Self> {
        Arc::new(Self {
            name,
            clock: OffClock::new(begin, off_ms),
            dead: CancellationToken::new(),
            store: Mutex::new(Cut::None),
            network: Mutex::new(false),
            away_at: Mutex::new(None),
            changed: Notify::new(),
            slow_ms: AtomicU64::new(slow_ms),
        })
    }

    /// Ends the process here: the caller goes no further.
    pub(crate) async fn die(&self) -> ! {
        self.dead.cancel();
        std::future::pending().await
    }

    /// Holds whoever is dead already.
    pub(crate) async fn living(&self) {
        if self.dead.is_cancelled() {
            self.die().await;
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    pub(crate) fn slow(&self) -> u64 {
        self.slow_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn cut_store(&self, cut: Cut) {
        *self.store.lock() = cut;
        self.changed.notify_waiters();
    }

    /// Tells whether a call got through; what is cut off silently waits to know.
    pub(crate) async fn reaches_store(&self) -> bool {
        let begin = *self.store.lock();
        self.until(|| *self.store.lock() != Cut::Silent).await;
        begin == Cut::None
    }

    pub(crate) fn cut_network(&self, is_cut: bool) {
        let was_cut = std::mem::replace(&mut *self.network.lock(), is_cut);
        if was_cut || is_cut {
            *self.away_at.lock() = Some(Instant::now());
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn has_network(&self) -> bool {
        !*self.network.lock()
    }

    /// Whether the network was away at any time in the last while.
    pub(crate) fn was_cut_within(&self, time: Duration) -> bool {
        !self.has_network() || self.away_at.lock().is_some_and(|away| away.elapsed() < time)
    }

    /// Waits until the network is there.
    pub(crate) async fn networked(&self) {
        self.until(|| self.has_network()).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        while !is_so() {
            self.changed.notified().await;
        }
    }

    /// Everything works again.
    pub(crate) fn heal(&self, calm_ms: u64) {
        self.cut_store(Cut::None);
        self.cut_network(false);
        self.slow_ms.store(calm_ms, Ordering::Relaxed);
    }
}
