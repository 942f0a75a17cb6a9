//! Politeness: how many requests a host gets at a time, and how far apart.
//!
//! The operator's limits are never passed, and a site or a caller may ask for a larger gap. A host that says it is overloaded
//! (429 or 503) is left alone by the tenant that was told for as long as it asks, then gets that tenant's requests further
//! apart, until it answers well again ([`super::learned`]). Other tenants are slowed only by the limits that hold for everybody:
//! the operator's, and the site's own gap, which counts for a minute at most.
//!
//! A host's permits are shared fairly among tenants, and one that waits with a permit in hand for its moment or for a slot
//! gives it up to a tenant that has fewer. The counting is this process's own; where several share a store, how far it may
//! count is asked for ([`super::sharing`]).

use std::{collections::HashMap, sync::Arc, task::Poll, time::Duration};

use datasonar_store::Scope;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::fair_semaphore::{FairSemaphore, Permit, Priority, Requester};
use super::learned::Learned;
use super::sharing::{Claim, Claims, Shares, Sharing};

/// Hosts are forgotten when there are more than this many and they are idle.
const REMEMBERED: usize = 4_096;
/// The longest gap that a site can ask of everybody.
const LARGEST_SITE_GAP: Duration = Duration::from_secs(60);
/// The gap that asks for a moment of its own where there need be none.
const LEAST_GAP: Duration = Duration::from_millis(1);

/// The gates of all hosts.
#[derive(Clone, Debug)]
pub struct Hosts {
    pub(super) gates: Arc<Mutex<HashMap<String, Arc<Gate>>>>,
    pub(super) concurrency: usize,
    delay: Duration,
    learned: Arc<Learned>,
    /// Where other processes fetch from the same hosts.
    pub(super) sharing: Option<Arc<Sharing>>,
}

#[derive(Debug)]
pub(super) struct Gate {
    pub(super) permits: FairSemaphore,
    /// When the next request may begin, whoever makes it.
    next: Mutex<Instant>,
    /// What is held of a host that is shared.
    pub(super) claim: Claims,
    /// Rung when something was granted.
    pub(super) granted: Notify,
}

/// How far apart requests to a host are to begin, besides the operator's gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// As the site wants it (`Crawl-delay`), from whomever: a minute at most.
    pub site: Duration,
    /// As the caller wants it, for the tenant's own requests.
    pub own: Duration,
}

impl Hosts {
    /// Lets `concurrency` requests to a host run at once, and begin at least `delay` apart.
    pub fn new(concurrency: usize, delay: Duration) -> Self {
        Self { gates: Arc::default(), concurrency, delay, learned: Arc::default(), sharing: None }
    }

    /// As [`new`](Self::new), over all processes that `shares` shares hosts out to. [`keep_sharing`](Self::keep_sharing) must be running for
    /// anything to be let in.
    pub fn shared(concurrency: usize, delay: Duration, shares: Arc<dyn Shares>) -> Self {
        let sharing = Sharing { shares, bell: Notify::new() };
        Self { sharing: Some(Arc::new(sharing)), ..Self::new(concurrency, delay) }
    }

    /// Waits until a request to `host` may begin, at least `gap` before the next, and there is one of `slots` for it. The
    /// host is busy with it until its permit, the first of the two, is dropped.
    pub async fn enter(
        &self,
        host: &str,
        requester: Requester,
        gap: Gap,
        slots: &FairSemaphore,
        priority: Priority,
    ) -> (Permit, Permit) {
        let gate = self.gate(host);
        let entry = Entry { hosts: self, gate: &gate, host, requester, gap, slots, priority };
        loop {
            let permit = entry.permit().await;
            tokio::select! {
                biased;
                slot = entry.start() => return (permit, slot),
                // Another tenant has less of the host: this one goes back into the queue.
                () = permit.wanted() => {}
            }
        }
    }

    /// When the tenant's next request to a host may begin, if the host asked it to wait.
    pub(super) fn rests_until(&self, host: &str, tenant: Scope) -> Option<Instant> {
        self.learned.next(host, tenant)
    }

    /// Learns that a host gave a tenant an answer that may mean overload, or a page that is broken: two in a row mean overload.
    pub fn in_trouble(&self, host: &str, tenant: Scope) {
        if self.learned.doubts(host, tenant) {
            self.overloaded(host, tenant, Duration::ZERO);
        }
    }

    /// Learns that a host told a tenant that it is overloaded, and for how long it asks to be left alone.
    pub fn overloaded(&self, host: &str, tenant: Scope, rest: Duration) {
        let rest = self.learned.overloaded(host, tenant, rest);
        if let Some(sharing) = &self.sharing {
            self.gate(&of_tenant(host, tenant)).rest(rest, sharing);
        }
    }

    /// Learns that a host gave a tenant an answer that is none of overload.
    pub fn answered(&self, host: &str, tenant: Scope) {
        self.learned.answered(host, tenant);
    }

    fn gate(&self, host: &str) -> Arc<Gate> {
        let mut gates = self.gates.lock();
        if let Some(gate) = gates.get(host) {
            return gate.clone();
        }
        let now = Instant::now();
        if gates.len() >= REMEMBERED {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.permits.is_idle() || *gate.next.lock() > now);
        }
        let permits = if self.sharing.is_some() { 0 } else { self.concurrency };
        let (claim, granted) = (Mutex::new(Claim::default()), Notify::new());
        let gate = Arc::new(Gate { permits: FairSemaphore::new(permits), next: Mutex::new(now), claim, granted });
        gates.insert(host.to_owned(), gate.clone());
        gate
    }
}

/// The name under which processes share what a tenant learned of a host. No host is called so.
fn of_tenant(host: &str, tenant: Scope) -> String {
    format!("{}/{}@{host}", tenant.account.0, tenant.environment)
}

/// A request on its way in.
struct Entry<'a> {
    hosts: &'a Hosts,
    gate: &'a Gate,
    host: &'a str,
    requester: Requester,
    gap: Gap,
    slots: &'a FairSemaphore,
    priority: Priority,
}

impl Entry<'_> {
    /// Waits for one of the host's permits.
    async fn permit(&self) -> Permit {
        let mut permit = std::pin::pin!(self.gate.permits.acquire_with(self.requester, 1, self.priority));
        match (futures::poll!(&mut permit), &self.hosts.sharing) {
            (Poll::Ready(permit), _) => permit,
            (Poll::Pending, sharing) => {
                if let Some(sharing) = sharing {
                    sharing.bell.notify_one();
                }
                permit.await
            }
        }
    }

    /// Waits for the moment at which the request may begin, with a slot.
    async fn start(&self) -> Permit {
        match &self.hosts.sharing {
            None => self.start_alone().await,
            Some(sharing) => self.start_shared(sharing).await,
        }
    }

    async fn start_alone(&self) -> Permit {
        let tenant = self.requester.tenant;
        loop {
            let next = *self.gate.next.lock();
            let start = self.hosts.learned.next(self.host, tenant).map_or(next, |own| own.max(next));
            tokio::time::sleep_until(start).await;
            let slot = self.slots.acquire_with(self.requester, 1, self.priority).await;
            let mut next = self.gate.next.lock();
            let now = Instant::now();
            if *next <= now && self.hosts.learned.begin(self.host, tenant, self.gap.own, now) {
                *next = now + self.hosts.delay.max(self.gap.site.min(LARGEST_SITE_GAP));
                return slot;
            }
            // Another was quicker, or meanwhile the host asked for more: the slot is for those who can use it.
        }
    }

    /// The gap between the tenant's own requests is kept by all processes, and so as one of the host's.
    async fn start_shared(&self, sharing: &Sharing) -> Permit {
        let tenant = self.requester.tenant;
        let learned = &self.hosts.learned;
        if learned.take_sharing(self.host, tenant) {
            self.hosts.gate(&of_tenant(self.host, tenant)).start(LEAST_GAP, sharing).await;
        }
        while !learned.begin(self.host, tenant, Duration::ZERO, Instant::now()) {
            let next = learned.next(self.host, tenant).unwrap_or_else(Instant::now);
            tokio::time::sleep_until(next).await;
        }
        let own = self.gap.own.max(learned.gap(self.host, tenant));
        let gap = self.hosts.delay.max(self.gap.site.min(LARGEST_SITE_GAP)).max(own.min(LARGEST_SITE_GAP));
        loop {
            self.gate.start(gap, sharing).await;
            let mut slot = std::pin::pin!(self.slots.acquire_with(self.requester, 1, self.priority));
            if let Poll::Ready(slot) = futures::poll!(&mut slot) {
                return slot;
            }
            // The moment passes while it waits for a slot, so that another is needed. The slot is held until then, unless
            // another tenant lacks one: moments are given by others, and no more pages of a host wait for one than it may
            // have requests open.
            let slot = slot.await;
            tokio::select! {
                biased;
                () = self.gate.start(gap, sharing) => return slot,
                () = slot.wanted() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use datasonar_store::{AccountId, Environment};
    use futures::{FutureExt, future::join_all};
    use uuid::Uuid;

    use super::*;
    use crate::fetch::learned::{FIRST_GAP, LONGEST_REST};

    const NOBODY: Requester = somebody(0);

    const fn somebody(number: u128) -> Requester {
        let tenant = Scope { account: AccountId(Uuid::from_u128(number)), environment: Environment::Production };
        Requester { tenant, job: Uuid::nil() }
    }

    fn own(milliseconds: u64) -> Gap {
        Gap { own: Duration::from_millis(milliseconds), ..Gap::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_tenant_was_told_slows_no_other() {
        let (hosts, slots) = (Hosts::new(2, Duration::ZERO), FairSemaphore::new(8));
        let enter = |who, gap| hosts.enter("a", who, gap, &slots, Priority::default());
        let begin = Instant::now();
        hosts.overloaded("a", somebody(1).tenant, Duration::from_secs(9_999));
        // It waits with all of the host's permits in hand.
        let mut told: Vec<_> = (0..4).map(|_| Box::pin(enter(somebody(1), Gap::default()))).collect();
        for told in &mut told {
            assert!(told.now_or_never().is_none());
        }
        for _ in 0..3 {
            let other = enter(somebody(2), own(600_000));
            tokio::select! {
                biased;
                _ = join_all(&mut told) => unreachable!(),
                _ = other => {}
            }
            if begin.elapsed() > Duration::ZERO {
                break;
            }
        }
        drop(told);
        // The second request of the other waited for its own gap, which a third tenant does not have to.
        assert_eq!(begin.elapsed(), Duration::from_secs(600));
        drop(enter(somebody(3), Gap { site: Duration::from_secs(600), ..Gap::default() }).await);
        drop(enter(somebody(4), Gap::default()).await);
        assert_eq!(begin.elapsed(), Duration::from_secs(660), "a site's own gap counts for a minute at most");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_to_a_host_begin_apart_and_others_do_not_wait() {
        let (hosts, slots) = (Hosts::new(8, Duration::from_millis(250)), FairSemaphore::new(8));
        let begin = Instant::now();
        let enter = |host: &'static str| {
            let (hosts, slots) = (hosts.clone(), slots.clone());
            async move {
                let _turns = hosts.enter(host, NOBODY, Gap::default(), &slots, Priority::default()).await;
                begin.elapsed().as_millis()
            }
        };
        let times = join_all([enter("a"), enter("a"), enter("b"), enter("a")]).await;
        assert_eq!(times, [0, 250, 0, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_for_a_slot_brings_no_two_requests_closer() {
        let (hosts, slots) = (Hosts::new(8, Duration::from_millis(250)), FairSemaphore::new(1));
        let begin = Instant::now();
        let busy = slots.acquire(NOBODY, 1).await;
        let enter = || {
            let (hosts, slots) = (hosts.clone(), slots.clone());
            async move {
                let _turns = hosts.enter("a", NOBODY, Gap::default(), &slots, Priority::default()).await;
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
            drop(hosts.enter("a", NOBODY, own(gap), &FairSemaphore::new(1), Priority::default()).await);
            assert_eq!(begin.elapsed().as_millis(), at);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_overloaded_host_is_left_alone_and_then_spared() {
        let hosts = Hosts::new(8, Duration::ZERO);
        let enter =
            async || drop(hosts.enter("a", NOBODY, Gap::default(), &FairSemaphore::new(1), Priority::default()).await);
        let begin = Instant::now();
        enter().await;
        hosts.overloaded("a", NOBODY.tenant, Duration::from_secs(7));
        hosts.overloaded("a", NOBODY.tenant, Duration::ZERO);
        enter().await;
        assert_eq!(begin.elapsed(), Duration::from_secs(7));
        enter().await;
        assert_eq!(begin.elapsed(), Duration::from_millis(7_500), "the gap has doubled");
        hosts.overloaded("a", NOBODY.tenant, Duration::from_secs(1_000_000));
        enter().await;
        assert_eq!(begin.elapsed(), Duration::from_millis(7_500) + LONGEST_REST);
        for _ in 0..100 {
            hosts.answered("a", NOBODY.tenant);
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
        let enter =
            async || drop(hosts.enter("a", NOBODY, Gap::default(), &FairSemaphore::new(1), Priority::default()).await);
        let begin = Instant::now();
        for _ in 0..3 {
            hosts.in_trouble("a", NOBODY.tenant);
            hosts.answered("a", NOBODY.tenant);
            enter().await;
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        hosts.in_trouble("a", NOBODY.tenant);
        hosts.in_trouble("a", NOBODY.tenant);
        enter().await;
        assert_eq!(begin.elapsed(), FIRST_GAP);
    }

    #[tokio::test]
    async fn idle_hosts_are_forgotten() {
        let (hosts, slots) = (Hosts::new(2, Duration::ZERO), FairSemaphore::new(2));
        let held = hosts.enter("held", NOBODY, Gap::default(), &slots, Priority::default()).await;
        for n in 0..3 * REMEMBERED {
            drop(hosts.enter(&format!("host-{n}"), NOBODY, Gap::default(), &slots, Priority::default()).await);
        }
        assert!(hosts.gates.lock().len() <= REMEMBERED + 1);
        assert!(hosts.gates.lock().contains_key("held"));
        drop(held);
    }
}
