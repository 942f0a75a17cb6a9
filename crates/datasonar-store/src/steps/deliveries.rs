//! Finding and listing deliveries.

use crate::sql::{self, Connection, OptionalExtension, Row, ToValue, params};

use super::accounts::scope;
use crate::sql::codec::{Millis, last_id, time};
use crate::{Delivery, DeliveryFilter, DeliveryId, Lane, Page, Result, Scope, StoreError, Trigger};

/// The beginning of every statement that reads whole deliveries.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, job, account, environment, url, host, endpoint, status, created_at, first_attempt_at, last_attempt_at,
            next_attempt_at, delivered_at, attempts, automatic_attempts, schedule_ended, next_trigger, lane, replay_requested_at,
            epoch, last_code, last_cause, last_ms
            FROM deliveries ",
            $rest
        )
    };
}
pub(super) use select;

pub(super) fn delivery(connection: &Connection, scope: Scope, id: DeliveryId) -> Result<Delivery> {
    by_id(connection, id)?.filter(|delivery| delivery.scope == scope).ok_or(StoreError::NotFound)
}

/// Finds a delivery of whatever scope.
pub(super) fn by_id(connection: &Connection, id: DeliveryId) -> Result<Option<Delivery>> {
    Ok(connection.prepare(select!("WHERE id = ?")).query_row([id], read).optional()?)
}

/// One statement for each combination of filters, so that each walks an index in the order wanted. A job has one
/// delivery at most.
pub(super) fn deliveries(
    connection: &Connection,
    scope: Scope,
    filter: DeliveryFilter,
    page: Page<DeliveryId>,
) -> Result<Vec<Delivery>> {
    const ALL: &str = select!("WHERE account = ? AND environment = ? AND id < ? ORDER BY id DESC LIMIT ?");
    const BY_STATUS: &str =
        select!("WHERE account = ? AND environment = ? AND status = ? AND id < ? ORDER BY id DESC LIMIT ?");
    const BY_JOB: &str =
        select!("WHERE job = ? AND account = ? AND environment = ? AND (status = ?4 OR ?4 IS NULL) AND id < ? LIMIT ?");
    let Scope { account, environment } = scope;
    let before = page.before.unwrap_or(DeliveryId(last_id()));
    let limit = page.limit;
    let rows = match (filter.job, filter.status) {
        (Some(job), status) => collect(connection, BY_JOB, params![job, account, environment, status, before, limit]),
        (None, None) => collect(connection, ALL, params![account, environment, before, limit]),
        (None, Some(status)) => collect(connection, BY_STATUS, params![account, environment, status, before, limit]),
    };
    Ok(rows?)
}

fn collect(connection: &Connection, sql: &str, params: &[&dyn ToValue]) -> sql::Result<Vec<Delivery>> {
    connection.prepare(sql).query_map(params, read)
}

pub(super) fn read(row: &Row) -> sql::Result<Delivery> {
    Ok(Delivery {
        id: row.get("id")?,
        job: row.get("job")?,
        scope: scope(row)?,
        url: row.get("url")?,
        host: row.get("host")?,
        endpoint: row.get("endpoint")?,
        status: row.get("status")?,
        created_at: row.get::<_, Millis>("created_at")?.0,
        first_attempt_at: time(row, "first_attempt_at")?,
        last_attempt_at: time(row, "last_attempt_at")?,
        next_attempt_at: time(row, "next_attempt_at")?,
        delivered_at: time(row, "delivered_at")?,
        attempts: row.get("attempts")?,
        automatic_attempts: row.get("automatic_attempts")?,
        schedule_ended: row.get("schedule_ended")?,
        next_trigger: row.get("next_trigger")?,
        lane: row.get("lane")?,
    })
}

/// The lane of an attempt, by what sets it off and how many attempts of the schedule came before it.
pub(super) const fn lane(trigger: Trigger, automatic_attempts: u32) -> Lane {
    if matches!(trigger, Trigger::Automatic) && automatic_attempts > 0 { Lane::Retry } else { Lane::First }
}

/// The trigger of the attempt that a claim makes.
pub(super) fn trigger(delivery: &Delivery, replay_waits: bool) -> Trigger {
    if replay_waits { Trigger::Replay } else { delivery.next_trigger }
}
