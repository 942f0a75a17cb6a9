//! Webhook secrets.

use std::time::Duration;

use crate::sql::{self, Connection, Row, params};
use jiff::Timestamp;

use super::accounts::scope;
use crate::sql::codec::{Millis, later, time};
use crate::{NewSecret, Result, Scope, Secret};

/// How many secrets of a scope sign at once: a header lists a signature for each.
const SIGNING: u32 = 10;

pub(super) fn secrets(connection: &Connection, scope: Scope, now: Timestamp) -> Result<Vec<Secret>> {
    const SELECT: &str = "SELECT id, account, environment, sealed, created_at, expires_at FROM secrets
        WHERE account = ? AND environment = ? AND (expires_at IS NULL OR expires_at > ?)
        ORDER BY created_at DESC, id DESC LIMIT ?";
    let statement = connection.prepare(SELECT);
    Ok(statement.query_map(params![scope.account, scope.environment, Millis(now), SIGNING], read)?)
}

/// Those of all scopes.
pub(super) fn signing(connection: &Connection, now: Timestamp) -> Result<Vec<Secret>> {
    const SELECT: &str = "SELECT id, account, environment, sealed, created_at, expires_at FROM secrets
        WHERE expires_at IS NULL OR expires_at > ? ORDER BY id";
    Ok(connection.prepare(SELECT).query_map([Millis(now)], read)?)
}

/// Those that expired before are deleted; of more than ten that sign, the oldest stop at once.
pub(super) fn rotate(connection: &Connection, new: &NewSecret, overlap: Duration) -> Result<()> {
    const DELETE: &str = "DELETE FROM secrets WHERE account = ? AND environment = ? AND expires_at <= ?";
    const DELETE_OLDEST: &str = "DELETE FROM secrets WHERE account = ?1 AND environment = ?2 AND id NOT IN
        (SELECT id FROM secrets WHERE account = ?1 AND environment = ?2 ORDER BY created_at DESC, id DESC LIMIT ?3)";
    const EXPIRE: &str = "UPDATE secrets SET expires_at = ?3 WHERE account = ?1 AND environment = ?2
        AND (expires_at IS NULL OR expires_at > ?3)";
    let Scope { account, environment } = new.scope;
    let expires_at = later(new.created_at, overlap);
    connection.prepare(DELETE).run(params![account, environment, Millis(new.created_at)])?;
    connection.prepare(DELETE_OLDEST).run(params![account, environment, SIGNING - 1])?;
    connection.prepare(EXPIRE).run(params![account, environment, expires_at])?;
    insert(connection, new)
}

pub(super) fn insert(connection: &Connection, new: &NewSecret) -> Result<()> {
    const INSERT: &str = "INSERT INTO secrets (id, account, environment, sealed, created_at) VALUES (?, ?, ?, ?, ?)";
    let NewSecret { id, scope, sealed, created_at } = new;
    connection.prepare(INSERT).run(params![id, scope.account, scope.environment, sealed, Millis(*created_at)])?;
    Ok(())
}

fn read(row: &Row) -> sql::Result<Secret> {
    Ok(Secret {
        id: row.get("id")?,
        scope: scope(row)?,
        sealed: row.get("sealed")?,
        created_at: row.get::<_, Millis>("created_at")?.0,
        expires_at: time(row, "expires_at")?,
    })
}
