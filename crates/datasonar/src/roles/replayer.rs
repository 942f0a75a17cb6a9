//! The replayer: takes bulk replays further, a few hundred deliveries a step.
//!
//! A step marks deliveries and moves the bulk replay's cursor in one transaction, so that it goes on after any crash where
//! it was. It keeps no more replays waiting than [`WINDOW`], so that a bulk replay of any size can still be cancelled.

use std::{sync::Arc, time::Duration};

use datasonar_store::Store;
use tokio_util::sync::CancellationToken;

use super::health::{Health, steady};
use crate::{
    clock::Clock,
    wake::{Bell, Wake},
};

/// How many deliveries a step looks at.
const STEP: u32 = 500;
/// How many replays of an account's environment may be due or under way before more are marked.
const WINDOW: u32 = 2_000;
/// The longest wait before it looks again.
const POLL: Duration = Duration::from_secs(1);

/// What a replayer is made of.
pub struct ReplayerParts {
    /// The rows.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Rung when a bulk replay was asked for.
    pub wake: Wake,
    /// Where failures of the store are told.
    pub health: Health,
}

/// The replayer.
pub struct Replayer(ReplayerParts);

impl Replayer {
    /// Puts a replayer together.
    pub fn new(parts: ReplayerParts) -> Self {
        Self(parts)
    }

    /// Replays until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let ReplayerParts { store, clock, wake, health } = &self.0;
        while !stop.is_cancelled() {
            let advance = steady(health, "replayer", || store.advance_replays(clock.now(), STEP, WINDOW));
            match stop.run_until_cancelled(advance).await {
                None => return,
                Some(Ok(advance)) => {
                    if advance.replayed > 0 {
                        wake.ring(Bell::Deliveries);
                    }
                    if advance.more {
                        continue;
                    }
                }
                Some(Err(error)) => tracing::error!(%error, "bulk replays could not be taken further"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = wake.replays().notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}
