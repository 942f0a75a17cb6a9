//! Replaying a delivery: a new attempt, asked for by a person.
//!
//! Asking twice sends once. What is asked for while an attempt of the schedule is under way is sent after it, since at
//! most one attempt of a delivery is ever under way.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::Millis;
use crate::{DeliveryId, Result, Scope, StoreError, Trigger};

pub(super) fn replay(connection: &Connection, scope: Scope, id: DeliveryId, now: Timestamp) -> Result<()> {
    const SELECT: &str = "SELECT d.next_trigger, d.lease_expires_at IS NOT NULL AS leased, j.results_deleted
        FROM deliveries d JOIN jobs j ON j.id = d.job WHERE d.id = ? AND d.account = ? AND d.environment = ?";
    const QUEUE: &str = "UPDATE deliveries SET replay_requested_at = coalesce(replay_requested_at, ?1) WHERE id = ?2";
    const DUE: &str = "UPDATE deliveries SET next_attempt_at = ?1, next_trigger = ?3 WHERE id = ?2";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let mut select = connection.prepare_cached(SELECT)?;
    let found = select.query_row(params![id, scope.account, scope.environment], read).optional()?;
    match found {
        None => Err(StoreError::NotFound),
        Some((_, _, true)) => Err(StoreError::Conflict("the result has expired and was deleted".to_owned())),
        Some((Trigger::Replay, _, _)) => Ok(()),
        Some((_, true, _)) => {
            connection.prepare_cached(QUEUE)?.execute(params![Millis(now), id])?;
            Ok(())
        }
        Some((_, false, _)) => {
            connection.prepare_cached(DUE)?.execute(params![Millis(now), id, Trigger::Replay])?;
            Ok(())
        }
    }
}
