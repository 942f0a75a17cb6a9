//! The log of attempts.

use crate::sql::{self, Connection, Row, params};

use super::deliveries;
use crate::sql::codec::{Json, Millis, count, unsigned};
use crate::{Attempt, DeliveryId, Result, Scope};

pub(super) fn insert(connection: &Connection, attempt: &Attempt) -> Result<()> {
    const INSERT: &str = "INSERT INTO attempts
        (id, delivery, number, trigger, started_at, request_headers, request_bytes, remote, response_status,
        response_headers, response_body, timings, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    connection.prepare(INSERT).run(params![
        attempt.id,
        attempt.delivery,
        attempt.number,
        attempt.trigger,
        Millis(attempt.started_at),
        Json(&attempt.request_headers),
        count(attempt.request_bytes),
        attempt.remote,
        attempt.response_status,
        Json(&attempt.response_headers),
        attempt.response_body,
        Json(attempt.timings),
        attempt.error.as_ref().map(Json),
    ])?;
    Ok(())
}

pub(super) fn attempts(connection: &Connection, scope: Scope, id: DeliveryId) -> Result<Vec<Attempt>> {
    const SELECT: &str = "SELECT id, delivery, number, trigger, started_at, request_headers, request_bytes, remote,
        response_status, response_headers, response_body, timings, error
        FROM attempts WHERE delivery = ? ORDER BY number";
    deliveries::delivery(connection, scope, id)?;
    Ok(connection.prepare(SELECT).query_map([id], read)?)
}

fn read(row: &Row) -> sql::Result<Attempt> {
    Ok(Attempt {
        id: row.get("id")?,
        delivery: row.get("delivery")?,
        number: row.get("number")?,
        trigger: row.get("trigger")?,
        started_at: row.get::<_, Millis>("started_at")?.0,
        request_headers: row.get::<_, Json<_>>("request_headers")?.0,
        request_bytes: unsigned(row, "request_bytes")?,
        remote: row.get("remote")?,
        response_status: row.get("response_status")?,
        response_headers: row.get::<_, Json<_>>("response_headers")?.0,
        response_body: row.get("response_body")?,
        timings: row.get::<_, Json<_>>("timings")?.0,
        error: row.get::<_, Option<Json<_>>>("error")?.map(|error| error.0),
    })
}
