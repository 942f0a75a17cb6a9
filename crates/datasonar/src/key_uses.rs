//! When API keys were last used: gathered in memory, written to the store now and then.
//!
//! A request waits for none of this. A key is written once a minute at most by each process, whatever is asked with it; what was not written
//! when a process dies is forgotten.

use std::{collections::HashMap, sync::Arc};

use datasonar_store::{KeyId, Store};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// How often what was gathered is written.
const INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// When keys were used since it was last written. There are no more than the store has keys.
#[derive(Clone, Debug, Default)]
pub struct KeyUses(Arc<Mutex<HashMap<KeyId, Timestamp>>>);

impl KeyUses {
    /// Notes that a key of the store is used now.
    pub fn note(&self, key: KeyId, now: Timestamp) {
        self.0.lock().insert(key, now);
    }

    /// Writes what is noted, once a minute until told to stop, and then once more.
    pub async fn keep(self, store: Arc<dyn Store>, clock: Arc<dyn Clock>, stop: CancellationToken) {
        loop {
            let next = clock.now() + INTERVAL;
            let has_stopped = stop.run_until_cancelled(clock.sleep_until(next)).await.is_none();
            self.write(&*store).await;
            if has_stopped {
                return;
            }
        }
    }

    async fn write(&self, store: &dyn Store) {
        let mut uses: Vec<_> = std::mem::take(&mut *self.0.lock()).into_iter().collect();
        // In one order whenever the same is noted, so that a simulation can be repeated.
        uses.sort_unstable();
        if !uses.is_empty()
            && let Err(error) = store.touch_keys(uses).await
        {
            tracing::warn!(%error, "when API keys were used could not be noted");
        }
    }
}
