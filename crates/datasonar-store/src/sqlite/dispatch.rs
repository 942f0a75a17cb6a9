//! Leasing deliveries, and recording what became of an attempt.
//!
//! While an attempt is under way its delivery keeps `next_attempt_at`, so that it is owed still if the attempt is never
//! recorded. Whatever ends a lease raises the epoch; one that has merely run out stays its holder's until another claims
//! the delivery.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{Millis, later, time};
use super::deliveries::{self, select};
use super::fault::corrupt;
use super::{attempts, jobs, secrets};
use crate::{
    Attempt, ClaimedDelivery, Delivery, DeliveryLease, DeliveryStatus, ProcessId, Result, Scope, Secret, StoreError,
    Trigger, Verdict,
};

/// How many lapsed leases a claim takes back at most.
const LAPSED: u32 = 1000;

pub(super) fn claim(
    connection: &Connection,
    owner: ProcessId,
    limit: u32,
    now: Timestamp,
    hold: Duration,
) -> Result<Vec<ClaimedDelivery>> {
    const SELECT: &str = select!(
        "INDEXED BY deliveries_due
        WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL AND next_attempt_at <= ?
        ORDER BY next_attempt_at, id LIMIT ?"
    );
    take_back(connection, now)?;
    let read = |row: &Row<'_>| {
        let mut delivery = deliveries::read(row)?;
        delivery.next_trigger = deliveries::trigger(&delivery, time(row, "replay_requested_at")?.is_some());
        Ok((delivery, row.get::<_, u32>("epoch")?))
    };
    let mut select = connection.prepare_cached(SELECT)?;
    let due: Vec<_> = select.query_map(params![Millis(now), limit], read)?.collect::<Result<_, _>>()?;
    let expires_at = later(now, hold);
    let mut secrets = HashMap::new();
    due.into_iter()
        .map(|(delivery, epoch)| lease(connection, delivery, epoch, owner, now, expires_at, &mut secrets))
        .collect()
}

fn lease(
    connection: &Connection,
    delivery: Delivery,
    epoch: u32,
    owner: ProcessId,
    now: Timestamp,
    expires_at: Millis,
    known: &mut HashMap<Scope, Vec<Secret>>,
) -> Result<ClaimedDelivery> {
    const UPDATE: &str = "UPDATE deliveries SET epoch = ?, owner = ?, lease_expires_at = ?, next_trigger = ?,
        replay_requested_at = NULL WHERE id = ?";
    let epoch = epoch.saturating_add(1);
    let mut update = connection.prepare_cached(UPDATE)?;
    update.execute(params![epoch, owner, expires_at, delivery.next_trigger, delivery.id])?;
    let job = jobs::by_id(connection, delivery.job)?.ok_or_else(|| corrupt("a delivery has no job"))?;
    let secrets = match known.get(&delivery.scope) {
        Some(secrets) => secrets.clone(),
        None => {
            let read = secrets::secrets(connection, delivery.scope, now)?;
            known.insert(delivery.scope, read.clone());
            read
        }
    };
    Ok(ClaimedDelivery { lease: DeliveryLease { delivery: delivery.id, epoch }, delivery, job, secrets })
}

/// Makes deliveries whose leases have run out claimable.
fn take_back(connection: &Connection, now: Timestamp) -> Result<()> {
    const UPDATE: &str = "UPDATE deliveries SET lease_expires_at = NULL WHERE id IN
        (SELECT id FROM deliveries INDEXED BY deliveries_leased WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ?
        ORDER BY lease_expires_at LIMIT ?)";
    connection.prepare_cached(UPDATE)?.execute(params![Millis(now), LAPSED])?;
    Ok(())
}

pub(super) fn renew(connection: &Connection, lease: DeliveryLease, now: Timestamp, hold: Duration) -> Result<()> {
    const UPDATE: &str = "UPDATE deliveries SET lease_expires_at = ? WHERE id = ? AND epoch = ?";
    let renewed = connection.prepare_cached(UPDATE)?.execute(params![later(now, hold), lease.delivery, lease.epoch])?;
    if renewed > 0 { Ok(()) } else { Err(StoreError::LeaseLost) }
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
    let (next_attempt_at, next_trigger) = next(&delivery, replay_requested_at, attempt.trigger, verdict);
    let delivered_at = delivery.delivered_at.or((verdict.status == DeliveryStatus::Delivered).then_some(now));
    let status = if delivered_at.is_some() { DeliveryStatus::Delivered } else { verdict.status };
    const UPDATE: &str = "UPDATE deliveries SET status = ?, first_attempt_at = ?, last_attempt_at = ?,
        next_attempt_at = ?, delivered_at = ?, attempts = attempts + 1, automatic_attempts = automatic_attempts + ?,
        next_trigger = ?, replay_requested_at = NULL, epoch = epoch + 1, owner = NULL, lease_expires_at = NULL
        WHERE id = ?";
    connection.prepare_cached(UPDATE)?.execute(params![
        status,
        Millis(delivery.first_attempt_at.unwrap_or(attempt.started_at)),
        Millis(now),
        next_attempt_at.map(Millis),
        delivered_at.map(Millis),
        u32::from(attempt.trigger == Trigger::Automatic),
        next_trigger,
        delivery.id
    ])?;
    Ok(())
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
    const UPDATE: &str = "UPDATE deliveries SET next_attempt_at = ?, next_trigger = ?, replay_requested_at = NULL,
        epoch = epoch + 1, owner = NULL, lease_expires_at = NULL WHERE id = ?";
    let (delivery, replay_requested_at) = held(connection, lease)?;
    let trigger = deliveries::trigger(&delivery, replay_requested_at.is_some());
    let next = replay_requested_at.unwrap_or(next_attempt_at);
    connection.prepare_cached(UPDATE)?.execute(params![Millis(next), trigger, delivery.id])?;
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
    for update in UPDATE {
        connection.prepare_cached(update)?.execute([])?;
    }
    Ok(())
}

pub(super) fn next_at(connection: &Connection) -> Result<Option<Timestamp>> {
    const SELECT: &str = "SELECT next_attempt_at FROM deliveries INDEXED BY deliveries_due
        WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL ORDER BY next_attempt_at LIMIT 1";
    let mut select = connection.prepare_cached(SELECT)?;
    Ok(select.query_row([], |row| time(row, "next_attempt_at")).optional()?.flatten())
}

/// Finds the delivery, if its lease is still the caller's, and when a replay was asked for during it.
fn held(connection: &Connection, lease: DeliveryLease) -> Result<(Delivery, Option<Timestamp>)> {
    const SELECT: &str = select!("WHERE id = ? AND epoch = ?");
    let read = |row: &Row<'_>| Ok((deliveries::read(row)?, time(row, "replay_requested_at")?));
    let mut select = connection.prepare_cached(SELECT)?;
    select.query_row(params![lease.delivery, lease.epoch], read).optional()?.ok_or(StoreError::LeaseLost)
}
