//! Decides which endpoints get an attempt next, so that no endpoint and no tenant waits for another.
//!
//! An endpoint is an account, an environment and a URL without its query ([`datasonar_store::endpoint`]); a tenant is an
//! account and an environment. An attempt needs a slot, and attempts at an endpoint that hangs hold theirs until they time
//! out. Three rules keep some free for everybody else:
//!
//! - Slots are of two kinds. A *quick* slot is for first attempts at endpoints that are not known to hang. An attempt leaves
//!   it after half a second for a *slow* slot. Retries, and all attempts at endpoints that hang, begin in slow slots.
//! - An endpoint has at most [`PER_ENDPOINT`] attempts in flight, and only one while it is new or its last attempt timed out.
//! - A tenant may take a slot only while it holds fewer than a multiple of what is free ([`room`]), and likewise at one host.
//!   Whatever a tenant holds, another one therefore finds free slots. The multiple depends on what is known of the endpoint
//!   ([`Tier`]), so that a tenant's endpoints that hang leave slots for its endpoints that answer.
//!
//! For endpoints that have just answered, more deliveries are claimed ahead, many at a time, so that they need not wait for
//! the store. These need no slot until their turn comes, and are released as soon as an attempt before them is slow.

use std::{collections::HashMap, sync::Arc, time::Duration};

use datasonar_store::{DueEndpoint, Lane, Scope, Share};

/// Attempts in flight at one endpoint, at most.
pub const PER_ENDPOINT: u32 = 8;
/// Attempts in flight at an endpoint that has not answered yet, or whose last attempt timed out.
const PER_DOUBTFUL_ENDPOINT: u32 = 1;
/// Deliveries claimed for one endpoint that has just answered, those in flight included; more are claimed when half are left.
const CLAIMED_AHEAD: u32 = 128;
/// Deliveries claimed ahead for all endpoints.
const ALL_AHEAD: u32 = 4_096;
/// An attempt under way for longer is slow.
pub const SLOW_AFTER: Duration = Duration::from_millis(500);
/// After so many time-outs in a row, an endpoint hangs.
const HANGS_AFTER: u32 = 2;
/// Endpoints of one tenant, and of all tenants, that are remembered while nothing is in flight.
const REMEMBERED_OF_TENANT: u32 = 10_000;
const REMEMBERED: usize = 50_000;

/// How many slots of each kind there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// For first attempts.
    pub quick: u32,
    /// Of the quick ones: kept for endpoints that are known to answer.
    pub reserved: u32,
    /// For all others.
    pub slow: u32,
}

impl Slots {
    /// The slots of a process that may have so many files open: an attempt needs one.
    pub fn within(files: u64) -> Self {
        let all = u32::try_from(files / 2).unwrap_or(u32::MAX).clamp(64, 4_096);
        Self { quick: all / 8, reserved: all / 32, slow: all - all / 8 }
    }

    /// Attempts in flight at one host, over all endpoints and tenants.
    const fn per_host(self) -> u32 {
        self.slow / 4 * 3
    }
}

/// The kind of slot an attempt holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Quick,
    Slow,
}

/// How an attempt ended, as far as its endpoint is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer, of whatever status.
    Answered,
    /// At once: refused, reset, no such name.
    Failed,
    /// By running out of time.
    Hung,
    /// Without having been made.
    NotMade,
}

/// A tenant and a host: what limits above those of an endpoint apply to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    scope: Scope,
    host: Arc<str>,
}

impl Place {
    /// Returns the place of an endpoint.
    pub fn new(scope: Scope, host: &str) -> Self {
        Self { scope, host: host.into() }
    }
}

/// A delivery that was claimed: to be given back by [`Lanes::end`].
#[derive(Debug)]
pub struct Ticket {
    endpoint: Arc<str>,
    slot: Slot,
    is_slow: bool,
}

/// What is known of an endpoint, which decides how much of what is free its tenant may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    /// It has just answered. It may use the reserved slots, and its tenant may hold half of all.
    Proven,
    /// It is not known to hang. Its tenant may hold a third of all.
    New,
    /// It hangs, or this is a retry. Its tenant may hold a fifth of all.
    Slow,
}

#[derive(Debug)]
struct Endpoint {
    place: Place,
    /// Deliveries claimed for quick slots; those beyond [`PER_ENDPOINT`] wait for their turn.
    quick: u32,
    /// Attempts in slow slots.
    slow: u32,
    /// Time-outs in a row.
    hung: u32,
    /// Whether the last attempt was answered, and quickly.
    answers: bool,
    /// Whether any attempt ended in another way than by running out of time.
    responds: bool,
}

impl Endpoint {
    const fn new(place: Place) -> Self {
        Self { place, quick: 0, slow: 0, hung: 0, answers: false, responds: false }
    }

    const fn hangs(&self) -> bool {
        self.hung >= HANGS_AFTER
    }

    const fn claimed(&self) -> u32 {
        self.quick + self.slow
    }

    /// The slots it takes. No more than [`PER_ENDPOINT`] attempts are in flight; what is claimed ahead takes no slot.
    fn held(&self) -> Held {
        Held { quick: self.quick.min(PER_ENDPOINT.saturating_sub(self.slow)), slow: self.slow }
    }

    /// How many more deliveries may be claimed, and how many of these would need a slot.
    fn room(&self) -> (u32, u32) {
        let claimed = self.claimed();
        let in_flight = if self.responds && self.hung == 0 { PER_ENDPOINT } else { PER_DOUBTFUL_ENDPOINT };
        let slots = in_flight.saturating_sub(claimed);
        let is_ahead = self.answers && self.slow == 0 && claimed <= CLAIMED_AHEAD / 2;
        (if is_ahead { CLAIMED_AHEAD - claimed } else { slots }, slots)
    }
}

/// Slots that are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    quick: u32,
    slow: u32,
}

impl Held {
    const fn all(self) -> u32 {
        self.quick + self.slow
    }

    const fn moved(self, before: Self, after: Self) -> Self {
        Self { quick: self.quick + after.quick - before.quick, slow: self.slow + after.slow - before.slow }
    }
}

/// Returns how many more slots a holder may take, one at a time, each only while `held * per_held < free * per_free`.
///
/// Holders that all take what they may end up with equal shares and leave one such share, times `per_held / per_free`, free.
/// A holder of nothing may always take one if any is free.
fn room(held: u32, free: u32, (per_free, per_held): (u32, u32)) -> u32 {
    (free * per_free + per_free + per_held - 1).saturating_sub(held * per_held) / (per_free + per_held)
}

/// The slots that are taken: in all, by tenant, by host, and by tenant and host.
#[derive(Clone, Debug, Default)]
struct Usage {
    all: Held,
    tenants: HashMap<Scope, Held>,
    hosts: HashMap<Arc<str>, u32>,
    places: HashMap<Place, u32>,
}

impl Usage {
    fn change(&mut self, place: &Place, before: Held, after: Held) {
        if before == after {
            return;
        }
        self.all = self.all.moved(before, after);
        let tenant = self.tenants.entry(place.scope).or_default();
        *tenant = tenant.moved(before, after);
        if *tenant == Held::default() {
            self.tenants.remove(&place.scope);
        }
        let change = |count: &mut u32| *count = *count + after.all() - before.all();
        let host = self.hosts.entry(place.host.clone()).or_default();
        change(host);
        if *host == 0 {
            self.hosts.remove(&place.host);
        }
        let own = self.places.entry(place.clone()).or_default();
        change(own);
        if *own == 0 {
            self.places.remove(place);
        }
    }

    /// Returns how many more slots may be taken for endpoints of a tenant at a host.
    fn room(&self, slots: Slots, place: &Place, tier: Tier) -> u32 {
        let tenant = self.tenants.get(&place.scope).copied().unwrap_or_default();
        let own = self.places.get(place).copied().unwrap_or_default();
        let at_host = self.hosts.get(&place.host).copied().unwrap_or_default();
        // Any attempt in a quick slot may need a slow one in half a second.
        let free = slots.slow.saturating_sub(self.all.all());
        let at_host = slots.per_host().saturating_sub(at_host);
        let quick = slots.quick.saturating_sub(self.all.quick);
        let of_quick = |free: u32| room(tenant.quick, free, (3, 1));
        match tier {
            Tier::Proven => room(tenant.all(), free + slots.reserved, (1, 1)).min(at_host).min(of_quick(quick)),
            Tier::New => room(tenant.all(), free, (1, 2))
                .min(room(own, at_host, (1, 1)))
                .min(of_quick(quick.saturating_sub(slots.reserved))),
            Tier::Slow => room(tenant.all(), free, (1, 4)).min(room(own, at_host, (1, 2))),
        }
    }
}

/// What is counted of a tenant besides slots.
#[derive(Clone, Copy, Debug, Default)]
struct Tenant {
    /// Deliveries claimed.
    claimed: u32,
    /// Endpoints remembered.
    endpoints: u32,
}

/// What is under way, by endpoint.
#[derive(Debug)]
pub struct Lanes {
    slots: Slots,
    endpoints: HashMap<Arc<str>, Endpoint>,
    tenants: HashMap<Scope, Tenant>,
    usage: Usage,
    /// Deliveries claimed, in all.
    claimed: u32,
}

impl Lanes {
    /// Nothing is under way.
    pub fn new(slots: Slots) -> Self {
        Self { slots, endpoints: HashMap::new(), tenants: HashMap::new(), usage: Usage::default(), claimed: 0 }
    }

    /// Returns how many deliveries are claimed.
    pub fn claimed(&self) -> u32 {
        self.claimed
    }

    /// Decides how many deliveries to claim for which endpoints.
    ///
    /// Endpoints that are known to answer come first. Of those that are new, the one that waits longest and the one that
    /// has just come take turns: when more of them hang than there are slots, a new one is not at the end of their queue.
    pub fn plan(&self, due: &[DueEndpoint]) -> Vec<Share> {
        let (mut proven, mut new, mut slow) = (Vec::new(), Vec::new(), Vec::new());
        for due in due {
            match self.tier(due) {
                Tier::Proven => proven.push(due),
                Tier::New => new.push(due),
                Tier::Slow => slow.push(due),
            }
        }
        let by_age = |mut due: Vec<&DueEndpoint>| -> Vec<Plan> {
            due.sort_by_key(|due| due.since);
            due.into_iter().map(|due| self.plan_of(due)).collect()
        };
        let mut sharing = Sharing {
            slots: self.slots,
            usage: self.usage.clone(),
            ahead: ALL_AHEAD.saturating_sub(self.claimed),
            tenants: self.tenants.clone(),
            taken: HashMap::new(),
            shares: Vec::new(),
        };
        sharing.share(by_age(proven), Tier::Proven);
        sharing.share(both_ends(by_age(new)), Tier::New);
        sharing.share(by_age(slow), Tier::Slow);
        sharing.shares
    }

    fn tier(&self, due: &DueEndpoint) -> Tier {
        match self.endpoints.get(&*due.endpoint) {
            _ if due.lane == Lane::Retry => Tier::Slow,
            Some(endpoint) if endpoint.hangs() => Tier::Slow,
            Some(endpoint) if endpoint.answers => Tier::Proven,
            _ => Tier::New,
        }
    }

    fn plan_of(&self, due: &DueEndpoint) -> Plan {
        let known = self.endpoints.get(&*due.endpoint);
        let (most, slots) = known.map_or((PER_DOUBTFUL_ENDPOINT, PER_DOUBTFUL_ENDPOINT), Endpoint::room);
        let place = known.map_or_else(|| Place::new(due.scope, &due.host), |known| known.place.clone());
        let ahead = if due.lane == Lane::First { most - slots } else { 0 };
        Plan { endpoint: due.endpoint.as_str().into(), lane: due.lane, place, slots, ahead, limit: 0 }
    }

    /// Counts a delivery that was claimed in a lane.
    pub fn begin(&mut self, endpoint: &str, place: Place, lane: Lane) -> Ticket {
        let slot = match self.endpoints.get(endpoint) {
            Some(endpoint) if endpoint.hangs() => Slot::Slow,
            _ if lane == Lane::First => Slot::Quick,
            _ => Slot::Slow,
        };
        self.claimed += 1;
        let tenant = self.tenants.entry(place.scope).or_default();
        tenant.claimed += 1;
        let endpoint: Arc<str> = endpoint.into();
        self.endpoints.entry(endpoint.clone()).or_insert_with(|| {
            tenant.endpoints += 1;
            Endpoint::new(place)
        });
        self.change(&endpoint, |endpoint| match slot {
            Slot::Quick => endpoint.quick += 1,
            Slot::Slow => endpoint.slow += 1,
        });
        Ticket { endpoint, slot, is_slow: false }
    }

    /// Notes that an attempt has been under way for [`SLOW_AFTER`]; it leaves its quick slot if a slow one is free. Returns
    /// whether deliveries that were claimed ahead wait behind it and should be given back.
    pub fn slow(&mut self, ticket: &mut Ticket) -> bool {
        ticket.is_slow = true;
        let moves = ticket.slot == Slot::Quick && self.usage.all.slow < self.slots.slow;
        if moves {
            ticket.slot = Slot::Slow;
        }
        self.change(&ticket.endpoint, |endpoint| {
            endpoint.answers = false;
            if moves {
                (endpoint.quick, endpoint.slow) = (endpoint.quick - 1, endpoint.slow + 1);
            }
        });
        self.endpoints.get(&ticket.endpoint).is_some_and(|endpoint| endpoint.claimed() > PER_ENDPOINT)
    }

    /// Takes a delivery back and learns of the endpoint.
    pub fn end(&mut self, ticket: Ticket, ended: Ended) {
        self.claimed -= 1;
        self.change(&ticket.endpoint, |endpoint| {
            match ticket.slot {
                Slot::Quick => endpoint.quick -= 1,
                Slot::Slow => endpoint.slow -= 1,
            }
            match ended {
                Ended::Answered => (endpoint.hung, endpoint.answers, endpoint.responds) = (0, !ticket.is_slow, true),
                Ended::Failed => (endpoint.hung, endpoint.answers, endpoint.responds) = (0, false, true),
                Ended::Hung => (endpoint.hung, endpoint.answers) = (endpoint.hung.saturating_add(1), false),
                Ended::NotMade => {}
            }
        });
        let Some(endpoint) = self.endpoints.get(&ticket.endpoint) else { return };
        let scope = endpoint.place.scope;
        let says_nothing = endpoint.claimed() == 0 && !endpoint.responds && endpoint.hung == 0;
        let tenant = self.tenants.entry(scope).or_default();
        tenant.claimed -= 1;
        if says_nothing {
            self.endpoints.remove(&ticket.endpoint);
            tenant.endpoints -= 1;
            if tenant.endpoints == 0 {
                self.tenants.remove(&scope);
            }
        } else if tenant.endpoints > REMEMBERED_OF_TENANT {
            self.forget(|endpoint| endpoint.place.scope == scope);
        } else if self.endpoints.len() > REMEMBERED {
            self.forget(|_| true);
        }
    }

    /// Forgets endpoints of which nothing is under way.
    fn forget(&mut self, is_meant: impl Fn(&Endpoint) -> bool) {
        let tenants = &mut self.tenants;
        self.endpoints.retain(|_, endpoint| {
            let stays = endpoint.claimed() > 0 || !is_meant(endpoint);
            if !stays && let Some(tenant) = tenants.get_mut(&endpoint.place.scope) {
                tenant.endpoints -= 1;
            }
            stays
        });
        tenants.retain(|_, tenant| tenant.endpoints > 0);
    }

    /// Changes an endpoint, and the slots taken with it.
    fn change(&mut self, endpoint: &str, change: impl FnOnce(&mut Endpoint)) {
        let Some(endpoint) = self.endpoints.get_mut(endpoint) else { return };
        let before = endpoint.held();
        change(endpoint);
        self.usage.change(&endpoint.place, before, endpoint.held());
    }
}

struct Plan {
    endpoint: Arc<str>,
    lane: Lane,
    place: Place,
    /// How many may be sent at once.
    slots: u32,
    /// How many more may be claimed ahead.
    ahead: u32,
    /// How many are to be sent at once.
    limit: u32,
}

/// Handing out slots.
struct Sharing {
    slots: Slots,
    usage: Usage,
    /// How many deliveries may be claimed ahead.
    ahead: u32,
    tenants: HashMap<Scope, Tenant>,
    /// The slots an endpoint was given in this round, whatever the lane.
    taken: HashMap<Arc<str>, u32>,
    shares: Vec<Share>,
}

impl Sharing {
    /// Gives some to each endpoint in turn, then more to the first ones.
    fn share(&mut self, mut plans: Vec<Plan>, tier: Tier) {
        let mut open: Vec<usize> = (0..plans.len()).collect();
        while !open.is_empty() {
            // What gets nothing gets nothing later either: no slot is given back meanwhile.
            open.retain(|at| self.give(&mut plans[*at], tier));
        }
        for plan in plans {
            self.claim(plan);
        }
    }

    /// Gives an endpoint half of what it still wants, so that few rounds suffice and others get something before the rest.
    fn give(&mut self, plan: &mut Plan, tier: Tier) -> bool {
        let taken = self.taken.entry(plan.endpoint.clone()).or_default();
        let wants = plan.slots.saturating_sub(*taken).div_ceil(2);
        let give = if wants == 0 { 0 } else { wants.min(self.usage.room(self.slots, &plan.place, tier)) };
        let slots = if tier == Tier::Slow { Held { quick: 0, slow: give } } else { Held { quick: give, slow: 0 } };
        self.usage.change(&plan.place, Held::default(), slots);
        (*taken, plan.limit) = (*taken + give, plan.limit + give);
        give > 0
    }

    fn claim(&mut self, plan: Plan) {
        let Plan { endpoint, lane, place, slots, ahead, limit } = plan;
        let tenant = self.tenants.entry(place.scope).or_default();
        // Ahead of others only what has its slots: nothing waits behind one that got none.
        let fair = self.ahead.saturating_sub(tenant.claimed);
        let ahead = if limit == slots { ahead.min(fair) } else { 0 };
        self.ahead -= ahead;
        tenant.claimed += limit + ahead;
        if limit + ahead > 0 {
            self.shares.push(Share { endpoint: endpoint.as_ref().to_owned(), lane, limit: limit + ahead });
        }
    }
}

/// The first, the last, the second, the last but one, and so on.
fn both_ends(plans: Vec<Plan>) -> Vec<Plan> {
    let count = plans.len();
    let rank = |at: usize| if at < count.div_ceil(2) { 2 * at } else { 2 * (count - at) - 1 };
    let mut ranked: Vec<_> = plans.into_iter().enumerate().map(|(at, plan)| (rank(at), plan)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, plan)| plan).collect()
}

#[cfg(test)]
mod tests {
    use datasonar_store::{AccountId, Environment, endpoint};
    use jiff::Timestamp;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const SLOTS: Slots = Slots { quick: 16, reserved: 4, slow: 48 };
    const MANY: Slots = Slots { quick: 512, reserved: 128, slow: 3_584 };

    fn scope(account: u128) -> Scope {
        Scope { account: AccountId(Uuid::from_u128(account)), environment: Environment::Production }
    }

    fn due(scope: Scope, host: &str, path: &str, lane: Lane, since: i64) -> DueEndpoint {
        let endpoint = endpoint::key(scope, &format!("https://{host}/{path}"));
        DueEndpoint { endpoint, scope, host: host.to_owned(), lane, since: Timestamp::from_second(since).unwrap() }
    }

    /// A first attempt of the tenant 1, at a host of its own.
    fn first(host: &str, since: i64) -> DueEndpoint {
        due(scope(1), host, "", Lane::First, since)
    }

    /// Endpoints of a tenant on one host.
    fn paths(account: u128, host: &str, count: i64) -> Vec<DueEndpoint> {
        (0..count).map(|n| due(scope(account), host, &n.to_string(), Lane::First, n)).collect()
    }

    fn begin_one(lanes: &mut Lanes, due: &DueEndpoint) -> Ticket {
        lanes.begin(&due.endpoint, Place::new(due.scope, &due.host), due.lane)
    }

    /// Begins all that is planned.
    fn begin(lanes: &mut Lanes, due: &[DueEndpoint]) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        for share in lanes.plan(due) {
            let due = due.iter().find(|due| due.endpoint == share.endpoint && due.lane == share.lane).unwrap();
            tickets.extend((0..share.limit).map(|_| begin_one(lanes, due)));
        }
        tickets
    }

    /// Begins all that may be begun of endpoints that hang, round by round, each attempt being slow in the end.
    fn hang(lanes: &mut Lanes, due: &[DueEndpoint]) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        loop {
            let mut more = begin(lanes, due);
            if more.is_empty() {
                return tickets;
            }
            more.iter_mut().for_each(|ticket| {
                lanes.slow(ticket);
            });
            tickets.extend(more);
        }
    }

    fn answer(lanes: &mut Lanes, due: &DueEndpoint) {
        let ticket = begin_one(lanes, due);
        lanes.end(ticket, Ended::Answered);
    }

    fn planned(lanes: &Lanes, due: &[DueEndpoint], wanted: &DueEndpoint) -> u32 {
        let shares = lanes.plan(due);
        shares.iter().filter(|share| share.endpoint == wanted.endpoint).map(|share| share.limit).sum()
    }

    #[test]
    fn an_endpoint_gets_one_until_it_has_answered_then_eight() {
        let mut lanes = Lanes::new(MANY);
        let due = [first("a", 0)];
        let tickets = begin(&mut lanes, &due);
        assert_eq!(tickets.len(), 1);
        assert_eq!(lanes.plan(&due), []);
        for mut ticket in tickets {
            lanes.slow(&mut ticket);
            lanes.end(ticket, Ended::Answered);
        }
        assert_eq!(begin(&mut lanes, &due).len(), PER_ENDPOINT as usize);
        assert_eq!(lanes.plan(&due), []);
    }

    #[test]
    fn for_an_endpoint_that_answers_many_are_claimed_at_a_time() {
        let mut lanes = Lanes::new(MANY);
        let due = [first("a", 0)];
        answer(&mut lanes, &due[0]);
        let mut tickets = begin(&mut lanes, &due);
        assert_eq!(tickets.len(), CLAIMED_AHEAD as usize);
        assert_eq!(lanes.usage.all.quick, PER_ENDPOINT, "what waits for its turn takes no slot");
        lanes.end(tickets.pop().unwrap(), Ended::Answered);
        assert_eq!(lanes.plan(&due), [], "not one by one");
        for ticket in tickets.split_off(60) {
            lanes.end(ticket, Ended::Answered);
        }
        assert_eq!(planned(&lanes, &due, &due[0]), CLAIMED_AHEAD - 60);
        assert!(lanes.slow(&mut tickets[0]), "what was claimed ahead should be given back");
        assert_eq!(planned(&lanes, &due, &due[0]), 0, "one that is slow gets no more than it can take");
    }

    #[test]
    fn a_tenant_claims_no_more_ahead_than_is_left_for_others() {
        let mut lanes = Lanes::new(MANY);
        let due: Vec<_> = (0..40).map(|n| first(&format!("h{n}"), n)).collect();
        due.iter().for_each(|due| answer(&mut lanes, due));
        begin(&mut lanes, &due);
        assert!(lanes.claimed >= ALL_AHEAD / 4 && lanes.claimed <= ALL_AHEAD / 8 * 5, "{}", lanes.claimed);
    }

    #[test]
    fn endpoints_that_hang_leave_room_after_half_a_second() {
        let mut lanes = Lanes::new(SLOTS);
        let mut due: Vec<_> = (0..12).map(|n| first(&format!("dead{n}"), n)).collect();
        let mut tickets = begin(&mut lanes, &due);
        assert_eq!(tickets.len(), 9, "three quarters of all but the reserved slots");
        tickets.iter_mut().for_each(|ticket| assert!(!lanes.slow(ticket)));
        due.push(first("new", 100));
        assert_eq!(planned(&lanes, &due, &due[12]), 1);
    }

    #[test]
    fn endpoints_that_answer_have_slots_that_others_do_not_get() {
        let mut lanes = Lanes::new(SLOTS);
        let good = first("good", 1_000);
        answer(&mut lanes, &good);
        let mut due: Vec<_> = (0..100).map(|n| first(&format!("dead{n}"), n)).collect();
        hang(&mut lanes, &due);
        begin(&mut lanes, &due);
        due.push(good);
        assert!(planned(&lanes, &due, &due[100]) >= SLOTS.reserved);
    }

    #[test]
    fn a_newcomer_does_not_wait_behind_a_thousand() {
        let mut due: Vec<_> = (0..1_000).map(|n| first(&format!("other{n}"), n)).collect();
        due.push(first("new", 5_000));
        let lanes = Lanes::new(SLOTS);
        assert!(planned(&lanes, &due, &due[1_000]) > 0);
        assert!(planned(&lanes, &due, &due[0]) > 0, "and the oldest is not forgotten");
    }

    #[test]
    fn an_endpoint_that_hangs_is_held_back_until_it_answers() {
        let mut lanes = Lanes::new(MANY);
        let due = [first("a", 0)];
        answer(&mut lanes, &due[0]);
        for _ in 0..HANGS_AFTER {
            let ticket = begin_one(&mut lanes, &due[0]);
            lanes.end(ticket, Ended::Hung);
            assert_eq!(planned(&lanes, &due, &due[0]), 1);
        }
        let tickets = begin(&mut lanes, &due);
        assert_eq!(lanes.usage.all, Held { quick: 0, slow: 1 }, "in a slow slot from the beginning");
        for ticket in tickets {
            lanes.end(ticket, Ended::Answered);
        }
        assert!(planned(&lanes, &due, &due[0]) > 1);
    }

    #[test]
    fn retries_take_no_quick_slots() {
        let mut lanes = Lanes::new(SLOTS);
        let retries: Vec<_> = (0..100).map(|n| due(scope(1), &format!("h{n}"), "", Lane::Retry, n)).collect();
        assert_eq!(begin(&mut lanes, &retries).len(), 10, "a fifth of the slow ones");
        let new = first("new", 0);
        assert_eq!(planned(&lanes, std::slice::from_ref(&new), &new), 1);
    }

    #[test]
    fn a_thousand_that_hang_on_a_host_do_not_delay_the_same_tenants_next() {
        for accounts in [1, 4, 100] {
            let mut lanes = Lanes::new(MANY);
            let hanging: Vec<_> =
                (0..accounts).flat_map(|account| paths(account, "hooks", 1_000 / accounts as i64)).collect();
            let tickets = hang(&mut lanes, &hanging);
            assert_eq!(tickets.len(), hanging.len(), "all of them at once");
            let new = due(scope(0), "hooks", "healthy", Lane::First, 2_000);
            let all: Vec<_> = hanging.iter().chain([&new]).cloned().collect();
            assert_eq!(planned(&lanes, &all, &new), 1, "{accounts}");
            answer(&mut lanes, &new);
            assert!(planned(&lanes, &all, &new) >= PER_ENDPOINT, "{accounts}");
        }
    }

    #[test]
    fn a_tenant_with_thousands_that_hang_leaves_slots_of_each_kind() {
        for slots in [SLOTS, MANY, Slots::within(1_024)] {
            let mut lanes = Lanes::new(slots);
            let mut hanging: Vec<_> = (0..2_000).map(|n| first(&format!("dead{n}"), n)).collect();
            hanging.extend((0..2_000).map(|n| due(scope(1), &format!("old{n}"), "", Lane::Retry, n)));
            hang(&mut lanes, &hanging);
            let ticket_count = lanes.usage.all;
            assert!(ticket_count.slow <= slots.slow / 2, "{ticket_count:?}");
            for lane in [Lane::First, Lane::Retry] {
                let other = due(scope(2), "other", "", lane, 9_000);
                assert_eq!(planned(&lanes, std::slice::from_ref(&other), &other), 1, "{slots:?}");
            }
        }
    }

    #[test]
    fn what_is_remembered_of_a_tenant_is_bounded() {
        let mut lanes = Lanes::new(MANY);
        let other = due(scope(2), "other", "", Lane::First, 0);
        answer(&mut lanes, &other);
        for n in 0..=i64::from(REMEMBERED_OF_TENANT) {
            answer(&mut lanes, &first(&format!("h{n}"), n));
        }
        assert_eq!(lanes.endpoints.len(), 1, "those of another tenant stay");
        assert_eq!(lanes.tenants.len(), 1);
    }

    proptest! {
        /// One slot after the other, each only while the rule allows it, is what the formula says.
        #[test]
        fn room_is_what_the_rule_allows_one_by_one(held in 0..200_u32, free in 0..200_u32, a in 1..5_u32, b in 1..5_u32) {
            let (mut now, mut left) = (held, free);
            while left > 0 && now * b < left * a {
                (now, left) = (now + 1, left - 1);
            }
            prop_assert_eq!(room(held, free, (a, b)), now - held);
        }

        /// Whatever up to eight tenants hold, in any mix of hosts and lanes, another's first attempt gets a slot at once.
        #[test]
        fn a_new_tenant_is_served_beside_any_others(
            tenants in proptest::collection::vec((1..400_i64, 1..5_i64, any::<bool>()), 0..8),
            small in any::<bool>(),
        ) {
            let mut lanes = Lanes::new(if small { Slots::within(1_024) } else { MANY });
            let mut hanging = Vec::new();
            for (account, (count, hosts, is_retry)) in tenants.into_iter().enumerate() {
                let lane = if is_retry { Lane::Retry } else { Lane::First };
                hanging.extend((0..count).map(|n| {
                    due(scope(10 + account as u128), &format!("h{}", n % hosts), &n.to_string(), lane, n)
                }));
            }
            hang(&mut lanes, &hanging);
            for host in ["h0", "elsewhere"] {
                let new = due(scope(1), host, "new", Lane::First, 1_000);
                hanging.push(new.clone());
                prop_assert_eq!(planned(&lanes, &hanging, &new), 1);
            }
        }

        #[test]
        fn limits_hold_whatever_happens(steps in proptest::collection::vec((0..40_u8, 0..5_u8, any::<bool>()), 1..200)) {
            let mut lanes = Lanes::new(SLOTS);
            let mut open: Vec<Ticket> = Vec::new();
            for (seed, step, is_retry) in steps {
                match step {
                    0 | 1 => {
                        let lane = if is_retry { Lane::Retry } else { Lane::First };
                        let some = |n: u8| due(scope((n % 3).into()), &format!("h{}", n % 5), &n.to_string(), lane, n.into());
                        let all: Vec<_> = (seed..seed + 8).map(some).collect();
                        open.extend(begin(&mut lanes, &all));
                    }
                    // No more can be in flight at an endpoint.
                    2 => open.iter_mut().take(seed.into()).for_each(|ticket| {
                        if !ticket.is_slow && lanes.endpoints[&ticket.endpoint].slow < PER_ENDPOINT {
                            lanes.slow(ticket);
                        }
                    }),
                    _ if open.is_empty() => {}
                    _ => {
                        let ticket = open.swap_remove(usize::from(seed) % open.len());
                        let ended = [Ended::Answered, Ended::Failed, Ended::Hung, Ended::NotMade][usize::from(seed) % 4];
                        lanes.end(ticket, ended);
                    }
                }
                let Held { quick, slow } = lanes.usage.all;
                prop_assert!(quick <= SLOTS.quick && slow <= SLOTS.slow);
                prop_assert!(lanes.usage.hosts.values().all(|held| *held <= SLOTS.per_host()));
                prop_assert_eq!(lanes.claimed() as usize, open.len());
                for endpoint in lanes.endpoints.values() {
                    prop_assert!(endpoint.claimed() <= CLAIMED_AHEAD);
                }
            }
            for ticket in open {
                lanes.end(ticket, Ended::Failed);
            }
            prop_assert_eq!(lanes.usage.all, Held::default());
            prop_assert!(lanes.usage.tenants.is_empty() && lanes.usage.hosts.is_empty() && lanes.usage.places.is_empty());
        }
    }
}
