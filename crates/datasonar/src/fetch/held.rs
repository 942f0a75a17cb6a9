//! What a fetch holds while it is made and until its document has been dealt with.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use datasonar_net::{LargeBodies, Progress, ReservedBytes};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::fair_semaphore::{FairSemaphore, Permit, Requester};

/// A body comes on when this many bytes of it have arrived; a drop now and then does not count.
const PROGRESS_BYTES: usize = 1024;

/// A slot and, for a large body, the memory that it takes. The latter belongs to the body, and goes when that goes.
#[derive(Debug)]
pub struct Held {
    slot: Permit,
    requester: Requester,
    bodies: FairSemaphore,
    body: Mutex<Weak<Permit>>,
    admitted: Notify,
}

impl Held {
    pub(super) fn new(slot: Permit, bodies: FairSemaphore, requester: Requester) -> Self {
        Self { slot, requester, bodies, body: Mutex::default(), admitted: Notify::new() }
    }

    /// Waits until one of the two is to be returned, so that another tenant can go on. The holder is then to drop both.
    pub async fn preempted(&self) {
        tokio::select! {
            biased;
            () = self.slot.preempted() => {}
            () = self.body_preempted() => {}
        }
    }

    async fn body_preempted(&self) {
        loop {
            let body = self.body.lock().upgrade();
            match body {
                Some(permit) => return permit.preempted().await,
                None => self.admitted.notified().await,
            }
        }
    }

    /// Returns what notes the progress of the body.
    pub(super) fn progress(self: &Arc<Self>) -> Progress {
        let (held, note, bytes) = (Arc::downgrade(self), self.slot.progress(), AtomicUsize::new(0));
        Progress::new(move |more| {
            if bytes.fetch_add(more, Ordering::Relaxed) + more >= PROGRESS_BYTES {
                bytes.store(0, Ordering::Relaxed);
                note();
                let body = held.upgrade().and_then(|held| held.body.lock().upgrade());
                if let Some(body) = body {
                    body.progress()();
                }
            }
        })
    }
}

#[async_trait]
impl LargeBodies for Held {
    async fn reserve(&self, bytes: u64) -> Box<dyn ReservedBytes> {
        let permit = Arc::new(self.bodies.acquire(self.requester, bytes).await);
        *self.body.lock() = Arc::downgrade(&permit);
        self.admitted.notify_one();
        Box::new(Body(permit))
    }
}

/// The bytes of memory that a large body holds.
#[derive(Debug)]
struct Body(Arc<Permit>);

impl ReservedBytes for Body {
    fn shrink(&self, bytes: u64) {
        self.0.shrink(bytes);
    }
}
