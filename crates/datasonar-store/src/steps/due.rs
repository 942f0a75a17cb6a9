//! The hosts that are owed deliveries now.
//!
//! One look at the index for each host that anything is owed to, however much that is: from one host it goes straight to
//! the next. What is due of many hosts is never queued behind what is due of one.

use crate::sql::{Connection, Row, params};
use jiff::Timestamp;

use super::dispatch;
use crate::sql::codec::Millis;
use crate::{DueHost, Lane, Result};

/// What a look at the rows tells.
pub(super) enum Look {
    /// The hosts.
    Hosts(Vec<DueHost>),
    /// A lease has run out: its delivery is to be made claimable first, which is a write.
    Lapsed,
}

/// Looks without writing.
pub(super) fn look(connection: &Connection, now: Timestamp, limit: u32) -> Result<Look> {
    if dispatch::has_lapsed(connection, now)? {
        return Ok(Look::Lapsed);
    }
    Ok(Look::Hosts(hosts(connection, now, limit)?))
}

/// Takes lapsed leases back, then looks.
pub(super) fn take_back_and_look(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<DueHost>> {
    dispatch::take_back(connection, now)?;
    hosts(connection, now, limit)
}

fn hosts(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<DueHost>> {
    const SELECT: &str = "WITH RECURSIVE hosts (host) AS (
            SELECT (SELECT host FROM deliveries INDEXED BY deliveries_due
                WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL AND lane = ?1 ORDER BY host LIMIT 1)
            UNION ALL
            SELECT (SELECT d.host FROM deliveries d INDEXED BY deliveries_due
                WHERE d.lease_expires_at IS NULL AND d.next_attempt_at IS NOT NULL AND d.lane = ?1
                AND d.host > hosts.host ORDER BY d.host LIMIT 1)
            FROM hosts WHERE hosts.host IS NOT NULL
        ), firsts (host, since) AS MATERIALIZED (
            SELECT host, (SELECT next_attempt_at FROM deliveries d INDEXED BY deliveries_due
                WHERE d.lease_expires_at IS NULL AND d.next_attempt_at IS NOT NULL AND d.lane = ?1
                AND d.host = hosts.host ORDER BY next_attempt_at LIMIT 1)
            FROM hosts WHERE host IS NOT NULL
        )
        SELECT host, since FROM firsts WHERE since <= ?2 ORDER BY since, host LIMIT ?3";
    let select = connection.prepare(SELECT);
    let mut found = Vec::new();
    for lane in [Lane::First, Lane::Retry] {
        let read = |row: &Row| Ok(DueHost { host: row.get("host")?, lane, since: row.get::<_, Millis>("since")?.0 });
        for host in select.query_map(params![lane, Millis(now), limit], read)? {
            found.push(host);
        }
    }
    Ok(found)
}
