//! Politeness: how many requests a host gets at a time, and how far apart.
//!
//! The operator's limits are never passed, a caller may ask for a larger gap, and a host that says it is overloaded (429 or
//! 503) is left alone for as long as it asks, then gets requests further apart, until it answers well again.
//! The counting is this process's own; where several share a store, how far it may count is asked for ([`super::sharing`]).

use std::{collections::HashMap, sync::Arc, task::Poll, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

use super::sharing::{Claim, Claims, Shares, Sharing};
use super::turns::{Turn, Turns};

/// Hosts are forgotten when there are more than this many and they are idle.
const REMEMBERED: usize = 4_096;
/// The gap between requests to a host that has said for the first time that it is overloaded; it doubles each time.
const FIRST_GAP: Duration = Duration::from_millis(250);
const LARGEST_GAP: Duration = Duration::from_secs(10);
/// With each answer that is none of overload the gap shrinks by a tenth, until it is gone.
const SHRINKS_TO: f64 = 0.9;
const SMALLEST_GAP: Duration = Duration::from_millis(20);
/// A host is left alone for so long at most, whatever it asks for.
const LONGEST_REST: Duration = Duration::from_secs(120);

/// The gates of all hosts.
#[derive(Clone, Debug)]
pub struct Hosts {
    pub(super) gates: Arc<Mutex<HashMap<String, Arc<Gate>>>>,
    pub(super) concurrency: usize,
    delay: Duration,
    /// Where other processes fetch from the same hosts.
    pub(super) sharing: Option<Arc<Sharing>>,
}

#[derive(Debug)]
pub(super) struct Gate {
    pub(super) turns: Turns,
    pace: Mutex<Pace>,
    /// What is held of a host that is shared.
    pub(super) claim: Claims,
    /// Rung when something was granted.
    pub(super) granted: Notify,
}

#[derive(Debug)]
struct Pace {
    /// When the next request may begin.
    next: Instant,
    /// The gap that the host's own answers ask for.
    gap: Duration,
    /// Answers in a row that may have been of overload.
    doubts: u32,
}

impl Hosts {
    /// Lets `concurrency` requests to a host run at once, and begin at least `delay` apart.
    pub fn new(concurrency: usize, delay: Duration) -> Self {
        Self { gates: Arc::default(), concurrency, delay, sharing: None }
    }

    /// As [`new`](Self::new), over all processes that `shares` shares hosts out to. [`keep_sharing`](Self::keep_sharing) must be running for
    /// anything to be let in.
    pub fn shared(concurrency: usize, delay: Duration, shares: Arc<dyn Shares>) -> Self {
        let sharing = Sharing { shares, bell: Notify::new() };
        Self { sharing: Some(Arc::new(sharing)), ..Self::new(concurrency, delay) }
    }

    /// Waits until a request to `host` may begin, at least `gap` before the next, and there is one of `slots` for it. The
    /// host is busy with it until its turn, the first of the two, is dropped.
    pub async fn enter(&self, host: &str, lane: Uuid, gap: Duration, slots: &Turns) -> (Turn, Turn) {
        let gate = self.gate(host);
        if let Some(sharing) = &self.sharing {
            return self.enter_shared(&gate, sharing, lane, gap, slots).await;
        }
        let turn = gate.turns.take(lane).await;
        loop {
            let start = gate.pace.lock().next;
            tokio::time::sleep_until(start).await;
            let slot = slots.take(lane).await;
            let mut pace = gate.pace.lock();
            let now = Instant::now();
            if pace.next <= now {
                pace.next = now + self.delay.max(gap).max(pace.gap);
                drop(pace);
                return (turn, slot);
            }
            // Another was quicker, or meanwhile the host asked for more: the slot is for those who can use it.
        }
    }

    async fn enter_shared(
        &self,
        gate: &Gate,
        sharing: &Sharing,
        lane: Uuid,
        gap: Duration,
        slots: &Turns,
    ) -> (Turn, Turn) {
        let mut turn = std::pin::pin!(gate.turns.take(lane));
        let turn = match futures::poll!(&mut turn) {
            Poll::Ready(turn) => turn,
            Poll::Pending => {
                sharing.bell.notify_one();
                turn.await
            }
        };
        let gap = loop {
            let (next, gap) = {
                let pace = gate.pace.lock();
                (pace.next, self.delay.max(gap).max(pace.gap))
            };
            if next <= Instant::now() {
                break gap;
            }
            tokio::time::sleep_until(next).await;
        };
        gate.start(gap, sharing).await;
        let mut slot = std::pin::pin!(slots.take(lane));
        if let Poll::Ready(slot) = futures::poll!(&mut slot) {
            return (turn, slot);
        }
        // The moment passes while it waits for a slot, so that another is needed. The slot is held until then: moments are
        // given by others, and no more pages of a host wait for one than it may have requests open.
        let slot = slot.await;
        gate.start(gap, sharing).await;
        (turn, slot)
    }

    /// Learns that a host gave an answer that may mean overload, or a page that is broken: two in a row mean overload.
    pub fn in_trouble(&self, host: &str) {
        let gate = self.gate(host);
        let doubts = {
            let mut pace = gate.pace.lock();
            pace.doubts += 1;
            pace.doubts
        };
        if doubts > 1 {
            self.overloaded(host, Duration::ZERO);
        }
    }

    /// Learns that a host said it is overloaded, and for how long it asks to be left alone.
    pub fn overloaded(&self, host: &str, rest: Duration) {
        let gate = self.gate(host);
        let mut pace = gate.pace.lock();
        pace.gap = (pace.gap * 2).clamp(FIRST_GAP, LARGEST_GAP);
        let rest = rest.min(LONGEST_REST).max(pace.gap);
        pace.next = pace.next.max(Instant::now() + rest);
        if let Some(sharing) = &self.sharing {
            gate.rest(rest, sharing);
        }
    }

    /// Learns that a host gave an answer that is none of overload.
    pub fn answered(&self, host: &str) {
        let Some(gate) = self.gates.lock().get(host).cloned() else { return };
        let mut pace = gate.pace.lock();
        pace.doubts = 0;
        let gap = pace.gap.mul_f64(SHRINKS_TO);
        pace.gap = if gap < SMALLEST_GAP { Duration::ZERO } else { gap };
    }

    fn gate(&self, host: &str) -> Arc<Gate> {
        let mut gates = self.gates.lock();
        if let Some(gate) = gates.get(host) {
            return gate.clone();
        }
        if gates.len() >= REMEMBERED {
            let now = Instant::now();
            gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.turns.is_idle() || gate.pace.lock().next > now);
        }
        let pace = Mutex::new(Pace { next: Instant::now(), gap: Duration::ZERO, doubts: 0 });
        let permits = if self.sharing.is_some() { 0 } else { self.concurrency };
        let (claim, granted) = (Mutex::new(Claim::default()), Notify::new());
        let gate = Arc::new(Gate { turns: Turns::new(permits), pace, claim, granted });
        gates.insert(host.to_owned(), gate.clone());
        gate
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_to_a_host_begin_apart_and_others_do_not_wait() {
        let (hosts, slots) = (Hosts::new(8, Duration::from_millis(250)), Turns::new(8));
        let begin = Instant::now();
        let enter = |host: &'static str| {
            let (hosts, slots) = (hosts.clone(), slots.clone());
            async move {
                let _turns = hosts.enter(host, Uuid::nil(), Duration::ZERO, &slots).await;
                begin.elapsed().as_millis()
            }
        };
        let times = join_all([enter("a"), enter("a"), enter("b"), enter("a")]).await;
        assert_eq!(times, [0, 250, 0, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_for_a_slot_brings_no_two_requests_closer() {
        let (hosts, slots) = (Hosts::new(8, Duration::from_millis(250)), Turns::new(1));
        let begin = Instant::now();
        let busy = slots.take(Uuid::nil()).await;
        let enter = || {
            let (hosts, slots) = (hosts.clone(), slots.clone());
            async move {
                let _turns = hosts.enter("a", Uuid::nil(), Duration::ZERO, &slots).await;
                begin.elapsed().as_millis()
            }
        };
        let freed = async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            drop(busy);
            0
        };
        let times = futures::join!(enter(), enter(), enter(), freed);
        assert_eq!(times, (600, 850, 1_100, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_may_ask_for_more_room_and_never_for_less() {
        let hosts = Hosts::new(8, Duration::from_millis(250));
        let begin = Instant::now();
        for (gap, at) in [(1_000, 0), (10, 1_000), (0, 1_250)] {
            drop(hosts.enter("a", Uuid::nil(), Duration::from_millis(gap), &Turns::new(1)).await);
            assert_eq!(begin.elapsed().as_millis(), at);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_overloaded_host_is_left_alone_and_then_spared() {
        let hosts = Hosts::new(8, Duration::ZERO);
        let enter = async || drop(hosts.enter("a", Uuid::nil(), Duration::ZERO, &Turns::new(1)).await);
        let begin = Instant::now();
        enter().await;
        hosts.overloaded("a", Duration::from_secs(7));
        hosts.overloaded("a", Duration::ZERO);
        enter().await;
        assert_eq!(begin.elapsed(), Duration::from_secs(7));
        enter().await;
        assert_eq!(begin.elapsed(), Duration::from_millis(7_500), "the gap has doubled");
        hosts.overloaded("a", Duration::from_secs(1_000_000));
        enter().await;
        assert_eq!(begin.elapsed(), Duration::from_millis(7_500) + LONGEST_REST);
        for _ in 0..100 {
            hosts.answered("a");
        }
        let begin = Instant::now();
        // The gap of the last request still holds.
        enter().await;
        enter().await;
        enter().await;
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_broken_page_slows_nothing() {
        let hosts = Hosts::new(8, Duration::ZERO);
        let enter = async || drop(hosts.enter("a", Uuid::nil(), Duration::ZERO, &Turns::new(1)).await);
        let begin = Instant::now();
        for _ in 0..3 {
            hosts.in_trouble("a");
            hosts.answered("a");
            enter().await;
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        hosts.in_trouble("a");
        hosts.in_trouble("a");
        enter().await;
        assert_eq!(begin.elapsed(), FIRST_GAP);
    }

    #[tokio::test]
    async fn idle_hosts_are_forgotten() {
        let (hosts, slots) = (Hosts::new(2, Duration::ZERO), Turns::new(2));
        let held = hosts.enter("held", Uuid::nil(), Duration::ZERO, &slots).await;
        for n in 0..3 * REMEMBERED {
            drop(hosts.enter(&format!("host-{n}"), Uuid::nil(), Duration::ZERO, &slots).await);
        }
        assert!(hosts.gates.lock().len() <= REMEMBERED + 1);
        assert!(hosts.gates.lock().contains_key("held"));
        drop(held);
    }
}
