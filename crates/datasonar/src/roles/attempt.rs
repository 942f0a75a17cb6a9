//! One attempt at a delivery that is held: wait for the endpoint's gate, send, learn, record.
//!
//! An attempt is recorded after the answer: dying in between makes the same attempt again, with the same id and bytes,
//! which is what the receiver's de-duplication is for; recording it before could lose one. The slot is given back before
//! the record is written: an endpoint need not wait for our disk.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use datasonar_store::{ClaimedDelivery, DeliveryStatus, Store, StoreError, Trigger, Verdict};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::health::{Health, steady};
use crate::{
    clock::{Clock, Ids},
    webhook::{
        lanes::{Ended, Lanes, PER_ENDPOINT, SLOW_AFTER, Ticket},
        retry::{History, RetryPolicy},
        send::{SendError, Sender, Sent},
    },
};

/// When a delivery that could not be attempted for a failure of ours is tried again.
const OWN_FAILURE_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// A failure that took longer is one of time.
const HUNG_AFTER: Duration = Duration::from_secs(5);

/// Lets [`PER_ENDPOINT`] attempts at one endpoint be under way at once. A gate that is closed turns back those who wait for it.
#[derive(Clone, Default)]
pub(super) struct Gates(Arc<Mutex<HashMap<String, Weak<Semaphore>>>>);

impl Gates {
    /// Returns the gate of an endpoint, by its key: the same one as long as anybody holds it.
    pub(super) fn of(&self, endpoint: &str) -> Arc<Semaphore> {
        let mut gates = self.0.lock();
        if let Some(gate) = gates.get(endpoint).and_then(Weak::upgrade).filter(|gate| !gate.is_closed()) {
            return gate;
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(Semaphore::new(PER_ENDPOINT as usize));
        gates.insert(endpoint.to_owned(), Arc::downgrade(&gate));
        gate
    }
}

/// How long a lease can be relied upon, by this process's own reckoning of time: no longer than since its last renewal was
/// asked for, whatever becomes of the store meanwhile.
#[derive(Clone)]
pub(super) struct Hold(Arc<Mutex<Instant>>);

impl Hold {
    pub(super) fn new(until: Instant) -> Self {
        Self(Arc::new(Mutex::new(until)))
    }

    /// The lease was renewed.
    pub(super) fn extend(&self, until: Instant) {
        *self.0.lock() = until;
    }

    /// Waits until the lease cannot be relied upon any more.
    async fn ended(&self) {
        loop {
            let until = *self.0.lock();
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// What attempts are made with.
pub(super) struct Maker {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Ids,
    pub(super) health: Health,
    pub(super) sender: Sender,
    pub(super) policy: RetryPolicy,
}

/// A slot of the lanes, given back when it is dropped.
pub(super) struct Slot {
    pub(super) lanes: Arc<Mutex<Lanes>>,
    /// Rung when somebody else may have it.
    pub(super) freed: Arc<Notify>,
    pub(super) ticket: Option<Ticket>,
}

impl Slot {
    /// Tells whether those who wait for the gate should be turned back.
    fn slow(&mut self) -> bool {
        let Some(ticket) = &mut self.ticket else { return false };
        let turns_back = self.lanes.lock().slow(ticket);
        self.freed.notify_one();
        turns_back
    }

    fn end(&mut self, ended: Ended) {
        if let Some(ticket) = self.ticket.take() {
            self.lanes.lock().end(ticket, ended);
            self.freed.notify_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.end(Ended::NotMade);
    }
}

/// A delivery that is held, from its claim to its record.
pub(super) struct OpenAttempt {
    pub(super) maker: Arc<Maker>,
    pub(super) gate: Arc<Semaphore>,
    pub(super) slot: Slot,
    /// The dispatcher is to stop: what has not begun is given back.
    pub(super) stop: CancellationToken,
    /// Another may claim it when this has ended.
    pub(super) hold: Hold,
    pub(super) claimed: ClaimedDelivery,
}

impl OpenAttempt {
    pub(super) async fn run(self) {
        let Self { maker, gate, mut slot, stop, hold, claimed } = self;
        let turn = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            () = hold.ended() => None,
            turn = gate.acquire() => turn.ok(),
        };
        let Some(turn) = turn else {
            return maker.give_back(&claimed).await;
        };
        let begin = Instant::now();
        let send = maker.sender.send(&claimed);
        tokio::pin!(send);
        let send = async {
            match tokio::time::timeout(SLOW_AFTER, &mut send).await {
                Ok(sent) => sent,
                Err(_) => {
                    if slot.slow() {
                        gate.close();
                    }
                    send.await
                }
            }
        };
        let sent = tokio::select! {
            biased;
            sent = send => sent,
            () = hold.ended() => {
                let delivery = claimed.delivery.id;
                tracing::warn!(%delivery, "the lease could not be renewed; the attempt was broken off, and will be made again");
                return;
            }
        };
        drop(turn);
        match sent {
            Err(error) => maker.defer(&claimed, &error).await,
            Ok(sent) => {
                slot.end(match (&sent.attempt.error, sent.attempt.response_status) {
                    (_, Some(_)) => Ended::Answered,
                    (Some(_), None) if begin.elapsed() > HUNG_AFTER => Ended::Hung,
                    _ => Ended::Failed,
                });
                maker.record(&claimed, sent).await;
            }
        }
    }
}

impl Maker {
    async fn record(&self, claimed: &ClaimedDelivery, sent: Sent) {
        let delivery = &claimed.delivery;
        let now = self.clock.now();
        let verdict = self.verdict(claimed, &sent, now);
        let error = sent.attempt.error.as_ref().map(|error| error.code.as_str());
        metrics::counter!("datasonar_attempts_total", "outcome" => error.unwrap_or("delivered").to_owned())
            .increment(1);
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
        let recorded = steady(&self.health, "dispatcher", || {
            self.store.finish_attempt(claimed.lease, sent.attempt.clone(), verdict, now)
        });
        match recorded.await {
            Ok(()) => {}
            Err(StoreError::LeaseLost) => {
                tracing::warn!(delivery = %delivery.id, "the lease was lost before the attempt was recorded");
            }
            Err(error) => tracing::error!(delivery = %delivery.id, %error, "the attempt could not be recorded"),
        }
    }

    /// What follows from an attempt. One of a person's asking leaves the schedule as it was, unless it delivered.
    fn verdict(&self, claimed: &ClaimedDelivery, sent: &Sent, now: Timestamp) -> Verdict {
        let delivery = &claimed.delivery;
        let automatic = u32::from(sent.attempt.trigger == Trigger::Automatic);
        let history = History {
            automatic_attempts: delivery.automatic_attempts + automatic,
            first_attempt_at: delivery.first_attempt_at.unwrap_or(sent.attempt.started_at),
            status: delivery.status,
            schedule_ended: delivery.schedule_ended,
        };
        self.policy.next(history, sent.outcome, now, self.ids.fraction())
    }

    /// Puts off a delivery that could not be attempted for a failure of ours.
    async fn defer(&self, claimed: &ClaimedDelivery, error: &SendError) {
        tracing::error!(delivery = %claimed.delivery.id, job = %claimed.job.id, %error, "no attempt could be made");
        self.release(claimed, self.clock.now() + OWN_FAILURE_PAUSE).await;
    }

    /// Gives back what was not begun.
    async fn give_back(&self, claimed: &ClaimedDelivery) {
        self.release(claimed, claimed.delivery.next_attempt_at.unwrap_or_else(|| self.clock.now())).await;
    }

    async fn release(&self, claimed: &ClaimedDelivery, next_attempt_at: Timestamp) {
        let delivery = claimed.lease.delivery;
        if let Err(error) = self.store.release_delivery(claimed.lease, next_attempt_at).await {
            tracing::warn!(%delivery, %error, "the lease could not be given back; it will expire");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_relied_upon_until_its_last_renewal_has_run_out() {
        let begin = Instant::now();
        let hold = Hold::new(begin + Duration::from_secs(50));
        let ended = tokio::spawn({
            let hold = hold.clone();
            async move {
                hold.ended().await;
                begin.elapsed()
            }
        });
        tokio::time::sleep(Duration::from_secs(20)).await;
        hold.extend(Instant::now() + Duration::from_secs(50));
        assert_eq!(ended.await.unwrap().as_secs(), 70);
        hold.ended().await;
        assert_eq!(begin.elapsed().as_secs(), 70, "what has ended stays so");
    }
}
