//! Which endpoints get an attempt next: a pure decision, so that one endpoint never waits for another.
//!
//! What an attempt needs is a slot, and slots are what a dead endpoint would eat up: each of its attempts holds one for
//! the 30 s it hangs. So slots are of two kinds. A *quick* slot is for the first attempts of endpoints that are not known
//! to hang, and an attempt leaves it after half a second, for a *slow* slot. Retries, and all that is owed to endpoints
//! that hang, begin in slow slots. However many endpoints hang, quick slots are therefore free again after half a second;
//! and should the slow ones run out, some quick ones are kept for endpoints that are known to answer.
//!
//! Apart from that an endpoint has at most [`PER_HOST`] attempts in flight, one that hangs [`PER_HANGING_HOST`]. For endpoints
//! that have just answered, more deliveries are claimed ahead, many at a time, so that they need not wait for the store;
//! those need no slot until it is their turn, and are given back as soon as an attempt before them is slow.

use std::{collections::HashMap, time::Duration};

use datasonar_store::{DueHost, Lane, Share};

/// Attempts in flight at one host of an endpoint, at most.
pub const PER_HOST: u32 = 8;
/// Attempts in flight at a host whose last attempts were not answered in time, at most.
const PER_HANGING_HOST: u32 = 2;
/// Deliveries claimed for one host that has just answered, those in flight included; more are claimed when half are left.
const CLAIMED_AHEAD: u32 = 128;
/// Deliveries claimed ahead for all hosts.
const ALL_AHEAD: u32 = 4_096;
/// An attempt under way for longer is slow.
pub const SLOW_AFTER: Duration = Duration::from_millis(500);
/// After so many attempts in a row that were not answered in time, a host hangs.
const HANGS_AFTER: u32 = 2;
/// Hosts of which nothing is under way are remembered up to this many.
const REMEMBERED: usize = 10_000;

/// How many slots of each kind there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// For first attempts.
    pub quick: u32,
    /// Of the quick ones: kept for hosts that are known to answer.
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
}

/// The kind of slot an attempt holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Quick,
    Slow,
}

/// How an attempt ended, as far as its host is concerned.
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

/// A delivery that was claimed: to be given back by [`Lanes::end`].
#[derive(Debug)]
pub struct Ticket {
    host: String,
    slot: Slot,
    is_slow: bool,
}

#[derive(Debug, Default)]
struct Host {
    /// Deliveries claimed for quick slots; those beyond [`PER_HOST`] wait for their turn.
    quick: u32,
    /// Attempts in slow slots.
    slow: u32,
    /// Attempts in a row that ran out of time.
    hung: u32,
    /// Whether the last attempt was answered, and quickly.
    answers: bool,
}

impl Host {
    fn hangs(&self) -> bool {
        self.hung >= HANGS_AFTER
    }

    fn claimed(&self) -> u32 {
        self.quick + self.slow
    }

    /// How many quick slots it takes: what is claimed ahead takes none.
    fn quick_slots(&self) -> u32 {
        self.quick.min(PER_HOST)
    }

    /// How many more deliveries may be claimed, and how many of these would need a slot.
    fn room(&self) -> (u32, u32) {
        let claimed = self.claimed();
        let in_flight = if self.hangs() { PER_HANGING_HOST } else { PER_HOST };
        let slots = in_flight.saturating_sub(claimed);
        let is_ahead = self.answers && self.slow == 0 && claimed <= CLAIMED_AHEAD / 2;
        (if is_ahead { CLAIMED_AHEAD - claimed } else { slots }, slots)
    }
}

/// What is under way, by host.
#[derive(Debug)]
pub struct Lanes {
    slots: Slots,
    hosts: HashMap<String, Host>,
    /// Slots taken.
    quick: u32,
    slow: u32,
    /// Deliveries claimed, in all.
    claimed: u32,
}

impl Lanes {
    /// Nothing is under way.
    pub fn new(slots: Slots) -> Self {
        Self { slots, hosts: HashMap::new(), quick: 0, slow: 0, claimed: 0 }
    }

    /// How many deliveries are claimed.
    pub fn claimed(&self) -> u32 {
        self.claimed
    }

    /// Decides how many deliveries to claim for which hosts.
    ///
    /// In the quick lane, hosts that are known to answer come first. Of the others, the one that waits longest and the one
    /// that has just come take turns: when more hosts hang than there are slots, a new one is not at the end of their
    /// queue.
    pub fn plan(&self, due: &[DueHost]) -> Vec<Share> {
        let known = |due: &DueHost| self.hosts.get(&due.host);
        let hangs = |due: &DueHost| known(due).is_some_and(Host::hangs);
        let answers = |due: &DueHost| known(due).is_some_and(|host| host.answers);
        let by_age = |mut hosts: Vec<&DueHost>| -> Vec<Plan> {
            hosts.sort_by_key(|due| due.since);
            hosts.into_iter().map(|due| self.plan_of(due)).collect()
        };
        let (first, rest): (Vec<_>, Vec<_>) = due.iter().partition(|due| due.lane == Lane::First && !hangs(due));
        let (proven, unknown): (Vec<_>, Vec<_>) = first.into_iter().partition(|due| answers(due));

        let mut sharing = Sharing { ahead: ALL_AHEAD.saturating_sub(self.claimed), ..Sharing::default() };
        let mut quick = self.slots.quick.saturating_sub(self.quick);
        sharing.share(by_age(proven), &mut quick);
        let mut quick = quick.saturating_sub(self.slots.reserved);
        sharing.share(both_ends(by_age(unknown)), &mut quick);
        let mut slow = self.slots.slow.saturating_sub(self.slow);
        sharing.share(by_age(rest), &mut slow);
        sharing.shares
    }

    fn plan_of(&self, due: &DueHost) -> Plan {
        let (most, slots) = self.hosts.get(&due.host).map_or((PER_HOST, PER_HOST), Host::room);
        Plan { due: due.clone(), slots, ahead: if due.lane == Lane::First { most - slots } else { 0 } }
    }

    /// Counts a delivery that was claimed in a lane.
    pub fn begin(&mut self, host: &str, lane: Lane) -> Ticket {
        let slot = match self.hosts.get(host) {
            Some(host) if host.hangs() => Slot::Slow,
            _ if lane == Lane::First => Slot::Quick,
            _ => Slot::Slow,
        };
        self.claimed += 1;
        self.change(host, |host| match slot {
            Slot::Quick => host.quick += 1,
            Slot::Slow => host.slow += 1,
        });
        Ticket { host: host.to_owned(), slot, is_slow: false }
    }

    /// Notes that an attempt has been under way for [`SLOW_AFTER`]; it leaves its quick slot if a slow one is free. Tells
    /// whether deliveries are waiting behind it, claimed ahead, that should be given back.
    pub fn slow(&mut self, ticket: &mut Ticket) -> bool {
        ticket.is_slow = true;
        let moves = ticket.slot == Slot::Quick && self.slow < self.slots.slow;
        if moves {
            ticket.slot = Slot::Slow;
        }
        self.change(&ticket.host, |host| {
            host.answers = false;
            if moves {
                (host.quick, host.slow) = (host.quick - 1, host.slow + 1);
            }
        });
        self.hosts.get(&ticket.host).is_some_and(|host| host.claimed() > PER_HOST)
    }

    /// Takes a delivery back and learns of the host.
    pub fn end(&mut self, ticket: Ticket, ended: Ended) {
        self.claimed -= 1;
        self.change(&ticket.host, |host| {
            match ticket.slot {
                Slot::Quick => host.quick -= 1,
                Slot::Slow => host.slow -= 1,
            }
            match ended {
                Ended::Answered => (host.hung, host.answers) = (0, !ticket.is_slow),
                Ended::Failed => (host.hung, host.answers) = (0, false),
                Ended::Hung => (host.hung, host.answers) = (host.hung.saturating_add(1), false),
                Ended::NotMade => {}
            }
        });
        if self.hosts.get(&ticket.host).is_some_and(|host| host.claimed() == 0 && !host.answers && host.hung == 0) {
            self.hosts.remove(&ticket.host);
        }
        if self.hosts.len() > REMEMBERED {
            self.hosts.retain(|_, host| host.claimed() > 0);
        }
    }

    /// Changes a host, and the slots taken with it.
    fn change(&mut self, host: &str, change: impl FnOnce(&mut Host)) {
        if !self.hosts.contains_key(host) {
            self.hosts.insert(host.to_owned(), Host::default());
        }
        let Some(host) = self.hosts.get_mut(host) else { return };
        (self.quick, self.slow) = (self.quick - host.quick_slots(), self.slow - host.slow);
        change(host);
        (self.quick, self.slow) = (self.quick + host.quick_slots(), self.slow + host.slow);
    }
}

struct Plan {
    due: DueHost,
    /// How many may be sent at once.
    slots: u32,
    /// How many more may be claimed ahead.
    ahead: u32,
}

/// Handing out slots.
#[derive(Default)]
struct Sharing {
    /// How many deliveries may be claimed ahead.
    ahead: u32,
    /// What a host was given in this round, whatever the lane.
    taken: HashMap<String, u32>,
    shares: Vec<Share>,
}

impl Sharing {
    /// Gives some to each host in turn, then more to the first ones.
    fn share(&mut self, hosts: Vec<Plan>, slots: &mut u32) {
        let mut limits = vec![0; hosts.len()];
        loop {
            let before = *slots;
            for (plan, limit) in hosts.iter().zip(&mut limits) {
                let taken = self.taken.entry(plan.due.host.clone()).or_default();
                // Half of what is left at a time: fewer rounds, and still something for everybody.
                let give = plan.slots.saturating_sub(*taken).div_ceil(2).min(*slots);
                (*limit, *taken, *slots) = (*limit + give, *taken + give, *slots - give);
            }
            if *slots == before || *slots == 0 {
                break;
            }
        }
        for (plan, limit) in hosts.into_iter().zip(limits) {
            // Ahead of others only what has its slots: nothing waits behind one that got none.
            let ahead = if limit == plan.slots { plan.ahead.min(self.ahead) } else { 0 };
            self.ahead -= ahead;
            if limit + ahead > 0 {
                let DueHost { host, lane, .. } = plan.due;
                self.shares.push(Share { host, lane, limit: limit + ahead });
            }
        }
    }
}

/// The first, the last, the second, the last but one, and so on.
fn both_ends(hosts: Vec<Plan>) -> Vec<Plan> {
    let count = hosts.len();
    let rank = |at: usize| if at < count.div_ceil(2) { 2 * at } else { 2 * (count - at) - 1 };
    let mut ranked: Vec<_> = hosts.into_iter().enumerate().map(|(at, plan)| (rank(at), plan)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, plan)| plan).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const SLOTS: Slots = Slots { quick: 16, reserved: 4, slow: 48 };

    fn due(host: &str, lane: Lane, since: i64) -> DueHost {
        DueHost { host: host.to_owned(), lane, since: Timestamp::from_second(since).unwrap() }
    }

    fn first(host: &str, since: i64) -> DueHost {
        due(host, Lane::First, since)
    }

    /// Begins all that is planned.
    fn begin(lanes: &mut Lanes, due: &[DueHost]) -> Vec<Ticket> {
        let plan = lanes.plan(due);
        plan.iter()
            .flat_map(|share| std::iter::repeat_n((share.host.clone(), share.lane), share.limit as usize))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(host, lane)| lanes.begin(&host, lane))
            .collect()
    }

    fn planned(lanes: &Lanes, due: &[DueHost], host: &str) -> u32 {
        lanes.plan(due).iter().filter(|share| share.host == host).map(|share| share.limit).sum()
    }

    #[test]
    fn one_host_gets_eight() {
        let mut lanes = Lanes::new(SLOTS);
        let due = [first("a", 0)];
        assert_eq!(begin(&mut lanes, &due).len(), PER_HOST as usize);
        assert_eq!(lanes.plan(&due), []);
    }

    #[test]
    fn for_a_host_that_answers_many_are_claimed_at_a_time() {
        let mut lanes = Lanes::new(SLOTS);
        let due = [first("a", 0)];
        for ticket in begin(&mut lanes, &due) {
            lanes.end(ticket, Ended::Answered);
        }
        let mut tickets = begin(&mut lanes, &due);
        assert_eq!(tickets.len(), CLAIMED_AHEAD as usize);
        assert_eq!(lanes.quick, PER_HOST, "what waits for its turn takes no slot");
        lanes.end(tickets.pop().unwrap(), Ended::Answered);
        assert_eq!(lanes.plan(&due), [], "not one by one");
        tickets.truncate(60);
        let mut lanes = Lanes::new(SLOTS);
        tickets.iter().for_each(|ticket| drop(lanes.begin(&ticket.host, Lane::First)));
        lanes.change("a", |host| host.answers = true);
        assert_eq!(planned(&lanes, &due, "a"), CLAIMED_AHEAD - 60);
        assert!(lanes.slow(&mut tickets[0]), "what was claimed ahead should be given back");
        assert_eq!(planned(&lanes, &due, "a"), 0, "one that is slow gets no more than it can take");
    }

    #[test]
    fn hosts_that_hang_leave_room_after_half_a_second() {
        let mut lanes = Lanes::new(SLOTS);
        let hanging: Vec<_> = (0..6).map(|n| first(&format!("dead{n}"), n)).collect();
        let mut tickets = begin(&mut lanes, &hanging);
        assert_eq!(tickets.len(), 12, "all but the reserved slots");
        let mut due = hanging.clone();
        due.push(first("new", 100));
        assert_eq!(planned(&lanes, &due, "new"), 0);
        tickets.iter_mut().for_each(|ticket| assert!(!lanes.slow(ticket)));
        assert!(planned(&lanes, &due, "new") > 0);
    }

    #[test]
    fn hosts_that_answer_have_slots_that_nobody_else_gets() {
        let mut lanes = Lanes::new(SLOTS);
        let ticket = lanes.begin("good", Lane::First);
        lanes.end(ticket, Ended::Answered);
        let mut due: Vec<_> = (0..100).map(|n| first(&format!("dead{n}"), n)).collect();
        begin(&mut lanes, &due);
        due.push(first("good", 1_000));
        assert!(planned(&lanes, &due, "good") >= SLOTS.reserved);
    }

    #[test]
    fn a_newcomer_does_not_wait_behind_a_thousand() {
        let mut due: Vec<_> = (0..1_000).map(|n| first(&format!("other{n}"), n)).collect();
        due.push(first("new", 5_000));
        let lanes = Lanes::new(SLOTS);
        assert!(planned(&lanes, &due, "new") > 0);
        assert!(planned(&lanes, &due, "other0") > 0, "and the oldest is not forgotten");
    }

    #[test]
    fn a_host_that_hangs_twice_is_held_back_until_it_answers() {
        let mut lanes = Lanes::new(SLOTS);
        for _ in 0..HANGS_AFTER {
            let ticket = lanes.begin("a", Lane::First);
            lanes.end(ticket, Ended::Hung);
        }
        let due = [first("a", 0)];
        let tickets = begin(&mut lanes, &due);
        assert_eq!(tickets.len(), PER_HANGING_HOST as usize);
        assert_eq!((lanes.quick, lanes.slow), (0, PER_HANGING_HOST), "in slow slots from the beginning");
        for ticket in tickets {
            lanes.end(ticket, Ended::Answered);
        }
        assert!(planned(&lanes, &due, "a") > PER_HANGING_HOST);
    }

    #[test]
    fn retries_take_no_quick_slots() {
        let mut lanes = Lanes::new(SLOTS);
        let retries: Vec<_> = (0..100).map(|n| due(&format!("h{n}"), Lane::Retry, n)).collect();
        assert_eq!(begin(&mut lanes, &retries).len(), SLOTS.slow as usize);
        assert_eq!(planned(&lanes, &[first("new", 0)], "new"), PER_HOST);
    }

    proptest! {
        #[test]
        fn limits_hold_whatever_happens(steps in proptest::collection::vec((0..40_u8, 0..5_u8, any::<bool>()), 1..200)) {
            let mut lanes = Lanes::new(SLOTS);
            let mut open: Vec<Ticket> = Vec::new();
            for (host, step, is_retry) in steps {
                match step {
                    0 | 1 => {
                        let lane = if is_retry { Lane::Retry } else { Lane::First };
                        let hosts: Vec<_> = (host..host + 8).map(|n| due(&format!("h{n}"), lane, n.into())).collect();
                        open.extend(begin(&mut lanes, &hosts));
                    }
                    2 => open.iter_mut().take(host.into()).for_each(|ticket| {
                        lanes.slow(ticket);
                    }),
                    _ if open.is_empty() => {}
                    _ => {
                        let ticket = open.swap_remove(usize::from(host) % open.len());
                        let ended = [Ended::Answered, Ended::Failed, Ended::Hung, Ended::NotMade][usize::from(host) % 4];
                        lanes.end(ticket, ended);
                    }
                }
                prop_assert!(lanes.quick <= SLOTS.quick && lanes.slow <= SLOTS.slow);
                prop_assert_eq!(lanes.claimed() as usize, open.len());
                for host in lanes.hosts.values() {
                    prop_assert!(host.claimed() <= CLAIMED_AHEAD);
                }
            }
            for ticket in open {
                lanes.end(ticket, Ended::Failed);
            }
            prop_assert_eq!((lanes.quick, lanes.slow), (0, 0));
        }
    }
}
