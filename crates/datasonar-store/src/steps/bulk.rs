//! Bulk replays: sending a selection of deliveries again, a few at a time.
//!
//! **Role.** A bulk replay walks the deliveries of its scope in an order that no step changes, and marks those that fit
//! its selection. Its cursor and the marks are one transaction, so that none is marked twice by it, and what was done is
//! not lost with the process that did it.
//!
//! **Protocol.** A delivery belongs to it if it came before it: each carries its *era*, the number of bulk replays that
//! had been asked for by then. Whether it fits is looked at when the walk comes by. No more than a window of a scope's
//! replays are outstanding (due or under way) when it marks another, so that its own attempts are never far ahead.

use std::collections::HashSet;

use crate::sql::{self, Connection, OptionalExtension, Row, ToValue, named_params, params};
use jiff::Timestamp;

use super::accounts::scope;
use super::replay::mark;
use crate::sql::codec::{Millis, count, last_id, time, unsigned};
use crate::{
    Advance, DeliveryId, DeliveryStatus, NewReplay, Page, Replay, ReplayId, ReplayStatus, Result, Scope, Selection,
    StoreError, Trigger,
};

/// The era after all that there are.
const LAST_ERA: i64 = i64::MAX;

/// Whether a delivery `d` of the job `j` belongs to a selection and could be replayed.
macro_rules! fits {
    () => {
        "(j.results_deleted = 0 AND (d.status = :status OR :status IS NULL)
        AND d.created_at >= :since AND d.created_at < :until AND (d.url = :url OR :url IS NULL) AND d.era < :era)"
    };
}

/// The deliveries of a scope, by where they stand: those that are `pending` or `failed` are few beside the others.
macro_rules! by_status {
    () => {
        "deliveries d INDEXED BY deliveries_by_status LEFT JOIN jobs j ON j.id = d.job
        WHERE d.account = :account AND d.environment = :environment AND d.status = :status"
    };
}

/// The deliveries of a scope, by when they became owed.
macro_rules! by_age {
    () => {
        "deliveries d INDEXED BY deliveries_by_age LEFT JOIN jobs j ON j.id = d.job
        WHERE d.account = :account AND d.environment = :environment AND d.created_at < :until"
    };
}

/// Whether a selection's deliveries are walked by where they stand; otherwise by age.
const fn walks_by_status(selection: &Selection) -> bool {
    matches!(selection.status, Some(DeliveryStatus::Pending | DeliveryStatus::Failed))
}

/// The times of a selection as they stand in rows, from and before.
fn times(selection: &Selection) -> (i64, i64) {
    let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    (ms(selection.since).unwrap_or(i64::MIN), ms(selection.until).unwrap_or(i64::MAX))
}

pub(super) fn count_selected(connection: &Connection, scope: Scope, selection: &Selection, era: i64) -> Result<u64> {
    const BY_STATUS: &str = concat!("SELECT count(*) AS selected FROM ", by_status!(), " AND ", fits!());
    const BY_AGE: &str =
        concat!("SELECT count(*) AS selected FROM ", by_age!(), " AND d.created_at >= :since AND ", fits!());
    let (since, until) = times(selection);
    let sql = if walks_by_status(selection) { BY_STATUS } else { BY_AGE };
    let params = named_params! {
        ":account": scope.account, ":environment": scope.environment, ":status": selection.status, ":since": since,
        ":until": until, ":url": selection.url, ":era": era,
    };
    Ok(connection.prepare(sql).query_row(params, |row| unsigned(row, "selected"))?)
}

/// Looks at no more than so many deliveries of a selection, at the newest first, whose results are likely to be there, and tells how many it
/// has looked at and how many of them could be replayed.
pub(super) fn count_looked_at(
    connection: &Connection,
    scope: Scope,
    selection: &Selection,
    most: u64,
) -> Result<(u64, u64)> {
    /// Of those that a walk leads to, the ones that a selection fits, and of these the ones whose results are there.
    macro_rules! counted {
        ($walk:literal, $newest_first:literal) => {
            concat!(
                "SELECT count(*) AS looked, count(CASE WHEN j.results_deleted = 0 THEN 1 END) AS selected FROM
                (SELECT d.job AS job FROM deliveries d INDEXED BY ",
                $walk,
                " AND (d.status = :status OR :status IS NULL) AND d.created_at >= :since AND d.created_at < :until
                AND (d.url = :url OR :url IS NULL) ",
                $newest_first,
                " LIMIT :most) AS found LEFT JOIN jobs j ON j.id = found.job"
            )
        };
    }
    const BY_ENDPOINT: &str = counted!(
        "deliveries_dead WHERE d.account = :account AND d.environment = :environment AND d.status = 'failed' AND d.url = :url",
        ""
    );
    const BY_STATUS: &str = counted!(
        "deliveries_by_status WHERE d.account = :account AND d.environment = :environment AND d.status = :status",
        "ORDER BY d.id DESC"
    );
    const BY_AGE: &str = counted!(
        "deliveries_by_age WHERE d.account = :account AND d.environment = :environment AND d.created_at < :until",
        "ORDER BY d.created_at DESC"
    );
    let ((since, until), most) = (times(selection), count(most));
    let sql = match (selection.status, &selection.url) {
        (Some(DeliveryStatus::Failed), Some(_)) => BY_ENDPOINT,
        _ if walks_by_status(selection) => BY_STATUS,
        _ => BY_AGE,
    };
    let params = named_params! {
        ":account": scope.account, ":environment": scope.environment, ":status": selection.status, ":since": since,
        ":until": until, ":url": selection.url, ":most": most,
    };
    let read = |row: &Row| Ok((unsigned(row, "looked")?, unsigned(row, "selected")?));
    Ok(connection.prepare(sql).query_row(params, read)?)
}

pub(super) fn count_deliveries(connection: &Connection, scope: Scope, selection: &Selection) -> Result<u64> {
    count_selected(connection, scope, selection, LAST_ERA)
}

pub(super) fn submit(connection: &Connection, new: &NewReplay) -> Result<Replay> {
    const ERA: &str = "UPDATE meta SET value = value + 1 WHERE name = 'replays' RETURNING value";
    const INSERT: &str = "INSERT INTO replays (id, account, environment, of_status, of_since, of_until, of_url, era,
        status, created_at, matched, cursor_at, cursor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let NewReplay { id, scope, selection, created_at } = new;
    let era: i64 = connection.prepare(ERA).query_row(params![], |row| row.get(0))?;
    let matched = count_selected(connection, *scope, selection, era)?;
    connection.prepare(INSERT).run(params![
        id,
        scope.account,
        scope.environment,
        selection.status,
        selection.since.map(Millis),
        selection.until.map(Millis),
        selection.url,
        era,
        ReplayStatus::Started,
        Millis(*created_at),
        count(matched),
        times(selection).0,
        [0_u8; 16]
    ])?;
    replay(connection, *scope, *id)
}

/// The beginning of every statement that reads bulk replays.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, account, environment, of_status, of_since, of_until, of_url, era, status, created_at,
            completed_at, matched, replayed, cursor_at, cursor FROM replays ",
            $rest
        )
    };
}

pub(super) fn replay(connection: &Connection, scope: Scope, id: ReplayId) -> Result<Replay> {
    const SELECT: &str = select!("WHERE id = ? AND account = ? AND environment = ?");
    let select = connection.prepare(SELECT);
    let found = select.query_row(params![id, scope.account, scope.environment], read).optional()?;
    found.ok_or(StoreError::NotFound)
}

pub(super) fn replays(connection: &Connection, scope: Scope, page: Page<ReplayId>) -> Result<Vec<Replay>> {
    const SELECT: &str = select!("WHERE account = ? AND environment = ? AND id < ? ORDER BY id DESC LIMIT ?");
    let before = page.before.unwrap_or(ReplayId(last_id()));
    let select = connection.prepare(SELECT);
    Ok(select.query_map(params![scope.account, scope.environment, before, page.limit], read)?)
}

pub(super) fn cancel(connection: &Connection, scope: Scope, id: ReplayId, now: Timestamp) -> Result<()> {
    const UPDATE: &str = "UPDATE replays SET status = ?, completed_at = ? WHERE id = ?";
    if replay(connection, scope, id)?.status != ReplayStatus::Started {
        return Err(StoreError::Conflict("the replay has ended".to_owned()));
    }
    connection.prepare(UPDATE).run(params![ReplayStatus::Cancelled, Millis(now), id])?;
    Ok(())
}

pub(super) fn delete_ended(connection: &Connection, before: Timestamp, limit: u32) -> Result<()> {
    const DELETE: &str = "DELETE FROM replays WHERE id IN (SELECT id FROM replays INDEXED BY replays_ended
        WHERE completed_at IS NOT NULL AND completed_at < ? ORDER BY completed_at LIMIT ?)";
    connection.prepare(DELETE).run(params![Millis(before), limit])?;
    Ok(())
}

/// Takes the bulk replay that was advanced longest ago, of those that can go on, one step further.
pub(super) fn advance(connection: &Connection, now: Timestamp, limit: u32, window: u32) -> Result<Advance> {
    let Some(next) = next(connection, window)? else { return Ok(Advance::default()) };
    let replayed = go_on(connection, &next, now, limit)?;
    Ok(Advance { replayed, more: self::next(connection, window)?.is_some() })
}

/// A bulk replay that can go on.
struct Walk {
    replay: Replay,
    era: i64,
    /// The delivery it looked at last.
    cursor: (i64, DeliveryId),
    /// How many deliveries it may mark that have no replay outstanding.
    room: u32,
}

/// Those whose scopes' windows are full are passed over and keep their turn.
fn next(connection: &Connection, window: u32) -> Result<Option<Walk>> {
    const SELECT: &str = select!("INDEXED BY replays_started WHERE status = 'started' ORDER BY turn, id");
    let mut full = HashSet::new();
    let select = connection.prepare(SELECT);
    let rows = select.query(params![])?;
    for row in &rows {
        let scope = scope(row)?;
        if full.contains(&scope) {
            continue;
        }
        let room = window.saturating_sub(outstanding(connection, scope, window)?);
        if room > 0 {
            let cursor = (row.get("cursor_at")?, row.get("cursor")?);
            return Ok(Some(Walk { replay: read(row)?, era: row.get("era")?, cursor, room }));
        }
        full.insert(scope);
    }
    Ok(None)
}

/// How many replays of a scope are due or under way, counted up to `window`.
fn outstanding(connection: &Connection, scope: Scope, window: u32) -> Result<u32> {
    const SELECT: &str = "SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_replaying
        WHERE account = ? AND environment = ? AND (next_trigger = 'replay' OR replay_requested_at IS NOT NULL)
        LIMIT ?) outstanding";
    let select = connection.prepare(SELECT);
    Ok(select.query_row(params![scope.account, scope.environment, window], |row| row.get(0))?)
}

/// A delivery that a walk comes by.
struct Candidate {
    id: DeliveryId,
    created_at: i64,
    next_trigger: Trigger,
    leased: bool,
    /// A replay of it is due or under way.
    outstanding: bool,
    fits: bool,
}

/// Marks what fits of the next deliveries, until the window is full; ends the bulk replay when none is left.
fn go_on(connection: &Connection, walk: &Walk, now: Timestamp, limit: u32) -> Result<u32> {
    let candidates = candidates(connection, walk, limit)?;
    let (mut room, mut replayed, mut looked_at, mut cursor) = (walk.room, 0_u32, 0, walk.cursor);
    for candidate in &candidates {
        if candidate.fits {
            if !candidate.outstanding {
                let Some(left) = room.checked_sub(1) else { break };
                room = left;
                mark(connection, candidate.id, candidate.next_trigger, candidate.leased, now)?;
            }
            replayed += 1;
        }
        looked_at += 1;
        cursor = (candidate.created_at, candidate.id);
    }
    let is_done = looked_at == candidates.len() && candidates.len() < limit as usize;
    keep(connection, walk.replay.id, cursor, replayed, is_done.then_some(now))?;
    Ok(replayed)
}

fn candidates(connection: &Connection, walk: &Walk, limit: u32) -> Result<Vec<Candidate>> {
    macro_rules! select {
        ($from:expr, $rest:literal) => {
            concat!(
                "SELECT d.id, d.created_at, d.next_trigger, d.lease_expires_at IS NOT NULL AS leased,
                (d.next_trigger = 'replay' OR d.replay_requested_at IS NOT NULL) AS outstanding, ",
                fits!(),
                " AS fits FROM ",
                $from,
                $rest
            )
        };
    }
    const BY_STATUS: &str = select!(by_status!(), " AND d.id > :cursor ORDER BY d.id LIMIT :limit");
    const BY_AGE: &str = select!(
        by_age!(),
        " AND (d.created_at, d.id) > (:cursor_at, :cursor) ORDER BY d.created_at, d.id LIMIT :limit"
    );
    let Replay { scope, selection, .. } = &walk.replay;
    let (since, until) = times(selection);
    let mut params: Vec<(&str, &dyn ToValue)> = vec![
        (":account", &scope.account),
        (":environment", &scope.environment),
        (":status", &selection.status),
        (":since", &since),
        (":until", &until),
        (":url", &selection.url),
        (":era", &walk.era),
        (":cursor", &walk.cursor.1),
        (":limit", &limit),
    ];
    let by_status = walks_by_status(selection);
    if !by_status {
        params.push((":cursor_at", &walk.cursor.0));
    }
    let read = |row: &Row| {
        Ok(Candidate {
            id: row.get("id")?,
            created_at: row.get("created_at")?,
            next_trigger: row.get("next_trigger")?,
            leased: row.get("leased")?,
            outstanding: row.get("outstanding")?,
            fits: row.get::<_, Option<bool>>("fits")?.unwrap_or(false),
        })
    };
    let select = connection.prepare(if by_status { BY_STATUS } else { BY_AGE });
    Ok(select.query_map(&params[..], read)?)
}

/// Keeps how far a bulk replay has come, and that it is the last in turn; ends it where told.
fn keep(
    connection: &Connection,
    id: ReplayId,
    cursor: (i64, DeliveryId),
    replayed: u32,
    completed_at: Option<Timestamp>,
) -> Result<()> {
    const TURN: &str = "UPDATE meta SET value = value + 1 WHERE name = 'advances' RETURNING value";
    const UPDATE: &str = "UPDATE replays SET cursor_at = ?, cursor = ?, replayed = replayed + ?, turn = ?, status = ?,
        completed_at = ? WHERE id = ?";
    let turn: i64 = connection.prepare(TURN).query_row(params![], |row| row.get(0))?;
    let status = if completed_at.is_some() { ReplayStatus::Completed } else { ReplayStatus::Started };
    let completed_at = completed_at.map(Millis);
    connection.prepare(UPDATE).run(params![cursor.0, cursor.1, replayed, turn, status, completed_at, id])?;
    Ok(())
}

fn read(row: &Row) -> sql::Result<Replay> {
    Ok(Replay {
        id: row.get("id")?,
        scope: scope(row)?,
        selection: Selection {
            status: row.get("of_status")?,
            since: time(row, "of_since")?,
            until: time(row, "of_until")?,
            url: row.get("of_url")?,
        },
        status: row.get("status")?,
        created_at: row.get::<_, Millis>("created_at")?.0,
        completed_at: time(row, "completed_at")?,
        matched: unsigned(row, "matched")?,
        replayed: unsigned(row, "replayed")?,
    })
}
