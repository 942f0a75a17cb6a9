//! A check by chance: random steps on deliveries, on the store and on a model of it.
//!
//! What holds at every step: the endpoints returned are exactly those of which something is due that nobody holds; a claim takes
//! the longest due of each share; one holds a delivery at a time; no attempt is due before its time; a replay asked for is
//! made once, whatever becomes of leases; a test is never made again by itself; and each delivery of a bulk replay is
//! marked once.

use std::collections::{BTreeMap, HashSet};

use super::model::Chance;
use super::samples::*;
use crate::{
    Advance, ClaimedDelivery, DeliveryId, DeliveryStatus, DueEndpoint, Lane, NewReplay, ReplayId, ReplayStatus, Scope,
    Selection, Trigger, Verdict,
};

const SEEDS: u64 = 10;
const STEPS: u32 = 150;
const HOSTS: [&str; 3] = ["a.example", "b.example:8443", "c.example"];
const WINDOW: usize = 3;

/// Runs random steps from each seed, one after the other on the same store.
pub async fn random_steps_of_deliveries_keep_to_the_model(store: Tested) {
    for seed in 0..SEEDS {
        let mut run = Run::new(store.clone(), seed);
        for step in 0..STEPS {
            run.at = format!("seed {seed}, step {step}");
            run.step().await;
            run.compare().await;
        }
        run.at = format!("seed {seed}, at the end");
        run.drain().await;
    }
}

struct Row {
    scope: Scope,
    host: String,
    status: DeliveryStatus,
    due: Option<i64>,
    trigger: Trigger,
    asked: Option<i64>,
    attempts: u32,
    automatic: u32,
    epoch: u32,
    held_until: Option<i64>,
    /// Somebody holds it, or held it when the lease ran out.
    is_owned: bool,
}

impl Row {
    fn next_trigger(&self) -> Trigger {
        if self.asked.is_some() { Trigger::Replay } else { self.trigger }
    }

    fn endpoint(&self) -> String {
        endpoint_key(self.scope, &self.host)
    }

    fn lane(&self) -> Lane {
        let is_retry = self.next_trigger() == Trigger::Automatic && self.automatic > 0;
        if is_retry { Lane::Retry } else { Lane::First }
    }

    fn is_replaying(&self) -> bool {
        self.next_trigger() == Trigger::Replay
    }

    fn ask(&mut self, now: i64) {
        match (self.trigger, self.held_until) {
            (Trigger::Replay, _) => {}
            (_, Some(_)) => self.asked = self.asked.or(Some(now)),
            (_, None) => (self.due, self.trigger, self.asked) = (Some(now), Trigger::Replay, None),
        }
    }

    /// Ends a lease on a test that was not recorded.
    fn give_up(&mut self) {
        self.status = DeliveryStatus::Failed;
        self.due = self.asked.take();
        self.trigger = if self.due.is_some() { Trigger::Replay } else { Trigger::Automatic };
        self.end_lease();
    }

    fn end_lease(&mut self) {
        self.epoch += 1;
        (self.held_until, self.is_owned) = (None, false);
    }
}

struct Bulk {
    id: ReplayId,
    scope: Scope,
    /// The last delivery that belongs to it, and the last it looked at.
    last: Option<DeliveryId>,
    cursor: Option<DeliveryId>,
    replayed: u64,
    turn: u64,
    ended: bool,
}

struct Run {
    store: Tested,
    chance: Chance,
    now: i64,
    scopes: [Scope; 2],
    rows: BTreeMap<DeliveryId, Row>,
    bulks: Vec<Bulk>,
    turns: u64,
    /// All that was ever claimed, of which most is stale.
    claimed: Vec<ClaimedDelivery>,
    at: String,
}

impl Run {
    fn new(store: Tested, seed: u64) -> Self {
        Self {
            store,
            chance: Chance(seed),
            now: 1,
            scopes: [scope(), scope()],
            rows: BTreeMap::new(),
            bulks: Vec::new(),
            turns: 0,
            claimed: Vec::new(),
            at: String::new(),
        }
    }

    async fn step(&mut self) {
        match self.chance.below(24) {
            0..3 => self.owe().await,
            3 => self.test().await,
            4..9 => self.claim().await,
            9..14 => self.finish().await,
            14 => self.release().await,
            15 => self.renew().await,
            16 => self.replay().await,
            17 => self.start_bulk().await,
            18..21 => self.advance().await,
            21 if self.chance.below(10) == 0 => self.free().await,
            22 => self.now += 10 + self.chance.below(60) as i64,
            _ => self.now += 1,
        }
    }

    fn some_scope(&mut self) -> Scope {
        self.scopes[self.chance.below(2)]
    }

    async fn owe(&mut self) {
        let (scope, host) = (self.some_scope(), HOSTS[self.chance.below(HOSTS.len())]);
        let id = owed(&self.store, scope, host, at(self.now)).await;
        self.insert(id, scope, host, Trigger::Automatic);
        self.rows.get_mut(&id).unwrap().due = Some(self.now);
    }

    async fn test(&mut self) {
        let new = crate::NewTest { now: at(self.now), ..trial(self.some_scope()) };
        let claimed = self.store.submit_test(new.clone()).await.unwrap();
        self.insert(new.delivery, new.scope, &new.webhook.host, Trigger::Test);
        let row = self.rows.get_mut(&new.delivery).unwrap();
        (row.epoch, row.is_owned) = (claimed.lease.epoch, true);
        row.held_until = Some(self.now + LEASE.as_secs() as i64);
        self.claimed.push(claimed);
    }

    fn insert(&mut self, id: DeliveryId, scope: Scope, host: &str, trigger: Trigger) {
        let row = Row {
            scope,
            host: host.to_owned(),
            status: DeliveryStatus::Pending,
            due: None,
            trigger,
            asked: None,
            attempts: 0,
            automatic: 0,
            epoch: 0,
            held_until: None,
            is_owned: false,
        };
        self.rows.insert(id, row);
    }

    fn lapse(&mut self) {
        for row in self.rows.values_mut().filter(|row| row.held_until.is_some_and(|until| until <= self.now)) {
            if row.trigger == Trigger::Test {
                row.give_up();
            }
            row.held_until = None;
        }
    }

    /// The deliveries of an endpoint that are due in a lane, longest due first.
    fn due(&self, endpoint: &str, lane: Lane) -> Vec<(i64, DeliveryId)> {
        let is_due = |row: &Row| row.held_until.is_none() && row.endpoint() == endpoint && row.lane() == lane;
        let rows = self.rows.iter().filter(|(_, row)| is_due(row));
        let mut due: Vec<_> =
            rows.filter_map(|(id, row)| row.due.filter(|due| *due <= self.now).map(|due| (due, *id))).collect();
        due.sort();
        due
    }

    fn due_endpoints(&self) -> Vec<DueEndpoint> {
        let mut found = Vec::new();
        for lane in [Lane::First, Lane::Retry] {
            for host in HOSTS.into_iter().chain(["example.com"]) {
                for scope in &self.scopes {
                    let endpoint = endpoint_key(*scope, host);
                    if let Some((since, _)) = self.due(&endpoint, lane).first() {
                        let host = host.to_owned();
                        found.push(DueEndpoint { endpoint, scope: *scope, host, lane, since: at(*since) });
                    }
                }
            }
        }
        found.sort_by(|one, other| {
            (one.lane, one.since, &one.endpoint).cmp(&(other.lane, other.since, &other.endpoint))
        });
        found
    }

    async fn claim(&mut self) {
        self.lapse();
        let due = self.store.due_endpoints(at(self.now), ALL, 0).await.unwrap();
        assert_eq!(due, self.due_endpoints(), "{}", self.at);
        let limit = 1 + self.chance.below(3);
        let shares = shares_of(due, limit as u32);
        let mut expected = Vec::new();
        for share in &shares {
            expected.extend(self.due(&share.endpoint, share.lane).into_iter().take(limit).map(|(_, id)| id));
        }
        let claimed = claim_shares(&self.store, shares, at(self.now)).await;
        assert_eq!(claimed.iter().map(|claimed| claimed.delivery.id).collect::<Vec<_>>(), expected, "{}", self.at);
        for claimed in claimed {
            let until = self.now + LEASE.as_secs() as i64;
            let row = self.rows.get_mut(&claimed.delivery.id).unwrap();
            assert!(claimed.lease.epoch > row.epoch, "{}: an epoch is never given twice", self.at);
            row.trigger = row.next_trigger();
            (row.asked, row.epoch, row.held_until) = (None, claimed.lease.epoch, Some(until));
            row.is_owned = true;
            assert_eq!(
                (claimed.delivery.next_trigger, claimed.delivery.lane, claimed.delivery.attempts),
                (row.trigger, row.lane(), row.attempts),
                "{}",
                self.at
            );
            self.claimed.push(claimed);
        }
    }

    /// Something that was claimed, lately more often than long ago, and whether its lease is good still.
    fn some_claimed(&mut self) -> Option<(ClaimedDelivery, bool)> {
        let recent = self.claimed.len().min(1 + self.chance.below(10));
        if recent == 0 {
            return None;
        }
        let index = self.claimed.len() - 1 - self.chance.below(recent);
        let claimed = self.claimed[index].clone();
        let row = &self.rows[&claimed.delivery.id];
        let is_held = row.epoch == claimed.lease.epoch;
        Some((claimed, is_held))
    }

    async fn finish(&mut self) {
        let Some((claimed, is_held)) = self.some_claimed() else { return };
        let chosen = self.chance.below(4);
        let status =
            [DeliveryStatus::Delivered, DeliveryStatus::Failed, DeliveryStatus::Pending, DeliveryStatus::Failed]
                [chosen];
        let next = [None, None, Some(self.now + 20), Some(self.now + 200)][chosen];
        let verdict = Verdict { status, next_attempt_at: next.map(at) };
        let number = self.rows[&claimed.delivery.id].attempts + 1;
        let made = crate::Attempt { number, ..attempt(&claimed, at(self.now), None) };
        let done = self.store.finish_attempt(claimed.lease, made, verdict, at(self.now)).await;
        assert_eq!(done.is_ok(), is_held, "{}: {done:?}", self.at);
        if !is_held {
            return;
        }
        let row = self.rows.get_mut(&claimed.delivery.id).unwrap();
        let made = claimed.delivery.next_trigger;
        row.attempts += 1;
        row.automatic += u32::from(made == Trigger::Automatic);
        row.end_lease();
        let (mut status, mut next) = (status, next);
        if made == Trigger::Test {
            next = None;
            if status == DeliveryStatus::Pending {
                status = DeliveryStatus::Failed;
            }
        }
        if row.status != DeliveryStatus::Delivered {
            row.status = status;
        }
        if let Some(asked) = row.asked.take() {
            (row.due, row.trigger) = (Some(asked), Trigger::Replay);
        } else if made == Trigger::Replay || row.trigger != Trigger::Replay {
            (row.due, row.trigger) = (next, Trigger::Automatic);
        }
    }

    async fn release(&mut self) {
        let Some((claimed, is_held)) = self.some_claimed() else { return };
        let done = self.store.release_delivery(claimed.lease, at(self.now + 5)).await;
        assert_eq!(done.is_ok(), is_held, "{}", self.at);
        if !is_held {
            return;
        }
        let row = self.rows.get_mut(&claimed.delivery.id).unwrap();
        if row.trigger == Trigger::Test {
            row.give_up();
            return;
        }
        row.trigger = row.next_trigger();
        row.due = Some(row.asked.take().unwrap_or(self.now + 5));
        row.end_lease();
    }

    async fn renew(&mut self) {
        let Some((claimed, is_held)) = self.some_claimed() else { return };
        let lost = crate::DeliveryLease { delivery: DeliveryId(uuid()), epoch: 1 };
        let told = self.store.renew_deliveries(vec![claimed.lease, lost], at(self.now), LEASE).await.unwrap();
        assert_eq!(told, [is_held, false], "{}", self.at);
        if is_held {
            self.rows.get_mut(&claimed.delivery.id).unwrap().held_until = Some(self.now + LEASE.as_secs() as i64);
        }
    }

    async fn replay(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        let index = self.chance.below(self.rows.len());
        let (id, row) = self.rows.iter_mut().nth(index).unwrap();
        self.store.replay_delivery(row.scope, *id, at(self.now)).await.unwrap();
        row.ask(self.now);
    }

    async fn start_bulk(&mut self) {
        let (id, scope) = (ReplayId(uuid()), self.some_scope());
        let new = NewReplay { id, scope, selection: Selection::default(), created_at: at(self.now) };
        let members: Vec<_> = self.rows.iter().filter(|(_, row)| row.scope == scope).map(|(id, _)| *id).collect();
        let replay = self.store.submit_replay(new).await.unwrap();
        assert_eq!(replay.matched, members.len() as u64, "{}", self.at);
        let last = members.last().copied();
        self.bulks.push(Bulk { id, scope, last, cursor: None, replayed: 0, turn: 0, ended: false });
    }

    fn room(&self, scope: Scope) -> usize {
        let outstanding = self.rows.values().filter(|row| row.scope == scope && row.is_replaying()).count();
        WINDOW.saturating_sub(outstanding)
    }

    fn next_bulk(&self) -> Option<usize> {
        let runnable = |bulk: &Bulk| !bulk.ended && self.room(bulk.scope) > 0;
        let candidates = self.bulks.iter().enumerate().filter(|(_, bulk)| runnable(bulk));
        candidates.min_by_key(|(_, bulk)| (bulk.turn, bulk.id)).map(|(index, _)| index)
    }

    async fn advance(&mut self) {
        let limit = 1 + self.chance.below(4);
        let Advance { replayed, more } =
            self.store.advance_replays(at(self.now), limit as u32, WINDOW as u32).await.unwrap();
        let expected = self.next_bulk().map_or(0, |index| self.go_on(index, limit));
        assert_eq!((replayed, more), (expected, self.next_bulk().is_some()), "{}", self.at);
        for bulk in &self.bulks {
            let found = self.store.replay(bulk.scope, bulk.id).await.unwrap();
            let status = if bulk.ended { ReplayStatus::Completed } else { ReplayStatus::Started };
            assert_eq!((found.replayed, found.status), (bulk.replayed, status), "{}", self.at);
        }
    }

    /// Deliveries are owed in the order of their ids, so that this is the order of the walk.
    fn go_on(&mut self, index: usize, limit: usize) -> u32 {
        let mut room = self.room(self.bulks[index].scope);
        self.turns += 1;
        let bulk = &mut self.bulks[index];
        bulk.turn = self.turns;
        let (scope, cursor) = (bulk.scope, bulk.cursor);
        let rest = self.rows.iter_mut().filter(|(id, row)| row.scope == scope && Some(**id) > cursor);
        let (mut marked, mut looked_at, mut is_full) = (0, 0, false);
        for (id, row) in rest.take(limit) {
            if Some(*id) <= bulk.last {
                if !row.is_replaying() {
                    is_full = room == 0;
                    if is_full {
                        break;
                    }
                    room -= 1;
                    row.ask(self.now);
                }
                marked += 1;
            }
            looked_at += 1;
            bulk.cursor = Some(*id);
        }
        bulk.replayed += u64::from(marked);
        bulk.ended = !is_full && looked_at < limit;
        marked
    }

    async fn free(&mut self) {
        self.store.free_leases().await.unwrap();
        for row in self.rows.values_mut() {
            if row.trigger == Trigger::Test && row.held_until.is_some() {
                row.give_up();
            } else if row.is_owned {
                row.end_lease();
            }
        }
    }

    async fn compare(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        let index = self.chance.below(self.rows.len());
        let (id, row) = self.rows.iter().nth(index).unwrap();
        let found = self.store.delivery(row.scope, *id).await.unwrap();
        assert_eq!((found.attempts, found.automatic_attempts), (row.attempts, row.automatic), "{}", self.at);
        assert_eq!((found.lane, found.host.as_str()), (row.lane(), row.host.as_str()), "{}", self.at);
        let has_lapsed = row.held_until.is_some_and(|until| until <= self.now);
        if !has_lapsed {
            assert_eq!((found.status, found.next_attempt_at), (row.status, row.due.map(at)), "{}", self.at);
        }
    }

    /// Lets all leases run out, and sends all that is owed.
    async fn drain(&mut self) {
        self.now += 1000;
        let mut steps = 0;
        loop {
            self.advance().await;
            self.claim().await;
            let claimed: Vec<_> = self.claimed.drain(..).collect();
            let mut sent = HashSet::new();
            for claimed in claimed {
                let row = self.rows.get_mut(&claimed.delivery.id).unwrap();
                if row.epoch == claimed.lease.epoch && row.held_until.is_some() {
                    assert!(sent.insert(claimed.delivery.id));
                    let number = row.attempts + 1;
                    let made = crate::Attempt { number, ..attempt(&claimed, at(self.now), None) };
                    let verdict = Verdict { status: DeliveryStatus::Delivered, next_attempt_at: None };
                    self.store.finish_attempt(claimed.lease, made, verdict, at(self.now)).await.unwrap();
                    row.attempts += 1;
                    row.automatic += u32::from(claimed.delivery.next_trigger == Trigger::Automatic);
                    row.status = DeliveryStatus::Delivered;
                    (row.due, row.trigger) = (row.asked.take(), Trigger::Automatic);
                    row.end_lease();
                    if row.due.is_some() {
                        row.trigger = Trigger::Replay;
                    }
                }
            }
            self.compare().await;
            let is_idle = sent.is_empty() && self.due_endpoints().is_empty();
            if is_idle && self.bulks.iter().all(|bulk| bulk.ended) {
                break;
            }
            steps += 1;
            assert!(steps < 2000, "{}: it does not come to an end", self.at);
        }
        for bulk in &self.bulks {
            let found = self.store.replay(bulk.scope, bulk.id).await.unwrap();
            assert_eq!(found.replayed, found.matched, "{}", self.at);
        }
    }
}
