//! Leasing deliveries, and recording what became of an attempt.
//!
//! While an attempt is under way its delivery keeps `next_attempt_at`, so that it is owed still if the attempt is never
//! recorded. Whatever ends a lease raises the epoch; one that has merely run out stays its holder's until another claims
//! the delivery. A test is the exception: it keeps nothing due, and its lease ends when it runs out.

use std::collections::{HashMap, HashSet, hash_map::Entry};
use std::time::Duration;

use crate::group::Joint;
use crate::sql::{self, Connection, OptionalExtension, Row, owned, params};
use jiff::Timestamp;

use super::activity::{Tally, Tried};
use super::deliveries::{self, select};
use super::{attempts, insight, jobs, secrets};
use crate::sql::codec::{Millis, count, later, time};
use crate::sql::corrupt;
use crate::{
    Attempt, ClaimDeliveries, ClaimedDelivery, Delivery, DeliveryLease, DeliveryStatus, Result, StoreError, Trigger,
    Verdict,
};

/// How many lapsed leases a claim takes back at most.
const LAPSED: u32 = 1000;

pub(super) fn claim(connection: &Connection, claim: &ClaimDeliveries) -> Result<Vec<ClaimedDelivery>> {
    take_back(connection, claim.now)?;
    let due = due(connection, claim)?;
    let found = jobs::by_ids(connection, due.iter().map(|(delivery, _)| delivery.job))?;
    let mut secrets = HashMap::new();
    let mut claimed = Vec::with_capacity(due.len());
    for ((delivery, epoch), job) in due.into_iter().zip(found) {
        let secrets = match secrets.entry(delivery.scope) {
            Entry::Occupied(known) => Vec::clone(known.get()),
            Entry::Vacant(unknown) => unknown.insert(secrets::secrets(connection, delivery.scope, claim.now)?).clone(),
        };
        let job = job.ok_or_else(|| corrupt("a delivery has no job"))?;
        let lease = lease(connection, claim, &delivery, epoch)?;
        claimed.push(ClaimedDelivery { lease, delivery, job, secrets });
    }
    Ok(claimed)
}

/// What of each share is due, longest due first, each with its epoch.
fn due(connection: &Connection, claim: &ClaimDeliveries) -> Result<Vec<(Delivery, u32)>> {
    const SELECT: &str = select!(
        "INDEXED BY deliveries_by_endpoint
        WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL
        AND lane = ? AND endpoint = ? AND next_attempt_at <= ? ORDER BY next_attempt_at, id LIMIT ?"
    );
    let read = |row: &Row| {
        let mut delivery = deliveries::read(row)?;
        delivery.next_trigger = deliveries::trigger(&delivery, time(row, "replay_requested_at")?.is_some());
        delivery.lane = deliveries::lane(delivery.next_trigger, delivery.automatic_attempts);
        Ok((delivery, row.get::<_, u32>("epoch")?))
    };
    let shares = claim.shares.iter().map(|share| owned![share.lane, share.endpoint, Millis(claim.now), share.limit]);
    let found = connection.prepare(SELECT).query_all(shares)?;
    let mut due = found.iter().flatten().map(read).collect::<Result<Vec<_>>>()?;
    // Of shares that overlap, the first has it.
    let mut taken = HashSet::new();
    due.retain(|(delivery, _)| taken.insert(delivery.id));
    Ok(due)
}

fn lease(connection: &Connection, claim: &ClaimDeliveries, delivery: &Delivery, epoch: u32) -> Result<DeliveryLease> {
    const UPDATE: &str = "UPDATE deliveries SET epoch = ?, owner = ?, lease_expires_at = ?, next_trigger = ?,
        lane = ?, replay_requested_at = NULL WHERE id = ?";
    let epoch = epoch.saturating_add(1);
    connection.prepare(UPDATE).run(params![
        epoch,
        claim.owner,
        later(claim.now, claim.lease),
        delivery.next_trigger,
        delivery.lane,
        delivery.id
    ])?;
    Ok(DeliveryLease { delivery: delivery.id, epoch })
}

/// Whether a lease has run out that was not taken back.
pub(super) fn has_lapsed(connection: &Connection, now: Timestamp) -> Result<bool> {
    const SELECT: &str = "SELECT 1 FROM deliveries INDEXED BY deliveries_leased
        WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ? LIMIT 1";
    Ok(connection.prepare(SELECT).exists([Millis(now)])?)
}

/// Makes deliveries whose leases have run out claimable, and gives up tests.
pub(super) fn take_back(connection: &Connection, now: Timestamp) -> Result<()> {
    const UPDATE: &str = "UPDATE deliveries SET lease_expires_at = NULL WHERE id IN
        (SELECT id FROM deliveries INDEXED BY deliveries_leased WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ?
        ORDER BY lease_expires_at LIMIT ?)";
    if has_lapsed(connection, now)? {
        give_up_tests(connection, now)?;
        connection.prepare(UPDATE).run(params![Millis(now), LAPSED])?;
    }
    Ok(())
}

/// Ends the tests whose leases have run out: nobody can tell whether they were sent, and they are not sent again, unless
/// a person asked for that meanwhile.
fn give_up_tests(connection: &Connection, now: Timestamp) -> Result<()> {
    const UPDATE: &str = "UPDATE deliveries SET status = 'failed', next_attempt_at = replay_requested_at,
        next_trigger = CASE WHEN replay_requested_at IS NULL THEN 'automatic' ELSE 'replay' END,
        replay_requested_at = NULL, epoch = epoch + 1, owner = NULL, lease_expires_at = NULL WHERE id IN
        (SELECT id FROM deliveries INDEXED BY deliveries_leased
        WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ? AND next_trigger = 'test')";
    connection.prepare(UPDATE).run([Millis(now)])?;
    Ok(())
}

pub(super) fn renew(
    connection: &Connection,
    leases: &[DeliveryLease],
    now: Timestamp,
    hold: Duration,
) -> Result<Vec<bool>> {
    const UPDATE: &str = "UPDATE deliveries SET lease_expires_at = ? WHERE id = ? AND epoch = ? RETURNING 1 AS held";
    let expires_at = later(now, hold);
    let each = leases.iter().map(|lease| owned![expires_at, lease.delivery, lease.epoch]);
    let renewed = connection.prepare(UPDATE).query_all(each)?;
    Ok(renewed.iter().map(|rows| !rows.is_empty()).collect())
}

/// An attempt that was made, to be recorded.
pub(super) struct MadeAttempt {
    pub(super) lease: DeliveryLease,
    pub(super) attempt: Attempt,
    pub(super) verdict: Verdict,
    pub(super) now: Timestamp,
}

/// Attempts are recorded together: one does not wait for what is asked for another.
impl Joint for MadeAttempt {
    type Answer = ();

    fn run(connection: &Connection, items: &[Self]) -> Result<Vec<Result<()>>> {
        let held = held(connection, items.iter().map(|made| made.lease))?;
        let mut ended = HashSet::new();
        let mut tally = Tally::default();
        let mut answers = Vec::with_capacity(items.len());
        for (made, held) in items.iter().zip(held) {
            answers.push(match held.filter(|_| !ended.contains(&made.lease)) {
                None => Err(StoreError::LeaseLost),
                Some(_) if made.attempt.delivery != made.lease.delivery => {
                    Err(corrupt("an attempt is not of the delivery that is held"))
                }
                Some((delivery, replay_requested_at)) => {
                    ended.insert(made.lease);
                    Ok(finish(connection, made, &delivery, replay_requested_at, &mut tally)?)
                }
            });
        }
        tally.write(connection)?;
        Ok(answers)
    }
}

fn finish(
    connection: &Connection,
    made: &MadeAttempt,
    delivery: &Delivery,
    replay_requested_at: Option<Timestamp>,
    tally: &mut Tally,
) -> Result<()> {
    let MadeAttempt { attempt, verdict, now, .. } = made;
    attempts::insert(connection, attempt)?;
    let verdict = if delivery.next_trigger == Trigger::Test { of_test(*verdict) } else { *verdict };
    let (next_attempt_at, next_trigger) = next(delivery, replay_requested_at, attempt.trigger, verdict);
    let delivered_at = delivery.delivered_at.or((verdict.status == DeliveryStatus::Delivered).then_some(*now));
    let status = if delivered_at.is_some() { DeliveryStatus::Delivered } else { verdict.status };
    let automatic_attempts = delivery.automatic_attempts + u32::from(attempt.trigger == Trigger::Automatic);
    tally.tried(
        delivery.scope,
        *now,
        &Tried {
            host: &delivery.host,
            delivered: attempt.error.is_none(),
            made_dead: status == DeliveryStatus::Failed && delivery.status != DeliveryStatus::Failed,
            latency_ms: attempt.timings.total_ms,
        },
    );
    const UPDATE: &str = "UPDATE deliveries SET status = ?, first_attempt_at = ?, last_attempt_at = ?,
        next_attempt_at = ?, delivered_at = ?, attempts = attempts + 1, automatic_attempts = ?, schedule_ended = ?,
        next_trigger = ?, lane = ?, last_code = ?, last_cause = ?, last_ms = ?, replay_requested_at = NULL, epoch = epoch + 1, owner = NULL, lease_expires_at = NULL WHERE id = ?";
    connection.prepare(UPDATE).run(params![
        status,
        Millis(delivery.first_attempt_at.unwrap_or(attempt.started_at)),
        Millis(*now),
        next_attempt_at.map(Millis),
        delivered_at.map(Millis),
        automatic_attempts,
        delivery.schedule_ended || verdict.next_attempt_at.is_none(),
        next_trigger,
        deliveries::lane(next_trigger, automatic_attempts),
        attempt.response_status,
        insight::cause(attempt),
        count(attempt.timings.total_ms),
        delivery.id
    ])?;
    Ok(())
}

/// A test is never made again by itself, so that one which was not accepted has failed.
fn of_test(verdict: Verdict) -> Verdict {
    let delivered = verdict.status == DeliveryStatus::Delivered;
    let status = if delivered { DeliveryStatus::Delivered } else { DeliveryStatus::Failed };
    Verdict { status, next_attempt_at: None }
}

/// When the next attempt is due, and what sets it off: a replay that was asked for meanwhile comes before what the
/// schedule says, which is asked again after it.
fn next(
    delivery: &Delivery,
    replay_requested_at: Option<Timestamp>,
    made: Trigger,
    verdict: Verdict,
) -> (Option<Timestamp>, Trigger) {
    match replay_requested_at {
        Some(asked) => (Some(asked), Trigger::Replay),
        // The lease had run out when the replay was asked for, and nobody has claimed the delivery since.
        None if made != Trigger::Replay && delivery.next_trigger == Trigger::Replay => {
            (delivery.next_attempt_at, Trigger::Replay)
        }
        None => (verdict.next_attempt_at, Trigger::Automatic),
    }
}

pub(super) fn release(connection: &Connection, lease: DeliveryLease, next_attempt_at: Timestamp) -> Result<()> {
    const UPDATE: &str = "UPDATE deliveries SET status = ?, next_attempt_at = ?, next_trigger = ?, lane = ?,
        replay_requested_at = NULL, epoch = epoch + 1, owner = NULL, lease_expires_at = NULL WHERE id = ?";
    let held = held(connection, std::iter::once(lease))?.pop().flatten();
    let (delivery, replay_requested_at) = held.ok_or(StoreError::LeaseLost)?;
    let (status, next, trigger) = match (replay_requested_at, delivery.next_trigger) {
        (asked, Trigger::Test) => {
            (DeliveryStatus::Failed, asked, if asked.is_some() { Trigger::Replay } else { Trigger::Automatic })
        }
        (Some(asked), _) => (delivery.status, Some(asked), Trigger::Replay),
        (None, trigger) => (delivery.status, Some(next_attempt_at), trigger),
    };
    connection.prepare(UPDATE).run(params![
        status,
        next.map(Millis),
        trigger,
        deliveries::lane(trigger, delivery.automatic_attempts),
        delivery.id
    ])?;
    Ok(())
}

/// Gives back every lease on a delivery, those too that have run out and were taken back, but whose holder might yet
/// come.
pub(super) fn free(connection: &Connection) -> Result<()> {
    const UPDATE: [&str; 2] = [
        "UPDATE deliveries SET epoch = epoch + 1, owner = NULL, lease_expires_at = NULL
            WHERE lease_expires_at IS NOT NULL",
        "UPDATE deliveries SET epoch = epoch + 1, owner = NULL
            WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL AND owner IS NOT NULL",
    ];
    give_up_tests(connection, Timestamp::MAX)?;
    for update in UPDATE {
        connection.prepare(update).run(params![])?;
    }
    Ok(())
}

pub(super) fn next_at(connection: &Connection) -> Result<Option<Timestamp>> {
    const SELECT: &str = "SELECT next_attempt_at FROM deliveries INDEXED BY deliveries_next
        WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL ORDER BY next_attempt_at LIMIT 1";
    let select = connection.prepare(SELECT);
    Ok(select.query_row(params![], |row| time(row, "next_attempt_at")).optional()?.flatten())
}

/// A delivery whose lease is still its caller's, and when a replay was asked for during it.
type Held = (Delivery, Option<Timestamp>);

/// Finds the deliveries whose leases are still their callers'.
fn held(connection: &Connection, leases: impl Iterator<Item = DeliveryLease>) -> Result<Vec<Option<Held>>> {
    const SELECT: &str = select!("WHERE id = ? AND epoch = ?");
    let read = |row: &Row| -> sql::Result<_> { Ok((deliveries::read(row)?, time(row, "replay_requested_at")?)) };
    let found = connection.prepare(SELECT).query_all(leases.map(|lease| owned![lease.delivery, lease.epoch]))?;
    found.iter().map(|rows| Ok(rows.first().map(read).transpose()?)).collect()
}
