//! One policy for a store that fails: say so, wait, try again. Whoever is in the middle of something holds on to it.

use std::{collections::BTreeMap, fmt::Display, sync::Arc, time::Duration};

use datasonar_store::{Result, StoreError};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The first pause after a failure; each further one is twice as long, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// What keeps this process from being ready.
#[derive(Clone, Debug)]
pub struct Health {
    reasons: Arc<Mutex<BTreeMap<&'static str, String>>>,
    shown: watch::Sender<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { reasons: Arc::default(), shown: watch::Sender::new(None) }
    }
}

impl Health {
    /// Watches what keeps this process from being ready; `None` when nothing does.
    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.shown.subscribe()
    }

    /// Says that `part` cannot work.
    pub fn fail(&self, part: &'static str, why: impl Display) {
        self.reasons.lock().insert(part, why.to_string());
        self.show();
    }

    /// Says that `part` works.
    pub fn mend(&self, part: &'static str) {
        if self.reasons.lock().remove(part).is_some() {
            self.show();
        }
    }

    fn show(&self) {
        let reasons = self.reasons.lock();
        let text = reasons.iter().map(|(part, why)| format!("{part}: {why}")).collect::<Vec<_>>().join("; ");
        self.shown.send_replace((!text.is_empty()).then_some(text));
    }
}

/// Takes a step of the store until it is taken, for work that must not be lost because the store was away. Only errors
/// that trying again cannot mend are answered.
///
/// # Errors
/// Whatever is not transient, such as a lost lease.
pub async fn steady<T, F>(health: &Health, part: &'static str, mut step: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match step().await {
            Err(StoreError::Unavailable(why)) => {
                tracing::warn!(part, why, "the store is unavailable; trying again");
                health.fail(part, &why);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
            other => {
                health.mend(part);
                return other;
            }
        }
    }
}
