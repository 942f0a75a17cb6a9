//! A semaphore that serves its lanes in turn.
//!
//! Permits go to the lanes that wait for them by rotation, and within a lane first come, first served. A lane is a job:
//! whatever one of them queues, another's next page waits for at most one permit per lane.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

/// A number of permits, given to lanes in turn.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    permits: usize,
    given: usize,
    /// Those who wait, by lane.
    waiting: HashMap<Uuid, VecDeque<oneshot::Sender<Turn>>>,
    /// The lanes in which somebody waits, the next to be served first.
    rotation: VecDeque<Uuid>,
}

/// A permit; dropping it passes it on.
#[derive(Debug)]
pub struct Turn(Option<Turns>);

impl Turns {
    /// Has `permits` to give.
    pub fn new(permits: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue { permits, given: 0, waiting: HashMap::new(), rotation: VecDeque::new() })))
    }

    /// Waits for a permit. Giving up waiting (dropping the future) costs nothing.
    pub async fn take(&self, lane: Uuid) -> Turn {
        let turn = {
            let mut queue = self.0.lock();
            if queue.given < queue.permits {
                queue.given += 1;
                return Turn(Some(self.clone()));
            }
            let (sender, turn) = oneshot::channel();
            let lane_queue = queue.waiting.entry(lane).or_default();
            lane_queue.push_back(sender);
            if lane_queue.len() == 1 {
                queue.rotation.push_back(lane);
            }
            turn
        };
        turn.await.expect("whoever waits is in the queue, which lives as long as a permit or `self`")
    }

    /// Has so many permits to give from now on. Those that were given stay so; while they are more, none is given.
    pub fn resize(&self, permits: usize) {
        self.0.lock().permits = permits;
        loop {
            let next = {
                let mut queue = self.0.lock();
                if queue.given >= queue.permits {
                    return;
                }
                let Some(next) = queue.next() else { return };
                queue.given += 1;
                next
            };
            if let Err(mut turn) = next.send(Turn(Some(self.clone()))) {
                // It gave up waiting.
                turn.0 = None;
                self.0.lock().given -= 1;
            }
        }
    }

    /// How many permits are given, and how many wait for one.
    pub fn counts(&self) -> (usize, usize) {
        let queue = self.0.lock();
        let waits = |waiting: &VecDeque<oneshot::Sender<Turn>>| waiting.iter().filter(|one| !one.is_closed()).count();
        (queue.given, queue.waiting.values().map(waits).sum())
    }

    /// Tells whether nobody holds or awaits a permit.
    pub fn is_idle(&self) -> bool {
        self.counts() == (0, 0)
    }

    fn pass_on(self) {
        loop {
            let next = {
                let mut queue = self.0.lock();
                let next = if queue.given > queue.permits { None } else { queue.next() };
                if next.is_none() {
                    queue.given -= 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // It gave up waiting: the permit that came back must not pass itself on from within its own drop.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

impl Queue {
    /// Takes out whoever is to be served next.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let lane = self.rotation.pop_front()?;
        let queue = self.waiting.get_mut(&lane).expect("a lane in the rotation has somebody waiting");
        let next = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&lane);
        } else {
            self.rotation.push_back(lane);
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join_all};

    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    #[tokio::test]
    async fn a_late_lane_does_not_wait_behind_a_long_one() {
        let turns = Turns::new(1);
        let held = turns.take(A).await;
        let mut long: Vec<_> = (0..100).map(|_| Box::pin(turns.take(A))).collect();
        for waiter in &mut long {
            assert!(waiter.now_or_never().is_none());
        }
        let mut late = Box::pin(turns.take(B));
        assert!((&mut late).now_or_never().is_none());
        drop(held);
        // One of the long lane's was first in the rotation; the late lane is next.
        let first = long.iter_mut().find_map(|waiter| waiter.now_or_never()).unwrap();
        assert!((&mut late).now_or_never().is_none());
        drop(first);
        assert!(late.now_or_never().is_some());
    }

    #[tokio::test]
    async fn permits_become_more_and_fewer() {
        let turns = Turns::new(0);
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(turns.take(A))).collect();
        for waiter in &mut waiting {
            assert!(waiter.now_or_never().is_none());
        }
        assert_eq!(turns.counts(), (0, 4));
        turns.resize(2);
        let mut given: Vec<_> = waiting.iter_mut().take(2).map(|waiter| waiter.now_or_never().unwrap()).collect();
        turns.resize(1);
        given.pop();
        assert!(waiting[2].as_mut().now_or_never().is_none(), "one is still given, and no more may be");
        given.pop();
        let third = waiting[2].as_mut().now_or_never().unwrap();
        assert_eq!(turns.counts(), (1, 1));
        drop(waiting);
        turns.resize(5);
        assert_eq!(turns.counts(), (1, 0), "who gave up is passed over");
        drop(third);
        assert!(turns.is_idle());
    }

    #[tokio::test]
    async fn whoever_gives_up_loses_no_permit() {
        let turns = Turns::new(2);
        let held = (turns.take(A).await, turns.take(A).await);
        let mut given_up: Vec<_> = (0..5).map(|_| Box::pin(turns.take(A))).collect();
        for waiter in &mut given_up {
            assert!(waiter.now_or_never().is_none());
        }
        drop(given_up.split_off(2));
        drop(held);
        // The two that still wait got a permit each, but never looked at it.
        assert!(!turns.is_idle());
        drop(given_up);
        assert!(turns.is_idle());
        let again = join_all([turns.take(A), turns.take(B)]).await;
        drop(again);
        assert!(turns.is_idle());
    }
}
