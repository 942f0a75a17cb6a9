//! The endpoints that are owed deliveries now.
//!
//! One look at the index for each endpoint that is owed anything, however much that is: from one endpoint the scan goes
//! straight to the next. Deliveries to many endpoints are never queued behind those to one, and a tenant with very many
//! endpoints does not make the scan long: of each account and environment it examines a bounded number.

use jiff::Timestamp;

use super::accounts::scope;
use super::dispatch;
use crate::endpoint::{self, SCOPE_CHARS};
use crate::sql::codec::Millis;
use crate::sql::{self, Connection, Row, params};
use crate::{DeliveryId, DueEndpoint, Lane, Result, Scope};

/// The deliveries without a key that get theirs in one step, at most.
const KEYED_AT_ONCE: u32 = 5_000;

/// The arguments of a look.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) now: Timestamp,
    /// Endpoints of one scope that are examined from each of two positions.
    pub(super) limit: u32,
    /// Determines the second position.
    pub(super) turn: u32,
}

/// Looks without writing. Returns none if a write must come first: a lease has run out, or a delivery has no key.
pub(super) fn look(connection: &Connection, look: Look) -> Result<Option<Vec<DueEndpoint>>> {
    if dispatch::has_lapsed(connection, look.now)? || has_unkeyed(connection)? {
        return Ok(None);
    }
    endpoints(connection, look).map(Some)
}

/// Takes lapsed leases back, computes missing keys, then looks.
pub(super) fn prepare_and_look(connection: &Connection, look: Look) -> Result<Vec<DueEndpoint>> {
    dispatch::take_back(connection, look.now)?;
    add_keys(connection)?;
    endpoints(connection, look)
}

/// Tells whether a delivery that is owed was stored by a program that knew no keys.
fn has_unkeyed(connection: &Connection) -> Result<bool> {
    const SELECT: &str = "SELECT 1 FROM deliveries INDEXED BY deliveries_by_endpoint
        WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL AND lane = ? AND endpoint = '' LIMIT 1";
    let select = connection.prepare(SELECT);
    Ok(select.exists([Lane::First])? || select.exists([Lane::Retry])?)
}

fn add_keys(connection: &Connection) -> Result<()> {
    const SELECT: &str = "SELECT id, account, environment, url FROM deliveries INDEXED BY deliveries_by_endpoint
        WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL AND lane = ? AND endpoint = ''
        ORDER BY next_attempt_at, id LIMIT ?";
    const UPDATE: &str = "UPDATE deliveries SET endpoint = ? WHERE id = ?";
    let read =
        |row: &Row| -> sql::Result<(DeliveryId, Scope, String)> { Ok((row.get("id")?, scope(row)?, row.get("url")?)) };
    for lane in [Lane::First, Lane::Retry] {
        let found = connection.prepare(SELECT).query_map(params![lane, KEYED_AT_ONCE], read)?;
        let update = connection.prepare(UPDATE);
        for (id, scope, url) in found {
            update.run(params![endpoint::key(scope, &url), id])?;
        }
    }
    Ok(())
}

/// Goes from key to key. `position` counts those of one scope; at `limit` the scan jumps ahead to a position of that scope
/// that differs from turn to turn, and at twice the limit to the next scope: `g` follows every hexadecimal digit.
fn endpoints(connection: &Connection, look: Look) -> Result<Vec<DueEndpoint>> {
    let position = format!(
        "CASE WHEN substr(k.endpoint, 1, {SCOPE_CHARS}) = substr(k.before, 1, {SCOPE_CHARS}) THEN k.position + 1
            ELSE CAST(1 AS BIGINT) END"
    );
    let owed = "d.lease_expires_at IS NULL AND d.next_attempt_at IS NOT NULL AND d.lane = ?1";
    let first = format!(
        "(SELECT d.endpoint FROM deliveries d INDEXED BY deliveries_by_endpoint
            WHERE {owed} AND d.endpoint > '' ORDER BY d.endpoint LIMIT 1)"
    );
    let select = format!(
        "WITH RECURSIVE keys (endpoint, before, position) AS (
            SELECT {first}, {first}, CAST(0 AS BIGINT)
            UNION ALL
            SELECT (SELECT d.endpoint FROM deliveries d INDEXED BY deliveries_by_endpoint
                WHERE {owed} AND d.endpoint > CASE {position}
                    WHEN ?3 THEN CASE WHEN substr(k.endpoint, {next}) < ?5
                        THEN substr(k.endpoint, 1, {SCOPE_CHARS}) || ?5 ELSE k.endpoint END
                    WHEN ?4 THEN substr(k.endpoint, 1, {SCOPE_CHARS}) || 'g'
                    ELSE k.endpoint END
                ORDER BY d.endpoint LIMIT 1), k.endpoint, {position}
            FROM keys k WHERE k.endpoint IS NOT NULL
        ), firsts (id) AS MATERIALIZED (
            SELECT (SELECT d.id FROM deliveries d INDEXED BY deliveries_by_endpoint
                WHERE {owed} AND d.endpoint = keys.endpoint ORDER BY d.next_attempt_at, d.id LIMIT 1)
            FROM keys WHERE endpoint IS NOT NULL
        )
        SELECT d.endpoint, d.account, d.environment, d.host, d.next_attempt_at AS since
        FROM firsts JOIN deliveries d ON d.id = firsts.id WHERE d.next_attempt_at <= ?2 ORDER BY since, d.endpoint",
        next = SCOPE_CHARS + 1,
    );
    if look.limit == 0 {
        return Ok(Vec::new());
    }
    let limit = i64::from(look.limit);
    // Successive multiples of this number spread evenly over all positions.
    let from = format!("{:08x}", look.turn.wrapping_mul(0x9E37_79B9));
    let select = connection.prepare(&select);
    let mut found = Vec::new();
    for lane in [Lane::First, Lane::Retry] {
        let read = |row: &Row| -> sql::Result<DueEndpoint> {
            Ok(DueEndpoint {
                endpoint: row.get("endpoint")?,
                scope: scope(row)?,
                host: row.get("host")?,
                lane,
                since: row.get::<_, Millis>("since")?.0,
            })
        };
        found.extend(select.query_map(params![lane, Millis(look.now), limit, 2 * limit, from], read)?);
    }
    Ok(found)
}
