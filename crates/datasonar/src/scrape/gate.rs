//! Keeping a suspected page apart from all others while it is processed.
//!
//! When a process dies, the page that was being processed alone is the one to blame; of several, nobody could say which. So pages
//! are processed side by side ([`ProcessingGate::beside`]) except for those of isolated tasks, of which each has the gate to
//! itself ([`ProcessingGate::alone`]). Only processing is kept apart: pages go on being fetched and rendered meanwhile.
//!
//! Both queues are first come, first served, and at most one page waits to be alone at a time. So however many are suspected, all
//! other pages that wait are processed between two of them.
//!
//! A scraper does not know what a suspicion is: whoever has a page scraped gives it a [`Door`], at which the page waits before it is
//! processed.

use std::sync::Arc;

use parking_lot::Mutex as Lock;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// The gate that pages of one process pass to be processed.
#[derive(Clone, Debug, Default)]
pub struct ProcessingGate {
    pages: Arc<RwLock<()>>,
    turn: Arc<Mutex<()>>,
}

/// While this is held, no other page is processed.
#[derive(Debug)]
pub struct Alone {
    _pages: OwnedRwLockWriteGuard<()>,
    _turn: OwnedMutexGuard<()>,
}

impl ProcessingGate {
    /// Waits until nothing is processed, and keeps it so until the guard is dropped.
    pub async fn alone(&self) -> Alone {
        let turn = self.turn.clone().lock_owned().await;
        Alone { _pages: self.pages.clone().write_owned().await, _turn: turn }
    }

    /// Waits until no page is alone, and keeps it so until the guard is dropped.
    pub async fn beside(&self) -> OwnedRwLockReadGuard<()> {
        self.pages.clone().read_owned().await
    }
}

/// The door between getting a page and processing it, which is opened by whoever asked for the page.
#[derive(Debug, Default)]
pub struct Door {
    phase: Lock<Phase>,
    /// Notified when the page has changed its phase.
    changed: Notify,
    opened: Notify,
}

/// Where a page is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It is being got, or is done.
    #[default]
    Outside,
    /// It is to be processed, and waits at the door.
    Waiting,
    /// It is being processed.
    Inside,
}

/// The page is inside until this is dropped.
#[derive(Debug)]
pub struct Inside(Arc<Door>);

impl Door {
    /// Waits until the door is opened.
    pub async fn enter(self: &Arc<Self>) -> Inside {
        *self.phase.lock() = Phase::Waiting;
        self.changed.notify_one();
        self.opened.notified().await;
        Inside(self.clone())
    }

    /// Lets the page in that waits.
    pub fn open(&self) {
        *self.phase.lock() = Phase::Inside;
        self.opened.notify_one();
    }

    /// Waits until the page has changed its phase by itself. Tells in which it is.
    pub async fn changed(&self) -> Phase {
        self.changed.notified().await;
        *self.phase.lock()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        *self.0.phase.lock() = Phase::Outside;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_page_that_is_alone_has_no_other_beside_it() {
        let gate = ProcessingGate::default();
        let (one, other) = (gate.beside().await, gate.beside().await);
        let mut alone = Box::pin(gate.alone());
        let mut second = Box::pin(gate.alone());
        assert!(alone.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop((one, other));
        let alone = alone.await;
        let mut late = Box::pin(gate.beside());
        assert!(late.as_mut().now_or_never().is_none());
        drop(alone);
        assert!(second.as_mut().now_or_never().is_none(), "those that came meanwhile come first");
        let late = late.await;
        drop(late);
        second.await;
    }

    #[tokio::test]
    async fn a_page_waits_at_its_door_each_time() {
        let door = Arc::new(Door::default());
        for _ in 0..2 {
            let mut entering = Box::pin(door.enter());
            assert!(entering.as_mut().now_or_never().is_none());
            assert_eq!(door.changed().await, Phase::Waiting);
            assert!(entering.as_mut().now_or_never().is_none());
            door.open();
            drop(entering.await);
            assert_eq!(door.changed().await, Phase::Outside);
        }
    }
}
