//! What must be true, whatever happened. Some of it is checked as it happens (here), the rest at the end, when everything
//! has calmed down ([`end`]).

pub(crate) mod end;
mod isolation;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use datasonar_store::{
    Attempt, ClaimedDelivery, ClaimedTask, DeliveryId, DeliveryLease, DeliveryStatus, Finish, FinishTask, JobId,
    TaskLease, Trigger, Verdict,
};

use tokio::time::Instant;

use crate::net::Wire;

/// What the engine promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// Every accepted job is there, and ends.
    Survives,
    /// Every URL of a job has one result, in order.
    OneResultPerUrl,
    /// A job ends once.
    EndsOnce,
    /// A job with an endpoint owes one delivery, another none.
    OneDelivery,
    /// Every attempt at a delivery carries the same bytes, which are the job's result.
    IdenticalBytes,
    /// Every signature is right.
    Signed,
    /// A delivery is `delivered` only after a 2xx, and then it is for good.
    DeliveredAfter2xx,
    /// A host has as many requests at a time, and as far apart, as the operator allows, from each process.
    HostLimits,
    /// No attempt is made before its time.
    NotEarly,
    /// Of one delivery, no two attempts are under way at the same time.
    NoOverlap,
    /// A write that finishes is the holder's.
    Fenced,
    /// A request with an idempotency key is one request.
    Idempotent,
    /// A schedule's time has one run.
    OneRunPerTime,
    /// Nothing is sent or fetched where it must not be.
    Guarded,
    /// The rows agree with each other, as `datasonar admin check` sees it.
    Sound,
    /// A page is given up when two processes have died with it, and not before.
    JustlyGivenUp,
    /// A page that ends those who process it ends few of them.
    PoisonIsContained,
    /// In the end nothing is held, due or owed, and no blob is an orphan.
    Drained,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// How.
    pub what: String,
    /// When, in milliseconds since the simulation began.
    pub at: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { property, what, at } = self;
        write!(f, "{property:?} at {}.{:03} s: {what}", at / 1_000, at % 1_000)
    }
}

/// A job that a client was told is accepted.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) id: JobId,
    /// What was asked for, in order; nothing for a crawl.
    pub(crate) urls: Vec<String>,
    pub(crate) crawl: Option<CrawlAsked>,
    pub(crate) has_webhook: bool,
}

/// A crawl that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrawlAsked {
    pub(crate) pages: u64,
    pub(crate) max_pages: u64,
}

/// A right to make an attempt, as it was given.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    lease: DeliveryLease,
    host: String,
    number: u32,
    trigger: Trigger,
    automatic: u32,
    first_attempt_ms: Option<i64>,
}

/// A POST, as an endpoint saw it.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) at: u64,
    pub(crate) host: String,
    pub(crate) delivery: DeliveryId,
    pub(crate) number: u32,
    pub(crate) timestamp: i64,
    pub(crate) signature: String,
    pub(crate) standard: String,
    pub(crate) body: usize,
}

/// What is known.
#[derive(Default)]
pub(crate) struct Oracle {
    begin: Option<Instant>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) accepted: Vec<Accepted>,
    /// How many processes died.
    pub(crate) deaths: u64,
    /// Requests for a job of which no client knows what became.
    pub(crate) unsure: u64,
    tasks: BTreeMap<(JobId, u32), TaskLease>,
    isolation: isolation::Isolation,
    ended: BTreeMap<JobId, u32>,
    deliveries: BTreeMap<DeliveryId, Vec<Claim>>,
    under_way: BTreeMap<DeliveryId, Arc<Wire>>,
    /// Attempts that were answered with a 2xx, by delivery, number and process.
    accepted_posts: BTreeSet<(DeliveryId, u32, String)>,
    pub(crate) posts: Vec<Post>,
    /// The first body of each delivery.
    pub(crate) bodies: Vec<(DeliveryId, Vec<u8>)>,
    delivered: BTreeSet<DeliveryId>,
    /// Offsets of the retry schedule, in milliseconds.
    pub(crate) schedule_ms: Vec<i64>,
    /// How far apart two clocks may be, in milliseconds.
    pub(crate) skew_ms: i64,
}

impl Oracle {
    pub(crate) fn new(begin: Instant) -> Self {
        Self { begin: Some(begin), ..Self::default() }
    }

    pub(crate) fn broken(&mut self, property: Property, what: impl Into<String>) {
        let at = Instant::now().duration_since(self.begin.unwrap_or_else(Instant::now));
        let at = u64::try_from(at.as_millis()).expect("a simulation takes days, not ages");
        self.violations.push(Violation { property, what: what.into(), at });
    }

    pub(crate) fn claimed_tasks(&mut self, host: &str, claimed: &[ClaimedTask]) {
        for task in claimed {
            let lease = task.lease;
            self.isolation.claimed(host, lease);
            let before = self.tasks.insert((lease.job, lease.seq), lease);
            if before.is_some_and(|before| before.epoch >= lease.epoch) {
                self.broken(Property::Fenced, format!("{host} got {lease:?}, an epoch that was given before"));
            }
        }
    }

    pub(crate) fn finished_task(&mut self, host: &str, finish: &FinishTask, finished: Finish) {
        let lease = finish.lease;
        if self.tasks.get(&(lease.job, lease.seq)) != Some(&lease) {
            let holder = self.task_lease(lease);
            let what = format!("{host} finished task {} of job {} with epoch {}", lease.seq, lease.job, lease.epoch);
            self.broken(Property::Fenced, format!("{what}, and the holder's was {}", holder.epoch));
        }
        self.isolation.finished(lease);
        if let Finish::Job { .. } = finished {
            let ends = self.ended.entry(lease.job).or_default();
            *ends += 1;
            if *ends > 1 {
                self.broken(Property::EndsOnce, format!("job {} ended again, by {host}", lease.job));
            }
        }
    }

    /// The lease that was given last on the task of this one.
    pub(crate) fn task_lease(&self, lease: TaskLease) -> TaskLease {
        self.tasks.get(&(lease.job, lease.seq)).copied().unwrap_or(lease)
    }

    /// The lease that was given last on the delivery of this one.
    pub(crate) fn delivery_lease(&self, lease: DeliveryLease) -> DeliveryLease {
        self.deliveries.get(&lease.delivery).and_then(|claims| claims.last()).map_or(lease, |claim| claim.lease)
    }

    pub(crate) fn claimed_deliveries(&mut self, host: &str, claimed: &[ClaimedDelivery]) {
        for ClaimedDelivery { lease, delivery, .. } in claimed {
            let claims = self.deliveries.entry(delivery.id).or_default();
            let is_new = claims.last().is_none_or(|last| last.lease.epoch < lease.epoch);
            claims.push(Claim {
                lease: *lease,
                host: host.to_owned(),
                number: delivery.attempts + 1,
                trigger: delivery.next_trigger,
                automatic: delivery.automatic_attempts,
                first_attempt_ms: delivery.first_attempt_at.map(|at| at.as_millisecond()),
            });
            if !is_new {
                self.broken(Property::Fenced, format!("{host} got {lease:?}, an epoch that was given before"));
            }
        }
    }

    pub(crate) fn finished_attempt(&mut self, host: &str, lease: DeliveryLease, attempt: &Attempt, verdict: Verdict) {
        let holder = self.delivery_lease(lease);
        if holder != lease {
            let what = format!("{host} recorded attempt {} at {} with epoch", attempt.number, lease.delivery);
            self.broken(Property::Fenced, format!("{what} {}, and the holder's was {}", lease.epoch, holder.epoch));
        }
        let is_success = attempt.error.is_none();
        let was_accepted = self.accepted_posts.contains(&(lease.delivery, attempt.number, host.to_owned()));
        if is_success && !was_accepted {
            let what = format!("attempt {} at {} by {host} is recorded as accepted", attempt.number, lease.delivery);
            self.broken(Property::DeliveredAfter2xx, format!("{what}, and no endpoint answered it with a 2xx"));
        }
        if verdict.status == DeliveryStatus::Delivered {
            if !is_success && !self.delivered.contains(&lease.delivery) {
                let what = format!("{} became delivered by attempt {}, which failed", lease.delivery, attempt.number);
                self.broken(Property::DeliveredAfter2xx, what);
            }
            self.delivered.insert(lease.delivery);
        }
    }

    /// An endpoint has read the head of a POST.
    pub(crate) fn post_begins(&mut self, post: &Post, on: &Arc<Wire>) {
        let (delivery, number, host) = (post.delivery, post.number, &post.host);
        let before = self.under_way.insert(delivery, on.clone());
        if let Some(other) = before.filter(|other| !other.is_closed()) {
            let what = format!(
                "attempt {number} at {delivery} by {host} began while one by {} was under way",
                other.host.name
            );
            self.broken(Property::NoOverlap, what);
        }
        let claim = self.deliveries.get(&delivery).and_then(|claims| claims.iter().rfind(|claim| claim.host == *host));
        match claim.cloned() {
            None => self.broken(Property::Fenced, format!("{host} sent {delivery}, which it never claimed")),
            Some(claim) if claim.number != number => {
                let what = format!("{host} sent attempt {number} at {delivery} and was to make {}", claim.number);
                self.broken(Property::Fenced, what);
            }
            Some(claim) => self.on_time(post, &claim),
        }
    }

    /// An endpoint has read a POST to its end. Nothing is answered yet.
    pub(crate) fn posted(&mut self, mut post: Post, body: Vec<u8>) {
        let (delivery, number) = (post.delivery, post.number);
        match self.bodies.iter().position(|(known, _)| *known == delivery) {
            Some(place) => {
                post.body = place;
                if self.bodies[place].1 != body {
                    let what = format!("attempt {number} at {delivery} carried other bytes than the first");
                    self.broken(Property::IdenticalBytes, what);
                }
            }
            None => {
                post.body = self.bodies.len();
                self.bodies.push((delivery, body));
            }
        }
        self.posts.push(post);
    }

    /// Never before the first + its offset of the schedule.
    fn on_time(&mut self, post: &Post, claim: &Claim) {
        let (Trigger::Automatic, Some(first), true) = (claim.trigger, claim.first_attempt_ms, claim.automatic > 0)
        else {
            return;
        };
        let Some(offset) = self.schedule_ms.get(claim.automatic as usize - 1) else {
            let what = format!("attempt {} at {} is not in the schedule", claim.automatic + 1, post.delivery);
            return self.broken(Property::NotEarly, what);
        };
        let now = crate::clock::epoch().as_millisecond() + i64::try_from(post.at).expect("it is days, not ages");
        let early = first + offset - now;
        if early > self.skew_ms {
            let what = format!("attempt {} at {} by {}", post.number, post.delivery, post.host);
            self.broken(Property::NotEarly, format!("{what} came {early} ms before its time"));
        }
    }

    /// An endpoint has answered with a 2xx, and the answer is on its way.
    pub(crate) fn accepted(&mut self, delivery: DeliveryId, number: u32, host: &str) {
        self.accepted_posts.insert((delivery, number, host.to_owned()));
    }

    /// The POST was answered, or its connection is no more.
    pub(crate) fn post_ended(&mut self, delivery: DeliveryId, on: &Arc<Wire>) {
        if self.under_way.get(&delivery).is_some_and(|last| Arc::ptr_eq(last, on)) {
            self.under_way.remove(&delivery);
        }
    }

    /// How often a job ended.
    pub(crate) fn ends(&self, job: JobId) -> u32 {
        self.ended.get(&job).copied().unwrap_or(0)
    }

    /// Whether any attempt at a delivery was answered with a 2xx.
    pub(crate) fn was_accepted(&self, delivery: DeliveryId) -> bool {
        self.accepted_posts.range((delivery, 0, String::new())..).next().is_some_and(|found| found.0 == delivery)
    }

    /// Whether a delivery was recorded as delivered at any time.
    pub(crate) fn was_delivered(&self, delivery: DeliveryId) -> bool {
        self.delivered.contains(&delivery)
    }
}
