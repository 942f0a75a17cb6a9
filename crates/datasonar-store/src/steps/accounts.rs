//! Filling a store, keys and usage.

use std::collections::BTreeMap;

use crate::sql::{self, Connection, OptionalExtension, Row, Value, owned, params};
use jiff::Timestamp;
use uuid::Uuid;

use super::activity::Tally;
use super::{allowance, moving, people, secrets};
use crate::sql::codec::{Millis, count, day, time, unsigned};
use crate::{Account, AccountId, Caller, Key, KeyId, NewKey, Result, Scope, Setup, StoreError, Usage, UsageSample};

pub(super) fn set_up(connection: &Connection, setup: &Setup) -> Result<bool> {
    if connection.prepare("SELECT 1 FROM accounts LIMIT 1").exists(params![])? {
        return Ok(false);
    }
    if moving::is_moving(connection)? {
        return Err(StoreError::Conflict("a move into this store has begun and not ended".to_owned()));
    }
    let account = &Account { is_built_in: true, ..setup.account.clone() };
    allowance::insert(connection, account)?;
    for key in &setup.keys {
        create_key(connection, key)?;
    }
    for secret in &setup.secrets {
        secrets::insert(connection, secret)?;
    }
    for link in &setup.links {
        people::insert_link(connection, link)?;
    }
    Ok(true)
}

pub(super) fn authenticate(connection: &Connection, hash: [u8; 32]) -> Result<Option<Caller>> {
    const SELECT: &str = "SELECT id, account, environment FROM keys WHERE hash = ? AND revoked_at IS NULL";
    let read = |row: &Row| Ok(Caller { key: row.get("id")?, scope: scope(row)? });
    Ok(connection.prepare(SELECT).query_row([hash], read).optional()?)
}

pub(super) fn create_key(connection: &Connection, key: &NewKey) -> Result<()> {
    const INSERT: &str =
        "INSERT INTO keys (id, account, environment, hash, prefix, name, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)";
    let NewKey { id, scope, hash, prefix, name, created_at } = key;
    let row = params![id, scope.account, scope.environment, hash, prefix, name, Millis(*created_at)];
    connection.prepare(INSERT).run(row)?;
    Ok(())
}

pub(super) fn keys(connection: &Connection, account: AccountId) -> Result<Vec<Key>> {
    const SELECT: &str = "SELECT id, account, environment, prefix, name, created_at, last_used_at, revoked_at FROM keys
        WHERE account = ? ORDER BY created_at DESC, id DESC";
    let read = |row: &Row| {
        Ok(Key {
            id: row.get("id")?,
            scope: scope(row)?,
            prefix: row.get("prefix")?,
            name: row.get("name")?,
            last_used_at: time(row, "last_used_at")?,
            created_at: row.get::<_, Millis>("created_at")?.0,
            revoked_at: time(row, "revoked_at")?,
        })
    };
    Ok(connection.prepare(SELECT).query_map([account], read)?)
}

pub(super) fn revoke_key(connection: &Connection, account: AccountId, key: KeyId, now: Timestamp) -> Result<()> {
    const UPDATE: &str = "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? AND account = ?";
    match connection.prepare(UPDATE).execute(params![Millis(now), key, account])? {
        0 => Err(StoreError::NotFound),
        _ => Ok(()),
    }
}

/// Notes when keys were last used.
pub(super) fn touch_keys(connection: &Connection, uses: &[(KeyId, Timestamp)]) -> Result<()> {
    const UPDATE: &str =
        "UPDATE keys SET last_used_at = ?1 WHERE id = ?2 AND (last_used_at IS NULL OR last_used_at < ?1)";
    let update = connection.prepare(UPDATE);
    Ok(uses.iter().try_for_each(|(key, at)| update.run(params![Millis(*at), key]))?)
}

pub(super) fn record_usage(connection: &Connection, samples: &[UsageSample]) -> Result<()> {
    let mut tally = Tally::default();
    for sample in samples {
        let counts = tally.at(sample.scope, sample.at);
        counts.pages = counts.pages.saturating_add(sample.pages);
        counts.pages_succeeded = counts.pages_succeeded.saturating_add(sample.succeeded);
    }
    tally.write(connection)?;
    add_usage(connection, samples)
}

/// Adds samples to the days of their scopes. A day's row is found by the key that grows with each writing, as [`super::jobs::current`] finds
/// a job's.
pub(super) fn add_usage(connection: &Connection, samples: &[UsageSample]) -> Result<()> {
    const UPDATE: &str = "UPDATE usage_days SET pages = pages + ?4, succeeded = succeeded + ?5, time_ms = time_ms + ?6,
        version = version + 1 WHERE account = ?1 AND environment = ?2 AND day = ?3 AND version = (SELECT c.version FROM usage_days c
        WHERE c.account = ?1 AND c.environment = ?2 AND c.day = ?3 ORDER BY c.version DESC LIMIT 1) RETURNING 1 AS added";
    const INSERT: &str = "INSERT INTO usage_days (account, environment, day, pages, succeeded, time_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut days: BTreeMap<_, [u64; 3]> = BTreeMap::new();
    for UsageSample { scope, at, pages, succeeded, time_ms, is_charged } in samples {
        let pages = if *is_charged { &0 } else { pages };
        let sum = days.entry((scope.account.0, scope.environment.as_str(), day(*at))).or_default();
        for (sum, one) in sum.iter_mut().zip([pages, succeeded, time_ms]) {
            *sum = sum.saturating_add(*one);
        }
    }
    let row = |(&(account, environment, day), &[pages, succeeded, time_ms]): (&(Uuid, &str, i64), &[u64; 3])| {
        owned![AccountId(account), environment, day, count(pages), count(succeeded), count(time_ms)]
    };
    let updated = connection.prepare(UPDATE).query_all(days.iter().map(row))?;
    let insert = connection.prepare(INSERT);
    for (day, _) in days.iter().zip(updated).filter(|(_, rows)| rows.is_empty()) {
        let values: Vec<Value<'static>> = row(day)?;
        insert.run(&values[..])?;
    }
    Ok(())
}

pub(super) fn usage(connection: &Connection, scope: Scope, since: Timestamp) -> Result<Usage> {
    const SUM: &str = "SELECT CAST(coalesce(sum(pages), 0) AS BIGINT) AS pages,
        CAST(coalesce(sum(succeeded), 0) AS BIGINT) AS succeeded, CAST(coalesce(sum(time_ms), 0) AS BIGINT) AS time_ms
        FROM (SELECT pages, succeeded, time_ms FROM usage_days WHERE account = ?1 AND environment = ?2 AND day >= ?3
            UNION ALL SELECT pages, succeeded, time_ms FROM usage WHERE account = ?1 AND environment = ?2 AND day >= ?3) AS days";
    let read = |row: &Row| {
        Ok(Usage {
            pages: unsigned(row, "pages")?,
            succeeded: unsigned(row, "succeeded")?,
            time_ms: unsigned(row, "time_ms")?,
        })
    };
    let statement = connection.prepare(SUM);
    Ok(statement.query_row(params![scope.account, scope.environment, day(since)], read)?)
}

/// Reads the scope of a row.
pub(super) fn scope(row: &Row) -> sql::Result<Scope> {
    Ok(Scope { account: row.get("account")?, environment: row.get("environment")? })
}
