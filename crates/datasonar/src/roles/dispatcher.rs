//! The dispatcher: claims deliveries that are due, has an attempt made at each, and renews their leases meanwhile.
//!
//! Which endpoints get an attempt is decided by [`Lanes`], so that none waits for another; what an attempt is, is
//! [`super::attempt`]'s. Leases are renewed for as long as an attempt is under way, so that no other makes one at the same
//! time however long it takes. Where they cannot be renewed, because the store is out of reach, the attempt is broken off
//! before another may claim its delivery.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use datasonar_store::{ClaimDeliveries, ClaimedDelivery, DeliveryLease, ProcessId, Store};
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    DRAIN,
    attempt::{Gates, Hold, Maker, OpenAttempt, Slot},
    health::{Health, steady},
};
use crate::{
    clock::{Clock, Ids},
    wake::Wake,
    webhook::{
        lanes::{Lanes, Place, Slots},
        retry::RetryPolicy,
        send::Sender,
    },
};

/// How long a lease holds without renewal, and how often it is renewed.
pub(super) const LEASE: Duration = Duration::from_secs(60);
const RENEW: Duration = Duration::from_secs(20);
/// For how long after asking for it a lease is relied upon. What is left of it is for clocks that differ.
const RELY: Duration = Duration::from_secs(50);
/// The longest wait before the store is asked again.
const POLL: Duration = Duration::from_secs(1);
/// How many endpoints of one account and environment a claim examines in each lane, from each of two positions.
const ENDPOINTS_AT_ONCE: u32 = 2_000;

/// What a dispatcher is made of.
#[derive(Clone)]
pub struct DispatcherParts {
    /// This process.
    pub owner: ProcessId,
    /// The rows.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance, for the jitter.
    pub ids: Ids,
    /// Rung when a delivery may be due.
    pub wake: Wake,
    /// Where failures of the store are told.
    pub health: Health,
    /// Makes attempts.
    pub sender: Sender,
    /// When to try again.
    pub policy: RetryPolicy,
    /// How many attempts may be under way.
    pub slots: Slots,
}

/// The dispatcher.
pub struct Dispatcher {
    parts: DispatcherParts,
    maker: Arc<Maker>,
    lanes: Arc<Mutex<Lanes>>,
    gates: Gates,
    /// Counts claims, so that each examines other endpoints of a tenant that has very many.
    turn: AtomicU32,
    /// Rung when a slot was given back.
    freed: Arc<Notify>,
    /// The deliveries that are held, and how to break their attempts off.
    open: Arc<Mutex<BTreeMap<DeliveryLease, Held>>>,
}

/// A delivery that is held, as the heartbeat sees it.
struct Held {
    /// Breaks the attempt off: another has the lease.
    lost: CancellationToken,
    /// Until when no other can have it.
    hold: Hold,
}

impl Dispatcher {
    /// Puts a dispatcher together.
    pub fn new(parts: DispatcherParts) -> Self {
        let maker = Maker {
            store: parts.store.clone(),
            clock: parts.clock.clone(),
            ids: parts.ids.clone(),
            health: parts.health.clone(),
            sender: parts.sender.clone(),
            policy: parts.policy.clone(),
        };
        let lanes = Arc::new(Mutex::new(Lanes::new(parts.slots)));
        Self {
            parts,
            maker: Arc::new(maker),
            lanes,
            gates: Gates::default(),
            turn: AtomicU32::default(),
            freed: Arc::default(),
            open: Arc::default(),
        }
    }

    /// Dispatches until told to stop, then lets attempts under way finish for a while. One that does not is made again
    /// when its lease has expired.
    pub async fn run(self, stop: CancellationToken) {
        let mut attempts = JoinSet::new();
        let heart = CancellationToken::new();
        let beat = self.heartbeat(heart.clone());
        let work = async {
            while !stop.is_cancelled() {
                let has_room = self.claim(&mut attempts, &stop).await;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = self.freed.notified() => {}
                    () = self.parts.wake.deliveries().notified() => {}
                    () = self.next_due(has_room) => {}
                }
                while attempts.try_join_next().is_some() {}
            }
            let done = async { while attempts.join_next().await.is_some() {} };
            if tokio::time::timeout(DRAIN, done).await.is_err() {
                tracing::info!(
                    attempts = attempts.len(),
                    "attempts under way were broken off; they will be made again"
                );
                attempts.shutdown().await;
            }
            heart.cancel();
        };
        tokio::join!(beat, work);
    }

    /// Claims what there are slots for. Tells whether all that is due was claimed.
    async fn claim(&self, attempts: &mut JoinSet<()>, stop: &CancellationToken) -> bool {
        let parts = &self.parts;
        let claimed = steady(&parts.health, "dispatcher", || async {
            // Of each try: a lease that counts from before a long outage has run out when it is given.
            let (now, until) = (parts.clock.now(), Instant::now() + RELY);
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let due = parts.store.due_endpoints(now, ENDPOINTS_AT_ONCE, turn).await?;
            let shares = self.lanes.lock().plan(&due);
            if shares.is_empty() {
                return Ok((due.is_empty(), Vec::new(), until));
            }
            let claim = ClaimDeliveries { owner: parts.owner, shares, now, lease: LEASE };
            Ok((false, parts.store.claim_deliveries(claim).await?, until))
        });
        match claimed.await {
            Ok((is_all, claimed, until)) => {
                for delivery in claimed {
                    self.open(delivery, Hold::new(until), attempts, stop);
                }
                is_all
            }
            Err(error) => {
                tracing::error!(%error, "deliveries could not be claimed");
                parts.health.fail("dispatcher", "deliveries cannot be claimed");
                false
            }
        }
    }

    fn open(&self, claimed: ClaimedDelivery, hold: Hold, attempts: &mut JoinSet<()>, stop: &CancellationToken) {
        let lease = claimed.lease;
        let delivery = &claimed.delivery;
        let ticket =
            self.lanes.lock().begin(&delivery.endpoint, Place::new(delivery.scope, &delivery.host), delivery.lane);
        let lost = CancellationToken::new();
        self.open.lock().insert(lease, Held { lost: lost.clone(), hold: hold.clone() });
        let attempt = OpenAttempt {
            maker: self.maker.clone(),
            gate: self.gates.of(&delivery.endpoint),
            slot: Slot { lanes: self.lanes.clone(), freed: self.freed.clone(), ticket: Some(ticket) },
            stop: stop.clone(),
            hold,
            claimed,
        };
        let open = self.open.clone();
        attempts.spawn(async move {
            if lost.run_until_cancelled(attempt.run()).await.is_none() {
                tracing::warn!(delivery = %lease.delivery, "the lease was lost; the attempt was broken off");
            }
            open.lock().remove(&lease);
        });
    }

    /// Renews the leases of all that is held.
    async fn heartbeat(&self, stop: CancellationToken) {
        let parts = &self.parts;
        while stop.run_until_cancelled(tokio::time::sleep(RENEW)).await.is_some() {
            let leases: Vec<DeliveryLease> = self.open.lock().keys().copied().collect();
            if leases.is_empty() {
                continue;
            }
            let renewed = steady(&parts.health, "dispatcher", || async {
                let until = Instant::now() + RELY;
                Ok((parts.store.renew_deliveries(leases.clone(), parts.clock.now(), LEASE).await?, until))
            });
            match renewed.await {
                Ok((renewed, until)) => {
                    let open = self.open.lock();
                    for (lease, is_renewed) in leases.iter().zip(renewed) {
                        match open.get(lease) {
                            Some(held) if is_renewed => held.hold.extend(until),
                            Some(held) => held.lost.cancel(),
                            // It was recorded in the meantime, and its lease is rightly lost.
                            None => {}
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "leases could not be renewed"),
            }
        }
    }

    /// Waits until the next delivery is due, and no longer than a poll. Without room for what is due already, only a slot
    /// that is given back can change anything, and that is another's to wait for.
    async fn next_due(&self, has_room: bool) {
        let due = async {
            if has_room && let Ok(Some(due)) = self.parts.store.next_delivery_at().await {
                return self.parts.clock.sleep_until(due).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep(POLL) => {}
            () = due => {}
        }
    }
}
