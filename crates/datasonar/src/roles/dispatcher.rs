//! The dispatcher: claims deliveries that are due, makes an attempt at each, records it.
//!
//! The lease is renewed while an attempt is under way, so that no other makes one at the same time however long it takes.
//! An attempt is recorded after the answer: dying in between makes the same attempt again, with the same id and bytes,
//! which is what the receiver's de-duplication is for; recording it before could lose one.

use std::{sync::Arc, time::Duration};

use datasonar_store::{ClaimDeliveries, ClaimedDelivery, DeliveryStatus, DueHost, ProcessId, Share, Store, StoreError};
use jiff::SignedDuration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    DRAIN,
    health::{Health, steady},
};
use crate::{
    clock::{Clock, Ids},
    wake::Wake,
    webhook::{
        retry::{History, RetryPolicy},
        send::{SendError, Sender, Sent},
    },
};

/// How long a lease holds without renewal, and how often it is renewed.
const LEASE: Duration = Duration::from_secs(60);
const RENEW: Duration = Duration::from_secs(20);
/// The longest wait before the store is asked again.
const POLL: Duration = Duration::from_secs(1);
/// How many attempts are under way at once.
const CONCURRENCY: usize = 64;
/// When a delivery that could not be attempted for a failure of ours is tried again.
const OWN_FAILURE_PAUSE: SignedDuration = SignedDuration::from_secs(60);

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
}

/// The dispatcher.
pub struct Dispatcher(DispatcherParts);

impl Dispatcher {
    /// Puts a dispatcher together.
    pub fn new(parts: DispatcherParts) -> Self {
        Self(parts)
    }

    /// Dispatches until told to stop, then lets attempts under way finish for a while. One that does not is made again
    /// when its lease has expired.
    pub async fn run(self, stop: CancellationToken) {
        let parts = &self.0;
        let mut attempts = JoinSet::new();
        while !stop.is_cancelled() {
            self.claim(&mut attempts).await;
            let due = self.next_due();
            tokio::select! {
                () = stop.cancelled() => {}
                _ = attempts.join_next(), if !attempts.is_empty() => {}
                () = parts.wake.deliveries().notified() => {}
                () = due => {}
            }
            while attempts.try_join_next().is_some() {}
        }
        let done = async { while attempts.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, done).await.is_err() {
            tracing::info!(attempts = attempts.len(), "attempts under way were broken off; they will be made again");
            attempts.shutdown().await;
        }
    }

    async fn claim(&self, attempts: &mut JoinSet<()>) {
        let parts = &self.0;
        let room = CONCURRENCY - attempts.len().min(CONCURRENCY);
        if room == 0 {
            return;
        }
        let limit = u32::try_from(room).unwrap_or(1);
        let now = parts.clock.now();
        let claimed = async {
            let hosts = steady(&parts.health, "dispatcher", || parts.store.due_hosts(now, limit)).await?;
            if hosts.is_empty() {
                return Ok(Vec::new());
            }
            let each = limit / u32::try_from(hosts.len().min(room)).unwrap_or(limit);
            let share = |due: DueHost| Share { host: due.host, lane: due.lane, limit: each };
            let shares = hosts.into_iter().take(room).map(share).collect();
            let claim = ClaimDeliveries { owner: parts.owner, shares, now, lease: LEASE };
            steady(&parts.health, "dispatcher", || parts.store.claim_deliveries(claim.clone())).await
        };
        match claimed.await {
            Ok(claimed) => {
                for delivery in claimed {
                    attempts.spawn(attempt(parts.clone(), delivery));
                }
            }
            Err(error) => {
                tracing::error!(%error, "deliveries could not be claimed");
                parts.health.fail("dispatcher", "deliveries cannot be claimed");
            }
        }
    }

    /// Waits until the next delivery is due, and no longer than a poll.
    async fn next_due(&self) {
        let poll = tokio::time::sleep(POLL);
        let due = async {
            match self.0.store.next_delivery_at().await {
                Ok(Some(due)) if due > self.0.clock.now() => self.0.clock.sleep_until(due).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = poll => {}
            () = due => {}
        }
    }
}

/// Makes an attempt while holding on to its lease, and records it.
async fn attempt(parts: DispatcherParts, claimed: ClaimedDelivery) {
    let lease = claimed.lease;
    let renew = async {
        loop {
            tokio::time::sleep(RENEW).await;
            let renewed = steady(&parts.health, "dispatcher", || {
                parts.store.renew_deliveries(vec![lease], parts.clock.now(), LEASE)
            });
            if !matches!(renewed.await.as_deref(), Ok([true])) {
                return;
            }
        }
    };
    let sent = tokio::select! {
        sent = parts.sender.send(&claimed) => sent,
        () = renew => {
            tracing::warn!(delivery = %lease.delivery, "the lease was lost; the attempt was broken off");
            return;
        }
    };
    match sent {
        Ok(sent) => record(&parts, &claimed, sent).await,
        Err(error) => defer(&parts, &claimed, &error).await,
    }
}

async fn record(parts: &DispatcherParts, claimed: &ClaimedDelivery, sent: Sent) {
    let delivery = &claimed.delivery;
    let now = parts.clock.now();
    let automatic = u32::from(sent.attempt.trigger == datasonar_store::Trigger::Automatic);
    let history = History {
        automatic_attempts: delivery.automatic_attempts + automatic,
        first_attempt_at: delivery.first_attempt_at.unwrap_or(sent.attempt.started_at),
        status: delivery.status,
        schedule_ended: delivery.next_trigger != datasonar_store::Trigger::Automatic,
    };
    let verdict = parts.policy.next(history, sent.outcome, now, parts.ids.fraction());
    let error = sent.attempt.error.as_ref().map(|error| error.code.as_str());
    metrics::counter!("datasonar_attempts_total", "outcome" => error.unwrap_or("delivered").to_owned()).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "a histogram needs no exact milliseconds")]
    metrics::histogram!("datasonar_attempt_seconds").record(sent.attempt.timings.total_ms as f64 / 1_000.0);
    tracing::info!(
        delivery = %delivery.id,
        job = %delivery.job,
        attempt = sent.attempt.number,
        status = sent.attempt.response_status,
        error,
        total_ms = sent.attempt.timings.total_ms,
        delivered = verdict.status == DeliveryStatus::Delivered,
        "a delivery was attempted"
    );
    let recorded = steady(&parts.health, "dispatcher", || {
        parts.store.finish_attempt(claimed.lease, sent.attempt.clone(), verdict, now)
    });
    match recorded.await {
        Ok(()) => {}
        Err(StoreError::LeaseLost) => {
            tracing::warn!(delivery = %delivery.id, "the lease was lost before the attempt was recorded");
        }
        Err(error) => tracing::error!(delivery = %delivery.id, %error, "the attempt could not be recorded"),
    }
}

/// Puts off a delivery that could not be attempted for a failure of ours.
async fn defer(parts: &DispatcherParts, claimed: &ClaimedDelivery, error: &SendError) {
    let delivery = claimed.lease.delivery;
    tracing::error!(%delivery, job = %claimed.job.id, %error, "no attempt could be made");
    let later = parts.clock.now() + OWN_FAILURE_PAUSE;
    if let Err(error) = parts.store.release_delivery(claimed.lease, later).await {
        tracing::warn!(%delivery, %error, "the lease could not be given back; it will expire");
    }
}
