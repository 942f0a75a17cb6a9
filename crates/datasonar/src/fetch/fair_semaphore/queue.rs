//! The decisions of a fair semaphore: who gets a free permit, and who is asked to give one back.
//!
//! Permits go to the waiting tenant that holds the least, and within a tenant to the waiting job that holds the least. Of
//! equals, the one that was served longest ago comes first. A request that is next in line and does not fit holds back all
//! others, so that large amounts do not starve.
//!
//! A tenant's *fair share* is an equal part of all permits among the tenants that hold or await one; a job's is an equal
//! part of what its tenant holds or may hold. While somebody below its share waits and no permit is free, holders above
//! theirs are asked to yield.
//!
//! This module is pure: it knows the time only as an argument, and neither tasks nor wakers.

use std::{collections::BTreeMap, time::Duration};

use datasonar_store::Scope;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Priority, Requester};

/// A permit is asked back no sooner than this after it was granted.
pub(super) const MIN_HOLD: Duration = Duration::from_secs(1);

/// A request that was granted.
#[derive(Debug)]
pub(super) struct Granted<W> {
    pub(super) requester: Requester,
    pub(super) id: u64,
    pub(super) hold: Duration,
    pub(super) payload: W,
}

/// The state of a semaphore. `W` is what a waiting request is woken by.
#[derive(Debug)]
pub(super) struct Queue<W> {
    permits: u64,
    held: u64,
    waiting: usize,
    next_id: u64,
    /// Counts servings and arrivals: whoever has the smaller number is served before its equals.
    turn: u64,
    tenants: BTreeMap<Scope, Tenant<W>>,
}

#[derive(Debug)]
struct Tenant<W> {
    held: u64,
    /// The part of `held` that was asked back.
    asked: u64,
    waiting: usize,
    turn: u64,
    jobs: BTreeMap<Uuid, Job<W>>,
}

#[derive(Debug)]
struct Job<W> {
    held: u64,
    asked: u64,
    turn: u64,
    /// By place: work that resumes comes before work that has not begun.
    waiting: BTreeMap<Place, Waiter<W>>,
    holders: BTreeMap<u64, Holder>,
}

/// The place of a request in its job's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Whether its work has yet to begin.
    is_fresh: bool,
    pub(super) id: u64,
}

#[derive(Debug)]
struct Waiter<W> {
    amount: u64,
    hold: Duration,
    payload: W,
}

#[derive(Debug)]
struct Holder {
    amount: u64,
    since: Instant,
    /// How long it is left alone while its tenant is within its fair share.
    hold: Duration,
    progressed: Instant,
    /// Present while the holder is able to yield; cancelled when it is asked to.
    yields: Option<CancellationToken>,
    /// Whether yielding costs no work, so that it may be asked to at once.
    is_idle: bool,
    is_asked: bool,
}

/// Why holders are asked to yield.
#[derive(Clone, Copy)]
enum Reason {
    /// They have more than their share.
    AboveShare,
    /// It is another's turn.
    Turn,
}

impl Holder {
    fn may_be_asked(&self, now: Instant, reason: Reason) -> bool {
        let least = match reason {
            Reason::AboveShare if self.is_idle => Duration::ZERO,
            // Idle or not: tenants that took turns at once would do nothing else.
            Reason::Turn if !self.is_idle => self.hold,
            Reason::AboveShare | Reason::Turn => MIN_HOLD,
        };
        !self.is_asked && self.yields.is_some() && now.saturating_duration_since(self.since) >= least
    }

    /// The order in which holders are asked: those first whose work loses least.
    fn worth(&self) -> (bool, Instant) {
        (!self.is_idle, self.progressed)
    }
}

impl<W> Default for Tenant<W> {
    fn default() -> Self {
        Self { held: 0, asked: 0, waiting: 0, turn: 0, jobs: BTreeMap::new() }
    }
}

impl<W> Default for Job<W> {
    fn default() -> Self {
        Self { held: 0, asked: 0, turn: 0, waiting: BTreeMap::new(), holders: BTreeMap::new() }
    }
}

impl<W> Tenant<W> {
    /// What it holds without what it was asked to give back.
    fn keeps(&self) -> u64 {
        self.held - self.asked
    }
}

impl<W> Job<W> {
    fn keeps(&self) -> u64 {
        self.held - self.asked
    }

    /// The total of the first waiting requests that fit into `share` beside what it keeps; the first one in any case if
    /// it keeps nothing.
    fn demand(&self, share: u64) -> u64 {
        let mut demand = 0;
        for waiter in self.waiting.values() {
            let total = self.keeps() + demand;
            if total > 0 && total + waiter.amount > share {
                break;
            }
            demand += waiter.amount;
        }
        demand
    }
}

impl<W> Queue<W> {
    pub(super) fn new(permits: u64) -> Self {
        Self { permits, held: 0, waiting: 0, next_id: 0, turn: 0, tenants: BTreeMap::new() }
    }

    /// The amount that is held, and the number of requests that wait.
    pub(super) fn counts(&self) -> (u64, usize) {
        (self.held, self.waiting)
    }

    pub(super) fn resize(&mut self, permits: u64) {
        self.permits = permits;
    }

    /// Adds a request to the queue and returns its place. [`Self::grant`] is to be called next.
    pub(super) fn wait(&mut self, requester: Requester, amount: u64, priority: Priority, payload: W) -> Place {
        self.turn += 1;
        self.next_id += 1;
        self.waiting += 1;
        let tenant = self.tenants.entry(requester.tenant).or_default();
        if tenant.waiting == 0 {
            tenant.turn = self.turn;
        }
        tenant.waiting += 1;
        let job = tenant.jobs.entry(requester.job).or_default();
        if job.waiting.is_empty() {
            job.turn = self.turn;
        }
        let place = Place { is_fresh: !priority.resumes, id: self.next_id };
        let hold = priority.hold.max(MIN_HOLD);
        job.waiting.insert(place, Waiter { amount: amount.max(1), hold, payload });
        place
    }

    /// Takes a request out of the queue that is not waited for any more. One that was granted meanwhile is left as it is.
    pub(super) fn cancel(&mut self, requester: Requester, place: Place) {
        let Some(tenant) = self.tenants.get_mut(&requester.tenant) else { return };
        let Some(job) = tenant.jobs.get_mut(&requester.job) else { return };
        if job.waiting.remove(&place).is_some() {
            tenant.waiting -= 1;
            self.waiting -= 1;
            self.tidy(requester);
        }
    }

    /// Grants the next request, if there is one and it fits.
    pub(super) fn grant(&mut self, now: Instant) -> Option<Granted<W>> {
        let waits = self.tenants.iter_mut().filter(|(_, tenant)| tenant.waiting > 0);
        let (&scope, tenant) = waits.min_by_key(|(_, tenant)| (tenant.held, tenant.turn))?;
        let waits = tenant.jobs.iter_mut().filter(|(_, job)| !job.waiting.is_empty());
        let (&id_of_job, job) = waits.min_by_key(|(_, job)| (job.held, job.turn))?;
        let (&place, first) = job.waiting.first_key_value()?;
        // An amount beyond all permits is granted alone.
        let fits = self.held.saturating_add(first.amount) <= self.permits || (self.held == 0 && self.permits > 0);
        if !fits {
            return None;
        }
        let Waiter { amount, hold, payload } = job.waiting.remove(&place).expect("it is the first");
        self.turn += 1;
        (tenant.turn, job.turn) = (self.turn, self.turn);
        tenant.waiting -= 1;
        self.waiting -= 1;
        self.held += amount;
        tenant.held += amount;
        job.held += amount;
        let (progressed, yields, is_idle, is_asked) = (now, None, false, false);
        job.holders.insert(place.id, Holder { amount, since: now, hold, progressed, yields, is_idle, is_asked });
        let requester = Requester { tenant: scope, job: id_of_job };
        Some(Granted { requester, id: place.id, hold, payload })
    }

    /// Takes back what a holder holds.
    pub(super) fn release(&mut self, requester: Requester, id: u64) {
        self.settle(requester, id);
        let Some(tenant) = self.tenants.get_mut(&requester.tenant) else { return };
        let Some(job) = tenant.jobs.get_mut(&requester.job) else { return };
        let Some(holder) = job.holders.remove(&id) else { return };
        job.held -= holder.amount;
        tenant.held -= holder.amount;
        self.held -= holder.amount;
        self.tidy(requester);
    }

    /// Takes back all but `amount` of what a holder holds.
    pub(super) fn shrink(&mut self, requester: Requester, id: u64, amount: u64) {
        let Some(holder) = self.holder(requester, id) else { return };
        let spare = holder.amount.saturating_sub(amount);
        let asked = if holder.is_asked { spare } else { 0 };
        holder.amount -= spare;
        let tenant = self.tenants.get_mut(&requester.tenant).expect("it has a holder");
        let job = tenant.jobs.get_mut(&requester.job).expect("it has a holder");
        (job.held, job.asked) = (job.held - spare, job.asked - asked);
        (tenant.held, tenant.asked) = (tenant.held - spare, tenant.asked - asked);
        self.held -= spare;
    }

    /// Notes that a holder is able to yield from now on, and whether that costs no work. Returns what is cancelled when it is
    /// asked to.
    pub(super) fn offer(&mut self, requester: Requester, id: u64, is_idle: bool) -> CancellationToken {
        let token = CancellationToken::new();
        if let Some(holder) = self.holder(requester, id) {
            holder.yields = Some(token.clone());
            holder.is_idle = is_idle;
        }
        token
    }

    /// Notes that a holder is not able to yield any more. If it was asked to, somebody else will be.
    pub(super) fn settle(&mut self, requester: Requester, id: u64) {
        let Some(holder) = self.holder(requester, id) else { return };
        holder.yields = None;
        let (was_asked, amount) = (std::mem::take(&mut holder.is_asked), holder.amount);
        if was_asked {
            let tenant = self.tenants.get_mut(&requester.tenant).expect("it has a holder");
            tenant.asked -= amount;
            tenant.jobs.get_mut(&requester.job).expect("it has a holder").asked -= amount;
        }
    }

    /// Notes that a holder's work has come on.
    pub(super) fn progress(&mut self, requester: Requester, id: u64, now: Instant) {
        if let Some(holder) = self.holder(requester, id) {
            holder.progressed = now;
        }
    }

    /// Asks as many holders to yield as are needed for those that wait below their share.
    pub(super) fn review(&mut self, now: Instant) {
        if self.waiting == 0 || self.permits == 0 {
            return;
        }
        let asked: u64 = self.tenants.values().map(|tenant| tenant.asked).sum();
        let mut free = self.permits.saturating_sub(self.held - asked);
        let share = (self.permits / self.tenants.len() as u64).max(1);
        if self.tenants.len() > 1 {
            let (mut below, mut starving) = (0, 0);
            for tenant in self.tenants.values().filter(|tenant| tenant.waiting > 0) {
                let demand = tenant.demand(share);
                below += demand;
                starving += if tenant.keeps() == 0 { demand } else { 0 };
            }
            let missing = self.ask_above(below.saturating_sub(free), share, now);
            // There are more tenants than permits: they take turns.
            self.ask_anyone(missing.min(starving), now);
            free = free.saturating_sub(below);
        }
        // A tenant below its share gets more from others, and need not take from its own jobs.
        let is_due = |tenant: &Tenant<W>| tenant.waiting > 0 && tenant.jobs.len() > 1 && tenant.held >= share;
        for tenant in self.tenants.values_mut().filter(|tenant| is_due(tenant)) {
            tenant.review_jobs(free, now);
        }
    }

    /// Asks holders of tenants above `share` for `missing`, the greediest first; returns what is missing still.
    fn ask_above(&mut self, mut missing: u64, share: u64, now: Instant) -> u64 {
        let mut exhausted = Vec::new();
        while missing > 0 {
            let above =
                self.tenants.iter_mut().filter(|(scope, tenant)| tenant.keeps() > share && !exhausted.contains(*scope));
            let Some((&scope, tenant)) = above.max_by_key(|(_, tenant)| tenant.keeps()) else { break };
            match tenant.ask_one(now, Reason::AboveShare) {
                Some(amount) => missing = missing.saturating_sub(amount),
                None => exhausted.push(scope),
            }
        }
        missing
    }

    /// Asks the holders for `missing` that have had their time, whoever they are.
    fn ask_anyone(&mut self, mut missing: u64, now: Instant) {
        while missing > 0 {
            let stalled = |tenant: &Tenant<W>| {
                let holders = tenant.jobs.values().flat_map(|job| job.holders.values());
                holders.filter(|holder| holder.may_be_asked(now, Reason::Turn)).map(Holder::worth).min()
            };
            let oldest = self.tenants.iter_mut().filter_map(|(scope, tenant)| Some((stalled(tenant)?, scope, tenant)));
            let Some((_, _, tenant)) = oldest.min_by_key(|(since, scope, _)| (*since, **scope)) else { return };
            let Some(amount) = tenant.ask_one(now, Reason::Turn) else { return };
            missing = missing.saturating_sub(amount);
        }
    }

    fn holder(&mut self, requester: Requester, id: u64) -> Option<&mut Holder> {
        self.tenants.get_mut(&requester.tenant)?.jobs.get_mut(&requester.job)?.holders.get_mut(&id)
    }

    /// Forgets what nobody of waits or holds.
    fn tidy(&mut self, requester: Requester) {
        let Some(tenant) = self.tenants.get_mut(&requester.tenant) else { return };
        if tenant.jobs.get(&requester.job).is_some_and(|job| job.waiting.is_empty() && job.holders.is_empty()) {
            tenant.jobs.remove(&requester.job);
        }
        if tenant.jobs.is_empty() {
            self.tenants.remove(&requester.tenant);
        }
    }
}

impl<W> Tenant<W> {
    fn demand(&self, share: u64) -> u64 {
        let mut demand = 0;
        for waiter in self.jobs.values().flat_map(|job| job.waiting.values()) {
            let total = self.keeps() + demand;
            if total > 0 && total + waiter.amount > share {
                break;
            }
            demand += waiter.amount;
        }
        demand
    }

    /// Asks jobs above their share of what the tenant holds, for those below it. `free` permits are there for all.
    fn review_jobs(&mut self, free: u64, now: Instant) {
        let share = (self.held / self.jobs.len() as u64).max(1);
        let below: u64 = self.jobs.values().map(|job| job.demand(share)).sum();
        let mut missing = below.saturating_sub(free + self.asked);
        while missing > 0 {
            let has_one =
                |job: &Job<W>| job.holders.values().any(|holder| holder.may_be_asked(now, Reason::AboveShare));
            let above = self.jobs.values_mut().filter(|job| job.keeps() > share && has_one(job));
            let Some(job) = above.max_by_key(|job| job.keeps()) else { return };
            let Some(amount) = job.ask_one(now, Reason::AboveShare) else { return };
            self.asked += amount;
            missing = missing.saturating_sub(amount);
        }
    }

    /// Asks one holder of the job that holds most of those that have one to ask.
    fn ask_one(&mut self, now: Instant, reason: Reason) -> Option<u64> {
        let has_one = |job: &Job<W>| job.holders.values().any(|holder| holder.may_be_asked(now, reason));
        let job = self.jobs.values_mut().filter(|job| has_one(job)).max_by_key(|job| job.keeps())?;
        let amount = job.ask_one(now, reason)?;
        self.asked += amount;
        Some(amount)
    }
}

impl<W> Job<W> {
    /// Asks the holder that has come on longest ago.
    fn ask_one(&mut self, now: Instant, reason: Reason) -> Option<u64> {
        let able = self.holders.values_mut().filter(|holder| holder.may_be_asked(now, reason));
        let holder = able.min_by_key(|holder| holder.worth())?;
        holder.is_asked = true;
        holder.yields.as_ref().expect("it may be asked").cancel();
        self.asked += holder.amount;
        Some(holder.amount)
    }
}

#[cfg(test)]
impl<W> Queue<W> {
    /// Checks the sums. Returns the fair share, and for each tenant what it holds and how much of what it waits for would
    /// fit its share.
    pub(super) fn check(&self) -> (u64, Vec<(u64, u64)>) {
        let share = (self.permits / (self.tenants.len() as u64).max(1)).max(1);
        let (mut held, mut waiting) = (0, 0);
        for tenant in self.tenants.values() {
            assert_eq!(tenant.held, tenant.jobs.values().map(|job| job.held).sum::<u64>());
            assert_eq!(tenant.asked, tenant.jobs.values().map(|job| job.asked).sum::<u64>());
            assert_eq!(tenant.waiting, tenant.jobs.values().map(|job| job.waiting.len()).sum::<usize>());
            for job in tenant.jobs.values() {
                assert_eq!(job.held, job.holders.values().map(|holder| holder.amount).sum::<u64>());
                let asked = job.holders.values().filter(|holder| holder.is_asked).map(|holder| holder.amount);
                assert_eq!(job.asked, asked.sum::<u64>());
                assert!(!job.holders.is_empty() || !job.waiting.is_empty(), "it is not forgotten");
            }
            held += tenant.held;
            waiting += tenant.waiting;
        }
        assert_eq!((held, waiting), (self.held, self.waiting));
        (share, self.tenants.values().map(|tenant| (tenant.held, tenant.demand(share))).collect())
    }
}
