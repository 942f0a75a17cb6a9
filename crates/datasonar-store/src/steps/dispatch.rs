//! Leasing deliveries, and recording what became of an attempt.
//!
//! While an attempt is under way its delivery keeps `next_attempt_at`, so that it is owed still if the attempt is never
//! recorded. Whatever ends a lease raises the epoch; one that has merely run out stays its holder's until another claims
//! the delivery. A test is the exception: it keeps nothing due, and its lease ends when it runs out.

use std::collections::HashMap;
use std::time::Duration;

use crate::sql::{Connection, OptionalExtension, Row, params};
use jiff::Timestamp;

use super::deliveries::{self, select};
use super::{attempts, jobs, secrets};
use crate::sql::codec::{Millis, later, time};
use crate::sql::corrupt;
use crate::{
    Attempt, ClaimDeliveries, ClaimedDelivery, Delivery, DeliveryLease, DeliveryStatus, ProcessId, Result, Scope,
    Secret, Share, StoreError, Trigger, Verdict,
};

/// How many lapsed leases a claim takes back at most.
const LAPSED: u32 = 1000;

pub(super) fn claim(connection: &Connection, claim: &ClaimDeliveries) -> Result<Vec<ClaimedDelivery>> {
    take_back(connection, claim.now)?;
    let mut leasing = Leasing {
        connection,
        owner: claim.owner,
        now: claim.now,
        expires_at: later(claim.now, claim.lease),
        secrets: HashMap::new(),
    };
    let mut claimed = Vec::new();
    for share in &claim.shares {
        for (delivery, epoch) in due(connection, share, claim.now)? {
            claimed.push(leasing.lease(delivery, epoch)?);
        }
    }
    Ok(claimed)
}

/// What of a share is due, longest due first, each with its epoch.
fn due(connection: &Connection, share: &Share, now: Timestamp) -> Result<Vec<(Delivery, u32)>> {
    const SELECT: &str = select!(
        "INDEXED BY deliveries_due
        WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL
        AND lane = ? AND host = ? AND next_attempt_at <= ? ORDER BY next_attempt_at, id LIMIT ?"
    );
    let read = |row: &Row| {
        let mut delivery = deliveries::read(row)?;
        delivery.next_trigger = deliveries::trigger(&delivery, time(row, "replay_requested_at")?.is_some());
        delivery.lane = deliveries::lane(delivery.next_trigger, delivery.automatic_attempts);
        Ok((delivery, row.get::<_, u32>("epoch")?))
    };
    let select = connection.prepare(SELECT);
    Ok(select.query_map(params![share.lane, share.host, Millis(now), share.limit], read)?)
}

/// A claim under way.
struct Leasing<'a> {
    connection: &'a Connection,
    owner: ProcessId,
    now: Timestamp,
    expires_at: Millis,
    /// The secrets of the scopes met so far.
    secrets: HashMap<Scope, Vec<Secret>>,
}

impl Leasing<'_> {
    fn lease(&mut self, delivery: Delivery, epoch: u32) -> Result<ClaimedDelivery> {
        const UPDATE: &str = "UPDATE deliveries SET epoch = ?, owner = ?, lease_expires_at = ?, next_trigger = ?,
            lane = ?, replay_requested_at = NULL WHERE id = ?";
        let epoch = epoch.saturating_add(1);
        self.connection.prepare(UPDATE).run(params![
            epoch,
            self.owner,
            self.expires_at,
            delivery.next_trigger,
            delivery.lane,
            delivery.id
        ])?;
        let job = jobs::by_id(self.connection, delivery.job)?.ok_or_else(|| corrupt("a delivery has no job"))?;
        let secrets = self.secrets(delivery.scope)?;
        Ok(ClaimedDelivery { lease: DeliveryLease { delivery: delivery.id, epoch }, delivery, job, secrets })
    }

    fn secrets(&mut self, scope: Scope) -> Result<Vec<Secret>> {
        if let Some(known) = self.secrets.get(&scope) {
            return Ok(known.clone());
        }
        let read = secrets::secrets(self.connection, scope, self.now)?;
        self.secrets.insert(scope, read.clone());
        Ok(read)
    }
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
    const UPDATE: &str = "UPDATE deliveries SET lease_expires_at = ? WHERE id = ? AND epoch = ?";
    let expires_at = later(now, hold);
    let update = connection.prepare(UPDATE);
    let mut renewed = Vec::with_capacity(leases.len());
    for lease in leases {
        renewed.push(update.execute(params![expires_at, lease.delivery, lease.epoch])? > 0);
    }
    Ok(renewed)
}

pub(super) fn finish(
    connection: &Connection,
    lease: DeliveryLease,
    attempt: &Attempt,
    verdict: Verdict,
    now: Timestamp,
) -> Result<()> {
    if attempt.delivery != lease.delivery {
        return Err(corrupt("an attempt is not of the delivery that is held"));
    }
    let (delivery, replay_requested_at) = held(connection, lease)?;
    attempts::insert(connection, attempt)?;
    let verdict = if delivery.next_trigger == Trigger::Test { of_test(verdict) } else { verdict };
    let (next_attempt_at, next_trigger) = next(&delivery, replay_requested_at, attempt.trigger, verdict);
    let delivered_at = delivery.delivered_at.or((verdict.status == DeliveryStatus::Delivered).then_some(now));
    let status = if delivered_at.is_some() { DeliveryStatus::Delivered } else { verdict.status };
    let automatic_attempts = delivery.automatic_attempts + u32::from(attempt.trigger == Trigger::Automatic);
    const UPDATE: &str = "UPDATE deliveries SET status = ?, first_attempt_at = ?, last_attempt_at = ?,
        next_attempt_at = ?, delivered_at = ?, attempts = attempts + 1, automatic_attempts = ?, schedule_ended = ?,
        next_trigger = ?, lane = ?, replay_requested_at = NULL, epoch = epoch + 1, owner = NULL, lease_expires_at = NULL WHERE id = ?";
    connection.prepare(UPDATE).run(params![
        status,
        Millis(delivery.first_attempt_at.unwrap_or(attempt.started_at)),
        Millis(now),
        next_attempt_at.map(Millis),
        delivered_at.map(Millis),
        automatic_attempts,
        delivery.schedule_ended || verdict.next_attempt_at.is_none(),
        next_trigger,
        deliveries::lane(next_trigger, automatic_attempts),
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
    let (delivery, replay_requested_at) = held(connection, lease)?;
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

/// Finds the delivery, if its lease is still the caller's, and when a replay was asked for during it.
fn held(connection: &Connection, lease: DeliveryLease) -> Result<(Delivery, Option<Timestamp>)> {
    const SELECT: &str = select!("WHERE id = ? AND epoch = ?");
    let read = |row: &Row| Ok((deliveries::read(row)?, time(row, "replay_requested_at")?));
    let select = connection.prepare(SELECT);
    select.query_row(params![lease.delivery, lease.epoch], read).optional()?.ok_or(StoreError::LeaseLost)
}
