//! Replaying a delivery: a new attempt, asked for by a person.
//!
//! Asking twice sends once. What is asked for while an attempt of the schedule is under way is sent after it, since at
//! most one attempt of a delivery is ever under way.

use crate::sql::{Connection, OptionalExtension, Row, params};
use jiff::Timestamp;

use crate::sql::codec::Millis;
use crate::{DeliveryId, Lane, Result, Scope, StoreError, Trigger};

pub(super) fn replay(connection: &Connection, scope: Scope, id: DeliveryId, now: Timestamp) -> Result<()> {
    const SELECT: &str = "SELECT d.next_trigger, d.lease_expires_at IS NOT NULL AS leased, j.results_deleted
        FROM deliveries d JOIN jobs j ON j.id = d.job WHERE d.id = ? AND d.account = ? AND d.environment = ?";
    let read = |row: &Row| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let select = connection.prepare(SELECT);
    let found = select.query_row(params![id, scope.account, scope.environment], read).optional()?;
    match found {
        None => Err(StoreError::NotFound),
        Some((_, _, true)) => Err(StoreError::Conflict("the result has expired and was deleted".to_owned())),
        Some((trigger, leased, false)) => mark(connection, id, trigger, leased, now),
    }
}

/// Marks a delivery for a replay: due at once, or after the attempt under way, or as it is when one is due or under way.
pub(super) fn mark(
    connection: &Connection,
    id: DeliveryId,
    next_trigger: Trigger,
    leased: bool,
    now: Timestamp,
) -> Result<()> {
    const QUEUE: &str = "UPDATE deliveries SET replay_requested_at = coalesce(replay_requested_at, ?1), lane = ?3
        WHERE id = ?2";
    const DUE: &str = "UPDATE deliveries SET next_attempt_at = ?1, lane = ?3, next_trigger = ?4,
        replay_requested_at = NULL WHERE id = ?2";
    match (next_trigger, leased) {
        (Trigger::Replay, _) => {}
        (_, true) => {
            connection.prepare(QUEUE).run(params![Millis(now), id, Lane::First])?;
        }
        (_, false) => {
            connection.prepare(DUE).run(params![Millis(now), id, Lane::First, Trigger::Replay])?;
        }
    }
    Ok(())
}
