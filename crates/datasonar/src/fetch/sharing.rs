//! Politeness over several processes: what this one may do with a host is granted by whoever shares hosts out.
//!
//! **Role.** [`Hosts`] counts in memory, as it does where there is one process alone; this loop asks for how much it may count to, and for
//! the moments at which requests to a host that wants gaps may begin. Hosts that nobody here asks for cost nothing.
//!
//! **Protocol.** A host's first request waits for a grant. A grant holds for a while and is asked for again meanwhile; when that cannot be
//! done in time, no request begins until it can, since others may be granted the same by then. What a process has too much of when others
//! come, it gives up as its requests end.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::hosts::{Gate, Hosts};

/// How long a grant holds, and when it is asked for again.
pub const LEASE: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(4);
/// How long whoever has more than half of a host keeps it before it looks whether others have come.
const YIELD: Duration = Duration::from_millis(400);
/// From then on a grant that could not be renewed is not used any more: what was begun before may still be on its way.
const DOUBTFUL: Duration = Duration::from_secs(10);
/// How long what has less than it wants waits before it asks again.
const INSIST: Duration = Duration::from_millis(150);
/// How long asks gather.
const GATHER: Duration = Duration::from_millis(3);
/// How many hosts are asked for at once.
const AT_ONCE: usize = 500;
/// For how long moments to begin are asked for in advance.
const AHEAD: Duration = Duration::from_secs(2);

/// What this process needs of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Its name.
    pub host: String,
    /// Requests that are open.
    pub in_use: usize,
    /// Requests that are open or wait.
    pub wants: usize,
    /// For how many a moment to begin is needed.
    pub starts: u32,
    /// The least time between these moments.
    pub gap: Duration,
    /// For how long the host asked to be left alone.
    pub rest: Duration,
}

/// What this process may do with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How many requests may be open.
    pub permits: usize,
    /// How long until the first of the moments asked for.
    pub first_start: Duration,
    /// Whether nobody may begin without being given a moment.
    pub is_paced: bool,
}

/// Shares hosts out among processes.
#[async_trait]
pub trait Shares: Send + Sync + 'static {
    /// Answers each ask with a grant that holds for [`LEASE`]; `None` when nobody can be asked now.
    async fn share(&self, asks: Vec<Ask>) -> Option<Vec<Grant>>;
}

/// What is shared, and who does it.
pub(super) struct Sharing {
    pub(super) shares: Arc<dyn Shares>,
    /// Rung when something is to be asked for.
    pub(super) bell: Notify,
}

impl std::fmt::Debug for Sharing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sharing").finish_non_exhaustive()
    }
}

/// What of a host was asked for and granted.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// When it was asked for last, and for how many requests; `None` when nothing is held of it.
    asked: Option<(Instant, usize)>,
    permits: usize,
    /// Moments to begin that were given and not used: the next, how many, how far apart.
    next: Option<Instant>,
    left: u32,
    gap: Duration,
    is_paced: bool,
    /// Moments that are needed, and how far apart.
    wanted: u32,
    wanted_gap: Duration,
    /// For how long the host asked to be left alone, if nobody was told yet.
    rest: Duration,
}

impl Claim {
    /// Takes the next moment to begin, if one is given that keeps the gap; otherwise it is wanted.
    fn take(&mut self, gap: Duration) -> Option<Instant> {
        let next = self.next.filter(|_| self.left > 0 && self.gap >= gap);
        match next {
            Some(next) => {
                self.left -= 1;
                self.next = Some(next + self.gap);
            }
            None => {
                self.left = 0;
                self.wanted += 1;
                self.wanted_gap = self.wanted_gap.max(gap);
            }
        }
        next
    }

    /// What is to be asked for now, if anything.
    fn ask(&mut self, host: &str, given: usize, waiting: usize, concurrency: usize, now: Instant) -> Option<Ask> {
        let wants = (given + waiting).min(concurrency);
        let since = self.asked.map(|(at, _)| now.duration_since(at));
        let is_short = waiting > 0 && self.permits < wants;
        let has_settled = self.asked.is_some_and(|(_, in_use)| in_use > self.permits && given <= self.permits);
        let is_idle = given == 0 && waiting == 0;
        let is_due = self.wanted > 0
            || !self.rest.is_zero()
            || has_settled
            || match since {
                None => is_short,
                Some(since) => {
                    let has_most = self.permits * 2 > concurrency;
                    (is_short && since >= INSIST) || since >= if has_most { YIELD } else { RENEW }
                }
            };
        if !is_due {
            return None;
        }
        if is_idle && self.wanted == 0 && self.rest.is_zero() && self.permits * 2 <= concurrency {
            // Others hardly miss it: it runs out by itself.
            self.asked = None;
            self.permits = 0;
            return None;
        }
        let ahead = if self.wanted_gap.is_zero() { u128::MAX } else { AHEAD.as_nanos() / self.wanted_gap.as_nanos() };
        let starts = u128::from(self.wanted).min(ahead.max(1));
        self.asked = Some((now, given));
        Some(Ask {
            host: host.to_owned(),
            in_use: given,
            wants,
            starts: u32::try_from(starts).unwrap_or(u32::MAX),
            gap: self.wanted_gap,
            rest: std::mem::take(&mut self.rest),
        })
    }

    fn grant(&mut self, ask: &Ask, grant: Grant, now: Instant) {
        self.permits = grant.permits;
        self.is_paced = grant.is_paced;
        if ask.starts > 0 {
            (self.next, self.left, self.gap) = (Some(now + grant.first_start), ask.starts, ask.gap);
            (self.wanted, self.wanted_gap) = (0, Duration::ZERO);
        }
        if ask.wants == 0 {
            self.asked = None;
        }
    }
}

impl Gate {
    /// Waits for the moment at which a request may begin that keeps a gap to the next.
    pub(super) async fn start(&self, gap: Duration, sharing: &Sharing) {
        loop {
            let granted = self.granted.notified();
            let mut granted = std::pin::pin!(granted);
            granted.as_mut().enable();
            let next = {
                let mut claim = self.claim.lock();
                if gap.is_zero() && !claim.is_paced {
                    return;
                }
                claim.take(gap)
            };
            match next {
                Some(next) => return tokio::time::sleep_until(next).await,
                None => {
                    sharing.bell.notify_one();
                    granted.await;
                }
            }
        }
    }

    /// Has the others learn that the host asked to be left alone.
    pub(super) fn rest(&self, rest: Duration, sharing: &Sharing) {
        let mut claim = self.claim.lock();
        claim.rest = claim.rest.max(rest);
        sharing.bell.notify_one();
    }
}

impl Hosts {
    /// Asks for what this process needs of hosts, until dropped. Where hosts are not shared there is nothing to do.
    pub async fn keep_sharing(&self) {
        let Some(sharing) = &self.sharing else { return };
        let mut answered = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = sharing.bell.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(INSIST) => {}
            }
            let asks = self.asks(Instant::now());
            for asks in asks.chunks(AT_ONCE) {
                let asked = Instant::now();
                let plain = asks.iter().map(|(_, ask)| ask.clone()).collect();
                match sharing.shares.share(plain).await {
                    Some(grants) => {
                        answered = asked;
                        for ((gate, ask), grant) in asks.iter().zip(grants) {
                            gate.claim.lock().grant(ask, grant, Instant::now());
                            gate.permits.resize(grant.permits);
                            gate.granted.notify_waiters();
                        }
                    }
                    None => tracing::debug!("hosts cannot be shared for now"),
                }
            }
            if asks.is_empty() {
                // Nothing had to be asked.
                answered = answered.max(Instant::now() - RENEW);
            } else if answered.elapsed() > DOUBTFUL {
                self.gates.lock().values().for_each(|gate| gate.permits.resize(0));
            }
        }
    }

    fn asks(&self, now: Instant) -> Vec<(Arc<Gate>, Ask)> {
        let gates = self.gates.lock();
        let ask = |(host, gate): (&String, &Arc<Gate>)| {
            let (given, waiting) = gate.permits.counts();
            let mut claim = gate.claim.lock();
            let ask = claim.ask(host, given, waiting, self.concurrency, now);
            if claim.asked.is_none() {
                gate.permits.resize(0);
            }
            ask.map(|ask| (Arc::clone(gate), ask))
        };
        gates.iter().filter_map(ask).collect()
    }
}

/// The claim of a gate.
pub(super) type Claims = Mutex<Claim>;
