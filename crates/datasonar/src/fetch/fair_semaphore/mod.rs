//! A semaphore that shares its permits fairly among tenants, and within a tenant among its jobs.
//!
//! **Role.** Everything that a process has a limited number of (fetch slots, places in browsers, requests to one host, turns
//! at a processor, bytes of memory) is counted by one of these. A tenant is an account and environment.
//!
//! **Protocol.** [`FairSemaphore::acquire`] waits for an amount of permits; dropping the [`Permit`] returns them. A holder
//! whose work can be interrupted awaits [`Permit::preempted`] beside its work, and drops the permit when it resolves. It
//! resolves only while a tenant below its fair share waits, for holders of the tenant that is furthest above its own, those
//! first whose work has made no progress for the longest time, and never within [`MIN_HOLD`] of being granted. Where there
//! are more tenants than permits, tenants take turns: a permit is then kept for at least the time that was asked for with
//! [`FairSemaphore::acquire_with`].
//!
//! **Not its job.** It does not interrupt work by itself, and what does not await `preempted` is never asked to yield. It
//! knows one process; sharing among processes is that of [`super::sharing`].

mod queue;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use datasonar_store::Scope;
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use queue::{Granted, MIN_HOLD, Place, Queue};

/// The tenant and job on whose behalf something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requester {
    /// The account and environment.
    pub tenant: Scope,
    /// The job; an id of its own for a call that is waited for.
    pub job: Uuid,
}

/// How a request for permits is treated beside others. The default is that of work that has not begun.
#[derive(Clone, Copy, Debug, Default)]
pub struct Priority {
    /// Whether its work was begun before: it then comes before the job's other requests.
    pub resumes: bool,
    /// How long the permit is left alone while its tenant holds no more than its fair share; [`MIN_HOLD`] at least.
    pub hold: Duration,
}

/// A number of permits, shared fairly. Cloning is cheap, and the clones share the permits.
#[derive(Clone)]
pub struct FairSemaphore(Arc<Mutex<Queue<oneshot::Sender<Permit>>>>);

/// Permits that were granted. Dropping it returns them.
pub struct Permit {
    semaphore: FairSemaphore,
    requester: Requester,
    id: u64,
    since: Instant,
    hold: Duration,
    /// Whether dropping it returns something.
    is_live: bool,
}

/// A request in the queue, which leaves it when dropped.
struct Waiting<'a> {
    semaphore: &'a FairSemaphore,
    requester: Requester,
    place: Place,
}

/// An offer to yield, withdrawn when dropped unless it was taken up.
struct Offer<'a> {
    permit: &'a Permit,
    is_taken: bool,
}

impl FairSemaphore {
    /// Creates a semaphore with a number of permits.
    pub fn new(permits: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue::new(permits as u64))))
    }

    /// Waits for `amount` permits, at least one. An amount beyond all permits is granted when nothing else is held.
    /// Dropping the future gives up waiting and loses nothing.
    pub async fn acquire(&self, requester: Requester, amount: u64) -> Permit {
        self.acquire_with(requester, amount, Priority::default()).await
    }

    /// Does the same with a priority.
    pub async fn acquire_with(&self, requester: Requester, amount: u64, priority: Priority) -> Permit {
        let (sender, permit) = oneshot::channel();
        let place = self.0.lock().wait(requester, amount, priority, sender);
        // Declared after the receiver, so that a request leaves the queue before nobody listens any more.
        let waiting = Waiting { semaphore: self, requester, place };
        self.pass_on();
        let permit = permit.await.expect("a request is granted or waits in the queue, which `self` keeps alive");
        drop(waiting);
        permit
    }

    /// Changes the number of permits. Those that are held stay so; while they are more, none is granted.
    pub fn resize(&self, permits: usize) {
        self.0.lock().resize(permits as u64);
        self.pass_on();
    }

    /// Returns the amount that is held and the number of requests that wait.
    pub fn counts(&self) -> (usize, usize) {
        let (held, waiting) = self.0.lock().counts();
        (usize::try_from(held).unwrap_or(usize::MAX), waiting)
    }

    /// Tells whether nobody holds or awaits a permit.
    pub fn is_idle(&self) -> bool {
        self.counts() == (0, 0)
    }

    /// Grants what is free, then asks back what is missing.
    fn pass_on(&self) {
        let now = Instant::now();
        loop {
            let granted = self.0.lock().grant(now);
            let Some(Granted { requester, id, hold, payload }) = granted else { break };
            let permit = Permit { semaphore: self.clone(), requester, id, since: now, hold, is_live: true };
            if let Err(mut permit) = payload.send(permit) {
                // The request was given up at this very moment.
                permit.is_live = false;
                self.0.lock().release(requester, id);
            }
        }
        self.0.lock().review(now);
    }
}

impl Permit {
    /// Waits until the permit is to be returned so that a tenant below its fair share can go on; the holder is to drop it
    /// then. It is left alone as long as this is not awaited.
    pub async fn preempted(&self) {
        self.yielded(false).await;
    }

    /// Does the same for a holder whose work has not begun: it loses nothing, and is asked first and at once.
    pub async fn wanted(&self) {
        self.yielded(true).await;
    }

    async fn yielded(&self, is_idle: bool) {
        let token = {
            let mut queue = self.semaphore.0.lock();
            let token = queue.offer(self.requester, self.id, is_idle);
            queue.review(Instant::now());
            token
        };
        let mut offer = Offer { permit: self, is_taken: false };
        for hold in [MIN_HOLD, self.hold] {
            let due = tokio::time::sleep_until(self.since + hold);
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                () = due => {}
            }
            // Somebody may have waited for this permit to come of age.
            self.semaphore.0.lock().review(Instant::now());
        }
        token.cancelled().await;
        offer.is_taken = true;
    }

    /// Returns all but `amount` of the permits; all of them are returned when this is dropped.
    pub fn shrink(&self, amount: u64) {
        self.semaphore.0.lock().shrink(self.requester, self.id, amount);
        self.semaphore.pass_on();
    }

    /// Returns a function that notes progress of the work that the permit is held for.
    pub fn progress(&self) -> impl Fn() + Send + Sync + 'static + use<> {
        let (semaphore, requester, id) = (self.semaphore.clone(), self.requester, self.id);
        move || semaphore.0.lock().progress(requester, id, Instant::now())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_live {
            self.semaphore.0.lock().release(self.requester, self.id);
            self.semaphore.pass_on();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut queue = self.semaphore.0.lock();
        queue.cancel(self.requester, self.place);
    }
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        if !self.is_taken {
            let mut queue = self.permit.semaphore.0.lock();
            queue.settle(self.permit.requester, self.permit.id);
            queue.review(Instant::now());
        }
    }
}

impl fmt::Debug for FairSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairSemaphore").finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("requester", &self.requester).finish_non_exhaustive()
    }
}
